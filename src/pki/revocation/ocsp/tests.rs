//! Answers made by hand, right and wrong in one point each.

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CustomExtension, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SigningKey,
};

use super::*;
use crate::pki::development::{Authority, KeyChoice, Leaf, Role, Validity, authority_params, leaf_params};

const NOW: &str = "2026-11-23T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn validity(from: &str, until: &str) -> Validity {
    Validity { from: at(&format!("{from}T00:00:00Z")), until: at(&format!("{until}T00:00:00Z")) }
}

fn good() -> Validity {
    validity("2020-01-01", "2120-01-01")
}

/// A CA whose key the tests keep.
struct Ca {
    authority: Authority,
    key: KeyPair,
}

fn ca(name: &str) -> Ca {
    let key = KeyPair::generate().expect("a key");
    let again = KeyPair::from_pem(&key.serialize_pem()).expect("the same key");
    let params = authority_params(name, good(), BasicConstraints::Unconstrained);
    Ca { authority: Authority::root_from(params, again).expect("a root"), key }
}

fn participant(ca: &Ca, name: &'static str) -> Certificate {
    let leaf = Leaf {
        common_name: name,
        role: Role::Participant,
        key: KeyChoice::P256,
        validity: good(),
        names: &[],
    };
    ca.authority.issue(&leaf).expect("a leaf").certificate().clone()
}

#[derive(Clone, Copy)]
pub(in crate::pki) struct Appointed {
    pub usage: bool,
    pub nocheck: bool,
    pub validity: fn() -> Validity,
}

pub(in crate::pki) const APPOINTED: Appointed = Appointed { usage: true, nocheck: true, validity: good };

pub(in crate::pki) fn responder(ca: &Authority, how: Appointed) -> (Certificate, KeyPair) {
    let leaf = Leaf {
        common_name: "responder",
        role: Role::Participant,
        key: KeyChoice::P256,
        validity: (how.validity)(),
        names: &[],
    };
    let mut params = leaf_params(&leaf).expect("parameters");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match how.usage {
        true => vec![ExtendedKeyUsagePurpose::OcspSigning],
        false => vec![ExtendedKeyUsagePurpose::ClientAuth],
    };
    if how.nocheck {
        let oid = [1, 3, 6, 1, 5, 5, 7, 48, 1, 5];
        params.custom_extensions.push(CustomExtension::from_oid_content(&oid, vec![5, 0]));
    }
    let key = KeyPair::generate().expect("a key");
    let again = KeyPair::from_pem(&key.serialize_pem()).expect("the same key");
    let issued = ca.issue_from(params, again).expect("a responder");
    (issued.certificate().clone(), key)
}

/// An answer to be written, with everything that may be wrong about it.
#[derive(Clone)]
pub(in crate::pki) struct Draft {
    status: Vec<u8>,
    serial: Vec<u8>,
    issuer: Certificate,
    hash: (&'static [u8], &'static digest::Algorithm),
    by_key: bool,
    produced_at: &'static str,
    pub this_update: &'static str,
    next_update: Option<&'static str>,
    nonce: Option<Vec<u8>>,
    critical: bool,
    single_critical: bool,
    outer_status: u8,
    algorithm: &'static [u8],
}

