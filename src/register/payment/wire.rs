//! XBezahldienste 1.0 (FITKO) on the wire: the request of a payment, the transaction that the service makes of it, and
//! its refusals. Pure.
//!
//! | request | path below the service's URL | answer |
//! | --- | --- | --- |
//! | POST | `paymenttransaction/{originatorId}/{endPointId}` | the transaction, `INITIAL` |
//! | GET | `paymenttransaction/{originatorId}/{endPointId}/{transactionId}` | the transaction as it stands |
//!
//! Left out: `requestor` (the service need not know who asks), `bookingData`, taxes (an enquiry has none), and the
//! transaction's own URL: it is put together from its id, so that no answer can send us elsewhere. Amounts are JSON
//! numbers in euro; they are taken for what they are to the cent, or not at all.

use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Payment, URL_BYTES_MAX};

pub const CURRENCY: &str = "EUR";
const ID_CHARS_MAX: usize = 44;
/// Of the service's own words, as much as an operator reads.
const WORDS_CHARS_MAX: usize = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    Initial,
    Payed,
    Failed,
    Canceled,
}

/// What the service says of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    pub id: String,
    pub status: Status,
    pub page_url: Option<String>,
    pub reference: Option<String>,
    /// What it repeats of the request.
    pub request_id: Option<String>,
    pub cents: Option<u32>,
    pub currency: Option<String>,
}

/// The service's no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decline {
    /// PAYMENT_EXISTS: it has this request already.
    Exists,
    /// It has no such transaction.
    Unknown,
    /// Every other no, by its word where it has one.
    No { status: u16, word: String },
}

impl Decline {
    /// It does not know us, or not as somebody who may ask.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::No { status, word } if matches!(status, 401 | 403) || word == "FORBIDDEN")
    }
}

impl fmt::Display for Decline {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists => out.write_str("PAYMENT_EXISTS"),
            Self::Unknown => out.write_str("that it has no such transaction"),
            Self::No { status, word } if word.is_empty() => write!(out, "status {status}"),
            Self::No { status, word } => write!(out, "{word} (status {status})"),
        }
    }
}

/// Words of the interface's problem documents.
const WORDS: &[&str] = &[
    "NO_VALID_ORIGINATOR_OR_DESTINATION",
    "NO_VALID_ORIGINATOR_OR_ENDPOINT",
    "PAYMENT_EXISTS",
    "CALCULATION_ERROR",
    "BOOKING_DATA_MISSING",
    "VALIDATION_ERROR",
    "UNSPECIFIED",
    "FORBIDDEN",
];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the answer is no JSON of a payment transaction, at column {0}")]
    Json(usize),
    #[error("paymentInformation.{0} is missing or not of its form")]
    Field(&'static str),
}

/// Parts of the path: word characters and hyphens, 1 to 36 of them.
pub fn is_path_id(text: &str) -> bool {
    (1..=36).contains(&text.len()) && is_word(text)
}

pub fn is_transaction_id(text: &str) -> bool {
    (1..=ID_CHARS_MAX).contains(&text.len()) && is_word(text)
}

fn is_word(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// An https URL that a browser may be sent to.
pub fn is_url(text: &str) -> bool {
    let host = text.strip_prefix("https://").and_then(|rest| rest.split(['/', '?', '#']).next());
    text.len() <= URL_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\'))
        && host.is_some_and(|host| !host.is_empty() && !host.contains('@'))
}

/// The request for a payment.
pub fn request(payment: &Payment, at: Timestamp) -> Vec<u8> {
    let request_id = payment.request_id();
    let items: Vec<Value> = payment
        .items
        .iter()
        .enumerate()
        .map(|(place, item)| {
            let total = u64::from(item.quantity) * u64::from(item.cents_each);
            json!({
                "id": format!("{}", place + 1),
                "reference": item.ags.to_string(),
                "description": "Einfache Melderegisterauskunft",
                "taxRate": 0,
                "quantity": item.quantity,
                "totalNetAmount": euro(total),
                "totalTaxAmount": 0,
                "singleNetAmount": euro(item.cents_each.into()),
                "singleTaxAmount": 0,
            })
        })
        .collect();
    let body = json!({
        "requestId": request_id,
        "requestTimestamp": at.to_string(),
        "currency": CURRENCY,
        "grosAmount": euro(payment.cents.into()),
        // 27 characters at most, and enough to find the case again.
        "purpose": format!("Melderegister {}", &request_id[..12]),
        "description": "Melderegisterauskunft",
        "redirectUrl": payment.return_url,
        "items": items,
    });
    body.to_string().into_bytes()
}

/// The shortest decimal of a whole number of cents has two places at most.
fn euro(cents: u64) -> f64 {
    cents as f64 / 100.0
}

fn cents(euro: f64) -> Option<u32> {
    let cents = (euro * 100.0).round();
    let exact = (euro * 100.0 - cents).abs() < 1e-4 && (0.0..=f64::from(u32::MAX)).contains(&cents);
    exact.then_some(cents as u32)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TransactionDocument {
    payment_information: Information,
    #[serde(default)]
    payment_request: Option<Repeated>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Information {
    #[serde(default)]
    transaction_redirect_url: Option<String>,
    transaction_id: String,
    #[serde(default)]
    transaction_reference: Option<String>,
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Repeated {
    #[serde(default)]
    request_id: Option<String>,
    #[serde(default)]
    currency: Option<String>,
    #[serde(default)]
    gros_amount: Option<f64>,
}

pub fn transaction(bytes: &[u8]) -> Result<Transaction, Malformed> {
    let read: TransactionDocument =
        serde_json::from_slice(bytes).map_err(|error| Malformed::Json(error.column()))?;
    let TransactionDocument { payment_information: said, payment_request: repeated } = read;
    if !is_transaction_id(&said.transaction_id) {
        return Err(Malformed::Field("transactionId"));
    }
    if said.transaction_redirect_url.as_ref().is_some_and(|url| !url.is_empty() && !is_url(url)) {
        return Err(Malformed::Field("transactionRedirectUrl"));
    }
    let (request_id, currency, amount) =
        repeated.map_or((None, None, None), |it| (it.request_id, it.currency, it.gros_amount));
    Ok(Transaction {
        id: said.transaction_id,
        status: said.status,
        page_url: said.transaction_redirect_url.filter(|url| !url.is_empty()),
        reference: said.transaction_reference.filter(|text| is_path_id(text)),
        request_id,
        // An amount that is no whole number of cents fits no request.
        cents: amount.map(|amount| cents(amount).unwrap_or(u32::MAX)),
        currency,
    })
}

/// A problem document. Its published description names the words, and not the field that has them.
pub fn decline(status: u16, bytes: &[u8]) -> Decline {
    let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let fields = document.as_object().into_iter().flat_map(|fields| fields.values());
    let found = fields.filter_map(Value::as_str).find_map(|text| WORDS.iter().find(|word| **word == text));
    match found {
        Some(&"PAYMENT_EXISTS") => Decline::Exists,
        _ if status == 404 && found.is_none() => Decline::Unknown,
        Some(word) => Decline::No { status, word: (*word).to_owned() },
        None => {
            let title = document.get("title").and_then(Value::as_str).unwrap_or_default();
            let plain = title.chars().filter(|one| !one.is_control()).take(WORDS_CHARS_MAX).collect();
            Decline::No { status, word: plain }
        }
    }
}
