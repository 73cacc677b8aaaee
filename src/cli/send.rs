//! `amtsbote send`: posts a message as a participant would, over XTA 2 with mutual TLS or over OSCI-Transport 1.2.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::exit::{Exit, Stop};
use super::office::{self, Office, Words, identifier};
use super::osci::{self, Osci};
use super::{Reading, runtime, screen};
use crate::domain::content::PartRole;
use crate::domain::envelope::Instant;
use crate::domain::message_id::MessageId;
use crate::domain::party::PartyIdentifier;
use crate::xta::client::content::Outgoing;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The message proper; its bytes go as they are
    file: PathBuf,
    /// Attachments
    attachments: Vec<PathBuf>,
    /// Our identifier, such as psw:100411000000
    #[arg(long, required_unless_present = "osci", value_name = "IDENTIFIER", value_parser = identifier)]
    from: Option<PartyIdentifier>,
    /// The reader's identifier, such as ags:10041100
    #[arg(long, required_unless_present = "osci", value_name = "IDENTIFIER", value_parser = identifier)]
    to: Option<PartyIdentifier>,
    /// With --osci: the reader's cipher certificate (PEM)
    #[arg(long, required_if_eq("osci", "true"), requires = "osci", value_name = "FILE")]
    to_cert: Option<PathBuf>,
    /// With --osci: send in chunks of this size
    #[arg(long, requires = "osci", value_name = "KB", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    chunk: Option<u64>,
    /// URI of the service
    #[arg(long, default_value = "", value_name = "URI")]
    service: String,
    /// Code of the message type, as a rule the root element's name
    #[arg(long, default_value = "unspecified", value_name = "CODE")]
    message_type: String,
    /// Code of the business scenario
    #[arg(long, default_value = "unspecified", value_name = "CODE")]
    scenario: String,
    /// Media type of the message
    #[arg(long, default_value = "application/xml", value_name = "TYPE")]
    content_type: String,
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// Service profile (ServiceQuality)
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Id of a message that this one answers
    #[arg(long, value_name = "ID", value_parser = MessageId::parse)]
    in_reply_to: Vec<MessageId>,
    /// Not to be delivered before this instant, such as 2026-12-01T08:00:00+01:00
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    not_before: Option<Instant>,
    /// Send again under the id of an attempt whose answer was lost; nothing is delivered twice
    #[arg(long, value_name = "ID", value_parser = MessageId::parse)]
    id: Option<MessageId>,
    /// Mark as a test
    #[arg(long)]
    test: bool,
    #[command(flatten)]
    osci: Osci,
    #[command(flatten)]
    office: Office,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Serialize)]
struct Sent<'a> {
    id: &'a MessageId,
    parts: usize,
}

fn instant(text: &str) -> Result<Instant, String> {
    let at: Timestamp = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    Ok(Instant { at, text: text.to_owned() })
}

impl Args {
    pub fn run(&self) -> Result<Exit, Stop> {
        let (from, to) = match (&self.from, &self.to) {
            _ if self.osci.osci => return self.run_osci(),
            (Some(from), Some(to)) => (from, to),
            _ => return Err(Stop::usage("--from and --to are missing")),
        };
        let client = self.office.client(Some(from.clone()))?;
        runtime()?.block_on(async {
            let mut content = vec![outgoing(PartRole::Message, &self.content_type, &self.file).await?];
            for path in &self.attachments {
                content.push(outgoing(PartRole::Attachment, "application/octet-stream", path).await?);
            }
            let id = match &self.id {
                Some(id) => id.clone(),
                None => client.create_message_id().await.map_err(office::stop)?,
            };
            let words = Words {
                service: self.service.clone(),
                message_type: self.message_type.clone(),
                payload_schema: "unspecified".to_owned(),
                scenario: self.scenario.clone(),
                subject: self.subject.clone(),
                profile: self.profile.clone(),
                in_reply_to: self.in_reply_to.clone(),
                not_before: self.not_before.clone(),
                obsolete_after: None,
                test: self.test,
            };
            let envelope = office::envelope(id, from, to, words);
            client.send(&envelope, &content).await.map_err(|error| {
                // Without an answer nobody knows whether it was taken; the id makes asking again safe.
                let stop = office::stop(error);
                match stop.next_step.is_empty() {
                    true => stop.then(format!("Send again with --id {}", envelope.id)),
                    false => stop,
                }
            })?;
            screen::sentence(&format!("The post office has it, for {to}."));
            match self.reading.json {
                true => screen::json(&Sent { id: &envelope.id, parts: content.len() }),
                false => screen::data(&format!("{}\n", envelope.id)),
            }
        })?;
        Ok(Exit::Done)
    }

    fn run_osci(&self) -> Result<Exit, Stop> {
        let reader = self.to_cert.as_deref().ok_or_else(|| Stop::usage("--to-cert is missing"))?;
        let client = self.osci.client(&self.office)?;
        let letter = osci::Letter {
            reader,
            subject: self.subject.clone(),
            message: &self.file,
            attachments: &self.attachments,
            chunk_kilobytes: self.chunk,
        };
        let sent = runtime()?.block_on(osci::send(&client, &letter))?;
        screen::sentence("The intermediary has it.");
        match self.reading.json {
            true => screen::json(&sent)?,
            false => screen::data(&format!("{}\n", sent.id))?,
        }
        Ok(Exit::Done)
    }
}

async fn outgoing(role: PartRole, content_type: &str, path: &Path) -> Result<Outgoing, Stop> {
    let mut outgoing = Outgoing::from_file(role, content_type, path)
        .await
        .map_err(|error| Stop::usage(format!("{} cannot be read: {error}", path.display())))?;
    outgoing.part.id = Some(format!("part-{}", uuid::Uuid::new_v4()));
    if role == PartRole::Message {
        outgoing.part.encoding = Some("UTF-8".to_owned());
    }
    Ok(outgoing)
}