impl Draft {
    pub fn about(certificate: &Certificate, issuer: &Certificate) -> Self {
        Self {
            status: vec![0x80, 0],
            serial: certificate.serial_der().to_vec(),
            issuer: issuer.clone(),
            hash: (SHA1, &digest::SHA1_FOR_LEGACY_USE_ONLY),
            by_key: false,
            produced_at: "20261123110000Z",
            this_update: "20261123110000Z",
            next_update: Some("20261124110000Z"),
            nonce: None,
            critical: false,
            single_critical: false,
            outer_status: 0,
            algorithm: &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2],
        }
    }

    pub fn revoked(mut self) -> Self {
        self.status = der::write(0xa1, &der::write(GENERALIZED_TIME, b"20261101000000Z"));
        self
    }

    pub fn signed(&self, signer: &Certificate, key: &KeyPair, with: &[&Certificate]) -> Vec<u8> {
        let sequence = |parts: &[&[u8]]| der::write(SEQUENCE, &parts.concat());
        let time = |text: &str| der::write(GENERALIZED_TIME, text.as_bytes());
        let hash = |bytes: &[u8]| der::write(OCTET_STRING, digest::digest(self.hash.1, bytes).as_ref());
        let extension = |oid: &[u8], critical: bool, value: &[u8]| {
            let flag = if critical { der::write(BOOLEAN, &[0xff]) } else { vec![] };
            sequence(&[&der::write(OID, oid), &flag, &der::write(OCTET_STRING, value)])
        };
        let unknown = extension(&[0x2a, 3, 4], true, &[5, 0]);
        let id = sequence(&[
            &sequence(&[&der::write(OID, self.hash.0), &[5, 0]]),
            &hash(self.issuer.subject_der()),
            &hash(self.issuer.key_bits()),
            &der::write(INTEGER, &self.serial),
        ]);
        let next = self.next_update.map_or(vec![], |next| der::write(constructed(0), &time(next)));
        let single_extensions = match self.single_critical {
            true => der::write(constructed(1), &sequence(&[&unknown])),
            false => vec![],
        };
        let single = sequence(&[&id, &self.status, &time(self.this_update), &next, &single_extensions]);
        let responder = match self.by_key {
            true => {
                let own = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, signer.key_bits());
                der::write(constructed(2), &der::write(OCTET_STRING, own.as_ref()))
            }
            false => der::write(constructed(1), signer.subject_der()),
        };
        let nonce =
            self.nonce.as_ref().map(|nonce| extension(NONCE, false, &der::write(OCTET_STRING, nonce)));
        let mut extensions = nonce.unwrap_or_default();
        if self.critical {
            extensions.extend(&unknown);
        }
        let extensions = match extensions.is_empty() {
            true => vec![],
            false => der::write(constructed(1), &sequence(&[&extensions])),
        };
        let data = sequence(&[&responder, &time(self.produced_at), &sequence(&[&single]), &extensions]);
        let signature = key.sign(&data).expect("signed");
        let certificates: Vec<u8> = with.iter().flat_map(|one| one.der().to_vec()).collect();
        let certificates = match certificates.is_empty() {
            true => vec![],
            false => der::write(constructed(0), &der::write(SEQUENCE, &certificates)),
        };
        let basic = sequence(&[
            &data,
            &sequence(&[&der::write(OID, self.algorithm)]),
            &der::write(BIT_STRING, &[&[0], signature.as_slice()].concat()),
            &certificates,
        ]);
        let bytes = sequence(&[&der::write(OID, BASIC_RESPONSE), &der::write(OCTET_STRING, &basic)]);
        sequence(&[&der::write(ENUMERATED, &[self.outer_status]), &der::write(constructed(0), &bytes)])
    }
}

struct World {
    ours: Ca,
    leaf: Certificate,
}

impl World {
    fn new() -> Self {
        let ours = ca("Ours");
        let leaf = participant(&ours, "registry-office");
        Self { ours, leaf }
    }

    fn issuer(&self) -> &Certificate {
        self.ours.authority.certificate()
    }

    fn draft(&self) -> Draft {
        Draft::about(&self.leaf, self.issuer())
    }

    fn judge(&self, response: &[u8], nonce: Nonce<'_>) -> Result<Answer, Error> {
        judge(response, &self.leaf, self.issuer(), nonce, at(NOW))
    }

    /// Signed by the issuer itself.
    fn own(&self, change: impl FnOnce(&mut Draft)) -> Result<Status, Error> {
        let mut draft = self.draft();
        change(&mut draft);
        let response = draft.signed(self.issuer(), &self.ours.key, &[]);
        self.judge(&response, Nonce::Optional(b"ours")).map(|answer| answer.status)
    }
}

