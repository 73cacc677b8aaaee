//! The copies: one a municipality, in the register's own database, fed by its stream and searched by law.
//!
//! Blocking: whoever serves calls it from threads of its own. One connection writes, by turns: what is urgent passes
//! questions, and these pass feed and housework; readers have connections of their own. The original is always the
//! municipality's register: nothing here edits a record.

mod accounts;
mod base;
mod candidates;
mod changes;
mod duties;
mod eyes;
mod figures;
mod heads;
mod holding;
mod intake;
mod keeping;
mod looks;
mod moves;
mod moving;
mod nightly;
mod own;
mod payments;
mod post;
mod rows;
mod schema;
mod search;
mod tags;
mod terms;
#[cfg(test)]
pub(in crate::register) mod testing;
#[cfg(test)]
mod tests;
mod turns;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use thiserror::Error;

use self::base::{Base, Keeper, Session, Value, Work, params};
use self::turns::{Lane, Turn, Turns};
use super::fees::Tariff;
use super::person::{Ags, RecordError};
use super::question::Reason;
pub use accounts::{Account, Asked as AskedInMonth, Month};
pub use base::{Engine, PostgresSettings, is_a_registers};
pub use changes::{Fed, Feeding, Finished, Stale, Taken};
pub use duties::{ByHand, OpenDuty, OpenedDuty, Origin, reason_of};
pub use eyes::{Operator, Readers, Subject, TwoReaders, WISH_VALID, Wish};
pub use figures::Figures;
pub use heads::{LogHead, read_heads};
pub use holding::LogHold;
pub use intake::{CopyState, LoadReceipt};
pub use keeping::Retired;
pub use looks::{LogChecked, LogKey, Look, LookEntry};
pub use moves::{Deadlines, MoveCase, Overdue};
pub use moving::{Moved, MovedTable, move_to_postgres};
pub use nightly::{Night, Reconciled};
pub use own::OwnRecord;
pub use payments::{ORDERS_OPEN_MAX, Order, OrderLine, Which};
pub use post::{Again, Arrived, Held, Known, Outgoing, PostState, Reply, case_key, message_uuid};
pub use search::{Asked, ByFeature, Outcome, Requester};

const READERS_MAX: usize = 8;
/// How far a municipality's clock may be ahead of ours.
pub const CLOCKS_APART_MAX: Duration = Duration::from_secs(300);

#[derive(Debug, Clone)]
pub struct Settings {
    pub folder: PathBuf,
    /// A copy that is older gives no data.
    pub stale_after: Duration,
    /// Hits of one list.
    pub list_max: usize,
    /// Records that one question may make us read in one copy. Beyond it the question is too broad.
    pub records_max: usize,
    /// How long an identification feature is good.
    pub feature_valid: Duration,
    /// What private enquiries cost.
    pub tariff: Tariff,
    /// Where days and months begin.
    pub zone: TimeZone,
    /// The file of the log's heads; none: `log.heads` in the folder.
    pub heads: Option<PathBuf>,
    /// What keeps the database.
    pub engine: Engine,
}

impl Settings {
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self {
            #[cfg(test)]
            engine: testing::engine(&folder),
            #[cfg(not(test))]
            engine: Engine::Embedded,
            folder,
            stale_after: Duration::from_secs(24 * 3600),
            list_max: 1000,
            records_max: 20_000,
            feature_valid: Duration::from_secs(48 * 3600),
            tariff: Tariff::default(),
            zone: TimeZone::get("Europe/Berlin").unwrap_or(TimeZone::UTC),
            heads: None,
        }
    }
}

