//! Incremental reader of a multipart body (RFC 2046 section 5.1), fed with chunks cut anywhere.
//!
//! The caller polls [`MultipartReader::next_event`] with what it has; body bytes come back as slices of its own chunk,
//! so that a part of any size costs no memory. A delimiter split over chunks is held as a count, not as bytes.
//! Strict where readers could disagree: a line that begins with the boundary and goes on is refused, as are bare
//! LF in headers, header fields given twice, a missing closing delimiter and two parts of one Content-ID.
//! Tolerated: blank lines before the entity's headers, folded header lines, preamble and epilogue (bounded),
//! white space after a delimiter, a missing line break after the closing delimiter.

use std::collections::HashSet;
use std::ops::Range;

use memchr::{memchr, memmem, memrchr};

use super::content_id::ContentId;
use super::media_type::{MediaType, is_token};
use super::transfer::TransferEncoding;
use super::{Error, Limits, check_limit};

/// What the reader has found.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The headers before the multipart body, only from a reader made by [`MultipartReader::with_entity_headers`].
    EntityHeaders(Headers),
    PartStart(Headers),
    /// The next bytes of the open part, as transmitted.
    Data(&'a [u8]),
    PartEnd,
    /// The closing delimiter. What follows is epilogue and ignored.
    End,
}

/// The header fields of a part or of the entity, in their order, unfolded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers {
    fields: Vec<(String, String)>,
    content_id: Option<ContentId>,
}

impl Headers {
    pub fn fields(&self) -> &[(String, String)] {
        &self.fields
    }

    /// The value of a field; names compare without case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub fn media_type(&self) -> Result<Option<MediaType>, Error> {
        self.field("Content-Type").map(MediaType::parse).transpose()
    }

    pub fn content_id(&self) -> Option<&ContentId> {
        self.content_id.as_ref()
    }

    /// Without the header the octets are themselves.
    pub fn transfer_encoding(&self) -> Result<TransferEncoding, Error> {
        self.field("Content-Transfer-Encoding")
            .map_or(Ok(TransferEncoding::Identity), TransferEncoding::parse)
    }

    /// Reads a block of header lines that ends with its empty line.
    fn parse(block: &[u8], limits: &Limits) -> Result<Self, Error> {
        let text = std::str::from_utf8(block).map_err(|_| Error::HeaderInvalid("not UTF-8"))?;
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in text.split("\r\n").filter(|line| !line.is_empty()) {
            if line.chars().any(|c| c.is_control() && c != '\t') {
                return Err(Error::HeaderInvalid("control character"));
            }
            if line.starts_with([' ', '\t']) {
                let (_, value) =
                    fields.last_mut().ok_or(Error::HeaderInvalid("folded line without a field"))?;
                value.push(' ');
                value.push_str(line.trim());
                continue;
            }
            let (name, value) = line.split_once(':').ok_or(Error::HeaderInvalid("no colon"))?;
            if !is_token(name) {
                return Err(Error::HeaderInvalid("name is not a token"));
            }
            let meaningful = name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("content-"));
            if meaningful && fields.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                return Err(Error::HeaderTwice(name.to_owned()));
            }
            fields.push((name.to_owned(), value.trim().to_owned()));
            check_limit("header fields of a part", limits.header_fields_max, fields.len())?;
        }
        let mut headers = Self { fields, content_id: None };
        headers.content_id = headers.field("Content-ID").map(ContentId::from_header).transpose()?;
        Ok(headers)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    ExpectEntityHeaders,
    ExpectFirstDelimiter,
    /// The boundary was seen; the rest of its line decides what it is.
    ExpectDelimiterEnd(LineEnd),
    ExpectPartHeaders,
    ExpectBody,
    ExpectEnd,
    Epilogue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineEnd {
    Start,
    Dash,
    Padding,
    Cr,
}

