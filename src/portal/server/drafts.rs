//! Submissions that were announced and not yet made: on disk, so that a restart loses no upload. Where several nodes share
//! a store, they lie in that ([`super::shared`]); what an older program left here is finished here.
//!
//! ```text
//! <account>/<submission>/announced.json
//!                        <attachment>.part    while it is uploaded, also by a request that broke off
//!                        <attachment>         whole, on disk, and
//!                        <attachment>.json    what is known of it
//! ```
//! Accounts are named by a digest; submissions and attachments are UUIDs that were parsed before. Everything is bounded
//! per account and client, by age and by the disk's reserve. Where a bound is reached, what nothing was uploaded for gives
//! way, the oldest first and of the client that has begun most: announcing costs nothing, and must shut nobody out. Fields
//! of the files are only ever added.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::Context;
use jiff::Timestamp;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::claim::{Claim, Kept, Ledger};
use crate::domain::account::AccountName;
use crate::domain::content::Digest;
use crate::domain::destination::{DestinationId, ServiceKey};
use crate::domain::message_id::MessageId;

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
const ANNOUNCED: &str = "announced.json";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    pub version: u16,
    pub at: Timestamp,
    pub until: Timestamp,
    pub message: MessageId,
    pub destination: DestinationId,
    pub service: ServiceKey,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    pub attachments: Vec<Uuid>,
    /// The case that it continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<Uuid>,
    /// Which of the account's clients announced it; absent for one that showed a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// Whether one more may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Free,
    /// So many gave way.
    Made(usize),
    /// So many are kept, and none can give way.
    None(usize),
}

/// An attachment that is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uploaded {
    pub length: u64,
    pub digest: Digest,
    pub tag: String,
}

type Lock = Arc<tokio::sync::Mutex<()>>;

/// Attachments of which it is remembered what they were digested to.
const SEEN_MAX: usize = 4096;

pub struct Drafts {
    folder: PathBuf,
    reserve_bytes: u64,
    busy: Mutex<BTreeMap<PathBuf, Lock>>,
    ledger: Arc<Ledger>,
    /// SHA-256 that has taken the whole attachment, and what it says. It saves reading, nothing depends on it.
    seen: Mutex<BTreeMap<PathBuf, (Digest, Context)>>,
}

#[derive(Debug, Clone)]
pub struct Draft(PathBuf);

impl Drafts {
    pub fn new(folder: &Path, reserve_bytes: u64) -> Self {
        Self {
            folder: folder.to_owned(),
            reserve_bytes,
            busy: Mutex::default(),
            ledger: Arc::default(),
            seen: Mutex::default(),
        }
    }

    pub fn draft(&self, account: &AccountName, submission: Uuid) -> Draft {
        let account = Digest::of(account.as_str().as_bytes()).to_string();
        Draft(self.folder.join(account).join(submission.hyphenated().to_string()))
    }

