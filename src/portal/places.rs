//! Places that are known by name: the municipalities of the Saarland, with their regional keys.
//!
//! Official keys as of 2026 (Amtlicher Regionalschlüssel). Only names and completion of an AGS come from here; rules may
//! name any region of Germany.

use std::sync::LazyLock;

use crate::domain::destination::{Ags, Region};

use super::csv;

const SAARLAND: &str = include_str!("municipalities.csv");

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Municipality {
    pub region: Region,
    pub name: String,
    /// The district's name.
    pub district: String,
}

#[derive(Debug)]
pub struct Places(Vec<Municipality>);

static KNOWN: LazyLock<Places> = LazyLock::new(|| {
    let rows = csv::read(SAARLAND, 64).unwrap_or_default();
    let municipality = |row: &csv::Row| {
        let [ars, name, district] = row.fields.as_slice() else { return None };
        let region = Region::parse(ars).ok()?;
        Some(Municipality { region, name: name.clone(), district: district.clone() })
    };
    Places(rows.iter().skip(1).filter_map(municipality).collect())
});

impl Places {
    pub fn known() -> &'static Self {
        &KNOWN
    }

    pub fn iter(&self) -> impl Iterator<Item = &Municipality> {
        self.0.iter()
    }

    pub fn by_ags(&self, ags: &Ags) -> Option<&Region> {
        self.0.iter().map(|place| &place.region).find(|region| Ags::of(region).as_ref() == Some(ags))
    }

    pub fn name(&self, region: &Region) -> Option<&str> {
        self.0.iter().find(|place| place.region == *region).map(|place| place.name.as_str())
    }

    /// Places whose name has `words` in it; `*` stands for anything (`Saar*`), case does not matter.
    pub fn search(&self, words: &str) -> Vec<&Municipality> {
        let lower = words.to_lowercase();
        let parts: Vec<&str> = lower.split('*').collect();
        self.0
            .iter()
            .filter(|place| {
                let name = place.name.to_lowercase();
                let mut rest = name.as_str();
                for (at, part) in parts.iter().enumerate() {
                    match rest.find(part) {
                        Some(found) if at > 0 || found == 0 || parts.len() == 1 => {
                            rest = rest.get(found + part.len()..).unwrap_or_default();
                        }
                        _ => return false,
                    }
                }
                true
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_saarland_has_52_municipalities_in_six_districts() {
        let places = Places::known();
        assert_eq!(places.iter().count(), 52);
        let districts: std::collections::BTreeSet<_> =
            places.iter().map(|place| &place.region.as_str()[..5]).collect();
        assert_eq!(
            districts.into_iter().collect::<Vec<_>>(),
            ["10041", "10042", "10043", "10044", "10045", "10046"]
        );
        assert!(places.iter().all(|place| place.region.level() == "municipality" && !place.name.is_empty()));
        let ags: std::collections::BTreeSet<_> = places.iter().map(|place| Ags::of(&place.region)).collect();
        assert_eq!(ags.len(), 52, "an AGS leads to one place");
        let merzig = Ags::parse("10042113").expect("an AGS");
        assert_eq!(places.by_ags(&merzig).and_then(|region| places.name(region)), Some("Merzig"));
    }

    #[test]
    fn names_are_found_by_their_parts() {
        let found = |words: &str| {
            Places::known().search(words).iter().map(|place| place.name.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(found("saarlouis"), ["Saarlouis"]);
        assert_eq!(found("Saarl*"), ["Saarlouis"]);
        assert!(found("Saar*").len() >= 2 && !found("Saar*").contains(&"Merzig"));
        assert_eq!(found("<script>"), Vec::<&str>::new());
        assert_eq!(found("*").len(), 52);
    }
}
