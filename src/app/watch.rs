//! What is looked at now and then: certificates that near their end are announced once a day, in the log and as metrics
//! (lists: `revocation.rs`), those that are not their key's in the log; and large messages that were abandoned on their way are
//! forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use super::trust::Trust;
use crate::admin::directory;
use crate::admin::server::DependedOn;
use crate::clock::Clock;
use crate::osci::server::Door;
use crate::pki::certificate::Certificate;
use crate::pki::expiry::{self, Dependence, Holder, Role};
use crate::pki::inspection::Purpose;
use crate::pki::jose::jwk::{self, PublicKey};
use crate::portal::callback::Callbacks;
use crate::portal::server::Door as PortalDoor;
use crate::relay::Relay;
use crate::report::Loudness;

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3600);

/// Sweeps what clients began to send or fetch in chunks and left.
pub(super) async fn chunks(door: Option<Arc<Door>>, mut stop: watch::Receiver<bool>) {
    let Some(door) = door else { return };
    let mut tick = tokio::time::interval(HOUR);
    loop {
        let stopped = tokio::select! {
            _ = tick.tick() => false,
            _ = stop.wait_for(|stop| *stop) => true,
        };
        if stopped {
            return;
        }
        match door.sweep().await {
            Ok(0) => {}
            Ok(count) => {
                tracing::info!(count, "large messages that were abandoned on their way are forgotten")
            }
            Err(error) => tracing::error!(
                code = "chunks-unswept",
                next_step = "look at owner and rights of osci-chunks in the store's folder",
                "abandoned chunks cannot be removed: {error}"
            ),
        }
    }
}

/// Calls the programs of destinations.
pub(super) async fn callbacks(callbacks: Option<Arc<Callbacks>>, stop: watch::Receiver<bool>) {
    if let Some(callbacks) = callbacks {
        callbacks.run(stop).await;
    }
}

/// Sweeps what portals announced and did not submit.
pub(super) async fn drafts(door: Option<Arc<PortalDoor>>, mut stop: watch::Receiver<bool>) {
    let Some(door) = door else { return };
    let mut tick = tokio::time::interval(HOUR);
    loop {
        let stopped = tokio::select! {
            _ = tick.tick() => false,
            _ = stop.wait_for(|stop| *stop) => true,
        };
        if stopped {
            return;
        }
        match door.sweep().await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "submissions that were announced and not made are forgotten"),
            Err(error) => tracing::error!(
                code = "drafts-unswept",
                next_step = "look at owner and rights of portal.folder",
                "announcements that are over cannot be removed: {error}"
            ),
        }
    }
}

