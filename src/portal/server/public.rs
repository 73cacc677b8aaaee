//! What anybody may ask: who is competent, destinations and their public keys, our own keys, what this is.

use hyper::{Method, Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json as value};

use super::problem::Problem;
use super::{Door, json, page as page_of, parameter};
use crate::domain::account::Account;
use crate::domain::date_time::german_day;
use crate::domain::destination::{
    ARS_URN, Ags, Destination, DestinationId, DestinationStatus, Region, ServiceKey,
};
use crate::net::{Body, Peer};
use crate::page::{self, Document, Language, escaped};
use crate::pki::jose::jwk::{JwkSet, PublicKey};
use crate::portal::places::Places;
use crate::portal::problems;
use crate::portal::routing::{Outcome, Place};
use crate::report::Loudness;

const API: &str = include_str!("../openapi.json");
/// How long an answer about our health is believed.
const HEALTH_SECONDS: i64 = 5;

impl Door {
    /// Answers without knowing who asks; nothing if the path is not one of these.
    pub(super) async fn public(
        &self,
        method: &Method,
        segments: &[&str],
        query: &str,
        peer: &Peer,
    ) -> Result<Option<Response<Body>>, Problem> {
        if *method != Method::GET && *method != Method::HEAD {
            return Ok(None);
        }
        let answer = match segments {
            ["style.css"] => page::style(),
            ["problems"] => problems_page(),
            ["problems", code] => problem_page(code)?,
            ["openapi.json"] => {
                let mut document: Value = serde_json::from_str(API).unwrap_or_default();
                document["servers"] = value!([{ "url": self.settings.base }]);
                json(StatusCode::OK, &document)
            }
            [".well-known", "jwks.json"] => {
                let others = self.others.believed.iter().chain(&self.others.former);
                let keys =
                    std::iter::once(self.key.jwk()).chain(others.map(|key| &key.jwk)).cloned().collect();
                json(StatusCode::OK, &JwkSet { keys })
            }
            ["info"] => json(
                StatusCode::OK,
                &value!({ "buildInfo": { "version": env!("CARGO_PKG_VERSION") }, "name": "amtsbote" }),
            ),
            ["routes"] => {
                let (claims, mut route, (offset, limit)) = self.limited(peer, || self.competent(query))?;
                let mut routes = Vec::new();
                if offset == 0 && limit > 0 {
                    route["destinationSignature"] = self.sign("JWT", claims).await?.into();
                    routes.push(route);
                }
                let count = routes.len();
                json(
                    StatusCode::OK,
                    &value!({ "count": count, "offset": offset, "totalCount": 1, "routes": routes }),
                )
            }
            ["areas"] => self.limited(peer, || areas(query))?,
            ["destinations", id] => self.limited(peer, || {
                self.with_destination(id, |account, found| {
                    let mut answer = shown(account, found);
                    answer["rejectedAfterDays"] = self.profile_of(found).expiry_days.into();
                    Ok(json(StatusCode::OK, &answer))
                })
            })?,
            ["destinations", id, "keys"] => self.limited(peer, || {
                self.with_destination(id, |_, found| {
                    // The one to encrypt for comes first: there are clients that take the first and look no further.
                    let mut keys: Vec<_> = keys(found).into_iter().map(|key| key.jwk).collect();
                    keys.sort_by_key(|key| key.kid != found.encryption_kid);
                    Ok(json(StatusCode::OK, &JwkSet { keys }))
                })
            })?,
            ["destinations", id, "keys", kid] => self.limited(peer, || {
                self.with_destination(id, |_, found| {
                    let wanted = super::token::percent(kid);
                    let keys = keys(found);
                    let key = wanted.as_deref().and_then(|wanted| {
                        let named = keys.iter().find(|key| key.kid() == wanted);
                        named.or_else(|| keys.iter().find(|key| key.is_called(wanted)))
                    });
                    let key = key.ok_or_else(|| {
                        Problem::new(StatusCode::NOT_FOUND, "not-found", "the destination has no such key")
                    })?;
                    Ok(json(StatusCode::OK, &key.jwk))
                })
            })?,
            _ => return Ok(None),
        };
        Ok(Some(answer))
    }

    fn limited<T>(&self, peer: &Peer, answer: impl FnOnce() -> Result<T, Problem>) -> Result<T, Problem> {
        let from = super::token::network(peer.address.ip());
        self.rates.addresses.take(&from, self.settings.requests_per_minute_max, self.relay.now())?;
        answer()
    }

    fn with_destination(
        &self,
        id: &str,
        answer: impl FnOnce(&Account, &Destination) -> Result<Response<Body>, Problem>,
    ) -> Result<Response<Body>, Problem> {
        let id = DestinationId::parse(&id.to_ascii_lowercase()).map_err(|_| Problem::no_destination())?;
        let directory = self.relay.directory();
        let (account, destination) = directory
            .destination(&id)
            .filter(|(account, _)| !account.blocked)
            .ok_or_else(Problem::no_destination)?;
        answer(account, destination)
    }

