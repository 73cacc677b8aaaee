//! The folder of one draft.
//!
//! ```text
//! announced.json
//! content                                          attachments, one behind the other as they came
//! <attachment>.<length>.<digest>.<tag>.<offset>    one of them, whole: nothing but a name
//! <attachment>.part                                while it is uploaded into a file of its own, also by a request that broke off
//! <attachment>.<length>.<digest>.<tag>             whole, in a file of its own
//! <attachment>, <attachment>.json                  the same, as older programs left it
//! ```
//! What is known of an attachment is a name, so that one change of the folder makes it whole, behind its bytes. `content`
//! may hold more than the names say: of an upload that was cut off, or of a payload that came to nothing.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::content::Digest;
use crate::domain::destination::{DestinationId, ServiceKey};
use crate::domain::message_id::MessageId;

pub const ANNOUNCED: &str = "announced.json";
const CONTENT: &str = "content";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    pub version: u16,
    pub at: Timestamp,
    pub until: Timestamp,
    pub message: MessageId,
    pub destination: DestinationId,
    pub service: ServiceKey,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    pub attachments: Vec<Uuid>,
    /// The case that it continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<Uuid>,
    /// Which of the account's clients announced it; absent for one that showed a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Revision of the directory at that time; under another one, keys may be others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<u64>,
}

/// An attachment that is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uploaded {
    pub length: u64,
    pub digest: Digest,
    pub tag: String,
}

/// The same, and where its bytes lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub uploaded: Uploaded,
    pub file: PathBuf,
    pub offset: u64,
}

/// What a folder holds.
#[derive(Debug, Default)]
pub struct Contents {
    pub whole: BTreeMap<Uuid, Kept>,
    /// Attachments that lie there in part, and their bytes.
    pub parts: BTreeMap<Uuid, u64>,
    /// Where the last one in `content` ends.
    pub end: u64,
}

#[derive(Debug, Clone)]
pub struct Draft(PathBuf);

/// What a name in the folder says.
enum Name<'a> {
    Whole {
        attachment: &'a str,
        uploaded: Uploaded,
        offset: Option<u64>,
    },
    Part {
        attachment: &'a str,
    },
    /// By an older program, if there is a note beside it.
    Older {
        attachment: &'a str,
    },
    Other,
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

impl<'a> Name<'a> {
    fn parse(name: &'a OsStr) -> Self {
        let Some(name) = name.to_str().filter(|name| *name != CONTENT) else { return Self::Other };
        let parts: Vec<&str> = name.split('.').collect();
        let uploaded = |length: &str, digest: &str, tag: &str| {
            let digest = Digest::try_from(digest.to_owned()).ok()?;
            Some(Uploaded { length: number(length)?, digest, tag: tag.to_owned() })
        };
        match *parts.as_slice() {
            [attachment] => Self::Older { attachment },
            [attachment, "part"] => Self::Part { attachment },
            [attachment, length, digest, tag] => match uploaded(length, digest, tag) {
                Some(uploaded) => Self::Whole { attachment, uploaded, offset: None },
                None => Self::Other,
            },
            [attachment, length, digest, tag, offset] => {
                match (uploaded(length, digest, tag), number(offset)) {
                    (Some(uploaded), Some(offset)) => {
                        Self::Whole { attachment, uploaded, offset: Some(offset) }
                    }
                    _ => Self::Other,
                }
            }
            _ => Self::Other,
        }
    }
}

impl Uploaded {
    fn name(&self, attachment: Uuid) -> String {
        format!("{}.{}.{}.{}", attachment.hyphenated(), self.length, self.digest, self.tag)
    }
}

impl Draft {
    pub fn at(folder: PathBuf) -> Self {
        Self(folder)
    }

    pub fn place(&self) -> &Path {
        &self.0
    }

