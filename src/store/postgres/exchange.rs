//! What a batch and the database say to each other: the rows that are loaded and locked, and the difference written back.
//!
//! Locks are taken in one order by every node, so that nodes wait for each other and never in a circle: the node's own
//! row, the counter where a message may be new, dialogs, ids, messages, payloads, mailboxes; each sorted. Statements of
//! one exchange are sent without waiting for each other's answers.
//!
//! Whoever holds the counter holds it until the commit is durable, so that messages become visible in the order of their
//! numbers and no reader that has come to one number misses a smaller one. Nodes that accept take turns there; what
//! comes to a node while it waits for its turn goes into the same transaction (`writer`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::{join, join_all, join4, join5};
use tokio_postgres::{Client, Row as Found, Statement};

use super::anchor::OF_ANCHOR;
use super::batch::{Bytes, Held, LeaseWanted, Needs, Standing, Work, key_of};
use super::connect::Session;
use super::evidence::STORED_LEVEL_MIN;
use super::pools::{Asked, CLOCK};
use super::promises::Waited;
use super::read::{self, ROW, column};
use super::{Fault, Pools, Skew, Standby, command, promises};
use crate::domain::card::ProcessCard;
use crate::evidence::tree::{Frontier, leaf_hash};
use crate::store::Statement as Said;
use crate::store::row::{Place, Row, due_number, int, micros, state_number};
use crate::store::rules::{Used, author_digest};

/// The writer's session with the statements it has prepared there.
pub struct Desk {
    pub session: Session,
    statements: HashMap<String, Statement>,
    /// The standby, as the transaction under way found it.
    found: Option<promises::Found>,
}

type Writing<'a> = Pin<Box<dyn Future<Output = Result<u64, tokio_postgres::Error>> + Send + 'a>>;

/// A statement on its way, how many rows it must touch, and who was faster where it does not.
struct Step<'a> {
    writing: Writing<'a>,
    rows: Option<u64>,
}

impl Desk {
    pub fn new(session: Session) -> Self {
        Self { session, statements: HashMap::new(), found: None }
    }

    pub async fn statement(&mut self, sql: &str) -> Result<Statement, Fault> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.session.client.prepare(sql).await?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Begins the transaction; with `numbers`, it is this node's turn when this returns, and the last number given is told.
    /// With `leases`, the database's clock is looked at first. Where a standby is required, it is refused without one.
    pub async fn begin(
        &mut self,
        pools: &Pools,
        incarnation: i64,
        numbers: bool,
        leases: bool,
    ) -> Result<Option<i64>, Fault> {
        let fence =
            self.statement("SELECT size FROM node WHERE name = $1 AND incarnation = $2 FOR UPDATE").await?;
        let turn = self.statement("SELECT last FROM counter FOR UPDATE").await?;
        let clock = if leases { Some(self.statement(CLOCK).await?) } else { None };
        let standing = match pools.settings().standby {
            Standby::Required => Some(self.statement(promises::STANDING).await?),
            Standby::Unasked | Standby::Wanted => None,
        };
        let (client, node) = (&self.session.client, pools.node());
        let (begun, read, fence, turn, standing) = join5(
            client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED"),
            async {
                let Some(clock) = &clock else { return Ok(()) };
                let asked = Asked::now();
                let row = client.query_one(clock, &[]).await?;
                pools.note_clock(&asked, column(&row, 0)?);
                Ok::<_, Fault>(())
            },
            async { client.query_opt(&fence, &[&node, &incarnation]).await },
            async { if numbers { client.query_one(&turn, &[]).await.map(Some) } else { Ok(None) } },
            async {
                match &standing {
                    Some(standing) => client.query_one(standing, &[]).await.map(Some),
                    None => Ok(None),
                }
            },
        )
        .await;
        begun?;
        read?;
        if fence?.is_none() {
            return Err(Fault::Overtaken);
        }
        self.found = Some(promises::Found::of(standing?.as_ref(), 0)?);
        turn?.map(|row| column(&row, 0)).transpose()
    }

    /// After a commit that was answered: whether the server has waited for the standby, where one is required.
    pub async fn has_waited(&mut self, pools: &Pools) -> Result<Waited, Fault> {
        if pools.settings().standby != Standby::Required {
            return Ok(Waited::Yes);
        }
        let question = self.statement(promises::HAS_WAITED).await?;
        let row = self.session.client.query_one(&question, &[]).await?;
        self.found.take().map_or(Ok(Waited::Unsure), |found| found.has_waited(&row))
    }

    /// Brings what these needs name; with each need's candidates for a lease. Leases of before the database's clock has
    /// `jumped` last so much longer.
    pub async fn load(
        &mut self,
        needs: &[Needs],
        skew: Skew,
        jumped: i64,
    ) -> Result<(Work, Vec<Vec<String>>), Fault> {
        let mut work = Work { skew, ..Work::default() };
        let wanted: BTreeSet<(String, bool)> = needs.iter().flat_map(|need| need.dialogs.clone()).collect();
        let mut keys: BTreeSet<String> = needs.iter().flat_map(|need| need.messages.clone()).collect();
        if !wanted.is_empty() {
            self.load_dialogs(&wanted, &mut work).await?;
            let standing = work.kept.dialogs.values().flatten();
            keys.extend(standing.flat_map(|dialog| command::keys_of(&dialog.handed_out)));
        }
        let used: BTreeSet<String> = needs.iter().flat_map(|need| need.used.clone()).collect();
        let payloads: BTreeSet<String> = needs.iter().flat_map(|need| need.payloads.clone()).collect();
        self.load_messages(used, keys, payloads, &mut work).await?;
        let of_statements =
            needs.iter().filter(|need| need.statements).flat_map(|need| need.messages.clone());
        let of_statements: Vec<String> = of_statements.collect();
        if !of_statements.is_empty() {
            self.load_statements(&of_statements, &mut work).await?;
        }
        let mut candidates = Vec::with_capacity(needs.len());
        for need in needs {
            candidates.push(match &need.lease {
                Some(wanted) => self.load_leasable(wanted, jumped, &mut work).await?,
                None => Vec::new(),
            });
        }
        Ok((work, candidates))
    }

