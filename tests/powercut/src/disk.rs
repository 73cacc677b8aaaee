//! A disk with a volatile write cache, in memory: what was written before the last flush is durable, what came after
//! may or may not survive a power cut.
//!
//! The rules are those a drive promises: a flush makes everything written before it durable, and nothing else orders
//! writes. Left out: torn 512-byte sectors, bit rot, and lies about the flush itself. The file-system face is
//! `fuse.rs`.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::random::Random;

pub const SECTOR_BYTES: usize = 512;
pub const PAGE_BYTES: usize = 4096;

/// Which unflushed writes survive the cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    Nothing,
    RandomPages,
    RandomSectors,
    Everything,
}

impl Survival {
    pub const ALL: [Self; 4] = [Self::Nothing, Self::RandomPages, Self::RandomSectors, Self::Everything];
}

impl std::fmt::Display for Survival {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.pad(match self {
            Self::Nothing => "none",
            Self::RandomPages => "4k-pages",
            Self::RandomSectors => "sectors",
            Self::Everything => "all",
        })
    }
}

/// What a drive answers when it cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Reads go on, writes and flushes fail: a drive that has broken.
    Broken,
    OutOfRange,
}

struct Write {
    offset: usize,
    bytes: Vec<u8>,
}

struct State {
    /// What a reader sees.
    current: Vec<u8>,
    /// What is there after a cut at which nothing else survives.
    durable: Vec<u8>,
    /// Written since the last flush, in order.
    unflushed: Vec<Write>,
    flushes: u64,
    writes: u64,
    broken: bool,
    /// Stand still as soon as so many writes are unflushed.
    stop_at: Option<usize>,
    stands_still: bool,
}

pub struct Disk {
    state: Mutex<State>,
    /// The disk has come to a stand, or goes on.
    turned: Condvar,
}

/// What the cut left.
pub struct Remains {
    pub image: Vec<u8>,
    pub unflushed_bytes: usize,
    pub surviving_bytes: usize,
    pub flushes: u64,
    pub writes: u64,
}