    /// On disk when this returns; of the folders above, whoever made them must see to it.
    pub fn begin(&self, announced: &Announced) -> io::Result<()> {
        let written = serde_json::to_vec(announced).map_err(io::Error::other)?;
        match fs::create_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.0.parent().map_or(Ok(()), fs::create_dir_all)?;
                fs::create_dir(&self.0)?;
            }
            made => made?,
        }
        // Nobody knows of the draft before it is begun: what a power cut leaves of this file is swept with its folder.
        let begun = File::create_new(self.0.join(ANNOUNCED)).and_then(|mut file| {
            file.write_all(&written)?;
            file.sync_all()
        });
        if let Err(error) = begun {
            let _ = fs::remove_dir_all(&self.0);
            return Err(error);
        }
        synced(&self.0)?;
        self.0.parent().map_or(Ok(()), synced)
    }

    pub fn announced(&self) -> io::Result<Option<Announced>> {
        read(&self.0.join(ANNOUNCED))
    }

    /// How the books call the attachment.
    pub fn whole(&self, attachment: Uuid) -> PathBuf {
        self.0.join(attachment.hyphenated().to_string())
    }

    pub fn part(&self, attachment: Uuid) -> PathBuf {
        self.0.join(format!("{}.part", attachment.hyphenated()))
    }

    pub fn content(&self) -> PathBuf {
        self.0.join(CONTENT)
    }

    pub fn contents(&self) -> io::Result<Contents> {
        let mut contents = Contents::default();
        for path in listed(&self.0)? {
            let Some(name) = path.file_name() else { continue };
            match Name::parse(name) {
                Name::Whole { attachment, uploaded, offset } => {
                    let Ok(attachment) = Uuid::try_parse(attachment) else { continue };
                    let file = offset.map_or_else(|| path.clone(), |_| self.content());
                    let end = offset.map_or(0, |offset| offset.saturating_add(uploaded.length));
                    contents.end = contents.end.max(end);
                    let kept = Kept { uploaded, file, offset: offset.unwrap_or(0) };
                    contents.whole.entry(attachment).or_insert(kept);
                }
                Name::Part { attachment } => {
                    let Ok(attachment) = Uuid::try_parse(attachment) else { continue };
                    if let Some(bytes) = length(&path)? {
                        contents.parts.insert(attachment, bytes);
                    }
                }
                Name::Older { attachment } => {
                    let Ok(attachment) = Uuid::try_parse(attachment) else { continue };
                    if let Some(uploaded) = read::<Uploaded>(&path.with_extension("json"))? {
                        let kept = Kept { uploaded, file: path, offset: 0 };
                        // An older program that did not know of the other one took it once more, behind that.
                        contents.whole.insert(attachment, kept);
                    }
                }
                Name::Other => {}
            }
        }
        Ok(contents)
    }

    /// `content`, to go on behind `end`; nothing where another name of it may be a message's.
    pub fn open_content(&self, end: u64) -> io::Result<Option<File>> {
        use std::os::unix::fs::MetadataExt;
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(self.content())?;
        let found = file.metadata()?;
        if found.nlink() != 1 || found.len() < end {
            return Ok(None);
        }
        if found.len() > end {
            file.set_len(end)?;
        }
        io::Seek::seek(&mut (&file), io::SeekFrom::Start(end))?;
        Ok(Some(file))
    }

    /// The part has been written to `file` as a whole: it becomes the attachment. What that is called.
    /// `alone` waits until nobody submits the draft.
    pub fn complete<T>(
        &self,
        attachment: Uuid,
        uploaded: &Uploaded,
        file: &File,
        alone: impl FnOnce() -> T,
    ) -> io::Result<PathBuf> {
        if let Err(error) = file.sync_all() {
            // The disk says so once and then calls the same bytes safe: only new ones can be.
            let _ = fs::remove_file(self.part(attachment));
            return Err(error);
        }
        self.name_part(attachment, uploaded, alone, synced)
    }

    /// Where the name does not last it goes, and with it what nobody was told of.
    fn name_part<T>(
        &self,
        attachment: Uuid,
        uploaded: &Uploaded,
        alone: impl FnOnce() -> T,
        synced: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<PathBuf> {
        let whole = self.0.join(uploaded.name(attachment));
        fs::rename(self.part(attachment), &whole)?;
        if let Err(error) = synced(&self.0) {
            let _alone = alone();
            let _ = fs::remove_file(&whole);
            return Err(error);
        }
        Ok(whole)
    }

    /// The attachment is none any more. Of bytes that lie with others no name tells from here on.
    pub fn let_go(&self, attachment: Uuid) -> io::Result<()> {
        let own = attachment.hyphenated().to_string();
        for path in listed(&self.0)? {
            let name = path.file_name().and_then(OsStr::to_str).and_then(|name| name.split('.').next());
            if name == Some(&own) {
                fs::remove_file(&path)?;
            }
        }
        synced(&self.0)
    }

    /// The same of one that lies in `content`, where it begins at `offset`.
    pub fn complete_content<T>(
        &self,
        attachment: Uuid,
        uploaded: &Uploaded,
        offset: u64,
        file: &File,
        alone: impl FnOnce() -> T,
    ) -> io::Result<PathBuf> {
        if let Err(error) = file.sync_data() {
            // No name tells of it, so nobody has made anything of it.
            let _ = cut(file, offset, &self.content());
            return Err(error);
        }
        self.name_content(attachment, uploaded, offset, alone, synced)?;
        Ok(self.content())
    }

    /// Whoever sees the name may submit, and then `content` is a message's file as well: where the name does not last, it
    /// goes when nobody can be at that, and what it told of stays behind as nobody's.
    fn name_content<T>(
        &self,
        attachment: Uuid,
        uploaded: &Uploaded,
        offset: u64,
        alone: impl FnOnce() -> T,
        synced: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let name = self.0.join(format!("{}.{offset}", uploaded.name(attachment)));
        // Another name of a file costs the disk less than a file.
        let named =
            fs::hard_link(self.0.join(ANNOUNCED), &name).or_else(|_| File::create_new(&name).map(drop));
        let lasts = named.and_then(|()| synced(&self.0));
        if lasts.is_err() {
            let _alone = alone();
            let is_gone = match fs::remove_file(&name) {
                Err(error) => error.kind() == io::ErrorKind::NotFound,
                Ok(()) => true,
            };
            // While the name is there, so must its bytes be.
            if is_gone && offset == 0 {
                let _ = fs::remove_file(self.content());
            }
        }
        lasts
    }
}

