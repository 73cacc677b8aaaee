//! The register's own log of every look (section 40 BMG): appended only, encrypted, each entry chained to the one
//! before it.
//!
//! The end is sealed with the register's key ([`super::heads`]). An entry's chain hash covers its number, time and the
//! hash of its sealed content, so that content can be erased when its time is over and the chain still proves the rest.
//! Who was looked at is found through a keyed tag, never in the clear; what is sealed has the hash of all tags of its
//! entry, so that no look can be taken out of a person's report, or put into it, without the log's check telling. Bodies of section 34(4) BMG keep their own log of whom they looked at; here stands only that they asked.
//! Reading takes two people, and is itself an entry.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::base::{ToValue, Work, params};
use super::eyes::{Readers, Subject, TwoReaders};
use super::heads::{self, LogHead};
use super::holding::{self, HELD};
use super::tags::{self, Tags};
use super::{Copies, CopyError, instant, micros, uint};
use crate::domain::hex;
use crate::register::person::Ags;
use crate::register::question::Profile;
use crate::register::reconcile::{self, Hash};

/// Opens the log, and makes the tags under which a person's entries are found.
pub struct LogKey {
    seal: LessSafeKey,
    tag: hmac::Key,
    answers: hmac::Key,
    wishes: hmac::Key,
    heads: hmac::Key,
    tags: hmac::Key,
}

impl LogKey {
    pub fn new(secret: &[u8; 32]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let seal = hmac::sign(&root, b"amtsbote register log, seal");
        let tag = hmac::sign(&root, b"amtsbote register log, tag");
        let seal = UnboundKey::new(&AES_256_GCM, seal.as_ref()).expect("the key has 32 bytes");
        let answers = hmac::sign(&root, b"amtsbote register, answers");
        let wishes = hmac::sign(&root, b"amtsbote register, wishes to read");
        let heads = hmac::sign(&root, b"amtsbote register log, heads");
        let tags = hmac::sign(&root, b"amtsbote register log, tags of old entries");
        let key = |tag: hmac::Tag| hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref());
        Self {
            seal: LessSafeKey::new(seal),
            tag: key(tag),
            answers: key(answers),
            wishes: key(wishes),
            heads: key(heads),
            tags: key(tags),
        }
    }

    /// The key of one answer for one reader.
    pub(super) fn answer(&self, secret: &[u8], reader: &str) -> [u8; 32] {
        let tag = hmac::sign(&self.answers, &[secret, reader.as_bytes()].concat());
        let mut out = [0; 32];
        out.copy_from_slice(tag.as_ref());
        out
    }

    /// Seals one entry with all that came before it.
    pub(super) fn head(&self, number: i64, chain: &Hash) -> Hash {
        let tag = hmac::sign(&self.heads, &[&number.to_be_bytes()[..], chain].concat());
        let mut out = [0; 32];
        out.copy_from_slice(tag.as_ref());
        out
    }

    /// Seals which tags an entry has that does not say so itself.
    pub(super) fn tags(&self, number: i64, tags: &Hash) -> hmac::Tag {
        hmac::sign(&self.tags, &[&number.to_be_bytes()[..], tags].concat())
    }

    pub(super) fn subject(&self, text: &str) -> Vec<u8> {
        self.subject_of(text.as_bytes())
    }

    pub(super) fn subject_of(&self, bytes: &[u8]) -> Vec<u8> {
        hmac::sign(&self.wishes, bytes).as_ref().to_vec()
    }

    fn tag(&self, ags: Ags, mark: &str) -> Vec<u8> {
        hmac::sign(&self.tag, format!("{ags}|{mark}").as_bytes()).as_ref().to_vec()
    }

    pub(super) fn seal(&self, number: i64, at: i64, mut content: Vec<u8>) -> Result<Vec<u8>, CopyError> {
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| CopyError::Random)?;
        let place = Aad::from(place(number, at));
        let sealed = Nonce::assume_unique_for_key(nonce);
        self.seal.seal_in_place_append_tag(sealed, place, &mut content).map_err(|_| CopyError::Random)?;
        Ok([&nonce[..], &content].concat())
    }

    pub(super) fn open(&self, number: i64, at: i64, sealed: &[u8]) -> Result<Vec<u8>, CopyError> {
        let wrong = || CopyError::Log(uint(number));
        let (nonce, content) = sealed.split_at_checked(NONCE_LEN).ok_or_else(wrong)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| wrong())?;
        let mut content = content.to_vec();
        let opened = self
            .seal
            .open_in_place(nonce, Aad::from(place(number, at)), &mut content)
            .map_err(|_| wrong())?;
        Ok(opened.to_vec())
    }
}

fn place(number: i64, at: i64) -> [u8; 16] {
    let mut out = [0; 16];
    out[..8].copy_from_slice(&number.to_be_bytes());
    out[8..].copy_from_slice(&at.to_be_bytes());
    out
}

