//! Care for a store from outside: verify, restore, upgrade.
//!
//! Verification trusts nothing that can be computed again: every record is hashed into the tree and compared with the
//! stored hashes and every checkpoint; every card is compared with its last record; every payload is read and
//! digested; rows, counters and timers are derived again from the cards. Signatures on checkpoints
//! are checked where the caller knows the keys.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use rusqlite::{Connection, OptionalExtension, params};

use super::message::{ROW, read_row};
use super::payload::PayloadFolder;
use super::schema::{self, DATABASE_FILE};
use super::{Fault, OpenError, care, evidence, read, time_stamp};
use crate::domain::content::Digest;
use crate::domain::message_id::MessageId;
use crate::evidence::checkpoint::{Checkpoint, VerifierKey, statement};
use crate::evidence::record::{Record, RecordEvent};
use crate::evidence::tree::{Frontier, Hash, leaf_hash};
use crate::pki::timestamp::Authorities;
use crate::store::agreement::{Papers, contradictions};
use crate::store::row::{Place, Row, due_number, int, uint};

/// Problems that a report lists; the rest is counted.
const PROBLEMS_MAX: usize = 100;

/// What verification saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub messages: u64,
    pub payload_bytes: u64,
    pub evidence_records: u64,
    pub checkpoints: u64,
    pub time_stamps: u64,
    /// Root of the whole evidence log, computed from its records.
    pub root: Hash,
    /// The first record of the log that is not what it was when it was hashed.
    pub first_wrong_record: Option<u64>,
    /// One sentence each, at most 100.
    pub problems: Vec<String>,
    pub problem_count: u64,
}

impl Report {
    pub fn is_sound(&self) -> bool {
        self.problem_count == 0
    }

    fn blame(&mut self, problem: String) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }

    fn blame_record(&mut self, index: u64, problem: &str) {
        self.first_wrong_record = Some(self.first_wrong_record.map_or(index, |first| first.min(index)));
        self.blame(format!("evidence record {index}: {problem}"));
    }
}

/// Reads everything and compares everything. May run beside a process that has the store open.
pub fn verify(folder: &Path) -> Result<Report, OpenError> {
    verify_signed(folder, &[], &Authorities::default())
}

/// As [`verify`]; and every checkpoint must be signed by one of `keys`, where any are given, every time stamp lead to one
/// of `authorities`, where there are any. Revocation of their certificates is not looked at.
pub fn verify_signed(
    folder: &Path,
    keys: &[VerifierKey],
    authorities: &Authorities,
) -> Result<Report, OpenError> {
    let connection = open(folder)?;
    let (found, known) = (schema::version_of(&connection)?, schema::current_version());
    match found {
        _ if found > known => return Err(OpenError::Newer { found, known }),
        _ if found < known => return Err(OpenError::Older { found, known }),
        _ => {}
    }
    let mut report = Report::default();
    let snapshot = connection.unchecked_transaction()?;
    if check_pages(&snapshot, &mut report)? {
        check_evidence(&snapshot, keys, &mut report)?;
        for problem in time_stamp::problems(&snapshot, authorities)? {
            report.blame(problem);
        }
        check_messages(&snapshot, folder, &mut report)?;
        check_used(&snapshot, &mut report)?;
        check_sums(&snapshot, &mut report)?;
        if let Err(fault) = read::directory(&snapshot) {
            report.blame(fault.to_string());
        }
    }
    report.time_stamps = time_stamp::count(&snapshot)?;
    snapshot.finish()?;
    Ok(report)
}

fn open(folder: &Path) -> Result<Connection, OpenError> {
    if !folder.join(DATABASE_FILE).is_file() {
        return Err(OpenError::Absent(folder.to_owned()));
    }
    schema::open_reader(folder)
}

/// Whether the database's own structure is whole. Where it is not, nothing else can be read reliably.
fn check_pages(connection: &Connection, report: &mut Report) -> Result<bool, OpenError> {
    let mut check = connection.prepare("PRAGMA integrity_check(20)")?;
    let lines = check.query_map([], |row| row.get::<_, String>(0))?;
    let mut sound = true;
    for line in lines {
        let line = line?;
        if line != "ok" {
            sound = false;
            report.blame(format!("database: {line}"));
        }
    }
    Ok(sound)
}

