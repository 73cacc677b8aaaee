//! `amtsbote demo`: the post office at work, on one machine, in a few seconds.
//!
//! Everything is real: certificates, mutual TLS, XTA 2, OSCI-Transport 1.2, the portal door, the durable store, the signed evidence. Only the offices and
//! their messages are invented. Each step is checked, and the first surprise ends the demo with an exit code.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::exit::{Exit, Stop};
use super::init::{self, Prepared, REGISTRATION, REGISTRATION_IDENTIFIER, REGISTRY, REGISTRY_IDENTIFIER};
use super::office::{self, Office, Words, envelope};
use super::osci::{self, Letter, Osci, Wanted};
use super::{card, fetch, mailbox, runtime_for_server, screen};
use super::{demo_portal, demo_register};
use crate::admin::client;
use crate::admin::directory;
use crate::admin::protocol::{Answer, Verb};
use crate::app::{App, Running, card_key, log};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::content::PartRole;
use crate::domain::message_id::MessageId;
use crate::domain::party::PartyIdentifier;
use crate::domain::state::DeliveryState;
use crate::evidence::export::{self, Trust};
use crate::osci::client::session::Client as OsciClient;
use crate::xta::client::Client;
use crate::xta::client::content::{MemorySink, Outgoing};
use crate::xta::message::msg_box::MsgSelector;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Leave the server running until Ctrl-C, to look around
    #[arg(long)]
    keep: bool,
    /// Folder for everything the demo writes [default: a new one for temporary files]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

const SERVICE: &str = "urn:example:amtsbote:personenstand:mitteilung";
/// An identifier that no account owns.
const NOBODY: &str = "ags:99999999";

/// Saarbrücken's registry office tells its registration office of a birth. Names and numbers are invented.
fn notice(number: u32, given_name: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <mitteilung xmlns=\"urn:example:amtsbote:personenstand\" art=\"geburt\" nummer=\"G {number}/2026\">\n  \
         <standesamt kennung=\"{REGISTRY_IDENTIFIER}\">Saarbrücken</standesamt>\n  \
         <kind><vorname>{given_name}</vorname><familienname>Mustermann</familienname>\
         <geburtstag>2026-03-14</geburtstag></kind>\n</mitteilung>\n"
    )
}

impl Args {
    pub fn run(&self) -> Result<Exit, Stop> {
        let folder = match &self.folder {
            Some(folder) => folder.clone(),
            None => std::env::temp_dir().join(format!("amtsbote-demo-{}", uuid::Uuid::new_v4().simple())),
        };
        let folder = std::path::absolute(&folder)
            .map_err(|error| Stop::usage(format!("{}: {error}", folder.display())))?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let prepared = init::prepare(&folder, &[], &demo_register::OFFICES, [any; 3], SystemClock.now())?;
        say("A development authority, a server and two offices have certificates, made a moment ago.")?;
        open_portal(&prepared.config)?;
        let mut config = Config::load(&prepared.config)?;
        config.log.filter = "warn".to_owned();
        log::start(&config.log).map_err(Stop::usage)?;
        runtime_for_server()?.block_on(self.play(config, &prepared))?;
        Ok(Exit::Done)
    }

    async fn play(&self, config: Config, prepared: &Prepared) -> Result<(), Stop> {
        let running = App::start(config).await.map_err(|error| Stop::failed(error.to_string()))?;
        say(&format!(
            "The post office is open at https://{}/ and keeps its messages in {}.",
            running.xta_address,
            folder_of(prepared).join("store").display()
        ))?;
        let played = async {
            admit(&running, &prepared.participants).await?;
            let (received, waiting) = exchange(&running, prepared).await?;
            look(&running, &received, &waiting).await?;
            prove(&running, prepared, &received).await?;
            across(&running, prepared).await?;
            admit_further(&running, prepared).await?;
            demo_register::play(&running, prepared).await?;
            demo_portal::play(&running, prepared).await
        };
        let played = played.await;
        if played.is_err() || !self.keep {
            running.stop().await;
            return played.and_then(|()| further(prepared, false));
        }
        pin_addresses(prepared, &running)?;
        further(prepared, true)?;
        running.until_stopped().await.map_err(|error| Stop::failed(format!("signals: {error}")))
    }
}

