//! What users of the page see.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::list::Kept;
use super::question::{FIELDS, LIST_FIELDS, MARITAL, PURPOSES, SEXES};
use crate::page::fields::{Field, Kind, Mistake, summary};
use crate::page::form::{Form, FormError};
use crate::page::{Document, Language, Words, escaped};
use crate::register::person::Ags;

const SITE: Words = ["Meldeportal", "Population register"];

pub const STALE: Words = [
    "Das Formular war zu lange offen. Bitte senden Sie es noch einmal ab.",
    "The form was open for too long. Please send it once more.",
];
pub const WRONG_PASSWORD: Words =
    ["Benutzername oder Kennwort ist falsch.", "User name or password is wrong."];
pub const TOO_OFTEN: Words = [
    "Das Kennwort war zu oft falsch. Bitte warten Sie eine Viertelstunde.",
    "The password was wrong too often. Please wait for a quarter of an hour.",
];
pub const UNAVAILABLE: Words = [
    "Das Register kann zurzeit nicht antworten. Bitte versuchen Sie es später noch einmal.",
    "The register cannot answer at present. Please try again later.",
];
pub const EXPIRED: Words = [
    "Die Zeit dieser Antwort ist vorbei; sie wurde gelöscht. Stellen Sie die Anfrage bitte neu.",
    "The time of this answer is over; it was destroyed. Please put the enquiry anew.",
];
pub const NO_SUCH_ANSWER: Words =
    ["Unter dieser Nummer haben Sie keine Anfrage gestellt.", "You have put no enquiry under this number."];

const USER: Field = Field {
    kind: Kind::Line { autocomplete: "username" },
    required: true,
    ..Field::line("user", ["Benutzername", "User name"])
};
const PASSWORD: Field =
    Field { kind: Kind::Secret, required: true, ..Field::line("password", ["Kennwort", "Password"]) };
const FILE: Field = Field {
    kind: Kind::File { accept: ".csv,text/csv" },
    required: true,
    ..Field::line("file", ["CSV-Datei mit den Anfragen", "CSV file with the enquiries"])
};
const NUMBER: Field = Field {
    required: true,
    hint: Some(["Sie steht bei jeder Antwort.", "It stands with every answer."]),
    ..Field::line("number", ["Nummer der Anfrage", "Number of the enquiry"])
};

pub struct View<'a> {
    pub language: Language,
    /// Of this session's forms.
    pub token: &'a str,
    pub places: &'a [(Ags, String)],
    pub zone: &'a TimeZone,
}

/// A form's button, where it goes, and what else it carries.
struct Ends<'a> {
    method: &'a str,
    action: &'a str,
    multipart: bool,
    attempt: &'a str,
    button: Words,
}

