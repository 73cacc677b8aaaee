//! Questions put to the copies: who is found, what is said about them, what is owed because of it.
//!
//! Whatever the asker may not learn is decided after the same work for everybody: a stale copy is searched like a fresh
//! one, a locked person is found like any other. Nothing is answered before the look is in the log.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::base::{Work, params};
use super::candidates::{early_locks, one_or_hidden, persons};
use super::duties::{Origin, Owed};
use super::looks::{self, Look};
use super::{Arrived, Copies, CopyError, CopyRow, Reply, copies_where, copy_of, instant, micros, schema};
use crate::domain::hex;
use crate::register::answer::{Answer, Duty, Hit};
use crate::register::criteria::Criteria;
use crate::register::fees::Channel;
use crate::register::matching::name::Token;
use crate::register::person::{Ags, Lock, Person};
use crate::register::question::{Area, Profile, Question, REQUESTER_CHARS_MAX, Reason, Selection};
use crate::register::retention::{Keep, keep};
use crate::register::rights::{Asker, Disclosure, HIT_LIST, Purpose, Reach, Right, disclose, right};

const FEATURE_BYTES: usize = 24;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requester {
    pub asker: Asker,
    pub purpose: Purpose,
    /// Body or account; features are bound to it.
    pub body: String,
    pub file_number: String,
    pub occasion: String,
    pub user: String,
    /// Staff empowered in the sense of section 34a(6) BMG.
    #[serde(default)]
    pub empowered: bool,
    /// Section 38(5) BMG: a neutral answer is the end of it.
    #[serde(default)]
    pub waives_hand_over: bool,
    /// Section 44(3) BMG: neither advertising nor address trade.
    #[serde(default)]
    pub declares_no_trade: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    pub requester: Requester,
    pub profile: Profile,
    pub selection: Selection,
    /// The municipality that the message names as its reader, where it came as a message.
    #[serde(default)]
    pub reader: Option<Ags>,
    /// Marked as a test: never gets data of this register.
    #[serde(default)]
    pub test: bool,
}

/// A question about the person behind a feature of a list.
#[derive(Debug, Clone, Copy)]
pub struct ByFeature<'a> {
    pub requester: &'a Requester,
    pub profile: Profile,
    pub feature: &'a str,
    /// As of a question with selection data.
    pub reader: Option<Ags>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub answer: Answer,
    /// Written down with the look; for the operator's side alone.
    pub duties: Vec<Duty>,
    /// The look's number in the log.
    pub look: u64,
}

/// The message that a question came as, and how its answer is written.
pub(super) struct Taking<'a> {
    pub arrived: &'a Arrived<'a>,
    pub write: &'a dyn Fn(&Answer) -> Vec<Reply>,
    /// From a page: its answers are kept for the asker and not posted.
    pub page: Option<FromPage<'a>>,
}

/// What only a page's questions have.
pub(super) struct FromPage<'a> {
    /// The price that was agreed on before.
    pub cents: u32,
    /// More to be written in the same transaction, with the look's number.
    pub also: &'a dyn Fn(&Work<'_>, i64) -> Result<(), CopyError>,
}

impl Taking<'_> {
    /// Where a later answer would go.
    fn origin(&self, replies: &[Reply]) -> Option<Origin> {
        let (arrived, reply) = (self.arrived, replies.first()?);
        Some(Origin {
            author: arrived.author.to_owned(),
            uuid: arrived.uuid.to_owned(),
            transport_id: arrived.transport_id.to_owned(),
            asked_at: arrived.at,
            answer: reply.number.to_owned(),
            reader: reply.reader.clone(),
            name: arrived.name.to_owned(),
            namespace: reply.namespace.clone(),
            page: self.page.is_some(),
            event: arrived.event.cloned(),
        })
    }
}

pub(super) struct Found {
    pub ags: Ags,
    pub person: Person,
    hidden: bool,
    /// Of a copy that is too old to show anybody, among those of the whole state.
    withheld: bool,
    pub locks: Vec<Lock>,
}

impl Copies {
    /// Answers one question.
    pub fn ask(&self, asked: &Asked, now: Timestamp) -> Result<Outcome, CopyError> {
        self.ask_with(asked, now, None)
    }

    /// Answers a question that came as a message: look, duties and reply become durable together.
    pub fn ask_taking(
        &self,
        asked: &Asked,
        now: Timestamp,
        arrived: &Arrived<'_>,
        write: &dyn Fn(&Answer) -> Vec<Reply>,
    ) -> Result<Outcome, CopyError> {
        self.ask_with(asked, now, Some(Taking { arrived, write, page: None }))
    }

