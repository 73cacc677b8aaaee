//! How many bytes each attachment of the drafts keeps, or may keep before its upload ends.
//!
//! An upload claims what it says it brings before a byte of it is taken, so that uploads that come at the same time see each
//! other: within one submission, and within all that a client has uploaded and not submitted. The ledger follows from the
//! files and is read from them when an account is first asked about; only uploads at work know more than the files.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::draft;

/// An attachment's bytes, and whose they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Which of the account's clients; absent for one that showed a certificate.
    pub client: Option<String>,
    pub bytes: u64,
}

/// In bytes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Of one draft's attachments.
    pub draft: u64,
    /// Of all attachments of one client.
    pub client: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    Fits,
    OverDraft,
    /// The client's other attachments keep so much.
    OverClient(u64),
}

#[derive(Debug, Default)]
pub struct Ledger(Mutex<Books>);

/// Attachments by account, draft and name, as they lie in the folder.
#[derive(Debug, Default)]
struct Books {
    read: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Kept>,
}

impl Books {
    fn below<'a>(&'a self, place: &'a Path) -> impl Iterator<Item = (&'a PathBuf, &'a Kept)> {
        self.files.range(place.to_owned()..).take_while(move |(path, _)| path.starts_with(place))
    }
}

impl Ledger {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn knows(&self, account: &Path) -> bool {
        self.books().read.contains(account)
    }

    /// Takes over what lies in an account's folder. What an upload at work has claimed meanwhile counts.
    pub fn learn(&self, account: PathBuf, files: BTreeMap<PathBuf, Kept>) {
        let mut books = self.books();
        if !books.read.insert(account) {
            return;
        }
        let mut learnt = Vec::new();
        for (path, kept) in files {
            if let Entry::Vacant(place) = books.files.entry(path.clone()) {
                place.insert(kept);
                learnt.push(path);
            }
        }
        drop(books);
        // What was forgotten since it was listed was not yet in the books then; what is forgotten from here on is.
        let gone = not_there(learnt);
        let mut books = self.books();
        for path in not_there(gone) {
            books.files.remove(&path);
        }
    }

    /// Nothing is kept any more in this place.
    pub fn forget(&self, place: &Path) {
        let mut books = self.books();
        let gone: Vec<PathBuf> = books.below(place).map(|(path, _)| path.clone()).collect();
        gone.iter().for_each(|path| drop(books.files.remove(path)));
    }

    /// Begins with what lies there already.
    pub fn claim(self: &Arc<Self>, path: PathBuf, client: Option<&str>, bytes: u64) -> Claim {
        let client = client.map(str::to_owned);
        self.books().files.insert(path.clone(), Kept { client: client.clone(), bytes });
        Claim { ledger: self.clone(), path, client, bytes, left: None }
    }
}

/// Those that do not lie there, neither whole nor in part. Each folder is listed once for all that are one behind the other.
fn not_there(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut listed: Option<(PathBuf, BTreeMap<PathBuf, u64>)> = None;
    paths.retain(|path| {
        let Some(place) = path.parent() else { return true };
        if listed.as_ref().is_none_or(|(at, _)| at != place) {
            listed = Some((place.to_owned(), draft::kept(place).unwrap_or_default()));
        }
        !listed.as_ref().is_some_and(|(_, kept)| kept.contains_key(path))
    });
    paths
}

/// What one upload may keep. Dropped, it is what the upload has left.
#[derive(Debug)]
pub struct Claim {
    ledger: Arc<Ledger>,
    /// Of the attachment, whole.
    path: PathBuf,
    client: Option<String>,
    bytes: u64,
    left: Option<u64>,
}

impl Claim {
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn client(&self) -> Option<&str> {
        self.client.as_deref()
    }

    /// The upload has left so much, and nobody need look.
    pub fn leaves(&mut self, bytes: u64) {
        self.left = Some(bytes);
    }

