//! What a question asks, ready to be compared, and whether a person meets it.
//!
//! Every datum given must fit (annex of the BMeldDAV, 4 i) and 6 k)); where several data belong to an address, one and
//! the same address must fit them all. This comparison is the whole truth of a search: indexes only narrow down whom
//! it is asked about.

use jiff::civil;

use super::matching::date::PartialDate;
use super::matching::name::{Form, Token, all_found};
use super::matching::street::{HouseNumber, street_form};
use super::person::{Address, Ags, MaritalStatus, Person, Sex};

/// Which stored names a token may be found among.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NameSet {
    /// 0101a, 0201a, 0203a, 0501, 0502, each as a whole (annex 4 b) aa)).
    FamilyWhole,
    /// The same, in parts (annex 6 b)).
    FamilyPart,
    /// 0201a, 0203a, each as a whole.
    FormerWhole,
    FormerPart,
    /// 0301 to 0303, 0501, 0502, in parts (annex 4 c), 6 c)).
    GivenPart,
    /// 0501, 0502, each as a whole (annex 4 d)).
    ArtistWhole,
    ArtistPart,
    /// 0101a, 0201a, 0203a, each as a whole: family or former name (section 44(3) BMG).
    CivilWhole,
}

impl NameSet {
    pub fn forms(self, person: &Person) -> Vec<Form> {
        let family = || person.family_names.iter();
        let former = || person.birth_names.iter().chain(&person.former_family_names);
        let artist = || person.order_names.iter().chain(&person.stage_names);
        let given = || {
            person
                .given_names
                .iter()
                .chain(&person.used_given_name)
                .chain(&person.former_given_names)
                .chain(artist())
        };
        match self {
            Self::FamilyWhole => wholes(family().chain(former()).chain(artist())),
            Self::FamilyPart => parts(family().chain(former()).chain(artist())),
            Self::FormerWhole => wholes(former()),
            Self::FormerPart => parts(former()),
            Self::GivenPart => parts(given()),
            Self::ArtistWhole => wholes(artist()),
            Self::ArtistPart => parts(artist()),
            Self::CivilWhole => wholes(family().chain(former())),
        }
    }
}

fn wholes<'a>(names: impl Iterator<Item = &'a String>) -> Vec<Form> {
    names.filter_map(|name| Form::of(name)).collect()
}

fn parts<'a>(names: impl Iterator<Item = &'a String>) -> Vec<Form> {
    names.flat_map(|name| Form::parts_of(name)).collect()
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Birth {
    /// Exactly, zeros included; earlier periods count (annex 4 h), 6 f)).
    On(PartialDate),
    /// Annex 6 g).
    Between(civil::Date, civil::Date),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum House {
    Parts(HouseNumber),
    /// Annex 6 j).
    Range(u32, u32),
}

/// What one address must fit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Residence {
    /// The municipality that is searched; an address elsewhere is not meant.
    pub ags: Option<Ags>,
    pub postcode: Option<String>,
    pub place: Option<Form>,
    pub street: Option<Token>,
    pub house: Option<House>,
    pub moved_in: Option<PartialDate>,
    pub moved_out: Option<PartialDate>,
}

impl Residence {
    fn is_empty(&self) -> bool {
        Self { ags: None, ..self.clone() } == Self::default()
    }

    fn fits(&self, address: &Address) -> bool {
        self.ags.is_none_or(|asked| address.ags.is_none_or(|stored| stored == asked))
            && self.postcode.as_ref().is_none_or(|asked| *asked == address.postcode)
            && self.place.as_ref().is_none_or(|asked| Form::of(&address.place).as_ref() == Some(asked))
            && self
                .street
                .as_ref()
                .is_none_or(|asked| street_form(&address.street).is_some_and(|stored| asked.fits(&stored)))
            && self.moved_in.is_none_or(|asked| address.moved_in == Some(asked))
            && self.moved_out.is_none_or(|asked| address.moved_out == Some(asked))
            && self.house.as_ref().is_none_or(|asked| {
                let stored = HouseNumber::new(&address.number, &address.letter, &address.part);
                match asked {
                    House::Parts(asked) => asked.admits(&stored),
                    House::Range(first, last) => stored.lies_in(*first, *last),
                }
            })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Criteria {
    pub names: Vec<(NameSet, Vec<Token>)>,
    pub birth: Option<Birth>,
    pub birth_place: Option<Form>,
    pub birth_state: Option<String>,
    pub sex: Option<Sex>,
    pub nationality: Option<String>,
    pub residence: Residence,
    pub marital_status: Option<MaritalStatus>,
    pub marriage_date: Option<PartialDate>,
    pub marriage_place: Option<Form>,
    pub partner_name: Option<Form>,
    pub representative: Option<Form>,
    pub death_date: Option<PartialDate>,
    pub death_place: Option<Form>,
}

impl Criteria {
    /// The same, asked of one municipality: an address counts where it lies there.
    pub fn within(&self, ags: Ags) -> Self {
        let residence = Residence { ags: Some(ags), ..self.residence.clone() };
        Self { residence, ..self.clone() }
    }

    pub fn fit(&self, person: &Person) -> bool {
        self.names_fit(person)
            && self.birth_fits(person)
            && place_fits(&self.birth_place, &person.birth_place)
            && self.birth_state.as_ref().is_none_or(|asked| person.birth_state.as_ref() == Some(asked))
            && self.sex.is_none_or(|asked| person.sex == Some(asked))
            && self.nationality.as_ref().is_none_or(|asked| person.nationalities.contains(asked))
            && (self.residence.is_empty() || person.addresses.iter().any(|one| self.residence.fits(one)))
            && self.marital_status.is_none_or(|asked| person.marital_status == Some(asked))
            && self.marriage_date.is_none_or(|asked| person.marriage_date == Some(asked))
            && place_fits(&self.marriage_place, &person.marriage_place)
            && place_fits(&self.partner_name, &person.partner_name)
            && self.representative.as_ref().is_none_or(|asked| {
                person.representatives.iter().any(|name| Form::of(name).as_ref() == Some(asked))
            })
            && self.death_date.is_none_or(|asked| person.death_date == Some(asked))
            && place_fits(&self.death_place, &person.death_place)
    }

    fn names_fit(&self, person: &Person) -> bool {
        self.names.iter().all(|(set, tokens)| all_found(tokens, &set.forms(person)))
    }

    fn birth_fits(&self, person: &Person) -> bool {
        match &self.birth {
            None => true,
            Some(Birth::On(asked)) => person.birth_dates.contains(asked),
            Some(Birth::Between(first, last)) => {
                person.birth_dates.iter().any(|date| date.lies_in(*first, *last))
            }
        }
    }
}

/// Names of places and of people beside the person: as a whole, in search form.
fn place_fits(asked: &Option<Form>, stored: &Option<String>) -> bool {
    asked.as_ref().is_none_or(|asked| stored.as_deref().and_then(Form::of).as_ref() == Some(asked))
}
