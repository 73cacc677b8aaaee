//! The exported proof: one text file by which a third party checks a message's whole story without this post office.
//!
//! ```text
//! amtsbote-proof/2
//! message <id>
//! log <verifier key of the log>
//! card <the process card's stored bytes, one line of JSON; or: none>
//! signed-card <instant> <SHA-256> <base64 of the card as signed XML; or, for all three: none>
//! certificates <how many>
//! certificate <SHA-256> <base64; the first one signed the card>
//! …
//! records <how many>
//! record <index> <hashes of the inclusion proof, comma-separated, or: -> <the record's line>
//! …
//! time-stamps <how many>
//! time-stamp <SHA-256> <base64 of the token; the first is over the signed note, each further one over that before>
//! …
//! checkpoint
//! <the signed note>
//! ```
//! Every byte is bound: each record to the checkpoint's root by its inclusion proof, the root to the log's key by the
//! signature, the card to the last record by its digest, each step on the card to a record, the signed XML to the card
//! by writing it again, the stamps to the note; and the file's own spelling by writing it again and comparing. The
//! digests beside base64 bind what no signature covers, such as spare certificates in a stamp. The file proves what was
//! logged up to its checkpoint, and not that nothing happened afterwards.
//!
//! Version 1 had neither signed card, certificates nor time stamps, and is verified as ever.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use super::checkpoint::{Checkpoint, VerifierKey};
use super::record::{Record, RecordEvent};
use super::signed_card::SignedCard;
use super::tree::{Hash, leaf_hash, verify_inclusion};
use crate::domain::card::{ProcessCard, STEPS_MAX};
use crate::domain::content::Digest;
use crate::domain::message_id::MessageId;
use crate::pki::certificate::{CERTIFICATES_MAX, Certificate};
use crate::pki::inspection::Purpose;
use crate::pki::timestamp::{Authorities, Token};
use crate::pki::trust::{self, TrustAnchors};

const VERSIONS: [&str; 2] = ["amtsbote-proof/1", "amtsbote-proof/2"];
/// Stamps of one checkpoint; a renewal every few years makes few.
const TIME_STAMPS_MAX: usize = 64;
/// Between the clock of a time stamp authority and that of the log.
const CLOCKS_APART_MAX: SignedDuration = SignedDuration::from_mins(10);
/// Longest file that is looked at.
pub const PROOF_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A tree of 2^64 leaves is no deeper.
const PATH_HASHES_MAX: usize = 64;

/// A record with its way to the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenRecord {
    pub index: u64,
    /// The log's exact bytes.
    pub bytes: Vec<u8>,
    pub path: Vec<Hash>,
}

/// What the file holds, before anything is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Of the file's form.
    pub version: Version,
    pub message_id: MessageId,
    pub log: VerifierKey,
    /// The card's stored bytes; absent once it was deleted at the end of its retention.
    pub card: Option<Vec<u8>>,
    /// The same as signed XML.
    pub signed_card: Option<SignedCard>,
    pub records: Vec<ProvenRecord>,
    /// Tokens, DER.
    pub time_stamps: Vec<Vec<u8>>,
    /// The signed note.
    pub checkpoint: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Without signed card and time stamps.
    One,
    Two,
}

/// Whom the reader of a file believes. What is empty is not demanded, and the result says so.
#[derive(Debug, Default)]
pub struct Trust {
    log_keys: Vec<VerifierKey>,
    card_certificates: Vec<Certificate>,
    card_anchors: TrustAnchors,
    stamp_authorities: Authorities,
}

impl Trust {
    /// The log's keys, former ones included.
    pub fn keys(keys: impl IntoIterator<Item = VerifierKey>) -> Self {
        Self { log_keys: keys.into_iter().collect(), ..Self::default() }
    }

    /// Certificates that sign cards, or authorities that issue those.
    pub fn with_card_certificates(mut self, certificates: Vec<Certificate>) -> Result<Self, trust::Error> {
        let mut anchors = TrustAnchors::builder();
        for certificate in certificates.iter().filter(|certificate| certificate.is_ca()) {
            anchors = anchors.anchors(Purpose::OsciSignature, certificate.der())?;
        }
        (self.card_certificates, self.card_anchors) = (certificates, anchors.build());
        Ok(self)
    }

