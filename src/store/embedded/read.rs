//! What readers ask: listings, single messages, payloads, timers, iterators, directory.
//!
//! Each function runs on a reader's own connection in one read transaction. The cost of none depends on how many
//! messages lie in a mailbox: listings walk an index and stop at a bound.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, ToSql, params};

use super::Fault;
use super::message::{card, entry, row_by_id, row_by_sequence, sequence_by_id};
use super::payload::{Outgoing, PayloadFolder};
use crate::domain::account::{AccountName, Directory};
use crate::domain::message_id::MessageId;
use crate::domain::party::MailboxName;
use crate::store::cards::{End, Log, Page, RECORD_HEAD_BYTES, ROWS_PAGE, Walk};
use crate::store::row::{DUE_KINDS, Place, instant, int, micros, state_number, uint};
use crate::store::{
    AdminAct, CardQuery, Due, Entry, Iterator, Listing, MailboxSummary, MessageQuery, Selection, StoreError,
    SubmissionQuery, Submissions,
};

/// Matches are counted exactly up to here.
const PENDING_MAX: u64 = 10_000;

pub fn list(
    connection: &Connection,
    selection: &Selection,
    after: u64,
    limit: u32,
) -> Result<Listing, Fault> {
    let plain = after == 0
        && *selection == Selection { mailboxes: selection.mailboxes.clone(), ..Selection::default() };
    // Where everything is asked for, the mailboxes' counters tell how much there is.
    let bound = u64::from(limit) + if plain { 0 } else { PENDING_MAX };
    let mailboxes: BTreeSet<&str> = selection.mailboxes.iter().map(MailboxName::as_str).collect();
    let named = !selection.ids.is_empty() || !selection.relates_to.is_empty();
    let mut found = BTreeSet::new();
    if named {
        for sequence in named_sequences(connection, selection, after, bound)? {
            if matches(connection, selection, &mailboxes, sequence)? {
                found.insert(sequence);
            }
        }
    } else {
        for mailbox in &mailboxes {
            found.extend(mailbox_sequences(connection, selection, mailbox, after, bound)?);
        }
    }
    let total = if plain { offered_count(connection, &mailboxes)? } else { found.len() as u64 };
    let shown: Vec<u64> = found.into_iter().take(limit as usize).collect();
    let pending = total.saturating_sub(shown.len() as u64);
    let pending = if plain { pending } else { pending.min(PENDING_MAX) };
    let entries = shown.into_iter().map(|sequence| entry(connection, sequence)).collect::<Result<_, _>>()?;
    Ok(Listing { entries, pending })
}

/// Messages that are offered in these mailboxes.
fn offered_count(connection: &Connection, mailboxes: &BTreeSet<&str>) -> Result<u64, Fault> {
    let mut count = connection.prepare_cached("SELECT waiting + handed_out FROM mailbox WHERE name = ?1")?;
    let mut total = 0;
    for mailbox in mailboxes {
        total += uint(count.query_row(params![mailbox], |row| row.get(0)).optional()?.unwrap_or(0));
    }
    Ok(total)
}

/// Sequences of the ids asked for, of the answers to the ids asked for, or of what is both.
fn named_sequences(
    connection: &Connection,
    selection: &Selection,
    after: u64,
    bound: u64,
) -> Result<BTreeSet<u64>, Fault> {
    let mut by_id = BTreeSet::new();
    for id in &selection.ids {
        by_id.extend(sequence_by_id(connection, id)?.filter(|sequence| *sequence > after));
    }
    if selection.relates_to.is_empty() {
        return Ok(by_id);
    }
    let mut related = BTreeSet::new();
    for id in &selection.relates_to {
        if selection.ids.is_empty() {
            let mut rows = connection.prepare_cached(
                "SELECT r.sequence FROM relation r CROSS JOIN message m ON m.sequence = r.sequence \
                 WHERE r.related = ?1 AND r.sequence > ?2 AND m.offered = 1 AND (?4 IS NULL OR m.posted_by = ?4) \
                 ORDER BY r.sequence LIMIT ?3",
            )?;
            let posted_by = selection.posted_by.as_ref().map(AccountName::as_str);
            let rows = rows
                .query_map(params![id.key().as_str(), int(after), int(bound), posted_by], |row| row.get(0))?;
            for sequence in rows {
                related.insert(uint(sequence?));
            }
        } else {
            let mut is_related =
                connection.prepare_cached("SELECT 1 FROM relation WHERE related = ?1 AND sequence = ?2")?;
            for sequence in &by_id {
                if is_related.exists(params![id.key().as_str(), int(*sequence)])? {
                    related.insert(*sequence);
                }
            }
        }
    }
    Ok(related)
}

