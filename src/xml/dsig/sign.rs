//! Making signatures: digest what is to be covered, write the Signature element into the document, then sign the
//! canonical SignedInfo as it stands there, because inclusive canonicalization depends on the place.
//!
//! Left out: choosing what to cover and where the signature goes (the caller's protocol says it).

use std::ops::Range;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature as lc;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::signature::{Canonicalization, Form, Reference};
use super::verify::Digests;
use super::{BASE64, DigestMethod, ENVELOPED, Error, Limits, NS_DSIG, NS_EXCLUSIVE, SignatureMethod, Target};
use crate::xml;
use crate::xml::c14n::Canonicalizer;
use crate::xml::read::{Event, SliceReader};
use crate::xml::write::Writer;

/// Whoever holds the private key.
pub trait Signer {
    /// The signature value in the form XML Signature wants; none if the key cannot do this method.
    fn sign(&self, method: SignatureMethod, message: &[u8]) -> Option<Vec<u8>>;
}

/// A private key in memory. Clones share it.
#[derive(Clone)]
pub struct SigningKey(Arc<Kind>);

enum Kind {
    Rsa(lc::RsaKeyPair),
    Ecdsa(SignatureMethod, lc::EcdsaKeyPair),
}

impl SigningKey {
    /// Reads a PKCS#8 key: RSA, or ECDSA over P-256, P-384 or P-521, each with the hash of its size.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, Error> {
        if let Ok(key) = lc::RsaKeyPair::from_pkcs8(der) {
            return Ok(Self(Arc::new(Kind::Rsa(key))));
        }
        for (method, algorithm) in [
            (SignatureMethod::EcdsaSha256, &lc::ECDSA_P256_SHA256_FIXED_SIGNING),
            (SignatureMethod::EcdsaSha384, &lc::ECDSA_P384_SHA384_FIXED_SIGNING),
            (SignatureMethod::EcdsaSha512, &lc::ECDSA_P521_SHA512_FIXED_SIGNING),
        ] {
            if let Ok(key) = lc::EcdsaKeyPair::from_pkcs8(algorithm, der) {
                return Ok(Self(Arc::new(Kind::Ecdsa(method, key))));
            }
        }
        Err(Error::Key)
    }
}

impl Signer for SigningKey {
    fn sign(&self, method: SignatureMethod, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match &*self.0 {
            Kind::Rsa(key) => {
                let padding: &'static dyn lc::RsaEncoding = match method {
                    SignatureMethod::RsaSha256 => &lc::RSA_PKCS1_SHA256,
                    SignatureMethod::RsaSha384 => &lc::RSA_PKCS1_SHA384,
                    SignatureMethod::RsaSha512 => &lc::RSA_PKCS1_SHA512,
                    SignatureMethod::RsaPssSha256 => &lc::RSA_PSS_SHA256,
                    SignatureMethod::RsaPssSha384 => &lc::RSA_PSS_SHA384,
                    SignatureMethod::RsaPssSha512 => &lc::RSA_PSS_SHA512,
                    _ => return None,
                };
                let mut value = vec![0; key.public_modulus_len()];
                key.sign(padding, &random, message, &mut value).ok()?;
                Some(value)
            }
            Kind::Ecdsa(own, key) if *own == method => {
                Some(key.sign(&random, message).ok()?.as_ref().to_vec())
            }
            Kind::Ecdsa(..) => None,
        }
    }
}

/// Something to be covered. Attachments bring their digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    pub target: Target,
    pub form: Form,
    pub digest_method: DigestMethod,
    pub attachment_digest: Option<Vec<u8>>,
}

impl Planned {
    /// An element by its ID, or the document it will stand in, in canonical form.
    pub fn canonical(
        target: Target,
        canonicalization: Canonicalization,
        digest_method: DigestMethod,
    ) -> Self {
        let enveloped = target == Target::Document;
        let form = Form::Canonical { canonicalization, enveloped };
        Self { target, form, digest_method, attachment_digest: None }
    }

