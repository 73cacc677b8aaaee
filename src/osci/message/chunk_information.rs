//! ChunkInformation of partial deliveries (OSCI12, section 5.2). Which attributes are there depends on the message and
//! on the client; sizes are the application's, in kilobytes, and rounded as it likes.

use super::Error;
use super::markup::{self, Fields};
use super::names::NS_OSCI2017;
use crate::xml::tree::Element;
use crate::xml::write::Writer;

/// Chunks of one message.
pub const CHUNKS_MAX: u64 = 100_000;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChunkInformation {
    /// From 1.
    pub number: Option<u64>,
    pub kilobytes: Option<u64>,
    /// The chunks that were received; a client that has none yet writes -1, which is an empty list here.
    pub received: Option<Vec<u64>>,
    pub total: Option<u64>,
    pub message_kilobytes: Option<u64>,
}

impl ChunkInformation {
    pub fn read(element: &Element) -> Result<Self, Error> {
        markup::empty(element)?;
        Ok(Self {
            number: number(element, "ChunkNumber", CHUNKS_MAX)?,
            kilobytes: number(element, "ChunkSize", u64::MAX / 1024)?,
            received: element.attribute("", "ReceivedChunks").map(received).transpose()?,
            total: number(element, "TotalChunkNumbers", CHUNKS_MAX)?,
            message_kilobytes: number(element, "TotalMessageSize", u64::MAX / 1024)?,
        })
    }

    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Option<Self>, Error> {
        fields.optional(NS_OSCI2017, "ChunkInformation")?.map(Self::read).transpose()
    }

    pub(super) fn take_required(fields: &mut Fields<'_>) -> Result<Self, Error> {
        Self::read(fields.required(NS_OSCI2017, "ChunkInformation")?)
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        let text = |number: Option<u64>| number.map(|number| number.to_string());
        let received = self.received.as_ref().map(|received| {
            let numbers: Vec<String> = received.iter().map(u64::to_string).collect();
            if numbers.is_empty() { "-1".to_owned() } else { numbers.join(" ") }
        });
        writer.start("osci2017:ChunkInformation");
        writer.attribute_if("ChunkNumber", text(self.number).as_deref());
        writer.attribute_if("ChunkSize", text(self.kilobytes).as_deref());
        writer.attribute_if("ReceivedChunks", received.as_deref());
        writer.attribute_if("TotalChunkNumbers", text(self.total).as_deref());
        writer.attribute_if("TotalMessageSize", text(self.message_kilobytes).as_deref());
        writer.end();
    }
}

fn number(element: &Element, local: &'static str, max: u64) -> Result<Option<u64>, Error> {
    let Some(text) = element.attribute("", local) else { return Ok(None) };
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match digits.then(|| text.parse::<u64>().ok()).flatten() {
        Some(number) if number <= max => Ok(Some(number)),
        _ => Err(Error::Invalid { what: local, why: "it is not a number within reason" }),
    }
}

fn received(text: &str) -> Result<Vec<u64>, Error> {
    if text.trim() == "-1" {
        return Ok(Vec::new());
    }
    let invalid = Error::Invalid { what: "ReceivedChunks", why: "it is not a list of numbers" };
    let mut numbers = Vec::new();
    for word in text.split_ascii_whitespace() {
        let digits = word.bytes().all(|byte| byte.is_ascii_digit());
        match digits.then(|| word.parse::<u64>().ok()).flatten() {
            Some(number) if number <= CHUNKS_MAX && numbers.len() as u64 <= CHUNKS_MAX => {
                numbers.push(number)
            }
            _ => return Err(invalid),
        }
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::osci::message::markup::testing::element;

    #[test]
    fn attributes_come_and_go() {
        for (attributes, expected) in [
            ("", Some((None, None))),
            ("ChunkNumber='3' ReceivedChunks='1 2 '", Some((Some(3), Some(vec![1, 2])))),
            ("ReceivedChunks='-1'", Some((None, Some(vec![])))),
            ("ReceivedChunks=''", Some((None, Some(vec![])))),
            ("ReceivedChunks='1,2'", None),
            ("ChunkNumber='-3'", None),
            ("ChunkNumber='100001'", None),
            ("TotalMessageSize='99999999999999999999'", None),
        ] {
            let read =
                ChunkInformation::read(&element(&format!("<osci2017:ChunkInformation {attributes}/>"))).ok();
            assert_eq!(read.map(|found| (found.number, found.received)), expected, "{attributes}");
        }
    }
}
