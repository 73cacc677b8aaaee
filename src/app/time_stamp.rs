//! The configured time stamp authority, as the relay asks for stamps.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rustls::ClientConfig;

use super::StartError;
use super::trust::Trust;
use crate::clock::Clock;
use crate::config::Evidence;
use crate::pki::certificate::Certificate;
use crate::pki::inspection::{Purpose, UnknownRevocation, Verdict};
use crate::pki::key;
use crate::pki::timestamp::client::Client;
use crate::pki::timestamp::{self, Authorities, Oid, Request, Token, Tolerance};
use crate::pki::tls::client_config;
use crate::pki::trust::{PurposeSettings, TrustAnchors};
use crate::relay::TimeStamper;
use crate::store::TimeStamp;

pub(super) struct Authority {
    client: Client,
    authorities: Authorities,
    policy: Option<Oid>,
    clock: Arc<dyn Clock>,
    trust: Trust,
}

/// `None` where no authority is configured.
pub(super) fn load(
    settings: &Evidence,
    clock: Arc<dyn Clock>,
    trust: &Trust,
) -> Result<Option<Authority>, StartError> {
    let Some(url) = &settings.time_stamp_url else { return Ok(None) };
    let wrong = |error: &dyn std::fmt::Display| StartError::TimeStamps(error.to_string());
    let mut client =
        Client::new(url, Duration::from_secs(settings.time_stamp_wait_seconds)).map_err(|e| wrong(&e))?;
    if client.is_tls() {
        client = client.with_tls(server_tls(settings, &clock)?);
    }
    let policy = settings.time_stamp_policy.as_ref().map(|policy| policy.parse()).transpose();
    let (policy, authorities) = (policy.map_err(|e| wrong(&e))?, anchors(settings)?);
    Ok(Some(Authority { client, authorities, policy, clock, trust: trust.clone() }))
}

/// How the authority's own server is judged. Its revocation is not asked for: the stamp is signed, and TLS only brings it.
pub fn server_tls(settings: &Evidence, clock: &Arc<dyn Clock>) -> Result<Arc<ClientConfig>, StartError> {
    let believed = PurposeSettings {
        anchors: settings.time_stamp_server_anchors.clone(),
        unknown_revocation: UnknownRevocation::Warn,
        ..PurposeSettings::default()
    };
    let wrong = |error: &dyn std::fmt::Display| StartError::TimeStamps(error.to_string());
    let anchors = TrustAnchors::load(&[(Purpose::ServerTls, believed)].into()).map_err(|e| wrong(&e))?;
    Ok(Arc::new(client_config(Arc::new(anchors), None, clock.clone()).map_err(|e| wrong(&e))?))
}

/// Whom the configuration believes about time.
pub fn anchors(settings: &Evidence) -> Result<Authorities, StartError> {
    let mut certificates = Vec::new();
    for path in &settings.time_stamp_anchors {
        let wrong =
            |error: &dyn std::fmt::Display| StartError::TimeStamps(format!("{}: {error}", path.display()));
        let pem = key::read_bounded(path).map_err(|error| StartError::TimeStamps(error.to_string()))?;
        certificates.extend(Certificate::bundle_from_pem(&pem).map_err(|e| wrong(&e))?);
    }
    Authorities::new(certificates).map_err(|error| StartError::TimeStamps(error.to_string()))
}

impl Authority {
    /// As with every other certificate: lists and answers that are at hand, and the policy where they do not tell.
    fn not_revoked(&self, token: &Token, now: Timestamp) -> Result<(), String> {
        let anchors = self.trust.anchors();
        let inspection = anchors.inspect(Purpose::TimeStamps, token.signer(), token.certificates(), now);
        if !inspection.is_acceptable() {
            let why = inspection.sentences.join("; ");
            return Err(format!("the authority's certificate {} is not accepted: {why}", inspection.subject));
        }
        if inspection.verdict != Verdict::Valid {
            tracing::info!(
                code = "time-stamp-revocation-unknown",
                next_step = "name its list in revocation.lists or evidence.time_stamp_crls, or let its responder be asked",
                "a time stamp was taken though {}",
                inspection.sentences.join("; ")
            );
        }
        Ok(())
    }
}

#[async_trait]
impl TimeStamper for Authority {
    async fn stamp(&self, bytes: &[u8]) -> Result<TimeStamp, String> {
        let mut nonce = [0; 16];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| "the system gives no random numbers".to_owned())?;
        let request = Request::new(bytes, nonce, self.policy.clone());
        let answer = self.client.ask(request.der()).await.map_err(|error| error.to_string())?;
        let now = self.clock.now();
        let judged = timestamp::accept(&answer, &request, &self.authorities, &Tolerance::default(), now);
        let (token, trusted) = judged.map_err(|error| error.to_string())?;
        self.not_revoked(&token, now)?;
        let (time, good_until) = (token.time(), trusted.good_until);
        Ok(TimeStamp { token: token.der().to_vec(), time, good_until })
    }
}
