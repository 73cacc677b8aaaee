//! Whether copy and original are still equal: one hash a bucket, then the bucket's entries, then the difference. Pure.
//!
//! Both sides sort records into 256 buckets by the first byte of SHA-256 over the order mark; a bucket's hash is
//! SHA-256 over its entries in order of their marks, each `mark NUL digest`; a record's digest is SHA-256 over its
//! stored bytes. Only marks and digests travel, never records. `schemas/register/2611/abgleich.md` publishes all of it, down to
//! the bytes of a record: what is changed here is another release of the exchange form.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

pub type Hash = [u8; 32];

pub fn hash(bytes: &[u8]) -> Hash {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

pub fn bucket_of(mark: &str) -> u8 {
    hash(mark.as_bytes())[0]
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    pub number: u8,
    pub count: u64,
    pub hash: Hash,
}

/// Entries in any order; buckets without entries are left out.
pub fn buckets(entries: &BTreeMap<String, Hash>) -> Vec<Bucket> {
    let mut sorted: BTreeMap<u8, (u64, Vec<u8>)> = BTreeMap::new();
    for (mark, digest) in entries {
        let (count, bytes) = sorted.entry(bucket_of(mark)).or_default();
        *count += 1;
        bytes.extend_from_slice(mark.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(digest);
    }
    sorted.into_iter().map(|(number, (count, bytes))| Bucket { number, count, hash: hash(&bytes) }).collect()
}

/// Numbers of the buckets in which the two sides differ.
pub fn differing(ours: &[Bucket], theirs: &[Bucket]) -> Vec<u8> {
    let of = |side: &[Bucket]| -> BTreeMap<u8, (u64, Hash)> {
        side.iter().map(|bucket| (bucket.number, (bucket.count, bucket.hash))).collect()
    };
    let (ours, theirs) = (of(ours), of(theirs));
    (0..=u8::MAX).filter(|number| ours.get(number) != theirs.get(number)).collect()
}

/// For the municipality: order marks of its own records.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Difference {
    /// The original has them, the copy has not.
    pub missing: Vec<String>,
    /// The copy has them, the original has not.
    pub surplus: Vec<String>,
    pub changed: Vec<String>,
}

impl Difference {
    pub fn between(copy: &BTreeMap<String, Hash>, original: &BTreeMap<String, Hash>) -> Self {
        let absent_in = |side: &BTreeMap<String, Hash>, other: &BTreeMap<String, Hash>| {
            other.keys().filter(|mark| !side.contains_key(*mark)).cloned().collect()
        };
        let changed =
            copy.iter().filter(|(mark, digest)| original.get(*mark).is_some_and(|one| one != *digest));
        Self {
            missing: absent_in(copy, original),
            surplus: absent_in(original, copy),
            changed: changed.map(|(mark, _)| mark.clone()).collect(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.surplus.is_empty() && self.changed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(entries: &[(&str, &str)]) -> BTreeMap<String, Hash> {
        entries.iter().map(|(mark, content)| ((*mark).to_owned(), hash(content.as_bytes()))).collect()
    }

    #[test]
    fn differences_are_found_through_their_buckets() {
        let copy = side(&[("1", "a"), ("2", "b"), ("3", "c"), ("4", "d")]);
        let original = side(&[("1", "a"), ("2", "B"), ("4", "d"), ("5", "e")]);
        assert_eq!(differing(&buckets(&copy), &buckets(&copy)), Vec::<u8>::new());
        let mut expected = vec![bucket_of("2"), bucket_of("3"), bucket_of("5")];
        expected.sort_unstable();
        assert_eq!(differing(&buckets(&copy), &buckets(&original)), expected);
        let difference = Difference::between(&copy, &original);
        let of = |mark: &str| vec![mark.to_owned()];
        assert_eq!(difference, Difference { missing: of("5"), surplus: of("3"), changed: of("2") });
        assert!(Difference::between(&copy, &copy).is_empty());
    }
}
