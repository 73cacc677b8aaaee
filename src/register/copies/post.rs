//! Messages that came, and what is to be sent because of them: one row each, so that a message that comes again is
//! answered as before and has no second effect.
//!
//! What goes out is sealed for its reader under a key that lies beside it and dies with it: when an answer's time is
//! over, key and bytes are overwritten, and the row remains as a mark. A message's row and its answers are written in
//! the transaction of its effect.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use jiff::Timestamp;
use serde::Serialize;

use super::base::{ToValue, Work, params};
use super::duties::{self, Origin};
use super::{Copies, CopyError, instant, int, micros, uint};
use crate::register::message::rejection::Event;
use crate::register::reconcile::Hash;

const SECRET_BYTES: usize = 32;
/// Rows of one look for what is due.
const DUE_MAX: i64 = 200;
/// After so long it is tried again to open what could not be opened.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_secs(3600);

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived<'a> {
    /// Whom the transport vouches for.
    pub author: &'a str,
    /// How the author calls itself, where it does.
    pub name: &'a str,
    /// The head's UUID; where there is none, the transport's id.
    pub uuid: &'a str,
    pub number: &'a str,
    pub digest: Hash,
    pub transport_id: &'a str,
    pub at: Timestamp,
    /// When what is answered to it must be gone.
    pub expires_at: Timestamp,
    /// All of it, where a case that comes of it could be handed over.
    pub original: Option<&'a [u8]>,
    /// Which question of the message it is, where that has many.
    pub event: Option<&'a Event>,
}

/// What is to be sent because of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub number: &'static str,
    pub reader: String,
    pub namespace: String,
    pub bytes: Vec<u8>,
    /// Not before this instant.
    pub leaves_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    New,
    /// The same delivery, offered again because it was not confirmed.
    SameDelivery,
    /// The same message, sent again.
    SentAgain,
    /// The same UUID with other bytes.
    OtherBytes,
}

/// What became of the wish to have an answer once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// So many messages leave once more, with the same bytes.
    Leaves(u64),
    Expired,
    /// This author has asked no such question.
    Unknown,
}

/// An answer that is kept for a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    Ready {
        bytes: Vec<u8>,
        /// Since when it may be shown.
        left_at: Timestamp,
        /// When it is destroyed.
        expires_at: Timestamp,
    },
    /// Not before this instant.
    Later(Timestamp),
    /// Its time is over, and it was destroyed.
    Expired,
    /// This author has asked no such question.
    Unknown,
}

/// A message that is due to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    pub id: u64,
    pub number: String,
    pub reader: String,
    pub namespace: String,
    /// The transport's id of the message that it answers.
    pub in_reply_to: String,
    /// The transport's id of its own, once it has one: sending again under it is safe.
    pub transport_id: Option<String>,
    pub since: Timestamp,
    pub bytes: Vec<u8>,
}

/// How the post stands, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct PostState {
    pub taken: u64,
    pub waiting: u64,
    pub sent: u64,
    pub given_up: u64,
    pub expired: u64,
}

