//! Questions: private enquiry (0600, many at once 0604), Personensuche (1330), freie Suche (1332), pre-filled form (0300);
//! and "that answer once more" (A001).
//!
//! Who asks, and with what rights, is not the message's to say: the kind of the asking body comes from the register's
//! own list, by the author whom the transport vouches for.

use jiff::civil;

use super::fields::Fields;
use super::head::{self, Head};
use super::person::{self, MARITAL, SEX, code, of_list};
use super::rejection::Event;
use super::{Code, Fault, Number};
use crate::register::copies::{Asked, Requester};
use crate::register::matching::date::PartialDate;
use crate::register::person::Ags;
use crate::register::question::{Profile, Selection};
use crate::register::rights::{Asker, Purpose};
use crate::xml::tree::Element;
use crate::xml::write::Writer;

/// Enquiries of one message; as many as a list on the page has.
pub const ENQUIRIES_MAX: usize = 500;

/// What the register knows of an asking body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entitled {
    pub asker: Asker,
    /// May claim that its staff is empowered in the sense of section 34a(6) BMG.
    pub empowered: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    Search(Box<Asked>),
    /// The person behind an identification feature of a list.
    Feature {
        requester: Requester,
        profile: Profile,
        feature: String,
        /// The municipality that the message names as its reader.
        reader: Option<Ags>,
    },
}

pub fn profile(number: Number) -> Option<Profile> {
    match number {
        Number::EnquiryAsked => Some(Profile::PrivateEnquiry),
        Number::FormAsked => Some(Profile::PrefilledForm),
        Number::PersonSearchAsked => Some(Profile::PersonSearch),
        Number::FreeSearchAsked => Some(Profile::FreeSearch),
        _ => None,
    }
}

pub fn read(head: &Head, children: &[Element], entitled: Entitled) -> Result<Wanted, Fault> {
    let profile = profile(head.number).ok_or_else(|| Fault::new(Code::X001, "this is no question"))?;
    let [who, what] = children else {
        return Err(Fault::new(Code::X001, "a question has two elements behind its head"));
    };
    let private = profile == Profile::PrivateEnquiry;
    let by_feature = matches!(profile, Profile::PersonSearch | Profile::FreeSearch);
    if !who.is("", if private { "anfragedaten" } else { "datenAbrufendeStelle" })
        || !what.is("", "suchprofil")
    {
        return Err(Fault::new(Code::X001, "the question's elements are others than its number has"));
    }
    let mut requester = if private {
        private_requester(head, who, entitled)?
    } else {
        public_requester(head, who, entitled)?
    };
    let search = Fields::of(what);
    if let Some(feature) = search.text_if("identifikationsmerkmal")? {
        let (waives, _) = steering(&search)?;
        search.finish()?;
        if !by_feature || head.release.is_none_or(|release| !release.follow_ups) {
            return Err(
                search.fault("identifikationsmerkmal", "is not part of this question in this release")
            );
        }
        requester.waives_hand_over = waives;
        return Ok(Wanted::Feature { requester, profile, feature, reader: reader(head) });
    }
    Ok(Wanted::Search(Box::new(searched(head, &search, profile, requester)?)))
}

fn reader(head: &Head) -> Option<Ags> {
    head.leser.kennung.strip_prefix("ags:").and_then(|key| Ags::parse(key).ok())
}

/// Whether the asker waives that the question is handled by hand, and whether it is asked by sound.
fn steering(search: &Fields<'_>) -> Result<(bool, bool), Fault> {
    let Some(steering) = search.optional("steuerungsinformationen")?.map(Fields::of) else {
        return Ok((false, false));
    };
    let flag = |name| Ok::<_, Fault>(steering.flag(name)?.unwrap_or_default());
    let read = (flag("verzichtAufManuelleBearbeitung")?, flag("phonetik")?);
    steering.finish()?;
    Ok(read)
}

/// A `suchprofil` that is no identification feature.
fn searched(
    head: &Head,
    search: &Fields<'_>,
    profile: Profile,
    requester: Requester,
) -> Result<Asked, Fault> {
    let (waives, by_sound) = steering(search)?;
    let selection = selection(search.required("auswahldaten")?)?;
    search.finish()?;
    Ok(Asked {
        requester: Requester { waives_hand_over: waives, ..requester },
        profile,
        selection: Selection { by_sound, ..selection },
        reader: reader(head),
        test: head.test,
    })
}