    pub fn attachment(id: &str, digest_method: DigestMethod, digest: Vec<u8>) -> Self {
        let target = Target::Attachment(id.to_owned());
        Self { target, form: Form::Octets, digest_method, attachment_digest: Some(digest) }
    }
}

/// How the signature is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub method: SignatureMethod,
    pub canonicalization: Canonicalization,
    pub covered: Vec<Planned>,
    /// Content of KeyInfo as XML that declares its own prefixes (`ds` is declared); empty for no KeyInfo.
    pub key_info: String,
}

impl Plan {
    /// Puts a signature into `document` at byte `at`, which must be inside an element, and hands out the whole.
    pub fn sign(&self, document: &str, at: usize, signer: &dyn Signer) -> Result<String, Error> {
        let mut digesting = self.digesting();
        let mut reader = SliceReader::new(document.as_bytes(), xml::Limits::default());
        while let Some(event) = reader.next_event()? {
            digesting.push(&event)?;
        }
        self.sign_digested(&digesting.finish()?, document, at, signer)
    }

    /// Digests what is covered while a document passes that is too large to be held.
    pub fn digesting(&self) -> Digesting {
        self.digesting_around(None)
    }

    /// The same for a document in which the signature stands already, at this byte.
    fn digesting_around(&self, signature: Option<u64>) -> Digesting {
        let wanted = self.covered.iter();
        let wanted = wanted.map(|p| (p.target.clone(), p.form.clone(), p.digest_method)).collect();
        Digesting {
            covered: self.covered.clone(),
            digests: Digests::new(wanted, signature, Limits::default()),
        }
    }

    /// Puts a signature over what was digested into `document` at byte `at`. Of the document only the elements
    /// around that place, with their declarations, must be as in the one that was digested.
    pub fn sign_digested(
        &self,
        references: &[Reference],
        document: &str,
        at: usize,
        signer: &dyn Signer,
    ) -> Result<String, Error> {
        self.sign_references(references, document, at, "", signer)
    }

    /// Puts an enveloping signature there: `object`, Object elements as XML, stands inside the Signature, where
    /// references find it. What is covered is digested in its place.
    pub fn sign_with_object(
        &self,
        document: &str,
        at: usize,
        object: &str,
        signer: &dyn Signer,
    ) -> Result<String, Error> {
        let (before, after) =
            document.split_at_checked(at).ok_or(Error::Signing("place is outside the document"))?;
        let draft = [before, &self.unsigned(&[], object), after].concat();
        let mut digesting = self.digesting_around(Some(at as u64));
        let mut reader = SliceReader::new(draft.as_bytes(), xml::Limits::default());
        while let Some(event) = reader.next_event()? {
            digesting.push(&event)?;
        }
        self.sign_references(&digesting.finish()?, document, at, object, signer)
    }

    fn sign_references(
        &self,
        references: &[Reference],
        document: &str,
        at: usize,
        object: &str,
        signer: &dyn Signer,
    ) -> Result<String, Error> {
        let (before, after) =
            document.split_at_checked(at).ok_or(Error::Signing("place is outside the document"))?;
        let signature = self.unsigned(references, object);
        let mut whole = [before, &signature, after].concat();
        let (signed_info, value_at) = self.signed_info(whole.as_bytes(), at as u64)?;
        let value =
            signer.sign(self.method, &signed_info).ok_or(Error::Signing("key does not fit the method"))?;
        whole.insert_str(value_at, &STANDARD.encode(value));
        Ok(whole)
    }

