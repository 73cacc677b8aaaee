//! Content-Transfer-Encoding (RFC 2045 section 6) and a streaming base64 decoder that serves parts, inline
//! base64 of XTA messages and `Base64Content` of OSCI alike. Line breaks and blanks are skipped, because clients
//! wrap at 76 characters with LF or CRLF or not at all; any other foreign character is refused, so that two
//! different texts that decode to the same octets cannot differ in more than white space.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Error;

/// How the octets of a part are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferEncoding {
    /// `7bit`, `8bit`, `8-bit` (sic, OSCI clients), `binary`, or no header.
    Identity,
    Base64,
}

impl TransferEncoding {
    pub fn parse(value: &str) -> Result<Self, Error> {
        match value.trim().to_ascii_lowercase().as_str() {
            "7bit" | "8bit" | "8-bit" | "binary" => Ok(Self::Identity),
            "base64" => Ok(Self::Base64),
            other => Err(Error::TransferEncoding(other.chars().take(40).collect())),
        }
    }
}

/// Decodes base64 handed in as pieces cut anywhere. Holds at most one group of four characters between calls.
#[derive(Debug, Default)]
pub struct Base64Decoder {
    group: Vec<u8>,
    seen: u64,
    padded: bool,
}

impl Base64Decoder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the octets of `piece` to `out`.
    pub fn decode(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let mut block = std::mem::take(&mut self.group);
        block.reserve(piece.len());
        for &byte in piece {
            self.seen += 1;
            if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                continue;
            }
            if self.padded && byte != b'=' {
                return Err(Error::Base64 { at: self.seen });
            }
            self.padded |= byte == b'=';
            block.push(byte);
        }
        let whole = block.len() - block.len() % 4;
        self.group = block.split_off(whole);
        STANDARD.decode_vec(&block, out).map_err(|_| Error::Base64 { at: self.seen })?;
        // `==` may arrive in two pieces, but nothing may follow a closed group.
        if self.padded && whole > 0 && block.ends_with(b"=") && !self.group.is_empty() {
            return Err(Error::Base64 { at: self.seen });
        }
        Ok(())
    }

    /// To be called at the end of the text: an open group is a truncated text.
    pub fn finish(self) -> Result<(), Error> {
        if self.group.is_empty() { Ok(()) } else { Err(Error::Base64 { at: self.seen }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str, piece: usize) -> Result<Vec<u8>, Error> {
        let mut decoder = Base64Decoder::new();
        let mut out = Vec::new();
        for piece in text.as_bytes().chunks(piece) {
            decoder.decode(piece, &mut out)?;
        }
        decoder.finish()?;
        Ok(out)
    }

    #[test]
    fn base64_in_pieces_of_any_size() {
        for (text, expected) in [
            ("", Some("")),
            ("SGFs\nbG8=", Some("Hallo")),
            (" S\r\nGFsbG8\t=\n", Some("Hallo")),
            ("SGFsbA==", Some("Hall")),
            ("SGFsbA=", None),
            ("SGFsbA", None),
            ("SGFsbA==SGFs", None),
            ("SGFsbA===", None),
            ("SGFs====", None),
            ("SG-s", None),
            ("SGFsbB==", None),
        ] {
            for piece in [1, 2, 3, 5, 100] {
                let decoded = decode(text, piece).ok();
                assert_eq!(decoded.as_deref(), expected.map(str::as_bytes), "{text:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn transfer_encodings() {
        for (value, expected) in [
            ("8-bit", Some(TransferEncoding::Identity)),
            (" Binary", Some(TransferEncoding::Identity)),
            ("BASE64", Some(TransferEncoding::Base64)),
            ("quoted-printable", None),
        ] {
            assert_eq!(TransferEncoding::parse(value).ok(), expected, "{value}");
        }
    }
}