    pub fn with_stamp_authorities(mut self, authorities: Authorities) -> Self {
        self.stamp_authorities = authorities;
        self
    }

    fn knows_signer(&self, card: &SignedCard) -> Result<(), String> {
        let Some((own, others)) = card.certificates.split_first() else { return Ok(()) };
        if self.card_certificates.contains(own) {
            return Ok(());
        }
        let inspection = self.card_anchors.inspect(Purpose::OsciSignature, own, others, card.at);
        match inspection.is_acceptable() {
            true => Ok(()),
            false => Err(format!("{} is not trusted: {}", own.subject(), inspection.sentences.join("; "))),
        }
    }
}

/// Who signed the card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardSigned {
    pub at: Timestamp,
    pub certificate: Certificate,
    pub trusted: bool,
}

/// Who stamped when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamped {
    pub token: Token,
    pub trusted: bool,
}

/// What the file proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub message_id: MessageId,
    pub card: Option<ProcessCard>,
    pub records: Vec<(u64, Record)>,
    pub checkpoint: Checkpoint,
    pub log: VerifierKey,
    /// Whether the log's key is one that the reader brought; otherwise it is only what the file itself states.
    pub key_trusted: bool,
    pub card_signed: Option<CardSigned>,
    /// Oldest first.
    pub time_stamps: Vec<Stamped>,
}

/// Where the file is wrong, and how.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{place}: {what}")]
pub struct Fault {
    /// `card`, `record 3 (index 17)`, `checkpoint`, ….
    pub place: String,
    pub what: String,
}

fn fault(place: impl Into<String>, what: impl Into<String>) -> Fault {
    Fault { place: place.into(), what: what.into() }
}

impl Proof {
    /// The file's bytes: the only ones that [`verify`] accepts for this content.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { version, message_id, log, .. } = self;
        let name = VERSIONS[*version as usize];
        let mut out = format!("{name}\nmessage {message_id}\nlog {log}\ncard ").into_bytes();
        out.extend_from_slice(self.card.as_deref().unwrap_or(b"none"));
        out.push(b'\n');
        if *version >= Version::Two {
            out.extend_from_slice(self.signed_lines().as_bytes());
        }
        out.extend_from_slice(format!("records {}\n", self.records.len()).as_bytes());
        for ProvenRecord { index, bytes, path } in &self.records {
            let path: Vec<String> = path.iter().map(|hash| Digest(*hash).to_string()).collect();
            let path = if path.is_empty() { "-".to_owned() } else { path.join(",") };
            out.extend_from_slice(format!("record {index} {path} ").as_bytes());
            out.extend_from_slice(bytes);
        }
        if *version >= Version::Two {
            out.extend_from_slice(format!("time-stamps {}\n", self.time_stamps.len()).as_bytes());
            for token in &self.time_stamps {
                out.extend_from_slice(format!("time-stamp {}\n", digested(token)).as_bytes());
            }
        }
        out.extend_from_slice(b"checkpoint\n");
        out.extend_from_slice(self.checkpoint.as_bytes());
        out
    }

    fn signed_lines(&self) -> String {
        let Some(signed) = &self.signed_card else { return "signed-card none\ncertificates 0\n".to_owned() };
        let mut out = format!("signed-card {} {}\n", signed.at, digested(signed.xml.as_bytes()));
        out.push_str(&format!("certificates {}\n", signed.certificates.len()));
        for certificate in &signed.certificates {
            out.push_str(&format!("certificate {}\n", digested(certificate.der())));
        }
        out
    }

    /// Reads a file's parts without believing any of them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Fault> {
        if bytes.len() > PROOF_BYTES_MAX {
            let what = format!("it has {} bytes, at most {PROOF_BYTES_MAX} are read", bytes.len());
            return Err(fault("file", what));
        }
        let mut rest = std::str::from_utf8(bytes)
            .map_err(|error| fault(place_of(bytes, error.valid_up_to()), "it is not UTF-8 text"))?;
        let version = match line(&mut rest, "version")? {
            one if one == VERSIONS[0] => Version::One,
            two if two == VERSIONS[1] => Version::Two,
            _ => return Err(fault("version", format!("this is neither of {}", VERSIONS.join(", ")))),
        };
        let message_id = MessageId::parse(field(&mut rest, "message")?)
            .map_err(|error| fault("message", error.to_string()))?;
        let log =
            VerifierKey::parse(field(&mut rest, "log")?).map_err(|error| fault("log", error.to_string()))?;
        let card = match field(&mut rest, "card")? {
            "none" => None,
            card => Some(card.as_bytes().to_vec()),
        };
        let signed_card = if version >= Version::Two { signed_card(&mut rest)? } else { None };
        let mut records = Vec::new();
        for number in 1..=count(&mut rest, "records", usize::MAX)? {
            records.push(record(&mut rest, number)?);
        }
        let mut time_stamps = Vec::new();
        if version >= Version::Two {
            for number in 1..=count(&mut rest, "time-stamps", TIME_STAMPS_MAX)? {
                let words = field(&mut rest, "time-stamp")?;
                time_stamps.push(undigested(words, &format!("time-stamp {number}"))?);
            }
        }
        if line(&mut rest, "checkpoint")? != "checkpoint" {
            return Err(fault("checkpoint", "the line before it does not say so"));
        }
        let checkpoint = rest.to_owned();
        let proof = Self { version, message_id, log, card, signed_card, records, time_stamps, checkpoint };
        let again = proof.to_bytes();
        if again != bytes {
            let at = again.iter().zip(bytes).position(|(one, other)| one != other);
            let at = at.unwrap_or(again.len().min(bytes.len()));
            return Err(fault(place_of(bytes, at), "it is not written as this post office writes it"));
        }
        Ok(proof)
    }
}

