//! `amtsbote message`: single messages, whatever their state.

use jiff::Timestamp;

use super::exit::{Exit, Stop};
use super::link::{Link, unexpected};
use super::screen::{self, Align, Table};
use super::{Changing, Place, Reading, card};
use crate::admin::protocol::{Answer, MessageAct, TraceView, Verb};
use crate::clock::{Clock, SystemClock};
use crate::domain::account::AccountName;
use crate::domain::message_id::MessageId;
use crate::domain::party::MailboxName;
use crate::domain::state::DeliveryState;
use crate::store::{Entry, LoggedRecord, MessageQuery};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Messages, oldest first
    List(List),
    /// Dead letters: undeliverable messages that wait for your decision, with the reason
    Dead {
        #[command(flatten)]
        link: Link,
        #[command(flatten)]
        reading: Reading,
    },
    /// Envelope, state and parts of one message
    Show(One),
    /// Everything that happened to one message, step by step, with its evidence records
    Trace(One),
    /// Take a message out of its mailbox for the time being
    Hold(Act),
    /// Let a held message go
    Release(Act),
    /// Cancel a message that was not received
    Cancel(Act),
    /// Put a dead, expired or cancelled message back into its mailbox
    Requeue(Act),
}

#[derive(Debug, clap::Args)]
pub struct List {
    /// Only this state; may be given several times
    #[arg(long, value_parser = state, value_name = "STATE")]
    state: Vec<DeliveryState>,
    /// Only this mailbox
    #[arg(long, value_parser = MailboxName::parse, value_name = "NAME")]
    mailbox: Option<MailboxName>,
    /// Only what this account posted
    #[arg(long, value_parser = AccountName::parse, value_name = "ACCOUNT")]
    posted_by: Option<AccountName>,
    /// At most this many
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    limit: u32,
    /// Only messages after this sequence number
    #[arg(long, default_value_t = 0, value_name = "SEQUENCE")]
    after: u64,
    #[command(flatten)]
    link: Link,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Debug, clap::Args)]
pub struct One {
    /// The message's id
    #[arg(value_parser = MessageId::parse)]
    id: MessageId,
    #[command(flatten)]
    link: Link,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Debug, clap::Args)]
pub struct Act {
    /// The message's id
    #[arg(value_parser = MessageId::parse)]
    id: MessageId,
    #[command(flatten)]
    changing: Changing,
    #[command(flatten)]
    link: Link,
}

fn state(text: &str) -> Result<DeliveryState, String> {
    DeliveryState::parse(text)
        .ok_or_else(|| format!("one of {}", DeliveryState::ALL.map(DeliveryState::as_str).join(", ")))
}

impl Command {
    pub fn run(&self, place: &Place) -> Result<Exit, Stop> {
        match self {
            Self::List(list) => list.run(place)?,
            Self::Dead { link, reading } => dead(place, link, *reading)?,
            Self::Show(one) => match one.link.ask(place, Verb::Message { id: one.id.clone() })? {
                Answer::Message { entry } if one.reading.json => screen::json(&entry)?,
                Answer::Message { entry } => screen::data(&show(&entry))?,
                _ => return Err(unexpected()),
            },
            Self::Trace(one) => match one.link.ask(place, Verb::Trace { id: one.id.clone() })? {
                Answer::Trace(trace) if one.reading.json => screen::json(&trace)?,
                Answer::Trace(trace) => screen::data(&traced(&trace))?,
                _ => return Err(unexpected()),
            },
            Self::Hold(act) => act.run(place, MessageAct::Hold)?,
            Self::Release(act) => act.run(place, MessageAct::Release)?,
            Self::Cancel(act) => act.run(place, MessageAct::Cancel)?,
            Self::Requeue(act) => act.run(place, MessageAct::Requeue)?,
        }
        Ok(Exit::Done)
    }
}

impl List {
    fn run(&self, place: &Place) -> Result<(), Stop> {
        let query = MessageQuery {
            states: self.state.clone(),
            mailbox: self.mailbox.clone(),
            posted_by: self.posted_by.clone(),
            after: self.after,
            limit: self.limit,
        };
        let entries = messages(&self.link, place, query)?;
        if self.reading.json {
            return screen::json(&entries);
        }
        screen::data(&table(&entries, SystemClock.now()))?;
        if let Some(last) = entries.last().filter(|_| entries.len() >= self.limit as usize) {
            screen::sentence(&format!("There may be more: --after {}", last.sequence));
        }
        Ok(())
    }
}