fn matches(
    connection: &Connection,
    selection: &Selection,
    mailboxes: &BTreeSet<&str>,
    sequence: u64,
) -> Result<bool, Fault> {
    let Some(row) = row_by_sequence(connection, sequence)? else { return Ok(false) };
    let from = selection.delivered_from.map(micros);
    let to = selection.delivered_to.map(micros);
    Ok(row.state.is_offered()
        && mailboxes.contains(row.mailbox.as_str())
        && (!selection.new_only || row.shelf == 1)
        && selection.posted_by.as_ref().is_none_or(|account| account.as_str() == row.posted_by)
        && from.is_none_or(|from| row.delivered_at.is_some_and(|at| at >= from))
        && to.is_none_or(|to| row.delivered_at.is_some_and(|at| at <= to)))
}

/// The first `bound` matches of one mailbox, read from an index alone.
fn mailbox_sequences(
    connection: &Connection,
    selection: &Selection,
    mailbox: &str,
    after: u64,
    bound: u64,
) -> Result<Vec<u64>, Fault> {
    let (index, shelf) =
        if selection.new_only { ("message_new", "shelf = 1") } else { ("message_mailbox", "offered = 1") };
    let (after, bound) = (int(after), int(bound));
    let mut values: Vec<(&str, &dyn ToSql)> =
        vec![(":mailbox", &mailbox), (":after", &after), (":bound", &bound)];
    let (from, to) = (selection.delivered_from.map(micros), selection.delivered_to.map(micros));
    let mut range = String::new();
    let posted_by = selection.posted_by.as_ref().map(AccountName::as_str);
    if let Some(posted_by) = &posted_by {
        range.push_str(" AND posted_by = :posted_by");
        values.push((":posted_by", posted_by));
    }
    if let Some(from) = &from {
        range.push_str(" AND delivered_at >= :from");
        values.push((":from", from));
    }
    if let Some(to) = &to {
        range.push_str(" AND delivered_at <= :to");
        values.push((":to", to));
    }
    let mut rows = connection.prepare_cached(&format!(
        "SELECT sequence FROM message INDEXED BY {index} WHERE mailbox = :mailbox AND {shelf} \
         AND sequence > :after{range} ORDER BY sequence LIMIT :bound"
    ))?;
    let rows = rows.query_map(values.as_slice(), |row| row.get(0))?;
    rows.map(|sequence| Ok(uint(sequence?))).collect()
}

/// Of each destination the first that may be wanted, read from an index alone; then those that are.
pub fn submissions(connection: &Connection, query: &SubmissionQuery) -> Result<Submissions, Fault> {
    let bound = query.skip.saturating_add(query.limit.into()).saturating_add(PENDING_MAX);
    let shelf = if query.new_only { " AND shelf = 1" } else { "" };
    let mut rows = connection.prepare_cached(&format!(
        "SELECT sequence FROM message INDEXED BY message_destination WHERE destination = ?1 AND mailbox = ?2 \
         AND offered = 1 AND sequence > ?3{shelf} ORDER BY sequence LIMIT ?4"
    ))?;
    let mut found = BTreeSet::new();
    for (destination, mailbox) in &query.at {
        let values = params![destination.as_str(), mailbox.as_str(), int(query.after), int(bound)];
        for sequence in rows.query_map(values, |row| row.get(0))? {
            found.insert(uint(sequence?));
        }
    }
    let total = found.len() as u64;
    let skip = usize::try_from(query.skip).unwrap_or(usize::MAX);
    let shown = found.into_iter().skip(skip).take(query.limit as usize);
    let entries = shown.map(|sequence| entry(connection, sequence)).collect::<Result<_, _>>()?;
    Ok(Submissions { entries, total })
}