    async fn load_dialogs(
        &mut self,
        wanted: &BTreeSet<(String, bool)>,
        work: &mut Work,
    ) -> Result<(), Fault> {
        let dialogs = self
            .statement(
                "SELECT id, account, challenge, sequence, encrypted, signature, used_at, expires_at FROM dialog \
                 WHERE id = ANY($1) ORDER BY id FOR UPDATE",
            )
            .await?;
        let deliveries =
            self.statement("SELECT dialog, message FROM dialog_delivery WHERE dialog = ANY($1)").await?;
        let ids: Vec<&str> = wanted.iter().map(|(id, _)| id.as_str()).collect();
        let whole: Vec<&str> = wanted.iter().filter(|(_, whole)| *whole).map(|(id, _)| id.as_str()).collect();
        let client = &self.session.client;
        let (dialogs, deliveries) = join(async { client.query(&dialogs, &[&ids]).await }, async {
            client.query(&deliveries, &[&whole]).await
        })
        .await;
        for row in dialogs? {
            let standing = Standing {
                account: column(&row, 1)?,
                challenge: column(&row, 2)?,
                sequence: column(&row, 3)?,
                encrypted: column(&row, 4)?,
                signature: column(&row, 5)?,
                used_at: column(&row, 6)?,
                expires_at: column(&row, 7)?,
                handed_out: BTreeSet::new(),
            };
            work.kept.dialogs.insert(column(&row, 0)?, Some(standing));
        }
        for row in deliveries? {
            if let Some(Some(dialog)) = work.kept.dialogs.get_mut(column::<&str>(&row, 0)?) {
                dialog.handed_out.insert(column(&row, 1)?);
            }
        }
        let standing = work.kept.dialogs.iter();
        work.dialogs_before =
            standing.filter_map(|(id, dialog)| Some((id.clone(), dialog.clone()?))).collect();
        Ok(())
    }

    async fn load_messages(
        &mut self,
        used: BTreeSet<String>,
        keys: BTreeSet<String>,
        payloads: BTreeSet<String>,
        work: &mut Work,
    ) -> Result<(), Fault> {
        let known = self
            .statement(
                "SELECT key, sequence IS NOT NULL, request_digest, account, expires_at, issued_to, sealed FROM used \
                 WHERE key = ANY($1) ORDER BY key FOR UPDATE",
            )
            .await?;
        let rows = format!(
            "SELECT {ROW} FROM message WHERE sequence IN (SELECT sequence FROM used WHERE key = ANY($1)) \
             ORDER BY sequence FOR UPDATE"
        );
        let rows = self.statement(&rows).await?;
        // A statement of its own: what it sees is not older than the locks.
        let papers = self
            .statement(
                "SELECT sequence, card FROM paper \
                 WHERE sequence IN (SELECT sequence FROM used WHERE key = ANY($1))",
            )
            .await?;
        let sealed = self
            .statement(
                "SELECT name FROM payload_large WHERE name = ANY($1) AND sealed AND sequence IS NULL \
                 AND dropped_at IS NULL ORDER BY name FOR UPDATE",
            )
            .await?;
        let (used, keys, payloads): (Vec<String>, Vec<String>, Vec<String>) =
            (used.into_iter().collect(), keys.into_iter().collect(), payloads.into_iter().collect());
        let client = &self.session.client;
        let none = || std::future::ready(Ok::<Vec<Found>, tokio_postgres::Error>(Vec::new()));
        let ask = |wanted: bool, statement: Statement, names: Vec<String>| async move {
            if wanted { client.query(&statement, &[&names]).await } else { none().await }
        };
        let (known, rows, papers, sealed) = join4(
            ask(!used.is_empty(), known, used),
            ask(!keys.is_empty(), rows, keys.clone()),
            ask(!keys.is_empty(), papers, keys),
            ask(!payloads.is_empty(), sealed, payloads),
        )
        .await;
        for row in known? {
            let key: String = column(&row, 0)?;
            let found = Used {
                is_accepted: column(&row, 1)?,
                request_digest: read::digest(&row, 2)?,
                account: column(&row, 3)?,
                expires_at: column(&row, 4)?,
            };
            let bond = read::digest(&row, 5)?.zip(column::<Option<bool>>(&row, 6)?);
            work.known.insert(key.clone());
            work.kept.used.insert(key, (found, bond));
        }
        let mut cards = HashMap::new();
        for row in papers? {
            cards.insert(column::<i64>(&row, 0)?, card_of(&row, 1)?);
        }
        for row in rows? {
            let row = read::row(&row)?;
            let card = cards.remove(&int(row.sequence));
            let card = card.unwrap_or_else(|| Err(format!("message {}: its card is missing", row.sequence)));
            hold(work, row, card, None);
        }
        for row in sealed? {
            work.sealed.insert(column(&row, 0)?);
        }
        Ok(())
    }

    /// Read when their messages are locked.
    async fn load_statements(&mut self, keys: &[String], work: &mut Work) -> Result<(), Fault> {
        let question = self
            .statement(
                "SELECT u.key, s.id, s.account, s.at, s.text FROM used u JOIN statement s ON s.sequence = u.sequence \
                 WHERE u.key = ANY($1) ORDER BY u.key, s.number",
            )
            .await?;
        for row in self.session.client.query(&question, &[&keys]).await? {
            let key: String = column(&row, 0)?;
            *work.statements_before.entry(key.clone()).or_default() += 1;
            work.kept.statements.entry(key).or_default().push(read::statement(&row, 1)?);
        }
        Ok(())
    }