/// One look, as the law wants it kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Look {
    pub kind: String,
    pub profile: Option<Profile>,
    pub asker: String,
    pub body: String,
    pub file_number: String,
    pub occasion: String,
    pub user: String,
    pub area: String,
    pub hits: u64,
    /// The groups of data that were told (section 40(1) BMG); absent in entries of an earlier version, and of bodies that
    /// keep that log themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<String>,
    /// The selection data of a free search; elsewhere the person says enough.
    pub selection: Option<Value>,
    /// Who answered by hand, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_hand: Option<String>,
}

impl Look {
    /// What operators do with cases and log.
    pub(super) fn of_operators(kind: &str, occasion: &str, operators: &dyn std::fmt::Display) -> Self {
        Self {
            kind: kind.to_owned(),
            profile: None,
            asker: "operator".to_owned(),
            body: String::new(),
            file_number: String::new(),
            occasion: occasion.to_owned(),
            user: operators.to_string(),
            area: String::new(),
            hits: 0,
            data: Vec::new(),
            selection: None,
            by_hand: None,
        }
    }
}

/// What is sealed of a look.
#[derive(Serialize)]
struct Content<'a> {
    #[serde(flatten)]
    look: &'a Look,
    /// Of all tags of the entry, in hexadecimal digits; absent in entries of a register before version 10.
    tags: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LookEntry {
    pub number: u64,
    pub at: Timestamp,
    pub look: Look,
}

/// What a walk through the log came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LogChecked {
    pub entries: u64,
    /// Heads that were kept elsewhere and fit.
    pub heads: u64,
}