/// Splits a multipart body into its parts.
#[derive(Debug)]
pub struct MultipartReader {
    limits: Limits,
    state: State,
    /// CR LF `--` boundary; empty until the entity's headers have named it.
    delimiter: Vec<u8>,
    /// How many bytes of the delimiter the end of the last chunk matched.
    matched: usize,
    /// How many of those were never in the input: a body's first line needs no CR LF before its delimiter.
    virtual_bytes: usize,
    header_block: Vec<u8>,
    line_start: usize,
    part_open: bool,
    parts: usize,
    skipped: usize,
    ids: HashSet<String>,
    failed: Option<Error>,
}

enum Step<'i> {
    NeedInput,
    Continue,
    Data(&'i [u8]),
    Held(Range<usize>),
    Found(Event<'static>),
}

enum Scan<'i> {
    NeedInput,
    Data(&'i [u8]),
    Held(Range<usize>),
    Delimiter,
}

impl MultipartReader {
    /// A reader for a body whose headers were transmitted elsewhere (HTTP).
    pub fn new(content_type: &MediaType, limits: Limits) -> Result<Self, Error> {
        let mut reader = Self::with_entity_headers(limits);
        reader.use_boundary(content_type)?;
        Ok(reader)
    }

    /// A reader for a body that begins with its own MIME headers, as OSCI-Transport 1.2 has it.
    pub fn with_entity_headers(limits: Limits) -> Self {
        Self {
            limits,
            state: State::ExpectEntityHeaders,
            delimiter: Vec::new(),
            matched: 0,
            virtual_bytes: 0,
            header_block: Vec::new(),
            line_start: 0,
            part_open: false,
            parts: 0,
            skipped: 0,
            ids: HashSet::new(),
            failed: None,
        }
    }

    /// The next event; `None` when `input` is used up. `input` is advanced past what was consumed. After an error
    /// every further call returns the same error.
    pub fn next_event<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Result<Option<Event<'s>>, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        loop {
            match self.step(input) {
                Ok(Step::Continue) => {}
                Ok(Step::NeedInput) => return Ok(None),
                Ok(Step::Data(bytes)) => return Ok(Some(Event::Data(bytes))),
                Ok(Step::Held(range)) => {
                    return Ok(Some(Event::Data(self.delimiter.get(range).unwrap_or_default())));
                }
                Ok(Step::Found(event)) => return Ok(Some(event)),
                Err(error) => {
                    self.failed = Some(error.clone());
                    return Err(error);
                }
            }
        }
    }

    /// To be called when the input has ended and [`Self::next_event`] has returned `None`.
    pub fn finish(&self) -> Result<(), Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        match self.state {
            State::Epilogue => Ok(()),
            State::ExpectEntityHeaders => Err(Error::HeaderTruncated),
            State::ExpectFirstDelimiter => Err(Error::BoundaryNotFound),
            _ => Err(Error::Truncated { part: self.parts }),
        }
    }

    fn use_boundary(&mut self, content_type: &MediaType) -> Result<(), Error> {
        if !content_type.is_multipart() {
            return Err(Error::NotMultipart(content_type.essence().to_owned()));
        }
        let boundary = content_type.parameter("boundary").ok_or(Error::BoundaryMissing)?;
        check_limit("characters of the boundary", self.limits.boundary_chars_max, boundary.len())?;
        if !is_boundary(boundary) {
            return Err(Error::BoundaryInvalid);
        }
        self.delimiter = [b"\r\n--", boundary.as_bytes()].concat();
        self.state = State::ExpectFirstDelimiter;
        self.begin_at_line_start();
        Ok(())
    }

    fn begin_at_line_start(&mut self) {
        self.matched = 2;
        self.virtual_bytes = 2;
    }

    fn step<'i>(&mut self, input: &mut &'i [u8]) -> Result<Step<'i>, Error> {
        match self.state {
            State::ExpectEntityHeaders => self.entity_headers(input),
            State::ExpectFirstDelimiter => match self.scan(input) {
                Scan::NeedInput => Ok(Step::NeedInput),
                Scan::Data(bytes) => self.skip(bytes.len()),
                Scan::Held(range) => self.skip(range.len()),
                Scan::Delimiter => {
                    self.state = State::ExpectDelimiterEnd(LineEnd::Start);
                    Ok(Step::Continue)
                }
            },
            State::ExpectDelimiterEnd(end) => self.delimiter_end(end, input),
            State::ExpectPartHeaders => self.part_headers(input),
            State::ExpectBody => Ok(match self.scan(input) {
                Scan::NeedInput => Step::NeedInput,
                Scan::Data(bytes) => Step::Data(bytes),
                Scan::Held(range) => Step::Held(range),
                Scan::Delimiter => {
                    self.state = State::ExpectDelimiterEnd(LineEnd::Start);
                    Step::Continue
                }
            }),
            State::ExpectEnd => {
                self.state = State::Epilogue;
                self.skipped = 0;
                Ok(Step::Found(Event::End))
            }
            State::Epilogue => {
                // `--b--x` may be the start of another boundary: only white space may follow at once.
                let first = input.first().copied();
                if self.skipped == 0 && first.is_some_and(|b| !matches!(b, b'\r' | b'\n' | b' ' | b'\t')) {
                    return Err(Error::DelimiterAmbiguous);
                }
                self.skipped = self.skipped.saturating_add(input.len());
                check_limit("bytes behind the parts", self.limits.epilogue_bytes_max, self.skipped)?;
                *input = &[];
                Ok(Step::NeedInput)
            }
        }
    }

    /// Counts bytes before the first part.
    fn skip<'i>(&mut self, bytes: usize) -> Result<Step<'i>, Error> {
        self.skipped = self.skipped.saturating_add(bytes);
        check_limit("bytes before the parts", self.limits.preamble_bytes_max, self.skipped)?;
        Ok(Step::Continue)
    }

    /// Looks for the delimiter. Its CR occurs nowhere else in it, so a failed match can only restart at the byte
    /// that failed it.
    fn scan<'i>(&mut self, input: &mut &'i [u8]) -> Scan<'i> {
        if self.matched > 0 {
            loop {
                let Some(&expected) = self.delimiter.get(self.matched) else {
                    self.matched = 0;
                    self.virtual_bytes = 0;
                    return Scan::Delimiter;
                };
                match input.split_first() {
                    None => return Scan::NeedInput,
                    Some((&byte, rest)) if byte == expected => {
                        self.matched += 1;
                        *input = rest;
                    }
                    Some(_) => {
                        let held = self.virtual_bytes..self.matched;
                        self.matched = 0;
                        self.virtual_bytes = 0;
                        if !held.is_empty() {
                            return Scan::Held(held);
                        }
                        break;
                    }
                }
            }
        }
        if input.is_empty() {
            return Scan::NeedInput;
        }
        let (data, rest) = match memmem::find(input, &self.delimiter) {
            Some(at) => {
                self.matched = self.delimiter.len();
                let (data, rest) = input.split_at(at);
                (data, rest.get(self.delimiter.len()..).unwrap_or_default())
            }
            None => {
                let at = memrchr(b'\r', input)
                    .filter(|&at| self.delimiter.starts_with(input.get(at..).unwrap_or_default()))
                    .unwrap_or(input.len());
                self.matched = input.len() - at;
                (input.split_at(at).0, &input[..0])
            }
        };
        *input = rest;
        if data.is_empty() {
            // Nothing before the (part of the) delimiter: decide about it at once.
            return self.scan(input);
        }
        Scan::Data(data)
    }

    fn delimiter_end<'i>(&mut self, end: LineEnd, input: &mut &'i [u8]) -> Result<Step<'i>, Error> {
        let Some((&byte, rest)) = input.split_first() else {
            return Ok(Step::NeedInput);
        };
        *input = rest;
        let next = match (end, byte) {
            (LineEnd::Start | LineEnd::Padding, b' ' | b'\t') => {
                self.skip(1)?;
                LineEnd::Padding
            }
            (LineEnd::Start | LineEnd::Padding, b'\r') => LineEnd::Cr,
            (LineEnd::Start, b'-') => LineEnd::Dash,
            (LineEnd::Dash, b'-') => {
                if self.parts == 0 {
                    return Err(Error::NoPart);
                }
                self.state = State::ExpectEnd;
                return Ok(self.close_part());
            }
            (LineEnd::Cr, b'\n') => {
                self.state = State::ExpectPartHeaders;
                return Ok(self.close_part());
            }
            _ => return Err(Error::DelimiterAmbiguous),
        };
        self.state = State::ExpectDelimiterEnd(next);
        Ok(Step::Continue)
    }

    fn close_part<'i>(&mut self) -> Step<'i> {
        if std::mem::take(&mut self.part_open) { Step::Found(Event::PartEnd) } else { Step::Continue }
    }

    fn entity_headers<'i>(&mut self, input: &mut &'i [u8]) -> Result<Step<'i>, Error> {
        let Some(headers) = self.header_block(input)? else {
            return Ok(Step::NeedInput);
        };
        if headers.fields.is_empty() {
            self.skip(2)?;
            return Ok(Step::Continue);
        }
        let content_type = headers.media_type()?.ok_or(Error::BoundaryMissing)?;
        self.use_boundary(&content_type)?;
        Ok(Step::Found(Event::EntityHeaders(headers)))
    }

    fn part_headers<'i>(&mut self, input: &mut &'i [u8]) -> Result<Step<'i>, Error> {
        let Some(headers) = self.header_block(input)? else {
            return Ok(Step::NeedInput);
        };
        self.parts += 1;
        check_limit("parts of the message", self.limits.parts_max, self.parts)?;
        if let Some(id) = headers.content_id() {
            // Ids that differ only in their escapes would name different parts for different readers.
            let (raw, decoded) = (id.as_str().to_owned(), id.decoded());
            if self.ids.contains(&raw) || self.ids.contains(&decoded) {
                return Err(Error::ContentIdTwice(raw));
            }
            self.ids.insert(raw);
            self.ids.insert(decoded);
        }
        self.state = State::ExpectBody;
        self.part_open = true;
        self.begin_at_line_start();
        Ok(Step::Found(Event::PartStart(headers)))
    }

    /// Gathers lines until the empty one.
    fn header_block(&mut self, input: &mut &[u8]) -> Result<Option<Headers>, Error> {
        loop {
            let line_end = memchr(b'\n', input).map(|at| at + 1);
            let (taken, rest) = input.split_at(line_end.unwrap_or(input.len()));
            *input = rest;
            let seen = self.header_block.len() + taken.len();
            check_limit("bytes of a header block", self.limits.header_block_bytes_max, seen)?;
            self.header_block.extend_from_slice(taken);
            if line_end.is_none() {
                return Ok(None);
            }
            let line = self.header_block.get(self.line_start..).unwrap_or_default();
            if !line.ends_with(b"\r\n") {
                return Err(Error::HeaderInvalid("line ends with LF alone"));
            }
            if line == b"\r\n" {
                let headers = Headers::parse(&self.header_block, &self.limits)?;
                self.header_block.clear();
                self.line_start = 0;
                return Ok(Some(headers));
            }
            self.line_start = self.header_block.len();
        }
    }
}

/// The characters of RFC 2046, with those that clients use beyond them left out: none was seen in the field.
pub(super) fn is_boundary(boundary: &str) -> bool {
    !boundary.is_empty()
        && !boundary.ends_with(' ')
        && boundary.bytes().all(|b| b.is_ascii_alphanumeric() || b"'()+_,-./:=? *@;".contains(&b))
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