    /// Locks what may be leased and nobody else has in hand; keys in order of entry.
    async fn load_leasable(
        &mut self,
        wanted: &LeaseWanted,
        jumped: i64,
        work: &mut Work,
    ) -> Result<Vec<String>, Fault> {
        let now = work.skew.on_database(wanted.now);
        let question = if wanted.ordered {
            // The first of a mailbox, or none: one that is locked is not overtaken by the next.
            format!(
                "SELECT {ROW} FROM message WHERE sequence IN (SELECT f.sequence FROM unnest($1::text[]) AS b (name) \
                 CROSS JOIN LATERAL (SELECT sequence FROM message WHERE mailbox = b.name AND offered \
                 ORDER BY sequence LIMIT 1) f) AND offered AND push_at <= $2 \
                 AND (NOT push_leased OR push_at <= $4) ORDER BY sequence LIMIT $3 FOR UPDATE SKIP LOCKED"
            )
        } else {
            format!(
                "SELECT {ROW} FROM message WHERE mailbox = ANY($1) AND shelf > 0 AND push_at <= $2 \
                 AND (NOT push_leased OR push_at <= $4) ORDER BY push_at, sequence LIMIT $3 FOR UPDATE SKIP LOCKED"
            )
        };
        let question = self.statement(&question).await?;
        let papers = self
            .statement("SELECT sequence, card, envelope, manifest FROM paper WHERE sequence = ANY($1)")
            .await?;
        let names: Vec<&str> = wanted.mailboxes.iter().map(|name| name.as_str()).collect();
        let client = &self.session.client;
        let rows = client
            .query(&question, &[&names, &now, &i64::from(wanted.limit), &now.saturating_sub(jumped)])
            .await?;
        let rows = rows.iter().map(read::row).collect::<Result<Vec<_>, _>>()?;
        let sequences: Vec<i64> = rows.iter().map(|row| int(row.sequence)).collect();
        let mut found = HashMap::new();
        for row in client.query(&papers, &[&sequences]).await? {
            let paper = Arc::new((read::json(&row, 2)?, read::json(&row, 3)?));
            found.insert(column::<i64>(&row, 0)?, (card_of(&row, 1)?, paper));
        }
        let mut keys = Vec::with_capacity(rows.len());
        for row in rows {
            let Some((card, paper)) = found.remove(&int(row.sequence)) else { continue };
            keys.push(key_of(&row));
            hold(work, row, card, Some(paper));
        }
        Ok(keys)
    }

    /// Writes what the commands have changed, everything but the commit; returns the tree with its new leaves.
    pub async fn flush(
        &mut self,
        work: Work,
        mut frontier: Frontier,
        node: &str,
        batch: i64,
    ) -> Result<Frontier, Fault> {
        let mut sequences = HashMap::new();
        for (key, _) in &work.kept.records {
            if work.kept.messages.get(key).is_some_and(|held| held.before.is_none()) {
                let next = sequences.len() as i64;
                sequences.entry(key.clone()).or_insert(next);
            }
        }
        let last = match (work.last, sequences.len() as i64) {
            (_, 0) => None,
            (Some(last), new) => {
                sequences.values_mut().for_each(|place| *place += last + 1);
                Some(last + new)
            }
            (None, _) => return Err(Fault::corrupt("a new message out of turn".to_owned())),
        };
        let mut difference = Difference::default();
        difference.of(&work, &sequences, &mut frontier)?;
        difference.node = (node.to_owned(), batch, int(frontier.size()));
        difference.last = last;
        let statements = difference.statements(self).await?;
        let steps = difference.steps(&self.session.client, statements);
        let (rows, writings): (Vec<_>, Vec<_>) =
            steps.into_iter().map(|step| (step.rows, step.writing)).unzip();
        let answers = join_all(writings).await;
        for (answer, rows) in answers.into_iter().zip(rows) {
            let touched = answer?;
            if rows.is_some_and(|rows| rows != touched) {
                return Err(Fault::Faster);
            }
        }
        Ok(frontier)
    }
}

fn card_of(row: &Found, at: usize) -> Result<Result<ProcessCard, String>, Fault> {
    let bytes: &[u8] = column(row, at)?;
    Ok(ProcessCard::from_bytes(bytes).map_err(|error| format!("a card: {error}")))
}

/// Puts a message as it was read into the batch's hands.
pub fn hold(
    work: &mut Work,
    row: Row,
    card: Result<ProcessCard, String>,
    paper: Option<Arc<(crate::domain::envelope::Envelope, crate::domain::content::Manifest)>>,
) {
    let before = Some(Arc::new(row.clone()));
    let held = Held { before, row: Some(row), card, rewritten: false, fresh: None, note: None, paper };
    let key = held.row.as_ref().map(key_of).unwrap_or_default();
    work.kept.messages.insert(key, held);
}

/// What is to be written, a list of columns for each statement.
#[derive(Default)]
struct Difference {
    node: (String, i64, i64),
    last: Option<i64>,
    used_new: Vec<UsedRow>,
    used_changed: Vec<UsedRow>,
    rows_new: Vec<Row>,
    rows_changed: Vec<Row>,
    notes: Vec<(i64, Option<String>)>,
    papers_new: Vec<PaperRow>,
    cards: Vec<(i64, Vec<u8>)>,
    relations: Vec<(String, i64)>,
    statements: Vec<(i64, i64, Said)>,
    timers_gone: Vec<(i64, i64, i64)>,
    timers_new: Vec<(i64, i64, i64)>,
    counts: BTreeMap<String, [i64; 6]>,
    inline: Vec<(i64, bytes::Bytes)>,
    named: Vec<(String, i64)>,
    payloads_gone: Vec<i64>,
    messages_gone: Vec<i64>,
    records: Vec<(i64, i64, Vec<u8>, Vec<u8>)>,
    nodes: Vec<(i64, i64, Vec<u8>)>,
    /// Of which node, size, where in this log, root.
    anchors: Vec<(String, i64, i64, Vec<u8>)>,
    dialogs: Vec<(String, Standing)>,
    dialogs_gone: Vec<String>,
    deliveries: Vec<(String, String)>,
    deliveries_gone: Vec<(String, String)>,
}

