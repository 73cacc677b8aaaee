//! Cards and payloads as the database holds them, against the logs of all nodes.
//!
//! The card of a message must be one that a node has logged last and know what every other node has logged last, its payload
//! must have the digest that was logged, and what is not there must have been purged. A page of messages with their records is
//! read in a snapshot of its own, which ends before payloads are read: those may take long, and a snapshot that stands keeps
//! the database from tidying up. Timers and counters are derived again from the messages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use tokio_postgres::{Client, IsolationLevel, Row as Found, Statement, Transaction};

use super::payload;
use super::pools::{Pools, Reading};
use super::read::{ROW, column, row};
use super::verify::LogsReport;
use super::{Fault, StoreError};
use crate::domain::content::Digest;
use crate::domain::message_id::MessageId;
use crate::domain::state::DeliveryState;
use crate::evidence::record::{Record, RecordEvent};
use crate::store::PayloadReader;
use crate::store::agreement::{Papers, contradictions};
use crate::store::row::{Place, Row, due_number, int, state_number};

/// Messages of one page, which is held with all of its papers.
const PAGE: i64 = 16;
/// Ids of one page.
const IDS: i64 = 256;
const LAST_RECORDS: &str = "SELECT DISTINCT ON (message, node) message, bytes FROM evidence WHERE message = ANY($1) \
    ORDER BY message, node, idx DESC";
const TIMERS_MISSING: &str = "SELECT sequence \
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS n (at, sequence, kind) WHERE NOT EXISTS \
    (SELECT 1 FROM timer t WHERE t.at = n.at AND t.sequence = n.sequence AND t.kind = n.kind)";
/// How many there are, and how many belong there ([`Row::timers`]).
const TIMERS_COUNTED: &str = "SELECT (SELECT count(*) FROM timer), coalesce(sum(\
    CASE WHEN state = ANY($2) THEN CASE WHEN final_at IS NULL THEN 0 WHEN payload_place = $3 THEN 1 ELSE 2 END \
    ELSE 1 + (state = $1 AND release_at IS NOT NULL)::int + (offered AND remind_at IS NOT NULL)::int END), 0) \
    FROM message";
const COUNTERS_WRONG: &str = "SELECT coalesce(c.name, m.name) \
    FROM mailbox c FULL JOIN (SELECT mailbox AS name, count(*) AS total, count(*) FILTER (WHERE state = $1) AS held, \
    count(*) FILTER (WHERE state = $2) AS waiting, count(*) FILTER (WHERE state = $3) AS handed_out, \
    count(*) FILTER (WHERE state = $4) AS dead, sum(payload_bytes) FILTER (WHERE state = $2) AS bytes_waiting \
    FROM message GROUP BY mailbox) m USING (name) \
    WHERE (coalesce(c.total, 0), coalesce(c.held, 0), coalesce(c.waiting, 0), coalesce(c.handed_out, 0), \
    coalesce(c.dead, 0), coalesce(c.bytes_waiting, 0)) IS DISTINCT FROM (coalesce(m.total, 0), coalesce(m.held, 0), \
    coalesce(m.waiting, 0), coalesce(m.handed_out, 0), coalesce(m.dead, 0), coalesce(m.bytes_waiting, 0)) ORDER BY 1";

pub async fn check(pools: &Arc<Pools>, client: &mut Client, report: &mut LogsReport) -> Result<(), Fault> {
    let question = format!(
        "SELECT {ROW}, offered, envelope, manifest, author_digest, card \
         FROM message LEFT JOIN paper USING (sequence) WHERE sequence > $1 ORDER BY sequence LIMIT $2"
    );
    let (question, of_records) = (client.prepare(&question).await?, client.prepare(LAST_RECORDS).await?);
    let timers_missing = client.prepare(TIMERS_MISSING).await?;
    let (mut after, mut count) = (0, 0);
    loop {
        let page = snapshot(client).await?;
        let rows = page.query(&question, &[&after, &PAGE]).await?;
        let sequences: Vec<i64> = rows.iter().map(|found| column(found, 0)).collect::<Result<_, _>>()?;
        let Some(last) = sequences.last() else { break };
        after = *last;
        let mut logged = last_records(&page, &of_records, &sequences).await?;
        let read: Vec<Result<Row, Fault>> = rows.iter().map(row).collect();
        let missing = missing_timers(&page, &timers_missing, read.iter().flatten()).await?;
        page.commit().await?;
        for ((found, sequence), read) in rows.iter().zip(&sequences).zip(read) {
            count += 1;
            let logged = logged.remove(sequence).unwrap_or_default();
            match read {
                Ok(row) => {
                    if missing.contains(sequence) {
                        let what = "a timer is missing: what is due of it is not done";
                        report.blame_message(&row.id, *sequence, what);
                    }
                    check_message(pools, found, &row, &logged, report).await?;
                }
                Err(fault) => report.blame_message(&sequence.to_string(), *sequence, &fault.to_string()),
            }
        }
    }
    report.messages = Some(count);
    check_missing(client, &of_records, report).await?;
    check_sums(client, report).await
}

/// Which of these messages lack a timer.
async fn missing_timers(
    snapshot: &Transaction<'_>,
    question: &Statement,
    rows: impl Iterator<Item = &Row>,
) -> Result<BTreeSet<i64>, Fault> {
    let (mut at, mut sequences, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        for (kind, instant) in row.timers() {
            at.push(instant);
            sequences.push(int(row.sequence));
            kinds.push(due_number(kind));
        }
    }
    let found = snapshot.query(question, &[&at, &sequences, &kinds]).await?;
    found.iter().map(|found| column(found, 0)).collect()
}

