//! Parts of large messages on disk: chunks of uploads until all are there, and answers that are fetched in chunks. Where
//! nodes share a store, only the names and words of this file are used ([`super::unfinished`]).
//!
//! ```text
//! uploads/<account>/<message>/begun.json, 1, 2, …      until the message inside is accepted, then
//!                             begun.json, accepted.json
//! fetches/<account>/<message>.<dialog>/answer, begun.json
//! ```
//! Of a message that is fetched in several dialogs there is an answer for each that began with it, because the slices of
//! two answers do not fit together. One that was forgotten to make room leaves its `begun.json`, so that whoever has
//! slices of it is told to begin again.
//!
//! Names are digests, so that nothing of a stranger's becomes a path. A chunk has its name once it is whole and on disk;
//! whatever a crash leaves besides is written over or swept. Everything here is bounded per account and by age. Fields of
//! the files are only ever added.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::spool::Frozen;
use crate::domain::account::AccountName;
use crate::domain::content::Digest;
use crate::domain::dialog::ConversationId;
use crate::osci::chunk::{Cut, KILOBYTE, Slices};
use crate::osci::client::scratch;
use crate::store::staging::PlaceName;

/// Uploads, or fetches, of one account at a time.
pub const PER_ACCOUNT_MAX: usize = 16;
/// An upload must be complete, and a fetch over, so long after it began.
pub const AGE_MAX: Duration = Duration::from_secs(3 * 86_400);

const UPLOADS: &str = "uploads";
const FETCHES: &str = "fetches";
const BEGUN: &str = "begun.json";
const ACCEPTED: &str = "accepted.json";
const ANSWER: &str = "answer";
/// Stands where an answer was.
const FORGOTTEN: &str = "forgotten";
/// What is being written bears this ending.
const UNFINISHED: &str = ".new";

type Lock = Arc<tokio::sync::Mutex<()>>;

/// The folder of all of them, and who is at work in which.
pub struct Parts {
    folder: PathBuf,
    reserve_bytes: u64,
    busy: Mutex<BTreeMap<PathBuf, Lock>>,
    /// One upload or fetch begins at a time: each counts on what is free, and on what the others will take.
    beginning: Mutex<()>,
    /// Answers that are being written, and the bytes that they may come to.
    writing: Mutex<BTreeMap<PathBuf, u64>>,
}

/// Bytes of the disk that answers which are fetched in chunks may keep; one alone is taken whatever it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswersMax {
    /// Those of one account.
    pub account: u64,
    /// Those of all accounts.
    pub all: u64,
}

/// Disk space that is counted for an answer until it is written.
pub struct Writing {
    parts: Arc<Parts>,
    place: PathBuf,
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.parts.writing.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.place);
    }
}

/// An answer that is kept or written for a fetch.
struct Kept {
    place: PathBuf,
    bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadBegun {
    pub version: u16,
    pub at: Timestamp,
    pub cut: Cut,
}

impl UploadBegun {
    /// Bytes of the disk that it will take: its chunks, and then the message made of them.
    pub fn bytes(&self) -> u64 {
        self.cut.total.saturating_mul(self.cut.kilobytes).saturating_mul(2 * KILOBYTE)
    }
}

/// What was said of a message that was accepted, for a client that did not hear it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    pub version: u16,
    /// Language, code, text.
    pub feedback: Vec<(Option<String>, u16, String)>,
    /// The chunk that this was the answer to; none where a question had the message judged, and in old files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastChunk>,
}

/// The chunk that made an upload whole, to tell it from another under the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastChunk {
    pub number: u64,
    pub sha256: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchBegun {
    pub version: u16,
    pub at: Timestamp,
    pub slices: Slices,
    /// Who has slices of this answer, the last one first; of old files nobody is known.
    #[serde(default)]
    pub dialogs: Vec<InDialog>,
}

/// The slices of an answer that were given in one dialog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InDialog {
    pub conversation: ConversationId,
    pub served: BTreeSet<u64>,
}

/// Dialogs that are remembered with one answer; who goes on in so many is told to begin again in the first of them.
const DIALOGS_MAX: usize = 16;

impl FetchBegun {
    /// What was given in this dialog; nothing where it has none of this answer.
    pub fn served_in(&self, conversation: &ConversationId) -> Option<&BTreeSet<u64>> {
        self.dialogs.iter().find(|known| known.conversation == *conversation).map(|known| &known.served)
    }

