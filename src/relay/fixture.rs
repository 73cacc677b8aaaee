//! Accounts, cards and instants for the table tests of this floor.

use jiff::Timestamp;

use crate::domain::account::{Account, AccountName, Rights};
use crate::domain::card::ProcessCard;
use crate::domain::content::Digest;
use crate::domain::message_id::MessageId;
use crate::domain::party::{MailboxName, PartyIdentifier};
use crate::domain::state::DeliveryState;

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a small number of seconds")
}

/// `value` or `value|type`.
pub fn identifier(text: &str) -> PartyIdentifier {
    let (value, kind) = text.split_once('|').map_or((text, None), |(value, kind)| (value, Some(kind)));
    PartyIdentifier::with_labels(value, kind, None, None).expect("a well-formed identifier")
}

/// An account without restrictions that brings ids of its own.
pub fn account(name: &str, identifiers: &[&str]) -> Account {
    Account {
        name: AccountName::parse(name).expect("a well-formed name"),
        title: String::new(),
        blocked: false,
        keys: Vec::new(),
        identifiers: identifiers.iter().map(|text| identifier(text)).collect(),
        accepts: None,
        rights: Rights { foreign_message_ids: true, ..Rights::default() },
        profile: None,
        osci: Default::default(),
        portal: Default::default(),
    }
}

/// A message from `ags:1` to `ags:2`.
pub fn card(posted_by: &str, state: DeliveryState) -> ProcessCard {
    ProcessCard {
        version: 1,
        id: MessageId::parse("m-1").expect("a well-formed id"),
        state,
        mailbox: MailboxName::parse("ags:2").expect("a well-formed name"),
        author: identifier("ags:1"),
        reader: identifier("ags:2"),
        posted_by: AccountName::parse(posted_by).expect("a well-formed name"),
        door: "test".to_owned(),
        service: String::new(),
        test: false,
        payload_digest: Digest::of(b""),
        payload_bytes: 0,
        accepted_at: at(0),
        not_before: None,
        delivered_at: None,
        first_handed_out_at: None,
        received_at: None,
        expires_at: at(1_000_000),
        steps: Vec::new(),
        findings: Vec::new(),
        certificates: Vec::new(),
    }
}
