//! A participant's side over OSCI-Transport 1.2, for `send`, `fetch` and `card show` with `--osci`.
//!
//! Requests are encrypted for the intermediary and, with a signature certificate, signed. What is fetched is on disk
//! before the request that confirms it leaves. Left out: content encrypted for a reader, forwarding and mediation.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::exit::{Exit, Stop};
use super::office::Office;
use super::screen;
use crate::clock::SystemClock;
use crate::domain::envelope::Instant;
use crate::mime::content_id::ContentId;
use crate::osci::client::content::{self, Author, Content as Composed};
use crate::osci::client::exchange::Settings;
use crate::osci::client::fetched::Fetched;
use crate::osci::client::keys::{Keys, Signature};
use crate::osci::client::request::Addressed;
use crate::osci::client::scratch::Slice;
use crate::osci::client::session::{Client, Content, Error, Session};
use crate::osci::client::{exchange, transport};
use crate::osci::envelope::authors::Outcome;
use crate::osci::envelope::write::OutgoingAttachment;
use crate::osci::message::certificates::{Certificate as WireCertificate, Role};
use crate::osci::message::fetch_process_card::FetchProcessCard;
use crate::osci::message::message_id::MessageId;
use crate::osci::message::process_card::{ProcessCardBundle, Timestamp};
use crate::osci::message::selection::{CardRole, CardSelection, CardsSince, DeliverySelection};
use crate::pki::certificate::Certificate;
use crate::pki::inspection::{Purpose, UnknownRevocation};
use crate::pki::tls::client_config;
use crate::pki::trust::{PurposeSettings, TrustAnchors};

/// Larger messages travel beside the envelope.
const INLINE_BYTES_MAX: u64 = 256 * 1024;

/// Arguments by which a verb speaks OSCI.
#[derive(Debug, Clone, clap::Args)]
pub struct Osci {
    /// Speak OSCI-Transport 1.2: --cert and --key are then our cipher certificate and its key
    #[arg(long, requires = "intermediary")]
    pub osci: bool,
    /// The intermediary's cipher certificate (PEM); requests are encrypted for it
    #[arg(long, requires = "osci", value_name = "FILE")]
    intermediary: Option<PathBuf>,
    /// The intermediary's signature certificate (PEM); its answers must bear it
    #[arg(long, requires = "osci", value_name = "FILE")]
    intermediary_signature: Option<PathBuf>,
    /// Our signature certificate (PEM); without it nothing is signed
    #[arg(long, requires_all = ["osci", "sign_key"], value_name = "FILE")]
    sign_cert: Option<PathBuf>,
    /// The key of our signature certificate (PEM)
    #[arg(long, requires = "sign_cert", value_name = "FILE")]
    sign_key: Option<PathBuf>,
}

/// What `send` was given.
pub struct Letter<'a> {
    pub reader: &'a Path,
    pub subject: Option<String>,
    pub message: &'a Path,
    pub attachments: &'a [PathBuf],
    pub chunk_kilobytes: Option<u64>,
}

#[derive(Serialize)]
pub struct Sent {
    pub id: String,
    parts: usize,
    feedback: Vec<String>,
}

#[derive(Serialize)]
pub struct Got {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    pub created: String,
    pub files: Vec<PathBuf>,
    /// Pieces of content that are encrypted for a reader and were left so.
    pub encrypted: usize,
    pub signatures: Vec<Signed>,
    pub confirmed: bool,
}

#[derive(Serialize)]
pub struct Signed {
    pub by: String,
    pub outcome: String,
}

impl Osci {
    /// Encrypted for this intermediary, and signed.
    pub fn signed(
        intermediary: &Path,
        intermediary_signature: &Path,
        certificate: &Path,
        key: &Path,
    ) -> Self {
        let file = |path: &Path| Some(path.to_owned());
        Self {
            osci: true,
            intermediary: file(intermediary),
            intermediary_signature: file(intermediary_signature),
            sign_cert: file(certificate),
            sign_key: file(key),
        }
    }

