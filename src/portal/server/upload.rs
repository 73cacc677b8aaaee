//! An attachment on its way to disk.
//!
//! It is gathered into pieces. A thread that may wait judges, digests and writes one piece while the next comes from the
//! network: three passes over all bytes are nothing for the threads that serve connections.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::digest::{Context, SHA256};
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;

use super::draft::{cut, synced};
use super::problem::Problem;
use crate::domain::content::Digest;
use crate::pki::jose::jwe::{Facts, Scanner, Zip};

/// Pieces that files are written and read in.
const PIECE_BYTES: usize = 256 * 1024;

fn disk(error: io::Error) -> Problem {
    Problem::disk(&error)
}

pub fn sealed(error: &crate::pki::jose::Error) -> Problem {
    Problem::unprocessable("encryption-invalid", format!("the attachment: {error}"))
}

pub fn stopping() -> Problem {
    disk(io::Error::other("the process is stopping"))
}

/// Waits for what is done where it blocks nobody.
async fn done<T>(work: JoinHandle<Result<T, Problem>>) -> Result<T, Problem> {
    match work.await {
        Ok(done) => done,
        Err(_) => Err(stopping()),
    }
}

/// The attachment, and the file that it lies in with others, are one request's alone until the last who holds this is gone.
pub struct Alone {
    tail: Option<Tail>,
    _attachment: OwnedMutexGuard<()>,
}

pub type Busy = Arc<Alone>;

impl Alone {
    pub fn new(attachment: OwnedMutexGuard<()>, tail: Option<Tail>) -> Busy {
        Arc::new(Self { tail, _attachment: attachment })
    }

    /// What came behind others becomes an attachment, or is cut off by whoever tries.
    pub fn completes(&self) {
        if let Some(tail) = &self.tail {
            tail.completes.store(true, Ordering::Relaxed);
        }
    }
}

/// What comes behind others in one file. Unless it becomes an attachment it goes again, whoever left and whenever: no bound
/// counts what no name tells of.
pub struct Tail {
    file: Arc<File>,
    path: PathBuf,
    offset: u64,
    completes: AtomicBool,
    _held: OwnedMutexGuard<()>,
}

impl Tail {
    pub fn new(file: Arc<File>, path: PathBuf, offset: u64, held: OwnedMutexGuard<()>) -> Self {
        Self { file, path, offset, completes: AtomicBool::new(false), _held: held }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        // Nobody submits a draft of which an attachment is not whole, so the file should have no other name; one that has
        // may be a message's.
        let is_own = || self.file.metadata().is_ok_and(|found| found.nlink() == 1);
        if !*self.completes.get_mut() && is_own() {
            let _ = cut(&self.file, self.offset, &self.path);
        }
    }
}

/// Where an attachment goes.
pub struct Target {
    pub file: Arc<File>,
    pub path: PathBuf,
    /// Present where others lie before it.
    pub behind: Option<Behind>,
    pub busy: Busy,
}

/// What lies before an attachment.
pub struct Behind {
    pub length: u64,
    /// SHA-256 that has taken it, where it is known.
    pub seen: Option<Context>,
}

/// What works at one piece at a time. Whoever leaves in the middle of a piece leaves the lock with it, so that nobody else
/// writes to the file before this piece lies there.
struct Hand {
    file: Arc<File>,
    scanner: Scanner,
    digest: Context,
    /// The same with what lies before it.
    with_others: Option<Context>,
    _busy: Busy,
}

impl Hand {
    fn look(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.scanner.feed(bytes).map_err(|error| sealed(&error))?;
        self.digest.update(bytes);
        if let Some(with_others) = &mut self.with_others {
            with_others.update(bytes);
        }
        Ok(())
    }
}

/// What an upload was found to be so far.
pub struct Judged {
    scanner: Scanner,
    digest: Context,
    length: u64,
}

impl Judged {
    pub fn length(&self) -> u64 {
        self.length
    }

    #[cfg(test)]
    pub fn of_length(length: u64) -> Self {
        Self { scanner: Scanner::new(Zip::Refused), digest: Context::new(&SHA256), length }
    }
}

type AtWork = JoinHandle<Result<(Hand, Vec<u8>), Problem>>;