/// One enquiry of a 0604: its event, and the question or why it is none.
pub struct Enquiry {
    pub event: Event,
    pub asked: Result<Asked, Fault>,
}

/// Reads a 0604. What cannot be told apart by its event, and what leaves the one municipality, puts the whole message at
/// fault (XInneres: collective messages stay within one municipality).
pub fn read_enquiries(head: &Head, children: &[Element], entitled: Entitled) -> Result<Vec<Enquiry>, Fault> {
    let Some((who, cases)) = children.split_first().filter(|(who, _)| who.is("", "anfragedaten")) else {
        return Err(Fault::new(Code::X001, "anfragedaten is missing behind the head"));
    };
    let requester = private_requester(head, who, entitled)?;
    if cases.is_empty() || cases.len() > ENQUIRIES_MAX {
        return Err(Fault::new(Code::X001, format!("a message has 1 to {ENQUIRIES_MAX} elements anfrage")));
    }
    let mut out: Vec<Enquiry> = Vec::with_capacity(cases.len());
    for case in cases {
        if !case.is("", "anfrage") {
            return Err(Fault::new(Code::X001, "behind anfragedaten there are elements anfrage alone"));
        }
        let fields = Fields::of(case);
        let event = super::feed::event(&Fields::of(fields.required("identifikation.ereignis")?))?;
        if out.iter().any(|one| one.event.sign == event.sign) {
            return Err(Fault::new(Code::X001, "two cases have one ereignis.zeichen"));
        }
        let asked = fields.required("suchprofil").and_then(|what| {
            fields.finish()?;
            searched(head, &Fields::of(what), Profile::PrivateEnquiry, requester.clone())
        });
        out.push(Enquiry { event, asked });
    }
    let mut areas =
        out.iter().filter_map(|one| one.asked.as_ref().ok()).map(|one| &one.selection.municipalities);
    let first = areas.next();
    if areas.any(|area| Some(area) != first) {
        return Err(Fault::new(Code::S999, "a collective message stays within one municipality"));
    }
    Ok(out)
}

/// Writes a 0604 behind its head, as a portal would; who asks is taken from the first.
pub fn write_enquiries(out: &mut Writer, enquiries: &[(Event, Asked)]) {
    let Some((_, first)) = enquiries.first() else { return };
    write_requester(out, first);
    for (event, asked) in enquiries {
        out.start("anfrage");
        super::feed::write_event(out, event);
        write_search(out, asked);
        out.end();
    }
}

fn public_requester(head: &Head, element: &Element, entitled: Entitled) -> Result<Requester, Fault> {
    let fields = Fields::of(element);
    // Absent and empty are the same here: the answer names what is missing.
    let text = |name| -> Result<String, Fault> {
        Ok(fields.optional(name)?.map(Element::text_trimmed).unwrap_or_default())
    };
    let body = text("abrufberechtigteStelle")?;
    let requester = Requester {
        asker: entitled.asker,
        purpose: Purpose::Task,
        body: if body.is_empty() { body } else { format!("{} {body}", head.autor.kennung) },
        file_number: text("aktenzeichen")?,
        occasion: text("anlassDesAbrufs")?,
        user: text("kennung")?,
        empowered: entitled.empowered && fields.flag("ermaechtigteBedienstete")?.unwrap_or_default(),
        waives_hand_over: false,
        declares_no_trade: false,
    };
    fields.all("ermaechtigteBedienstete");
    fields.finish()?;
    Ok(requester)
}

fn private_requester(head: &Head, element: &Element, entitled: Entitled) -> Result<Requester, Fault> {
    let fields = Fields::of(element);
    let account = fields.text("anwenderkennung")?;
    let commercial = fields.text_if("gewerblicherZweck")?;
    let trade = fields.flag("zumZweckDerWerbungOderAdresshandel")?;
    fields.finish()?;
    let purpose = match (trade, &commercial) {
        (Some(true), _) => Purpose::Advertising,
        (_, Some(_)) => Purpose::Commercial,
        (_, None) => Purpose::Private,
    };
    Ok(Requester {
        asker: entitled.asker,
        purpose,
        body: format!("{} {account}", head.autor.kennung),
        file_number: String::new(),
        occasion: commercial.unwrap_or_default(),
        user: account,
        empowered: false,
        waives_hand_over: false,
        declares_no_trade: trade == Some(false),
    })
}