    /// Remembers what this dialog has got.
    pub fn serve(&mut self, conversation: &ConversationId, number: u64) {
        let known = self.dialogs.iter().position(|known| known.conversation == *conversation);
        let mut dialog = match known {
            Some(at) => self.dialogs.remove(at),
            None => InDialog { conversation: conversation.clone(), served: BTreeSet::new() },
        };
        dialog.served.insert(number);
        self.dialogs.insert(0, dialog);
        self.dialogs.truncate(DIALOGS_MAX);
    }
}

/// An answer that is sliced, or was.
#[derive(Debug, Clone)]
pub struct Edition {
    pub fetch: Fetch,
    pub begun: FetchBegun,
    /// Whether it is still there.
    pub is_kept: bool,
}

/// Whether there is room for one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    Enough,
    /// The account has as many as it may.
    TooMany,
    /// With it the account would keep so many bytes of the disk, and may keep fewer.
    TooMuch {
        bytes: u64,
        max: u64,
    },
    /// All accounts together keep so many bytes for their fetches, and others are at work on them.
    AllTooMuch {
        max: u64,
    },
    /// The disk has not so much more than its reserve.
    DiskFull,
}

impl Parts {
    pub fn new(folder: &Path, reserve_bytes: u64) -> Self {
        let (busy, beginning, writing) = Default::default();
        Self { folder: folder.to_owned(), reserve_bytes, busy, beginning, writing }
    }

    pub fn upload(&self, account: &AccountName, id: &str) -> Upload {
        Upload(self.place(UPLOADS, account, id))
    }

    pub fn fetches(&self, account: &AccountName, mailbox: &str, id: &str) -> Fetches {
        Fetches(self.place(FETCHES, account, &format!("{mailbox}\n{id}")))
    }

    fn place(&self, kind: &str, account: &AccountName, what: &str) -> PathBuf {
        let name = |text: &str| Digest::of(text.as_bytes()).to_string();
        self.folder.join(kind).join(name(account.as_str())).join(name(what))
    }

    /// Waits until nobody else is at work there. Others are not held up.
    pub async fn hold(&self, place: &Path) -> tokio::sync::OwnedMutexGuard<()> {
        self.lock(place).lock_owned().await
    }

    /// All answers of one message have one lock.
    fn lock(&self, place: &Path) -> Lock {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.retain(|_, lock| Arc::strong_count(lock) > 1);
        busy.entry(place.with_extension("")).or_default().clone()
    }

