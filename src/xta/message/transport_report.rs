//! TransportReport: the process card as XTA shows it to author and reader.
//!
//! Status is 0 while the message is on its way, then the worst that was found: 1 green, 2 yellow, 3 red. A message that
//! nobody received is red. Read again for clients. Left out: AdditionalReports and the optional signature; signed proof is the evidence's.

use jiff::Timestamp;

use super::Error;
use super::element::Element;
use super::instant::spell;
use super::markup::Markup;
use super::metadata::{self, Shown};
use super::names::{NONE, XTA};
use crate::domain::card::{Finding, ProcessCard, Severity, Step};
use crate::domain::state::{DeliveryState, Event};
use crate::store::Entry;

const RECORD_LIST: &str = "urn:de:xta:codeliste:record.type";
const RECORD_LIST_VERSION: &str = "1.0";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Open = 0,
    Green = 1,
    Yellow = 2,
    Red = 3,
}

/// The colour of a card: open until the message is in a final state (or dead), then the worst of its records.
pub fn status(card: &ProcessCard) -> Status {
    match card.state {
        DeliveryState::Held | DeliveryState::Waiting | DeliveryState::HandedOut => Status::Open,
        DeliveryState::Cancelled | DeliveryState::Expired | DeliveryState::Dead => Status::Red,
        DeliveryState::Received => match records(card).iter().map(|record| record.severity).max() {
            Some(Severity::Error) => Status::Red,
            Some(Severity::Warning) => Status::Yellow,
            Some(Severity::Info) | None => Status::Green,
        },
    }
}

/// Steps and findings. What was critical before an operator put the message back is a warning since.
fn records(card: &ProcessCard) -> Vec<Record> {
    let cured_until = card.steps.iter().rposition(|step| step.event == Event::Requeued).unwrap_or(0);
    let steps = card.steps.iter().enumerate().map(|(at, step)| {
        let mut record = of_step(step);
        if at < cured_until {
            record.severity = record.severity.min(Severity::Warning);
        }
        record
    });
    steps.chain(card.findings.iter().map(of_finding)).collect()
}

/// A report as a client reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub message: Shown,
    pub time: String,
    pub server_identity: String,
    pub status: Status,
    pub records: Vec<ReportRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportRecord {
    pub severity: Severity,
    pub time: String,
    pub code: String,
    pub reason: String,
}

pub fn parse(body: &Element) -> Result<Report, Error> {
    if !body.is(XTA, "TransportReport") {
        return Err(Error::missing("Body", "TransportReport"));
    }
    let message = body.required(super::names::OSCIMETA, "MessageMetaData")?;
    let status = body.required(XTA, "MessageStatus")?;
    let mut records = Vec::new();
    for (list, name, severity) in LISTS {
        let list = status.optional(XTA, local(list))?;
        for record in list.into_iter().flat_map(|list| list.all(XTA, local(name))) {
            let code = record.required(XTA, "Code")?;
            records.push(ReportRecord {
                severity,
                time: record.required(XTA, "Timestamp")?.trimmed(),
                code: code.optional(NONE, "code")?.map(Element::trimmed).unwrap_or_default(),
                reason: record.required(XTA, "Reason")?.text(),
            });
        }
    }
    Ok(Report {
        message: metadata::parse_shown(message)?,
        time: body.required(XTA, "ReportTime")?.trimmed(),
        server_identity: body.required(XTA, "XTAServerIdentity")?.trimmed(),
        status: match status.required(XTA, "Status")?.trimmed().as_str() {
            "0" => Status::Open,
            "1" => Status::Green,
            "2" => Status::Yellow,
            "3" => Status::Red,
            other => return Err(Error::invalid("Status", format!("{:?} is none of 0 to 3", other))),
        },
        records,
    })
}

/// The lists of a report with their elements.
const LISTS: [(&str, &str, Severity); 3] = [
    ("xta:ErrorList", "xta:Error", Severity::Error),
    ("xta:WarnList", "xta:Warning", Severity::Warning),
    ("xta:InfoList", "xta:Info", Severity::Info),
];

