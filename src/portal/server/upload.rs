//! An attachment on its way to disk.
//!
//! It is gathered into pieces. A thread that may wait judges, digests and writes one piece while the next comes from the
//! network: three passes over all bytes are nothing for the threads that serve connections.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;

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

/// The attachment is one request's alone until the last who holds this is gone.
pub type Busy = Arc<OwnedMutexGuard<()>>;

/// What works at one piece at a time. Whoever leaves in the middle of a piece leaves the lock with it, so that nobody else
/// writes to the file before this piece lies there.
struct Hand {
    file: Arc<File>,
    scanner: Scanner,
    digest: Context,
    _busy: Busy,
}

impl Hand {
    fn look(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.scanner.feed(bytes).map_err(|error| sealed(&error))?;
        self.digest.update(bytes);
        Ok(())
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
    busy: Busy,
    /// Up to where room on the disk is known to be there.
    kept: u64,
}

impl Upload {
    /// `file` is empty, or what earlier requests brought, open for appending.
    pub fn new(file: File, zip: Zip, busy: OwnedMutexGuard<()>) -> Self {
        let (file, busy) = (Arc::new(file), Arc::new(busy));
        let hand = Hand {
            file: file.clone(),
            scanner: Scanner::new(zip),
            digest: Context::new(&SHA256),
            _busy: busy.clone(),
        };
        Self { hand: Some(hand), at_work: None, piece: Vec::new(), length: 0, file, busy, kept: 0 }
    }

    /// Bytes so far, those of earlier requests among them.
    pub fn length(&self) -> u64 {
        self.length
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// There is room for so many bytes behind what was taken.
    pub fn is_kept(&mut self, bytes: u64) {
        self.kept = self.length.saturating_add(bytes);
    }

    /// What earlier requests brought.
    pub async fn read_again(&mut self) -> Result<(), Problem> {
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
        (self.hand, self.piece, self.length) = (Some(hand), piece, length);
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
        let hand = self.hand.take().map(|hand| (hand, Vec::new()));
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
    pub async fn sync(&mut self) -> Result<(), Problem> {
        if !self.piece.is_empty() {
            self.hand_over().await?;
        }
        let (hand, room) = self.idle().await?;
        let hand = self.give_back(hand).await?;
        let synced = tokio::task::spawn_blocking(move || hand.file.sync_all().map(|()| hand).map_err(disk));
        (self.hand, self.piece) = (Some(done(synced).await?), room);
        Ok(())
    }

    /// Gives back what was kept ahead of what came.
    async fn give_back(&mut self, hand: Hand) -> Result<Hand, Problem> {
        let length = self.length;
        if self.kept <= length {
            return Ok(hand);
        }
        self.kept = length;
        done(tokio::task::spawn_blocking(move || hand.file.set_len(length).map(|()| hand).map_err(disk)))
            .await
    }

    /// Leaves at `path` what earlier requests brought, `length` bytes, and nothing of this one. Nobody else comes to the file
    /// before that is done, whatever became of the piece at work.
    pub async fn end_at(mut self, length: u64, path: PathBuf) {
        if let Some(at_work) = self.at_work.take() {
            self.hand = done(at_work).await.ok().map(|(hand, _)| hand);
        }
        let (file, busy) = (self.file, self.busy);
        let end = tokio::task::spawn_blocking(move || {
            let ended = if length == 0 { fs::remove_file(path) } else { file.set_len(length) };
            drop(busy);
            ended.map_err(disk)
        });
        if done(end).await.is_err() {
            tracing::warn!(
                code = "draft-left",
                next_step = "it is swept when its time is over",
                "an upload for which there is no room was not taken back"
            );
        }
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
        Ok(Finished { facts, digest, length: self.length, file, seen: hand.digest, busy: self.busy.clone() })
    }
}

/// An attachment of which nothing is missing.
pub struct Finished {
    pub facts: Facts,
    pub digest: Digest,
    pub length: u64,
    pub file: Arc<File>,
    /// SHA-256 that has taken all of it.
    pub seen: Context,
    /// There is more to do under it.
    pub busy: Busy,
}

pub fn digest_of(context: &Context) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(context.clone().finish().as_ref());
    Digest(digest)
}

/// The first bytes of a file, piece by piece, and what they are digested to.
pub struct Reading {
    file: File,
    at: u64,
    length: u64,
    digest: Context,
}

impl Reading {
    pub fn new(file: File, length: u64) -> Self {
        Self { file, at: 0, length, digest: Context::new(&SHA256) }
    }

    /// `UnexpectedEof` where the file is too short.
    pub fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let bytes = self.length.saturating_sub(self.at).min(PIECE_BYTES as u64);
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

/// Reads the first `length` bytes of a file, and returns SHA-256 that has taken them, and what it says.
pub fn read_through(file: File, length: u64) -> io::Result<(Context, Digest)> {
    let mut reading = Reading::new(file, length);
    while reading.next()?.is_some() {}
    let digest = reading.digest();
    Ok((reading.digest, digest))
}
