//! What questions made the register owe: hand-overs to municipalities, notices to locked persons and to authorities.
//!
//! Written with the look that caused them. What a clerk needs to do one (the question as it was put, where its answer goes,
//! whom it is about) lies beside it, sealed, and is destroyed when the case is closed, or with the look's own content.
//! Lists show none of it; whoever opens a case, answers it or closes it is an entry in the log. Cases about a locked
//! person are opened by two.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::base::{Row, Work, params};
use super::candidates::{early_locks, one_or_hidden};
use super::eyes::{Operator, Readers, Subject};
use super::looks::{self, Look};
use super::post::Reply;
use super::search::{Found, Note, found, write_look};
use super::{Asked, Copies, CopyError, copy_of, instant, int, micros, person_row, schema, uint};
use crate::register::answer::{Answer, Duty, Hit};
use crate::register::message::rejection::Event;
use crate::register::person::Ags;
use crate::register::question::{Area, Profile, Question, Reason};
use crate::register::retention::{Keep, keep};
use crate::register::rights::{DataGroup, Disclosure, HIT_LIST, Reach, disclose, right};

const BY_HAND: &str = "by-hand";
/// Stands where others have an author, for what the register sends of itself.
const OWN: &str = "register";
/// What a letter needs.
const LETTER: &[DataGroup] =
    &[DataGroup::FamilyName, DataGroup::GivenNames, DataGroup::Doctorate, DataGroup::PresentAddresses];
/// Characters of the reason that somebody gives.
const REASON_CHARS_MAX: usize = 500;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenDuty {
    pub number: u64,
    pub since: Timestamp,
    /// `by-hand`, `notice-to-person` or `notice-to-authority`.
    pub kind: String,
    pub ags: Ags,
    /// The look in the log that it came from.
    pub look: u64,
}

/// Where the answer to a question goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Whom the transport vouched for, or a page's account.
    pub author: String,
    pub uuid: String,
    pub transport_id: String,
    pub asked_at: Timestamp,
    /// Number of the answer; `page` where a page shows it.
    pub answer: String,
    pub reader: String,
    /// How the reader calls itself; empty where that is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    pub namespace: String,
    /// Its answers are kept for the asker and not posted.
    pub page: bool,
    /// Of a message with many questions, which one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Event>,
}

/// What lies sealed beside a duty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kept {
    asked: Asked,
    /// Whom it is about, where that is known.
    mark: Option<String>,
    /// None: it was asked at the command line.
    origin: Option<Origin>,
    /// The message as it came, in Base64, for whoever it is handed over to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    original: Option<String>,
}

/// A case as a clerk sees it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OpenedDuty {
    #[serde(flatten)]
    pub duty: OpenDuty,
    /// Absent in cases of a register before version 7, and where its time was over.
    pub question: Option<Asked>,
    pub origin: Option<Origin>,
    /// The person's order mark, for that municipality alone.
    pub mark: Option<String>,
    /// Whom a notice goes to: name and present addresses. Absent where they have left since.
    pub addressee: Option<Disclosure>,
    /// The addressee's record cannot be read; the notice is due all the same.
    pub unreadable: bool,
    /// When what is sealed is destroyed.
    pub kept_until: Option<Timestamp>,
}

/// How a clerk answers a case.
#[derive(Debug, Clone, Copy)]
pub struct ByHand<'a> {
    pub number: u64,
    /// Persons of the municipality; none: no data are given.
    pub marks: &'a [String],
    pub reason: &'a str,
    pub readers: &'a Readers,
    pub now: Timestamp,
    /// When what is sent because of it must be gone.
    pub expires_at: Timestamp,
}

struct Opened {
    duty: OpenDuty,
    mark: Option<String>,
    kept: Option<Kept>,
    kept_until: Option<Timestamp>,
}

/// Within the look's transaction.
pub(super) struct Owed<'a> {
    pub look: i64,
    pub asked: &'a Asked,
    /// Whom the question named by a feature.
    pub mark: Option<&'a str>,
    pub origin: Option<Origin>,
    pub original: Option<&'a [u8]>,
    pub now: Timestamp,
}