struct PaperRow {
    sequence: i64,
    envelope: Vec<u8>,
    manifest: Vec<u8>,
    digest: Vec<u8>,
    card: Vec<u8>,
}

struct UsedRow {
    key: String,
    used: Used,
    sequence: Option<i64>,
    bond: super::batch::Bond,
}

impl Difference {
    fn of(
        &mut self,
        work: &Work,
        sequences: &HashMap<String, i64>,
        frontier: &mut Frontier,
    ) -> Result<(), Fault> {
        for (key, (used, bond)) in &work.kept.used {
            let sequence = sequences.get(key).copied();
            let row = || UsedRow { key: key.clone(), used: used.clone(), sequence, bond: *bond };
            match work.known.contains(key) {
                false => self.used_new.push(row()),
                // What the database knew as accepted does not change any more.
                true if sequence.is_some() || !used.is_accepted => self.used_changed.push(row()),
                true => {}
            }
        }
        for (key, held) in &work.kept.messages {
            self.of_message(held, sequences.get(key).copied())?;
        }
        for (key, said) in &work.kept.statements {
            let row = work.kept.messages.get(key).and_then(|held| held.before.as_ref());
            let sequence = row.map(|row| int(row.sequence)).or_else(|| sequences.get(key).copied());
            let known = work.statements_before.get(key).copied().unwrap_or(0);
            let new = said.iter().enumerate().skip(known);
            let new = new.filter_map(|(number, one)| Some((sequence?, number as i64, one.clone())));
            self.statements.extend(new);
        }
        for (key, record) in &work.kept.records {
            let of_old = work.kept.messages.get(key).and_then(|held| held.before.as_ref());
            let message = of_old.map(|row| int(row.sequence)).or_else(|| sequences.get(key).copied());
            let message = message.ok_or_else(|| Fault::corrupt(format!("a record of no message: {key}")))?;
            self.log(frontier, message, record.to_bytes());
        }
        for anchor in &work.kept.anchors {
            let place = (anchor.node.clone(), int(anchor.size), int(frontier.size()), anchor.root.to_vec());
            self.anchors.push(place);
            self.log(frontier, OF_ANCHOR, anchor.to_bytes());
        }
        for (id, dialog) in &work.kept.dialogs {
            self.of_dialog(id, dialog.as_ref(), work.dialogs_before.get(id));
        }
        Ok(())
    }

    fn log(&mut self, frontier: &mut Frontier, message: i64, bytes: Vec<u8>) {
        let leaf = leaf_hash(&bytes);
        self.records.push((int(frontier.size()), message, leaf.to_vec(), bytes));
        for (level, index, hash) in frontier.append(leaf) {
            if level >= STORED_LEVEL_MIN {
                self.nodes.push((i64::from(level), int(index), hash.to_vec()));
            }
        }
    }

    fn of_message(&mut self, held: &Held, new: Option<i64>) -> Result<(), Fault> {
        let before = held.before.as_deref();
        let Some(sequence) = before.map(|row| int(row.sequence)).or(new) else { return Ok(()) };
        let mailbox = before.or(held.row.as_ref()).map(|row| row.mailbox.clone()).unwrap_or_default();
        let after = held.row.clone().map(|row| Row { sequence: sequence.unsigned_abs(), ..row });
        let card = held.card.as_ref().ok().map(ProcessCard::to_bytes);
        let timers = |row: Option<&Row>| -> BTreeSet<(i64, i64)> {
            let timers = row.map(Row::timers).unwrap_or_default();
            timers.into_iter().map(|(kind, at)| (at, due_number(kind))).collect()
        };
        let (old, fresh) = (timers(before), timers(after.as_ref()));
        self.timers_gone.extend(old.difference(&fresh).map(|(at, kind)| (*at, sequence, *kind)));
        self.timers_new.extend(fresh.difference(&old).map(|(at, kind)| (*at, sequence, *kind)));
        let sums = self.counts.entry(mailbox).or_default();
        for (row, sign) in [(before, -1), (after.as_ref(), 1)] {
            let Some(row) = row else { continue };
            let [held, waiting, handed_out, dead, bytes] = row.counts();
            let one = [1, held, waiting, handed_out, dead, bytes];
            sums.iter_mut().zip(one).for_each(|(sum, one)| *sum += sign * one);
        }
        let purged = |row: &Row| row.place == Place::Purged;
        if before.is_some_and(|row| !purged(row)) && after.as_ref().is_none_or(purged) {
            self.payloads_gone.push(sequence);
        }
        if let Some(note) = &held.note {
            self.notes.push((sequence, note.clone()));
        }
        match (before, after, &held.fresh) {
            (None, Some(row), Some(new)) => {
                let card = card.ok_or_else(|| Fault::corrupt("a new message without a card".to_owned()))?;
                let digest = author_digest(&new.envelope, &new.manifest).0.to_vec();
                let (envelope, manifest) = (new.envelope.clone(), new.manifest.clone());
                self.papers_new.push(PaperRow { sequence, envelope, manifest, digest, card });
                self.relations.extend(new.related.iter().map(|related| (related.clone(), sequence)));
                match &new.payload {
                    Bytes::Inline(bytes) if !purged(&row) => self.inline.push((sequence, bytes.clone())),
                    Bytes::Large(name) if !purged(&row) => self.named.push((name.clone(), sequence)),
                    _ => {}
                }
                self.rows_new.push(row);
            }
            (Some(before), Some(row), _) => {
                if held.rewritten {
                    self.cards.extend(card.map(|card| (sequence, card)));
                }
                if *before != row {
                    self.rows_changed.push(row);
                }
            }
            (Some(_), None, _) => self.messages_gone.push(sequence),
            _ => {}
        }
        Ok(())
    }

