//! XML Signature (W3C Recommendation, second edition) for what OSCI-Transport 1.2 and our own process cards need.
//!
//! Verification takes two passes over the same bytes: [`signature::Collector`] finds the signatures, and
//! [`verify::Verification`] digests what one of them refers to. The result, [`verify::SignatureVerified`], says which
//! elements (by their bytes) and attachments were covered; who processes anything else was fooled.
//!
//! Left out on purpose: XPath, XSLT, external URIs, RetrievalMethod and any key taken from KeyInfo (the caller hands
//! the key in), HMAC, SHA-1, RIPEMD-160, MD5. Verified but not made: brainpool curves, PSS with SHA-3.

mod key;
pub mod sign;

pub mod signature;
pub mod verify;

use aws_lc_rs::digest;

use super::read::Name;
use super::{Error as XmlError, NS_XML};

pub const NS_DSIG: &str = "http://www.w3.org/2000/09/xmldsig#";
const NS_WSU: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd";
const NS_EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
const BASE64: &str = "http://www.w3.org/2000/09/xmldsig#base64";

/// Bounds on signatures and on the work they cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub signatures_max: usize,
    pub references_max: usize,
    /// References digested at the same place of the document; nested ones multiply the work.
    pub references_nested_max: usize,
    pub signed_info_bytes_max: usize,
    /// ID attributes of the document; all are kept to find a second one of the same value.
    pub ids_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            signatures_max: 32,
            references_max: 1000,
            references_nested_max: 4,
            signed_info_bytes_max: 1 << 20,
            ids_max: 20_000,
        }
    }
}

/// Whether an attribute is an ID, as references look for them: the unprefixed one in any case, wsu:Id and xml:id.
pub fn is_id(name: &Name<'_>) -> bool {
    match name.ns {
        "" => name.local.eq_ignore_ascii_case("id"),
        NS_WSU => name.local == "Id",
        NS_XML => name.local == "id",
        _ => false,
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Xml(#[from] XmlError),
    #[error("signature is malformed: {0}")]
    Malformed(&'static str),
    #[error("{limit} is {value}")]
    LimitExceeded { limit: &'static str, value: usize },
    #[error("algorithm is unknown or not allowed: {0}")]
    Algorithm(String),
    #[error("transforms are not among those allowed here: {0}")]
    Transforms(String),
    #[error("reference is neither the document, an element of it nor an attachment: {0}")]
    ReferenceUri(String),
    #[error("two references to {0}")]
    ReferenceTwice(String),
    #[error("two elements have the ID {0}")]
    IdTwice(String),
    #[error("nothing has the ID {0}")]
    TargetMissing(String),
    #[error("enveloped signature is not inside {0}")]
    NotEnveloped(String),
    #[error("digest of {0} was not handed in")]
    AttachmentMissing(String),
    #[error("digest of {0} differs")]
    DigestDiffers(String),
    #[error("base64 of {0} is malformed")]
    Base64(String),
    #[error("signature is not in the document that was digested")]
    SignatureMissing,
    #[error("what was signed reads differently from what stands in the document")]
    SignedInfoDiffers,
    #[error("public key is malformed or of a kind that does not fit the signature method")]
    Key,
    #[error("signature value does not verify")]
    SignatureInvalid,
    #[error("signature covers other things than expected: missing {missing:?}, unexpected {unexpected:?}")]
    Coverage { missing: Vec<String>, unexpected: Vec<String> },
    #[error("signing failed: {0}")]
    Signing(&'static str),
}

/// A digest algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DigestMethod {
    Sha256,
    Sha384,
    Sha512,
    Sha3_256,
    Sha3_384,
    Sha3_512,
}

impl DigestMethod {
    const ALL: [Self; 6] =
        [Self::Sha256, Self::Sha384, Self::Sha512, Self::Sha3_256, Self::Sha3_384, Self::Sha3_512];

    pub fn uri(self) -> &'static str {
        match self {
            Self::Sha256 => "http://www.w3.org/2001/04/xmlenc#sha256",
            Self::Sha384 => "http://www.w3.org/2001/04/xmldsig-more#sha384",
            Self::Sha512 => "http://www.w3.org/2001/04/xmlenc#sha512",
            Self::Sha3_256 => "http://www.w3.org/2007/05/xmldsig-more#sha3-256",
            Self::Sha3_384 => "http://www.w3.org/2007/05/xmldsig-more#sha3-384",
            Self::Sha3_512 => "http://www.w3.org/2007/05/xmldsig-more#sha3-512",
        }
    }

    pub fn from_uri(uri: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|method| method.uri() == uri)
            .ok_or_else(|| Error::Algorithm(shortened(uri)))
    }

    /// A running digest, also for the attachments that the caller sees passing.
    pub fn begin(self) -> digest::Context {
        digest::Context::new(match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
            Self::Sha3_256 => &digest::SHA3_256,
            Self::Sha3_384 => &digest::SHA3_384,
            Self::Sha3_512 => &digest::SHA3_512,
        })
    }
}

/// A signature algorithm. ECDSA values are r and s side by side, as XML Signature has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureMethod {
    RsaSha256,
    RsaSha384,
    RsaSha512,
    RsaPssSha256,
    RsaPssSha384,
    RsaPssSha512,
    RsaPssSha3_256,
    RsaPssSha3_384,
    RsaPssSha3_512,
    EcdsaSha256,
    EcdsaSha384,
    EcdsaSha512,
}