fn selection(element: &Element) -> Result<Selection, Fault> {
    let fields = Fields::of(element);
    let day = |fields: &Fields<'_>, name| -> Result<Option<civil::Date>, Fault> {
        let text = fields.text_if(name)?;
        text.map(|text| text.parse().map_err(|_| fields.fault(name, "is no day"))).transpose()
    };
    let date = |name| -> Result<Option<String>, Fault> {
        Ok(fields.date_if(name)?.map(|date: PartialDate| date.to_string()))
    };
    let whole_state = fields.flag("landesweit")?.unwrap_or_default();
    let mut selection = Selection {
        whole_state,
        family_name: fields.name_if("familienname")?,
        former_name: fields.name_if("fruehererName")?,
        given_names: fields.name_if("vornamen")?,
        artist_name: fields.name_if("ordensOderKuenstlername")?,
        birth_date: date("geburtsdatum")?,
        birth_place: fields.text_if("geburtsort")?,
        birth_state: fields.code_if("geburtsstaat")?,
        sex: of_list(&fields, "geschlecht", &SEX)?,
        nationality: fields.code_if("staatsangehoerigkeit")?,
        moved_in: date("einzugsdatum")?,
        moved_out: date("auszugsdatum")?,
        marital_status: of_list(&fields, "familienstand", &MARITAL)?,
        marriage_date: date("eheschliessungsdatum")?,
        marriage_place: fields.text_if("eheschliessungsort")?,
        partner_name: fields.name_if("familiennameEhegatte")?,
        representative: fields.name_if("gesetzlicherVertreter")?,
        death_date: date("sterbedatum")?,
        death_place: fields.text_if("sterbeort")?,
        ..Selection::default()
    };
    if let Some(period) = fields.optional("geburtszeitraum")? {
        let period = Fields::of(period);
        selection.born_from = day(&period, "von")?;
        selection.born_until = day(&period, "bis")?;
        period.finish()?;
    }
    if let Some(address) = fields.optional("anschrift")? {
        address_selection(&Fields::of(address), &mut selection)?;
    }
    fields.finish()?;
    Ok(selection)
}

fn address_selection(fields: &Fields<'_>, selection: &mut Selection) -> Result<(), Fault> {
    for one in fields.all("gemeindeschluessel") {
        let code = Fields::of(one).text("code")?;
        let ags = Ags::parse(&code).map_err(|_| fields.code_fault("gemeindeschluessel"))?;
        selection.municipalities.push(ags);
    }
    selection.number = fields.text_if("hausnummer")?;
    selection.letter = fields.text_if("hausnummerBuchstabeZusatzziffer")?;
    selection.postcode = fields.text_if("postleitzahl")?;
    selection.street = fields.text_if("strasse")?;
    selection.part = fields.text_if("teilnummerDerHausnummer")?;
    selection.place = fields.text_if("wohnort")?;
    if let Some(range) = fields.optional("hausnummern")? {
        let range = Fields::of(range);
        let number = |name| -> Result<Option<u32>, Fault> {
            let text = range.text_if(name)?;
            text.map(|text| text.parse().map_err(|_| range.fault(name, "is no number"))).transpose()
        };
        selection.number_from = number("von")?;
        selection.number_until = number("bis")?;
        range.finish()?;
    }
    fields.finish()
}

/// Writes a question behind its head, as an asking procedure would.
pub fn write(out: &mut Writer, asked: &Asked) {
    write_requester(out, asked);
    write_search(out, asked);
}

fn write_requester(out: &mut Writer, asked: &Asked) {
    let requester = &asked.requester;
    if asked.profile == Profile::PrivateEnquiry {
        out.start("anfragedaten").element("anwenderkennung", &requester.user);
        if requester.purpose == Purpose::Commercial {
            out.element("gewerblicherZweck", &requester.occasion);
        }
        if requester.purpose == Purpose::Advertising {
            out.element("zumZweckDerWerbungOderAdresshandel", "true");
        } else if requester.declares_no_trade {
            out.element("zumZweckDerWerbungOderAdresshandel", "false");
        }
    } else {
        out.start("datenAbrufendeStelle").element("abrufberechtigteStelle", &requester.body);
        out.element("aktenzeichen", &requester.file_number).element("anlassDesAbrufs", &requester.occasion);
        out.element("kennung", &requester.user);
        if requester.empowered {
            out.element("ermaechtigteBedienstete", "true");
        }
    }
    out.end();
}