fn bytes(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Vec<u8>> {
    Ok(match row.get_ref(at)? {
        rusqlite::types::ValueRef::Text(bytes) | rusqlite::types::ValueRef::Blob(bytes) => bytes.to_vec(),
        _ => Vec::new(),
    })
}

/// Hashes every record again, in order.
fn check_evidence(
    connection: &Connection,
    keys: &[VerifierKey],
    report: &mut Report,
) -> Result<(), OpenError> {
    let mut checkpoints = checkpoints(connection, keys, report)?;
    let mut frontier = Frontier::default();
    let mut node = connection.prepare("SELECT hash FROM evidence_node WHERE level = ?1 AND idx = ?2")?;
    let mut rows = connection.prepare("SELECT idx, message, leaf, bytes FROM evidence ORDER BY idx")?;
    let mut rows = rows.query([])?;
    let mut nodes = 0_i64;
    while let Some(row) = rows.next()? {
        let (index, expected) = (uint(row.get(0)?), frontier.size());
        if index != expected {
            report.blame_record(expected, &format!("missing; the log goes on with record {index}"));
            return Ok(());
        }
        let (message, leaf, record) = (uint(row.get(1)?), bytes(row, 2)?, bytes(row, 3)?);
        let hash = leaf_hash(&record);
        if leaf != hash {
            report.blame_record(index, "its bytes do not have the hash that is in the tree");
        }
        check_record(connection, index, message, &record, report)?;
        for (level, place, hash) in frontier.append(hash) {
            if level < evidence::STORED_LEVEL_MIN {
                continue;
            }
            nodes += 1;
            let stored = node.query_row(params![level, int(place)], |row| bytes(row, 0)).optional()?;
            if stored.as_deref() != Some(&hash) {
                let first = place << level;
                report.blame_record(
                    first,
                    &format!("the tree's node over {} records from here on differs", 1_u64 << level),
                );
            }
        }
        if let Some(root) = checkpoints.remove(&frontier.size())
            && root != frontier.root()
        {
            report.blame(format!("checkpoint of size {}: its root is not that of the log", frontier.size()));
        }
    }
    let stored: i64 = connection.query_row("SELECT count(*) FROM evidence_node", [], |row| row.get(0))?;
    if stored != nodes {
        report.blame(format!("the tree has {stored} stored nodes where {nodes} belong"));
    }
    for size in checkpoints.keys() {
        report.blame(format!("checkpoint of size {size}: the log has only {} records", frontier.size()));
    }
    (report.evidence_records, report.root) = (frontier.size(), frontier.root());
    Ok(())
}

fn check_record(
    connection: &Connection,
    index: u64,
    message: u64,
    bytes: &[u8],
    report: &mut Report,
) -> Result<(), OpenError> {
    match Record::from_bytes(bytes) {
        Err(error) => report.blame_record(index, &error.to_string()),
        Ok(record) => {
            let known: Option<Option<i64>> = connection
                .prepare_cached("SELECT sequence FROM used WHERE key = ?1")?
                .query_row(params![record.message_id.key().as_str()], |row| row.get(0))
                .optional()?;
            if known.flatten().map(uint) != Some(message) {
                report.blame_record(index, "it stands with another message than it names");
            }
        }
    }
    Ok(())
}

/// Sizes and roots that checkpoints state.
fn checkpoints(
    connection: &Connection,
    keys: &[VerifierKey],
    report: &mut Report,
) -> Result<BTreeMap<u64, Hash>, OpenError> {
    let mut stated = BTreeMap::new();
    let mut rows = connection.prepare("SELECT size, note, digest FROM checkpoint ORDER BY size")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        report.checkpoints += 1;
        let (size, note, digest) = (uint(row.get(0)?), bytes(row, 1)?, bytes(row, 2)?);
        if digest != Digest::of(&note).0 {
            report.blame(format!("checkpoint of size {size}: its text was changed"));
        }
        let text = std::str::from_utf8(&note).unwrap_or_default();
        if !keys.is_empty()
            && let Err(error) = Checkpoint::open_with(text, keys)
        {
            report.blame(format!("checkpoint of size {size}: {error}"));
        }
        match statement(text) {
            Some((stated_size, root)) if stated_size == size => {
                stated.insert(size, root);
            }
            _ => report.blame(format!("checkpoint of size {size}: it does not state size and root")),
        }
    }
    Ok(stated)
}

fn check_messages(connection: &Connection, folder: &Path, report: &mut Report) -> Result<(), OpenError> {
    let payloads = PayloadFolder::at(folder);
    let mut rows = connection.prepare(&format!("SELECT {ROW} FROM message ORDER BY sequence"))?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        report.messages += 1;
        let row = match read_row(row) {
            Ok(row) => row,
            Err(error) => {
                report.blame(format!("a message's row cannot be read: {error}"));
                continue;
            }
        };
        check_paper(connection, &row, report)?;
        check_payload(connection, folder, &payloads, &row, report)?;
        check_timers(connection, &row, report)?;
    }
    Ok(())
}