fn local(name: &str) -> &str {
    name.split_once(':').map_or(name, |(_, local)| local)
}

struct Record {
    at: Timestamp,
    severity: Severity,
    code: String,
    reason: String,
}

pub fn write(out: &mut Markup, entry: &Entry, server_identity: &str) {
    let card = &entry.card;
    let records = records(card);
    let updated = records.iter().map(|record| record.at).max().unwrap_or(card.accepted_at);
    out.element("xta:TransportReport", |out| {
        metadata::write(out, &entry.envelope, Some(card));
        out.leaf("xta:ReportTime", &spell(updated));
        out.leaf("xta:XTAServerIdentity", server_identity);
        out.element("xta:MessageStatus", |out| {
            out.leaf("xta:Status", &(status(card) as u8).to_string());
            for (list, name, severity) in LISTS {
                let of_severity: Vec<_> =
                    records.iter().filter(|record| record.severity == severity).collect();
                if !of_severity.is_empty() {
                    out.element(list, |out| {
                        of_severity.iter().for_each(|record| write_record(out, name, record))
                    });
                }
            }
        });
    });
}

fn write_record(out: &mut Markup, name: &str, record: &Record) {
    let list = [("listURI", Some(RECORD_LIST)), ("listVersionID", Some(RECORD_LIST_VERSION))];
    out.element(name, |out| {
        out.leaf("xta:Timestamp", &spell(record.at));
        out.element_with("xta:Code", &list, |out| {
            out.leaf("code", &record.code);
        });
        out.leaf("xta:Reason", &record.reason);
    });
}

fn of_finding(finding: &Finding) -> Record {
    let Finding { at, severity, code, reason } = finding.clone();
    Record { at, severity, code, reason }
}

