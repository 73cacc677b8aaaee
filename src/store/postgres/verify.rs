//! The evidence logs of all nodes, from the first record to the last, and held against each other; then what the database
//! holds of messages against them (`holdings`).
//!
//! Every record is hashed into its log's tree again and compared with the stored hashes, with every checkpoint, and with
//! what the other nodes have written down of it. One snapshot is read; nodes may be at work meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio_postgres::{Client, IsolationLevel, Transaction};

use super::anchor::{OF_ANCHOR, OF_CLOSING};
use super::evidence::STORED_LEVEL_MIN;
use super::pools::Pools;
use super::read::{column, digest};
use super::{Fault, OpenError, Settings};
use crate::domain::content::Digest;
use crate::evidence::anchor::{Anchor, Line};
use crate::evidence::checkpoint::{Checkpoint, VerifierKey, statement};
use crate::evidence::tree::{Frontier, Hash, empty_root, leaf_hash};
use crate::store::row::{int, uint};

const PAGE: i64 = 4096;
/// Problems that a report lists; the rest is counted.
const PROBLEMS_MAX: usize = 100;

/// Something that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LogProblem {
    /// Whose log it is in; empty for a file that fits no log, and for a message.
    pub node: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    /// Records that the checkpoint covers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<u64>,
    pub what: String,
}

/// One node's log.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NodeLog {
    pub node: String,
    pub records: u64,
    pub checkpoints: u64,
    pub root: Digest,
    pub closed: bool,
    /// So many of its records are under a checkpoint that another node has written down.
    pub held_by_others: u64,
}

/// What was seen of all logs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogsReport {
    pub nodes: Vec<NodeLog>,
    /// So many were held against the logs, with their payloads; absent where a log is not sound.
    pub messages: Option<u64>,
    /// At most 100.
    pub problems: Vec<LogProblem>,
    pub problem_count: u64,
}

impl LogsReport {
    pub fn is_sound(&self) -> bool {
        self.problem_count == 0
    }

    pub(super) fn blame(&mut self, node: &str, record: Option<u64>, checkpoint: Option<u64>, what: String) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(LogProblem { node: node.to_owned(), message: None, record, checkpoint, what });
        }
    }

    pub(super) fn blame_message(&mut self, id: &str, sequence: i64, what: &str) {
        self.blame("", None, None, format!("message {id} (sequence {sequence}): {what}"));
        if let Some(problem) = self.problems.get_mut(self.problem_count as usize - 1) {
            problem.message = Some(id.to_owned());
        }
    }

    fn blame_record(&mut self, node: &str, index: u64, what: &str) {
        self.blame(node, Some(index), None, format!("node {node}, record {index}: {what}"));
    }

    fn blame_checkpoint(&mut self, node: &str, size: u64, what: &str) {
        self.blame(node, None, Some(size), format!("node {node}, checkpoint of {size} records: {what}"));
    }
}

/// A checkpoint from elsewhere, such as a proof file, that a log of this store must agree with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Where it was found, for the report.
    pub place: String,
    pub size: u64,
    pub root: Hash,
}

/// Verifies all logs of a store, and where they are sound its messages; every checkpoint must be signed by one of `keys`,
/// where any are given.
pub async fn verify_logs(
    settings: Settings,
    keys: &[VerifierKey],
    claims: &[Claim],
) -> Result<LogsReport, OpenError> {
    let pools = Arc::new(Pools::new(settings)?);
    let mut session = pools.session().await?;
    match super::schema::identity(&session.client).await? {
        None => return Err(OpenError::Settings("the database holds no store".to_owned())),
        Some((id, version)) => {
            super::schema::check_version(version)?;
            pools.set_store_id(id);
        }
    }
    let mut report = look(&mut session.client, keys, claims).await?;
    // A log that is not what it was says nothing of a card.
    if report.is_sound() {
        super::holdings::check(&pools, &mut session.client, &mut report).await?;
    }
    Ok(report)
}

/// A log as it was read.
struct Log {
    node: String,
    size: u64,
    closed: bool,
    /// The tree cannot be computed: a record is missing.
    broken: bool,
    root: Hash,
    /// At the sizes that somebody states.
    roots: BTreeMap<u64, Hash>,
    /// Notes by size.
    checkpoints: BTreeMap<u64, String>,
    anchors: Vec<(u64, Anchor)>,
}