    pub(super) fn ask_with(
        &self,
        asked: &Asked,
        now: Timestamp,
        taking: Option<Taking<'_>>,
    ) -> Result<Outcome, CopyError> {
        let (question, right) = admit(asked)?;
        let found = self.read(|work| self.find(work, &question, asked, now));
        if let Err(CopyError::Question(Reason::TooBroad)) = &found {
            self.log_too_broad(asked, &question, now)?;
        }
        let (found, stale) = found?;
        let stale_single = !stale.is_empty() && matches!(question.area, Area::Municipality(_));
        let (shown, neutral) = shown(&found, question.profile, stale_single, self.settings.list_max);
        let mut duties = duties(&found);
        if neutral && !asked.requester.waives_hand_over {
            let area = match question.area {
                Area::Municipality(ags) => vec![ags],
                Area::State => found.iter().map(|one| one.ags).collect(),
            };
            duties.extend(area.into_iter().map(|ags| Duty::ByHand { ags }));
        }
        let mut session = self.answering();
        let work = session.begin()?;
        let answer = match (&shown[..], question.profile) {
            _ if neutral => Answer::Neutral,
            ([one], Profile::PersonSearch | Profile::PrivateEnquiry | Profile::PrefilledForm) => {
                Answer::Person { data: disclose(&one.person, right.groups) }
            }
            (shown, _) => {
                let groups = if question.profile == Profile::FreeSearch { right.groups } else { HIT_LIST };
                let more = shown.len() > self.settings.list_max;
                let listed = &shown[..shown.len().min(self.settings.list_max)];
                let hits = listed
                    .iter()
                    .map(|one| {
                        let feature = self.issue_feature(&work, one, &asked.requester, now)?;
                        Ok(Hit { feature, data: disclose(&one.person, groups) })
                    })
                    .collect::<Result<_, CopyError>>()?;
                Answer::List { hits, more, stale }
            }
        };
        let look = write_look(&work, self, asked, &question, &answer, &shown, Note::None, now)?;
        let replies = taking.as_ref().map(|taking| (taking.write)(&answer)).unwrap_or_default();
        let origin = taking.as_ref().and_then(|taking| taking.origin(&replies));
        let original = taking.as_ref().and_then(|taking| taking.arrived.original);
        self.owe(&work, &Owed { look, asked, mark: None, origin, original, now }, &duties)?;
        let (channel, agreed) = match &taking {
            None => (Channel::CommandLine, None),
            Some(Taking { page: None, .. }) => (Channel::Message, None),
            Some(Taking { page: Some(page), .. }) => (Channel::Page, Some(page.cents)),
        };
        self.meter(&work, look, &question, channel, agreed, now)?;
        if let Some(Taking { arrived, page, .. }) = taking {
            self.take_within(&work, arrived, &replies)?;
            if let Some(page) = page {
                super::post::hold(&work, arrived, now)?;
                (page.also)(&work, look)?;
            }
        }
        work.commit()?;
        Ok(Outcome { answer, duties: duties.into_iter().collect(), look: super::uint(look) })
    }

    /// Nobody is told anything, and yet the copy was searched: whoever feels his way forward is to be seen.
    fn log_too_broad(&self, asked: &Asked, question: &Question, now: Timestamp) -> Result<(), CopyError> {
        let mut session = self.answering();
        let work = session.begin()?;
        write_look(&work, self, asked, question, &Answer::Neutral, &[], Note::TooBroad, now)?;
        work.commit()
    }

    /// The person behind a feature from a list: for the same body, within its time, once more judged and logged.
    pub fn ask_feature(
        &self,
        requester: &Requester,
        profile: Profile,
        feature: &str,
        now: Timestamp,
    ) -> Result<Outcome, CopyError> {
        self.ask_feature_with(&ByFeature { requester, profile, feature, reader: None }, now, None)
    }

    /// The same for a question that came as a message.
    pub fn ask_feature_taking(
        &self,
        asked: &ByFeature<'_>,
        now: Timestamp,
        arrived: &Arrived<'_>,
        write: &dyn Fn(&Answer) -> Vec<Reply>,
    ) -> Result<Outcome, CopyError> {
        self.ask_feature_with(asked, now, Some(Taking { arrived, write, page: None }))
    }

