//! Fields of a form as data: how each is asked, what it must be, and the sentence at the field where it is not.
//!
//! A form with mistakes is shown again with what was entered, a summary on top that has the focus and leads to each
//! field, and the same sentence at the field (WCAG 3.3.1, 3.3.3). What has to be true of a field is in the page as data,
//! too, so that a script can say the same in the same words.

use jiff::civil::Date;

use super::form::Form;
use super::{Language, Words, escaped};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One line, with what a browser may fill in (WCAG 1.3.5).
    Line {
        autocomplete: &'static str,
    },
    Secret,
    Area,
    /// One of the options that whoever shows the page hands over.
    Choice,
    Tick,
    File {
        accept: &'static str,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    Any,
    EMail,
    /// A day of the calendar, `31.12.2026` or `2026-12-31`.
    Day,
    /// The same, and `00.12.2026` or `00.00.2026` where less is known.
    PartialDay,
}

#[derive(Debug, Clone, Copy)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub rule: Rule,
    pub required: bool,
    /// Longest text, in characters.
    pub chars_max: usize,
    pub label: Words,
    pub hint: Option<Words>,
    /// What is said where nothing was entered, and where it is not what it must be.
    pub missing: Words,
    pub malformed: Words,
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub field: &'static str,
    pub sentence: String,
}

impl Mistake {
    pub fn new(field: &'static str, sentence: impl Into<String>) -> Self {
        Self { field, sentence: sentence.into() }
    }
}

impl Field {
    pub const fn line(name: &'static str, label: Words) -> Self {
        Self {
            name,
            kind: Kind::Line { autocomplete: "off" },
            rule: Rule::Any,
            required: false,
            chars_max: 100,
            label,
            hint: None,
            missing: ["Dieses Feld ist leer.", "This field is empty."],
            malformed: ["Diese Angabe ist nicht gültig.", "This entry is not valid."],
        }
    }

    /// The sentence about a text that was entered, if it is not what it must be.
    pub fn mistake(&self, text: &str, language: Language) -> Option<Mistake> {
        let said = |sentence: String| Some(Mistake::new(self.name, sentence));
        if text.is_empty() {
            return if self.required { said(language.of(self.missing).to_owned()) } else { None };
        }
        if text.len() > 4 * self.chars_max || text.chars().count() > self.chars_max {
            return said(self.too_long(language));
        }
        let fits = match self.rule {
            Rule::Any => self.kind == Kind::Area || !text.chars().any(char::is_control),
            Rule::EMail => is_e_mail(text),
            Rule::Day => day(text).is_some(),
            Rule::PartialDay => partial_day(text).is_some(),
        };
        if fits { None } else { said(language.of(self.malformed).to_owned()) }
    }

    fn too_long(&self, language: Language) -> String {
        match language {
            Language::German => format!("{}: höchstens {} Zeichen.", language.of(self.label), self.chars_max),
            Language::English => {
                format!("{}: at most {} characters.", language.of(self.label), self.chars_max)
            }
        }
    }

    /// The field with what was entered, and what is wrong with it.
    pub fn render(
        &self,
        language: Language,
        value: &str,
        mistakes: &[Mistake],
        options: &[(String, String)],
    ) -> String {
        let name = self.name;
        let mistake = mistakes.iter().find(|one| one.field == name);
        let mut described = Vec::new();
        let mut hint = String::new();
        if let Some(words) = self.hint {
            hint = format!("<p class=\"hint\" id=\"{name}-hint\">{}</p>\n", escaped(language.of(words)));
            described.push(format!("{name}-hint"));
        }
        let mut error = String::new();
        if let Some(mistake) = mistake {
            error = format!("<p class=\"error\" id=\"{name}-error\">{}</p>\n", escaped(&mistake.sentence));
            described.push(format!("{name}-error"));
        }
        let mut attributes = format!(
            "id=\"{name}\" name=\"{name}\" data-missing=\"{}\" data-malformed=\"{}\" data-long=\"{}\" data-max=\"{}\" \
             data-rule=\"{}\"",
            escaped(language.of(self.missing)),
            escaped(language.of(self.malformed)),
            escaped(&self.too_long(language)),
            self.chars_max,
            match self.rule {
                Rule::Any => "any",
                Rule::EMail => "e-mail",
                Rule::Day => "day",
                Rule::PartialDay => "partial-day",
            },
        );
        if self.required {
            attributes.push_str(" required");
        }
        if mistake.is_some() {
            attributes.push_str(" aria-invalid=\"true\"");
        }
        if !described.is_empty() {
            attributes.push_str(&format!(" aria-describedby=\"{}\"", described.join(" ")));
        }
        let optional = if self.required { "" } else { language.of([" (freiwillig)", " (optional)"]) };
        let label = format!("<label for=\"{name}\">{}{optional}</label>\n", escaped(language.of(self.label)));
        let value = escaped(value);
        let control = match self.kind {
            Kind::Line { autocomplete } => {
                let kind = if self.rule == Rule::EMail { "email" } else { "text" };
                format!(
                    "<input type=\"{kind}\" autocomplete=\"{autocomplete}\" value=\"{value}\" {attributes}>\n"
                )
            }
            Kind::Secret => {
                format!("<input type=\"password\" autocomplete=\"current-password\" {attributes}>\n")
            }
            Kind::Area => format!("<textarea rows=\"4\" {attributes}>\n{value}</textarea>\n"),
            Kind::File { accept } => format!("<input type=\"file\" accept=\"{accept}\" {attributes}>\n"),
            Kind::Choice => {
                let none = language.of(["Bitte wählen", "Please choose"]);
                let mut list = format!("<select {attributes}>\n<option value=\"\">{none}</option>\n");
                for (key, words) in options {
                    let (key, words) = (escaped(key), escaped(words));
                    let chosen = if key == value { " selected" } else { "" };
                    list.push_str(&format!("<option value=\"{key}\"{chosen}>{words}</option>\n"));
                }
                list + "</select>\n"
            }
            Kind::Tick => {
                let ticked = if value.is_empty() { "" } else { " checked" };
                let bare = format!("<label for=\"{name}\">{}</label>", escaped(language.of(self.label)));
                return format!(
                    "<div class=\"field\">\n{error}<div class=\"choice\"><input type=\"checkbox\" value=\"yes\"{ticked} \
                     {attributes}>{bare}</div>\n{hint}</div>\n"
                );
            }
        };
        format!("<div class=\"field\">\n{label}{hint}{error}{control}</div>\n")
    }
}