impl SignatureMethod {
    const ALL: [Self; 12] = [
        Self::RsaSha256,
        Self::RsaSha384,
        Self::RsaSha512,
        Self::RsaPssSha256,
        Self::RsaPssSha384,
        Self::RsaPssSha512,
        Self::RsaPssSha3_256,
        Self::RsaPssSha3_384,
        Self::RsaPssSha3_512,
        Self::EcdsaSha256,
        Self::EcdsaSha384,
        Self::EcdsaSha512,
    ];

    pub fn uri(self) -> &'static str {
        match self {
            Self::RsaSha256 => "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            Self::RsaSha384 => "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384",
            Self::RsaSha512 => "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512",
            Self::RsaPssSha256 => "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1",
            Self::RsaPssSha384 => "http://www.w3.org/2007/05/xmldsig-more#sha384-rsa-MGF1",
            Self::RsaPssSha512 => "http://www.w3.org/2007/05/xmldsig-more#sha512-rsa-MGF1",
            Self::RsaPssSha3_256 => "http://www.w3.org/2007/05/xmldsig-more#sha3-256-rsa-MGF1",
            Self::RsaPssSha3_384 => "http://www.w3.org/2007/05/xmldsig-more#sha3-384-rsa-MGF1",
            Self::RsaPssSha3_512 => "http://www.w3.org/2007/05/xmldsig-more#sha3-512-rsa-MGF1",
            Self::EcdsaSha256 => "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
            Self::EcdsaSha384 => "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384",
            Self::EcdsaSha512 => "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512",
        }
    }

    pub fn from_uri(uri: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|method| method.uri() == uri)
            .ok_or_else(|| Error::Algorithm(shortened(uri)))
    }
}

/// What a reference points to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// `URI=""`.
    Document,
    /// `URI="#id"`.
    Element(String),
    /// `URI="cid:…"`, the part after the colon as written.
    Attachment(String),
}

impl Target {
    fn from_uri(uri: &str) -> Result<Self, Error> {
        if uri.is_empty() {
            return Ok(Self::Document);
        }
        let parsed = match uri.strip_prefix('#') {
            Some(id) if super::chars::is_ncname(id) => Some(Self::Element(id.to_owned())),
            Some(_) => None,
            None => {
                uri.strip_prefix("cid:").filter(|id| !id.is_empty()).map(|id| Self::Attachment(id.to_owned()))
            }
        };
        parsed.ok_or_else(|| Error::ReferenceUri(shortened(uri)))
    }

    pub fn uri(&self) -> String {
        match self {
            Self::Document => String::new(),
            Self::Element(id) => format!("#{id}"),
            Self::Attachment(id) => format!("cid:{id}"),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Document => f.write_str("the document"),
            _ => f.write_str(&self.uri()),
        }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests;
