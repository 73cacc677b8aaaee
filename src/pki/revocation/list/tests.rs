//! Lists made by hand, so that they can say what no library would write.

use rcgen::{BasicConstraints, KeyPair, SigningKey};

use super::*;
use crate::pki::der::{self, BIT_STRING, BOOLEAN, INTEGER, OCTET_STRING, OID};
use crate::pki::development::{Authority, KeyChoice, Leaf, Role, Validity, authority_params};

thread_local! {
    /// Signatures on lists that this thread has verified.
    pub(in crate::pki) static VERIFIED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

pub(in crate::pki) fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

pub(in crate::pki) const NOW: &str = "2026-11-23T12:00:00Z";

/// A CA whose key the tests keep.
pub(in crate::pki) struct Ca {
    pub authority: Authority,
    pub key: KeyPair,
}

pub(in crate::pki) fn good() -> Validity {
    Validity { from: at("2020-01-01T00:00:00Z"), until: at("2120-01-01T00:00:00Z") }
}

impl Ca {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let again = KeyPair::from_pem(&key.serialize_pem()).expect("the same key");
        let params = authority_params(name, good(), BasicConstraints::Unconstrained);
        Self { authority: Authority::root_from(params, again).expect("a root"), key }
    }

    pub fn certificate(&self) -> &Certificate {
        self.authority.certificate()
    }

    pub fn participant(&self, name: &'static str) -> Certificate {
        let (role, key) = (Role::Participant, KeyChoice::P256);
        let leaf = Leaf { common_name: name, role, key, validity: good(), names: &[] };
        self.authority.issue(&leaf).expect("a leaf").certificate().clone()
    }
}