    fn ask_feature_with(
        &self,
        asked: &ByFeature<'_>,
        now: Timestamp,
        taking: Option<Taking<'_>>,
    ) -> Result<Outcome, CopyError> {
        let ByFeature { requester, profile, feature, reader } = *asked;
        complete(requester)?;
        let right = right(requester.asker, requester.purpose, profile, Reach::Municipality)
            .ok_or(Reason::NotEntitled)?;
        let found = self.read(|work| {
            let row: Option<(String, String, String, i64)> = work.one(
                "SELECT ags, requester, mark, expires_at FROM feature WHERE feature = ?1",
                params![feature],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
            )?;
            let Some((ags, body, mark, expires_at)) = row else { return Ok(None) };
            if body != requester.body || instant(expires_at) <= now {
                return Ok(None);
            }
            let ags = Ags::parse(&ags).map_err(|error| CopyError::Corrupt(error.to_string()))?;
            // A feature is its municipality's, as a selection is.
            if reader.is_some_and(|reader| reader != ags) {
                return Err(Reason::ReaderDiffers.into());
            }
            let Some(copy) = copy_of(work, ags, schema::LIVE)? else { return Ok(None) };
            let Some((row, record)) = super::person_row(work, copy.id, &mark)? else { return Ok(None) };
            let (person, _) = one_or_hidden(ags, &record, row, &mark);
            if keep(&person, self.day_of(now)) != Keep::Whole {
                return Ok(None);
            }
            let stale = copy.is_stale(now, self.settings.stale_after);
            let early = early_locks(work, &copy, &person.mark)?;
            Ok(Some((found(&copy, person, &early), stale)))
        })?;
        let asked = Asked {
            requester: requester.clone(),
            profile,
            selection: Selection::default(),
            reader: None,
            test: false,
        };
        let stale = found.as_ref().is_some_and(|(_, stale)| *stale);
        let found: Vec<Found> = found.into_iter().map(|(one, _)| judged(one, &asked)).collect();
        let (shown, neutral) = shown(&found, Profile::PersonSearch, stale, 1);
        let mut duties = duties(&found);
        if neutral && !requester.waives_hand_over {
            duties.extend(found.iter().map(|one| Duty::ByHand { ags: one.ags }));
        }
        let answer = match shown[..] {
            [one] if !neutral => Answer::Person { data: disclose(&one.person, right.groups) },
            _ => Answer::Neutral,
        };
        let mut session = self.answering();
        let work = session.begin()?;
        let area = found.first().map_or(Area::State, |one| Area::Municipality(one.ags));
        let question = Question { profile, area, criteria: Criteria::default() };
        let look = write_look(&work, self, &asked, &question, &answer, &shown, Note::None, now)?;
        let replies = taking.as_ref().map(|taking| (taking.write)(&answer)).unwrap_or_default();
        let origin = taking.as_ref().and_then(|taking| taking.origin(&replies));
        let mark = found.first().map(|one| one.person.mark.as_str());
        let original = taking.as_ref().and_then(|taking| taking.arrived.original);
        self.owe(&work, &Owed { look, asked: &asked, mark, origin, original, now }, &duties)?;
        if let Some(Taking { arrived, .. }) = taking {
            self.take_within(&work, arrived, &replies)?;
        }
        work.commit()?;
        Ok(Outcome { answer, duties: duties.into_iter().collect(), look: super::uint(look) })
    }