#[derive(Debug, Error)]
pub enum CopyError {
    #[error("the register's folder cannot be used: {0}")]
    Folder(#[from] std::io::Error),
    #[error("the database in the register's folder belongs to another program")]
    Foreign,
    #[error(
        "the register's database has version {found}, this program knows version {known}; use a newer amtsbote"
    )]
    Newer { found: usize, known: usize },
    #[error("the register's database failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// It may pass: the server is away, busy or full.
    #[error("{0}")]
    Server(String),
    /// It does not pass before somebody has done something about it.
    #[error("{0}")]
    Settings(String),
    #[error(
        "{0}; look whether it is there before it is done again (a message that comes again is taken once)"
    )]
    Unsure(&'static str),
    #[error("the register's database holds something that it cannot read: {0}")]
    Corrupt(String),
    #[error("a record cannot be taken: {0}")]
    Record(#[from] RecordError),
    #[error("{0}")]
    Refused(&'static str),
    #[error("another order has this case; take a new UUID")]
    CaseTaken,
    #[error(
        "this account has {open} orders that are not paid yet; pay them, or wait until they have run out"
    )]
    OrdersOpen { open: u64 },
    #[error("this account has put {orders} orders within a day; no more are taken today")]
    OrdersToday { orders: u64 },
    #[error("{} records were announced and {} came; load them again", announced, came)]
    Incomplete { announced: u64, came: u64 },
    #[error(
        "none of the load's {refused} records can be taken (the first one: {first}), and the copy stays as it was; correct them and load again"
    )]
    NothingTaken { refused: u64, first: String },
    #[error(
        "the load has no record, and the copy, which has {kept}, stays as it was; load its records, or delete them by changes"
    )]
    NothingCame { kept: u64 },
    #[error(
        "the load leaves {stored} of the copy's {kept} persons, less than half, and the copy stays as it was; load all of them, or, if there are no more, let the register's operator load them (amtsbote register load --shrink)"
    )]
    Shrinks { stored: u64, kept: u64 },
    #[error(
        "the record of {0} cannot be read: leave this person out, or load the municipality anew and answer then"
    )]
    RecordUnread(String),
    #[error("{0}")]
    Question(#[from] Reason),
    #[error("the log's key does not open the log, or the log was changed at entry {0}")]
    Log(u64),
    #[error(
        "the log ends at entry {ends}, and entry {known} was there: it was cut, or put back to an older state"
    )]
    LogCut { ends: u64, known: u64 },
    #[error("entry {0} of the log was emptied before its time")]
    LogEmptied(u64),
    #[error("line {0} of the file of heads was not written with the log's key")]
    Head(u64),
    #[error(
        "the copy differs from the register: {0}; drop the schema amtsbote_register in the database and begin anew"
    )]
    Differs(String),
    #[error("the machine has no random numbers to give")]
    Random,
}

pub struct Copies {
    settings: Settings,
    key: LogKey,
    /// Ends before the writer does.
    _keeper: Option<Keeper>,
    base: Base,
    writer: Arc<Turns<Session>>,
    readers: Mutex<Vec<Session>>,
    /// Something was destroyed that may still stand in the database's journal.
    journal_full: AtomicBool,
    /// Transactions of the feed.
    groups: AtomicU64,
}

impl Copies {
    /// Opens the copies in `settings.folder`, creating folder and database where there is none.
    pub fn open(settings: Settings, key: LogKey) -> Result<Self, CopyError> {
        std::fs::create_dir_all(&settings.folder)?;
        settings.engine.is_the_folders(&settings.folder)?;
        let (base, writer) = Base::open(&settings.engine, &settings.folder, &key)?;
        // Whoever waited for the file may have waited for its copy, which is the register meanwhile.
        settings.engine.is_the_folders(&settings.folder)?;
        settings.engine.mark(&settings.folder)?;
        let writer = Arc::new(Turns::new(writer));
        let keeper = base.keep_journal(&writer)?;
        // Of a file it costs little; of a database whoever serves asks for it.
        let journal_full = AtomicBool::new(matches!(settings.engine, Engine::Embedded));
        Ok(Self {
            settings,
            key,
            _keeper: keeper,
            base,
            writer,
            readers: Mutex::default(),
            journal_full,
            groups: AtomicU64::new(0),
        })
    }

    /// Which database it is, for the operator; none for the embedded one in the folder.
    pub fn database(&self) -> Option<String> {
        self.settings.engine.database()
    }

    /// Empties the database's journal, so that what was destroyed does not live on in it. On a connection of its own, and
    /// without waiting for anybody: false where a reader is in the way, and it is to be tried again.
    pub fn forget_in_journal(&self) -> Result<bool, CopyError> {
        if !self.journal_full.swap(false, Ordering::AcqRel) {
            return Ok(true);
        }
        let emptied = self.base.forget();
        if !matches!(emptied, Ok(true)) {
            self.journal_full.store(true, Ordering::Release);
        }
        emptied
    }

