//! Many enquiries at once: a table in (CSV, RFC 4180), a table out. Each line is a case of its own, with a number, a fee,
//! a line in the log and notices of its own; one that cannot be asked is refused in its row and holds up no other.
//!
//! Columns are divided by semicolons or commas, as the first line shows. Cells that a spreadsheet would take for a formula
//! are written as text.

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::question;
use super::view::spoken_address;
use crate::page::fields::mistakes;
use crate::page::form::Form;
use crate::page::{Language, Words};
use crate::register::copies::Asked;
use crate::register::desk::{Desk, DeskError, PageAsked};

/// A column's name, and the field that it is.
const COLUMNS: [(&str, &str); 15] = [
    ("gemeinde", "municipality"),
    ("familienname", "familyName"),
    ("frueherer_name", "formerName"),
    ("vornamen", "givenNames"),
    ("strasse", "street"),
    ("hausnummer", "number"),
    ("plz", "postcode"),
    ("ort", "place"),
    ("geburtsdatum", "birthDate"),
    ("geburtsort", "birthPlace"),
    ("geschlecht", "sex"),
    ("einzugsdatum", "movedIn"),
    ("auszugsdatum", "movedOut"),
    ("familienstand", "maritalStatus"),
    ("kuenstlername", "artistName"),
];
const NEEDED: [&str; 2] = ["gemeinde", "vornamen"];

pub const FILE_MISSING: Words = ["Wählen Sie eine CSV-Datei aus.", "Choose a CSV file."];

/// One line, ready to be asked, or why it cannot be.
pub struct Line {
    pub number: Uuid,
    pub asked: Result<Asked, String>,
}

/// What is kept of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub number: String,
    pub refused: Option<String>,
}

pub fn template() -> String {
    let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    names.join(";") + "\r\n"
}

/// The lines behind the first as forms; otherwise what is wrong with the file.
pub fn read(bytes: &[u8], lines_max: usize, language: Language) -> Result<Vec<Form>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| {
        language
            .of(["Die Datei ist nicht in UTF-8 geschrieben.", "The file is not written in UTF-8."])
            .to_owned()
    })?;
    let mut rows = rows(text.trim_start_matches('\u{feff}')).ok_or_else(|| {
        language
            .of([
                "In der Datei endet ein Anführungszeichen nicht.",
                "In the file a quotation mark does not end.",
            ])
            .to_owned()
    })?;
    if rows.len() < 2 {
        return Err(language.of(["Die Datei hat keine Anfragen.", "The file has no enquiries."]).to_owned());
    }
    let head = rows.remove(0);
    let mut fields = Vec::new();
    for name in &head {
        let name = name.trim().to_lowercase();
        let Some((_, field)) = COLUMNS.iter().find(|(known, _)| *known == name) else {
            let name: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
            return Err(match language {
                Language::German => format!("Die Spalte „{name}“ ist nicht bekannt."),
                Language::English => format!("The column “{name}” is not known."),
            });
        };
        if fields.contains(field) {
            return Err(match language {
                Language::German => format!("Die Spalte „{name}“ kommt zweimal vor."),
                Language::English => format!("The column “{name}” occurs twice."),
            });
        }
        fields.push(*field);
    }
    for needed in NEEDED {
        if !head.iter().any(|name| name.trim().eq_ignore_ascii_case(needed)) {
            return Err(match language {
                Language::German => format!("Die Spalte „{needed}“ fehlt."),
                Language::English => format!("The column “{needed}” is missing."),
            });
        }
    }
    if rows.len() > lines_max {
        return Err(match language {
            Language::German => {
                format!("Die Datei hat {} Anfragen; höchstens {lines_max} gehen auf einmal.", rows.len())
            }
            Language::English => {
                format!("The file has {} enquiries; at most {lines_max} go at once.", rows.len())
            }
        });
    }
    let form = |(at, row): (usize, Vec<String>)| {
        // What would stand in no column, or in the wrong one, is no enquiry.
        if row.len() != fields.len() {
            return Err(match language {
                Language::German => {
                    format!("Zeile {} hat {} Spalten, die erste hat {}.", at + 2, row.len(), fields.len())
                }
                Language::English => {
                    format!("Line {} has {} columns, the first has {}.", at + 2, row.len(), fields.len())
                }
            });
        }
        Ok(Form::of(fields.iter().map(|field| (*field).to_owned()).zip(row).collect()))
    };
    rows.into_iter().enumerate().map(form).collect()
}

/// Nothing where a quotation mark does not end. Lines without any text are passed over.
fn rows(text: &str) -> Option<Vec<Vec<String>>> {
    let first = text.lines().next().unwrap_or_default();
    let divider = if first.contains(';') { ';' } else { ',' };
    let (mut rows, mut row, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().chain(['\n']).peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' if quoted => quoted = false,
            // The line end behind the last character is not the file's.
            '\n' if quoted && chars.peek().is_none() => return None,
            c if quoted => cell.push(c),
            '"' if cell.is_empty() => quoted = true,
            '\n' => {
                row.push(std::mem::take(&mut cell));
                let whole: Vec<String> = std::mem::take(&mut row);
                if whole.iter().any(|cell| !cell.trim().is_empty()) {
                    rows.push(whole);
                }
            }
            '\r' if chars.peek() == Some(&'\n') => {}
            c if c == divider => row.push(std::mem::take(&mut cell)),
            c => cell.push(c),
        }
    }
    Some(rows)
}