    /// Waits until nobody else is at work at this place. Others are not held up.
    pub async fn hold(&self, place: &Path) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            busy.retain(|_, lock| Arc::strong_count(lock) > 1);
            busy.entry(place.to_owned()).or_default().clone()
        };
        lock.lock_owned().await
    }

    /// The same, or nothing if somebody is at work there.
    pub fn try_hold(&self, place: &Path) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        let lock = {
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            busy.retain(|_, lock| Arc::strong_count(lock) > 1);
            busy.entry(place.to_owned()).or_default().clone()
        };
        lock.try_lock_owned().ok()
    }

    /// Whether so many bytes more leave the disk's reserve alone.
    pub fn has_room(&self, bytes: u64) -> io::Result<bool> {
        fs::create_dir_all(&self.folder)?;
        let disk = rustix::fs::statvfs(&self.folder)?;
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
        let account = draft.0.parent().unwrap_or(&self.folder).to_owned();
        if !self.ledger.knows(&account) {
            let ledger = self.ledger.clone();
            on_disk(move || kept(&account).map(|files| ledger.learn(account, files))).await?;
        }
        Ok(self.ledger.claim(draft.whole(attachment), draft.part(attachment), client, bytes))
    }

    fn memory(&self) -> MutexGuard<'_, BTreeMap<PathBuf, (Digest, Context)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The attachment was read as a whole. Where too many are remembered, any other one is not.
    pub fn remember(&self, draft: &Draft, attachment: Uuid, digest: Digest, seen: Context) {
        let mut memory = self.memory();
        if memory.len() >= SEEN_MAX {
            memory.pop_first();
        }
        memory.insert(draft.whole(attachment), (digest, seen));
    }

    /// What has taken the attachment, if just these bytes were read by this process.
    pub fn seen(&self, draft: &Draft, attachment: Uuid, digest: &Digest) -> Option<Context> {
        let memory = self.memory();
        let (read, seen) = memory.get(&draft.whole(attachment))?;
        (read == digest).then(|| seen.clone())
    }

    /// A draft that was submitted, is over or gives way.
    pub fn forget(&self, place: &Path) -> io::Result<()> {
        forget(place)?;
        self.ledger.forget(place);
        self.memory().retain(|path, _| !path.starts_with(place));
        Ok(())
    }

    /// A place for one more of this client's.
    pub fn place(&self, draft: &Draft, client: Option<&str>, now: Timestamp) -> io::Result<Place> {
        let all = folders(draft.0.parent().unwrap_or(&self.folder))?;
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
        let is_empty = || Ok::<_, io::Error>(folders(place)?.iter().all(|one| one.ends_with(ANNOUNCED)));
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
    for account in folders(folder)? {
        for place in folders(&account)? {
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

impl Draft {
    pub fn place(&self) -> &Path {
        &self.0
    }

    pub fn begin(&self, announced: &Announced) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        write_json(&self.0, ANNOUNCED, announced)?;
        // The folder's own name is in its parent's, and that one's in its own.
        self.0.ancestors().skip(1).take(2).try_for_each(synced)
    }

    pub fn announced(&self) -> io::Result<Option<Announced>> {
        read(&self.0.join(ANNOUNCED))
    }

    pub fn whole(&self, attachment: Uuid) -> PathBuf {
        self.0.join(attachment.hyphenated().to_string())
    }

    pub fn part(&self, attachment: Uuid) -> PathBuf {
        self.0.join(format!("{}.part", attachment.hyphenated()))
    }

    pub fn uploaded(&self, attachment: Uuid) -> io::Result<Option<Uploaded>> {
        read(&self.0.join(format!("{}.json", attachment.hyphenated())))
    }

    /// The part has been written to `file` as a whole: it becomes the attachment.
    pub fn complete(&self, attachment: Uuid, uploaded: &Uploaded, file: &File) -> io::Result<()> {
        let name = format!("{}.json", attachment.hyphenated());
        // Both wait for the same turn of the disk; names change when both are there.
        let unfinished = std::thread::scope(|scope| {
            let synced = scope.spawn(|| file.sync_all());
            let unfinished = write_unfinished(&self.0, &name, uploaded);
            let stopping = |_| Err(io::Error::other("a thread ended early"));
            let synced = synced.join().unwrap_or_else(stopping);
            if synced.is_err() {
                // The disk says so once and then calls the same bytes safe: only new ones can be.
                let _ = fs::remove_file(self.part(attachment));
            }
            synced.and(unfinished)
        })?;
        fs::rename(self.part(attachment), self.whole(attachment))?;
        fs::rename(unfinished, self.0.join(name))?;
        synced(&self.0)
    }
}

/// Attachments of an account's drafts, whole or not, and how much each keeps.
fn kept(account: &Path) -> io::Result<BTreeMap<PathBuf, Kept>> {
    let mut files = BTreeMap::new();
    for place in folders(account)? {
        // What cannot be read is swept; until then it counts as nobody's.
        let announced = read::<Announced>(&place.join(ANNOUNCED)).ok().flatten();
        let client = announced.and_then(|announced| announced.client);
        for path in folders(&place)? {
            if path.extension().is_some_and(|extension| extension == "json" || extension == "new") {
                continue;
            }
            match fs::metadata(&path) {
                // Complete, under another name, or forgotten, since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                file => {
                    let kept = Kept { client: client.clone(), bytes: file?.len() };
                    files.insert(path.with_extension(""), kept);
                }
            }
        }
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

fn folders(of: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(of) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.path())).collect(),
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn synced(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Whole or not at all, and on disk when this returns, with all that was renamed in the folder before.
fn write_json(folder: &Path, name: &str, value: &impl Serialize) -> io::Result<()> {
    let unfinished = write_unfinished(folder, name, value)?;
    fs::rename(&unfinished, folder.join(name))?;
    synced(folder)
}

/// On disk, under a name that nobody reads.
fn write_unfinished(folder: &Path, name: &str, value: &impl Serialize) -> io::Result<PathBuf> {
    let unfinished = folder.join(format!("{name}.new"));
    let mut file = File::create(&unfinished)?;
    let written = serde_json::to_vec(value)
        .map_err(io::Error::other)
        .and_then(|bytes| file.write_all(&bytes))
        .and_then(|()| file.sync_all());
    match written {
        Ok(()) => Ok(unfinished),
        Err(error) => {
            let _ = fs::remove_file(&unfinished);
            Err(error)
        }
    }
}

fn forget(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
