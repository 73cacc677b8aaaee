//! MessageMetaData (OSCI_MessageMetaData 2.02): the envelope of a message as XTA writes it down.
//!
//! Parsed into [`Envelope`] and written in the schema's order. Values go back as they came; the post office adds its
//! own instants (InitialSend, Delivery, InitialFetch, Reception) and, where the author stated none, the size.
//! Required in practice are only the message id and the identifiers of author and reader.

use super::Error;
use super::element::Element;
use super::instant::{date_time, last_day, spell};
use super::markup::Markup;
use super::names::{NONE, OSCIMETA, WSA};
use crate::domain::card::ProcessCard;
use crate::domain::envelope::{
    BusinessScenario, Code, Envelope, Party, ProcessName, ProcessRef, Property, Qualifier,
};
use crate::domain::message_id::MessageId;
use crate::domain::party::PartyIdentifier;

/// Reads the header of sendMessage; `token_container` is its neighbour X509TokenContainer.
pub fn parse(metadata: &Element, token_container: Option<&Element>) -> Result<Envelope, Error> {
    let attributes = metadata.optional(OSCIMETA, "DeliveryAttributes")?;
    let attribute = |local| attributes.map_or(Ok(None), |attributes| attributes.optional(OSCIMETA, local));
    let instant = |local| -> Result<_, Error> {
        attribute(local)?.filter(has_text).map(|element| date_time(local, &element.text())).transpose()
    };
    let originators = metadata.required(OSCIMETA, "Originators")?;
    let destinations = metadata.required(OSCIMETA, "Destinations")?;
    let identification = metadata.required(OSCIMETA, "MsgIdentification")?;
    let other = destinations.optional(OSCIMETA, "OtherDestinations")?;
    let others = |local: &'static str| -> Result<Vec<_>, Error> {
        other.into_iter().flat_map(|other| other.all(OSCIMETA, local)).map(identifier).collect()
    };
    Ok(Envelope {
        id: message_id(identification.required(WSA, "MessageID")?)?,
        test: metadata.attribute("TestMsg").map_or(Ok(false), |value| boolean("TestMsg", value))?,
        author: party(originators.required(OSCIMETA, "Author")?)?,
        sender: originators.optional(OSCIMETA, "Sender")?.map(party).transpose()?,
        reply_to: originators.optional(OSCIMETA, "ReplyTo")?.map(party).transpose()?,
        reader: party(destinations.required(OSCIMETA, "Reader")?)?,
        other_readers: others("OtherReaders")?,
        cc_readers: others("CcReaders")?,
        in_reply_to: identification.all(OSCIMETA, "In-Reply-To").map(message_id).collect::<Result<_, _>>()?,
        process_ref: identification.optional(OSCIMETA, "ProcessRef")?.map(process_ref).transpose()?,
        qualifier: metadata.optional(OSCIMETA, "Qualifier")?.map(qualifier).transpose()?.unwrap_or_default(),
        properties: properties(metadata)?,
        origin: instant("Origin")?,
        not_before: instant("NotBefore")?,
        obsolete_after: attribute("ObsoleteAfter")?
            .filter(has_text)
            .map(|element| last_day("ObsoleteAfter", &element.text()))
            .transpose()?,
        service_quality: attribute("ServiceQuality")?.map(Element::trimmed).filter(|text| !text.is_empty()),
        receipt_requests: attribute("ReceiptRequests")?.map(Element::to_standalone),
        token_container: token_container.map(Element::to_standalone),
        stated_size: metadata.optional(OSCIMETA, "MsgSize")?.filter(has_text).map(size).transpose()?,
    })
}

/// MessageMetaData as a client reads it: the author's envelope and the post office's own instants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub envelope: Envelope,
    pub initial_send: Option<String>,
    pub delivery: Option<String>,
    pub initial_fetch: Option<String>,
    pub reception: Option<String>,
}

pub fn parse_shown(metadata: &Element) -> Result<Shown, Error> {
    let attributes = metadata.optional(OSCIMETA, "DeliveryAttributes")?;
    let text = |local| -> Result<Option<String>, Error> {
        let found = attributes.map_or(Ok(None), |attributes| attributes.optional(OSCIMETA, local))?;
        Ok(found.map(Element::trimmed))
    };
    Ok(Shown {
        envelope: parse(metadata, None)?,
        initial_send: text("InitialSend")?,
        delivery: text("Delivery")?,
        initial_fetch: text("InitialFetch")?,
        reception: text("Reception")?,
    })
}

/// A party, as in the headers Author and Reader too.
pub fn party(element: &Element) -> Result<Party, Error> {
    Ok(Party {
        identifier: identifier(element.required(OSCIMETA, "Identifier")?)?,
        security_tokens: element.all(OSCIMETA, "SecurityToken").map(Element::to_standalone).collect(),
    })
}

