//! Two pairs of eyes at the command line: one operator asks to read, another one releases it, each under their own user of
//! the operating system.
//!
//! Both write a file into the register's folder `four-eyes`, and whose a file is the kernel says, not who writes it. The
//! wish's file carries a challenge that only the register's key can make; the release gives it back. So a release needs
//! neither key nor database: membership of the folder's group is enough.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::OFlags;

use super::super::exit::{Exit, Stop};
use super::super::screen::{self, Align, Table};
use crate::clock::{Clock, SystemClock};
use crate::register::copies::{Copies, CopyError, Operator, Subject, TwoReaders, WISH_VALID, Wish};

const FOLDER: &str = "four-eyes";
/// Everybody of the group writes, and removes only what is theirs.
const FOLDER_MODE: u32 = 0o1770;
const BYTES_MAX: u64 = 4096;

pub fn operator() -> Operator {
    Operator(rustix::process::getuid().as_raw())
}

/// Proof of the second reader, or the sentence that says how to get one.
pub fn two(copies: &Copies, folder: &Path, subject: &Subject<'_>) -> Result<TwoReaders, Stop> {
    let now = SystemClock.now();
    let wish = copies.wish(subject, operator(), now).map_err(super::stop)?;
    let place = open_folder(folder)?;
    let asked = place.join(format!("{}.asked", wish.number));
    let number = wish.number;
    write_asked(&asked, &wish, subject)?;
    let by = match released(&place, &wish)? {
        Some(by) => by,
        None => {
            return Err(Stop::new(Exit::Declined, "another operator must release it first").then(format!(
                "Another user runs `amtsbote register release {number} --folder {}` before {}; then repeat this command",
                folder.display(),
                screen::instant(wish.expires_at)
            )));
        }
    };
    let two = copies.released(wish, by, now).map_err(super::stop)?;
    let _ = fs::remove_file(&asked);
    let _ = fs::remove_file(place.join(format!("{number}.released")));
    Ok(two)
}

fn open_folder(folder: &Path) -> Result<PathBuf, Stop> {
    let place = folder.join(FOLDER);
    let failed = |error| unusable(&place, &error);
    match fs::create_dir(&place) {
        Ok(()) => fs::set_permissions(&place, fs::Permissions::from_mode(FOLDER_MODE)).map_err(failed)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    // What nobody came back for.
    for entry in fs::read_dir(&place).map_err(failed)?.flatten() {
        let old = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
        if old.is_some_and(|age| age > 2 * WISH_VALID) {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(place)
}

fn write_asked(path: &Path, wish: &Wish, subject: &Subject<'_>) -> Result<(), Stop> {
    let text = format!("{}\n{}\n{}\n{}\n", wish.challenge, wish.expires_at, wish.reader, subject.words());
    match read_small(path) {
        Ok((known, _)) if known == text => return Ok(()),
        Ok(_) => fs::remove_file(path).map_err(|error| unusable(path, &error))?,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(unusable(path, &error)),
    }
    write_new(path, &text).map_err(|error| unusable(path, &error))
}

/// Whose release it is, if there is one that fits.
fn released(place: &Path, wish: &Wish) -> Result<Option<Operator>, Stop> {
    let path = place.join(format!("{}.released", wish.number));
    match read_small(&path) {
        Ok((text, owner)) if text.trim() == wish.challenge => Ok(Some(owner)),
        Ok(_) => Err(Stop::failed(format!("{} releases something else", path.display()))
            .then("Its owner removes it and releases again")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(&path, &error)),
    }
}

/// `amtsbote register release`: without a number, what waits.
pub fn release(folder: &Path, number: Option<u64>) -> Result<Exit, Stop> {
    let place = folder.join(FOLDER);
    let Some(number) = number else { return list(&place) };
    let path = place.join(format!("{number}.asked"));
    let (text, asker) = match read_small(&path) {
        Ok(read) => read,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Stop::new(Exit::Unknown, format!("nothing waits under number {number}")));
        }
        Err(error) => return Err(unusable(&path, &error)),
    };
    if asker == operator() {
        return Err(super::stop(CopyError::Refused(
            "whoever reads cannot release it: another operator does",
        )));
    }
    let mut lines = text.lines();
    let (challenge, until) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let over = until.parse::<Timestamp>().is_ok_and(|until| until <= SystemClock.now());
    if over {
        return Err(Stop::failed("the time for this reading is over").then("Whoever reads asks again"));
    }
    let release = place.join(format!("{number}.released"));
    match write_new(&release, &format!("{challenge}\n")) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Stop::failed("it was released before"));
        }
        Err(error) => return Err(unusable(&release, &error)),
    }
    screen::sentence(&format!("Released to {asker}, once, until {until}."));
    Ok(Exit::Done)
}