/// A line's number follows from its list's, so that the same list is the same questions.
pub fn number(list: Uuid, at: usize) -> Uuid {
    let mut bytes = [0; 16];
    let hash = digest(&SHA256, format!("{list} {at}").as_bytes());
    bytes.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// What is wrong with a line's own fields.
pub fn mistake(line: &Form, language: Language) -> Option<String> {
    let own: Vec<_> = question::FIELDS
        .iter()
        .copied()
        .filter(|field| COLUMNS.iter().any(|(_, name)| *name == field.name))
        .collect();
    let first = mistakes(&own, line, language).into_iter().next();
    first.or_else(|| question::choice_mistake(line, language)).map(|one| one.sentence)
}

/// Asks all lines, and keeps what became of each.
pub fn ask(
    desk: &Desk,
    asker: &str,
    number: &str,
    lines: Vec<Line>,
    language: Language,
) -> Result<PageAsked, DeskError> {
    let mut kept = Vec::with_capacity(lines.len());
    for line in lines {
        let own = line.number.to_string();
        let refused = match line.asked {
            Err(sentence) => Some(sentence),
            Ok(asked) => match desk.ask_on_page(&asked, asker, &own)? {
                PageAsked::Answered => None,
                PageAsked::Refused(reason) => Some(question::refusal(reason, language).sentence),
                PageAsked::UuidTaken => return Ok(PageAsked::UuidTaken),
            },
        };
        kept.push(Kept { number: own, refused });
    }
    let list = serde_json::to_vec(&kept).map_err(std::io::Error::from)?;
    desk.keep_on_page(asker, number, list)
}

pub fn kept(bytes: &[u8]) -> Vec<Kept> {
    serde_json::from_slice(bytes).unwrap_or_default()
}

pub fn head() -> String {
    "zeile;nummer;ergebnis;familienname;vornamen;doktorgrad;anschriften;verstorben;hinweis\r\n".to_owned()
}

pub fn row(out: &mut String, line: &Kept, answer: Option<&Value>) {
    let at = out.lines().count() + 1;
    let data = answer.map(|answer| &answer["data"]);
    let person = data.filter(|data| data.is_object());
    let word = match (&line.refused, person) {
        (Some(_), _) => "abgelehnt",
        (None, Some(_)) => "auskunft",
        (None, None) => "keine-auskunft",
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = |group: &str| person.map(|data| data[group].clone()).unwrap_or_default();
    let addresses: Vec<String> =
        of("present-addresses").as_array().into_iter().flatten().map(spoken_address).collect();
    let cells = [
        at.to_string(),
        line.number.clone(),
        word.to_owned(),
        text(&of("family-name")),
        text(&of("given-names")["names"]),
        text(&of("doctorate")),
        addresses.join(" | "),
        if of("fact-of-death") == true { "ja".to_owned() } else { String::new() },
        line.refused.clone().unwrap_or_default(),
    ];
    let cells: Vec<String> = cells.iter().map(|cell| written(cell)).collect();
    out.push_str(&cells.join(";"));
    out.push_str("\r\n");
}

fn written(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let cell = if formula { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains(['"', ';', ',', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_as_spreadsheets_write_them() {
        for (text, expected) in [
            (
                "\u{feff}gemeinde;vornamen;familienname\r\n10041100;Willi;\"Ad\"\"ler; A\"\r\n;;\r\n",
                "Ad\"ler; A",
            ),
            ("Vornamen,Gemeinde,Familienname\nWilli,10041100,\"Adler\n\"", "Adler"),
        ] {
            let lines = read(text.as_bytes(), 2, Language::English).expect("a table");
            assert_eq!(lines.len(), 1);
            assert_eq!(lines[0].text("familyName"), expected);
            assert_eq!(lines[0].text("municipality"), "10041100");
        }
        for (text, words) in [
            (&b"gemeinde;vornamen\n\xff"[..], "not written in UTF-8"),
            (b"gemeinde;vornamen\n1;\"2", "does not end"),
            (b"gemeinde;vornamen\n", "no enquiries"),
            (b"", "no enquiries"),
            (b"gemeinde;vornamen;lieblingsfarbe\n1;2;3", "\u{201c}lieblingsfarbe\u{201d} is not known"),
            (b"gemeinde;vornamen;vornamen\n1;2;3", "occurs twice"),
            (b"gemeinde;familienname\n1;2", "\u{201c}vornamen\u{201d} is missing"),
            (b"gemeinde;vornamen\n1;2\n1;2\n1;2", "at most 2"),
            (b"gemeinde;vornamen\n1;2\n1", "Line 3 has 1 columns"),
        ] {
            let error = read(text, 2, Language::English).expect_err(words);
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn no_cell_is_a_formula() {
        assert_eq!(written("=1+1"), "'=1+1");
        assert_eq!(written("-A;\"B\""), "\"'-A;\"\"B\"\"\"");
        let mut out = head();
        row(&mut out, &Kept { number: "n".to_owned(), refused: Some("@x".to_owned()) }, None);
        assert_eq!(out.lines().nth(1), Some("2;n;abgelehnt;;;;;;'@x"));
    }
}
