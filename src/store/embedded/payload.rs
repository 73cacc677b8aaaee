//! Payloads on their way in and out: small ones travel in the transaction, large ones are files.
//!
//! A file is complete and synced with its folder before a transaction names it, so a row never names bytes that are
//! not there. A file that no row names is an orphan: of a writer that was dropped, of a process that died, of a
//! purge that was cut off. Orphans are swept after the start.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;

use crate::domain::content::Digest;
use crate::store::{PayloadReader, PayloadWriter, StagedPayload, StagedPlace, StagedToken, StoreError};

const FOLDER: &str = "payloads";
/// Bytes gathered before they are handed to the disk, and given out at once when read.
const PIECE_BYTES: usize = 256 * 1024;
/// What most payloads need, so that taking one in asks for memory once.
const INLINE_BYTES_USUAL: usize = 16 * 1024;

/// The folder of payload files, and which of them are not yet named by a row.
#[derive(Debug, Clone)]
pub struct PayloadFolder {
    root: PathBuf,
    staged: Arc<Mutex<HashSet<String>>>,
    held: Arc<Mutex<Held>>,
}

/// Removals that wait for copies being made.
#[derive(Debug, Default)]
struct Held {
    copies: u32,
    names: Vec<String>,
}

/// While it lives, no payload file is removed.
pub struct RemovalsHeld<'a>(&'a PayloadFolder);

impl Drop for RemovalsHeld<'_> {
    fn drop(&mut self) {
        let names = {
            let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.copies -= 1;
            if held.copies == 0 { std::mem::take(&mut held.names) } else { Vec::new() }
        };
        names.iter().for_each(|name| self.0.remove(name));
    }
}

impl PayloadFolder {
    /// Creates the 256 shelves, so that no write has to sync a parent folder later.
    pub fn open(store: &Path) -> std::io::Result<Self> {
        let root = store.join(FOLDER);
        let fresh = !root.join("ff").is_dir();
        if fresh {
            for shelf in 0..=255_u8 {
                std::fs::create_dir_all(root.join(format!("{shelf:02x}")))?;
            }
            File::open(&root)?.sync_all()?;
            File::open(store)?.sync_all()?;
        }
        Ok(Self::at(store))
    }

    /// The folder of a store that exists already.
    pub fn at(store: &Path) -> Self {
        Self { root: store.join(FOLDER), staged: Arc::default(), held: Arc::default() }
    }

