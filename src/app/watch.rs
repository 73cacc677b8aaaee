//! What is looked at now and then: certificates that near their end are announced once a day, in the log and as metrics
//! (lists: `revocation.rs`), and large messages that were abandoned on their way are forgotten.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::trust::Trust;
use crate::clock::Clock;
use crate::evidence::signed_card::CardSigner;
use crate::osci::server::Door;
use crate::pki::certificate::Certificate;
use crate::pki::expiry::{self, Holder, Watched};
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

pub(super) async fn certificates(
    trust: Trust,
    cards: Arc<CardSigner>,
    relay: Arc<Relay>,
    clock: Arc<dyn Clock>,
    mut stop: watch::Receiver<bool>,
) {
    let mut tick = tokio::time::interval(DAY);
    loop {
        tokio::select! {
            _ = tick.tick() => look(&trust, &cards, &relay, clock.as_ref()),
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

fn look(trust: &Trust, cards: &CardSigner, relay: &Relay, clock: &dyn Clock) {
    let (own, anchors, directory) = (trust.own(), trust.anchors(), relay.directory());
    let own_osci = trust.own_osci();
    let participants: Vec<(String, Certificate)> = directory
        .accounts()
        .flat_map(|account| {
            account
                .certificates()
                .filter_map(|pem| Certificate::from_pem(pem.as_bytes()).ok())
                .map(|certificate| (account.name.to_string(), certificate))
        })
        .collect();
    let authorities: Vec<(String, &Certificate)> = anchors
        .authorities()
        .map(|(_, certificate)| (certificate.common_name().unwrap_or("authority").to_owned(), certificate))
        .collect();
    let watched: Vec<Watched<'_>> = own
        .iter()
        .take(1)
        .map(|certificate| Watched { holder: Holder::Own, owner: "the listener", certificate })
        .chain(own_osci.iter().map(|certificate| Watched {
            holder: Holder::Own,
            owner: "the OSCI intermediary",
            certificate,
        }))
        .chain(cards.chain().iter().take(1).map(|certificate| Watched {
            holder: Holder::Own,
            owner: "process cards",
            certificate,
        }))
        .chain(authorities.iter().map(|(owner, certificate)| Watched {
            holder: Holder::Authority,
            owner,
            certificate,
        }))
        .chain(participants.iter().map(|(owner, certificate)| Watched {
            holder: Holder::Participant,
            owner,
            certificate,
        }))
        .collect();
    let now = clock.now();
    for one in &watched {
        let days = (one.certificate.not_after().as_second() - now.as_second()) as f64 / DAY.as_secs_f64();
        metrics::gauge!("amtsbote_certificate_days_left", "owner" => one.owner.to_owned()).set(days);
    }
    for warning in expiry::warnings(watched, now) {
        let (sentence, next_step) = (warning.sentence.as_str(), warning.next_step.as_str());
        match warning.loudness {
            Loudness::Error => tracing::error!(code = "certificate-ends", next_step, "{sentence}"),
            Loudness::Warn => tracing::warn!(code = "certificate-ends", next_step, "{sentence}"),
            Loudness::Info => tracing::info!(code = "certificate-ends", next_step, "{sentence}"),
        }
    }
}
            Loudness::Debug => tracing::debug!(code = "certificate-ends", next_step, "{sentence}"),
