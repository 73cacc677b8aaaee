//! `amtsbote register cases|case`: what questions made the register owe, and moves that wait for their answer.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::super::Reading;
use super::super::exit::{Exit, Stop};
use super::super::screen::{self, Align, Table};
use super::{Folder, after, eyes, stop};
use crate::clock::{Clock, SystemClock};
use crate::register::copies::{Copies, MoveCase, OpenDuty, Readers, Subject};
use crate::register::desk::{Desk, DeskError};

/// Cases of one list; the oldest come first.
const CASES_MAX: u32 = 1000;

#[derive(Debug, clap::Subcommand)]
pub enum Case {
    /// Open a case: the question, and whom it is about; the log says that it was opened. One about a locked person takes two operators
    Show {
        number: u64,
        #[command(flatten)]
        folder: Folder,
    },
    /// Answer a question by hand, from the copy and within the asker's rights; the answer is sent, and the case closed
    Answer {
        number: u64,
        /// Order mark of a person who may be told of; a locked one takes two operators
        #[arg(long = "person", value_name = "MARK", required_unless_present = "none")]
        persons: Vec<String>,
        /// No data are given, for good
        #[arg(long, conflicts_with = "persons")]
        none: bool,
        /// Why, for the log
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        folder: Folder,
    },
    /// Hand a question over to its municipality (0031), as it came: the case goes with it
    HandOver {
        number: u64,
        /// Why, for the log
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        folder: Folder,
    },
}

#[derive(Serialize)]
struct Cases {
    duties: Vec<OpenDuty>,
    moves: Vec<MoveCase>,
}

impl Case {
    pub fn run(&self) -> Result<Exit, Stop> {
        match self {
            Self::Show { number, folder } => show(&folder.open(false)?, &folder.path()?, *number),
            Self::Answer { number, persons, none: _, reason, folder } => {
                answer(folder, *number, persons, reason)
            }
            Self::HandOver { number, reason, folder } => hand_over(folder, *number, reason),
        }
    }
}

fn unknown(number: u64) -> Stop {
    Stop::new(Exit::Unknown, format!("no case {number} is open"))
}

fn show(copies: &Copies, folder: &Path, number: u64) -> Result<Exit, Stop> {
    let takes_two = copies.duty_takes_two(number).map_err(stop)?.ok_or_else(|| unknown(number))?;
    let readers = readers(copies, folder, takes_two, &Subject::Case { number })?;
    let opened = copies.open_duty(number, &readers, SystemClock.now()).map_err(stop)?;
    after(copies);
    let opened = opened.ok_or_else(|| unknown(number))?;
    screen::json(&opened)?;
    if opened.unreadable {
        screen::sentence(
            "The record of whom this notice goes to cannot be read, and the notice is due: load the municipality again, and open the case anew.",
        );
        return Ok(Exit::Problems);
    }
    Ok(Exit::Done)
}

/// Who writes to whoever asked: by the configuration. Only where the case is open.
fn desk(folder: &Folder, number: u64) -> Result<Desk, Stop> {
    let config = folder.config()?.ok_or_else(|| {
        Stop::usage("the register's configuration is needed: who answers stands in it")
            .then("--settings names it; register.toml is looked for here")
    })?;
    let copies = folder.open(false)?;
    if copies.duty_takes_two(number).map_err(stop)?.is_none() {
        return Err(unknown(number));
    }
    let settings = config.desk().map_err(|error| Stop::usage(error.to_string()))?;
    Ok(Desk::new(copies, settings, Arc::new(SystemClock)))
}

fn failed(error: DeskError) -> Stop {
    match error {
        DeskError::Copies(error) => stop(error),
        error => Stop::failed(error.to_string()),
    }
}

fn hand_over(folder: &Folder, number: u64, reason: &str) -> Result<Exit, Stop> {
    let desk = desk(folder, number)?;
    let by = Readers::One(eyes::operator());
    let ags = desk.hand_over_case(number, reason, &by).map_err(failed)?;
    screen::sentence(&format!(
        "The question leaves for ags:{ags}; the case is closed when the post office has it."
    ));
    after(&desk.copies);
    Ok(Exit::Done)
}

fn answer(folder: &Folder, number: u64, marks: &[String], reason: &str) -> Result<Exit, Stop> {
    let desk = desk(folder, number)?;
    let (by, now) = (eyes::operator(), SystemClock.now());
    let takes_two = desk.copies.answer_takes_two(number, marks, by, reason, now).map_err(stop)?;
    let readers = readers(&desk.copies, &folder.path()?, takes_two, &Subject::Answer { number, marks })?;
    let answer = desk.answer_case(number, marks, reason, &readers).map_err(failed)?;
    screen::json(&answer)?;
    after(&desk.copies);
    Ok(Exit::Done)
}

fn readers(copies: &Copies, folder: &Path, two: bool, subject: &Subject<'_>) -> Result<Readers, Stop> {
    if two {
        Ok(Readers::Two(eyes::two(copies, folder, subject)?))
    } else {
        Ok(Readers::One(eyes::operator()))
    }
}

pub fn close(copies: &Copies, number: u64, reason: &str) -> Result<Exit, Stop> {
    let by = Readers::One(eyes::operator());
    if copies.settle_duty(number, reason, &by, SystemClock.now()).map_err(stop)? {
        copies.after_work().map_err(stop)?;
        Ok(Exit::Done)
    } else {
        Err(unknown(number))
    }
}

pub fn list(copies: &Copies, all: bool, reading: Reading) -> Result<Exit, Stop> {
    let now = SystemClock.now();
    let cases = Cases {
        duties: copies.open_duties(0, CASES_MAX).map_err(stop)?,
        moves: copies.move_cases(all, CASES_MAX).map_err(stop)?,
    };
    if reading.json {
        screen::json(&cases)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[
        ("CASE", Align::Right),
        ("AGE", Align::Right),
        ("KIND", Align::Left),
        ("MUNICIPALITY", Align::Left),
    ]);
    for one in &cases.duties {
        table.row([
            one.number.to_string(),
            screen::age(one.since, now),
            one.kind.clone(),
            one.ags.to_string(),
        ]);
    }
    screen::data(&table.render())?;
    if !cases.moves.is_empty() {
        let heads = ["MOVE", "FROM", "TO", "SIGN", "DUE", "STATE"].map(|head| (head, Align::Left));
        let mut table = Table::new(&heads);
        for one in &cases.moves {
            table.row([
                one.case.clone(),
                one.old_office.to_string(),
                one.new_office.to_string(),
                screen::plain(&one.sign).to_string(),
                one.due_at.map(screen::instant).unwrap_or_default(),
                if one.notice_late { format!("{}, notice late", one.state) } else { one.state.to_owned() },
            ]);
        }
        screen::data(&format!("\n{}", table.render()))?;
    }
    Ok(Exit::Done)
}
