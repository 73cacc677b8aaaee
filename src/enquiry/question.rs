//! A private enquiry as a form: its fields (section 44(3) BMG), and the register's refusals at the field they are about.

use super::users::{User, asker};
use crate::page::fields::{Field, Kind, Mistake, Rule, partial_day};
use crate::page::form::Form;
use crate::page::{Language, Words};
use crate::register::copies::{Asked, Requester};
use crate::register::person::{Ags, MaritalStatus, Sex};
use crate::register::question::{Profile, REQUESTER_CHARS_MAX, Reason, Selection};
use crate::register::rights::Purpose;

pub const PLACE_MISSING: Words =
    ["Wählen Sie eine Gemeinde aus der Liste.", "Choose a municipality from the list."];
const DATE_MALFORMED: Words = [
    "Geben Sie das Datum als Tag.Monat.Jahr ein; 00 steht für einen unbekannten Tag oder Monat.",
    "Enter the date as day.month.year; 00 stands for an unknown day or month.",
];

const fn text(name: &'static str, label: Words) -> Field {
    Field { chars_max: 500, ..Field::line(name, label) }
}

const fn date(name: &'static str, label: Words) -> Field {
    Field { rule: Rule::PartialDay, chars_max: 10, malformed: DATE_MALFORMED, ..Field::line(name, label) }
}

const fn choice(name: &'static str, label: Words) -> Field {
    Field { kind: Kind::Choice, ..Field::line(name, label) }
}

pub const MUNICIPALITY: Field = Field {
    required: true,
    missing: PLACE_MISSING,
    hint: Some(["In deren Melderegister gesucht wird.", "Whose register is searched."]),
    ..choice("municipality", ["Gemeinde", "Municipality"])
};
const GIVEN_NAMES: Field = Field {
    required: true,
    missing: ["Geben Sie mindestens einen Vornamen ein.", "Enter at least one given name."],
    ..text("givenNames", ["Vornamen", "Given names"])
};
const BIRTH_DATE: Field = Field {
    hint: Some([
        "Zum Beispiel 17.03.1998 oder 00.03.1998.",
        "For example 17.03.1998 or 00.03.1998 (day, month, year).",
    ]),
    ..date("birthDate", ["Geburtsdatum", "Date of birth"])
};
const FAMILY_NAME: Field = Field {
    hint: Some(["Dieser oder der frühere Name wird gebraucht.", "This or the former name is needed."]),
    ..text("familyName", ["Familienname", "Family name"])
};
const PURPOSE: Field = Field {
    required: true,
    missing: ["Geben Sie den Zweck der Anfrage an.", "State the purpose of the enquiry."],
    ..choice("purpose", ["Zweck der Anfrage", "Purpose of the enquiry"])
};
const OCCASION: Field = Field {
    chars_max: REQUESTER_CHARS_MAX,
    hint: Some([
        "Nur bei gewerblichem Zweck, zum Beispiel Forderungsmanagement.",
        "For a commercial purpose only, for example debt collection.",
    ]),
    ..Field::line("occasion", ["Gewerblicher Zweck", "Commercial purpose"])
};
const NO_TRADE: Field = Field {
    kind: Kind::Tick,
    required: true,
    missing: [
        "Ohne die Erklärung zu Werbung und Adresshandel wird keine Auskunft erteilt.",
        "Without the declaration about advertising and address trade no information is given.",
    ],
    ..Field::line(
        "noTrade",
        [
            "Ich erkläre, die Daten nicht für Werbung oder Adresshandel zu verwenden (§ 44 Absatz 3 BMG).",
            "I declare that the data will serve neither advertising nor address trade (section 44(3) BMG).",
        ],
    )
};
const CONSENT: Field = Field {
    kind: Kind::Tick,
    required: true,
    missing: [
        "Bestätigen Sie, dass Sie Protokoll, Unterrichtung und Gebühr zur Kenntnis genommen haben.",
        "Confirm that you know about log, notice and fee.",
    ],
    ..Field::line(
        "consent",
        [
            "Ich bin damit einverstanden, dass die Anfrage protokolliert wird, dass eine Person mit Auskunftssperre von ihr \
         unterrichtet wird und dass sie auch ohne Auskunft gebührenpflichtig ist.",
            "I agree that the enquiry is logged, that a person with an information lock is told of it, and that it is charged \
         for even if no information is given.",
        ],
    )
};
const WAIVES: Field = Field {
    kind: Kind::Tick,
    ..Field::line(
        "waives",
        [
            "Ich verzichte auf eine Bearbeitung durch die Meldebehörde, wenn die Suche keine Auskunft ergibt.",
            "I waive handling by the registration office if the search gives no information.",
        ],
    )
};

