//! The content package as it passes: where it, its containers and their contents lie, and which signatures of authors
//! stand in it (OSCI12, section 8.1). Nothing of it is held but that.

use std::ops::Range;

use super::{Error, Limits};
use crate::osci::message::names::{NS_OSCI, NS_XENC};
use crate::xml::dsig::signature::{Candidate, Collector};
use crate::xml::read::Event;
use crate::xml::tree;

/// A ContentContainer, of the package or nested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    pub id: Option<String>,
    pub span: Range<u64>,
    /// Of the package itself.
    pub is_outer: bool,
}

/// One content, with the place of its container in [`Package::containers`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Base64Content.
    Inline { id: Option<String>, container: Option<usize>, span: Range<u64> },
    /// Content with `href="cid:…"`; the part behind the colon.
    Attachment { id: Option<String>, content_id: String, container: Option<usize>, span: Range<u64> },
}

/// What was seen of a package. Spans are bytes of the SOAP part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    pub span: Range<u64>,
    pub containers: Vec<Container>,
    pub contents: Vec<Content>,
    /// EncryptedData anywhere: the Id, if there is one, and the bytes.
    pub encrypted: Vec<(Option<String>, Range<u64>)>,
    pub(super) signatures: Vec<Candidate>,
}

impl Package {
    pub fn is_empty(&self) -> bool {
        self.containers.is_empty() && self.encrypted.is_empty()
    }

    /// How many signatures of authors stand in the clear.
    pub fn signatures(&self) -> usize {
        self.signatures.len()
    }

    /// The innermost container around some bytes, by its place in [`Self::containers`].
    pub fn container_of(&self, span: &Range<u64>) -> Option<usize> {
        let around = |(_, container): &(usize, &Container)| {
            container.span.start <= span.start && span.end <= container.span.end
        };
        let all = self.containers.iter().enumerate().filter(around);
        all.min_by_key(|(_, container)| container.span.end - container.span.start).map(|(at, _)| at)
    }
}

enum Open {
    Container(usize),
    Inline(usize),
    Attachment(usize),
    Encrypted(usize),
}

pub(super) struct PackageReader {
    package: Package,
    depth: usize,
    open: Vec<(usize, Open)>,
    collector: Collector,
    contents_max: usize,
}

impl PackageReader {
    pub(super) fn new(depth: usize, start: u64, limits: &Limits) -> Self {
        let package = Package {
            span: start..start,
            containers: Vec::new(),
            contents: Vec::new(),
            encrypted: Vec::new(),
            signatures: Vec::new(),
        };
        let collector = Collector::new(limits.signature.clone(), tree::Limits::default());
        Self { package, depth, open: Vec::new(), collector, contents_max: limits.contents_max }
    }

    /// Takes the events from the package's start tag on.
    pub(super) fn push(&mut self, event: &Event<'_>) -> Result<(), Error> {
        self.collector.push(event)?;
        match event {
            Event::Start(start) => {
                let depth = start.context().depth();
                let id = || start.attribute("", "Id").map(str::to_owned);
                let is_child = depth == self.depth + 1;
                let span = start.span();
                let Package { containers, contents, encrypted, .. } = &mut self.package;
                let container = self.open.iter().rev().find_map(|(_, open)| match open {
                    Open::Container(at) => Some(*at),
                    _ => None,
                });
                // What is inside EncryptedData or a signature means nothing to us.
                let inside = matches!(self.open.last(), Some((_, Open::Encrypted(_) | Open::Inline(_))));
                if !inside && start.is(NS_OSCI, "ContentContainer") {
                    self.open.push((depth, Open::Container(containers.len())));
                    containers.push(Container { id: id(), span, is_outer: is_child });
                } else if !inside && start.is(NS_XENC, "EncryptedData") {
                    self.open.push((depth, Open::Encrypted(encrypted.len())));
                    encrypted.push((id(), span));
                } else if is_child {
                    return Err(Error::invalid(
                        "ContentPackage",
                        "it has a child that does not belong there",
                    ));
                } else if !inside && start.is(NS_OSCI, "Base64Content") {
                    self.open.push((depth, Open::Inline(contents.len())));
                    contents.push(Content::Inline { id: id(), container, span });
                } else if !inside
                    && start.is(NS_OSCI, "Content")
                    && let Some(href) = start.attribute("", "href")
                {
                    let content_id = href
                        .strip_prefix("cid:")
                        .ok_or(Error::invalid("Content", "its href is not a cid URI"))?
                        .to_owned();
                    self.open.push((depth, Open::Attachment(contents.len())));
                    contents.push(Content::Attachment { id: id(), content_id, container, span });
                }
                let seen = containers.len() + contents.len() + encrypted.len();
                if seen > self.contents_max {
                    let value = self.contents_max;
                    return Err(Error::LimitExceeded { limit: "contents of a message", value });
                }
            }
            Event::End(end) => {
                self.package.span.end = end.span().end;
                if let Some((_, open)) = self.open.pop_if(|(depth, _)| *depth == end.depth()) {
                    self.close(&open, end.span().end);
                }
            }
            Event::Text(text)
                if self.open.is_empty() && !text.bytes().all(|byte| byte.is_ascii_whitespace()) =>
            {
                return Err(Error::invalid("ContentPackage", "it has text of its own"));
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, open: &Open, end: u64) {
        let Package { containers, contents, encrypted, .. } = &mut self.package;
        let span = match open {
            Open::Container(at) => containers.get_mut(*at).map(|container| &mut container.span),
            Open::Encrypted(at) => encrypted.get_mut(*at).map(|(_, span)| span),
            Open::Inline(at) | Open::Attachment(at) => contents.get_mut(*at).map(|content| match content {
                Content::Inline { span, .. } | Content::Attachment { span, .. } => span,
            }),
        };
        if let Some(span) = span {
            span.end = end;
        }
    }

    pub(super) fn finish(self) -> Package {
        Package { signatures: self.collector.finish(), ..self.package }
    }
}
