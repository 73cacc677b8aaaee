//! Submissions that were announced and not yet made: on disk, so that a restart loses no upload. Where several nodes share
//! a store, they lie in that ([`super::shared`]); what an older program left here is finished here.
//!
//! Each has a folder of its own, `<account>/<submission>`; what it holds stands in [`super::draft`]. Accounts are named by a
//! digest; submissions and attachments are UUIDs that were parsed before. Everything is bounded per account and client, by
//! age and by the disk's reserve. Where a bound is reached, what nothing was uploaded for gives way, the oldest first and of
//! the client that has begun most: announcing costs nothing, and must shut nobody out. Fields of the files are only ever
//! added.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::Context;
use jiff::Timestamp;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use uuid::Uuid;

use super::claim::{Claim, Kept, Ledger};
use super::draft::{self, ANNOUNCED, Announced, Draft, listed, read, synced};
use super::upload::Judged;
use crate::domain::account::AccountName;
use crate::domain::content::Digest;

/// Of one account at a time.
pub const PER_ACCOUNT_MAX: usize = 4096;
/// Of one of its clients.
pub const PER_CLIENT_MAX: usize = 2048;
/// Whoever announces uploads or submits within this time, or may have to announce again.
pub const GIVES_WAY_SECONDS: i64 = 60;
/// So many give way together: to look for them takes as long as for one.
pub const GIVE_WAY_AT_ONCE: usize = 64;
/// Room is kept ahead in pieces of this size where nobody says how much comes; less than one is not kept ahead.
pub const AHEAD_BYTES: u64 = 4 * 1024 * 1024;
/// Whether one more may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Free,
    /// So many gave way.
    Made(usize),
    /// So many are kept, and none can give way.
    None(usize),
}

type Lock = Arc<tokio::sync::Mutex<()>>;

/// Files of which it is remembered what they were digested to.
const SEEN_MAX: usize = 4096;
/// Uploads of which it is remembered how far they were judged; each may hold a header of [`HEADER_CHARS_MAX`].
///
/// [`HEADER_CHARS_MAX`]: crate::pki::jose::HEADER_CHARS_MAX
const BEGUN_MAX: usize = 512;

pub struct Drafts {
    folder: PathBuf,
    reserve_bytes: u64,
    busy: Mutex<BTreeMap<PathBuf, Lock>>,
    ledger: Arc<Ledger>,
    /// SHA-256 that has taken so many bytes of a file of attachments from its beginning. It saves reading, nothing depends
    /// on it.
    seen: Mutex<BTreeMap<PathBuf, (u64, Context)>>,
    /// Uploads that were set aside, and when, counted. It saves reading them again with each step.
    begun: Mutex<BTreeMap<PathBuf, (u64, Judged)>>,
    /// Accounts whose folders are known to be on disk.
    lasting: Mutex<BTreeSet<PathBuf>>,
}

impl Drafts {
    pub fn new(folder: &Path, reserve_bytes: u64) -> Self {
        Self {
            folder: folder.to_owned(),
            reserve_bytes,
            busy: Mutex::default(),
            ledger: Arc::default(),
            seen: Mutex::default(),
            begun: Mutex::default(),
            lasting: Mutex::default(),
        }
    }

    pub fn draft(&self, account: &AccountName, submission: Uuid) -> Draft {
        let account = Digest::of(account.as_str().as_bytes()).to_string();
        Draft::at(self.folder.join(account).join(submission.hyphenated().to_string()))
    }

    fn lock_of(&self, place: &Path) -> Lock {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.retain(|_, lock| Arc::strong_count(lock) > 1);
        busy.entry(place.to_owned()).or_default().clone()
    }

    /// Waits until nobody else is at work at this place. Others are not held up.
    pub async fn hold(&self, place: &Path) -> tokio::sync::OwnedMutexGuard<()> {
        self.lock_of(place).lock_owned().await
    }

    /// The same for a thread that may wait.
    pub fn hold_blocking(&self, place: &Path) -> tokio::sync::OwnedMutexGuard<()> {
        self.lock_of(place).blocking_lock_owned()
    }