pub async fn look(client: &mut Client, keys: &[VerifierKey], claims: &[Claim]) -> Result<LogsReport, Fault> {
    let snapshot = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let snapshot = snapshot.start().await?;
    let mut report = LogsReport::default();
    // Sizes at which others say what a log's root was.
    let mut stated: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for row in snapshot.query("SELECT bytes FROM evidence WHERE message = $1", &[&OF_ANCHOR]).await? {
        if let Ok(Line::Anchor(anchor)) = Line::from_bytes(column(&row, 0)?) {
            stated.entry(anchor.node).or_default().insert(anchor.size);
        }
    }
    // A log may have outlived its node's row.
    let names = "SELECT n, size, coalesce(closed, false) FROM (SELECT name AS n FROM node UNION \
                 (WITH RECURSIVE found AS ((SELECT min(node) AS n FROM evidence) UNION ALL \
                 SELECT (SELECT min(node) FROM evidence WHERE node > found.n) FROM found WHERE found.n IS NOT NULL) \
                 SELECT n FROM found WHERE n IS NOT NULL)) names LEFT JOIN node ON node.name = n ORDER BY n";
    let mut logs = Vec::new();
    for row in snapshot.query(names, &[]).await? {
        let node: String = column(&row, 0)?;
        let mut log = Log {
            size: 0,
            closed: column(&row, 2)?,
            broken: false,
            root: empty_root(),
            roots: BTreeMap::new(),
            checkpoints: checkpoints(&snapshot, &node, keys, &mut report).await?,
            anchors: Vec::new(),
            node,
        };
        let mut sizes = stated.remove(&log.node).unwrap_or_default();
        sizes.extend(log.checkpoints.keys());
        sizes.extend(claims.iter().map(|claim| claim.size));
        read_log(&snapshot, &mut log, &sizes, &mut report).await?;
        match column::<Option<i64>>(&row, 1)?.map(uint) {
            Some(size) if size != log.size && !log.broken => {
                let what = format!("node {}: its log has {} records where {size} belong", log.node, log.size);
                report.blame(&log.node, Some(size.min(log.size)), None, what);
            }
            None => {
                let what = format!("node {}: its row is missing; its log has {} records", log.node, log.size);
                report.blame(&log.node, None, None, what);
            }
            Some(_) => {}
        }
        check_own(&log, &mut report);
        check_list(&snapshot, &log, &mut report).await?;
        logs.push(log);
    }
    snapshot.commit().await?;
    check_others(&logs, &mut report);
    for claim in claims {
        if !logs.iter().any(|log| log.roots.get(&claim.size) == Some(&claim.root)) {
            let Claim { place, size, .. } = claim;
            let what = format!("{place}: no log of this store agrees with its checkpoint of {size} records");
            report.blame("", None, Some(*size), what);
        }
    }
    for log in &logs {
        let anchors = logs.iter().filter(|other| other.node != log.node).flat_map(|other| &other.anchors);
        let held = anchors.filter(|(_, anchor)| anchor.node == log.node).map(|(_, anchor)| anchor.size).max();
        report.nodes.push(NodeLog {
            node: log.node.clone(),
            records: log.size,
            checkpoints: log.checkpoints.len() as u64,
            root: Digest(log.root),
            closed: log.closed,
            held_by_others: held.unwrap_or_default(),
        });
    }
    Ok(report)
}

async fn checkpoints(
    snapshot: &Transaction<'_>,
    node: &str,
    keys: &[VerifierKey],
    report: &mut LogsReport,
) -> Result<BTreeMap<u64, String>, Fault> {
    let mut notes = BTreeMap::new();
    let question = "SELECT size, note, digest FROM checkpoint WHERE node = $1 ORDER BY size";
    for row in snapshot.query(question, &[&node]).await? {
        let (size, note) = (uint(column(&row, 0)?), column::<String>(&row, 1)?);
        if digest(&row, 2)? != Some(Digest::of(note.as_bytes()).0) {
            report.blame_checkpoint(node, size, "its text was changed");
        }
        if !keys.is_empty()
            && let Err(error) = Checkpoint::open_with(&note, keys)
        {
            report.blame_checkpoint(node, size, &error.to_string());
        }
        if statement(&note).is_none_or(|(stated, _)| stated != size) {
            report.blame_checkpoint(node, size, "it does not state size and root");
        }
        notes.insert(size, note);
    }
    Ok(notes)
}

