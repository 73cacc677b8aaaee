//! Where a message waits while it is judged: in memory while it is small, in a nameless file beyond that.
//!
//! The file is unlinked as soon as it is open, so that nothing is left behind, however the process ends. What is read only
//! may also be the store's own file of a payload.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FallocateFlags;

use crate::osci::client::scratch;
use crate::osci::envelope::source::Source;

/// Bytes that are held in memory.
const MEMORY_BYTES_MAX: usize = 256 * 1024;
/// Bytes of disk space that are asked for ahead.
const KEPT_AHEAD_BYTES: u64 = 1024 * 1024;

#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    bytes_max: u64,
    memory: Vec<u8>,
    file: Option<File>,
    length: u64,
    position: u64,
    /// Free space of the disk that is left to others.
    reserve_bytes: u64,
    /// Bytes of the file for which the disk was asked.
    kept: u64,
}

impl Spool {
    /// `folder` is used from the first byte beyond memory on; nothing beyond `bytes_max` is taken.
    pub fn new(folder: &Path, bytes_max: u64) -> Self {
        Self {
            folder: folder.to_owned(),
            bytes_max,
            memory: Vec::new(),
            file: None,
            length: 0,
            position: 0,
            reserve_bytes: 0,
            kept: 0,
        }
    }

    /// The same; it fails with `StorageFull` before it takes more of the disk than leaves these bytes free.
    pub fn sparing(self, reserve_bytes: u64) -> Self {
        Self { reserve_bytes, ..self }
    }

    /// Keeps disk space up to `length` bytes and some more, so that others who look see that it is taken.
    fn keep(&mut self, length: u64) -> io::Result<()> {
        use rustix::io::Errno;
        if self.reserve_bytes == 0 || length <= self.kept {
            return Ok(());
        }
        std::fs::create_dir_all(&self.folder)?;
        let wanted = length.saturating_add(KEPT_AHEAD_BYTES).min(self.bytes_max.max(length));
        let more = wanted.saturating_sub(self.kept);
        scratch::room(&self.folder, more, self.reserve_bytes)?;
        let at = self.kept;
        match rustix::fs::fallocate(self.spill()?, FallocateFlags::KEEP_SIZE, at, more) {
            // Some file systems keep no space ahead; what was free a moment ago must do.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        self.kept = wanted;
        Ok(())
    }

    fn spill(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            std::fs::create_dir_all(&self.folder)?;
            let path = self.folder.join(uuid::Uuid::new_v4().simple().to_string());
            // Decrypted messages pass through here: nobody else may open the file while it still has its name.
            let mut file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
            std::fs::remove_file(&path)?;
            file.write_all(&self.memory)?;
            self.memory = Vec::new();
            self.file = Some(file);
        }
        self.file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// What was taken, to be read by several at once.
    pub fn freeze(self) -> Frozen {
        match self.file {
            Some(file) => Frozen::File(Arc::new(file), self.length),
            None => Frozen::Memory(self.memory.into()),
        }
    }
}

/// A message that is complete. Clones share its bytes.
#[derive(Debug, Clone)]
pub enum Frozen {
    Memory(Arc<[u8]>),
    File(Arc<File>, u64),
}

impl Frozen {
    pub fn length(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(_, length) => *length,
        }
    }

    /// A part of it, as a source for a message that is written.
    pub fn stretch(&self, span: Range<u64>) -> Stretch {
        Stretch { frozen: self.clone(), span }
    }
}

#[derive(Debug, Clone)]
pub struct Stretch {
    frozen: Frozen,
    span: Range<u64>,
}

impl Stretch {
    /// A part of this part.
    pub fn part(&self, span: Range<u64>) -> Self {
        let start = self.span.start.saturating_add(span.start).min(self.span.end);
        let end = self.span.start.saturating_add(span.end).min(self.span.end);
        Self { frozen: self.frozen.clone(), span: start..end }
    }

    /// Where it lies in a file, unless it lies in memory.
    pub fn file(&self) -> Option<(Arc<File>, Range<u64>)> {
        match &self.frozen {
            Frozen::File(file, _) => Some((file.clone(), self.span.clone())),
            Frozen::Memory(_) => None,
        }
    }

    /// Fills `out` from `offset` on, as far as there is something.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let at = self.span.start.saturating_add(offset);
        let mut reading = Reading { frozen: &self.frozen, at, end: self.span.end };
        let mut filled = 0;
        while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match reading.read(rest)? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }
}

impl Source for Stretch {
    fn bytes(&self) -> u64 {
        self.span.end.saturating_sub(self.span.start)
    }

    fn open(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(Reading { frozen: &self.frozen, at: self.span.start, end: self.span.end }))
    }
}

struct Reading<'a> {
    frozen: &'a Frozen,
    at: u64,
    end: u64,
}

impl Read for Reading<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = out.len().min(left);
        let out = out.get_mut(..wanted).unwrap_or_default();
        let read = match self.frozen {
            Frozen::File(file, _) => file.read_at(out, self.at)?,
            Frozen::Memory(bytes) => {
                let at = usize::try_from(self.at).unwrap_or(usize::MAX);
                let rest = bytes.get(at..).unwrap_or_default();
                let read = rest.len().min(out.len());
                out.iter_mut().zip(rest).for_each(|(out, byte)| *out = *byte);
                read
            }
        };
        self.at += read as u64;
        Ok(read)
    }
}

/// Writing is at the end, whatever was read.
impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.length.saturating_add(bytes.len() as u64);
        if length > self.bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if self.file.is_some() || length > MEMORY_BYTES_MAX as u64 {
            let end = self.length;
            self.keep(length)?;
            self.spill()?.write_all_at(bytes, end)?;
        } else {
            self.memory.extend_from_slice(bytes);
        }
        self.length = length;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Spool {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.file {
            Some(file) => {
                file.seek(SeekFrom::Start(self.position))?;
                file.read(out)?
            }
            None => {
                let at = usize::try_from(self.position).unwrap_or(usize::MAX);
                let rest = self.memory.get(at..).unwrap_or_default();
                let read = rest.len().min(out.len());
                out.iter_mut().zip(rest).for_each(|(out, byte)| *out = *byte);
                read
            }
        };
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for Spool {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::Current(by) => (self.position, by),
            SeekFrom::End(by) => (self.length, by),
        };
        self.position = base.checked_add_signed(by).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_messages_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        for length in [0, 1, MEMORY_BYTES_MAX, MEMORY_BYTES_MAX + 1, 3 * MEMORY_BYTES_MAX] {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let mut spool = Spool::new(folder.path(), bytes.len() as u64);
            for piece in bytes.chunks(100_003) {
                spool.write_all(piece).expect("taken");
            }
            assert!(spool.write(b"more").is_err(), "beyond the bound");
            let mut back = Vec::new();
            spool.read_to_end(&mut back).expect("read");
            assert_eq!(back.len(), bytes.len());
            assert!(back == bytes, "{length}");
            let (start, end) = (length / 3, length / 2);
            let frozen = spool.freeze();
            let (mut read, stretch) = (Vec::new(), frozen.stretch(start as u64..end as u64));
            stretch.open().expect("there").read_to_end(&mut read).expect("read");
            assert!(read == bytes[start..end] && stretch.bytes() == read.len() as u64, "{length}");
            assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing has a name");
        }
    }
}