/// What a first set-up leaves out.
fn open_portal(config: &Path) -> Result<(), Stop> {
    let text = super::read_text(config)?;
    let opened = text.replacen("# address = \"0.0.0.0:8445\"", "address = \"127.0.0.1:0\"", 1).replacen(
        "url = \"https://localhost:8445\"",
        "url = \"https://localhost:0\"",
        1,
    );
    std::fs::write(config, opened).map_err(|error| Stop::failed(format!("{}: {error}", config.display())))
}

/// Fails the demo where something is not as it should be.
pub(super) fn expect(holds: bool, what: &str) -> Result<(), Stop> {
    if holds { Ok(()) } else { Err(Stop::failed(format!("the demo expected that {what}"))) }
}

pub(super) fn say(sentence: &str) -> Result<(), Stop> {
    screen::data(&format!("* {}\n", screen::plain(sentence)))
}

fn folder_of(prepared: &Prepared) -> &Path {
    prepared.config.parent().unwrap_or(Path::new("."))
}

async fn ask(running: &Running, verb: Verb) -> Result<Answer, Stop> {
    client::ask(&running.admin_socket, verb).await.map_err(|error| Stop::failed(error.to_string()))
}

async fn admit(running: &Running, file: &Path) -> Result<(), Stop> {
    let (accounts, profiles) =
        directory::parse(&super::read_text(file)?).map_err(|error| Stop::failed(error.to_string()))?;
    let names: Vec<String> = accounts.iter().map(|account| account.title.clone()).collect();
    let verb = Verb::DirectoryApply { based_on: 0, accounts, profiles, reason: "demo".to_owned() };
    let applied = ask(running, verb).await?;
    expect(
        matches!(applied, Answer::Directory(view) if view.accounts.len() == 2),
        "two offices are admitted",
    )?;
    say(&format!("Two offices take part: {}.", names.join(", ")))
}

/// The cast of the register's leg joins the two of the first set-up.
async fn admit_further(running: &Running, prepared: &Prepared) -> Result<(), Stop> {
    let Answer::Directory(view) = ask(running, Verb::Directory).await? else {
        return Err(super::link::unexpected());
    };
    let accounts = view.accounts.into_iter().chain(prepared.further.iter().cloned()).collect();
    let verb = Verb::DirectoryApply {
        based_on: view.revision,
        accounts,
        profiles: view.profiles,
        reason: "demo of the register".to_owned(),
    };
    let applied = ask(running, verb).await?;
    expect(
        matches!(applied, Answer::Directory(view) if view.accounts.len() == 7),
        "seven offices are admitted",
    )
}

fn party(value: &str) -> Result<PartyIdentifier, Stop> {
    office::identifier(value).map_err(Stop::failed)
}

fn words() -> Words {
    Words {
        service: SERVICE.to_owned(),
        message_type: "mitteilung".to_owned(),
        payload_schema: "urn:example:amtsbote:personenstand".to_owned(),
        scenario: "XPERSONENSTAND_DATA".to_owned(),
        ..Words::default()
    }
}

async fn post(
    client: &Client,
    author: &PartyIdentifier,
    reader: &PartyIdentifier,
    content: &str,
) -> Result<MessageId, crate::xta::client::Error> {
    let id = client.create_message_id().await?;
    let mut part = Outgoing::from_bytes(PartRole::Message, "application/xml", content.to_owned());
    part.part.filename = Some("mitteilung.xml".to_owned());
    part.part.encoding = Some("UTF-8".to_owned());
    client.send(&envelope(id.clone(), author, reader, words()), &[part]).await?;
    Ok(id)
}

fn xta(running: &Running, prepared: &Prepared, name: &str, identifier: &str) -> Result<Client, Stop> {
    let url = format!("https://localhost:{}/", running.xta_address.port());
    let file = |ending: &str| prepared.tls.join(format!("{name}.{ending}"));
    let identifier = party(identifier)?;
    office::client(&url, &file("crt"), &file("key"), &prepared.tls.join("ca.crt"), Some(identifier))
}

