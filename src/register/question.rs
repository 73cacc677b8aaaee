//! Questions as they are put, and what the law asks of them before anything is looked at.
//!
//! | profile | law | message |
//! | --- | --- | --- |
//! | [`Profile::PersonSearch`] | sections 34a(2), 38(1) BMG; sections 2 to 6 BMeldDAV | 1330 |
//! | [`Profile::FreeSearch`] | sections 34a(3), 38(2) BMG; sections 7, 8 BMeldDAV | 1332 |
//! | [`Profile::PrivateEnquiry`] | sections 44, 49 BMG | 0600, 0604 |
//! | [`Profile::PrefilledForm`] | section 23(3) BMG, section 4 of the first BMeldDÜV | 0300 |
//!
//! Reason codes: 02, 14 and 15 are known from the field; numbers of the others are not public, so they are refused by
//! our own words until the official code list is plugged in. Data of relatives and locks are no selectors, and there
//! is no field for them (section 38 BMG).

use jiff::civil;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::criteria::{Birth, Criteria, House, NameSet, Residence};
use super::matching::date::PartialDate;
use super::matching::name::{Form, Manner, Token};
use super::matching::placeholder::{Pattern, PatternError};
use super::matching::street::{HouseNumber, street_token};
use super::person::{Ags, MaritalStatus, Sex};

/// Longest datum; String.Latin names in the field stay far below.
pub const DATUM_CHARS_MAX: usize = 500;
/// File number, occasion, user, body (section 11 BMeldDAV, annex number 8).
pub const REQUESTER_CHARS_MAX: usize = 120;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    PersonSearch,
    FreeSearch,
    PrivateEnquiry,
    /// The new office fetches what the old one holds of somebody who moves in.
    PrefilledForm,
}

impl Profile {
    pub const ALL: [Self; 4] =
        [Self::PersonSearch, Self::FreeSearch, Self::PrivateEnquiry, Self::PrefilledForm];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::PersonSearch => "person-search",
            Self::FreeSearch => "free-search",
            Self::PrivateEnquiry => "private-enquiry",
            Self::PrefilledForm => "prefilled-form",
        }
    }
}

/// Where is searched (section 1(5) BMeldDAV, annex numbers 2, 3 l)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    Municipality(Ags),
    State,
}

/// Why a question is not put to the copies. Says nothing about any person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Reason {
    #[error("no street of that name is known in the area")]
    StreetUnknown,
    #[error("the message's reader is not the municipality that is searched")]
    ReaderDiffers,
    #[error("placeholders stand alone or first, or together with the search by sound")]
    PlaceholderMisused,
    #[error("placeholders belong to names and streets of the free search alone")]
    PlaceholderForbidden,
    #[error("exactly one municipality must be named")]
    MunicipalityCount,
    #[error("no copy of this municipality is kept here")]
    MunicipalityUnknown,
    #[error("a family or former name with a first name, or an order or stage name, must be given")]
    NameMissing,
    #[error("beside the name an address, or further data that the profile names, must be given")]
    FurtherDatumMissing,
    #[error("sex and marital status alone do not make a pair of further data")]
    PairTooWeak,
    #[error("at least one datum must be given")]
    NothingAsked,
    #[error("too many persons would have to be looked at; ask for more data of the person")]
    TooBroad,
    #[error(
        "a datum is longer than {DATUM_CHARS_MAX} characters, or one about the requester than {REQUESTER_CHARS_MAX}"
    )]
    DatumTooLong,
    #[error("a date is not one")]
    DateMalformed,
    #[error(
        "a period of birth or a range of house numbers ends before it begins, or is the free search's alone"
    )]
    RangeMisused,
    #[error("a datum is not part of this profile")]
    DatumForbidden,
    #[error("the declaration that the data serve neither advertising nor address trade is missing")]
    DeclarationMissing,
    #[error("file number, occasion, user or body is missing")]
    RequesterIncomplete,
    #[error("the asking body has no right to this search, for this purpose, in this area")]
    NotEntitled,
    #[error("a test message does not reach these data")]
    TestMessage,
}

