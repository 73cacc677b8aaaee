//! The process's metrics as Prometheus text. One recorder serves every server in the process.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::sync::watch;

static RECORDER: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

/// Seconds, from a fast answer to a slow upload.
const DURATION_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

pub(super) fn recorder() -> Result<PrometheusHandle, String> {
    let mut held = RECORDER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = held.as_ref() {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new()
        .set_buckets(&DURATION_BUCKETS)
        .map_err(|error| error.to_string())?
        .install_recorder()
        .map_err(|error| error.to_string())?;
    describe();
    *held = Some(handle.clone());
    Ok(handle)
}

fn describe() {
    metrics::describe_gauge!("amtsbote_connections", "Connections of participants and operators.");
    metrics::describe_counter!(
        "amtsbote_connections_cut_total",
        "Connections that ended by a limit or an error."
    );
    metrics::describe_counter!(
        "amtsbote_connections_refused_total",
        "Connections that were closed at once, by door and by the share that was used up."
    );
    metrics::describe_counter!(
        "amtsbote_certificates_refused_total",
        "Requests with a certificate that was not taken, by reason."
    );
    metrics::describe_gauge!("amtsbote_mailbox_messages", "Messages in mailboxes by state.");
    metrics::describe_gauge!(
        "amtsbote_mailbox_oldest_seconds",
        "Age of the oldest waiting message of all mailboxes."
    );
    metrics::describe_gauge!("amtsbote_store_free_bytes", "Free space of the store's disk.");
    metrics::describe_gauge!("amtsbote_store_accepting", "1 while the store accepts.");
    metrics::describe_gauge!(
        "amtsbote_store_standby",
        "PostgreSQL: 1 while a synchronous standby has all that is acknowledged."
    );
    metrics::describe_gauge!(
        "amtsbote_store_lag_bytes",
        "PostgreSQL: bytes of its log that the loss of the primary would lose; +Inf without a standby."
    );
    metrics::describe_gauge!(
        "amtsbote_store_lag_seconds",
        "PostgreSQL: seconds of work, at most, that the loss of the primary would lose; +Inf without a standby."
    );
    metrics::describe_counter!(
        "amtsbote_store_commits_total",
        "Durable transactions; each syncs the log once."
    );
    metrics::describe_counter!(
        "amtsbote_store_objects_swept_total",
        "Objects in the object store that belonged to no payload and were deleted."
    );
    metrics::describe_counter!(
        "amtsbote_store_checkpoints_total",
        "Times that the write-ahead log was moved into the database."
    );
    metrics::describe_gauge!(
        "amtsbote_certificate_days_left",
        "Days until a certificate without a successor ends, by owner and role."
    );
    metrics::describe_gauge!(
        "amtsbote_callbacks_failing",
        "Destinations whose receiver did not answer when it was called last."
    );
    metrics::describe_counter!("amtsbote_callbacks_failed_total", "Calls of receivers that failed.");
    metrics::describe_counter!(
        "amtsbote_callbacks_given_up_total",
        "Submissions whose receiver could not be told in portal.callback_hours."
    );
    metrics::describe_gauge!(
        "amtsbote_register_database_up",
        "Register: 1 while its database answers; the other figures are of when it did last."
    );
    metrics::describe_gauge!(
        "amtsbote_register_office_reached",
        "Register: 1 while the mailboxes can be looked into."
    );
    metrics::describe_gauge!(
        "amtsbote_register_locks_reached",
        "Register: 1 while the mailbox for locks can be looked into, or where there is none."
    );
    metrics::describe_gauge!(
        "amtsbote_register_copies",
        "Register: copies that answer, are being loaded, or wait to be cleared away."
    );
    metrics::describe_gauge!(
        "amtsbote_register_copies_stale",
        "Register: living copies that are too old and give no data."
    );
    metrics::describe_gauge!(
        "amtsbote_register_copy_oldest_seconds",
        "Register: age of the oldest living copy."
    );
    metrics::describe_gauge!(
        "amtsbote_register_changes_held",
        "Register: changes that wait for earlier ones."
    );
    metrics::describe_gauge!(
        "amtsbote_register_gaps",
        "Register: municipalities of which changes are missing."
    );
    metrics::describe_gauge!(
        "amtsbote_register_locks_unread",
        "Register: municipalities of which a lock could not be read."
    );
    metrics::describe_gauge!(
        "amtsbote_register_answers_waiting",
        "Register: messages that are not posted yet."
    );
    metrics::describe_counter!(
        "amtsbote_register_feed_refused_total",
        "Register: messages of the feed that were rejected, or cases of which were, by number."
    );
    metrics::describe_counter!(
        "amtsbote_osci_pushes_total",
        "Pushes to passive recipients by operation and outcome (taken, or the code)."
    );
}

/// Keeps histograms small.
pub(super) async fn upkeep(handle: PrometheusHandle, mut stop: watch::Receiver<bool>) {
    let mut tick = tokio::time::interval(Duration::from_secs(5));
    loop {
        tokio::select! {
            _ = tick.tick() => handle.run_upkeep(),
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}