    /// The same, unless somebody else holds it for longer than this.
    pub async fn hold_within(
        &self,
        place: &Path,
        limit: Duration,
    ) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        tokio::time::timeout(limit, self.hold(place)).await.ok()
    }

    /// Whether `place` may be begun, and hold so many bytes.
    pub fn room(&self, place: &Path, bytes: u64) -> io::Result<Room> {
        fs::create_dir_all(&self.folder)?;
        let disk = rustix::fs::statvfs(&self.folder)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < self.reserve_bytes.saturating_add(bytes) {
            return Ok(Room::DiskFull);
        }
        // What was accepted or forgotten is only remembered.
        let others = folders(place.parent().unwrap_or(&self.folder))?.filter(|other| {
            other != place && !other.join(ACCEPTED).exists() && !other.join(FORGOTTEN).exists()
        });
        Ok(if others.count() < PER_ACCOUNT_MAX { Room::Enough } else { Room::TooMany })
    }

    /// Begins an upload, if there is room for all of it, and its account keeps no more than these bytes with others.
    pub fn begin(&self, upload: &Upload, begun: &UploadBegun, account_bytes_max: u64) -> io::Result<Room> {
        let _beginning = self.beginning.lock().unwrap_or_else(PoisonError::into_inner);
        let account = upload.place().parent().unwrap_or(&self.folder);
        let others = under_way(account, upload.place())?;
        let kept = others.iter().map(|(_, other)| other.bytes()).fold(0, u64::saturating_add);
        let with_it = kept.saturating_add(begun.bytes());
        if !others.is_empty() && with_it > account_bytes_max {
            return Ok(Room::TooMuch { bytes: with_it, max: account_bytes_max });
        }
        // Others may have begun and not yet sent what they said.
        let bytes = begun.bytes().saturating_add(self.promised(upload.place())?);
        let room = self.room(upload.place(), bytes)?;
        if room == Room::Enough {
            upload.begin(begun)?;
        }
        Ok(room)
    }

    /// `StorageFull` where so many bytes more would eat into the disk's reserve.
    pub fn spare(&self, bytes: u64) -> io::Result<()> {
        scratch::room(&self.folder, bytes, self.reserve_bytes)
    }

    /// Bytes that begun uploads will still take, but for the one at `place`.
    fn promised(&self, place: &Path) -> io::Result<u64> {
        let mut promised: u64 = 0;
        for account in folders(&self.folder.join(UPLOADS))? {
            for (other, begun) in under_way(&account, place)? {
                let there = folders(&other)?.filter_map(|file| fs::metadata(file).ok());
                let there = there.map(|file| file.len()).fold(0, u64::saturating_add);
                promised = promised.saturating_add(begun.bytes().saturating_sub(there));
            }
        }
        Ok(promised)
    }

    /// Makes room for an answer of so many bytes: forgets the oldest of the account's other fetches while they are too many
    /// or keep too much, and where all accounts together keep too much the oldest of those that keep most. Who has slices
    /// of them begins again. Nobody's is forgotten while somebody is at work on it. The lock of `fetch` is its caller's.
    pub fn make_room(
        self: &Arc<Self>,
        fetch: &Fetch,
        bytes: u64,
        max: AnswersMax,
    ) -> io::Result<Result<Writing, Room>> {
        let _beginning = self.beginning.lock().unwrap_or_else(PoisonError::into_inner);
        let account = fetch.0.parent().unwrap_or(&fetch.0).to_owned();
        let is_too_much = |kept: &[Kept]| total(kept).saturating_add(bytes) > max.account;
        let mut own = self.kept(&account, fetch)?;
        self.forget_oldest(&mut own, fetch, |kept| kept.len() >= PER_ACCOUNT_MAX || is_too_much(kept))?;
        if own.len() >= PER_ACCOUNT_MAX {
            return Ok(Err(Room::TooMany));
        }
        if is_too_much(&own) && !own.is_empty() {
            let bytes = total(&own).saturating_add(bytes);
            return Ok(Err(Room::TooMuch { bytes, max: max.account }));
        }
        let mut others = Vec::new();
        for other in folders(&self.folder.join(FETCHES))?.filter(|other| *other != account) {
            others.push(self.kept(&other, fetch)?);
        }
        // A small fetch is not to suffer from large ones.
        let mut all: Vec<(u64, Vec<Kept>)> = others.into_iter().map(|kept| (total(&kept), kept)).collect();
        all.push((total(&own).saturating_add(bytes), own));
        all.sort_by_key(|(most, _)| std::cmp::Reverse(*most));
        let mut sum = all.iter().map(|(kept, _)| *kept).fold(0, u64::saturating_add);
        for (_, kept) in &mut all {
            let (before, rest) = (total(kept), sum.saturating_sub(total(kept)));
            self.forget_oldest(kept, fetch, |kept| rest.saturating_add(total(kept)) > max.all)?;
            sum = sum.saturating_sub(before.saturating_sub(total(kept)));
        }
        if sum > max.all && all.iter().any(|(_, kept)| !kept.is_empty()) {
            return Ok(Err(Room::AllTooMuch { max: max.all }));
        }
        let room = self.room(&fetch.0, bytes)?;
        if room != Room::Enough {
            return Ok(Err(room));
        }
        self.writing.lock().unwrap_or_else(PoisonError::into_inner).insert(fetch.0.clone(), bytes);
        Ok(Ok(Writing { parts: self.clone(), place: fetch.0.clone() }))
    }

    /// The answers that an account's fetches keep, but for `fetch`; the oldest first.
    fn kept(&self, account: &Path, fetch: &Fetch) -> io::Result<Vec<Kept>> {
        let mut found = Vec::new();
        for place in folders(account)?.filter(|place| *place != fetch.0) {
            if place.join(FORGOTTEN).exists() {
                continue;
            }
            let length = |name: &str| fs::metadata(place.join(name)).map_or(0, |file| file.len());
            let there = length(ANSWER).saturating_add(length(&format!("{ANSWER}{UNFINISHED}")));
            let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let bytes = writing.get(&place).copied().unwrap_or_default().max(there);
            let begun = Fetch(place.clone()).begun().ok().flatten().map(|begun| begun.at);
            found.push((begun, Kept { place, bytes }));
        }
        found.sort_by(|one, other| (one.0, &one.1.place).cmp(&(other.0, &other.1.place)));
        Ok(found.into_iter().map(|(_, kept)| kept).collect())
    }

    /// Forgets from the oldest on, as long as these are too much.
    fn forget_oldest(
        &self,
        kept: &mut Vec<Kept>,
        fetch: &Fetch,
        mut is_too_much: impl FnMut(&[Kept]) -> bool,
    ) -> io::Result<()> {
        let mut at = 0;
        while is_too_much(kept)
            && let Some(oldest) = kept.get(at)
        {
            let is_ours = oldest.place.with_extension("") == fetch.0.with_extension("");
            let held = self.lock(&oldest.place).try_lock_owned();
            if !is_ours && held.is_err() {
                at += 1;
                continue;
            }
            let oldest = kept.remove(at).place;
            match Fetch(oldest.clone()).begun() {
                Ok(Some(_)) => Fetch(oldest).forget_answer()?,
                Ok(None) | Err(_) => forget(&oldest)?,
            }
        }
        Ok(())
    }

    /// Forgets what began too long ago; says how many.
    pub async fn sweep(&self, now: Timestamp) -> io::Result<u64> {
        let folder = self.folder.clone();
        let old = on_disk(move || old(&folder, now)).await?;
        let mut swept = 0;
        for place in old {
            let _busy = self.hold(&place).await;
            on_disk(move || forget(&place)).await?;
            swept += 1;
        }
        Ok(swept)
    }
}

