//! The exported proof: one text file by which a third party checks a message's whole story without this post office.
//!
//! ```text
//! amtsbote-proof/1
//! message <id>
//! log <verifier key of the log>
//! card <the process card's stored bytes, one line of JSON; or: none>
//! records <how many>
//! record <index> <hashes of the inclusion proof, comma-separated, or: -> <the record's line>
//! …
//! checkpoint
//! <the signed note>
//! ```
//! Every byte is bound: each record to the checkpoint's root by its inclusion proof, the root to the log's key by the
//! signature, the card to the last record by its digest, each step on the card to a record, and the file's own spelling
//! by writing it again and comparing. The file proves what was logged up to its checkpoint, and not that nothing
//! happened afterwards. Left out: an RFC 3161 time stamp, and the card signed as XML for OSCI clients.

use thiserror::Error;

use super::checkpoint::{Checkpoint, VerifierKey};
use super::record::{Record, RecordEvent};
use super::tree::{Hash, leaf_hash, verify_inclusion};
use crate::domain::card::{ProcessCard, STEPS_MAX};
use crate::domain::content::Digest;
use crate::domain::message_id::MessageId;

const VERSION: &str = "amtsbote-proof/1";
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
    pub message_id: MessageId,
    pub log: VerifierKey,
    /// The card's stored bytes; absent once it was deleted at the end of its retention.
    pub card: Option<Vec<u8>>,
    pub records: Vec<ProvenRecord>,
    pub checkpoint: String,
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
        let mut out = format!("{VERSION}\nmessage {}\nlog {}\ncard ", self.message_id, self.log).into_bytes();
        out.extend_from_slice(self.card.as_deref().unwrap_or(b"none"));
        out.extend_from_slice(format!("\nrecords {}\n", self.records.len()).as_bytes());
        for ProvenRecord { index, bytes, path } in &self.records {
            let path: Vec<String> = path.iter().map(|hash| Digest(*hash).to_string()).collect();
            let path = if path.is_empty() { "-".to_owned() } else { path.join(",") };
            out.extend_from_slice(format!("record {index} {path} ").as_bytes());
            out.extend_from_slice(bytes);
        }
        out.extend_from_slice(b"checkpoint\n");
        out.extend_from_slice(self.checkpoint.as_bytes());
        out
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Fault> {
        if bytes.len() > PROOF_BYTES_MAX {
            let what = format!("it has {} bytes, at most {PROOF_BYTES_MAX} are read", bytes.len());
            return Err(fault("file", what));
        }
        let mut rest = std::str::from_utf8(bytes)
            .map_err(|error| fault(place_of(bytes, error.valid_up_to()), "it is not UTF-8 text"))?;
        if line(&mut rest, "version")? != VERSION {
            return Err(fault("version", format!("this is not {VERSION}")));
        }
        let message_id = MessageId::parse(field(&mut rest, "message")?)
            .map_err(|error| fault("message", error.to_string()))?;
        let log =
            VerifierKey::parse(field(&mut rest, "log")?).map_err(|error| fault("log", error.to_string()))?;
        let card = match field(&mut rest, "card")? {
            "none" => None,
            card => Some(card.as_bytes().to_vec()),
        };
        let count: usize = field(&mut rest, "records")?
            .parse()
            .map_err(|_| fault("records", "the number of records is not a number"))?;
        let mut records = Vec::new();
        for number in 1..=count {
            records.push(record(&mut rest, number)?);
        }
        if line(&mut rest, "checkpoint")? != "checkpoint" {
            return Err(fault("checkpoint", "the line before it does not say so"));
        }
        let proof = Self { message_id, log, card, records, checkpoint: rest.to_owned() };
        let again = proof.to_bytes();
        if again != bytes {
            let at = again.iter().zip(bytes).position(|(one, other)| one != other);
            let at = at.unwrap_or(again.len().min(bytes.len()));
            return Err(fault(place_of(bytes, at), "it is not written as this post office writes it"));
        }
        Ok(proof)
    }
}

/// Checks the file from first to last byte. Without a trusted key the signature is checked against the key in the
/// file, which proves that the file is whole, and not who wrote it.
pub fn verify(bytes: &[u8], trusted_key: Option<&VerifierKey>) -> Result<Verified, Fault> {
    let proof = Proof::from_bytes(bytes)?;
    if let Some(key) = trusted_key
        && *key != proof.log
    {
        return Err(fault("log", format!("the file names the key {}, trusted is {key}", proof.log)));
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
    Ok(Verified {
        message_id: proof.message_id,
        card,
        records,
        checkpoint,
        log: proof.log,
        key_trusted: trusted_key.is_some(),
    })
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
    let word: Vec<u8> = line.iter().copied().take(24).take_while(u8::is_ascii_alphanumeric).collect();
    format!("line {number} ({}), byte {at}", String::from_utf8_lossy(&word))
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;