    /// The one route: what is to be signed of it, what else is shown, and where the page begins and ends.
    fn competent(&self, query: &str) -> Result<(Value, Value, (usize, usize)), Problem> {
        let place = area(query)?;
        let service = parameter(query, "leikaKey").unwrap_or_default();
        let service = ServiceKey::from_urn(&service)
            .map_err(|error| Problem::bad_request("area-invalid", format!("leikaKey: {error}")))?;
        let page = page_of(query)?;
        let day = german_day(self.relay.now());
        let routing = self.routing();
        let rule = match routing.find(&place, &service, day, Places::known()) {
            Outcome::Found { rule } => rule,
            Outcome::NoDestination => {
                return Err(Problem::new(
                    StatusCode::NOT_FOUND,
                    "no-destination",
                    "no destination is competent for this service in this place",
                ));
            }
            Outcome::Ambiguous { rules } => {
                let named: Vec<&str> = rules.iter().map(|rule| rule.destination.as_str()).collect();
                return Err(Problem::conflict(
                    "ambiguous-route",
                    "two destinations are competent for this service in this place",
                )
                .with_operator(
                    Loudness::Warn,
                    format!("service {service}: {}", named.join(", ")),
                    "see `amtsbote route check`",
                ));
            }
        };
        let directory = self.relay.directory();
        let (account, destination) =
            directory.destination(&rule.destination).ok_or_else(Problem::no_destination)?;
        let claims = value!({
            "iss": self.settings.base,
            "submissionHost": host(&self.settings.base),
            "destinationId": destination.id,
            "services": [{
                "gebietIDs": [format!("{ARS_URN}{}", rule.region.ars())],
                "leistungIDs": [service.urn()],
            }],
            "iat": self.relay.now().as_second(),
            "jti": uuid::Uuid::new_v4().to_string(),
        });
        let mut route = shown(account, destination);
        route["destinationName"] = destination.name.clone().into();
        route["submissionUrl"] = self.settings.base.clone().into();
        Ok((claims, route, page))
    }

    /// A signature of 4096 bits takes milliseconds; no thread that serves connections makes one.
    pub(super) async fn sign(
        &self,
        typ: &'static str,
        claims: impl Serialize + Send + 'static,
    ) -> Result<String, Problem> {
        let key = self.key.clone();
        let signed = tokio::task::spawn_blocking(move || key.sign(typ, &claims)).await;
        let failed = |what: String| {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "nothing could be signed")
                .with_operator(Loudness::Error, what, "see portal.key")
        };
        match signed {
            Ok(Ok(token)) => Ok(token),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// For a person who opens the address in a browser: what this is, whether it works, where to read on.
    pub(super) async fn page(&self, peer: &Peer) -> Result<Response<Body>, Problem> {
        let from = super::token::network(peer.address.ip());
        self.rates.addresses.take(&from, self.settings.requests_per_minute_max, self.relay.now())?;
        let health = match self.takes_submissions().await {
            true => {
                "<p id=\"health\">The post office is at work and takes submissions. \
                 <span lang=\"de\">Die Poststelle arbeitet und nimmt Einreichungen an.</span></p>"
            }
            false => {
                "<p id=\"health\"><strong>The post office takes no submissions for the time being. Nothing that it took is lost; \
                 try again later.</strong> <span lang=\"de\">Die Poststelle nimmt vorübergehend keine Einreichungen an. Nichts, was \
                 sie angenommen hat, geht verloren; bitte versuchen Sie es später noch einmal.</span></p>"
            }
        };
        let body = format!(
            "<p>This address is for programs: citizens' portals hand over encrypted applications here, and authorities \
             fetch them. There is nothing to fill in.</p>\n{health}\n\
             <h2>For developers</h2>\n<p>Base URL: <code>{base}</code>, version {version}. The paths are those of FIT-Connect, \
             under <code>/v1</code> and <code>/v2</code>; a token comes from <code>{base}/token</code>.</p>\n<ul>\n\
             <li><a href=\"/openapi.json\">Description of the interface (OpenAPI 3.1)</a></li>\n\
             <li><a href=\"/problems\">Refusals: what each means, and what to do</a></li>\n\
             <li><a href=\"/.well-known/jwks.json\">Public keys of this post office</a></li>\n\
             <li><a href=\"https://docs.fitko.de/fit-connect/docs/\">FIT-Connect's own documentation, by FITKO</a></li>\n</ul>\n\
             <h2>For operators</h2>\n<p>The manual is part of the program: <code>amtsbote man</code> lists the commands, and its \
             source documentation has a chapter on portals.</p>\n\
             <h2 lang=\"de\">Für Bürgerinnen und Bürger</h2>\n<p lang=\"de\">Anträge stellen \
             Sie bitte im Portal Ihrer Gemeinde. Diese Adresse ist nur für Programme bestimmt.</p>\n",
            version = env!("CARGO_PKG_VERSION"),
            base = escaped(&self.settings.base),
        );
        Ok(document("Submissions to authorities", &body))
    }

    /// Anybody may ask, so that the store is asked every few seconds at most.
    async fn takes_submissions(&self) -> bool {
        let now = self.relay.now().as_second();
        let known = *self.health.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((at, takes)) = known
            && (0..HEALTH_SECONDS).contains(&now.saturating_sub(at))
        {
            return takes;
        }
        let drafts = self.drafts.clone();
        let has_room = match self.relay.staging() {
            // That it has room the store says itself.
            Some(_) => true,
            None => super::drafts::on_disk(move || drafts.has_room(0)).await.unwrap_or(false),
        };
        let takes = has_room && self.relay.is_accepting().await;
        *self.health.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((now, takes));
        takes
    }
}

/// All problem types, each with what it means.
fn problems_page() -> Response<Body> {
    let all: String = problems::ALL
        .iter()
        .map(|one| {
            let [code, english] = [one.code, one.english].map(escaped);
            format!("<li><a href=\"/problems/{code}\">{code}</a>: {english}</li>\n")
        })
        .collect();
    document("Refusals", &format!("<ul>\n{all}</ul>\n<p><a href=\"/\">Submissions to authorities</a></p>\n"))
}

fn document(title: &str, body: &str) -> Response<Body> {
    let page = Document {
        language: Language::English,
        site: "Amtsbote",
        title,
        here: None,
        script: None,
        body,
        beside: "",
    };
    page::html(StatusCode::OK, page.render())
}

fn problem_page(code: &str) -> Result<Response<Body>, Problem> {
    let one = problems::find(code)
        .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "not-found", "there is no such problem type"))?;
    let [english, german, peer] = [one.english, one.german, one.peer].map(escaped);
    Ok(document(one.code, &format!("<p>{english}</p>\n<p>{peer}</p>\n<p lang=\"de\">{german}</p>\n")))
}