impl View<'_> {
    fn of(&self, words: Words) -> &'static str {
        self.language.of(words)
    }

    fn page(&self, title: Words, here: &str, body: &str, signed_in: bool, wrong: bool) -> String {
        let code = self.language.code();
        let error = if wrong { self.of(["Fehler: ", "Error: "]) } else { "" };
        let beside = format!(
            "<nav aria-label=\"{}\"><a href=\"/?lang={code}\">{}</a></nav>\n<form method=\"post\" \
             action=\"/sign-out?lang={code}\"><input type=\"hidden\" name=\"token\" value=\"{}\"><button class=\"plain\" \
             type=\"submit\">{}</button></form>\n",
            self.of(["Bereiche", "Sections"]),
            self.of(["Übersicht", "Overview"]),
            escaped(self.token),
            self.of(["Abmelden", "Sign out"]),
        );
        let document = Document {
            language: self.language,
            site: self.of(SITE),
            title: &format!("{error}{}", self.of(title)),
            here: Some(here),
            script: None,
            body,
            beside: if signed_in { &beside } else { "" },
        };
        document.render()
    }

    fn form(&self, ends: &Ends<'_>, fields: &[Field], entered: &Form, wrong: &[Mistake]) -> String {
        let kind = if ends.multipart { " enctype=\"multipart/form-data\"" } else { "" };
        let mut out = format!(
            "<form method=\"{}\" action=\"{}?lang={}\"{kind} novalidate>\n",
            ends.method,
            ends.action,
            self.language.code()
        );
        let hidden: &[(&str, &str)] = match ends.method {
            "get" => &[("lang", self.language.code())],
            _ => &[("token", self.token), ("attempt", ends.attempt)],
        };
        for (name, value) in hidden.iter().filter(|(_, value)| !value.is_empty()) {
            out.push_str(&format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">\n", escaped(value)));
        }
        for field in fields {
            let heading = match field.name {
                "street" => Some(["Anschrift", "Address"]),
                "birthDate" => Some(["Weitere Angaben zur Person", "Further data of the person"]),
                "purpose" => Some(["Erklärungen", "Declarations"]),
                _ => None,
            };
            if let Some(words) = heading {
                out.push_str(&format!("<h2>{}</h2>\n", self.of(words)));
            }
            out.push_str(&field.render(
                self.language,
                entered.text(field.name),
                wrong,
                &self.options(field.name),
            ));
        }
        out + &format!("<p><button type=\"submit\">{}</button></p>\n</form>\n", self.of(ends.button))
    }

    fn options(&self, field: &str) -> Vec<(String, String)> {
        let pair = |key: &str, words: Words| (key.to_owned(), self.of(words).to_owned());
        match field {
            "municipality" => self.places.iter().map(|(ags, name)| (ags.to_string(), name.clone())).collect(),
            "purpose" => PURPOSES.iter().map(|(key, words)| pair(key, *words)).collect(),
            "sex" => SEXES.iter().map(|(key, words, _)| pair(key, *words)).collect(),
            "maritalStatus" => MARITAL.iter().map(|(key, words, _)| pair(key, *words)).collect(),
            _ => Vec::new(),
        }
    }

    pub fn sign_in(&self, entered: &Form, wrong: &[Mistake]) -> String {
        let ends = Ends {
            method: "post",
            action: "/sign-in",
            multipart: false,
            attempt: "",
            button: ["Anmelden", "Sign in"],
        };
        let body = format!(
            "{}<p>{}</p>\n{}",
            summary(wrong, self.language),
            self.of([
                "Auskünfte aus dem Melderegister erhalten hier registrierte Benutzerinnen und Benutzer (§ 49 BMG).",
                "Registered users get information from the population register here (section 49 BMG).",
            ]),
            self.form(&ends, &[USER, PASSWORD], entered, wrong)
        );
        self.page(["Anmelden", "Sign in"], "/", &body, false, !wrong.is_empty())
    }

    pub fn menu(&self, user: &str) -> String {
        let code = self.language.code();
        let entry = |path: &str, words: Words| {
            format!("<li><a href=\"{path}?lang={code}\">{}</a></li>\n", self.of(words))
        };
        let body = format!(
            "<p>{}: {}</p>\n<ul>\n{}{}{}</ul>\n",
            self.of(["Angemeldet als", "Signed in as"]),
            escaped(user),
            entry("/enquiry", ["Einzelne Anfrage stellen", "Put a single enquiry"]),
            entry("/list", ["Viele Anfragen als Liste stellen", "Put many enquiries as a list"]),
            entry("/answer", ["Eine Antwort noch einmal abrufen", "Fetch an answer again"]),
        );
        self.page(["Übersicht", "Overview"], "/", &body, true, false)
    }

    pub fn question(&self, entered: &Form, wrong: &[Mistake], attempt: &str) -> String {
        let ends = Ends {
            method: "post",
            action: "/enquiry",
            multipart: false,
            attempt,
            button: ["Kostenpflichtig anfragen", "Enquire, subject to a fee"],
        };
        let body = format!(
            "{}<p>{}</p>\n{}",
            summary(wrong, self.language),
            self.of([
                "Neben dem Namen wird die Anschrift gebraucht, oder zwei weitere Angaben zur Person. Auskunft gibt es nur, \
                 wenn die Angaben auf genau eine Person zutreffen (§ 44 BMG).",
                "Besides the name the address is needed, or two further data of the person. Information is given only if the \
                 data fit exactly one person (section 44 BMG).",
            ]),
            self.form(&ends, FIELDS, entered, wrong)
        );
        self.page(["Einzelne Anfrage", "Single enquiry"], "/enquiry", &body, true, !wrong.is_empty())
    }

    pub fn list(&self, entered: &Form, wrong: &[Mistake], attempt: &str, lines_max: usize) -> String {
        let ends = Ends {
            method: "post",
            action: "/list",
            multipart: true,
            attempt,
            button: ["Kostenpflichtig anfragen", "Enquire, subject to a fee"],
        };
        let limit = match self.language {
            Language::German => format!(
                "Jede Zeile ist eine Anfrage mit eigener Nummer und Gebühr; höchstens {lines_max} Zeilen. Die erste Zeile \
                 nennt die Spalten."
            ),
            Language::English => format!(
                "Each line is an enquiry with a number and a fee of its own; at most {lines_max} lines. The first line names \
                 the columns."
            ),
        };
        let fields: Vec<Field> = [FILE].iter().chain(LIST_FIELDS).copied().collect();
        let body = format!(
            "{}<p>{limit}</p>\n<p><a href=\"/list/template.csv\">{}</a></p>\n{}",
            summary(wrong, self.language),
            self.of(["Vorlage herunterladen (CSV)", "Download the template (CSV)"]),
            self.form(&ends, &fields, entered, wrong)
        );
        self.page(["Anfragen als Liste", "Enquiries as a list"], "/list", &body, true, !wrong.is_empty())
    }

    pub fn again(&self, number: &str, wrong: &[Mistake]) -> String {
        let ends = Ends {
            method: "get",
            action: "/answer",
            multipart: false,
            attempt: "",
            button: ["Antwort abrufen", "Fetch the answer"],
        };
        let entered = Form::of(vec![("number".to_owned(), number.to_owned())]);
        let body = format!(
            "{}<p>{}</p>\n{}",
            summary(wrong, self.language),
            self.of([
                "Eine Antwort steht bis zum Ende des achten Tages nach der Anfrage bereit. Der Abruf kostet nichts und wird \
                 nicht als neue Anfrage gezählt.",
                "An answer is there up to the end of the eighth day after the enquiry. Fetching it costs nothing and is not \
                 counted as a new enquiry.",
            ]),
            self.form(&ends, &[NUMBER], &entered, wrong)
        );
        self.page(["Antwort abrufen", "Fetch an answer"], "/answer", &body, true, !wrong.is_empty())
    }

    fn until(&self, expires_at: Timestamp) -> String {
        // The instant at which the last day is over.
        let last = Timestamp::from_second(expires_at.as_second() - 1).unwrap_or(expires_at);
        last.to_zoned(self.zone.clone()).strftime(self.of(["%d.%m.%Y", "%d/%m/%Y"])).to_string()
    }

    fn numbered(&self, number: &str, expires_at: Timestamp) -> String {
        format!(
            "<dl>\n<dt>{}</dt>\n<dd><code>{}</code></dd>\n<dt>{}</dt>\n<dd>{}</dd>\n</dl>\n",
            self.of(["Nummer der Anfrage", "Number of the enquiry"]),
            escaped(number),
            self.of(["Noch einmal abzurufen bis einschließlich", "Can be fetched again up to and including"]),
            self.until(expires_at),
        )
    }

    /// The neutral answer is one text, whatever it stands for.
    pub fn answer(&self, number: &str, answer: &Value, expires_at: Timestamp) -> String {
        let data = &answer["data"];
        let said = match data.is_object() {
            true => self.person(data),
            false => format!(
                "<p id=\"neutral\">{}</p>\n",
                self.of([
                    "Aus dem Datenbestand kann keine Auskunft gegeben werden. Daraus folgt nicht, ob die Person gemeldet \
                     ist. Wenn Sie nicht verzichtet haben, bearbeitet die Meldebehörde die Anfrage von Hand und antwortet \
                     Ihnen gesondert.",
                    "No information can be given from these data. It does not follow whether the person is registered. \
                     Unless you have waived it, the registration office handles the enquiry by hand and answers you \
                     separately.",
                ])
            ),
        };
        let body = format!("{said}{}", self.numbered(number, expires_at));
        self.page(["Antwort", "Answer"], &format!("/answer/{}", escaped(number)), &body, true, false)
    }

    fn person(&self, data: &Value) -> String {
        let mut out = String::from("<dl id=\"person\">\n");
        let mut add = |words: Words, texts: Vec<String>| {
            if !texts.is_empty() {
                out.push_str(&format!("<dt>{}</dt>\n", self.of(words)));
                texts.iter().for_each(|text| out.push_str(&format!("<dd>{}</dd>\n", escaped(text))));
            }
        };
        let text = |value: &Value| value.as_str().map(str::to_owned).into_iter().collect::<Vec<_>>();
        add(["Familienname", "Family name"], text(&data["family-name"]));
        add(["Vornamen", "Given names"], text(&data["given-names"]["names"]));
        add(["Gebräuchlicher Vorname", "Given name in use"], text(&data["given-names"]["used"]));
        add(["Doktorgrad", "Doctorate"], text(&data["doctorate"]));
        let addresses = data["present-addresses"].as_array().into_iter().flatten().map(spoken_address);
        add(["Anschrift", "Address"], addresses.collect());
        if data["fact-of-death"] == true {
            add(["Verstorben", "Deceased"], vec![self.of(["ja", "yes"]).to_owned()]);
        }
        out + "</dl>\n"
    }

    pub fn result(&self, number: &str, kept: &[Kept], expires_at: Timestamp) -> String {
        let code = self.language.code();
        let rows: String = kept
            .iter()
            .enumerate()
            .map(|(at, line)| {
                let said = match &line.refused {
                    Some(sentence) => escaped(sentence),
                    None => {
                        let own = escaped(&line.number);
                        let words = self.of(["Antwort", "Answer"]);
                        format!("<a href=\"/answer/{own}?lang={code}\">{words} <code>{own}</code></a>")
                    }
                };
                format!("<tr><th scope=\"row\">{}</th><td>{said}</td></tr>\n", at + 2)
            })
            .collect();
        let number_of_it = escaped(number);
        let body = format!(
            "<p><a class=\"button\" href=\"/list/{number_of_it}/result.csv\">{}</a></p>\n{}<div class=\"table\" tabindex=\"0\" \
             role=\"region\" aria-labelledby=\"lines\">\n<table>\n<caption id=\"lines\">{}</caption>\n<thead><tr><th \
             scope=\"col\">{}</th><th scope=\"col\">{}</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n</div>\n",
            self.of(["Alle Antworten herunterladen (CSV)", "Download all answers (CSV)"]),
            self.numbered(number, expires_at),
            self.of(["Anfragen der Liste", "Enquiries of the list"]),
            self.of(["Zeile", "Line"]),
            self.of(["Ergebnis", "Result"]),
        );
        let here = format!("/answer/{number_of_it}");
        self.page(["Antworten zur Liste", "Answers to the list"], &here, &body, true, false)
    }

    pub fn not_found(&self) -> String {
        let body = format!(
            "<p>{}</p>\n",
            self.of(["Unter dieser Adresse gibt es nichts.", "There is nothing at this address.",])
        );
        self.page(["Nicht gefunden", "Not found"], "/", &body, true, false)
    }

    pub fn stale(&self) -> Mistake {
        Mistake::new("", self.of(STALE))
    }

    pub fn taken(&self) -> Mistake {
        Mistake::new("", self.of([
            "Dieses Formular wurde schon mit anderen Angaben abgesandt. Senden Sie es noch einmal ab, wenn Sie auch diese \
             Anfrage stellen wollen.",
            "This form was sent before with other entries. Send it once more if you want to put this enquiry, too.",
        ]))
    }

    pub fn unavailable(&self) -> Mistake {
        Mistake::new("", self.of(UNAVAILABLE))
    }

    pub fn unreadable(&self, error: &FormError) -> Mistake {
        Mistake::new("", super::unreadable(error, self.language))
    }
}

/// An address in one line.
pub fn spoken_address(address: &Value) -> String {
    let part = |name: &str| address[name].as_str().unwrap_or_default().to_owned();
    let line = [part("street"), format!("{}{}", part("number"), part("letter")), part("part")];
    let line: Vec<&String> = line.iter().filter(|text| !text.is_empty()).collect();
    let line = line.into_iter().cloned().collect::<Vec<_>>().join(" ");
    let town = format!("{} {}", part("postcode"), part("place")).trim().to_owned();
    [line, town].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", ")
}