/// Checks the file from first to last byte. Where nobody is trusted, signatures are checked against the keys and
/// certificates in the file, which proves that the file is whole, and not who wrote it.
pub fn verify(bytes: &[u8], trust: &Trust) -> Result<Verified, Fault> {
    let proof = Proof::from_bytes(bytes)?;
    if !trust.log_keys.is_empty() && !trust.log_keys.contains(&proof.log) {
        let trusted: Vec<String> = trust.log_keys.iter().map(ToString::to_string).collect();
        let what = format!("the file names the key {}, trusted is {}", proof.log, trusted.join(", "));
        return Err(fault("log", what));
    }
    let checkpoint = Checkpoint::open(&proof.checkpoint, &proof.log)
        .map_err(|error| fault("checkpoint", error.to_string()))?;
    let mut records: Vec<(u64, Record)> = Vec::with_capacity(proof.records.len());
    for (number, proven) in proof.records.iter().enumerate() {
        let place = format!("record {} (index {})", number + 1, proven.index);
        let record = Record::from_bytes(&proven.bytes).map_err(|error| fault(&place, error.to_string()))?;
        if record.message_id != proof.message_id {
            return Err(fault(&place, format!("it is about {}", record.message_id)));
        }
        if records.last().is_some_and(|(before, _)| *before >= proven.index) {
            return Err(fault(&place, "it does not follow the record before it"));
        }
        let leaf = leaf_hash(&proven.bytes);
        if !verify_inclusion(&leaf, proven.index, checkpoint.size, &proven.path, &checkpoint.root) {
            return Err(fault(&place, "it is not in the log that the checkpoint signs"));
        }
        records.push((proven.index, record));
    }
    let card = card(&proof, &records)?;
    let card_signed = card_signed(&proof, card.as_ref(), trust)?;
    let last = records.last().map(|(_, record)| record.time);
    let time_stamps = stamped(&proof, last, trust)?;
    Ok(Verified {
        message_id: proof.message_id,
        card,
        records,
        checkpoint,
        log: proof.log,
        key_trusted: !trust.log_keys.is_empty(),
        card_signed,
        time_stamps,
    })
}