    fn of_dialog(&mut self, id: &str, after: Option<&Standing>, before: Option<&Standing>) {
        let Some(before) = before else { return };
        let Some(after) = after else {
            self.dialogs_gone.push(id.to_owned());
            return;
        };
        let pair = |message: &String| (id.to_owned(), message.clone());
        self.deliveries.extend(after.handed_out.difference(&before.handed_out).map(pair));
        self.deliveries_gone.extend(before.handed_out.difference(&after.handed_out).map(pair));
        if (after.sequence, &after.challenge) != (before.sequence, &before.challenge) {
            self.dialogs.push((id.to_owned(), after.clone()));
        }
    }

    /// The SQL of what there is to write, in the order in which it is sent.
    fn sql(&self) -> Vec<&'static str> {
        let wanted = [
            (true, NODE),
            (self.last.is_some(), COUNTER),
            (!self.used_new.is_empty(), USED_NEW),
            (!self.used_changed.is_empty(), USED_CHANGED),
            (!self.rows_new.is_empty(), ROWS_NEW),
            (!self.rows_changed.is_empty(), ROWS_CHANGED),
            (!self.notes.is_empty(), NOTES),
            (!self.papers_new.is_empty(), PAPERS_NEW),
            (!self.cards.is_empty(), CARDS),
            (!self.relations.is_empty(), RELATIONS),
            (!self.statements.is_empty(), STATEMENTS),
            (!self.timers_gone.is_empty(), TIMERS_GONE),
            (!self.timers_new.is_empty(), TIMERS_NEW),
            (!self.inline.is_empty(), INLINE),
            (!self.named.is_empty(), NAMED),
            (!self.payloads_gone.is_empty(), PAYLOADS_GONE),
            (!self.payloads_gone.is_empty(), LARGE_GONE),
            (!self.messages_gone.is_empty(), MESSAGES_GONE),
            (!self.messages_gone.is_empty(), PAPERS_GONE),
            (!self.messages_gone.is_empty(), RELATIONS_GONE),
            (!self.messages_gone.is_empty(), STATEMENTS_GONE),
            (!self.records.is_empty(), RECORDS),
            (!self.nodes.is_empty(), NODES),
            (!self.anchors.is_empty(), ANCHORS),
            (!self.dialogs.is_empty(), DIALOGS),
            (!self.dialogs_gone.is_empty(), DIALOGS_GONE),
            (!self.dialogs_gone.is_empty(), DIALOGS_DELIVERIES_GONE),
            (!self.deliveries.is_empty(), DELIVERIES),
            (!self.deliveries_gone.is_empty(), DELIVERIES_GONE),
            // Last: rows that every node wants.
            (self.counts.values().any(|sums| *sums != [0; 6]), COUNTS),
            (!self.messages_gone.is_empty(), MAILBOXES_GONE),
        ];
        wanted.into_iter().filter(|(wanted, _)| *wanted).map(|(_, sql)| sql).collect()
    }

    async fn statements(&self, desk: &mut Desk) -> Result<Vec<(&'static str, Statement)>, Fault> {
        let mut statements = Vec::new();
        for sql in self.sql() {
            statements.push((sql, desk.statement(sql).await?));
        }
        Ok(statements)
    }

    fn steps<'a>(mut self, client: &'a Client, statements: Vec<(&'static str, Statement)>) -> Vec<Step<'a>> {
        statements.into_iter().map(|(sql, statement)| self.step(client, sql, statement)).collect()
    }

    fn step<'a>(&mut self, client: &'a Client, sql: &'static str, statement: Statement) -> Step<'a> {
        macro_rules! send {
            ($($column:expr),* $(,)?) => {
                Box::pin(async move { client.execute(&statement, &[$(&$column),*]).await }) as Writing<'a>
            };
        }
        macro_rules! pairs {
            ($rows:expr) => {{
                let (one, two): (Vec<_>, Vec<_>) = std::mem::take(&mut $rows).into_iter().unzip();
                send!(one, two)
            }};
        }
        macro_rules! triples {
            ($rows:expr) => {{
                let rows = std::mem::take(&mut $rows);
                let one: Vec<_> = rows.iter().map(|row| row.0.clone()).collect();
                let two: Vec<_> = rows.iter().map(|row| row.1.clone()).collect();
                let three: Vec<_> = rows.into_iter().map(|row| row.2).collect();
                (one, two, three)
            }};
        }
        let node = self.node.0.clone();
        let mut rows = None;
        let writing = match sql {
            NODE => {
                let (batch, size) = (self.node.1, self.node.2);
                send!(node, batch, size)
            }
            COUNTER => {
                let last = self.last;
                send!(last)
            }
            USED_NEW => {
                rows = Some(self.used_new.len() as u64);
                let columns = UsedColumns::of(std::mem::take(&mut self.used_new));
                Box::pin(columns.write(client, statement)) as Writing<'a>
            }
            USED_CHANGED => {
                rows = Some(self.used_changed.len() as u64);
                let columns = UsedColumns::of(std::mem::take(&mut self.used_changed));
                Box::pin(columns.write(client, statement)) as Writing<'a>
            }
            ROWS_NEW => {
                let new = std::mem::take(&mut self.rows_new);
                Box::pin(write_new_rows(client, statement, new)) as Writing<'a>
            }
            ROWS_CHANGED => {
                let changed = std::mem::take(&mut self.rows_changed);
                Box::pin(write_changed_rows(client, statement, changed)) as Writing<'a>
            }
            NOTES => pairs!(self.notes),
            PAPERS_NEW => {
                let papers = std::mem::take(&mut self.papers_new);
                Box::pin(async move {
                    let sequences: Vec<i64> = papers.iter().map(|paper| paper.sequence).collect();
                    let envelopes: Vec<&[u8]> =
                        papers.iter().map(|paper| paper.envelope.as_slice()).collect();
                    let manifests: Vec<&[u8]> =
                        papers.iter().map(|paper| paper.manifest.as_slice()).collect();
                    let digests: Vec<&[u8]> = papers.iter().map(|paper| paper.digest.as_slice()).collect();
                    let cards: Vec<&[u8]> = papers.iter().map(|paper| paper.card.as_slice()).collect();
                    client.execute(&statement, &[&sequences, &envelopes, &manifests, &digests, &cards]).await
                }) as Writing<'a>
            }
            CARDS => pairs!(self.cards),
            RELATIONS => pairs!(self.relations),
            STATEMENTS => {
                let statements = std::mem::take(&mut self.statements);
                Box::pin(async move {
                    let sequences: Vec<i64> = statements.iter().map(|one| one.0).collect();
                    let numbers: Vec<i64> = statements.iter().map(|one| one.1).collect();
                    let ids: Vec<&str> = statements.iter().map(|one| one.2.id.as_str()).collect();
                    let accounts: Vec<&str> = statements.iter().map(|one| one.2.by.as_str()).collect();
                    let at: Vec<i64> = statements.iter().map(|one| micros(one.2.at)).collect();
                    let texts: Vec<&str> = statements.iter().map(|one| one.2.text.as_str()).collect();
                    client.execute(&statement, &[&sequences, &numbers, &ids, &accounts, &at, &texts]).await
                }) as Writing<'a>
            }
            TIMERS_GONE => {
                let (at, sequence, kind) = triples!(self.timers_gone);
                send!(at, sequence, kind)
            }
            TIMERS_NEW => {
                let (at, sequence, kind) = triples!(self.timers_new);
                send!(at, sequence, kind)
            }
            COUNTS => {
                let counts: Vec<(String, [i64; 6])> = std::mem::take(&mut self.counts)
                    .into_iter()
                    .filter(|(_, sums)| *sums != [0; 6])
                    .collect();
                Box::pin(async move {
                    let names: Vec<&str> = counts.iter().map(|(name, _)| name.as_str()).collect();
                    let sums = |at: usize| -> Vec<i64> {
                        counts.iter().map(|(_, sums)| sums.get(at).copied().unwrap_or(0)).collect()
                    };
                    let [total, held, waiting, out, dead, bytes] = [0, 1, 2, 3, 4, 5].map(sums);
                    client.execute(&statement, &[&names, &total, &held, &waiting, &out, &dead, &bytes]).await
                }) as Writing<'a>
            }
            INLINE => {
                let inline = std::mem::take(&mut self.inline);
                Box::pin(async move {
                    let sequences: Vec<i64> = inline.iter().map(|(sequence, _)| *sequence).collect();
                    let bytes: Vec<&[u8]> = inline.iter().map(|(_, bytes)| bytes.as_ref()).collect();
                    client.execute(&statement, &[&sequences, &bytes]).await
                }) as Writing<'a>
            }
            NAMED => {
                rows = Some(self.named.len() as u64);
                pairs!(self.named)
            }
            PAYLOADS_GONE | LARGE_GONE => {
                let gone = self.payloads_gone.clone();
                send!(gone)
            }
            MESSAGES_GONE | PAPERS_GONE | RELATIONS_GONE | STATEMENTS_GONE => {
                let gone = self.messages_gone.clone();
                send!(gone)
            }
            MAILBOXES_GONE => send!(),
            RECORDS => {
                let records = std::mem::take(&mut self.records);
                Box::pin(async move {
                    let indexes: Vec<i64> = records.iter().map(|record| record.0).collect();
                    let messages: Vec<i64> = records.iter().map(|record| record.1).collect();
                    let leaves: Vec<&[u8]> = records.iter().map(|record| record.2.as_slice()).collect();
                    let bytes: Vec<&[u8]> = records.iter().map(|record| record.3.as_slice()).collect();
                    client.execute(&statement, &[&node, &indexes, &messages, &leaves, &bytes]).await
                }) as Writing<'a>
            }
            NODES => {
                let (levels, indexes, hashes) = triples!(self.nodes);
                send!(node, levels, indexes, hashes)
            }
            ANCHORS => {
                let anchors = std::mem::take(&mut self.anchors);
                rows = Some(anchors.len() as u64);
                let nodes: Vec<_> = anchors.iter().map(|anchor| anchor.0.clone()).collect();
                let sizes: Vec<_> = anchors.iter().map(|anchor| anchor.1).collect();
                let places: Vec<_> = anchors.iter().map(|anchor| anchor.2).collect();
                let roots: Vec<_> = anchors.into_iter().map(|anchor| anchor.3).collect();
                send!(node, nodes, sizes, places, roots)
            }
            DIALOGS => {
                let dialogs = std::mem::take(&mut self.dialogs);
                Box::pin(write_dialogs(client, statement, dialogs)) as Writing<'a>
            }
            DIALOGS_GONE | DIALOGS_DELIVERIES_GONE => {
                let gone = self.dialogs_gone.clone();
                send!(gone)
            }
            DELIVERIES => pairs!(self.deliveries),
            _ => pairs!(self.deliveries_gone),
        };
        Step { writing, rows }
    }
}