impl Copies {
    pub fn known(&self, arrived: &Arrived<'_>) -> Result<Known, CopyError> {
        self.read(|work| {
            let row: Option<(Vec<u8>, String)> = work.one(
                "SELECT digest, transport_id FROM message WHERE author = ?1 AND uuid = ?2",
                params![arrived.author, arrived.uuid],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            Ok(match row {
                None => Known::New,
                Some((digest, _)) if digest != arrived.digest => Known::OtherBytes,
                Some((_, transport_id)) if transport_id == arrived.transport_id => Known::SameDelivery,
                Some(_) => Known::SentAgain,
            })
        })
    }

    /// Before it is confirmed from a read that a message was taken: where a standby is required, that one has it.
    pub fn settle(&self) -> Result<(), CopyError> {
        if !self.settings.engine.waits_for_standby() {
            return Ok(());
        }
        // The transaction's own token lies behind everything that is there, and its commit waits for the standby.
        self.writer().begin()?.commit()
    }

    /// Writes down a message and what is answered to it.
    pub fn take(&self, arrived: &Arrived<'_>, replies: &[Reply]) -> Result<(), CopyError> {
        let mut session = self.writer();
        let work = session.begin()?;
        self.take_within(&work, arrived, replies)?;
        work.commit()
    }

    /// The same, and what is answered stays for a page ([`Self::held_answer`]): the post takes it for sent.
    pub fn keep(&self, arrived: &Arrived<'_>, replies: &[Reply]) -> Result<(), CopyError> {
        let mut session = self.writer();
        let work = session.begin()?;
        self.take_within(&work, arrived, replies)?;
        hold(&work, arrived, arrived.at)?;
        work.commit()
    }

    pub(super) fn take_within(
        &self,
        work: &Work<'_>,
        arrived: &Arrived<'_>,
        replies: &[Reply],
    ) -> Result<(), CopyError> {
        work.run("INSERT INTO message (author, uuid, number, digest, transport_id, taken_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)", params![
            arrived.author,
            arrived.uuid,
            arrived.number,
            arrived.digest,
            arrived.transport_id,
            micros(arrived.at)
        ])?;
        let message = (arrived.author, arrived.uuid, arrived.transport_id);
        for reply in replies {
            self.write_reply(work, message, reply, arrived.expires_at)?;
        }
        Ok(())
    }

    /// Gives the row's number.
    pub(super) fn write_reply(
        &self,
        work: &Work<'_>,
        (author, uuid, transport_id): (&str, &str, &str),
        reply: &Reply,
        expires_at: Timestamp,
    ) -> Result<i64, CopyError> {
        let (secret, sealed) = self.sealed(reply.bytes.clone(), &reply.reader)?;
        work.only(
"INSERT INTO outgoing (author, uuid, number, reader, namespace, in_reply_to, secret, sealed, leaves_at, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) RETURNING id", params![
            author,
            uuid,
            reply.number,
            reply.reader,
            reply.namespace,
            transport_id,
            secret,
            sealed,
            micros(reply.leaves_at),
            micros(expires_at) ], |row| row.get(0), )
    }

    /// A second answer to a question, given by hand: it takes the first one's place at a page, and is posted elsewhere.
    pub(super) fn answer_later(
        &self,
        work: &Work<'_>,
        origin: &Origin,
        reply: &Reply,
        expires_at: Timestamp,
    ) -> Result<(), CopyError> {
        let message = (&origin.author[..], &origin.uuid[..], &origin.transport_id[..]);
        let id = self.write_reply(work, message, reply, expires_at)?;
        if origin.page {
            work.run("UPDATE outgoing SET sent_at = ?2 WHERE id = ?1", params![id, micros(reply.leaves_at)])?;
        }
        Ok(())
    }

    /// The answer that a page shows to whoever asked, as often as it is wanted within its time: the same bytes.
    pub fn held_answer(&self, author: &str, uuid: &str, now: Timestamp) -> Result<Held, CopyError> {
        self.read(|work| {
            let newest = "SELECT reader, secret, sealed, leaves_at, expires_at FROM outgoing
                 WHERE author = ?1 AND uuid = ?2 ORDER BY id DESC LIMIT 1";
            let held = work.one(newest, params![author, uuid], |row| {
                let (leaves_at, expires_at) = (instant(row.get(3)?), instant(row.get(4)?));
                let kept: (Option<Vec<u8>>, Option<Vec<u8>>) = (row.get(1)?, row.get(2)?);
                let (Some(secret), Some(sealed)) = kept else { return Ok(Held::Expired) };
                if expires_at <= now {
                    return Ok(Held::Expired);
                }
                if leaves_at > now {
                    return Ok(Held::Later(leaves_at));
                }
                let reader: String = row.get(0)?;
                let bytes = self.answer_key(&secret, &reader)?.open(&sealed)?;
                Ok(Held::Ready { bytes, left_at: leaves_at, expires_at })
            })?;
            Ok(held.unwrap_or(Held::Unknown))
        })
    }

    /// The answers to one question of this author leave once more, under transport ids of their own; of a message with
    /// many questions, those to each of them ([`case_key`]).
    pub fn again(&self, author: &str, uuid: &str, now: Timestamp) -> Result<Again, CopyError> {
        let mut session = self.writer();
        let work = session.begin()?;
        let rows: Vec<(i64, bool, bool)> = work.all(
 "SELECT id, sealed IS NULL OR expires_at <= ?3, sent_at IS NULL AND given_up_at IS NULL FROM outgoing
                 WHERE author = ?1 AND (uuid = ?2 OR uuid > ?2 || '#' AND uuid < ?2 || '$')", params![author, uuid, micros(now)], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)), )?;
        if rows.is_empty() {
            return Ok(Again::Unknown);
        }
        if rows.iter().all(|(_, expired, _)| *expired) {
            return Ok(Again::Expired);
        }
        let mut leaves = 0;
        for (id, expired, waits) in rows {
            if !expired {
                leaves += 1;
            }
            if !expired && !waits {
                work.run("UPDATE outgoing SET sent_at = NULL, given_up_at = NULL, transport_id = NULL, leaves_at = ?2, next_at = 0 WHERE id = ?1", params![id, micros(now)])?;
            }
        }
        work.commit()?;
        Ok(Again::Leaves(leaves))
    }

    /// What is due, the oldest first. What cannot be opened keeps nothing else waiting: the operator is told of it, and it is
    /// looked at again later.
    pub fn due(&self, now: Timestamp) -> Result<Vec<Outgoing>, CopyError> {
        let rows = self.read(|work| {
            work.all(
                "SELECT id, number, reader, namespace, in_reply_to, transport_id, leaves_at, secret, sealed FROM outgoing
                 WHERE sent_at IS NULL AND given_up_at IS NULL AND leaves_at <= ?1 AND next_at <= ?1 AND expires_at > ?1
                 AND sealed IS NOT NULL ORDER BY leaves_at, id LIMIT ?2",
                params![micros(now), DUE_MAX],
                |row| {
                    let (secret, sealed): (Vec<u8>, Vec<u8>) = (row.get(7)?, row.get(8)?);
                    let (id, reader): (i64, String) = (row.get(0)?, row.get(2)?);
                    let outgoing = Outgoing {
                        id: uint(id),
                        number: row.get(1)?,
                        reader,
                        namespace: row.get(3)?,
                        in_reply_to: row.get(4)?,
                        transport_id: row.get(5)?,
                        since: instant(row.get(6)?),
                        bytes: Vec::new(),
                    };
                    let opened = self.answer_key(&secret, &outgoing.reader)?.open(&sealed);
                    Ok((outgoing, opened))
                },
            )
        })?;
        let mut due = Vec::with_capacity(rows.len());
        for (outgoing, opened) in rows {
            match opened {
                Ok(bytes) => due.push(Outgoing { bytes, ..outgoing }),
                Err(error) => {
                    tracing::error!(
                        code = "register-answer-unreadable",
                        row = outgoing.id,
                        number = outgoing.number,
                        reader = outgoing.reader,
                        %error,
                        next_step = "bring the database, and log.key as it was then, back from the backup; the reader can ask again",
                        "an answer cannot be opened and does not leave"
                    );
                    let later = now.checked_add(LOOK_AGAIN).unwrap_or(Timestamp::MAX);
                    self.note_refused(outgoing.id, later)?;
                }
            }
        }
        Ok(due)
    }

    /// The next instant at which something is due.
    pub fn next_due(&self) -> Result<Option<Timestamp>, CopyError> {
        self.read(|work| {
            let least: Option<i64> = work.only(
                "SELECT min(CASE WHEN leaves_at < next_at THEN next_at ELSE leaves_at END) FROM outgoing
                 WHERE sent_at IS NULL AND given_up_at IS NULL AND sealed IS NOT NULL",
                params![],
                |row| row.get(0),
            )?;
            Ok(least.map(instant))
        })
    }

    pub fn note_transport_id(&self, id: u64, transport_id: &str) -> Result<(), CopyError> {
        self.on_outgoing("UPDATE outgoing SET transport_id = ?2 WHERE id = ?1", id, &transport_id)
    }

    /// The post office has it. A case that went with it is closed.
    pub fn note_sent(&self, id: u64, now: Timestamp) -> Result<(), CopyError> {
        let mut session = self.writer();
        let work = session.begin()?;
        work.run("UPDATE outgoing SET sent_at = ?2 WHERE id = ?1", params![int(id), micros(now)])?;
        let case = duties::case_of(&work, int(id))?;
        if let Some(case) = case {
            duties::close(&work, case, now)?;
        }
        work.commit()?;
        if case.is_some() {
            self.destroyed();
        }
        Ok(())
    }

    /// It was refused; the others do not wait for it.
    pub fn note_refused(&self, id: u64, next_at: Timestamp) -> Result<(), CopyError> {
        self.on_outgoing("UPDATE outgoing SET next_at = ?2 WHERE id = ?1", id, &micros(next_at))
    }

    pub fn note_given_up(&self, id: u64, now: Timestamp) -> Result<(), CopyError> {
        self.on_outgoing("UPDATE outgoing SET given_up_at = ?2 WHERE id = ?1", id, &micros(now))
    }

    fn on_outgoing(&self, sql: &str, id: u64, value: &dyn ToValue) -> Result<(), CopyError> {
        self.write(|work| work.run(sql, params![int(id), value]))?;
        Ok(())
    }

    /// Destroys keys and bytes whose time is over; the rows remain as marks. The journal is emptied apart from it
    /// ([`Self::forget_in_journal`]).
    pub fn expire_answers(&self, now: Timestamp) -> Result<u64, CopyError> {
        let expired = self.write(|work| {
            work.run(
            "UPDATE outgoing SET secret = NULL, sealed = NULL WHERE sealed IS NOT NULL AND expires_at <= ?1",
            params![micros(now)], )
        })?;
        if expired > 0 {
            self.destroyed();
        }
        Ok(expired)
    }

    pub fn post_state(&self) -> Result<PostState, CopyError> {
        self.read(|work| {
            let count = |sql: &str| -> Result<u64, CopyError> { count(work, sql) };
            Ok(PostState {
                taken: count("SELECT count(*) FROM message")?,
                waiting: count(
                    "SELECT count(*) FROM outgoing WHERE sent_at IS NULL AND given_up_at IS NULL AND sealed IS NOT NULL",
                )?,
                sent: count("SELECT count(*) FROM outgoing WHERE sent_at IS NOT NULL")?,
                given_up: count("SELECT count(*) FROM outgoing WHERE given_up_at IS NOT NULL")?,
                expired: count("SELECT count(*) FROM outgoing WHERE sealed IS NULL")?,
            })
        })
    }

    /// Seals for one reader: the key that lies beside it, and the bytes.
    pub(super) fn sealed(
        &self,
        bytes: Vec<u8>,
        reader: &str,
    ) -> Result<([u8; SECRET_BYTES], Vec<u8>), CopyError> {
        let mut secret = [0; SECRET_BYTES];
        aws_lc_rs::rand::fill(&mut secret).map_err(|_| CopyError::Random)?;
        let sealed = self.answer_key(&secret, reader)?.seal(bytes)?;
        Ok((secret, sealed))
    }

    pub(super) fn unsealed(&self, secret: &[u8], sealed: &[u8], reader: &str) -> Result<Vec<u8>, CopyError> {
        self.answer_key(secret, reader)?.open(sealed)
    }

    fn answer_key(&self, secret: &[u8], reader: &str) -> Result<AnswerKey, CopyError> {
        let bytes = self.key.answer(secret, reader);
        let key = UnboundKey::new(&AES_256_GCM, &bytes).expect("the key has 32 bytes");
        Ok(AnswerKey(LessSafeKey::new(key)))
    }
}

/// The row of one question of a message that has many. No UUID has such a sign, so that it never takes another's place.
pub fn case_key(uuid: &str, number: usize) -> String {
    format!("{uuid}#{number}")
}

/// The message's own UUID, of such a key or of itself.
pub fn message_uuid(key: &str) -> &str {
    key.split_once('#').map_or(key, |(uuid, _)| uuid)
}

/// What was just written for this message stays for the page: the post takes it for sent.
pub(super) fn hold(work: &Work<'_>, arrived: &Arrived<'_>, now: Timestamp) -> Result<(), CopyError> {
    work.run(
        "UPDATE outgoing SET sent_at = ?3 WHERE author = ?1 AND uuid = ?2",
        params![arrived.author, arrived.uuid, micros(now)],
    )?;
    Ok(())
}

fn count(work: &Work<'_>, sql: &str) -> Result<u64, CopyError> {
    Ok(uint(work.only(sql, params![], |row| row.get(0))?))
}

/// Of one answer for one reader.
struct AnswerKey(LessSafeKey);

impl AnswerKey {
    fn seal(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>, CopyError> {
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| CopyError::Random)?;
        let unique = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(unique, Aad::empty(), &mut bytes).map_err(|_| CopyError::Random)?;
        Ok([&nonce[..], &bytes].concat())
    }

    fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, CopyError> {
        let wrong = || CopyError::Corrupt("an answer that its key does not open".to_owned());
        let (nonce, bytes) = sealed.split_at_checked(NONCE_LEN).ok_or_else(wrong)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| wrong())?;
        let mut bytes = bytes.to_vec();
        let length = self.0.open_in_place(nonce, Aad::empty(), &mut bytes).map_err(|_| wrong())?.len();
        bytes.truncate(length);
        Ok(bytes)
    }
}