pub fn message_id(element: &Element) -> Result<MessageId, Error> {
    MessageId::parse(&element.text()).map_err(|why| Error::invalid(&element.local, why))
}

/// Writes MessageMetaData. With a card, the post office's own instants are in it.
pub fn write(out: &mut Markup, envelope: &Envelope, card: Option<&ProcessCard>) {
    let test = envelope.test.then_some("true");
    out.element_with("oscimeta:MessageMetaData", &[("TestMsg", test)], |out| {
        write_delivery_attributes(out, envelope, card);
        out.element("oscimeta:Originators", |out| {
            write_party(out, "oscimeta:Author", &envelope.author);
            for (name, party) in
                [("oscimeta:Sender", &envelope.sender), ("oscimeta:ReplyTo", &envelope.reply_to)]
            {
                if let Some(party) = party {
                    write_party(out, name, party);
                }
            }
        });
        out.element("oscimeta:Destinations", |out| {
            write_party(out, "oscimeta:Reader", &envelope.reader);
            if !(envelope.other_readers.is_empty() && envelope.cc_readers.is_empty()) {
                out.element("oscimeta:OtherDestinations", |out| {
                    for other in &envelope.other_readers {
                        write_identifier(out, "oscimeta:OtherReaders", other);
                    }
                    for cc in &envelope.cc_readers {
                        write_identifier(out, "oscimeta:CcReaders", cc);
                    }
                });
            }
        });
        write_identification(out, envelope);
        write_qualifier(out, &envelope.qualifier);
        if !envelope.properties.is_empty() {
            out.element("oscimeta:MessageProperties", |out| {
                for property in &envelope.properties {
                    out.element("oscimeta:Property", |out| {
                        write_code(out, "oscimeta:Key", &property.key, &[]);
                        out.leaf("oscimeta:Value", &property.value);
                    });
                }
            });
        }
        let size = envelope.stated_size.or(card.map(|card| card.payload_bytes)).filter(|size| *size > 0);
        out.leaf_if("oscimeta:MsgSize", size.map(|size| size.to_string()).as_deref());
    });
}

pub fn write_party(out: &mut Markup, name: &str, party: &Party) {
    out.element(name, |out| {
        write_identifier(out, "oscimeta:Identifier", &party.identifier);
        for token in &party.security_tokens {
            out.fragment(token);
        }
    });
}

fn write_identifier(out: &mut Markup, name: &str, identifier: &PartyIdentifier) {
    let attributes =
        [("type", identifier.kind()), ("name", identifier.name()), ("category", identifier.category())];
    out.element_with(name, &attributes, |out| {
        out.text(identifier.value());
    });
}

fn write_delivery_attributes(out: &mut Markup, envelope: &Envelope, card: Option<&ProcessCard>) {
    let own = |at: Option<jiff::Timestamp>| at.map(spell);
    let initial_send = own(card.map(|card| card.accepted_at));
    let delivery = own(card.and_then(|card| card.delivered_at));
    let fetch = own(card.and_then(|card| card.first_handed_out_at));
    let reception = own(card.and_then(|card| card.received_at));
    let text = |instant: &Option<crate::domain::envelope::Instant>| {
        instant.as_ref().map(|instant| instant.text.clone())
    };
    out.element("oscimeta:DeliveryAttributes", |out| {
        for (name, value) in [
            ("oscimeta:Origin", text(&envelope.origin)),
            ("oscimeta:InitialSend", initial_send),
            ("oscimeta:NotBefore", text(&envelope.not_before)),
            ("oscimeta:ObsoleteAfter", text(&envelope.obsolete_after)),
            ("oscimeta:Delivery", delivery),
            ("oscimeta:InitialFetch", fetch),
            ("oscimeta:Reception", reception),
            ("oscimeta:ServiceQuality", envelope.service_quality.clone()),
        ] {
            out.leaf_if(name, value.as_deref());
        }
        if let Some(requests) = &envelope.receipt_requests {
            out.fragment(requests);
        }
    });
}

fn write_identification(out: &mut Markup, envelope: &Envelope) {
    out.element("oscimeta:MsgIdentification", |out| {
        out.leaf("wsa:MessageID", envelope.id.as_str());
        for id in &envelope.in_reply_to {
            out.leaf("oscimeta:In-Reply-To", id.as_str());
        }
        if let Some(process) = &envelope.process_ref {
            out.element("oscimeta:ProcessRef", |out| {
                for (name, side) in
                    [("oscimeta:Requester", &process.requester), ("oscimeta:Responder", &process.responder)]
                {
                    if let Some(side) = side {
                        // The misspelling is the schema's.
                        out.element_with(name, &[("ProccesName", side.name.as_deref())], |out| {
                            out.text(&side.value);
                        });
                    }
                }
            });
        }
    });
}

