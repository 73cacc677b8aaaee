//! What readers ask: listings, single messages, timers, iterators, directory.
//!
//! Each question is one statement, or a few in one snapshot. The cost of none depends on how many messages lie in a
//! mailbox: listings walk an index and stop at a bound.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio_postgres::Row as Found;
use tokio_postgres::types::{FromSql, ToSql};

use super::Fault;
use super::pools::{Reading, Skew};
use crate::domain::account::{AccountName, Directory};
use crate::domain::card::ProcessCard;
use crate::domain::content::Digest;
use crate::domain::message_id::{Bond, MessageId};
use crate::domain::party::MailboxName;
use crate::domain::state::DeliveryState;
use crate::store::cards::{End, Log, Page, RECORD_HEAD_BYTES, ROWS_PAGE, Walk};
use crate::store::row::{
    DUE_KINDS, Place, Row, instant, int, micros, place_of, state_number, state_of, uint,
};
use crate::store::{
    AdminAct, CardQuery, Due, Entry, Iterator, Listing, MailboxSummary, MessageQuery, Selection, Statement,
    StoreError, SubmissionQuery, Submissions,
};

/// Matches are counted exactly up to here.
const PENDING_MAX: u64 = 10_000;

pub const ROW: &str = "sequence, id, mailbox, state, shelf, posted_by, delivered_at, payload_bytes, \
    payload_digest, payload_place, release_at, expire_at, remind_at, retain_payload_days, retain_card_days, \
    final_at, push_at, push_attempt, push_token, push_leased";

const ENTRY: &str = "m.sequence, p.envelope, p.manifest, p.card, m.payload_place";

pub fn column<'a, T: FromSql<'a>>(row: &'a Found, at: usize) -> Result<T, Fault> {
    Ok(row.try_get(at)?)
}

pub fn digest(row: &Found, at: usize) -> Result<Option<[u8; 32]>, Fault> {
    let bytes: Option<&[u8]> = column(row, at)?;
    let digest = bytes.map(<[u8; 32]>::try_from).transpose();
    digest.map_err(|_| Fault::corrupt("a digest that is not of 32 bytes".to_owned()))
}

pub fn json<T: DeserializeOwned>(row: &Found, at: usize) -> Result<T, Fault> {
    serde_json::from_slice(column(row, at)?).map_err(|error| Fault::corrupt(error.to_string()))
}

pub fn row(found: &Found) -> Result<Row, Fault> {
    let (state, place): (i64, i64) = (column(found, 3)?, column(found, 9)?);
    let small = |at: usize| -> Result<u32, Fault> {
        Ok(u32::try_from(column::<i64>(found, at)?).unwrap_or(u32::MAX))
    };
    Ok(Row {
        sequence: uint(column(found, 0)?),
        id: column(found, 1)?,
        mailbox: column(found, 2)?,
        state: state_of(state).ok_or_else(|| Fault::corrupt(format!("a message in state {state}")))?,
        shelf: column(found, 4)?,
        posted_by: column(found, 5)?,
        delivered_at: column(found, 6)?,
        payload_bytes: column(found, 7)?,
        payload_digest: Digest(digest(found, 8)?.unwrap_or_default()),
        place: place_of(place).ok_or_else(|| Fault::corrupt(format!("a payload in place {place}")))?,
        release_at: column(found, 10)?,
        expire_at: column(found, 11)?,
        remind_at: column(found, 12)?,
        retain_payload_days: small(13)?,
        retain_card_days: small(14)?,
        final_at: column(found, 15)?,
        push_at: column(found, 16)?,
        push_attempt: small(17)?,
        push_token: column(found, 18)?,
        push_leased: column(found, 19)?,
    })
}

fn entry(found: &Found) -> Result<Entry, Fault> {
    let sequence = uint(column(found, 0)?);
    let damaged = |what: &str, error: &dyn std::fmt::Display| {
        Fault::corrupt(format!("{what} of message {sequence}: {error}"))
    };
    Ok(Entry {
        sequence,
        envelope: serde_json::from_slice(column(found, 1)?).map_err(|error| damaged("envelope", &error))?,
        manifest: serde_json::from_slice(column(found, 2)?).map_err(|error| damaged("manifest", &error))?,
        card: ProcessCard::from_bytes(column(found, 3)?).map_err(|error| damaged("card", &error))?,
        has_payload: column::<i64>(found, 4)? != Place::Purged as i64,
    })
}

