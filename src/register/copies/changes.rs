//! The stream of changes, applied in groups: what waits together becomes durable together.
//!
//! A group is one transaction: changes of one message or of several, and behind the last change of a message its row and
//! its receipts. It is bounded in number and in time, and broken off where somebody waits who comes first, so that a
//! question waits for one short transaction at most. What sets a lock is never in a group of the last lane. A group that
//! fails is taken apart: each of its messages is tried alone, and fails alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::civil::Date;

use super::base::{Work, params};
use super::intake::{index, insert, read_stored, remove, unindex, unindex_unread};
use super::terms::{Term, terms};
use super::{
    Arrived, Copies, CopyError, CopyRow, Reply, copies_where, copy_of, instant, int, micros, person_row,
    schema, uint,
};
use crate::register::message::refused_locks::RefusedLock;
use crate::register::person::{self, Ags, Lock, Person, RecordError};
use crate::register::reconcile::{self, Hash};
use crate::register::retention::{Keep, keep};
use crate::register::stream::{Change, HELD_MAX, Position, Verdict, judge};

/// Digests of applied changes that are kept to tell a repetition from a contradiction.
const APPLIED_KEPT: u64 = 100_000;
/// Changes of one transaction: what they have written is flushed while a question may wait.
const GROUP_CHANGES_MAX: usize = 16;
/// Nobody sees another process that waits; it waits for no longer than this, and the commit.
const GROUP_TIME_MAX: Duration = Duration::from_millis(10);

/// In the place of a lock's code: that one could not be read. No sheet of the DSMeld has it.
const UNREAD: u8 = 0;

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// Applied, with as many held ones after it as had waited for it.
    Applied {
        after_it: u64,
    },
    Repeated,
    /// Held; these are asked for again. A lock in it is effective already.
    Held {
        first: u64,
        last: u64,
    },
}

/// What became of each change of a message, or why the message was not taken.
pub type Fed = Result<Vec<Result<Taken, CopyError>>, CopyError>;

/// A message's row, and what is answered to it.
pub type Finished<'a> = (Arrived<'a>, Vec<Reply>);

/// Changes that came together, all of one municipality.
pub struct Feeding<'a> {
    pub ags: Ags,
    pub changes: &'a [Change],
    /// Whether what was held, and follows on what was applied, is caught up with here. Where it is not, the next message
    /// that does it comes first, or a step of the housework ([`Copies::catch_up_step`]).
    pub catches_up: bool,
    /// Says what is written down behind the last of them, in its transaction: of what became of each, and of the numbers
    /// that are missing then. It is asked once more where that transaction fails.
    pub finish: Option<&'a Finish<'a>>,
}

type Finish<'a> = dyn Fn(&[Result<Taken, CopyError>], Option<(u64, u64)>) -> Finishing<'a> + 'a;
type Finishing<'a> = Result<Finished<'a>, CopyError>;

/// A change, with all that can be computed before its turn.
struct Prepared<'a> {
    change: &'a Change,
    bytes: Vec<u8>,
    digest: Hash,
    record: Option<Record>,
    unfit: Option<Unfit>,
}

struct Record {
    bytes: Vec<u8>,
    terms: BTreeSet<Term>,
}

/// Why a change cannot be taken, whatever the copy is like.
#[derive(Clone)]
enum Unfit {
    SpeaksOfTwo,
    /// Nobody has such a mark, so that nobody is hidden by it.
    Mark(RecordError),
    Record(RecordError),
}

impl From<Unfit> for CopyError {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::SpeaksOfTwo => Self::Refused("the change and its record speak of different persons"),
            Unfit::Mark(error) | Unfit::Record(error) => Self::Record(error),
        }
    }
}

impl<'a> Prepared<'a> {
    fn of(change: &'a Change) -> Self {
        let record = change.record.as_ref();
        let speaks_of_two = record.is_some_and(|record| record.mark != change.mark)
            || (record.is_none() && change.is_about_locks());
        let bytes = record.map(Person::to_bytes);
        let mark = person::mark_fits(&change.mark);
        let unfit = match &bytes {
            _ if speaks_of_two => Some(Unfit::SpeaksOfTwo),
            _ if mark.is_err() => mark.err().map(Unfit::Mark),
            // Through the same door as a load: bounded, and without what is not kept.
            Some(bytes) => Person::read(bytes).err().map(Unfit::Record),
            None => None,
        };
        let record = record.zip(bytes);
        let record = record.map(|(record, bytes)| Record { bytes, terms: terms(record, change.ags) });
        let bytes = change.to_bytes();
        let digest = reconcile::hash(&bytes);
        Self { change, bytes, digest, record, unfit }
    }
}