/// Appends within the caller's transaction.
pub(super) fn append(
    work: &Work<'_>,
    key: &LogKey,
    look: &Look,
    persons: &[(Ags, String)],
    now: Timestamp,
) -> Result<i64, CopyError> {
    let last: Option<(i64, Hash)> =
        work.one("SELECT number, chain FROM look ORDER BY number DESC LIMIT 1", params![], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let (before, chain) = last.unwrap_or((0, [0; 32]));
    let (number, at) = (before + 1, micros(now));
    let tags: BTreeSet<Vec<u8>> = persons.iter().map(|(ags, mark)| key.tag(*ags, mark)).collect();
    let content = Content { look, tags: hex::lower(&tags::hash(&tags)) };
    let content = serde_json::to_vec(&content).map_err(|error| CopyError::Corrupt(error.to_string()))?;
    let sealed = key.seal(number, at, content)?;
    let content_hash = reconcile::hash(&sealed);
    let chain = link(&chain, number, at, &content_hash);
    work.run("INSERT INTO look (number, at, expires_at, content, content_hash, chain) VALUES (?1, ?2, ?3, ?4, ?5, ?6)", params![number, at, micros(expiry(now)), sealed, content_hash, chain])?;
    heads::seal(work, key, number, &chain)?;
    work.run_each(
        "INSERT INTO look_person (tag, number) VALUES (?1, ?2)",
        tags.iter().map(|tag| [tag.to_value(), number.to_value()]),
    )?;
    Ok(number)
}

pub(super) fn link(before: &Hash, number: i64, at: i64, content_hash: &[u8]) -> Hash {
    reconcile::hash(&[&before[..], &place(number, at), content_hash].concat())
}

/// Twelve months: the shortest time the law wants, and before the end of the next calendar year (section 40(4) BMG).
pub(super) fn expiry(at: Timestamp) -> Timestamp {
    at.to_zoned(TimeZone::UTC).checked_add(1.year()).map_or(Timestamp::MAX, |later| later.timestamp())
}

impl Copies {
    /// For the person concerned (Article 15 GDPR): who got their data within the time that the log is kept. Two people
    /// read, and that they did is an entry of its own.
    pub fn looks_at(
        &self,
        ags: Ags,
        mark: &str,
        readers: TwoReaders,
        now: Timestamp,
    ) -> Result<Vec<LookEntry>, CopyError> {
        let mut session = self.writer();
        let work = session.begin()?;
        self.spend(&work, &readers, &Subject::Report { ags, mark }, now)?;
        let entries = work.all(
            "SELECT look.number, at, content FROM look_person JOIN look ON look.number = look_person.number
             WHERE tag = ?1 AND content IS NOT NULL ORDER BY look.number",
            params![self.key.tag(ags, mark)],
            |row| {
                let (number, at): (i64, i64) = (row.get(0)?, row.get(1)?);
                let sealed: Vec<u8> = row.get(2)?;
                let content = self.key.open(number, at, &sealed)?;
                let look = serde_json::from_slice(&content)
                    .map_err(|error| CopyError::Corrupt(error.to_string()))?;
                Ok(LookEntry { number: uint(number), at: instant(at), look })
            },
        )?;
        let occasion = "report to the person concerned";
        let reading = Look {
            area: ags.to_string(),
            hits: entries.len() as u64,
            ..Look::of_operators("log-read", occasion, &Readers::Two(readers))
        };
        append(&work, &self.key, &reading, &[], now)?;
        work.commit()?;
        Ok(entries)
    }

    /// Walks the whole chain up to the database's own seal; returns how many entries it has, or the first that is not what
    /// was written.
    pub fn verify_looks(&self) -> Result<u64, CopyError> {
        Ok(self.verify_log(&[], Timestamp::MAX)?.entries)
    }

    /// The same, held against heads that were kept elsewhere, and against the time that contents are kept: an end that was
    /// cut, an entry that was changed, a content that was emptied too early, a person who was taken out of an entry.
    pub fn verify_log(&self, heads: &[LogHead], now: Timestamp) -> Result<LogChecked, CopyError> {
        self.read(|work| verified(work, &self.key, heads, now))
    }

    /// Erases what the law no longer lets be kept: contents of old entries, but for those that an audit holds; features that
    /// ran out.
    pub fn erase_expired(&self, now: Timestamp) -> Result<u64, CopyError> {
        let mut session = self.writer();
        let work = session.begin()?;
        self.keep_held(&work, now)?;
        for table in ["look_person", "look_tags"] {
            let sql = format!(
                "DELETE FROM {table} WHERE number IN
                   (SELECT number FROM look WHERE content IS NOT NULL AND expires_at <= ?1)"
            );
            work.run(&sql, params![micros(now)])?;
        }
        let erased = work.run(
            "UPDATE look SET content = NULL WHERE content IS NOT NULL AND expires_at <= ?1",
            params![micros(now)],
        )?;
        work.run(
            "UPDATE duty SET mark = NULL, secret = NULL, sealed = NULL WHERE sealed IS NOT NULL AND expires_at <= ?1",
            params![micros(now)],
        )?;
        work.run("UPDATE feature SET mark = '' WHERE expires_at <= ?1 AND mark <> ''", params![micros(now)])?;
        work.commit()?;
        if erased > 0 {
            self.destroyed();
        }
        Ok(erased)
    }
}

/// Entries of one page of a walk.
const PAGE: u32 = 200;

/// An entry as it lies in the database.
struct Written {
    number: i64,
    at: i64,
    expires_at: i64,
    content: Option<Vec<u8>>,
    content_hash: Vec<u8>,
    chain: Vec<u8>,
}

/// [`Copies::verify_log`] on one state of the database.
pub(super) fn verified(
    work: &Work<'_>,
    key: &LogKey,
    heads: &[LogHead],
    now: Timestamp,
) -> Result<LogChecked, CopyError> {
    let mut known: BTreeMap<u64, &LogHead> = BTreeMap::new();
    for head in heads {
        // Two heads of one entry that differ: one of them cannot fit.
        if known.insert(head.number, head).is_some_and(|other| other != head) {
            return Err(CopyError::Log(head.number));
        }
    }
    let (mut chain, mut count, mut after): (Hash, i64, i64) = ([0; 32], 0, i64::MIN);
    let looks = "SELECT number, at, content, content_hash, chain, expires_at FROM look WHERE number > ?1 ORDER BY number LIMIT ?2";
    let is_held = holding::hold(work)?.is_some();
    loop {
        let page: Vec<Written> = work.all(looks, params![after, PAGE], |row| {
            Ok(Written {
                number: row.get(0)?,
                at: row.get(1)?,
                content: row.get(2)?,
                content_hash: row.get(3)?,
                chain: row.get(4)?,
                expires_at: row.get(5)?,
            })
        })?;
        let (Some(first), Some(last)) = (page.first(), page.last()) else { break };
        after = last.number;
        let tags = Tags::read(work, first.number, last.number)?;
        for Written { number, at, expires_at, content, content_hash, chain: stored } in page {
            chain = link(&chain, number, at, &content_hash);
            let whole = match &content {
                Some(content) => {
                    let opened = key.open(number, at, content);
                    // Whoever ends a hold gives each entry its time back.
                    (is_held || expires_at != HELD)
                        && reconcile::hash(content)[..] == content_hash
                        && opened.is_ok_and(|opened| tags.fit(key, number, &opened))
                }
                // The time that counts is the entry's own, which is in the chain.
                None if expires_at == HELD || expiry(instant(at)) > now => {
                    return Err(CopyError::LogEmptied(uint(number)));
                }
                None => true,
            };
            let fits = known.get(&uint(number)).is_none_or(|head| head.fits(&chain));
            if number != count + 1 || chain[..] != stored || !whole || !fits {
                return Err(CopyError::Log(uint(number)));
            }
            count = number;
        }
    }
    let ends = uint(count);
    let own = heads::sealed(work, key)?;
    let last = own.iter().map(|head| head.number).chain(known.into_keys()).max().unwrap_or(0);
    if last > ends {
        return Err(CopyError::LogCut { ends, known: last });
    }
    if ends > 0 && !own.is_some_and(|head| head.number == ends && head.fits(&chain)) {
        return Err(CopyError::Log(ends));
    }
    Ok(LogChecked { entries: ends, heads: heads.len() as u64 })
}