impl Copies {
    pub(super) fn owe<'d>(
        &self,
        work: &Work<'_>,
        owed: &Owed<'_>,
        duties: impl IntoIterator<Item = &'d Duty>,
    ) -> Result<(), CopyError> {
        for duty in duties {
            let (kind, ags, mark) = match duty {
                Duty::ByHand { ags } => (BY_HAND, ags, owed.mark),
                Duty::NoticeToPerson { ags, mark } => ("notice-to-person", ags, Some(mark.as_str())),
                Duty::NoticeToAuthority { ags, mark } => ("notice-to-authority", ags, Some(mark.as_str())),
            };
            let kept = Kept {
                asked: owed.asked.clone(),
                mark: mark.map(str::to_owned),
                origin: owed.origin.clone(),
                original: owed.original.filter(|_| kind == BY_HAND).map(|bytes| BASE64.encode(bytes)),
            };
            let bytes = serde_json::to_vec(&kept).map_err(|error| CopyError::Corrupt(error.to_string()))?;
            let (secret, sealed) = self.sealed(bytes, &reader(*ags))?;
            work.run("INSERT INTO duty (look, kind, ags, secret, sealed, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)", params![
                owed.look,
                kind,
                ags.to_string(),
                secret,
                sealed,
                micros(looks::expiry(owed.now))
            ])?;
        }
        Ok(())
    }

    /// The oldest first, from `after` on.
    pub fn open_duties(&self, after: u64, limit: u32) -> Result<Vec<OpenDuty>, CopyError> {
        self.read(|work| {
            work.all(
                "SELECT duty.number, look.at, duty.kind, duty.ags, duty.look
                 FROM duty JOIN look ON look.number = duty.look
                 WHERE done_at IS NULL AND duty.number > ?1 ORDER BY duty.number LIMIT ?2",
                params![int(after), limit],
                open_duty,
            )
        })
    }

    /// Whether opening this case takes two operators. None where there is no such open case.
    pub fn duty_takes_two(&self, number: u64) -> Result<Option<bool>, CopyError> {
        self.read(|work| {
            let look: Option<i64> = work.one(
                "SELECT look FROM duty WHERE number = ?1 AND done_at IS NULL",
                params![int(number)],
                |row| row.get(0),
            )?;
            look.map(|look| is_about_a_lock(work, look)).transpose()
        })
    }

    /// Whether one of these persons is locked, so that two operators answer. That it was asked is in the log, and in the
    /// persons' reports, unless that would tell of a question of a body of section 34(4) BMG: it tells who is locked, and
    /// who is there. Where the record of one cannot be read there is no answer, and nobody else is to release one.
    pub fn answer_takes_two(
        &self,
        number: u64,
        marks: &[String],
        reader: Operator,
        reason: &str,
        now: Timestamp,
    ) -> Result<bool, CopyError> {
        let reason = reason_of(reason)?;
        let mut session = self.writer();
        let work = session.begin()?;
        let Some(row) = self.duty_row(&work, number)? else { return Ok(false) };
        let ags = row.duty.ags;
        let asker = row.kept.as_ref().map(|kept| kept.asked.requester.asker);
        let told = asker.is_some_and(|asker| !asker.is_security_body());
        let about: Vec<(Ags, String)> =
            marks.iter().filter(|_| told).map(|mark| (ags, mark.clone())).collect();
        let look = Look { hits: marks.len() as u64, ..look_at_case("case-persons", &row, reader, reason) };
        looks::append(&work, &self.key, &look, &about, now)?;
        let named = named(&work, ags, marks);
        work.commit()?;
        Ok(named?.iter().any(is_hidden))
    }

    /// Opens one case; that it was opened is in the log. None where there is no such open case.
    pub fn open_duty(
        &self,
        number: u64,
        readers: &Readers,
        now: Timestamp,
    ) -> Result<Option<OpenedDuty>, CopyError> {
        let mut session = self.writer();
        let work = session.begin()?;
        let Some(row) = self.duty_row(&work, number)? else { return Ok(None) };
        let about_a_lock = is_about_a_lock(&work, int(row.duty.look))?;
        self.two_where(&work, about_a_lock, readers, &Subject::Case { number }, now)?;
        let (addressee, unreadable) = match &row.mark {
            Some(mark) if row.duty.kind != BY_HAND => {
                match named(&work, row.duty.ags, std::slice::from_ref(mark)) {
                    Ok(named) => (named.first().map(|one| disclose(&one.person, LETTER)), false),
                    // Whoever has left since is known to the municipality.
                    Err(error) => (None, matches!(error, CopyError::RecordUnread(_))),
                }
            }
            _ => (None, false),
        };
        self.log_work(&work, "case-opened", &row, readers, "", now)?;
        work.commit()?;
        let (question, origin) = row.kept.map(|kept| (kept.asked, kept.origin)).unzip();
        Ok(Some(OpenedDuty {
            duty: row.duty,
            question,
            origin: origin.flatten(),
            mark: row.mark,
            addressee,
            unreadable,
            kept_until: row.kept_until,
        }))
    }

    /// Answers a case by hand: from the copy, within the asker's rights, as a look of its own; the case is closed with
    /// it. `write` makes the message. No second fee.
    pub fn answer_duty(
        &self,
        by_hand: &ByHand<'_>,
        write: &dyn Fn(&Origin, &Answer) -> Option<Reply>,
    ) -> Result<Answer, CopyError> {
        let ByHand { number, marks, readers, now, .. } = *by_hand;
        let reason = reason_of(by_hand.reason)?;
        let mut session = self.writer();
        let work = session.begin()?;
        let row = self.duty_row(&work, number)?.ok_or(CopyError::Refused("there is no such open case"))?;
        if row.duty.kind != BY_HAND {
            return Err(CopyError::Refused("a notice has no answer: send it, and close the case"));
        }
        let kept = row.kept.as_ref().ok_or(CopyError::Refused("what was asked is not kept any more"))?;
        let requester = &kept.asked.requester;
        let profile = kept.asked.profile;
        let right = right(requester.asker, requester.purpose, profile, Reach::Municipality)
            .ok_or(Reason::NotEntitled)?;
        let persons = named(&work, row.duty.ags, marks)?;
        if persons.iter().any(|one| keep(&one.person, self.day_of(now)) != Keep::Whole) {
            return Err(CopyError::Refused(
                "this record's time is over: it answers no question (section 13(2) BMG)",
            ));
        }
        self.two_where(
            &work,
            persons.iter().any(is_hidden),
            readers,
            &Subject::Answer { number, marks },
            now,
        )?;
        let answer = match (&persons[..], profile) {
            ([], _) => Answer::Neutral,
            (_, Profile::PrivateEnquiry | Profile::PrefilledForm) if marks.len() > 1 => {
                return Err(CopyError::Refused("such a question is answered about one person alone"));
            }
            ([one], Profile::PersonSearch | Profile::PrivateEnquiry | Profile::PrefilledForm) => {
                Answer::Person { data: disclose(&one.person, right.groups) }
            }
            (several, _) => {
                let groups = if profile == Profile::FreeSearch { right.groups } else { HIT_LIST };
                let hit = |one: &Found| {
                    let feature = self.issue_feature(&work, one, requester, now)?;
                    Ok(Hit { feature, data: disclose(&one.person, groups) })
                };
                let hits = several.iter().map(hit).collect::<Result<_, CopyError>>()?;
                Answer::List { hits, more: false, stale: Vec::new() }
            }
        };
        let question = Question { profile, area: Area::Municipality(row.duty.ags), criteria: <_>::default() };
        let shown: Vec<&Found> = persons.iter().collect();
        let note = format!("{readers}: {reason}");
        write_look(&work, self, &kept.asked, &question, &answer, &shown, Note::ByHand(note), now)?;
        if let Some(origin) = &kept.origin
            && let Some(reply) = write(origin, &answer)
        {
            self.answer_later(&work, origin, &reply, by_hand.expires_at)?;
        }
        close(&work, number, now)?;
        work.commit()?;
        self.destroyed();
        Ok(answer)
    }

    /// Done, once: what lay beside it is destroyed. False where there is no such open case.
    pub fn settle_duty(
        &self,
        number: u64,
        reason: &str,
        readers: &Readers,
        now: Timestamp,
    ) -> Result<bool, CopyError> {
        let reason = reason_of(reason)?;
        let mut session = self.writer();
        let work = session.begin()?;
        let Some(row) = self.duty_row(&work, number)? else { return Ok(false) };
        self.log_work(&work, "case-closed", &row, readers, reason, now)?;
        close(&work, number, now)?;
        work.commit()?;
        self.destroyed();
        Ok(true)
    }

    /// Hands a question over to its municipality, as it came (XInneres 0031). The case is closed here once the post office has
    /// the message; one that is given up leaves it open. `write` makes the message for the municipality.
    pub fn hand_over_duty(
        &self,
        by_hand: &ByHand<'_>,
        write: &dyn Fn(Ags, &[u8]) -> Reply,
    ) -> Result<Ags, CopyError> {
        let ByHand { number, readers, now, .. } = *by_hand;
        let reason = reason_of(by_hand.reason)?;
        let mut session = self.writer();
        let work = session.begin()?;
        let row = self.duty_row(&work, number)?.ok_or(CopyError::Refused("there is no such open case"))?;
        let original = row.kept.as_ref().and_then(|kept| kept.original.as_ref());
        let original = original.and_then(|text| BASE64.decode(text).ok()).ok_or(CopyError::Refused(
            "this case came by no message of its own that could be passed on: open it, tell the municipality, close it",
        ))?;
        if is_on_its_way(&work, number)? {
            return Err(CopyError::Refused("this case is on its way to the municipality already"));
        }
        let reply = write(row.duty.ags, &original);
        let uuid = format!("{}{}", handed_over(number), uuid::Uuid::new_v4());
        self.write_reply(&work, (OWN, &uuid, ""), &reply, by_hand.expires_at)?;
        self.log_work(&work, "case-handed-over", &row, readers, reason, now)?;
        work.commit()?;
        self.destroyed();
        Ok(row.duty.ags)
    }

    fn duty_row(&self, work: &Work<'_>, number: u64) -> Result<Option<Opened>, CopyError> {
        work.one(
 "SELECT duty.number, look.at, duty.kind, duty.ags, duty.look, duty.mark, duty.secret, duty.sealed,
                    duty.expires_at
             FROM duty JOIN look ON look.number = duty.look WHERE duty.number = ?1 AND done_at IS NULL", params![int(number)], |row| self.opened_row(row))
    }

    fn opened_row(&self, row: &Row<'_>) -> Result<Opened, CopyError> {
        let duty = open_duty(row)?;
        let sealed: (Option<Vec<u8>>, Option<Vec<u8>>) = (row.get(6)?, row.get(7)?);
        let kept = match sealed {
            (Some(secret), Some(sealed)) => {
                let bytes = self.unsealed(&secret, &sealed, &reader(duty.ags))?;
                let kept: Kept =
                    serde_json::from_slice(&bytes).map_err(|error| CopyError::Corrupt(error.to_string()))?;
                Some(kept)
            }
            _ => None,
        };
        let mark = kept.as_ref().and_then(|kept| kept.mark.clone());
        let mark = mark.map_or_else(|| row.get(5), |mark| Ok(Some(mark)))?;
        let kept_until = row.get::<Option<i64>>(8)?.filter(|_| kept.is_some()).map(instant);
        Ok(Opened { duty, mark, kept, kept_until })
    }

    fn two_where(
        &self,
        work: &Work<'_>,
        needed: bool,
        readers: &Readers,
        subject: &Subject<'_>,
        now: Timestamp,
    ) -> Result<(), CopyError> {
        match readers {
            Readers::Two(two) => self.spend(work, two, subject, now),
            Readers::One(_) if needed => {
                Err(CopyError::Refused("this is about a locked person: two operators read it together"))
            }
            Readers::One(_) => Ok(()),
        }
    }

    /// Work on a case is a look, too.
    fn log_work(
        &self,
        work: &Work<'_>,
        kind: &str,
        row: &Opened,
        readers: &Readers,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), CopyError> {
        looks::append(work, &self.key, &look_at_case(kind, row, readers, reason), &[], now)?;
        Ok(())
    }
}

