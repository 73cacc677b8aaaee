//! Who may ask what: one table of authority kind, purpose, profile, area and data groups, and its explanation.
//!
//! What has no row is refused. The data groups are what a copy can hold of the law's lists; numbers of identity
//! papers, data on weapons and on the landlord (sections 34(1) sentence 2, 34a(3) sentence 2 BMG) are not kept here and
//! are the municipality's to give. Extended, group and party enquiries (sections 45, 46, 50 BMG) are handled by hand
//! and have no row.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::person::{Address, Dwelling, Person, Status};
use super::question::Profile;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word)
            }
        }
    };
}

words! {
    /// Kinds of askers. From `Police` to `FederalOfficeOfJustice` they are the bodies of section 34(4) sentence 1 BMG.
    Asker {
        PublicBody = "public-body",
        /// Every municipality that writes as `ags:`, without an entry of its own.
        RegistrationOffice = "registration-office",
        Police = "police",
        Prosecution = "prosecution",
        CriminalCourt = "criminal-court",
        Prison = "prison",
        Constitution = "constitution-protection",
        ForeignIntelligence = "foreign-intelligence",
        MilitaryCounterintelligence = "military-counterintelligence",
        CustomsInvestigation = "customs-investigation",
        Customs = "customs",
        CriminalTax = "criminal-tax",
        SanctionsOffice = "sanctions-office",
        FederalOfficeOfJustice = "federal-office-of-justice",
        Firm = "firm",
        Citizen = "citizen",
    }
}

words! {
    Purpose {
        /// The body's own lawful task (section 34(1), 34a(1) BMG).
        Task = "task",
        Private = "private",
        /// Stated commercial purpose (section 44(1) sentence 2 BMG).
        Commercial = "commercial",
        Advertising = "advertising",
        AddressTrade = "address-trade",
    }
}

words! {
    Reach {
        Municipality = "municipality",
        State = "state",
    }
}

words! {
    DataGroup {
        FamilyName = "family-name",
        FormerNames = "former-names",
        GivenNames = "given-names",
        Doctorate = "doctorate",
        ArtistNames = "artist-names",
        Birth = "birth",
        Sex = "sex",
        Nationalities = "nationalities",
        MainAddress = "main-address",
        PresentAddresses = "present-addresses",
        AllAddresses = "all-addresses",
        MoveDates = "move-dates",
        MaritalStatus = "marital-status",
        Representatives = "representatives",
        Death = "death",
        FactOfDeath = "fact-of-death",
        MovedNote = "moved-note",
    }
}

impl Asker {
    /// Section 34(4) sentence 1 BMG.
    pub fn is_security_body(self) -> bool {
        (Self::Police..=Self::FederalOfficeOfJustice).contains(&self)
    }

    /// Section 34a(6) BMG: with empowered staff, locks that no authority had entered do not hide from them.
    pub fn may_see_locked(self) -> bool {
        matches!(
            self,
            Self::Police
                | Self::Constitution
                | Self::ForeignIntelligence
                | Self::MilitaryCounterintelligence
                | Self::CustomsInvestigation
        )
    }
}

/// One line of the table.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Right {
    #[serde(skip)]
    pub askers: &'static [Asker],
    pub purpose: Purpose,
    #[serde(skip)]
    pub profile: Profile,
    pub reach: Reach,
    pub groups: &'static [DataGroup],
    pub law: &'static str,
}

use Asker as A;
use DataGroup as G;

const SECURITY_BODIES: &[Asker] = &[
    A::Police,
    A::Prosecution,
    A::CriminalCourt,
    A::Prison,
    A::Constitution,
    A::ForeignIntelligence,
    A::MilitaryCounterintelligence,
    A::CustomsInvestigation,
    A::Customs,
    A::CriminalTax,
    A::SanctionsOffice,
    A::FederalOfficeOfJustice,
];

