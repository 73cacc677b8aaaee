//! `amtsbote fetch`: what waits for us, into files, and confirmed once they are on disk.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::exit::{Exit, Stop};
use super::office::{self, Office, identifier};
use super::osci::{self, Osci};
use super::screen::{self, Align, Table};
use super::{Reading, runtime};
use crate::domain::message_id::MessageId;
use crate::domain::party::PartyIdentifier;
use crate::xta::client::content::FolderSink;
use crate::xta::client::{Client, Error};
use crate::xta::message::msg_box::MsgSelector;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ids to fetch; without one, everything that waits
    #[arg(value_parser = MessageId::parse)]
    ids: Vec<MessageId>,
    /// Our identifier; * stands for all of the certificate's
    #[arg(long = "as", default_value = "*", value_name = "IDENTIFIER", value_parser = reader)]
    reader: PartyIdentifier,
    /// Folder for the content: one folder inside for each message
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    into: PathBuf,
    /// Only list what waits
    #[arg(long)]
    list: bool,
    /// Do not confirm: the messages are offered again
    #[arg(long)]
    keep: bool,
    /// At most this many
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    limit: u32,
    #[command(flatten)]
    osci: Osci,
    #[command(flatten)]
    office: Office,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Serialize)]
struct Message {
    id: MessageId,
    author: String,
    reader: String,
    service: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    files: Vec<PathBuf>,
    confirmed: bool,
    /// Why it was not fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Why a message was not fetched, and whether the next one may still be.
struct Trouble {
    stop: Stop,
    of_this_message: bool,
}

impl Trouble {
    fn of_this_message(stop: Stop) -> Self {
        Self { stop, of_this_message: true }
    }
}

fn reader(value: &str) -> Result<PartyIdentifier, String> {
    if value == "*" {
        PartyIdentifier::new(value).map_err(|error| error.to_string())
    } else {
        identifier(value)
    }
}

impl Args {
    pub fn run(&self) -> Result<Exit, Stop> {
        if self.osci.osci {
            return self.run_osci();
        }
        let client = self.office.client(Some(self.reader.clone()))?;
        runtime()?.block_on(async {
            let selector = MsgSelector { ids: self.ids.clone(), ..MsgSelector::default() };
            let page = client.list(&selector, Some(self.limit)).await.map_err(office::stop)?;
            let mut messages: Vec<Message> = page.messages.into_iter().map(listed).collect();
            let stopped = match self.list {
                true => None,
                false => self.fetch_each(&client, &mut messages).await,
            };
            // What was fetched and confirmed is told in any case: nobody offers it again.
            self.tell(&messages, page.pending)?;
            stopped.map_or(Ok(()), Err)
        })?;
        Ok(Exit::Done)
    }

    /// One message that cannot be had does not keep the others back. What went wrong first is returned.
    async fn fetch_each(&self, client: &Client, messages: &mut [Message]) -> Option<Stop> {
        let mut first = None;
        for message in messages {
            let Err(trouble) = fetch(client, message, &self.into, self.keep).await else { continue };
            let Trouble { stop, of_this_message } = trouble;
            message.problem = Some(stop.sentence.clone());
            if of_this_message && !self.reading.json {
                screen::sentence(&screen::plain(&format!("{}: {}.", message.id, stop.sentence)));
            }
            first.get_or_insert(stop);
            if !of_this_message {
                break;
            }
        }
        first
    }

    fn run_osci(&self) -> Result<Exit, Stop> {
        let client = self.osci.client(&self.office)?;
        if self.list {
            let cards = runtime()?.block_on(osci::waiting(&client, self.limit))?;
            let cards: Vec<osci::Card> = cards.iter().map(osci::Card::from).collect();
            if self.reading.json {
                screen::json(&cards)?;
                return Ok(Exit::Done);
            }
            let mut table = Table::new(&["CREATED", "SUBJECT", "ID"].map(|head| (head, Align::Left)));
            for card in cards {
                table.row([card.creation, card.subject.unwrap_or_default(), card.id]);
            }
            screen::data(&table.render())?;
            return Ok(Exit::Done);
        }
        let (ids, into) = (self.ids.as_slice(), self.into.as_path());
        let wanted = osci::Wanted { ids, into, keep: self.keep, limit: self.limit, folder_name };
        let got = runtime()?.block_on(osci::fetch(&client, &wanted))?;
        for signed in got.iter().flat_map(|got| &got.signatures) {
            screen::sentence(&screen::plain(&format!("The signature of {} {}.", signed.by, signed.outcome)));
        }
        if self.reading.json {
            screen::json(&got)?;
            return Ok(Exit::Done);
        }
        for file in got.iter().flat_map(|got| &got.files) {
            screen::data(&format!("{}\n", file.display()))?;
        }
        let done = if self.keep { "fetched and not confirmed" } else { "fetched and confirmed" };
        screen::sentence(&format!("{} messages {done}.", got.len()));
        Ok(Exit::Done)
    }