fn look_at_case(kind: &str, row: &Opened, readers: impl std::fmt::Display, reason: &str) -> Look {
    Look {
        file_number: format!("case {}", row.duty.number),
        area: row.duty.ags.to_string(),
        ..Look::of_operators(kind, reason, &readers)
    }
}

fn reader(ags: Ags) -> String {
    format!("case of {ags}")
}

pub fn reason_of(text: &str) -> Result<&str, CopyError> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > REASON_CHARS_MAX {
        return Err(CopyError::Refused("a reason of 1 to 500 characters is needed"));
    }
    Ok(text)
}

fn open_duty(row: &Row<'_>) -> Result<OpenDuty, CopyError> {
    let ags: String = row.get(3)?;
    Ok(OpenDuty {
        number: uint(row.get(0)?),
        since: instant(row.get(1)?),
        kind: row.get(2)?,
        ags: Ags::parse(&ags).map_err(|error| CopyError::Corrupt(error.to_string()))?,
        look: uint(row.get(4)?),
    })
}

/// Persons whom an operator names by their order marks. All of them or none: an answer about the others alone would be
/// another one than was meant.
fn named(work: &Work<'_>, ags: Ags, marks: &[String]) -> Result<Vec<Found>, CopyError> {
    let copy = copy_of(work, ags, schema::LIVE)?.ok_or(CopyError::Refused("there is no copy"))?;
    let mut named = Vec::new();
    for mark in marks {
        let (row, record) = person_row(work, copy.id, mark)?
            .ok_or(CopyError::Refused("the copy has no person under that order mark"))?;
        match one_or_hidden(ags, &record, row, mark) {
            (_, false) => return Err(CopyError::RecordUnread(mark.clone())),
            (person, true) => {
                let early = early_locks(work, &copy, &person.mark)?;
                named.push(found(&copy, person, &early));
            }
        }
    }
    Ok(named)
}

