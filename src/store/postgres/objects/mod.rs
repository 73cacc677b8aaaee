//! Large payloads in an object store that speaks S3, in place of rows of chunks.
//!
//! A payload is objects of [`OBJECT_BYTES`] each, numbered, below the store's own id and the payload's name. The order of
//! durability is that of rows: the payload's row first, then its objects, each of which counts once the object store has
//! said so, then the seal, then the transaction that names it. The row goes after the last object, so that the sweep knows
//! of every object; one is left behind unknown only where a primary was lost whose standby lacked the row, or where it came
//! after its payload had been let go of. Those are found by looking through the bucket (`strays`).
//!
//! Whoever restores a copy of the database has its objects' names as well, and would delete what the original still needs.
//! So the store counts, in the database and in an object beside the payloads (`claim`): a copy lags behind the object
//! as soon as the original has counted on, and deletes nothing.
//!
//! What the object store promises about what it has said yes to is its own matter; here it is believed.

mod http;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, RetryConfig};

use crate::store::StoreError;

pub use http::check_endpoint;

/// Bytes of one object; the last of a payload may have less. Kept with each payload, so it may change.
pub const OBJECT_BYTES: usize = 4 * 1024 * 1024;
/// Most that is asked for at once when a payload is read.
pub const READ_BYTES: u64 = 1024 * 1024;
/// Names the object that holds the store's claim; no payload is called so.
const CLAIM: &str = "claim";
/// What is said about a failure, at most.
const SENTENCE_CHARS_MAX: usize = 300;

#[derive(Clone)]
pub struct ObjectSettings {
    /// `https://host[:port]`; `http` on this machine alone.
    pub endpoint: String,
    pub bucket: String,
    /// Put before every name; may be empty.
    pub prefix: String,
    pub region: String,
    pub access_key: String,
    pub secret_key: String,
    /// The authorities that vouch for the endpoint, where it is reached by TLS.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

/// An object as the object store lists it.
pub struct Listed {
    pub location: Path,
    /// The payload that it is a part of, if it is called as ours are.
    pub payload: Option<String>,
    /// On the object store's clock, in seconds since 1970.
    pub written_at: i64,
}

pub struct Objects {
    bucket: AmazonS3,
    /// For sentences: endpoint and bucket.
    place: String,
    prefix: String,
    reached: AtomicBool,
}

impl Objects {
    /// Connects nowhere yet. `patience` bounds every request, and all attempts at it.
    pub fn new(settings: &ObjectSettings, patience: Duration) -> Result<Self, String> {
        let connector = http::Connector::new(&settings.endpoint, settings.tls.clone(), patience)?;
        let retry = RetryConfig { max_retries: 3, retry_timeout: patience, ..RetryConfig::default() };
        let bucket = AmazonS3Builder::new()
            .with_endpoint(&settings.endpoint)
            .with_bucket_name(&settings.bucket)
            .with_region(&settings.region)
            .with_access_key_id(&settings.access_key)
            .with_secret_access_key(&settings.secret_key)
            .with_allow_http(settings.tls.is_none())
            .with_virtual_hosted_style_request(false)
            // One by one: not every object store knows S3's list of deletions.
            .with_disable_bulk_delete(true)
            .with_retry(retry)
            .with_http_connector(connector)
            .build()
            .map_err(|error| format!("the object store: {error}"))?;
        Ok(Self {
            bucket,
            place: format!("{}/{}", settings.endpoint, settings.bucket),
            prefix: settings.prefix.trim_matches('/').to_owned(),
            reached: AtomicBool::new(true),
        })
    }

    fn payload(&self, store: &str, name: &str) -> Path {
        Path::from(format!("{}/{store}/{name}", self.prefix))
    }

    fn object(&self, store: &str, name: &str, number: u64) -> Path {
        Path::from(format!("{}/{store}/{name}/{number:08}", self.prefix))
    }

    /// Done once the object store has said that it has it; the same again changes nothing.
    pub async fn put(&self, store: &str, name: &str, number: u64, bytes: Vec<u8>) -> Result<(), StoreError> {
        let done = self.bucket.put(&self.object(store, name, number), bytes.into()).await;
        self.heard(done.map(drop))
    }

    /// Bytes of one object. `Corrupt` where it is not there, or has fewer.
    pub async fn get(
        &self,
        store: &str,
        name: &str,
        number: u64,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        let length = range.end - range.start;
        let missing =
            || StoreError::Corrupt(format!("object {number} of payload {name} is missing or cut short"));
        match self.bucket.get_range(&self.object(store, name, number), range).await {
            Ok(bytes) if bytes.len() as u64 == length => self.heard(Ok(bytes)),
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Err(missing()),
            Err(error) => self.heard(Err(error)),
        }
    }

    /// Whatever there is of a payload; nothing is no fault.
    pub async fn delete(&self, store: &str, name: &str) -> Result<(), StoreError> {
        let listed = self.bucket.list(Some(&self.payload(store, name))).try_collect::<Vec<_>>().await;
        for object in self.heard(listed)? {
            let deleted = self.bucket.delete(&object.location).await;
            self.heard(deleted)?;
        }
        Ok(())
    }

    /// At most `max` of a store's objects, in the order of their names, from behind `after` on.
    pub async fn list(
        &self,
        store: &str,
        after: Option<&Path>,
        max: usize,
    ) -> Result<Vec<Listed>, StoreError> {
        let below = Path::from(format!("{}/{store}", self.prefix));
        let all = match after {
            Some(after) => self.bucket.list_with_offset(Some(&below), after),
            None => self.bucket.list(Some(&below)),
        };
        let found = self.heard(all.take(max).try_collect::<Vec<_>>().await)?;
        let listed = found.into_iter().map(|object| Listed {
            payload: payload_of(&object.location, &below),
            written_at: object.last_modified.timestamp(),
            location: object.location,
        });
        Ok(listed.collect())
    }

