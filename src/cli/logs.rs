//! The evidence logs of a store in PostgreSQL, one of each node: verified together, and closed when a node ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::exit::{Exit, Stop};
use super::screen::{self, Align, Table};
use super::{Changing, Place, Reading, runtime};
use crate::app::{evidence_head, evidence_key};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Engine};
use crate::evidence::checkpoint::{Checkpoint, VerifierKey};
use crate::evidence::export::{self, Trust, VerifiedLog};
use crate::store::AdminAct;
use crate::store::postgres::{self, Claim, LogProblem, LogsReport, NodeLog, RetireError};

/// The configuration of a server that works on PostgreSQL, and how to reach that.
fn configured(place: &Place) -> Result<(Config, postgres::Settings), Stop> {
    let config = Config::load(&place.path())?;
    if config.store.engine == Engine::Embedded {
        return Err(Stop::usage(format!(
            "the store is embedded in {}, whose one log `amtsbote evidence verify --store` checks",
            config.store.folder.display()
        )));
    }
    let settings = config.postgres_settings(Arc::new(SystemClock)).map_err(Stop::usage)?;
    Ok((config, settings))
}

#[derive(Serialize)]
struct Told<'a> {
    sound: bool,
    nodes: &'a [NodeLog],
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<u64>,
    files: usize,
    problem_count: u64,
    problems: &'a [LogProblem],
}

/// Verifies every node's log, and that the checkpoints of these proof files are of one of them.
pub fn verify(
    place: &Place,
    files: &[PathBuf],
    keys: &[VerifierKey],
    trust: &Trust,
    reading: Reading,
) -> Result<Exit, Stop> {
    let (config, settings) = configured(place)?;
    let mut claims = files.iter().map(|file| claims(file, trust)).collect::<Result<Vec<_>, _>>()?.concat();
    claims.extend(head(&config)?);
    let report = runtime()?.block_on(postgres::verify_logs(settings, keys, &claims));
    let report = report.map_err(|error| Stop::failed(error.to_string()))?;
    tell(&report, files.len(), reading)?;
    if keys.is_empty() {
        screen::sentence(
            "Who signed the checkpoints was not checked; give --key for every key that may have.",
        );
    }
    Ok(if report.is_sound() { Exit::Done } else { Exit::Problems })
}

/// What the node of this configuration has signed last, as it is kept in its folder.
fn head(config: &Config) -> Result<Option<Claim>, Stop> {
    let Some(node) = &config.store.node else { return Ok(None) };
    let path = evidence_head::path(&config.store.folder, node);
    let unread = |what: String| Stop::failed(format!("{}: {what}", path.display()));
    let Some(note) = evidence_head::read(&path).map_err(unread)? else { return Ok(None) };
    let Checkpoint { size, root, .. } =
        Checkpoint::stated(&note).map_err(|error| unread(error.to_string()))?;
    Ok(Some(Claim { place: path.display().to_string(), size, root }))
}

fn claims(file: &Path, trust: &Trust) -> Result<Vec<Claim>, Stop> {
    let proof = super::evidence::read_proof(file)?;
    let verified = export::verify(&proof, trust).map_err(|fault| super::evidence::refused(file, &fault))?;
    let claim = |log: &VerifiedLog| Claim {
        place: file.display().to_string(),
        size: log.checkpoint.size,
        root: log.checkpoint.root,
    };
    Ok(verified.logs.iter().map(claim).collect())
}

fn tell(report: &LogsReport, files: usize, reading: Reading) -> Result<(), Stop> {
    if reading.json {
        return screen::json(&Told {
            sound: report.is_sound(),
            nodes: &report.nodes,
            messages: report.messages,
            files,
            problem_count: report.problem_count,
            problems: &report.problems,
        });
    }
    let mut table = Table::new(&[
        ("node", Align::Left),
        ("records", Align::Right),
        ("checkpoints", Align::Right),
        ("held by others", Align::Right),
        ("state", Align::Left),
        ("root", Align::Left),
    ]);
    for log in &report.nodes {
        table.row([
            log.node.clone(),
            log.records.to_string(),
            log.checkpoints.to_string(),
            log.held_by_others.to_string(),
            if log.closed { "closed" } else { "open" }.to_owned(),
            log.root.to_string(),
        ]);
    }
    screen::data(&table.render())?;
    report.problems.iter().for_each(|problem| screen::sentence(&format!("{}.", problem.what)));
    let unlisted = report.problem_count.saturating_sub(report.problems.len() as u64);
    if unlisted > 0 {
        screen::sentence(&format!("And {unlisted} more."));
    }
    screen::sentence(match (report.is_sound(), files) {
        (true, 0) => "All logs are sound, and agree with what they say of each other.",
        (true, _) => "All logs are sound, and agree with what they say of each other and with the files.",
        (false, _) if report.messages.is_none() => "The logs are damaged.",
        (false, _) => "The logs are sound, and messages are not what they say.",
    });
    if let Some(count) = report.messages {
        screen::sentence(&format!("{count} messages were held against them, with their payloads."));
    }
    Ok(())
}

/// Closes the log of a node that will not come back.
pub fn close(place: &Place, node: &str, changing: &Changing) -> Result<Exit, Stop> {
    let (config, settings) = configured(place)?;
    let key = evidence_key::read(&config.evidence.key, &config.evidence.origin)
        .map_err(|error| Stop::usage(format!("{}: {error}", config.evidence.key.display())))?;
    screen::confirm(
        &format!("Close the log of node {node} for good? No server may use the name again."),
        changing.yes,
    )?;
    let act = AdminAct {
        at: SystemClock.now(),
        by: format!("uid {}", rustix::process::getuid().as_raw()),
        act: "evidence close".to_owned(),
        object: node.to_owned(),
        reason: changing.reason.clone(),
    };
    match runtime()?.block_on(postgres::retire(settings, node, &key, act)) {
        Ok(checkpoint) => {
            screen::sentence(&format!(
                "The log of node {node} is closed with {} records; {} has signed the last checkpoint.",
                checkpoint.size, checkpoint.origin
            ));
            Ok(Exit::Done)
        }
        Err(error) => {
            let exit = match &error {
                RetireError::Unknown(_) => Exit::Unknown,
                RetireError::Unsound(..) => Exit::Problems,
                RetireError::Closed(_) | RetireError::Store(_) => Exit::Failed,
            };
            Err(Stop::new(exit, error.to_string()))
        }
    }
}
