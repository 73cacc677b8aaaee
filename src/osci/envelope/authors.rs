//! Signatures of authors over content in the clear (OSCI12, section 8.1): found while the message is read, verified
//! in a second pass over its SOAP part, because a signature may stand before or behind what it covers.
//!
//! Left out: signatures inside encrypted content, which are nobody's business but the reader's.

use std::collections::HashSet;
use std::io::Read;
use std::ops::Range;

use super::attachment::Attachment;
use super::content::{Content, Package};
use super::signature::{reference_to, signer_id, signing_key};
use super::{Error, Limits};
use crate::osci::message::certificates::{Certificate, NonIntermediaryCertificates};
use crate::xml::dsig::signature::Signature;
use crate::xml::dsig::verify::{SignatureVerified, Verification};
use crate::xml::dsig::{self, Target};
use crate::xml::namespaces::Context;
use crate::xml::read::{Permit, Reader as XmlReader};

/// What was found about one signature.
#[derive(Debug)]
pub struct AuthorReport {
    /// The container it stands in.
    pub container_id: Option<String>,
    /// The certificate that it names, if the message holds it for signatures of authors.
    pub certificate: Option<Certificate>,
    pub outcome: Outcome,
    /// Contents of the container that it does not cover: ids, and `cid:` URIs of attachments.
    pub uncovered: Vec<String>,
}

#[derive(Debug)]
pub enum Outcome {
    Verified(Box<SignatureVerified>),
    /// It covers encrypted content inside a container, which clients digest in a way of their own: nothing is said.
    Indeterminate,
    Refused(String),
}

struct Candidate {
    container_id: Option<String>,
    certificate: Option<Certificate>,
    signature: Option<Signature>,
    state: Result<Verification, Outcome>,
    uncovered: Vec<String>,
}

/// Verifies all signatures of a package at once.
pub struct Authors {
    xml: XmlReader,
    candidates: Vec<Candidate>,
    attachments: Vec<Attachment>,
}

impl Authors {
    pub(super) fn new(
        package: &Package,
        certificates: Option<&NonIntermediaryCertificates>,
        attachments: &[Attachment],
        limits: &Limits,
    ) -> Self {
        let candidates = package.signatures.iter().map(|found| {
            let container = package.container_of(&found.span());
            let (signature, state) = match &found.signature {
                Err(error) => (None, Err(Outcome::Refused(error.to_string()))),
                Ok(signature) if covers_encrypted(signature, package) => {
                    (Some(signature.clone()), Err(Outcome::Indeterminate))
                }
                Ok(signature) => (Some(signature.clone()), Ok(Verification::new(signature.clone()))),
            };
            let id = signature.as_ref().and_then(|signature| signer_id(signature).ok());
            let certificate = id.and_then(|id| certificates?.by_id(&id)).filter(|c| c.role.is_signature());
            let uncovered = uncovered(package, &found.span(), signature.as_ref());
            Candidate {
                container_id: container.and_then(|at| package.containers.get(at)?.id.clone()),
                certificate: certificate.cloned(),
                signature,
                state,
                uncovered,
            }
        });
        Self {
            candidates: candidates.collect(),
            xml: XmlReader::new(limits.xml.clone()),
            attachments: attachments.to_vec(),
        }
    }

