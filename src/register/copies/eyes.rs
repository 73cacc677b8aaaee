//! Two pairs of eyes: what one operator wants to read is kept as a wish until another one has released it.
//!
//! Who they are is the operating system's word, brought by whoever calls ([`Operator`]); a name that somebody types
//! proves nothing. A wish is for one subject, for a short time, and is spent by one reading, in the reading's own
//! transaction.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::base::{Work, params};
use super::{Copies, CopyError, instant, int, micros, uint};
use crate::domain::hex;
use crate::register::person::Ags;

/// How long a wish waits, and is good once it is released.
pub const WISH_VALID: Duration = Duration::from_secs(3600);

/// A user of the operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operator(pub u32);

impl fmt::Display for Operator {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "uid {}", self.0)
    }
}

/// What is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// Who got this person's data.
    Report { ags: Ags, mark: &'a str },
    /// A case that is about a locked person.
    Case { number: u64 },
    /// The answer to a case, with data of these persons.
    Answer { number: u64, marks: &'a [String] },
    /// Read by nobody any more: what this audit held of the log is deleted.
    LiftLogHold { since: Timestamp },
}

impl Subject<'_> {
    fn text(&self) -> String {
        match self {
            Self::Report { ags, mark } => format!("report|{ags}|{mark}"),
            Self::Case { number } => format!("case|{number}"),
            Self::Answer { number, marks } => format!("answer|{number}|{}", marks.join("|")),
            Self::LiftLogHold { since } => format!("lift-log-hold|{}", micros(*since)),
        }
    }

    /// For the operator who is to release it: nothing about anybody.
    pub fn words(&self) -> String {
        match self {
            Self::Report { ags, .. } => format!("who got the data of a person of {ags}"),
            Self::Case { number } => format!("case {number}"),
            Self::Answer { number, .. } => {
                format!("the answer to case {number}, with data of a locked person")
            }
            Self::LiftLogHold { since } => {
                format!("delete what an audit held of the log of pre-filled forms since {since}")
            }
        }
    }
}

/// Not read yet: it waits for another operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    pub number: u64,
    pub reader: Operator,
    subject: Vec<u8>,
    /// What the other operator gives back; nobody without the register's key can make it.
    pub challenge: String,
    pub asked_at: Timestamp,
    pub expires_at: Timestamp,
}

/// Proof that two operators read: made by [`Copies::released`] alone, good for one reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TwoReaders {
    wish: u64,
    subject: Vec<u8>,
    readers: [Operator; 2],
}

/// Who reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readers {
    One(Operator),
    Two(TwoReaders),
}

impl fmt::Display for Readers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(reader) => reader.fmt(out),
            Self::Two(TwoReaders { readers: [first, second], .. }) => write!(out, "{first}, {second}"),
        }
    }
}

impl Copies {
    /// The open wish of this reader for this subject, or a new one.
    pub fn wish(&self, subject: &Subject<'_>, reader: Operator, now: Timestamp) -> Result<Wish, CopyError> {
        let tag = self.key.subject(&subject.text());
        let mut session = self.writer();
        let work = session.begin()?;
        let known: Option<(i64, i64, i64)> = work.one(
            "SELECT number, asked_at, expires_at FROM wish
                 WHERE subject = ?1 AND reader = ?2 AND used_at IS NULL AND expires_at > ?3",
            params![tag, reader.0, micros(now)],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )?;
        let (number, asked_at, expires_at) = match known {
            Some(known) => known,
            None => {
                let (asked, expires) = (micros(now), micros(now.checked_add(WISH_VALID).unwrap_or(now)));
                let number = work.only(
 "INSERT INTO wish (subject, reader, asked_at, expires_at) VALUES (?1, ?2, ?3, ?4) RETURNING number", params![tag, reader.0, asked, expires], |row| row.get(0), )?;
                (number, asked, expires)
            }
        };
        work.commit()?;
        let challenge = [&tag[..], format!("|{number}|{}|{asked_at}", reader.0).as_bytes()].concat();
        Ok(Wish {
            number: uint(number),
            reader,
            challenge: hex::lower(&self.key.subject_of(&challenge)),
            subject: tag,
            asked_at: instant(asked_at),
            expires_at: instant(expires_at),
        })
    }

    /// Another operator has released the wish, in time.
    pub fn released(&self, wish: Wish, by: Operator, now: Timestamp) -> Result<TwoReaders, CopyError> {
        if by == wish.reader {
            return Err(CopyError::Refused("whoever reads cannot release it: another operator does"));
        }
        if wish.expires_at <= now {
            return Err(CopyError::Refused("the time for this reading is over: ask again"));
        }
        Ok(TwoReaders { wish: wish.number, subject: wish.subject, readers: [wish.reader, by] })
    }

    /// Spends the release, in the reading's transaction.
    pub(super) fn spend(
        &self,
        work: &Work<'_>,
        two: &TwoReaders,
        subject: &Subject<'_>,
        now: Timestamp,
    ) -> Result<(), CopyError> {
        if two.subject != self.key.subject(&subject.text()) {
            return Err(CopyError::Refused("what was released is something else"));
        }
        let spent = work.run(
            "UPDATE wish SET used_at = ?2 WHERE number = ?1 AND used_at IS NULL",
            params![int(two.wish), micros(now)],
        )?;
        if spent == 1 { Ok(()) } else { Err(CopyError::Refused("this release was used before: ask again")) }
    }
}
