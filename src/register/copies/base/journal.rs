//! The embedded engine's journal, brought into the database beside whoever writes.
//!
//! SQLite by itself lets the commit that fills a thousand pages of the journal copy them all, while everybody waits. Here a
//! thread of its own does: beside everybody, then once more what came during that, and last, for the few pages that are left,
//! with the turn to write, so that the next writer begins the journal anew and it stays small.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;

use super::{Session, embedded};
use crate::register::copies::CopyError;
use crate::register::copies::turns::{Lane, Turns};

/// Pages of 4 KiB in the journal at which it is copied.
const PAGES: i32 = 2000;
/// The same where the thread does not get at it: then the commit does it after all.
const PAGES_MAX: i32 = 32_000;
/// Between two passes, where a reader keeps the journal from beginning anew.
const PAUSE: Duration = Duration::from_millis(100);

pub struct Keeper {
    work: Arc<Work>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Work {
    pages: AtomicI32,
    ends: AtomicBool,
}

impl Keeper {
    /// For the database in this folder, whose writer is there; nothing for a writer to another engine.
    pub fn start(folder: PathBuf, writer: &Arc<Turns<Session>>) -> Result<Option<Self>, CopyError> {
        let mut turn = writer.take(Lane::Urgent);
        let Session::Embedded(connection) = &mut *turn else { return Ok(None) };
        let work = Arc::new(Work::default());
        let own = work.clone();
        let thread = thread::Builder::new().name("register journal".to_owned()).spawn({
            let writer = writer.clone();
            move || own.run(&folder, &writer)
        })?;
        let (noted, woken) = (work.clone(), thread.thread().clone());
        connection.wal_hook(Some(move |wal: &mut rusqlite::hooks::Wal, pages| {
            noted.pages.store(pages, Ordering::Release);
            if pages >= PAGES_MAX {
                // What fails here is tried again at the next commit; this one is durable in the journal.
                let _ = wal.checkpoint();
            } else if pages >= PAGES {
                woken.unpark();
            }
            Ok(())
        }))?;
        Ok(Some(Self { work, thread: Some(thread) }))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.work.ends.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Work {
    fn run(&self, folder: &std::path::Path, writer: &Turns<Session>) {
        let mut own: Option<Connection> = None;
        while !self.ends.load(Ordering::Acquire) {
            if self.pages.load(Ordering::Acquire) < PAGES {
                thread::park();
                continue;
            }
            // A failure costs no more than a longer journal, and is tried again.
            if let Ok(connection) = own.take().map_or_else(|| embedded::open_impatient(folder), Ok) {
                let passed = pass(&connection).and_then(|()| pass(&connection)).and_then(|()| {
                    let _turn = writer.take(Lane::Rest);
                    pass(&connection)?;
                    self.pages.store(0, Ordering::Release);
                    Ok(())
                });
                own = passed.is_ok().then_some(connection);
            }
            thread::park_timeout(PAUSE);
        }
    }
}

fn pass(connection: &Connection) -> Result<(), CopyError> {
    Ok(connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::register::copies::{Copies, LoadReceipt, LogKey, Settings};
    use crate::register::person::Ags;
    use crate::register::synth::person;

    #[test]
    fn the_journal_begins_anew_beside_the_writer() {
        let folder = tempfile::tempdir().expect("a folder");
        let copies = Copies::open(Settings::new(folder.path()), LogKey::new(&[1; 32])).expect("copies");
        let home = Ags::parse("10041100").expect("a key");
        let pages = || copies._keeper.as_ref().expect("embedded").work.pages.load(Ordering::Acquire);
        let begin = |generation| copies.begin_load(home, generation, 0, Timestamp::now()).expect("begun");
        begin(1);
        let (mut most, mut number) = (0, 0);
        for round in 2..3000 {
            if most < PAGES {
                let some = number..number + 200;
                number = some.end;
                let records: Vec<Vec<u8>> = some.map(|one| person(1, home, one).to_bytes()).collect();
                let mut receipt = LoadReceipt::default();
                copies.load(home, records.iter().map(Vec::as_slice), &mut receipt).expect("loaded");
            } else {
                begin(round);
                thread::sleep(Duration::from_millis(10));
            }
            if pages() < most {
                begin(round + 1);
                assert!(pages() < PAGES, "the next writer begins anew: {} after {most}", pages());
                return;
            }
            most = pages();
        }
        panic!("{most} pages are still in the journal");
    }
}