const PERSON_SEARCH: &[DataGroup] = &[
    G::FamilyName,
    G::FormerNames,
    G::GivenNames,
    G::Doctorate,
    G::ArtistNames,
    G::Birth,
    G::Sex,
    G::Nationalities,
    G::AllAddresses,
    G::MoveDates,
    G::MaritalStatus,
    G::Representatives,
    G::Death,
    G::MovedNote,
];
const FREE_SEARCH: &[DataGroup] = &[
    G::FamilyName,
    G::FormerNames,
    G::GivenNames,
    G::Doctorate,
    G::ArtistNames,
    G::Birth,
    G::Sex,
    G::Nationalities,
    G::MainAddress,
    G::Death,
    G::MovedNote,
];
const FREE_SEARCH_SECURITY: &[DataGroup] = &[
    G::FamilyName,
    G::FormerNames,
    G::GivenNames,
    G::Doctorate,
    G::ArtistNames,
    G::Birth,
    G::Sex,
    G::Nationalities,
    G::MainAddress,
    G::MoveDates,
    G::Death,
    G::MovedNote,
];
const PRIVATE_ENQUIRY: &[DataGroup] =
    &[G::FamilyName, G::GivenNames, G::Doctorate, G::PresentAddresses, G::FactOfDeath];

/// No relatives: of most of them a copy keeps the name without the lock, and those of locked ones must be left out.
const PREFILLED_FORM: &[DataGroup] = &[
    G::FamilyName,
    G::FormerNames,
    G::GivenNames,
    G::Doctorate,
    G::ArtistNames,
    G::Birth,
    G::Sex,
    G::Nationalities,
    G::AllAddresses,
    G::MoveDates,
    G::MaritalStatus,
];

/// The hit list of a person search (section 6(1) BMeldDAV), whatever the right to the single person.
pub const HIT_LIST: &[DataGroup] =
    &[G::FamilyName, G::FormerNames, G::GivenNames, G::Birth, G::MainAddress, G::MovedNote];

pub const RIGHTS: &[Right] = &[
    Right {
        askers: &[A::PublicBody],
        purpose: Purpose::Task,
        profile: Profile::PersonSearch,
        reach: Reach::Municipality,
        groups: PERSON_SEARCH,
        law: "sections 34(1) sentence 1, 34a(2) sentence 1 BMG; BMeldDAV annex 2",
    },
    Right {
        askers: SECURITY_BODIES,
        purpose: Purpose::Task,
        profile: Profile::PersonSearch,
        reach: Reach::Municipality,
        groups: PERSON_SEARCH,
        law: "sections 34(4), 34a(2) BMG; BMeldDAV annex 2",
    },
    Right {
        askers: &[A::PublicBody],
        purpose: Purpose::Task,
        profile: Profile::FreeSearch,
        reach: Reach::Municipality,
        groups: FREE_SEARCH,
        law: "section 34a(3) sentence 1 BMG; section 8(1) BMeldDAV, annex 3 l)",
    },
    Right {
        askers: SECURITY_BODIES,
        purpose: Purpose::Task,
        profile: Profile::FreeSearch,
        reach: Reach::State,
        groups: FREE_SEARCH_SECURITY,
        law: "sections 34(4), 34a(3) BMG; section 8(2) BMeldDAV, annex 3 l) sentence 2",
    },
    Right {
        askers: &[A::RegistrationOffice],
        purpose: Purpose::Task,
        profile: Profile::PrefilledForm,
        reach: Reach::Municipality,
        groups: PREFILLED_FORM,
        law: "section 23(3) BMG; section 4 of the first BMeldDÜV",
    },
    Right {
        askers: &[A::Citizen, A::Firm],
        purpose: Purpose::Private,
        profile: Profile::PrivateEnquiry,
        reach: Reach::Municipality,
        groups: PRIVATE_ENQUIRY,
        law: "sections 44(1), 44(3), 49(2) BMG",
    },
    Right {
        askers: &[A::Citizen, A::Firm],
        purpose: Purpose::Commercial,
        profile: Profile::PrivateEnquiry,
        reach: Reach::Municipality,
        groups: PRIVATE_ENQUIRY,
        law: "sections 44(1) sentence 2, 44(3), 49(2) BMG",
    },
];

/// The row that lets the asker in, if there is one; a right to the state includes each municipality.
pub fn right(asker: Asker, purpose: Purpose, profile: Profile, reach: Reach) -> Option<&'static Right> {
    RIGHTS.iter().find(|right| {
        right.askers.contains(&asker)
            && right.purpose == purpose
            && right.profile == profile
            && (right.reach == Reach::State || reach == Reach::Municipality)
    })
}

#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    pub asker: &'static str,
    pub purpose: &'static str,
    pub profile: &'static str,
    pub area: &'static str,
    pub allowed: bool,
    pub law: &'static str,
    pub data: Vec<&'static str>,
    pub words: String,
}