/// The entries of these sequences, in order; what was purged meanwhile is missing.
async fn entries(reading: &Reading<'_>, sequences: &[i64]) -> Result<Vec<Entry>, Fault> {
    let found = reading
        .ask(
            &format!(
                "SELECT {ENTRY} FROM message m JOIN paper p USING (sequence) WHERE m.sequence = ANY($1) \
                 ORDER BY m.sequence"
            ),
            &[&sequences],
        )
        .await?;
    found.iter().map(entry).collect()
}

pub async fn find(reading: &Reading<'_>, id: &MessageId) -> Result<Entry, Fault> {
    let found = reading
        .ask(
            &format!(
                "SELECT {ENTRY} FROM used u JOIN message m ON m.sequence = u.sequence \
                 JOIN paper p ON p.sequence = u.sequence WHERE u.key = $1"
            ),
            &[&id.key().as_str()],
        )
        .await?;
    found.first().map_or(Err(StoreError::Unknown.into()), entry)
}

pub async fn related(
    reading: &Reading<'_>,
    id: &MessageId,
    posted_by: Option<&AccountName>,
    limit: u32,
) -> Result<Vec<Entry>, Fault> {
    let found = reading
        .ask(
            &format!(
                "SELECT {ENTRY} FROM relation r JOIN message m ON m.sequence = r.sequence \
                 JOIN paper p ON p.sequence = r.sequence WHERE r.related = $1 AND ($2::text IS NULL OR m.posted_by = $2) \
                 ORDER BY r.sequence LIMIT $3"
            ),
            &[&id.key().as_str(), &posted_by.map(AccountName::as_str), &i64::from(limit)],
        )
        .await?;
    found.iter().map(entry).collect()
}

pub async fn bond(reading: &Reading<'_>, id: &MessageId) -> Result<Option<Bond>, Fault> {
    let found =
        reading.ask("SELECT issued_to, sealed FROM used WHERE key = $1", &[&id.key().as_str()]).await?;
    let Some(found) = found.first() else { return Ok(None) };
    let sealed: Option<bool> = column(found, 1)?;
    Ok(digest(found, 0)?.zip(sealed).map(|(party, sealed)| Bond { party: Digest(party), sealed }))
}

pub async fn push_note(reading: &Reading<'_>, id: &MessageId) -> Result<Option<String>, Fault> {
    let found = reading
        .ask(
            "SELECT m.push_note FROM used u JOIN message m ON m.sequence = u.sequence WHERE u.key = $1",
            &[&id.key().as_str()],
        )
        .await?;
    column(found.first().ok_or(StoreError::Unknown)?, 0)
}

/// What one party said, from this column on.
pub fn statement(row: &Found, from: usize) -> Result<Statement, Fault> {
    Ok(Statement {
        id: column(row, from)?,
        by: AccountName::parse(column(row, from + 1)?).map_err(|error| Fault::corrupt(error.to_string()))?,
        at: instant(column(row, from + 2)?),
        text: column(row, from + 3)?,
    })
}

pub async fn statements(reading: &Reading<'_>, id: &MessageId) -> Result<Vec<Statement>, Fault> {
    let question = "SELECT s.id, s.account, s.at, s.text FROM used u JOIN statement s ON s.sequence = u.sequence \
                    WHERE u.key = $1 ORDER BY s.number";
    let rows = reading.ask(question, &[&id.key().as_str()]).await?;
    rows.iter().map(|row| statement(row, 0)).collect()
}