fn write_qualifier(out: &mut Markup, qualifier: &Qualifier) {
    out.element("oscimeta:Qualifier", |out| {
        out.leaf_if("oscimeta:Subject", qualifier.subject.as_deref());
        out.leaf("oscimeta:Service", &qualifier.service);
        if let Some(scenario) = &qualifier.business_scenario {
            out.element("oscimeta:BusinessScenario", |out| match scenario {
                BusinessScenario::Defined(code) => write_code(out, "oscimeta:Defined", code, &[]),
                BusinessScenario::Undefined(text) => {
                    out.leaf("oscimeta:Undefined", text);
                }
            });
        }
        if let Some(kind) = &qualifier.message_type {
            let schema = ("payloadSchema", qualifier.payload_schema.as_deref());
            write_code(out, "oscimeta:MessageType", kind, &[schema]);
        }
    });
}

fn write_code(out: &mut Markup, name: &str, code: &Code, more: &[(&str, Option<&str>)]) {
    let mut attributes =
        vec![("listURI", code.list_uri.as_deref()), ("listVersionID", code.list_version.as_deref())];
    attributes.extend_from_slice(more);
    out.element_with(name, &attributes, |out| {
        out.leaf("code", &code.code).leaf_if("name", code.name.as_deref());
    });
}

fn identifier(element: &Element) -> Result<PartyIdentifier, Error> {
    PartyIdentifier::with_labels(
        &element.text(),
        element.attribute("type"),
        element.attribute("name"),
        element.attribute("category"),
    )
    .map_err(|why| Error::invalid(&element.local, why))
}

fn process_ref(element: &Element) -> Result<ProcessRef, Error> {
    let side = |local| -> Result<_, Error> {
        Ok(element.optional(OSCIMETA, local)?.map(|side| ProcessName {
            value: side.text(),
            name: side.attribute("ProccesName").map(str::to_owned),
        }))
    };
    Ok(ProcessRef { requester: side("Requester")?, responder: side("Responder")? })
}

fn qualifier(element: &Element) -> Result<Qualifier, Error> {
    let scenario = match element.optional(OSCIMETA, "BusinessScenario")? {
        None => None,
        Some(scenario) => {
            match (scenario.optional(OSCIMETA, "Defined")?, scenario.optional(OSCIMETA, "Undefined")?) {
                (Some(defined), _) => Some(BusinessScenario::Defined(code(defined)?)),
                (None, Some(undefined)) => Some(BusinessScenario::Undefined(undefined.text())),
                (None, None) => None,
            }
        }
    };
    let kind = element.optional(OSCIMETA, "MessageType")?;
    Ok(Qualifier {
        subject: element.optional(OSCIMETA, "Subject")?.map(Element::text),
        service: element.optional(OSCIMETA, "Service")?.map(Element::trimmed).unwrap_or_default(),
        business_scenario: scenario,
        message_type: kind.map(code).transpose()?,
        payload_schema: kind.and_then(|kind| kind.attribute("payloadSchema")).map(str::to_owned),
    })
}

/// `code` and `name` are in no namespace; clients that qualify them are understood.
fn code(element: &Element) -> Result<Code, Error> {
    let child = |local| -> Result<_, Error> {
        Ok(match element.optional(NONE, local)? {
            Some(child) => Some(child.trimmed()),
            None => element.optional(OSCIMETA, local)?.map(Element::trimmed),
        })
    };
    Ok(Code {
        code: child("code")?.unwrap_or_default(),
        name: child("name")?,
        list_uri: element.attribute("listURI").map(str::to_owned),
        list_version: element.attribute("listVersionID").map(str::to_owned),
    })
}

fn properties(metadata: &Element) -> Result<Vec<Property>, Error> {
    let Some(list) = metadata.optional(OSCIMETA, "MessageProperties")? else { return Ok(Vec::new()) };
    list.all(OSCIMETA, "Property")
        .map(|property| {
            Ok(Property {
                key: code(property.required(OSCIMETA, "Key")?)?,
                value: property.optional(OSCIMETA, "Value")?.map(Element::text).unwrap_or_default(),
            })
        })
        .collect()
}

fn size(element: &Element) -> Result<u64, Error> {
    let text = element.trimmed();
    text.parse().map_err(|_| {
        Error::invalid(
            "MsgSize",
            format!("{:?} is not a number of bytes", text.chars().take(40).collect::<String>()),
        )
    })
}

/// `xs:boolean`.
pub fn boolean(what: &str, text: &str) -> Result<bool, Error> {
    match text.trim() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Error::invalid(what, "it is neither true nor false")),
    }
}

fn has_text(element: &&Element) -> bool {
    !element.trimmed().is_empty()
}

#[cfg(test)]
#[path = "metadata_tests.rs"]
mod tests;