impl Reason {
    pub const ALL: [Self; 19] = [
        Self::StreetUnknown,
        Self::ReaderDiffers,
        Self::PlaceholderMisused,
        Self::PlaceholderForbidden,
        Self::MunicipalityCount,
        Self::MunicipalityUnknown,
        Self::NameMissing,
        Self::FurtherDatumMissing,
        Self::PairTooWeak,
        Self::NothingAsked,
        Self::TooBroad,
        Self::DatumTooLong,
        Self::DateMalformed,
        Self::RangeMisused,
        Self::DatumForbidden,
        Self::DeclarationMissing,
        Self::RequesterIncomplete,
        Self::NotEntitled,
        Self::TestMessage,
    ];

    /// The number in the answer messages, where it is known.
    pub fn number(self) -> Option<&'static str> {
        match self {
            Self::StreetUnknown => Some("02"),
            Self::ReaderDiffers => Some("14"),
            Self::PlaceholderMisused => Some("15"),
            _ => None,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::StreetUnknown => "street-unknown",
            Self::ReaderDiffers => "reader-differs",
            Self::PlaceholderMisused => "placeholder-misused",
            Self::PlaceholderForbidden => "placeholder-forbidden",
            Self::MunicipalityCount => "municipality-count",
            Self::MunicipalityUnknown => "municipality-unknown",
            Self::NameMissing => "name-missing",
            Self::FurtherDatumMissing => "further-datum-missing",
            Self::PairTooWeak => "pair-too-weak",
            Self::NothingAsked => "nothing-asked",
            Self::TooBroad => "too-broad",
            Self::DatumTooLong => "datum-too-long",
            Self::DateMalformed => "date-malformed",
            Self::RangeMisused => "range-misused",
            Self::DatumForbidden => "datum-forbidden",
            Self::DeclarationMissing => "declaration-missing",
            Self::RequesterIncomplete => "requester-incomplete",
            Self::NotEntitled => "not-entitled",
            Self::TestMessage => "test-message",
        }
    }
}

impl From<PatternError> for Reason {
    fn from(_: PatternError) -> Self {
        Self::PlaceholderMisused
    }
}

/// Selection data (Auswahldaten) as they came, each absent or as written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selection {
    pub municipalities: Vec<Ags>,
    pub whole_state: bool,
    pub family_name: Option<String>,
    pub former_name: Option<String>,
    pub given_names: Option<String>,
    pub artist_name: Option<String>,
    pub by_sound: bool,
    pub birth_date: Option<String>,
    pub born_from: Option<civil::Date>,
    pub born_until: Option<civil::Date>,
    pub birth_place: Option<String>,
    pub birth_state: Option<String>,
    pub sex: Option<Sex>,
    pub nationality: Option<String>,
    pub postcode: Option<String>,
    pub place: Option<String>,
    pub street: Option<String>,
    pub number: Option<String>,
    pub letter: Option<String>,
    pub part: Option<String>,
    pub number_from: Option<u32>,
    pub number_until: Option<u32>,
    pub moved_in: Option<String>,
    pub moved_out: Option<String>,
    pub marital_status: Option<MaritalStatus>,
    pub marriage_date: Option<String>,
    pub marriage_place: Option<String>,
    pub partner_name: Option<String>,
    pub representative: Option<String>,
    pub death_date: Option<String>,
    pub death_place: Option<String>,
}

/// A question that may be put to the copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub profile: Profile,
    pub area: Area,
    pub criteria: Criteria,
}

impl Question {
    pub fn new(profile: Profile, selection: &Selection) -> Result<Self, Reason> {
        selection.bounded()?;
        let area = selection.area(profile)?;
        selection.own_to(profile)?;
        let criteria = selection.criteria(profile)?;
        match profile {
            Profile::PersonSearch => person_search_complete(&criteria)?,
            Profile::FreeSearch if criteria == Criteria::default() => return Err(Reason::NothingAsked),
            Profile::FreeSearch => {}
            Profile::PrivateEnquiry => private_enquiry_complete(&criteria)?,
            Profile::PrefilledForm => prefilled_form_complete(&criteria)?,
        }
        Ok(Self { profile, area, criteria })
    }
}