pub async fn list(
    reading: &Reading<'_>,
    selection: &Selection,
    after: u64,
    limit: u32,
) -> Result<Listing, Fault> {
    let plain = after == 0
        && *selection == Selection { mailboxes: selection.mailboxes.clone(), ..Selection::default() };
    // Where everything is asked for, the mailboxes' counters tell how much there is.
    let bound = u64::from(limit) + if plain { 0 } else { PENDING_MAX };
    let mailboxes: BTreeSet<&str> = selection.mailboxes.iter().map(MailboxName::as_str).collect();
    let mailboxes: Vec<&str> = mailboxes.into_iter().collect();
    let named = !selection.ids.is_empty() || !selection.relates_to.is_empty();
    let found = match named {
        true => named_sequences(reading, selection, &mailboxes, after, bound).await?,
        false => mailbox_sequences(reading, selection, &mailboxes, after, bound).await?,
    };
    let total = if plain { offered_count(reading, &mailboxes).await? } else { found.len() as u64 };
    let shown: Vec<i64> = found.into_iter().take(limit as usize).collect();
    let pending = total.saturating_sub(shown.len() as u64);
    let pending = if plain { pending } else { pending.min(PENDING_MAX) };
    Ok(Listing { entries: entries(reading, &shown).await?, pending })
}

/// Of each destination the first that may be wanted, read from an index alone; then those that are.
pub async fn submissions(reading: &Reading<'_>, query: &SubmissionQuery) -> Result<Submissions, Fault> {
    let bound = query.skip.saturating_add(query.limit.into()).saturating_add(PENDING_MAX);
    let (after, bound) = (int(query.after), int(bound));
    let destinations: Vec<&str> = query.at.iter().map(|(destination, _)| destination.as_str()).collect();
    let mailboxes: Vec<&str> = query.at.iter().map(|(_, mailbox)| mailbox.as_str()).collect();
    let shelf = if query.new_only { " AND m.shelf = 1" } else { "" };
    let question = format!(
        "SELECT DISTINCT s.sequence FROM unnest($1::text[], $2::text[]) AS b (destination, mailbox) \
         CROSS JOIN LATERAL (SELECT m.sequence FROM message m WHERE m.destination = b.destination \
         AND m.mailbox = b.mailbox AND m.offered AND m.sequence > $3{shelf} ORDER BY m.sequence LIMIT $4) s \
         ORDER BY s.sequence"
    );
    let found = sequences_of(reading, &question, &[&destinations, &mailboxes, &after, &bound]).await?;
    let total = found.len() as u64;
    let skip = usize::try_from(query.skip).unwrap_or(usize::MAX);
    let shown: Vec<i64> = found.into_iter().skip(skip).take(query.limit as usize).collect();
    Ok(Submissions { entries: entries(reading, &shown).await?, total })
}

/// Messages that are offered in these mailboxes.
async fn offered_count(reading: &Reading<'_>, mailboxes: &[&str]) -> Result<u64, Fault> {
    let sum = "SELECT coalesce(sum(waiting + handed_out), 0)::bigint FROM mailbox WHERE name = ANY($1)";
    let found = reading.ask(sum, &[&mailboxes]).await?;
    found.first().map_or(Ok(0), |row| Ok(uint(column(row, 0)?)))
}

/// What a selection asks of a row, beyond mailbox and ids; `$1` and `$2` are taken.
fn conditions<'a>(
    selection: &Selection,
    wanted: &'a Wanted<'a>,
    values: &mut Vec<&'a (dyn ToSql + Sync)>,
) -> String {
    let mut text = String::new();
    let mut push = |condition: &str, value: &'a (dyn ToSql + Sync)| {
        values.push(value);
        text.push_str(&format!(" AND {condition} ${}", values.len()));
    };
    if let Some(account) = &wanted.posted_by {
        push("m.posted_by =", account);
    }
    if let Some(from) = &wanted.from {
        push("m.delivered_at >=", from);
    }
    if let Some(to) = &wanted.to {
        push("m.delivered_at <=", to);
    }
    text.push_str(if selection.new_only { " AND m.shelf = 1" } else { " AND m.offered" });
    text
}

struct Wanted<'a> {
    posted_by: Option<&'a str>,
    from: Option<i64>,
    to: Option<i64>,
}

