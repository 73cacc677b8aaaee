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

use super::base::{Work, params};
use super::looks::LogKey;
use super::{Copies, CopyError, Settings, uint};
use crate::domain::hex;
use crate::register::reconcile::Hash;

const HEADS_FILE: &str = "log.heads";
const WORD: &str = "amtsbote-register-log";
/// What is read of the end of a file of heads: some lines.
const END_BYTES: u64 = 4096;

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
pub(super) fn seal(work: &Work<'_>, key: &LogKey, number: i64, chain: &Hash) -> Result<(), CopyError> {
    work.run("INSERT INTO look_head (one, number, chain, seal) VALUES (1, ?1, ?2, ?3)
         ON CONFLICT (one) DO UPDATE SET number = excluded.number, chain = excluded.chain, seal = excluded.seal", params![number, chain, key.head(number, chain)])?;
    Ok(())
}

/// A log of a version that knew no heads gets its first one.
pub(super) fn seal_first(work: &Work<'_>, key: &LogKey) -> Result<(), CopyError> {
    let last: Option<(i64, Hash)> =
        work.one("SELECT number, chain FROM look ORDER BY number DESC LIMIT 1", params![], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    last.map_or(Ok(()), |(number, chain)| seal(work, key, number, &chain))
}

/// As the database has it; a seal that our key did not make is an error.
pub(super) fn sealed(work: &Work<'_>, key: &LogKey) -> Result<Option<LogHead>, CopyError> {
    let row: Option<(i64, Hash, Hash)> =
        work.one("SELECT number, chain, seal FROM look_head", params![], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let Some((number, chain, seal)) = row else { return Ok(None) };
    let head = LogHead::of(key, number, chain);
    if head.seal == seal { Ok(Some(head)) } else { Err(CopyError::Log(uint(number))) }
}

impl Settings {
    /// Where the heads of the log are noted.
    pub fn heads_file(&self) -> PathBuf {
        self.heads.clone().unwrap_or_else(|| self.folder.join(HEADS_FILE))
    }
}

impl Copies {
    pub fn heads_file(&self) -> PathBuf {
        self.settings.heads_file()
    }

    /// Where the log stands.
    pub fn log_head(&self) -> Result<Option<LogHead>, CopyError> {
        self.read(|work| sealed(work, &self.key))
    }

    /// Writes where the log stands into the file of heads, where it has grown. A log that ends before a head that is in
    /// the file was cut, or put back.
    pub fn note_head(&self) -> Result<(), CopyError> {
        let path = self.heads_file();
        let kept = End::of(&path, &self.key)?;
        // That there is nothing yet is noted, too: who finds no head later knows that it was taken away.
        let head = self.log_head()?.unwrap_or_else(|| LogHead::of(&self.key, 0, Hash::default()));
        if let Some(known) = kept.known {
            if known > head.number {
                return Err(CopyError::LogCut { ends: head.number, known });
            }
            if known == head.number {
                return Ok(());
            }
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        if let Some(length) = kept.torn_at {
            file.set_len(length)?;
        }
        // One write, so that two processes never mix their lines.
        file.write_all(format!("{head}\n").as_bytes())?;
        Ok(file.sync_data()?)
    }

    /// The heads of a file; lines that this register's key did not seal are an error.
    pub fn read_heads(&self, path: &Path) -> Result<Vec<LogHead>, CopyError> {
        read_heads(path, &self.key)
    }
}

/// The heads of a file that this key has sealed.
pub fn read_heads(path: &Path, key: &LogKey) -> Result<Vec<LogHead>, CopyError> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        other => other?,
    };
    // What was not written to its end says nothing.
    let whole = text.rfind('\n').map_or("", |at| &text[..at]);
    let mut heads = Vec::new();
    for (line, text) in (1..).zip(whole.lines()) {
        let head = LogHead::parse(text).filter(|head| head.is_ours(key));
        heads.push(head.ok_or(CopyError::Head(line))?);
    }
    Ok(heads)
}

/// The end of a file of heads.
struct End {
    /// The number of the last head that this register's key has sealed, if there is one.
    known: Option<u64>,
    /// Where a line begins that was not written to its end: the machine has stopped in it.
    torn_at: Option<u64>,
}

impl End {
    fn of(path: &Path, key: &LogKey) -> Result<Self, CopyError> {
        let mut file = match std::fs::File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { known: None, torn_at: None });
            }
            other => other?,
        };
        let length = file.metadata()?.len();
        let begins = length.saturating_sub(END_BYTES);
        file.seek(SeekFrom::Start(begins))?;
        let mut bytes = Vec::new();
        file.take(END_BYTES).read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let torn_at = (whole < bytes.len()).then_some(begins + whole as u64);
        let mut lines = bytes.get(..whole).unwrap_or_default().rsplit(|byte| *byte == b'\n');
        let known = lines.find_map(|line| {
            let head = LogHead::parse(std::str::from_utf8(line).ok()?)?;
            head.is_ours(key).then_some(head.number)
        });
        Ok(Self { known, torn_at })
    }
}
