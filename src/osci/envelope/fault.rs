//! SOAP faults, by which messages are refused that cannot be answered (OSCI12, section 9.1): always in the clear,
//! unsigned, without a schema. Left out: which codes there are and what they say.

use super::write::{Error, Prepared, SOAP_CONTENT_ID};
use crate::mime::write::{Boundary, Framing, HeaderLines};
use crate::osci::message::feedback::CodeNumber;
use crate::osci::message::names::{NS_OSCI, NS_SOAP};
use crate::xml::tree::Element;
use crate::xml::write::Writer;

const TEXT_CHARS_MAX: usize = 1024;

/// Who is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub side: Side,
    /// None if a peer sent none, or none of four digits.
    pub code: Option<CodeNumber>,
    pub text: String,
}

impl Fault {
    /// Reads the Fault element leniently: it is the last thing a peer says.
    pub fn read(fault: &Element) -> Self {
        let text = |local: &str| {
            let child = fault.children().find(|child| child.local() == local);
            child.map(Element::text_trimmed).unwrap_or_default()
        };
        let detail = fault.children().find(|child| child.local() == "detail");
        let code = detail.and_then(|detail| detail.child(NS_OSCI, "Code"));
        Self {
            side: if text("faultcode").ends_with("Server") { Side::Server } else { Side::Client },
            code: code.and_then(|code| CodeNumber::parse(&code.text_trimmed())),
            text: text("faultstring").chars().take(TEXT_CHARS_MAX).collect(),
        }
    }

    /// The whole message.
    pub fn prepare(&self, boundary: &Boundary) -> Result<Prepared, Error> {
        let mut writer = Writer::new();
        writer.start("soap:Envelope").namespace("soap", NS_SOAP).namespace("osci", NS_OSCI);
        writer.start("soap:Body").start("soap:Fault");
        writer.element(
            "faultcode",
            match self.side {
                Side::Client => "soap:Client",
                Side::Server => "soap:Server",
            },
        );
        writer.element("faultstring", &self.text).start("detail");
        writer.element_if("osci:Code", self.code.map(|code| code.to_string()).as_deref());
        let envelope = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\r\n{}", writer.finish());
        let headers = HeaderLines::new()
            .with("Content-Type", "text/xml; charset=UTF-8")?
            .with("Content-Transfer-Encoding", "8bit")?
            .with("Content-ID", SOAP_CONTENT_ID)?;
        let mut framing = Framing::new(boundary.clone());
        framing.part(&headers, envelope.len() as u64);
        let mut prepared = Prepared::new(boundary)?;
        prepared.bytes(framing.head(0).unwrap_or_default().to_vec());
        prepared.bytes(envelope.into_bytes());
        prepared.bytes(framing.close());
        Ok(prepared)
    }
}
