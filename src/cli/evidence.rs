//! `amtsbote evidence`: proofs for third parties, and their verification without any server.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::exit::{Exit, Stop};
use super::link::{Link, unexpected};
use super::screen;
use super::{Changing, Place, Reading, card, logs};
use crate::admin::protocol::{Answer, Verb};
use crate::app::{card_key, evidence_key};
use crate::config::Config;
use crate::domain::card::ProcessCard;
use crate::domain::hex;
use crate::domain::message_id::MessageId;
use crate::evidence::checkpoint::{Checkpoint, VerifierKey};
use crate::evidence::export::{self, LogProof, PROOF_BYTES_MAX, Proof, Trust, Verified, VerifiedLog};
use crate::pki::certificate::Certificate;
use crate::pki::key;
use crate::pki::summary::Summary;
use crate::pki::timestamp::Authorities;
use crate::store::embedded;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Write the proof of one message: card (signed), log records, their way into the tree, checkpoint, time stamps
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
    /// Check a proof file, a whole log in a store that no server has open, or the logs of all nodes of a store in
    /// PostgreSQL (exit code 4 if it is damaged)
    Verify {
        /// The proof file; with --database any number, whose checkpoints must be those of the store's logs
        #[arg(required_unless_present_any = ["store", "database"], conflicts_with = "store", value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Folder of a store: check every record of its log, every time stamp, payload and card
        #[arg(long, value_name = "FOLDER")]
        store: Option<PathBuf>,
        /// The configuration's store in PostgreSQL: check every node's log, what they hold of each other, and every
        /// payload and card
        #[arg(long, conflicts_with = "store")]
        database: bool,
        #[command(flatten)]
        believe: Believe,
        #[command(flatten)]
        reading: Reading,
    },
    /// Close the log of a node that will not come back: a last line and a last checkpoint, signed with this
    /// configuration's key
    Close {
        /// The node's name; no server may work under it
        node: String,
        #[command(flatten)]
        changing: Changing,
    },
    /// Check a proof file and write its parts, each in the form that common tools read (xmlsec1, openssl)
    Unpack {
        /// The proof file
        file: PathBuf,
        /// Folder to write into; it must be new or empty
        folder: PathBuf,
        #[command(flatten)]
        believe: Believe,
    },
    /// The public key of this post office's log, to be handed to whoever verifies (former ones with --json)
    Key {
        #[command(flatten)]
        reading: Reading,
    },
    /// The certificate (PEM) that signs process cards, to be handed to whoever verifies
    Certificate {
        #[command(flatten)]
        reading: Reading,
    },
}

/// Whom the reader of a proof believes.
#[derive(Debug, clap::Args)]
pub struct Believe {
    /// Public key of the log, as `amtsbote evidence key` prints it; may be repeated. Without it a file only proves to
    /// be whole
    #[arg(long = "key", value_name = "KEY", value_parser = VerifierKey::parse)]
    keys: Vec<VerifierKey>,
    /// Certificates (PEM) that may sign process cards, or of authorities that issue those
    #[arg(long, value_name = "FILE")]
    card_certificate: Option<PathBuf>,
    /// Certificates (PEM) of authorities whose time stamps count
    #[arg(long, value_name = "FILE")]
    time_stamp_anchor: Option<PathBuf>,
}

impl Believe {
    fn trust(&self) -> Result<Trust, Stop> {
        let mut trust = Trust::keys(self.keys.iter().cloned());
        if let Some(path) = &self.card_certificate {
            trust = trust
                .with_card_certificates(certificates(path)?)
                .map_err(|error| Stop::usage(format!("{}: {error}", path.display())))?;
        }
        if let Some(authorities) = self.stamp_authorities()? {
            trust = trust.with_stamp_authorities(authorities);
        }
        Ok(trust)
    }

