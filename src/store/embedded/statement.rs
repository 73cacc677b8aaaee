//! What parties said about a message, beside its card.

use rusqlite::{Connection, params};

use super::Fault;
use super::message::{self, Writing};
use crate::domain::account::AccountName;
use crate::domain::card::ProcessCard;
use crate::domain::message_id::MessageId;
use crate::store::row::{instant, int, micros};
use crate::store::rules;
use crate::store::{Change, Statement};

pub fn declare(work: &mut Writing<'_>, change: &Change, statement: &Statement) -> Result<ProcessCard, Fault> {
    let row = message::row_in_view(work.connection, change)?;
    let said = of_sequence(work.connection, row.sequence)?;
    if !rules::is_new_statement(&row, change, &said, statement)? {
        return message::card(work.connection, row.sequence);
    }
    let card = message::change(work, change)?;
    work.connection
        .prepare_cached(
            "INSERT INTO statement (sequence, number, id, account, at, text) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            int(row.sequence),
            int(said.len() as u64),
            statement.id,
            statement.by.as_str(),
            micros(statement.at),
            statement.text,
        ])?;
    Ok(card)
}

pub fn of_message(connection: &Connection, id: &MessageId) -> Result<Vec<Statement>, Fault> {
    match message::sequence_by_id(connection, id)? {
        Some(sequence) => of_sequence(connection, sequence),
        None => Ok(Vec::new()),
    }
}

fn of_sequence(connection: &Connection, sequence: u64) -> Result<Vec<Statement>, Fault> {
    type Columns = (String, String, i64, String);
    let mut rows = connection
        .prepare_cached("SELECT id, account, at, text FROM statement WHERE sequence = ?1 ORDER BY number")?;
    let rows = rows
        .query_map(params![int(sequence)], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<Result<Vec<Columns>, _>>()?;
    rows.into_iter()
        .map(|(id, account, at, text)| {
            let by = AccountName::parse(&account).map_err(|error| Fault::corrupt(error.to_string()))?;
            Ok(Statement { id, at: instant(at), by, text })
        })
        .collect()
}
