//! Rows whose time is over, and the room that they leave.
//!
//! What a row is kept for ends at some time: a mark of an answer tells for a year that there was one, a message's row that
//! it came before, a closed case and a spent feature what the log of looks says for as long (section 40(4) BMG), a paid
//! order and the meter what the books say (section 147(3) AO: ten years from the end of the year). Of the log itself the
//! chain stays, without content. The file gives the room back in steps; one that was made before version 9 does once it
//! was compacted.

use jiff::{Timestamp, ToSpan};
use rusqlite::{Transaction, TransactionBehavior, params};

use super::{Copies, CopyError, micros};

/// Rows of one transaction.
const ROWS_MAX: i64 = 1000;
/// Free pages that stay in the file, for what comes next; and those that one step gives back. 4 KiB each.
const FREE_PAGES_KEPT: i64 = 512;
const FREE_PAGES_STEP: i64 = 256;

const YEAR_DAYS: i64 = 366;
/// An order that came to nothing.
const FAILED_ORDER_DAYS: i64 = 90;
/// Ten years, from the end of a year that may have begun just then.
const BOOKS_DAYS: i64 = 11 * 366;

/// Table, its key, what is over (`?1` is the youngest instant that is), and after how many days.
const RULES: &[(&str, &str, &str, i64)] = &[
    ("outgoing", "id", "sealed IS NULL AND expires_at <= ?1", YEAR_DAYS),
    (
        "message",
        "author, uuid",
        "taken_at <= ?1 AND NOT EXISTS (SELECT 1 FROM outgoing
           WHERE outgoing.author = message.author AND outgoing.uuid = message.uuid)",
        YEAR_DAYS,
    ),
    ("duty", "number", "done_at <= ?1", YEAR_DAYS),
    ("feature", "feature", "expires_at <= ?1", YEAR_DAYS),
    ("wish", "number", "expires_at <= ?1", YEAR_DAYS),
    ("move_case", "uuid", "answered_at <= ?1", YEAR_DAYS),
    (
        "payment",
        "uuid",
        "created_at <= ?1 AND attention = 0 AND next_at IS NULL
           AND json_extract(CAST(content AS TEXT), '$.state') IN ('failed', 'cancelled', 'expired', 'refused')",
        FAILED_ORDER_DAYS,
    ),
    (
        "payment",
        "uuid",
        "created_at <= ?1 AND attention = 0 AND next_at IS NULL
           AND json_extract(CAST(content AS TEXT), '$.cents') = 0",
        YEAR_DAYS,
    ),
    ("payment", "uuid", "created_at <= ?1 AND attention = 0 AND next_at IS NULL", BOOKS_DAYS),
    ("meter", "look", "at <= ?1", BOOKS_DAYS),
];

impl Copies {
    /// Deletes rows whose time is over; says how many there were. `go_on` is asked between two steps.
    pub fn delete_old_rows(&self, now: Timestamp, go_on: &dyn Fn() -> bool) -> Result<u64, CopyError> {
        let mut deleted = 0;
        for (table, key, over, days) in RULES {
            let youngest = now.checked_sub((24 * days).hours()).unwrap_or(Timestamp::MIN);
            let sql = format!(
                "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {over} LIMIT ?2)"
            );
            loop {
                let mut connection = self.writer();
                let work = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let gone = match *table {
                    "payment" => delete_orders(&work, over, micros(youngest))?,
                    _ => work.prepare_cached(&sql)?.execute(params![micros(youngest), ROWS_MAX])? as i64,
                };
                work.commit()?;
                deleted += gone as u64;
                if gone < ROWS_MAX {
                    break;
                }
                if !go_on() {
                    return Ok(deleted);
                }
            }
        }
        if deleted > 0 {
            self.destroyed();
        }
        Ok(deleted)
    }

    /// Gives a bounded part of the file's free pages back; says whether there is more.
    pub(super) fn shrink_step(&self) -> Result<bool, CopyError> {
        let connection = self.writer();
        let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        const INCREMENTAL: i64 = 2;
        // Reads the file, so that the next word is about the file as it is.
        let spare = number("PRAGMA freelist_count")? - FREE_PAGES_KEPT;
        if spare <= 0 || number("PRAGMA auto_vacuum")? != INCREMENTAL {
            return Ok(false);
        }
        let mut step =
            connection.prepare(&format!("PRAGMA incremental_vacuum({})", spare.min(FREE_PAGES_STEP)))?;
        let mut pages = step.query([])?;
        while pages.next()?.is_some() {}
        Ok(spare > FREE_PAGES_STEP)
    }

    /// Writes the whole file anew, without free pages, so that it shrinks by itself from then on. Nobody else writes
    /// meanwhile, and as much room as the file has is needed beside it.
    pub fn compact(&self) -> Result<(), CopyError> {
        self.writer().execute_batch("PRAGMA auto_vacuum = INCREMENTAL; VACUUM;")?;
        self.destroyed();
        Ok(())
    }
}

/// Orders with their questions, as many as one transaction takes; how many rows went. No question outlives its order, so
/// that nobody has to look for such.
fn delete_orders(work: &Transaction<'_>, over: &str, youngest: i64) -> Result<i64, CopyError> {
    let sql = format!("SELECT uuid FROM payment WHERE {over} LIMIT ?2");
    let orders: Vec<String> = work
        .prepare_cached(&sql)?
        .query_map(params![youngest, ROWS_MAX], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut gone = 0;
    for order in orders {
        for sql in ["DELETE FROM payment_question WHERE payment = ?1", "DELETE FROM payment WHERE uuid = ?1"]
        {
            gone += work.prepare_cached(sql)?.execute(params![order])? as i64;
        }
        if gone >= ROWS_MAX {
            break;
        }
    }
    Ok(gone)
}
