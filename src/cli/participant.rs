//! `amtsbote participant`: who takes part, as one file that is applied and exported.

use std::path::PathBuf;

use super::exit::{Exit, Stop};
use super::link::{Link, unexpected};
use super::screen::{self, Align, Table};
use super::{Changing, Place, Reading, read_text};
use crate::admin::directory::{self as file, Difference};
use crate::admin::protocol::{Answer, DirectoryView, Verb};
use crate::domain::account::Account;
use crate::osci::client::address::Address;
use crate::pki::certificate::Certificate;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// All participants
    List {
        #[command(flatten)]
        link: Link,
        #[command(flatten)]
        reading: Reading,
    },
    /// One participant with keys, identifiers and rights
    Show {
        /// The account's name
        name: String,
        #[command(flatten)]
        link: Link,
        #[command(flatten)]
        reading: Reading,
    },
    /// Make the participants what FILE says: show the difference, ask, apply
    ///
    /// The file is the whole directory: participants and profiles that it does not name are removed.
    /// A removed participant's messages stay in the store.
    Apply {
        /// TOML file with accounts and profiles, as `export` writes it
        file: PathBuf,
        /// Show the difference and stop: exit code 0 without one, 4 with one
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        changing: Changing,
        #[command(flatten)]
        link: Link,
    },
    /// The participants' file as it would be applied, on stdout
    Export {
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
                    screen::json(&accounts)?
                } else {
                    screen::data(&table(&accounts))?
                }
                Ok(Exit::Done)
            }
            Self::Show { name, link, reading } => {
                let accounts = directory(link, place)?.accounts;
                let account = accounts.iter().find(|one| one.name.as_str() == name).ok_or_else(|| {
                    Stop::new(Exit::Unknown, format!("there is no participant {name}"))
                        .then("`amtsbote participant list` names them")
                })?;
                if reading.json {
                    screen::json(account)?
                } else {
                    screen::data(&show(account))?
                }
                Ok(Exit::Done)
            }
            Self::Export { link, reading } => {
                let view = directory(link, place)?;
                if reading.json {
                    screen::json(&view)?;
                } else {
                    let text = file::export(&view)
                        .map_err(|error| Stop::failed(format!("the export cannot be written: {error}")))?;
                    screen::data(&text)?;
                }
                Ok(Exit::Done)
            }
            Self::Apply { file, dry_run, changing, link } => apply(place, link, file, *dry_run, changing),
        }
    }
}

/// A URL that nothing could match would look like permission and be none.
fn check_receivers(accounts: &[Account]) -> Result<(), String> {
    for account in accounts {
        for receiver in &account.osci.receivers {
            Address::parse(receiver)
                .map_err(|error| format!("account {}, osci.receivers: {error}", account.name))?;
        }
    }
    Ok(())
}

pub(super) fn directory(link: &Link, place: &Place) -> Result<DirectoryView, Stop> {
    match link.ask(place, Verb::Directory)? {
        Answer::Directory(view) => Ok(view),
        _ => Err(unexpected()),
    }
}

fn apply(
    place: &Place,
    link: &Link,
    path: &std::path::Path,
    dry_run: bool,
    changing: &Changing,
) -> Result<Exit, Stop> {
    let (accounts, profiles) = file::parse(&read_text(path)?)
        .map_err(|error| Stop::usage(format!("{}: {error}", path.display())))?;
    check_receivers(&accounts).map_err(|error| Stop::usage(format!("{}: {error}", path.display())))?;
    let old = directory(link, place)?;
    let difference = Difference::between(&old, &accounts, &profiles);
    if difference.is_empty() {
        screen::sentence("The participants are as the file says; nothing to do.");
        return Ok(Exit::Done);
    }
    screen::sentences(&difference.to_string());
    if dry_run {
        return Ok(Exit::Problems);
    }
    put(place, link, DirectoryView { accounts, profiles, ..old }, &difference, changing)
}

/// Asks, and makes the participants what `new` says, as long as they are still of its revision.
pub(super) fn put(
    place: &Place,
    link: &Link,
    new: DirectoryView,
    difference: &Difference,
    changing: &Changing,
) -> Result<Exit, Stop> {
    screen::confirm(&format!("Apply {} changes?", difference.changes.len()), changing.yes)?;
    let DirectoryView { revision, accounts, profiles, .. } = new;
    let reason = changing.reason.clone();
    match link.ask(place, Verb::DirectoryApply { based_on: revision, accounts, profiles, reason })? {
        Answer::Directory(view) => {
            screen::sentence(&format!("Applied; the participants are at revision {}.", view.revision));
            Ok(Exit::Done)
        }
        _ => Err(unexpected()),
    }
}

