//! XML Encryption 1.1 (and the parts of 1.0 that old peers need) for EncryptedData whose key is wrapped with RSA for
//! one or several recipients; OSCI-Transport 1.2 names the algorithms. Content stands inline in CipherValue or, by a
//! CipherReference, in an attachment.
//!
//! [`EncryptedData`] is what such an element says, before anything secret is touched. With the caller's key it opens
//! into an [`Opening`], which takes the content as it arrives and releases it after its tag was verified. [`encrypt`]
//! and [`decrypt`] do the same for small content, inline.
//!
//! Every trouble of decryption is the one [`Error::Undecryptable`], and a key that does not unwrap is replaced by a
//! random one, so that neither answer nor work tells a padding oracle anything.
//!
//! Left out: key agreement, AES key wrap, Triple DES, OAEP labels, transforms of a CipherReference (the caller
//! decodes base64 where the attachment says so). AES-CBC and RSA 1.5 are made for peers that read nothing else.

use std::io::{Cursor, Read as _};

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::dsig::NS_DSIG;
use super::tree::Element;
use super::write::Writer;

mod element;
#[allow(unsafe_code)]
mod gcm;
#[allow(unsafe_code)]
mod rsa;
mod stream;

pub use element::{Content, EncryptedData, EncryptedKey};
pub use rsa::RecipientKey;
pub use stream::{Decrypted, Opening, Sealing, Written};

pub const NS_XENC: &str = "http://www.w3.org/2001/04/xmlenc#";
pub const NS_XENC11: &str = "http://www.w3.org/2009/xmlenc11#";
/// The namespace of OSCI's IvLength.
pub const NS_OSCI128: &str = "http://xoev.de/transport/osci12/8";
/// EncryptedKey elements that are looked at.
const RECIPIENTS_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Whatever went wrong: a sender who may try again must not learn what.
    #[error("content cannot be decrypted")]
    Undecryptable,
    #[error("content cannot be encrypted for a recipient's key")]
    Encrypting,
    /// Nothing about the content: the disk is full, or the like.
    #[error("spool cannot be used: {0}")]
    Spool(std::io::ErrorKind),
    /// Nothing about the content: its source broke off.
    #[error("input could not be read: {0}")]
    Input(std::io::ErrorKind),
}

/// What is accepted beside AES-GCM and RSA-OAEP with SHA-2 or SHA-3, and how GCM content is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// The initialisation vector of GCM content that does not state its length. OSCI means sixteen.
    pub iv: IvLength,
    /// AES-CBC: whoever can change it can change its meaning. Never without a signature over the ciphertext.
    pub cbc: bool,
    /// RSA with PKCS#1 1.5 padding.
    pub rsa_1_5: bool,
    /// OAEP with SHA-1 for digest or mask.
    pub oaep_sha1: bool,
}

/// The initialisation vector before a GCM ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IvLength {
    /// 12 bytes, as XML Encryption has it.
    #[default]
    Twelve,
    /// 16 bytes, as OSCI has it where no length is stated.
    Sixteen,
}

impl IvLength {
    fn bytes(self) -> usize {
        match self {
            Self::Twelve => 12,
            Self::Sixteen => 16,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentMethod {
    Aes128Gcm,
    Aes192Gcm,
    Aes256Gcm,
    Aes128Cbc,
    Aes192Cbc,
    Aes256Cbc,
}

impl ContentMethod {
    const ALL: [Self; 6] = [
        Self::Aes128Gcm,
        Self::Aes192Gcm,
        Self::Aes256Gcm,
        Self::Aes128Cbc,
        Self::Aes192Cbc,
        Self::Aes256Cbc,
    ];

    pub fn uri(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "http://www.w3.org/2009/xmlenc11#aes128-gcm",
            Self::Aes192Gcm => "http://www.w3.org/2009/xmlenc11#aes192-gcm",
            Self::Aes256Gcm => "http://www.w3.org/2009/xmlenc11#aes256-gcm",
            Self::Aes128Cbc => "http://www.w3.org/2001/04/xmlenc#aes128-cbc",
            Self::Aes192Cbc => "http://www.w3.org/2001/04/xmlenc#aes192-cbc",
            Self::Aes256Cbc => "http://www.w3.org/2001/04/xmlenc#aes256-cbc",
        }
    }

    fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.uri() == uri)
    }

    pub fn is_cbc(self) -> bool {
        matches!(self, Self::Aes128Cbc | Self::Aes192Cbc | Self::Aes256Cbc)
    }

    fn key_bytes(self) -> usize {
        match self {
            Self::Aes128Gcm | Self::Aes128Cbc => 16,
            Self::Aes192Gcm | Self::Aes192Cbc => 24,
            Self::Aes256Gcm | Self::Aes256Cbc => 32,
        }
    }
}

/// A hash of RSA-OAEP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OaepHash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
    Sha3_256,
    Sha3_384,
    Sha3_512,
}

/// How a key is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyTransport {
    Oaep { digest: OaepHash, mask: OaepHash },
    Rsa15,
}

