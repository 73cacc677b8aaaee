//! What the reader sees.

use amtsbote::domain::destination::DestinationId;
use amtsbote::net::Body;
use amtsbote::page::fields::{Mistake, summary};
use amtsbote::page::form::Form;
use amtsbote::page::{Document, Language, Words, escaped, html};
use amtsbote::portal::event::{Claims, Event};
use hyper::{Response, StatusCode};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use uuid::Uuid;

use crate::Service;
use crate::application::FIELDS;
use crate::office::Trouble;

const SITE: Words = ["Musterportal", "Sample portal"];

fn page(language: Language, title: &str, here: Option<&str>, body: &str) -> String {
    let document = Document {
        language,
        site: language.of(SITE),
        title,
        here,
        script: Some("/portal.js"),
        body,
        beside: "",
    };
    document.render()
}

pub fn form(
    language: Language,
    entered: &Form,
    mistakes: &[Mistake],
    hidden: &[(&str, String)],
    places: &[(String, String)],
    services: &[Service],
) -> String {
    let code = language.code();
    let wrong = language.of(["Fehler: ", "Error: "]);
    let title = language.of(["Antrag stellen", "Make an application"]);
    let title = if mistakes.is_empty() { title.to_owned() } else { format!("{wrong}{title}") };
    let offered: Vec<(String, String)> =
        services.iter().map(|one| (one.key.to_string(), named(one, language).to_owned())).collect();
    let mut body = summary(mistakes, language);
    body.push_str(&format!(
        "<p>{}</p>\n<p class=\"note\" id=\"privacy\" data-script=\"{}\">{}</p>\n",
        language.of([
            "Ihr Antrag geht an die Behörde, die für die Leistung in der Gemeinde zuständig ist. Alle Felder ohne den \
             Zusatz „freiwillig“ werden gebraucht.",
            "Your application goes to the authority that is competent for the service in the municipality. All fields \
             not marked “optional” are needed.",
        ]),
        escaped(language.of([
            "Der Antrag wird in Ihrem Browser verschlüsselt; nur die Behörde kann ihn lesen.",
            "The application is encrypted in your browser; only the authority can read it.",
        ])),
        language.of([
            "Der Antrag wird von diesem Portal verschlüsselt und nicht aufbewahrt.",
            "The application is encrypted by this portal and not kept.",
        ]),
    ));
    body.push_str(&format!(
        "<form id=\"application\" method=\"post\" action=\"/?lang={code}\" enctype=\"multipart/form-data\" novalidate \
         data-lang=\"{code}\" data-heading=\"{}\" data-error=\"{}\" data-working=\"{}\" data-failed=\"{}\" data-large=\"{}\">\n",
        language.of(["Bitte prüfen Sie Ihre Angaben", "Please check your entries"]),
        wrong,
        language.of(["Der Antrag wird verschlüsselt und gesendet …", "The application is being encrypted and sent …"]),
        language.of(FAILED),
        crate::application::too_large(language),
    ));
    for (name, value) in hidden {
        body.push_str(&format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">\n", escaped(value)));
    }
    for field in FIELDS {
        let options = match field.name {
            "place" => places,
            "service" => &offered,
            _ => &[],
        };
        body.push_str(&field.render(language, entered.text(field.name), mistakes, options));
    }
    if !mistakes.is_empty() {
        body.push_str(&format!(
            "<p>{}</p>\n",
            language.of([
                "Eine Anlage wählen Sie bitte noch einmal aus.",
                "Please choose an attachment once more.",
            ])
        ));
    }
    body.push_str(&format!(
        "<p><button type=\"submit\">{}</button></p>\n<p id=\"progress\" role=\"status\"></p>\n</form>\n",
        language.of(["Antrag absenden", "Send the application"])
    ));
    page(language, &title, Some("/"), &body)
}

fn named(service: &Service, language: Language) -> &str {
    match language {
        Language::German => &service.names[0],
        Language::English => &service.names[1],
    }
}

const FAILED: Words = [
    "Der Antrag konnte nicht gesendet werden. Ihre Angaben stehen noch im Formular; versuchen Sie es bitte noch einmal.",
    "The application could not be sent. Your entries are still in the form; please try again.",
];

/// What the reader is told of a trouble, and at which field.
pub fn trouble(trouble: &Trouble, language: Language) -> Mistake {
    match trouble {
        Trouble::NoRoute => Mistake::new(
            "place",
            language.of([
                "Für diese Leistung nimmt in dieser Gemeinde noch keine Behörde Anträge entgegen.",
                "No authority takes applications for this service in this municipality yet.",
            ]),
        ),
        Trouble::Unknown | Trouble::Attempt | Trouble::Sent(..) => Mistake::new(
            "",
            language.of([
                "Das Formular ist überholt. Bitte laden Sie die Seite neu.",
                "The form is out of date. Please load the page again.",
            ]),
        ),
        Trouble::Other(_) => Mistake::new("", language.of(FAILED)),
    }
}

pub fn state_path(destination: &DestinationId, submission: Uuid, language: Language) -> String {
    format!("/applications/{destination}/{submission}?lang={}", language.code())
}

/// The same for whoever changed his entries after it was sent.
pub fn sent_path(destination: &DestinationId, submission: Uuid, language: Language) -> String {
    format!("{}&changed=1", state_path(destination, submission, language))
}

