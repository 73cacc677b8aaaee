//! The demo's portal leg: a citizen's application finds the right one of the Saarland's 52 municipalities by place and
//! service, and that one fetches it by XTA. The post office carries ciphertext, and signs what becomes of it.

use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use serde_json::json;

use super::demo::{expect, say};
use super::demo_register;
use super::exit::Stop;
use super::init::{Prepared, REGISTRATION, REGISTRATION_IDENTIFIER};
use super::{link, office};
use crate::admin::client as admin;
use crate::admin::protocol::{Answer, Verb};
use crate::app::Running;
use crate::clock::SystemClock;
use crate::domain::account::{Account, AccountName, Rights};
use crate::domain::content::Digest;
use crate::domain::destination::{
    Ags, Destination, DestinationId, DestinationKey, PortalClient, Region, Serves, ServiceKey,
};
use crate::domain::message_id::MessageId;
use crate::domain::party::PartyIdentifier;
use crate::domain::state::DeliveryState;
use crate::pki::inspection::{Purpose, UnknownRevocation};
use crate::pki::jose::jwe::{self, OpeningKey};
use crate::pki::jose::jwk::{ALG_ENCRYPTION, Jwk};
use crate::pki::jose::jws::SigningKey;
use crate::pki::tls::client_config;
use crate::pki::trust::{PurposeSettings, TrustAnchors};
use crate::portal::client::{Application, Client, Error, Settings};
use crate::portal::event::{AuthenticationTags, Event};
use crate::portal::places::Places;
use crate::xta::client::content::MemorySink;
use crate::xta::message::msg_box::MsgSelector;

/// Registering one's residence (Anmeldung einer Wohnung).
const SERVICE: &str = "99115005104000";
/// A service that no municipality has entered.
const OTHER_SERVICE: &str = "99107023017000";
const CLIENT: &str = "meldeportal";
const KID: &str = "rechenzentrum-2026";
/// The place that the citizen moves to.
const PLACE: &str = "Völklingen";
/// The municipalities that the register's leg let in as well: account and identifier.
const OFFICES: [(&str, &str); 3] =
    [(REGISTRATION, REGISTRATION_IDENTIFIER), ("voelklingen", "ags:10041519"), ("merzig", "ags:10042113")];

fn stop(error: impl ToString) -> Stop {
    Stop::failed(error.to_string())
}

/// The key of the municipalities' computing centre, which applications are encrypted for.
struct Keys {
    jwk: String,
    opening: OpeningKey,
}

impl Keys {
    fn make() -> Result<Self, Stop> {
        let failed = |_| stop("no RSA key could be made");
        let key = KeyPair::generate(KeySize::Rsa4096).map_err(failed)?;
        let der: Pkcs8V1Der<'_> = key.as_der().map_err(failed)?;
        let public = SigningKey::from_pkcs8(der.as_ref()).map_err(stop)?;
        let jwk = Jwk {
            kid: KID.to_owned(),
            alg: ALG_ENCRYPTION.to_owned(),
            key_ops: vec!["wrapKey".to_owned()],
            ..public.jwk().clone()
        };
        let opening = OpeningKey::from_pkcs8(KID, der.as_ref()).map_err(stop)?;
        Ok(Self { jwk: serde_json::to_string(&jwk).map_err(stop)?, opening })
    }
}

