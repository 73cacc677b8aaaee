//! `amtsbote evidence`: proofs for third parties, and their verification without any server.

use std::path::PathBuf;

use serde::Serialize;

use super::exit::{Exit, Stop};
use super::link::{Link, unexpected};
use super::screen;
use super::{Place, Reading, card};
use crate::admin::protocol::{Answer, Verb};
use crate::app::evidence_key;
use crate::config::Config;
use crate::domain::card::ProcessCard;
use crate::domain::message_id::MessageId;
use crate::evidence::checkpoint::VerifierKey;
use crate::evidence::export::{self, PROOF_BYTES_MAX, Verified};
use crate::store::embedded;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Write the proof of one message: card, log records, their way into the tree, signed checkpoint
    Export {
        /// The message's id
        #[arg(value_parser = MessageId::parse)]
        id: MessageId,
        /// File to write; stdout without it
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        #[command(flatten)]
        link: Link,
    },
    /// Check a proof file, or a whole log in a store that no server has open (exit code 4 if it is damaged)
    Verify {
        /// The proof file
        #[arg(required_unless_present = "store", conflicts_with = "store")]
        file: Option<PathBuf>,
        /// Folder of a store: check every record of its log, every payload and card
        #[arg(long, value_name = "FOLDER")]
        store: Option<PathBuf>,
        /// Public key of the log, as `amtsbote evidence key` prints it; may be repeated, for former keys. Without it
        /// signatures prove nothing about the signer
        #[arg(long, value_name = "KEY", value_parser = VerifierKey::parse)]
        key: Vec<VerifierKey>,
        #[command(flatten)]
        reading: Reading,
    },
    /// The public key of this post office's log, to be handed to whoever verifies
    Key {
        #[command(flatten)]
        reading: Reading,
    },
}

#[derive(Serialize)]
struct Outcome<'a> {
    whole: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<&'a MessageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    /// Whether the log's key was given, and not only read from the file.
    key_trusted: bool,
    records: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    card: Option<&'a ProcessCard>,
}

#[derive(Serialize)]
struct Keys {
    key: VerifierKey,
    former_keys: Vec<VerifierKey>,
}

impl Command {
    pub fn run(&self, place: &Place) -> Result<Exit, Stop> {
        match self {
            Self::Export { id, output, link } => {
                let Answer::Evidence { file } = link.ask(place, Verb::EvidenceExport { id: id.clone() })?
                else {
                    return Err(unexpected());
                };
                match output {
                    None => screen::data(&String::from_utf8_lossy(&file))?,
                    Some(path) => {
                        std::fs::write(path, &file).map_err(|error| {
                            Stop::failed(format!("{} cannot be written: {error}", path.display()))
                        })?;
                        screen::sentence(&format!(
                            "The proof is in {}. Check it anywhere with: amtsbote evidence verify {}",
                            path.display(),
                            path.display()
                        ));
                    }
                }
                Ok(Exit::Done)
            }
            Self::Verify { file: Some(file), key, reading, .. } => verify_file(file, key, *reading),
            Self::Verify { store: Some(folder), key, reading, .. } => verify_store(folder, key, *reading),
            Self::Verify { .. } => Err(Stop::usage("name a proof file or --store FOLDER")),
            Self::Key { reading } => {
                let config = Config::load(&place.path())?;
                let key = evidence_key::read(&config.evidence.key, &config.evidence.origin)
                    .map_err(|error| Stop::usage(format!("{}: {error}", config.evidence.key.display())))?;
                let former = config.evidence.former_keys;
                match reading.json {
                    true => screen::json(&Keys { key: key.verifier().clone(), former_keys: former })?,
                    false => screen::data(&format!("{}\n", key.verifier()))?,
                }
                Ok(Exit::Done)
            }
        }
    }
}

/// With several keys, the proof must be of one of them; the last refusal is told where it is of none.
fn verify_with(bytes: &[u8], keys: &[VerifierKey]) -> Result<Verified, export::Fault> {
    let (last, others) = match keys.split_last() {
        None => return export::verify(bytes, None),
        Some(split) => split,
    };
    let found = others.iter().find_map(|key| export::verify(bytes, Some(key)).ok());
    found.map_or_else(|| export::verify(bytes, Some(last)), Ok)
}

fn verify_file(path: &std::path::Path, keys: &[VerifierKey], reading: Reading) -> Result<Exit, Stop> {
    let unreadable =
        |error: std::io::Error| Stop::usage(format!("{} cannot be read: {error}", path.display()));
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > PROOF_BYTES_MAX as u64 {
        return Err(Stop::usage(format!(
            "{} has {length} bytes, a proof has at most {PROOF_BYTES_MAX}",
            path.display()
        )));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    match verify_with(&bytes, keys) {
        Ok(verified) => {
            if reading.json {
                screen::json(&good(&verified))?
            } else {
                tell(&verified)?
            }
            Ok(Exit::Done)
        }
        Err(fault) => {
            if reading.json {
                let outcome = Outcome {
                    whole: false,
                    fault: Some(fault.to_string()),
                    message_id: None,
                    log: None,
                    key_trusted: false,
                    records: 0,
                    checkpoint_size: None,
                    card: None,
                };
                screen::json(&outcome)?;
            }
            Err(Stop::new(Exit::Problems, format!("{} proves nothing: {fault}", path.display())))
        }
    }
}

fn good(verified: &Verified) -> Outcome<'_> {
    Outcome {
        whole: true,
        fault: None,
        message_id: Some(&verified.message_id),
        log: Some(verified.log.to_string()),
        key_trusted: verified.key_trusted,
        records: verified.records.len(),
        checkpoint_size: Some(verified.checkpoint.size),
        card: verified.card.as_ref(),
    }
}

fn tell(verified: &Verified) -> Result<(), Stop> {
    let mut out = screen::fields(&[
        ("message", verified.message_id.to_string()),
        ("log", verified.log.to_string()),
        ("checkpoint", format!("signed over {} records", verified.checkpoint.size)),
    ]);
    for (index, record) in &verified.records {
        out.push_str(&format!(
            "  record {index}: {} at {}\n",
            record.event.as_str(),
            screen::instant(record.time)
        ));
    }
    match &verified.card {
        Some(card) => out.push_str(&format!("\n{}", card::render(card))),
        None => out.push_str("The card was deleted at the end of its retention; the records say so.\n"),
    }
    screen::data(&out)?;
    screen::sentence(match verified.key_trusted {
        true => "Every byte is as the post office signed it.",
        false => {
            "Every byte fits the signature, which was made with the key that the file itself names. Give --key, from \
             the post office, to know who signed."
        }
    });
    Ok(())
}

fn verify_store(folder: &std::path::Path, keys: &[VerifierKey], reading: Reading) -> Result<Exit, Stop> {
    let report = embedded::verify_signed(folder, keys).map_err(super::store::stop)?;
    if keys.is_empty() {
        screen::sentence(
            "Who signed the checkpoints was not checked; give --key, from the post office, for that.",
        );
    }
    super::store::report(&report, reading)
}
