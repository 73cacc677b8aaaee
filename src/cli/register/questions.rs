//! `amtsbote register search`, `explain`: one question, and who may put it.

use std::path::Path;

use super::super::exit::{Exit, Stop};
use super::super::screen::{self, Align, Table};
use super::super::{Reading, read_text};
use super::{after, stop};
use crate::clock::{Clock, SystemClock};
use crate::register::copies::{Asked, Copies};
use crate::register::question::Profile;
use crate::register::rights::{Asker, Explanation, Purpose, Reach, explain};

pub fn search(copies: &Copies, file: &Path) -> Result<Exit, Stop> {
    let asked: Asked = serde_json::from_str(&read_text(file)?)
        .map_err(|error| Stop::usage(format!("{} is no question: {error}", file.display())))?;
    let outcome = copies.ask(&asked, SystemClock.now()).map_err(stop)?;
    screen::json(&outcome.answer)?;
    after(copies);
    Ok(Exit::Done)
}

pub fn explained(
    asker: Option<&str>,
    profile: Option<&str>,
    purpose: &str,
    area: &str,
    reading: Reading,
) -> Result<Exit, Stop> {
    let unknown = |what: &str, word: &str, words: Vec<&str>| {
        Stop::new(Exit::Unknown, format!("there is no {what} {word}"))
            .then(format!("Known are {}", words.join(", ")))
    };
    let words = |all: &[Asker]| all.iter().map(|one| one.as_str()).collect();
    let one_asker = asker
        .map(|word| Asker::parse(word).ok_or_else(|| unknown("kind of asker", word, words(Asker::ALL))))
        .transpose()?;
    let one_profile = profile
        .map(|word| {
            let all = Profile::ALL;
            let names = || all.iter().map(|one| one.as_str()).collect();
            all.iter()
                .copied()
                .find(|one| one.as_str() == word)
                .ok_or_else(|| unknown("profile", word, names()))
        })
        .transpose()?;
    let purposes = || Purpose::ALL.iter().map(|one| one.as_str()).collect();
    let purpose = Purpose::parse(purpose).ok_or_else(|| unknown("purpose", purpose, purposes()))?;
    let areas = || Reach::ALL.iter().map(|one| one.as_str()).collect();
    let area = Reach::parse(area).ok_or_else(|| unknown("area", area, areas()))?;
    if let (Some(asker), Some(profile)) = (one_asker, one_profile) {
        let explanation = explain(asker, purpose, profile, area);
        let allowed = explanation.allowed;
        if reading.json {
            screen::json(&explanation)?;
        } else {
            screen::data(&screen::fields(&[
                ("allowed", if allowed { "yes" } else { "no" }.to_owned()),
                ("law", explanation.law.to_owned()),
                ("data", explanation.data.join(", ")),
                ("remark", explanation.words),
            ]))?;
        }
        return Ok(if allowed { Exit::Done } else { Exit::Problems });
    }
    let rows = table_rows(one_asker);
    if reading.json {
        screen::json(&rows)?;
    } else {
        let heads = [
            ("ASKER", Align::Left),
            ("PURPOSE", Align::Left),
            ("PROFILE", Align::Left),
            ("AREA", Align::Left),
            ("LAW", Align::Left),
        ];
        let mut table = Table::new(&heads);
        rows.iter().for_each(|row| {
            table.row([row.asker, row.purpose, row.profile, row.area, row.law].map(str::to_owned));
        });
        screen::data(&table.render())?;
    }
    Ok(Exit::Done)
}

/// Every combination that is allowed, each with its widest area.
fn table_rows(asker: Option<Asker>) -> Vec<Explanation> {
    let mut rows = Vec::new();
    for one in Asker::ALL.iter().copied().filter(|one| asker.is_none_or(|asker| asker == *one)) {
        for (purpose, profile) in
            Purpose::ALL.iter().flat_map(|purpose| Profile::ALL.map(|profile| (*purpose, profile)))
        {
            let widest = [Reach::State, Reach::Municipality].map(|area| explain(one, purpose, profile, area));
            rows.extend(widest.into_iter().find(|row| row.allowed));
        }
    }
    rows
}
