//! The outer envelope of an encrypted message, both ways (OSCI12, sections 1.3, 4.4 and 7).
//!
//! What is inside is released after its tag was verified. Only the first key is looked at, and only if it names one
//! of our certificates to the byte. Whatever goes wrong behind that is one refusal. AES-CBC and RSA 1.5 are made
//! only in answers to who used them, which the policy must have allowed, and reads nothing better.

use std::io::{self, Read, Seek, Write};
use std::sync::{Mutex, PoisonError};

use super::read::Sealed;
use super::write::{self, Base64Lines, Prepared, SOAP_CONTENT_ID, base64_bytes, entity_head};
use crate::mime::transfer::TransferEncoding;
use crate::mime::write::{Boundary, Framing, HeaderLines};
use crate::osci::message::feature_description::{Feature, FeatureDescription};
use crate::osci::message::kind::Schema;
use crate::osci::message::names::{NS_DSIG, NS_SOAP, NS_XENC, NS_XSI};
use crate::xml::enc::{
    self, Begun, Content, ContentMethod, Decrypted, EncryptedData, EncryptedKey, IvLength, KeyTransport,
    OaepHash, Opening, Plan, Policy, Recipient, RecipientKey, Written,
};
use crate::xml::write::Writer;

const CIPHER_CONTENT_ID: &str = "osci_enc";
const MIME_TYPE: &str = "Multipart/Related";
const TAG_BYTES: u64 = 16;
/// Of AES-CBC: its initialisation vector is one, and there is always some padding.
const BLOCK_BYTES: u64 = 16;

/// Why an encrypted message was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("outer envelope: {0}")]
    Structure(&'static str),
    #[error("message is encrypted for a certificate that is not ours")]
    NotForUs,
    /// Whatever else: who may try again must not learn what.
    #[error("message cannot be decrypted")]
    Undecryptable,
    #[error("spool cannot be used: {0}")]
    Spool(io::ErrorKind),
    #[error("input could not be read: {0}")]
    Input(io::ErrorKind),
}

impl Error {
    /// The code of the fault it is answered with.
    pub fn fault(&self) -> u16 {
        match self {
            Self::Structure(_) => 9100,
            Self::NotForUs => 9200,
            Self::Undecryptable => 9202,
            Self::Spool(_) | Self::Input(_) => 9000,
        }
    }
}

impl From<enc::Error> for Error {
    fn from(error: enc::Error) -> Self {
        match error {
            enc::Error::Undecryptable | enc::Error::Encrypting => Self::Undecryptable,
            enc::Error::Spool(kind) => Self::Spool(kind),
            enc::Error::Input(kind) => Self::Input(kind),
        }
    }
}

/// One of our cipher certificates with its key.
pub struct OwnKey<'a> {
    pub certificate_der: &'a [u8],
    pub key: &'a RecipientKey,
}

/// By what a message is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Algorithms {
    pub method: ContentMethod,
    pub iv: IvLength,
    pub transport: KeyTransport,
}

/// What is accepted by default: an initialisation vector without stated length has 16 bytes.
pub fn policy() -> Policy {
    Policy { iv: IvLength::Sixteen, ..Policy::default() }
}

impl Sealed {
    /// Decrypts into `spool`, from a source that stands at the start of the ciphertext part and ends with it.
    pub fn open<S: Read + Write + Seek + 'static>(
        &self,
        ciphertext: &mut impl Read,
        own: &[OwnKey<'_>],
        policy: &Policy,
        spool: S,
    ) -> Result<(Decrypted<S>, Algorithms), Error> {
        let (mut opening, algorithms) = self.begin(own, policy, spool)?;
        opening.push_from(ciphertext)?;
        Ok((opening.finish()?, algorithms))
    }