/// Of the single enquiry, as they are shown.
pub const FIELDS: &[Field] = &[
    MUNICIPALITY,
    FAMILY_NAME,
    text("formerName", ["Früherer Name", "Former name"]),
    GIVEN_NAMES,
    text("street", ["Straße", "Street"]),
    Field { chars_max: 4, ..Field::line("number", ["Hausnummer", "House number"]) },
    Field { chars_max: 5, ..Field::line("postcode", ["Postleitzahl", "Postcode"]) },
    text("place", ["Ort", "Place"]),
    BIRTH_DATE,
    text("birthPlace", ["Geburtsort", "Place of birth"]),
    choice("sex", ["Geschlecht", "Sex"]),
    date("movedIn", ["Einzugsdatum", "Date of moving in"]),
    date("movedOut", ["Auszugsdatum", "Date of moving out"]),
    choice("maritalStatus", ["Familienstand", "Marital status"]),
    text("artistName", ["Ordens- oder Künstlername", "Order or stage name"]),
    text("representative", ["Name des gesetzlichen Vertreters", "Name of the legal representative"]),
    date("marriageDate", ["Datum der Eheschließung", "Date of marriage"]),
    text("marriagePlace", ["Ort der Eheschließung", "Place of marriage"]),
    text(
        "partnerName",
        ["Familienname des Ehegatten oder Lebenspartners", "Family name of the spouse or partner"],
    ),
    date("deathDate", ["Sterbedatum", "Date of death"]),
    text("deathPlace", ["Sterbeort", "Place of death"]),
    PURPOSE,
    OCCASION,
    NO_TRADE,
    CONSENT,
    WAIVES,
];

/// Of a list: declarations for all its lines.
pub const LIST_FIELDS: &[Field] = &[PURPOSE, OCCASION, NO_TRADE, CONSENT, WAIVES];

pub const PURPOSES: [(&str, Words); 2] =
    [("private", ["privat", "private"]), ("commercial", ["gewerblich", "commercial"])];

pub const SEXES: [(&str, Words, Sex); 4] = [
    ("w", ["weiblich", "female"], Sex::W),
    ("m", ["männlich", "male"], Sex::M),
    ("d", ["divers", "diverse"], Sex::D),
    ("x", ["ohne Angabe", "not stated"], Sex::X),
];

pub const MARITAL: [(&str, Words, MaritalStatus); 10] = [
    ("LD", ["ledig", "single"], MaritalStatus::Ld),
    ("VH", ["verheiratet", "married"], MaritalStatus::Vh),
    ("VW", ["verwitwet", "widowed"], MaritalStatus::Vw),
    ("GS", ["geschieden", "divorced"], MaritalStatus::Gs),
    ("EA", ["Ehe aufgehoben", "marriage annulled"], MaritalStatus::Ea),
    ("LP", ["in eingetragener Lebenspartnerschaft", "in a registered partnership"], MaritalStatus::Lp),
    ("LV", ["durch Tod aufgelöste Lebenspartnerschaft", "partnership ended by death"], MaritalStatus::Lv),
    ("LA", ["aufgehobene Lebenspartnerschaft", "partnership annulled"], MaritalStatus::La),
    (
        "LE",
        ["durch Todeserklärung aufgelöste Lebenspartnerschaft", "partnership ended by declaration of death"],
        MaritalStatus::Le,
    ),
    ("NB", ["nicht bekannt", "not known"], MaritalStatus::Nb),
];

/// A commercial purpose is stated (section 44(1) sentence 2 BMG); a private one has none.
pub fn purpose_mistake(form: &Form, language: Language) -> Option<Mistake> {
    let said = |field, words: Words| Some(Mistake::new(field, language.of(words)));
    match form.text("purpose") {
        "commercial" if form.text("occasion").is_empty() => {
            said("occasion", ["Geben Sie den gewerblichen Zweck an.", "State the commercial purpose."])
        }
        "private" if !form.text("occasion").is_empty() => said(
            "occasion",
            [
                "Ein privater Zweck wird nicht angegeben; wählen Sie oben „gewerblich“ oder leeren Sie das Feld.",
                "A private purpose is not stated; choose “commercial” above or empty the field.",
            ],
        ),
        "" | "private" | "commercial" => None,
        _ => said("purpose", PURPOSE.missing),
    }
}

/// A word that the lists do not have: every datum that is given must count.
pub fn choice_mistake(form: &Form, language: Language) -> Option<Mistake> {
    let unknown = |text: &str, mut known: Box<dyn Iterator<Item = &'static str>>| {
        !text.is_empty() && !known.any(|key| key.eq_ignore_ascii_case(text))
    };
    if unknown(form.text("sex"), Box::new(SEXES.iter().map(|(key, ..)| *key))) {
        let words = ["Geschlecht ist w, m, d oder x.", "Sex is w, m, d or x."];
        return Some(Mistake::new("sex", language.of(words)));
    }
    if unknown(form.text("maritalStatus"), Box::new(MARITAL.iter().map(|(key, ..)| *key))) {
        let words = [
            "Familienstand ist LD, VH, VW, GS, EA, LP, LV, LA, LE oder NB.",
            "Marital status is LD, VH, VW, GS, EA, LP, LV, LA, LE or NB.",
        ];
        return Some(Mistake::new("maritalStatus", language.of(words)));
    }
    None
}