    fn stamp_authorities(&self) -> Result<Option<Authorities>, Stop> {
        let Some(path) = &self.time_stamp_anchor else { return Ok(None) };
        let authorities = Authorities::new(certificates(path)?);
        authorities.map(Some).map_err(|error| Stop::usage(format!("{}: {error}", path.display())))
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, Stop> {
    let pem = key::read_bounded(path).map_err(|error| Stop::usage(error.to_string()))?;
    Certificate::bundle_from_pem(&pem).map_err(|error| Stop::usage(format!("{}: {error}", path.display())))
}

const NO_REVOCATION: &str = "Whether the time stamp authority's certificates were revoked was not checked.";

#[derive(Serialize)]
struct Outcome<'a> {
    whole: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<&'a MessageId>,
    /// Where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    /// One of each node that had a hand in the message.
    logs: Vec<LogOutcome>,
    /// Whether the log's key was given, and not only read from the file.
    key_trusted: bool,
    /// Of all logs.
    records: usize,
    /// Of the log, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    card_signed: Option<Signer>,
    time_stamps: Vec<Stamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    card: Option<&'a ProcessCard>,
}

#[derive(Serialize)]
struct LogOutcome {
    log: String,
    records: usize,
    checkpoint_size: u64,
    time_stamps: Vec<Stamp>,
}

#[derive(Serialize)]
struct Signer {
    at: Timestamp,
    subject: String,
    fingerprint: String,
    trusted: bool,
}

#[derive(Serialize)]
struct Stamp {
    time: Timestamp,
    authority: String,
    policy: String,
    serial: String,
    trusted: bool,
}

#[derive(Serialize)]
struct Keys {
    key: VerifierKey,
    former_keys: Vec<VerifierKey>,
}

/// One of the certificates that sign cards, as `cert show --json` has it, and itself.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    summary: Summary,
    pem: String,
}

impl From<&Certificate> for Shown {
    fn from(certificate: &Certificate) -> Self {
        Self { summary: certificate.into(), pem: certificate.pem() }
    }
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
            Self::Verify { database: true, files, believe, reading, .. } => {
                logs::verify(place, files, &believe.keys, &believe.trust()?, *reading)
            }
            Self::Verify { store: Some(folder), believe, reading, .. } => {
                verify_store(folder, believe, *reading)
            }
            Self::Verify { files, believe, reading, .. } => match files.as_slice() {
                [file] => verify_file(file, &believe.trust()?, *reading),
                _ => Err(Stop::usage("name one proof file, --store FOLDER or --database")),
            },
            Self::Close { node, changing } => logs::close(place, node, changing),
            Self::Unpack { file, folder, believe } => unpack(file, folder, &believe.trust()?),
            Self::Key { reading } => {
                let config = Config::load(&place.path())?;
                let key = evidence_key::read(&config.evidence.key, &config.evidence.origin)
                    .map_err(|error| Stop::usage(format!("{}: {error}", config.evidence.key.display())))?;
                let former = config.evidence.former_keys;
                match reading.json {
                    false => screen::data(&format!("{}\n", key.verifier()))?,
                    true => screen::json(&Keys { key: key.verifier().clone(), former_keys: former })?,
                }
                Ok(Exit::Done)
            }
            Self::Certificate { reading } => {
                let config = Config::load(&place.path())?;
                let chain = card_key::certificates(&config.evidence).map_err(Stop::usage)?;
                match reading.json {
                    false => screen::data(&chain.iter().map(Certificate::pem).collect::<String>())?,
                    true => screen::json(&chain.iter().map(Shown::from).collect::<Vec<_>>())?,
                }
                Ok(Exit::Done)
            }
        }
    }
}

pub(super) fn read_proof(path: &Path) -> Result<Vec<u8>, Stop> {
    let unreadable =
        |error: std::io::Error| Stop::usage(format!("{} cannot be read: {error}", path.display()));
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > PROOF_BYTES_MAX as u64 {
        return Err(Stop::usage(format!(
            "{} has {length} bytes, a proof has at most {PROOF_BYTES_MAX}",
            path.display()
        )));
    }
    std::fs::read(path).map_err(unreadable)
}

pub(super) fn refused(path: &Path, fault: &export::Fault) -> Stop {
    Stop::new(Exit::Problems, format!("{} proves nothing: {fault}", path.display()))
}