impl Selection {
    fn texts(&self) -> [&Option<String>; 21] {
        [
            &self.family_name,
            &self.former_name,
            &self.given_names,
            &self.artist_name,
            &self.birth_date,
            &self.birth_place,
            &self.birth_state,
            &self.nationality,
            &self.postcode,
            &self.place,
            &self.street,
            &self.number,
            &self.letter,
            &self.part,
            &self.moved_in,
            &self.moved_out,
            &self.marriage_date,
            &self.marriage_place,
            &self.partner_name,
            &self.representative,
            &self.death_date,
        ]
    }

    fn bounded(&self) -> Result<(), Reason> {
        let mut all = self.texts().into_iter().chain([&self.death_place]).flatten();
        // Bytes first: counting characters of a megabyte is work for a stranger.
        let long = |text: &String| text.len() > 4 * DATUM_CHARS_MAX || text.chars().count() > DATUM_CHARS_MAX;
        if all.any(long) { Err(Reason::DatumTooLong) } else { Ok(()) }
    }

    /// One municipality; the whole state in the free search alone (annex numbers 2, 3 l); no district).
    fn area(&self, profile: Profile) -> Result<Area, Reason> {
        match (self.municipalities.as_slice(), self.whole_state) {
            ([one], false) => Ok(Area::Municipality(*one)),
            ([], true) if profile == Profile::FreeSearch => Ok(Area::State),
            _ => Err(Reason::MunicipalityCount),
        }
    }

    /// Data that belong to other profiles are refused and not passed over: every datum given must count.
    fn own_to(&self, profile: Profile) -> Result<(), Reason> {
        let ranges = [
            self.born_from.is_some(),
            self.born_until.is_some(),
            self.number_from.is_some(),
            self.number_until.is_some(),
        ];
        if profile != Profile::FreeSearch && ranges.contains(&true) {
            return Err(Reason::RangeMisused);
        }
        let foreign: &[bool] = match profile {
            // Section 4(1) BMeldDAV.
            Profile::PersonSearch => &[
                self.nationality.is_some(),
                self.moved_in.is_some(),
                self.moved_out.is_some(),
                self.marital_status.is_some(),
                self.marriage_date.is_some(),
                self.marriage_place.is_some(),
                self.partner_name.is_some(),
                self.representative.is_some(),
            ],
            // Section 7(1) BMeldDAV; section 38(2) BMG: relatives' data are no selectors.
            Profile::FreeSearch => &[self.partner_name.is_some(), self.representative.is_some()],
            // Section 44(3) BMG; sounds are not among its data.
            Profile::PrivateEnquiry => &[self.nationality.is_some(), self.by_sound],
            // Whoever moves in stands at the counter: their own data and where they lived, and nothing else.
            Profile::PrefilledForm => &[
                self.by_sound,
                self.artist_name.is_some(),
                self.nationality.is_some(),
                self.moved_in.is_some(),
                self.moved_out.is_some(),
                self.marital_status.is_some(),
                self.marriage_date.is_some(),
                self.marriage_place.is_some(),
                self.partner_name.is_some(),
                self.representative.is_some(),
                self.death_date.is_some(),
                self.death_place.is_some(),
            ],
        };
        if foreign.contains(&true) { Err(Reason::DatumForbidden) } else { Ok(()) }
    }

    fn criteria(&self, profile: Profile) -> Result<Criteria, Reason> {
        let free = profile == Profile::FreeSearch;
        if self.placeholders_outside_names(free) {
            return Err(Reason::PlaceholderForbidden);
        }
        if self.by_sound && self.has_placeholder() {
            return Err(Reason::PlaceholderMisused);
        }
        let form = |text: &Option<String>| text.as_deref().and_then(Form::of);
        let date = |text: &Option<String>| -> Result<Option<PartialDate>, Reason> {
            text.as_deref().map(str::parse).transpose().map_err(|_| Reason::DateMalformed)
        };
        let street = self.street.as_deref().map(|text| street_token(text, free)).transpose()?.flatten();
        Ok(Criteria {
            names: self.names(profile)?,
            birth: self.birth()?,
            birth_place: form(&self.birth_place),
            birth_state: filled(&self.birth_state),
            sex: self.sex,
            nationality: filled(&self.nationality),
            residence: Residence {
                ags: None,
                postcode: filled(&self.postcode),
                place: form(&self.place),
                street,
                house: self.house()?,
                moved_in: date(&self.moved_in)?,
                moved_out: date(&self.moved_out)?,
            },
            marital_status: self.marital_status,
            marriage_date: date(&self.marriage_date)?,
            marriage_place: form(&self.marriage_place),
            partner_name: form(&self.partner_name),
            representative: form(&self.representative),
            death_date: date(&self.death_date)?,
            death_place: form(&self.death_place),
        })
    }

