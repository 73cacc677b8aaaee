//! The nodes' logs hold each other: each writes the newest checkpoints of the others into its own.
//!
//! A checkpoint over nothing but anchors is not anchored again, so that logs without messages stay as they are. Before a
//! checkpoint is written down it is held against the log it is of, and so is the one that was written down before it: a log
//! that was rewritten is named here first.

use jiff::Timestamp;

use super::evidence::on_tree;
use super::read::{column, digest};
use super::{Fault, Reading};
use crate::evidence::anchor::Anchor;
use crate::evidence::checkpoint::statement;
use crate::evidence::tree::{self, Hash};
use crate::store::StoreError;
use crate::store::row::uint;

/// In place of a message's sequence in the row of a record.
pub const OF_ANCHOR: i64 = 0;
pub const OF_CLOSING: i64 = -1;

/// The latest checkpoint of each other log that has grown by more than anchors since it was written down here.
const DUE: &str = "SELECT n.name, c.size, c.note, b.size, b.root FROM node n \
    CROSS JOIN LATERAL (SELECT size, note FROM checkpoint WHERE node = n.name ORDER BY size DESC LIMIT 1) c \
    LEFT JOIN LATERAL (SELECT size, root FROM anchor WHERE node = $1 AND of_node = n.name ORDER BY size DESC LIMIT 1) b \
    ON true \
    WHERE n.name <> $1 AND c.size > coalesce(b.size, 0) AND EXISTS (SELECT 1 FROM evidence e \
    WHERE e.node = n.name AND e.idx >= coalesce(b.size, 0) AND e.idx < c.size AND e.message <> 0) ORDER BY n.name";

/// What is to be written down about the other nodes' logs.
pub async fn due(reading: &Reading<'_>, node: &str, now: Timestamp) -> Result<Vec<Anchor>, Fault> {
    let mut anchors = Vec::new();
    for row in reading.ask(DUE, &[&node]).await? {
        let (name, size, note): (String, i64, String) =
            (column(&row, 0)?, column(&row, 1)?, column(&row, 2)?);
        let before: Option<i64> = column(&row, 3)?;
        if let (Some(before), Some(known)) = (before, digest(&row, 4)?)
            && root(reading, &name, uint(before)).await? != known
        {
            return Err(contradiction(&name, uint(before), "that stands in this node's log"));
        }
        let anchor = Anchor::of(&name, &note, now);
        match anchor.filter(|_| statement(&note).is_some_and(|(stated, _)| stated == uint(size))) {
            Some(anchor) if root(reading, &name, anchor.size).await? == anchor.root => anchors.push(anchor),
            _ => return Err(contradiction(&name, uint(size), "of its own")),
        }
    }
    Ok(anchors)
}

async fn root(reading: &Reading<'_>, node: &str, size: u64) -> Result<Hash, Fault> {
    on_tree(reading, node, |tree| tree::root(tree, size)).await
}

fn contradiction(node: &str, size: u64, which: &str) -> Fault {
    StoreError::Corrupt(format!(
        "the evidence log of node {node} contradicts the checkpoint of {size} records {which}; \
         `amtsbote evidence verify --database` says where"
    ))
    .into()
}