fn verify_file(path: &Path, trust: &Trust, reading: Reading) -> Result<Exit, Stop> {
    match export::verify(&read_proof(path)?, trust) {
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
                    logs: Vec::new(),
                    key_trusted: false,
                    records: 0,
                    checkpoint_size: None,
                    card_signed: None,
                    time_stamps: Vec::new(),
                    card: None,
                };
                screen::json(&outcome)?;
            }
            Err(refused(path, &fault))
        }
    }
}

/// The parts of a proof that holds, as files.
fn unpack(path: &Path, folder: &Path, trust: &Trust) -> Result<Exit, Stop> {
    let bytes = read_proof(path)?;
    export::verify(&bytes, trust).map_err(|fault| refused(path, &fault))?;
    let proof = Proof::from_bytes(&bytes).map_err(|fault| refused(path, &fault))?;
    let failed = |error: std::io::Error| Stop::failed(format!("{}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(failed)?;
    if std::fs::read_dir(folder).map_err(failed)?.next().is_some() {
        return Err(Stop::failed(format!("{} is not empty", folder.display())));
    }
    let mut names = String::new();
    for (name, bytes) in parts(&proof)? {
        std::fs::write(folder.join(&name), bytes).map_err(failed)?;
        names.push_str(&format!("{}\n", folder.join(&name).display()));
    }
    screen::data(&names)?;
    screen::sentence("The manual's chapter on proofs shows how xmlsec1 and openssl check them.");
    Ok(Exit::Done)
}

fn parts(proof: &Proof) -> Result<Vec<(String, Vec<u8>)>, Stop> {
    let mut parts = Vec::new();
    if let Some(card) = &proof.card {
        parts.push(("card.json".to_owned(), card.clone()));
    }
    if let Some(signed) = &proof.signed_card {
        parts.push(("card.xml".to_owned(), signed.xml.clone().into_bytes()));
        let chain: String = signed.certificates.iter().map(Certificate::pem).collect();
        parts.push(("card-certificates.pem".to_owned(), chain.into_bytes()));
    }
    for (log, number) in proof.logs.iter().zip(1..) {
        // One log's parts need no number.
        let of_log = if proof.logs.len() == 1 { String::new() } else { format!("log-{number}-") };
        parts.extend(log_parts(log, &of_log)?);
    }
    Ok(parts)
}

fn log_parts(log: &LogProof, of_log: &str) -> Result<Vec<(String, Vec<u8>)>, Stop> {
    let (text, signature) =
        Checkpoint::parts(&log.checkpoint).map_err(|error| Stop::failed(error.to_string()))?;
    let key_name = if of_log.is_empty() { "log-key.der".to_owned() } else { format!("{of_log}key.der") };
    let mut parts = vec![
        (format!("{of_log}checkpoint.note"), log.checkpoint.clone().into_bytes()),
        (format!("{of_log}checkpoint.txt"), text.into_bytes()),
        (format!("{of_log}checkpoint.sig"), signature),
        (key_name, log.log.spki()),
    ];
    for record in &log.records {
        parts.push((format!("{of_log}record-{}.txt", record.index), record.bytes.clone()));
        let line = |hash: &[u8; 32]| hex::lower(hash) + "\n";
        let path: String = record.path.iter().map(line).collect();
        parts.push((format!("{of_log}record-{}.path", record.index), path.into_bytes()));
    }
    for (token, number) in log.time_stamps.iter().zip(1..) {
        parts.push((format!("{of_log}time-stamp-{number}.der"), token.clone()));
    }
    Ok(parts)
}

fn good(verified: &Verified) -> Outcome<'_> {
    let single = verified.logs.first().filter(|_| verified.logs.len() == 1);
    Outcome {
        whole: true,
        fault: None,
        message_id: Some(&verified.message_id),
        log: single.map(|log| log.log.to_string()),
        logs: verified.logs.iter().map(log_outcome).collect(),
        key_trusted: verified.key_trusted,
        records: verified.records().count(),
        checkpoint_size: single.map(|log| log.checkpoint.size),
        card_signed: verified.card_signed.as_ref().map(|signed| Signer {
            at: signed.at,
            subject: signed.certificate.subject().to_owned(),
            fingerprint: signed.certificate.fingerprint().to_string(),
            trusted: signed.trusted,
        }),
        time_stamps: verified.time_stamps().map(stamp).collect(),
        card: verified.card.as_ref(),
    }
}

fn log_outcome(log: &VerifiedLog) -> LogOutcome {
    LogOutcome {
        log: log.log.to_string(),
        records: log.records.len(),
        checkpoint_size: log.checkpoint.size,
        time_stamps: log.time_stamps.iter().map(stamp).collect(),
    }
}

fn stamp(stamped: &export::Stamped) -> Stamp {
    let token = &stamped.token;
    Stamp {
        time: token.time(),
        authority: token.signer().subject().to_owned(),
        policy: token.policy().to_string(),
        serial: token.serial().to_owned(),
        trusted: stamped.trusted,
    }
}

fn tell(verified: &Verified) -> Result<(), Stop> {
    let judged = |trusted| if trusted { "trusted" } else { "whole; whose it is was not asked" };
    let mut fields = vec![("message", verified.message_id.to_string())];
    let whole = verified.logs.len() == 1;
    for log in verified.logs.iter().filter(|_| whole) {
        fields.push(("log", log.log.to_string()));
        fields.push(("checkpoint", format!("signed over {} records", log.checkpoint.size)));
    }
    if !whole {
        fields.push(("logs", format!("{}, of nodes that had a hand in it", verified.logs.len())));
    }
    match &verified.card_signed {
        None => fields.push(("signed card", "none in this file".to_owned())),
        Some(signed) => fields.push((
            "signed card",
            format!(
                "by {} at {} ({})",
                signed.certificate.subject(),
                screen::instant(signed.at),
                judged(signed.trusted)
            ),
        )),
    }
    if verified.time_stamps().next().is_none() {
        fields.push(("time stamp", "none in this file".to_owned()));
    }
    for stamped in verified.time_stamps() {
        let (time, by) = (screen::instant(stamped.token.time()), stamped.token.signer().subject());
        fields.push(("time stamp", format!("{time} by {by} ({})", judged(stamped.trusted))));
    }
    let mut out = screen::fields(&fields);
    for log in &verified.logs {
        if !whole {
            out.push_str(&format!("log {}, signed over {} records\n", log.log, log.checkpoint.size));
        }
        for (index, record) in &log.records {
            out.push_str(&format!(
                "  record {index}: {} at {}\n",
                record.event.as_str(),
                screen::instant(record.time)
            ));
        }
    }
    match &verified.card {
        Some(card) => out.push_str(&format!("\n{}", card::render(card))),
        None => out.push_str("The card was deleted at the end of its retention; the records say so.\n"),
    }
    screen::data(&out)?;
    if verified.time_stamps().any(|stamped| stamped.trusted) {
        screen::sentence(NO_REVOCATION);
    }
    screen::sentence(match verified.key_trusted {
        true => "Every byte is as the post office signed it.",
        false => {
            "Every byte fits the signature, which was made with the key that the file itself names. Give --key, from \
             the post office, to know who signed."
        }
    });
    Ok(())
}

fn verify_store(folder: &Path, believe: &Believe, reading: Reading) -> Result<Exit, Stop> {
    if believe.card_certificate.is_some() {
        return Err(Stop::usage(
            "--card-certificate is for proof files: a store's cards are signed when they are exported",
        ));
    }
    let authorities = believe.stamp_authorities()?.unwrap_or_default();
    let report = embedded::verify_signed(folder, &believe.keys, &authorities).map_err(super::store::stop)?;
    if believe.keys.is_empty() {
        screen::sentence(
            "Who signed the checkpoints was not checked; give --key, from the post office, for that.",
        );
    }
    if report.time_stamps > 0 {
        screen::sentence(match authorities.is_empty() {
            true => {
                "Whose the time stamps are was not checked; give --time-stamp-anchor, from the authority, for that."
            }
            false => NO_REVOCATION,
        });
    }
    super::store::report(&report, reading)
}
