//! The signature over a whole message: exactly one reference to each header block, to the body and to each attachment,
//! and by the certificate of whoever must have signed (OSCI12, section 6).

use super::Error;
use super::attachment::Attachment;
use super::header::Block;
use crate::osci::message::Message;
use crate::osci::message::certificates::{Certificate, Role};
use crate::osci::message::kind::{Kind, Operation};
use crate::osci::message::names::NS_DSIG;
use crate::pki::certificate::{self as pki, KeyUsage};
use crate::xml::c14n;
use crate::xml::dsig::signature::{Form, Signature};
use crate::xml::dsig::verify::{Expected, SignatureVerified, Verification};
use crate::xml::dsig::{self, SignatureMethod, Target};
use crate::xml::tree::Element;

/// Why a signature does not hold. The message is readable all the same, and is answered with feedback.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("signature: {0}")]
    Invalid(dsig::Error),
    #[error("reference to {0} is not in inclusive canonical form")]
    Form(String),
    #[error("the certificate that KeyInfo names is not one of who must have signed")]
    CertificateMissing,
    #[error("the signer's certificate cannot be read: {0}")]
    CertificateUnreadable(String),
    #[error("the signer's certificate is not for signatures")]
    KeyUsage,
    #[error("signature covers other things than the message: missing {missing:?}, unexpected {unexpected:?}")]
    Coverage { missing: Vec<String>, unexpected: Vec<String> },
}

impl Refused {
    /// The feedback it is answered with: invalid (9601) or incomplete (9602).
    pub fn feedback(&self) -> u16 {
        match self {
            Self::Coverage { .. } => 9602,
            _ => 9601,
        }
    }
}

/// Proof that a message is signed as a whole, and by whom. Only this room makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportSignature {
    certificate: Certificate,
    verified: SignatureVerified,
}

impl TransportSignature {
    /// The signer's certificate with its role. Whether it is trusted is another question.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    pub fn method(&self) -> SignatureMethod {
        self.verified.method()
    }

    /// The digest algorithms used, each once.
    pub fn digest_methods(&self) -> Vec<dsig::DigestMethod> {
        let mut methods = Vec::new();
        for covered in self.verified.covered() {
            if !methods.contains(&covered.digest_method) {
                methods.push(covered.digest_method);
            }
        }
        methods
    }
}

/// The id of the certificate that KeyInfo points to, which is all that may stand there.
pub(super) fn signer_id(signature: &Signature) -> Result<String, Error> {
    let only_retrieval = |key_info: &Element| -> Option<String> {
        let mut children = key_info.children();
        let method = children.next().filter(|child| child.is(NS_DSIG, "RetrievalMethod"))?;
        if children.next().is_some() {
            return None;
        }
        method.attribute("", "URI")?.strip_prefix('#').map(str::to_owned)
    };
    let id = signature.key_info().and_then(only_retrieval);
    id.ok_or_else(|| Error::invalid("KeyInfo of a signature", "it is not one RetrievalMethod by Id"))
}

/// The roles of which one must have signed a message of this kind.
fn signers(kind: Kind) -> &'static [Role] {
    use Operation as O;
    match kind {
        Kind::Request(O::AcceptDelivery | O::ProcessDelivery) => &[Role::SignatureIntermediary],
        Kind::Request(_) => &[Role::SignatureOriginator],
        // The recipient is the addressee of what was pushed, and the originator of what it replies.
        Kind::Response(O::AcceptDelivery | O::ProcessDelivery) => {
            &[Role::SignatureAddressee, Role::SignatureOriginator]
        }
        Kind::Response(_) => &[Role::SignatureIntermediary],
    }
}

/// The certificate of this id, if it is one of those that may sign a message of this kind.
fn signer(message: &Message, id: &str) -> Option<Certificate> {
    let roles = signers(message.kind());
    let others = message.certificates.iter().flat_map(|certificates| certificates.all());
    let own = message.intermediary.iter().flat_map(|certificates| certificates.all());
    let mut all = others.chain(own);
    all.find(|certificate| certificate.id == id && roles.contains(&certificate.role)).cloned()
}

/// The public key of a certificate that may sign.
pub(super) fn signing_key(der: &[u8]) -> Result<Vec<u8>, Refused> {
    let certificate =
        pki::Certificate::from_der(der).map_err(|error| Refused::CertificateUnreadable(error.to_string()))?;
    let usable = certificate
        .key_usages()
        .is_none_or(|usages| usages.has(KeyUsage::DigitalSignature) || usages.has(KeyUsage::NonRepudiation));
    if usable { Ok(certificate.spki().to_vec()) } else { Err(Refused::KeyUsage) }
}

/// Finishes a verification that has seen the whole envelope.
pub(super) fn finish(
    signature: &Signature,
    verification: Verification,
    message: &Message,
    blocks: &[Block],
    attachments: &[Attachment],
) -> Result<TransportSignature, Refused> {
    let id = signer_id(signature).map_err(|_| Refused::CertificateMissing)?;
    let certificate = signer(message, &id).ok_or(Refused::CertificateMissing)?;
    let key = signing_key(&certificate.der)?;
    for reference in signature.references() {
        let whole = match (&reference.target, &reference.form) {
            (Target::Attachment(_), _) => true,
            (_, Form::Canonical { canonicalization, enveloped }) => {
                canonicalization.algorithm == c14n::Algorithm::Inclusive && !enveloped
            }
            _ => false,
        };
        if !whole {
            return Err(Refused::Form(reference.target.to_string()));
        }
    }
    let mut verification = verification;
    let mut expected: Vec<Expected> =
        blocks.iter().map(|block| Expected::Element(block.span.clone())).collect();
    for attachment in attachments {
        let reference = reference_to(signature, attachment);
        if let Some((id, method)) = reference
            && let Some(digest) = attachment.digest(method)
        {
            verification.attachment(id, digest);
        }
        let id = reference.map_or(attachment.content_id.as_str(), |(id, _)| id);
        expected.push(Expected::Attachment(id.to_owned()));
    }
    let verified = verification.finish(&key).map_err(|error| match error {
        // A reference to an attachment that is not there.
        dsig::Error::AttachmentMissing(id) => Refused::Coverage { missing: Vec::new(), unexpected: vec![id] },
        error => Refused::Invalid(error),
    })?;
    match verified.covers_exactly(&expected) {
        Ok(()) => Ok(TransportSignature { certificate, verified }),
        Err(dsig::Error::Coverage { missing, unexpected }) => Err(Refused::Coverage { missing, unexpected }),
        Err(error) => Err(Refused::Invalid(error)),
    }
}

/// How a signature names an attachment: the exact id wins over an escaped one.
pub(super) fn reference_to<'s>(
    signature: &'s Signature,
    attachment: &Attachment,
) -> Option<(&'s str, dsig::DigestMethod)> {
    let exact = signature.attachments().find(|(id, _)| *id == attachment.content_id.as_str());
    exact.or_else(|| signature.attachments().find(|(id, _)| attachment.content_id.is_named_by(id)))
}