    fn tell(&self, messages: &[Message], pending: u64) -> Result<(), Stop> {
        if self.reading.json {
            return screen::json(&messages);
        }
        if self.list {
            let heads = ["DELIVERED", "FROM", "TO", "TYPE", "ID"].map(|head| (head, Align::Left));
            let mut table = Table::new(&heads);
            for message in messages {
                table.row([
                    message.delivery.clone().unwrap_or_default(),
                    message.author.clone(),
                    message.reader.clone(),
                    message.message_type.clone().unwrap_or_default(),
                    message.id.to_string(),
                ]);
            }
            screen::data(&table.render())?;
        } else {
            for file in messages.iter().flat_map(|message| &message.files) {
                screen::data(&format!("{}\n", file.display()))?;
            }
            let done = if self.keep { "fetched and not confirmed" } else { "fetched and confirmed" };
            let fetched = messages.iter().filter(|message| message.problem.is_none()).count();
            screen::sentence(&format!("{fetched} messages {done}."));
        }
        if pending > 0 {
            screen::sentence(&format!("{pending} more wait."));
        }
        Ok(())
    }
}

fn listed(shown: crate::xta::message::metadata::Shown) -> Message {
    let envelope = shown.envelope;
    Message {
        author: envelope.author.identifier.to_string(),
        reader: envelope.reader.identifier.to_string(),
        service: envelope.qualifier.service,
        message_type: envelope.qualifier.message_type.map(|kind| kind.code),
        delivery: shown.delivery,
        bytes: envelope.stated_size,
        id: envelope.id,
        files: Vec::new(),
        confirmed: false,
        problem: None,
    }
}

/// Into files first, and only then confirmed: a crash in between repeats the message, and loses none.
async fn fetch(client: &Client, message: &mut Message, into: &Path, keep: bool) -> Result<(), Trouble> {
    let folder = into.join(folder_name(message.id.as_str()));
    std::fs::create_dir_all(&folder).map_err(|error| Trouble {
        stop: Stop::failed(format!("{} cannot be made: {error}", folder.display())),
        of_this_message: false,
    })?;
    let mut sink = FolderSink::new(&folder);
    let fetched = match client.fetch(&message.id, &mut sink).await {
        Ok(fetched) => fetched,
        Err(error) => {
            sink.discard();
            return Err(match error {
                Error::File(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    Trouble::of_this_message(
                        Stop::failed(format!("{} holds files of an earlier attempt", folder.display()))
                            .then("Remove them, or fetch into another folder; the message is still offered"),
                    )
                }
                error => trouble(error),
            });
        }
    };
    sink.sync_names().map_err(|error| trouble(Error::File(error)))?;
    message.files = sink.files.into_values().collect();
    if !keep {
        let request = fetched.request_id.as_deref().unwrap_or("1");
        client.close(request, std::slice::from_ref(&message.id)).await.map_err(trouble)?;
        message.confirmed = true;
    }
    Ok(())
}

/// A server that cannot be reached and a disk that cannot be written to fail the next message as well.
fn trouble(error: Error) -> Trouble {
    let of_this_message =
        !matches!(error, Error::Url(_) | Error::Connect { .. } | Error::Time(_) | Error::File(_));
    Trouble { stop: office::stop(error), of_this_message }
}

/// An id as the name of a folder: what could mean a path, or a file of this system's own, becomes `_`.
pub(super) fn folder_name(id: &str) -> String {
    let name: String =
        id.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    if name.starts_with('.') { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_lead_nowhere_as_folders() {
        for (id, expected) in [
            ("urn:de:xta:messageid:amt:1a-b", "urn_de_xta_messageid_amt_1a-b"),
            ("../../etc", "_.._.._etc"),
            ("..", "_.."),
            ("a/b\\c", "a_b_c"),
        ] {
            assert_eq!(folder_name(id), expected);
        }
    }
}
