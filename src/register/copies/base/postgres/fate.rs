//! What became of a commit whose answer was lost.
//!
//! Every transaction that writes leaves a token of its own. Numbers that the server gives are no proof: those of a
//! transaction that was lost in a crash before its log was on the disk are given out again. A token is there where the
//! transaction is, on whichever server answers, and nowhere else.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use futures_util::future::try_join;
use tokio_postgres::{Statement, Transaction};

use super::{LOCK, Link, Shared, Trouble, prepared, writing};
use crate::net::postgres::{HAS_NOT_WAITED, HAS_WAITED, Standby, commit, loaded};
use crate::register::copies::CopyError;

const TURN: &str = "SELECT pg_advisory_xact_lock($1)";
const NOTE: &str = "INSERT INTO done (token, at) VALUES ($1, CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint))";
const FORGET: &str = "DELETE FROM done WHERE token IN (SELECT token FROM done \
    WHERE at < CAST(extract(epoch FROM clock_timestamp() - interval '1 day') * 1000000 AS bigint) LIMIT 1000)";
/// Tokens that one step deletes.
const FORGET_MAX: u64 = 1000;

/// What is needed to find out later whether a transaction was committed.
pub struct Commit {
    token: [u8; 16],
    /// When the session had read the server's settings as the standby was found, where one is required.
    pub loaded: Option<i64>,
    pub unsure: Arc<AtomicBool>,
}

/// What a later session sees of a transaction.
enum Fate {
    Committed,
    /// It is there, and the standby that is required may not have it.
    Unguarded,
    Undone,
}

impl Commit {
    pub fn new(unsure: Arc<AtomicBool>) -> Result<Self, CopyError> {
        let mut token = [0; 16];
        aws_lc_rs::rand::fill(&mut token).map_err(|_| CopyError::Random)?;
        Ok(Self { token, loaded: None, unsure })
    }

    /// Waits for the right to write, and leaves the token. Everybody touches the tokens' table behind the lock only, so
    /// that nobody waits in a circle with somebody who wants the table for himself.
    pub async fn take_turn(
        &self,
        transaction: &Transaction<'_>,
        statements: &RefCell<HashMap<String, Statement>>,
    ) -> Result<(), tokio_postgres::Error> {
        let turn = prepared(transaction, statements, TURN).await?;
        let known = statements.borrow().get(NOTE).cloned();
        let token = self.token.as_slice();
        match known {
            Some(note) => {
                try_join(transaction.query_one(&turn, &[&LOCK]), transaction.execute(&note, &[&token]))
                    .await?;
            }
            None => {
                transaction.query_one(&turn, &[&LOCK]).await?;
                let note = prepared(transaction, statements, NOTE).await?;
                transaction.execute(&note, &[&token]).await?;
            }
        }
        Ok(())
    }

    /// The connection was lost in the commit: asks what became of it, as long as our patience lasts.
    pub fn became(&self, shared: &Shared, lost: &Trouble) -> Result<(), CopyError> {
        let until = Instant::now() + shared.settings.patience;
        loop {
            match self.fate(shared) {
                Ok(Fate::Committed) => return Ok(()),
                Ok(Fate::Unguarded) => return Err(CopyError::Unsure(HAS_NOT_WAITED)),
                Ok(Fate::Undone) => return Err(lost.error()),
                Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(200)),
                Err(_) => break,
            }
        }
        Err(CopyError::Unsure(
            "the database was lost while it was writing, and whether it has it is not known",
        ))
    }

    fn fate(&self, shared: &Shared) -> Result<Fate, Trouble> {
        let mut live = shared.connect()?;
        let is_required = shared.settings.standby == Standby::Required;
        let looked = shared.wait(shared.settings.patience, async {
            let before = match is_required {
                true => Some(loaded(&live.session.client.query_one(HAS_WAITED, &[]).await?)?),
                false => None,
            };
            // What was said when it connected is about something else.
            live.session.listen_anew();
            let work = writing(&mut live.session.client).await?;
            // As long as the lost session is at work, it holds this.
            work.execute(TURN, &[&LOCK]).await?;
            let look = "SELECT EXISTS (SELECT 1 FROM done WHERE token = $1)";
            let is_there: bool = work.query_one(look, &[&self.token.as_slice()]).await?.get(0);
            // What is written behind it is on the disk, and on the standby, behind it.
            work.execute("UPDATE base SET settled = settled + 1", &[]).await?;
            commit(work).await?;
            if !is_there {
                return Ok(Some(Fate::Undone));
            }
            let Some(before) = before else { return Ok(Some(Fate::Committed)) };
            let row = live.session.client.query_one(HAS_WAITED, &[]).await?;
            if !row.get::<_, bool>(0) || live.session.is_unsure() {
                return Ok(Some(Fate::Unguarded));
            }
            Ok::<_, tokio_postgres::Error>((loaded(&row)? == before).then_some(Fate::Committed))
        })?;
        // Names may have come and gone meanwhile: this is to be asked again.
        looked.ok_or(Trouble::Late)
    }
}

impl Link {
    /// Deletes tokens that nobody asks about any more, a bounded part; says whether there is more.
    pub fn forget_tokens(&mut self) -> Result<bool, CopyError> {
        let work = self.begin()?;
        let gone = work.run(FORGET, &[])?;
        if gone > 0 {
            work.commit()?;
        }
        Ok(gone >= FORGET_MAX)
    }
}