fn card_signed(
    proof: &Proof,
    card: Option<&ProcessCard>,
    trust: &Trust,
) -> Result<Option<CardSigned>, Fault> {
    let Some(signed) = &proof.signed_card else {
        // Whoever says whom he believes wants to hear it from them: what can be left out proves nothing.
        if card.is_some() && !trust.card_certificates.is_empty() {
            return Err(fault("signed-card", "there is none, and whose signature is believed was given"));
        }
        return Ok(None);
    };
    let Some(card) = card else {
        return Err(fault("signed-card", "there is no card that it could be"));
    };
    signed.verify(card).map_err(|error| fault("signed-card", error.to_string()))?;
    let demanded = !trust.card_certificates.is_empty();
    if demanded {
        trust.knows_signer(signed).map_err(|why| fault("certificate 1", why))?;
    }
    let own = signed.certificates.first().ok_or_else(|| fault("certificates", "there is none"))?;
    Ok(Some(CardSigned { at: signed.at, certificate: own.clone(), trusted: demanded }))
}

/// `last` is the last record's time: a stamp over its checkpoint is not older.
fn stamped(proof: &Proof, last: Option<Timestamp>, trust: &Trust) -> Result<Vec<Stamped>, Fault> {
    if proof.time_stamps.is_empty() && !trust.stamp_authorities.is_empty() {
        let what =
            "there is none, and whose stamps are believed was given; a young checkpoint gets its stamp later";
        return Err(fault("time-stamps", what));
    }
    let mut seen: Vec<Stamped> = Vec::new();
    for (number, bytes) in proof.time_stamps.iter().enumerate() {
        let place = format!("time-stamp {}", number + 1);
        let wrong = |what: String| fault(&place, what);
        let token = Token::read(bytes).map_err(|error| wrong(error.to_string()))?;
        let before = seen.last().map(|before| &before.token);
        let covered = before.map_or(proof.checkpoint.as_bytes(), Token::der);
        token.covers(covered).map_err(|error| wrong(error.to_string()))?;
        let earliest = before.map(Token::time).or(last).unwrap_or(Timestamp::MIN);
        if token.time().duration_since(earliest) < -CLOCKS_APART_MAX {
            return Err(wrong(format!(
                "it says {}, which is before what it covers ({earliest})",
                token.time()
            )));
        }
        if let Some(before) = before
            && before.signer().not_after() < token.time()
        {
            return Err(wrong(format!(
                "it renews a stamp whose certificate had ended {}",
                before.signer().not_after()
            )));
        }
        let demanded = !trust.stamp_authorities.is_empty();
        if demanded {
            trust.stamp_authorities.trust(&token).map_err(|error| wrong(error.to_string()))?;
        }
        seen.push(Stamped { token, trusted: demanded });
    }
    Ok(seen)
}

fn card(proof: &Proof, records: &[(u64, Record)]) -> Result<Option<ProcessCard>, Fault> {
    let Some((_, last)) = records.last() else {
        return Err(fault("records", "there is none"));
    };
    let Some(bytes) = &proof.card else {
        return if last.event == RecordEvent::CardPurged {
            Ok(None)
        } else {
            Err(fault("card", "it is missing, and no record says that it was deleted"))
        };
    };
    if Digest::of(bytes) != last.card_digest {
        return Err(fault(
            "card",
            format!("its digest is not that of the last record ({})", last.event.as_str()),
        ));
    }
    let card = ProcessCard::from_bytes(bytes).map_err(|error| fault("card", error.to_string()))?;
    if card.id != proof.message_id {
        return Err(fault("card", format!("it is about {}", card.id)));
    }
    for (number, step) in card.steps.iter().enumerate().filter(|_| card.steps.len() < STEPS_MAX) {
        let logged =
            |(_, record): &(u64, Record)| record.event == step.event.into() && record.time == step.at;
        if !records.iter().any(logged) {
            let event = RecordEvent::from(step.event).as_str();
            return Err(fault("card", format!("step {} ({event} at {}) has no record", number + 1, step.at)));
        }
    }
    Ok(Some(card))
}

fn line<'a>(rest: &mut &'a str, place: &str) -> Result<&'a str, Fault> {
    let (line, behind) = rest.split_once('\n').ok_or_else(|| fault(place, "the file ends here"))?;
    *rest = behind;
    Ok(line)
}

fn field<'a>(rest: &mut &'a str, name: &str) -> Result<&'a str, Fault> {
    let line = line(rest, name)?;
    line.strip_prefix(name)
        .and_then(|line| line.strip_prefix(' '))
        .ok_or_else(|| fault(name, format!("the line does not begin with {name:?}")))
}