fn table(accounts: &[Account]) -> String {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("STATE", Align::Left),
        ("KEYS", Align::Right),
        ("IDENTIFIERS", Align::Left),
        ("TITLE", Align::Left),
    ]);
    for account in accounts {
        let identifiers: Vec<_> = account.identifiers.iter().map(|own| own.value()).collect();
        table.row([
            account.name.to_string(),
            if account.blocked { "blocked" } else { "active" }.to_owned(),
            account.keys.len().to_string(),
            identifiers.join(" "),
            account.title.clone(),
        ]);
    }
    table.render()
}

/// The algorithms of a list, as the participants' file names them.
fn words_of(list: &[impl ToString]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

fn show(account: &Account) -> String {
    let list = |entries: Option<&Vec<String>>| match entries {
        None => "all".to_owned(),
        Some(entries) if entries.is_empty() => "none".to_owned(),
        Some(entries) => entries.join(" "),
    };
    let mut pairs = vec![
        ("name", account.name.to_string()),
        ("title", account.title.clone()),
        ("state", if account.blocked { "blocked" } else { "active" }.to_owned()),
        ("profile", account.profile.as_ref().map_or("the server's default".to_owned(), ToString::to_string)),
        ("takes services", list(account.accepts.as_ref())),
        ("may use services", list(account.rights.services.as_ref())),
        ("may write to", list(account.rights.readers.as_ref())),
        (
            "own message ids",
            if account.rights.foreign_message_ids { "taken" } else { "not taken" }.to_owned(),
        ),
    ];
    for own in &account.identifiers {
        let kind = own.kind().map(|kind| format!(" (type {kind})")).unwrap_or_default();
        let category = own.category().map(|category| format!(", {category}")).unwrap_or_default();
        pairs.push(("identifier", format!("{}{kind}{category}", own.value())));
    }
    let words = |pem: &Option<String>, remark: &Option<String>| {
        let certificate = pem.as_ref().and_then(|pem| Certificate::from_pem(pem.as_bytes()).ok());
        let ends = certificate
            .map(|certificate| format!(", certificate until {}", screen::instant(certificate.not_after())));
        let remark = remark.as_ref().map(|remark| format!(", {remark}"));
        format!("{}{}", ends.unwrap_or_default(), remark.unwrap_or_default())
    };
    for key in &account.keys {
        pairs.push(("key", format!("{}{}", key.key, words(&key.certificate, &key.remark))));
    }
    let osci = &account.osci;
    for cipher in &osci.cipher {
        let mailbox = cipher.identifier.as_ref().map(|own| format!(", mailbox {own}")).unwrap_or_default();
        let words = words(&cipher.certificate, &cipher.remark);
        pairs.push(("OSCI cipher", format!("{}{mailbox}{words}", cipher.fingerprint)));
    }
    for signature in &osci.signature {
        let words = words(&signature.certificate, &signature.remark);
        pairs.push(("OSCI signature", format!("{}{words}", signature.fingerprint)));
    }
    for receiver in &osci.receivers {
        pairs.push(("OSCI receiver", receiver.clone()));
    }
    let demands = [
        osci.signature_required.then(|| "signed".to_owned()),
        osci.encryption_required.then(|| "encrypted".to_owned()),
        osci.rsa_bits_min.map(|bits| format!("RSA keys of {bits} bits or more")),
        osci.ec_bits_min.map(|bits| format!("EC keys of {bits} bits or more")),
        osci.signature_methods.as_ref().map(|list| format!("signed by {}", words_of(list))),
        osci.digest_methods.as_ref().map(|list| format!("digested by {}", words_of(list))),
        osci.content_methods.as_ref().map(|list| format!("encrypted by {}", words_of(list))),
        osci.key_transports.as_ref().map(|list| format!("keys encrypted by {}", words_of(list))),
    ];
    let demands: Vec<String> = demands.into_iter().flatten().collect();
    if !demands.is_empty() {
        pairs.push(("OSCI demands", demands.join(", ")));
    }
    screen::fields(&pairs)
}