#[test]
fn answers_of_the_issuer() {
    let world = World::new();
    assert_eq!(world.own(|_| {}), Ok(Status::Good));
    assert_eq!(world.own(|draft| draft.by_key = true), Ok(Status::Good));
    for hash in [(SHA256, &digest::SHA256), (SHA384, &digest::SHA384), (SHA512, &digest::SHA512)] {
        assert_eq!(world.own(|draft| draft.hash = hash), Ok(Status::Good));
    }
    assert_eq!(world.own(|draft| draft.status = vec![0x82, 0]), Ok(Status::Unknown));
    let revoked = Ok(Status::Revoked { at: at("2026-11-01T00:00:00Z") });
    assert_eq!(world.own(|draft| *draft = draft.clone().revoked()), revoked);
    let other = participant(&world.ours, "another office");
    let about_other = world.own(|draft| draft.serial = other.serial_der().to_vec());
    assert_eq!(about_other, Err(Error::OtherCertificate));
    let foreign = ca("Foreign");
    let about_foreign = world.own(|draft| draft.issuer = foreign.authority.certificate().clone());
    assert_eq!(about_foreign, Err(Error::OtherCertificate));
    assert!(matches!(world.own(|draft| draft.status = vec![0x83, 0]), Err(Error::Malformed(_))));
    assert_eq!(world.own(|draft| draft.critical = true), Err(Error::CriticalExtension));
    assert_eq!(world.own(|draft| draft.single_critical = true), Err(Error::CriticalExtension));
    for status in [1, 2, 3, 5, 6] {
        assert!(matches!(world.own(|draft| draft.outer_status = status), Err(Error::NotSuccessful(_))));
    }
    assert!(matches!(world.own(|draft| draft.outer_status = 4), Err(Error::Malformed(_))));
    // ecdsa-with-SHA1
    let weak = world.own(|draft| draft.algorithm = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1]);
    assert_eq!(weak, Err(Error::Signature));
}

#[test]
fn forged_ones() {
    let world = World::new();
    let draft = world.draft();
    let namesake = ca("Ours");
    let response = draft.signed(world.issuer(), &namesake.key, &[]);
    assert_eq!(world.judge(&response, Nonce::Ignored), Err(Error::Signature), "another key of the same name");
    let with_itself =
        draft.signed(namesake.authority.certificate(), &namesake.key, &[namesake.authority.certificate()]);
    assert_eq!(world.judge(&with_itself, Nonce::Ignored), Err(Error::Signature));
    let foreign = ca("Foreign");
    let response =
        draft.signed(foreign.authority.certificate(), &foreign.key, &[foreign.authority.certificate()]);
    assert!(matches!(world.judge(&response, Nonce::Ignored), Err(Error::Responder(_))));
    // The certificate in question vouches for itself.
    let right = draft.signed(world.issuer(), &world.ours.key, &[]);
    let status = right.windows(2).position(|two| two == [0x80, 0]).expect("the status");
    let mut changed = right.clone();
    changed[status] = 0x82;
    assert_eq!(world.judge(&changed, Nonce::Ignored), Err(Error::Signature), "a changed status");
    for length in 0..right.len() {
        assert!(world.judge(&right[..length], Nonce::Ignored).is_err(), "cut at {length}");
    }
    assert!(world.judge(&[right.as_slice(), &[0]].concat(), Nonce::Ignored).is_err());
    let vast = vec![0x30; RESPONSE_BYTES_MAX + 1];
    assert!(matches!(world.judge(&vast, Nonce::Ignored), Err(Error::TooLarge { .. })));
}

#[test]
fn delegated_responders() {
    let world = World::new();
    let row = |ca: &Ca, how: Appointed, by_key: bool, shown: bool| {
        let (certificate, key) = responder(&ca.authority, how);
        let draft = Draft { by_key, ..world.draft() };
        let with: &[&Certificate] = if shown { &[&world.leaf, &certificate] } else { &[] };
        world.judge(&draft.signed(&certificate, &key, with), Nonce::Ignored).map(|answer| answer.status)
    };
    assert_eq!(row(&world.ours, APPOINTED, false, true), Ok(Status::Good));
    assert_eq!(row(&world.ours, APPOINTED, true, true), Ok(Status::Good));
    let refused = |what: &str, outcome: Result<Status, Error>, words: &str| match outcome {
        Err(Error::Responder(why)) => assert!(why.contains(words), "{what}: {why}"),
        other => panic!("{what}: {other:?}"),
    };
    refused("not shown", row(&world.ours, APPOINTED, false, false), "did not come");
    let client = Appointed { usage: false, ..APPOINTED };
    refused("a participant", row(&world.ours, client, false, true), "may not sign answers");
    let asked_about = Appointed { nocheck: false, ..APPOINTED };
    refused("without nocheck", row(&world.ours, asked_about, false, true), "ocsp-nocheck");
    let stale = Appointed { validity: || validity("2020-01-01", "2021-01-01"), ..APPOINTED };
    refused("expired", row(&world.ours, stale, false, true), "not valid");
    refused("of another CA", row(&ca("Foreign"), APPOINTED, false, true), "was not issued by");
    refused("of a namesake", row(&ca("Ours"), APPOINTED, false, true), "was not issued by");
}