    pub fn client(&self, office: &Office) -> Result<Client, Stop> {
        let usage = |error: &dyn std::fmt::Display| Stop::usage(error.to_string());
        let address = office.url.parse().map_err(|error| usage(&error))?;
        let signature = self.sign_cert.as_deref().zip(self.sign_key.as_deref());
        let keys = Keys::load((&office.cert, &office.key), signature).map_err(|error| usage(&error))?;
        let peer = self.intermediary.as_deref().ok_or_else(|| Stop::usage("--intermediary is missing"))?;
        let mut settings = Settings::new(address, keys, certificate(peer)?);
        settings.peer_signature = self.intermediary_signature.as_deref().map(certificate).transpose()?;
        if let Some(authority) = &office.ca {
            let believed = PurposeSettings {
                anchors: vec![authority.clone()],
                // As for XTA: no revocation lists are at hand here, the name and the chain are checked.
                unknown_revocation: UnknownRevocation::Warn,
                ..PurposeSettings::default()
            };
            let anchors = TrustAnchors::load(&[(Purpose::ServerTls, believed)].into())
                .map_err(|error| usage(&error))?;
            let tls = client_config(Arc::new(anchors), None, Arc::new(SystemClock));
            settings.transport.tls = Some(Arc::new(tls.map_err(|error| usage(&error))?));
        }
        settings.transport.exchange_time_max = Duration::from_secs(3600);
        // What comes lies in a file, never in memory: the disk is bound enough.
        settings.transport.answer_bytes_max = u64::MAX;
        settings.limits.xml.document_bytes_max = u64::MAX;
        Ok(Client::new(settings))
    }
}

fn certificate(path: &Path) -> Result<Certificate, Stop> {
    let wrong = |error: String| Stop::usage(format!("{}: {error}", path.display()));
    let pem = crate::pki::key::read_bounded(path).map_err(|error| Stop::usage(error.to_string()))?;
    let chain = Certificate::chain_from_pem(&pem).map_err(|error| wrong(error.to_string()))?;
    chain.into_iter().next().ok_or_else(|| wrong("it holds no certificate".to_owned()))
}

/// What went wrong, with the way to an explanation.
pub fn stop(error: Error) -> Stop {
    use exchange::Error as E;
    match &error {
        Error::Exchange(E::Transport(
            transport::Error::Connect { .. } | transport::Error::ConnectTime { .. },
        )) => Stop::new(Exit::NotRunning, error.to_string())
            .then("Check the address, and whether the server runs"),
        _ => match error.code() {
            Some(code) => {
                let exit =
                    if code.number() == 9803 || code.number() == 9804 { Exit::Unknown } else { Exit::Failed };
                Stop::new(exit, error.to_string()).then(format!("amtsbote explain {code}"))
            }
            None => Stop::failed(error.to_string()),
        },
    }
}

/// Posts one delivery.
pub async fn send(client: &Client, letter: &Letter<'_>) -> Result<Sent, Stop> {
    let reader = certificate(letter.reader)?;
    let content = content(client, letter)?;
    let parts = 1 + letter.attachments.len();
    let mut session = client.begin().await.map_err(stop)?;
    let id = session.message_id().await.map_err(stop)?;
    let addressed = Addressed { subject: letter.subject.clone(), ..Addressed::to(reader.der(), id.clone()) };
    let stored = match letter.chunk_kilobytes {
        Some(kilobytes) => session.store_in_chunks(addressed, content, kilobytes).await,
        None => session.store(addressed, content).await,
    };
    let stored = stored.map_err(|error| match error.code() {
        Some(_) => stop(error),
        // Without an answer nobody knows whether it was taken, and the id cannot be used again.
        None => {
            stop(error).then(format!("Ask what became of it: amtsbote card show {} --osci …", id.as_str()))
        }
    })?;
    let feedback = stored.feedback.entries().iter().map(|entry| format!("{} {}", entry.code, entry.text));
    let sent = Sent { id: id.as_str().to_owned(), parts, feedback: feedback.collect() };
    // The delivery is accepted, whatever becomes of the dialog.
    if let Err(error) = session.exit().await {
        screen::sentence(&format!("The dialog did not end as it should: {error}"));
    }
    Ok(sent)
}