/// Leaves the first `length` bytes of a file, and no file of none.
pub fn cut(file: &File, length: u64, path: &Path) -> io::Result<()> {
    if length == 0 { fs::remove_file(path) } else { file.set_len(length) }
}

fn length(path: &Path) -> io::Result<Option<u64>> {
    match fs::metadata(path) {
        Ok(file) => Ok(Some(file.len())),
        // Complete, under another name, or forgotten, since it was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Attachments in a draft's folder, whole or not, as the books call them, and how much each keeps.
pub fn kept(place: &Path) -> io::Result<BTreeMap<PathBuf, u64>> {
    let (mut whole, mut rest) = (BTreeMap::new(), BTreeMap::new());
    for path in listed(place)? {
        let Some(name) = path.file_name() else { continue };
        match Name::parse(name) {
            Name::Whole { attachment, uploaded, .. } => {
                whole.insert(place.join(attachment), uploaded.length);
            }
            Name::Part { attachment } | Name::Older { attachment } => {
                if let Some(bytes) = length(&path)? {
                    rest.insert(place.join(attachment), bytes);
                }
            }
            Name::Other => {}
        }
    }
    rest.append(&mut whole);
    Ok(rest)
}

/// What lies in a folder; nothing if it is not there.
pub fn listed(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.path())).collect(),
    }
}

pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub fn synced(folder: &Path) -> io::Result<()> {
    // What lies above a relative path of one name is called nothing.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between the name and the disk's word on it the draft may have been submitted.
    #[test]
    fn a_name_that_does_not_last_takes_no_message_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let attachment = Uuid::from_u128(3);
        for offset in [0, 7] {
            let draft = Draft::at(folder.path().join(format!("draft{offset}")));
            let message = folder.path().join(format!("message{offset}"));
            fs::create_dir(draft.place()).expect("made");
            fs::write(draft.content(), "before attachment").expect("written");
            let uploaded = Uploaded { length: 10, digest: Digest::of(b"attachment"), tag: "tag".to_owned() };
            let fails = |place: &Path| {
                assert_eq!(draft.contents()?.whole.len(), 1, "the name can be seen");
                fs::hard_link(place.join(CONTENT), &message)?;
                Err(io::Error::other("the disk"))
            };
            let mut has_waited = false;
            let wait = || {
                has_waited = true;
                assert_eq!(draft.contents().expect("read").whole.len(), 1, "whoever submits ends first");
            };
            draft.name_content(attachment, &uploaded, offset, wait, fails).expect_err("it does not last");
            assert!(has_waited);
            assert_eq!(fs::read(&message).expect("there"), b"before attachment");
            assert!(draft.contents().expect("read").whole.is_empty());
            assert_eq!(draft.content().exists(), offset > 0, "nothing is kept of one that was alone");
        }
    }

    #[test]
    fn a_file_whose_name_does_not_last_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let draft = Draft::at(folder.path().join("draft"));
        fs::create_dir(draft.place()).expect("made");
        let attachment = Uuid::from_u128(3);
        fs::write(draft.part(attachment), "attachment").expect("written");
        let uploaded = Uploaded { length: 10, digest: Digest::of(b"attachment"), tag: "tag".to_owned() };
        let mut has_waited = false;
        let wait = || {
            has_waited = true;
            assert_eq!(draft.contents().expect("read").whole.len(), 1, "whoever submits ends first");
        };
        let fails = |_: &Path| Err(io::Error::other("the disk"));
        draft.name_part(attachment, &uploaded, wait, fails).expect_err("it does not last");
        assert!(has_waited);
        let contents = draft.contents().expect("read");
        assert!(contents.whole.is_empty() && contents.parts.is_empty(), "it is uploaded once more");
    }
}
