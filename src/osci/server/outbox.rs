//! Where large answers are made whole before a byte of them goes out.
//!
//! A client may read as slowly as `net` lets it, so nothing that others need waits for it: a large answer is encrypted
//! and signed into a nameless file, a few at a time, and its body is read from there in short pieces, each when the
//! connection has room for it. A slow reader costs a file and a piece of memory, never a thread. The file goes when its
//! body does, also when the connection breaks.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::osci::client::scratch;

/// What a file is given at a time.
const BLOCK_BYTES: usize = 256 * 1024;
/// Answers up to this size are made in memory.
pub const WHOLE_BYTES_MAX: u64 = 64 * 1024;
/// Large answers that are made at a time; others wait for their turn, holding no thread.
const MAKING_MAX: usize = 16;
/// Feedback, card, certificates and signature of an answer, beside what it carries.
const FRAMING_BYTES: u64 = 32 * 1024;

#[derive(Debug)]
pub struct Outbox {
    folder: PathBuf,
    reserve_bytes: u64,
    making: Arc<Semaphore>,
}

/// Disk space that is kept for one answer.
#[derive(Debug)]
pub struct Room(File);

impl Room {
    pub fn into_file(self) -> File {
        self.0
    }
}

/// Whether an answer that carries so many bytes is made in the outbox.
pub fn is_large(content_bytes: u64) -> bool {
    content_bytes.saturating_add(FRAMING_BYTES) > WHOLE_BYTES_MAX
}

impl Outbox {
    /// Half of `reserve_bytes` stays free on the disk: messages are handed out when none is accepted any more, because
    /// that is what empties it.
    pub fn new(folder: &Path, reserve_bytes: u64) -> Self {
        let making = Arc::new(Semaphore::new(MAKING_MAX));
        Self { folder: folder.to_owned(), reserve_bytes, making }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Waits until one more large answer may be made.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody ever closes it.
        self.making.clone().acquire_owned().await.ok()
    }

    /// Keeps disk space for an answer that carries so many bytes, so that a full disk shows before anything is noted as
    /// handed out; nothing for a small one. Errors: `StorageFull` where it would eat into the reserve, and the disk's.
    /// `base64_layers` is how often they are encoded.
    pub async fn room(&self, content_bytes: u64, base64_layers: u32) -> io::Result<Option<Room>> {
        if !is_large(content_bytes) {
            return Ok(None);
        }
        // 57 octets become 76 letters and the end of a line.
        let coded = (0..base64_layers).fold(content_bytes, |bytes, _| (bytes / 57 + 1).saturating_mul(78));
        let bytes = coded.saturating_add(FRAMING_BYTES);
        let (folder, reserve) = (self.folder.clone(), self.reserve_bytes / 2);
        let kept = tokio::task::spawn_blocking(move || keep(&folder, bytes, reserve)).await;
        kept.map_err(|_| io::Error::other("the process is stopping"))?.map(Some)
    }
}

fn keep(folder: &Path, bytes: u64, reserve: u64) -> io::Result<Room> {
    use rustix::fs::FallocateFlags;
    use rustix::io::Errno;
    let file = nameless(folder)?;
    let disk = rustix::fs::statvfs(folder)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < reserve.saturating_add(bytes) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        // Some file systems keep no space ahead; what was free a moment ago must do.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(Room(file)),
        Err(error) => Err(error.into()),
    }
}

/// Hands a new file its bytes in blocks that begin at multiples of their size, which it takes in half the time of others.
pub struct Blocks<'f> {
    file: &'f File,
    held: Vec<u8>,
}

impl<'f> Blocks<'f> {
    pub fn new(file: &'f File) -> Self {
        Self { file, held: Vec::with_capacity(BLOCK_BYTES) }
    }
}

impl Write for Blocks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (taken, _) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.held.len()));
        self.held.extend_from_slice(taken);
        if self.held.len() == BLOCK_BYTES {
            self.flush()?;
        }
        Ok(taken.len())
    }

    /// To be called towards the end: what comes behind it lies askew.
    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.held)?;
        self.held.clear();
        Ok(())
    }
}

/// A file that no name leads to, in a folder that is made where it is missing.
pub fn nameless(folder: &Path) -> io::Result<File> {
    std::fs::create_dir_all(folder)?;
    scratch::file(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_written_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        for length in [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, 3 * BLOCK_BYTES + 7] {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let file = nameless(folder.path()).expect("a file");
            let mut blocks = Blocks::new(&file);
            for piece in bytes.chunks(100_003) {
                blocks.write_all(piece).expect("taken");
                assert_eq!(file.metadata().expect("measured").len() % BLOCK_BYTES as u64, 0);
            }
            blocks.flush().expect("written");
            let mut back = vec![0; length + 1];
            let read = std::os::unix::fs::FileExt::read_at(&file, &mut back, 0).expect("read");
            assert!(back[..read] == bytes, "{length}");
        }
    }

    #[tokio::test]
    async fn room_is_kept_or_refused_beforehand() {
        let folder = tempfile::tempdir().expect("a folder");
        let incoming = folder.path().join("incoming");
        let outbox = Outbox::new(&incoming, 0);
        assert!(outbox.room(32 * 1024, 0).await.expect("none needed").is_none());
        let length = async |layers| {
            let room = outbox.room(1_000_000, layers).await.expect("kept").expect("a large one");
            room.into_file().metadata().expect("measured").len()
        };
        assert!(length(0).await >= 1_000_000);
        assert!(length(1).await >= 1_368_422);
        assert!(length(2).await >= 1_872_578);
        assert_eq!(std::fs::read_dir(&incoming).expect("listed").count(), 0, "nothing has a name");
        let guarded = Outbox::new(&incoming, u64::MAX);
        let error = guarded.room(1_000_000, 0).await.expect_err("it would eat into the reserve");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