impl<'a> Wanted<'a> {
    fn of(selection: &'a Selection) -> Self {
        Self {
            posted_by: selection.posted_by.as_ref().map(AccountName::as_str),
            from: selection.delivered_from.map(micros),
            to: selection.delivered_to.map(micros),
        }
    }
}

async fn sequences_of(
    reading: &Reading<'_>,
    question: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Vec<i64>, Fault> {
    reading.ask(question, values).await?.iter().map(|row| column(row, 0)).collect()
}

/// The first `bound` matches of these mailboxes, each read from an index alone.
async fn mailbox_sequences(
    reading: &Reading<'_>,
    selection: &Selection,
    mailboxes: &[&str],
    after: u64,
    bound: u64,
) -> Result<Vec<i64>, Fault> {
    let (after, bound, wanted) = (int(after), int(bound), Wanted::of(selection));
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&mailboxes, &after, &bound];
    let conditions = conditions(selection, &wanted, &mut values);
    let question = format!(
        "SELECT s.sequence FROM unnest($1::text[]) AS b (name) CROSS JOIN LATERAL (SELECT m.sequence FROM message m \
         WHERE m.mailbox = b.name AND m.sequence > $2{conditions} ORDER BY m.sequence LIMIT $3) s \
         ORDER BY s.sequence LIMIT $3"
    );
    sequences_of(reading, &question, &values).await
}

/// Sequences of the ids asked for, of the answers to the ids asked for, or of what is both.
async fn named_sequences(
    reading: &Reading<'_>,
    selection: &Selection,
    mailboxes: &[&str],
    after: u64,
    bound: u64,
) -> Result<Vec<i64>, Fault> {
    let keys =
        |ids: &[MessageId]| -> Vec<String> { ids.iter().map(|id| id.key().as_str().to_owned()).collect() };
    let (ids, related) = (keys(&selection.ids), keys(&selection.relates_to));
    let (after, bound, wanted) = (int(after), int(bound), Wanted::of(selection));
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&mailboxes, &after, &bound];
    let mut text = conditions(selection, &wanted, &mut values);
    let source = match (ids.is_empty(), related.is_empty()) {
        (false, true) => "used u JOIN message m ON m.sequence = u.sequence",
        (false, false) => {
            values.push(&related);
            text.push_str(&format!(
                " AND EXISTS (SELECT 1 FROM relation r WHERE r.sequence = m.sequence AND r.related = ANY(${}))",
                values.len()
            ));
            "used u JOIN message m ON m.sequence = u.sequence"
        }
        (true, _) => "relation r JOIN message m ON m.sequence = r.sequence",
    };
    match ids.is_empty() {
        true => {
            values.push(&related);
            text.push_str(&format!(" AND r.related = ANY(${})", values.len()));
        }
        false => {
            values.push(&ids);
            text.push_str(&format!(" AND u.key = ANY(${})", values.len()));
        }
    }
    let question = format!(
        "SELECT DISTINCT m.sequence FROM {source} WHERE m.mailbox = ANY($1) AND m.sequence > $2{text} \
         ORDER BY m.sequence LIMIT $3"
    );
    sequences_of(reading, &question, &values).await
}

/// States that have an index of their own, since few messages are in them.
fn is_aside(states: &[i64]) -> bool {
    !states.is_empty() && states.iter().all(|state| [0, 4, 5, 6].contains(state))
}

