//! What people read: tables, ages, sizes, and text from the wire made harmless.
//!
//! No colours: states are words, and words survive a pipe, a printer and a screen reader.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use jiff::Timestamp;
use serde::Serialize;

use super::exit::{Exit, Stop};

/// Data goes to stdout. A reader that has gone away (`| head`) is no failure.
pub fn data(text: &str) -> Result<(), Stop> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Stop::failed(format!("the output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// One JSON document with a line's end. Control characters are escaped by JSON itself.
pub fn json(value: &impl Serialize) -> Result<(), Stop> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Stop::failed(format!("the answer cannot be written as JSON: {error}")))?;
    data(&format!("{}\n", escape_bidi(&text)))
}

/// A sentence for the person, on stderr.
pub fn sentence(text: &str) {
    let _ = writeln!(io::stderr(), "{}", plain(text));
}

/// Several lines for the person, on stderr.
pub fn sentences(text: &str) {
    text.lines().for_each(sentence);
}

pub fn stop(stop: &Stop) {
    sentence(&format!("amtsbote: {}.", stop.sentence.trim_end_matches('.')));
    if !stop.next_step.is_empty() {
        sentence(&format!("{}.", stop.next_step.trim_end_matches('.')));
    }
}

/// Asks for a yes; without a person at the terminal there is none.
pub fn confirm(question: &str, yes: bool) -> Result<(), Stop> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Stop::new(Exit::Declined, "nobody is at the terminal to confirm")
            .then("Give --yes if you are sure"));
    }
    let _ = write!(io::stderr(), "{} [y/N] ", plain(question));
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|error| Stop::failed(format!("no answer: {error}")))?;
    match answer.trim() {
        "y" | "Y" | "yes" | "j" | "J" | "ja" => Ok(()),
        _ => Err(Stop::new(Exit::Declined, "nothing was done")),
    }
}

/// Text from elsewhere on one line: control characters and marks that turn the writing direction are escaped, so that
/// no subject line can move a cursor or hide its end.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || turns_direction(c) {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

fn turns_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

fn escape_bidi(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if turns_direction(c) || ('\u{7f}'..='\u{9f}').contains(&c) {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// Columns as wide as their widest cell; the last one is not padded.
pub struct Table {
    heads: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(heads: &[(&'static str, Align)]) -> Self {
        Self { heads: heads.to_vec(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| plain(&cell)).collect());
    }

    pub fn render(&self) -> String {
        let widths: Vec<usize> = self
            .heads
            .iter()
            .enumerate()
            .map(|(column, (head, _))| {
                let cells =
                    self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
                cells.max().unwrap_or(0).max(head.len())
            })
            .collect();
        let heads: Vec<String> = self.heads.iter().map(|(head, _)| (*head).to_owned()).collect();
        let mut out = String::new();
        for row in std::iter::once(&heads).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, width), (_, align)) in row.iter().zip(&widths).zip(&self.heads) {
                let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
                match align {
                    Align::Left => line.extend([cell.as_str(), &pad, "  "]),
                    Align::Right => line.extend([&pad, cell.as_str(), "  "]),
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// Names and values, one a line.
pub fn fields(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    pairs.iter().fold(String::new(), |mut out, (name, value)| {
        let pad = " ".repeat(width.saturating_sub(name.chars().count()));
        let _ = writeln!(out, "{name}{pad}  {}", plain(value));
        out
    })
}

/// "3 min", "5 h", "2 d": how long ago; "in 3 d" for what is to come.
pub fn age(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(at.as_second());
    let span = span(seconds.unsigned_abs());
    if seconds < 0 { format!("in {span}") } else { span }
}

pub fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// To the second, in UTC.
pub fn instant(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

pub fn bytes(count: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000)];
    for (unit, size) in UNITS {
        if count >= size {
            let tenths = count / (size / 10);
            return match tenths {
                0..1000 => format!("{}.{} {unit}", tenths / 10, tenths % 10),
                _ => format!("{} {unit}", tenths / 10),
            };
        }
    }
    format!("{count} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_the_wire_cannot_move_the_cursor() {
        for (text, expected) in [
            ("Straße", "Straße"),
            ("a\u{1b}[2Jb\r\n", "a\\u{1b}[2Jb\\u{d}\\u{a}"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("\u{9b}1m", "\\u{9b}1m"),
        ] {
            assert_eq!(plain(text), expected);
        }
        assert_eq!(escape_bidi("\"\u{9b}\u{202e}ä\""), "\"\\u009b\\u202eä\"");
    }

    #[test]
    fn columns_line_up() {
        let mut table =
            Table::new(&[("NAME", Align::Left), ("BYTES", Align::Right), ("REMARK", Align::Left)]);
        table.row(["ä".to_owned(), "7".to_owned(), "x".to_owned()]);
        table.row(["longer".to_owned(), "1234567".to_owned(), String::new()]);
        assert_eq!(table.render(), "NAME      BYTES  REMARK\nä             7  x\nlonger  1234567\n");
    }

    #[test]
    fn spans_and_sizes() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().expect("an instant");
        for (at, expected) in [
            ("2026-01-01T23:59:58Z", "2 s"),
            ("2026-01-01T23:57:59Z", "2 min"),
            ("2026-01-01T00:00:00Z", "1 d"),
            ("2026-01-02T05:00:00Z", "in 5 h"),
        ] {
            assert_eq!(age(at.parse().expect("an instant"), now), expected);
        }
        for (count, expected) in
            [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_250_000, "1.2 MB"), (123_456_789, "123 MB")]
        {
            assert_eq!(bytes(count), expected);
        }
    }
}