fn write_search(out: &mut Writer, asked: &Asked) {
    out.start("suchprofil").start("auswahldaten");
    write_selection(out, &asked.selection);
    out.end();
    write_steering(out, asked.requester.waives_hand_over, asked.selection.by_sound);
    out.end();
}

fn write_steering(out: &mut Writer, waives: bool, by_sound: bool) {
    out.start("steuerungsinformationen").element("verzichtAufManuelleBearbeitung", &waives.to_string());
    out.element("phonetik", &by_sound.to_string()).end();
}

fn write_selection(out: &mut Writer, selection: &Selection) {
    let name = |out: &mut Writer, element: &str, text: &Option<String>| {
        if let Some(text) = text {
            out.start(element).element("name", text).end();
        }
    };
    let date = |out: &mut Writer, element: &str, text: &Option<String>| {
        if let Some(date) = text.as_deref().and_then(|text| text.parse().ok()) {
            person::date(out, element, date);
        }
    };
    if selection.whole_state {
        out.element("landesweit", "true");
    }
    name(out, "familienname", &selection.family_name);
    name(out, "fruehererName", &selection.former_name);
    name(out, "vornamen", &selection.given_names);
    name(out, "ordensOderKuenstlername", &selection.artist_name);
    date(out, "geburtsdatum", &selection.birth_date);
    if selection.born_from.is_some() || selection.born_until.is_some() {
        out.start("geburtszeitraum");
        out.element_if("von", selection.born_from.map(|day| day.to_string()).as_deref());
        out.element_if("bis", selection.born_until.map(|day| day.to_string()).as_deref());
        out.end();
    }
    out.element_if("geburtsort", selection.birth_place.as_deref());
    code(out, "geburtsstaat", selection.birth_state.as_deref());
    let word =
        |list: &[(&'static str, _)], value| list.iter().find(|(_, one)| *one == value).map(|(word, _)| *word);
    code(out, "geschlecht", selection.sex.and_then(|sex| word(&SEX, sex)));
    code(out, "staatsangehoerigkeit", selection.nationality.as_deref());
    out.start("anschrift");
    for ags in &selection.municipalities {
        code(out, "gemeindeschluessel", Some(&ags.to_string()));
    }
    for (element, text) in [
        ("hausnummer", &selection.number),
        ("hausnummerBuchstabeZusatzziffer", &selection.letter),
        ("postleitzahl", &selection.postcode),
        ("strasse", &selection.street),
        ("teilnummerDerHausnummer", &selection.part),
        ("wohnort", &selection.place),
    ] {
        out.element_if(element, text.as_deref());
    }
    if selection.number_from.is_some() || selection.number_until.is_some() {
        out.start("hausnummern");
        out.element_if("von", selection.number_from.map(|number| number.to_string()).as_deref());
        out.element_if("bis", selection.number_until.map(|number| number.to_string()).as_deref());
        out.end();
    }
    out.end();
    date(out, "einzugsdatum", &selection.moved_in);
    date(out, "auszugsdatum", &selection.moved_out);
    let marital = selection
        .marital_status
        .and_then(|status| MARITAL.iter().find(|(_, one)| *one == status).map(|(word, _)| *word));
    code(out, "familienstand", marital);
    date(out, "eheschliessungsdatum", &selection.marriage_date);
    out.element_if("eheschliessungsort", selection.marriage_place.as_deref());
    name(out, "familiennameEhegatte", &selection.partner_name);
    name(out, "gesetzlicherVertreter", &selection.representative);
    date(out, "sterbedatum", &selection.death_date);
    out.element_if("sterbeort", selection.death_place.as_deref());
}

/// A001: the UUID of the question whose answer is wanted once more.
pub fn read_wanted_answer(children: &[Element]) -> Result<String, Fault> {
    let [relation] = children else {
        return Err(Fault::new(Code::X001, "behind the head there is bezug alone"));
    };
    read_relation(relation)
}

pub(super) fn read_relation(element: &Element) -> Result<String, Fault> {
    if !element.is("", "bezug") {
        return Err(Fault::new(Code::X001, "bezug is missing"));
    }
    let fields = Fields::of(element);
    let uuid = fields.text("nachrichtenUUID")?.to_ascii_lowercase();
    fields.finish()?;
    if head::is_uuid(&uuid) { Ok(uuid) } else { Err(fields.fault("nachrichtenUUID", "is no UUID")) }
}

pub fn write_wanted_answer(out: &mut Writer, question: &str) {
    super::feed::relates_to(out, question);
}
