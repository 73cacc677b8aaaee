//! Content as an author puts it together: one container, its contents inline or as attachments, and the author's
//! signature (OSCI-Transport 1.2, ContentPackage; OSCI12, section 8.1).
//!
//! The signature is made in the place where every known client puts content: an envelope that declares the five usual
//! prefixes and nothing else, so that it verifies again wherever the package is spliced into such an envelope. Left
//! out: several containers, nested ones, content encrypted for a reader.

use crate::osci::message::certificates::{Certificate, wrapped_base64};
use crate::osci::message::names::STANDARD as PREFIXES;
use crate::xml::c14n;
use crate::xml::dsig::sign::{Plan, Planned, Signer};
use crate::xml::dsig::signature::{Canonicalization, Form};
use crate::xml::dsig::{self, DigestMethod, SignatureMethod, Target};
use crate::xml::write::Writer;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the content cannot be signed: {0}")]
    Signing(#[from] dsig::Error),
    #[error("the package is not where it was put")]
    Lost,
}

/// One content of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Inline(Vec<u8>),
    /// Bytes that travel beside the envelope, by their Content-ID and their digest by the author's method.
    Attachment {
        content_id: String,
        digest: Vec<u8>,
    },
}

/// Who signs content, and how.
pub struct Author<'a> {
    pub signer: &'a dyn Signer,
    pub method: SignatureMethod,
    pub digest_method: DigestMethod,
    /// Travels in the header; the signature points to it.
    pub certificate: &'a Certificate,
}

/// The ContentPackage element as it goes into the body.
pub fn compose(contents: &[Content], author: Option<&Author<'_>>) -> Result<String, Error> {
    let package = unsigned(contents);
    let Some(author) = author else { return Ok(package) };
    let mut around = Writer::new();
    around.start("soap:Envelope");
    PREFIXES.iter().for_each(|(prefix, uri)| {
        around.namespace(prefix, uri);
    });
    around.start("soap:Body").raw(&package);
    let document = around.finish();
    let container = document.find(CONTAINER).map(|at| at + CONTAINER.len()).ok_or(Error::Lost)?;
    let certificate = &author.certificate.id;
    let mut key_info = Writer::new();
    key_info.start("ds:RetrievalMethod").attribute("URI", &format!("#{certificate}"));
    let plan = Plan {
        method: author.method,
        canonicalization: inclusive(),
        covered: covered(contents, author.digest_method),
        key_info: key_info.finish(),
    };
    let signed = plan.sign(&document, container, author.signer)?;
    let (start, end) =
        (signed.find(PACKAGE).ok_or(Error::Lost)?, signed.rfind(PACKAGE_END).ok_or(Error::Lost)?);
    Ok(signed.get(start..end + PACKAGE_END.len()).ok_or(Error::Lost)?.to_owned())
}

const PACKAGE: &str = "<osci:ContentPackage>";
const PACKAGE_END: &str = "</osci:ContentPackage>";
const CONTAINER: &str = "<osci:ContentContainer Id=\"contentcontainer0\">";

fn inclusive() -> Canonicalization {
    Canonicalization { algorithm: c14n::Algorithm::Inclusive, prefix_list: String::new() }
}

fn unsigned(contents: &[Content]) -> String {
    let mut writer = Writer::new();
    writer.start("osci:ContentPackage");
    if !contents.is_empty() {
        writer.start("osci:ContentContainer").attribute("Id", "contentcontainer0");
        for (at, content) in contents.iter().enumerate() {
            let id = format!("content{at}");
            writer.start("osci:Content");
            match content {
                Content::Inline(octets) => {
                    writer.start("osci:Base64Content").attribute("Id", &id);
                    writer.raw(&wrapped_base64(octets)).end();
                }
                Content::Attachment { content_id, .. } => {
                    // An empty text keeps start and end tag apart, as the clients in the field write them.
                    writer.attribute("Id", &id).attribute("href", &format!("cid:{content_id}")).text("");
                }
            }
            writer.end();
        }
        writer.end();
    }
    writer.finish()
}

