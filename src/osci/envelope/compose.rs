//! Making a content package: containers with inline content and attachments, signed by their author if wanted
//! (OSCI12, sections 5.2 and 8.1). Left out: encrypted content, which the owner of the keys makes elsewhere.

use super::scope::{Place, Scope};
use super::write::{Error, OutgoingAttachment, Signing};
use crate::mime::content_id::ContentId;
use crate::osci::message::certificates::wrapped_base64;
use crate::osci::message::names::STANDARD;
use crate::osci::message::partial_store_delivery::{
    CHUNK_ATTACHMENT_ID, CHUNK_CONTAINER_ID, CHUNK_CONTENT_ID,
};
use crate::xml::dsig::Target;
use crate::xml::dsig::sign::{Plan, Planned};
use crate::xml::dsig::signature::{Canonicalization, Form};
use crate::xml::write::Writer;

/// One content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Inline { id: String, octets: Vec<u8> },
    Attachment { id: String, content_id: ContentId },
}

/// One container; its id and those of its contents must differ from all others of the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    pub id: String,
    pub contents: Vec<Content>,
}

impl Container {
    /// The one that holds a chunk of a large message; the chunk is the attachment of this id.
    pub fn chunk() -> Result<(Self, ContentId), Error> {
        let content_id = ContentId::from_header(CHUNK_ATTACHMENT_ID)?;
        let content = Content::Attachment { id: CHUNK_CONTENT_ID.to_owned(), content_id: content_id.clone() };
        Ok((Self { id: CHUNK_CONTAINER_ID.to_owned(), contents: vec![content] }, content_id))
    }

    /// The element, with its declarations repeated as clients do.
    pub fn to_xml(&self) -> String {
        let mut writer = Writer::new();
        writer.start("osci:ContentContainer");
        STANDARD.iter().for_each(|(prefix, uri)| {
            writer.namespace(prefix, uri);
        });
        writer.attribute("Id", &self.id);
        for content in &self.contents {
            writer.start("osci:Content");
            match content {
                Content::Inline { id, octets } => {
                    writer.start("osci:Base64Content").attribute("Id", id);
                    writer.raw(&wrapped_base64(octets)).end();
                }
                Content::Attachment { id, content_id } => {
                    writer.attribute("Id", id).attribute("href", &format!("cid:{}", content_id.as_str()));
                }
            }
            writer.end();
        }
        writer.finish()
    }

    /// The element with its author's signature over every content in it. `attachments` are those of the message.
    pub fn to_signed_xml(
        &self,
        attachments: &[OutgoingAttachment],
        signing: &Signing<'_>,
    ) -> Result<String, Error> {
        let element = |id: &str, form: Form| Planned {
            target: Target::Element(id.to_owned()),
            form,
            digest_method: signing.digest,
            attachment_digest: None,
        };
        let canonical =
            || Form::Canonical { canonicalization: Canonicalization::default(), enveloped: false };
        let mut covered = Vec::new();
        for content in &self.contents {
            match content {
                Content::Inline { id, .. } => covered.push(element(id, Form::Base64)),
                Content::Attachment { id, content_id } => {
                    let attachment = attachments.iter().find(|known| known.content_id == *content_id);
                    let attachment = attachment.ok_or(Error::AttachmentMissing)?;
                    covered.push(element(id, canonical()));
                    let digest = attachment.digest(signing.digest)?;
                    covered.push(Planned::attachment(content_id.as_str(), signing.digest, digest));
                }
            }
        }
        let mut key_info = Writer::new();
        key_info.start("ds:RetrievalMethod").attribute("URI", &format!("#{}", signing.certificate_id)).end();
        let plan = Plan {
            method: signing.method,
            canonicalization: Canonicalization::default(),
            covered,
            key_info: key_info.finish(),
        };
        // What is signed depends on the declarations around it: they are those of a message in the usual prefixes.
        let scope = Scope::standard();
        let mut around = Writer::new();
        for (place, name) in [(Place::Envelope, "soap:Envelope"), (Place::Body, "soap:Body")] {
            around.start(name);
            for (prefix, uri) in scope.at(place) {
                around.namespace(prefix, uri);
            }
        }
        let open = around.start("osci:ContentPackage").drain();
        let container = self.to_xml();
        let start_tag = container.find('>').map_or(0, |at| at + 1);
        let close = "</osci:ContentPackage></soap:Body></soap:Envelope>";
        let document = format!("{open}{container}{close}");
        let signed = plan.sign(&document, open.len() + start_tag, signing.signer)?;
        let inside = signed.get(open.len()..signed.len() - close.len());
        Ok(inside.unwrap_or_default().to_owned())
    }
}

