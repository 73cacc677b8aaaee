//! The configured time stamp authority, as the relay asks for stamps.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::StartError;
use crate::clock::Clock;
use crate::config::Evidence;
use crate::pki::certificate::Certificate;
use crate::pki::key;
use crate::pki::timestamp::client::Client;
use crate::pki::timestamp::{self, Authorities, Oid, Request, Tolerance};
use crate::relay::TimeStamper;
use crate::store::TimeStamp;

pub(super) struct Authority {
    client: Client,
    authorities: Authorities,
    policy: Option<Oid>,
    clock: Arc<dyn Clock>,
}

/// `None` where no authority is configured.
pub(super) fn load(settings: &Evidence, clock: Arc<dyn Clock>) -> Result<Option<Authority>, StartError> {
    let Some(url) = &settings.time_stamp_url else { return Ok(None) };
    let wrong = |error: &dyn std::fmt::Display| StartError::TimeStamps(error.to_string());
    let client =
        Client::new(url, Duration::from_secs(settings.time_stamp_wait_seconds)).map_err(|e| wrong(&e))?;
    let policy = settings.time_stamp_policy.as_ref().map(|policy| policy.parse()).transpose();
    let (policy, authorities) = (policy.map_err(|e| wrong(&e))?, anchors(settings)?);
    Ok(Some(Authority { client, authorities, policy, clock }))
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
        let (time, good_until) = (token.time(), trusted.good_until);
        Ok(TimeStamp { token: token.der().to_vec(), time, good_until })
    }
}