    /// The same, or nothing if somebody is at work there.
    pub fn try_hold(&self, place: &Path) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        self.lock_of(place).try_lock_owned().ok()
    }

    /// Whether so many bytes more leave the disk's reserve alone.
    pub fn has_room(&self, bytes: u64) -> io::Result<bool> {
        let disk = match rustix::fs::statvfs(&self.folder) {
            Err(Errno::NOENT) => {
                fs::create_dir_all(&self.folder)?;
                rustix::fs::statvfs(&self.folder)?
            }
            known => known?,
        };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        Ok(free >= self.reserve_bytes.saturating_add(bytes))
    }

    /// Keeps room for so many bytes more at the end of a file, so that others who look see that it is taken. `StorageFull`
    /// where that would eat into the reserve.
    pub fn keep(&self, file: impl AsFd, at: u64, bytes: u64) -> io::Result<()> {
        if !self.has_room(bytes)? {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if bytes < AHEAD_BYTES {
            return Ok(());
        }
        match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, at, bytes) {
            // Some file systems keep nothing ahead; what was free a moment ago must do.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// For an upload that goes on behind `bytes`.
    pub async fn claim(
        &self,
        draft: &Draft,
        attachment: Uuid,
        client: Option<&str>,
        bytes: u64,
    ) -> io::Result<Claim> {
        let account = draft.place().parent().unwrap_or(&self.folder).to_owned();
        if !self.ledger.knows(&account) {
            let ledger = self.ledger.clone();
            on_disk(move || kept(&account).map(|files| ledger.learn(account, files))).await?;
        }
        Ok(self.ledger.claim(draft.whole(attachment), client, bytes))
    }

    /// On disk when this returns.
    pub fn begin(&self, draft: &Draft, announced: &Announced) -> io::Result<()> {
        draft.begin(announced)?;
        let account = draft.place().parent().unwrap_or(&self.folder);
        let lasting = || self.lasting.lock().unwrap_or_else(PoisonError::into_inner);
        if !lasting().contains(account) {
            // The account's name is in the folder of all, and that one's in its parent's.
            account.ancestors().skip(1).take(2).try_for_each(synced)?;
            lasting().insert(account.to_owned());
        }
        Ok(())
    }

    fn memory(&self) -> MutexGuard<'_, BTreeMap<PathBuf, (u64, Context)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many bytes of the file were read, and are what was uploaded. Where too many are remembered, any other one is not.
    pub fn remember(&self, file: &Path, length: u64, seen: Context) {
        let mut memory = self.memory();
        if memory.len() >= SEEN_MAX {
            memory.pop_first();
        }
        memory.insert(file.to_owned(), (length, seen));
    }

    /// What has taken just so many bytes of the file, if this process has read them.
    pub fn seen(&self, file: &Path, length: u64) -> Option<Context> {
        let memory = self.memory();
        let (read, seen) = memory.get(file)?;
        (*read == length).then(|| seen.clone())
    }

    fn begun(&self) -> MutexGuard<'_, BTreeMap<PathBuf, (u64, Judged)>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An upload that lies in this file so far. Where too many are remembered, the one is not that was set aside first.
    pub fn remember_begun(&self, file: PathBuf, judged: Judged) {
        let mut begun = self.begun();
        let last = begun.values().map(|(at, _)| *at).max().unwrap_or(0);
        begun.insert(file, (last + 1, judged));
        if begun.len() > BEGUN_MAX
            && let Some(first) = begun.iter().min_by_key(|(_, (at, _))| *at).map(|(file, _)| file.clone())
        {
            begun.remove(&first);
        }
    }

    /// What is known of the upload in this file, if it is just so long; it is known to nobody else any more.
    pub fn take_begun(&self, file: &Path, length: u64) -> Option<Judged> {
        let (_, judged) = self.begun().remove(file)?;
        (judged.length() == length).then_some(judged)
    }

    /// A draft that was submitted, is over or gives way.
    pub fn forget(&self, place: &Path) -> io::Result<()> {
        forget(place)?;
        self.count_no_more(place);
        self.memory().retain(|path, _| !path.starts_with(place));
        self.begun().retain(|path, _| !path.starts_with(place));
        Ok(())
    }

    /// An attachment that is whole and of no use to anybody. Another one of the same length may come where it lay.
    pub fn let_go(&self, draft: &Draft, attachment: Uuid) -> io::Result<()> {
        let gone = draft.let_go(attachment);
        self.memory().retain(|path, _| !path.starts_with(draft.place()));
        gone
    }

    /// Its bytes are nobody's any more: it is being forgotten.
    pub fn count_no_more(&self, place: &Path) {
        self.ledger.forget(place);
    }

    /// A place for one more of this client's.
    pub fn place(&self, draft: &Draft, client: Option<&str>, now: Timestamp) -> io::Result<Place> {
        let all = listed(draft.place().parent().unwrap_or(&self.folder))?;
        if all.len() < PER_CLIENT_MAX {
            return Ok(Place::Free);
        }
        let count = all.len();
        let mut begun: BTreeMap<Option<String>, Vec<(Timestamp, PathBuf)>> = BTreeMap::new();
        for place in all {
            // What cannot be read is swept.
            if let Ok(Some(announced)) = read::<Announced>(&place.join(ANNOUNCED)) {
                begun.entry(announced.client).or_default().push((announced.at, place));
            }
        }
        let own = begun.get(&client.map(str::to_owned)).map_or(0, Vec::len);
        let (crowd, max) = match own >= PER_CLIENT_MAX {
            true => (begun.remove(&client.map(str::to_owned)), PER_CLIENT_MAX),
            false if count < PER_ACCOUNT_MAX => return Ok(Place::Free),
            false => (begun.into_values().max_by_key(Vec::len), PER_ACCOUNT_MAX),
        };
        let mut crowd = crowd.unwrap_or_default();
        crowd.retain(|(at, _)| now.as_second().saturating_sub(at.as_second()) >= GIVES_WAY_SECONDS);
        crowd.sort();
        let mut made = 0;
        for (_, place) in crowd {
            made += usize::from(self.give_way(&place)?);
            if made == GIVE_WAY_AT_ONCE {
                break;
            }
        }
        Ok(if made == 0 { Place::None(max) } else { Place::Made(made) })
    }

    /// Forgets what nothing was uploaded for, unless somebody is at work there.
    fn give_way(&self, place: &Path) -> io::Result<bool> {
        let is_empty = || Ok::<_, io::Error>(listed(place)?.iter().all(|one| one.ends_with(ANNOUNCED)));
        if !is_empty()? || self.is_busy_below(place) {
            return Ok(false);
        }
        let Some(_busy) = self.try_hold(place) else { return Ok(false) };
        if !is_empty()? {
            return Ok(false);
        }
        self.forget(place)?;
        Ok(true)
    }

    fn is_busy_below(&self, place: &Path) -> bool {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.iter().any(|(at, lock)| at.starts_with(place) && Arc::strong_count(lock) > 1)
    }

    /// Forgets what is over; says how many.
    pub async fn sweep(self: &Arc<Self>, now: Timestamp) -> io::Result<u64> {
        let folder = self.folder.clone();
        let over = on_disk(move || over(&folder, now)).await?;
        let mut swept = 0;
        for place in over {
            let _busy = self.hold(&place).await;
            let own = self.clone();
            on_disk(move || own.forget(&place)).await?;
            swept += 1;
        }
        Ok(swept)
    }
}

fn over(folder: &Path, now: Timestamp) -> io::Result<Vec<PathBuf>> {
    let mut over = Vec::new();
    for account in listed(folder)? {
        for place in listed(&account)? {
            let until = match read::<Announced>(&place.join(ANNOUNCED)) {
                Ok(Some(announced)) => announced.until,
                // Without its beginning a crash left it; what begins this moment is not yet old for the file system.
                Ok(None) | Err(_) => {
                    let changed = match fs::metadata(&place) {
                        // Submitted, and forgotten, since it was listed.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        other => Timestamp::try_from(other?.modified()?).unwrap_or(Timestamp::MIN),
                    };
                    changed.checked_add(std::time::Duration::from_secs(86_400)).unwrap_or(changed)
                }
            };
            if until <= now {
                over.push(place);
            }
        }
    }
    Ok(over)
}

/// Attachments of an account's drafts, whole or not, and how much each keeps.
fn kept(account: &Path) -> io::Result<BTreeMap<PathBuf, Kept>> {
    let mut files = BTreeMap::new();
    for place in listed(account)? {
        // What cannot be read is swept; until then it counts as nobody's.
        let announced = read::<Announced>(&place.join(ANNOUNCED)).ok().flatten();
        let client = announced.and_then(|announced| announced.client);
        let kept = draft::kept(&place)?.into_iter();
        files.extend(kept.map(|(path, bytes)| (path, Kept { client: client.clone(), bytes })));
    }
    Ok(files)
}

/// Runs what may wait for the disk where it blocks nobody.
pub async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(io::Error::other("the process is stopping")),
    }
}

fn forget(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_an_upload_is_for_just_that_one_and_once() {
        let drafts = Drafts::new(Path::new("drafts"), 0);
        let file = |n: usize| PathBuf::from(format!("drafts/a/{n:04}/part"));
        let known = |n: usize, length: u64| drafts.take_begun(&file(n), length).map(|one| one.length());
        drafts.remember_begun(file(1), Judged::of_length(7));
        assert_eq!(known(2, 7), None);
        assert_eq!((known(1, 7), known(1, 7)), (Some(7), None), "whoever goes on has it alone");
        drafts.remember_begun(file(1), Judged::of_length(7));
        assert_eq!((known(1, 8), known(1, 7)), (None, None), "of other bytes nothing is known");

        // The one that was set aside first goes, whatever its name.
        for n in (0..=BEGUN_MAX).rev() {
            drafts.remember_begun(file(n), Judged::of_length(7));
        }
        assert_eq!(known(BEGUN_MAX, 7), None);
        assert_eq!((known(0, 7), known(BEGUN_MAX - 1, 7)), (Some(7), Some(7)));
        drafts.forget(Path::new("drafts/a/0001")).expect("nothing is there");
        assert_eq!((known(1, 7), known(2, 7)), (None, Some(7)));
    }
}
