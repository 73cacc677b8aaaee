//! Strict, namespace-aware, streaming XML reader (XML 1.0 fifth edition, Namespaces in XML 1.0), fed with chunks cut
//! anywhere, so that an async server can hand over what it has. [`SliceReader`] and [`StreamReader`] wrap it for
//! bytes at hand and for `BufRead`.
//!
//! Framing, limits, names, namespaces and every well-formedness check are ours, because quick-xml silently accepts
//! two roots, an open root, text outside the root, `<` in attribute values, `]]>` in text, `--` in comments, control
//! characters, unbound prefixes, bad names and foreign encodings, and holds any text node whole. quick-xml cuts a
//! complete start tag into its attributes.
//!
//! Text is delivered in pieces and never held; a tag, comment or processing instruction is held up to a limit.
//! DOCTYPE is refused, hence there are no entities but the five and no default attributes. Line ends and attribute
//! values are normalised (sections 2.11, 3.3.3). A byte order mark of UTF-8 is skipped at the very start; any other
//! encoding is refused. White space outside the root is not reported.

mod event;
mod value;
mod whole;

use std::ops::Range;

use memchr::{memchr, memchr2, memchr3, memmem};
use quick_xml::events::attributes::Attributes;

use crate::xml::chars::{check_chars, is_white, resolve_reference, split_qname};
use crate::xml::namespaces::{Context, Namespace};
use crate::xml::plain::{self, PlainAttribute, PlainTag, Runner};
use crate::xml::{Error, ErrorKind, Limits, check_limit};

pub use event::{Attribute, EndElement, Event, Name, StartElement};
use value::{check_declaration, normalised_value, plain_str, with_line_feeds};
pub use whole::{Octets, Permit, SliceReader, StreamReader};

const REFERENCE_BYTES_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    DocumentStart,
    Text,
    Reference,
    Cdata,
    /// After `<`: the next bytes tell what begins.
    Markup,
    StartTag {
        quote: u8,
    },
    EndTag,
    Comment,
    Instruction,
}

/// What was found, free of borrows, so that wrappers can loop until there is something.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    NeedInput,
    /// With the bytes of the input that [`StartElement::plain`] hands out.
    Start(Range<usize>),
    End(Range<usize>),
    /// Text that lies in the input handed to this very call.
    Text(Range<usize>),
    /// Text that the input holds in another form.
    Scratch,
    Comment,
    Instruction {
        target: usize,
    },
}

#[derive(Debug)]
struct AttributeSlot {
    name: Range<usize>,
    /// Bytes of the prefix.
    prefix: usize,
    value: Range<usize>,
    namespace: Namespace,
}

/// The incremental reader.
#[derive(Debug)]
pub struct Reader {
    limits: Limits,
    state: State,
    offset: u64,
    context: Context,
    root_seen: bool,
    /// An empty-element tag was reported; its end is due.
    end_due: bool,
    /// The element whose end was reported is still open in the context.
    close_due: bool,
    /// The document, after a byte order mark, begins here.
    content_start: u64,
    /// The markup or reference being gathered, from `<` or `&` on.
    markup: Vec<u8>,
    span: Range<u64>,
    empty_tag: bool,
    attributes: Vec<AttributeSlot>,
    plain_attributes: Vec<PlainAttribute>,
    runner: Runner,
    /// Before this byte of the document there is no further run to be found.
    no_run_before: u64,
    /// Names and values of the attributes of the current start tag.
    attribute_text: String,
    scratch: String,
    /// A character cut by the end of a chunk.
    cut: Vec<u8>,
    /// `]` at the end of the literal text so far, at most two matter.
    brackets: usize,
    after_cr: bool,
    failed: Option<Error>,
}

