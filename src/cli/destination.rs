//! `amtsbote destination`: where a portal's applications go, as the participants' file declares it.

use jiff::Timestamp;

use super::exit::{Exit, Stop};
use super::link::Link;
use super::participant::directory;
use super::screen::{self, Align, Table};
use super::{Place, Reading};
use crate::domain::account::Account;
use crate::domain::content::Digest;
use crate::domain::date_time;
use crate::domain::destination::{Destination, DestinationStatus};
use crate::domain::hex;
use crate::pki::jose::jwk::{PublicKey, Purpose};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// All destinations and whose they are
    List {
        #[command(flatten)]
        link: Link,
        #[command(flatten)]
        reading: Reading,
    },
    /// One destination with keys, services and regions
    Show {
        /// The destination's id (UUID)
        id: String,
        #[command(flatten)]
        link: Link,
        #[command(flatten)]
        reading: Reading,
    },
    /// Make a secret for a client or a callback: print it once, with what belongs into the participants' file
    ///
    /// Nothing is stored. The secret goes to whoever will use it; its digest goes into the file.
    Secret,
}

impl Command {
    pub fn run(&self, place: &Place) -> Result<Exit, Stop> {
        match self {
            Self::List { link, reading } => {
                let accounts = directory(link, place)?.accounts;
                if reading.json {
                    let all: Vec<_> = all(&accounts).map(|(account, one)| view(account, one)).collect();
                    screen::json(&all)?;
                } else {
                    screen::data(&table(&accounts))?;
                }
            }
            Self::Show { id, link, reading } => {
                let accounts = directory(link, place)?.accounts;
                let found = all(&accounts).find(|(_, one)| one.id.as_str() == id);
                let (account, destination) = found.ok_or_else(|| {
                    Stop::new(Exit::Unknown, format!("there is no destination {id}"))
                        .then("`amtsbote destination list` names them")
                })?;
                if reading.json {
                    screen::json(&view(account, destination))?;
                } else {
                    screen::data(&show(account, destination))?;
                }
            }
            Self::Secret => {
                let random = [uuid::Uuid::new_v4().into_bytes(), uuid::Uuid::new_v4().into_bytes()].concat();
                let secret = hex::lower(&random);
                screen::data(&format!("{secret}\n"))?;
                let digest = Digest::of(secret.as_bytes());
                screen::sentence(&format!(
                    "For a client, in the participants' file: secret_sha256 = \"{digest}\""
                ));
                screen::sentence(
                    "For a callback, the secret itself: callback = { url = \"https://…\", secret = \"…\" }",
                );
            }
        }
        Ok(Exit::Done)
    }
}

fn all(accounts: &[Account]) -> impl Iterator<Item = (&Account, &Destination)> {
    accounts
        .iter()
        .flat_map(|account| account.portal.destinations.iter().map(move |destination| (account, destination)))
}

/// Everything but the callback's secret.
fn view(account: &Account, destination: &Destination) -> serde_json::Value {
    let mut value = serde_json::to_value(destination).unwrap_or_default();
    if let Some(callback) = value.get_mut("callback").and_then(serde_json::Value::as_object_mut) {
        callback.remove("secret");
    }
    if let Some(fields) = value.as_object_mut() {
        fields.insert("account".to_owned(), account.name.to_string().into());
    }
    value
}

fn word(status: DestinationStatus) -> &'static str {
    match status {
        DestinationStatus::Active => "active",
        DestinationStatus::Inactive => "inactive",
    }
}

fn table(accounts: &[Account]) -> String {
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("STATE", Align::Left),
        ("PARTICIPANT", Align::Left),
        ("MAILBOX", Align::Left),
        ("RULES", Align::Right),
        ("NAME", Align::Left),
    ]);
    for (account, destination) in all(accounts) {
        let rules: usize =
            destination.serves.iter().map(|serves| serves.services.len() * serves.regions.len()).sum();
        table.row([
            destination.id.to_string(),
            word(destination.status).to_owned(),
            account.name.to_string(),
            account.mailbox_of(destination).map(|own| own.value().to_owned()).unwrap_or_default(),
            rules.to_string(),
            destination.name.clone(),
        ]);
    }
    table.render()
}

fn show(account: &Account, destination: &Destination) -> String {
    let mut pairs = vec![
        ("id", destination.id.to_string()),
        ("name", destination.name.clone()),
        ("state", word(destination.status).to_owned()),
        ("participant", account.name.to_string()),
        ("mailbox", account.mailbox_of(destination).map(|own| own.value().to_owned()).unwrap_or_default()),
        ("profile", destination.profile.clone().unwrap_or_else(|| "the portal's own deadlines".to_owned())),
    ];
    for schema in &destination.schemas {
        pairs.push(("schema", schema.clone()));
    }
    for key in &destination.keys {
        let words = match PublicKey::parse(&key.jwk) {
            Ok(key) => {
                let purpose = match key.purpose {
                    Purpose::Encryption if key.kid() == destination.encryption_kid => "encryption, current",
                    Purpose::Encryption => "encryption",
                    Purpose::Signature => "signature",
                };
                format!("{} ({purpose})", key.kid())
            }
            Err(error) => error.to_string(),
        };
        let remark = key.remark.as_ref().map(|remark| format!(", {remark}")).unwrap_or_default();
        pairs.push(("key", format!("{words}{remark}")));
    }
    if let Some(callback) = &destination.callback {
        pairs.push(("callback", callback.url.clone()));
    }
    let today = date_time::german_day(Timestamp::now());
    for serves in &destination.serves {
        let list = |list: Vec<String>| match list.as_slice() {
            [first, .., last] if list.len() > 4 => format!("{first} … {last} ({} in all)", list.len()),
            few => few.join(" "),
        };
        let services = list(serves.services.iter().map(ToString::to_string).collect());
        let regions = list(serves.regions.iter().map(|region| region.ars()).collect());
        let days = match (serves.valid_from, serves.valid_until) {
            (None, None) => String::new(),
            (from, until) => {
                let day = |day: Option<jiff::civil::Date>| day.map(|day| day.to_string()).unwrap_or_default();
                let over = if until.is_some_and(|until| until < today) { ", over" } else { "" };
                format!(", from {} until {}{over}", day(from), day(until))
            }
        };
        pairs.push(("serves", format!("{services} in {regions}{days}")));
    }
    screen::fields(&pairs)
}
