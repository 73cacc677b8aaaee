//! `amtsbote destination`: where a portal's applications go, as the participants' file declares it.
//!
//! State and keys can be changed one by one. The directory is what counts; the file on the operator's disk is not touched,
//! and whoever changes something here is told so, because the next `participant apply` would take it back.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::exit::{Exit, Stop};
use super::link::Link;
use super::participant::{directory, put};
use super::screen::{self, Align, Table};
use super::{Changing, Place, Reading, read_text, runtime};
use crate::admin::directory::{self as file, Difference};
use crate::admin::protocol::DirectoryView;
use crate::app::callbacks;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::account::Account;
use crate::domain::content::Digest;
use crate::domain::date_time;
use crate::domain::destination::{Destination, DestinationKey, DestinationStatus};
use crate::domain::hex;
use crate::pki::jose::jwk::{PublicKey, Purpose};
use crate::portal::callback;

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
    /// Let portals announce submissions for a destination
    Activate {
        /// The destination's id (UUID)
        id: String,
        #[command(flatten)]
        changing: Changing,
        #[command(flatten)]
        link: Link,
    },
    /// Let portals announce nothing more for a destination
    ///
    /// What was announced before can still be submitted, and what waits can be fetched. Routes to it are still told, and
    /// end by `serves` in the participants' file or by `amtsbote route import`.
    Deactivate {
        /// The destination's id (UUID)
        id: String,
        #[command(flatten)]
        changing: Changing,
        #[command(flatten)]
        link: Link,
    },
    /// The keys of a destination, for a roll-over: add, use, retire, remove
    #[command(subcommand)]
    Key(KeyCommand),
    /// What tells a destination's own program that submissions wait
    #[command(subcommand)]
    Callback(CallbackCommand),
    /// Make a secret for a client or a callback: print it once, with what belongs into the participants' file
    ///
    /// Nothing is stored. The secret goes to whoever will use it; its digest goes into the file.
    Secret,
}

#[derive(Debug, clap::Subcommand)]
pub enum KeyCommand {
    /// Add a public key (JSON Web Key), for encryption or for signatures
    ///
    /// Portals encrypt for the present key until `key use` names another.
    Add {
        /// The destination's id (UUID)
        id: String,
        /// File with one public key as JSON
        file: PathBuf,
        /// A word for people, kept with the key
        #[arg(long, value_name = "TEXT")]
        remark: Option<String>,
        #[command(flatten)]
        changing: Changing,
        #[command(flatten)]
        link: Link,
    },
    /// Let portals encrypt for this key from here on
    ///
    /// Submissions that are under way for the key before are taken as long as that one is there.
    #[command(mut_arg("kid", |kid| kid.help("Name of one of its keys for encryption")))]
    Use(OneKey),
    /// Take no more events signed with a key; it stays published, so that what it signed can be verified
    #[command(mut_arg("kid", |kid| kid.help("Name of one of its keys for signatures")))]
    Retire(OneKey),
    /// Remove a key: nothing that is encrypted for it or signed with it is taken any more
    ///
    /// Submissions that wait may be encrypted for it: keep its private part until they are decided. What a key for signatures
    /// signed can then be verified by nobody any more: `key retire` leaves it published.
    Remove(OneKey),
}

/// A key that a destination has, to be changed.
#[derive(Debug, clap::Args)]
pub struct OneKey {
    /// The destination's id (UUID)
    id: String,
    /// The key's name
    kid: String,
    #[command(flatten)]
    changing: Changing,
    #[command(flatten)]
    link: Link,
}

impl KeyCommand {
    fn run(&self, place: &Place) -> Result<Exit, Stop> {
        match self {
            Self::Add { id, file, remark, changing, link } => {
                let jwk = read_text(file)?.trim().to_owned();
                let wrong = |what: String| Stop::usage(format!("{}: {what}", file.display()));
                let added = PublicKey::parse(&jwk).map_err(|error| wrong(error.to_string()))?;
                change(place, link, changing, id, |destination| {
                    let same = destination.keys.iter().find(|key| kid(key).as_deref() == Some(added.kid()));
                    match same.map(|key| PublicKey::parse(&key.jwk)) {
                        Some(Ok(known)) if known.jwk == added.jwk => return Ok(()),
                        Some(_) => {
                            return Err(wrong(format!("the destination has another key {}", added.kid())));
                        }
                        None => {}
                    }
                    destination.keys.push(DestinationKey {
                        jwk: jwk.clone(),
                        remark: remark.clone(),
                        former: false,
                    });
                    Ok(())
                })
            }
            Self::Use(key) => key.change(place, |destination| {
                destination.encryption_kid.clone_from(&key.kid);
                Ok(())
            }),
            Self::Retire(key) => key.change(place, |destination| {
                let mut keys = destination.keys.iter_mut();
                if let Some(one) = keys.find(|one| kid(one).as_deref() == Some(&key.kid)) {
                    one.former = true;
                }
                Ok(())
            }),
            Self::Remove(key) => key.change(place, |destination| {
                if destination.encryption_kid == key.kid {
                    return Err(Stop::usage(format!("portals encrypt for the key {}", key.kid))
                        .then("let them use another one first: `amtsbote destination key use`"));
                }
                destination.keys.retain(|one| kid(one).as_deref() != Some(&key.kid));
                Ok(())
            }),
        }
    }
}

impl OneKey {
    /// Changes a destination that has the key.
    fn change(
        &self,
        place: &Place,
        work: impl FnOnce(&mut Destination) -> Result<(), Stop>,
    ) -> Result<Exit, Stop> {
        change(place, &self.link, &self.changing, &self.id, |destination| {
            must_have(destination, &self.kid)?;
            work(destination)
        })
    }
}

