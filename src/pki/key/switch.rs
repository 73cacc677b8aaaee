//! Several files that change together, such as a key and its certificate: all of them or none, whenever the machine
//! stops.
//!
//! What is new is written beside what is there. Then a journal that names every step comes into the folder in one
//! rename: from that instant on the change counts, and whoever finds the journal takes the steps that are left. Each
//! can be taken twice. Before that instant nothing has changed. The journal names whole paths, so that it is good from
//! whatever folder it is found.
//!
//! One change at a time: whoever makes or completes one holds a lock on the folders (flock(2)).

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Error, Readers, read_bounded, sync_folder_of, write_partial};

/// The journal's name, in the folder of the first file.
pub const JOURNAL: &str = ".amtsbote-change";

/// A file to be written at a place where another may be.
#[derive(Debug, Clone)]
pub struct NewFile {
    pub path: PathBuf,
    pub bytes: Vec<u8>,
    pub readers: Readers,
    /// The name under which the file goes on that is there; it must be free.
    pub kept: PathBuf,
}

/// One file's part of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    path: PathBuf,
    /// Takes the place; without it the place becomes empty.
    from: Option<PathBuf>,
    /// Where what was there goes on, if anything was.
    kept: Option<PathBuf>,
}

impl Step {
    fn relative(&self) -> Option<&Path> {
        let paths = [Some(&self.path), self.from.as_ref(), self.kept.as_ref()];
        paths.into_iter().flatten().map(PathBuf::as_path).find(|path| path.is_relative())
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Journal {
    version: u32,
    steps: Vec<Step>,
}

const VERSION: u32 = 1;

/// A change that was made.
#[derive(Debug)]
pub struct Switched {
    steps: Vec<Step>,
}

impl Switched {
    /// Where the former files are.
    pub fn kept(&self) -> Vec<PathBuf> {
        self.steps.iter().filter_map(|step| step.kept.clone()).collect()
    }

    /// Takes it back, all of it or nothing.
    pub fn undo(self) -> Result<(), Error> {
        self.undo_within(&mut Stop::Never)
    }

    fn undo_within(self, stop: &mut Stop) -> Result<(), Error> {
        let _alone = Locks::take(self.steps.iter().map(|step| step.path.as_path()))?;
        let back = |step: Step| Step { path: step.path, from: step.kept, kept: None };
        let steps: Vec<Step> = self.steps.into_iter().map(back).collect();
        commit(&steps, stop)?;
        Ok(())
    }
}

/// Where a test pulls the plug.
enum Stop {
    Never,
    #[cfg(test)]
    After(usize),
}

impl Stop {
    /// Before each change on disk.
    fn pass(&mut self, path: &Path) -> Result<(), Error> {
        match self {
            Self::Never => Ok(()),
            #[cfg(test)]
            Self::After(0) => {
                Err(Error::Write { path: path.to_owned(), source: std::io::Error::other("unplugged") })
            }
            #[cfg(test)]
            Self::After(left) => {
                *left -= 1;
                Ok(())
            }
        }
        .inspect_err(|_| tracing::debug!(path = %path.display(), "stopped"))
    }
}

/// Puts the files in their places, together.
pub fn switch(files: &[NewFile]) -> Result<Switched, Error> {
    switch_within(files, &mut Stop::Never)
}

fn switch_within(files: &[NewFile], stop: &mut Stop) -> Result<Switched, Error> {
    let files: Vec<NewFile> = files
        .iter()
        .map(|file| Ok(NewFile { path: whole(&file.path)?, kept: whole(&file.kept)?, ..file.clone() }))
        .collect::<Result<_, Error>>()?;
    let places = || files.iter().map(|file| file.path.as_path());
    let _alone = Locks::take(places())?;
    // Its files that are still to come must not be overwritten.
    if let Some(journal) = interrupted(places()).into_iter().next() {
        let why = "an earlier change is not complete; try again, which completes it first";
        return Err(Error::Write { path: journal, source: std::io::Error::other(why) });
    }
    let mut steps = Vec::new();
    let prepared = files.iter().try_for_each(|file| {
        let former = match std::fs::symlink_metadata(&file.path) {
            Ok(found) if found.file_type().is_symlink() => {
                // Whoever placed the link expects it to stay one.
                return Err(Error::Link { path: file.path.clone() });
            }
            Ok(found) => Some(found),
            Err(_) => None,
        };
        if former.is_some() && file.kept.symlink_metadata().is_ok() {
            let source = std::io::ErrorKind::AlreadyExists.into();
            return Err(Error::Write { path: file.kept.clone(), source });
        }
        stop.pass(&file.path)?;
        let incoming = beside(&file.path, ".incoming");
        let place = |partial: &Path| std::fs::rename(partial, &incoming);
        write_partial(&file.path, &file.bytes, file.readers, former.as_ref(), place)?;
        let kept = former.map(|_| file.kept.clone());
        steps.push(Step { path: file.path.clone(), from: Some(incoming), kept });
        Ok(())
    });
    let done = prepared.and_then(|()| commit(&steps, stop));
    if let Err(error) = done {
        // Where the journal is there, the change counts and what is left of it is still needed.
        let is_begun = steps.first().is_some_and(|step| journal_of(&step.path).exists());
        if !is_begun {
            steps
                .iter()
                .filter_map(|step| step.from.as_ref())
                .for_each(|from| drop(std::fs::remove_file(from)));
        }
        return Err(error);
    }
    Ok(Switched { steps })
}

fn commit(steps: &[Step], stop: &mut Stop) -> Result<(), Error> {
    let Some(first) = steps.first() else { return Ok(()) };
    let journal = journal_of(&first.path);
    let failed = |source| Error::Write { path: journal.clone(), source };
    let text = serde_json::to_vec(&Journal { version: VERSION, steps: steps.to_vec() })
        .map_err(|error| failed(std::io::Error::other(error)))?;
    stop.pass(&journal)?;
    super::write_new(&journal, &text, Readers::Owner)?;
    take(steps, stop)?;
    stop.pass(&journal)?;
    std::fs::remove_file(&journal).and_then(|()| sync_folder_of(&journal)).map_err(failed)
}

/// Each step can be taken again after it was taken.
fn take(steps: &[Step], stop: &mut Stop) -> Result<(), Error> {
    for step in steps {
        let failed = |source| Error::Write { path: step.path.clone(), source };
        match &step.from {
            Some(from) if from.symlink_metadata().is_err() => {
                if step.path.symlink_metadata().is_err() {
                    let why = format!("neither it nor {}, which takes its place, is there", from.display());
                    return Err(failed(std::io::Error::other(why)));
                }
                // Moved already.
                continue;
            }
            Some(from) => {
                if let Some(kept) = &step.kept
                    && !same_file(&step.path, kept)
                {
                    stop.pass(kept)?;
                    std::fs::hard_link(&step.path, kept).map_err(failed)?;
                }
                stop.pass(&step.path)?;
                std::fs::rename(from, &step.path).map_err(failed)?;
            }
            None if step.path.symlink_metadata().is_err() => continue,
            None => {
                stop.pass(&step.path)?;
                std::fs::remove_file(&step.path).map_err(failed)?;
            }
        }
        sync_folder_of(&step.path).map_err(failed)?;
    }
    Ok(())
}

/// Takes what is left of a change that was interrupted, if there was one, and says where its journal was.
pub fn recover<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<Vec<PathBuf>, Error> {
    let paths: Vec<&Path> = paths.into_iter().collect();
    let found = interrupted(paths.iter().copied());
    if found.is_empty() {
        return Ok(found);
    }
    // Who is in the middle of it, and not interrupted, is waited for: a few renames.
    let _alone = Locks::take(found.iter().map(PathBuf::as_path))?;
    let journals = interrupted(paths);
    for journal in &journals {
        let failed = |why: String| Error::Write { path: journal.clone(), source: std::io::Error::other(why) };
        let read: Journal =
            serde_json::from_slice(&read_bounded(journal)?).map_err(|error| failed(error.to_string()))?;
        if read.version != VERSION {
            return Err(failed(format!("a change of version {}, {VERSION} is known", read.version)));
        }
        if let Some(path) = read.steps.iter().find_map(Step::relative) {
            return Err(failed(format!(
                "it names {}, which depends on the folder where the change was begun: from there move each file that \
                 it names under `from` to its `path`, then remove the journal",
                path.display()
            )));
        }
        take(&read.steps, &mut Stop::Never)?;
        std::fs::remove_file(journal)
            .and_then(|()| sync_folder_of(journal))
            .map_err(|error| failed(error.to_string()))?;
    }
    Ok(journals)
}

/// Journals of changes that were interrupted, in the folders of these files.
pub fn interrupted<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Vec<PathBuf> {
    let mut journals: Vec<PathBuf> = paths.into_iter().map(journal_of).collect();
    journals.sort();
    journals.dedup();
    journals.retain(|journal| journal.exists());
    journals
}

fn whole(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|source| Error::Write { path: path.to_owned(), source })
}

/// Folders that nobody else changes meanwhile. The folders themselves are locked, so nothing is left behind.
///
/// Dropping it unlocks expressly: a process started meanwhile inherits the open folder until it executes its program.
struct Locks(Vec<File>);

impl Locks {
    /// On the folders of these files. Waits for whoever holds one.
    fn take<'a>(paths: impl Iterator<Item = &'a Path>) -> Result<Self, Error> {
        let mut folders = Vec::new();
        for path in paths {
            let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            let failed = |source| Error::Write { path: folder.to_owned(), source };
            let file = File::open(folder).map_err(failed)?;
            let meta = file.metadata().map_err(failed)?;
            folders.push(((meta.dev(), meta.ino()), folder, file));
        }
        // Each once, as two paths may lead to it, and all in one order, so that no two wait for each other.
        folders.sort_by_key(|(id, ..)| *id);
        folders.dedup_by_key(|(id, ..)| *id);
        let mut locks = Self(Vec::new());
        for (_, folder, file) in folders {
            rustix::io::retry_on_intr(|| rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive))
                .map_err(|error| Error::Write { path: folder.to_owned(), source: error.into() })?;
            locks.0.push(file);
        }
        Ok(locks)
    }
}

