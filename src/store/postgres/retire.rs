//! The end of a node: its log is closed by a last line and a last checkpoint, and nobody works in its name again.

use thiserror::Error;

use super::anchor::OF_CLOSING;
use super::evidence::{STORED_LEVEL_MIN, on_tree};
use super::pools::Pools;
use super::read::column;
use super::{Fault, OpenError, Reading, Settings, verify};
use crate::domain::content::Digest;
use crate::evidence::anchor::Closing;
use crate::evidence::checkpoint::{Checkpoint, SigningKey};
use crate::evidence::tree::{Frontier, leaf_hash};
use crate::net::postgres::commit;
use crate::store::AdminAct;
use crate::store::row::{int, uint};

#[derive(Debug, Error)]
pub enum RetireError {
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error("no node {0} has ever worked on this store")]
    Unknown(String),
    #[error("the log of node {0} is closed already")]
    Closed(String),
    #[error("the log of node {0} is not sound, and what is not sound is not signed: {1}")]
    Unsound(String, String),
}

impl From<tokio_postgres::Error> for RetireError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<Fault> for RetireError {
    fn from(fault: Fault) -> Self {
        Self::Store(fault.into())
    }
}

/// Closes the log of `node`, in whose name no process may work; the final checkpoint is signed with `key`.
pub async fn retire(
    settings: Settings,
    node: &str,
    key: &SigningKey,
    act: AdminAct,
) -> Result<Checkpoint, RetireError> {
    let pools = Pools::new(settings)?;
    let mut session = pools.session().await?;
    if super::schema::identity(&session.client).await?.is_none() {
        return Err(RetireError::Unknown(node.to_owned()));
    }
    let name = "SELECT pg_try_advisory_lock(hashtextextended('amtsbote node ' || $1, 0))";
    if !column::<bool>(&session.client.query_one(name, &[&node]).await?, 0)? {
        return Err(OpenError::NameTaken(node.to_owned()).into());
    }
    let report = verify::look(&mut session.client, &[], &[]).await?;
    if let Some(problem) = report.problems.iter().find(|problem| problem.node == node) {
        return Err(RetireError::Unsound(node.to_owned(), problem.what.clone()));
    }
    let work = session.client.transaction().await?;
    let row = "SELECT size, closed FROM node WHERE name = $1 FOR UPDATE";
    let row = work.query_opt(row, &[&node]).await?.ok_or_else(|| RetireError::Unknown(node.to_owned()))?;
    let (size, closed): (i64, bool) = (column(&row, 0)?, column(&row, 1)?);
    if closed {
        return Err(RetireError::Closed(node.to_owned()));
    }
    let log = "SELECT idx, leaf FROM evidence WHERE node = $1 AND idx >= $2 LIMIT 1";
    if !work.query(log, &[&node, &size]).await?.is_empty() {
        return Err(RetireError::Unsound(node.to_owned(), "it goes on behind its end".to_owned()));
    }
    let reading = Reading::Bare(&work);
    let mut frontier = on_tree(&reading, node, |tree| Frontier::of(tree, uint(size))).await?;
    let bytes = Closing { time: act.at, node: node.to_owned() }.to_bytes();
    let leaf = leaf_hash(&bytes);
    let line = "INSERT INTO evidence (node, idx, message, leaf, bytes) VALUES ($1, $2, $3, $4, $5)";
    work.execute(line, &[&node, &size, &OF_CLOSING, &leaf.as_slice(), &bytes]).await?;
    for (level, index, hash) in frontier.append(leaf) {
        if level >= STORED_LEVEL_MIN {
            let subtree = "INSERT INTO evidence_node (node, level, idx, hash) VALUES ($1, $2, $3, $4)";
            work.execute(subtree, &[&node, &i64::from(level), &int(index), &hash.as_slice()]).await?;
        }
    }
    let (size, root) = (frontier.size(), frontier.root());
    let note = key.sign(size, &root);
    let checkpoint = "INSERT INTO checkpoint (node, size, note, digest) VALUES ($1, $2, $3, $4)";
    work.execute(checkpoint, &[&node, &int(size), &note, &Digest::of(note.as_bytes()).0.as_slice()]).await?;
    super::evidence::publish_keys(&Reading::Bare(&work), node, &[key.verifier().clone()]).await?;
    let end = "UPDATE node SET size = $2, batch = batch + 1, closed = true WHERE name = $1";
    work.execute(end, &[&node, &int(size)]).await?;
    let act = super::act_bytes(&act).map_err(Fault::from)?;
    work.execute(super::ACT, &[&act]).await?;
    commit(work).await?;
    Ok(Checkpoint { origin: key.verifier().name().to_owned(), size, root })
}