/// Reads one log into its tree.
async fn read_log(
    snapshot: &Transaction<'_>,
    log: &mut Log,
    sizes: &BTreeSet<u64>,
    report: &mut LogsReport,
) -> Result<(), Fault> {
    let question =
        "SELECT idx, message, leaf, bytes FROM evidence WHERE node = $1 AND idx >= $2 ORDER BY idx LIMIT $3";
    let question = snapshot.prepare(question).await?;
    let mut frontier = Frontier::default();
    let (mut next, mut stored_nodes, mut is_closed) = (0, 0, false);
    log.roots.insert(0, empty_root());
    loop {
        let rows = snapshot.query(&question, &[&log.node, &int(next), &PAGE]).await?;
        let Some(last) = rows.last() else { break };
        next = uint(column(last, 0)?) + 1;
        let mut named = Vec::new();
        let mut completed = Vec::new();
        for row in &rows {
            let (index, message, bytes): (i64, i64, &[u8]) =
                (column(row, 0)?, column(row, 1)?, column(row, 3)?);
            let index = uint(index);
            if index != log.size && !log.broken {
                report.blame_record(&log.node, log.size, "it is missing");
                log.broken = true;
            }
            let hash = leaf_hash(bytes);
            if digest(row, 2)? != Some(hash) {
                report.blame_record(&log.node, index, "its bytes or its hash was changed");
            }
            if is_closed {
                report.blame_record(&log.node, index, "it stands behind the end of the log");
            }
            match Line::from_bytes(bytes) {
                Err(error) => report.blame_record(&log.node, index, &error.to_string()),
                Ok(Line::Record(record)) => {
                    named.push((record.message_id.key().as_str().to_owned(), index, message));
                }
                Ok(Line::Anchor(anchor)) => {
                    if message != OF_ANCHOR || anchor.node == log.node {
                        report.blame_record(&log.node, index, "it does not stand as an anchor does");
                    }
                    log.anchors.push((index, anchor));
                }
                Ok(Line::Closing(closing)) => {
                    is_closed = true;
                    if message != OF_CLOSING || closing.node != log.node || !log.closed {
                        report.blame_record(&log.node, index, "it ends a log that is not ended");
                    }
                }
            }
            log.size = index + 1;
            if !log.broken {
                let done = frontier.append(hash);
                completed.extend(done.into_iter().filter(|(level, _, _)| *level >= STORED_LEVEL_MIN));
                if sizes.contains(&frontier.size()) {
                    log.roots.insert(frontier.size(), frontier.root());
                }
            }
        }
        check_messages(snapshot, &log.node, &named, report).await?;
        stored_nodes += completed.len() as u64;
        check_subtrees(snapshot, &log.node, &completed, report).await?;
    }
    if log.closed && !is_closed {
        report.blame(
            &log.node,
            None,
            None,
            format!("node {}: its log was closed, and its last line is missing", log.node),
        );
    }
    let count = "SELECT count(*) FROM evidence_node WHERE node = $1";
    let stored = uint(column(&snapshot.query_one(count, &[&log.node]).await?, 0)?);
    if stored != stored_nodes && !log.broken {
        let what =
            format!("node {}: the tree has {stored} stored nodes where {stored_nodes} belong", log.node);
        report.blame(&log.node, None, None, what);
    }
    log.root = frontier.root();
    Ok(())
}

/// Records stand with the messages that they name.
async fn check_messages(
    snapshot: &Transaction<'_>,
    node: &str,
    named: &[(String, u64, i64)],
    report: &mut LogsReport,
) -> Result<(), Fault> {
    let keys: Vec<&str> = named.iter().map(|(key, _, _)| key.as_str()).collect();
    let known = "SELECT key, sequence FROM used WHERE key = ANY($1)";
    let mut sequences = BTreeMap::new();
    for row in snapshot.query(known, &[&keys]).await? {
        sequences.insert(column::<String>(&row, 0)?, column::<Option<i64>>(&row, 1)?);
    }
    for (key, index, message) in named {
        if sequences.get(key).copied().flatten() != Some(*message) {
            report.blame_record(node, *index, "it stands with another message than it names");
        }
    }
    Ok(())
}

