//! The metadata document of a submission (FIT-Connect, metadata schema 1.0.0): read, and held against its schema.
//!
//! All of version 1.0 is judged: what is required, types, enumerations, patterns. Of later versions that an administrator
//! admits, only what is used is judged, by the same rules: the content's structure and the service. Fields that the schema
//! does not name mean nothing here.

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Map, Value};
use uuid::Uuid;

const SCHEMA: &str = "https://schema.fitko.de/fit-connect/metadata/";
const HASH_CHARS: usize = 128;
/// The version that is meant where a document names none.
pub const VERSION: &str = "1.0.0";

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is no JSON object.
    Syntax,
    /// The version that it names is not admitted.
    Version(String),
    /// Where in the document, and what should be there.
    Schema { place: &'static str, rule: &'static str },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    pub data: Option<Data>,
    pub attachments: Vec<Attachment>,
    /// URN of the service, where it names one.
    pub service: Option<String>,
}

/// What the document says of the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    /// SHA-512 of the clear data, in lower-case hex.
    pub hash: String,
    pub schema: String,
    pub form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Json,
    Xml,
}

impl Form {
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Xml => "application/xml",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    pub id: Uuid,
    pub hash: String,
    pub media_type: String,
    pub filename: Option<String>,
    pub description: Option<String>,
    pub purpose: String,
}

type Checked<T> = Result<T, Fault>;

/// A value with its place, for the sentence about what is wrong.
#[derive(Clone, Copy)]
struct At<'a> {
    place: &'static str,
    value: &'a Value,
}

fn wrong<T>(place: &'static str, rule: &'static str) -> Checked<T> {
    Err(Fault::Schema { place, rule })
}

impl<'a> At<'a> {
    fn object(self) -> Checked<&'a Map<String, Value>> {
        self.value.as_object().map_or_else(|| wrong(self.place, "an object"), Ok)
    }

    fn array(self) -> Checked<&'a Vec<Value>> {
        self.value.as_array().map_or_else(|| wrong(self.place, "a list"), Ok)
    }

    fn text(self) -> Checked<&'a str> {
        self.value.as_str().map_or_else(|| wrong(self.place, "a text"), Ok)
    }

    fn boolean(self) -> Checked<bool> {
        self.value.as_bool().map_or_else(|| wrong(self.place, "true or false"), Ok)
    }

    fn must(self, is: bool, rule: &'static str) -> Checked<()> {
        if is { Ok(()) } else { wrong(self.place, rule) }
    }

    fn one_of(self, words: &[&str], rule: &'static str) -> Checked<&'a str> {
        let text = self.text()?;
        self.must(words.contains(&text), rule)?;
        Ok(text)
    }
}

fn optional<'a>(object: &'a Map<String, Value>, name: &str, place: &'static str) -> Option<At<'a>> {
    object.get(name).map(|value| At { place, value })
}

fn required<'a>(object: &'a Map<String, Value>, name: &str, place: &'static str) -> Checked<At<'a>> {
    optional(object, name, place).map_or_else(|| wrong(place, "it is required"), Ok)
}

