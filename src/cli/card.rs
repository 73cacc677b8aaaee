//! `amtsbote card`: the process card (Laufzettel) of one message.

use std::path::PathBuf;

use super::exit::{Exit, Stop};
use super::link::{Link, unexpected};
use super::office::Office;
use super::osci::{self, Osci};
use super::screen;
use super::{Place, Reading, runtime};
use crate::admin::protocol::{Answer, Verb};
use crate::domain::card::ProcessCard;
use crate::domain::message_id::MessageId;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// What happened to a message, and what was found about the certificates it came with
    Show {
        /// The message's id
        #[arg(value_parser = MessageId::parse)]
        id: MessageId,
        #[command(flatten)]
        remote: Remote,
        #[command(flatten)]
        link: Link,
        #[command(flatten)]
        reading: Reading,
    },
}

/// An intermediary that is asked as its client, in place of the running server.
#[derive(Debug, Clone, clap::Args)]
pub struct Remote {
    /// With --osci: the intermediary's address, such as https://host/osci
    #[arg(long, required_if_eq("osci", "true"), requires = "osci", value_name = "URL")]
    url: Option<String>,
    /// With --osci: our cipher certificate (PEM)
    #[arg(long, required_if_eq("osci", "true"), requires = "osci", value_name = "FILE")]
    cert: Option<PathBuf>,
    /// With --osci: its private key (PEM)
    #[arg(long, required_if_eq("osci", "true"), requires = "osci", value_name = "FILE")]
    key: Option<PathBuf>,
    /// With --osci: authority that the server's TLS certificate comes from (PEM)
    #[arg(long, requires = "osci", value_name = "FILE")]
    ca: Option<PathBuf>,
    #[command(flatten)]
    osci: Osci,
}

impl Remote {
    fn office(&self) -> Option<Office> {
        let url = self.url.clone().filter(|_| self.osci.osci)?;
        Some(Office { url, cert: self.cert.clone()?, key: self.key.clone()?, ca: self.ca.clone() })
    }
}

impl Command {
    pub fn run(&self, place: &Place) -> Result<Exit, Stop> {
        let Self::Show { id, remote, link, reading } = self;
        if let Some(office) = remote.office() {
            let client = remote.osci.client(&office)?;
            let card = osci::Card::from(&runtime()?.block_on(osci::card(&client, id.as_str()))?);
            match reading.json {
                true => screen::json(&card)?,
                false => screen::data(&card.render())?,
            }
            return Ok(Exit::Done);
        }
        match link.ask(place, Verb::Message { id: id.clone() })? {
            Answer::Message { entry } if reading.json => screen::json(&entry.card)?,
            Answer::Message { entry } => screen::data(&render(&entry.card))?,
            _ => return Err(unexpected()),
        }
        Ok(Exit::Done)
    }
}

/// The instants that a card knows.
pub(super) fn instants(card: &ProcessCard) -> Vec<(&'static str, String)> {
    let known = [
        ("accepted", Some(card.accepted_at)),
        ("not before", card.not_before),
        ("in the mailbox", card.delivered_at),
        ("handed out", card.first_handed_out_at),
        ("received", card.received_at),
        ("expires", Some(card.expires_at)),
    ];
    known.into_iter().filter_map(|(name, at)| at.map(|at| (name, screen::instant(at)))).collect()
}

pub fn render(card: &ProcessCard) -> String {
    let mut pairs = vec![
        ("id", card.id.to_string()),
        ("state", card.state.to_string()),
        ("from", format!("{} (account {})", card.author, card.posted_by)),
        ("to", format!("{} (mailbox {})", card.reader, card.mailbox)),
        ("service", card.service.clone()),
        ("door", card.door.clone()),
        ("content", format!("{}, SHA-256 {}", screen::bytes(card.payload_bytes), card.payload_digest)),
    ];
    pairs.extend(instants(card));
    let mut out = screen::fields(&pairs);
    out.push_str("\nSTEPS\n");
    for step in &card.steps {
        let by = step.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        let reason = step.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let event = word(&step.event);
        let text = format!("{}  {event} -> {}{by}{reason}", screen::instant(step.at), step.state);
        out.push_str(&format!("  {}\n", screen::plain(&text)));
    }
    for finding in &card.findings {
        let text = format!(
            "{}  {}: {} ({})",
            screen::instant(finding.at),
            word(&finding.severity),
            finding.reason,
            finding.code
        );
        out.push_str(&format!("  {}\n", screen::plain(&text)));
    }
    for certificate in &card.certificates {
        out.push_str("\nCERTIFICATE\n");
        let mut lines = vec![
            format!("{}: {}", certificate.role, certificate.verdict),
            format!("subject {}", certificate.subject),
            format!("issuer {}, serial {}", certificate.issuer, certificate.serial),
        ];
        lines.extend(certificate.checks.iter().cloned());
        out.extend(lines.iter().map(|line| format!("  {}\n", screen::plain(line))));
    }
    out
}

/// A variant's name as it is stored.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}
