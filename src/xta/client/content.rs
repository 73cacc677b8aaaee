//! Content on its way out of files and into them.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::domain::content::{Digest, Part, PartRole};
use crate::net::Body;
use crate::xta::message::container::Item;

const READ_BYTES: usize = 64 * 1024;
/// Longest name of a file that is written.
const FILE_NAME_CHARS_MAX: usize = 120;

/// Where bytes come from.
#[derive(Debug, Clone)]
pub enum Source {
    Bytes(Bytes),
    File(PathBuf),
}

/// Content to be sent; the part's attributes are what the reader will see.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub part: Part,
    pub source: Source,
}

impl Outgoing {
    pub fn from_bytes(role: PartRole, content_type: &str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let part = part(role, content_type, bytes.len() as u64);
        Self { part, source: Source::Bytes(bytes) }
    }

    /// A file under its own name and size.
    pub async fn from_file(role: PartRole, content_type: &str, path: &Path) -> std::io::Result<Self> {
        let length = tokio::fs::metadata(path).await?.len();
        let mut part = part(role, content_type, length);
        part.filename = path.file_name().map(|name| name.to_string_lossy().into_owned());
        part.size = Some(length.to_string());
        Ok(Self { part, source: Source::File(path.to_owned()) })
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.part.role == PartRole::EncryptedData
    }

    pub(super) fn segment(&self) -> Segment {
        match &self.source {
            Source::Bytes(bytes) => Segment::Bytes(bytes.clone()),
            Source::File(path) => Segment::File { path: path.clone(), length: self.part.length },
        }
    }
}

/// The digest is the reader's to reckon; a sender's part has none.
fn part(role: PartRole, content_type: &str, length: u64) -> Part {
    Part {
        role,
        offset: 0,
        length,
        digest: Digest([0; 32]),
        content_type: content_type.to_owned(),
        description: None,
        encoding: None,
        filename: None,
        id: None,
        lang: None,
        size: None,
    }
}

/// One piece of a request's body.
pub(super) enum Segment {
    Bytes(Bytes),
    File { path: PathBuf, length: u64 },
}

impl Segment {
    pub fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }
}

struct Outflow {
    segments: std::vec::IntoIter<Segment>,
    reading: Option<(File, u64)>,
}

pub(super) fn streamed(segments: Vec<Segment>) -> Body {
    let outflow = Outflow { segments: segments.into_iter(), reading: None };
    let frames = stream::try_unfold(outflow, |mut outflow| async move {
        Ok(outflow.next().await?.map(|bytes| (Frame::data(bytes), outflow)))
    });
    StreamBody::new(frames).boxed_unsync()
}

impl Outflow {
    async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        loop {
            if let Some((file, left)) = &mut self.reading {
                if *left == 0 {
                    self.reading = None;
                    continue;
                }
                let wanted = usize::try_from(*left).map_or(READ_BYTES, |left| left.min(READ_BYTES));
                let mut buffer = vec![0; wanted];
                let read = file.read(&mut buffer).await?;
                if read == 0 {
                    return Err(std::io::Error::other("a file became shorter while it was sent"));
                }
                buffer.truncate(read);
                *left -= read as u64;
                return Ok(Some(buffer.into()));
            }
            match self.segments.next() {
                None => return Ok(None),
                Some(Segment::Bytes(bytes)) => return Ok(Some(bytes)),
                Some(Segment::File { path, length }) => {
                    self.reading = Some((File::open(path).await?, length));
                }
            }
        }
    }
}

/// Takes the content of a message, part by part.
#[async_trait]
pub trait ContentSink: Send {
    /// The part with this index begins.
    async fn begin(&mut self, index: usize, item: &Item) -> std::io::Result<()>;
    async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()>;
    /// The part is complete.
    async fn end(&mut self) -> std::io::Result<()>;
}

/// Holds everything; for small messages.
#[derive(Debug, Default)]
pub struct MemorySink {
    /// Bytes by index, whatever the order in which parts came.
    pub parts: std::collections::BTreeMap<usize, Vec<u8>>,
    current: usize,
}

#[async_trait]
impl ContentSink for MemorySink {
    async fn begin(&mut self, index: usize, _: &Item) -> std::io::Result<()> {
        self.current = index;
        self.parts.insert(index, Vec::new());
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.parts.entry(self.current).or_default().extend_from_slice(bytes);
        Ok(())
    }

    async fn end(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes each part to a file of a folder. Existing files are not touched; bytes are on disk before a part is over.
#[derive(Debug)]
pub struct FolderSink {
    folder: PathBuf,
    file: Option<File>,
    /// What was written, by index.
    pub files: std::collections::BTreeMap<usize, PathBuf>,
}

impl FolderSink {
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), file: None, files: std::collections::BTreeMap::new() }
    }

    /// Makes the files' names durable as well: only then may the message be confirmed.
    pub fn sync_names(&self) -> std::io::Result<()> {
        for folder in [Some(self.folder.as_path()), self.folder.parent()].into_iter().flatten() {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            std::fs::File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    /// Removes what an attempt that failed has left, so that the next one finds room.
    pub fn discard(self) {
        drop(self.file);
        for path in self.files.into_values() {
            // A file that cannot be removed is named by the next attempt.
            let _ = std::fs::remove_file(path);
        }
        // Only an empty folder goes.
        let _ = std::fs::remove_dir(&self.folder);
    }
}

#[async_trait]
impl ContentSink for FolderSink {
    async fn begin(&mut self, index: usize, item: &Item) -> std::io::Result<()> {
        let path = self.folder.join(file_name(index, item));
        self.file = Some(File::create_new(&path).await?);
        self.files.insert(index, path);
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(bytes).await,
            None => Ok(()),
        }
    }

    async fn end(&mut self) -> std::io::Result<()> {
        match self.file.take() {
            Some(mut file) => {
                file.flush().await?;
                file.sync_all().await
            }
            None => Ok(()),
        }
    }
}

/// A stranger chose the name: only its last step counts, without what shells and file systems give a meaning.
fn file_name(index: usize, item: &Item) -> String {
    let given = item.filename.as_deref().unwrap_or_default();
    let last = given.rsplit(['/', '\\']).next().unwrap_or_default();
    let kept: String = last
        .chars()
        .map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' })
        .take(FILE_NAME_CHARS_MAX)
        .collect();
    let kept = kept.trim_start_matches('.');
    let fallback = match item.role {
        PartRole::Message => "message",
        PartRole::Attachment => "attachment",
        PartRole::EncryptedData => "encrypted.xml",
        PartRole::OsciPackage => "package.xml",
        PartRole::OsciAttachment => "sealed",
        PartRole::OsciFrame => "frame.json",
    };
    format!("{:02}-{}", index + 1, if kept.is_empty() { fallback } else { kept })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_lead_nowhere_else() {
        for (given, expected) in [
            (Some("anlage.pdf"), "01-anlage.pdf"),
            (Some("../../etc/passwd"), "01-passwd"),
            (Some("..\\..\\boot.ini"), "01-boot.ini"),
            (Some(".."), "01-message"),
            (Some("a\u{0}b\n$(x)"), "01-a_b___x_"),
            (Some("Grüße.xml"), "01-Grüße.xml"),
            (Some(""), "01-message"),
            (None, "01-message"),
        ] {
            let attribute = |name: &str| match name {
                "contentType" => Some("a/b".to_owned()),
                "filename" => given.map(str::to_owned),
                _ => None,
            };
            let item = Item::from_attributes(PartRole::Message, attribute).expect("an item");
            assert_eq!(file_name(0, &item), expected);
        }
    }
}
