//! A participant's side, for `send`, `fetch` and the demo: who we are, whom we believe, what an envelope says.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::exit::{Exit, Stop};
use crate::clock::SystemClock;
use crate::domain::envelope::{BusinessScenario, Code, Envelope, Instant, Party, Qualifier};
use crate::domain::message_id::MessageId;
use crate::domain::party::PartyIdentifier;
use crate::pki::inspection::{Purpose, UnknownRevocation};
use crate::pki::key::Identity;
use crate::pki::tls::client_config;
use crate::pki::trust::{PurposeSettings, TrustAnchors};
use crate::xta::client::{Client, Error, Settings};

/// Arguments of verbs that are a client of a post office.
#[derive(Debug, Clone, clap::Args)]
pub struct Office {
    /// The server's address, such as https://localhost:8443/
    #[arg(long, value_name = "URL")]
    pub url: String,
    /// Our certificate chain (PEM)
    #[arg(long, value_name = "FILE")]
    pub cert: PathBuf,
    /// Our private key (PEM)
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Authority that the server's certificate comes from (PEM)
    #[arg(long, required_unless_present = "osci", value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

impl Office {
    pub fn client(&self, identifier: Option<PartyIdentifier>) -> Result<Client, Stop> {
        let authority = self.ca.as_deref().ok_or_else(|| Stop::usage("--ca is missing"))?;
        client(&self.url, &self.cert, &self.key, authority, identifier)
    }
}

pub fn client(
    url: &str,
    certificate: &Path,
    key: &Path,
    authority: &Path,
    identifier: Option<PartyIdentifier>,
) -> Result<Client, Stop> {
    let unusable = |error: String| Stop::usage(error);
    let identity = Identity::load(certificate, key).map_err(|error| unusable(error.to_string()))?;
    let believed = PurposeSettings {
        anchors: vec![authority.to_owned()],
        // A client of the command line has no revocation lists at hand; the server's name and chain are checked.
        unknown_revocation: UnknownRevocation::Warn,
        ..PurposeSettings::default()
    };
    let anchors = TrustAnchors::load(&[(Purpose::ServerTls, believed)].into())
        .map_err(|error| unusable(error.to_string()))?;
    let tls = client_config(Arc::new(anchors), Some(&identity), Arc::new(SystemClock))
        .map_err(|error| unusable(error.to_string()))?;
    let mut settings = Settings::new(url, Arc::new(tls));
    settings.identifier = identifier;
    Client::new(settings).map_err(stop)
}

/// What an XTA server refused, with the way to an explanation.
pub fn stop(error: Error) -> Stop {
    match &error {
        Error::Fault { code, .. } => {
            let next = format!("amtsbote explain {code}");
            let exit = if code == "9070" { Exit::Unknown } else { Exit::Failed };
            Stop::new(exit, error.to_string()).then(next)
        }
        Error::Url(_) => Stop::usage(error.to_string()),
        Error::Connect { .. } => Stop::new(Exit::NotRunning, error.to_string())
            .then("Check the address, and whether the server runs"),
        _ => Stop::failed(error.to_string()),
    }
}

pub fn identifier(value: &str) -> Result<PartyIdentifier, String> {
    PartyIdentifier::with_labels(value, Some("xoev"), None, None).map_err(|error| error.to_string())
}

/// What a message says of itself beside its content.
#[derive(Debug, Clone, Default)]
pub struct Words {
    pub service: String,
    pub message_type: String,
    pub payload_schema: String,
    pub scenario: String,
    pub subject: Option<String>,
    pub profile: Option<String>,
    pub in_reply_to: Vec<MessageId>,
    pub not_before: Option<Instant>,
    pub obsolete_after: Option<Instant>,
    pub test: bool,
}

pub fn envelope(id: MessageId, author: &PartyIdentifier, reader: &PartyIdentifier, words: Words) -> Envelope {
    let party =
        |identifier: &PartyIdentifier| Party { identifier: identifier.clone(), security_tokens: Vec::new() };
    Envelope {
        id,
        test: words.test,
        author: party(author),
        sender: None,
        reply_to: None,
        reader: party(reader),
        other_readers: Vec::new(),
        cc_readers: Vec::new(),
        in_reply_to: words.in_reply_to,
        process_ref: None,
        qualifier: Qualifier {
            subject: words.subject,
            service: words.service,
            business_scenario: Some(BusinessScenario::Defined(Code {
                code: words.scenario,
                name: None,
                list_uri: Some("urn:de:xta:codeliste:business.scenario".to_owned()),
                list_version: Some("3.6".to_owned()),
            })),
            message_type: Some(Code {
                code: words.message_type,
                name: None,
                list_uri: Some("urn:de:payloadSchema:elementName".to_owned()),
                list_version: Some("1.0".to_owned()),
            }),
            payload_schema: Some(words.payload_schema),
        },
        properties: Vec::new(),
        origin: None,
        not_before: words.not_before,
        obsolete_after: words.obsolete_after,
        service_quality: words.profile,
        receipt_requests: None,
        token_container: None,
        stated_size: None,
    }
}