pub fn find(connection: &Connection, id: &MessageId) -> Result<Entry, Fault> {
    entry(connection, row_by_id(connection, id)?.sequence)
}

pub fn related(
    connection: &Connection,
    id: &MessageId,
    posted_by: Option<&AccountName>,
    limit: u32,
) -> Result<Vec<Entry>, Fault> {
    let mut rows = connection.prepare_cached(
        "SELECT r.sequence FROM relation r CROSS JOIN message m ON m.sequence = r.sequence \
         WHERE r.related = ?1 AND (?2 IS NULL OR m.posted_by = ?2) ORDER BY r.sequence LIMIT ?3",
    )?;
    let posted_by = posted_by.map(AccountName::as_str);
    let rows = rows.query_map(params![id.key().as_str(), posted_by, int(limit.into())], |row| row.get(0))?;
    rows.map(|sequence| entry(connection, uint(sequence?))).collect()
}

pub fn open_payload(
    connection: &Connection,
    folder: &PayloadFolder,
    id: &MessageId,
    offset: u64,
    length: u64,
) -> Result<Outgoing, Fault> {
    let row = row_by_id(connection, id)?;
    let whole = uint(row.payload_bytes);
    let (at, end) = (offset.min(whole), offset.saturating_add(length).min(whole));
    let sequence = int(row.sequence);
    match row.place {
        Place::Purged => Err(StoreError::Unknown.into()),
        Place::Inline => {
            let mut bytes =
                connection.prepare_cached("SELECT substr(bytes, ?2, ?3) FROM payload WHERE sequence = ?1")?;
            // Of no bytes at all, `substr` makes NULL.
            let bytes: Option<Vec<u8>> =
                bytes.query_row(params![sequence, int(at + 1), int(end - at)], |row| row.get(0))?;
            let bytes = bytes.unwrap_or_default();
            if bytes.len() as u64 != end - at {
                return Err(Fault::corrupt(format!("the payload of message {id} is too short")));
            }
            Ok(Outgoing::Inline(Bytes::from(bytes)))
        }
        Place::Apart => {
            let name: String = connection
                .prepare_cached("SELECT name FROM payload_file WHERE sequence = ?1")?
                .query_row(params![sequence], |row| row.get(0))?;
            let damaged =
                |what: String| Fault::corrupt(format!("payload file {name} of message {id}: {what}"));
            let file = File::open(folder.path(&name)).map_err(|error| damaged(error.to_string()))?;
            let found = file.metadata().map_err(|error| damaged(error.to_string()))?.len();
            if found != whole {
                // Said before a byte of it went out; the digests of its parts are checked while they go.
                return Err(damaged(format!("it has {found} of its {whole} bytes")));
            }
            Ok(Outgoing::File { file: Arc::new(file), at, end })
        }
    }
}

/// States that have an index of their own, since few messages are in them.
fn is_aside(states: &[i64]) -> bool {
    !states.is_empty() && states.iter().all(|state| [0, 4, 5, 6].contains(state))
}

