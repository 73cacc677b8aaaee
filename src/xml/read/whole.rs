//! The reader over bytes that are at hand: in memory, or in the buffer of a stream.

use std::io::BufRead;

use super::{Event, Found, Reader};
use crate::xml::namespaces::Context;
use crate::xml::plain::{Piece, Runner};
use crate::xml::{Error, ErrorKind, Limits};

/// Reads a document that lies in memory.
#[derive(Debug)]
pub struct SliceReader<'i> {
    reader: Reader,
    input: &'i [u8],
}

impl<'i> SliceReader<'i> {
    pub fn new(input: &'i [u8], limits: Limits) -> Self {
        Self { reader: Reader::new(limits), input }
    }

    /// The next event; `None` at the end of a complete document.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, Error> {
        let all = self.input;
        let (consumed, found) = self.reader.advance(all)?;
        self.input = all.get(consumed..).unwrap_or_default();
        if found == Found::NeedInput {
            self.reader.finish()?;
        }
        Ok(self.reader.event(found, all))
    }
}

/// What canonical form makes of a run's elements with a prefix ([`Reader::plain_run`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// They are for the full rules.
    Refused,
    /// They may pass, and nobody digests them.
    Unread,
    AsItStands,
    /// The outermost of them declares the prefix.
    Declared,
}

impl Permit {
    /// What holds for both of two that are handed the same octets.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unread, one) | (one, Self::Unread) => one,
            (one, other) if one == other => one,
            _ => Self::Refused,
        }
    }
}

/// The canonical form of a run, in pieces.
#[derive(Debug, Clone)]
pub struct Octets<'a> {
    buffer: &'a [u8],
    runner: &'a Runner,
    pieces: std::slice::Iter<'a, Piece>,
}

impl<'a> Octets<'a> {
    /// Of the run that was found last, in the bytes that it was found in.
    pub(super) fn of(buffer: &'a [u8], runner: &'a Runner) -> Self {
        Self { buffer, runner, pieces: runner.pieces.iter() }
    }
}

impl<'a> Iterator for Octets<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.pieces.next().map(|piece| self.runner.octets(piece, self.buffer))
    }
}

/// Reads a document from a stream, holding no more than the stream's own buffer.
#[derive(Debug)]
pub struct StreamReader<R> {
    reader: Reader,
    stream: R,
    /// Bytes of the stream's buffer that the last event may still borrow.
    used: usize,
}

impl<R: BufRead> StreamReader<R> {
    pub fn new(stream: R, limits: Limits) -> Self {
        Self { reader: Reader::new(limits), stream, used: 0 }
    }

    /// [`Reader::plain_run`] of what comes next.
    pub fn plain_run(
        &mut self,
        permit: impl FnMut(&Context, &str) -> Permit,
    ) -> Result<Option<Octets<'_>>, Error> {
        self.stream.consume(std::mem::take(&mut self.used));
        let offset = self.reader.offset;
        self.used = self.reader.take_run(fill(&mut self.stream, offset)?, permit)?;
        if self.used == 0 {
            return Ok(None);
        }
        // Nothing was consumed since, so this is the buffer the run was found in.
        let buffer = fill(&mut self.stream, offset)?;
        Ok(Some(Octets::of(buffer, &self.reader.runner)))
    }

    /// The next event; `None` at the end of a complete document.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, Error> {
        let found = loop {
            self.stream.consume(std::mem::take(&mut self.used));
            let offset = self.reader.offset;
            let buffer = fill(&mut self.stream, offset)?;
            let ended = buffer.is_empty();
            let (consumed, found) = self.reader.advance(buffer)?;
            self.used = consumed;
            if found != Found::NeedInput {
                break found;
            }
            if ended {
                self.reader.finish()?;
                return Ok(None);
            }
        };
        let offset = self.reader.offset;
        // Nothing was consumed since, so this is the buffer the event was found in.
        let buffer = fill(&mut self.stream, offset)?;
        Ok(self.reader.event(found, buffer))
    }
}

fn fill(stream: &mut impl BufRead, offset: u64) -> Result<&[u8], Error> {
    stream.fill_buf().map_err(|error| ErrorKind::Input(error.kind()).at(offset))
}