/// The number of timers, and what mailboxes are said to hold.
async fn check_sums(client: &Client, report: &mut LogsReport) -> Result<(), Fault> {
    let ended = DeliveryState::ALL.into_iter().filter(|state| state.is_final());
    let ended: Vec<i64> = ended.map(state_number).collect();
    let (held, purged) = (state_number(DeliveryState::Held), Place::Purged as i64);
    let found = client.query_one(TIMERS_COUNTED, &[&held, &ended, &purged]).await?;
    let (stored, belong): (i64, i64) = (column(&found, 0)?, column(&found, 1)?);
    if stored != belong {
        report.blame("", None, None, format!("there are {stored} timers where {belong} belong"));
    }
    let counted =
        [DeliveryState::Held, DeliveryState::Waiting, DeliveryState::HandedOut, DeliveryState::Dead];
    let [held, waiting, handed_out, dead] = counted.map(state_number);
    for found in client.query(COUNTERS_WRONG, &[&held, &waiting, &handed_out, &dead]).await? {
        let mailbox: String = column(&found, 0)?;
        report.blame("", None, None, format!("the counters of mailbox {mailbox} are wrong"));
    }
    Ok(())
}

async fn snapshot(client: &mut Client) -> Result<Transaction<'_>, Fault> {
    let snapshot = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    Ok(snapshot.start().await?)
}

/// The last record that each log has of each of these messages.
async fn last_records(
    snapshot: &Transaction<'_>,
    of_records: &Statement,
    sequences: &[i64],
) -> Result<BTreeMap<i64, Vec<Record>>, Fault> {
    let mut logged: BTreeMap<i64, Vec<Record>> = BTreeMap::new();
    for found in snapshot.query(of_records, &[&sequences]).await? {
        if let Ok(record) = Record::from_bytes(column(&found, 1)?) {
            logged.entry(column(&found, 0)?).or_default().push(record);
        }
    }
    Ok(logged)
}

async fn check_message(
    pools: &Arc<Pools>,
    found: &Found,
    row: &Row,
    logged: &[Record],
    report: &mut LogsReport,
) -> Result<(), Fault> {
    let bytes = |at: usize| column::<Option<Vec<u8>>>(found, at);
    let papers = match (bytes(21)?, bytes(22)?, bytes(23)?, bytes(24)?) {
        (Some(envelope), Some(manifest), Some(author_digest), Some(card)) => {
            Some(Papers { envelope, manifest, author_digest, card })
        }
        _ => None,
    };
    for what in contradictions(row, column(found, 20)?, papers.as_ref(), logged) {
        report.blame_message(&row.id, int(row.sequence), what);
    }
    if row.place == Place::Purged {
        return Ok(());
    }
    let expected = (row.payload_bytes, row.payload_digest);
    match payload_of(pools, row).await {
        Ok(found) if found == expected => {}
        Ok(_) => report.blame_message(&row.id, int(row.sequence), "the payload was changed"),
        // Purged since the snapshot; an id that is not marked as used was named with the records.
        Err(StoreError::Unknown) => {}
        Err(StoreError::Corrupt(what)) => {
            report.blame_message(&row.id, int(row.sequence), &format!("the payload: {what}"));
        }
        // What cannot be reached is not damaged.
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

async fn payload_of(pools: &Arc<Pools>, row: &Row) -> Result<(i64, Digest), StoreError> {
    let id = MessageId::parse(&row.id).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let client = pools.client().await.map_err(Fault::into_store_error)?;
    let opened = payload::open(&Reading::One(&client), pools, &id, 0, u64::MAX).await;
    drop(client);
    let mut reader = opened.map_err(Fault::into_store_error)?;
    let (mut context, mut length) = (Context::new(&SHA256), 0);
    while let Some(piece) = reader.next().await? {
        context.update(&piece);
        length += piece.len() as u64;
    }
    let mut digest = Digest([0; 32]);
    digest.0.copy_from_slice(context.finish().as_ref());
    Ok((int(length), digest))
}

/// Ids of messages whose cards are gone: a log must say that they were purged.
async fn check_missing(
    client: &mut Client,
    of_records: &Statement,
    report: &mut LogsReport,
) -> Result<(), Fault> {
    let question = "SELECT key, sequence FROM used WHERE sequence > $1 \
                    AND NOT EXISTS (SELECT 1 FROM message WHERE message.sequence = used.sequence) \
                    ORDER BY sequence LIMIT $2";
    let question = client.prepare(question).await?;
    let mut after = 0;
    loop {
        let page = snapshot(client).await?;
        let rows = page.query(&question, &[&after, &IDS]).await?;
        let sequences: Vec<i64> = rows.iter().map(|found| column(found, 1)).collect::<Result<_, _>>()?;
        let Some(last) = sequences.last() else { return Ok(()) };
        after = *last;
        let logged = last_records(&page, of_records, &sequences).await?;
        page.commit().await?;
        for (found, sequence) in rows.iter().zip(&sequences) {
            let is_purged = |record: &Record| record.event == RecordEvent::CardPurged;
            if !logged.get(sequence).is_some_and(|records| records.iter().any(is_purged)) {
                report.blame_message(column(found, 0)?, *sequence, "it is missing");
            }
        }
    }
}
