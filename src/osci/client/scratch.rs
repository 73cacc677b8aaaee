//! Messages on their way wait in files without a name: memory does not grow with them, and nothing is left behind,
//! whatever happens to the process.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;

use crate::net::Body;
use crate::osci::envelope::source::Source;

/// What is read of a body at a time; a connection holds a few of them in memory.
const PIECE_BYTES: usize = 256 * 1024;

/// A new empty file in this folder that no name leads to.
pub fn file(folder: &Path) -> io::Result<File> {
    let path = folder.join(format!(".amtsbote-osci-{}", uuid::Uuid::new_v4().simple()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Whether the folder's disk holds so many bytes more without its reserve; otherwise `StorageFull`.
pub fn room(folder: &Path, bytes: u64, reserve_bytes: u64) -> io::Result<()> {
    if reserve_bytes == 0 {
        return Ok(());
    }
    let disk = rustix::fs::statvfs(folder)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < reserve_bytes.saturating_add(bytes) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
}

/// A piece of a file, to be read as often as needed and by several at a time.
#[derive(Debug, Clone)]
pub struct Slice {
    file: Arc<File>,
    range: Range<u64>,
}

impl Slice {
    pub fn new(file: Arc<File>, range: Range<u64>) -> Self {
        Self { file, range }
    }

    pub fn whole(file: Arc<File>) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file, range: 0..length })
    }

    /// A part of this piece; what lies outside of it is cut off.
    pub fn part(&self, range: Range<u64>) -> Self {
        let at = |offset: u64| self.range.start.saturating_add(offset).min(self.range.end);
        Self { file: self.file.clone(), range: at(range.start)..at(range.end) }
    }

    /// The file, where this piece is all of it.
    pub fn whole_file(&self) -> Option<Arc<File>> {
        let length = self.file.metadata().ok()?.len();
        (self.range == (0..length)).then(|| self.file.clone())
    }

    pub fn length(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }

    pub fn reader(&self) -> SliceReader {
        SliceReader { file: self.file.clone(), at: self.range.start, end: self.range.end }
    }

    /// The body of a request or an answer that streams this piece: read as far as it is asked for, in short reads, so that a
    /// slow reader holds no thread.
    pub fn body(&self) -> Body {
        let frames = stream::try_unfold(self.reader(), |mut reader| async move {
            let read = tokio::task::spawn_blocking(move || {
                let piece = reader.piece(PIECE_BYTES)?;
                Ok::<_, io::Error>((piece, reader))
            });
            let (piece, reader) = read.await.map_err(io::Error::other)??;
            Ok::<_, io::Error>((!piece.is_empty()).then(|| (Frame::data(Bytes::from(piece)), reader)))
        });
        StreamBody::new(frames).boxed_unsync()
    }
}

impl Source for Slice {
    fn bytes(&self) -> u64 {
        self.length()
    }

    fn open(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.reader()))
    }
}

/// Reads a piece from its start, whatever others read.
#[derive(Debug)]
pub struct SliceReader {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl SliceReader {
    /// The next bytes, at most so many; none at the end. Nothing is written before what is read.
    fn piece(&mut self, bytes_max: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let mut piece = Vec::with_capacity(left.min(bytes_max));
        if piece.capacity() > 0 {
            let read = rustix::io::pread(&self.file, rustix::buffer::spare_capacity(&mut piece), self.at)?;
            // The memory may be more than was asked for.
            piece.truncate(left);
            self.at += read.min(left) as u64;
        }
        Ok(piece)
    }
}

impl Read for SliceReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = left.min(out.len());
        let read = self.file.read_at(out.get_mut(..wanted).unwrap_or_default(), self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_reserve_of_the_disk_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        room(folder.path(), 1, 1).expect("there is that much");
        room(folder.path(), u64::MAX, 0).expect("nobody asked for a reserve");
        for (bytes, reserve) in [(1, u64::MAX), (u64::MAX / 2, 1)] {
            let error = room(folder.path(), bytes, reserve).expect_err("not so much");
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
    }

    #[tokio::test]
    async fn pieces_of_a_nameless_file_are_read_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut file = file(folder.path()).expect("a file");
        file.write_all(b"0123456789").expect("written");
        assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 0, "it has no name");
        let whole = Slice::whole(Arc::new(file)).expect("measured");
        let text = |slice: &Slice| {
            let mut text = String::new();
            slice.reader().read_to_string(&mut text).expect("read");
            text
        };
        let middle = whole.part(2..6);
        assert_eq!((text(&middle), middle.length()), ("2345".to_owned(), 4));
        assert_eq!(text(&middle.part(1..100)), "345");
        assert_eq!(text(&middle.part(50..100)), "");
        let body = middle.body().collect().await.expect("streamed").to_bytes();
        assert_eq!(body, "2345");
    }
}
