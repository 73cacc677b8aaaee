//! Many enquiries at once: a table in (CSV, RFC 4180), a table out. Each line is a case of its own, with a number, a fee,
//! a line in the log and notices of its own; one that cannot be asked is refused in its row, before anything is paid, and
//! holds up no other. One payment is for all that are asked.
//!
//! Columns are divided by semicolons or commas, as the first line shows. Cells that a spreadsheet would take for a formula
//! are written as text.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::question;
use super::view::spoken_address;
use crate::page::fields::mistakes;
use crate::page::form::Form;
use crate::page::{Language, Words};
use crate::register::copies::{Asked, Copies, CopyError, Order, OrderLine};
use crate::register::payment::QUESTIONS_MAX;

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

pub const TOO_MUCH: Words = [
    "Die Anfragen dieser Liste sind zu viele, oder aus zu vielen Gemeinden, für eine Zahlung. Teilen Sie die Liste.",
    "The enquiries of this list are too many, or about too many municipalities, for one payment. Divide the list.",
];
/// Refused lines that are named where no line is left.
const REFUSED_SHOWN: usize = 5;

/// What is kept of a line: its place in the order, or why it has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub number: Option<u32>,
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

/// Which lines can be asked, as far as the register can say without a look at anybody; and the questions of these.
pub fn judged(
    copies: &Copies,
    lines: Vec<Result<Asked, String>>,
    language: Language,
    now: Timestamp,
) -> Result<(Vec<Kept>, Vec<Asked>), CopyError> {
    let (mut kept, mut questions) = (Vec::with_capacity(lines.len()), Vec::new());
    for line in lines {
        let refused = match line {
            Err(sentence) => Some(sentence),
            Ok(_) if questions.len() == QUESTIONS_MAX => {
                return Err(CopyError::Refused("too many questions"));
            }
            Ok(asked) => {
                let alone = Order { questions: vec![asked.clone()], ..Order::default() };
                match copies.price_of(&alone, now) {
                    Ok(_) => {
                        questions.push(asked);
                        None
                    }
                    Err(CopyError::Question(reason)) => Some(question::refusal(reason, language).sentence),
                    Err(error) => return Err(error),
                }
            }
        };
        let number = u32::try_from(questions.len()).ok().filter(|_| refused.is_none());
        kept.push(Kept { number, refused });
    }
    Ok((kept, questions))
}

/// What is said where no line can be asked.
pub fn none_left(kept: &[Kept], language: Language) -> String {
    let mut said = language
        .of(["Keine Zeile der Datei kann angefragt werden.", "No line of the file can be asked."])
        .to_owned();
    let line = language.of(["Zeile", "Line"]);
    let refused = kept.iter().enumerate().filter_map(|(at, one)| Some((at, one.refused.as_ref()?)));
    for (at, sentence) in refused.take(REFUSED_SHOWN) {
        said.push_str(&format!(" {line} {}: {sentence}", at + 2));
    }
    said
}

/// With what was refused when the order was carried out, after all.
pub fn with_refusals(mut kept: Vec<Kept>, lines: &[OrderLine], language: Language) -> Vec<Kept> {
    for one in &mut kept {
        let line = lines.iter().find(|line| Some(line.number) == one.number);
        if line.is_none_or(|line| !line.put) && one.refused.is_none() {
            let words: Words = [
                "Die Anfrage konnte nicht gestellt werden; der Betreiber ist unterrichtet.",
                "The enquiry could not be put; the operator knows of it.",
            ];
            *one = Kept { number: None, refused: Some(language.of(words).to_owned()) };
        }
    }
    kept
}

pub fn kept(bytes: &[u8]) -> Vec<Kept> {
    serde_json::from_slice(bytes).unwrap_or_default()
}

pub fn head() -> String {
    "zeile;nummer;ergebnis;familienname;vornamen;doktorgrad;anschriften;verstorben;hinweis\r\n".to_owned()
}

/// The answer to the line at a place of the list, counted from 0.
pub fn row(out: &mut String, at: usize, case: &str, line: &Kept, answer: Option<&Value>) {
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
        (at + 2).to_string(),
        line.number.map(|number| format!("{case}.{number}")).unwrap_or_default(),
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
        row(&mut out, 0, "n", &Kept { number: None, refused: Some("@x".to_owned()) }, None);
        row(&mut out, 1, "n", &Kept { number: Some(7), refused: None }, None);
        assert_eq!(out.lines().nth(1), Some("2;;abgelehnt;;;;;;'@x"));
        assert_eq!(out.lines().nth(2), Some("3;n.7;keine-auskunft;;;;;;"));
    }
}