pub fn asked(form: &Form, ags: Ags, user: &User) -> Asked {
    let text = |name: &str| Some(form.text(name).to_owned()).filter(|text| !text.is_empty());
    let date = |name: &str| partial_day(form.text(name));
    let ticked = |name: &str| !form.text(name).is_empty();
    let purpose = if form.text("purpose") == "commercial" { Purpose::Commercial } else { Purpose::Private };
    let sex = form.text("sex").to_lowercase();
    let marital = form.text("maritalStatus").to_uppercase();
    let selection = Selection {
        municipalities: vec![ags],
        family_name: text("familyName"),
        former_name: text("formerName"),
        given_names: text("givenNames"),
        artist_name: text("artistName"),
        birth_date: date("birthDate"),
        birth_place: text("birthPlace"),
        sex: SEXES.iter().find(|(key, ..)| *key == sex).map(|(.., sex)| *sex),
        postcode: text("postcode"),
        place: text("place"),
        street: text("street"),
        number: text("number"),
        moved_in: date("movedIn"),
        moved_out: date("movedOut"),
        marital_status: MARITAL.iter().find(|(key, ..)| *key == marital).map(|(.., status)| *status),
        marriage_date: date("marriageDate"),
        marriage_place: text("marriagePlace"),
        partner_name: text("partnerName"),
        representative: text("representative"),
        death_date: date("deathDate"),
        death_place: text("deathPlace"),
        ..Selection::default()
    };
    let requester = Requester {
        asker: user.kind,
        purpose,
        body: asker(&user.name),
        file_number: String::new(),
        occasion: form.text("occasion").to_owned(),
        user: user.name.clone(),
        empowered: false,
        waives_hand_over: ticked("waives"),
        declares_no_trade: ticked("noTrade"),
    };
    Asked { requester, profile: Profile::PrivateEnquiry, selection, reader: None, test: false }
}

/// A refusal of the register's, at the field that it is about. Says nothing about any person.
pub fn refusal(reason: Reason, language: Language) -> Mistake {
    let (field, words): (_, Words) = match reason {
        Reason::StreetUnknown => (
            "street",
            [
                "Eine Straße dieses Namens ist in der Gemeinde nicht bekannt.",
                "No street of that name is known in the municipality.",
            ],
        ),
        Reason::MunicipalityCount => ("municipality", PLACE_MISSING),
        Reason::MunicipalityUnknown => (
            "municipality",
            [
                "Von dieser Gemeinde wird hier noch keine Kopie geführt.",
                "No copy of this municipality is kept here yet.",
            ],
        ),
        Reason::NameMissing => (
            "familyName",
            [
                "Geben Sie den Familiennamen oder einen früheren Namen und mindestens einen Vornamen ein.",
                "Enter the family name or a former name, and at least one given name.",
            ],
        ),
        Reason::FurtherDatumMissing | Reason::NothingAsked => (
            "birthDate",
            [
                "Neben dem Namen wird die Anschrift mit Straße und Hausnummer gebraucht, oder zwei weitere Angaben zur Person.",
                "Besides the name the address is needed, with street and number, or two further data of the person.",
            ],
        ),
        Reason::PairTooWeak => (
            "sex",
            [
                "Geschlecht und Familienstand allein reichen nicht; geben Sie eine weitere Angabe ein.",
                "Sex and marital status alone do not suffice; enter a further datum.",
            ],
        ),
        Reason::TooBroad => (
            "familyName",
            [
                "Die Suche ist zu breit; geben Sie mehr Angaben zur Person ein.",
                "The search is too broad; enter more data of the person.",
            ],
        ),
        Reason::PlaceholderMisused | Reason::PlaceholderForbidden => (
            "familyName",
            [
                "Platzhalter (* und ?) sind hier nicht erlaubt.",
                "Placeholders (* and ?) are not allowed here.",
            ],
        ),
        Reason::DateMalformed | Reason::RangeMisused => ("birthDate", DATE_MALFORMED),
        Reason::DeclarationMissing => ("noTrade", NO_TRADE.missing),
        Reason::NotEntitled => (
            "purpose",
            [
                "Zu diesem Zweck dürfen Sie hier nicht anfragen.",
                "You have no right to ask here for this purpose.",
            ],
        ),
        Reason::DatumTooLong => ("familyName", ["Eine Angabe ist zu lang.", "A datum is too long."]),
        Reason::ReaderDiffers
        | Reason::DatumForbidden
        | Reason::RequesterIncomplete
        | Reason::TestMessage => (
            "municipality",
            ["Die Anfrage kann so nicht gestellt werden.", "The enquiry cannot be put like this."],
        ),
    };
    Mistake::new(field, language.of(words))
}