struct UsedColumns {
    keys: Vec<String>,
    accounts: Vec<Option<String>>,
    expire: Vec<Option<i64>>,
    digests: Vec<Option<Vec<u8>>>,
    sequences: Vec<Option<i64>>,
    parties: Vec<Option<Vec<u8>>>,
    sealed: Vec<Option<bool>>,
}

impl UsedColumns {
    fn of(rows: Vec<UsedRow>) -> Self {
        let digest = |bytes: &[u8; 32]| bytes.to_vec();
        Self {
            keys: rows.iter().map(|row| row.key.clone()).collect(),
            accounts: rows.iter().map(|row| row.used.account.clone()).collect(),
            expire: rows.iter().map(|row| row.used.expires_at).collect(),
            digests: rows.iter().map(|row| row.used.request_digest.as_ref().map(digest)).collect(),
            sequences: rows.iter().map(|row| row.sequence).collect(),
            parties: rows.iter().map(|row| row.bond.as_ref().map(|(party, _)| digest(party))).collect(),
            sealed: rows.iter().map(|row| row.bond.map(|(_, sealed)| sealed)).collect(),
        }
    }

    async fn write(self, client: &Client, statement: Statement) -> Result<u64, tokio_postgres::Error> {
        let Self { keys, accounts, expire, digests, sequences, parties, sealed } = self;
        client
            .execute(&statement, &[&keys, &accounts, &expire, &digests, &sequences, &parties, &sealed])
            .await
    }
}