/// Two notices are accepted, one is fetched and confirmed, a third is refused.
async fn exchange(running: &Running, prepared: &Prepared) -> Result<(MessageId, MessageId), Stop> {
    let registry = xta(running, prepared, REGISTRY, REGISTRY_IDENTIFIER)?;
    let registration = xta(running, prepared, REGISTRATION, REGISTRATION_IDENTIFIER)?;
    let (author, reader) = (party(REGISTRY_IDENTIFIER)?, party(REGISTRATION_IDENTIFIER)?);

    let first = notice(101, "Änne");
    let received = post(&registry, &author, &reader, &first).await.map_err(office::stop)?;
    say(&format!(
        "The registry office ({REGISTRY_IDENTIFIER}) posted a birth notice of {} bytes over mutual TLS. Accepted: it is on disk, with its process card and its evidence.",
        first.len()
    ))?;
    let waiting = post(&registry, &author, &reader, &notice(102, "Jörg")).await.map_err(office::stop)?;
    say("It posted a second notice.")?;

    let page = registration.list(&MsgSelector::default(), Some(10)).await.map_err(office::stop)?;
    let listed: Vec<&MessageId> = page.messages.iter().map(|shown| &shown.envelope.id).collect();
    expect(listed == [&received, &waiting], "two notices wait, oldest first")?;
    say(&format!(
        "The registration office ({REGISTRATION_IDENTIFIER}) sees {} messages in its mailbox.",
        listed.len()
    ))?;
    let mut sink = MemorySink::default();
    let fetched = registration.fetch(&received, &mut sink).await.map_err(office::stop)?;
    let same = sink.parts.values().next().is_some_and(|bytes| bytes == first.as_bytes());
    expect(same, "the notice arrives byte for byte")?;
    let request = fetched.request_id.as_deref().unwrap_or("1");
    registration.close(request, std::slice::from_ref(&received)).await.map_err(office::stop)?;
    say(
        "It fetched the first one, found it byte for byte as it was posted, and confirmed it. The second one waits.",
    )?;

    match post(&registry, &author, &party(NOBODY)?, &notice(103, "Zoë")).await {
        Err(crate::xta::client::Error::Fault { code, name, .. }) => {
            say(&format!(
                "A third notice, to {NOBODY}, came back at once: {code}, {name} (amtsbote explain {code})."
            ))?;
        }
        Err(error) => return Err(office::stop(error)),
        Ok(_) => expect(false, "a message to nobody is refused")?,
    }
    Ok((received, waiting))
}

/// What an administrator sees.
async fn look(running: &Running, received: &MessageId, waiting: &MessageId) -> Result<(), Stop> {
    let Answer::Mailboxes { mailboxes } = ask(running, Verb::Mailboxes).await? else {
        return Err(super::link::unexpected());
    };
    let counts = mailboxes.iter().map(|mailbox| mailbox.waiting).collect::<Vec<_>>();
    expect(counts == [1, 0], "one message waits, in the registration office's mailbox")?;
    screen::data(&format!(
        "\nThe mailboxes (amtsbote mailbox list):\n\n{}",
        mailbox::table(&mailboxes, SystemClock.now())
    ))?;
    for (id, state) in [(waiting, DeliveryState::Waiting), (received, DeliveryState::Received)] {
        let Answer::Message { entry } = ask(running, Verb::Message { id: id.clone() }).await? else {
            return Err(super::link::unexpected());
        };
        expect(entry.card.state == state, &format!("{id} is {state}"))?;
        if id == received {
            screen::data(&format!(
                "\nThe first notice's process card (amtsbote card show ID):\n\n{}\n",
                card::render(&entry.card)
            ))?;
        }
    }
    Ok(())
}

