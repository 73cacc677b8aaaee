//! An authority's side of the submission API: what waits, its parts, its event log, and what is to be said about it.
//!
//! What is handed out is what was submitted, encrypted; whoever has the key opens it. Left out: forwarding.

use hyper::Method;
use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use super::client::{ANSWER_BYTES_MAX, Client, Error, answer};
use crate::domain::destination::DestinationId;
use crate::pki::jose::jwk::PublicKey;

/// As many as the API shows at once.
const PAGE: usize = 500;

/// A submission that nobody has decided.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    pub destination_id: DestinationId,
    pub submission_id: Uuid,
    pub case_id: Uuid,
    pub submitted_at: Timestamp,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    total_count: usize,
    submissions: Vec<Waiting>,
}

/// A submission without its attachments, each part a JWE.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sealed {
    pub encrypted_metadata: String,
    pub encrypted_data: Option<String>,
    #[serde(default)]
    pub attachments: Vec<Uuid>,
    pub public_service: Service,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Service {
    /// URN.
    pub identifier: String,
}

impl Client {
    /// What waits at a destination, oldest first.
    pub async fn waiting(&self, destination: &DestinationId) -> Result<Vec<Waiting>, Error> {
        let mut all = Vec::new();
        loop {
            let offset = all.len();
            let path = format!("/v2/submissions?destinationId={destination}&limit={PAGE}&offset={offset}");
            let page: Page = serde_json::from_value(self.ask(&path).await?).map_err(answer)?;
            let is_last = page.submissions.is_empty() || offset + page.submissions.len() >= page.total_count;
            all.extend(page.submissions);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// An answer of more than `bytes_max` is an error.
    pub async fn fetch(&self, submission: Uuid, bytes_max: usize) -> Result<Sealed, Error> {
        let path = format!("/v2/submissions/{submission}");
        let bytes_max = bytes_max.max(ANSWER_BYTES_MAX);
        let bytes = self.call_for(Method::GET, &path, "", Default::default(), bytes_max).await?;
        serde_json::from_slice(&bytes).map_err(answer)
    }

    pub async fn fetch_attachment(
        &self,
        submission: Uuid,
        attachment: Uuid,
        bytes_max: usize,
    ) -> Result<String, Error> {
        let path = format!("/v2/submissions/{submission}/attachments/{attachment}");
        let bytes = self.call_for(Method::GET, &path, "", Default::default(), bytes_max).await?;
        String::from_utf8(bytes.into()).map_err(|_| answer("an attachment is no JWE"))
    }

    /// The tokens of the event log, as they stand.
    pub async fn event_log(&self, submission: Uuid) -> Result<Vec<String>, Error> {
        let told = self.ask(&format!("/v2/submissions/{submission}/events?limit={PAGE}")).await?;
        serde_json::from_value(told["eventLog"].clone()).map_err(answer)
    }

    /// Says something about a submission, by a signed token.
    pub async fn say(&self, submission: Uuid, token: String) -> Result<(), Error> {
        let path = format!("/v2/submissions/{submission}/events");
        self.call(Method::POST, &path, "application/jose", token).await.map(drop)
    }

    /// Days after which the post office rejects what nobody decided there, if it says so.
    pub async fn rejected_after_days(&self, destination: &DestinationId) -> Result<Option<u32>, Error> {
        let told = self.ask(&format!("/v2/destinations/{destination}")).await?;
        Ok(told["rejectedAfterDays"].as_u64().and_then(|days| u32::try_from(days).ok()))
    }

    pub async fn destination_keys(&self, destination: &DestinationId) -> Result<Vec<PublicKey>, Error> {
        self.keys(&format!("/v2/destinations/{destination}/keys")).await
    }
}