pub(super) async fn certificates(
    depended_on: DependedOn,
    relay: Arc<Relay>,
    clock: Arc<dyn Clock>,
    mut stop: watch::Receiver<bool>,
) {
    let mut tick = tokio::time::interval(DAY);
    loop {
        tokio::select! {
            _ = tick.tick() => {
                look(&depended_on(), clock.as_ref());
                look_at_keys(&relay);
            }
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Every certificate that the post office depends on; the command line and the announcements have this one list.
pub(super) fn dependences(trust: &Trust, relay: &Relay) -> Vec<Dependence> {
    let own = |role: Role, chain: Vec<Certificate>| {
        // The leaf, and what was put beside it so that others find its path.
        chain.into_iter().enumerate().map(move |(at, certificate)| Dependence {
            holder: Holder::Own,
            role,
            owner: "server".to_owned(),
            place: if at == 0 { String::new() } else { certificate.subject().to_owned() },
            certificate,
        })
    };
    let authority = |role: Role, certificate: &Certificate| Dependence {
        holder: Holder::Authority,
        role,
        owner: certificate.common_name().unwrap_or("authority").to_owned(),
        place: certificate.subject().to_owned(),
        certificate: certificate.clone(),
    };
    let mut all: Vec<Dependence> = own(Role::Tls, trust.own()).collect();
    let (cipher, signature) = trust.own_osci();
    // Each by itself a leaf: former ones are there as long as somebody may encrypt for them.
    all.extend(cipher.into_iter().flat_map(|one| own(Role::OsciEncryption, vec![one])));
    all.extend(own(Role::OsciSignature, signature));
    all.extend(own(
        Role::ProcessCards,
        relay.card_signer().map_or_else(Vec::new, |cards| cards.chain().to_vec()),
    ));
    let anchors = trust.anchors();
    // Those of time stamps have a role of their own.
    let believed = anchors.authorities().filter(|(purpose, _)| *purpose != Purpose::TimeStamps);
    for (_, certificate) in believed {
        let known = |one: &Dependence| one.role == Role::Anchor && one.certificate == *certificate;
        // The same one serves several purposes.
        if !all.iter().any(known) {
            all.push(authority(Role::Anchor, certificate));
        }
    }
    all.extend(trust.stamp_anchors().iter().map(|one| authority(Role::TimeStamps, one)));
    for account in relay.directory().accounts() {
        let keys = account.keys.iter().map(|one| (Role::Tls, "", &one.certificate));
        let cipher = account.osci.cipher.iter().map(|one| {
            (Role::OsciEncryption, one.identifier.as_deref().unwrap_or_default(), &one.certificate)
        });
        let signature = account.osci.signature.iter().map(|one| (Role::OsciSignature, "", &one.certificate));
        for (role, place, pem) in keys.chain(cipher).chain(signature) {
            let read = pem.as_ref().and_then(|pem| Certificate::from_pem(pem.as_bytes()).ok());
            all.extend(read.map(|certificate| Dependence {
                holder: Holder::Participant,
                role,
                owner: account.name.to_string(),
                place: place.to_owned(),
                certificate,
            }));
        }
        for destination in &account.portal.destinations {
            for key in destination.keys.iter().filter(|key| !key.former) {
                let Ok(key) = PublicKey::parse(&key.jwk) else { continue };
                // Nobody encrypts for another one yet, or any more.
                if key.purpose == jwk::Purpose::Encryption && key.kid() != destination.encryption_kid {
                    continue;
                }
                let Ok(Some(certificate)) = key.certificate() else { continue };
                all.push(Dependence {
                    holder: Holder::Participant,
                    role: Role::Destination,
                    owner: account.name.to_string(),
                    // Another key stands in for it only once portals or programs use that.
                    place: format!("{}, {}", destination.id, key.kid()),
                    certificate,
                });
            }
        }
    }
    all
}

/// Portals that look at the certificate encrypt for nobody there; all else goes on.
fn look_at_keys(relay: &Relay) {
    for sentence in directory::foreign_certificates(relay.directory().accounts()) {
        let next_step = directory::FOREIGN_CERTIFICATE_NEXT_STEP;
        tracing::warn!(code = "destination-key-certificate", next_step, "{sentence}");
    }
}

fn look(all: &[Dependence], clock: &dyn Clock) {
    let now = clock.now();
    // Of one owner's role the place that ends first.
    let mut first: BTreeMap<(&str, Role), Timestamp> = BTreeMap::new();
    for (one, end) in all.iter().zip(expiry::place_ends(all)) {
        let first = first.entry((one.owner.as_str(), one.role)).or_insert(end);
        *first = (*first).min(end);
    }
    for ((owner, role), end) in first {
        let days = (end.as_second() - now.as_second()) as f64 / DAY.as_secs_f64();
        let owner = owner.to_owned();
        metrics::gauge!("amtsbote_certificate_days_left", "owner" => owner, "role" => role.name()).set(days);
    }
    let watched = all.iter().map(Dependence::watched);
    for warning in expiry::warnings(watched, now) {
        let (sentence, next_step) = (warning.sentence.as_str(), warning.next_step.as_str());
        match warning.loudness {
            Loudness::Error => tracing::error!(code = "certificate-ends", next_step, "{sentence}"),
            Loudness::Warn => tracing::warn!(code = "certificate-ends", next_step, "{sentence}"),
            Loudness::Debug => tracing::debug!(code = "certificate-ends", next_step, "{sentence}"),
            Loudness::Info => tracing::info!(code = "certificate-ends", next_step, "{sentence}"),
        }
    }
}