pub fn messages(connection: &Connection, query: &MessageQuery) -> Result<Vec<Entry>, Fault> {
    let states: Vec<i64> = query.states.iter().map(|state| state_number(*state)).collect();
    let mailbox = query.mailbox.as_ref().map(MailboxName::as_str);
    let account = query.posted_by.as_ref().map(AccountName::as_str);
    let mut found = BTreeSet::new();
    if let Some(mailbox) = mailbox {
        for offered in [0, 1] {
            found.extend(scan(
                connection,
                "message INDEXED BY message_mailbox WHERE mailbox = :mailbox AND offered = :key",
                (mailbox, offered),
                &states,
                account,
                query,
            )?);
        }
    } else if is_aside(&states) {
        for state in &states {
            let source = "message INDEXED BY message_aside WHERE :mailbox = '' AND state IN (0, 4, 5, 6) \
                          AND state = :key";
            found.extend(scan(connection, source, ("", *state), &[], account, query)?);
        }
    } else {
        let source = "message WHERE :mailbox = '' AND :key = 0";
        found.extend(scan(connection, source, ("", 0), &states, account, query)?);
    }
    found.into_iter().take(query.limit as usize).map(|sequence| entry(connection, sequence)).collect()
}

fn scan(
    connection: &Connection,
    source: &str,
    (mailbox, key): (&str, i64),
    states: &[i64],
    account: Option<&str>,
    query: &MessageQuery,
) -> Result<Vec<u64>, Fault> {
    let mut condition = String::new();
    if !states.is_empty() {
        let numbers: Vec<String> = states.iter().map(i64::to_string).collect();
        condition.push_str(&format!(" AND state IN ({})", numbers.join(", ")));
    }
    let (after, limit) = (int(query.after), query.limit);
    let mut values: Vec<(&str, &dyn ToSql)> =
        vec![(":mailbox", &mailbox), (":key", &key), (":after", &after), (":limit", &limit)];
    if let Some(account) = &account {
        condition.push_str(" AND posted_by = :account");
        values.push((":account", account));
    }
    let mut rows = connection.prepare_cached(&format!(
        "SELECT sequence FROM {source} AND sequence > :after{condition} ORDER BY sequence LIMIT :limit"
    ))?;
    let rows = rows.query_map(values.as_slice(), |row| row.get(0))?;
    rows.map(|sequence| Ok(uint(sequence?))).collect()
}

/// Walks back through what an account posted and what entered a mailbox, a page of each at a time, until enough was
/// found; where that leads too far, through what the log says was changed.
pub fn cards(connection: &Connection, query: &CardQuery) -> Result<(Vec<Entry>, bool), Fault> {
    let mut walk = Walk::new(query);
    if !query.ids.is_empty() {
        let mut sequences = BTreeSet::new();
        for id in &query.ids {
            sequences.extend(sequence_by_id(connection, id)?);
        }
        let end = collect_cards(connection, &mut walk, sequences.into_iter().rev())?;
        return Ok(walk.answer(end.unwrap_or(End::NoMore)));
    }
    let mut before = i64::MAX;
    let end = loop {
        let (page, next) = cards_page(connection, query, before)?;
        match (collect_cards(connection, &mut walk, page.into_iter().rev())?, next) {
            (Some(end), _) => break end,
            (None, Some(next)) => before = next,
            (None, None) => break End::NoMore,
        }
    };
    if end != End::TooFar {
        return Ok(walk.answer(end));
    }
    let Some(changed) = changed_since(connection, query)? else { return Ok(walk.answer(end)) };
    let mut walk = Walk::new(query);
    let end = collect_cards(connection, &mut walk, changed.into_iter().rev())?;
    Ok(walk.answer(end.unwrap_or(End::NoMore)))
}

/// Adds the cards that the query wants; says so where that ended before the last one.
fn collect_cards(
    connection: &Connection,
    walk: &mut Walk<'_>,
    sequences: impl std::iter::Iterator<Item = u64>,
) -> Result<Option<End>, Fault> {
    for sequence in sequences {
        let Some(row) = row_by_sequence(connection, sequence)? else { continue };
        let passes = walk.looks_at(1).and_then(|()| walk.passes(&row.posted_by, &row.mailbox, row.state));
        match passes {
            Ok(true) => {}
            Ok(false) => continue,
            Err(end) => return Ok(Some(end)),
        }
        match walk.wants(&card(connection, sequence)?) {
            Ok(true) => walk.take(entry(connection, sequence)?),
            Ok(false) => {}
            Err(end) => return Ok(Some(end)),
        }
    }
    Ok(None)
}

