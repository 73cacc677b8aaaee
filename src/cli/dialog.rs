//! `amtsbote dialog`: dialogs of OSCI-Transport 1.2 that are open, and what was handed out in them unconfirmed.

use jiff::Timestamp;

use super::exit::{Exit, Stop};
use super::link::{Link, unexpected};
use super::screen::{self, Align, Table};
use super::{Place, Reading};
use crate::admin::protocol::{Answer, DialogView, Verb};
use crate::clock::{Clock, SystemClock};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Open dialogs, the one used last first
    List {
        /// How many
        #[arg(long, default_value_t = 100, value_name = "COUNT")]
        limit: u32,
        #[command(flatten)]
        link: Link,
        #[command(flatten)]
        reading: Reading,
    },
}

impl Command {
    pub fn run(&self, place: &Place) -> Result<Exit, Stop> {
        let Self::List { limit, link, reading } = self;
        match link.ask(place, Verb::Dialogs { limit: *limit })? {
            Answer::Dialogs { dialogs } if reading.json => screen::json(&dialogs)?,
            Answer::Dialogs { dialogs } => screen::data(&table(&dialogs, SystemClock.now()))?,
            _ => return Err(unexpected()),
        }
        Ok(Exit::Done)
    }
}

fn table(dialogs: &[DialogView], now: Timestamp) -> String {
    let mut table = Table::new(&[
        ("DIALOG", Align::Left),
        ("ACCOUNT", Align::Left),
        ("ENCRYPTED", Align::Left),
        ("REQUESTS", Align::Right),
        ("UNCONFIRMED", Align::Right),
        ("AGE", Align::Right),
        ("SILENT FOR", Align::Right),
        ("OVER AT", Align::Left),
    ]);
    for dialog in dialogs {
        table.row([
            dialog.id.to_string(),
            dialog.account.to_string(),
            if dialog.encrypted { "yes" } else { "no" }.to_owned(),
            dialog.requests.to_string(),
            dialog.handed_out.len().to_string(),
            screen::age(dialog.opened_at, now),
            screen::age(dialog.used_at, now),
            screen::instant(dialog.expires_at),
        ]);
    }
    table.render()
}