/// What a place is called in a store that nodes share.
pub fn name(place: &Path) -> PlaceName {
    let mut names = place.iter().rev().map(|name| name.to_string_lossy().into_owned());
    let mut next = || names.next().unwrap_or_default();
    let (name, owner, kind) = (next(), next(), next());
    PlaceName { kind: format!("osci-{kind}"), owner, name }
}

fn total(kept: &[Kept]) -> u64 {
    kept.iter().map(|kept| kept.bytes).fold(0, u64::saturating_add)
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

fn old(folder: &Path, now: Timestamp) -> io::Result<Vec<PathBuf>> {
    #[derive(Deserialize)]
    struct Begun {
        at: Timestamp,
    }
    let mut old = Vec::new();
    for kind in [UPLOADS, FETCHES] {
        for account in folders(&folder.join(kind))? {
            for place in folders(&account)? {
                // Without its beginning a crash left it; what begins this moment is not yet old for the file system.
                let begun = match read::<Begun>(&place.join(BEGUN)) {
                    Ok(Some(begun)) => begun.at,
                    Ok(None) | Err(_) => match fs::metadata(&place) {
                        // Its client went on with it meanwhile.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        found => Timestamp::try_from(found?.modified()?).unwrap_or(Timestamp::MIN),
                    },
                };
                if begun.checked_add(AGE_MAX).is_ok_and(|end| end <= now) {
                    old.push(place);
                }
            }
        }
    }
    Ok(old)
}

/// The uploads of an account that are not complete, but for the one at `place`.
fn under_way(account: &Path, place: &Path) -> io::Result<Vec<(PathBuf, UploadBegun)>> {
    let others = folders(account)?.filter(|other| other != place && !other.join(ACCEPTED).exists());
    let begun = others.filter_map(|other| {
        let begun = read::<UploadBegun>(&other.join(BEGUN)).unwrap_or_default()?;
        Some((other, begun))
    });
    Ok(begun.collect())
}

fn folders(of: &Path) -> io::Result<std::vec::IntoIter<PathBuf>> {
    let entries = match fs::read_dir(of) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new().into_iter()),
        entries => entries?,
    };
    let folders = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    Ok(folders.into_iter())
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whole or not at all, and on disk when this returns.
fn write(folder: &Path, name: &str, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let unfinished = folder.join(format!("{name}{UNFINISHED}"));
    let mut file = File::create(&unfinished)?;
    let filled = fill(&mut file).and_then(|()| file.sync_all());
    if let Err(error) = filled {
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    fs::rename(&unfinished, folder.join(name))?;
    sync(folder)
}

fn write_json(folder: &Path, name: &str, value: &impl Serialize) -> io::Result<()> {
    let bytes = serde_json::to_vec(value)?;
    write(folder, name, |file| file.write_all(&bytes))
}

fn sync(folder: &Path) -> io::Result<()> {
    // The folder's own name is in its parent's, and that one's in its own.
    for folder in folder.ancestors().take(4) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn forget(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[derive(Debug, Clone)]
pub struct Upload(PathBuf);

/// Where an upload stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    pub begun: Option<UploadBegun>,
    pub received: BTreeSet<u64>,
    pub accepted: Option<Acceptance>,
}

impl Standing {
    /// Whether every chunk is there.
    pub fn is_whole(&self) -> bool {
        let total = self.begun.as_ref().map(|begun| begun.cut.total);
        total.is_some_and(|total| (1..=total).all(|number| self.received.contains(&number)))
    }
}

impl Upload {
    pub fn place(&self) -> &Path {
        &self.0
    }

    pub fn standing(&self) -> io::Result<Standing> {
        let Some(begun) = read::<UploadBegun>(&self.0.join(BEGUN))? else { return Ok(Standing::default()) };
        let accepted = read(&self.0.join(ACCEPTED))?;
        let received = match &accepted {
            Some(_) => (1..=begun.cut.total).collect(),
            None => {
                let names = folders(&self.0)?;
                let numbers = names.filter_map(|path| path.file_name()?.to_str()?.parse().ok());
                numbers.filter(|number| (1..=begun.cut.total).contains(number)).collect()
            }
        };
        Ok(Standing { begun: Some(begun), received, accepted })
    }

    pub fn begin(&self, begun: &UploadBegun) -> io::Result<()> {
        write_json(&self.0, BEGUN, begun)
    }

    /// Keeps a chunk; when this returns it is received, whatever happens.
    pub fn keep(&self, number: u64, mut chunk: &mut dyn io::Read) -> io::Result<()> {
        write(&self.0, &number.to_string(), |file| io::copy(&mut chunk, file).map(|_| ()))
    }

    /// The message inside, chunk after chunk.
    pub fn pour(&self, total: u64, out: &mut dyn Write) -> io::Result<()> {
        for number in 1..=total {
            io::copy(&mut File::open(self.0.join(number.to_string()))?, out)?;
        }
        Ok(())
    }

    /// The message inside is accepted: its chunks are needed no longer.
    pub fn accept(&self, acceptance: &Acceptance) -> io::Result<()> {
        write_json(&self.0, ACCEPTED, acceptance)?;
        for path in folders(&self.0)? {
            let is_chunk = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
                name.trim_end_matches(UNFINISHED).bytes().all(|byte| byte.is_ascii_digit())
            });
            if is_chunk {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    pub fn forget(&self) -> io::Result<()> {
        forget(&self.0)
    }
}

/// All that is kept for fetches of one message.
#[derive(Debug, Clone)]
pub struct Fetches(PathBuf);

impl Fetches {
    /// Where work on them is held.
    pub fn place(&self) -> &Path {
        &self.0
    }

    /// The place of the answer that this dialog begins with.
    pub fn begun_in(&self, conversation: &ConversationId) -> Fetch {
        let dialog = Digest::of(conversation.as_str().as_bytes()).to_string();
        Fetch(self.0.with_extension(dialog))
    }

    /// The place of that name among them.
    pub fn named(&self, name: &str) -> Fetch {
        Fetch(self.0.with_file_name(name))
    }

    /// The answers of this message that are kept or remembered.
    pub fn editions(&self) -> io::Result<Vec<Edition>> {
        let mut editions = Vec::new();
        for place in folders(self.0.parent().unwrap_or(&self.0))? {
            if place.with_extension("") != self.0 {
                continue;
            }
            let fetch = Fetch(place);
            if let Some(begun) = fetch.begun()? {
                let is_kept = !fetch.0.join(FORGOTTEN).exists() && fetch.0.join(ANSWER).exists();
                editions.push(Edition { fetch, begun, is_kept });
            }
        }
        Ok(editions)
    }
}

#[derive(Debug, Clone)]
pub struct Fetch(PathBuf);

impl Fetch {
    pub fn place(&self) -> &Path {
        &self.0
    }

    pub fn begun(&self) -> io::Result<Option<FetchBegun>> {
        read(&self.0.join(BEGUN))
    }

    pub fn note(&self, begun: &FetchBegun) -> io::Result<()> {
        write_json(&self.0, BEGUN, begun)
    }

    /// Keeps the answer that will be sliced, and says how long it is.
    pub fn keep(&self, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<u64> {
        write(&self.0, ANSWER, fill)?;
        match fs::remove_file(self.0.join(FORGOTTEN)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(fs::metadata(self.0.join(ANSWER))?.len())
    }

    pub fn open(&self) -> io::Result<Frozen> {
        let file = File::open(self.0.join(ANSWER))?;
        let length = file.metadata()?.len();
        Ok(Frozen::File(Arc::new(file), length))
    }

    /// Gives the disk back what the answer takes, and remembers that there was one.
    fn forget_answer(&self) -> io::Result<()> {
        write(&self.0, FORGOTTEN, |_| Ok(()))?;
        for name in [ANSWER.to_owned(), format!("{ANSWER}{UNFINISHED}")] {
            match fs::remove_file(self.0.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