/// An attachment that comes in.
pub struct Upload {
    /// Absent while a piece is at work, and after one that failed.
    hand: Option<Hand>,
    at_work: Option<AtWork>,
    piece: Vec<u8>,
    length: u64,
    file: Arc<File>,
    path: PathBuf,
    /// Bytes of others before it, where it goes into one file with them.
    behind: Option<u64>,
    busy: Busy,
    /// Up to where room on the disk is known to be there.
    kept: u64,
    /// What earlier requests brought is still to be judged.
    unread: bool,
}

impl Upload {
    /// The file holds what others are before it, or is open for appending to what earlier requests brought.
    pub fn new(target: Target, zip: Zip) -> Self {
        let Target { file, path, behind, busy } = target;
        let (length, seen) = behind.map_or((None, None), |behind| (Some(behind.length), behind.seen));
        let hand = Hand {
            file: file.clone(),
            scanner: Scanner::new(zip),
            digest: Context::new(&SHA256),
            with_others: seen,
            _busy: busy.clone(),
        };
        let (hand, piece) = (Some(hand), Vec::with_capacity(PIECE_BYTES));
        Self {
            hand,
            at_work: None,
            piece,
            length: 0,
            file,
            path,
            behind: length,
            busy,
            kept: 0,
            unread: false,
        }
    }

    /// Where in the file it ends so far.
    pub fn end(&self) -> u64 {
        self.behind.unwrap_or(0).saturating_add(self.length)
    }

