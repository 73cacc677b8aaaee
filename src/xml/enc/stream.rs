//! Content that may be larger than memory: it passes through in pieces, and what comes out waits in a spool that the
//! caller gives, a file as a rule. [`Opening`] hands nothing out before the whole has passed and its tag was found
//! right; then [`Decrypted`] can be read, and there is no other way to one.

use std::io::{self, Read, Seek, SeekFrom, Write};

use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes192, Aes256, Block};

use super::gcm::{self, BLOCK, TAG};
use super::{ContentKey, Error};
use crate::mime::transfer::Base64Decoder;

/// Bytes that are worked on together and then handed on: few enough to stay in the processor's second cache. In blocks of
/// this size, beginning where the content's own do, a file takes them in half the time of small or shifted ones.
const PIECE: usize = 256 * 1024;

/// How the encrypted content is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Octets,
    /// Base64, which may be wrapped.
    Base64,
}

/// Content whose tag was verified (with AES-CBC, which has none: whose padding is well-formed). Reads from the start.
#[derive(Debug)]
pub struct Decrypted<S> {
    spool: S,
    bytes: u64,
}

impl<S> Decrypted<S> {
    /// The size of the content.
    pub fn size(&self) -> u64 {
        self.bytes
    }

    /// The spool, at its start.
    pub fn into_spool(self) -> S {
        self.spool
    }
}

impl<S: Read> Read for Decrypted<S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.spool.read(out)
    }
}

impl<S: Seek> Seek for Decrypted<S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.spool.seek(to)
    }
}

/// Decryption of content that is still arriving. The spool must be empty; it must be owned, so that nobody reads it
/// meanwhile, and is dropped if the content turns out bad.
pub struct Opening<S> {
    key: ContentKey,
    written: Written,
    base64: Base64Decoder,
    cipher: Option<Cipher>,
    /// What arrived and is not worked on yet: at least the last [`TAG`] bytes, which may be the tag.
    held: Vec<u8>,
    spool: S,
    bytes: u64,
    undecryptable: bool,
}

enum Cipher {
    Gcm(gcm::Decryption),
    Cbc(Box<Cbc>),
}

impl<S: Read + Write + Seek + 'static> Opening<S> {
    pub(super) fn new(key: ContentKey, written: Written, spool: S) -> Self {
        let (base64, held) = (Base64Decoder::new(), Vec::new());
        Self { key, written, base64, cipher: None, held, spool, bytes: 0, undecryptable: false }
    }

    /// Takes the next bytes. The only error is a spool that cannot be written; the content is judged at its end.
    pub fn push(&mut self, mut arrived: &[u8]) -> Result<(), Error> {
        while !arrived.is_empty() && !self.undecryptable {
            let full = PIECE + TAG + if self.cipher.is_none() { self.key.iv_bytes() } else { 0 };
            let wanted = match self.written {
                Written::Octets => full.saturating_sub(self.held.len()),
                // How many octets they are shows when they are decoded.
                Written::Base64 => PIECE,
            };
            let (piece, later) = arrived.split_at(arrived.len().min(wanted));
            arrived = later;
            match self.written {
                Written::Octets => self.held.extend_from_slice(piece),
                Written::Base64 => {
                    self.undecryptable = self.base64.decode(piece, &mut self.held).is_err();
                }
            }
            if self.held.len() >= full && !self.undecryptable {
                self.work(PIECE)?;
            }
        }
        Ok(())
    }

    /// Takes everything a source has; [`Self::finish`] is still to be called.
    pub fn push_from(&mut self, source: &mut impl Read) -> Result<(), Error> {
        let mut piece = vec![0; PIECE];
        loop {
            match source.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(read) => self.push(piece.get(..read).unwrap_or_default())?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Input(error.kind())),
            }
        }
    }

    /// To be called when all has arrived.
    pub fn finish(self) -> Result<Decrypted<S>, Error> {
        match self.finish_alike()? {
            (decrypted, true) => Ok(decrypted),
            (_, false) => Err(Error::Undecryptable),
        }
    }

    /// The same, but of AES-CBC, which proves nothing anyhow, a content with a bad padding comes out as well, with `false`:
    /// whoever reads what comes out must do so with it too and then refuse it, or the time tells good padding from bad.
    pub fn finish_alike(mut self) -> Result<(Decrypted<S>, bool), Error> {
        if self.written == Written::Base64 {
            self.undecryptable |= std::mem::take(&mut self.base64).finish().is_err();
        }
        if !self.undecryptable {
            self.work(if self.key.is_cbc() { BLOCK } else { 1 })?;
        }
        if self.undecryptable {
            return Err(Error::Undecryptable);
        }
        let last = self.held.as_slice();
        let (good, proves) = match self.cipher.take() {
            Some(Cipher::Gcm(gcm)) => (gcm.verify(last), true),
            Some(Cipher::Cbc(mut cbc)) => {
                let (content, good) = cbc.last(last).ok_or(Error::Undecryptable)?;
                self.spool.write_all(&content).map_err(|error| Error::Spool(error.kind()))?;
                self.bytes += content.len() as u64;
                (good, false)
            }
            None => return Err(Error::Undecryptable),
        };
        // Good or bad, the work up to here is the same.
        let rewound = self.spool.flush().and_then(|()| self.spool.rewind());
        rewound.map_err(|error| Error::Spool(error.kind()))?;
        if proves && !good {
            return Err(Error::Undecryptable);
        }
        Ok((Decrypted { spool: self.spool, bytes: self.bytes }, good))
    }

    /// Decrypts what is held, save for what may be the tag or, of AES-CBC, for the last block with the padding, into the
    /// spool; up to where the content's length is a multiple of `unit`.
    fn work(&mut self, unit: usize) -> Result<(), Error> {
        if self.cipher.is_none() {
            let Some(iv) = self.held.get(..self.key.iv_bytes()) else { return Ok(()) };
            self.cipher = if self.key.is_cbc() {
                Cbc::new(self.key.octets(), iv).map(|cbc| Cipher::Cbc(Box::new(cbc)))
            } else {
                gcm::Decryption::new(self.key.octets(), iv).map(Cipher::Gcm)
            };
            self.held.drain(..self.key.iv_bytes());
        }
        let ready = self.held.len().saturating_sub(TAG);
        let surplus = (self.bytes + ready as u64) % unit as u64;
        let ready = ready.saturating_sub(surplus as usize);
        let bytes = self.held.get_mut(..ready).unwrap_or_default();
        let done = match &mut self.cipher {
            Some(Cipher::Gcm(gcm)) => gcm.apply(bytes),
            Some(Cipher::Cbc(cbc)) => cbc.decrypt(bytes),
            None => None,
        };
        self.undecryptable |= done.is_none();
        if !self.undecryptable {
            self.spool.write_all(bytes).map_err(|error| Error::Spool(error.kind()))?;
            self.bytes += bytes.len() as u64;
        }
        self.held.drain(..ready);
        Ok(())
    }
}

