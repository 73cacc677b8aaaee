//! XML Encryption 1.1 (and the parts of 1.0 that old peers need) for EncryptedData with inline CipherValue, whose key
//! is wrapped with RSA for one or several recipients; OSCI-Transport 1.2 names the algorithms.
//!
//! Every trouble of decryption is the one [`Error::Undecryptable`], and a key that does not unwrap is replaced by a
//! random one, so that neither answer nor work tells a padding oracle anything. Plaintext leaves only after the tag
//! was verified.
//!
//! Left out: streaming to disk (bytes in, bytes out; the caller bounds the size), CipherReference, key agreement,
//! AES key wrap, Triple DES, OAEP labels, and OAEP whose mask uses another hash than the digest.

use aws_lc_rs::cipher::{self, DecryptingKey, DecryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand;
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512,
    OaepAlgorithm, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, Pkcs1PrivateDecryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::dsig::NS_DSIG;
use super::tree::Element;
use super::write::Writer;
use crate::mime::transfer::Base64Decoder;

mod gcm;

pub const NS_XENC: &str = "http://www.w3.org/2001/04/xmlenc#";
pub const NS_XENC11: &str = "http://www.w3.org/2009/xmlenc11#";
/// EncryptedKey elements that are looked at.
const RECIPIENTS_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Whatever went wrong: a sender who may try again must not learn what.
    #[error("content cannot be decrypted")]
    Undecryptable,
    #[error("content cannot be encrypted for a recipient's key")]
    Encrypting,
}

/// What is accepted beside AES-GCM and RSA-OAEP with SHA-2, and how GCM content is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    pub iv: IvLength,
    /// AES-CBC: whoever can change it can change its meaning. Never without a signature over the ciphertext.
    pub cbc: bool,
    /// RSA with PKCS#1 1.5 padding.
    pub rsa_1_5: bool,
    /// The old OAEP, with SHA-1 for digest and mask.
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
}

impl ContentMethod {
    pub fn uri(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "http://www.w3.org/2009/xmlenc11#aes128-gcm",
            Self::Aes192Gcm => "http://www.w3.org/2009/xmlenc11#aes192-gcm",
            Self::Aes256Gcm => "http://www.w3.org/2009/xmlenc11#aes256-gcm",
        }
    }

    fn key_bytes(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes192Gcm => 24,
            Self::Aes256Gcm => 32,
        }
    }
}

/// The hash of RSA-OAEP, for digest and mask alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OaepHash {
    Sha256,
    Sha512,
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

/// Encrypts for several recipients and writes the EncryptedData element.
pub fn encrypt(
    plaintext: &[u8],
    method: ContentMethod,
    iv: IvLength,
    hash: OaepHash,
    recipients: &[Recipient],
) -> Result<String, Error> {
    let mut key = vec![0; method.key_bytes()];
    let mut nonce = vec![0; iv.bytes()];
    rand::fill(&mut key).and_then(|()| rand::fill(&mut nonce)).map_err(|_| Error::Encrypting)?;
    let sealed = gcm::seal(&key, &nonce, plaintext).ok_or(Error::Encrypting)?;
    let mut writer = Writer::new();
    writer.start("xenc:EncryptedData").namespace("xenc", NS_XENC).namespace("ds", NS_DSIG);
    writer.start("xenc:EncryptionMethod").attribute("Algorithm", method.uri()).end();
    writer.start("ds:KeyInfo");
    let (algorithm, digest, mask) = match hash {
        OaepHash::Sha256 => {
            (&OAEP_SHA256_MGF1SHA256, "http://www.w3.org/2001/04/xmlenc#sha256", "mgf1sha256")
        }
        OaepHash::Sha512 => {
            (&OAEP_SHA512_MGF1SHA512, "http://www.w3.org/2001/04/xmlenc#sha512", "mgf1sha512")
        }
    };
    for Recipient { spki_der, key_info } in recipients {
        let wrapped = wrap(&key, algorithm, spki_der).ok_or(Error::Encrypting)?;
        writer.start("xenc:EncryptedKey").start("xenc:EncryptionMethod");
        writer.attribute("Algorithm", "http://www.w3.org/2009/xmlenc11#rsa-oaep");
        writer.start("ds:DigestMethod").attribute("Algorithm", digest).end();
        writer.start("xenc11:MGF").namespace("xenc11", NS_XENC11);
        writer.attribute("Algorithm", &format!("{NS_XENC11}{mask}")).end().end();
        writer.start("ds:KeyInfo").raw(key_info).end();
        writer.start("xenc:CipherData").element("xenc:CipherValue", &STANDARD.encode(wrapped)).end().end();
    }
    writer.end();
    writer.start("xenc:CipherData").element("xenc:CipherValue", &STANDARD.encode(sealed));
    Ok(writer.finish())
}

fn wrap(key: &[u8], algorithm: &'static OaepAlgorithm, spki_der: &[u8]) -> Option<Vec<u8>> {
    let public = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(spki_der).ok()?).ok()?;
    let mut out = vec![0; public.ciphertext_size()];
    Some(public.encrypt(algorithm, key, &mut out, None).ok()?.to_vec())
}

/// Decrypts an EncryptedData element. `is_mine` is shown the KeyInfo of each EncryptedKey and says whether it names
/// the certificate that belongs to `pkcs8` (an RSA key, PKCS#8, DER).
pub fn decrypt(
    data: &Element,
    is_mine: &dyn Fn(&Element) -> bool,
    pkcs8: &[u8],
    policy: &Policy,
) -> Result<Vec<u8>, Error> {
    try_decrypt(data, is_mine, pkcs8, policy).ok_or(Error::Undecryptable)
}