    fn find(
        &self,
        work: &Work<'_>,
        question: &Question,
        asked: &Asked,
        now: Timestamp,
    ) -> Result<(Vec<Found>, Vec<Ags>), CopyError> {
        let copies = match question.area {
            Area::Municipality(ags) => {
                vec![copy_of(work, ags, schema::LIVE)?.ok_or(Reason::MunicipalityUnknown)?]
            }
            Area::State => copies_where(work, "state = ?1", params![schema::LIVE])?,
        };
        if question.profile != Profile::PrivateEnquiry {
            street_known(work, &copies, &question.criteria)?;
        }
        let (mut all, mut stale) = (Vec::new(), Vec::new());
        let today = self.day_of(now);
        // One more than may be listed, so that "more" can be said. Whoever is hidden takes nobody's place in the list, or
        // its end would tell of them. Behind the end nobody is looked at: the question is to be narrowed, and is not about
        // them. Of a private enquiry each person it fits is told, however many there are (section 51(3) BMG).
        let mut room = self.settings.list_max + 1;
        let for_each = question.profile == Profile::PrivateEnquiry;
        for copy in copies {
            let too_old = copy.is_stale(now, self.settings.stale_after);
            if too_old {
                stale.push(copy.ags);
            }
            if room == 0 && !for_each {
                continue;
            }
            // It shows nobody; whoever is hidden in it is owed a notice all the same, and whoever is not, a neutral
            // answer's hand-over to that municipality, once.
            let withheld = too_old && question.area == Area::State;
            let mut handed_over = false;
            let criteria = question.criteria.within(copy.ags);
            persons(work, &copy, &criteria, self.settings.records_max, &mut |person, early| {
                // The night that shrinks the record may be still to come.
                if keep(&person, today) != Keep::Whole {
                    return Ok(true);
                }
                let one = Found { withheld, ..judged(found(&copy, person, early), asked) };
                if one.hidden || !withheld || !handed_over {
                    handed_over |= withheld;
                    room = room.saturating_sub(usize::from(!one.hidden && !withheld));
                    all.push(one);
                }
                Ok(room > 0 || for_each)
            })?;
        }
        Ok((all, stale))
    }

    /// Random, and nothing about the person can be seen from it (annex number 5 a)).
    pub(super) fn issue_feature(
        &self,
        work: &Work<'_>,
        one: &Found,
        requester: &Requester,
        now: Timestamp,
    ) -> Result<String, CopyError> {
        let mut bytes = [0; FEATURE_BYTES];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| CopyError::Random)?;
        let feature = hex::lower(&bytes);
        let until = now.checked_add(self.settings.feature_valid).unwrap_or(Timestamp::MAX);
        work.run(
            "INSERT INTO feature (feature, ags, requester, mark, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![feature, one.ags.to_string(), requester.body, one.person.mark, micros(until)],
        )?;
        Ok(feature)
    }
}

/// What can be refused before anybody is looked at.
pub(super) fn admit(asked: &Asked) -> Result<(Question, &'static Right), Reason> {
    if asked.test {
        return Err(Reason::TestMessage);
    }
    complete(&asked.requester)?;
    if asked.profile == Profile::PrivateEnquiry && !asked.requester.declares_no_trade {
        return Err(Reason::DeclarationMissing);
    }
    let question = Question::new(asked.profile, &asked.selection)?;
    let reach = match question.area {
        Area::Municipality(_) => Reach::Municipality,
        Area::State => Reach::State,
    };
    if let (Some(reader), Area::Municipality(ags)) = (asked.reader, question.area)
        && reader != ags
    {
        return Err(Reason::ReaderDiffers);
    }
    let right = right(asked.requester.asker, asked.requester.purpose, asked.profile, reach)
        .ok_or(Reason::NotEntitled)?;
    Ok((question, right))
}

fn complete(requester: &Requester) -> Result<(), Reason> {
    let public = !matches!(requester.asker, Asker::Citizen | Asker::Firm);
    let texts = [&requester.body, &requester.user, &requester.file_number, &requester.occasion];
    if texts.iter().any(|text| text.chars().count() > REQUESTER_CHARS_MAX) {
        return Err(Reason::DatumTooLong);
    }
    // A citizen has an account, and no file number.
    let needed = if public { &texts[..] } else { &texts[..1] };
    if needed.iter().any(|text| text.trim().is_empty()) { Err(Reason::RequesterIncomplete) } else { Ok(()) }
}

/// Whether the person is hidden from this asker.
fn judged(mut one: Found, asked: &Asked) -> Found {
    let hiding: Vec<&Lock> = one.locks.iter().filter(|lock| lock.hides()).collect();
    let requester = &asked.requester;
    let sees = requester.asker.may_see_locked()
        && requester.empowered
        && hiding.iter().all(|lock| !lock.by_authority());
    // Section 52 BMG: private askers wait for the hearing.
    let heard_first = one.person.conditional_note && asked.profile == Profile::PrivateEnquiry;
    one.hidden = (!hiding.is_empty() && !sees) || heard_first;
    one
}

/// Whom the answer may speak of, and whether it must be the neutral one.
fn shown(found: &[Found], profile: Profile, stale: bool, list_max: usize) -> (Vec<&Found>, bool) {
    let visible: Vec<&Found> =
        found.iter().filter(|one| !one.hidden && !one.withheld).take(list_max + 1).collect();
    let neutral = match profile {
        // Exactly one in the register, hidden or not (section 44(3) BMG); of a form, nobody may choose among several.
        Profile::PrivateEnquiry | Profile::PrefilledForm => found.len() != 1 || visible.len() != 1,
        Profile::PersonSearch | Profile::FreeSearch => visible.is_empty(),
    };
    if neutral || stale { (Vec::new(), true) } else { (visible, false) }
}

