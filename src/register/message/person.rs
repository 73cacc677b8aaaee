//! A person's record in a feed: DSMeld's fields under their German names, in DSMeld's order.

use super::fields::{Fields, text_of};
use super::{Code, Fault};
use crate::register::matching::date::PartialDate;
use crate::register::person::{Address, Ags, Dwelling, Lock, MaritalStatus, Person, Sex, Status};
use crate::xml::tree::Element;
use crate::xml::write::Writer;

/// Names of lists in the exchange form, beside the values that a copy keeps.
const STATUS: [(&str, Status); 5] = [
    ("aktiv", Status::Resident),
    ("weggezogen.inland", Status::MovedWithinGermany),
    ("weggezogen.ausland", Status::MovedAbroad),
    ("weggezogen.unbekannt", Status::MovedUnknown),
    ("verstorben", Status::Dead),
];
const DWELLING: [(&str, Dwelling); 3] =
    [("alleinige", Dwelling::Sole), ("haupt", Dwelling::Main), ("neben", Dwelling::Secondary)];

pub(super) const SEX: [(&str, Sex); 4] = [("m", Sex::M), ("w", Sex::W), ("x", Sex::X), ("d", Sex::D)];
pub(super) const MARITAL: [(&str, MaritalStatus); 10] = [
    ("LD", MaritalStatus::Ld),
    ("VH", MaritalStatus::Vh),
    ("VW", MaritalStatus::Vw),
    ("GS", MaritalStatus::Gs),
    ("EA", MaritalStatus::Ea),
    ("LP", MaritalStatus::Lp),
    ("LV", MaritalStatus::Lv),
    ("LA", MaritalStatus::La),
    ("LE", MaritalStatus::Le),
    ("NB", MaritalStatus::Nb),
];

pub(super) fn of_list<T: Copy + PartialEq>(
    fields: &Fields<'_>,
    name: &'static str,
    list: &[(&str, T)],
) -> Result<Option<T>, Fault> {
    let Some(code) = fields.code_if(name)? else { return Ok(None) };
    let found = list.iter().find(|(word, _)| *word == code).map(|(_, value)| *value);
    found.map(Some).ok_or_else(|| fields.code_fault(name))
}