/// AES-CBC as XML Encryption has it (section 5.2.1): the last byte tells how many bytes of padding there are.
struct Cbc {
    aes: Aes,
    before: [u8; BLOCK],
}

enum Aes {
    Aes128(Aes128),
    Aes192(Aes192),
    Aes256(Aes256),
}

impl Cbc {
    fn new(key: &[u8], iv: &[u8]) -> Option<Self> {
        let aes = match key.len() {
            16 => Aes::Aes128(Aes128::new_from_slice(key).ok()?),
            24 => Aes::Aes192(Aes192::new_from_slice(key).ok()?),
            _ => Aes::Aes256(Aes256::new_from_slice(key).ok()?),
        };
        Some(Self { aes, before: iv.try_into().ok()? })
    }

    /// Whole blocks only; each depends on the one before.
    fn encrypt(&mut self, bytes: &mut [u8]) -> Option<()> {
        let (blocks, rest) = bytes.as_chunks_mut::<BLOCK>();
        if !rest.is_empty() {
            return None;
        }
        for block in blocks {
            for (byte, before) in block.iter_mut().zip(self.before) {
                *byte ^= before;
            }
            let mut work = Block::from(*block);
            match &self.aes {
                Aes::Aes128(aes) => aes.encrypt_block(&mut work),
                Aes::Aes192(aes) => aes.encrypt_block(&mut work),
                Aes::Aes256(aes) => aes.encrypt_block(&mut work),
            }
            *block = work.into();
            self.before = *block;
        }
        Some(())
    }

    /// Whole blocks only.
    fn decrypt(&mut self, bytes: &mut [u8]) -> Option<()> {
        let (blocks, rest) = bytes.as_chunks_mut::<BLOCK>();
        if !rest.is_empty() {
            return None;
        }
        // Eight at a time, which the processor works on together.
        for group in blocks.chunks_mut(8) {
            let mut clear: [Block; 8] = Default::default();
            let clear = clear.get_mut(..group.len())?;
            for (to, from) in clear.iter_mut().zip(group.iter()) {
                *to = Block::from(*from);
            }
            match &self.aes {
                Aes::Aes128(aes) => aes.decrypt_blocks(clear),
                Aes::Aes192(aes) => aes.decrypt_blocks(clear),
                Aes::Aes256(aes) => aes.decrypt_blocks(clear),
            }
            for (clear, block) in clear.iter().zip(group) {
                let cipher = *block;
                for ((to, clear), before) in block.iter_mut().zip(clear).zip(self.before) {
                    *to = clear ^ before;
                }
                self.before = cipher;
            }
        }
        Some(())
    }