    /// Bytes so far, those of earlier requests among them.
    pub fn length(&self) -> u64 {
        self.length
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// As long as this is held, nobody else is at it.
    pub fn busy(&self) -> Busy {
        self.busy.clone()
    }

    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// There is room for so many bytes behind what was taken.
    pub fn is_kept(&mut self, bytes: u64) {
        self.kept = self.length.saturating_add(bytes);
    }

    /// Behind what earlier requests brought, `length` bytes, as they were judged then; where that is not known any more,
    /// [`Upload::begin`] reads them.
    pub fn go_on(&mut self, length: u64, before: Option<Judged>) {
        self.length = length;
        match (&mut self.hand, before) {
            (Some(hand), Some(before)) => (hand.scanner, hand.digest) = (before.scanner, before.digest),
            _ => self.unread = true,
        }
    }

    /// Before anything is taken.
    pub async fn begin(&mut self) -> Result<(), Problem> {
        if !self.unread {
            return Ok(());
        }
        let (mut hand, mut piece) = self.idle().await?;
        let read = tokio::task::spawn_blocking(move || {
            let mut length = 0u64;
            piece.resize(PIECE_BYTES, 0);
            loop {
                let read = (&*hand.file).read(&mut piece).map_err(disk)?;
                let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
                hand.look(bytes)?;
                length = length.saturating_add(bytes.len() as u64);
            }
            piece.clear();
            Ok((hand, piece, length))
        });
        let (hand, piece, length) = done(read).await?;
        (self.hand, self.piece, self.length, self.unread) = (Some(hand), piece, length, false);
        Ok(())
    }

    /// Takes more of it. What is wrong with it may be said of what came before.
    pub async fn take(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.length = self.length.saturating_add(bytes.len() as u64);
        let mut rest = bytes;
        loop {
            let room = PIECE_BYTES.saturating_sub(self.piece.len());
            let (now, later) = rest.split_at(rest.len().min(room));
            self.piece.extend_from_slice(now);
            if self.piece.len() < PIECE_BYTES {
                return Ok(());
            }
            self.hand_over().await?;
            rest = later;
        }
    }

    /// The hand, and room for a piece, once the piece at work is done.
    async fn idle(&mut self) -> Result<(Hand, Vec<u8>), Problem> {
        if let Some(at_work) = self.at_work.take() {
            return done(at_work).await;
        }
        let hand = self.hand.take().map(|hand| (hand, Vec::with_capacity(PIECE_BYTES)));
        hand.ok_or_else(|| disk(io::Error::other("a piece before was not written")))
    }

    async fn hand_over(&mut self) -> Result<(), Problem> {
        let (mut hand, room) = self.idle().await?;
        let mut piece = std::mem::replace(&mut self.piece, room);
        self.at_work = Some(tokio::task::spawn_blocking(move || {
            hand.look(&piece)?;
            (&*hand.file).write_all(&piece).map_err(disk)?;
            piece.clear();
            Ok((hand, piece))
        }));
        Ok(())
    }

    /// Everything that was taken is on disk.
    async fn sync(&mut self) -> Result<Judged, Problem> {
        if !self.piece.is_empty() {
            self.hand_over().await?;
        }
        let (hand, _) = self.idle().await?;
        let hand = self.give_back(hand).await?;
        let synced = tokio::task::spawn_blocking(move || hand.file.sync_all().map(|()| hand).map_err(disk));
        let Hand { scanner, digest, .. } = done(synced).await?;
        Ok(Judged { scanner, digest, length: self.length })
    }

    /// Gives back what was kept ahead of what came.
    async fn give_back(&mut self, hand: Hand) -> Result<Hand, Problem> {
        let length = self.length;
        if self.kept <= length {
            return Ok(hand);
        }
        let end = self.end();
        self.kept = length;
        done(tokio::task::spawn_blocking(move || hand.file.set_len(end).map(|()| hand).map_err(disk))).await
    }

    /// What came of it goes into a file of its own, on disk, so that others can go where it was. What it is so far.
    pub async fn set_aside(&mut self, part: PathBuf) -> Result<Judged, Problem> {
        let Some(offset) = self.behind else { return self.sync().await };
        if !self.piece.is_empty() {
            self.hand_over().await?;
        }
        let (hand, _) = self.idle().await?;
        let (path, length) = (self.path.clone(), self.length);
        let moved = tokio::task::spawn_blocking(move || {
            if length > 0 {
                copied(hand.file.try_clone()?, offset, length, &part).inspect_err(|_| {
                    // Bytes that nobody is sure of are none to go on behind.
                    let _ = fs::remove_file(&part);
                })?;
            }
            cut(&hand.file, offset, &path)?;
            Ok(hand)
        });
        match moved.await {
            Ok(moved) => {
                let Hand { scanner, digest, .. } = moved.map_err(disk)?;
                Ok(Judged { scanner, digest, length })
            }
            Err(_) => Err(stopping()),
        }
    }

    /// Leaves what earlier requests brought, `length` bytes, and nothing of this one; what is known of it, if nothing was
    /// taken. Nobody else comes to the file before that is done, whatever became of the piece at work.
    pub async fn end_at(mut self, length: u64) -> Option<Judged> {
        if let Some(at_work) = self.at_work.take() {
            self.hand = done(at_work).await.ok().map(|(hand, _)| hand);
        }
        let is_as_before = self.length == length && self.behind.is_none() && !self.unread;
        let hand = self.hand.take().filter(|_| is_as_before);
        let judged = hand.map(|Hand { scanner, digest, .. }| Judged { scanner, digest, length });
        let length = self.behind.unwrap_or(0).saturating_add(length);
        let (file, path, busy) = (self.file, self.path, self.busy);
        let end = tokio::task::spawn_blocking(move || {
            let ended = cut(&file, length, &path);
            drop(busy);
            ended.map_err(disk)
        });
        if done(end).await.is_err() {
            tracing::warn!(
                code = "draft-left",
                next_step = "it is swept when its time is over",
                "an upload for which there is no room was not taken back"
            );
            return None;
        }
        judged
    }

    /// What it is, once all of it was written. It may not be on disk yet.
    pub async fn finish(&mut self) -> Result<Finished, Problem> {
        if !self.piece.is_empty() {
            self.hand_over().await?;
        }
        let (hand, _) = self.idle().await?;
        let hand = self.give_back(hand).await?;
        let facts = hand.scanner.finish().map_err(|error| sealed(&error))?;
        let digest = digest_of(&hand.digest);
        let file = Arc::clone(&hand.file);
        Ok(Finished {
            facts,
            digest,
            length: self.length,
            file,
            behind: self.behind,
            seen: if self.behind.is_some_and(|before| before > 0) {
                hand.with_others
            } else {
                Some(hand.digest)
            },
            busy: self.busy.clone(),
        })
    }
}

/// An attachment of which nothing is missing.
pub struct Finished {
    pub facts: Facts,
    pub digest: Digest,
    pub length: u64,
    pub file: Arc<File>,
    /// Bytes of others before it, where it lies in one file with them.
    pub behind: Option<u64>,
    /// SHA-256 that has taken the file up to the end of it, where what lies before is known.
    pub seen: Option<Context>,
    /// There is more to do under it.
    pub busy: Busy,
}

pub fn digest_of(context: &Context) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(context.clone().finish().as_ref());
    Digest(digest)
}

