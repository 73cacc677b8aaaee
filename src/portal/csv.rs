//! Comma-separated values (RFC 4180): commas, double quotes, a line a record. No dialects.

use thiserror::Error;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {what}")]
pub struct CsvError {
    pub line: usize,
    pub what: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where it begins, from one.
    pub line: usize,
    pub fields: Vec<String>,
}

/// Every record, the heading included; empty lines are skipped.
pub fn read(text: &str, fields_max: usize) -> Result<Vec<Row>, CsvError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rows = Vec::new();
    let mut chars = text.chars().peekable();
    let mut line = 1;
    while chars.peek().is_some() {
        let begun = line;
        let mut fields = Vec::new();
        let mut is_last = false;
        while !is_last {
            let mut field = String::new();
            let wrong = |what: &str| CsvError { line: begun, what: what.to_owned() };
            if chars.next_if_eq(&'"').is_some() {
                loop {
                    match chars.next() {
                        Some('"') if chars.next_if_eq(&'"').is_some() => field.push('"'),
                        Some('"') => break,
                        Some(c) => {
                            line += usize::from(c == '\n');
                            field.push(c);
                        }
                        None => return Err(wrong("a quote is not closed")),
                    }
                }
            } else {
                while let Some(c) = chars.next_if(|c| !matches!(c, ',' | '\n' | '\r')) {
                    if c == '"' {
                        return Err(wrong("a quote inside a field that is not quoted"));
                    }
                    field.push(c);
                }
            }
            match chars.next() {
                Some(',') => {}
                Some('\r') if chars.next_if_eq(&'\n').is_some() => is_last = true,
                Some('\n') | None => is_last = true,
                Some(_) => {
                    return Err(wrong("something stands behind a closing quote, or a lone carriage return"));
                }
            }
            fields.push(field);
            if fields.len() > fields_max {
                return Err(wrong("too many fields"));
            }
        }
        line += 1;
        if fields.iter().any(|field| !field.is_empty()) {
            rows.push(Row { line: begun, fields });
        }
    }
    Ok(rows)
}

/// A field as it stands in a line.
pub fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Result<Vec<Vec<String>>, CsvError> {
        read(text, 4).map(|rows| rows.into_iter().map(|row| row.fields).collect())
    }

    #[test]
    fn records_and_mistakes() {
        let row = |fields: &[&str]| fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            fields("a,b\r\nc,\"d,\"\"e\"\"\n\"\n\n"),
            Ok(vec![row(&["a", "b"]), row(&["c", "d,\"e\"\n"])])
        );
        assert_eq!(fields("\u{feff}a,"), Ok(vec![row(&["a", ""])]));
        assert_eq!(fields(""), Ok(vec![]));
        for (text, line, words) in [
            ("a\n\"b", 2, "not closed"),
            ("a\nb\"c", 2, "inside"),
            ("\"a\"b", 1, "behind"),
            ("a\rb", 1, "lone"),
            ("1,2,3,4,5", 1, "too many"),
        ] {
            let error = fields(text).expect_err(text);
            assert!(error.line == line && error.what.contains(words), "{text:?}: {error}");
        }
        assert_eq!(field("a\"b"), "\"a\"\"b\"");
    }
}
