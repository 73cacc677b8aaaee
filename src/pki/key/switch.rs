//! Several files that change together, such as a key and its certificate: all of them or none, whenever the machine
//! stops.
//!
//! What is new is written beside what is there. Then a journal that names every step comes into the folder in one
//! rename: from that instant on the change counts, and whoever finds the journal takes the steps that are left. Each
//! can be taken twice. Before that instant nothing has changed.

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
            // Moved already.
            Some(from) if from.symlink_metadata().is_err() => continue,
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
    let journals = interrupted(paths);
    for journal in &journals {
        let failed = |why: String| Error::Write { path: journal.clone(), source: std::io::Error::other(why) };
        let read: Journal =
            serde_json::from_slice(&read_bounded(journal)?).map_err(|error| failed(error.to_string()))?;
        if read.version != VERSION {
            return Err(failed(format!("a change of version {}, {VERSION} is known", read.version)));
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
}