pub(super) async fn play(running: &Running, prepared: &Prepared) -> Result<(), Stop> {
    let (keys, secret) = (Keys::make()?, uuid::Uuid::new_v4().to_string());
    let service = ServiceKey::parse(SERVICE).map_err(stop)?;
    admit(running, &keys, &secret, &service).await?;
    let mut portal = client(running, prepared)?;
    portal.log_in(CLIENT, &secret).await.map_err(stop)?;
    let service_keys = portal.service_keys().await.map_err(stop)?;

    for place in Places::known().iter() {
        let found = portal.route(&place.region, &service, &service_keys).await.map_err(stop)?;
        expect(found == id_of(&place.region)?, &format!("{} is competent for its own people", place.name))?;
    }
    let areas = portal.areas(PLACE).await.map_err(stop)?;
    let [(region, _)] = areas.as_slice() else { return Err(stop(format!("one place is called {PLACE}"))) };
    let nobody = portal.route(region, &ServiceKey::parse(OTHER_SERVICE).map_err(stop)?, &service_keys).await;
    let is_told = matches!(&nobody, Err(Error::Problem { code, .. }) if code == "no-destination");
    expect(is_told, "a service that nobody takes has no destination")?;
    let destination = portal.route(region, &service, &service_keys).await.map_err(stop)?;
    say(
        "A citizens' portal asked who is competent for registering a residence: each of the 52 municipalities of the Saarland is for its own people, by answers that the post office signed. For a service that nobody entered it heard no-destination.",
    )?;

    let attachment = uuid::Uuid::new_v4();
    let confirmation = b"Wohnungsgeberbestaetigung (development)".as_slice();
    let data = json!({ "vorname": "Änne", "familienname": "Mustermann", "einzug": "2026-11-01" }).to_string();
    let metadata = json!({ "publicServiceType": { "identifier": service.urn() } }).to_string();
    let application = Application {
        metadata: metadata.as_bytes(),
        data: data.as_bytes(),
        data_type: "application/json",
        attachments: &[(attachment, "text/plain", confirmation)],
    };
    let sent = portal.submit(&destination, &service, application).await.map_err(stop)?;
    say(&format!(
        "It encrypted an application with an attachment for {PLACE} and submitted it. The post office cannot open it."
    ))?;

    let id = fetch(
        running,
        prepared,
        &keys,
        sent.submission,
        &[metadata.as_bytes(), data.as_bytes(), confirmation],
    )
    .await?;
    let log = portal.events(sent.submission, &destination, &service_keys).await.map_err(stop)?;
    let names: Vec<Event> = log.iter().map(|(event, _)| *event).collect();
    expect(
        names == [Event::Create, Event::Submit, Event::Notify, Event::Accept],
        "the portal reads of creation, submission, notice and acceptance",
    )?;
    let accepted = log.last().and_then(|(event, claims)| claims.events.get(&event.uri()));
    let tags = accepted.and_then(|details| {
        serde_json::from_value::<AuthenticationTags>(details["authenticationTags"].clone()).ok()
    });
    let tagged = tags.is_some_and(|tags| tags.attachments.contains_key(&attachment.to_string()));
    expect(tagged, "the acceptance names what was accepted")?;
    let Answer::Message { entry } = ask(running, Verb::Message { id }).await? else {
        return Err(link::unexpected());
    };
    expect(entry.card.state == DeliveryState::Received, "the application is received")?;
    say(&format!(
        "{PLACE} found it in the mailbox that it has for XTA, fetched it, opened it with its own key and closed it; only then the portal read, signed, that it is accepted. No other municipality saw it."
    ))
}

async fn ask(running: &Running, verb: Verb) -> Result<Answer, Stop> {
    admin::ask(&running.admin_socket, verb).await.map_err(stop)
}

/// A destination's id; in the demo it follows from the municipality's key.
fn id_of(region: &Region) -> Result<DestinationId, Stop> {
    DestinationId::parse(&format!("5b0f6d0e-4a3e-4f61-9a6e-{}", region.ars())).map_err(stop)
}

