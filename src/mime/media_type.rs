//! The value of a Content-Type header (RFC 2045 section 5.1), read as liberally as XTA and OSCI clients need:
//! parameters in any order, quoted or not, blanks around `;` and `=`, a trailing `;`, and unquoted values with
//! characters such as `/`, `=`, `+` and `:` that the grammar wants quoted.
//! A parameter given twice with different values is refused, because two readers would choose differently.

use super::{Error, check_limit};

const PARAMETERS_MAX: usize = 32;

/// A media type with its parameters. Names are lower case; values are as given, unquoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType {
    essence: String,
    parameters: Vec<(String, String)>,
}

impl MediaType {
    pub fn parse(value: &str) -> Result<Self, Error> {
        let (essence, mut rest) = match value.find(';') {
            Some(at) => value.split_at(at),
            None => (value, ""),
        };
        let essence = essence.trim().to_ascii_lowercase();
        match essence.split_once('/') {
            Some((kind, sub)) if is_token(kind) && is_token(sub) => {}
            _ => return Err(Error::MediaType("type/subtype expected")),
        }
        let mut parameters: Vec<(String, String)> = Vec::new();
        loop {
            rest = rest.trim_start();
            let Some(after) = rest.strip_prefix(';') else {
                if rest.is_empty() {
                    return Ok(Self { essence, parameters });
                }
                return Err(Error::MediaType("`;` expected between parameters"));
            };
            let after = after.trim_start();
            if after.is_empty() || after.starts_with(';') {
                rest = after;
                continue;
            }
            let (name, tail) =
                after.split_once('=').ok_or(Error::MediaType("`=` expected after a parameter name"))?;
            let name = name.trim_end().to_ascii_lowercase();
            if !is_token(&name) {
                return Err(Error::MediaType("parameter name is not a token"));
            }
            let (value, tail) = parameter_value(tail.trim_start())?;
            rest = tail;
            match parameters.iter().find(|(known, _)| *known == name) {
                Some((_, known)) if *known != value => return Err(Error::ParameterTwice(name)),
                Some(_) => {}
                None => parameters.push((name, value)),
            }
            check_limit("parameters of Content-Type", PARAMETERS_MAX, parameters.len())?;
        }
    }

    /// `type/subtype` in lower case.
    pub fn essence(&self) -> &str {
        &self.essence
    }

    pub fn is(&self, essence: &str) -> bool {
        self.essence.eq_ignore_ascii_case(essence)
    }

    pub fn is_multipart(&self) -> bool {
        self.essence.starts_with("multipart/")
    }

    /// The value of a parameter; `name` in lower case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The SOAP action, wherever clients put it: a parameter of its own, or inside `start-info` or `type`.
    pub fn action(&self) -> Option<String> {
        if let Some(action) = self.parameter("action") {
            return Some(action.to_owned());
        }
        ["start-info", "type"]
            .into_iter()
            .filter_map(|outer| self.parameter(outer))
            .filter_map(|inner| MediaType::parse(inner).ok())
            .find_map(|inner| inner.parameter("action").map(str::to_owned))
    }
}

pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b))
}

/// One value and what follows it.
fn parameter_value(text: &str) -> Result<(String, &str), Error> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ' ', '\t', '\r', '\n']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        if value.is_empty() {
            return Err(Error::MediaType("parameter has no value"));
        }
        if value.contains('"') {
            return Err(Error::MediaType("quote inside an unquoted value"));
        }
        return Ok((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, quoted.get(at + 1..).unwrap_or(""))),
            '\\' => match chars.next() {
                Some((_, escaped)) => value.push(escaped),
                None => break,
            },
            other => value.push(other),
        }
    }
    Err(Error::MediaType("quoted value is not closed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Expected<'a> = Result<(&'a str, &'a [(&'a str, &'a str)]), Error>;

    fn check(value: &str, expected: Expected<'_>) {
        let expected = expected.map(|(essence, parameters)| MediaType {
            essence: essence.to_owned(),
            parameters: parameters.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        });
        assert_eq!(MediaType::parse(value), expected, "{value}");
    }

    #[test]
    fn media_types_of_the_field() {
        check("text/xml", Ok(("text/xml", &[])));
        check("TEXT/XML ; Charset = UTF-8;", Ok(("text/xml", &[("charset", "UTF-8")])));
        check(
            "Multipart/Related; boundary=MIME_boundary_a/b+c=; type=text/xml",
            Ok(("multipart/related", &[("boundary", "MIME_boundary_a/b+c="), ("type", "text/xml")])),
        );
        check(
            r#"multipart/related;start="<r*u@x>";boundary="uuid:f;1";start-info="application/soap+xml;action=\"http://a/B\"""#,
            Ok((
                "multipart/related",
                &[
                    ("start", "<r*u@x>"),
                    ("boundary", "uuid:f;1"),
                    ("start-info", "application/soap+xml;action=\"http://a/B\""),
                ],
            )),
        );
        check(
            "multipart/related; boundary=b; Boundary=\"b\"",
            Ok(("multipart/related", &[("boundary", "b")])),
        );
        check("text/xml;;a=b ; ;c=d", Ok(("text/xml", &[("a", "b"), ("c", "d")])));
    }

    #[test]
    fn refused() {
        check("multipart/related; boundary=a; boundary=b", Err(Error::ParameterTwice("boundary".to_owned())));
        check("", Err(Error::MediaType("type/subtype expected")));
        check("text", Err(Error::MediaType("type/subtype expected")));
        check("text/xml; a=\"b", Err(Error::MediaType("quoted value is not closed")));
        check("text/xml; a=\"b\\", Err(Error::MediaType("quoted value is not closed")));
        check("text/xml; a=", Err(Error::MediaType("parameter has no value")));
        check("text/xml; a=b c=d", Err(Error::MediaType("`;` expected between parameters")));
        check("text/xml; a b=d", Err(Error::MediaType("parameter name is not a token")));
        check("text/xml; a", Err(Error::MediaType("`=` expected after a parameter name")));
        let flood = format!("text/xml{}", (0..40).map(|i| format!(";p{i}=1")).collect::<String>());
        check(&flood, Err(Error::LimitExceeded { limit: "parameters of Content-Type", value: 32, seen: 33 }));
    }

    #[test]
    fn action_is_found_wherever_clients_put_it() {
        for (value, action) in [
            ("application/soap+xml; charset=utf-8; action=\"urn:x\"", Some("urn:x")),
            ("multipart/related; action=urn:x; start-info=\"text/xml\"", Some("urn:x")),
            (r#"multipart/related; start-info="application/soap+xml; action=\"urn:x\"""#, Some("urn:x")),
            (r#"application/xop+xml; type="application/soap+xml;action=\"urn:x\"""#, Some("urn:x")),
            ("multipart/related; start-info=\"text/xml\"", None),
        ] {
            assert_eq!(MediaType::parse(value).unwrap().action().as_deref(), action, "{value}");
        }
    }
}