fn of_step(step: &Step) -> Record {
    let (severity, code, sentence) = match step.event {
        Event::Accepted => (Severity::Info, "accepted", "The message was accepted."),
        Event::Released => (Severity::Info, "released", "The message was put into the mailbox."),
        Event::HandedOut => (Severity::Info, "handed-out", "The message was handed out."),
        // Only the outlet's yes has words of its own and nobody who caused it.
        Event::Received if step.by.is_none() && step.reason.is_some() => {
            (Severity::Info, "received", "Another post office took the message for its reader.")
        }
        Event::Received => (Severity::Info, "received", "The reader confirmed the message."),
        Event::CancelledByAuthor => (Severity::Error, "cancelled", "The author cancelled the message."),
        Event::Declined => {
            (Severity::Error, "cancelled", "The recipient that it was pushed to did not take the message.")
        }
        // So earlier releases wrote it down.
        Event::CancelledByOperator if step.by.is_none() => {
            (Severity::Error, "cancelled", "The recipient that it was pushed to did not take the message.")
        }
        Event::CancelledByOperator => (Severity::Error, "cancelled", "An operator cancelled the message."),
        Event::HeldByOperator => (Severity::Info, "held", "An operator held the message back."),
        Event::Expired => (Severity::Error, "expired", "Nobody fetched the message in time."),
        Event::Reminded if step.by.is_some() => {
            (Severity::Info, "called", "The reader's program was called about the message.")
        }
        Event::Reminded => (Severity::Info, "unfetched", "The message has not been fetched yet."),
        Event::PushFailed if step.state == DeliveryState::Held => {
            (Severity::Warning, "push-open", "Whether the message reached the recipient is not known.")
        }
        Event::PushFailed => (Severity::Warning, "push-failed", "The message could not be delivered yet."),
        Event::Undeliverable => (Severity::Error, "undeliverable", "The message cannot be delivered."),
        Event::Requeued => (Severity::Info, "requeued", "An operator put the message back into the mailbox."),
        Event::PayloadPurged => (Severity::Info, "purged", "The content was deleted after its retention."),
    };
    Record { at: step.at, severity, code: code.to_owned(), reason: sentence.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::account::AccountName;
    use crate::domain::content::Digest;
    use crate::domain::message_id::MessageId;
    use crate::domain::party::{MailboxName, PartyIdentifier};

    fn card(events: &[(Event, DeliveryState)], findings: &[Severity]) -> ProcessCard {
        let at = Timestamp::UNIX_EPOCH;
        let mut card = ProcessCard {
            version: 1,
            id: MessageId::parse("urn:x").expect("an id"),
            state: DeliveryState::Waiting,
            mailbox: MailboxName::parse("ags:2").expect("a name"),
            author: PartyIdentifier::new("ags:1").expect("an identifier"),
            reader: PartyIdentifier::new("ags:2").expect("an identifier"),
            posted_by: AccountName::parse("a").expect("a name"),
            door: "xta-2.1.1".to_owned(),
            service: String::new(),
            test: false,
            payload_digest: Digest([0; 32]),
            payload_bytes: 1,
            accepted_at: at,
            not_before: None,
            delivered_at: None,
            first_handed_out_at: None,
            received_at: None,
            expires_at: at,
            steps: Vec::new(),
            findings: Vec::new(),
            certificates: Vec::new(),
        };
        for (event, state) in events {
            card.record(Step { at, event: *event, state: *state, by: None, reason: None });
        }
        let finding = |severity: &Severity| Finding {
            at,
            severity: *severity,
            code: "test".to_owned(),
            reason: "test".to_owned(),
        };
        card.findings = findings.iter().map(finding).collect();
        card
    }

    #[test]
    fn who_took_it_is_said() {
        let sentence = |by: Option<&str>, reason: Option<&str>| {
            let (at, event, state) = (Timestamp::UNIX_EPOCH, Event::Received, DeliveryState::Received);
            let (by, reason) = (by.map(str::to_owned), reason.map(str::to_owned));
            let record = of_step(&Step { at, event, state, by, reason });
            (record.code, record.reason)
        };
        let code = "received".to_owned();
        let other = "Another post office took the message for its reader.".to_owned();
        assert_eq!(sentence(None, Some("it took it as urn:x")), (code.clone(), other));
        let reader = "The reader confirmed the message.".to_owned();
        for by in [None, Some("reader")] {
            assert_eq!(sentence(by, None), (code.clone(), reader.clone()));
        }
    }

    #[test]
    fn colours() {
        use DeliveryState as S;
        use Event as E;
        let accepted = (E::Accepted, S::Waiting);
        let received = (E::Received, S::Received);
        for (events, findings, expected) in [
            (vec![accepted], vec![], Status::Open),
            (vec![accepted], vec![Severity::Error], Status::Open),
            (vec![(E::Accepted, S::Held)], vec![], Status::Open),
            (vec![accepted, (E::HandedOut, S::HandedOut)], vec![], Status::Open),
            (vec![accepted, received], vec![Severity::Info], Status::Green),
            (vec![accepted, received], vec![Severity::Warning], Status::Yellow),
            (vec![accepted, (E::PushFailed, S::Waiting), received], vec![], Status::Yellow),
            (vec![accepted, received], vec![Severity::Warning, Severity::Error], Status::Red),
            (vec![accepted, (E::Expired, S::Expired)], vec![], Status::Red),
            (vec![accepted, (E::CancelledByAuthor, S::Cancelled)], vec![], Status::Red),
            (vec![accepted, (E::Undeliverable, S::Dead)], vec![], Status::Red),
            // What an operator has cured is a warning.
            (vec![accepted, (E::Undeliverable, S::Dead), (E::Requeued, S::Waiting)], vec![], Status::Open),
            (
                vec![accepted, (E::Undeliverable, S::Dead), (E::Requeued, S::Waiting), received],
                vec![],
                Status::Yellow,
            ),
        ] {
            assert_eq!(status(&card(&events, &findings)), expected, "{events:?} {findings:?}");
        }
    }
}
