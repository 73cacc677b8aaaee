//! A delivery that was fetched: its contents, who signed them, and the way into files (OSCI12, section 8.1).

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::exchange::{Error, Opened};
use super::scratch::{Slice, SliceReader};
use crate::mime::transfer::{Base64Decoder, TransferEncoding};
use crate::osci::envelope::authors::AuthorReport;
use crate::osci::envelope::content::Content;
use crate::osci::envelope::{self, Limits};
use crate::osci::message::message_id::MessageId;
use crate::osci::message::process_card::ProcessCardBundle;
use crate::xml::read::{Event, Reader as XmlReader};

/// Longest name of a file that is written.
const FILE_NAME_CHARS_MAX: usize = 120;

pub struct Fetched {
    pub(super) opened: Opened,
    pub(super) limits: Limits,
    pub card: Option<ProcessCardBundle>,
    /// The supplier says that more deliveries wait.
    pub more: bool,
}

/// Content of a delivery.
pub enum Part {
    /// Base64Content, by the place of its element in the SOAP part.
    Inline {
        start: u64,
        end: u64,
    },
    Attachment {
        content_id: String,
        span: Slice,
        encoding: TransferEncoding,
    },
}

impl Fetched {
    pub fn id(&self) -> Option<&MessageId> {
        self.card.as_ref().map(|card| &card.message_id)
    }

    /// Header blocks of the sender's own.
    pub fn custom(&self) -> &[crate::osci::message::custom_header::CustomHeader] {
        &self.opened.received.message.custom
    }

    /// How many pieces of content are encrypted for somebody.
    pub fn encrypted(&self) -> usize {
        self.opened.received.package.as_ref().map_or(0, |package| package.encrypted.len())
    }

    fn soap(&self) -> Slice {
        self.opened.plain.part(self.opened.received.soap_span.clone())
    }

    /// What was found about each signature of an author over content in the clear.
    pub fn authors(&self) -> Result<Vec<AuthorReport>, Error> {
        match self.opened.received.authors(&self.limits) {
            None => Ok(Vec::new()),
            Some(authors) => Ok(authors.verify(&mut self.soap().reader())?),
        }
    }

    /// The contents in the clear, in their order, and then attachments that no content in the clear names.
    pub fn parts(&self) -> Vec<Part> {
        let received = &self.opened.received;
        let attached = |at: usize| {
            let attachment = received.attachments.get(at)?;
            Some(Part::Attachment {
                content_id: attachment.content_id.as_str().to_owned(),
                span: self.opened.plain.part(attachment.span.clone()),
                encoding: attachment.encoding,
            })
        };
        let (mut parts, mut named) = (Vec::new(), Vec::new());
        for content in received.package.iter().flat_map(|package| &package.contents) {
            match content {
                Content::Inline { span, .. } => parts.push(Part::Inline { start: span.start, end: span.end }),
                Content::Attachment { content_id, .. } => {
                    let uri = format!("cid:{content_id}");
                    let found = received.attachments.iter().position(|attachment| {
                        attachment.content_id.as_str() == content_id.as_str()
                            || attachment.content_id.is_named_by(&uri)
                    });
                    named.extend(found);
                    parts.extend(found.and_then(attached));
                }
            }
        }
        let others = (0..received.attachments.len()).filter(|at| !named.contains(at));
        parts.extend(others.filter_map(attached));
        parts
    }

    /// The octets of a part.
    pub fn write_part(&self, part: &Part, out: &mut dyn Write) -> Result<(), Error> {
        match part {
            Part::Attachment { span, encoding: TransferEncoding::Identity, .. } => {
                io::copy(&mut span.reader(), out)?;
                Ok(())
            }
            Part::Attachment { span, encoding: TransferEncoding::Base64, .. } => {
                decode(&mut span.reader(), out)
            }
            Part::Inline { start, end } => inline(self.soap().reader(), &self.limits, (*start, *end), out),
        }
    }

    /// All parts in memory; for small deliveries.
    pub fn contents(&self) -> Result<Vec<Vec<u8>>, Error> {
        let whole = |part: &Part| {
            let mut octets = Vec::new();
            self.write_part(part, &mut octets).map(|()| octets)
        };
        self.parts().iter().map(whole).collect()
    }

    /// Writes each part to a new file of a folder; they are on disk when this returns.
    pub fn save(&self, folder: &Path) -> Result<Vec<PathBuf>, Error> {
        let mut files = Vec::new();
        for (at, part) in self.parts().iter().enumerate() {
            let path = folder.join(file_name(at, part));
            let mut file = io::BufWriter::new(File::create_new(&path)?);
            self.write_part(part, &mut file)?;
            file.flush()?;
            file.get_ref().sync_all()?;
            files.push(path);
        }
        File::open(folder)?.sync_all()?;
        Ok(files)
    }
}

fn decode(reader: &mut dyn Read, out: &mut dyn Write) -> Result<(), Error> {
    let (mut decoder, mut octets) = (Base64Decoder::new(), Vec::new());
    let mut piece = vec![0; 64 * 1024];
    loop {
        let read = reader.read(&mut piece)?;
        if read == 0 {
            return Ok(decoder.finish().map_err(envelope::Error::from)?);
        }
        octets.clear();
        decoder.decode(piece.get(..read).unwrap_or_default(), &mut octets).map_err(envelope::Error::from)?;
        out.write_all(&octets)?;
    }
}

/// Decodes the text of one element while the whole part is read, so that references and sections are what they are.
fn inline(
    mut soap: SliceReader,
    limits: &Limits,
    (start, end): (u64, u64),
    out: &mut dyn Write,
) -> Result<(), Error> {
    let mut xml = XmlReader::new(limits.xml.clone());
    let (mut decoder, mut octets) = (Base64Decoder::new(), Vec::new());
    let (mut piece, mut inside) = (vec![0; 64 * 1024], false);
    loop {
        let read = soap.read(&mut piece)?;
        let mut input = piece.get(..read).unwrap_or_default();
        if input.is_empty() {
            let (what, why) = ("content", "it is not where it was");
            return Err(envelope::Error::Invalid { what, why }.into());
        }
        while let Some(event) = xml.next_event(&mut input).map_err(envelope::Error::from)? {
            match event {
                Event::Start(element) if element.span().start == start => inside = true,
                Event::End(element) if inside && element.span().end == end => {
                    return Ok(decoder.finish().map_err(envelope::Error::from)?);
                }
                Event::Text(text) if inside => {
                    octets.clear();
                    decoder.decode(text.as_bytes(), &mut octets).map_err(envelope::Error::from)?;
                    out.write_all(&octets)?;
                }
                _ => {}
            }
        }
    }
}

/// A stranger chose the name: only its last step counts, without what shells and file systems give a meaning.
fn file_name(at: usize, part: &Part) -> String {
    let given = match part {
        Part::Inline { .. } => "content",
        Part::Attachment { content_id, .. } => content_id.as_str(),
    };
    let last = given.rsplit(['/', '\\']).next().unwrap_or_default();
    let kept: String = last
        .chars()
        .map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' })
        .take(FILE_NAME_CHARS_MAX)
        .collect();
    let kept = kept.trim_start_matches('.');
    format!("{:02}-{}", at + 1, if kept.is_empty() { "attachment" } else { kept })
}