fn content(client: &Client, letter: &Letter<'_>) -> Result<Content, Stop> {
    let mut attachments = Vec::new();
    let mut contents = Vec::new();
    let method = client.settings().digest;
    for (at, path) in
        std::iter::once(letter.message).chain(letter.attachments.iter().map(PathBuf::as_path)).enumerate()
    {
        let failed =
            |error: std::io::Error| Stop::usage(format!("{} cannot be read: {error}", path.display()));
        let file = Slice::whole(Arc::new(std::fs::File::open(path).map_err(failed)?)).map_err(failed)?;
        if at == 0 && file.length() <= INLINE_BYTES_MAX {
            let mut octets = Vec::new();
            file.reader().read_to_end(&mut octets).map_err(failed)?;
            contents.push(Composed::Inline(octets));
            continue;
        }
        let (mut digest, mut piece, mut reader) = (method.begin(), vec![0; 64 * 1024], file.reader());
        loop {
            let read = reader.read(&mut piece).map_err(failed)?;
            if read == 0 {
                break;
            }
            digest.update(piece.get(..read).unwrap_or_default());
        }
        let digest = digest.finish().as_ref().to_vec();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let content_id = attachment_name(at, &name);
        let id = ContentId::from_header(&content_id).map_err(|error| Stop::failed(error.to_string()))?;
        let mut attachment = OutgoingAttachment::new(id, "application/octet-stream", Arc::new(file));
        attachment.digests.push((method, digest.clone()));
        attachments.push(attachment);
        contents.push(Composed::Attachment { content_id, digest });
    }
    let own = client.settings().keys.signature.as_ref();
    let named =
        own.map(|own| WireCertificate::new(Role::SignatureOriginator, own.certificate.der().to_vec()));
    let author = own.zip(named.as_ref()).map(|(own, certificate): (&Signature, _)| Author {
        signer: &own.key,
        method: own.method(),
        digest_method: method,
        certificate,
    });
    let package =
        content::compose(&contents, author.as_ref()).map_err(|error| Stop::failed(error.to_string()))?;
    Ok(Content { package: Arc::new(package.into_bytes()), attachments })
}

/// A file's name as a Content-ID, which must be its own within the delivery.
fn attachment_name(at: usize, name: &str) -> String {
    let kept: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    format!("{at}-{kept}")
}

/// What `fetch` was asked for.
pub struct Wanted<'a> {
    pub ids: &'a [crate::domain::message_id::MessageId],
    pub into: &'a Path,
    pub keep: bool,
    pub limit: u32,
    /// Names the folder of a message.
    pub folder_name: fn(&str) -> String,
}

/// Fetches into files. A delivery is confirmed by the next request of its dialog, which goes out when it is on disk.
pub async fn fetch(client: &Client, wanted: &Wanted<'_>) -> Result<Vec<Got>, Stop> {
    let mut selections: Vec<Option<DeliverySelection>> = Vec::new();
    for id in wanted.ids {
        selections.push(Some(DeliverySelection::MessageId(wire_id(id.as_str())?)));
    }
    if wanted.ids.is_empty() && wanted.keep {
        for card in waiting(client, wanted.limit).await? {
            selections.push(Some(DeliverySelection::MessageId(card.message_id)));
        }
    } else if wanted.ids.is_empty() {
        selections = vec![None; wanted.limit as usize];
    }
    let mut got = Vec::new();
    let mut session: Option<Session> = None;
    for selection in selections {
        let named = selection.is_some();
        let mut open = match session.take() {
            Some(open) => open,
            None => client.begin().await.map_err(stop)?,
        };
        let fetched = open.fetch(selection).await.map_err(stop)?;
        // This request has confirmed what was fetched before.
        if !wanted.keep {
            got.iter_mut().for_each(|earlier: &mut Got| earlier.confirmed = true);
        }
        match fetched {
            Some(fetched) => got.push(keep(&fetched, wanted)?),
            None if named => return Err(Stop::new(Exit::Unknown, "no such delivery waits for us")),
            None => {
                session = Some(open);
                break;
            }
        }
        // A dialog that is left without another word confirms nothing.
        session = (!wanted.keep).then_some(open);
    }
    if let Some(open) = session {
        open.exit().await.map_err(stop)?;
        got.iter_mut().for_each(|earlier| earlier.confirmed = true);
    }
    Ok(got)
}

