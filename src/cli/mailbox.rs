//! `amtsbote mailbox`: what waits where, and for how long.

use jiff::Timestamp;

use super::exit::{Exit, Stop};
use super::link::{Link, unexpected};
use super::message;
use super::screen::{self, Align, Table};
use super::{Place, Reading};
use crate::admin::protocol::{Answer, Verb};
use crate::clock::{Clock, SystemClock};
use crate::domain::party::MailboxName;
use crate::store::MailboxSummary;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// All mailboxes
    List {
        #[command(flatten)]
        link: Link,
        #[command(flatten)]
        reading: Reading,
    },
    /// One mailbox with its oldest messages
    Show {
        /// The mailbox's name, which is its reader's identifier
        name: String,
        #[command(flatten)]
        link: Link,
        #[command(flatten)]
        reading: Reading,
    },
}

impl Command {
    pub fn run(&self, place: &Place) -> Result<Exit, Stop> {
        let now = SystemClock.now();
        match self {
            Self::List { link, reading } => match link.ask(place, Verb::Mailboxes)? {
                Answer::Mailboxes { mailboxes } if reading.json => screen::json(&mailboxes)?,
                Answer::Mailboxes { mailboxes } => screen::data(&table(&mailboxes, now))?,
                _ => return Err(unexpected()),
            },
            Self::Show { name, link, reading } => {
                let name = MailboxName::parse(name).map_err(|error| Stop::usage(error.to_string()))?;
                match link.ask(place, Verb::Mailbox { name })? {
                    Answer::Mailbox(view) if reading.json => screen::json(&view)?,
                    Answer::Mailbox(view) => {
                        let reader = match &view.account {
                            Some(account) => format!("Read by the account {account}."),
                            None => "No account reads this mailbox.".to_owned(),
                        };
                        screen::sentence(&reader);
                        let summary = table(std::slice::from_ref(&view.summary), now);
                        let entries = message::table(&view.entries, now);
                        screen::data(&format!("{summary}\n{entries}"))?;
                    }
                    _ => return Err(unexpected()),
                }
            }
        }
        Ok(Exit::Done)
    }
}

pub(super) fn table(mailboxes: &[MailboxSummary], now: Timestamp) -> String {
    let mut table = Table::new(&[
        ("MAILBOX", Align::Left),
        ("WAITING", Align::Right),
        ("HANDED OUT", Align::Right),
        ("HELD", Align::Right),
        ("DEAD", Align::Right),
        ("SIZE", Align::Right),
        ("OLDEST", Align::Right),
    ]);
    for mailbox in mailboxes {
        table.row([
            mailbox.name.to_string(),
            mailbox.waiting.to_string(),
            mailbox.handed_out.to_string(),
            mailbox.held.to_string(),
            mailbox.dead.to_string(),
            screen::bytes(mailbox.bytes_waiting),
            mailbox.oldest_waiting_at.map_or("-".to_owned(), |at| screen::age(at, now)),
        ]);
    }
    table.render()
}