fn word<T: PartialEq>(list: &[(&'static str, T)], value: &T) -> &'static str {
    list.iter().find(|(_, one)| one == value).map_or("", |(word, _)| word)
}

/// Reads a record; also the names of what it brought that a copy does not keep.
pub fn read(element: &Element) -> Result<(Person, Vec<String>), Fault> {
    let fields = Fields::of(element);
    let mut left_out = Vec::new();
    let mut addresses = Vec::new();
    for one in fields.all("anschrift") {
        let (address, more) = address(one)?;
        addresses.push(address);
        left_out.extend(more);
    }
    let mut locks = Vec::new();
    for one in fields.all("auskunftssperre") {
        let code = Fields::of(one).text("code")?.parse::<u8>().ok();
        let lock = code.and_then(|code| Lock::try_from(code).ok());
        locks.push(lock.ok_or_else(|| fields.code_fault("auskunftssperre"))?);
    }
    let (mut representatives, mut locked_representatives) = (Vec::new(), Vec::new());
    for one in fields.all("gesetzlicherVertreter") {
        match representative(one)? {
            (name, false) => representatives.push(name),
            (name, true) => locked_representatives.push(name),
        }
    }
    let person = Person {
        mark: fields.text("ordnungsmerkmal")?,
        family_names: fields.names("familienname")?,
        birth_names: fields.names("geburtsname")?,
        former_family_names: fields.names("fruehererFamilienname")?,
        given_names: fields.names("vornamen")?,
        used_given_name: fields.name_if("gebraeuchlicherVorname")?,
        former_given_names: fields.names("fruehereVornamen")?,
        doctorate: fields.text_if("doktorgrad")?,
        order_names: fields.names("ordensname")?,
        stage_names: fields.names("kuenstlername")?,
        birth_dates: fields.dates("geburtsdatum")?,
        birth_place: fields.text_if("geburtsort")?,
        birth_state: fields.code_if("geburtsstaat")?,
        sex: of_list(&fields, "geschlecht", &SEX)?,
        nationalities: codes(&fields, "staatsangehoerigkeit")?,
        addresses,
        marital_status: of_list(&fields, "familienstand", &MARITAL)?,
        marriage_date: fields.date_if("eheschliessungsdatum")?,
        marriage_place: fields.text_if("eheschliessungsort")?,
        partner_name: fields.name_if("familiennameEhegatte")?,
        representatives,
        locked_representatives,
        death_date: fields.date_if("sterbedatum")?,
        death_place: fields.text_if("sterbeort")?,
        locks,
        conditional_note: fields.flag("bedingterSperrvermerk")?.unwrap_or_default(),
        status: of_list(&fields, "status", &STATUS)?
            .ok_or_else(|| Fault::new(Code::X001, "person/status is missing"))?,
    };
    if person.family_names.is_empty() {
        return Err(Fault::new(Code::X001, "person/familienname is missing"));
    }
    left_out.extend(fields.left_over());
    left_out.sort_unstable();
    left_out.dedup();
    Ok((person, left_out))
}

/// A legal representative's family name, and whether he is hidden himself.
fn representative(element: &Element) -> Result<(String, bool), Fault> {
    let fields = Fields::of(element);
    let name = match (fields.text_if("name")?, fields.flag("nichtVorhanden")?) {
        (Some(name), None) => name,
        (None, Some(true)) => "+".to_owned(),
        _ => return Err(Fault::new(Code::X001, "gesetzlicherVertreter holds no name")),
    };
    let mut locked = false;
    for one in fields.all("auskunftssperre") {
        let code = Fields::of(one).text("code")?.parse::<u8>().ok();
        let lock = code.and_then(|code| Lock::try_from(code).ok());
        locked |= lock.ok_or_else(|| fields.code_fault("auskunftssperre"))?.hides();
    }
    fields.finish()?;
    Ok((name, locked))
}

fn codes(fields: &Fields<'_>, name: &'static str) -> Result<Vec<String>, Fault> {
    fields.all(name).into_iter().map(|one| Fields::of(one).text("code")).collect()
}

fn address(element: &Element) -> Result<(Address, Vec<String>), Fault> {
    let fields = Fields::of(element);
    let text = |name| -> Result<String, Fault> {
        Ok(fields.optional(name)?.map(text_of).transpose()?.unwrap_or_default())
    };
    let ags = fields.code_if("gemeindeschluessel")?;
    let address = Address {
        ags: ags
            .map(|code| Ags::parse(&code).map_err(|_| fields.code_fault("gemeindeschluessel")))
            .transpose()?,
        number: text("hausnummer")?,
        letter: text("hausnummerBuchstabeZusatzziffer")?,
        postcode: text("postleitzahl")?,
        flat: text("stockwerkswohnungsnummer")?,
        street: text("strasse")?,
        part: text("teilnummerDerHausnummer")?,
        place: text("wohnort")?,
        dwelling: of_list(&fields, "wohnungsstatus", &DWELLING)?.unwrap_or_default(),
        moved_in: fields.date_if("einzugsdatum")?,
        moved_out: fields.date_if("auszugsdatum")?,
    };
    Ok((address, fields.left_over()))
}

pub fn write(out: &mut Writer, person: &Person) {
    let name = |out: &mut Writer, element: &str, name: &str| {
        out.start(element);
        match name {
            "+" => out.element("nichtVorhanden", "true"),
            name => out.element("name", name),
        };
        out.end();
    };
    out.start("person").element("ordnungsmerkmal", &person.mark);
    person.family_names.iter().for_each(|one| name(out, "familienname", one));
    person.birth_names.iter().for_each(|one| name(out, "geburtsname", one));
    person.former_family_names.iter().for_each(|one| name(out, "fruehererFamilienname", one));
    person.given_names.iter().for_each(|one| name(out, "vornamen", one));
    person.used_given_name.iter().for_each(|one| name(out, "gebraeuchlicherVorname", one));
    person.former_given_names.iter().for_each(|one| name(out, "fruehereVornamen", one));
    out.element_if("doktorgrad", person.doctorate.as_deref());
    person.order_names.iter().for_each(|one| name(out, "ordensname", one));
    person.stage_names.iter().for_each(|one| name(out, "kuenstlername", one));
    person.birth_dates.iter().for_each(|one| date(out, "geburtsdatum", *one));
    out.element_if("geburtsort", person.birth_place.as_deref());
    code(out, "geburtsstaat", person.birth_state.as_deref());
    code(out, "geschlecht", person.sex.map(|sex| word(&SEX, &sex)));
    person.nationalities.iter().for_each(|one| code(out, "staatsangehoerigkeit", Some(one)));
    person.addresses.iter().for_each(|one| write_address(out, one));
    code(out, "familienstand", person.marital_status.map(|one| word(&MARITAL, &one)));
    person.marriage_date.iter().for_each(|one| date(out, "eheschliessungsdatum", *one));
    out.element_if("eheschliessungsort", person.marriage_place.as_deref());
    person.partner_name.iter().for_each(|one| name(out, "familiennameEhegatte", one));
    person.representatives.iter().for_each(|one| name(out, "gesetzlicherVertreter", one));
    for one in &person.locked_representatives {
        out.start("gesetzlicherVertreter").element("name", one);
        code(out, "auskunftssperre", Some("3"));
        out.end();
    }
    person.death_date.iter().for_each(|one| date(out, "sterbedatum", *one));
    out.element_if("sterbeort", person.death_place.as_deref());
    person.locks.iter().for_each(|one| code(out, "auskunftssperre", Some(&one.code().to_string())));
    if person.conditional_note {
        out.element("bedingterSperrvermerk", "true");
    }
    code(out, "status", Some(word(&STATUS, &person.status)));
    out.end();
}

fn write_address(out: &mut Writer, address: &Address) {
    let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    out.start("anschrift");
    code(out, "gemeindeschluessel", address.ags.map(|ags| ags.to_string()).as_deref());
    for (name, text) in [
        ("hausnummer", &address.number),
        ("hausnummerBuchstabeZusatzziffer", &address.letter),
        ("postleitzahl", &address.postcode),
        ("stockwerkswohnungsnummer", &address.flat),
        ("strasse", &address.street),
        ("teilnummerDerHausnummer", &address.part),
        ("wohnort", &address.place),
    ] {
        out.element_if(name, filled(text).as_deref());
    }
    code(out, "wohnungsstatus", Some(word(&DWELLING, &address.dwelling)));
    address.moved_in.iter().for_each(|one| date(out, "einzugsdatum", *one));
    address.moved_out.iter().for_each(|one| date(out, "auszugsdatum", *one));
    out.end();
}

pub(super) fn code(out: &mut Writer, name: &str, code: Option<&str>) {
    if let Some(code) = code {
        out.start(name).element("code", code).end();
    }
}

/// As XInneres writes dates of which a part may be unknown.
pub(super) fn date(out: &mut Writer, name: &str, date: PartialDate) {
    let written = date.to_string();
    let (day, month, year) = (&written[..2], &written[2..4], &written[4..]);
    out.start(name);
    if date == PartialDate::UNKNOWN {
        out.element("unbekannt", "true").end();
        return;
    }
    out.start("teilbekanntesDatum");
    match (month, day) {
        ("00", _) => out.element("jahr", year),
        (_, "00") => out.element("jahrMonat", &format!("{year}-{month}")),
        _ => out.element("jahrMonatTag", &format!("{year}-{month}-{day}")),
    };
    out.end().end();
}