/// A number of lines to come.
fn count(rest: &mut &str, name: &str, max: usize) -> Result<usize, Fault> {
    let number: usize =
        field(rest, name)?.parse().map_err(|_| fault(name, "how many there are is not a number"))?;
    if number > max {
        Err(fault(name, format!("there are {number}, at most {max} are read")))
    } else {
        Ok(number)
    }
}

/// Digest and base64 of the bytes.
fn digested(bytes: &[u8]) -> String {
    format!("{} {}", Digest::of(bytes), STANDARD.encode(bytes))
}

fn undigested(words: &str, place: &str) -> Result<Vec<u8>, Fault> {
    let (digest, encoded) = words.split_once(' ').ok_or_else(|| fault(place, "there is no digest"))?;
    let bytes = STANDARD.decode(encoded).map_err(|_| fault(place, "it is not base64"))?;
    let digest = Digest::try_from(digest.to_owned()).map_err(|_| fault(place, "its digest is not one"))?;
    if Digest::of(&bytes) == digest {
        Ok(bytes)
    } else {
        Err(fault(place, "its digest is that of other bytes"))
    }
}

fn signed_card(rest: &mut &str) -> Result<Option<SignedCard>, Fault> {
    const PLACE: &str = "signed-card";
    let words = field(rest, PLACE)?;
    let mut certificates = Vec::new();
    let mut seen = BTreeSet::new();
    let signed = match words {
        "none" => None,
        words => {
            let (at, words) = words.split_once(' ').ok_or_else(|| fault(PLACE, "there is no instant"))?;
            let at: Timestamp = at.parse().map_err(|_| fault(PLACE, "its instant is not one"))?;
            let xml = String::from_utf8(undigested(words, PLACE)?);
            Some((at, xml.map_err(|_| fault(PLACE, "it is not UTF-8 text"))?))
        }
    };
    for number in 1..=count(rest, "certificates", CERTIFICATES_MAX)? {
        let place = format!("certificate {number}");
        let der = undigested(field(rest, "certificate")?, &place)?;
        let certificate = Certificate::from_der(&der).map_err(|error| fault(&place, error.to_string()))?;
        if !seen.insert(der) {
            return Err(fault(&place, "it is there twice"));
        }
        certificates.push(certificate);
    }
    match signed {
        Some((at, xml)) => Ok(Some(SignedCard { at, xml, certificates })),
        None if certificates.is_empty() => Ok(None),
        None => Err(fault("certificates", "there is no signed card that they could belong to")),
    }
}

fn record(rest: &mut &str, number: usize) -> Result<ProvenRecord, Fault> {
    let place = format!("record {number}");
    let line = line(rest, &place)?;
    let wrong = |what: &str| fault(&place, what);
    let line =
        line.strip_prefix("record ").ok_or_else(|| wrong("the line does not begin with \"record\""))?;
    let (index, line) = line.split_once(' ').ok_or_else(|| wrong("it has no index"))?;
    let index = index.parse().map_err(|_| wrong("its index is not a number"))?;
    let (path, record) = line.split_once(' ').ok_or_else(|| wrong("it has no inclusion proof"))?;
    let hashes = path.split(',').filter(|hash| *hash != "-").take(PATH_HASHES_MAX + 1);
    let path: Vec<Hash> = hashes
        .map(|hash| Digest::try_from(hash.to_owned()).map(|digest| digest.0))
        .collect::<Result<_, _>>()
        .map_err(|_| fault(format!("record {number} (index {index})"), "a hash of its proof is not one"))?;
    Ok(ProvenRecord { index, bytes: format!("{record}\n").into_bytes(), path })
}

/// The line in which the byte lies, by its first word.
fn place_of(bytes: &[u8], at: usize) -> String {
    let before = bytes.get(..at).unwrap_or(bytes);
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |feed| feed + 1);
    let number = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let line = bytes.get(start..).unwrap_or_default();
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    let word: Vec<u8> = line.iter().copied().take(24).take_while(is_word).collect();
    format!("line {number} ({}), byte {at}", String::from_utf8_lossy(&word))
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;