    /// One bounded step of work that nobody waits for; says whether there is more.
    pub fn tidy_step(&self, now: Timestamp) -> Result<bool, CopyError> {
        // What cannot be caught up with keeps nothing else from being tidied.
        let caught_up = self.catch_up_step(None, now);
        Ok(self.clear_retired()? || self.shrink_step()? || caught_up?)
    }

    /// For whoever serves: who had the database open before may have died between destroying something and emptying the
    /// journal. A command would do it for nothing each time.
    pub fn doubt_journal(&self) {
        self.destroyed();
    }

    fn destroyed(&self) {
        self.journal_full.store(true, Ordering::Release);
    }

    /// For a process that ends: the log's head is noted, the journal emptied as far as nobody is in the way.
    pub fn after_work(&self) -> Result<(), CopyError> {
        self.note_head()?;
        self.forget_in_journal().map(drop)
    }

    /// For feed, post and housework.
    fn writer(&self) -> Turn<'_, Session> {
        self.writer.take(Lane::Rest)
    }

    /// For what somebody waits for.
    fn answering(&self) -> Turn<'_, Session> {
        self.writer.take(Lane::Question)
    }

    fn urgent_writer(&self) -> Turn<'_, Session> {
        self.writer.take(Lane::Urgent)
    }

    /// The day on which an instant lies, in the register's time zone.
    pub fn day_of(&self, at: Timestamp) -> jiff::civil::Date {
        at.to_zoned(self.settings.zone.clone()).date()
    }

    fn read<T>(&self, question: impl FnOnce(&Work<'_>) -> Result<T, CopyError>) -> Result<T, CopyError> {
        let _turn = self.base.turn()?;
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut session = match idle {
            Some(session) => session,
            None => self.base.reader()?,
        };
        let answer = question(&session.look()?);
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < READERS_MAX {
            readers.push(session);
        }
        answer
    }

    /// Whether the database takes a change at present; nothing is changed.
    pub fn check_writing(&self) -> Result<(), CopyError> {
        self.answering().begin().map(drop)
    }

    /// One small change in a transaction of its own.
    fn write<T>(&self, change: impl FnOnce(&Work<'_>) -> Result<T, CopyError>) -> Result<T, CopyError> {
        let mut session = self.writer();
        let work = session.begin()?;
        let answer = change(&work)?;
        work.commit()?;
        Ok(answer)
    }
}

/// One copy as its row says.
#[derive(Debug, Clone, Copy)]
struct CopyRow {
    id: i64,
    ags: Ags,
    generation: u64,
    sequence: u64,
    as_of: Timestamp,
}

impl CopyRow {
    /// A picture of tomorrow is none: nobody knows how old it is.
    fn is_stale(&self, now: Timestamp, after: Duration) -> bool {
        let ahead = now.checked_add(CLOCKS_APART_MAX).is_ok_and(|latest| self.as_of > latest);
        ahead || self.as_of.checked_add(after).is_ok_and(|until| until < now)
    }
}

fn copy_of(work: &Work<'_>, ags: Ags, state: i64) -> Result<Option<CopyRow>, CopyError> {
    let mut rows = copies_where(work, "ags = ?1 AND state = ?2", params![ags.to_string(), state])?;
    Ok(rows.pop())
}

fn copies_where(work: &Work<'_>, condition: &str, values: &[Value<'_>]) -> Result<Vec<CopyRow>, CopyError> {
    let sql = format!("SELECT id, ags, generation, sequence, as_of FROM copy WHERE {condition} ORDER BY ags");
    work.all(&sql, values, |row| {
        Ok(CopyRow {
            id: row.get(0)?,
            ags: Ags::parse(row.get(1)?).map_err(|error| CopyError::Corrupt(error.to_string()))?,
            generation: uint(row.get(2)?),
            sequence: uint(row.get(3)?),
            as_of: instant(row.get(4)?),
        })
    })
}

fn person_row(work: &Work<'_>, copy: i64, mark: &str) -> Result<Option<(i64, Vec<u8>)>, CopyError> {
    let find = "SELECT id, record FROM person WHERE copy = ?1 AND mark = ?2";
    work.one(find, params![copy, mark], |row| Ok((row.get(0)?, row.get(1)?)))
}

fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

fn instant(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
}

fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn uint(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