/// Each municipality gets a destination, those that do not take part yet an account for it, and the portal its client.
async fn admit(running: &Running, keys: &Keys, secret: &str, service: &ServiceKey) -> Result<(), Stop> {
    let Answer::Directory(view) = ask(running, Verb::Directory).await? else {
        return Err(link::unexpected());
    };
    let mut accounts = view.accounts;
    for place in Places::known().iter() {
        let ags = Ags::of(&place.region).ok_or_else(|| stop("a municipality has an AGS"))?;
        let own = format!("ags:{}", ags.as_str());
        let destination = Destination {
            id: id_of(&place.region)?,
            name: format!("Meldebehörde {} (development)", place.name),
            status: Default::default(),
            identifier: Some(own.clone()),
            profile: None,
            schemas: Vec::new(),
            metadata_versions: vec!["1.0.0".to_owned(), "2.1.0".to_owned()],
            encryption_kid: KID.to_owned(),
            keys: vec![DestinationKey { jwk: keys.jwk.clone(), remark: None, former: false }],
            contact: Default::default(),
            callback: None,
            serves: vec![Serves {
                services: vec![service.clone()],
                regions: vec![place.region.clone()],
                valid_from: None,
                valid_until: None,
            }],
        };
        let has = |account: &Account| account.identifiers.iter().any(|one| one.value() == own);
        match accounts.iter_mut().find(|account| has(account)) {
            Some(account) => account.portal.destinations.push(destination),
            None => {
                let mut account = Account {
                    name: AccountName::parse(&format!("gemeinde-{}", ags.as_str())).map_err(stop)?,
                    title: format!("Gemeinde {} (development)", place.name),
                    blocked: false,
                    keys: Vec::new(),
                    identifiers: vec![
                        PartyIdentifier::with_labels(&own, Some("xoev"), None, Some("Meldebehörde"))
                            .map_err(stop)?,
                    ],
                    accepts: None,
                    rights: Rights::default(),
                    profile: None,
                    osci: Default::default(),
                    portal: Default::default(),
                };
                account.portal.destinations.push(destination);
                accounts.push(account);
            }
        }
    }
    let portal = accounts
        .iter_mut()
        .find(|account| account.identifiers.iter().any(|own| own.value() == demo_register::PORTAL))
        .ok_or_else(|| stop("the portal takes part"))?;
    portal.portal.clients.push(PortalClient {
        id: CLIENT.to_owned(),
        secret_sha256: Some(Digest::of(secret.as_bytes())),
        sends: true,
        subscribes: false,
    });
    let verb = Verb::DirectoryApply {
        based_on: view.revision,
        accounts,
        profiles: view.profiles,
        reason: "demo of the portal".to_owned(),
    };
    let applied = ask(running, verb).await?;
    let destinations = |account: &Account| account.portal.destinations.len();
    expect(
        matches!(applied, Answer::Directory(view) if view.accounts.iter().map(destinations).sum::<usize>() == 52),
        "52 municipalities have a destination",
    )
}

fn client(running: &Running, prepared: &Prepared) -> Result<Client, Stop> {
    let address = running.portal_address.ok_or_else(|| stop("the demo has no portal listener"))?;
    let believed = PurposeSettings {
        anchors: vec![prepared.tls.join("ca.crt")],
        unknown_revocation: UnknownRevocation::Warn,
        ..PurposeSettings::default()
    };
    let anchors = TrustAnchors::load(&[(Purpose::ServerTls, believed)].into()).map_err(stop)?;
    let tls = client_config(Arc::new(anchors), None, Arc::new(SystemClock)).map_err(stop)?;
    let url = format!("https://localhost:{}", address.port());
    Client::new(Settings::new(&url, Arc::new(tls))).map_err(stop)
}

/// By XTA: the town sees it, opens it and closes it; its neighbours see nothing.
async fn fetch(
    running: &Running,
    prepared: &Prepared,
    keys: &Keys,
    submission: uuid::Uuid,
    sent: &[&[u8]],
) -> Result<MessageId, Stop> {
    let url = format!("https://localhost:{}/", running.xta_address.port());
    let service = format!("urn:de:fim:leika:leistung:{SERVICE}");
    let mut found = None;
    for (name, identifier) in OFFICES {
        let file = |ending: &str| prepared.tls.join(format!("{name}.{ending}"));
        let own = office::identifier(identifier).map_err(Stop::failed)?;
        let authority = prepared.tls.join("ca.crt");
        let town = office::client(&url, &file("crt"), &file("key"), &authority, Some(own))?;
        let page = town.list(&MsgSelector::default(), None).await.map_err(office::stop)?;
        let ids = page.messages.into_iter().map(|shown| shown.envelope);
        let ids: Vec<MessageId> =
            ids.filter(|one| one.qualifier.service == service).map(|one| one.id).collect();
        let is_right = name == "voelklingen";
        expect(ids.len() == usize::from(is_right), &format!("{identifier} sees what is for it"))?;
        found = ids.into_iter().next().map(|id| (town, id)).or(found);
    }
    let (town, id) = found.ok_or_else(|| stop("the application did not arrive"))?;
    expect(id.as_str().ends_with(&submission.to_string()), "it bears the submission's id")?;
    let mut sink = MemorySink::default();
    let fetched = town.fetch(&id, &mut sink).await.map_err(office::stop)?;
    let sealed = sink.parts.into_values().map(|bytes| String::from_utf8(bytes).map_err(stop));
    let opened: Vec<Vec<u8>> =
        sealed.map(|text| jwe::open(&text?, &keys.opening, 0).map_err(stop)).collect::<Result<_, Stop>>()?;
    expect(opened == sent, "what the citizen wrote arrives, and only the town can read it")?;
    let request = fetched.request_id.as_deref().unwrap_or("1");
    town.close(request, std::slice::from_ref(&id)).await.map_err(office::stop)?;
    Ok(id)
}