async fn write_new_rows(
    client: &Client,
    statement: Statement,
    rows: Vec<Row>,
) -> Result<u64, tokio_postgres::Error> {
    let sequences: Vec<i64> = rows.iter().map(|row| int(row.sequence)).collect();
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let mailboxes: Vec<&str> = rows.iter().map(|row| row.mailbox.as_str()).collect();
    let states: Vec<i64> = rows.iter().map(|row| state_number(row.state)).collect();
    let offered: Vec<bool> = rows.iter().map(|row| row.state.is_offered()).collect();
    let shelves: Vec<i64> = rows.iter().map(|row| row.shelf).collect();
    let accounts: Vec<&str> = rows.iter().map(|row| row.posted_by.as_str()).collect();
    let delivered: Vec<Option<i64>> = rows.iter().map(|row| row.delivered_at).collect();
    let lengths: Vec<i64> = rows.iter().map(|row| row.payload_bytes).collect();
    let digests: Vec<&[u8]> = rows.iter().map(|row| row.payload_digest.0.as_slice()).collect();
    let places: Vec<i64> = rows.iter().map(|row| row.place as i64).collect();
    let release: Vec<Option<i64>> = rows.iter().map(|row| row.release_at).collect();
    let expire: Vec<i64> = rows.iter().map(|row| row.expire_at).collect();
    let remind: Vec<Option<i64>> = rows.iter().map(|row| row.remind_at).collect();
    let payload_days: Vec<i64> = rows.iter().map(|row| row.retain_payload_days.into()).collect();
    let card_days: Vec<i64> = rows.iter().map(|row| row.retain_card_days.into()).collect();
    let finals: Vec<Option<i64>> = rows.iter().map(|row| row.final_at).collect();
    client
        .execute(
            &statement,
            &[
                &sequences,
                &ids,
                &mailboxes,
                &states,
                &offered,
                &shelves,
                &accounts,
                &delivered,
                &lengths,
                &digests,
                &places,
                &release,
                &expire,
                &remind,
                &payload_days,
                &card_days,
                &finals,
            ],
        )
        .await
}

async fn write_changed_rows(
    client: &Client,
    statement: Statement,
    rows: Vec<Row>,
) -> Result<u64, tokio_postgres::Error> {
    let sequences: Vec<i64> = rows.iter().map(|row| int(row.sequence)).collect();
    let states: Vec<i64> = rows.iter().map(|row| state_number(row.state)).collect();
    let offered: Vec<bool> = rows.iter().map(|row| row.state.is_offered()).collect();
    let shelves: Vec<i64> = rows.iter().map(|row| row.shelf).collect();
    let delivered: Vec<Option<i64>> = rows.iter().map(|row| row.delivered_at).collect();
    let places: Vec<i64> = rows.iter().map(|row| row.place as i64).collect();
    let release: Vec<Option<i64>> = rows.iter().map(|row| row.release_at).collect();
    let expire: Vec<i64> = rows.iter().map(|row| row.expire_at).collect();
    let remind: Vec<Option<i64>> = rows.iter().map(|row| row.remind_at).collect();
    let payload_days: Vec<i64> = rows.iter().map(|row| row.retain_payload_days.into()).collect();
    let card_days: Vec<i64> = rows.iter().map(|row| row.retain_card_days.into()).collect();
    let finals: Vec<Option<i64>> = rows.iter().map(|row| row.final_at).collect();
    let push_at: Vec<i64> = rows.iter().map(|row| row.push_at).collect();
    let attempts: Vec<i64> = rows.iter().map(|row| row.push_attempt.into()).collect();
    let tokens: Vec<i64> = rows.iter().map(|row| row.push_token).collect();
    let leased: Vec<bool> = rows.iter().map(|row| row.push_leased).collect();
    client
        .execute(
            &statement,
            &[
                &sequences,
                &states,
                &offered,
                &shelves,
                &delivered,
                &places,
                &release,
                &expire,
                &remind,
                &payload_days,
                &card_days,
                &finals,
                &push_at,
                &attempts,
                &tokens,
                &leased,
            ],
        )
        .await
}

async fn write_dialogs(
    client: &Client,
    statement: Statement,
    dialogs: Vec<(String, Standing)>,
) -> Result<u64, tokio_postgres::Error> {
    let ids: Vec<&str> = dialogs.iter().map(|(id, _)| id.as_str()).collect();
    let challenges: Vec<&str> = dialogs.iter().map(|(_, dialog)| dialog.challenge.as_str()).collect();
    let sequences: Vec<i64> = dialogs.iter().map(|(_, dialog)| dialog.sequence).collect();
    let encrypted: Vec<bool> = dialogs.iter().map(|(_, dialog)| dialog.encrypted).collect();
    let signatures: Vec<Option<&[u8]>> =
        dialogs.iter().map(|(_, dialog)| dialog.signature.as_deref()).collect();
    let used: Vec<i64> = dialogs.iter().map(|(_, dialog)| dialog.used_at).collect();
    let expire: Vec<i64> = dialogs.iter().map(|(_, dialog)| dialog.expires_at).collect();
    client
        .execute(&statement, &[&ids, &challenges, &sequences, &encrypted, &signatures, &used, &expire])
        .await
}

const NODE: &str = "UPDATE node SET batch = $2, size = $3 WHERE name = $1";
const COUNTER: &str = "UPDATE counter SET last = $1";
const USED_NEW: &str = "INSERT INTO used (key, account, expires_at, request_digest, sequence, issued_to, sealed) \
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[], $5::bigint[], $6::bytea[], $7::boolean[]) \
    ON CONFLICT (key) DO NOTHING";
