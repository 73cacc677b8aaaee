//! XML as the protocols need it: a strict streaming reader ([`read`]), a bounded tree for small documents ([`tree`]),
//! a writer ([`mod@write`]) and the SOAP envelope ([`soap`]).
//!
//! Nothing here reads files or the network: there are no DTDs, no external entities, no schema locations that are
//! followed. Who needs only a few values of a large document reads events; who verifies a signature must consume
//! the very bytes that were verified.

pub mod c14n;
pub mod chars;
pub mod dsig;
pub mod enc;
pub mod escape;
pub mod namespaces;
mod plain;
pub mod read;
pub mod soap;
pub mod tree;
pub mod write;

/// The namespace the prefix `xml` is bound to, always.
pub const NS_XML: &str = "http://www.w3.org/XML/1998/namespace";
/// The namespace of namespace declarations; no prefix may be bound to it.
pub const NS_XMLNS: &str = "http://www.w3.org/2000/xmlns/";

/// Bounds on what a document may make the reader hold or do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Elements inside each other. XÖV messages stay below 40.
    pub depth_max: usize,
    /// Attributes of one element, namespace declarations included.
    pub attributes_max: usize,
    /// Bytes of one element, attribute or processing instruction name, prefix included.
    pub name_bytes_max: usize,
    /// Bytes of one attribute value as written.
    pub attribute_value_bytes_max: usize,
    /// Bytes of one tag, comment or processing instruction as written. Text has no bound: it is delivered in pieces.
    pub markup_bytes_max: usize,
    /// Namespace declarations in scope at one place, redeclarations counted.
    pub namespaces_max: usize,
    /// Bytes kept for the open elements: names, declarations, `xml:` attributes.
    pub context_bytes_max: usize,
    /// Bytes of the whole document.
    pub document_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth_max: 128,
            attributes_max: 128,
            name_bytes_max: 512,
            attribute_value_bytes_max: 16 * 1024,
            markup_bytes_max: 64 * 1024,
            namespaces_max: 256,
            context_bytes_max: 256 * 1024,
            document_bytes_max: 1 << 30,
        }
    }
}

impl Limits {
    /// For a document that is made here around pieces of others: they were judged when they came, and what is declared
    /// around them here must not be one too many.
    pub fn of_our_own() -> Self {
        Self {
            depth_max: 4096,
            attributes_max: 4096,
            name_bytes_max: 1 << 20,
            attribute_value_bytes_max: 16 << 20,
            markup_bytes_max: 32 << 20,
            namespaces_max: 8192,
            context_bytes_max: 64 << 20,
            document_bytes_max: u64::MAX,
        }
    }
}

/// Why a document was refused, and the byte of the document at which that was seen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} (at byte {at})")]
pub struct Error {
    pub at: u64,
    pub kind: ErrorKind,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    #[error("{limit} is {value}, seen {seen}")]
    LimitExceeded { limit: &'static str, value: u64, seen: u64 },
    #[error("document type declarations are refused")]
    Doctype,
    #[error("reference to an entity other than the five of XML: {0}")]
    Entity(String),
    #[error("encoding must be UTF-8: {0}")]
    Encoding(&'static str),
    #[error("prefix {0} is not bound to a namespace")]
    PrefixUnbound(String),
    #[error("attribute {0} occurs twice")]
    AttributeTwice(String),
    #[error("end tag {found} where {expected} is open")]
    EndTag { expected: String, found: String },
    #[error("{0} is not a name")]
    Name(String),
    #[error("not well-formed: {0}")]
    NotWellFormed(&'static str),
    #[error("document ended too early: {0}")]
    Truncated(&'static str),
    #[error("input could not be read: {0}")]
    Input(std::io::ErrorKind),
}

impl ErrorKind {
    pub(crate) fn at(self, at: u64) -> Error {
        Error { at, kind: self }
    }
}

pub(crate) fn check_limit(limit: &'static str, value: usize, seen: usize) -> Result<(), ErrorKind> {
    if seen > value {
        return Err(ErrorKind::LimitExceeded { limit, value: value as u64, seen: seen as u64 });
    }
    Ok(())
}