fn keep(fetched: &Fetched, wanted: &Wanted<'_>) -> Result<Got, Stop> {
    let failed = |error: exchange::Error| Stop::failed(error.to_string());
    let id = fetched.id().map(|id| id.as_str().to_owned()).unwrap_or_default();
    let folder = wanted.into.join((wanted.folder_name)(&id));
    std::fs::create_dir_all(&folder)
        .map_err(|error| Stop::failed(format!("{} cannot be made: {error}", folder.display())))?;
    let files = fetched.save(&folder).map_err(|error| match error {
        exchange::Error::File(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Stop::failed(format!("{} holds files of an earlier attempt", folder.display()))
                .then("Remove them, or fetch into another folder; the message is still offered")
        }
        error => failed(error),
    })?;
    let signatures = fetched.authors().map_err(failed)?.into_iter().map(|report| Signed {
        by: report
            .certificate
            .and_then(|certificate| Certificate::from_der(&certificate.der).ok())
            .map(|certificate| certificate.subject().to_owned())
            .unwrap_or_default(),
        outcome: match report.outcome {
            Outcome::Verified(_) if report.uncovered.is_empty() => "holds".to_owned(),
            Outcome::Verified(_) => format!("holds, but does not cover {}", report.uncovered.join(", ")),
            Outcome::Indeterminate => "covers encrypted content; not judged".to_owned(),
            Outcome::Refused(why) => format!("does not hold: {why}"),
        },
    });
    let card = fetched.card.as_ref();
    Ok(Got {
        id,
        subject: card.and_then(|card| card.subject.clone()),
        created: card.map(|card| text(Some(&card.creation))).unwrap_or_default(),
        files,
        encrypted: fetched.encrypted(),
        signatures: signatures.collect(),
        confirmed: false,
    })
}

/// The cards of what waits for us.
pub async fn waiting(client: &Client, limit: u32) -> Result<Vec<ProcessCardBundle>, Stop> {
    let at = jiff::Timestamp::UNIX_EPOCH;
    let since = CardsSince {
        since: Instant { at, text: at.to_string() },
        no_reception: Some(true),
        role: Some(CardRole::Addressee),
    };
    let wanted = FetchProcessCard {
        selection: Some(CardSelection::ReceptionOfDelivery(since)),
        quantity_max: Some(u64::from(limit.max(1))),
    };
    cards(client, wanted).await
}

/// One process card.
pub async fn card(client: &Client, id: &str) -> Result<ProcessCardBundle, Stop> {
    let selection = CardSelection::MessageIds(vec![wire_id(id)?]);
    let found = cards(client, FetchProcessCard { selection: Some(selection), quantity_max: None }).await?;
    found.into_iter().next().ok_or_else(|| {
        Stop::new(Exit::Unknown, "the intermediary shows us no such card").then("amtsbote explain 9804")
    })
}

async fn cards(client: &Client, wanted: FetchProcessCard) -> Result<Vec<ProcessCardBundle>, Stop> {
    let mut session = client.begin().await.map_err(stop)?;
    let cards = session.cards(wanted).await.map_err(stop)?;
    session.exit().await.map_err(stop)?;
    Ok(cards)
}

fn wire_id(id: &str) -> Result<MessageId, Stop> {
    MessageId::new(id).map_err(|error| Stop::usage(error.to_string()))
}

/// A process card as the intermediary shows it.
#[derive(Debug, Serialize)]
pub struct Card {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    pub creation: String,
    pub forwarding: String,
    pub reception: String,
    pub modified: String,
    pub certificates: Vec<String>,
}

impl From<&ProcessCardBundle> for Card {
    fn from(bundle: &ProcessCardBundle) -> Self {
        let certificates = bundle.inspections.iter().map(|inspection| {
            format!(
                "{} ({:?}, {:?}{})",
                inspection.subject_name,
                inspection.math,
                inspection.offline,
                inspection.online.map_or(String::new(), |online| format!(", {online:?}"))
            )
        });
        Self {
            id: bundle.message_id.as_str().to_owned(),
            subject: bundle.subject.clone(),
            creation: text(Some(&bundle.creation)),
            forwarding: text(bundle.forwarding.as_ref()),
            reception: text(bundle.reception.as_ref()),
            modified: screen::instant(bundle.recent_modification.at),
            certificates: certificates.collect(),
        }
    }
}

impl Card {
    pub fn render(&self) -> String {
        let mut pairs = vec![
            ("id", self.id.clone()),
            ("created", self.creation.clone()),
            ("forwarded", self.forwarding.clone()),
            ("received", self.reception.clone()),
            ("modified", self.modified.clone()),
        ];
        pairs.extend(self.subject.clone().map(|subject| ("subject", subject)));
        pairs.extend(self.certificates.iter().cloned().map(|line| ("certificate", line)));
        screen::fields(&pairs)
    }
}

fn text(stamp: Option<&Timestamp>) -> String {
    match stamp {
        None => "-".to_owned(),
        Some(Timestamp::Plain(instant)) => screen::instant(instant.at),
        Some(Timestamp::Cryptographic { .. }) => "as a time stamp token".to_owned(),
    }
}