impl Metadata {
    /// `versions` are those that the destination admits; a document that names none is of version 1.0.0.
    pub fn read(bytes: &[u8], versions: &[String]) -> Checked<Self> {
        let document: Value = serde_json::from_slice(bytes).map_err(|_| Fault::Syntax)?;
        let root = document.as_object().ok_or(Fault::Syntax)?;
        let version = match root.get("$schema") {
            None => VERSION,
            Some(named) => {
                let named = named.as_str().unwrap_or_default();
                let version = named.strip_prefix(SCHEMA).and_then(|rest| rest.split('/').next());
                version.ok_or_else(|| Fault::Version(shown(named)))?
            }
        };
        if !versions.iter().any(|one| one == version) {
            return Err(Fault::Version(shown(version)));
        }
        if version.starts_with("1.") {
            besides(root)?;
        }
        let service = match optional(root, "publicServiceType", "publicServiceType") {
            None => None,
            Some(service) => {
                let service = service.object()?;
                let at = required(service, "identifier", "publicServiceType.identifier")?;
                let text = at.text()?;
                at.must(is_urn(text), "a URN of 7 to 255 characters")?;
                texts(service, &["name", "description"], "publicServiceType")?;
                Some(text.to_owned())
            }
        };
        let structure = required(root, "contentStructure", "contentStructure")?.object()?;
        let data = optional(structure, "data", "contentStructure.data").map(data).transpose()?;
        let listed = required(structure, "attachments", "contentStructure.attachments")?.array()?;
        let attachments = listed.iter().map(attachment).collect::<Checked<Vec<_>>>()?;
        Ok(Self { data, attachments, service })
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}

fn data(at: At<'_>) -> Checked<Data> {
    let object = at.object()?;
    let hash = hash(object, "contentStructure.data.hash")?;
    let place = "contentStructure.data.submissionSchema";
    let schema = required(object, "submissionSchema", place)?.object()?;
    let uri = required(schema, "schemaUri", "contentStructure.data.submissionSchema.schemaUri")?;
    let text = uri.text()?;
    uri.must(is_uri(text), "a URI")?;
    let form = required(schema, "mimeType", "contentStructure.data.submissionSchema.mimeType")?;
    let rule = "application/json or application/xml";
    let form = match form.one_of(&["application/json", "application/xml"], rule)? {
        "application/json" => Form::Json,
        _ => Form::Xml,
    };
    signature(object, "contentStructure.data.signature")?;
    Ok(Data { hash, schema: text.to_owned(), form })
}

fn attachment(value: &Value) -> Checked<Attachment> {
    const ITEM: &str = "contentStructure.attachments";
    let object = At { place: ITEM, value }.object()?;
    let id = required(object, "attachmentId", "contentStructure.attachments.attachmentId")?;
    let uuid = Uuid::try_parse(id.text()?).ok().filter(|_| id.text().is_ok_and(|text| text.len() == 36));
    let Some(uuid) = uuid else { return wrong(id.place, "a UUID") };
    let kind = required(object, "mimeType", "contentStructure.attachments.mimeType")?;
    let media_type = kind.text()?;
    kind.must(is_media_type(media_type), "a media type")?;
    let purpose = required(object, "purpose", "contentStructure.attachments.purpose")?
        .one_of(&["form", "attachment", "report"], "form, attachment or report")?;
    texts(object, &["filename", "description"], ITEM)?;
    let text = |name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
    signature(object, "contentStructure.attachments.signature")?;
    Ok(Attachment {
        id: uuid,
        hash: hash(object, "contentStructure.attachments.hash")?,
        media_type: media_type.to_owned(),
        filename: text("filename"),
        description: text("description"),
        purpose: purpose.to_owned(),
    })
}

fn hash(object: &Map<String, Value>, place: &'static str) -> Checked<String> {
    let hash = required(object, "hash", place)?.object()?;
    required(hash, "type", place)?.one_of(&["sha512"], "sha512")?;
    let content = required(hash, "content", place)?;
    let text = content.text()?;
    let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    content.must(text.len() == HASH_CHARS && is_hex, "128 lower-case hexadecimal digits")?;
    Ok(text.to_owned())
}

/// Its form; it goes to the reader with the metadata, who has the rules for it.
fn signature(object: &Map<String, Value>, place: &'static str) -> Checked<()> {
    let Some(signature) = optional(object, "signature", place) else { return Ok(()) };
    let signature = signature.object()?;
    required(signature, "signatureFormat", place)?
        .one_of(&["cms", "xml", "pdf", "asic", "json"], "cms, xml, pdf, asic or json")?;
    required(signature, "detachedSignature", place)?.boolean()?;
    if let Some(profile) = optional(signature, "eidasAdesProfile", place) {
        let level = profile.text()?.strip_prefix("http://uri.etsi.org/ades/191x2/level/baseline/");
        let known = level.is_some_and(|level| ["B-B#", "B-T#", "B-LT#", "B-LTA#"].contains(&level));
        profile.must(known, "a baseline profile of AdES")?;
    }
    if let Some(content) = optional(signature, "content", place) {
        let text = content.text()?;
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte);
        content.must(!text.is_empty() && text.bytes().all(is_base64), "base64")?;
    }
    Ok(())
}