/// The ContentPackage around containers that are written; none makes an empty package.
pub fn package<S: AsRef<str>>(containers: &[S]) -> String {
    let inside: String = containers.iter().map(AsRef::as_ref).collect();
    format!("<osci:ContentPackage>{inside}</osci:ContentPackage>")
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::sync::Arc;

    use super::super::authors::Outcome;
    use super::super::fixture;
    use super::super::read::{Incoming, read};
    use super::super::write::Outgoing;
    use super::*;
    use crate::mime::write::Boundary;
    use crate::osci::message::certificates::Role;
    use crate::osci::message::kind::{Kind, Operation};
    use crate::xml::dsig::{DigestMethod, SignatureMethod};

    #[test]
    fn an_author_signs_all_contents() {
        let message = fixture::message(Kind::Request(Operation::StoreDelivery));
        let (key, id) = (fixture::signer(), fixture::signer_id(&message));
        let signing = || Signing {
            signer: &key,
            certificate_id: &id,
            method: SignatureMethod::RsaSha256,
            digest: DigestMethod::Sha512,
        };
        let attachment = fixture::attachment();
        let container = Container {
            id: "c".to_owned(),
            contents: vec![
                Content::Inline { id: "c1".to_owned(), octets: vec![7; 200] },
                Content::Attachment { id: "c2".to_owned(), content_id: attachment.content_id.clone() },
            ],
        };
        let signed = container.to_signed_xml(std::slice::from_ref(&attachment), &signing()).expect("signed");
        assert!(matches!(container.to_signed_xml(&[], &signing()), Err(Error::AttachmentMissing)));
        for (what, xml, expected) in [
            ("signed", signed.clone(), Some(true)),
            ("changed", signed.replacen("BwcHBwcH", "BwcHBwcI", 1), Some(false)),
            ("unsigned", container.to_xml(), None),
        ] {
            let scope = Scope::standard();
            let boundary = Boundary::from_random([1; 24]);
            let mut outgoing = Outgoing::new(&message, &scope, boundary);
            outgoing.content = Some(Arc::new(package(&[xml]).into_bytes()));
            outgoing.attachments.push(attachment.clone());
            outgoing.signing = Some(signing());
            let bytes = outgoing.prepare().expect("a message").to_vec().expect("written");
            let limits = super::super::Limits::default();
            let Ok(Incoming::Message(received)) = read(&mut Cursor::new(&bytes), &limits) else {
                panic!("{what}: a message")
            };
            let span = received.soap_span.start as usize..received.soap_span.end as usize;
            let reports = received.authors(&limits).map(|authors| authors.verify(&mut &bytes[span]));
            let found = reports.map(|reports| {
                let reports = reports.expect("read twice");
                let [report] = reports.as_slice() else { panic!("{what}: one report") };
                assert_eq!(report.container_id.as_deref(), Some("c"));
                assert_eq!(report.certificate.as_ref().map(|c| c.role), Some(Role::SignatureOriginator));
                assert!(report.uncovered.is_empty());
                matches!(report.outcome, Outcome::Verified(_))
            });
            assert_eq!(found, expected, "{what}");
        }
    }

    #[test]
    fn a_chunk_has_the_ids_of_the_field() {
        let (container, id) = Container::chunk().expect("a container");
        let xml = container.to_xml();
        assert!(xml.ends_with("Id=\"ChunkContentContainer\"><osci:Content Id=\"ChunkContent\" href=\"cid:ChunkBlobStoreDelivery\"></osci:Content></osci:ContentContainer>"), "{xml}");
        assert_eq!(id.as_str(), "ChunkBlobStoreDelivery");
        assert_eq!(package::<&str>(&[]), "<osci:ContentPackage></osci:ContentPackage>");
    }
}