const USED_CHANGED: &str = "UPDATE used u SET account = n.account, expires_at = n.expires_at, \
    request_digest = n.request_digest, sequence = n.sequence, issued_to = n.issued_to, sealed = n.sealed \
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[], $5::bigint[], $6::bytea[], $7::boolean[]) \
    AS n (key, account, expires_at, request_digest, sequence, issued_to, sealed) \
    WHERE u.key = n.key AND u.sequence IS NULL";
const ROWS_NEW: &str = "INSERT INTO message (sequence, id, mailbox, state, offered, shelf, posted_by, delivered_at, \
    payload_bytes, payload_digest, payload_place, release_at, expire_at, remind_at, retain_payload_days, \
    retain_card_days, final_at) SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], \
    $5::boolean[], $6::bigint[], $7::text[], $8::bigint[], $9::bigint[], $10::bytea[], $11::bigint[], $12::bigint[], \
    $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[])";
const ROWS_CHANGED: &str = "UPDATE message m SET state = n.state, offered = n.offered, shelf = n.shelf, \
    delivered_at = n.delivered_at, payload_place = n.payload_place, release_at = n.release_at, \
    expire_at = n.expire_at, remind_at = n.remind_at, retain_payload_days = n.retain_payload_days, \
    retain_card_days = n.retain_card_days, final_at = n.final_at, push_at = n.push_at, \
    push_attempt = n.push_attempt, push_token = n.push_token, push_leased = n.push_leased \
    FROM unnest($1::bigint[], $2::bigint[], $3::boolean[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], \
    $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], \
    $15::bigint[], $16::boolean[]) AS n (sequence, state, offered, shelf, delivered_at, payload_place, release_at, \
    expire_at, remind_at, retain_payload_days, retain_card_days, final_at, push_at, push_attempt, push_token, \
    push_leased) WHERE m.sequence = n.sequence";
const NOTES: &str = "UPDATE message m SET push_note = n.note \
    FROM unnest($1::bigint[], $2::text[]) AS n (sequence, note) WHERE m.sequence = n.sequence";
const PAPERS_NEW: &str = "INSERT INTO paper (sequence, envelope, manifest, author_digest, card) \
    SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[])";
const CARDS: &str = "UPDATE paper p SET card = n.card \
    FROM unnest($1::bigint[], $2::bytea[]) AS n (sequence, card) WHERE p.sequence = n.sequence";
const RELATIONS: &str = "INSERT INTO relation (related, sequence) SELECT * FROM unnest($1::text[], $2::bigint[]) \
    ON CONFLICT DO NOTHING";
const TIMERS_GONE: &str = "DELETE FROM timer t \
    USING unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS g (at, sequence, kind) \
    WHERE t.at = g.at AND t.sequence = g.sequence AND t.kind = g.kind";
const TIMERS_NEW: &str = "INSERT INTO timer (at, sequence, kind) \
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) ON CONFLICT DO NOTHING";
const COUNTS: &str = "INSERT INTO mailbox (name, total, held, waiting, handed_out, dead, bytes_waiting) \
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[]) \
    ON CONFLICT (name) DO UPDATE SET total = mailbox.total + excluded.total, held = mailbox.held + excluded.held, \
    waiting = mailbox.waiting + excluded.waiting, handed_out = mailbox.handed_out + excluded.handed_out, \
    dead = mailbox.dead + excluded.dead, bytes_waiting = mailbox.bytes_waiting + excluded.bytes_waiting";
const MAILBOXES_GONE: &str = "DELETE FROM mailbox WHERE total <= 0";
const INLINE: &str = "INSERT INTO payload (sequence, bytes) SELECT * FROM unnest($1::bigint[], $2::bytea[])";
const NAMED: &str = "UPDATE payload_large p SET sequence = n.sequence \
    FROM unnest($1::text[], $2::bigint[]) AS n (name, sequence) \
    WHERE p.name = n.name AND p.sealed AND p.sequence IS NULL AND p.dropped_at IS NULL";
const PAYLOADS_GONE: &str = "DELETE FROM payload WHERE sequence = ANY($1)";
const LARGE_GONE: &str = "UPDATE payload_large SET sequence = NULL, dropped_at = clock_timestamp() \
    WHERE sequence = ANY($1)";
const MESSAGES_GONE: &str = "DELETE FROM message WHERE sequence = ANY($1)";
const PAPERS_GONE: &str = "DELETE FROM paper WHERE sequence = ANY($1)";
const RELATIONS_GONE: &str = "DELETE FROM relation WHERE sequence = ANY($1)";
const STATEMENTS: &str = "INSERT INTO statement (sequence, number, id, account, at, text) \
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::text[])";
const STATEMENTS_GONE: &str = "DELETE FROM statement WHERE sequence = ANY($1)";
const RECORDS: &str = "INSERT INTO evidence (node, idx, message, leaf, bytes) \
    SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[])";
const NODES: &str = "INSERT INTO evidence_node (node, level, idx, hash) \
    SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::bytea[])";
const ANCHORS: &str = "INSERT INTO anchor (node, of_node, size, idx, root) \
    SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bytea[])";
const DIALOGS: &str = "UPDATE dialog d SET challenge = n.challenge, sequence = n.sequence, encrypted = n.encrypted, \
    signature = n.signature, used_at = n.used_at, expires_at = n.expires_at \
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::boolean[], $5::bytea[], $6::bigint[], $7::bigint[]) \
    AS n (id, challenge, sequence, encrypted, signature, used_at, expires_at) WHERE d.id = n.id";
const DIALOGS_GONE: &str = "DELETE FROM dialog WHERE id = ANY($1)";
const DIALOGS_DELIVERIES_GONE: &str = "DELETE FROM dialog_delivery WHERE dialog = ANY($1)";
const DELIVERIES: &str = "INSERT INTO dialog_delivery (dialog, message) SELECT * FROM unnest($1::text[], $2::text[]) \
    ON CONFLICT DO NOTHING";
const DELIVERIES_GONE: &str = "DELETE FROM dialog_delivery d USING unnest($1::text[], $2::text[]) AS g (dialog, message) \
    WHERE d.dialog = g.dialog AND d.message = g.message";