fn is_hidden(one: &Found) -> bool {
    one.locks.iter().any(|lock| lock.hides()) || one.person.conditional_note
}

/// Whether a question has met a locked person: of such a one there is a notice, however the cases of it are called.
fn is_about_a_lock(work: &Work<'_>, look: i64) -> Result<bool, CopyError> {
    work.only(
        "SELECT EXISTS (SELECT 1 FROM duty WHERE look = ?1 AND kind <> ?2)",
        params![look, BY_HAND],
        |row| row.get(0),
    )
}

/// How the UUIDs of messages begin that hand this case over.
fn handed_over(number: u64) -> String {
    format!("case-{number}-")
}

fn is_on_its_way(work: &Work<'_>, number: u64) -> Result<bool, CopyError> {
    let begins = handed_over(number);
    work.only(
        "SELECT EXISTS (SELECT 1 FROM outgoing WHERE author = ?1 AND uuid > ?2 AND uuid < ?2 || '~'
             AND sent_at IS NULL AND given_up_at IS NULL AND sealed IS NOT NULL)",
        params![OWN, begins],
        |row| row.get(0),
    )
}

/// The case that went with this message, if one did.
pub(super) fn case_of(work: &Work<'_>, outgoing: i64) -> Result<Option<u64>, CopyError> {
    let uuid: Option<String> =
        work.one("SELECT uuid FROM outgoing WHERE id = ?1 AND author = ?2", params![outgoing, OWN], |row| {
            row.get(0)
        })?;
    Ok(uuid.and_then(|uuid| uuid.strip_prefix("case-")?.split_once('-')?.0.parse().ok()))
}

pub(super) fn close(work: &Work<'_>, number: u64, now: Timestamp) -> Result<(), CopyError> {
    work.run(
        "UPDATE duty SET done_at = ?2, mark = NULL, secret = NULL, sealed = NULL WHERE number = ?1",
        params![int(number), micros(now)],
    )?;
    Ok(())
}
