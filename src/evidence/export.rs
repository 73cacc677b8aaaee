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
//! Where several nodes had a hand in the message, each has logged its part, and the file holds the part of every log
//! that has one:
//!
//! ```text
//! amtsbote-proof/3
//! message <id>
//! card …, signed-card …, certificates … as above
//! logs <how many>
//! log <verifier key of the log>
//! records …, time-stamps … as above
//! checkpoint <how many lines>
//! <the signed note>
//! log …
//! ```
//! Each log's records are bound to its own checkpoint. The card is that of the last record of one of the logs, and each
//! step on it has a record in one of them, so that none can be left out that has written a step of the card.
//!
//! Version 1 had neither signed card, certificates nor time stamps, and is verified as ever. One log is written in
//! version 2.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use super::checkpoint::{Checkpoint, VerifierKey};
use super::record::{Record, RecordEvent};
use super::signed_card::SignedCard;
use super::tree::{Hash, leaf_hash, verify_inclusion};
use crate::domain::card::{ProcessCard, STEPS_MAX, Step};
use crate::domain::content::Digest;
use crate::domain::message_id::MessageId;
use crate::pki::certificate::{CERTIFICATES_MAX, Certificate};
use crate::pki::inspection::Purpose;
use crate::pki::timestamp::{Authorities, Token};
use crate::pki::trust::{self, TrustAnchors};

const VERSIONS: [&str; 3] = ["amtsbote-proof/1", "amtsbote-proof/2", "amtsbote-proof/3"];
/// Logs of one file: nodes that had a hand in one message.
const LOGS_MAX: usize = 256;
/// A checkpoint has five lines.
const NOTE_LINES_MAX: usize = 16;
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

/// What one log says of the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogProof {
    pub log: VerifierKey,
    pub records: Vec<ProvenRecord>,
    /// Tokens, DER.
    pub time_stamps: Vec<Vec<u8>>,
    /// The signed note.
    pub checkpoint: String,
}

/// What the file holds, before anything is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Of the file's form.
    pub version: Version,
    pub message_id: MessageId,
    /// The card's stored bytes; absent once it was deleted at the end of its retention.
    pub card: Option<Vec<u8>>,
    /// The same as signed XML.
    pub signed_card: Option<SignedCard>,
    /// One, but in version 3.
    pub logs: Vec<LogProof>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Without signed card and time stamps.
    One,
    Two,
    /// Of several logs.
    Three,
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

/// What one log proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedLog {
    pub log: VerifierKey,
    pub checkpoint: Checkpoint,
    pub records: Vec<(u64, Record)>,
    /// Oldest first.
    pub time_stamps: Vec<Stamped>,
}

/// What the file proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub message_id: MessageId,
    pub card: Option<ProcessCard>,
    /// One for each node that had a hand in the message.
    pub logs: Vec<VerifiedLog>,
    /// Whether the logs' keys are ones that the reader brought; otherwise they are only what the file itself states.
    pub key_trusted: bool,
    pub card_signed: Option<CardSigned>,
}

impl Verified {
    /// The records of all logs, log after log.
    pub fn records(&self) -> impl Iterator<Item = &(u64, Record)> {
        self.logs.iter().flat_map(|log| &log.records)
    }