pub fn explain(asker: Asker, purpose: Purpose, profile: Profile, reach: Reach) -> Explanation {
    let found = right(asker, purpose, profile, reach);
    let words = match found {
        Some(_) if asker.may_see_locked() => {
            "Locked persons get the neutral answer, except for empowered staff where no authority had the lock \
             entered (section 34a(6) BMG)."
        }
        Some(_) if asker.is_security_body() => {
            "Locked persons get the neutral answer. The body keeps the log of the retrieval itself (section 40 BMG)."
        }
        Some(_) => "Locked persons get the neutral answer, and the municipality decides by hand.",
        None if matches!(purpose, Purpose::Advertising | Purpose::AddressTrade) => {
            "Nobody gets data for advertising or address trade (section 44(3) BMG)."
        }
        None if reach == Reach::State && right(asker, purpose, profile, Reach::Municipality).is_some() => {
            "The whole state is searched for bodies of section 34(4) BMG in the free search alone; name one \
             municipality (BMeldDAV annex 2, 3 l))."
        }
        None => "No row of the table lets this asker put this question for this purpose.",
    };
    Explanation {
        asker: asker.as_str(),
        purpose: purpose.as_str(),
        profile: profile.as_str(),
        area: reach.as_str(),
        allowed: found.is_some(),
        law: found.map_or("", |right| right.law),
        data: found
            .map(|right| right.groups.iter().map(|group| group.as_str()).collect())
            .unwrap_or_default(),
        words: words.to_owned(),
    }
}

/// What an answer says about one person: the groups' data under their names, absent ones left out.
pub type Disclosure = BTreeMap<&'static str, Value>;

/// The order mark is in no group.
pub fn disclose(person: &Person, groups: &[DataGroup]) -> Disclosure {
    let mut out = Disclosure::new();
    for group in groups {
        let value = datum(person, *group);
        let blank = match &value {
            Value::Null => true,
            Value::Array(list) => list.is_empty(),
            _ => false,
        };
        if !blank {
            out.insert(group.as_str(), value);
        }
    }
    out
}

fn datum(person: &Person, group: DataGroup) -> Value {
    let birth_and_more = |date: Option<String>, place: &Option<String>, state: &Option<String>| {
        if date.is_none() && place.is_none() && state.is_none() {
            return Value::Null;
        }
        json!({ "date": date, "place": place, "state": state })
    };
    let addresses = |wanted: &dyn Fn(&Address) -> bool| -> Value {
        person.addresses.iter().filter(|address| wanted(address)).map(without_dates).collect()
    };
    match group {
        DataGroup::FamilyName => json!(person.family_names.first()),
        DataGroup::FormerNames => {
            person.birth_names.iter().chain(&person.former_family_names).map(|name| json!(name)).collect()
        }
        DataGroup::GivenNames => {
            json!({ "names": person.given_names.first(), "used": person.used_given_name })
        }
        DataGroup::Doctorate => json!(person.doctorate),
        DataGroup::ArtistNames => {
            person.order_names.iter().chain(&person.stage_names).map(|name| json!(name)).collect()
        }
        DataGroup::Birth => {
            let date = person.birth_dates.first().map(ToString::to_string);
            birth_and_more(date, &person.birth_place, &person.birth_state)
        }
        DataGroup::Sex => json!(person.sex),
        DataGroup::Nationalities => json!(person.nationalities),
        DataGroup::MainAddress => addresses(&|one| one.is_present() && one.dwelling != Dwelling::Secondary),
        DataGroup::PresentAddresses => addresses(&Address::is_present),
        DataGroup::AllAddresses => addresses(&|_| true),
        DataGroup::MoveDates => person
            .addresses
            .iter()
            .filter(|address| address.is_present())
            .map(|address| json!({ "street": address.street, "moved_in": address.moved_in }))
            .collect(),
        DataGroup::MaritalStatus => json!(person.marital_status),
        DataGroup::Representatives => json!(person.representatives),
        DataGroup::Death => {
            birth_and_more(person.death_date.map(|date| date.to_string()), &person.death_place, &None)
        }
        DataGroup::FactOfDeath => {
            if person.status == Status::Dead {
                json!(true)
            } else {
                Value::Null
            }
        }
        DataGroup::MovedNote => {
            if person.status == Status::Resident {
                Value::Null
            } else {
                json!(person.status)
            }
        }
    }
}