    fn names(&self, profile: Profile) -> Result<Vec<(NameSet, Vec<Token>)>, Reason> {
        let free = profile == Profile::FreeSearch;
        let manner = match (self.by_sound, free) {
            (true, _) => Manner::Sound,
            (false, true) => Manner::Placeholders,
            (false, false) => Manner::Letters,
        };
        let civil = matches!(profile, Profile::PrivateEnquiry | Profile::PrefilledForm);
        let family = if civil { NameSet::CivilWhole } else { NameSet::FamilyWhole };
        let mut names = Vec::new();
        for (text, whole, parted) in [
            (&self.family_name, family, NameSet::FamilyPart),
            (&self.former_name, NameSet::FormerWhole, NameSet::FormerPart),
            (&self.artist_name, NameSet::ArtistWhole, NameSet::ArtistPart),
        ] {
            let Some(text) = text else { continue };
            let (set, tokens) = if free {
                (parted, Token::parts(text, manner)?)
            } else {
                (whole, Token::whole(text, manner)?.into_iter().collect())
            };
            if !tokens.is_empty() {
                names.push((set, tokens));
            }
        }
        if let Some(text) = &self.given_names {
            let tokens = Token::parts(text, manner)?;
            if !tokens.is_empty() {
                names.push((NameSet::GivenPart, tokens));
            }
        }
        Ok(names)
    }

    fn birth(&self) -> Result<Option<Birth>, Reason> {
        match (&self.birth_date, self.born_from, self.born_until) {
            (None, None, None) => Ok(None),
            (Some(text), None, None) => {
                text.parse().map(|date| Some(Birth::On(date))).map_err(|_| Reason::DateMalformed)
            }
            (None, Some(first), Some(last)) if first <= last => Ok(Some(Birth::Between(first, last))),
            _ => Err(Reason::RangeMisused),
        }
    }

    fn house(&self) -> Result<Option<House>, Reason> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let parts = HouseNumber::new(&text(&self.number), &text(&self.letter), &text(&self.part));
        match (parts.is_empty(), self.number_from, self.number_until) {
            (true, None, None) => Ok(None),
            (false, None, None) => Ok(Some(House::Parts(parts))),
            (true, Some(first), Some(last)) if first <= last => Ok(Some(House::Range(first, last))),
            _ => Err(Reason::RangeMisused),
        }
    }

    /// Section 7(7) BMeldDAV: in names and street names; elsewhere a question mark is nothing that a datum has.
    fn placeholders_outside_names(&self, free: bool) -> bool {
        let names =
            [&self.family_name, &self.former_name, &self.given_names, &self.artist_name, &self.street];
        let held = |text: &&Option<String>| text.as_deref().is_some_and(Pattern::has_placeholder);
        let outside = self
            .texts()
            .into_iter()
            .chain([&self.death_place])
            .filter(|text| !names.iter().any(|name| std::ptr::eq(*name, *text)));
        outside.into_iter().any(|text| held(&text)) || (!free && names.iter().any(held))
    }

    fn has_placeholder(&self) -> bool {
        self.texts().into_iter().flatten().any(|text| Pattern::has_placeholder(text))
    }
}

fn filled(text: &Option<String>) -> Option<String> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn has(criteria: &Criteria, set: NameSet) -> bool {
    criteria.names.iter().any(|(one, _)| *one == set)
}

