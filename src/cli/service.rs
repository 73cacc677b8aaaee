//! `amtsbote service`: service profiles as the participants' file declares them.

use super::exit::{Exit, Stop};
use super::link::{Link, unexpected};
use super::participant::directory;
use super::screen::{self, Align, Table};
use super::{Place, Reading};
use crate::domain::profile::ServiceProfile;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// All profiles and their deadlines
    List {
        #[command(flatten)]
        link: Link,
        #[command(flatten)]
        reading: Reading,
    },
    /// One profile with all its settings
    Show {
        /// The profile's name (URI, URN or short name)
        name: String,
        #[command(flatten)]
        link: Link,
        #[command(flatten)]
        reading: Reading,
    },
}

impl Command {
    pub fn run(&self, place: &Place) -> Result<Exit, Stop> {
        match self {
            Self::List { link, reading } => {
                let profiles = directory(link, place)?.profiles;
                if reading.json {
                    screen::json(&profiles)?;
                } else {
                    screen::data(&table(&profiles))?;
                }
            }
            Self::Show { name, link, reading } => {
                let profiles = directory(link, place)?.profiles;
                let profile = profiles.iter().find(|one| one.name.as_str() == name).ok_or_else(|| {
                    Stop::new(Exit::Unknown, format!("there is no service profile {name}"))
                        .then("`amtsbote service list` names them")
                })?;
                if reading.json {
                    screen::json(profile)?;
                } else {
                    let text = toml::to_string_pretty(profile).map_err(|_| unexpected())?;
                    screen::data(&text)?;
                }
            }
        }
        Ok(Exit::Done)
    }
}

fn table(profiles: &[ServiceProfile]) -> String {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("EXPIRES", Align::Right),
        ("REMINDS", Align::Right),
        ("KEEPS CONTENT", Align::Right),
        ("KEEPS CARD", Align::Right),
        ("MANNER", Align::Left),
    ]);
    for profile in profiles {
        let manner = match (profile.asynchronous, profile.synchronous) {
            (true, true) => "both",
            (true, false) => "asynchronous",
            (false, true) => "synchronous",
            (false, false) => "closed",
        };
        table.row([
            profile.name.to_string(),
            format!("{} d", profile.expiry_days),
            format!("{} d", profile.reminder_days),
            format!("{} d", profile.retain_payload_days),
            format!("{} d", profile.retain_card_days),
            if profile.ordered { format!("{manner}, in order") } else { manner.to_owned() },
        ]);
    }
    table.render()
}
