//! Writer of multipart/related (RFC 2387) in the layout that OSCI and XTA clients are known to read: CRLF, headers
//! exactly `Name: value`, no preamble. The bytes between bodies are made here; bodies are sent by the caller,
//! whose lengths are announced so that an exact Content-Length can be sent before the first byte.

use super::media_type::is_token;
use super::read::is_boundary;
use super::{Error, check_limit};

const BOUNDARY_CHARS_MAX: usize = 70;

/// A boundary known to be writable without quotes in Content-Type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundary(String);

impl Boundary {
    /// 192 random bits, so that no body can contain it but by design of somebody who knows it beforehand.
    pub fn from_random(random: [u8; 24]) -> Self {
        use base64::Engine as _;
        Self(format!("MIME_boundary_{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random)))
    }

    /// A boundary given by somebody else, for writing known bytes again.
    pub fn from_text(text: &str) -> Result<Self, Error> {
        check_limit("characters of the boundary", BOUNDARY_CHARS_MAX, text.len())?;
        if !is_boundary(text) || text.contains([' ', ';', ',']) {
            return Err(Error::BoundaryInvalid);
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The header lines of a part or of an entity, checked against line breaks smuggled into names or values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderLines(Vec<u8>);

impl HeaderLines {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn with(mut self, name: &str, value: &str) -> Result<Self, Error> {
        if !is_token(name) || value.chars().any(char::is_control) {
            return Err(Error::Unwritable(name.chars().filter(|c| !c.is_control()).take(60).collect()));
        }
        self.0.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        Ok(self)
    }

    /// The lines with the empty line that ends them.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.0, b"\r\n".as_slice()].concat()
    }
}

/// A Content-Type value; values that are not tokens are quoted.
pub fn content_type(essence: &str, parameters: &[(&str, &str)]) -> String {
    let mut text = essence.to_owned();
    for (name, value) in parameters {
        if is_token(value) {
            text.push_str(&format!("; {name}={value}"));
        } else {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            text.push_str(&format!("; {name}=\"{escaped}\""));
        }
    }
    text
}

/// The framing of one multipart body. Declare all parts in order, then send `head(0)`, body 0, `head(1)`, …, `close()`.
#[derive(Debug, Clone)]
pub struct Framing {
    boundary: Boundary,
    heads: Vec<Vec<u8>>,
    bodies: u64,
}

impl Framing {
    pub fn new(boundary: Boundary) -> Self {
        Self { boundary, heads: Vec::new(), bodies: 0 }
    }

    /// Announces the next part with the length of its body as transmitted.
    pub fn part(&mut self, headers: &HeaderLines, body_bytes: u64) {
        let lead = if self.heads.is_empty() { "--" } else { "\r\n--" };
        let mut head = format!("{lead}{}\r\n", self.boundary.as_str()).into_bytes();
        head.extend_from_slice(&headers.to_bytes());
        self.heads.push(head);
        self.bodies += body_bytes;
    }

    /// What is sent before the body of part `index`.
    pub fn head(&self, index: usize) -> Option<&[u8]> {
        self.heads.get(index).map(Vec::as_slice)
    }

    pub fn parts(&self) -> usize {
        self.heads.len()
    }

    /// What is sent after the last body.
    pub fn close(&self) -> Vec<u8> {
        format!("\r\n--{}--\r\n", self.boundary.as_str()).into_bytes()
    }

    /// Bytes of the whole multipart body: the exact Content-Length.
    pub fn len(&self) -> u64 {
        let framing = self.heads.iter().map(Vec::len).sum::<usize>() + self.close().len();
        self.bodies + framing as u64
    }

    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::media_type::MediaType;
    use super::super::read::{Event, MultipartReader};
    use super::*;
    use crate::mime::Limits;

    #[test]
    fn written_is_read_back_with_the_announced_length() {
        let boundary = Boundary::from_random([0xfb; 24]);
        let start_info = r#"application/soap+xml; action="urn:a\b""#;
        let kind = content_type(
            "multipart/related",
            &[("boundary", boundary.as_str()), ("type", "application/xop+xml"), ("start-info", start_info)],
        );
        let parsed = MediaType::parse(&kind).unwrap();
        assert_eq!(parsed.parameter("start-info"), Some(start_info));

        let bodies: [&[u8]; 3] = [b"<a/>", b"", b"\r\n--MIME"];
        let mut framing = Framing::new(boundary);
        for (i, body) in bodies.iter().enumerate() {
            let headers = HeaderLines::new().with("Content-ID", &format!("<p{i}>")).unwrap();
            framing.part(&headers, body.len() as u64);
        }
        let mut bytes = Vec::new();
        for (i, body) in bodies.iter().enumerate() {
            bytes.extend_from_slice(framing.head(i).unwrap());
            bytes.extend_from_slice(body);
        }
        bytes.extend_from_slice(&framing.close());
        assert_eq!(framing.len(), bytes.len() as u64);

        let mut reader = MultipartReader::new(&parsed, Limits::default()).unwrap();
        let mut input = bytes.as_slice();
        let mut read: Vec<Vec<u8>> = Vec::new();
        while let Some(event) = reader.next_event(&mut input).unwrap() {
            match event {
                Event::PartStart(_) => read.push(Vec::new()),
                Event::Data(data) => read.last_mut().unwrap().extend_from_slice(data),
                _ => {}
            }
        }
        reader.finish().unwrap();
        assert_eq!(read, bodies);
    }

    #[test]
    fn line_breaks_are_not_written() {
        for (name, value) in [("A", "b\r\nC: d"), ("A\r\nB", "c"), ("A", "\n"), ("", "x"), ("A B", "x")] {
            assert!(
                matches!(HeaderLines::new().with(name, value), Err(Error::Unwritable(_))),
                "{name:?}: {value:?}"
            );
        }
        assert_eq!(Boundary::from_text("a;b"), Err(Error::BoundaryInvalid));
        assert_eq!(Boundary::from_text("a\r\nb"), Err(Error::BoundaryInvalid));
    }
}