    /// The same for a ciphertext that is still arriving, part of whose bytes [`Opening::push`] takes. An error here is one
    /// that may be told at once.
    pub fn begin<S: Read + Write + Seek + 'static>(
        &self,
        own: &[OwnKey<'_>],
        policy: &Policy,
        spool: S,
    ) -> Result<(Opening<S>, Algorithms), Error> {
        let data = EncryptedData::from_element(&self.data, policy)?;
        match data.content() {
            Content::Attachment(id) if self.ciphertext.content_id.is_named_by(id) => {}
            _ => return Err(Error::Structure("its CipherReference does not name the second part")),
        }
        let wrapped = data.keys().first().ok_or(Error::Undecryptable)?;
        let certificate = certificate(wrapped)?;
        let own = own.iter().find(|own| own.certificate_der == certificate).ok_or(Error::NotForUs)?;
        let transport = wrapped.transport().ok_or(Error::Undecryptable)?;
        let written = match self.ciphertext.encoding {
            TransferEncoding::Identity => Written::Octets,
            TransferEncoding::Base64 => Written::Base64,
        };
        let opening = data.open(wrapped, own.key, written, spool)?;
        let algorithms = Algorithms { method: data.method(), iv: data.iv(), transport };
        Ok((opening, algorithms))
    }
}

fn certificate(wrapped: &EncryptedKey) -> Result<Vec<u8>, Error> {
    wrapped.certificate().ok_or_else(|| {
        let by_certificate =
            wrapped.key_info().is_some_and(|info| info.children().any(|child| child.is(NS_DSIG, "X509Data")));
        if by_certificate {
            Error::Structure("KeyInfo of its key is not one certificate")
        } else {
            Error::Undecryptable
        }
    })
}

/// How to encrypt the answer to an encrypted request: as the client says it can, or as it did (section 7.2).
pub fn answer_algorithms(request: &Algorithms, features: Option<&FeatureDescription>) -> Algorithms {
    let lists = |feature| features.is_some_and(|features| features.has(feature));
    let method = match request.method {
        method if !method.is_cbc() => method,
        _ if lists(Feature::GcmPaddingModus) => ContentMethod::Aes256Gcm,
        cbc => cbc,
    };
    let iv = match features {
        _ if method.is_cbc() => IvLength::Sixteen,
        Some(_) if lists(Feature::Support96Bit12ByteIv) => IvLength::Twelve,
        Some(_) => IvLength::Sixteen,
        None if request.method.is_cbc() => IvLength::Sixteen,
        None => request.iv,
    };
    let transport = match request.transport {
        KeyTransport::Oaep { digest: OaepHash::Sha1, .. }
        | KeyTransport::Oaep { mask: OaepHash::Sha1, .. } => KeyTransport::OAEP_SHA256,
        oaep @ KeyTransport::Oaep { .. } => oaep,
        KeyTransport::Rsa15 if lists(Feature::OaepEncryption) => KeyTransport::OAEP_SHA256,
        KeyTransport::Rsa15 => KeyTransport::Rsa15,
    };
    Algorithms { method, iv, transport }
}

/// True if binary parts must go to this client as base64: it says so by its features, or by what it sent (section 4.4).
pub fn answers_in_base64(features: Option<&FeatureDescription>, request_had_base64: bool) -> bool {
    features.map_or(request_had_base64, |features| !features.has(Feature::DisableBase64))
}

/// An encrypted message ready to be sent.
pub struct PreparedSealed {
    inner: Prepared,
    plan: Plan,
    /// The key that its size was measured with, until it is used.
    first: Mutex<Option<Begun>>,
    boundary: Boundary,
    in_base64: bool,
    bytes: u64,
}

impl PreparedSealed {
    /// Encrypts `inner` for one certificate, as it is sent; `spki_der` is the key of the certificate. With `in_base64` the
    /// ciphertext is written as base64, for who does not understand binary parts.
    pub fn new(
        inner: Prepared,
        algorithms: Algorithms,
        certificate_der: &[u8],
        spki_der: &[u8],
        boundary: Boundary,
        in_base64: bool,
    ) -> Result<Self, write::Error> {
        let recipient = Recipient::by_certificate(certificate_der, spki_der.to_vec());
        let Algorithms { method, iv, transport } = algorithms;
        let plan = Plan { method, iv, transport, recipients: vec![recipient] };
        let begun = begin(&plan)?;
        let mut prepared = Self { inner, plan, first: Mutex::default(), boundary, in_base64, bytes: 0 };
        // The element is as long for any other key.
        let [head, middle, tail] = prepared.frame(begun.element())?;
        prepared.bytes = (head.len() + middle.len() + tail.len()) as u64 + prepared.part_bytes();
        prepared.first = Mutex::new(Some(begun));
        Ok(prepared)
    }

    /// The exact Content-Length.
    pub fn size(&self) -> u64 {
        self.bytes
    }