impl Drop for Locks {
    fn drop(&mut self) {
        for file in &self.0 {
            // Where this fails the lock goes with the last descriptor.
            let _ = rustix::fs::flock(file, rustix::fs::FlockOperation::Unlock);
        }
    }
}

fn journal_of(path: &Path) -> PathBuf {
    path.with_file_name(JOURNAL)
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (one.symlink_metadata(), other.symlink_metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// `path` with `ending` behind its name.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["a.key", "a.crt", "b.crt"];

    struct Bench(tempfile::TempDir);

    impl Bench {
        /// The last file is not there yet.
        fn new() -> Self {
            let bench = Self(tempfile::tempdir().expect("a folder"));
            for name in &NAMES[..2] {
                super::super::write_new(&bench.path(name), b"old", Readers::Owner).expect("written");
            }
            bench
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn files(&self) -> Vec<NewFile> {
            let file = |name: &&str| NewFile {
                path: self.path(name),
                bytes: b"new".to_vec(),
                readers: Readers::Owner,
                kept: self.path(&format!("{name}.kept")),
            };
            NAMES.iter().map(file).collect()
        }

        fn recover(&self) -> usize {
            let paths: Vec<PathBuf> = NAMES.iter().map(|name| self.path(name)).collect();
            recover(paths.iter().map(PathBuf::as_path)).expect("recovers").len()
        }

        fn state(&self) -> Vec<Option<String>> {
            NAMES.iter().map(|name| std::fs::read_to_string(self.path(name)).ok()).collect()
        }

        fn count(&self) -> usize {
            std::fs::read_dir(self.0.path()).expect("readable").count()
        }
    }

    fn states() -> (Vec<Option<String>>, Vec<Option<String>>) {
        let some = |text: &str| Some(text.to_owned());
        (vec![some("old"), some("old"), None], vec![some("new"); 3])
    }

    #[test]
    fn a_plug_that_is_pulled_at_any_step_leaves_all_or_nothing() {
        let (old, new) = states();
        let (mut before, mut after) = (0, 0);
        for steps in 0..32 {
            let bench = Bench::new();
            let outcome = switch_within(&bench.files(), &mut Stop::After(steps));
            let was_begun = bench.recover() == 1;
            let state = bench.state();
            assert!(state == old || state == new, "after {steps} steps: {state:?}");
            assert_eq!(was_begun, outcome.is_err() && state == new, "after {steps} steps");
            assert_eq!(bench.recover(), 0, "nothing is left to do");
            match state == old {
                true => assert_eq!(bench.count(), 2, "no remains after {steps} steps"),
                false => {
                    assert_eq!(bench.count(), 5, "three files and two former ones after {steps} steps");
                    let kept = std::fs::read(bench.path("a.key.kept")).expect("kept");
                    assert_eq!(kept, b"old");
                }
            }
            before += usize::from(outcome.is_err() && state == old);
            after += usize::from(outcome.is_err() && state == new);
            if outcome.is_ok() {
                assert!(before >= 4 && after >= 6, "{before} steps before it counts, {after} after");
                return;
            }
        }
        panic!("it never ended");
    }

    #[test]
    fn taking_back_is_all_or_nothing_too() {
        let (old, new) = states();
        for steps in 0..32 {
            let bench = Bench::new();
            let switched = switch(&bench.files()).expect("switched");
            assert_eq!(switched.kept().len(), 2);
            let outcome = switched.undo_within(&mut Stop::After(steps));
            bench.recover();
            let state = bench.state();
            assert!(state == old || (state == new && outcome.is_err()), "after {steps} steps: {state:?}");
            if outcome.is_ok() {
                assert_eq!((state, bench.count()), (old, 2), "no remains");
                return;
            }
        }
        panic!("it never ended");
    }

    #[test]
    fn links_taken_names_and_strange_journals_change_nothing() {
        let bench = Bench::new();
        let (old, _) = states();
        std::fs::write(bench.path("a.crt.kept"), b"of before").expect("written");
        assert!(switch(&bench.files()).is_err(), "the name is taken");
        std::fs::remove_file(bench.path("a.crt.kept")).expect("removed");
        std::os::unix::fs::symlink(bench.path("a.key"), bench.path("b.crt")).expect("a link");
        assert!(matches!(switch(&bench.files()), Err(Error::Link { .. })));
        std::fs::remove_file(bench.path("b.crt")).expect("removed");
        assert_eq!((bench.state(), bench.count()), (old.clone(), 2));
        for strange in ["", "{}", "{\"version\":2,\"steps\":[]}"] {
            std::fs::write(bench.path(JOURNAL), strange).expect("written");
            let paths = [bench.path("a.key")];
            assert!(recover(paths.iter().map(PathBuf::as_path)).is_err(), "{strange:?}");
            assert_eq!(bench.state(), old);
        }
    }

    /// The same place, as seen from where the tests run.
    fn relative(path: &Path) -> PathBuf {
        let here = std::env::current_dir().expect("a folder");
        let up = here.components().skip(1).map(|_| "..");
        up.collect::<PathBuf>().join(path.strip_prefix("/").expect("absolute"))
    }

    #[test]
    fn a_journal_is_good_from_every_folder() {
        let bench = Bench::new();
        let mut files = bench.files();
        for file in &mut files {
            file.path = relative(&file.path);
            file.kept = relative(&file.kept);
        }
        // Three files and the journal are there, and no step is taken.
        assert!(switch_within(&files, &mut Stop::After(4)).is_err(), "unplugged");
        let text = std::fs::read(bench.path(JOURNAL)).expect("begun");
        let journal: Journal = serde_json::from_slice(&text).expect("a journal");
        assert_eq!(journal.steps.len(), 3);
        for step in &journal.steps {
            let paths = [Some(&step.path), step.from.as_ref(), step.kept.as_ref()];
            assert!(paths.into_iter().flatten().all(|path| path.is_absolute()), "{step:?}");
        }
        assert_eq!(bench.recover(), 1);
        assert_eq!(bench.state(), states().1);
    }

    #[test]
    fn what_cannot_be_found_is_not_taken_for_done() {
        let (bench, (old, _)) = (Bench::new(), states());
        let step = |path: &Path, from: &Path, kept: Option<PathBuf>| Step {
            path: path.to_owned(),
            from: Some(from.to_owned()),
            kept,
        };
        let (there, absent) = (bench.path("a.key"), bench.path("absent"));
        for (steps, why) in [
            (vec![step(Path::new("a.key"), Path::new("a.key.incoming"), None)], "depends on the folder"),
            (vec![step(&there, Path::new("a.key.incoming"), None)], "depends on the folder"),
            (vec![step(&there, &absent, Some("a.key.kept".into()))], "depends on the folder"),
            (vec![step(&absent, &bench.path("absent.incoming"), None)], "neither"),
        ] {
            let text = serde_json::to_vec(&Journal { version: VERSION, steps }).expect("a journal");
            std::fs::write(bench.path(JOURNAL), text).expect("written");
            let error = recover([there.as_path()]).expect_err(why);
            let Error::Write { source, .. } = &error else { panic!("{error:?}") };
            assert!(source.to_string().contains(why), "{source}");
            assert!(bench.path(JOURNAL).exists(), "it stays");
            assert_eq!(bench.state(), old);
        }
    }

    #[test]
    fn one_change_at_a_time() {
        let bench = Bench::new();
        assert!(switch_within(&bench.files(), &mut Stop::After(4)).is_err(), "unplugged");
        let mut others = bench.files();
        others.iter_mut().for_each(|file| file.bytes = b"other".to_vec());
        switch(&others).expect_err("another one is not complete");
        let paths: Vec<PathBuf> = NAMES.iter().map(|name| bench.path(name)).collect();

        // Somebody is in the middle of a change.
        let folder = std::fs::File::open(bench.0.path()).expect("the folder");
        rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive).expect("locked");
        let (done, outcome) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn(move || {
            let recovered = recover(paths.iter().map(PathBuf::as_path)).expect("recovers").len();
            done.send(recovered).expect("heard");
        });
        let early = outcome.recv_timeout(std::time::Duration::from_millis(200));
        assert!(early.is_err(), "it did not wait");
        rustix::fs::flock(&folder, rustix::fs::FlockOperation::Unlock).expect("unlocked");
        assert_eq!(outcome.recv_timeout(std::time::Duration::from_secs(30)), Ok(1));
        waiting.join().expect("ends");
        assert_eq!(bench.state(), states().1, "the first one");
        switch(&bench.files()[2..]).expect("unlocked").undo().expect("unlocked again");
    }
}
