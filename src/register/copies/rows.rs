//! Rows whose time is over, and the room that they leave.
//!
//! What a row is kept for ends at some time: a mark of an answer tells for a year that there was one, a message's row that
//! it came before, a closed case and a spent feature what the log of looks says for as long (section 40(4) BMG), a paid
//! order and the meter what the books say (section 147(3) AO: ten years from the end of the year). Of the log itself the
//! chain stays, without content. The file gives the room back in steps; one that was made before version 9 does once it
//! was compacted.

use jiff::{Timestamp, ToSpan};

use super::base::{Work, params};
use super::{Copies, CopyError, micros};

/// Rows of one transaction.
const ROWS_MAX: i64 = 1000;

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
           AND {content.state} IN ('failed', 'cancelled', 'expired', 'refused')",
        FAILED_ORDER_DAYS,
    ),
    (
        "payment",
        "uuid",
        "created_at <= ?1 AND attention = 0 AND next_at IS NULL
           AND {content.cents} = '0'",
        YEAR_DAYS,
    ),
    ("payment", "uuid", "created_at <= ?1 AND attention = 0 AND next_at IS NULL", BOOKS_DAYS),
    ("meter", "look", "at <= ?1", BOOKS_DAYS),
];

/// Each engine has its own words for a field of a payment.
fn with_fields(work: &Work<'_>, over: &str) -> String {
    ["state", "cents"].iter().fold(over.to_owned(), |over, field| {
        over.replace(&format!("{{content.{field}}}"), &work.json_text("content", field))
    })
}

impl Copies {
    /// Deletes rows whose time is over; says how many there were. `go_on` is asked between two steps.
    pub fn delete_old_rows(&self, now: Timestamp, go_on: &dyn Fn() -> bool) -> Result<u64, CopyError> {
        let mut deleted = 0;
        for (table, key, over, days) in RULES {
            let youngest = now.checked_sub((24 * days).hours()).unwrap_or(Timestamp::MIN);
            loop {
                let mut session = self.writer();
                let work = session.begin()?;
                let over = with_fields(&work, over);
                let gone = match *table {
                    "payment" => delete_orders(&work, &over, micros(youngest))?,
                    _ => {
                        let sql = format!(
                            "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {over} LIMIT ?2)"
                        );
                        work.run(&sql, params![micros(youngest), ROWS_MAX])?
                    }
                };
                work.commit()?;
                deleted += gone;
                if gone < ROWS_MAX as u64 {
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
        self.writer().shrink_step()
    }

    /// Writes the whole file anew, without free pages, so that it shrinks by itself from then on. Nobody else writes
    /// meanwhile, and as much room as the file has is needed beside it.
    pub fn compact(&self) -> Result<(), CopyError> {
        self.writer().compact()?;
        self.destroyed();
        Ok(())
    }
}

/// Orders with their questions, as many as one transaction takes; how many rows went. No question outlives its order, so
/// that nobody has to look for such.
fn delete_orders(work: &Work<'_>, over: &str, youngest: i64) -> Result<u64, CopyError> {
    let sql = format!("SELECT uuid FROM payment WHERE {over} LIMIT ?2");
    let orders: Vec<String> = work.all(&sql, params![youngest, ROWS_MAX], |row| row.get(0))?;
    let mut gone = 0;
    for order in orders {
        for sql in ["DELETE FROM payment_question WHERE payment = ?1", "DELETE FROM payment WHERE uuid = ?1"]
        {
            gone += work.run(sql, params![order])?;
        }
        if gone >= ROWS_MAX as u64 {
            break;
        }
    }
    Ok(gone)
}
