//! The register before the operator's listener (`register.operator_address`): `/livez`, `/readyz`, `/metrics`.
//!
//! Ready means that messages are fetched and taken: the post office answers for all mailboxes, and the database takes a
//! change.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;

use super::RegisterService;
use crate::app::metrics_text;
use crate::app::operator::{Door, Watched};
use crate::net::{Bounds, Listener, Permits, Serving};

const CONNECTIONS_MAX: usize = 64;

struct AtWork {
    service: Arc<RegisterService>,
    metrics: PrometheusHandle,
    stopped: watch::Receiver<bool>,
}

#[async_trait]
impl Watched for AtWork {
    async fn readiness(&self) -> Result<Vec<String>, String> {
        if *self.stopped.borrow() {
            return Err("the register is stopping".to_owned());
        }
        if !self.service.is_reached() {
            return Err("the post office cannot be reached, or was not yet".to_owned());
        }
        if !self.service.reaches_locks() {
            return Err("the mailbox for locks cannot be looked into, or was not yet: locks wait".to_owned());
        }
        self.service.copies(|copies| copies.check_writing()).await.map(|()| Vec::new())
    }

    async fn render(&self) -> String {
        let now = self.service.clock.now();
        let figures = self.service.copies(move |copies| copies.figures(now)).await;
        let as_figure = |is| if is { 1.0 } else { 0.0 };
        metrics::gauge!("amtsbote_register_database_up").set(as_figure(figures.is_ok()));
        metrics::gauge!("amtsbote_register_office_reached").set(as_figure(self.service.is_reached()));
        metrics::gauge!("amtsbote_register_locks_reached").set(as_figure(self.service.reaches_locks()));
        if let Ok(figures) = figures {
            for (state, count) in
                [("living", figures.living), ("loading", figures.loading), ("retired", figures.retired)]
            {
                metrics::gauge!("amtsbote_register_copies", "state" => state).set(count as f64);
            }
            metrics::gauge!("amtsbote_register_copies_stale").set(figures.stale as f64);
            metrics::gauge!("amtsbote_register_copy_oldest_seconds").set(figures.oldest_seconds as f64);
            metrics::gauge!("amtsbote_register_changes_held").set(figures.changes_held as f64);
            metrics::gauge!("amtsbote_register_gaps").set(figures.gaps as f64);
            metrics::gauge!("amtsbote_register_locks_unread").set(figures.locks_unread as f64);
            metrics::gauge!("amtsbote_register_answers_waiting").set(figures.answers_waiting as f64);
        }
        self.metrics.render()
    }
}

/// Where the listener is to be, and what it tells of.
pub(super) async fn serve(
    address: SocketAddr,
    service: Arc<RegisterService>,
    stopped: watch::Receiver<bool>,
) -> std::io::Result<Serving> {
    let metrics = metrics_text::recorder().map_err(std::io::Error::other)?;
    let listener = Listener::plain(address, Bounds::default(), Permits::new(CONNECTIONS_MAX)).await?;
    tracing::info!(operator = %listener.address()?, "the operator's listener is served");
    Ok(listener.serve(Arc::new(Door::new(AtWork { service, metrics, stopped }))))
}
