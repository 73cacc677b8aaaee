//! Attachments: where they lie in the stream, what their headers say, and their digests (OSCI12, sections 1.1 and 8.2).

use aws_lc_rs::digest;

use super::read::Ciphertext;
use crate::mime;
use crate::mime::content_id::ContentId;
use crate::mime::read::Headers;
use crate::mime::transfer::{Base64Decoder, TransferEncoding};
use crate::xml::dsig::DigestMethod;
use std::ops::Range;

/// From this size on it is worth while to go on with a digest rather than begin anew.
const RUNNING_BYTES_MIN: u64 = 64 * 1024;
const TYPE_DEFAULT: &str = "application/octet-stream";

/// One attachment of a message that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    pub content_id: ContentId,
    /// All header fields, in their order, unfolded.
    pub headers: Vec<(String, String)>,
    pub encoding: TransferEncoding,
    /// The bytes as transmitted, in the stream.
    pub span: Range<u64>,
    /// Size after removal of base64.
    pub octets: u64,
    /// Of the octets; SHA-256 always, and what the signatures of the message name.
    pub digests: Vec<(DigestMethod, Vec<u8>)>,
    /// SHA-256 that has taken the octets and can take more; of a large attachment only.
    pub running: Option<Running>,
}

/// A digest that is not at its end.
#[derive(Clone)]
pub struct Running(digest::Context);

impl Running {
    pub fn context(&self) -> digest::Context {
        self.0.clone()
    }

    fn reached(&self) -> digest::Digest {
        self.0.clone().finish()
    }
}

impl PartialEq for Running {
    fn eq(&self, other: &Self) -> bool {
        self.reached().as_ref() == other.reached().as_ref()
    }
}

impl Eq for Running {}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Running").field(&self.reached()).finish()
    }
}

impl Attachment {
    pub fn digest(&self, method: DigestMethod) -> Option<&[u8]> {
        self.digests.iter().find(|(known, _)| *known == method).map(|(_, digest)| digest.as_slice())
    }

    pub fn content_type(&self) -> &str {
        let field = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("Content-Type"));
        field.map_or(TYPE_DEFAULT, |(_, value)| value)
    }
}

/// How a part's bytes are written: base64 may also be said by the type `text/base64`.
pub(super) fn encoding(headers: &Headers) -> Result<TransferEncoding, mime::Error> {
    let stated = headers.transfer_encoding()?;
    let is_base64 = headers.field("Content-Type").is_some_and(is_base64_type);
    Ok(if is_base64 { TransferEncoding::Base64 } else { stated })
}

pub(super) fn is_base64_type(value: &str) -> bool {
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/base64")
}

/// Reads one attachment as it passes.
pub(super) struct AttachmentReader {
    content_id: ContentId,
    headers: Vec<(String, String)>,
    start: u64,
    transmitted: u64,
    octets: u64,
    decoder: Option<Base64Decoder>,
    digests: Vec<(DigestMethod, digest::Context)>,
}

impl AttachmentReader {
    pub(super) fn new(headers: &Headers, start: u64, methods: &[DigestMethod]) -> Result<Self, super::Error> {
        let missing = || super::Error::invalid("attachment", "it has no Content-ID");
        let content_id = headers.content_id().cloned().ok_or_else(missing)?;
        let decoder = (encoding(headers)? == TransferEncoding::Base64).then(Base64Decoder::new);
        let digests = methods.iter().map(|method| (*method, method.begin())).collect();
        let headers = headers.fields().to_vec();
        Ok(Self { content_id, headers, start, transmitted: 0, octets: 0, decoder, digests })
    }

    /// Where it lies so far, for what is encrypted.
    pub(super) fn ciphertext(&self) -> Ciphertext {
        let encoding = match self.decoder {
            Some(_) => TransferEncoding::Base64,
            None => TransferEncoding::Identity,
        };
        let span = self.start..self.start + self.transmitted;
        Ciphertext { content_id: self.content_id.clone(), span, encoding }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), super::Error> {
        self.transmitted += bytes.len() as u64;
        let Some(decoder) = &mut self.decoder else {
            self.take(bytes);
            return Ok(());
        };
        let mut octets = Vec::new();
        decoder.decode(bytes, &mut octets)?;
        self.take(&octets);
        Ok(())
    }

    fn take(&mut self, octets: &[u8]) {
        self.octets += octets.len() as u64;
        self.digests.iter_mut().for_each(|(_, digest)| digest.update(octets));
    }

    pub(super) fn finish(self) -> Result<Attachment, super::Error> {
        let encoding = match self.decoder {
            Some(decoder) => decoder.finish().map(|()| TransferEncoding::Base64)?,
            None => TransferEncoding::Identity,
        };
        let sha256 = self.digests.iter().find(|(method, _)| *method == DigestMethod::Sha256);
        let running = sha256.filter(|_| self.octets >= RUNNING_BYTES_MIN);
        let running = running.map(|(_, digest)| Running(digest.clone()));
        let digests = self.digests.into_iter();
        let digests = digests.map(|(method, digest)| (method, digest.finish().as_ref().to_vec()));
        Ok(Attachment {
            content_id: self.content_id,
            headers: self.headers,
            encoding,
            span: self.start..self.start + self.transmitted,
            octets: self.octets,
            digests: digests.collect(),
            running,
        })
    }
}