/// The messages whose cards were changed since then, and some more; nothing where the log has too many records of it.
fn changed_since(connection: &Connection, query: &CardQuery) -> Result<Option<BTreeSet<u64>>, Fault> {
    let Some(mut log) = Log::of(query) else { return Ok(None) };
    let mut changed = BTreeSet::new();
    let mut before = i64::MAX;
    while let Some(page) = log.page() {
        let mut rows = connection.prepare_cached(
            "SELECT idx, message, substr(bytes, 1, ?3) FROM evidence WHERE idx < ?1 ORDER BY idx DESC LIMIT ?2",
        )?;
        let rows = rows.query_map(params![before, page as i64, RECORD_HEAD_BYTES as i64], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, Vec<u8>>(2)?))
        })?;
        let rows: Vec<(i64, i64, Vec<u8>)> = rows.collect::<Result<_, _>>()?;
        before = rows.last().map_or(before, |(index, ..)| *index);
        let records = rows.iter().map(|(_, message, head)| (uint(*message), head.as_slice()));
        if log.read(records, &mut changed) == Page::Last {
            return Ok(Some(changed));
        }
    }
    Ok(None)
}

/// The newest candidates below `before`, and from where to go on. Of what the indexes hold, no more is given than all of
/// them have been read down to, so that pages follow each other without gaps.
fn cards_page(
    connection: &Connection,
    query: &CardQuery,
    before: i64,
) -> Result<(BTreeSet<u64>, Option<i64>), Fault> {
    let mut sources = Vec::new();
    if query.as_author {
        sources.push((
            "SELECT sequence FROM message INDEXED BY message_posted WHERE posted_by = ?1 AND sequence < ?2 \
             ORDER BY sequence DESC LIMIT ?3",
            query.account.as_str(),
        ));
    }
    if query.as_reader {
        let mailbox = query.mailbox.as_str();
        sources.push((
            "SELECT sequence FROM message INDEXED BY message_mailbox WHERE mailbox = ?1 AND offered = 0 \
             AND sequence < ?2 ORDER BY sequence DESC LIMIT ?3",
            mailbox,
        ));
        sources.push((
            "SELECT sequence FROM message INDEXED BY message_mailbox WHERE mailbox = ?1 AND offered = 1 \
             AND sequence < ?2 ORDER BY sequence DESC LIMIT ?3",
            mailbox,
        ));
    }
    let (mut page, mut down_to) = (BTreeSet::new(), None);
    for (question, key) in sources {
        let mut rows = connection.prepare_cached(question)?;
        let rows = rows.query_map(params![key, before, ROWS_PAGE as i64], |row| row.get::<_, i64>(0))?;
        let rows: Vec<i64> = rows.collect::<Result<_, _>>()?;
        if rows.len() == ROWS_PAGE {
            down_to = down_to.max(rows.last().copied());
        }
        page.extend(rows.into_iter().map(uint));
    }
    if let Some(down_to) = down_to {
        page = page.split_off(&uint(down_to));
    }
    Ok((page, down_to))
}

pub fn mailboxes(connection: &Connection) -> Result<Vec<MailboxSummary>, Fault> {
    let mut rows = connection.prepare_cached(
        "SELECT name, held, waiting, handed_out, dead, bytes_waiting, \
         (SELECT min(oldest) FROM (SELECT min(delivered_at) AS oldest FROM message INDEXED BY message_shelf \
            WHERE mailbox = name AND shelf = 1 AND shelf > 0 UNION ALL \
          SELECT min(delivered_at) FROM message INDEXED BY message_shelf \
            WHERE mailbox = name AND shelf = 2 AND shelf > 0)) \
         FROM mailbox ORDER BY name",
    )?;
    let rows = rows.query_map([], |row| {
        let oldest: Option<i64> = row.get(6)?;
        Ok((
            row.get::<_, String>(0)?,
            [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?].map(uint),
            oldest,
        ))
    })?;
    rows.map(|row| {
        let (name, [held, waiting, handed_out, dead, bytes_waiting], oldest) = row?;
        let name = MailboxName::parse(&name).map_err(|error| Fault::corrupt(error.to_string()))?;
        let oldest_waiting_at = oldest.map(instant);
        Ok(MailboxSummary { name, held, waiting, handed_out, dead, bytes_waiting, oldest_waiting_at })
    })
    .collect()
}