fn covered(contents: &[Content], method: DigestMethod) -> Vec<Planned> {
    let mut covered = Vec::new();
    for (at, content) in contents.iter().enumerate() {
        let target = Target::Element(format!("content{at}"));
        match content {
            Content::Inline(_) => covered.push(Planned {
                target,
                form: Form::Base64,
                digest_method: method,
                attachment_digest: None,
            }),
            Content::Attachment { content_id, digest } => {
                covered.push(Planned::canonical(target, inclusive(), method));
                covered.push(Planned::attachment(content_id, method, digest.clone()));
            }
        }
    }
    covered
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::mime::content_id::ContentId;
    use crate::mime::write::Boundary;
    use crate::osci::envelope::authors::Outcome;
    use crate::osci::envelope::read::{self, Incoming, Received};
    use crate::osci::envelope::scope::Scope;
    use crate::osci::envelope::write::{Outgoing, OutgoingAttachment};
    use crate::osci::envelope::{Limits, fixture};
    use crate::osci::message::certificates::{NonIntermediaryCertificates, Role};
    use crate::osci::message::kind::{Kind, Operation};

    const OCTETS: &[u8] = b"attached\r\n";

    fn package(signed: bool) -> String {
        let certificate = Certificate::new(Role::SignatureOriginator, fixture::certificate());
        let mut digest = DigestMethod::Sha512.begin();
        digest.update(OCTETS);
        let digest = digest.finish().as_ref().to_vec();
        let contents = [
            Content::Inline("Grüße <&>".as_bytes().to_vec()),
            Content::Attachment { content_id: "a.bin".to_owned(), digest },
            Content::Inline(vec![7; 200]),
        ];
        let signer = fixture::signer();
        let author = Author {
            signer: &signer,
            method: SignatureMethod::RsaPssSha512,
            digest_method: DigestMethod::Sha512,
            certificate: &certificate,
        };
        compose(&contents, signed.then_some(&author)).expect("composed")
    }

    /// The package in a delivery, as its reader gets it.
    fn delivered(package: &str) -> (Vec<u8>, Box<Received>) {
        let mut message = fixture::message(Kind::Request(Operation::StoreDelivery));
        let certificates = vec![Certificate::new(Role::SignatureOriginator, fixture::certificate())];
        message.certificates = Some(NonIntermediaryCertificates::new(certificates).expect("certificates"));
        let scope = Scope::standard();
        let boundary = Boundary::from_text("B").expect("a boundary");
        let mut outgoing = Outgoing::new(&message, &scope, boundary);
        outgoing.content = Some(Arc::new(package.as_bytes().to_vec()));
        let id = ContentId::from_header("a.bin").expect("an id");
        let octets = Arc::new(OCTETS.to_vec());
        outgoing.attachments.push(OutgoingAttachment::new(id, "application/octet-stream", octets));
        let bytes = outgoing.prepare().and_then(|prepared| prepared.to_vec()).expect("written");
        match read::read(&mut bytes.as_slice(), &Limits::default()).expect("read") {
            Incoming::Message(received) => (bytes, received),
            other => panic!("{other:?}"),
        }
    }

    fn outcomes(package: &str) -> Vec<(bool, Vec<String>)> {
        let (bytes, received) = delivered(package);
        let Some(authors) = received.authors(&Limits::default()) else { return Vec::new() };
        let soap = received.soap_span.start as usize..received.soap_span.end as usize;
        let reports = authors.verify(&mut &bytes[soap]).expect("verified");
        reports.into_iter().map(|r| (matches!(r.outcome, Outcome::Verified(_)), r.uncovered)).collect()
    }

    #[test]
    fn an_authors_signature_holds_where_the_package_is_put() {
        let signed = package(true);
        assert_eq!(outcomes(&signed), [(true, vec![])]);
        assert_eq!(outcomes(&package(false)), []);
        // A content that nobody signed is found out, and so is a changed one.
        let smuggled = signed.replacen(
            "<osci:Content>",
            "<osci:Content><osci:Base64Content Id=\"other\">YQ==</osci:Base64Content></osci:Content><osci:Content>",
            1,
        );
        assert_eq!(outcomes(&smuggled), [(true, vec!["other".to_owned()])]);
        let changed = signed.replacen("BwcH", "BwcI", 1);
        assert_ne!(changed, signed);
        assert_eq!(outcomes(&changed), [(false, vec![])]);
    }
}