fn kid(key: &DestinationKey) -> Option<String> {
    PublicKey::parse(&key.jwk).ok().map(|key| key.kid().to_owned())
}

fn must_have(destination: &Destination, name: &str) -> Result<(), Stop> {
    let is_there = destination.keys.iter().any(|key| kid(key).as_deref() == Some(name));
    is_there.then_some(()).ok_or_else(|| {
        Stop::new(Exit::Unknown, format!("the destination has no key {name}"))
            .then(format!("`amtsbote destination show {}` names them", destination.id))
    })
}

/// Changes one destination in the directory, under the same checks as the participants' file.
fn change(
    place: &Place,
    link: &Link,
    changing: &Changing,
    id: &str,
    work: impl FnOnce(&mut Destination) -> Result<(), Stop>,
) -> Result<Exit, Stop> {
    let old = directory(link, place)?;
    let mut accounts = old.accounts.clone();
    let wanted = id.to_ascii_lowercase();
    let mut all = accounts.iter_mut().flat_map(|account| account.portal.destinations.iter_mut());
    work(all.find(|one| one.id.as_str() == wanted).ok_or_else(|| unknown(&wanted))?)?;
    let new = DirectoryView { accounts, ..old.clone() };
    let text =
        file::export(&new).map_err(|error| Stop::failed(format!("it cannot be written down: {error}")))?;
    let (accounts, profiles) = file::parse(&text).map_err(|error| Stop::usage(error.to_string()))?;
    let difference = Difference::between(&old, &accounts, &profiles);
    if difference.is_empty() {
        screen::sentence("The destination is so already; nothing to do.");
        return Ok(Exit::Done);
    }
    screen::sentences(&difference.to_string());
    let done = put(place, link, DirectoryView { accounts, profiles, ..old }, &difference, changing)?;
    screen::sentence(
        "A participants' file on disk must say the same, or its next apply takes this back: `amtsbote participant export` \
         writes one.",
    );
    Ok(done)
}

#[derive(Debug, clap::Subcommand)]
pub enum CallbackCommand {
    /// Call a destination's receiver as if something waited, and say what came back
    ///
    /// The call names no submission and is signed with the destination's secret. It goes out from this process, with
    /// anchors, networks and time of the configuration. Nothing is stored.
    Test {
        /// The destination's id (UUID)
        id: String,
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
                let (account, destination) = named(&accounts, id)?;
                if reading.json {
                    screen::json(&view(account, destination))?;
                } else {
                    screen::data(&show(account, destination))?;
                }
            }
            Self::Activate { id, changing, link } => {
                return state(place, link, changing, id, DestinationStatus::Active);
            }
            Self::Deactivate { id, changing, link } => {
                return state(place, link, changing, id, DestinationStatus::Inactive);
            }
            Self::Key(command) => return command.run(place),
            Self::Callback(CallbackCommand::Test { id, link, reading }) => {
                let accounts = directory(link, place)?.accounts;
                let (_, destination) = named(&accounts, id)?;
                return test(place, destination, *reading);
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

fn named<'a>(accounts: &'a [Account], id: &str) -> Result<(&'a Account, &'a Destination), Stop> {
    let id = id.to_ascii_lowercase();
    all(accounts).find(|(_, one)| one.id.as_str() == id).ok_or_else(|| unknown(&id))
}

fn unknown(id: &str) -> Stop {
    Stop::new(Exit::Unknown, format!("there is no destination {id}"))
        .then("`amtsbote destination list` names them")
}

fn state(
    place: &Place,
    link: &Link,
    changing: &Changing,
    id: &str,
    wanted: DestinationStatus,
) -> Result<Exit, Stop> {
    change(place, link, changing, id, |destination| {
        destination.status = wanted;
        Ok(())
    })
}

/// One call of the receiver, and what became of it.
fn test(place: &Place, destination: &Destination, reading: Reading) -> Result<Exit, Stop> {
    let callback = destination.callback.as_ref().ok_or_else(|| {
        Stop::new(Exit::Unknown, format!("destination {} has no callback", destination.id))
            .then("enter one in the participants' file: callback = { url = \"https://…\", secret = \"…\" }")
    })?;
    let config = Config::load(&place.path())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let settings = callbacks::settings(&config, &clock).map_err(Stop::usage)?;
    let began = Instant::now();
    let called = runtime()?.block_on(callback::call(&settings, callback, &destination.id, &[], clock.now()));
    let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    if reading.json {
        let (status, refusal) = match &called {
            Ok(status) => (Some(status.as_u16()), None),
            Err(error) => (None, Some(error)),
        };
        screen::json(&serde_json::json!({
            "destination": destination.id,
            "url": callback.url,
            "milliseconds": milliseconds,
            "answered": called.is_ok(),
            "status": status,
            "reason": refusal.map(ToString::to_string),
            "next_step": refusal.map(callback::call::Error::next_step),
        }))?;
        return Ok(if called.is_ok() { Exit::Done } else { Exit::Problems });
    }
    match called {
        Ok(status) => {
            screen::data(&format!("{} answered HTTP {status} after {milliseconds} ms\n", callback.url))?;
            screen::sentence("The receiver can be told of submissions.");
            Ok(Exit::Done)
        }
        Err(error) => Err(Stop::new(Exit::Problems, format!("{} cannot be told: {error}", callback.url))
            .then(error.next_step())),
    }
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
        let former = key.former;
        let words = match PublicKey::parse(&key.jwk) {
            Ok(key) => {
                let purpose = match key.purpose {
                    Purpose::Encryption if key.kid() == destination.encryption_kid => "encryption, current",
                    Purpose::Encryption => "encryption",
                    Purpose::Signature if former => "signature, former",
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