pub async fn messages(reading: &Reading<'_>, query: &MessageQuery) -> Result<Vec<Entry>, Fault> {
    let states: Vec<i64> = query.states.iter().map(|state| state_number(*state)).collect();
    let mailbox = query.mailbox.as_ref().map(MailboxName::as_str);
    let account = query.posted_by.as_ref().map(AccountName::as_str);
    let (after, limit) = (int(query.after), i64::from(query.limit));
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&after, &limit];
    let mut condition = String::new();
    if let Some(account) = &account {
        values.push(account);
        condition.push_str(&format!(" AND m.posted_by = ${}", values.len()));
    }
    // Each part is in the order of its index, so that it ends at the limit; few numbers are sorted at the end.
    let part = |key: &str, value: usize| {
        format!(
            "SELECT s.sequence FROM unnest({key}) AS b (key) CROSS JOIN LATERAL (SELECT m.sequence FROM message m \
             WHERE {} AND m.sequence > $1{condition} ORDER BY m.sequence LIMIT $2) s ORDER BY s.sequence LIMIT $2",
            match value {
                0 => "m.state = b.key AND m.state IN (0, 4, 5, 6)".to_owned(),
                value => format!("m.mailbox = ${value} AND m.offered = b.key"),
            }
        )
    };
    let question;
    if let Some(mailbox) = &mailbox {
        values.push(mailbox);
        let at = values.len();
        if states.is_empty() {
            question = part("ARRAY[false, true]", at);
        } else {
            values.push(&states);
            let and = format!(" AND m.state = ANY(${})", values.len());
            question = part("ARRAY[false, true]", at)
                .replace(" AND m.sequence > $1", &format!("{and} AND m.sequence > $1"));
        }
    } else if is_aside(&states) {
        values.push(&states);
        question = part(&format!("${}::bigint[]", values.len()), 0);
    } else {
        if !states.is_empty() {
            values.push(&states);
            condition.push_str(&format!(" AND m.state = ANY(${})", values.len()));
        }
        question = format!(
            "SELECT m.sequence FROM message m WHERE m.sequence > $1{condition} ORDER BY m.sequence LIMIT $2"
        );
    }
    let found = sequences_of(reading, &question, &values).await?;
    entries(reading, &found).await
}

/// Walks back through what an account posted and what entered a mailbox, a page of each at a time, until enough was
/// found; where that leads too far, through what the logs of all nodes say was changed.
pub async fn cards(reading: &Reading<'_>, query: &CardQuery) -> Result<(Vec<Entry>, bool), Fault> {
    let mut walk = Walk::new(query);
    if !query.ids.is_empty() {
        let keys: Vec<String> = query.ids.iter().map(|id| id.key().as_str().to_owned()).collect();
        let question = "SELECT DISTINCT sequence FROM used WHERE key = ANY($1) AND sequence IS NOT NULL";
        let sequences = sequences_of(reading, question, &[&keys]).await?;
        let end = collect_cards(reading, query, &mut walk, &sequences).await?;
        return Ok(walk.answer(end.unwrap_or(End::NoMore)));
    }
    let mut before = i64::MAX;
    let end = loop {
        let (page, next) = cards_page(reading, query, before).await?;
        match (collect_cards(reading, query, &mut walk, &page).await?, next) {
            (Some(end), _) => break end,
            (None, Some(next)) => before = next,
            (None, None) => break End::NoMore,
        }
    };
    if end != End::TooFar {
        return Ok(walk.answer(end));
    }
    let Some(changed) = changed_since(reading, query).await? else { return Ok(walk.answer(end)) };
    let mut walk = Walk::new(query);
    let changed: Vec<i64> = changed.into_iter().rev().collect();
    for page in changed.chunks(ROWS_PAGE) {
        if let Some(end) = collect_cards(reading, query, &mut walk, page).await? {
            return Ok(walk.answer(end));
        }
    }
    Ok(walk.answer(End::NoMore))
}

/// Adds the cards that the query wants, newest first; says so where that ended before the last one.
async fn collect_cards(
    reading: &Reading<'_>,
    query: &CardQuery,
    walk: &mut Walk<'_>,
    sequences: &[i64],
) -> Result<Option<End>, Fault> {
    if let Err(end) = walk.looks_at(sequences.len()) {
        return Ok(Some(end));
    }
    // What a row tells, and messages of others, are not carried here.
    let (account, mailbox) = (query.account.as_str(), query.mailbox.as_str());
    let received = state_number(DeliveryState::Received);
    let rows = reading
        .ask(
            &format!(
                "SELECT {ENTRY}, m.posted_by, m.mailbox, m.state FROM message m JOIN paper p USING (sequence) \
                 WHERE m.sequence = ANY($1) AND (NOT $2 OR m.state <> $3) AND (m.posted_by = $4 OR m.mailbox = $5) \
                 ORDER BY m.sequence DESC"
            ),
            &[&sequences, &query.unreceived_only, &received, &account, &mailbox],
        )
        .await?;
    for found in &rows {
        let state =
            state_of(column(found, 7)?).ok_or_else(|| Fault::corrupt("an unknown state".to_owned()))?;
        match walk.passes(column(found, 5)?, column(found, 6)?, state) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(end) => return Ok(Some(end)),
        }
        let entry = entry(found)?;
        match walk.wants(&entry.card) {
            Ok(true) => walk.take(entry),
            Ok(false) => {}
            Err(end) => return Ok(Some(end)),
        }
    }
    Ok(None)
}