    /// Takes the next bytes of the SOAP part.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut input = bytes;
        loop {
            self.push_runs(&mut input)?;
            let Some(event) = self.xml.next_event(&mut input)? else { break };
            for candidate in &mut self.candidates {
                if let Ok(verification) = &mut candidate.state
                    && let Err(error) = verification.push(&event)
                {
                    candidate.state = Err(Outcome::Refused(error.to_string()));
                }
            }
        }
        Ok(())
    }

    /// Content is mostly plain, and goes to all digests as it stands.
    fn push_runs(&mut self, input: &mut &[u8]) -> Result<(), Error> {
        let Self { candidates, xml, .. } = self;
        let takes = |candidates: &[Candidate]| {
            candidates.iter().filter_map(Candidate::running).all(Verification::takes_runs)
        };
        while takes(candidates) {
            let permit = |context: &Context, prefix: &str| {
                let permits = candidates.iter().filter_map(Candidate::running);
                permits.map(|one| one.permit(context, prefix)).fold(Permit::Unread, Permit::and)
            };
            let Some(run) = xml.plain_run(input, permit)? else { break };
            for candidate in candidates.iter_mut() {
                if let Ok(verification) = &mut candidate.state {
                    verification.push_run(run.clone());
                }
            }
        }
        Ok(())
    }

    /// Takes all of a source that holds the SOAP part and nothing else, and finishes.
    pub fn verify(mut self, soap_part: &mut dyn Read) -> Result<Vec<AuthorReport>, Error> {
        let mut piece = vec![0; 64 * 1024];
        loop {
            match soap_part.read(&mut piece) {
                Ok(0) => return self.finish(),
                Ok(read) => self.push(piece.get(..read).unwrap_or_default())?,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Input(error.kind())),
            }
        }
    }

    /// One report for each signature, in the order of the package.
    pub fn finish(self) -> Result<Vec<AuthorReport>, Error> {
        self.xml.finish()?;
        let attachments = self.attachments;
        Ok(self.candidates.into_iter().map(|candidate| candidate.finish(&attachments)).collect())
    }
}

impl Candidate {
    fn running(&self) -> Option<&Verification> {
        self.state.as_ref().ok()
    }

    fn finish(self, attachments: &[Attachment]) -> AuthorReport {
        let outcome = match self.state {
            Err(outcome) => outcome,
            Ok(verification) => {
                match judge(self.signature.as_ref(), verification, self.certificate.as_ref(), attachments) {
                    Ok(verified) => Outcome::Verified(Box::new(verified)),
                    Err(why) => Outcome::Refused(why),
                }
            }
        };
        AuthorReport {
            container_id: self.container_id,
            certificate: self.certificate,
            outcome,
            uncovered: self.uncovered,
        }
    }
}

fn judge(
    signature: Option<&Signature>,
    mut verification: Verification,
    certificate: Option<&Certificate>,
    attachments: &[Attachment],
) -> Result<SignatureVerified, String> {
    let signature = signature.ok_or("it cannot be read")?;
    let certificate = certificate.ok_or("the message does not hold the certificate of the author")?;
    let key = signing_key(&certificate.der).map_err(|refused| refused.to_string())?;
    for attachment in attachments {
        if let Some((id, method)) = reference_to(signature, attachment)
            && let Some(digest) = attachment.digest(method)
        {
            verification.attachment(id, digest);
        }
    }
    verification.finish(&key).map_err(|error: dsig::Error| error.to_string())
}

fn covers_encrypted(signature: &Signature, package: &Package) -> bool {
    let ids: HashSet<&str> = package.encrypted.iter().filter_map(|(id, _)| id.as_deref()).collect();
    signature
        .references()
        .iter()
        .any(|reference| matches!(&reference.target, Target::Element(id) if ids.contains(id.as_str())))
}

/// The contents directly in the signature's container to which it has no reference.
fn uncovered(package: &Package, span: &Range<u64>, signature: Option<&Signature>) -> Vec<String> {
    let Some(around) = package.container_of(span) else { return Vec::new() };
    let references = signature.map(Signature::references).unwrap_or_default();
    let targets: HashSet<&Target> = references.iter().map(|reference| &reference.target).collect();
    let mut missing = Vec::new();
    for content in &package.contents {
        let (Content::Inline { container, .. } | Content::Attachment { container, .. }) = content;
        if *container != Some(around) {
            continue;
        }
        let (target, name) = match content {
            Content::Inline { id, .. } => {
                let id = id.clone().unwrap_or_default();
                (Target::Element(id.clone()), id)
            }
            Content::Attachment { content_id, .. } => {
                (Target::Attachment(content_id.clone()), format!("cid:{content_id}"))
            }
        };
        if !targets.contains(&target) {
            missing.push(name);
        }
    }
    missing
}
