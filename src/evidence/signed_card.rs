//! The process card as signed XML: `urn:de:amtsbote:process-card:1`, schema in `schemas/process-card/1`.
//!
//! Written in one way only, so that a verifier writes it again from the stored card and compares bytes: there is no
//! reader of this form. What is signed is thereby what the log's digest binds. The signature is enveloped, over the whole
//! document in exclusive canonical form (XML Signature), with the certificate chain in KeyInfo.
//!
//! Left out: signature properties (XAdES). The signer's own word for when is in the card, a stranger's are the log's stamps.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use crate::domain::card::ProcessCard;
use crate::domain::content::Digest;
use crate::domain::party::PartyIdentifier;
use crate::pki::certificate::{Certificate, KeyKind};
use crate::xml::c14n::Algorithm;
use crate::xml::dsig::sign::{Plan, Planned, Signer as _, SigningKey};
use crate::xml::dsig::signature::{Canonicalization, Collector, Signature};
use crate::xml::dsig::verify::{Expected, Verification};
use crate::xml::dsig::{DigestMethod, Limits, NS_DSIG, SignatureMethod, Target};
use crate::xml::read::SliceReader;
use crate::xml::write::Writer;
use crate::xml::{self, tree};

pub const NAMESPACE: &str = "urn:de:amtsbote:process-card:1";
const ROOT: &str = "ProcessCard";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "the card's certificate has a key of kind {0}; RSA and ECDSA over P-256, P-384 or P-521 can sign"
    )]
    KeyKind(String),
    #[error("there is no certificate for the card's key")]
    NoCertificate,
    #[error("the card cannot be signed: {0}")]
    Sign(xml::dsig::Error),
    #[error("the signature on the card: {0}")]
    Signature(#[from] xml::dsig::Error),
    #[error("it has {0} signatures where one belongs")]
    Count(usize),
    #[error("it says other than the card in the log, from byte {0} on")]
    Differs(usize),
    #[error("the certificates in the signature are not those of the file")]
    KeyInfo,
}

/// The key that signs cards, with its certificates, its own first.
pub struct CardSigner {
    key: SigningKey,
    method: SignatureMethod,
    chain: Vec<Certificate>,
}

impl std::fmt::Debug for CardSigner {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("CardSigner").field("chain", &self.chain).finish_non_exhaustive()
    }
}

impl CardSigner {
    /// `key` (PKCS #8) is the key of the chain's first certificate.
    pub fn new(key: &[u8], chain: Vec<Certificate>) -> Result<Self, Error> {
        let own = chain.first().ok_or(Error::NoCertificate)?;
        let method = match own.key_kind() {
            KeyKind::Rsa { .. } => SignatureMethod::RsaSha256,
            KeyKind::P256 => SignatureMethod::EcdsaSha256,
            KeyKind::P384 => SignatureMethod::EcdsaSha384,
            KeyKind::P521 => SignatureMethod::EcdsaSha512,
            other => return Err(Error::KeyKind(other.to_string())),
        };
        let key = SigningKey::from_pkcs8(key)?;
        if key.sign(method, b"").is_none() {
            return Err(Error::Sign(xml::dsig::Error::Key));
        }
        Ok(Self { key, method, chain })
    }

    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// The card as signed XML, verified before it is handed out.
    pub fn sign(&self, card: &ProcessCard, at: Timestamp) -> Result<SignedCard, Error> {
        let unsigned = write(card, at);
        let exclusive = Canonicalization { algorithm: Algorithm::Exclusive, prefix_list: String::new() };
        let plan = Plan {
            method: self.method,
            canonicalization: exclusive.clone(),
            covered: vec![Planned::canonical(Target::Document, exclusive, DigestMethod::Sha256)],
            key_info: key_info(&self.chain),
        };
        let end = unsigned.rfind("</").unwrap_or(unsigned.len());
        let xml = plan.sign(&unsigned, end, &self.key).map_err(Error::Sign)?;
        let signed = SignedCard { at, xml, certificates: self.chain.clone() };
        signed.verify(card)?;
        Ok(signed)
    }
}

/// A signed card as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCard {
    /// When the post office says it signed.
    pub at: Timestamp,
    pub xml: String,
    /// The signer's own first; never empty.
    pub certificates: Vec<Certificate>,
}