/// What is wrong with a form, in the order of its fields. Files are looked at by whoever takes them.
pub fn mistakes(fields: &[Field], form: &Form, language: Language) -> Vec<Mistake> {
    let texts = fields.iter().filter(|field| !matches!(field.kind, Kind::File { .. }));
    texts.filter_map(|field| field.mistake(form.text(field.name), language)).collect()
}

/// On top of a form that is shown again; empty where nothing is wrong.
pub fn summary(mistakes: &[Mistake], language: Language) -> String {
    if mistakes.is_empty() {
        return String::new();
    }
    let entries = mistakes.iter().map(|one| {
        let target = if one.field.is_empty() { "content" } else { one.field };
        format!("<li><a href=\"#{target}\">{}</a></li>\n", escaped(&one.sentence))
    });
    format!(
        "<div class=\"summary\" id=\"summary\" role=\"alert\" tabindex=\"-1\" autofocus>\n<h2>{}</h2>\n<ul>\n{}</ul>\n</div>\n",
        language.of(["Bitte prüfen Sie Ihre Angaben", "Please check your entries"]),
        entries.collect::<String>()
    )
}

fn is_e_mail(text: &str) -> bool {
    let plain = !text.chars().any(|c| c.is_whitespace() || c.is_control());
    plain
        && text.split_once('@').is_some_and(|(name, host)| {
            !name.is_empty()
                && !host.contains('@')
                && host.contains('.')
                && !host.starts_with('.')
                && !host.ends_with('.')
        })
}

/// Day, month, year as they were written.
fn parts(text: &str) -> Option<[u16; 3]> {
    let number = |text: &str, digits: usize| -> Option<u16> {
        let fits = !text.is_empty() && text.len() <= digits && text.bytes().all(|byte| byte.is_ascii_digit());
        if fits { text.parse().ok() } else { None }
    };
    let german: Vec<&str> = text.split('.').map(str::trim).collect();
    let iso: Vec<&str> = text.split('-').collect();
    let (day, month, year) = match (german.as_slice(), iso.as_slice()) {
        ([day, month, year], _) | (_, [year, month, day]) => (day, month, year),
        _ => return None,
    };
    let whole = year.len() == 4;
    Some([number(day, 2)?, number(month, 2)?, number(year, 4).filter(|_| whole)?])
}

/// A day of the calendar.
pub fn day(text: &str) -> Option<Date> {
    let [day, month, year] = parts(text)?;
    Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

/// A date of which day, or day and month, may be unknown: `TTMMJJJJ` with zeros, as registers write it.
pub fn partial_day(text: &str) -> Option<String> {
    let [day_of, month, year] = parts(text)?;
    let known = match (day_of, month) {
        (0, 0) => year > 0,
        (0, month) => (1..=12).contains(&month) && year > 0,
        _ => day(text).is_some(),
    };
    known.then(|| format!("{day_of:02}{month:02}{year:04}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_as_people_write_them() {
        for (text, expected) in [
            ("31.12.2026", Some("31122026")),
            ("1.2.2026", Some("01022026")),
            ("2026-02-01", Some("01022026")),
            ("00.12.1950", Some("00121950")),
            ("0.0.1950", Some("00001950")),
            ("31.02.2026", None),
            ("00.13.2026", None),
            ("01.00.1950", None),
            ("00.00.0000", None),
            ("1.2.26", None),
            ("+1.2.2026", None),
            ("1.2.2026.", None),
            ("morgen", None),
            ("", None),
        ] {
            assert_eq!(partial_day(text).as_deref(), expected, "{text}");
            assert_eq!(day(text).is_some(), expected.is_some_and(|text| !text.starts_with("00")), "{text}");
        }
    }

    #[test]
    fn each_field_says_what_is_wrong_with_it() {
        let mail = Field {
            rule: Rule::EMail,
            chars_max: 20,
            required: true,
            ..Field::line("mail", ["E-Mail", "E-mail"])
        };
        let said = |text: &str| mail.mistake(text, Language::English).map(|one| one.sentence);
        assert_eq!(said("a@b.de"), None);
        for text in ["a", "@b.de", "a@b", "a@.de", "a b@c.de", "a@b@c.de"] {
            assert_eq!(said(text).as_deref(), Some("This entry is not valid."), "{text}");
        }
        assert_eq!(said("").as_deref(), Some("This field is empty."));
        assert_eq!(said(&"ä".repeat(21)).as_deref(), Some("E-mail: at most 20 characters."));
        let found = mail.render(Language::English, "<a>", &[Mistake::new("mail", "<b>")], &[]);
        assert!(
            found.contains("value=\"&lt;a&gt;\"") && found.contains("&lt;b&gt;") && !found.contains("<b>"),
            "{found}"
        );
        assert!(found.contains("aria-describedby=\"mail-error\""), "{found}");
    }
}