fn try_decrypt(
    data: &Element,
    is_mine: &dyn Fn(&Element) -> bool,
    pkcs8: &[u8],
    policy: &Policy,
) -> Option<Vec<u8>> {
    if !data.is(NS_XENC, "EncryptedData") {
        return None;
    }
    let uri = method(data)?.attribute("", "Algorithm")?;
    let (is_gcm, key_bytes) = match uri.strip_prefix(NS_XENC11).or(uri.strip_prefix(NS_XENC))? {
        "aes128-gcm" => (true, 16),
        "aes192-gcm" => (true, 24),
        "aes256-gcm" => (true, 32),
        "aes128-cbc" if policy.cbc => (false, 16),
        "aes192-cbc" if policy.cbc => (false, 24),
        "aes256-cbc" if policy.cbc => (false, 32),
        _ => return None,
    };
    let keys = data.child(NS_DSIG, "KeyInfo")?.children_named(NS_XENC, "EncryptedKey");
    let encrypted_key = keys
        .take(RECIPIENTS_MAX)
        .find(|encrypted| encrypted.child(NS_DSIG, "KeyInfo").is_some_and(is_mine))?;
    let content = cipher_value(data)?;
    let mut key = vec![0; key_bytes];
    rand::fill(&mut key).ok()?;
    // From here on a wrong key goes the way of a right one: it is the random one, and the content will not open.
    if let Some(unwrapped) = unwrap(encrypted_key, pkcs8, policy)
        && unwrapped.len() == key_bytes
    {
        key = unwrapped;
    }
    if is_gcm { gcm::open(&key, policy.iv.bytes(), &content) } else { open_cbc(&key, &content) }
}

fn method(element: &Element) -> Option<&Element> {
    element.child(NS_XENC, "EncryptionMethod")
}

fn cipher_value(element: &Element) -> Option<Vec<u8>> {
    let value = element.descend(&[(NS_XENC, "CipherData"), (NS_XENC, "CipherValue")])?;
    if value.children().next().is_some() {
        return None;
    }
    let mut decoder = Base64Decoder::new();
    let mut octets = Vec::new();
    decoder.decode(value.text().as_bytes(), &mut octets).ok()?;
    decoder.finish().ok()?;
    Some(octets)
}

fn unwrap(encrypted: &Element, pkcs8: &[u8], policy: &Policy) -> Option<Vec<u8>> {
    let method = method(encrypted)?;
    let wrapped = cipher_value(encrypted)?;
    let private = PrivateDecryptingKey::from_pkcs8(pkcs8).ok()?;
    let mut out = vec![0; private.key_size_bytes()];
    let uri = method.attribute("", "Algorithm")?;
    if uri == "http://www.w3.org/2001/04/xmlenc#rsa-1_5" {
        let private = Pkcs1PrivateDecryptingKey::new(private).ok().filter(|_| policy.rsa_1_5)?;
        return Some(private.decrypt(&wrapped, &mut out).ok()?.to_vec());
    }
    let algorithm = oaep(method, uri, policy)?;
    let private = OaepPrivateDecryptingKey::new(private).ok()?;
    Some(private.decrypt(algorithm, &wrapped, &mut out, None).ok()?.to_vec())
}

fn oaep(method: &Element, uri: &str, policy: &Policy) -> Option<&'static OaepAlgorithm> {
    if method.child(NS_XENC, "OAEPparams").is_some_and(|label| !label.text_trimmed().is_empty()) {
        return None;
    }
    let digest = method.child(NS_DSIG, "DigestMethod").and_then(|digest| digest.attribute("", "Algorithm"));
    let mask = method.child(NS_XENC11, "MGF").and_then(|mask| mask.attribute("", "Algorithm"));
    match (uri, digest, mask.map(|mask| mask.strip_prefix(NS_XENC11))) {
        (
            "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p",
            None | Some("http://www.w3.org/2000/09/xmldsig#sha1"),
            None,
        ) => policy.oaep_sha1.then_some(&OAEP_SHA1_MGF1SHA1),
        ("http://www.w3.org/2009/xmlenc11#rsa-oaep", Some(digest), Some(Some(mask))) => {
            match (digest, mask) {
                ("http://www.w3.org/2001/04/xmlenc#sha256", "mgf1sha256") => Some(&OAEP_SHA256_MGF1SHA256),
                ("http://www.w3.org/2001/04/xmldsig-more#sha384", "mgf1sha384") => {
                    Some(&OAEP_SHA384_MGF1SHA384)
                }
                ("http://www.w3.org/2001/04/xmlenc#sha512", "mgf1sha512") => Some(&OAEP_SHA512_MGF1SHA512),
                _ => None,
            }
        }
        _ => None,
    }
}

fn open_cbc(key: &[u8], content: &[u8]) -> Option<Vec<u8>> {
    let algorithm = match key.len() {
        16 => &cipher::AES_128,
        24 => &cipher::AES_192,
        _ => &cipher::AES_256,
    };
    let (iv, body) = content.split_at_checked(16)?;
    let context = DecryptionContext::Iv128(FixedLength::from(<&[u8; 16]>::try_from(iv).ok()?));
    let key = DecryptingKey::cbc(UnboundCipherKey::new(algorithm, key).ok()?).ok()?;
    let mut body = body.to_vec();
    key.decrypt(&mut body, context).ok()?;
    let padding = usize::from(*body.last()?);
    let length = body.len().checked_sub(padding).filter(|_| (1..=16).contains(&padding))?;
    body.truncate(length);
    Some(body)
}

#[cfg(test)]
mod tests;