/// The messages whose cards were changed since then, and some more; nothing where the logs have too many records of it.
async fn changed_since(reading: &Reading<'_>, query: &CardQuery) -> Result<Option<BTreeSet<i64>>, Fault> {
    let Some(mut bounds) = Log::of(query) else { return Ok(None) };
    // A log may have outlived its node's row.
    let nodes = "WITH RECURSIVE found AS ((SELECT min(node) AS n FROM evidence) UNION ALL \
                 SELECT (SELECT min(node) FROM evidence WHERE node > found.n) FROM found WHERE found.n IS NOT NULL) \
                 SELECT n FROM found WHERE n IS NOT NULL";
    let mut changed = BTreeSet::new();
    for node in reading.ask(nodes, &[]).await? {
        let node: String = column(&node, 0)?;
        let mut before = i64::MAX;
        loop {
            let Some(page) = bounds.page() else { return Ok(None) };
            let question = "SELECT idx, message, substring(bytes FROM 1 FOR $4) FROM evidence \
                            WHERE node = $1 AND idx < $2 ORDER BY idx DESC LIMIT $3";
            let values: [&(dyn ToSql + Sync); 4] =
                [&node, &before, &(page as i64), &(RECORD_HEAD_BYTES as i32)];
            let rows = reading.ask(question, &values).await?;
            let mut records = Vec::with_capacity(rows.len());
            for row in &rows {
                before = column(row, 0)?;
                records.push((column::<i64>(row, 1)?, column::<&[u8]>(row, 2)?));
            }
            if bounds.read(records.into_iter(), &mut changed) == Page::Last {
                break;
            }
        }
    }
    Ok(Some(changed))
}

/// The newest candidates below `before`, and from where to go on. Of what the indexes hold, no more is given than all of
/// them have been read down to, so that pages follow each other without gaps.
async fn cards_page(
    reading: &Reading<'_>,
    query: &CardQuery,
    before: i64,
) -> Result<(Vec<i64>, Option<i64>), Fault> {
    let mut sources = Vec::new();
    if query.as_author {
        sources.push(("posted_by = $1", query.account.as_str()));
    }
    if query.as_reader {
        let mailbox = query.mailbox.as_str();
        sources.extend([("mailbox = $1 AND NOT offered", mailbox), ("mailbox = $1 AND offered", mailbox)]);
    }
    let (mut page, mut down_to) = (BTreeSet::new(), None);
    for (condition, key) in sources {
        let question = format!(
            "SELECT sequence FROM message WHERE {condition} AND sequence < $2 ORDER BY sequence DESC LIMIT $3"
        );
        let rows = sequences_of(reading, &question, &[&key, &before, &(ROWS_PAGE as i64)]).await?;
        if rows.len() == ROWS_PAGE {
            down_to = down_to.max(rows.last().copied());
        }
        page.extend(rows);
    }
    if let Some(down_to) = down_to {
        page = page.split_off(&down_to);
    }
    Ok((page.into_iter().collect(), down_to))
}

