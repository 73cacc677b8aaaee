//! Bytes that lie somewhere and are sent as they are: the content package of a delivery, an attachment.

use std::io::{self, Read};
use std::sync::Arc;

/// Something that can be read from its start as often as needed, and whose size is known.
pub trait Source: Send + Sync {
    fn bytes(&self) -> u64;

    fn open(&self) -> io::Result<Box<dyn Read + Send + '_>>;
}

/// A source that several hold.
pub type Shared = Arc<dyn Source>;

impl Source for Vec<u8> {
    fn bytes(&self) -> u64 {
        self.len() as u64
    }

    fn open(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.as_slice()))
    }
}

const PIECE_BYTES: usize = 256 * 1024;

/// Hands the bytes of a source on in pieces; a source that holds more or less than it said is an error, because its
/// size was announced.
pub(super) fn pour<E: From<io::Error>>(
    source: &dyn Source,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = source.open()?;
    let mut left = source.bytes();
    // One byte more than there is, so that a longer source shows.
    let piece_bytes = usize::try_from(left).map_or(PIECE_BYTES, |left| PIECE_BYTES.min(left + 1));
    let mut piece = vec![0; piece_bytes];
    loop {
        match reader.read(&mut piece) {
            Ok(0) if left == 0 => return Ok(()),
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(read) => {
                let longer = || io::Error::new(io::ErrorKind::InvalidData, "source is longer than it said");
                left = left.checked_sub(read as u64).ok_or_else(longer)?;
                sink(piece.get(..read).unwrap_or_default())?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}
