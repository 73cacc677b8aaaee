//! Lets the kernel write back dirty pages at odd moments and without a flush, as memory pressure does at any time.
//!
//! A process of its own: the one that serves the disk must never wait for the disk, and opening the store's files in
//! the writer's process would drop the database's locks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Advice;

use crate::child::die_with_parent;
use crate::random::Random;

/// Goes on until it is killed.
pub fn run(folder: &Path, seed: u64) -> Result<(), String> {
    die_with_parent();
    let mut random = Random::seeded(seed);
    loop {
        write_back_something(folder, &mut random);
        std::thread::sleep(Duration::from_millis(random.between(2, 40)));
    }
}

fn write_back_something(folder: &Path, random: &mut Random) {
    let mut files = Vec::<PathBuf>::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    if files.is_empty() {
        return;
    }
    let chosen = &files[usize::try_from(random.between(0, files.len() as u64)).unwrap_or(0)];
    if let Ok(file) = std::fs::File::open(chosen) {
        // "Not needed" starts the write-back of what is dirty; a refusal only means less disorder.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
    }
}