type Extension = (&'static [u8], bool, Vec<u8>);

#[derive(Clone)]
pub(in crate::pki) struct Draft {
    pub this_update: &'static str,
    pub next_update: Option<&'static str>,
    pub entries: Vec<(Certificate, Vec<Extension>)>,
    pub extensions: Vec<Extension>,
}

fn integer(value: u8) -> Vec<u8> {
    der::write(INTEGER, &[value])
}

pub(in crate::pki) fn number(value: u8) -> Extension {
    (&[0x55, 0x1d, 0x14], false, integer(value))
}

pub(in crate::pki) fn base(value: u8) -> Extension {
    (&[0x55, 0x1d, 0x1b], true, integer(value))
}

pub(in crate::pki) fn point(content: &[u8]) -> Extension {
    (&[0x55, 0x1d, 0x1c], true, der::write(SEQUENCE, content))
}

/// The content of a distribution point that a URL names, as in the list's extension.
pub(in crate::pki) fn named_point(url: &str) -> Vec<u8> {
    der::write(der::constructed(0), &der::write(der::constructed(0), &der::write(0x86, url.as_bytes())))
}

pub(in crate::pki) fn reason(code: u8) -> Extension {
    (&[0x55, 0x1d, 0x15], false, der::write(der::ENUMERATED, &[code]))
}

impl Draft {
    pub fn full(value: u8) -> Self {
        Self {
            this_update: "20261101000000Z",
            next_update: Some("20261201000000Z"),
            entries: vec![],
            extensions: vec![number(value)],
        }
    }

    pub fn delta(value: u8, on: u8) -> Self {
        Self { extensions: vec![number(value), base(on)], ..Self::full(value) }
    }

    pub fn naming(mut self, certificate: &Certificate, extensions: Vec<Extension>) -> Self {
        self.entries.push((certificate.clone(), extensions));
        self
    }

    pub fn with(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    pub fn signed(&self, by: &Ca) -> Vec<u8> {
        let sequence = |parts: &[&[u8]]| der::write(SEQUENCE, &parts.concat());
        let time = |text: &str| der::write(der::GENERALIZED_TIME, text.as_bytes());
        let extensions = |list: &[Extension]| -> Vec<u8> {
            let each = list.iter().flat_map(|(oid, critical, value)| {
                let flag = if *critical { der::write(BOOLEAN, &[0xff]) } else { vec![] };
                sequence(&[&der::write(OID, oid), &flag, &der::write(OCTET_STRING, value)])
            });
            let each: Vec<u8> = each.collect();
            if each.is_empty() { vec![] } else { sequence(&[&each]) }
        };
        let algorithm = sequence(&[&der::write(OID, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2])]);
        let entries = self.entries.iter().flat_map(|(certificate, list)| {
            let serial = der::write(INTEGER, certificate.serial_der());
            sequence(&[&serial, &time("20261101000000Z"), &extensions(list)])
        });
        let entries: Vec<u8> = entries.collect();
        let entries = if entries.is_empty() { vec![] } else { sequence(&[&entries]) };
        let signed = sequence(&[
            &integer(1),
            &algorithm,
            by.certificate().subject_der(),
            &time(self.this_update),
            &self.next_update.map_or(vec![], time),
            &entries,
            &der::write(der::constructed(0), &extensions(&self.extensions)),
        ]);
        let signature = by.key.sign(&signed).expect("signed");
        let signature = der::write(BIT_STRING, &[&[0], signature.as_slice()].concat());
        sequence(&[&signed, &algorithm, &signature])
    }
}

#[test]
fn what_is_not_understood_is_refused_as_a_whole() {
    let (ca, draft) = (Ca::new("Ours"), Draft::full(1));
    let leaf = ca.participant("office");
    let read = |draft: Draft| List::from_der(&draft.signed(&ca)).map(|list| list.is_delta());
    assert_eq!(read(draft.clone()), Ok(false));
    assert_eq!(read(Draft::delta(2, 1)), Ok(true));
    assert_eq!(read(draft.clone().with(point(&[0x84, 1, 0xff]))), Err(Error::Indirect));
    assert_eq!(read(draft.clone().with(point(&[0x83, 2, 1, 0x40]))), Err(Error::Partial("some reasons")));
    let attributes = read(draft.clone().with(point(&[0x85, 1, 0xff])));
    assert_eq!(attributes, Err(Error::Partial("attribute certificates")));
    let unknown = || -> Extension { (&[0x2a, 3, 4], true, vec![5, 0]) };
    let refused = Err(Error::CriticalExtension("1.2.3.4".into()));
    assert_eq!(read(draft.clone().with(unknown())), refused);
    assert_eq!(read(draft.clone().naming(&leaf, vec![unknown()])), refused);
    // certificateIssuer: the entry is another issuer's.
    let issuer: Extension = (&[0x55, 0x1d, 0x1d], true, der::write(SEQUENCE, &[]));
    assert!(matches!(read(draft.clone().naming(&leaf, vec![issuer])), Err(Error::CriticalExtension(_))));
    assert!(matches!(read(draft.clone().with(number(1))), Err(Error::Malformed(_))), "twice");
    let unnumbered = Draft { extensions: vec![base(1)], ..draft.clone() };
    assert!(matches!(read(unnumbered), Err(Error::Malformed(_))));
    let der = draft.signed(&ca);
    assert!(matches!(List::from_der(&[der.as_slice(), &[0]].concat()), Err(Error::Malformed(_))));
    assert!(List::from_der(&der[..der.len() - 1]).is_err());
    assert!(matches!(List::from_der(&vec![0; LIST_BYTES_MAX + 1]), Err(Error::TooLarge { .. })));
}

#[test]
fn what_a_list_says() {
    let ca = Ca::new("Ours");
    let (leaf, other) = (ca.participant("office"), ca.participant("other"));
    let says = |draft: &Draft, by: &Ca| {
        let list = List::from_der(&draft.signed(by)).expect("read");
        list.says(&leaf, ca.certificate(), at(NOW))
    };
    let (full, delta) = (Draft::full(1), Draft::delta(2, 1));
    assert_eq!(says(&full, &ca), Some(Said::Clear));
    assert_eq!(says(&full.clone().naming(&other, vec![]), &ca), Some(Said::Clear));
    assert_eq!(says(&full.clone().naming(&leaf, vec![reason(1)]), &ca), Some(Said::Revoked));
    assert_eq!(says(&full.clone().naming(&leaf, vec![reason(6)]), &ca), Some(Said::Revoked), "on hold");
    assert_eq!(says(&delta, &ca), None, "a delta list alone clears nobody");
    assert_eq!(says(&delta.clone().naming(&leaf, vec![]), &ca), Some(Said::Revoked));
    assert_eq!(says(&delta.clone().naming(&leaf, vec![reason(8)]), &ca), None, "taken off the list");
    let namesake = Ca::new("Ours");
    assert_eq!(says(&full, &namesake), None, "by another of its name");
    assert_eq!(says(&full.clone().naming(&leaf, vec![]), &namesake), None);
    assert_eq!(says(&full.clone().naming(&leaf, vec![]), &Ca::new("Foreign")), None);
    for (this_update, next_update, expected) in [
        ("20261101000000Z", Some("20261123120000Z"), None),
        ("20261101000000Z", Some("20261123120001Z"), Some(Said::Clear)),
        ("20261123120001Z", Some("20261201000000Z"), None),
        ("20261101000000Z", None, None),
    ] {
        let draft = Draft { this_update, next_update, ..full.clone() };
        assert_eq!(says(&draft, &ca), expected, "{this_update} {next_update:?}");
        assert_eq!(says(&draft.naming(&leaf, vec![]), &ca), Some(Said::Revoked), "whenever");
    }
    assert_eq!(says(&full.clone().with(point(&[0x81, 1, 0xff])), &ca), Some(Said::Clear), "users only");
    assert_eq!(says(&full.clone().with(point(&[0x82, 1, 0xff])), &ca), None, "authorities only");
}

#[test]
fn lists_of_two_authorities_of_one_name_are_not_compared() {
    let (one, other) = (Ca::new("Ours"), Ca::new("Ours"));
    let read = |draft: &Draft, by: &Ca, known: bool| {
        let der = draft.signed(by);
        let sealed = Sealed::read(&der).expect("a list");
        let proof = sealed.verify(by.certificate());
        List::open(&sealed, proof.filter(|_| known)).expect("read")
    };
    let (second, third) = (Draft::full(2), Draft { this_update: "20261102000000Z", ..Draft::full(3) });
    let earlier = read(&second, &one, true);
    let later = |by: &Ca, known: bool| read(&third, by, known);
    assert!(later(&one, true).follows(&earlier) && later(&one, true).overtakes(&earlier));
    assert!(!later(&other, true).follows(&earlier) && !later(&other, true).overtakes(&earlier));
    assert!(!read(&Draft::delta(3, 2), &other, true).adds_to(&earlier));
    assert!(read(&Draft::delta(3, 2), &one, true).adds_to(&earlier));
    assert!(later(&other, true).takes_over_from(&earlier), "later, by another key");
    assert!(!later(&one, true).takes_over_from(&earlier), "by its own key it must follow");
    assert!(!earlier.takes_over_from(&later(&other, true)), "earlier");
    assert!(!later(&other, false).takes_over_from(&earlier), "by nobody knows whom");
}

#[test]
fn what_may_take_anothers_place() {
    let ca = Ca::new("Ours");
    let read = |draft: Draft| List::from_der(&draft.signed(&ca)).expect("read");
    let second = read(Draft::full(2));
    assert!(second.follows(&second));
    assert!(read(Draft::full(3)).follows(&second));
    assert!(!read(Draft::full(1)).follows(&second), "an earlier number");
    let replayed = Draft { this_update: "20261031000000Z", ..Draft::full(2) };
    assert!(!read(replayed).follows(&second), "an earlier day");
    assert!(!read(Draft::delta(3, 2)).follows(&second));
    let foreign = List::from_der(&Draft::full(3).signed(&Ca::new("Foreign"))).expect("read");
    assert!(!foreign.follows(&second));
    assert!(read(Draft::delta(3, 2)).adds_to(&second));
    assert!(!read(Draft::delta(2, 1)).adds_to(&second));
    let users = |draft: Draft| read(draft.with(point(&[0x81, 1, 0xff])));
    assert!(!users(Draft::full(3)).follows(&second), "numbers of another scope");
    assert!(!users(Draft::delta(3, 2)).adds_to(&second));
    assert!(users(Draft::delta(3, 2)).adds_to(&users(Draft::full(2))));
    for (what, later, earlier, expected) in [
        ("a later one", read(Draft::full(3)), read(Draft::full(2)), true),
        ("itself", read(Draft::full(2)), read(Draft::full(2)), false),
        ("an earlier one", read(Draft::full(2)), read(Draft::full(3)), false),
        ("another scope", users(Draft::full(3)), read(Draft::full(2)), false),
        ("a delta list it has", read(Draft::full(3)), read(Draft::delta(3, 2)), true),
        ("a delta list of more", read(Draft::full(2)), read(Draft::delta(3, 2)), false),
        ("a delta list of another scope", users(Draft::full(9)), read(Draft::delta(3, 2)), false),
        ("by a delta list", read(Draft::delta(4, 2)), read(Draft::delta(3, 2)), false),
    ] {
        assert_eq!(later.overtakes(&earlier), expected, "{what}");
    }
}

#[test]
fn a_signature_is_verified_once_for_each_key() {
    let (ca, namesake) = (Ca::new("CA"), Ca::new("CA"));
    let (leaf, der) = (ca.participant("leaf"), Draft::full(1).signed(&ca));
    let verified = || VERIFIED.with(std::cell::Cell::get);
    let sealed = Sealed::read(&der).expect("a frame");
    assert_eq!(sealed.verify(namesake.certificate()), None);
    let proof = sealed.verify(ca.certificate());
    assert!(proof.is_some());
    for (proof, expected) in [(proof, 1), (None, 2)] {
        let list = List::open(&sealed, proof).expect("read");
        let before = verified();
        for _ in 0..5 {
            assert_eq!(list.says(&leaf, ca.certificate(), at(NOW)), Some(Said::Clear));
            assert!(!list.is_signed_by(namesake.certificate()), "its proof is another's");
        }
        assert_eq!(verified() - before, expected, "proof at hand: {}", proof.is_some());
    }
    let list = List::open(&sealed, None).expect("read");
    for _ in 0..20 {
        assert!(!list.is_signed_by(Ca::new("CA").certificate()));
    }
    assert!(list.signers.lock().expect("whole").len() <= SIGNERS_MAX, "bounded");
    assert!(list.is_signed_by(ca.certificate()));
}