/// Section 38(1) BMG, section 4(1) BMeldDAV. The municipality is the dwelling place.
fn person_search_complete(criteria: &Criteria) -> Result<(), Reason> {
    let named = (has(criteria, NameSet::FamilyWhole) || has(criteria, NameSet::FormerWhole))
        && has(criteria, NameSet::GivenPart);
    if !named && !has(criteria, NameSet::ArtistWhole) {
        return Err(Reason::NameMissing);
    }
    let further = criteria.residence.street.is_some()
        || criteria.birth.is_some()
        || criteria.birth_place.is_some()
        || criteria.sex.is_some()
        || criteria.death_date.is_some()
        || criteria.death_place.is_some();
    if further { Ok(()) } else { Err(Reason::FurtherDatumMissing) }
}

/// Section 23(3) BMG: family or former name, first names and date of birth.
fn prefilled_form_complete(criteria: &Criteria) -> Result<(), Reason> {
    let named = has(criteria, NameSet::CivilWhole) || has(criteria, NameSet::FormerWhole);
    if !named || !has(criteria, NameSet::GivenPart) {
        return Err(Reason::NameMissing);
    }
    if criteria.birth.is_some() { Ok(()) } else { Err(Reason::FurtherDatumMissing) }
}

/// Section 44(3) BMG: name and first name, and an address or two further data. A street alone is no address, nor among the
/// further data: that is the authorities' (section 38(1) BMG).
fn private_enquiry_complete(criteria: &Criteria) -> Result<(), Reason> {
    let named = (has(criteria, NameSet::CivilWhole) || has(criteria, NameSet::FormerWhole))
        && has(criteria, NameSet::GivenPart);
    if !named {
        return Err(Reason::NameMissing);
    }
    let numbered = matches!(&criteria.residence.house, Some(House::Parts(house)) if house.has_number());
    if criteria.residence.street.is_some() && numbered {
        return Ok(());
    }
    let (sex, marital) = (criteria.sex.is_some(), criteria.marital_status.is_some());
    let others = [
        has(criteria, NameSet::ArtistWhole),
        criteria.birth.is_some(),
        criteria.birth_place.is_some(),
        criteria.representative.is_some(),
        criteria.residence.moved_in.is_some(),
        criteria.residence.moved_out.is_some(),
        criteria.marriage_date.is_some() && criteria.marriage_place.is_some(),
        criteria.partner_name.is_some(),
        criteria.death_date.is_some(),
        criteria.death_place.is_some(),
    ];
    let others = others.into_iter().filter(|given| *given).count();
    match others + usize::from(sex) + usize::from(marital) {
        2 if others == 0 => Err(Reason::PairTooWeak),
        2.. => Ok(()),
        _ => Err(Reason::FurtherDatumMissing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The selection as JSON, and the refusal's word or "taken".
    #[track_caller]
    fn check(profile: Profile, selection: &str, expected: &str) {
        let parsed: Selection = serde_json::from_str(selection).expect("a selection");
        let found = Question::new(profile, &parsed).map_or_else(Reason::word, |_| "taken");
        assert_eq!(found, expected, "{}: {selection}", profile.as_str());
    }

    fn with(ags: &str, more: &str) -> String {
        format!(r#"{{"municipalities":[{ags}],{more}}}"#)
    }

    #[test]
    fn person_searches_are_complete_or_refused() {
        let one =
            |more: &str, expected: &str| check(Profile::PersonSearch, &with("\"10041100\"", more), expected);
        let name = r#""family_name":"Adler","given_names":"Willi""#;
        one(&format!(r#"{name},"birth_date":"17031998""#), "taken");
        one(&format!(r#"{name},"sex":"w""#), "taken");
        one(&format!(r#"{name},"street":"Krumme Str","number":"1""#), "taken");
        one(&format!(r#"{name},"birth_date":"00000000""#), "taken");
        one(&format!(r#"{name},"by_sound":true,"sex":"w""#), "taken");
        one(r#""former_name":"Adler","given_names":"Willi","sex":"m""#, "taken");
        one(r#""artist_name":"Lola Fuchs","sex":"w""#, "taken");
        one(name, "further-datum-missing");
        one(&format!(r#"{name},"birth_state":"120""#), "further-datum-missing");
        one(&format!(r#"{name},"street":"17""#), "further-datum-missing");
        one(r#""family_name":"Adler","sex":"m""#, "name-missing");
        one(r#""family_name":"4711","given_names":"Willi","sex":"m""#, "name-missing");
        one(r#""given_names":"Willi","sex":"m""#, "name-missing");
        one(&format!(r#"{name},"birth_date":"31021998""#), "date-malformed");
        one(r#""family_name":"Adl*","given_names":"Willi","sex":"m""#, "placeholder-forbidden");
        one(&format!(r#"{name},"sex":"m","nationality":"000""#), "datum-forbidden");
        one(&format!(r#"{name},"born_from":"1990-01-01","born_until":"1991-01-01""#), "range-misused");
        let ags = format!(r#"{{{name},"sex":"m"}}"#);
        check(Profile::PersonSearch, &ags, "municipality-count");
        let two = with(r#""10041100","10041511""#, &format!(r#"{name},"sex":"m""#));
        check(Profile::PersonSearch, &two, "municipality-count");
        check(
            Profile::PersonSearch,
            &format!(r#"{{"whole_state":true,{name},"sex":"m"}}"#),
            "municipality-count",
        );
        let long = "x".repeat(5000);
        one(&format!(r#""family_name":"{long}","given_names":"Willi","sex":"m""#), "datum-too-long");
    }

    #[test]
    fn free_searches_use_placeholders_where_they_may() {
        let one =
            |more: &str, expected: &str| check(Profile::FreeSearch, &with("\"10041100\"", more), expected);
        one(r#""family_name":"Adl*""#, "taken");
        one(r#""street":"Krumm*","number_from":3,"number_until":12"#, "taken");
        one(r#""born_from":"1990-01-01","born_until":"1991-01-01""#, "taken");
        one(r#""family_name":"*""#, "placeholder-misused");
        one(r#""family_name":"*ler""#, "placeholder-misused");
        one(r#""given_names":"Ernst ?tto""#, "placeholder-misused");
        one(r#""family_name":"Adl*","by_sound":true"#, "placeholder-misused");
        one(r#""birth_place":"Saar*""#, "placeholder-forbidden");
        one(r#""family_name":"0815""#, "nothing-asked");
        one(r#""born_from":"1992-01-01","born_until":"1991-01-01""#, "range-misused");
        one(r#""born_from":"1992-01-01""#, "range-misused");
        one(r#""number":"3","number_from":3,"number_until":12"#, "range-misused");
        one(r#""partner_name":"Adler""#, "datum-forbidden");
        check(Profile::FreeSearch, r#"{"whole_state":true,"family_name":"Adler"}"#, "taken");
        let both = with("\"10041100\"", r#""whole_state":true,"family_name":"Adler""#);
        check(Profile::FreeSearch, &both, "municipality-count");
        assert!(serde_json::from_str::<Selection>(r#"{"locks":[3]}"#).is_err(), "locks are no selectors");
    }

    #[test]
    fn private_enquiries_need_an_address_or_two_further_data() {
        let name = r#""family_name":"Adler","given_names":"Willi""#;
        let one = |more: &str, expected: &str| {
            check(Profile::PrivateEnquiry, &with("\"10041100\"", &format!("{name}{more}")), expected);
        };
        one(r#","street":"Krumme Straße","number":"1""#, "taken");
        one(r#","street":"Krumme Straße""#, "further-datum-missing");
        one(r#","street":"Krumme Straße","letter":"a""#, "further-datum-missing");
        one(r#","street":"Krumme Straße","sex":"m""#, "further-datum-missing");
        one(r#","birth_date":"17031998","sex":"m""#, "taken");
        one(r#","sex":"m","marital_status":"LD""#, "pair-too-weak");
        one(r#","sex":"m","marital_status":"LD","partner_name":"Bussard""#, "taken");
        one(r#","sex":"m","marriage_date":"17031998""#, "further-datum-missing");
        one(r#","birth_date":"17031998""#, "further-datum-missing");
        one(r#","birth_date":"17031998","sex":"m","by_sound":true"#, "datum-forbidden");
        one("", "further-datum-missing");
    }

    #[test]
    fn reasons_have_words_of_their_own() {
        let mut words: Vec<_> = Reason::ALL.iter().map(|reason| reason.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Reason::ALL.len());
    }
}