    /// Makes it `whole` bytes, and up to `ahead` more where that fits as well.
    pub fn extend(&mut self, whole: u64, ahead: u64, bounds: Bounds) -> Extent {
        let (Some(draft), Some(account)) = (self.path.parent(), self.path.parent().and_then(Path::parent))
        else {
            return Extent::OverDraft;
        };
        let mut books = self.ledger.books();
        let sum = |place: &Path, client: Option<&Option<String>>| {
            let others = books.below(place).filter(|(path, kept)| {
                **path != self.path && client.is_none_or(|client| kept.client == *client)
            });
            others.fold(0u64, |sum, (_, kept)| sum.saturating_add(kept.bytes))
        };
        let (of_draft, of_client) = (sum(draft, None), sum(account, Some(&self.client)));
        let room = bounds.draft.saturating_sub(of_draft).min(bounds.client.saturating_sub(of_client));
        if whole > room {
            return match of_draft.saturating_add(whole) > bounds.draft {
                true => Extent::OverDraft,
                false => Extent::OverClient(of_client),
            };
        }
        self.bytes = self.bytes.max(whole.saturating_add(ahead).min(room));
        let (client, bytes) = (self.client.clone(), self.bytes);
        books.files.insert(self.path.clone(), Kept { client, bytes });
        Extent::Fits
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let look = || draft::kept(self.path.parent()?).ok().map(|kept| kept.get(&self.path).copied());
        let Some(left) = self.left.map(Some).or_else(look) else { return };
        let mut books = self.ledger.books();
        match left {
            Some(bytes) if bytes > 0 => {
                if let Some(kept) = books.files.get_mut(&self.path) {
                    kept.bytes = bytes;
                }
            }
            _ => drop(books.files.remove(&self.path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const BOUNDS: Bounds = Bounds { draft: 100, client: 150 };

    fn claim(ledger: &Arc<Ledger>, folder: &Path, name: &str, client: Option<&str>) -> Claim {
        let path = folder.join("account").join(name);
        ledger.claim(path, client, 0)
    }

    #[test]
    fn uploads_at_the_same_time_see_each_other() {
        let (ledger, folder) = (Arc::default(), Path::new("/nowhere"));
        let mut one = claim(&ledger, folder, "a/1", Some("portal"));
        let mut other = claim(&ledger, folder, "a/2", Some("portal"));
        assert_eq!(one.extend(60, 0, BOUNDS), Extent::Fits);
        assert_eq!(other.extend(60, 0, BOUNDS), Extent::OverDraft);
        assert_eq!(other.extend(30, 50, BOUNDS), Extent::Fits, "less ahead");
        assert_eq!((one.bytes(), other.bytes()), (60, 40));
        let mut third = claim(&ledger, folder, "b/1", Some("portal"));
        assert_eq!(third.extend(51, 0, BOUNDS), Extent::OverClient(100));
        assert_eq!(third.extend(50, 0, BOUNDS), Extent::Fits);
        let mut neighbour = claim(&ledger, folder, "c/1", None);
        assert_eq!(neighbour.extend(100, 0, BOUNDS), Extent::Fits, "another client's");
        drop(one);
        assert_eq!(third.extend(100, 0, BOUNDS), Extent::Fits, "nothing of it was left");
        ledger.forget(&folder.join("account/b"));
        assert_eq!(other.extend(100, 0, BOUNDS), Extent::Fits);
    }

    #[test]
    fn what_an_upload_leaves_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = Arc::default();
        fs::create_dir_all(folder.path().join("account/a")).expect("a folder");
        let mut broken = claim(&ledger, folder.path(), "a/1", None);
        assert_eq!(broken.extend(90, 0, BOUNDS), Extent::Fits);
        fs::write(folder.path().join("account/a/1.part"), [0; 20]).expect("written");
        drop(broken);
        let mut next = claim(&ledger, folder.path(), "a/2", None);
        assert_eq!(next.extend(81, 0, BOUNDS), Extent::OverDraft);
        assert_eq!(next.extend(80, 0, BOUNDS), Extent::Fits);
    }

    #[test]
    fn what_lay_there_before_counts() {
        let (ledger, folder) = (Arc::<Ledger>::default(), tempfile::tempdir().expect("a folder"));
        let account = folder.path().join("account");
        fs::create_dir_all(account.join("a")).expect("a folder");
        fs::write(account.join("a/1"), [0; 40]).expect("written");
        fs::write(account.join("a/2.part"), [0; 30]).expect("written");
        assert!(!ledger.knows(&account));
        // The third was submitted after it was listed, and is in no book that could be told so.
        let listed = [("a/1", 40), ("a/2", 30), ("a/3", 30)];
        ledger.forget(&account.join("a/3"));
        let kept = |bytes| Kept { client: None, bytes };
        ledger.learn(account.clone(), listed.map(|(name, bytes)| (account.join(name), kept(bytes))).into());
        assert!(ledger.knows(&account));
        let mut next = claim(&ledger, folder.path(), "a/4", None);
        assert_eq!(next.extend(31, 0, BOUNDS), Extent::OverDraft);
        assert_eq!(next.extend(30, 0, BOUNDS), Extent::Fits);
    }
}