    /// The Signature element with an empty SignatureValue.
    fn unsigned(&self, references: &[Reference], object: &str) -> String {
        let mut writer = Writer::new();
        writer.start("ds:Signature").namespace("ds", NS_DSIG).start("ds:SignedInfo");
        write_canonicalization(&mut writer, "ds:CanonicalizationMethod", &self.canonicalization);
        writer.start("ds:SignatureMethod").attribute("Algorithm", self.method.uri()).end();
        for reference in references {
            writer.start("ds:Reference").attribute("URI", &reference.target.uri());
            write_transforms(&mut writer, &reference.form);
            writer.start("ds:DigestMethod").attribute("Algorithm", reference.digest_method.uri()).end();
            writer.element("ds:DigestValue", &STANDARD.encode(&reference.digest)).end();
        }
        writer.end().element("ds:SignatureValue", "");
        if !self.key_info.is_empty() {
            writer.start("ds:KeyInfo").raw(&self.key_info).end();
        }
        writer.raw(object);
        writer.finish()
    }

    /// Canonical SignedInfo of the signature that begins at `start`, and where its value goes.
    fn signed_info(&self, document: &[u8], start: u64) -> Result<(Vec<u8>, usize), Error> {
        let Canonicalization { algorithm, prefix_list } = &self.canonicalization;
        let mut canonicalizer = Canonicalizer::new(*algorithm, prefix_list);
        let mut reader = SliceReader::new(document, xml::Limits::of_our_own());
        let (mut bytes, mut value_at) = (Vec::new(), None);
        let (mut inside, mut ended) = (false, false);
        while value_at.is_none()
            && let Some(event) = reader.next_event()?
        {
            let is_after = |span: Range<u64>| span.start >= start;
            match &event {
                Event::Start(tag) if is_after(tag.span()) => inside |= tag.is(NS_DSIG, "SignedInfo"),
                Event::End(tag) if is_after(tag.span()) && tag.is(NS_DSIG, "SignatureValue") => {
                    value_at = usize::try_from(tag.span().start).ok();
                }
                _ => {}
            }
            if inside && !ended {
                ended = canonicalizer.push(&event, &mut |piece| bytes.extend_from_slice(piece));
            }
        }
        Ok((bytes, value_at.ok_or(Error::Signing("place is outside the root element"))?))
    }
}

/// A document that passes to be signed.
pub struct Digesting {
    covered: Vec<Planned>,
    digests: Digests,
}

impl Digesting {
    pub fn push(&mut self, event: &Event<'_>) -> Result<(), Error> {
        self.digests.push(event)
    }

    /// The references, in the order of the plan.
    pub fn finish(self) -> Result<Vec<Reference>, Error> {
        let mut references = Vec::new();
        for (planned, digested) in self.covered.into_iter().zip(self.digests.finish()?) {
            let Planned { target, form, digest_method, attachment_digest } = planned;
            let digest = attachment_digest.or(digested.map(|digested| digested.octets));
            let digest = digest.ok_or_else(|| Error::AttachmentMissing(target.to_string()))?;
            references.push(Reference { target, form, digest_method, digest });
        }
        Ok(references)
    }
}

fn write_transforms(writer: &mut Writer, form: &Form) {
    match form {
        Form::Octets => {}
        Form::Base64 => {
            writer.start("ds:Transforms").start("ds:Transform").attribute("Algorithm", BASE64).end().end();
        }
        Form::Canonical { canonicalization, enveloped } => {
            writer.start("ds:Transforms");
            if *enveloped {
                writer.start("ds:Transform").attribute("Algorithm", ENVELOPED).end();
            }
            write_canonicalization(writer, "ds:Transform", canonicalization);
            writer.end();
        }
    }
}

fn write_canonicalization(writer: &mut Writer, name: &str, canonicalization: &Canonicalization) {
    let Canonicalization { algorithm, prefix_list } = canonicalization;
    writer.start(name).attribute("Algorithm", algorithm.uri());
    if algorithm.is_exclusive() && !prefix_list.is_empty() {
        writer
            .start("ec:InclusiveNamespaces")
            .namespace("ec", NS_EXCLUSIVE)
            .attribute("PrefixList", prefix_list)
            .end();
    }
    writer.end();
}