/// The proof leaves the house, and is checked as a third party would; one changed byte is found.
async fn prove(running: &Running, prepared: &Prepared, id: &MessageId) -> Result<(), Stop> {
    let Answer::Evidence { file } = ask(running, Verb::EvidenceExport { id: id.clone() }).await? else {
        return Err(super::link::unexpected());
    };
    let path = folder_of(prepared).join("proof.txt");
    let failed = |error: std::io::Error| Stop::failed(format!("{}: {error}", path.display()));
    std::fs::write(&path, &file).map_err(failed)?;
    let config = Config::load(&prepared.config)?;
    let certificates = card_key::certificates(&config.evidence).map_err(Stop::failed)?;
    let trust = Trust::keys(running.evidence_key().cloned())
        .with_card_certificates(certificates)
        .map_err(|error| Stop::failed(error.to_string()))?;
    let verified = export::verify(&std::fs::read(&path).map_err(failed)?, &trust)
        .map_err(|fault| Stop::failed(format!("the proof does not hold: {fault}")))?;
    expect(verified.key_trusted && verified.message_id == *id, "the proof is about the first notice")?;
    say(&format!(
        "The proof of the first notice holds: {} records of the log, a checkpoint signed over {} records ({}).",
        verified.records().count(),
        verified.logs.iter().map(|log| log.checkpoint.size).sum::<u64>(),
        path.display()
    ))?;
    let signed = verified.card_signed.as_ref().filter(|signed| signed.trusted);
    expect(signed.is_some(), "the proof holds the card as signed XML")?;
    if let Some(signed) = signed {
        say(&format!(
            "The process card in it is signed XML; its signature is that of {}.",
            signed.certificate.subject()
        ))?;
    }
    let mut changed = file;
    let middle = changed.len() / 2;
    if let Some(byte) = changed.get_mut(middle) {
        *byte ^= 1;
    }
    match export::verify(&changed, &trust) {
        Err(fault) => say(&format!("With one bit changed it does not: {fault}.")),
        Ok(_) => expect(false, "a changed bit is found"),
    }
}

fn osci(running: &Running, prepared: &Prepared, path: &str, name: &str) -> Result<OsciClient, Stop> {
    let address = running.osci_address.ok_or_else(|| Stop::failed("the demo has no OSCI listener"))?;
    let file = |name: &str| prepared.tls.join(name);
    let own = |purpose: &str, ending: &str| file(&format!("{name}-{purpose}.{ending}"));
    let (certificate, key) = (own("signature", "crt"), own("signature", "key"));
    let speaks = Osci::signed(&file("osci-cipher.crt"), &file("osci-signature.crt"), &certificate, &key);
    let url = format!("http://{address}{path}");
    speaks.client(&Office { url, cert: own("cipher", "crt"), key: own("cipher", "key"), ca: None })
}