fn last_record(connection: &Connection, sequence: u64) -> Result<Option<Record>, OpenError> {
    let last = connection
        .prepare_cached("SELECT bytes FROM evidence WHERE message = ?1 ORDER BY idx DESC LIMIT 1")?
        .query_row(params![int(sequence)], |row| bytes(row, 0))
        .optional()?;
    Ok(last.and_then(|bytes| Record::from_bytes(&bytes).ok()))
}

fn check_paper(connection: &Connection, row: &Row, report: &mut Report) -> Result<(), OpenError> {
    let papers = connection
        .prepare_cached("SELECT envelope, manifest, author_digest, card FROM paper WHERE sequence = ?1")?
        .query_row(params![int(row.sequence)], |row| {
            Ok(Papers {
                envelope: bytes(row, 0)?,
                manifest: bytes(row, 1)?,
                author_digest: bytes(row, 2)?,
                card: bytes(row, 3)?,
            })
        })
        .optional()?;
    let offered: bool = connection
        .prepare_cached("SELECT offered FROM message WHERE sequence = ?1")?
        .query_row(params![int(row.sequence)], |row| row.get(0))?;
    let last = last_record(connection, row.sequence)?;
    for what in contradictions(row, offered, papers.as_ref(), last.as_slice()) {
        report.blame(format!("message {} (sequence {}): {what}", row.id, row.sequence));
    }
    Ok(())
}

fn check_payload(
    connection: &Connection,
    folder: &Path,
    payloads: &PayloadFolder,
    row: &Row,
    report: &mut Report,
) -> Result<(), OpenError> {
    let sequence = params![int(row.sequence)];
    let found = match row.place {
        Place::Purged => return Ok(()),
        Place::Inline => connection
            .prepare_cached("SELECT bytes FROM payload WHERE sequence = ?1")?
            .query_row(sequence, |row| bytes(row, 0))
            .optional()?
            .map(|bytes| (bytes.len() as u64, Digest::of(&bytes))),
        Place::Apart => {
            let name: Option<String> = connection
                .prepare_cached("SELECT name FROM payload_file WHERE sequence = ?1")?
                .query_row(sequence, |row| row.get(0))
                .optional()?;
            match name {
                Some(name) => match digest_of_file(&payloads.path(&name)) {
                    Ok(found) => Some(found),
                    // A process at work may have purged it since this snapshot.
                    Err(_) if !is_named(folder, &name)? => return Ok(()),
                    Err(error) => {
                        let sequence = row.sequence;
                        report.blame(format!(
                            "message {} (sequence {sequence}): payload file {name}: {error}",
                            row.id
                        ));
                        return Ok(());
                    }
                },
                None => None,
            }
        }
    };
    match found {
        Some((length, digest)) if int(length) == row.payload_bytes && digest == row.payload_digest => {
            report.payload_bytes += length;
        }
        Some(_) => {
            report.blame(format!("message {} (sequence {}): the payload was changed", row.id, row.sequence))
        }
        None => {
            report.blame(format!("message {} (sequence {}): the payload is missing", row.id, row.sequence))
        }
    }
    Ok(())
}

fn is_named(folder: &Path, name: &str) -> Result<bool, OpenError> {
    let connection = open(folder)?;
    Ok(connection.prepare("SELECT 1 FROM payload_file WHERE name = ?1")?.exists(params![name])?)
}

fn digest_of_file(path: &Path) -> std::io::Result<(u64, Digest)> {
    let mut file = File::open(path)?;
    let (mut context, mut length) = (Context::new(&SHA256), 0);
    let mut piece = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            break;
        }
        length += read as u64;
        context.update(piece.get(..read).unwrap_or_default());
    }
    let mut digest = Digest([0; 32]);
    digest.0.copy_from_slice(context.finish().as_ref());
    Ok((length, digest))
}

fn check_timers(connection: &Connection, row: &Row, report: &mut Report) -> Result<(), OpenError> {
    let mut timer =
        connection.prepare_cached("SELECT 1 FROM timer WHERE at = ?1 AND sequence = ?2 AND kind = ?3")?;
    for (kind, at) in row.timers() {
        if !timer.exists(params![at, int(row.sequence), due_number(kind)])? {
            report
                .blame(format!("message {} (sequence {}): timer {kind:?} is missing", row.id, row.sequence));
        }
    }
    Ok(())
}