fn list(place: &Path) -> Result<Exit, Stop> {
    let mut table = Table::new(&[
        ("NUMBER", Align::Right),
        ("READER", Align::Left),
        ("UNTIL", Align::Left),
        ("WHAT", Align::Left),
    ]);
    let mut waiting: Vec<(u64, [String; 3])> = Vec::new();
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".asked")?.parse().ok());
        if let (Some(number), Ok((text, asker))) = (number, read_small(&entry.path())) {
            let line = |place: usize| screen::plain(text.lines().nth(place).unwrap_or_default()).to_string();
            waiting.push((number, [asker.to_string(), line(1), line(3)]));
        }
    }
    waiting.sort();
    for (number, [reader, until, what]) in waiting {
        table.row([number.to_string(), reader, until, what]);
    }
    screen::data(&table.render())?;
    Ok(Exit::Done)
}

/// A plain file that nobody but its owner can write, and whose it is. A link to another's file proves nothing, and a pipe
/// that somebody laid there holds nobody up.
fn read_small(path: &Path) -> std::io::Result<(String, Operator)> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.nlink() != 1 || meta.mode() & 0o022 != 0 {
        let what = "is no plain file that its owner alone can write";
        return Err(std::io::Error::new(ErrorKind::InvalidData, what));
    }
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text)?;
    Ok((text, Operator(meta.uid())))
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(path)?;
    file.write_all(text.as_bytes())?;
    // The others of the group read it, whatever the umask says, and nobody else.
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    file.sync_all()
}

fn unusable(path: &Path, error: &std::io::Error) -> Stop {
    Stop::failed(format!("{}: {error}", path.display()))
        .then("The folder four-eyes belongs to a group that both operators are in (mode 1770)")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use rustix::fs::{CWD, FileType, Mode};

    use super::*;

    #[test]
    fn a_file_that_another_can_change_proves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        write_new(&path("good"), "word").expect("written");
        let (text, owner) = read_small(&path("good")).expect("read");
        assert_eq!((text.as_str(), owner), ("word", operator()));
        std::os::unix::fs::symlink(path("good"), path("link")).expect("a link");
        fs::write(path("twice"), "word")
            .and_then(|()| fs::hard_link(path("twice"), path("second")))
            .expect("two");
        fs::write(path("open"), "word").expect("written");
        fs::set_permissions(path("open"), fs::Permissions::from_mode(0o664)).expect("open to all");
        for name in ["link", "twice", "open", "."] {
            assert!(read_small(&path(name)).is_err(), "{name}");
        }
    }

    /// Whoever reads does not wait until somebody writes into it.
    #[test]
    fn a_pipe_holds_nobody_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("1.asked");
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a pipe");
        let (done, freed) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            // Lets a reader go that would wait forever, so that the test ends.
            scope.spawn(|| {
                for _ in 0..6000 {
                    if done.load(Ordering::Acquire) {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
                freed.store(true, Ordering::Release);
                drop(OpenOptions::new().read(true).write(true).open(&path));
            });
            assert!(read_small(&path).is_err());
            done.store(true, Ordering::Release);
        });
        assert!(!freed.load(Ordering::Acquire), "the reader waited");
    }
}
