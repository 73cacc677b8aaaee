//! What a copy holds of one person, for that person's report (Article 15 GDPR, section 10 BMG).
//!
//! All of it, but for what the law keeps back: the order mark belongs to the municipality; a lock that an authority had
//! entered is that authority's to tell of (section 51(3) BMG); and nothing may tell of somebody else who is locked
//! (sections 11, 51 BMG). A copy knows relatives by name alone, so a relative is left out where anybody of that name is
//! hidden in the same copy, whoever that is.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::base::Work;
use super::candidates::persons;
use super::intake::read_stored;
use super::{Copies, CopyError, CopyRow, copy_of, schema};
use crate::register::criteria::{Criteria, NameSet};
use crate::register::matching::name::{Manner, Token};
use crate::register::person::{Ags, Lock, Person};

/// A person's record as they may see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OwnRecord {
    pub ags: Ags,
    /// Of when the copy is; the original is the municipality's register.
    pub as_of: Timestamp,
    /// The fields of a record, under the names of `amtsbote register load`; null where the stored record cannot be read.
    pub data: Value,
}

impl Copies {
    /// None where no such record is kept.
    pub fn own_record(&self, ags: Ags, mark: &str) -> Result<Option<OwnRecord>, CopyError> {
        self.read(|work| {
            let Some(copy) = copy_of(work, ags, schema::LIVE)? else { return Ok(None) };
            let Some((_, record)) = super::person_row(work, copy.id, mark)? else { return Ok(None) };
            let Ok(mut person) = read_stored(&record) else {
                return Ok(Some(OwnRecord { ags, as_of: copy.as_of, data: Value::Null }));
            };
            person.locks.retain(|lock| !lock.by_authority());
            let partner = person.partner_name.take();
            person.partner_name = match partner {
                Some(name) if !somebody_is_hidden(work, &copy, &name, self.settings.records_max)? => {
                    Some(name)
                }
                _ => None,
            };
            let mut shown = Vec::new();
            for name in std::mem::take(&mut person.representatives) {
                if !somebody_is_hidden(work, &copy, &name, self.settings.records_max)? {
                    shown.push(name);
                }
            }
            person.representatives = shown;
            person.locked_representatives.clear();
            let mut data = serde_json::to_value(&person).unwrap_or_default();
            if let Some(fields) = data.as_object_mut() {
                fields.remove("mark");
            }
            Ok(Some(OwnRecord { ags, as_of: copy.as_of, data }))
        })
    }
}

/// Whether anybody of that family name is hidden here. A name that too many bear counts as hidden.
fn somebody_is_hidden(
    work: &Work<'_>,
    copy: &CopyRow,
    name: &str,
    records_max: usize,
) -> Result<bool, CopyError> {
    let Ok(Some(token)) = Token::whole(name, Manner::Letters) else { return Ok(false) };
    let criteria = Criteria { names: vec![(NameSet::CivilWhole, vec![token])], ..Criteria::default() };
    let mut hidden = false;
    let looked = persons(work, copy, &criteria, records_max, &mut |one: Person, early| {
        hidden = one.is_hidden() || early.iter().any(|code| Lock::try_from(*code).is_ok_and(Lock::hides));
        Ok(!hidden)
    });
    match looked {
        Ok(()) => Ok(hidden),
        Err(CopyError::Question(_)) => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::base::params;
    use super::super::{LoadReceipt, LogKey, Settings};
    use super::*;
    use crate::register::stream::{Change, Occasion};

    #[test]
    fn a_person_sees_their_record_and_of_nobody_else_that_they_are_hidden() {
        let folder = tempfile::tempdir().expect("a folder");
        let copies = Copies::open(Settings::new(folder.path()), LogKey::new(&[7; 32])).expect("copies");
        let home = Ags::parse("10041100").expect("a key");
        let at: Timestamp = "2026-11-23T09:00:00Z".parse().expect("an instant");
        let named = |mark: &str, family: &str, locks: &[u8]| Person {
            mark: mark.to_owned(),
            family_names: vec![family.to_owned()],
            given_names: vec!["Willi".to_owned()],
            locks: locks.iter().filter_map(|code| Lock::try_from(*code).ok()).collect(),
            ..Person::default()
        };
        let adler = Person {
            partner_name: Some("Bussard".to_owned()),
            representatives: vec!["Condor".to_owned(), "Dohle".to_owned(), "Elster".to_owned()],
            locked_representatives: vec!["Geier".to_owned()],
            ..named("M-1", "Adler", &[3, 5, 11])
        };
        let persons =
            [adler, named("M-2", "Bussard", &[]), named("M-3", "CONDOR", &[3]), named("M-4", "Dohle", &[2])];
        let records: Vec<Vec<u8>> = persons.iter().map(Person::to_bytes).collect();
        let mut receipt = LoadReceipt::default();
        copies.begin_load(home, 1, 0, at).expect("begun");
        copies.load(home, records.iter().map(Vec::as_slice), &mut receipt).expect("loaded");
        copies.finish_load(home, 4, &receipt).expect("finished");
        let own = || copies.own_record(home, "M-1").expect("a look").expect("a record");
        let text = own().data.to_string();
        for told in ["Adler", "Bussard", "Dohle", "Elster", "\"locks\":[3,5]"] {
            assert!(text.contains(told), "{told}: {text}");
        }
        for kept_back in ["M-1", "Condor", "Geier", "11"] {
            assert!(!text.contains(kept_back), "{kept_back}: {text}");
        }
        assert_eq!(own().as_of, at);
        // A lock that is before its turn hides the partner, too.
        let locked = Change {
            ags: home,
            generation: 1,
            sequence: 5,
            at,
            occasion: Occasion::LockSet,
            mark: "M-2".to_owned(),
            record: Some(named("M-2", "Bussard", &[1])),
        };
        copies.change(&locked).expect("held");
        assert!(!own().data.to_string().contains("Bussard"));
        assert_eq!(copies.own_record(home, "M-9").expect("a look"), None);
        let damaged = "UPDATE person SET record = ?1 WHERE mark = 'M-1'";
        copies.write(|work| work.run(damaged, params![[0_u8; 1]])).expect("damaged");
        assert_eq!((own().as_of, own().data), (at, Value::Null));
    }
}