pub fn due(connection: &Connection, now: Timestamp, limit: u32) -> Result<Vec<Due>, Fault> {
    let mut rows = connection.prepare_cached(
        "SELECT t.at, t.kind, m.id FROM (SELECT * FROM timer WHERE at <= ?1 ORDER BY at, sequence, kind LIMIT ?2) t \
         CROSS JOIN message m ON m.sequence = t.sequence ORDER BY t.at, t.sequence, t.kind",
    )?;
    let rows = rows.query_map(params![micros(now), limit], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?))
    })?;
    rows.map(|row| {
        let (at, kind, id) = row?;
        let kind = DUE_KINDS.iter().find(|(_, number)| *number == kind).map(|(kind, _)| *kind);
        let kind = kind.ok_or_else(|| Fault::corrupt(format!("unknown timer of message {id}")))?;
        let id = MessageId::parse(&id).map_err(|error| Fault::corrupt(error.to_string()))?;
        Ok(Due { id, kind, at: instant(at) })
    })
    .collect()
}

pub fn next_due_at(connection: &Connection) -> Result<Option<Timestamp>, Fault> {
    let mut first = connection.prepare_cached("SELECT min(at) FROM timer")?;
    let first: Option<i64> = first.query_row([], |row| row.get(0))?;
    Ok(first.map(instant))
}

pub fn load_iterator(
    connection: &Connection,
    id: &str,
    account: &AccountName,
    now: Timestamp,
) -> Result<Option<Iterator>, Fault> {
    let content: Option<Vec<u8>> = connection
        .prepare_cached("SELECT content FROM iterator WHERE id = ?1 AND account = ?2 AND expires_at > ?3")?
        .query_row(params![id, account.as_str(), micros(now)], |row| row.get(0))
        .optional()?;
    content
        .map(|content| serde_json::from_slice(&content))
        .transpose()
        .map_err(|error| Fault::corrupt(format!("iterator: {error}")))
}

pub fn directory(connection: &Connection) -> Result<Directory, Fault> {
    let mut row = connection.prepare_cached("SELECT revision, accounts, profiles FROM directory")?;
    let (revision, accounts, profiles): (i64, Vec<u8>, Vec<u8>) =
        row.query_row([], |row| Ok((row.get(0)?, text_or_bytes(row, 1)?, text_or_bytes(row, 2)?)))?;
    let damaged = |error: serde_json::Error| Fault::corrupt(format!("directory: {error}"));
    let accounts = serde_json::from_slice(&accounts).map_err(damaged)?;
    let profiles = serde_json::from_slice(&profiles).map_err(damaged)?;
    Directory::new(uint(revision), accounts, profiles)
        .map_err(|error| Fault::corrupt(format!("directory: {error}")))
}

fn text_or_bytes(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Vec<u8>> {
    Ok(row.get_ref(at)?.as_bytes()?.to_vec())
}

pub fn acts(connection: &Connection, limit: u32) -> Result<Vec<AdminAct>, Fault> {
    let mut rows = connection.prepare_cached("SELECT content FROM act ORDER BY number DESC LIMIT ?1")?;
    let rows = rows.query_map(params![limit], |row| row.get::<_, Vec<u8>>(0))?;
    rows.map(|row| {
        serde_json::from_slice(&row?).map_err(|error| Fault::corrupt(format!("recorded act: {error}")))
    })
    .collect()
}

/// Messages whose cards are kept.
pub fn message_count(connection: &Connection) -> Result<u64, Fault> {
    let mut sum = connection.prepare_cached("SELECT coalesce(sum(total), 0) FROM mailbox")?;
    Ok(uint(sum.query_row([], |row| row.get(0))?))
}