fn without_dates(address: &Address) -> Value {
    json!(Address { moved_in: None, moved_out: None, ..address.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(asker: Asker, purpose: Purpose, profile: Profile, reach: Reach, expected: Option<&str>) {
        let found = right(asker, purpose, profile, reach).map(|right| right.law);
        assert_eq!(found.is_some(), expected.is_some(), "{asker:?} {purpose:?} {profile:?} {reach:?}");
        if let (Some(found), Some(expected)) = (found, expected) {
            assert!(found.contains(expected), "{found}");
        }
        let explained = explain(asker, purpose, profile, reach);
        assert_eq!(explained.allowed, expected.is_some());
        assert!(!explained.words.is_empty());
    }

    #[test]
    fn the_table_lets_in_whom_the_law_lets_in() {
        use Profile::{FreeSearch, PersonSearch, PrefilledForm, PrivateEnquiry};
        use Reach::{Municipality, State};
        check(A::PublicBody, Purpose::Task, PersonSearch, Municipality, Some("34a(2)"));
        check(A::PublicBody, Purpose::Task, FreeSearch, Municipality, Some("34a(3)"));
        check(A::PublicBody, Purpose::Task, FreeSearch, State, None);
        check(A::PublicBody, Purpose::Task, PrivateEnquiry, Municipality, None);
        check(A::PublicBody, Purpose::Commercial, PersonSearch, Municipality, None);
        check(A::Citizen, Purpose::Private, PrivateEnquiry, Municipality, Some("44(3)"));
        check(A::Citizen, Purpose::Task, PersonSearch, Municipality, None);
        check(A::Firm, Purpose::Commercial, PrivateEnquiry, Municipality, Some("44(1)"));
        check(A::Firm, Purpose::Advertising, PrivateEnquiry, Municipality, None);
        check(A::Firm, Purpose::Private, FreeSearch, Municipality, None);
        check(A::RegistrationOffice, Purpose::Task, PrefilledForm, Municipality, Some("23(3)"));
        check(A::RegistrationOffice, Purpose::Task, PersonSearch, Municipality, None);
        check(A::PublicBody, Purpose::Task, PrefilledForm, Municipality, None);
        for asker in Asker::ALL.iter().copied().filter(|asker| asker.is_security_body()) {
            check(asker, Purpose::Task, FreeSearch, State, Some("34(4)"));
            check(asker, Purpose::Task, PersonSearch, Municipality, Some("34(4)"));
            check(asker, Purpose::Task, PersonSearch, State, None);
        }
        assert_eq!(SECURITY_BODIES.len(), Asker::ALL.iter().filter(|one| one.is_security_body()).count());
    }

    #[test]
    fn an_answer_holds_its_groups_and_nothing_else() {
        let text = r#"{"mark":"SECRET-MARK","family_names":["Adler","Alt"],"birth_names":["Bussard"],
            "given_names":["Ernst Otto"],"used_given_name":"Otto","doctorate":"Dr.","birth_dates":["17031998"],
            "nationalities":["000"],"marital_status":"VH","partner_name":"Condor","locks":[5],
            "addresses":[{"street":"Krumme Straße","number":"1","moved_in":"01012020"},
                         {"street":"Enge Gasse","moved_out":"31122019"}]}"#;
        let (person, _) = Person::read(text.as_bytes()).expect("well-formed");
        let private = serde_json::to_string(&disclose(&person, PRIVATE_ENQUIRY)).expect("JSON");
        assert_eq!(
            private,
            r#"{"doctorate":"Dr.","family-name":"Adler","given-names":{"names":"Ernst Otto","used":"Otto"},"#
                .to_owned()
                + r#""present-addresses":[{"dwelling":"sole","number":"1","place":"","postcode":"","#
                + r#""street":"Krumme Straße"}]}"#
        );
        let everything = serde_json::to_string(&disclose(&person, DataGroup::ALL)).expect("JSON");
        for kept_back in ["SECRET-MARK", "Condor", "locks"] {
            assert!(!everything.contains(kept_back), "{kept_back}: {everything}");
        }
        assert!(everything.contains("Enge Gasse") && !private.contains("Enge Gasse"));
    }
}