async fn check_subtrees(
    snapshot: &Transaction<'_>,
    node: &str,
    completed: &[(u8, u64, Hash)],
    report: &mut LogsReport,
) -> Result<(), Fault> {
    let levels: Vec<i64> = completed.iter().map(|(level, _, _)| i64::from(*level)).collect();
    let indexes: Vec<i64> = completed.iter().map(|(_, index, _)| int(*index)).collect();
    let question = "SELECT s.level, s.idx, s.hash FROM unnest($2::bigint[], $3::bigint[]) AS w (level, idx) \
                    JOIN evidence_node s ON s.node = $1 AND s.level = w.level AND s.idx = w.idx";
    let mut stored = BTreeMap::new();
    for row in snapshot.query(question, &[&node, &levels, &indexes]).await? {
        stored.insert((column::<i64>(&row, 0)?, column::<i64>(&row, 1)?), digest(&row, 2)?);
    }
    for (level, index, hash) in completed {
        if stored.get(&(i64::from(*level), int(*index))).copied().flatten() != Some(*hash) {
            let first = index << level;
            let what = format!("the tree's node over {} records from here on differs", 1_u64 << level);
            report.blame_record(node, first, &what);
        }
    }
    Ok(())
}

/// A log and its own checkpoints. The first that it contradicts is named, since all later ones follow from it.
fn check_own(log: &Log, report: &mut LogsReport) {
    let mut agreed = 0;
    for (size, note) in &log.checkpoints {
        let Some((stated, root)) = statement(note).filter(|(stated, _)| stated == size) else { continue };
        if stated > log.size {
            let what = format!("the log has only {} records", log.size);
            return report.blame_checkpoint(&log.node, stated, &what);
        }
        match log.roots.get(size) {
            None => return,
            Some(found) if *found == root => agreed = *size,
            Some(_) => {
                let last = size.saturating_sub(1);
                let what = format!(
                    "its root is not that of the log; what was changed lies in records {agreed} to {last}"
                );
                return report.blame_checkpoint(&log.node, *size, &what);
            }
        }
    }
}

/// What this node has written down, by its own list.
async fn check_list(snapshot: &Transaction<'_>, log: &Log, report: &mut LogsReport) -> Result<(), Fault> {
    let question = "SELECT idx, of_node, size, root FROM anchor WHERE node = $1 ORDER BY idx";
    let mut lines: BTreeMap<u64, &Anchor> =
        log.anchors.iter().map(|(index, anchor)| (*index, anchor)).collect();
    for row in snapshot.query(question, &[&log.node]).await? {
        let (index, of, size) = (uint(column(&row, 0)?), column::<String>(&row, 1)?, uint(column(&row, 2)?));
        let root = digest(&row, 3)?;
        let line = lines.remove(&index);
        if line.is_none_or(|line| line.node != of || line.size != size || Some(line.root) != root) {
            let what = format!(
                "the checkpoint of {size} records of node {of} is missing here, where it was written down"
            );
            report.blame_record(&log.node, index, &what);
        }
    }
    for (index, line) in lines {
        let what = format!(
            "the list of what was written down lacks the checkpoint of {} records of node {}",
            line.size, line.node
        );
        report.blame_record(&log.node, index, &what);
    }
    Ok(())
}

/// What the nodes have written down of each other.
fn check_others(logs: &[Log], report: &mut LogsReport) {
    for holder in logs {
        for (index, anchor) in &holder.anchors {
            let Anchor { node, size, root, note, .. } = anchor;
            let place = format!("record {index} of node {}", holder.node);
            let Some(log) = logs.iter().find(|log| log.node == *node) else {
                let what = format!(
                    "node {node}: its log is gone, and {place} states its checkpoint of {size} records"
                );
                report.blame(node, None, Some(*size), what);
                continue;
            };
            if log.size < *size {
                let what = format!("the log has only {} records, and {place} states it", log.size);
                report.blame_checkpoint(node, *size, &what);
                continue;
            }
            if !log.broken && log.roots.get(size) != Some(root) {
                report.blame_checkpoint(node, *size, &format!("the log contradicts it as {place} states it"));
            }
            match log.checkpoints.get(size) {
                None => {
                    report.blame_checkpoint(node, *size, &format!("it is missing, and {place} states it"))
                }
                Some(found) if Digest::of(found.as_bytes()) != *note => {
                    report.blame_checkpoint(node, *size, &format!("it is another than {place} states"));
                }
                Some(_) => {}
            }
        }
    }
}