    /// Puts removals off until the answer is dropped.
    pub fn hold_removals(&self) -> RemovalsHeld<'_> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).copies += 1;
        RemovalsHeld(self)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.shelf(name).join(name)
    }

    fn shelf(&self, name: &str) -> PathBuf {
        self.root.join(name.get(..2).unwrap_or("00"))
    }

    fn staged(&self) -> MutexGuard<'_, HashSet<String>> {
        self.staged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stage(&self) -> FileToken {
        let name = uuid::Uuid::new_v4().simple().to_string();
        self.staged().insert(name.clone());
        FileToken { name, folder: self.clone(), kept: false }
    }

    /// Removes the file of a payload that no row names any more.
    pub fn remove(&self, name: &str) {
        {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            if held.copies > 0 {
                held.names.push(name.to_owned());
                return;
            }
        }
        if let Err(error) = std::fs::remove_file(self.path(name))
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, name, "a payload file could not be removed; the next start tries again");
        }
    }

    /// Removes every file that `is_named` denies. Files of writers at work are left alone. Returns how many went.
    pub fn sweep<E>(&self, mut is_named: impl FnMut(&str) -> Result<bool, E>) -> Result<u64, E> {
        let mut removed = 0;
        for shelf in std::fs::read_dir(&self.root).into_iter().flatten().flatten() {
            for file in std::fs::read_dir(shelf.path()).into_iter().flatten().flatten() {
                let Ok(name) = file.file_name().into_string() else { continue };
                // A writer leaves this set only after its transaction; then the row is there to be seen.
                let at_work = self.staged().contains(&name);
                if !at_work && !is_named(&name)? {
                    self.remove(&name);
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

/// A payload file that no message names yet; dropped, it takes the file with it.
#[derive(Debug)]
struct FileToken {
    name: String,
    folder: PayloadFolder,
    kept: bool,
}

impl StagedToken for FileToken {
    fn name(&self) -> &str {
        &self.name
    }

    fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for FileToken {
    fn drop(&mut self) {
        if !self.kept {
            self.folder.remove(&self.name);
        }
        self.folder.staged().remove(&self.name);
    }
}

/// Takes a payload in: in memory up to the threshold, in a file beyond it.
pub struct Intake {
    folder: PayloadFolder,
    inline_bytes_max: usize,
    buffer: Vec<u8>,
    /// Whoever writes to the file has a share of its token: it has its name for as long.
    file: Option<(Arc<File>, Arc<FileToken>)>,
    digest: Context,
    length: u64,
}

impl Intake {
    pub fn new(folder: PayloadFolder, inline_bytes_max: usize) -> Self {
        let digest = Context::new(&SHA256);
        Self { folder, inline_bytes_max, buffer: Vec::new(), file: None, digest, length: 0 }
    }

    /// The file, which is made on the first call.
    async fn file(&mut self) -> Result<(Arc<File>, Arc<FileToken>), StoreError> {
        if let Some(made) = &self.file {
            return Ok(made.clone());
        }
        let token = Arc::new(self.folder.stage());
        let (path, held) = (self.folder.path(&token.name), token.clone());
        let made = on_disk(move || {
            let made = File::create_new(path);
            drop(held);
            made
        });
        Ok(self.file.insert((Arc::new(made.await?), token)).clone())
    }

    /// Hands what was gathered to the file. With a `shelf`, both are on disk when this returns.
    async fn spill(&mut self, shelf: Option<PathBuf>) -> Result<(), StoreError> {
        let (file, token) = self.file().await?;
        let mut bytes = std::mem::take(&mut self.buffer);
        self.buffer = on_disk(move || {
            let _token = token;
            (&*file).write_all(&bytes)?;
            bytes.clear();
            match shelf {
                Some(shelf) => {
                    file.sync_all()?;
                    File::open(shelf)?.sync_all()?;
                }
                None => bytes.reserve_exact(PIECE_BYTES),
            }
            Ok(bytes)
        })
        .await?;
        Ok(())
    }
}

#[async_trait]
impl PayloadWriter for Intake {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.digest.update(bytes);
        self.length += bytes.len() as u64;
        let mut rest = bytes;
        while !rest.is_empty() {
            let bound = if self.file.is_some() { PIECE_BYTES } else { self.inline_bytes_max };
            if self.buffer.capacity() == 0 {
                self.buffer.reserve_exact(bound.min(INLINE_BYTES_USUAL));
            }
            let (piece, later) = rest.split_at(rest.len().min(bound.saturating_sub(self.buffer.len())));
            self.buffer.extend_from_slice(piece);
            rest = later;
            if !rest.is_empty() {
                self.spill(None).await?;
            }
        }
        Ok(())
    }

    /// From file to file by one thread, so that nothing waits for a hop between pieces.
    async fn write_file(
        &mut self,
        from: Arc<File>,
        span: Range<u64>,
        seen: Option<Context>,
    ) -> Result<(), StoreError> {
        let length = span.end.saturating_sub(span.start);
        let whole = self.length.saturating_add(length);
        if self.file.is_none() && whole <= self.inline_bytes_max as u64 {
            let piece = on_disk(move || {
                let mut piece = vec![0; length as usize];
                from.read_exact_at(&mut piece, span.start).map(|()| piece)
            });
            return self.write(&piece.await?).await;
        }
        let digested = seen.filter(|_| self.length == 0);
        let undigested = digested.is_none().then(|| self.digest.clone());
        let ((to, token), mut piece) = (self.file().await?, std::mem::take(&mut self.buffer));
        let (piece, digest) = on_disk(move || {
            let _token = token;
            (&*to).write_all(&piece)?;
            let mut digest = undigested;
            let mut at = span.start;
            while at < span.end {
                let bytes = (span.end - at).min(PIECE_BYTES as u64) as usize;
                piece.resize(bytes, 0);
                from.read_exact_at(&mut piece, at)?;
                if let Some(digest) = &mut digest {
                    digest.update(&piece);
                }
                (&*to).write_all(&piece)?;
                at += bytes as u64;
            }
            piece.clear();
            Ok((piece, digest))
        })
        .await?;
        self.buffer = piece;
        if let Some(digest) = digest.or(digested) {
            self.digest = digest;
        }
        self.length = whole;
        Ok(())
    }

    /// The file gets a second name, the payload's. One that has a second name already may belong to a message, or to
    /// somebody who is still writing behind it though nobody waits for that any more.
    async fn take_file(&mut self, path: &Path, length: u64, seen: Context) -> Result<bool, StoreError> {
        if self.length > 0 || self.file.is_some() || length <= self.inline_bytes_max as u64 {
            return Ok(false);
        }
        let (from, token) = (path.to_owned(), Arc::new(self.folder.stage()));
        let (to, held) = (self.folder.path(&token.name), token.clone());
        let taken = on_disk(move || {
            // Goes with the name if nothing comes of it.
            let _token = held;
            let found = std::fs::metadata(&from)?;
            if found.nlink() != 1 || found.len() < length || std::fs::hard_link(&from, &to).is_err() {
                return Ok(None);
            }
            // Another may have been as far at the same instant: then neither takes it.
            if std::fs::metadata(&to)?.nlink() != 2 {
                return Ok(None);
            }
            let mut file = OpenOptions::new().write(true).open(&to)?;
            if found.len() > length {
                file.set_len(length)?;
            }
            file.seek(SeekFrom::Start(length))?;
            Ok(Some(file))
        });
        let Some(file) = taken.await? else { return Ok(false) };
        (self.file, self.digest, self.length) = (Some((Arc::new(file), token)), seen, length);
        Ok(true)
    }

    fn length(&self) -> u64 {
        self.length
    }

    async fn seal(mut self: Box<Self>) -> Result<StagedPayload, StoreError> {
        let shelf = self.file.as_ref().map(|(_, token)| self.folder.shelf(&token.name));
        if shelf.is_some() {
            self.spill(shelf).await?;
        }
        let mut digest = Digest([0; 32]);
        digest.0.copy_from_slice(self.digest.clone().finish().as_ref());
        let place = match self.file.take() {
            None => StagedPlace::Inline(Bytes::from(self.buffer)),
            Some((_, token)) => {
                // What was written has ended, and with it every other share.
                let shared = |_| StoreError::Unavailable("the payload is still being written".to_owned());
                StagedPlace::Staged(Box::new(Arc::try_unwrap(token).map_err(shared)?))
            }
        };
        Ok(StagedPayload { length: self.length, digest, place })
    }
}

/// Gives a stretch of a payload out.
pub enum Outgoing {
    Inline(Bytes),
    File { file: Arc<File>, at: u64, end: u64 },
}

#[async_trait]
impl PayloadReader for Outgoing {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        match self {
            Self::Inline(bytes) => {
                let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
                Ok((!piece.is_empty()).then_some(piece))
            }
            Self::File { file, at, end } => {
                let length = (*end - *at).min(PIECE_BYTES as u64) as usize;
                if length == 0 {
                    return Ok(None);
                }
                let (file, from) = (Arc::clone(file), *at);
                let piece = on_disk(move || {
                    let mut piece = vec![0; length];
                    file.read_exact_at(&mut piece, from).map(|()| piece)
                })
                .await?;
                *at += length as u64;
                Ok(Some(Bytes::from(piece)))
            }
        }
    }

    fn file(&self) -> Option<(Arc<File>, Range<u64>)> {
        match self {
            Self::Inline(_) => None,
            Self::File { file, at, end } => Some((Arc::clone(file), *at..*end)),
        }
    }
}

/// Runs what may wait for the disk where it blocks nobody.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(StoreError::Unavailable("the process is stopping".to_owned())),
    }
}

/// Free bytes for us on the file system of `path`.
pub fn free_bytes(path: &Path) -> std::io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(bytes: &[u8]) -> Context {
        let mut context = Context::new(&SHA256);
        context.update(bytes);
        context
    }

    struct Room {
        store: tempfile::TempDir,
        folder: PayloadFolder,
        owners: PathBuf,
        bytes: Vec<u8>,
    }

    impl Room {
        fn new() -> Self {
            let store = tempfile::tempdir().expect("a folder");
            let folder = PayloadFolder::open(store.path()).expect("shelves");
            let bytes: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
            let owners = store.path().join("uploaded");
            std::fs::write(&owners, &bytes).expect("written");
            Self { store, folder, owners, bytes }
        }

        fn intake(&self) -> Box<Intake> {
            Box::new(Intake::new(self.folder.clone(), 65_536))
        }

        fn taken(&self, payload: &StagedPayload) -> Vec<u8> {
            let StagedPlace::Staged(token) = &payload.place else { panic!("a file") };
            std::fs::read(self.folder.path(token.name())).expect("a file")
        }
    }

    #[tokio::test]
    async fn a_file_is_taken_over_as_the_beginning() {
        let room = Room::new();
        let mut intake = room.intake();
        let length = room.bytes.len() as u64;
        assert!(intake.take_file(&room.owners, length, seen(&room.bytes)).await.expect("taken"));
        assert_eq!(intake.length(), length);
        intake.write(b"behind").await.expect("written");
        let more = Arc::new(File::open(&room.owners).expect("there"));
        intake.write_file(more, 5..200_005, None).await.expect("written");
        let payload = intake.seal().await.expect("sealed");
        let whole = [&room.bytes[..], b"behind", &room.bytes[5..200_005]].concat();
        assert_eq!((payload.length, payload.digest), (whole.len() as u64, Digest::of(&whole)));
        assert!(room.taken(&payload) == whole);
        std::fs::remove_file(&room.owners).expect("its owner's name");
        assert!(room.taken(&payload) == whole, "it stays without its first name");
    }

    #[tokio::test]
    async fn what_came_of_nothing_leaves_the_file_to_be_taken_again() {
        let room = Room::new();
        let length = room.bytes.len() as u64;
        let mut intake = room.intake();
        assert!(intake.take_file(&room.owners, length, seen(&room.bytes)).await.expect("taken"));
        intake.write(b"another's").await.expect("written");
        drop(intake.seal().await.expect("sealed"));
        assert!(std::fs::read(&room.owners).expect("there").starts_with(&room.bytes));
        let mut intake = room.intake();
        assert!(intake.take_file(&room.owners, length, seen(&room.bytes)).await.expect("taken"));
        let payload = intake.seal().await.expect("sealed");
        assert!(room.taken(&payload) == room.bytes, "without what was behind it");
    }

    #[tokio::test]
    async fn a_file_that_may_belong_to_a_message_is_copied() {
        let room = Room::new();
        let length = room.bytes.len() as u64;
        std::fs::hard_link(&room.owners, room.store.path().join("second")).expect("a second name");
        assert!(!room.intake().take_file(&room.owners, length, seen(&room.bytes)).await.expect("not taken"));
        std::fs::remove_file(room.store.path().join("second")).expect("removed");
        let mut begun = room.intake();
        begun.write(b"before").await.expect("written");
        assert!(!begun.take_file(&room.owners, length, seen(&room.bytes)).await.expect("not taken"));
        let small = seen(&room.bytes[..1000]);
        assert!(!room.intake().take_file(&room.owners, 1000, small).await.expect("not taken"), "inline");
        let short = seen(&room.bytes);
        assert!(!room.intake().take_file(&room.owners, length + 1, short).await.expect("not taken"), "short");
        assert_eq!(std::fs::read(&room.owners).expect("there"), room.bytes, "untouched");
    }
}
