//! The post office proper: whether a message is taken, for whom, until when, and what follows from each deadline.
//!
//! Two halves. The decisions ([`accept`], [`route`], [`deliver`], [`cancel`], [`expire`], [`retry`]) are pure: data
//! and `now` in, data or a [`Refusal`] out. The [`worker`] performs them over a [`crate::store::Store`]: the facade
//! that doors call, timers, pushes, the synchronous rendezvous, the evidence log's signed checkpoints and their stamps.
//! Nothing here knows XML, OSCI, XTA or HTTP, and nothing opens content: the relay holds no content key.

pub mod accept;
pub mod cancel;
pub mod deliver;
pub mod expire;
#[cfg(test)]
mod fixture;
pub mod rate;
pub mod refusal;
pub mod retry;
pub mod route;
pub mod worker;

use std::time::Duration;

use crate::domain::card::CertificateFinding;
use crate::domain::content::{Digest, Manifest};
use crate::domain::envelope::Envelope;
use crate::domain::limits::Limits;
use crate::domain::profile::ServiceProfile;
use crate::evidence::checkpoint::VerifierKey;
use crate::store::StagedPayload;

pub use refusal::Refusal;
pub use worker::answers::Reply;
pub use worker::outlet::{Outlet, PushVerdict};
pub use worker::time_stamps::TimeStamper;
pub use worker::{HeadKeeper, Relay};

#[derive(Debug, Clone)]
pub struct Settings {
    /// The system's name inside message ids that are issued here.
    pub system: String,
    /// The URL under which this post office is known.
    pub server_identity: String,
    pub limits: Limits,
    /// What holds where neither message nor reader names a profile.
    pub profile_default: ServiceProfile,
    /// What holds for portals' submissions whose destination names no profile, or one that is no longer there.
    pub profile_portals: Option<ServiceProfile>,
    /// Longest time between two checkpoints while the evidence log grows.
    pub checkpoint_interval: Duration,
    /// Shortest time between two new time stamps.
    pub time_stamp_interval: Duration,
    /// How long before its end a time stamp is renewed.
    pub time_stamp_renew_ahead: Duration,
    /// How often it is looked whether a stamp is due.
    pub time_stamp_poll_interval: Duration,
    /// Public keys that signed this log's checkpoints before the present one.
    pub former_evidence_keys: Vec<VerifierKey>,
    /// How often a waiting author's answer is looked for where no notice from this process brings it.
    pub answer_poll_interval: Duration,
    /// How often a destination is looked at where no notice from this process asks for it.
    pub push_poll_interval: Duration,
    /// How often it is looked whether another process has changed participants or profiles, where no notice says so.
    pub directory_poll_interval: Duration,
    pub breaker: retry::BreakerSettings,
}

impl Settings {
    pub fn new(system: &str, server_identity: &str) -> Self {
        Self {
            system: system.to_owned(),
            server_identity: server_identity.to_owned(),
            limits: Limits::default(),
            profile_default: ServiceProfile::standard(),
            profile_portals: None,
            checkpoint_interval: Duration::from_secs(60),
            time_stamp_interval: Duration::from_secs(3600),
            time_stamp_renew_ahead: Duration::from_secs(90 * 86_400),
            time_stamp_poll_interval: Duration::from_secs(60),
            former_evidence_keys: Vec::new(),
            answer_poll_interval: Duration::from_secs(1),
            push_poll_interval: Duration::from_secs(5),
            directory_poll_interval: Duration::from_secs(30),
            breaker: retry::BreakerSettings::default(),
        }
    }
}

/// A message at the counter: read by a door, its payload staged, nothing promised.
#[derive(Debug)]
pub struct Submission {
    pub envelope: Envelope,
    pub manifest: Manifest,
    pub payload: StagedPayload,
    /// SHA-256 over what the author sent, to tell a retry from a reuse.
    pub request_digest: Digest,
    /// Which door it came through, for the card: `xta-2.1.1`, ….
    pub door: &'static str,
    pub certificates: Vec<CertificateFinding>,
}

/// Whether the asker could send to a reader with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    Offered,
    /// Also where nobody here owns the reader's identifier: a message to it would be refused.
    NotOffered,
}