impl Act {
    fn run(&self, place: &Place, act: MessageAct) -> Result<(), Stop> {
        screen::confirm(&format!("{} {}?", act.as_str(), self.id), self.changing.yes)?;
        let verb = Verb::MessageAct { id: self.id.clone(), act, reason: self.changing.reason.clone() };
        match self.link.ask(place, verb)? {
            Answer::Card { card } => {
                screen::sentence(&format!("The message is {} now.", card.state));
                Ok(())
            }
            _ => Err(unexpected()),
        }
    }
}

fn messages(link: &Link, place: &Place, query: MessageQuery) -> Result<Vec<Entry>, Stop> {
    match link.ask(place, Verb::Messages { query })? {
        Answer::Messages { entries } => Ok(entries),
        _ => Err(unexpected()),
    }
}

fn dead(place: &Place, link: &Link, reading: Reading) -> Result<(), Stop> {
    let query = MessageQuery { states: vec![DeliveryState::Dead], limit: 1000, ..MessageQuery::default() };
    let entries = messages(link, place, query)?;
    if reading.json {
        return screen::json(&entries);
    }
    let mut table = Table::new(&[
        ("AGE", Align::Right),
        ("MAILBOX", Align::Left),
        ("ID", Align::Left),
        ("REASON", Align::Left),
    ]);
    let now = SystemClock.now();
    for entry in &entries {
        let reason = entry.card.steps.last().and_then(|step| step.reason.clone());
        table.row([
            screen::age(entry.card.accepted_at, now),
            entry.card.mailbox.to_string(),
            entry.envelope.id.to_string(),
            reason.unwrap_or_default(),
        ]);
    }
    screen::data(&table.render())?;
    if !entries.is_empty() {
        screen::sentence("Requeue or cancel each: amtsbote message requeue ID --reason TEXT");
    }
    Ok(())
}

pub(super) fn table(entries: &[Entry], now: Timestamp) -> String {
    let mut table = Table::new(&[
        ("AGE", Align::Right),
        ("STATE", Align::Left),
        ("FROM", Align::Left),
        ("TO", Align::Left),
        ("SIZE", Align::Right),
        ("ID", Align::Left),
    ]);
    for entry in entries {
        table.row([
            screen::age(entry.card.accepted_at, now),
            entry.card.state.to_string(),
            entry.card.author.to_string(),
            entry.card.mailbox.to_string(),
            screen::bytes(entry.card.payload_bytes),
            entry.envelope.id.to_string(),
        ]);
    }
    table.render()
}

fn show(entry: &Entry) -> String {
    let (envelope, card) = (&entry.envelope, &entry.card);
    let mut pairs = vec![
        ("id", envelope.id.to_string()),
        ("state", card.state.to_string()),
        ("author", envelope.author.identifier.to_string()),
        ("reader", envelope.reader.identifier.to_string()),
        ("posted by", card.posted_by.to_string()),
        ("door", card.door.clone()),
        ("service", envelope.qualifier.service.clone()),
    ];
    if let Some(kind) = &envelope.qualifier.message_type {
        pairs.push(("message type", kind.code.clone()));
    }
    if let Some(profile) = &envelope.service_quality {
        pairs.push(("profile", profile.clone()));
    }
    if envelope.test {
        pairs.push(("test", "yes".to_owned()));
    }
    pairs.extend(envelope.in_reply_to.iter().map(|id| ("in reply to", id.to_string())));
    pairs.extend(card::instants(card));
    pairs.push(("payload", if entry.has_payload { "kept" } else { "deleted" }.to_owned()));
    pairs.push(("digest", card.payload_digest.to_string()));
    for part in &entry.manifest.parts {
        let name = part.filename.as_deref().or(part.id.as_deref()).unwrap_or("-");
        pairs.push(("part", format!("{name}, {}, {}", part.content_type, screen::bytes(part.length))));
    }
    screen::fields(&pairs)
}

fn traced(trace: &TraceView) -> String {
    let mut out = card::render(&trace.entry.card);
    out.push_str("\nEVIDENCE\n");
    let line = |record: &LoggedRecord| {
        let text = String::from_utf8_lossy(&record.bytes);
        format!("record {}: {}\n", record.index, screen::plain(text.trim_end()))
    };
    for record in &trace.records {
        out.push_str(&format!("  {}", line(record)));
    }
    for log in &trace.elsewhere {
        for record in &log.records {
            out.push_str(&format!("  node {}, {}", screen::plain(&log.node), line(record)));
        }
    }
    let covered = trace.checkpoint.as_deref().and_then(|note| note.lines().nth(1)).unwrap_or("0");
    out.push_str(&format!(
        "  the log has {} records, the latest signed checkpoint covers {}\n",
        trace.log_size,
        screen::plain(covered)
    ));
    out
}