/// Ids of messages whose cards are gone: the log must say that they were purged.
fn check_used(connection: &Connection, report: &mut Report) -> Result<(), OpenError> {
    let mut rows = connection.prepare(
        "SELECT key, sequence FROM used WHERE sequence IS NOT NULL \
         AND NOT EXISTS (SELECT 1 FROM message WHERE message.sequence = used.sequence)",
    )?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let (key, sequence): (String, i64) = (row.get(0)?, row.get(1)?);
        let purged = last_record(connection, uint(sequence))?.is_some_and(|record| {
            record.event == RecordEvent::CardPurged && record.message_id.key().as_str() == key
        });
        if !purged {
            report.blame(format!("message {key} (sequence {sequence}) is missing"));
        }
    }
    let mut rows = connection.prepare("SELECT sequence, id FROM message")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let (sequence, id): (i64, String) = (row.get(0)?, row.get(1)?);
        let key = MessageId::parse(&id).map(|id| id.key().as_str().to_owned()).unwrap_or_default();
        let known = connection
            .prepare_cached("SELECT 1 FROM used WHERE key = ?1 AND sequence = ?2")?
            .exists(params![key, sequence])?;
        if !known {
            report.blame(format!("message {id} (sequence {sequence}): its id is not marked as used"));
        }
    }
    Ok(())
}

/// Counters of mailboxes, the number of timers, and bytes that belong to nobody.
fn check_sums(connection: &Connection, report: &mut Report) -> Result<(), OpenError> {
    let mut counted: BTreeMap<String, [i64; 6]> = BTreeMap::new();
    let mut timers = 0;
    let mut rows = connection.prepare(&format!("SELECT {ROW} FROM message"))?;
    for row in rows.query_map([], read_row)? {
        let Ok(row) = row else { continue };
        timers += row.timers().len();
        let [held, waiting, handed_out, dead, bytes] = row.counts();
        let sums = counted.entry(row.mailbox).or_default();
        let one = [1, held, waiting, handed_out, dead, bytes];
        sums.iter_mut().zip(one).for_each(|(sum, one)| *sum += one);
    }
    let mut rows = connection.prepare(
        "SELECT name, total, held, waiting, handed_out, dead, bytes_waiting FROM mailbox ORDER BY name",
    )?;
    let stored = rows
        .query_map([], |row| {
            let sums = [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?];
            Ok((row.get::<_, String>(0)?, sums))
        })?
        .collect::<Result<BTreeMap<_, [i64; 6]>, _>>()?;
    if stored != counted {
        let wrong = stored.keys().chain(counted.keys()).find(|name| stored.get(*name) != counted.get(*name));
        report.blame(format!("the counters of mailbox {} are wrong", wrong.map_or("", String::as_str)));
    }
    let stored: i64 = connection.query_row("SELECT count(*) FROM timer", [], |row| row.get(0))?;
    if uint(stored) != timers as u64 {
        report.blame(format!("there are {stored} timers where {timers} belong"));
    }
    for (what, table, place) in
        [("payload", "payload", Place::Inline as i64), ("payload file", "payload_file", Place::Apart as i64)]
    {
        let strays: i64 = connection.query_row(
            &format!(
                "SELECT count(*) FROM {table} p WHERE NOT EXISTS (SELECT 1 FROM message m \
                 WHERE m.sequence = p.sequence AND m.payload_place = ?1)"
            ),
            params![place],
            |row| row.get(0),
        )?;
        if strays > 0 {
            report.blame(format!("{strays} rows name a {what} that belongs to no message"));
        }
    }
    Ok(())
}

/// Verifies the backup in `from` and copies it into the empty or new folder `into`, which is verified as well.
pub fn restore(from: &Path, into: &Path) -> Result<Report, OpenError> {
    let report = verify(from)?;
    if let Some(problem) = report.problems.first() {
        return Err(OpenError::Unverified(problem.clone()));
    }
    care::copy(from, &PayloadFolder::at(from), into, care::Files::Copy)?;
    let copied = verify(into)?;
    match copied.problems.first() {
        None => Ok(copied),
        Some(problem) => Err(OpenError::Unverified(format!("the copy differs: {problem}"))),
    }
}

/// Brings a store of an earlier version to the current one; returns both versions. No process may have it open.
pub fn upgrade(folder: &Path) -> Result<(u32, u32), OpenError> {
    if !folder.join(DATABASE_FILE).is_file() {
        return Err(OpenError::Absent(folder.to_owned()));
    }
    let _lock = super::opening::lock(folder)?;
    schema::upgrade(&mut schema::open_writer(folder, schema::Synchronous::Full)?)
}

impl From<OpenError> for Fault {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Database(error) => Self::Sqlite(error),
            OpenError::Folder(error) => Self::Refusal(error.into()),
            other => Self::Refusal(crate::store::StoreError::Unavailable(other.to_string())),
        }
    }
}
