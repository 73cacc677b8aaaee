//! What users of the page see.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::list::Kept;
use super::question::{FIELDS, LIST_FIELDS, MARITAL, PURPOSES, SEXES};
use crate::page::fields::{Field, Kind, Mistake, summary};
use crate::page::form::{Form, FormError};
use crate::page::{Document, Language, Words, escaped};
use crate::register::payment::{Payment, State};
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
    /// Where to go afterwards.
    next: &'a str,
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
            _ => &[("token", self.token), ("attempt", ends.attempt), ("next", ends.next)],
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

    pub fn sign_in(&self, entered: &Form, next: &str, wrong: &[Mistake]) -> String {
        let ends = Ends {
            method: "post",
            action: "/sign-in",
            multipart: false,
            attempt: "",
            next,
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
            next: "",
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
            next: "",
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
            next: "",
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

    pub fn result(&self, case: &str, kept: &[Kept], expires_at: Timestamp) -> String {
        let code = self.language.code();
        let rows: String = kept
            .iter()
            .enumerate()
            .map(|(at, line)| {
                let said = match (&line.refused, line.number) {
                    (Some(sentence), _) => escaped(sentence),
                    (None, number) => {
                        let own = escaped(&format!("{case}.{}", number.unwrap_or_default()));
                        let words = self.of(["Antwort", "Answer"]);
                        format!("<a href=\"/answer/{own}?lang={code}\">{words} <code>{own}</code></a>")
                    }
                };
                format!("<tr><th scope=\"row\">{}</th><td>{said}</td></tr>\n", at + 2)
            })
            .collect();
        let number_of_it = escaped(case);
        let body = format!(
            "<p><a class=\"button\" href=\"/list/{number_of_it}/result.csv\">{}</a></p>\n{}<div class=\"table\" tabindex=\"0\" \
             role=\"region\" aria-labelledby=\"lines\">\n<table>\n<caption id=\"lines\">{}</caption>\n<thead><tr><th \
             scope=\"col\">{}</th><th scope=\"col\">{}</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n</div>\n",
            self.of(["Alle Antworten herunterladen (CSV)", "Download all answers (CSV)"]),
            self.numbered(case, expires_at),
            self.of(["Anfragen der Liste", "Enquiries of the list"]),
            self.of(["Zeile", "Line"]),
            self.of(["Ergebnis", "Result"]),
        );
        let here = format!("/answer/{number_of_it}");
        self.page(["Antworten zur Liste", "Answers to the list"], &here, &body, true, false)
    }

    /// How a payment stands, as long as there are no answers. `kept` is what was kept of a list.
    pub fn payment(&self, payment: &Payment, kept: &[Kept]) -> String {
        let code = self.language.code();
        let (case, state) = (escaped(&payment.case), payment.state);
        let mut body = format!("<p id=\"payment\" data-state=\"{}\">", state.as_str());
        match (state, &payment.page_url) {
            (State::Open, Some(url)) => body.push_str(&format!(
                "{}</p>\n<p><a class=\"button\" id=\"pay\" rel=\"noreferrer\" href=\"{}\">{}</a></p>\n",
                self.pay_until(payment),
                escaped(url),
                self.of(["Jetzt bezahlen beim Bezahldienst", "Pay now at the payment service"]),
            )),
            _ => body.push_str(&format!("{}</p>\n", self.of(said(state)))),
        }
        if is_under_way(state) {
            body.push_str(&format!(
                "<p><a class=\"button\" id=\"look\" href=\"/payment/{case}/back?lang={code}\">{}</a></p>\n",
                self.of(["Stand aktualisieren", "Update the state"]),
            ));
        }
        if matches!(state, State::Disputed | State::Settled) && !kept.is_empty() {
            body.push_str(&format!(
                "<p><a href=\"/answer/{case}?lang={code}\">{}</a></p>\n",
                self.of(["Antworten, die vorliegen", "Answers that are there"]),
            ));
        }
        body.push_str(&self.bill(payment));
        body.push_str(&self.not_asked(kept));
        if state.is_without_answer() {
            body.push_str(&format!(
                "<p><a href=\"/?lang={code}\">{}</a></p>\n",
                self.of(["Zur Übersicht", "To the overview"]),
            ));
        }
        self.page(["Zahlung", "Payment"], &format!("/payment/{case}"), &body, true, false)
    }

    fn pay_until(&self, payment: &Payment) -> String {
        let form = self.of(["%d.%m.%Y, %H:%M Uhr", "%d/%m/%Y, %H:%M"]);
        let until = payment.pay_until.to_zoned(self.zone.clone()).strftime(form).to_string();
        match self.language {
            Language::German => format!(
                "Die Anfrage wird gestellt, sobald der Bezahldienst die Zahlung bestätigt. Bitte bezahlen Sie bis {until}; \
                 danach kehren Sie hierher zurück."
            ),
            Language::English => format!(
                "The enquiry is put as soon as the payment service confirms the payment. Please pay until {until}; then you \
                 come back here."
            ),
        }
    }

    /// What is paid for, and under which number it can be found again.
    fn bill(&self, payment: &Payment) -> String {
        let mut out = format!(
            "<dl>\n<dt>{}</dt>\n<dd id=\"sum\">{}</dd>\n",
            self.of(["Betrag", "Amount"]),
            self.money(payment.cents)
        );
        out.push_str(&format!("<dt>{}</dt>\n", self.of(["Anfragen", "Enquiries"])));
        for item in &payment.items {
            let name = self.places.iter().find(|(ags, _)| *ags == item.ags);
            let name = name.map_or_else(|| item.ags.to_string(), |(_, name)| name.clone());
            out.push_str(&format!(
                "<dd>{}: {} × {}</dd>\n",
                escaped(&name),
                item.quantity,
                self.money(item.cents_each)
            ));
        }
        if let Some(reference) = &payment.reference {
            let words = self.of(["Kassenzeichen", "Reference of the payment"]);
            out.push_str(&format!("<dt>{words}</dt>\n<dd>{}</dd>\n", escaped(reference)));
        }
        let words = self.of(["Nummer der Anfrage (bitte merken)", "Number of the enquiry (please keep)"]);
        out + &format!("<dt>{words}</dt>\n<dd><code>{}</code></dd>\n</dl>\n", escaped(&payment.case))
    }

    fn money(&self, cents: u32) -> String {
        let (euro, rest) = (cents / 100, cents % 100);
        match self.language {
            Language::German => format!("{euro},{rest:02} €"),
            Language::English => format!("€{euro}.{rest:02}"),
        }
    }

    /// Lines of a list that are not part of what is paid.
    fn not_asked(&self, kept: &[Kept]) -> String {
        let refused: String = kept
            .iter()
            .enumerate()
            .filter_map(|(at, line)| {
                let sentence = escaped(line.refused.as_ref()?);
                Some(format!("<li>{} {}: {sentence}</li>\n", self.of(["Zeile", "Line"]), at + 2))
            })
            .collect();
        if refused.is_empty() {
            return refused;
        }
        let words = self.of([
            "Diese Zeilen werden nicht angefragt und kosten nichts",
            "These lines are not asked and cost nothing",
        ]);
        format!("<h2>{words}</h2>\n<ul id=\"refused\">\n{refused}</ul>\n")
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

    pub fn too_many_orders(&self) -> Mistake {
        Mistake::new("", self.of([
            "Sie haben schon so viele unbezahlte Anfragen, wie ein Konto haben kann, oder heute sehr viele gestellt. Bezahlen \
             Sie die offenen, oder versuchen Sie es morgen wieder.",
            "You already have as many unpaid enquiries as an account may have, or have put very many today. Pay the open \
             ones, or try again tomorrow.",
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

/// Something may still come of it, without anybody's doing but the asker's.
pub fn is_under_way(state: State) -> bool {
    matches!(state, State::Created | State::Unclear | State::Open | State::Paid)
}

/// How a payment stands, where the asker cannot pay.
fn said(state: State) -> Words {
    match state {
        State::Created | State::Unclear | State::Open => [
            "Der Bezahldienst hat noch nicht geantwortet. Bitte aktualisieren Sie den Stand in einer Minute.",
            "The payment service has not answered yet. Please update the state in a minute.",
        ],
        State::Paid | State::Executed | State::Delivered => [
            "Die Zahlung ist bestätigt; die Anfrage wird gestellt.",
            "The payment is confirmed; the enquiry is being put.",
        ],
        State::Failed => [
            "Der Bezahldienst hat die Zahlung abgelehnt. Die Anfrage wurde nicht gestellt.",
            "The payment service has refused the payment. The enquiry was not put.",
        ],
        State::Cancelled => [
            "Die Zahlung wurde abgebrochen. Die Anfrage wurde nicht gestellt.",
            "The payment was broken off. The enquiry was not put.",
        ],
        State::Expired => [
            "Bis zum Ende der Frist kam keine Zahlung. Die Anfrage wurde nicht gestellt. Bitte bezahlen Sie nicht mehr; eine \
             verspätete Zahlung wird erstattet.",
            "No payment came in time. The enquiry was not put. Please do not pay any more; a late payment is given back.",
        ],
        State::Refused => [
            "Die Zahlung ist zurzeit nicht möglich; der Betreiber ist unterrichtet. Die Anfrage wurde nicht gestellt.",
            "Payment is not possible at present; the operator knows of it. The enquiry was not put.",
        ],
        State::Late => [
            "Die Zahlung kam nach dem Ende der Frist und wird erstattet. Die Anfrage wurde nicht gestellt.",
            "The payment came after its time and is given back. The enquiry was not put.",
        ],
        State::Disputed => [
            "Die Zahlung muss geklärt werden; der Betreiber ist unterrichtet. Bitte bezahlen Sie nicht noch einmal.",
            "The payment has to be cleared up; the operator knows of it. Please do not pay again.",
        ],
        State::Settled => {
            ["Die Zahlung wurde vom Betreiber geklärt.", "The payment was cleared up by the operator."]
        }
    }
}