/// OSCI in, XTA out, and back: one mailbox and one process card behind two doors.
async fn across(running: &Running, prepared: &Prepared) -> Result<(), Stop> {
    let config = Config::load(&prepared.config)?;
    let by_osci = |name| osci(running, prepared, &config.osci.path, name);
    let (registry, registration) = (by_osci(REGISTRY)?, by_osci(REGISTRATION)?);
    let failed = |path: &Path, error: std::io::Error| Stop::failed(format!("{}: {error}", path.display()));

    let (text, file) = (notice(104, "Ayşe"), folder_of(prepared).join("signed.xml"));
    std::fs::write(&file, &text).map_err(|error| failed(&file, error))?;
    let reader = prepared.tls.join(format!("{REGISTRATION}-cipher.crt"));
    let subject = Some("Geburt".to_owned());
    let letter = Letter { reader: &reader, subject, message: &file, attachments: &[], chunk_kilobytes: None };
    let sent = osci::send(&registry, &letter).await?;
    let id = MessageId::parse(&sent.id).map_err(|error| Stop::failed(error.to_string()))?;
    let into = folder_of(prepared).join("osci");
    let wanted = |ids, keep| Wanted { ids, into: &into, keep, limit: 10, folder_name: fetch::folder_name };
    let kept = osci::fetch(&registration, &wanted(std::slice::from_ref(&id), true)).await?;
    let signed = kept.iter().flat_map(|got| &got.signatures).collect::<Vec<_>>();
    let [signature] = signed.as_slice() else {
        return Err(Stop::failed("the author's signature is missing"));
    };
    expect(signature.outcome == "holds", "the author's signature holds after the journey")?;
    say(&format!(
        "By OSCI-Transport 1.2, in an encrypted dialog, the registry office sent a notice signed by its author. A look at it by OSCI, without confirming: the signature of {} holds.",
        signature.by
    ))?;

    let xta_reader = xta(running, prepared, REGISTRATION, REGISTRATION_IDENTIFIER)?;
    let mut sink = MemorySink::default();
    let fetched = xta_reader.fetch(&id, &mut sink).await.map_err(office::stop)?;
    let same = sink.parts.values().next().is_some_and(|bytes| bytes == text.as_bytes());
    expect(same, "XTA shows the bytes that OSCI brought")?;
    let request = fetched.request_id.as_deref().unwrap_or("1");
    xta_reader.close(request, std::slice::from_ref(&id)).await.map_err(office::stop)?;
    let answer = notice(105, "Beurkundet");
    let (author, reader) = (party(REGISTRATION_IDENTIFIER)?, party(REGISTRY_IDENTIFIER)?);
    let answered = post(&xta_reader, &author, &reader, &answer).await.map_err(office::stop)?;
    let got = osci::fetch(&registry, &wanted(&[], false)).await?;
    let file = got.iter().flat_map(|got| &got.files).next();
    let file = file.ok_or_else(|| Stop::failed("the answer did not arrive"))?;
    let bytes = std::fs::read(file).map_err(|error| failed(file, error))?;
    expect(bytes == answer.as_bytes(), "OSCI shows the bytes that XTA brought")?;
    for id in [&id, &answered] {
        let Answer::Message { entry } = ask(running, Verb::Message { id: id.clone() }).await? else {
            return Err(super::link::unexpected());
        };
        expect(entry.card.state == DeliveryState::Received, &format!("{id} is received"))?;
    }
    say(
        "The registration office fetched it by XTA 2 and answered by XTA 2; the registry office fetched the answer by OSCI. Both arrived byte for byte and are received.",
    )
}

/// Port 0 stands for another port at each start; whoever looks around needs the ones of this one.
fn pin_addresses(prepared: &Prepared, running: &Running) -> Result<(), Stop> {
    let text = super::read_text(&prepared.config)?;
    let pinned = text
        .replacen(
            "operator_address = \"127.0.0.1:0\"",
            &format!("operator_address = \"{}\"", running.operator_address),
            1,
        )
        .replacen("address = \"127.0.0.1:0\"", &format!("address = \"{}\"", running.xta_address), 1);
    let others = [running.osci_address, running.portal_address].into_iter().flatten();
    let pinned = others.fold(pinned, |text, address| {
        text.replacen("address = \"127.0.0.1:0\"", &format!("address = \"{address}\""), 1)
    });
    let port = running.portal_address.map(|portal| portal.port()).unwrap_or_default();
    let pinned =
        pinned.replacen("url = \"https://localhost:0\"", &format!("url = \"https://localhost:{port}\""), 1);
    std::fs::write(&prepared.config, pinned)
        .map_err(|error| Stop::failed(format!("{}: {error}", prepared.config.display())))?;
    say(&format!("Operator's listener: http://{}/metrics, /readyz, /livez.", running.operator_address))
}

fn further(prepared: &Prepared, kept: bool) -> Result<(), Stop> {
    let (folder, config) = (folder_of(prepared).display(), prepared.config.display());
    let look = match kept {
        true => format!(
            "The server runs until Ctrl-C. In another terminal:\n  export AMTSBOTE_CONFIG={config}\n  \
             amtsbote mailbox list\n  amtsbote message list\n  amtsbote acts\n"
        ),
        false => format!(
            "To look further:\n  amtsbote evidence verify {folder}/proof.txt\n  amtsbote store verify {folder}/store\n  \
             amtsbote serve --config {config}\nor leave the server running: amtsbote demo --keep\n"
        ),
    };
    screen::data(&format!("\nEverything lies in {folder}.\n{look}"))
}