    /// What is not there any more is no fault.
    pub async fn delete_listed(&self, listed: &Listed) -> Result<(), StoreError> {
        match self.bucket.delete(&listed.location).await {
            Err(object_store::Error::NotFound { .. }) => self.heard(Ok(())),
            deleted => self.heard(deleted),
        }
    }

    /// When the store last counted on, on the object store's own clock.
    pub async fn claimed_at(&self, store: &str) -> Result<Option<i64>, StoreError> {
        match self.bucket.get(&self.payload(store, CLAIM)).await {
            Ok(found) => self.heard(Ok(Some(found.meta.last_modified.timestamp()))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => self.heard(Err(error)),
        }
    }

    /// The number under which a store was last at work here; none yet is 0.
    pub async fn claim(&self, store: &str) -> Result<i64, StoreError> {
        let found = async { self.bucket.get(&self.payload(store, CLAIM)).await?.bytes().await };
        let bytes = match found.await {
            Ok(bytes) => self.heard(Ok(bytes))?,
            Err(object_store::Error::NotFound { .. }) => return Ok(0),
            Err(error) => return self.heard(Err(error)),
        };
        let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok());
        number.ok_or_else(|| {
            let name = self.payload(store, CLAIM);
            StoreError::Corrupt(format!("the object {name} in {} holds no number", self.place))
        })
    }

    pub async fn set_claim(&self, store: &str, number: i64) -> Result<(), StoreError> {
        let done =
            self.bucket.put(&self.payload(store, CLAIM), format!("{number}\n").into_bytes().into()).await;
        self.heard(done.map(drop))
    }

    /// For sentences: where the objects of a store lie.
    pub fn place_of(&self, store: &str) -> String {
        format!("{}/{}/{store}", self.place, self.prefix)
    }

    /// Whether an object can be written, read and deleted; the sentence says what fails.
    pub async fn probe(&self, store: &str) -> Result<(), String> {
        let name = format!("probe-{}", uuid::Uuid::new_v4().simple());
        let probed = async {
            self.put(store, &name, 0, b"probe".to_vec()).await?;
            self.get(store, &name, 0, 0..5).await?;
            self.delete(store, &name).await
        };
        probed.await.map_err(|error| error.to_string())
    }

    /// Whether the bucket can be looked into; nothing is written.
    pub async fn look(&self) -> Result<(), String> {
        let nothing = self.payload("look", "nothing");
        let listed = self.bucket.list(Some(&nothing)).try_collect::<Vec<_>>().await;
        self.heard(listed).map(drop).map_err(|error| match error {
            StoreError::Unavailable(what) => {
                format!("{what}; check endpoint, bucket and keys under [objects], and whether it runs")
            }
            error => error.to_string(),
        })
    }

    /// Says once when it stops answering, and once when it answers again.
    fn heard<T>(&self, answer: Result<T, object_store::Error>) -> Result<T, StoreError> {
        match answer {
            Ok(answer) => {
                if !self.reached.swap(true, Ordering::Relaxed) {
                    tracing::info!(place = self.place, "the object store answers again");
                }
                Ok(answer)
            }
            Err(error) => {
                let what = sentence(&error.to_string());
                if self.reached.swap(false, Ordering::Relaxed) {
                    tracing::error!(
                        code = "store-objects",
                        place = self.place,
                        error = what,
                        next_step = "check [objects], its keys and whether the object store runs; large payloads are refused until it answers",
                        "the object store does not do what it is asked"
                    );
                }
                Err(StoreError::Unavailable(format!("the object store {}: {what}", self.place)))
            }
        }
    }
}

/// What went wrong, with the code in place of the whole document that came with it.
fn sentence(error: &str) -> String {
    let (before, document) = error.split_once('<').unwrap_or((error, ""));
    let before = before.trim_end_matches(|c: char| c == ':' || c.is_whitespace());
    let code = document.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    let code = code.map_or(String::new(), |(code, _)| format!(" ({code})"));
    format!("{before}{code}").chars().take(SENTENCE_CHARS_MAX).collect()
}

/// The payload's name in `below/NAME/NUMBER`, where both are as [`Objects::put`] and [`Objects::probe`] make them.
fn payload_of(location: &Path, below: &Path) -> Option<String> {
    let rest = location.as_ref().strip_prefix(below.as_ref())?.strip_prefix('/')?;
    let (name, number) = rest.split_once('/')?;
    let hex = name.strip_prefix("probe-").unwrap_or(name);
    let is_ours = hex.len() == 32
        && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && number.len() >= 8
        && number.bytes().all(|byte| byte.is_ascii_digit());
    is_ours.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_we_have_named_is_ours() {
        let below = Path::from("office/4711");
        let name = "0123456789abcdef0123456789abcdef";
        for (location, expected) in [
            (format!("office/4711/{name}/00000000"), Some(name.to_owned())),
            (format!("office/4711/probe-{name}/00000000"), Some(format!("probe-{name}"))),
            ("office/4711/claim".to_owned(), None),
            (format!("office/4711/{name}"), None),
            (format!("office/4711/{name}/note.txt"), None),
            (format!("office/4711/{name}/00000000/more"), None),
            (format!("office/4711/{}/00000000", name.to_uppercase()), None),
            (format!("office/4711/{}/00000000", &name[1..]), None),
            (format!("office/47110/{name}/00000000"), None),
            (format!("other/4711/{name}/00000000"), None),
        ] {
            assert_eq!(payload_of(&Path::from(location.clone()), &below), expected, "{location}");
        }
    }
}