fn texts(object: &Map<String, Value>, names: &[&str], place: &'static str) -> Checked<()> {
    for name in names {
        if let Some(at) = optional(object, name, place) {
            at.text()?;
        }
    }
    Ok(())
}

/// What version 1.0 says of all the rest.
fn besides(root: &Map<String, Value>) -> Checked<()> {
    if let Some(payment) = optional(root, "paymentInformation", "paymentInformation") {
        payment_information(payment.object()?)?;
    }
    if let Some(list) = optional(root, "authenticationInformation", "authenticationInformation") {
        let reports = list.array()?;
        list.must(!reports.is_empty(), "at least one report")?;
        for value in reports {
            let report = At { place: list.place, value }.object()?;
            required(report, "type", list.place)?
                .one_of(&["identificationReport"], "identificationReport")?;
            let version = required(report, "version", list.place)?;
            version.must(is_semver(version.text()?), "a version of three numbers")?;
            let content = required(report, "content", list.place)?;
            let text = content.text()?;
            let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
            content.must(!text.is_empty() && text.bytes().all(is_base64url), "base64url")?;
        }
    }
    if let Some(channel) = optional(root, "replyChannel", "replyChannel") {
        reply_channel(channel)?;
    }
    if let Some(more) = optional(root, "additionalReferenceInfo", "additionalReferenceInfo") {
        let object = more.object()?;
        texts(object, &["senderReference"], "additionalReferenceInfo")?;
        if let Some(day) = optional(object, "applicationDate", "additionalReferenceInfo.applicationDate") {
            let text = day.text()?;
            day.must(text.len() == 10 && text.parse::<Date>().is_ok(), "a day")?;
        }
    }
    Ok(())
}

fn payment_information(payment: &Map<String, Value>) -> Checked<()> {
    const PLACE: &str = "paymentInformation";
    let name = |at: At<'_>| {
        let text = at.text()?;
        let is_word = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        at.must(
            (1..=36).contains(&text.len()) && text.chars().all(is_word),
            "1 to 36 letters, digits, _ and -",
        )
    };
    required(payment, "transactionReference", PLACE)?.text()?;
    name(required(payment, "transactionId", PLACE)?)?;
    let methods = ["GIROPAY", "PAYDIRECT", "CREDITCARD", "PAYPAL", "INVOICE", "OTHER"];
    required(payment, "paymentMethod", PLACE)?.one_of(&methods, "a payment method of the schema")?;
    let states = ["INITIAL", "BOOKED", "FAILED", "CANCELED"];
    required(payment, "status", PLACE)?.one_of(&states, "INITIAL, BOOKED, FAILED or CANCELED")?;
    if let Some(url) = optional(payment, "transactionUrl", PLACE) {
        url.must(is_uri(url.text()?), "a URI")?;
    }
    if let Some(at) = optional(payment, "transactionTimestamp", PLACE) {
        at.must(at.text()?.parse::<Timestamp>().is_ok(), "an instant")?;
    }
    if let Some(detail) = optional(payment, "paymentMethodDetail", PLACE) {
        name(detail)?;
    }
    if let Some(amount) = optional(payment, "grossAmount", PLACE) {
        amount.must(amount.value.as_f64().is_some_and(|value| value >= 0.01), "an amount from 0.01 on")?;
    }
    Ok(())
}

fn reply_channel(channel: At<'_>) -> Checked<()> {
    let object = channel.object()?;
    channel.must(object.len() == 1, "exactly one channel")?;
    let Some((kind, value)) = object.iter().next() else { return Ok(()) };
    let inner = At { place: "replyChannel", value };
    let address = |at: At<'_>| {
        at.must(at.text()?.split_once('@').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty()), "an address")
    };
    match kind.as_str() {
        "eMail" => {
            let mail = inner.object()?;
            address(required(mail, "address", "replyChannel.eMail.address")?)?;
            if let Some(key) = optional(mail, "pgpPublicKey", "replyChannel.eMail.pgpPublicKey") {
                let begins = key.text()?.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n");
                key.must(begins, "a PGP key")?;
            }
        }
        "deMail" => {
            if let Some(at) = optional(inner.object()?, "address", "replyChannel.deMail.address") {
                address(at)?;
            }
        }
        "fink" => {
            let fink = inner.object()?;
            let box_at = required(fink, "finkPostfachRef", "replyChannel.fink.finkPostfachRef")?;
            let text = box_at.text()?;
            let is_fit = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._~/".contains(c);
            box_at.must(text.len() <= 150 && text.chars().all(is_fit), "an address of a FINK box")?;
            if let Some(host) = optional(fink, "host", "replyChannel.fink.host") {
                host.must(is_uri(host.text()?), "a URI")?;
            }
        }
        "elster" => {
            let elster = inner.object()?;
            let account = required(elster, "accountId", "replyChannel.elster.accountId")?;
            let text = account.text()?;
            let is_number = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit());
            account.must(is_number, "ten digits")?;
            texts(elster, &["lieferTicket", "geschaeftszeichen"], "replyChannel.elster")?;
        }
        _ => inner.object().map(drop)?,
    }
    Ok(())
}

