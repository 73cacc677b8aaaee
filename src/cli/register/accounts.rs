//! `amtsbote register statistics`, `fees`: a month in numbers.

use super::super::Reading;
use super::super::exit::{Exit, Stop};
use super::super::screen::{self, Align, Table};
use super::stop;
use crate::register::copies::{Copies, Month};

pub fn statistics(copies: &Copies, month: Month, reading: Reading) -> Result<Exit, Stop> {
    let lines = copies.statistics(month).map_err(stop)?;
    if reading.json {
        screen::json(&lines)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[
        ("AREA", Align::Left),
        ("PROFILE", Align::Left),
        ("ASKER", Align::Left),
        ("QUESTIONS", Align::Right),
        ("WITH HITS", Align::Right),
        ("HITS", Align::Right),
    ]);
    for one in lines {
        let counts = [one.questions, one.with_hits, one.hits].map(|count| count.to_string());
        let [questions, with_hits, hits] = counts;
        table.row([one.area, one.profile.to_owned(), one.asker, questions, with_hits, hits]);
    }
    screen::data(&table.render())?;
    Ok(Exit::Done)
}

pub fn fees(copies: &Copies, month: Month, reading: Reading) -> Result<Exit, Stop> {
    let lines = copies.accounts(month).map_err(stop)?;
    if reading.json {
        screen::json(&lines)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[
        ("MUNICIPALITY", Align::Left),
        ("CHANNEL", Align::Left),
        ("QUESTIONS", Align::Right),
        ("EURO", Align::Right),
        ("MUNICIPALITY'S", Align::Right),
        ("OPERATOR'S", Align::Right),
    ]);
    for one in lines {
        let euro = |cents: u64| format!("{}.{:02}", cents / 100, cents % 100);
        table.row([
            one.ags.to_string(),
            one.channel.clone(),
            one.questions.to_string(),
            euro(one.cents),
            euro(one.municipality_cents),
            euro(one.operator_cents),
        ]);
    }
    screen::data(&table.render())?;
    Ok(Exit::Done)
}
