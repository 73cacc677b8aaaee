//! The operator's listener: `/livez`, `/readyz`, `/metrics`.
//!
//! Live means the process answers; ready means that it would accept a message. The listener has no authentication, so
//! the figures are sums: no identifier of a party or a message appears, only accounts' names beside the days that
//! their certificates have left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::clock::{Clock, SystemClock};
use crate::net::{Body, Handler, Peer, Permits, full};
use crate::relay::Relay;
use crate::store::{MailboxSummary, Store};

/// A process as its operator sees it.
#[async_trait]
pub(super) trait Watched: Send + Sync + 'static {
    /// What is amiss and keeps no message out, or why none would be taken.
    async fn readiness(&self) -> Result<Vec<String>, String>;

    /// All metrics, those that are measured when they are asked for among them.
    async fn render(&self) -> String;
}

#[derive(Clone)]
pub(super) struct State(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    relay: Arc<Relay>,
    metrics: PrometheusHandle,
    /// Of the doors that participants reach.
    permits: Vec<Permits>,
    draining: AtomicBool,
}

impl State {
    pub(super) fn new(
        store: Arc<dyn Store>,
        relay: Arc<Relay>,
        metrics: PrometheusHandle,
        permits: Vec<Permits>,
    ) -> Self {
        Self(Arc::new(Inner { store, relay, metrics, permits, draining: AtomicBool::new(false) }))
    }

    /// From here on not ready, so that a balancer looks elsewhere.
    pub(super) fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn metrics(&self) -> PrometheusHandle {
        self.0.metrics.clone()
    }

    async fn measure(&self) {
        if let Ok(health) = self.0.store.health().await {
            // A database on another host does not tell.
            if health.free_bytes != u64::MAX {
                metrics::gauge!("amtsbote_store_free_bytes").set(health.free_bytes as f64);
            }
            metrics::gauge!("amtsbote_store_accepting").set(if health.accepting { 1.0 } else { 0.0 });
            metrics::gauge!("amtsbote_store_messages").set(health.messages as f64);
            metrics::gauge!("amtsbote_evidence_records").set(health.evidence_records as f64);
        }
        let Ok(mailboxes) = self.0.store.mailboxes().await else { return };
        let sum = |count: fn(&MailboxSummary) -> u64| mailboxes.iter().map(count).sum::<u64>();
        for (state, sum) in [
            ("held", sum(|mailbox| mailbox.held)),
            ("waiting", sum(|mailbox| mailbox.waiting)),
            ("handed-out", sum(|mailbox| mailbox.handed_out)),
            ("dead", sum(|mailbox| mailbox.dead)),
        ] {
            metrics::gauge!("amtsbote_mailbox_messages", "state" => state).set(sum as f64);
        }
        let oldest = mailboxes.iter().filter_map(|mailbox| mailbox.oldest_waiting_at).min();
        let age = oldest.map_or(0, |at| SystemClock.now().as_second().saturating_sub(at.as_second()));
        metrics::gauge!("amtsbote_mailbox_oldest_seconds").set(age as f64);
    }
}

#[async_trait]
impl Watched for State {
    async fn readiness(&self) -> Result<Vec<String>, String> {
        if self.0.draining.load(Ordering::Relaxed) {
            return Err("the server is stopping".to_owned());
        }
        if let Some(full) = self.0.permits.iter().find(|permits| permits.free() == 0) {
            return Err(format!("every connection of the door {} is taken", full.door()));
        }
        let health = self.0.store.health().await.map_err(|error| error.to_string())?;
        if !health.accepting {
            return Err(health.reason);
        }
        let warning = Some(health.warning).filter(|warning| !warning.is_empty());
        Ok(warning.into_iter().chain(self.0.relay.time_stamp_trouble()).collect())
    }

    async fn render(&self) -> String {
        self.measure().await;
        self.0.metrics.render()
    }
}

pub(super) struct Door<W> {
    watched: W,
}

impl<W> Door<W> {
    pub(super) fn new(watched: W) -> Self {
        Self { watched }
    }
}

#[async_trait]
impl<W: Watched> Handler for Door<W> {
    async fn handle(&self, request: Request<Body>, _: &Peer) -> Response<Body> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n".to_owned());
        }
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "alive\n".to_owned()),
            "/readyz" => match self.watched.readiness().await {
                Ok(amiss) => {
                    let lines = amiss.iter().map(|what| format!("{what}\n"));
                    text(StatusCode::OK, std::iter::once("ready\n".to_owned()).chain(lines).collect())
                }
                Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
            },
            "/metrics" => text(StatusCode::OK, self.watched.render().await),
            _ => text(StatusCode::NOT_FOUND, "/livez, /readyz or /metrics\n".to_owned()),
        }
    }
}

fn text(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