    pub fn time_stamps(&self) -> impl Iterator<Item = &Stamped> {
        self.logs.iter().flat_map(|log| &log.time_stamps)
    }
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

impl LogProof {
    fn write(&self, out: &mut Vec<u8>, version: Version) {
        out.extend_from_slice(format!("records {}\n", self.records.len()).as_bytes());
        for ProvenRecord { index, bytes, path } in &self.records {
            let path: Vec<String> = path.iter().map(|hash| Digest(*hash).to_string()).collect();
            let path = if path.is_empty() { "-".to_owned() } else { path.join(",") };
            out.extend_from_slice(format!("record {index} {path} ").as_bytes());
            out.extend_from_slice(bytes);
        }
        if version >= Version::Two {
            out.extend_from_slice(format!("time-stamps {}\n", self.time_stamps.len()).as_bytes());
            for token in &self.time_stamps {
                out.extend_from_slice(format!("time-stamp {}\n", digested(token)).as_bytes());
            }
        }
    }
}

impl Proof {
    /// The file's bytes: the only ones that [`verify`] accepts for this content.
    pub fn to_bytes(&self) -> Vec<u8> {
        let name = VERSIONS[self.version as usize];
        let mut out = format!("{name}\nmessage {}\n", self.message_id).into_bytes();
        // Versions 1 and 2 are of one log, which is named before the card.
        let single = self.logs.first().filter(|_| self.version < Version::Three);
        if let Some(LogProof { log, .. }) = single {
            out.extend_from_slice(format!("log {log}\n").as_bytes());
        }
        out.extend_from_slice(b"card ");
        out.extend_from_slice(self.card.as_deref().unwrap_or(b"none"));
        out.push(b'\n');
        if self.version >= Version::Two {
            out.extend_from_slice(self.signed_lines().as_bytes());
        }
        if let Some(log) = single {
            log.write(&mut out, self.version);
            out.extend_from_slice(format!("checkpoint\n{}", log.checkpoint).as_bytes());
        } else if self.version >= Version::Three {
            out.extend_from_slice(format!("logs {}\n", self.logs.len()).as_bytes());
            for log in &self.logs {
                out.extend_from_slice(format!("log {}\n", log.log).as_bytes());
                log.write(&mut out, self.version);
                let lines = log.checkpoint.matches('\n').count();
                out.extend_from_slice(format!("checkpoint {lines}\n{}", log.checkpoint).as_bytes());
            }
        }
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
            three if three == VERSIONS[2] => Version::Three,
            _ => return Err(fault("version", format!("this is none of {}", VERSIONS.join(", ")))),
        };
        let message_id = MessageId::parse(field(&mut rest, "message")?)
            .map_err(|error| fault("message", error.to_string()))?;
        let single = if version < Version::Three { Some(key(&mut rest, "log")?) } else { None };
        let card = match field(&mut rest, "card")? {
            "none" => None,
            card => Some(card.as_bytes().to_vec()),
        };
        let signed_card = if version >= Version::Two { signed_card(&mut rest)? } else { None };
        let mut logs = Vec::new();
        if let Some(log) = single {
            let (records, time_stamps) = logged(&mut rest, version, "")?;
            if line(&mut rest, "checkpoint")? != "checkpoint" {
                return Err(fault("checkpoint", "the line before it does not say so"));
            }
            logs.push(LogProof { log, records, time_stamps, checkpoint: rest.to_owned() });
        } else {
            for number in 1..=count(&mut rest, "logs", LOGS_MAX)? {
                let place = format!("log {number}");
                let log = key(&mut rest, &place)?;
                let (records, time_stamps) = logged(&mut rest, version, &format!("{place}, "))?;
                let mut checkpoint = String::new();
                for _ in 0..count(&mut rest, "checkpoint", NOTE_LINES_MAX)? {
                    checkpoint.push_str(line(&mut rest, &format!("{place}, checkpoint"))?);
                    checkpoint.push('\n');
                }
                logs.push(LogProof { log, records, time_stamps, checkpoint });
            }
        }
        let proof = Self { version, message_id, card, signed_card, logs };
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
    if proof.logs.is_empty() {
        return Err(fault("logs", "there is none"));
    }
    let mut logs: Vec<VerifiedLog> = Vec::with_capacity(proof.logs.len());
    for (number, log) in proof.logs.iter().enumerate() {
        // Versions 1 and 2 have one log, which needs no number.
        let of_log =
            if proof.version < Version::Three { String::new() } else { format!("log {}, ", number + 1) };
        if proof.logs.iter().take(number).any(|before| before.checkpoint == log.checkpoint) {
            return Err(fault(format!("{of_log}checkpoint"), "this log is there twice"));
        }
        logs.push(verify_log(log, &proof.message_id, &of_log, trust)?);
    }
    let card = card(&proof, &logs)?;
    let card_signed = card_signed(&proof, card.as_ref(), trust)?;
    let key_trusted = !trust.log_keys.is_empty();
    Ok(Verified { message_id: proof.message_id, card, logs, key_trusted, card_signed })
}

/// `of_log` says in front of a place which log it is in.
fn verify_log(proof: &LogProof, id: &MessageId, of_log: &str, trust: &Trust) -> Result<VerifiedLog, Fault> {
    if !trust.log_keys.is_empty() && !trust.log_keys.contains(&proof.log) {
        let trusted: Vec<String> = trust.log_keys.iter().map(ToString::to_string).collect();
        let what = format!("the file names the key {}, trusted is {}", proof.log, trusted.join(", "));
        return Err(fault(if of_log.is_empty() { "log" } else { of_log.trim_end_matches(", ") }, what));
    }
    let checkpoint = Checkpoint::open(&proof.checkpoint, &proof.log)
        .map_err(|error| fault(format!("{of_log}checkpoint"), error.to_string()))?;
    let mut records: Vec<(u64, Record)> = Vec::with_capacity(proof.records.len());
    for (number, proven) in proof.records.iter().enumerate() {
        let place = format!("{of_log}record {} (index {})", number + 1, proven.index);
        let record = Record::from_bytes(&proven.bytes).map_err(|error| fault(&place, error.to_string()))?;
        if record.message_id != *id {
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
    let Some((_, last)) = records.last() else {
        return Err(fault(format!("{of_log}records"), "there is none"));
    };
    let time_stamps = stamped(proof, last.time, of_log, trust)?;
    Ok(VerifiedLog { log: proof.log.clone(), checkpoint, records, time_stamps })
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
fn stamped(proof: &LogProof, last: Timestamp, of_log: &str, trust: &Trust) -> Result<Vec<Stamped>, Fault> {
    if proof.time_stamps.is_empty() && !trust.stamp_authorities.is_empty() {
        let what =
            "there is none, and whose stamps are believed was given; a young checkpoint gets its stamp later";
        return Err(fault(format!("{of_log}time-stamps"), what));
    }
    let mut seen: Vec<Stamped> = Vec::new();
    for (number, bytes) in proof.time_stamps.iter().enumerate() {
        let place = format!("{of_log}time-stamp {}", number + 1);
        let wrong = |what: String| fault(&place, what);
        let token = Token::read(bytes).map_err(|error| wrong(error.to_string()))?;
        let before = seen.last().map(|before| &before.token);
        let covered = before.map_or(proof.checkpoint.as_bytes(), Token::der);
        token.covers(covered).map_err(|error| wrong(error.to_string()))?;
        let earliest = before.map_or(last, Token::time);
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

fn card(proof: &Proof, logs: &[VerifiedLog]) -> Result<Option<ProcessCard>, Fault> {
    // Clocks of nodes are not compared: whichever log has the last word, the card says.
    let mut lasts = logs.iter().filter_map(|log| log.records.last()).map(|(_, record)| record);
    let Some(bytes) = &proof.card else {
        return if lasts.any(|last| last.event == RecordEvent::CardPurged) {
            Ok(None)
        } else {
            Err(fault("card", "it is missing, and no record says that it was deleted"))
        };
    };
    let digest = Digest::of(bytes);
    if !lasts.clone().any(|last| last.card_digest == digest) {
        let events: Vec<&str> = lasts.map(|last| last.event.as_str()).collect();
        let what = format!("its digest is not that of the last record ({})", events.join(", "));
        return Err(fault("card", what));
    }
    let card = ProcessCard::from_bytes(bytes).map_err(|error| fault("card", error.to_string()))?;
    if card.id != proof.message_id {
        return Err(fault("card", format!("it is about {}", card.id)));
    }
    for (number, step) in card.steps.iter().enumerate().filter(|_| card.steps.len() < STEPS_MAX) {
        let logged =
            |(_, record): &(u64, Record)| record.event == step.event.into() && record.time == step.at;
        if !logs.iter().flat_map(|log| &log.records).any(logged) {
            let event = RecordEvent::from(step.event).as_str();
            return Err(fault("card", format!("step {} ({event} at {}) has no record", number + 1, step.at)));
        }
    }
    // An older card is the last word of one log, but not of all.
    for (index, record) in logs.iter().flat_map(|log| &log.records).filter(|_| logs.len() > 1) {
        let told = |step: &Step| record.event == step.event.into() && record.time == step.at;
        let is_step = matches!(record.event, RecordEvent::Delivery(_));
        if is_step && card.steps.len() < STEPS_MAX && !card.steps.iter().any(told) {
            let what =
                format!("record {index} ({} at {}) is no step of it", record.event.as_str(), record.time);
            return Err(fault("card", what));
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

fn key(rest: &mut &str, place: &str) -> Result<VerifierKey, Fault> {
    let words = line(rest, place)?;
    let words =
        words.strip_prefix("log ").ok_or_else(|| fault(place, "the line does not begin with \"log\""))?;
    VerifierKey::parse(words).map_err(|error| fault(place, error.to_string()))
}

/// Records and time stamps of one log.
fn logged(
    rest: &mut &str,
    version: Version,
    of_log: &str,
) -> Result<(Vec<ProvenRecord>, Vec<Vec<u8>>), Fault> {
    let mut records = Vec::new();
    for number in 1..=count(rest, "records", usize::MAX)? {
        records.push(record(rest, &format!("{of_log}record {number}"))?);
    }
    let mut time_stamps = Vec::new();
    if version >= Version::Two {
        for number in 1..=count(rest, "time-stamps", TIME_STAMPS_MAX)? {
            let words = field(rest, "time-stamp")?;
            time_stamps.push(undigested(words, &format!("{of_log}time-stamp {number}"))?);
        }
    }
    Ok((records, time_stamps))
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

fn record(rest: &mut &str, place: &str) -> Result<ProvenRecord, Fault> {
    let line = line(rest, place)?;
    let wrong = |what: &str| fault(place, what);
    let line =
        line.strip_prefix("record ").ok_or_else(|| wrong("the line does not begin with \"record\""))?;
    let (index, line) = line.split_once(' ').ok_or_else(|| wrong("it has no index"))?;
    let index = index.parse().map_err(|_| wrong("its index is not a number"))?;
    let (path, record) = line.split_once(' ').ok_or_else(|| wrong("it has no inclusion proof"))?;
    let hashes = path.split(',').filter(|hash| *hash != "-").take(PATH_HASHES_MAX + 1);
    let path: Vec<Hash> = hashes
        .map(|hash| Digest::try_from(hash.to_owned()).map(|digest| digest.0))
        .collect::<Result<_, _>>()
        .map_err(|_| fault(format!("{place} (index {index})"), "a hash of its proof is not one"))?;
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