impl Disk {
    pub fn of(image: Vec<u8>) -> Self {
        let state = State {
            current: image.clone(),
            durable: image,
            unflushed: Vec::new(),
            flushes: 0,
            writes: 0,
            broken: false,
            stop_at: None,
            stands_still: false,
        };
        Self { state: Mutex::new(state), turned: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn length(&self) -> u64 {
        self.state().current.len() as u64
    }

    /// Hands the bytes that exist to `reply`; fewer than asked for at the end of the disk.
    pub fn read<T>(&self, offset: u64, length: usize, reply: impl FnOnce(&[u8]) -> T) -> T {
        let state = self.state();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(state.current.len());
        let end = start.saturating_add(length).min(state.current.len());
        reply(&state.current[start..end])
    }

    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        let mut state = self.moving();
        if state.broken {
            return Err(Refusal::Broken);
        }
        let offset = usize::try_from(offset).map_err(|_| Refusal::OutOfRange)?;
        let end = offset.checked_add(bytes.len()).ok_or(Refusal::OutOfRange)?;
        state.current.get_mut(offset..end).ok_or(Refusal::OutOfRange)?.copy_from_slice(bytes);
        state.unflushed.push(Write { offset, bytes: bytes.to_vec() });
        state.writes += 1;
        if state.stop_at.is_some_and(|stop_at| state.unflushed.len() >= stop_at) {
            state.stop_at = None;
            state.stands_still = true;
            self.turned.notify_all();
        }
        Ok(())
    }

    pub fn flush(&self) -> Result<(), Refusal> {
        let mut state = self.moving();
        if state.broken {
            return Err(Refusal::Broken);
        }
        for write in std::mem::take(&mut state.unflushed) {
            state.durable[write.offset..write.offset + write.bytes.len()].copy_from_slice(&write.bytes);
        }
        state.flushes += 1;
        Ok(())
    }

    /// The state once the disk does not stand still.
    fn moving(&self) -> MutexGuard<'_, State> {
        let state = self.state();
        self.turned
            .wait_while(state, |state| state.stands_still)
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Brings the disk to a stand as soon as `unflushed_writes` wait for a flush; if that takes longer than `patience`,
    /// with the next write; if there is none either, as it is. From then on no write and no flush comes to its end
    /// until [`Disk::go_on`].
    pub fn stand_still(&self, unflushed_writes: usize, patience: Duration) {
        let mut state = self.state();
        for stop_at in [unflushed_writes, 1] {
            state.stop_at = Some(stop_at);
            let waited = self.turned.wait_timeout_while(state, patience, |state| !state.stands_still);
            (state, _) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
            if state.stands_still {
                return;
            }
        }
        state.stop_at = None;
        state.stands_still = true;
    }

    pub fn go_on(&self) {
        self.state().stands_still = false;
        self.turned.notify_all();
    }

    /// From here on every write and flush fails.
    pub fn break_down(&self) {
        self.state().broken = true;
    }

    /// The image that a machine would find after a power cut at this instant. The disk itself goes on for those who
    /// still hold it; what they write no longer matters.
    pub fn cut(&self, survival: Survival, random: &mut Random) -> Remains {
        let state = self.state();
        let mut image = state.durable.clone();
        let (mut unflushed_bytes, mut surviving_bytes) = (0, 0);
        for write in &state.unflushed {
            unflushed_bytes += write.bytes.len();
            let mut offset = write.offset;
            let mut rest = write.bytes.as_slice();
            while !rest.is_empty() {
                let (survives, length) = match survival {
                    Survival::Nothing => (false, rest.len()),
                    Survival::Everything => (true, rest.len()),
                    Survival::RandomPages => (random.once_in(2), PAGE_BYTES - offset % PAGE_BYTES),
                    Survival::RandomSectors => (random.once_in(2), SECTOR_BYTES - offset % SECTOR_BYTES),
                };
                let (piece, behind) = rest.split_at(length.min(rest.len()));
                if survives {
                    image[offset..offset + piece.len()].copy_from_slice(piece);
                    surviving_bytes += piece.len();
                }
                offset += piece.len();
                rest = behind;
            }
        }
        Remains { image, unflushed_bytes, surviving_bytes, flushes: state.flushes, writes: state.writes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes ones and flushes, writes twos over everything and does not: which bytes are there afterwards?
    #[track_caller]
    fn check(survival: Survival, piece_bytes: usize, expected: impl Fn(usize, usize) -> bool) {
        let disk = Disk::of(vec![0; 64 * PAGE_BYTES]);
        assert_eq!(disk.write(0, &vec![1; 64 * PAGE_BYTES]), Ok(()));
        assert_eq!(disk.flush(), Ok(()));
        assert_eq!(disk.write(0, &vec![2; 64 * PAGE_BYTES]), Ok(()));
        let remains = disk.cut(survival, &mut Random::seeded(7));
        let pieces = remains.image.chunks(piece_bytes);
        assert!(
            pieces.clone().all(|piece| piece.iter().all(|byte| *byte == piece[0] && *byte > 0)),
            "torn piece"
        );
        let new = pieces.clone().filter(|piece| piece[0] == 2).count();
        assert!(expected(new, pieces.len()), "{survival}: {new} of {} pieces survived", pieces.len());
        assert_eq!(remains.surviving_bytes, new * piece_bytes);
        assert_eq!(disk.read(0, 1, <[u8]>::to_vec), [2], "the running system sees its own write");
    }

    #[test]
    fn a_cut_keeps_what_was_flushed_and_a_choice_of_the_rest() {
        check(Survival::Nothing, PAGE_BYTES, |new, _| new == 0);
        check(Survival::Everything, PAGE_BYTES, |new, all| new == all);
        check(Survival::RandomPages, PAGE_BYTES, |new, all| new > all / 4 && new < all * 3 / 4);
        check(Survival::RandomSectors, SECTOR_BYTES, |new, all| new > all / 4 && new < all * 3 / 4);
    }

    #[test]
    fn a_broken_disk_takes_nothing_and_makes_nothing_durable() {
        let disk = Disk::of(vec![0; PAGE_BYTES]);
        assert_eq!(disk.write(0, &[1]), Ok(()));
        disk.break_down();
        assert_eq!(disk.write(1, &[1]), Err(Refusal::Broken));
        assert_eq!(disk.flush(), Err(Refusal::Broken));
        assert_eq!(disk.cut(Survival::Nothing, &mut Random::seeded(1)).image[..2], [0, 0]);
        assert_eq!(disk.cut(Survival::Everything, &mut Random::seeded(1)).image[..2], [1, 0]);
    }

    #[test]
    fn a_disk_that_stands_still_finishes_nothing() {
        let disk = Disk::of(vec![0; PAGE_BYTES]);
        std::thread::scope(|scope| {
            let victim = scope.spawn(|| {
                for place in 0..3 {
                    assert_eq!(disk.write(place, &[1]), Ok(()));
                }
                disk.flush()
            });
            disk.stand_still(2, Duration::from_secs(60));
            assert_eq!(disk.cut(Survival::Everything, &mut Random::seeded(1)).image[..3], [1, 1, 0]);
            assert!(!victim.is_finished());
            disk.go_on();
            assert_eq!(victim.join().expect("the writer does not panic"), Ok(()));
        });
        assert_eq!(disk.cut(Survival::Nothing, &mut Random::seeded(1)).image[..3], [1, 1, 1]);
    }

    #[test]
    fn nothing_is_written_beyond_the_end() {
        let disk = Disk::of(vec![0; PAGE_BYTES]);
        assert_eq!(disk.write(PAGE_BYTES as u64, &[1]), Err(Refusal::OutOfRange));
        assert_eq!(disk.write(u64::MAX, &[1]), Err(Refusal::OutOfRange));
        assert_eq!(disk.read(PAGE_BYTES as u64 - 1, 9, <[u8]>::len), 1);
    }
}