/// A group that failed, and how many messages it had begun with.
struct Failed {
    error: CopyError,
    begun: usize,
}

impl Copies {
    /// Takes one change of the stream, whatever time it is.
    pub fn change(&self, change: &Change) -> Result<Taken, CopyError> {
        self.change_at(change, Timestamp::MAX)
    }

    /// Takes one change of the stream. A time beyond `now` makes no copy fresher than it is.
    pub fn change_at(&self, change: &Change, now: Timestamp) -> Result<Taken, CopyError> {
        let mut taken = self.changes_at(change.ags, std::slice::from_ref(change), now)?;
        taken.pop().unwrap_or(Err(CopyError::Refused("there is no change")))
    }

    /// Takes changes of one municipality in their order, in groups. Where this fails, the first of them may be durable: they
    /// are repetitions when they come again.
    pub fn changes_at(&self, ags: Ags, changes: &[Change], now: Timestamp) -> Fed {
        let fed = self.feed(&[Feeding { ags, changes, catches_up: true, finish: None }], now).pop();
        fed.unwrap_or_else(|| Ok(Vec::new()))
    }

    /// Takes messages of changes in their order, in groups. What of one was durable when it failed is a repetition when it
    /// comes again. Where the database is away, the answer ends with the message that met it: the others were not tried.
    pub fn feed(&self, messages: &[Feeding<'_>], now: Timestamp) -> Vec<Fed> {
        let prepared: Vec<Vec<Prepared<'_>>> =
            messages.iter().map(|message| message.changes.iter().map(Prepared::of).collect()).collect();
        let mut fed: Vec<Fed> = Vec::with_capacity(messages.len());
        // Of the message that is at hand.
        let mut taken = Vec::new();
        let mut alone: usize = 0;
        while fed.len() < messages.len() {
            let from = fed.len();
            let to = if alone > 0 { from + 1 } else { messages.len() };
            match self.group(&messages[from..to], &prepared[from..to], &mut taken, now) {
                Ok(through) => {
                    alone = alone.saturating_sub(through.len());
                    fed.extend(through.into_iter().map(Ok));
                }
                Err(Failed { begun, .. }) if begun > 1 => alone = begun,
                Err(Failed { error, .. }) => {
                    let is_everybodys = matches!(error, CopyError::Server(_) | CopyError::Unsure(_));
                    taken.clear();
                    alone = alone.saturating_sub(1);
                    fed.push(Err(error));
                    if is_everybodys {
                        break;
                    }
                }
            }
        }
        fed
    }

    /// How many transactions the feed has taken since the copies were opened.
    pub fn groups(&self) -> u64 {
        self.groups.load(Ordering::Acquire)
    }

    /// One transaction. `taken`: what became of the changes of the first message that are durable already, and behind it of
    /// those of the one that is still at hand. Gives the messages that are through.
    fn group(
        &self,
        messages: &[Feeding<'_>],
        prepared: &[Vec<Prepared<'_>>],
        taken: &mut Vec<Result<Taken, CopyError>>,
        now: Timestamp,
    ) -> Result<Vec<Vec<Result<Taken, CopyError>>>, Failed> {
        self.groups.fetch_add(1, Ordering::AcqRel);
        let durable = taken.len();
        let mut all = vec![std::mem::take(taken)];
        let mut before = Vec::new();
        match self.group_of(messages, prepared, &mut all, &mut before, now) {
            Ok(through) => {
                *taken = if all.len() > through { all.pop().unwrap_or_default() } else { Vec::new() };
                Ok(all)
            }
            Err(error) => {
                let begun = all.len();
                all.truncate(1);
                *taken = all.pop().unwrap_or_default();
                taken.truncate(durable);
                // What this transaction had done to those before it is undone with it.
                for (place, before) in before.into_iter().rev() {
                    taken[place] = Ok(before);
                }
                Err(Failed { error, begun })
            }
        }
    }

    /// Gives how many messages are through; `all` has one list more where another one is begun. `before`: what had become of
    /// durable changes of the first message that became something else here.
    fn group_of(
        &self,
        messages: &[Feeding<'_>],
        prepared: &[Vec<Prepared<'_>>],
        all: &mut Vec<Vec<Result<Taken, CopyError>>>,
        before: &mut Vec<(usize, Taken)>,
        now: Timestamp,
    ) -> Result<usize, CopyError> {
        let next = prepared.first().and_then(|changes| changes.get(all[0].len()));
        let is_urgent = |one: Option<&Prepared<'_>>| one.is_some_and(|one| one.change.is_urgent());
        if is_urgent(next) {
            let mut turn = self.urgent_writer();
            let work = turn.begin()?;
            let locks = prepared[0][all[0].len()..].iter().take_while(|one| is_urgent(Some(one)));
            for one in locks.take(GROUP_CHANGES_MAX) {
                all[0].push(take(&work, one, now)?);
            }
            work.commit()?;
            return Ok(0);
        }
        let durable = all[0].len();
        let mut turn = self.writer();
        let (awaited, begun) = (turn.awaited(), Instant::now());
        let work = turn.begin()?;
        let (mut through, mut count) = (0, 0);
        let is_full = |count: usize| {
            count > 0 && (count >= GROUP_CHANGES_MAX || begun.elapsed() >= GROUP_TIME_MAX || awaited())
        };
        for (message, changes) in messages.iter().zip(prepared) {
            if all.len() == through {
                all.push(Vec::new());
            }
            let taken = &mut all[through];
            loop {
                // What follows on what was applied, also where that was broken off.
                while message.catches_up && !is_full(count) {
                    // What cannot be read holds up what follows it alone; a step of the housework says so.
                    let Next::Applied(sequence) = catch_up_one(&work, message.ags, now)? else { break };
                    count += 1;
                    // Its turn has come within its own message, or it goes on the account of what let it go on.
                    let own = changes.iter().zip(taken.iter()).position(|(one, became)| {
                        one.change.sequence == sequence && matches!(became, Ok(Taken::Held { .. }))
                    });
                    let Some(place) = own.or(taken.len().checked_sub(1)) else { continue };
                    let Ok(became) = &mut taken[place] else { continue };
                    let next = match (&*became, own) {
                        (_, Some(_)) => Taken::Applied { after_it: 0 },
                        (Taken::Applied { after_it }, None) => Taken::Applied { after_it: after_it + 1 },
                        _ => continue,
                    };
                    let was = std::mem::replace(became, next);
                    if through == 0 && place < durable {
                        before.push((place, was));
                    }
                }
                let next = changes.get(taken.len());
                if is_full(count) || is_urgent(next) {
                    work.commit()?;
                    return Ok(through);
                }
                let Some(one) = next else { break };
                let became = take(&work, one, now)?;
                taken.push(became);
                count += 1;
            }
            if let Some(finish) = message.finish {
                let (arrived, replies) = finish(taken, gap_within(&work, message.ags)?)?;
                self.take_within(&work, &arrived, &replies)?;
                count += 1;
            }
            through += 1;
        }
        work.commit()?;
        Ok(through)
    }

    /// Applies changes that were held and follow on what was applied, of this municipality or of any, as many as one
    /// transaction takes; says whether there may be more. What of one municipality cannot be read holds up no other, and is
    /// said when there is nothing else to do.
    pub fn catch_up_step(&self, of: Option<Ags>, now: Timestamp) -> Result<bool, CopyError> {
        let behind = "SELECT ags FROM copy WHERE state = ?1 AND (?2 = '' OR ags = ?2) AND EXISTS \
            (SELECT 1 FROM held WHERE held.copy = copy.id AND held.sequence = copy.sequence + 1) ORDER BY ags";
        let of = of.map(|ags| ags.to_string()).unwrap_or_default();
        let behind: Vec<String> =
            self.read(|work| work.all(behind, params![schema::LIVE, of], |row| row.get(0)))?;
        let mut unreadable = Ok(false);
        for ags in behind {
            let ags = Ags::parse(&ags).map_err(|error| CopyError::Corrupt(error.to_string()))?;
            match self.catch_up_some(ags, now) {
                Ok(false) => {}
                Err(error @ CopyError::Corrupt(_)) => unreadable = unreadable.and(Err(error)),
                done => return done,
            }
        }
        unreadable
    }

    fn catch_up_some(&self, ags: Ags, now: Timestamp) -> Result<bool, CopyError> {
        let mut count = 0;
        match self.catch_up_with(ags, GROUP_CHANGES_MAX, &mut count, now) {
            // Those before the one that cannot be read.
            Err(CopyError::Corrupt(_)) if count > 0 => self.catch_up_with(ags, count, &mut 0, now),
            done => done,
        }
    }

    /// One transaction; `count`: how many were applied when it ended or failed.
    fn catch_up_with(
        &self,
        ags: Ags,
        most: usize,
        count: &mut usize,
        now: Timestamp,
    ) -> Result<bool, CopyError> {
        let mut turn = self.writer();
        let (awaited, begun) = (turn.awaited(), Instant::now());
        let work = turn.begin()?;
        loop {
            match catch_up_one(&work, ags, now)? {
                Next::None => break,
                Next::Applied(_) => *count += 1,
                Next::Unreadable(why) => return Err(why),
            }
            if *count >= most || begun.elapsed() >= GROUP_TIME_MAX || awaited() {
                break;
            }
        }
        work.commit()?;
        Ok(*count > 0)
    }

    /// Makes locks of changes that were refused effective, and notes those that nobody could read
    /// ([`super::CopyState::lock_unread_at`]). Before everybody else; the same ones again change nothing. Gives how many
    /// hide somebody.
    pub fn hide(&self, ags: Ags, locks: &[RefusedLock], now: Timestamp) -> Result<usize, CopyError> {
        let mut hiding = 0;
        for some in locks.chunks(GROUP_CHANGES_MAX) {
            let mut turn = self.urgent_writer();
            let work = turn.begin()?;
            let copies =
                copies_where(&work, "ags = ?1 AND state <> ?2", params![ags.to_string(), schema::RETIRED])?;
            for one in some {
                let at = one.at.map_or(now, |at| at.min(now));
                let mark = one.mark.as_deref();
                // Taken before, in another message: it is effective, or it was ended since.
                if let (Some((generation, sequence)), Some(digest)) = (one.number, one.digest)
                    && let Some(copy) = copies.iter().find(|copy| copy.generation == generation)
                    && known_digest(&work, copy.id, sequence)?.is_some_and(|known| known == digest)
                {
                    continue;
                }
                if one.unread {
                    remember(&work, ags, mark.unwrap_or_default(), UNREAD, at)?;
                }
                let Some(mark) = mark else { continue };
                // Which lock it is can be asked later; until then it is the one that hides, and owes a notice.
                let unknown = one.unread.then(Lock::unknown);
                hiding += usize::from(one.locks.iter().chain(&unknown).any(|lock| lock.hides()));
                for lock in one.locks.iter().copied().chain(unknown) {
                    remember(&work, ags, mark, lock.code(), at)?;
                    copies.iter().try_for_each(|copy| {
                        lock_one(&work, copy, mark, lock, turn_of(&work, copy, one.number)?)
                    })?;
                }
            }
            work.commit()?;
        }
        Ok(hiding)
    }

    /// "Nothing happened up to `at`": keeps a copy fresh, unless changes are missing.
    pub fn still_current(
        &self,
        ags: Ags,
        generation: u64,
        sequence: u64,
        at: Timestamp,
    ) -> Result<bool, CopyError> {
        self.write(|work| {
            let fresh = work.run(
                "UPDATE copy SET as_of = CASE WHEN as_of < ?4 THEN ?4 ELSE as_of END
                 WHERE ags = ?1 AND state = 1 AND generation = ?2 AND sequence = ?3",
                params![ags.to_string(), int(generation), int(sequence), micros(at)],
            )?;
            Ok(fresh == 1)
        })
    }

    /// Numbers that are missing before the first held change: to be asked for again.
    pub fn gap(&self, ags: Ags) -> Result<Option<(u64, u64)>, CopyError> {
        self.read(|work| gap_within(work, ags))
    }

    /// Copies that give no data because nothing has come for too long.
    pub fn stale(&self, now: Timestamp) -> Result<Vec<Stale>, CopyError> {
        self.read(|work| {
            let living = copies_where(work, "state = ?1", params![schema::LIVE])?;
            let stale = living.into_iter().filter(|copy| copy.is_stale(now, self.settings.stale_after));
            let told = stale
                .map(|CopyRow { ags, as_of, .. }| Ok(Stale { ags, as_of, missing: gap_within(work, ags)? }));
            told.collect()
        })
    }

    /// Numbers that are missing before a feed that says it has come to `sequence`.
    pub fn missing_before(
        &self,
        ags: Ags,
        generation: u64,
        sequence: u64,
    ) -> Result<Option<(u64, u64)>, CopyError> {
        if let Some(gap) = self.gap(ags)? {
            return Ok(Some(gap));
        }
        self.read(|work| {
            let copy = copy_of(work, ags, schema::LIVE)?;
            let behind = copy.filter(|copy| copy.generation == generation && copy.sequence < sequence);
            Ok(behind.map(|copy| (copy.sequence + 1, sequence)))
        })
    }
}

/// A living copy that is too old to give data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    pub ags: Ags,
    pub as_of: Timestamp,
    /// First and last number that is missing before changes that are held.
    pub missing: Option<(u64, u64)>,
}

/// Within a group: what becomes of a change, or why the transaction is over.
fn take(work: &Work<'_>, one: &Prepared<'_>, now: Timestamp) -> Result<Result<Taken, CopyError>, CopyError> {
    let change = one.change;
    if let Some(unfit @ (Unfit::SpeaksOfTwo | Unfit::Mark(_))) = &one.unfit {
        return Ok(Err(unfit.clone().into()));
    }
    remember_lock(work, change, now)?;
    // A running load may hold an older picture of this person.
    if let Some(loading) = copy_of(work, change.ags, schema::LOADING)? {
        lock_early(work, &loading, change, -1)?;
    }
    let live = copy_of(work, change.ags, schema::LIVE)?;
    let refused = |why: CopyError| {
        // Locks win: the change is rejected, and what hides a person is effective all the same.
        if let Some(copy) = &live {
            let turn = turn_of(work, copy, Some((change.generation, change.sequence)))?;
            lock_early(work, copy, change, turn)?;
        }
        Ok(Err(why))
    };
    if let Some(unfit) = &one.unfit {
        return refused(unfit.clone().into());
    }
    let Some(copy) = &live else {
        return Ok(Err(CopyError::Refused("there is no copy yet: load one")));
    };
    let known = known_digest(work, copy.id, change.sequence)?;
    let at = Position { generation: copy.generation, sequence: copy.sequence };
    let verdict = match judge(at, change.generation, change.sequence, known.as_deref(), &one.digest) {
        // What only waits to be caught up with is not missing.
        Verdict::TooFarAhead
            if change.sequence - copy.sequence <= 2 * HELD_MAX
                && first_held(work, copy)? == Some(copy.sequence + 1) =>
        {
            Verdict::Hold { first: copy.sequence + 1, last: change.sequence - 1 }
        }
        verdict => verdict,
    };
    match verdict {
        Verdict::Apply => {
            apply(work, copy, one, now)?;
            Ok(Ok(Taken::Applied { after_it: 0 }))
        }
        Verdict::Repeat => Ok(Ok(Taken::Repeated)),
        Verdict::Contradiction => {
            refused(CopyError::Refused("this number came before with another content (S999)"))
        }
        Verdict::Hold { first, last } => {
            work.run(
                "INSERT INTO held (copy, sequence, digest, bytes) VALUES (?1, ?2, ?3, ?4)",
                params![copy.id, int(change.sequence), one.digest, one.bytes],
            )?;
            lock_early(work, copy, change, int(change.sequence))?;
            let first_held = first_held(work, copy)?.unwrap_or(last + 1);
            Ok(Ok(Taken::Held { first, last: last.min(first_held - 1) }))
        }
        Verdict::Older => refused(CopyError::Refused("the change is of a generation that was replaced")),
        Verdict::NotLoaded => {
            refused(CopyError::Refused("the change is of a generation that was not loaded"))
        }
        Verdict::TooFarAhead => {
            refused(CopyError::Refused("too many changes are missing: load the municipality again"))
        }
    }
}

fn first_held(work: &Work<'_>, copy: &CopyRow) -> Result<Option<u64>, CopyError> {
    let least: Option<i64> =
        work.only("SELECT min(sequence) FROM held WHERE copy = ?1", params![copy.id], |row| row.get(0))?;
    Ok(least.map(uint))
}

pub(super) fn gap_within(work: &Work<'_>, ags: Ags) -> Result<Option<(u64, u64)>, CopyError> {
    let Some(copy) = copy_of(work, ags, schema::LIVE)? else { return Ok(None) };
    let least = "SELECT min(sequence) FROM held WHERE copy = ?1 AND sequence > ?2";
    let least_behind = |sequence: u64| -> Result<Option<u64>, CopyError> {
        let least: Option<i64> = work.only(least, params![copy.id, int(sequence)], |row| row.get(0))?;
        Ok(least.map(uint))
    };
    let Some(first) = least_behind(copy.sequence)? else { return Ok(None) };
    if first > copy.sequence + 1 {
        return Ok(Some((copy.sequence + 1, first - 1)));
    }
    // What only waits to be caught up with misses nothing; behind it something may. Whether any is missing is said by
    // counting, half of what is left at a time.
    let count = "SELECT count(*) FROM held WHERE copy = ?1 AND sequence > ?2 AND sequence <= ?3";
    let is_whole = |after: u64, through: u64| -> Result<bool, CopyError> {
        let there: i64 = work.only(count, params![copy.id, int(after), int(through)], |row| row.get(0))?;
        Ok(uint(there) == through - after)
    };
    let greatest: Option<i64> =
        work.only("SELECT max(sequence) FROM held WHERE copy = ?1", params![copy.id], |row| row.get(0))?;
    let (mut whole, mut broken) = (first, greatest.map_or(first, uint));
    if is_whole(whole, broken)? {
        return Ok(None);
    }
    while broken - whole > 1 {
        let middle = whole + (broken - whole) / 2;
        if is_whole(whole, middle)? {
            whole = middle;
        } else {
            broken = middle;
        }
    }
    Ok(least_behind(broken)?.map(|next| (broken, next - 1)))
}

/// Under which number a lock of a refused change is kept: under its own, where that is still to come, so that nothing
/// before it lifts it; otherwise under none (-1), and times say what came before.
fn turn_of(work: &Work<'_>, copy: &CopyRow, number: Option<(u64, u64)>) -> Result<i64, CopyError> {
    let to_come = number.filter(|(generation, sequence)| {
        let ahead = sequence.checked_sub(copy.sequence);
        *generation == copy.generation && ahead.is_some_and(|ahead| (1..=HELD_MAX).contains(&ahead))
    });
    match to_come {
        Some((_, sequence)) if known_digest(work, copy.id, sequence)?.is_none() => Ok(int(sequence)),
        _ => Ok(-1),
    }
}

fn known_digest(work: &Work<'_>, copy: i64, sequence: u64) -> Result<Option<Vec<u8>>, CopyError> {
    work.one(
        "SELECT digest FROM applied WHERE copy = ?1 AND sequence = ?2
         UNION ALL SELECT digest FROM held WHERE copy = ?1 AND sequence = ?2 LIMIT 1",
        params![copy, int(sequence)],
        |row| row.get(0),
    )
}

/// In its turn.
fn apply(work: &Work<'_>, copy: &CopyRow, one: &Prepared<'_>, now: Timestamp) -> Result<(), CopyError> {
    let (change, digest) = (one.change, &one.digest);
    match (person_row(work, copy.id, &change.mark)?, &one.record) {
        (Some((id, before)), Some(record)) => replace(work, copy, (id, &before), record)?,
        (Some((id, before)), None) => remove(work, copy, id, &before)?,
        (None, Some(Record { bytes, terms })) => drop(insert(work, copy, &change.mark, bytes, terms)?),
        (None, None) => {}
    }
    // The record speaks for itself from here on; a lock that was taken over stays until a record knows of it.
    work.run(
        "DELETE FROM early_lock WHERE copy = ?1 AND mark = ?2 AND sequence BETWEEN 0 AND ?3",
        params![copy.id, change.mark, int(change.sequence)],
    )?;
    let (ags, at) = (change.ags.to_string(), micros(change.at));
    let says_all = change.is_about_locks() || change.record.is_none();
    let known = change.record.iter().flat_map(|record| &record.locks).map(|lock| Some(lock.code()));
    for code in known.chain(says_all.then_some(None)) {
        // Of a lock that has no number, its event's time says whether it came before this.
        work.run(
            "DELETE FROM early_lock WHERE copy = ?1 AND mark = ?2 AND sequence = -1 AND (code = ?3 OR ?3 = -1)
             AND NOT EXISTS (SELECT 1 FROM lock_set WHERE lock_set.ags = ?4 AND lock_set.mark = early_lock.mark
             AND lock_set.code = early_lock.code AND lock_set.at > ?5)",
            params![copy.id, change.mark, code.map_or(-1, i64::from), ags, at],
        )?;
    }
    if says_all {
        // What is still effective before its turn is not forgotten, nor that one of these could not be read.
        work.run(
            "DELETE FROM lock_set WHERE ags = ?1 AND mark = ?2 AND (at <= ?3 OR code = ?4)
             AND NOT EXISTS (SELECT 1 FROM early_lock WHERE early_lock.copy = ?5
             AND early_lock.mark = lock_set.mark AND (early_lock.code = lock_set.code OR lock_set.code = ?4))",
            params![ags, change.mark, at, UNREAD, copy.id],
        )?;
        remember_lock(work, change, now)?;
    }
    work.run(
        "INSERT INTO applied (copy, sequence, digest) VALUES (?1, ?2, ?3)",
        params![copy.id, int(change.sequence), digest],
    )?;
    work.run(
        "DELETE FROM applied WHERE copy = ?1 AND sequence <= ?2",
        params![copy.id, int(change.sequence.saturating_sub(APPLIED_KEPT))],
    )?;
    work.run(
        "UPDATE copy SET sequence = ?2, as_of = CASE WHEN as_of < ?3 THEN ?3 ELSE as_of END WHERE id = ?1",
        params![copy.id, int(change.sequence), micros(change.at.min(now))],
    )?;
    Ok(())
}

/// The held change that follows on what was applied.
enum Next {
    None,
    Applied(u64),
    /// Nothing was written.
    Unreadable(CopyError),
}

/// Applies the held change that follows on what was applied.
fn catch_up_one(work: &Work<'_>, ags: Ags, now: Timestamp) -> Result<Next, CopyError> {
    let Some(copy) = copy_of(work, ags, schema::LIVE)? else { return Ok(Next::None) };
    let unreadable = |error: CopyError| match error {
        CopyError::Corrupt(what) => CopyError::Corrupt(format!(
            "{what}; it keeps change {} of {ags} and all behind it from being applied: load {ags} into a new generation",
            copy.sequence + 1
        )),
        error => error,
    };
    let (change, digest) = match next_held(work, &copy)? {
        None => return Ok(Next::None),
        Some(Err(what)) => return Ok(Next::Unreadable(unreadable(CopyError::Corrupt(what)))),
        Some(Ok(held)) => held,
    };
    work.run("DELETE FROM held WHERE copy = ?1 AND sequence = ?2", params![copy.id, int(change.sequence)])?;
    apply(work, &copy, &Prepared { digest, ..Prepared::of(&change) }, now).map_err(unreadable)?;
    Ok(Next::Applied(change.sequence))
}

/// Whether the held change that follows on what was applied cannot be read.
pub(super) fn is_stuck(work: &Work<'_>, copy: &CopyRow) -> Result<bool, CopyError> {
    Ok(next_held(work, copy)?.is_some_and(|held| held.is_err()))
}

/// With its digest, or why it cannot be read.
type HeldChange = Result<(Change, Hash), String>;

/// The held change that follows on what was applied.
fn next_held(work: &Work<'_>, copy: &CopyRow) -> Result<Option<HeldChange>, CopyError> {
    let next = copy.sequence + 1;
    let row: Option<(Vec<u8>, Vec<u8>)> = work.one(
        "SELECT bytes, digest FROM held WHERE copy = ?1 AND sequence = ?2",
        params![copy.id, int(next)],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let Some((bytes, digest)) = row else { return Ok(None) };
    let read = || -> Result<(Change, Hash), String> {
        let digest: Hash = digest.try_into().map_err(|_| "its digest".to_owned())?;
        let change: Change = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        if change.ags != copy.ags || change.sequence != next {
            return Err("it is another one".to_owned());
        }
        Ok((change, digest))
    };
    Ok(Some(read().map_err(|what| format!("a held change: {what}"))))
}

/// Terms that stay are not touched: of most changes they are nearly all, and each lies on another page of the index.
fn replace(
    work: &Work<'_>,
    copy: &CopyRow,
    (id, before): (i64, &[u8]),
    record: &Record,
) -> Result<(), CopyError> {
    work.run(
        "UPDATE person SET record = ?2, digest = ?3 WHERE id = ?1",
        params![id, record.bytes, reconcile::hash(&record.bytes)],
    )?;
    let new = &record.terms;
    let Ok(before) = read_stored(before) else {
        unindex_unread(work, copy, id)?;
        return index(work, copy, id, new);
    };
    let old = terms(&before, copy.ags);
    // Whoever may have been shrunk by a night has lost all terms by it.
    if keep(&before, Date::MAX) != Keep::Whole {
        unindex(work, copy, id, &old)?;
        return index(work, copy, id, new);
    }
    unindex(work, copy, id, old.difference(new))?;
    index(work, copy, id, new.difference(&old))
}

/// Locks win: what hides a person is effective at once.
fn lock_early(work: &Work<'_>, copy: &CopyRow, change: &Change, sequence: i64) -> Result<(), CopyError> {
    if !change.is_urgent() {
        return Ok(());
    }
    let mut locks = change.record.iter().flat_map(|record| &record.locks);
    locks.try_for_each(|lock| lock_one(work, copy, &change.mark, *lock, sequence))
}

fn lock_one(work: &Work<'_>, copy: &CopyRow, mark: &str, lock: Lock, sequence: i64) -> Result<(), CopyError> {
    let insert =
        "INSERT INTO early_lock (copy, mark, code, sequence) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
    work.run(insert, params![copy.id, mark, lock.code(), sequence]).map(drop)
}

/// With the time of its event, until a younger event or a younger picture speaks of it. Nothing is younger than an event
/// that lies in the future: it happened now at the latest.
fn remember_lock(work: &Work<'_>, change: &Change, now: Timestamp) -> Result<(), CopyError> {
    if !change.is_urgent() {
        return Ok(());
    }
    let mut locks = change.record.iter().flat_map(|record| &record.locks);
    locks.try_for_each(|lock| remember(work, change.ags, &change.mark, lock.code(), change.at.min(now)))
}

fn remember(work: &Work<'_>, ags: Ags, mark: &str, code: u8, at: Timestamp) -> Result<(), CopyError> {
    let insert = "INSERT INTO lock_set (ags, mark, code, at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (ags, mark, code) DO UPDATE SET at = excluded.at WHERE lock_set.at < excluded.at";
    work.run(insert, params![ags.to_string(), mark, code, micros(at)]).map(drop)
}

/// Since when a lock of each municipality is unread: until it comes again for the same person, a younger load goes live,
/// or the copy was found equal to its original, and nobody is hidden by it.
pub(super) fn locks_unread(work: &Work<'_>) -> Result<BTreeMap<String, Timestamp>, CopyError> {
    let mut out = BTreeMap::new();
    let select = "SELECT ags, min(at) FROM lock_set WHERE code = ?1 GROUP BY ags";
    work.each(select, params![UNREAD], |row| {
        out.insert(row.get(0)?, instant(row.get(1)?));
        Ok(true)
    })?;
    Ok(out)
}

/// Copy and original were equal at `as_of`, locks and all; what came later is in neither. Whoever is still hidden by a lock
/// that could not be read is hidden by more than the original has: that goes on being shown.
pub(super) fn forget_unread(work: &Work<'_>, ags: Ags, as_of: Timestamp) -> Result<(), CopyError> {
    work.run(
        "DELETE FROM lock_set WHERE ags = ?1 AND code = ?2 AND at < ?3 AND NOT EXISTS
         (SELECT 1 FROM early_lock JOIN copy ON copy.id = early_lock.copy
         WHERE copy.ags = lock_set.ags AND copy.state = ?4 AND early_lock.mark = lock_set.mark)",
        params![ags.to_string(), UNREAD, micros(as_of), schema::LIVE],
    )
    .map(drop)
}