impl KeyTransport {
    pub const OAEP_SHA256: Self = Self::Oaep { digest: OaepHash::Sha256, mask: OaepHash::Sha256 };
    pub const OAEP_SHA512: Self = Self::Oaep { digest: OaepHash::Sha512, mask: OaepHash::Sha512 };

    fn is_allowed(self, policy: &Policy) -> bool {
        match self {
            Self::Rsa15 => policy.rsa_1_5,
            Self::Oaep { digest, mask } => {
                policy.oaep_sha1 || (digest != OaepHash::Sha1 && mask != OaepHash::Sha1)
            }
        }
    }
}

/// Somebody who shall be able to decrypt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The public key of the recipient's certificate (SubjectPublicKeyInfo, DER).
    pub spki_der: Vec<u8>,
    /// Content of KeyInfo by which the recipient finds the key, as XML that declares its own prefixes (`ds` is
    /// declared).
    pub key_info: String,
}

impl Recipient {
    /// One who is named by the certificate itself, as OSCI's transport envelope wants it.
    pub fn by_certificate(certificate_der: &[u8], spki_der: Vec<u8>) -> Self {
        let mut writer = Writer::new();
        writer.start("ds:X509Data").element("ds:X509Certificate", &STANDARD.encode(certificate_der));
        Self { spki_der, key_info: writer.finish() }
    }
}

/// How content is encrypted, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub method: ContentMethod,
    pub iv: IvLength,
    pub transport: KeyTransport,
    pub recipients: Vec<Recipient>,
}

/// The key of one content with the method it is for.
struct ContentKey {
    octets: Vec<u8>,
    method: ContentMethod,
    iv: IvLength,
}

impl ContentKey {
    /// A fresh key; none if the provider has no random numbers.
    fn random(method: ContentMethod, iv: IvLength) -> Option<Self> {
        let mut octets = vec![0; method.key_bytes()];
        rand::fill(&mut octets).ok()?;
        Some(Self { octets, method, iv })
    }

    fn octets(&self) -> &[u8] {
        &self.octets
    }

    fn is_cbc(&self) -> bool {
        self.method.is_cbc()
    }

    fn iv_bytes(&self) -> usize {
        if self.is_cbc() { 16 } else { self.iv.bytes() }
    }
}

impl Plan {
    /// Begins content that goes to `out` as octets, and hands out the EncryptedData element that refers to it by
    /// the attachment's content id. An initialisation vector of 12 bytes is stated with OSCI's IvLength.
    pub fn seal_attachment<W: std::io::Write>(
        &self,
        content_id: &str,
        mime_type: &str,
        out: W,
    ) -> Result<(String, Sealing<W>), Error> {
        let begun = self.begin_attachment(content_id, mime_type)?;
        let element = begun.element.clone();
        Ok((element, begun.seal(out)?))
    }

    /// The same for content that goes out behind the element.
    pub fn begin_attachment(&self, content_id: &str, mime_type: &str) -> Result<Begun, Error> {
        let key = ContentKey::random(self.method, self.iv).ok_or(Error::Encrypting)?;
        let element = element::write_with_reference(self, &key, content_id, mime_type)?;
        Ok(Begun { key, element })
    }
}

/// A fresh key, good for one content, and the EncryptedData element that hands it to the recipients.
pub struct Begun {
    key: ContentKey,
    element: String,
}

impl Begun {
    pub fn element(&self) -> &str {
        &self.element
    }

    /// Begins the content, which goes to `out` as octets.
    pub fn seal<W: std::io::Write>(self, out: W) -> Result<Sealing<W>, Error> {
        Sealing::new(&self.key, out)
    }
}

/// Encrypts small content for several recipients and writes the EncryptedData element with the content inline.
pub fn encrypt(plaintext: &[u8], plan: &Plan) -> Result<String, Error> {
    let key = ContentKey::random(plan.method, plan.iv).ok_or(Error::Encrypting)?;
    let mut sealing = Sealing::new(&key, Vec::with_capacity(plaintext.len() + 32))?;
    sealing.push(plaintext)?;
    element::write_inline(plan, &key, &sealing.finish()?)
}

/// Decrypts an EncryptedData element with inline content. `is_mine` is shown the KeyInfo of each EncryptedKey and
/// says whether it names the certificate that belongs to `key`.
pub fn decrypt(
    data: &Element,
    is_mine: &dyn Fn(&Element) -> bool,
    key: &RecipientKey,
    policy: &Policy,
) -> Result<Vec<u8>, Error> {
    let data = EncryptedData::from_element(data, policy)?;
    let mine = data.keys().iter().find(|wrapped| wrapped.key_info().is_some_and(is_mine));
    let (Some(mine), Content::Inline(content)) = (mine, data.content()) else {
        return Err(Error::Undecryptable);
    };
    let mut opening = data.open(mine, key, Written::Octets, Cursor::new(Vec::new()))?;
    opening.push(content)?;
    let mut plaintext = Vec::new();
    opening.finish()?.read_to_end(&mut plaintext).map_err(|error| Error::Spool(error.kind()))?;
    Ok(plaintext)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wycheproof_tests;
