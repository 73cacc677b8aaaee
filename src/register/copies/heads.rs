//! Where the log of looks has come to, kept so that whoever has the database alone can neither cut nor rewrite the log.
//!
//! The chain proves that nothing within the log was changed by somebody who does not compute it anew; anybody can. So the
//! last entry is sealed with the register's key, in the entry's own transaction, and the same seal goes as a line into a
//! file of heads outside the database, wherever the operator wants it (`register.log_heads`): a medium that is only
//! written to, another machine. A log that was put back to an older state ends before a head that is known.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::looks::LogKey;
use super::{Copies, CopyError, uint};
use crate::domain::hex;
use crate::register::reconcile::Hash;

const HEADS_FILE: &str = "log.heads";
const WORD: &str = "amtsbote-register-log";
/// Longer than any head.
const LINE_BYTES_MAX: u64 = 256;

/// One entry of the log, sealed: that it was there, and everything before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogHead {
    pub number: u64,
    chain: Hash,
    seal: Hash,
}

impl fmt::Display for LogHead {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{WORD} {} {} {}", self.number, hex::lower(&self.chain), hex::lower(&self.seal))
    }
}

impl LogHead {
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (word, number) = (words.next()?, words.next()?.parse().ok()?);
        let mut hash = || Hash::try_from(hex::parse(words.next()?)?).ok();
        let head = Self { number, chain: hash()?, seal: hash()? };
        (word == WORD && words.next().is_none()).then_some(head)
    }

    fn of(key: &LogKey, number: i64, chain: Hash) -> Self {
        Self { number: uint(number), chain, seal: key.head(number, &chain) }
    }

    fn is_ours(&self, key: &LogKey) -> bool {
        i64::try_from(self.number).is_ok_and(|number| key.head(number, &self.chain) == self.seal)
    }

    /// Whether the entry of that number has this chain.
    pub(super) fn fits(&self, chain: &Hash) -> bool {
        self.chain == *chain
    }
}

/// Within the transaction of the entry.
pub(super) fn seal(work: &Transaction<'_>, key: &LogKey, number: i64, chain: &Hash) -> Result<(), CopyError> {
    work.prepare_cached(
        "INSERT INTO look_head (one, number, chain, seal) VALUES (1, ?1, ?2, ?3)
         ON CONFLICT (one) DO UPDATE SET number = excluded.number, chain = excluded.chain, seal = excluded.seal",
    )?
    .execute(params![number, chain, key.head(number, chain)])?;
    Ok(())
}

/// A log of a version that knew no heads gets its first one.
pub(super) fn seal_first(work: &Transaction<'_>, key: &LogKey) -> Result<(), CopyError> {
    let last: Option<(i64, Hash)> = work
        .query_row("SELECT number, chain FROM look ORDER BY number DESC LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    last.map_or(Ok(()), |(number, chain)| seal(work, key, number, &chain))
}

/// As the database has it; a seal that our key did not make is an error.
pub(super) fn sealed(connection: &Connection, key: &LogKey) -> Result<Option<LogHead>, CopyError> {
    let row: Option<(i64, Hash, Hash)> = connection
        .prepare_cached("SELECT number, chain, seal FROM look_head")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((number, chain, seal)) = row else { return Ok(None) };
    let head = LogHead::of(key, number, chain);
    if head.seal == seal { Ok(Some(head)) } else { Err(CopyError::Log(uint(number))) }
}

impl Copies {
    pub fn heads_file(&self) -> PathBuf {
        self.settings.heads.clone().unwrap_or_else(|| self.settings.folder.join(HEADS_FILE))
    }

    /// Where the log stands.
    pub fn log_head(&self) -> Result<Option<LogHead>, CopyError> {
        self.read(|connection| sealed(connection, &self.key))
    }

    /// Writes where the log stands into the file of heads, where it has grown. A log that ends before a head that is in
    /// the file was cut, or put back.
    pub fn note_head(&self) -> Result<(), CopyError> {
        let path = self.heads_file();
        let known = last_of(&path)?.map_or(0, |head| head.number);
        let head = self.log_head()?;
        let ends = head.as_ref().map_or(0, |head| head.number);
        if known > ends {
            return Err(CopyError::LogCut { ends, known });
        }
        let Some(head) = head.filter(|head| head.number > known) else { return Ok(()) };
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        // One write, so that two processes never mix their lines.
        file.write_all(format!("{head}\n").as_bytes())?;
        Ok(file.sync_data()?)
    }

    /// The heads of a file; lines that this register's key did not seal are an error.
    pub fn read_heads(&self, path: &Path) -> Result<Vec<LogHead>, CopyError> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            other => other?,
        };
        let mut heads = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            let head = LogHead::parse(text).filter(|head| head.is_ours(&self.key));
            heads.push(head.ok_or(CopyError::Head(line))?);
        }
        Ok(heads)
    }
}

fn last_of(path: &Path) -> Result<Option<LogHead>, CopyError> {
    let mut file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LINE_BYTES_MAX)))?;
    let mut text = String::new();
    file.take(LINE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text.lines().next_back().and_then(LogHead::parse))
}