impl Reader {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::DocumentStart,
            offset: 0,
            context: Context::default(),
            root_seen: false,
            end_due: false,
            close_due: false,
            content_start: 0,
            markup: Vec::new(),
            span: 0..0,
            empty_tag: false,
            attributes: Vec::new(),
            plain_attributes: Vec::new(),
            runner: Runner::default(),
            no_run_before: 0,
            attribute_text: String::new(),
            scratch: String::new(),
            cut: Vec::new(),
            brackets: 0,
            after_cr: false,
            failed: None,
        }
    }

    /// The next event; `None` when `input` is used up. `input` is advanced past what was consumed. After an error
    /// every further call returns the same error.
    pub fn next_event<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Result<Option<Event<'s>>, Error> {
        let all = *input;
        let (consumed, found) = self.advance(all)?;
        *input = all.get(consumed..).unwrap_or_default();
        Ok(self.event(found, all))
    }

    /// In place of events: text and whole elements that `input` begins with, in canonical form, if that is made of their
    /// own bytes and the declarations that `permit` demands, and they have neither declarations, nor attributes with a
    /// prefix or ID attributes. `permit` is asked whether elements with a prefix (or, for the empty one, without) may be
    /// among them. The canonical octets come in pieces. `None` says only that the next event must be looked at.
    pub fn plain_run<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
        permit: impl FnMut(&Context, &str) -> Permit,
    ) -> Result<Option<Octets<'s>>, Error> {
        let buffer = *input;
        let taken = self.take_run(buffer, permit)?;
        *input = buffer.get(taken..).unwrap_or_default();
        Ok((taken > 0).then(|| Octets::of(buffer, &self.runner)))
    }

    /// Consumes a run; its bytes, which may be none.
    fn take_run(
        &mut self,
        input: &[u8],
        mut permit: impl FnMut(&Context, &str) -> Permit,
    ) -> Result<usize, Error> {
        let between = self.state == State::Text && !self.after_cr && self.cut.is_empty();
        if !between || self.end_due || self.failed.is_some() || self.offset < self.no_run_before {
            return Ok(0);
        }
        if std::mem::take(&mut self.close_due) {
            self.context.close();
        }
        if self.context.depth() == 0 {
            return Ok(0);
        }
        let context = &self.context;
        let (depth, kept) = (context.depth(), context.kept_bytes());
        let around = plain::Around { limits: &self.limits, depth, kept };
        let plain::Run { taken, seen } =
            plain::run(input, around, &mut self.runner, |prefix| match context.resolve(prefix) {
                Some(uri) => (permit(context, prefix), uri),
                None => (Permit::Refused, ""),
            });
        self.no_run_before = self.offset + seen as u64;
        if taken > 0 {
            self.brackets = 0;
            self.offset += taken as u64;
        }
        let (value, seen) = (self.limits.document_bytes_max, self.offset);
        if seen > value {
            let error = ErrorKind::LimitExceeded { limit: "bytes of the document", value, seen }.at(seen);
            self.failed = Some(error.clone());
            return Err(error);
        }
        Ok(taken)
    }

    /// To be called when the input has ended and [`Self::next_event`] has returned `None`.
    pub fn finish(&self) -> Result<(), Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let truncated = |what| Err(ErrorKind::Truncated(what).at(self.offset));
        if self.context.depth() > usize::from(self.close_due) {
            return truncated("an element is open");
        }
        if !matches!(self.state, State::Text | State::DocumentStart) || !self.cut.is_empty() {
            return truncated("markup is open");
        }
        if !self.root_seen {
            return truncated("there is no root element");
        }
        Ok(())
    }

    /// Bytes consumed so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn advance(&mut self, input: &[u8]) -> Result<(usize, Found), Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if std::mem::take(&mut self.close_due) {
            self.context.close();
        }
        if std::mem::take(&mut self.end_due) {
            self.span = self.offset..self.offset;
            self.close_due = true;
            return Ok((0, Found::End(0..0)));
        }
        let mut consumed = 0;
        let found = loop {
            let rest = input.get(consumed..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(Found::NeedInput);
            }
            match self.step(rest) {
                Ok((taken, found)) => {
                    self.offset += taken as u64;
                    let at = consumed;
                    consumed += taken;
                    if self.offset > self.limits.document_bytes_max {
                        let (value, seen) = (self.limits.document_bytes_max, self.offset);
                        break Err(ErrorKind::LimitExceeded { limit: "bytes of the document", value, seen });
                    }
                    match found {
                        None => {}
                        Some(Found::Text(range)) => break Ok(Found::Text(range.start + at..range.end + at)),
                        Some(Found::Start(range)) => {
                            break Ok(Found::Start(range.start + at..range.end + at));
                        }
                        Some(Found::End(range)) => break Ok(Found::End(range.start + at..range.end + at)),
                        Some(found) => break Ok(found),
                    }
                }
                Err(kind) => break Err(kind),
            }
        };
        match found {
            Ok(found) => Ok((consumed, found)),
            Err(kind) => {
                let error = kind.at(self.offset);
                self.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    fn event<'s>(&'s self, found: Found, input: &'s [u8]) -> Option<Event<'s>> {
        match found {
            Found::NeedInput => None,
            Found::Start(plain) => {
                let plain = input.get(plain).unwrap_or_default();
                Some(Event::Start(StartElement { reader: self, plain }))
            }
            Found::End(plain) => {
                let plain = input.get(plain).unwrap_or_default();
                Some(Event::End(EndElement { reader: self, plain }))
            }
            Found::Text(range) => {
                let text = std::str::from_utf8(input.get(range).unwrap_or_default());
                Some(Event::Text(text.unwrap_or_default()))
            }
            Found::Scratch => Some(Event::Text(&self.scratch)),
            Found::Comment => Some(Event::Comment(&self.scratch)),
            Found::Instruction { target } => {
                let (target, data) = self.scratch.split_at_checked(target).unwrap_or_default();
                Some(Event::ProcessingInstruction { target, data })
            }
        }
    }

    /// Consumes something of `input`, which is not empty. Text ranges are relative to it.
    fn step(&mut self, input: &[u8]) -> Result<(usize, Option<Found>), ErrorKind> {
        match self.state {
            State::DocumentStart => self.document_start(input),
            State::Text => self.text(input),
            State::Cdata => self.cdata(input),
            State::Reference => self.reference(input),
            State::Markup => self.markup_kind(input),
            State::StartTag { quote } => self.start_tag(quote, input),
            State::EndTag => self.until_gt(input, b"", 0, Self::end_tag),
            State::Comment => self.until_gt(input, b"--", 6, Self::comment),
            State::Instruction => self.until_gt(input, b"?", 3, Self::instruction),
        }
    }

    fn document_start(&mut self, input: &[u8]) -> Result<(usize, Option<Found>), ErrorKind> {
        const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
        let Some(&first) = input.first() else {
            return Ok((0, None));
        };
        match BYTE_ORDER_MARK.get(self.cut.len()) {
            Some(&expected) if first == expected => {
                self.cut.push(first);
                if self.cut.len() == BYTE_ORDER_MARK.len() {
                    self.cut.clear();
                    self.content_start = 3;
                    self.state = State::Text;
                }
                Ok((1, None))
            }
            _ if !self.cut.is_empty() => Err(ErrorKind::NotWellFormed("text outside the root element")),
            _ if matches!(first, 0xFE | 0xFF | 0) => {
                Err(ErrorKind::Encoding("the first byte belongs to another one"))
            }
            _ => {
                self.state = State::Text;
                Ok((0, None))
            }
        }
    }

    fn text(&mut self, input: &[u8]) -> Result<(usize, Option<Found>), ErrorKind> {
        if let Some(taken) = self.line_feed_after_cr(input) {
            return Ok((taken, None));
        }
        if !self.cut.is_empty() {
            return self.complete_character(input);
        }
        if self.context.depth() > 0
            && let Some(end) = plain::text(input)
        {
            self.brackets = 0;
            return Ok((end, Some(Found::Text(0..end))));
        }
        let end = memchr3(b'<', b'&', b'\r', input).unwrap_or(input.len());
        if end > 0 {
            let run = input.get(..end).unwrap_or_default();
            self.check_cdata_end(run)?;
            return self.literal(run, end == input.len());
        }
        self.brackets = 0;
        if let Some(whole) = self.whole_tag(input)? {
            return Ok(whole);
        }
        match input.first() {
            Some(b'\r') => return self.line_end(),
            Some(b'&') => {
                self.refuse_outside_root()?;
                self.state = State::Reference;
            }
            _ => self.state = State::Markup,
        }
        self.markup.clear();
        self.markup.extend(input.first());
        self.span = self.offset..self.offset;
        Ok((1, None))
    }

    /// The common case: a tag that lies in the input as a whole is read where it is. Whatever does not look right
    /// goes the other way, in which pieces are gathered, and is judged there.
    fn whole_tag(&mut self, input: &[u8]) -> Result<Option<(usize, Option<Found>)>, ErrorKind> {
        let Some((b'<', inner)) = input.split_first() else { return Ok(None) };
        if let Some(closing) = inner.strip_prefix(b"/") {
            let open = self.context.open_name().unwrap_or_default();
            let matches = !open.is_empty()
                && closing.get(..open.len()) == Some(open.as_bytes())
                && closing.get(open.len()) == Some(&b'>');
            let taken = open.len() + 3;
            if !matches || taken > self.limits.markup_bytes_max {
                return Ok(None);
            }
            self.span = self.offset..self.offset + taken as u64;
            self.close_due = true;
            return Ok(Some((taken, Some(Found::End(0..taken)))));
        }
        if matches!(inner.first(), None | Some(b'!' | b'?')) {
            return Ok(None);
        }
        if self.context.depth() == 0 && self.root_seen {
            return Ok(None);
        }
        let mut attributes = std::mem::take(&mut self.plain_attributes);
        let tag = plain::start_tag(input, &self.limits, &mut attributes);
        let opened = match tag.as_ref().and_then(|tag| Some((tag, plain_str(input, tag)?))) {
            Some((tag, text)) => self.open_plain(tag, text, &attributes).map(Some),
            None => Ok(None),
        };
        self.plain_attributes = attributes;
        opened
    }

    fn open_plain(
        &mut self,
        tag: &PlainTag,
        text: &str,
        attributes: &[PlainAttribute],
    ) -> Result<(usize, Option<Found>), ErrorKind> {
        let part = |range: Range<usize>| text.get(range).unwrap_or_default();
        self.span = self.offset..self.offset + tag.end as u64;
        self.root_seen = true;
        self.context.open(part(1..1 + tag.name), part(1..1 + tag.prefix), &self.limits)?;
        self.attributes.clear();
        self.attribute_text.clear();
        for PlainAttribute { name, prefix, value } in attributes {
            let (name, value) = (part(name.clone()), part(value.clone()));
            self.keep_attribute(name, *prefix, value)?;
        }
        self.context.settle()?;
        self.settle_attributes()?;
        self.empty_tag = tag.empty;
        self.end_due = tag.empty;
        let plain = if tag.empty { 0..0 } else { 0..tag.end };
        Ok((tag.end, Some(Found::Start(plain))))
    }

    /// Takes a declaration or another attribute, its value normalised.
    fn keep_attribute(&mut self, name: &str, prefix: usize, value: &str) -> Result<(), ErrorKind> {
        let local = if prefix == 0 { name } else { name.get(prefix + 1..).unwrap_or_default() };
        match name.get(..prefix).unwrap_or_default() {
            "" if local == "xmlns" => return self.context.declare("", value, &self.limits),
            "xmlns" => return self.context.declare(local, value, &self.limits),
            "xml" => self.context.keep_xml_attribute(local, value, &self.limits)?,
            _ => {}
        }
        let start = self.attribute_text.len();
        self.attribute_text.push_str(name);
        let middle = self.attribute_text.len();
        self.attribute_text.push_str(value);
        let (name, value, namespace) = (start..middle, middle..self.attribute_text.len(), Namespace::None);
        self.attributes.push(AttributeSlot { name, prefix, value, namespace });
        Ok(())
    }

    fn cdata(&mut self, input: &[u8]) -> Result<(usize, Option<Found>), ErrorKind> {
        if let Some(taken) = self.line_feed_after_cr(input) {
            return Ok((taken, None));
        }
        if !self.cut.is_empty() {
            return self.complete_character(input);
        }
        if self.brackets > 0 {
            return Ok(match (input.first(), self.brackets) {
                (Some(b']'), 1) => {
                    self.brackets = 2;
                    (1, None)
                }
                (Some(b']'), _) => (1, Some(self.scratch("]"))),
                (Some(b'>'), 2) => {
                    self.brackets = 0;
                    self.state = State::Text;
                    (1, None)
                }
                (_, held) => {
                    self.brackets = 0;
                    (0, Some(self.scratch(if held == 1 { "]" } else { "]]" })))
                }
            });
        }
        let end = memchr2(b']', b'\r', input).unwrap_or(input.len());
        match (end, input.first()) {
            (0, Some(b'\r')) => self.line_end(),
            (0, _) => {
                self.brackets = 1;
                Ok((1, None))
            }
            _ => self.literal(input.get(..end).unwrap_or_default(), end == input.len()),
        }
    }

    fn scratch(&mut self, text: &str) -> Found {
        self.scratch.clear();
        self.scratch.push_str(text);
        Found::Scratch
    }

    /// CR and CR LF are one LF (section 2.11): the LF was reported with the CR.
    fn line_feed_after_cr(&mut self, input: &[u8]) -> Option<usize> {
        let due = std::mem::take(&mut self.after_cr) && input.first() == Some(&b'\n');
        due.then_some(1)
    }

    fn line_end(&mut self) -> Result<(usize, Option<Found>), ErrorKind> {
        self.after_cr = true;
        let found = (self.context.depth() > 0).then(|| self.scratch("\n"));
        Ok((1, found))
    }

    fn refuse_outside_root(&self) -> Result<(), ErrorKind> {
        if self.context.depth() == 0 {
            return Err(ErrorKind::NotWellFormed("text outside the root element"));
        }
        Ok(())
    }

    /// `]]>` may not stand in text, even cut by a chunk.
    fn check_cdata_end(&mut self, run: &[u8]) -> Result<(), ErrorKind> {
        if self.brackets == 0 && memchr(b']', run).is_none() {
            return Ok(());
        }
        let leading = run.iter().take_while(|&&b| b == b']').count();
        let closes = self.brackets + leading >= 2 && run.get(leading) == Some(&b'>');
        if closes || memmem::find(run, b"]]>").is_some() {
            return Err(ErrorKind::NotWellFormed("`]]>` in text"));
        }
        let trailing = run.iter().rev().take_while(|&&b| b == b']').count();
        self.brackets = if trailing == run.len() { self.brackets + trailing } else { trailing }.min(2);
        Ok(())
    }

    /// Reports a run of text without CR, `<` and `&`. A character cut by the end of the chunk waits for its rest.
    fn literal(&mut self, run: &[u8], at_chunk_end: bool) -> Result<(usize, Option<Found>), ErrorKind> {
        let valid = match std::str::from_utf8(run) {
            Ok(text) => text,
            Err(error) if error.error_len().is_none() && at_chunk_end => {
                let (valid, cut) = run.split_at(error.valid_up_to());
                self.cut.extend_from_slice(cut);
                std::str::from_utf8(valid).unwrap_or_default()
            }
            Err(_) => return Err(ErrorKind::Encoding("bytes that are not UTF-8")),
        };
        if self.context.depth() == 0 {
            if !self.cut.is_empty() || !valid.bytes().all(is_white) {
                self.refuse_outside_root()?;
            }
            return Ok((run.len(), None));
        }
        check_chars(valid)?;
        Ok((run.len(), (!valid.is_empty()).then_some(Found::Text(0..valid.len()))))
    }

    fn complete_character(&mut self, input: &[u8]) -> Result<(usize, Option<Found>), ErrorKind> {
        self.cut.extend(input.first());
        match std::str::from_utf8(&self.cut) {
            Ok(text) => {
                check_chars(text)?;
                self.scratch.clear();
                self.scratch.push_str(text);
                self.cut.clear();
                Ok((1, Some(Found::Scratch)))
            }
            Err(error) if error.error_len().is_none() => Ok((1, None)),
            Err(_) => Err(ErrorKind::Encoding("bytes that are not UTF-8")),
        }
    }

    fn reference(&mut self, input: &[u8]) -> Result<(usize, Option<Found>), ErrorKind> {
        let end = memchr(b';', input);
        let taken = input.get(..end.map_or(input.len(), |at| at + 1)).unwrap_or_default();
        if self.markup.len() + taken.len() > REFERENCE_BYTES_MAX {
            return Err(ErrorKind::NotWellFormed("`&` without a reference"));
        }
        self.markup.extend_from_slice(taken);
        if end.is_none() {
            return Ok((taken.len(), None));
        }
        let inner = self.markup.get(1..self.markup.len() - 1).unwrap_or_default();
        let inner =
            std::str::from_utf8(inner).map_err(|_| ErrorKind::Encoding("bytes that are not UTF-8"))?;
        let character = resolve_reference(inner)?;
        self.state = State::Text;
        self.scratch.clear();
        self.scratch.push(character);
        Ok((taken.len(), Some(Found::Scratch)))
    }

    fn markup_kind(&mut self, input: &[u8]) -> Result<(usize, Option<Found>), ErrorKind> {
        const COMMENT: &[u8] = b"<!--";
        const CDATA: &[u8] = b"<![CDATA[";
        self.markup.extend(input.first());
        match self.markup.as_slice() {
            [_, b'/'] => self.state = State::EndTag,
            [_, b'?'] => self.state = State::Instruction,
            [_, b'!'] => {}
            [_, b'!', b'D', ..] => return Err(ErrorKind::Doctype),
            [_, b'!', ..] => {
                let so_far = self.markup.as_slice();
                if so_far == COMMENT {
                    self.state = State::Comment;
                } else if so_far == CDATA {
                    self.refuse_outside_root()?;
                    self.brackets = 0;
                    self.state = State::Cdata;
                } else if !COMMENT.starts_with(so_far) && !CDATA.starts_with(so_far) {
                    return Err(ErrorKind::NotWellFormed("`<!` without comment or CDATA"));
                }
            }
            _ => {
                // The byte belongs to the tag and is gathered with it.
                self.markup.truncate(1);
                self.state = State::StartTag { quote: 0 };
                return Ok((0, None));
            }
        }
        Ok((1, None))
    }

    fn gather(&mut self, taken: &[u8]) -> Result<(), ErrorKind> {
        let seen = self.markup.len() + taken.len();
        check_limit("bytes of a tag, comment or processing instruction", self.limits.markup_bytes_max, seen)?;
        self.markup.extend_from_slice(taken);
        Ok(())
    }

    /// Gathers a start tag up to the `>` that stands outside quotes.
    fn start_tag(&mut self, mut quote: u8, input: &[u8]) -> Result<(usize, Option<Found>), ErrorKind> {
        let mut at = 0;
        while let Some(rest) = input.get(at..).filter(|rest| !rest.is_empty()) {
            let stop = if quote == 0 { memchr3(b'>', b'"', b'\'', rest) } else { memchr2(quote, b'<', rest) };
            let Some(stop) = stop else { break };
            at += stop + 1;
            match rest.get(stop) {
                Some(b'>') if quote == 0 => {
                    self.gather(input.get(..at).unwrap_or_default())?;
                    let found = self.complete(at, Self::open_element)?;
                    return Ok((at, found));
                }
                Some(b'<') => return Err(ErrorKind::NotWellFormed("`<` in an attribute value")),
                Some(&mark) if quote == 0 => quote = mark,
                _ => quote = 0,
            }
        }
        self.gather(input)?;
        self.state = State::StartTag { quote };
        Ok((input.len(), None))
    }

    /// Gathers up to a `>` that follows `before`, with at least `min` bytes ahead of it, then calls `complete`.
    fn until_gt(
        &mut self,
        input: &[u8],
        before: &[u8],
        min: usize,
        complete: fn(&mut Self, &str) -> Result<Option<Found>, ErrorKind>,
    ) -> Result<(usize, Option<Found>), ErrorKind> {
        let mut at = 0;
        while let Some(stop) = input.get(at..).and_then(|rest| memchr(b'>', rest)) {
            self.gather(input.get(at..at + stop).unwrap_or_default())?;
            at += stop + 1;
            let complete_here = self.markup.len() >= min && self.markup.ends_with(before);
            self.gather(b">")?;
            if complete_here {
                let found = self.complete(at, complete)?;
                return Ok((at, found));
            }
        }
        self.gather(input.get(at..).unwrap_or_default())?;
        Ok((input.len(), None))
    }

    fn complete(
        &mut self,
        taken: usize,
        then: fn(&mut Self, &str) -> Result<Option<Found>, ErrorKind>,
    ) -> Result<Option<Found>, ErrorKind> {
        self.span.end = self.offset + taken as u64;
        self.state = State::Text;
        let bytes = std::mem::take(&mut self.markup);
        let text =
            std::str::from_utf8(&bytes).map_err(|_| ErrorKind::Encoding("bytes that are not UTF-8"))?;
        check_chars(text)?;
        let found = then(self, text)?;
        self.markup = bytes;
        Ok(found)
    }

    fn comment(&mut self, markup: &str) -> Result<Option<Found>, ErrorKind> {
        let inner = markup.strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->")).unwrap_or_default();
        if inner.contains("--") || inner.ends_with('-') {
            return Err(ErrorKind::NotWellFormed("`--` in a comment"));
        }
        self.scratch.clear();
        self.scratch.push_str(&with_line_feeds(inner));
        Ok(Some(Found::Comment))
    }

    fn instruction(&mut self, markup: &str) -> Result<Option<Found>, ErrorKind> {
        let inner = markup.strip_prefix("<?").and_then(|rest| rest.strip_suffix("?>")).unwrap_or_default();
        let (target, data) = inner.split_at(inner.find([' ', '\t', '\r', '\n']).unwrap_or(inner.len()));
        let (prefix, _) = split_qname(target)?;
        if !prefix.is_empty() {
            return Err(ErrorKind::Name(target.to_owned()));
        }
        check_limit("bytes of a name", self.limits.name_bytes_max, target.len())?;
        if target.eq_ignore_ascii_case("xml") {
            if target != "xml" || self.span.start != self.content_start {
                return Err(ErrorKind::NotWellFormed("XML declaration that is not at the start"));
            }
            return check_declaration(data).map(|()| None);
        }
        let data = data.trim_start_matches([' ', '\t', '\r', '\n']);
        self.scratch.clear();
        self.scratch.push_str(target);
        self.scratch.push_str(&with_line_feeds(data));
        Ok(Some(Found::Instruction { target: target.len() }))
    }

    fn end_tag(&mut self, markup: &str) -> Result<Option<Found>, ErrorKind> {
        let name = markup.strip_prefix("</").and_then(|rest| rest.strip_suffix('>')).unwrap_or_default();
        let name = name.trim_end_matches([' ', '\t', '\r', '\n']);
        match self.context.open_name() {
            Some(open) if open == name => {}
            open => {
                let expected = open.unwrap_or("no element").to_owned();
                return Err(ErrorKind::EndTag { expected, found: name.chars().take(80).collect() });
            }
        }
        self.close_due = true;
        Ok(Some(Found::End(0..0)))
    }

    fn open_element(&mut self, markup: &str) -> Result<Option<Found>, ErrorKind> {
        let inner = markup.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or_default();
        let (inner, empty) = inner.strip_suffix('/').map_or((inner, false), |inner| (inner, true));
        let name_end = inner.find([' ', '\t', '\r', '\n']).unwrap_or(inner.len());
        let (name, _) = inner.split_at(name_end);
        check_limit("bytes of a name", self.limits.name_bytes_max, name.len())?;
        let (prefix, _) = split_qname(name)?;
        if self.context.depth() == 0 && std::mem::replace(&mut self.root_seen, true) {
            return Err(ErrorKind::NotWellFormed("second root element"));
        }
        self.context.open(name, prefix, &self.limits)?;
        self.attributes.clear();
        self.attribute_text.clear();
        if name_end < inner.len() {
            self.read_attributes(inner, name_end)?;
        }
        self.context.settle()?;
        self.settle_attributes()?;
        self.empty_tag = empty;
        self.end_due = empty;
        Ok(Some(Found::Start(0..0)))
    }

    /// Cuts the tag's content into attributes and sorts them into declarations and others.
    fn read_attributes(&mut self, inner: &str, name_end: usize) -> Result<(), ErrorKind> {
        let mut tokens = Attributes::new(inner, name_end);
        let mut count = 0;
        for token in tokens.with_checks(false) {
            let token =
                token.map_err(|_| ErrorKind::NotWellFormed("attribute that is not name=\"value\""))?;
            count += 1;
            check_limit("attributes of an element", self.limits.attributes_max, count)?;
            let name = token.key.0;
            // quick-xml does not ask for white space between attributes.
            let at = (name.as_ptr() as usize).checked_sub(inner.as_ptr() as usize);
            let before = at.and_then(|at| at.checked_sub(1)).and_then(|at| inner.as_bytes().get(at));
            if !before.is_some_and(|&b| is_white(b)) {
                return Err(ErrorKind::NotWellFormed("no white space between attributes"));
            }
            check_limit("bytes of a name", self.limits.name_bytes_max, name.len())?;
            check_limit(
                "bytes of an attribute value",
                self.limits.attribute_value_bytes_max,
                token.value.len(),
            )?;
            let (prefix, _) = split_qname(name)?;
            let value = normalised_value(&token.value)?;
            self.keep_attribute(name, prefix.len(), &value)?;
        }
        Ok(())
    }

    /// Prefixes must be bound and expanded names differ.
    fn settle_attributes(&mut self) -> Result<(), ErrorKind> {
        for slot in &mut self.attributes {
            // An attribute without prefix is in no namespace, whatever the default is.
            if slot.prefix > 0 {
                let prefix = self
                    .attribute_text
                    .get(slot.name.start..slot.name.start + slot.prefix)
                    .unwrap_or_default();
                let bound = self.context.lookup(prefix);
                slot.namespace = bound.ok_or_else(|| ErrorKind::PrefixUnbound(prefix.to_owned()))?;
            }
        }
        for (at, slot) in self.attributes.iter().enumerate().skip(1) {
            let name = self.attribute(slot).name;
            let mut before = self.attributes.iter().take(at).map(|other| self.attribute(other).name);
            if before.any(|other| other.is(name.ns, name.local)) {
                return Err(ErrorKind::AttributeTwice(name.local.to_owned()));
            }
        }
        Ok(())
    }

    fn open_name(&self) -> Name<'_> {
        self.context.name_here().unwrap_or(Name { ns: "", local: "", prefix: "" })
    }

    fn attribute(&self, slot: &AttributeSlot) -> Attribute<'_> {
        let name = self.attribute_text.get(slot.name.clone()).unwrap_or_default();
        let value = self.attribute_text.get(slot.value.clone()).unwrap_or_default();
        let prefix = name.get(..slot.prefix).unwrap_or_default();
        let local = if prefix.is_empty() { name } else { name.get(prefix.len() + 1..).unwrap_or_default() };
        Attribute { name: Name { ns: self.context.uri(&slot.namespace), local, prefix }, value }
    }
}

#[cfg(test)]
mod tests;
