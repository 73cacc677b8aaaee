//! The sample application: its fields, and what it is in the shape of FIT-Connect's metadata.

use amtsbote::domain::hex;
use amtsbote::page::fields::{Field, Kind, Mistake, Rule};
use amtsbote::page::form::Form;
use amtsbote::page::{Language, Words};
use aws_lc_rs::digest::{SHA512, digest};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Service;
use crate::office::Clear;

pub const ATTACHMENT_BYTES_MAX: usize = 5 * 1024 * 1024;
/// Whose fields the data are; a real portal names the schema that the destination asks for.
const SCHEMA: &str = "urn:example:trade-registration:1";

pub const PLACE_MISSING: Words =
    ["Wählen Sie eine Gemeinde aus der Liste.", "Choose a municipality from the list."];
pub const SERVICE_MISSING: Words =
    ["Wählen Sie eine Leistung aus der Liste.", "Choose a service from the list."];

pub const FIELDS: &[Field] = &[
    Field {
        kind: Kind::Choice,
        required: true,
        missing: PLACE_MISSING,
        malformed: PLACE_MISSING,
        hint: Some(["Wo der Betrieb liegt.", "Where the business is."]),
        ..Field::line("place", ["Gemeinde", "Municipality"])
    },
    Field {
        kind: Kind::Choice,
        required: true,
        missing: SERVICE_MISSING,
        malformed: SERVICE_MISSING,
        ..Field::line("service", ["Leistung", "Service"])
    },
    Field {
        kind: Kind::Line { autocomplete: "given-name" },
        required: true,
        missing: ["Geben Sie Ihren Vornamen ein.", "Enter your given name."],
        ..Field::line("givenName", ["Vorname", "Given name"])
    },
    Field {
        kind: Kind::Line { autocomplete: "family-name" },
        required: true,
        missing: ["Geben Sie Ihren Familiennamen ein.", "Enter your family name."],
        ..Field::line("familyName", ["Familienname", "Family name"])
    },
    Field {
        kind: Kind::Line { autocomplete: "email" },
        rule: Rule::EMail,
        chars_max: 254,
        malformed: [
            "Geben Sie die E-Mail-Adresse so ein: name@beispiel.de.",
            "Enter the e-mail address like this: name@example.org.",
        ],
        hint: Some(["Für Rückfragen der Behörde.", "For questions of the authority."]),
        ..Field::line("email", ["E-Mail-Adresse", "E-mail address"])
    },
    Field {
        rule: Rule::Day,
        required: true,
        chars_max: 10,
        hint: Some(["Zum Beispiel 31.12.2026.", "For example 31.12.2026 (day, month, year)."]),
        missing: ["Geben Sie den Tag des Beginns ein.", "Enter the day it begins."],
        malformed: [
            "Geben Sie den Tag des Beginns als Tag.Monat.Jahr ein, zum Beispiel 31.12.2026.",
            "Enter the day it begins as day.month.year, for example 31.12.2026.",
        ],
        ..Field::line("start", ["Beginn der Tätigkeit", "Beginning of the activity"])
    },
    Field {
        kind: Kind::Area,
        required: true,
        chars_max: 1000,
        missing: ["Beschreiben Sie die Tätigkeit.", "Describe the activity."],
        hint: Some(["Höchstens 1000 Zeichen.", "At most 1000 characters."]),
        ..Field::line("activity", ["Angemeldete Tätigkeit", "Activity to be registered"])
    },
    Field {
        kind: Kind::File { accept: ".pdf,.png,.jpg,.jpeg" },
        hint: Some([
            "Ein Nachweis als PDF, PNG oder JPEG, höchstens 5 MB.",
            "A supporting document as PDF, PNG or JPEG, at most 5 MB.",
        ]),
        malformed: [
            "Wählen Sie eine Datei vom Typ PDF, PNG oder JPEG.",
            "Choose a file of the type PDF, PNG or JPEG.",
        ],
        ..Field::line("attachment", ["Anlage", "Attachment"])
    },
    Field {
        kind: Kind::Tick,
        required: true,
        missing: [
            "Bestätigen Sie, dass die Angaben richtig und vollständig sind.",
            "Confirm that the entries are correct and complete.",
        ],
        ..Field::line(
            "correct",
            [
                "Ich versichere, dass meine Angaben richtig und vollständig sind.",
                "I confirm that my entries are correct and complete.",
            ],
        )
    },
];

/// What is part of the data, as the authority reads it.
const DATA: [&str; 5] = ["givenName", "familyName", "email", "start", "activity"];

pub fn too_large(language: Language) -> String {
    language.of(["Die Anlage ist größer als 5 MB.", "The attachment is larger than 5 MB."]).to_owned()
}

pub fn attachment_mistake(form: &Form, language: Language) -> Option<Mistake> {
    let file = form.file("attachment")?;
    let field = FIELDS.iter().find(|field| field.name == "attachment")?;
    let said = |sentence: String| Some(Mistake::new("attachment", sentence));
    if file.bytes.len() > ATTACHMENT_BYTES_MAX {
        return said(too_large(language));
    }
    if media_type(&file.name).is_none() {
        return said(language.of(field.malformed).to_owned());
    }
    None
}

/// By the name's ending; what a browser says of the type is its own guess.
fn media_type(name: &str) -> Option<&'static str> {
    match name.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
        "pdf" => Some("application/pdf"),
        "png" => Some("image/png"),
        "jpg" | "jpeg" => Some("image/jpeg"),
        _ => None,
    }
}

fn hash(bytes: &[u8]) -> Value {
    json!({ "type": "sha512", "content": hex::lower(digest(&SHA512, bytes).as_ref()) })
}

/// The application in the clear; `attachment` is the id that was announced for the file.
pub fn clear(form: &Form, service: &Service, attachment: Uuid) -> Clear {
    let data: serde_json::Map<String, Value> =
        DATA.iter().map(|name| ((*name).to_owned(), form.text(name).into())).collect();
    let data = Value::Object(data).to_string();
    let file = form.file("attachment");
    let attachments: Vec<Value> = file
        .iter()
        .map(|file| {
            json!({
                "attachmentId": attachment,
                "hash": hash(&file.bytes),
                "purpose": "attachment",
                "filename": file.name,
                "mimeType": media_type(&file.name),
            })
        })
        .collect();
    let metadata = json!({
        "contentStructure": {
            "data": {
                "hash": hash(data.as_bytes()),
                "submissionSchema": { "schemaUri": SCHEMA, "mimeType": "application/json" },
            },
            "attachments": attachments,
        },
        "publicServiceType": { "name": service.names[0], "identifier": service.key.urn() },
    });
    let attached =
        file.map(|file| (media_type(&file.name).unwrap_or("application/octet-stream"), file.bytes.clone()));
    Clear { metadata: metadata.to_string(), data, attachment: attached }
}
