//! Multipart messages (RFC 2045, 2046, 2387) as the two protocols use them: OSCI-Transport 1.2 carries its
//! MIME headers inside the HTTP body, XTA carries them in HTTP and packs XOP parts (SwA/MTOM).
//!
//! Everything works on byte chunks handed in and holds neither a part nor the whole: memory is bounded by
//! [`Limits`], whatever the size of a part. Reading is liberal where clients in the field differ (order,
//! case and quoting of parameters) and strict where two readers could disagree about where a part ends.
//! Left out: nested multiparts, quoted-printable, RFC 2231 parameter continuations.

pub mod content_id;
pub mod media_type;
pub mod read;
pub mod transfer;
pub mod write;

/// Bounds on what a peer may make the reader hold. A body's size is not among them: parts are streamed and the
/// caller counts their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one header block (of a part or of the entity), line ends included.
    pub header_block_bytes_max: usize,
    /// Header fields of one block.
    pub header_fields_max: usize,
    /// Parts of one message.
    pub parts_max: usize,
    /// Characters of the boundary. RFC 2046 says 70; clients in the field keep to it.
    pub boundary_chars_max: usize,
    /// Bytes before the first delimiter, and white space at the end of one.
    pub preamble_bytes_max: usize,
    /// Bytes behind the closing delimiter.
    pub epilogue_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_block_bytes_max: 16 * 1024,
            header_fields_max: 64,
            parts_max: 1000,
            boundary_chars_max: 70,
            preamble_bytes_max: 4 * 1024,
            epilogue_bytes_max: 4 * 1024,
        }
    }
}

/// Why a multipart body, a header or a transfer encoding was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{limit} is {value}, seen {seen}")]
    LimitExceeded { limit: &'static str, value: usize, seen: usize },
    #[error("Content-Type is not a media type: {0}")]
    MediaType(&'static str),
    #[error("parameter {0} of Content-Type occurs twice with different values")]
    ParameterTwice(String),
    #[error("message is not multipart: Content-Type is {0}")]
    NotMultipart(String),
    #[error("Content-Type has no boundary parameter")]
    BoundaryMissing,
    #[error("boundary is empty or has a character that RFC 2046 does not allow")]
    BoundaryInvalid,
    #[error("boundary does not occur in the body")]
    BoundaryNotFound,
    #[error("line begins with the boundary and goes on with other characters")]
    DelimiterAmbiguous,
    #[error("header block ended before its empty line")]
    HeaderTruncated,
    #[error("header line is not `Name: value` with CRLF: {0}")]
    HeaderInvalid(&'static str),
    #[error("header {0} occurs twice in one part")]
    HeaderTwice(String),
    #[error("message ended inside part {part}, before the closing delimiter")]
    Truncated { part: usize },
    #[error("message has no part")]
    NoPart,
    #[error("two parts have the Content-ID {0}")]
    ContentIdTwice(String),
    #[error("Content-ID is empty or malformed")]
    ContentIdInvalid,
    #[error("Content-Transfer-Encoding {0} is not supported")]
    TransferEncoding(String),
    #[error("base64 is malformed at character {at}")]
    Base64 { at: u64 },
    #[error("header to be written has a line break or control character: {0}")]
    Unwritable(String),
}

pub(crate) fn check_limit(limit: &'static str, value: usize, seen: usize) -> Result<(), Error> {
    if seen > value {
        return Err(Error::LimitExceeded { limit, value, seen });
    }
    Ok(())
}