/// `urn:`, a namespace, and something of it.
fn is_urn(text: &str) -> bool {
    let rest = text.strip_prefix("urn:").and_then(|rest| rest.split_once(':'));
    let in_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let in_rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "()+,.:=@;$_!*'%/?#-".contains(c);
    (7..=255).contains(&text.len())
        && rest.is_some_and(|(name, rest)| {
            (1..=32).contains(&name.len())
                && !name.starts_with('-')
                && name.chars().all(in_name)
                && !rest.is_empty()
                && rest.chars().all(in_rest)
        })
}

/// A scheme, and something without white space behind it (RFC 3986).
fn is_uri(text: &str) -> bool {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    text.split_once(':').is_some_and(|(scheme, rest)| {
        is_scheme(scheme) && !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic())
    })
}

fn is_media_type(text: &str) -> bool {
    let is_word = |word: &str, more: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    text.split_once('/').is_some_and(|(kind, rest)| is_word(kind, "-_.") && is_word(rest, "-_.+"))
}

fn is_semver(text: &str) -> bool {
    let is_number = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    text.split('.').count() == 3 && text.split('.').all(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> Value {
        json!({
            "$schema": "https://schema.fitko.de/fit-connect/metadata/1.0.0/metadata.schema.json",
            "publicServiceType": { "identifier": "urn:de:fim:leika:leistung:99050012104000", "name": "Anmeldung" },
            "contentStructure": {
                "data": {
                    "hash": { "type": "sha512", "content": "0".repeat(128) },
                    "submissionSchema": { "schemaUri": "urn:example:schema", "mimeType": "application/json" },
                    "signature": { "signatureFormat": "json", "detachedSignature": true, "content": "a-_b" },
                },
                "attachments": [{
                    "attachmentId": "aaaaaaaa-0000-4000-8000-000000000001",
                    "hash": { "type": "sha512", "content": "f".repeat(128) },
                    "purpose": "attachment", "mimeType": "application/pdf", "filename": "Überblick.pdf",
                }],
            },
            "authenticationInformation": [{ "type": "identificationReport", "version": "1.0.0", "content": "a.b" }],
            "paymentInformation": {
                "transactionReference": "r", "transactionId": "9xxd-432x", "paymentMethod": "PAYPAL", "status": "BOOKED",
                "transactionTimestamp": "2026-11-29T09:00:00Z", "grossAmount": 12.5,
            },
            "replyChannel": { "eMail": { "address": "a@b.example" } },
            "additionalReferenceInfo": { "senderReference": "r", "applicationDate": "2026-11-29" },
            "unknown": 1,
        })
    }

    fn read(document: &Value) -> Checked<Metadata> {
        Metadata::read(document.to_string().as_bytes(), &[VERSION.to_owned(), "2.1.0".to_owned()])
    }

    #[test]
    fn a_document_of_the_schema_is_read() {
        let metadata = read(&good()).expect("good");
        let data = metadata.data.expect("data");
        assert_eq!((data.schema.as_str(), data.form), ("urn:example:schema", Form::Json));
        assert_eq!(metadata.attachments[0].filename.as_deref(), Some("Überblick.pdf"));
        assert_eq!(metadata.service.as_deref(), Some("urn:de:fim:leika:leistung:99050012104000"));
        let least = json!({ "contentStructure": { "attachments": [] } });
        assert_eq!(read(&least), Ok(Metadata { data: None, attachments: Vec::new(), service: None }));
    }

    #[test]
    fn each_rule_of_the_schema_is_held() {
        let long = "x".repeat(37);
        for (pointer, value) in [
            ("/contentStructure", json!(null)),
            ("/contentStructure/attachments", json!({})),
            ("/contentStructure/attachments/0/attachmentId", json!("1")),
            ("/contentStructure/attachments/0/attachmentId", json!("aaaaaaaa000040008000000000000001")),
            ("/contentStructure/attachments/0/purpose", json!("secret")),
            ("/contentStructure/attachments/0/mimeType", json!("pdf")),
            ("/contentStructure/attachments/0/mimeType", json!("text/plain; charset=x")),
            ("/contentStructure/attachments/0/filename", json!(1)),
            ("/contentStructure/attachments/0/hash", json!("f")),
            ("/contentStructure/attachments/0/hash/type", json!("sha1")),
            ("/contentStructure/attachments/0/hash/content", json!("F".repeat(128))),
            ("/contentStructure/attachments/0/hash/content", json!("f".repeat(127))),
            ("/contentStructure/data/hash/content", json!("")),
            ("/contentStructure/data/submissionSchema", json!("urn:a:b")),
            ("/contentStructure/data/submissionSchema/schemaUri", json!("no uri")),
            ("/contentStructure/data/submissionSchema/mimeType", json!("text/plain")),
            ("/contentStructure/data/signature/signatureFormat", json!("pgp")),
            ("/contentStructure/data/signature/detachedSignature", json!("yes")),
            ("/contentStructure/data/signature/content", json!("ä")),
            ("/publicServiceType/identifier", json!("99050012104000")),
            ("/publicServiceType/name", json!([])),
            ("/authenticationInformation", json!([])),
            ("/authenticationInformation/0/version", json!("1.0")),
            ("/authenticationInformation/0/type", json!("other")),
            ("/paymentInformation/status", json!("PAID")),
            ("/paymentInformation/transactionId", json!(long)),
            ("/paymentInformation/grossAmount", json!(0)),
            ("/paymentInformation/transactionTimestamp", json!("today")),
            ("/replyChannel", json!({})),
            ("/replyChannel", json!({ "eMail": { "address": "a@b" }, "fink": { "finkPostfachRef": "a" } })),
            ("/replyChannel", json!({ "eMail": {} })),
            ("/replyChannel", json!({ "elster": { "accountId": "1" } })),
            ("/replyChannel", json!({ "fink": { "finkPostfachRef": "A" } })),
            ("/additionalReferenceInfo/applicationDate", json!("29.11.2026")),
        ] {
            let mut document = good();
            *document.pointer_mut(pointer).expect(pointer) = value;
            assert!(matches!(read(&document), Err(Fault::Schema { .. })), "{pointer}: {:?}", read(&document));
        }
        for name in ["hash", "purpose", "mimeType", "attachmentId"] {
            let mut document = good();
            let item = document.pointer_mut("/contentStructure/attachments/0").expect("an item");
            item.as_object_mut().expect("an object").remove(name);
            assert!(matches!(read(&document), Err(Fault::Schema { rule: "it is required", .. })), "{name}");
        }
    }

    #[test]
    fn versions_are_those_that_are_admitted() {
        let named = |version: &str| {
            let mut document = good();
            document["$schema"] =
                format!("https://schema.fitko.de/fit-connect/metadata/{version}/metadata.schema.json").into();
            document["replyChannel"] = json!({ "fitConnect": {}, "other": {} });
            read(&document)
        };
        assert!(named("2.1.0").is_ok(), "what it says besides is not judged");
        assert!(matches!(named("1.0.0"), Err(Fault::Schema { .. })));
        assert_eq!(named("3.0.0"), Err(Fault::Version("3.0.0".to_owned())));
        let mut foreign = good();
        foreign["$schema"] = "https://evil.example/1.0.0/x".into();
        assert!(matches!(read(&foreign), Err(Fault::Version(_))));
        assert_eq!(Metadata::read(b"{", &[]), Err(Fault::Syntax));
        assert_eq!(Metadata::read(b"[]", &[]), Err(Fault::Syntax));
    }
}