/// A stretch of a file, piece by piece, and what it is digested to.
pub struct Reading {
    file: File,
    at: u64,
    end: u64,
    digest: Context,
}

impl Reading {
    pub fn new(file: File, at: u64, length: u64) -> Self {
        Self { file, at, end: at.saturating_add(length), digest: Context::new(&SHA256) }
    }

    /// `UnexpectedEof` where the file is too short.
    pub fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let bytes = self.end.saturating_sub(self.at).min(PIECE_BYTES as u64);
        if bytes == 0 {
            return Ok(None);
        }
        let mut piece = vec![0; bytes as usize];
        self.file.read_exact_at(&mut piece, self.at)?;
        self.digest.update(&piece);
        self.at += bytes;
        Ok(Some(piece))
    }

    /// Of what was read.
    pub fn digest(&self) -> Digest {
        digest_of(&self.digest)
    }
}

fn copied(from: File, at: u64, length: u64, to: &Path) -> io::Result<()> {
    let mut reading = Reading::new(from, at, length);
    let mut own = File::create(to)?;
    while let Some(piece) = reading.next()? {
        own.write_all(&piece)?;
    }
    own.sync_all()?;
    to.parent().map_or(Ok(()), synced)
}

/// Reads what lies in a file from its beginning, one behind the other, and returns SHA-256 that has taken all of it; nothing
/// where one is not what its digest says.
pub fn read_through(file: &File, parts: &[(u64, Digest)]) -> io::Result<Option<Context>> {
    let (mut all, mut at) = (Context::new(&SHA256), 0u64);
    for (length, digest) in parts {
        let mut reading = Reading::new(file.try_clone()?, at, *length);
        while let Some(piece) = reading.next()? {
            if parts.len() > 1 {
                all.update(&piece);
            }
        }
        if reading.digest() != *digest {
            return Ok(None);
        }
        if parts.len() == 1 {
            return Ok(Some(reading.digest));
        }
        at = at.saturating_add(*length);
    }
    Ok(Some(all))
}

#[cfg(test)]
mod tests {
    use std::io::Seek;

    use super::*;

    async fn held() -> OwnedMutexGuard<()> {
        Arc::<tokio::sync::Mutex<()>>::default().lock_owned().await
    }

    /// An upload behind so many bytes of others.
    async fn behind(path: &Path, offset: u64) -> Upload {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = Arc::new(file.expect("open"));
        (&*file).seek(io::SeekFrom::Start(offset)).expect("there");
        let tail = Tail::new(file.clone(), path.to_owned(), offset, held().await);
        let behind = Some(Behind { length: offset, seen: None });
        let busy = Alone::new(held().await, Some(tail));
        Upload::new(Target { file, path: path.to_owned(), behind, busy }, Zip::Refused)
    }

    #[tokio::test]
    async fn what_nobody_completes_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("content");
        for (before, named, left) in
            [("", false, None), ("others", false, Some("others")), ("others", true, None)]
        {
            fs::write(&path, before).expect("written");
            let upload = behind(&path, before.len() as u64).await;
            (&*upload.file).write_all(b"some of it").expect("written");
            let message = folder.path().join("message");
            if named {
                fs::hard_link(&path, &message).expect("a second name");
            }
            drop(upload);
            match named {
                true => assert_eq!(fs::read(&message).expect("there"), b"otherssome of it"),
                false => assert_eq!(fs::read_to_string(&path).ok().as_deref(), left),
            }
        }
    }

    #[tokio::test]
    async fn what_becomes_an_attachment_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("content");
        let upload = behind(&path, 0).await;
        (&*upload.file).write_all(b"all of it").expect("written");
        upload.busy.completes();
        drop(upload);
        assert_eq!(fs::read(&path).expect("there"), b"all of it");
    }
}
