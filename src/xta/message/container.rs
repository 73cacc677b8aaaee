//! GenericContentContainer: one Message with its Attachments, or EncryptedData (XTA 2 WS 2.1.1, global elements).
//!
//! Only what describes the content is here. The octets themselves pass through the server without being held, and
//! nothing decodes or repairs them: content that its author encoded twice goes on encoded twice.

use super::Error;
use super::markup::{escape_attribute, escape_text};
use crate::domain::content::{Part, PartRole};

/// Where an item's octets are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemSource {
    /// In the envelope, already handed out while it was read.
    Inline,
    /// In the part that this `cid:` URI names.
    Part(String),
    /// EncryptedData: what lay before the first reference was handed out; each reference with what lies behind it.
    Encrypted { rest: Vec<(String, Vec<u8>)> },
}

/// The attributes of one content, as its author wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub role: PartRole,
    pub source: ItemSource,
    pub content_type: String,
    pub description: Option<String>,
    pub encoding: Option<String>,
    pub filename: Option<String>,
    pub id: Option<String>,
    pub lang: Option<String>,
    pub size: Option<String>,
}

impl Item {
    pub fn encrypted() -> Self {
        Self {
            role: PartRole::EncryptedData,
            source: ItemSource::Encrypted { rest: Vec::new() },
            content_type: "application/xenc+xml".to_owned(),
            description: None,
            encoding: None,
            filename: None,
            id: None,
            lang: None,
            size: None,
        }
    }

    /// `attribute` looks one up by name.
    pub fn from_attributes(
        role: PartRole,
        attribute: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let element = element_name(role);
        Ok(Self {
            role,
            source: ItemSource::Inline,
            content_type: attribute("contentType").ok_or_else(|| Error::missing(element, "@contentType"))?,
            description: attribute("contentDescription"),
            encoding: attribute("encoding"),
            filename: attribute("filename"),
            id: attribute("id"),
            lang: attribute("lang"),
            size: attribute("size"),
        })
    }

    pub fn element(&self) -> &'static str {
        element_name(self.role)
    }
}

fn element_name(role: PartRole) -> &'static str {
    match role {
        PartRole::Message => "Message",
        PartRole::Attachment => "Attachment",
        PartRole::EncryptedData => "EncryptedData",
        // Never in a container; see `PartRole::is_content`.
        PartRole::OsciPackage | PartRole::OsciAttachment | PartRole::OsciFrame => "",
    }
}

/// Checks that the items are a container: one Message before any Attachment, or one EncryptedData alone.
pub fn check_items(roles: &[PartRole]) -> Result<(), Error> {
    let container = "GenericContentContainer".to_owned();
    let unexpected =
        |element: &str| Error::Unexpected { parent: container.clone(), element: element.to_owned() };
    match roles {
        [] => Err(Error::missing("ContentContainer", "Message")),
        [PartRole::EncryptedData] => Ok(()),
        [PartRole::Message, rest @ ..] => match rest.iter().find(|role| **role != PartRole::Attachment) {
            None => Ok(()),
            Some(PartRole::Message) => {
                Err(Error::Twice { parent: "ContentContainer".to_owned(), element: "Message".to_owned() })
            }
            Some(_) => Err(unexpected("EncryptedData")),
        },
        [PartRole::Attachment, ..] => {
            Err(Error::missing("ContentContainer", "Message before the Attachment"))
        }
        [PartRole::EncryptedData, ..] => Err(unexpected("ContentContainer")),
        [PartRole::OsciPackage | PartRole::OsciAttachment | PartRole::OsciFrame, ..] => {
            Err(unexpected("OSCI content"))
        }
    }
}

/// The container of an answer, in the pieces between which content is streamed. `cids` name the parts of a
/// multipart answer, one for each part of `parts` that is not EncryptedData.
pub fn write_container(parts: &[Part], cids: &[String]) -> Vec<Piece> {
    let mut text = "<xta:GenericContentContainer>".to_owned();
    let mut pieces = Vec::new();
    let encrypted = parts.iter().any(|part| part.role == PartRole::EncryptedData);
    if !encrypted {
        text.push_str("<xta:ContentContainer>");
    }
    for (index, part) in parts.iter().enumerate() {
        if part.role == PartRole::EncryptedData {
            pieces.push(Piece::Text(std::mem::take(&mut text)));
            pieces.push(Piece::Verbatim(index));
            continue;
        }
        let name = element_name(part.role);
        text.push_str(&format!("<xta:{name} contentType=\"{}\"", escape_attribute(&part.content_type)));
        for (attribute, value) in [
            ("contentDescription", &part.description),
            ("encoding", &part.encoding),
            ("filename", &part.filename),
            ("id", &part.id),
            ("lang", &part.lang),
            ("size", &part.size),
        ] {
            if let Some(value) = value {
                text.push_str(&format!(" {attribute}=\"{}\"", escape_attribute(value)));
            }
        }
        let cid = cids.get(index).map(String::as_str).unwrap_or_default();
        text.push_str(&format!(
            "><xop:Include xmlns:xop=\"{}\" href=\"cid:{}\"/></xta:{name}>",
            super::names::XOP,
            escape_text(cid)
        ));
    }
    if !encrypted {
        text.push_str("</xta:ContentContainer>");
    }
    text.push_str("</xta:GenericContentContainer>");
    pieces.push(Piece::Text(text));
    pieces
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    /// The stored bytes of this part, which are XML.
    Verbatim(usize),
}
