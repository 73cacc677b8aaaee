//! What of a delivery is neither content package nor attachment and goes on with it (sections 8.2 to 8.4 of our notes):
//! certificates with their ids, custom headers, the namespaces in scope, the header fields of attachments. Kept as one
//! JSON part of the message; fields are only ever added.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::osci::envelope::read::Received;
use crate::osci::envelope::scope::Scope;
use crate::osci::message::certificates::{Certificate, NonIntermediaryCertificates, Role};
use crate::osci::message::custom_header::CustomHeader;

/// Longest frame that is read back into memory.
pub const FRAME_BYTES_MAX: u64 = 16 * 1024 * 1024;

type Declarations = Vec<(String, String)>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    pub version: u16,
    /// On Envelope, Header and Body.
    pub scope: [Declarations; 3],
    pub certificates: Vec<FramedCertificate>,
    pub headers: Vec<FramedHeader>,
    pub attachments: Vec<FramedAttachment>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FramedCertificate {
    /// The element's name.
    pub role: String,
    pub id: String,
    /// Base64.
    pub der: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FramedHeader {
    pub namespace: String,
    pub local: String,
    pub id: String,
    pub xml: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FramedAttachment {
    /// Which part of the message holds its octets.
    pub part: usize,
    pub content_id: String,
    pub content_type: String,
    /// Header fields beyond those that every part has.
    pub extra: Vec<(String, String)>,
}

impl Frame {
    /// Everything but the attachments.
    pub fn of(received: &Received) -> Self {
        let certificates = received.message.certificates.iter().flat_map(|block| block.all());
        Self {
            version: 1,
            scope: [
                received.scope.envelope.clone(),
                received.scope.header.clone(),
                received.scope.body.clone(),
            ],
            certificates: certificates
                .map(|certificate| FramedCertificate {
                    role: certificate.role.element().to_owned(),
                    id: certificate.id.clone(),
                    der: STANDARD.encode(&certificate.der),
                })
                .collect(),
            headers: received
                .message
                .custom
                .iter()
                .map(|custom| FramedHeader {
                    namespace: custom.namespace.clone(),
                    local: custom.local.clone(),
                    id: custom.id.clone(),
                    xml: custom.xml.clone(),
                })
                .collect(),
            attachments: Vec::new(),
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a frame holds only strings, numbers and lists")
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    pub fn scope(&self) -> Scope {
        let [envelope, header, body] = self.scope.clone();
        Scope { envelope, header, body }
    }

    /// As they go on: without the recipient's own for signatures.
    pub fn certificates(&self) -> Option<NonIntermediaryCertificates> {
        let certificates = self.certificates.iter().filter_map(|framed| {
            let role = Role::ALL.into_iter().find(|role| role.element() == framed.role)?;
            let der = STANDARD.decode(&framed.der).ok()?;
            Some(Certificate { role, id: framed.id.clone(), der })
        });
        let block = NonIntermediaryCertificates::new(certificates.collect()).ok()?;
        Some(block.without(Role::SignatureAddressee))
    }

    pub fn custom(&self) -> Vec<CustomHeader> {
        let headers = self.headers.iter().cloned();
        headers
            .map(|FramedHeader { namespace, local, id, xml }| CustomHeader { namespace, local, id, xml })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_version_1_is_read() {
        let text = r#"{"version":1,"scope":[[["soap","urn:s"]],[],[["","urn:b"]]],
            "certificates":[{"role":"CipherCertificateOriginator","id":"a","der":"YQ=="},
            {"role":"SignatureCertificateAddressee","id":"b","der":"Yg=="}],
            "headers":[{"namespace":"urn:h","local":"H","id":"h","xml":"<H/>"}],
            "attachments":[{"part":2,"content_id":"c","content_type":"text/plain","extra":[["X-A","b"]]}]}"#;
        let frame = Frame::from_bytes(text.as_bytes()).expect("a frame");
        let certificates = frame.certificates().expect("certificates");
        assert_eq!(certificates.all().len(), 1);
        assert_eq!(certificates.all()[0].der, b"a");
        assert_eq!(frame.scope().body, [(String::new(), "urn:b".to_owned())]);
        assert_eq!(frame.custom()[0].xml, "<H/>");
        assert_eq!(Frame::from_bytes(&frame.to_bytes()).expect("a frame"), frame);
    }
}