impl SignedCard {
    /// Whether this is that card, signed by the first of the certificates. Who that is, is another question.
    pub fn verify(&self, card: &ProcessCard) -> Result<(), Error> {
        let signature = self.signature()?;
        let own = self.certificates.first().ok_or(Error::NoCertificate)?;
        let span = signature.span();
        let (start, end) = (span.start as usize, span.end as usize);
        let bytes = self.xml.as_bytes();
        let around = [bytes.get(..start).unwrap_or_default(), bytes.get(end..).unwrap_or_default()].concat();
        let expected = write(card, self.at).into_bytes();
        if around != expected {
            let same = around.iter().zip(&expected).take_while(|(one, other)| one == other).count();
            return Err(Error::Differs(same));
        }
        let named: Vec<String> = signature
            .key_info()
            .and_then(|info| info.child(NS_DSIG, "X509Data"))
            .map(|data| data.children_named(NS_DSIG, "X509Certificate").map(|one| one.text()).collect())
            .unwrap_or_default();
        let ours: Vec<String> = self.certificates.iter().map(|one| STANDARD.encode(one.der())).collect();
        if named != ours {
            return Err(Error::KeyInfo);
        }
        let mut verification = Verification::new(signature);
        let mut reader = SliceReader::new(bytes, xml::Limits::default());
        while let Some(event) = reader.next_event().map_err(xml::dsig::Error::from)? {
            verification.push(&event)?;
        }
        Ok(verification.finish(own.spki())?.covers_exactly(&[Expected::Document])?)
    }

    /// The one signature, a child of the root.
    fn signature(&self) -> Result<Signature, Error> {
        let mut collector = Collector::new(Limits::default(), tree::Limits::default());
        let mut reader = SliceReader::new(self.xml.as_bytes(), xml::Limits::default());
        while let Some(event) = reader.next_event().map_err(xml::dsig::Error::from)? {
            collector.push(&event)?;
        }
        let mut found = collector.finish();
        match (found.pop(), found.len()) {
            (Some(only), 0) if only.path().len() == 1 && only.is_in(NAMESPACE, ROOT) => Ok(only.signature?),
            (None, _) => Err(Error::Count(0)),
            (Some(_), others) => Err(Error::Count(others + 1)),
        }
    }
}

fn key_info(chain: &[Certificate]) -> String {
    let mut writer = Writer::new();
    writer.start("ds:X509Data");
    for certificate in chain {
        writer.element("ds:X509Certificate", &STANDARD.encode(certificate.der()));
    }
    writer.finish()
}

/// The card without a signature. Whatever this writes is for ever: a changed form has another namespace.
fn write(card: &ProcessCard, at: Timestamp) -> String {
    let mut out = Writer::new();
    out.declaration().start(ROOT).namespace("", NAMESPACE);
    out.element("MessageID", card.id.as_str()).element("State", card.state.as_str());
    party(&mut out, "Author", &card.author);
    party(&mut out, "Reader", &card.reader);
    out.element("MessageBox", card.mailbox.as_str());
    out.element("PostedBy", card.posted_by.as_str()).element("Door", &card.door);
    out.element("Service", &card.service).element("TestMsg", if card.test { "true" } else { "false" });
    out.start("Content").attribute("bytes", &card.payload_bytes.to_string());
    out.attribute("sha256", &card.payload_digest.to_string()).end();
    out.element("Acceptance", &card.accepted_at.to_string());
    for (name, at) in [
        ("NotBefore", card.not_before),
        ("Delivery", card.delivered_at),
        ("InitialFetch", card.first_handed_out_at),
        ("Reception", card.received_at),
        ("ObsoleteAfter", Some(card.expires_at)),
    ] {
        out.element_if(name, at.map(|at| at.to_string()).as_deref());
    }
    steps(&mut out, card);
    inspections(&mut out, card);
    // The digest that the log's last record about this message holds.
    out.element("LoggedCard", &Digest::of(&card.to_bytes()).to_string());
    out.element("SigningTime", &at.to_string());
    out.finish()
}

fn steps(out: &mut Writer, card: &ProcessCard) {
    for step in &card.steps {
        out.start("Step").attribute("at", &step.at.to_string());
        out.attribute("event", &word(&step.event)).attribute("state", step.state.as_str());
        out.attribute_if("by", step.by.as_deref()).text(step.reason.as_deref().unwrap_or_default()).end();
    }
    for finding in &card.findings {
        out.start("Finding").attribute("at", &finding.at.to_string());
        out.attribute("severity", &word(&finding.severity)).attribute("code", &finding.code);
        out.text(&finding.reason).end();
    }
}

fn inspections(out: &mut Writer, card: &ProcessCard) {
    for found in &card.certificates {
        out.start("Inspection").attribute("at", &found.at.to_string()).attribute("role", &found.role);
        out.attribute("verdict", &found.verdict);
        out.element("Subject", &found.subject).element("Issuer", &found.issuer);
        out.element("SerialNumber", &found.serial);
        for check in &found.checks {
            out.element("Check", check);
        }
        out.end();
    }
}

fn party(out: &mut Writer, name: &str, party: &PartyIdentifier) {
    out.start(name).attribute_if("type", party.kind()).attribute_if("name", party.name());
    out.attribute_if("category", party.category()).text(party.value()).end();
}

/// A variant's name as it is stored.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}