pub fn state(
    language: Language,
    destination: &DestinationId,
    submission: Uuid,
    told: &[(Event, Claims)],
    changed: bool,
) -> String {
    let here = format!("/applications/{destination}/{submission}");
    let unsent = language.of([
        "<p class=\"note\" id=\"unsent\">Der Antrag war schon abgeschickt, bevor Sie Angaben geändert haben. Er gilt so, wie \
         Sie ihn zuerst abgeschickt haben; die Änderungen wurden nicht gesendet.</p>\n",
        "<p class=\"note\" id=\"unsent\">The application had been sent before you changed your entries. It stands as you sent \
         it first; the changes were not sent.</p>\n",
    ]);
    let body = format!(
        "{}<p>{}</p>\n<p>{}: <code>{submission}</code></p>\n<p>{}</p>\n<h2>{}</h2>\n\
         <div id=\"events\" aria-live=\"polite\" data-source=\"{here}?lang={code}&amp;part=events\">\n{}</div>\n\
         <p><a class=\"button\" href=\"{here}?lang={code}\">{}</a></p>\n\
         <p><button type=\"button\" class=\"plain\" id=\"pause\" aria-pressed=\"false\" hidden>{}</button></p>\n\
         <p><a href=\"/?lang={code}\">{}</a></p>\n",
        if changed { unsent } else { "" },
        language.of(["Ihr Antrag wurde abgeschickt.", "Your application was sent."]),
        language.of(["Nummer des Antrags", "Number of the application"]),
        language.of([
            "Merken Sie sich die Adresse dieser Seite: mit ihr sehen Sie jederzeit den Stand.",
            "Keep the address of this page: with it you can see the state at any time.",
        ]),
        language.of(["Stand", "State"]),
        events(language, told),
        language.of(["Stand aktualisieren", "Update the state"]),
        language.of(["Nicht mehr von selbst aktualisieren", "Stop updating by itself"]),
        language.of(["Weiteren Antrag stellen", "Make another application"]),
        code = language.code(),
    );
    page(language, language.of(["Ihr Antrag", "Your application"]), Some(&here), &body)
}

/// The list of what happened; also alone, for a script that looks again.
pub fn events(language: Language, told: &[(Event, Claims)]) -> String {
    let mut list = String::from("<ol>\n");
    for (event, claims) in told {
        let at = Timestamp::from_second(claims.iat).unwrap_or_default();
        list.push_str(&format!(
            "<li data-event=\"{}\"><time datetime=\"{at}\">{}</time>: {}{}</li>\n",
            event.as_str(),
            escaped(&said_at(at, language)),
            language.of(words(*event)),
            reasons(claims)
        ));
    }
    list + "</ol>\n"
}

fn words(event: Event) -> Words {
    match event {
        Event::Create => ["Der Antrag wurde angelegt.", "The application was created."],
        Event::Submit => ["Der Antrag wurde abgeschickt.", "The application was sent."],
        Event::Notify => {
            ["Der Antrag liegt für die Behörde bereit.", "The application is ready for the authority."]
        }
        Event::Forward => {
            ["Die Behörde hat den Antrag weitergeleitet.", "The authority has forwarded the application."]
        }
        Event::Accept => [
            "Die Behörde hat den Antrag entgegengenommen. Entschieden ist damit noch nicht.",
            "The authority has taken the application. That is not a decision yet.",
        ],
        Event::Reject => ["Der Antrag wurde zurückgewiesen.", "The application was rejected."],
        Event::Delete => [
            "Der Antrag wurde bei der Poststelle gelöscht.",
            "The application was deleted at the post office.",
        ],
    }
}

/// Why a submission was rejected, in the authority's words.
fn reasons(claims: &Claims) -> String {
    let problems = claims.events.values().filter_map(|details| details["problems"].as_array()).flatten();
    let said: String = problems
        .filter_map(|one| Some((one["title"].as_str()?, one["detail"].as_str()?)))
        .map(|(title, detail)| format!("<li>{}: {}</li>\n", escaped(title), escaped(detail)))
        .collect();
    if said.is_empty() { said } else { format!("\n<ul>\n{said}</ul>\n") }
}

fn said_at(at: Timestamp, language: Language) -> String {
    let zone = TimeZone::get("Europe/Berlin").unwrap_or(TimeZone::UTC);
    let form = language.of(["%d.%m.%Y, %H:%M:%S Uhr", "%d/%m/%Y, %H:%M:%S"]);
    at.to_zoned(zone).strftime(form).to_string()
}

pub fn not_found(language: Language) -> Response<Body> {
    let title = language.of(["Nicht gefunden", "Not found"]);
    let body = format!(
        "<p>{}</p>\n<p><a href=\"/?lang={}\">{}</a></p>\n",
        language.of(["Unter dieser Adresse gibt es nichts.", "There is nothing at this address."]),
        language.code(),
        language.of(["Zum Antrag", "To the application"]),
    );
    html(StatusCode::NOT_FOUND, page(language, title, None, &body))
}

pub fn unavailable(language: Language, trouble: &Trouble) -> Response<Body> {
    trouble.log();
    let title = language.of(["Zurzeit nicht möglich", "Not possible at present"]);
    let body = format!(
        "<p>{}</p>\n<p><a href=\"/?lang={}\">{}</a></p>\n",
        language.of([
            "Die Poststelle der Behörden ist zurzeit nicht zu erreichen. Bitte versuchen Sie es später noch einmal.",
            "The post office of the authorities cannot be reached at present. Please try again later.",
        ]),
        language.code(),
        language.of(["Noch einmal versuchen", "Try again"]),
    );
    html(StatusCode::SERVICE_UNAVAILABLE, page(language, title, None, &body))
}