pub async fn mailboxes(reading: &Reading<'_>) -> Result<Vec<MailboxSummary>, Fault> {
    let rows = reading
        .ask(
            "SELECT name, held, waiting, handed_out, dead, bytes_waiting, \
             (SELECT min(delivered_at) FROM message m WHERE m.mailbox = b.name AND m.shelf IN (1, 2)) \
             FROM mailbox b ORDER BY name",
            &[],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let count = |at: usize| -> Result<u64, Fault> { Ok(uint(column(row, at)?)) };
            let name: &str = column(row, 0)?;
            Ok(MailboxSummary {
                name: MailboxName::parse(name).map_err(|error| Fault::corrupt(error.to_string()))?,
                held: count(1)?,
                waiting: count(2)?,
                handed_out: count(3)?,
                dead: count(4)?,
                bytes_waiting: count(5)?,
                oldest_waiting_at: column::<Option<i64>>(row, 6)?.map(instant),
            })
        })
        .collect()
}

/// Each node reads them by itself: whoever comes second is refused by `only_if_due`, or purges what is gone, so no lease.
pub async fn due(reading: &Reading<'_>, now: i64, limit: u32) -> Result<Vec<Due>, Fault> {
    let rows = reading
        .ask(
            "SELECT t.at, t.kind, m.id FROM (SELECT * FROM timer WHERE at <= $1 ORDER BY at, sequence, kind LIMIT $2) t \
             JOIN message m ON m.sequence = t.sequence ORDER BY t.at, t.sequence, t.kind",
            &[&now, &i64::from(limit)],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let (number, id): (i64, &str) = (column(row, 1)?, column(row, 2)?);
            let kind = DUE_KINDS.iter().find(|(_, known)| *known == number).map(|(kind, _)| *kind);
            let kind = kind.ok_or_else(|| Fault::corrupt(format!("unknown timer of message {id}")))?;
            let id = MessageId::parse(id).map_err(|error| Fault::corrupt(error.to_string()))?;
            Ok(Due { id, kind, at: instant(column(row, 0)?) })
        })
        .collect()
}

pub async fn next_due_at(reading: &Reading<'_>, skew: Skew) -> Result<Option<Timestamp>, Fault> {
    let rows = reading.ask("SELECT min(at) FROM timer", &[]).await?;
    let first: Option<i64> = rows.first().map_or(Ok(None), |row| column(row, 0))?;
    Ok(first.map(|at| skew.here(at)))
}

pub async fn load_iterator(
    reading: &Reading<'_>,
    id: &str,
    account: &AccountName,
    now: i64,
) -> Result<Option<Iterator>, Fault> {
    let question = "SELECT content FROM iterator WHERE id = $1 AND account = $2 AND expires_at > $3";
    let rows = reading.ask(question, &[&id, &account.as_str(), &now]).await?;
    rows.first().map(|row| json(row, 0)).transpose()
}

pub async fn directory_revision(reading: &Reading<'_>) -> Result<u64, Fault> {
    let rows = reading.ask("SELECT revision FROM directory", &[]).await?;
    rows.first().map_or(Ok(0), |row| Ok(uint(column(row, 0)?)))
}

pub async fn directory(reading: &Reading<'_>) -> Result<Directory, Fault> {
    let rows = reading.ask("SELECT revision, accounts, profiles FROM directory", &[]).await?;
    let row = rows.first().ok_or_else(|| Fault::corrupt("the directory's row is missing".to_owned()))?;
    Directory::new(uint(column(row, 0)?), json(row, 1)?, json(row, 2)?)
        .map_err(|error| Fault::corrupt(format!("directory: {error}")))
}

pub async fn acts(reading: &Reading<'_>, limit: u32) -> Result<Vec<AdminAct>, Fault> {
    let rows =
        reading.ask("SELECT content FROM act ORDER BY number DESC LIMIT $1", &[&i64::from(limit)]).await?;
    rows.iter().map(|row| json(row, 0)).collect()
}

/// Messages whose cards are kept, and records of this node's evidence log.
pub async fn counts(reading: &Reading<'_>, node: &str) -> Result<(u64, u64), Fault> {
    let question = "SELECT (SELECT coalesce(sum(total), 0)::bigint FROM mailbox), \
                    coalesce((SELECT size FROM node WHERE name = $1), 0)";
    let rows = reading.ask(question, &[&node]).await?;
    rows.first().map_or(Ok((0, 0)), |row| Ok((uint(column(row, 0)?), uint(column(row, 1)?))))
}