fn host(base: &str) -> &str {
    let rest = base.split_once("://").map_or(base, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// Exactly one of them (routing API 2.0.0).
fn area(query: &str) -> Result<Place, Problem> {
    let named = ["ars", "ags", "areaId"].map(|name| (name, parameter(query, name)));
    let mut given = named.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)));
    let (Some((name, value)), None) = (given.next(), given.next()) else {
        return Err(Problem::bad_request("area-invalid", "exactly one of ars, ags and areaId is needed"));
    };
    let wrong = |error: crate::domain::destination::DestinationError| {
        Problem::bad_request("area-invalid", error.to_string())
    };
    match name {
        "ags" => Ags::parse(&value).map(Place::Ags).map_err(wrong),
        _ if value.len() == 12 => Region::parse(&value).map(Place::Region).map_err(wrong),
        _ => Err(Problem::bad_request("area-invalid", format!("{name} has 12 digits"))),
    }
}

/// Places by name; their ids are regional keys.
fn areas(query: &str) -> Result<Response<Body>, Problem> {
    let words = parameter(query, "areaSearchexpression").unwrap_or_default();
    if words.trim().is_empty() || words.len() > 200 {
        return Err(Problem::bad_request("area-invalid", "areaSearchexpression has 1 to 200 bytes"));
    }
    let (offset, limit) = page_of(query)?;
    let found = Places::known().search(words.trim());
    let areas: Vec<Value> = found
        .iter()
        .skip(offset)
        .take(limit)
        .map(|place| {
            value!({ "id": place.region.ars(), "name": place.name, "type": "Gemeinde", "district": place.district })
        })
        .collect();
    Ok(json(
        StatusCode::OK,
        &value!({ "count": areas.len(), "offset": offset, "totalCount": found.len(), "areas": areas }),
    ))
}

/// Every key that is published. What cannot be read was refused when the participants' file was applied.
pub(super) fn keys(destination: &Destination) -> Vec<PublicKey> {
    destination.keys.iter().filter_map(|key| PublicKey::parse(&key.jwk).ok()).collect()
}

/// The keys that something new may be signed with.
pub(super) fn present_keys(destination: &Destination) -> Vec<PublicKey> {
    let present = destination.keys.iter().filter(|key| !key.former);
    present.filter_map(|key| PublicKey::parse(&key.jwk).ok()).collect()
}

fn shown(account: &Account, destination: &Destination) -> Value {
    let contact = &destination.contact;
    let legal_name = if contact.legal_name.is_empty() { &account.title } else { &contact.legal_name };
    let services: Vec<Value> = destination
        .serves
        .iter()
        .take(100)
        .map(|serves| {
            value!({
                "identifiers": serves.services.iter().take(500).map(ServiceKey::urn).collect::<Vec<_>>(),
                "regions":
                    serves.regions.iter().take(500).map(|region| format!("{ARS_URN}{}", region.ars())).collect::<Vec<_>>(),
            })
        })
        .collect();
    value!({
        "destinationId": destination.id,
        "name": destination.name,
        "status": match destination.status {
            DestinationStatus::Active => "active",
            DestinationStatus::Inactive => "inactive",
        },
        "encryptionKid": destination.encryption_kid,
        "metadataVersions": destination.metadata_versions,
        "submissionSchemas": destination.schemas.iter().map(|uri| value!({ "schemaUri": uri })).collect::<Vec<_>>(),
        "publicServices": services,
        "contactInformation": {
            "legalName": legal_name, "address": contact.address, "email": contact.email, "phone": contact.phone,
        },
    })
}
