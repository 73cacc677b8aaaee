//! What both engines' tables have in common, for copying a store from one engine to the other.
//!
//! The engines keep the same rows under the same names; only large payloads lie differently (files here, chunks there), and
//! in PostgreSQL the evidence log belongs to a node. Rows are read in the order of their keys, a page at a time, so that a
//! copy that was interrupted goes on behind the last row that arrived, and both sides can be compared row by row.

use aws_lc_rs::digest::{Context, SHA256};

use crate::domain::content::Digest;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Int,
    /// SQLite has numbers for it.
    Bool,
    Text,
    Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    Null,
    Int(i64),
    Bool(bool),
    Text(String),
    Bytes(Vec<u8>),
}

/// For naming a row by its key.
impl std::fmt::Display for Value {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => write!(out, "nothing"),
            Self::Int(number) => write!(out, "{number}"),
            Self::Bool(is) => write!(out, "{is}"),
            Self::Text(text) => write!(out, "{text}"),
            Self::Bytes(bytes) => write!(out, "{} bytes", bytes.len()),
        }
    }
}

pub type Row = Vec<Value>;

/// A table that both engines have.
pub struct Table {
    pub name: &'static str,
    pub columns: &'static [(&'static str, Kind)],
    /// So many of the first columns are the key, in whose order rows are read.
    pub key: usize,
    /// In PostgreSQL it is of one node's log.
    pub of_node: bool,
}

impl Table {
    /// The names of its columns, with commas.
    pub fn names(&self) -> String {
        self.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    pub fn key_names(&self) -> String {
        self.columns.iter().take(self.key).map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }
}

use Kind::{Bool, Bytes, Int, Text};

const fn table(name: &'static str, key: usize, columns: &'static [(&'static str, Kind)]) -> Table {
    Table { name, columns, key, of_node: false }
}

const fn log_table(name: &'static str, key: usize, columns: &'static [(&'static str, Kind)]) -> Table {
    Table { name, columns, key, of_node: true }
}

/// Every table but the directory, which is one row, and what is not of both engines.
pub const TABLES: [Table; 15] = [
    table(
        "used",
        1,
        &[
            ("key", Text),
            ("account", Text),
            ("expires_at", Int),
            ("sequence", Int),
            ("request_digest", Bytes),
            ("issued_to", Bytes),
            ("sealed", Bool),
        ],
    ),
    table(
        "message",
        1,
        &[
            ("sequence", Int),
            ("id", Text),
            ("mailbox", Text),
            ("state", Int),
            ("offered", Bool),
            ("shelf", Int),
            ("posted_by", Text),
            ("delivered_at", Int),
            ("payload_bytes", Int),
            ("payload_digest", Bytes),
            ("payload_place", Int),
            ("release_at", Int),
            ("expire_at", Int),
            ("remind_at", Int),
            ("retain_payload_days", Int),
            ("retain_card_days", Int),
            ("final_at", Int),
            ("push_at", Int),
            ("push_attempt", Int),
            ("push_token", Int),
            ("push_leased", Bool),
            ("push_note", Text),
            ("destination", Text),
        ],
    ),
    table(
        "paper",
        1,
        &[
            ("sequence", Int),
            ("envelope", Bytes),
            ("manifest", Bytes),
            ("author_digest", Bytes),
            ("card", Bytes),
        ],
    ),
    table(
        "statement",
        2,
        &[("sequence", Int), ("number", Int), ("id", Text), ("account", Text), ("at", Int), ("text", Text)],
    ),
    table("payload", 1, &[("sequence", Int), ("bytes", Bytes)]),
    table("relation", 2, &[("related", Text), ("sequence", Int)]),
    table("timer", 3, &[("at", Int), ("sequence", Int), ("kind", Int)]),
    table(
        "mailbox",
        1,
        &[
            ("name", Text),
            ("total", Int),
            ("held", Int),
            ("waiting", Int),
            ("handed_out", Int),
            ("dead", Int),
            ("bytes_waiting", Int),
        ],
    ),
    table("iterator", 1, &[("id", Text), ("account", Text), ("expires_at", Int), ("content", Bytes)]),
    table(
        "dialog",
        1,
        &[
            ("id", Text),
            ("account", Text),
            ("cipher", Bytes),
            ("signature", Bytes),
            ("encrypted", Bool),
            ("challenge", Text),
            ("sequence", Int),
            ("opened_at", Int),
            ("used_at", Int),
            ("expires_at", Int),
        ],
    ),
    table("dialog_delivery", 2, &[("dialog", Text), ("message", Text)]),
    table("act", 1, &[("number", Int), ("content", Bytes)]),
    log_table("evidence", 1, &[("idx", Int), ("message", Int), ("leaf", Bytes), ("bytes", Bytes)]),
    log_table("evidence_node", 2, &[("level", Int), ("idx", Int), ("hash", Bytes)]),
    log_table("checkpoint", 1, &[("size", Int), ("note", Text), ("digest", Bytes)]),
];

/// Apart, because rows of it may be added to one checkpoint after the other.
pub const TIME_STAMPS: Table = log_table(
    "time_stamp",
    2,
    &[
        ("size", Int),
        ("number", Int),
        ("token", Bytes),
        ("digest", Bytes),
        ("time", Int),
        ("good_until", Int),
    ],
);

/// Digests rows one behind the other; every value with its kind and length, so that no two sequences of rows look alike.
pub struct Rows {
    context: Context,
    pub count: u64,
}

impl Rows {
    pub fn new() -> Self {
        Self { context: Context::new(&SHA256), count: 0 }
    }

    pub fn add(&mut self, row: &[Value]) {
        self.count += 1;
        self.context.update(b"row");
        for value in row {
            let (kind, bytes): (u8, std::borrow::Cow<'_, [u8]>) = match value {
                Value::Null => (0, b"".as_slice().into()),
                Value::Int(number) => (1, number.to_be_bytes().to_vec().into()),
                Value::Bool(is) => (2, vec![u8::from(*is)].into()),
                Value::Text(text) => (3, text.as_bytes().into()),
                Value::Bytes(bytes) => (4, bytes.as_slice().into()),
            };
            self.context.update(&[kind]);
            self.context.update(&(bytes.len() as u64).to_be_bytes());
            self.context.update(&bytes);
        }
    }

    pub fn finish(self) -> Digest {
        let mut digest = Digest([0; 32]);
        digest.0.copy_from_slice(self.context.finish().as_ref());
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(rows: &[&[Value]]) -> Digest {
        let mut all = Rows::new();
        rows.iter().for_each(|row| all.add(row));
        all.finish()
    }

    #[test]
    fn rows_that_differ_have_digests_that_differ() {
        let text = |text: &str| Value::Text(text.to_owned());
        let rows: [&[&[Value]]; 9] = [
            &[],
            &[&[]],
            &[&[Value::Null]],
            &[&[Value::Int(0)]],
            &[&[Value::Bool(false)]],
            &[&[text("")]],
            &[&[text("ab"), text("c")]],
            &[&[text("a"), text("bc")]],
            &[&[text("ab")], &[text("c")]],
        ];
        for (place, one) in rows.iter().enumerate() {
            for other in &rows[place + 1..] {
                assert_ne!(digest(one), digest(other), "{one:?} {other:?}");
            }
        }
    }
}