fn duties(found: &[Found]) -> BTreeSet<Duty> {
    let mut out = BTreeSet::new();
    for one in found.iter().filter(|one| one.hidden) {
        let mark = || one.person.mark.clone();
        if one.locks.iter().any(|lock| lock.owes_notice()) {
            out.insert(Duty::NoticeToPerson { ags: one.ags, mark: mark() });
        }
        if one.locks.iter().any(|lock| lock.by_authority()) {
            out.insert(Duty::NoticeToAuthority { ags: one.ags, mark: mark() });
        }
    }
    out
}

/// What is special about a look.
pub(super) enum Note {
    None,
    /// It was refused while the copy was searched.
    TooBroad,
    /// Who answered, and why.
    ByHand(String),
}

#[expect(clippy::too_many_arguments, reason = "a look has that many parts")]
pub(super) fn write_look(
    work: &Work<'_>,
    copies: &Copies,
    asked: &Asked,
    question: &Question,
    answer: &Answer,
    shown: &[&Found],
    note: Note,
    now: Timestamp,
) -> Result<i64, CopyError> {
    let requester = &asked.requester;
    let security = requester.asker.is_security_body();
    let text = |text: &String| if security { String::new() } else { text.clone() };
    let hits = match answer {
        Answer::Neutral => 0,
        Answer::Person { .. } => 1,
        Answer::List { hits, .. } => hits.len() as u64,
    };
    let look = Look {
        kind: if matches!(note, Note::TooBroad) { "question-too-broad" } else { "question" }.to_owned(),
        profile: Some(question.profile),
        asker: requester.asker.as_str().to_owned(),
        body: requester.body.clone(),
        file_number: text(&requester.file_number),
        occasion: text(&requester.occasion),
        user: text(&requester.user),
        area: match question.area {
            Area::Municipality(ags) => ags.to_string(),
            Area::State => "state".to_owned(),
        },
        hits,
        data: if security { Vec::new() } else { told(answer) },
        // Where nobody was found, the selection is all that there is to see.
        selection: ((question.profile == Profile::FreeSearch || matches!(note, Note::TooBroad)) && !security)
            .then(|| serde_json::to_value(&asked.selection).unwrap_or_default()),
        by_hand: match note {
            Note::ByHand(words) => Some(words),
            Note::None | Note::TooBroad => None,
        },
    };
    let persons: Vec<(Ags, String)> = if security {
        Vec::new()
    } else {
        shown.iter().take(hits as usize).map(|one| (one.ags, one.person.mark.clone())).collect()
    };
    looks::append(work, &copies.key, &look, &persons, now)
}

/// The groups of data that an answer has, of whomever.
fn told(answer: &Answer) -> Vec<String> {
    let disclosures: Vec<&Disclosure> = match answer {
        Answer::Neutral => Vec::new(),
        Answer::Person { data } => vec![data],
        Answer::List { hits, .. } => hits.iter().map(|hit| &hit.data).collect(),
    };
    let groups: BTreeSet<&str> = disclosures.into_iter().flat_map(|data| data.keys().copied()).collect();
    groups.into_iter().map(str::to_owned).collect()
}

/// `early`: codes of locks that took effect before their turn.
pub(super) fn found(copy: &CopyRow, person: Person, early: &[u8]) -> Found {
    let mut locks = person.locks.clone();
    locks.extend(early.iter().filter_map(|code| Lock::try_from(*code).ok()));
    Found { ags: copy.ags, person, hidden: false, withheld: false, locks }
}

/// Annex 4 f): a street that no copy of the area knows is refused, and says nothing about anybody.
fn street_known(work: &Work<'_>, copies: &[CopyRow], criteria: &Criteria) -> Result<(), CopyError> {
    let Some(Token::Exact(form)) = &criteria.residence.street else { return Ok(()) };
    let find = "SELECT 1 FROM term WHERE copy = ?1 AND kind = 8 AND form = ?2 LIMIT 1";
    for copy in copies {
        if work.one(find, params![copy.id, form.as_str()], |_| Ok(()))?.is_some() {
            return Ok(());
        }
    }
    Err(Reason::StreetUnknown.into())
}