    /// Encrypts and pours the message out; each time under a new key.
    pub fn write(&self, out: &mut dyn Write) -> Result<(), write::Error> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let begun = first.map_or_else(|| begin(&self.plan), Ok)?;
        let [head, middle, tail] = self.frame(begun.element())?;
        out.write_all(&head)?;
        out.write_all(&middle)?;
        if self.in_base64 {
            let mut lines = Base64Lines::new(&mut *out);
            self.seal(begun, &mut lines)?;
            lines.finish()?;
        } else {
            self.seal(begun, &mut *out)?;
        }
        out.write_all(&tail)?;
        Ok(())
    }

    pub fn to_vec(&self) -> Result<Vec<u8>, write::Error> {
        let mut bytes = Vec::new();
        self.write(&mut bytes)?;
        Ok(bytes)
    }

    fn seal(&self, begun: Begun, out: &mut dyn Write) -> Result<(), write::Error> {
        let mut sealing = begun.seal(out).map_err(sealing_failed)?;
        self.inner.write(&mut SealingSink(&mut sealing))?;
        sealing.finish().map_err(sealing_failed)?;
        Ok(())
    }

    /// Of the ciphertext, as it is written.
    fn part_bytes(&self) -> u64 {
        let octets = self.ciphertext_bytes();
        if self.in_base64 { base64_bytes(octets) } else { octets }
    }

    fn ciphertext_bytes(&self) -> u64 {
        let content = self.inner.size();
        if self.plan.method.is_cbc() {
            return BLOCK_BYTES + (content / BLOCK_BYTES + 1) * BLOCK_BYTES;
        }
        let iv = match self.plan.iv {
            IvLength::Twelve => 12,
            IvLength::Sixteen => 16,
        };
        iv + content + TAG_BYTES
    }

    /// What is before the ciphertext, in two pieces, and what is behind it.
    fn frame(&self, data: &str) -> Result<[Vec<u8>; 3], write::Error> {
        let mut writer = Writer::new();
        writer.start("soap:Envelope").namespace("ds", NS_DSIG).namespace("soap", NS_SOAP);
        writer.namespace("xenc", NS_XENC).namespace("xsi", NS_XSI);
        writer.attribute("xsi:schemaLocation", &Schema::Encrypted.location());
        writer.start("soap:Body").raw(data);
        let envelope = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\r\n{}", writer.finish());
        let mut framing = Framing::new(self.boundary.clone());
        let headers = HeaderLines::new()
            .with("Content-Type", "text/xml; charset=UTF-8")?
            .with("Content-Transfer-Encoding", "8bit")?
            .with("Content-ID", SOAP_CONTENT_ID)?
            .with("Content-Length", &envelope.len().to_string())?;
        framing.part(&headers, envelope.len() as u64);
        // Clients before binary parts tell base64 by the type (section 1.3).
        let (kind, encoding) =
            if self.in_base64 { ("text/base64", "7bit") } else { ("application/octet-stream", "binary") };
        let headers = HeaderLines::new()
            .with("Content-Type", kind)?
            .with("Content-Transfer-Encoding", encoding)?
            .with("Content-ID", &format!("<{CIPHER_CONTENT_ID}>"))?;
        framing.part(&headers, self.part_bytes());
        let mut head = entity_head(&self.boundary)?;
        head.extend_from_slice(framing.head(0).unwrap_or_default());
        head.extend_from_slice(envelope.as_bytes());
        Ok([head, framing.head(1).unwrap_or_default().to_vec(), framing.close()])
    }
}

fn begin(plan: &Plan) -> Result<Begun, write::Error> {
    plan.begin_attachment(CIPHER_CONTENT_ID, MIME_TYPE).map_err(sealing_failed)
}

fn sealing_failed(error: enc::Error) -> write::Error {
    match error {
        enc::Error::Spool(kind) | enc::Error::Input(kind) => io::Error::from(kind).into(),
        enc::Error::Undecryptable | enc::Error::Encrypting => write::Error::Encrypting,
    }
}

struct SealingSink<'s, W: Write>(&'s mut enc::Sealing<W>);

impl<W: Write> Write for SealingSink<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes).map_err(|error| match error {
            enc::Error::Spool(kind) | enc::Error::Input(kind) => io::Error::from(kind),
            other => io::Error::other(other),
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