#[test]
fn nonces() {
    let world = World::new();
    let with = |nonce: Option<&[u8]>| {
        let draft = Draft { nonce: nonce.map(<[u8]>::to_vec), ..world.draft() };
        draft.signed(world.issuer(), &world.ours.key, &[])
    };
    let judge = |response: &[u8], nonce: Nonce<'_>| world.judge(response, nonce).map(|answer| answer.status);
    assert_eq!(judge(&with(Some(b"ours")), Nonce::Required(b"ours")), Ok(Status::Good));
    assert_eq!(judge(&with(Some(b"ours")), Nonce::Optional(b"ours")), Ok(Status::Good));
    assert_eq!(judge(&with(None), Nonce::Optional(b"ours")), Ok(Status::Good));
    assert_eq!(judge(&with(None), Nonce::Required(b"ours")), Err(Error::NonceMissing));
    for nonce in [Nonce::Required(b"ours"), Nonce::Optional(b"ours")] {
        assert_eq!(judge(&with(Some(b"earlier")), nonce), Err(Error::NonceDiffers), "replayed");
        assert_eq!(judge(&with(Some(b"")), nonce), Err(Error::NonceDiffers));
    }
    assert_eq!(judge(&with(Some(b"earlier")), Nonce::Ignored), Ok(Status::Good));
}

#[test]
fn freshness() {
    let world = World::new();
    let row = |this: &'static str, next: Option<&'static str>| {
        world.own(|draft| (draft.this_update, draft.next_update) = (this, next))
    };
    assert_eq!(row("20261123110000Z", Some("20261123120000Z")), Ok(Status::Good), "its last second");
    let ended = Err(Error::Stale(at("2026-11-23T11:59:59Z")));
    assert_eq!(row("20261123110000Z", Some("20261123115959Z")), ended);
    assert_eq!(row("20261123110000Z", None), Ok(Status::Good), "an hour without an end");
    assert_eq!(row("20261123105959Z", None), Err(Error::Stale(at("2026-11-23T11:59:59Z"))));
    let long = Err(Error::Stale(at("2026-11-22T11:00:00Z")));
    assert_eq!(row("20261115110000Z", Some("20301123110000Z")), long, "no answer is good for years");
    assert_eq!(row("20261123120459Z", Some("20261124110000Z")), Ok(Status::Good), "a clock that is ahead");
    let future = Err(Error::Future(at("2026-11-23T12:05:01Z")));
    assert_eq!(row("20261123120501Z", Some("20261124110000Z")), future);
    let produced = world.own(|draft| draft.produced_at = "20261123120501Z");
    assert_eq!(produced, Err(Error::Future(at("2026-11-23T12:05:01Z"))));
    let old_revocation = world.own(|draft| {
        *draft = draft.clone().revoked();
        (draft.this_update, draft.next_update) = ("20261101110000Z", Some("20261102110000Z"));
    });
    assert!(matches!(old_revocation, Ok(Status::Revoked { .. })), "a revocation does not grow old");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// One changed byte of an answer is never believed, and nothing makes the reader panic.
    #[test]
    fn damage_is_refused(at in 0usize..4096, by in 1u8..) {
        let world = World::new();
        let mut response = world.draft().signed(world.issuer(), &world.ours.key, &[]);
        let at = at % response.len();
        response[at] ^= by;
        prop_assert!(world.judge(&response, Nonce::Ignored).is_err());
    }

    #[test]
    fn noise_is_refused(noise: Vec<u8>) {
        let world = World::new();
        prop_assert!(world.judge(&noise, Nonce::Ignored).is_err());
    }
}