    /// The last block without its padding, of which only the length must be right; whether it is. Where it is not, the
    /// whole block comes back, so that there is as much to do with it.
    fn last(&mut self, block: &[u8]) -> Option<(Vec<u8>, bool)> {
        let mut block = block.to_vec();
        self.decrypt(&mut block)?;
        let padding = usize::from(*block.last()?);
        let good = (1..=block.len()).contains(&padding);
        block.truncate(block.len() - if good { padding } else { 0 });
        Some((block, good))
    }
}

/// The ciphertext of a content under a given initialisation vector, for comparison with vectors.
#[cfg(test)]
pub(super) fn cbc_by_vector(key: &[u8], iv: &[u8], content: &[u8]) -> Vec<u8> {
    let mut cipher = SealingCipher::Cbc(Box::new(Cbc::new(key, iv).expect("a key")), Vec::new());
    let mut piece = content.to_vec();
    cipher.encrypt(&mut piece).expect("whole blocks");
    piece.extend(cipher.end().expect("whole blocks"));
    piece
}

/// Encryption of content that passes: initialisation vector, ciphertext and tag (with AES-CBC: padding) go to `out` as
/// octets.
pub struct Sealing<W> {
    cipher: SealingCipher,
    piece: Vec<u8>,
    out: W,
}

enum SealingCipher {
    Gcm(gcm::Encryption),
    /// With what does not fill a block yet.
    Cbc(Box<Cbc>, Vec<u8>),
}

impl SealingCipher {
    /// Encrypts `piece` in place, as far as it goes.
    fn encrypt(&mut self, piece: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Gcm(gcm) => gcm.apply(piece),
            Self::Cbc(cbc, held) => {
                held.append(piece);
                let ready = held.len() - held.len() % BLOCK;
                piece.extend(held.drain(..ready));
                cbc.encrypt(piece)
            }
        }
    }

    fn end(self) -> Option<Vec<u8>> {
        match self {
            Self::Gcm(gcm) => gcm.tag().map(|tag| tag.to_vec()),
            Self::Cbc(mut cbc, mut last) => {
                // Each byte tells the length, which both ways of reading padding take.
                let padding = BLOCK - last.len() % BLOCK;
                last.resize(last.len() + padding, u8::try_from(padding).ok()?);
                cbc.encrypt(&mut last)?;
                Some(last)
            }
        }
    }
}

impl<W: Write> Sealing<W> {
    pub(super) fn new(key: &ContentKey, mut out: W) -> Result<Self, Error> {
        let mut iv = vec![0; key.iv_bytes()];
        aws_lc_rs::rand::fill(&mut iv).map_err(|_| Error::Encrypting)?;
        let cipher = if key.is_cbc() {
            Cbc::new(key.octets(), &iv).map(|cbc| SealingCipher::Cbc(Box::new(cbc), Vec::new()))
        } else {
            gcm::Encryption::new(key.octets(), &iv).map(SealingCipher::Gcm)
        };
        let cipher = cipher.ok_or(Error::Encrypting)?;
        out.write_all(&iv).map_err(|error| Error::Spool(error.kind()))?;
        Ok(Self { cipher, piece: Vec::new(), out })
    }

    /// Takes the next bytes of the content.
    pub fn push(&mut self, content: &[u8]) -> Result<(), Error> {
        for piece in content.chunks(PIECE) {
            self.piece.clear();
            self.piece.extend_from_slice(piece);
            self.cipher.encrypt(&mut self.piece).ok_or(Error::Encrypting)?;
            self.out.write_all(&self.piece).map_err(|error| Error::Spool(error.kind()))?;
        }
        Ok(())
    }

    /// Takes everything a source has; [`Self::finish`] is still to be called.
    pub fn push_from(&mut self, source: &mut impl Read) -> Result<(), Error> {
        let mut piece = vec![0; PIECE];
        loop {
            match source.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(read) => self.push(piece.get(..read).unwrap_or_default())?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Input(error.kind())),
            }
        }
    }

    /// Writes the tag, or the padded end; without it nobody can decrypt.
    pub fn finish(mut self) -> Result<W, Error> {
        let end = self.cipher.end().ok_or(Error::Encrypting)?;
        let written = self.out.write_all(&end).and_then(|()| self.out.flush());
        written.map_err(|error| Error::Spool(error.kind()))?;
        Ok(self.out)
    }
}
