//! A failure with two faces: the peer hears what it may act on, the operator what happened and what to do next.
//!
//! Rooms keep errors of their own; doors turn them into a [`Failure`], answer the peer in their protocol's terms and
//! log the operator's face once, under the same correlation id. No personal data, no content, no key material.

use std::fmt;

/// Shown to the peer and written to the log, so that both can talk about the same event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CorrelationId(pub u128);

impl CorrelationId {
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().as_u128())
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0 >> 64)
    }
}

/// How loudly the operator is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loudness {
    /// The same was said a moment ago; kept for whoever follows a correlation id with the filter at `debug`.
    Debug,
    /// The peer's mistake; of interest when the peer asks.
    Info,
    /// Something an administrator may want to see to.
    Warn,
    /// Someone must look.
    Error,
}

#[derive(Debug, Clone)]
pub struct Failure {
    /// A stable word, such as `reader-unknown`; the protocol's own code is the door's business.
    pub code: &'static str,
    /// One sentence for the peer.
    pub sentence: String,
    /// What the operator needs beyond the sentence.
    pub detail: String,
    /// What the operator does next; empty where there is nothing to do.
    pub next_step: String,
    pub loudness: Loudness,
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({})", self.sentence, self.code)
    }
}

impl Failure {
    pub fn log(&self, correlation: CorrelationId) {
        let (code, detail, next_step) = (self.code, self.detail.as_str(), self.next_step.as_str());
        match self.loudness {
            Loudness::Debug => tracing::debug!(%correlation, code, detail, next_step, "{}", self.sentence),
            Loudness::Info => tracing::info!(%correlation, code, detail, next_step, "{}", self.sentence),
            Loudness::Warn => tracing::warn!(%correlation, code, detail, next_step, "{}", self.sentence),
            Loudness::Error => tracing::error!(%correlation, code, detail, next_step, "{}", self.sentence),
        }
    }
}
