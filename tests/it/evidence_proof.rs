//! Proofs with signed card and time stamps: what they hold, every changed byte by its name, stamping beside the
//! post office's work, and keys that follow one another.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use amtsbote::clock::{Clock, HandClock};
use amtsbote::domain::state::{DeliveryState, Event};
use amtsbote::evidence::checkpoint::{Checkpoint, SigningKey, VerifierKey};
use amtsbote::evidence::export::{self, Proof, Trust, Version};
use amtsbote::evidence::signed_card::{CardSigner, SignedCard};
use amtsbote::pki::certificate::Certificate;
use amtsbote::pki::timestamp::{Authorities, Request, Tolerance, accept};
use amtsbote::relay::{Relay, Settings, TimeStamper};
use amtsbote::store::embedded::{self, EmbeddedStore, Synchronous};
use amtsbote::store::{Store, TimeStamp};
use async_trait::async_trait;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::cli_fixture::Office as Served;
use crate::store_fixture::{at, change, draft, id};
use crate::tsa::{Authority, Mood, Server, Twist};

fn log_key(seed: u8) -> Arc<SigningKey> {
    Arc::new(
        SigningKey::from_seed("post.example.org/evidence", &[seed; 32]).expect("any 32 bytes are a seed"),
    )
}

/// The test authority as the relay's own, with the checks of the real one.
struct Stamper {
    authority: Mutex<Authority>,
    twist: Mutex<Twist>,
    clock: HandClock,
    asked: AtomicUsize,
}

impl Stamper {
    fn anchor(&self) -> Certificate {
        let pem = self.authority.lock().expect("no panic holds it").anchor_pem().to_owned();
        Certificate::from_pem(pem.as_bytes()).expect("a certificate")
    }

    fn becomes(&self, authority: Authority) {
        *self.authority.lock().expect("no panic holds it") = authority;
    }

    fn feels(&self, twist: Twist) {
        *self.twist.lock().expect("no panic holds it") = twist;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl TimeStamper for Stamper {
    async fn stamp(&self, bytes: &[u8]) -> Result<TimeStamp, String> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let request = Request::new(bytes, [3; 16], None);
        let twist = *self.twist.lock().expect("no panic holds it");
        let now = self.clock.now();
        let answer = self.authority.lock().expect("no panic holds it").answer(request.der(), now, twist);
        let anchors = Authorities::new([self.anchor()]).expect("a CA");
        let (token, trusted) = accept(&answer, &request, &anchors, &Tolerance::default(), now)
            .map_err(|error| error.to_string())?;
        let (time, good_until) = (token.time(), trusted.good_until);
        Ok(TimeStamp { token: token.der().to_vec(), time, good_until })
    }
}

struct Office {
    _folder: tempfile::TempDir,
    store: Arc<EmbeddedStore>,
    relay: Arc<Relay>,
    clock: HandClock,
    stamper: Arc<Stamper>,
    card_certificate: Certificate,
}

fn card_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

/// Self-signed, as a first start makes it.
fn card_signer(algorithm: &'static rcgen::SignatureAlgorithm) -> CardSigner {
    let key = KeyPair::generate_for(algorithm).expect("a key");
    let certificate = card_params("Cards").self_signed(&key).expect("a certificate");
    let chain = vec![Certificate::from_der(certificate.der()).expect("a certificate")];
    CardSigner::new(&key.serialize_der(), chain).expect("they belong together")
}

impl Office {
    fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = embedded::Settings {
            disk_reserve_bytes: 0,
            synchronous: Synchronous::Normal,
            ..embedded::Settings::new(folder.path())
        };
        let store = Arc::new(EmbeddedStore::open(settings).expect("a store"));
        let clock = HandClock::at(at(100));
        let signer = card_signer(&rcgen::PKCS_ECDSA_P256_SHA256);
        let card_certificate = signer.chain()[0].clone();
        let stamper = Arc::new(Stamper {
            authority: Mutex::new(Authority::new()),
            twist: Mutex::new(Twist::None),
            clock: clock.clone(),
            asked: AtomicUsize::new(0),
        });
        let relay = relay(&store, &clock, 1);
        relay.sign_cards_with(Arc::new(signer));
        relay.stamp_checkpoints_with(stamper.clone());
        Self { _folder: folder, store, relay, clock, stamper, card_certificate }
    }

    async fn post(&self, name: &str) {
        draft(name).send(&*self.store).await.expect("accepted");
    }

    /// Signs what is there and stamps it if that is due; how many stamps were added.
    async fn work(&self) -> usize {
        self.relay.sign_checkpoint().await.expect("the log is whole");
        self.relay.stamp_what_is_due().await.expect("the store answers")
    }

    async fn export(&self, name: &str) -> Vec<u8> {
        self.relay.export_evidence(&id(name)).await.expect("it is logged")
    }

    /// Everybody that a reader of this office's proofs would believe.
    fn trust(&self) -> Trust {
        Trust::keys([log_key(1).verifier().clone()])
            .with_card_certificates(vec![self.card_certificate.clone()])
            .expect("a certificate")
            .with_stamp_authorities(Authorities::new([self.stamper.anchor()]).expect("a CA"))
    }
}

fn relay(store: &Arc<EmbeddedStore>, clock: &HandClock, key: u8) -> Arc<Relay> {
    relay_after(store, clock, key, Vec::new())
}

fn relay_after(
    store: &Arc<EmbeddedStore>,
    clock: &HandClock,
    key: u8,
    former_evidence_keys: Vec<VerifierKey>,
) -> Arc<Relay> {
    let settings = Settings { former_evidence_keys, ..Settings::new("amt", "https://post.example.org") };
    let relay = Relay::new(store.clone(), Arc::new(clock.clone()), settings);
    relay.sign_checkpoints_with(log_key(key));
    relay
}

#[tokio::test]
async fn a_proof_holds_signed_card_and_time_stamp() {
    let office = Office::open();
    office.post("one").await;
    office.store.change(change("one", Event::HandedOut, 20)).await.expect("changed");
    office.post("two").await;
    assert_eq!(office.work().await, 1);
    let proof = office.export("one").await;
    let verified = export::verify(&proof, &office.trust()).expect("it holds");
    let card = verified.card_signed.as_ref().expect("a signed card");
    assert!(card.trusted && card.certificate == office.card_certificate);
    assert_eq!(card.at, office.clock.now());
    let stamps: Vec<_> = verified.time_stamps().collect();
    let [stamp] = stamps[..] else { panic!("one stamp: {stamps:?}") };
    assert!(stamp.trusted && stamp.token.time() == office.clock.now());
    let unknown = export::verify(&proof, &Trust::default()).expect("it is whole");
    assert!(!unknown.key_trusted && !unknown.time_stamps().any(|stamp| stamp.trusted));
    assert!(unknown.card_signed.is_some_and(|card| !card.trusted));
    // A message that came after the stamp has none until the next.
    office.post("three").await;
    office.work().await;
    let unstamped = office.export("three").await;
    let keys = Trust::keys([log_key(1).verifier().clone()]);
    assert_eq!(export::verify(&unstamped, &keys).expect("it holds").time_stamps().count(), 0);
    let refused = export::verify(&unstamped, &office.trust()).map_err(|fault| fault.place);
    assert_eq!(refused.err().as_deref(), Some("time-stamps"));
    office.clock.advance(Duration::from_secs(3600));
    assert_eq!(office.work().await, 1);
    let stamped = export::verify(&office.export("three").await, &office.trust()).expect("it holds");
    assert_eq!(stamped.time_stamps().count(), 1);
}

/// An authority that is slow: meanwhile something else happens.
struct Slow {
    stamper: Arc<Stamper>,
    meanwhile: Arc<Relay>,
}

#[async_trait]
impl TimeStamper for Slow {
    async fn stamp(&self, bytes: &[u8]) -> Result<TimeStamp, String> {
        let stamp = self.stamper.stamp(bytes).await;
        self.meanwhile.sign_checkpoint().await.expect("the log is whole");
        stamp
    }
}

#[tokio::test]
async fn a_checkpoint_that_is_signed_anew_while_it_is_stamped_is_stamped_next_time() {
    let office = Office::open();
    office.post("one").await;
    office.relay.sign_checkpoint().await.expect("the log is whole");
    let successor = relay_after(&office.store, &office.clock, 2, vec![log_key(1).verifier().clone()]);
    let slow = Slow { stamper: office.stamper.clone(), meanwhile: successor.clone() };
    office.relay.stamp_checkpoints_with(Arc::new(slow));
    let stamped = office.relay.stamp_what_is_due().await.expect("no damage, only late");
    assert_eq!((stamped, office.store.time_stamps(1).await.expect("stamps").len()), (0, 0));
    let note = office.store.checkpoint(None).await.expect("an answer").expect("one");
    assert!(Checkpoint::open(&note, log_key(2).verifier()).is_ok(), "the successor's");
    successor.stamp_checkpoints_with(office.stamper.clone());
    assert_eq!(successor.stamp_what_is_due().await.expect("the store answers"), 1);
    assert_eq!(office.store.time_stamps(1).await.expect("stamps").len(), 1);
}

#[tokio::test]
async fn a_stop_between_checkpoint_and_stamp_is_healed_by_the_next_start() {
    let office = Office::open();
    office.post("one").await;
    assert_eq!(office.work().await, 1);
    // The interval holds the next one back; the process ends before it is over.
    office.post("two").await;
    assert_eq!(office.work().await, 0);
    for crash in 0..3 {
        let next = relay(&office.store, &office.clock, 1);
        next.stamp_checkpoints_with(office.stamper.clone());
        assert_eq!(next.stamp_what_is_due().await.expect("the store answers"), 0, "start {crash}");
    }
    office.clock.advance(Duration::from_secs(3600));
    let next = relay(&office.store, &office.clock, 1);
    next.stamp_checkpoints_with(office.stamper.clone());
    // Nothing new is logged: the checkpoint that was left is stamped all the same.
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let running = tokio::spawn(next.clone().run(stopping));
    let stamped = async {
        while office.store.time_stamped(None).await.expect("an answer") != Some(2) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), stamped).await.expect("stamped at once");
    stop.send_replace(true);
    running.await.expect("ends");
}

#[tokio::test]
async fn whoever_is_not_believed_is_named() {
    let office = Office::open();
    office.post("one").await;
    office.work().await;
    let proof = office.export("one").await;
    let place =
        |trust: Trust| export::verify(&proof, &trust).map_or_else(|fault| fault.place, |_| "nowhere".into());
    assert_eq!(place(office.trust()), "nowhere");
    assert_eq!(place(Trust::keys([log_key(2).verifier().clone()])), "log");
    let other = card_signer(&rcgen::PKCS_ECDSA_P256_SHA256).chain().to_vec();
    assert_eq!(place(Trust::default().with_card_certificates(other).expect("one")), "certificate 1");
    let other = Certificate::from_pem(Authority::new().anchor_pem().as_bytes()).expect("a certificate");
    let other = Authorities::new([other]).expect("a CA");
    assert_eq!(place(Trust::default().with_stamp_authorities(other)), "time-stamp 1");
}

#[tokio::test]
async fn cards_are_signed_with_every_kind_of_key_and_below_an_authority() {
    let office = Office::open();
    office.post("one").await;
    let card = office.store.find(&id("one")).await.expect("there").card;
    let ca_key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let mut params = card_params("Cards CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root =
        Certificate::from_der(params.self_signed(&ca_key).expect("a certificate").der()).expect("read");
    let issuer = Issuer::new(params, ca_key);
    for (algorithm, method) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, "ecdsa-sha256"),
        (&rcgen::PKCS_ECDSA_P384_SHA384, "ecdsa-sha384"),
        (&rcgen::PKCS_ECDSA_P521_SHA256, "ecdsa-sha512"),
        (&rcgen::PKCS_RSA_SHA256, "rsa-sha256"),
    ] {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let leaf = card_params("Cards").signed_by(&key, &issuer).expect("a certificate");
        let leaf = Certificate::from_der(leaf.der()).expect("a certificate");
        let signer = CardSigner::new(&key.serialize_der(), vec![leaf]).expect("they belong together");
        let signed = signer.sign(&card, office.clock.now()).expect("signed");
        assert!(signed.xml.contains(method), "{}", signed.xml);
        signed.verify(&card).expect("verified");
    }
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let leaf = card_params("Cards").signed_by(&key, &issuer).expect("a certificate");
    let chain = vec![Certificate::from_der(leaf.der()).expect("read"), root.clone()];
    let below = relay(&office.store, &office.clock, 1);
    below.sign_cards_with(Arc::new(CardSigner::new(&key.serialize_der(), chain).expect("a signer")));
    let proof = below.export_evidence(&id("one")).await.expect("logged");
    let trust = Trust::default().with_card_certificates(vec![root]).expect("a CA");
    export::verify(&proof, &trust).expect("the authority is believed");
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let certificate = card_params("Cards").self_signed(&ed25519).expect("a certificate");
    let chain = vec![Certificate::from_der(certificate.der()).expect("read")];
    let refused = CardSigner::new(&ed25519.serialize_der(), chain).expect_err("no XML signature");
    assert!(refused.to_string().contains("Ed25519"), "{refused}");
}

#[tokio::test]
async fn every_changed_byte_is_refused_and_named() {
    let office = Office::open();
    office.post("one").await;
    office.post("two").await;
    office.work().await;
    let proof = office.export("one").await;
    let nobody = Trust::default();
    export::verify(&proof, &nobody).expect("nothing was touched");
    let mut places = BTreeSet::new();
    for at in 0..proof.len() {
        for flip in [0x01, 0x20, 0x80] {
            let mut changed = proof.clone();
            changed[at] ^= flip;
            // Nobody is trusted, which is the harder case: nothing but the file speaks for itself.
            match export::verify(&changed, &nobody) {
                Ok(_) => panic!("byte {at} ({:?}) flipped by {flip:#x}", proof[at] as char),
                Err(fault) => places.insert(fault.place.split([' ', '(']).next().unwrap_or("").to_owned()),
            };
        }
    }
    for place in [
        "version",
        "message",
        "log",
        "card",
        "signed-card",
        "certificates",
        "certificate",
        "records",
        "record",
        "time-stamps",
        "time-stamp",
        "checkpoint",
    ] {
        assert!(places.contains(place), "no fault was named {place:?}: {places:?}");
    }
    for cut in (0..proof.len()).step_by(7) {
        assert!(export::verify(&proof[..cut], &nobody).is_err(), "cut at {cut}");
    }
}

#[tokio::test]
async fn a_well_written_lie_is_refused_and_named() {
    let office = Office::open();
    office.post("one").await;
    office.post("two").await;
    office.work().await;
    let (one, two) = (office.export("one").await, office.export("two").await);
    let read = |bytes: &[u8]| Proof::from_bytes(bytes).expect("it is written well");
    // Digests in the file are computed anew: a liar would do the same.
    let check = |adjust: &dyn Fn(&mut Proof), expected: &str| {
        let mut proof = read(&one);
        adjust(&mut proof);
        let outcome = export::verify(&proof.to_bytes(), &Trust::default());
        let said = outcome.map_or_else(|fault| fault.to_string(), |_| "taken".to_owned());
        assert!(said.starts_with(expected), "{expected}: {said}");
    };
    let signed = |proof: &mut Proof, change: &dyn Fn(&mut SignedCard)| {
        change(proof.signed_card.as_mut().expect("a signed card"));
    };
    check(&|_| {}, "taken");
    check(
        &|proof| proof.signed_card = read(&two).signed_card,
        "signed-card: it says other than the card in the log",
    );
    check(
        &|proof| signed(proof, &|card| card.xml = card.xml.replace("<TestMsg>false", "<TestMsg>true")),
        "signed-card: it says other than the card in the log",
    );
    check(
        &|proof| {
            signed(proof, &|card| {
                card.certificates = card_signer(&rcgen::PKCS_ECDSA_P256_SHA256).chain().to_vec()
            })
        },
        "signed-card: the certificates in the signature are not those of the file",
    );
    check(
        &|proof| signed(proof, &|card| card.at = at(101)),
        "signed-card: it says other than the card in the log",
    );
    check(
        &|proof| {
            signed(proof, &|card| {
                let at = card.xml.find("<ds:SignatureValue>").expect("a value") + 24;
                let other = if card.xml.as_bytes()[at] == b'A' { "B" } else { "A" };
                card.xml.replace_range(at..=at, other);
            });
        },
        "signed-card: the signature on the card: signature value does not verify",
    );
    check(
        &|proof| {
            signed(proof, &|card| {
                let (start, end) =
                    (card.xml.find("<ds:Signature ").expect("one"), card.xml.find("</ProcessCard>"));
                card.xml.replace_range(start..end.expect("an end"), "");
            });
        },
        "signed-card: it has 0 signatures",
    );
    check(&|proof| signed(proof, &|card| card.certificates.clear()), "signed-card: there is no certificate");
    let other_note = Office::open();
    other_note.post("three").await;
    other_note.work().await;
    let other = read(&other_note.export("three").await);
    check(
        &|proof| proof.logs[0].time_stamps = other.logs[0].time_stamps.clone(),
        "time-stamp 1: the time stamp is over other bytes",
    );
    check(
        &|proof| {
            let again = proof.logs[0].time_stamps[0].clone();
            proof.logs[0].time_stamps.push(again);
        },
        "time-stamp 2: the time stamp is over other bytes",
    );
    check(&|proof| proof.logs[0].checkpoint = other.logs[0].checkpoint.clone(), "record 1");
    check(&|proof| proof.card = None, "card: it is missing");
    check(&|proof| proof.version = Version::One, "taken");
}

#[tokio::test]
async fn a_stamp_older_than_what_it_covers_is_refused() {
    let office = Office::open();
    office.post("one").await;
    office.store.change(change("one", Event::HandedOut, 5000)).await.expect("changed");
    office.work().await;
    // The change says second 5000, the authority second 100.
    let refused = office.relay.export_evidence(&id("one")).await.expect_err("it contradicts itself");
    assert!(format!("{refused:?}").contains("which is before what it covers"), "{refused:?}");
}

#[test]
fn proofs_of_the_first_version_hold_for_ever() {
    let proof = include_bytes!("../data/evidence/version-1.txt");
    let key = VerifierKey::parse(include_str!("../data/evidence/version-1.key").trim()).expect("a key");
    let verified = export::verify(proof, &Trust::keys([key])).expect("it holds");
    assert_eq!(verified.card.as_ref().map(|card| card.state), Some(DeliveryState::Received));
    assert_eq!(
        (verified.records().count(), &verified.card_signed, verified.time_stamps().count()),
        (3, &None, 0)
    );
    for at in 0..proof.len() {
        let mut changed = proof.to_vec();
        changed[at] ^= 1;
        assert!(export::verify(&changed, &Trust::default()).is_err(), "byte {at}");
    }
}

#[tokio::test]
async fn stamps_come_once_an_interval_and_a_dead_authority_is_caught_up() {
    let office = Office::open();
    assert_eq!(office.work().await, 0, "there is nothing to stamp");
    office.post("one").await;
    assert_eq!(office.work().await, 1);
    office.post("two").await;
    for _ in 0..5 {
        office.clock.advance(Duration::from_secs(600));
        assert_eq!(office.work().await, 0, "the interval is not over");
    }
    assert_eq!(office.stamper.asked(), 1);
    office.clock.advance(Duration::from_secs(600));
    office.stamper.feels(Twist::Status(2));
    assert_eq!(office.relay.time_stamp_trouble(), None);
    for n in 0..3 {
        assert_eq!(office.work().await, 0);
        let trouble = office.relay.time_stamp_trouble().expect("it is said");
        assert!(
            trouble.starts_with("no time stamp since 2026-11-23T11:01:40Z: the authority refused"),
            "{trouble}"
        );
        office.post(&format!("meanwhile-{n}")).await;
        office.clock.advance(Duration::from_secs(7200));
    }
    office.stamper.feels(Twist::None);
    assert_eq!(office.work().await, 1, "one stamp covers all that was missed");
    assert_eq!(office.relay.time_stamp_trouble(), None);
    for name in ["two", "meanwhile-0", "meanwhile-2"] {
        let verified = export::verify(&office.export(name).await, &office.trust()).expect("it holds");
        assert_eq!(verified.time_stamps().count(), 1, "{name}");
    }
    office.clock.advance(Duration::from_secs(7200));
    assert_eq!((office.work().await, office.stamper.asked()), (0, 5), "the log did not grow");
    assert!(embedded::verify(office._folder.path()).expect("verified").is_sound());
}

#[tokio::test]
async fn a_stamp_is_renewed_before_its_certificate_ends() {
    let office = Office::open();
    office.stamper.becomes(Authority::valid(2020, 2027));
    let first_anchor = office.stamper.anchor();
    office.post("one").await;
    assert_eq!(office.work().await, 1);
    // 39 days before its end, and the authority has nothing better: it is said, and not asked again before a day is over.
    assert_eq!(office.work().await, 0);
    let trouble = office.relay.time_stamp_trouble().expect("it is said");
    assert!(trouble.contains("would last no longer"), "{trouble}");
    let asked = office.stamper.asked();
    assert_eq!((office.work().await, office.stamper.asked()), (0, asked));
    office.clock.advance(Duration::from_secs(86_401));
    office.stamper.becomes(Authority::new());
    assert_eq!(office.work().await, 1);
    assert_eq!(office.relay.time_stamp_trouble(), None);
    office.clock.advance(Duration::from_secs(86_400 * 400));
    assert_eq!(office.work().await, 0, "it lasts until 2045");
    let anchors = Authorities::new([first_anchor, office.stamper.anchor()]).expect("two CAs");
    let trust = Trust::default().with_stamp_authorities(anchors);
    let proof = office.export("one").await;
    let verified = export::verify(&proof, &trust).expect("it holds although the first certificate has ended");
    let times: Vec<_> = verified.time_stamps().map(|stamp| stamp.token.time()).collect();
    assert_eq!(times.len(), 2);
    assert!(times[0] < times[1]);
    // A renewal that came too late proves nothing.
    let late = Office::open();
    late.stamper.becomes(Authority::valid(2020, 2027));
    late.post("one").await;
    late.work().await;
    late.clock.advance(Duration::from_secs(86_400 * 60));
    late.stamper.becomes(Authority::new());
    assert_eq!(late.work().await, 1);
    let refused = late.relay.export_evidence(&id("one")).await.expect_err("a gap");
    assert!(format!("{refused:?}").contains("whose certificate had ended"), "{refused:?}");
}

#[tokio::test]
async fn former_keys_are_the_logs_own() {
    let office = Office::open();
    office.post("one").await;
    office.work().await;
    let (old, new) = (log_key(1), log_key(2));
    // The log goes on with another key.
    let next = relay_after(&office.store, &office.clock, 2, vec![old.verifier().clone()]);
    assert_eq!(next.sign_checkpoint().await, Ok(None), "the last checkpoint is the log's own");
    let proof = next.export_evidence(&id("one")).await.expect("the former key is known");
    let both = || Trust::keys([new.verifier().clone(), old.verifier().clone()]);
    assert_eq!(export::verify(&proof, &both()).expect("it holds").logs[0].log, *old.verifier());
    assert_eq!(
        export::verify(&proof, &Trust::keys([new.verifier().clone()])).expect_err("not told").place,
        "log"
    );
    office.post("two").await;
    assert_eq!(next.sign_checkpoint().await.expect("signed").map(|checkpoint| checkpoint.size), Some(2));
    let proof = next.export_evidence(&id("two")).await.expect("logged");
    assert_eq!(export::verify(&proof, &both()).expect("it holds").logs[0].log, *new.verifier());
    // Who does not know the former keys signs nothing.
    let forgetful = relay(&office.store, &office.clock, 3);
    let refused = forgetful.sign_checkpoint().await.expect_err("it cannot be compared");
    assert!(format!("{refused:?}").contains("evidence.former_keys"), "{refused:?}");
    let first = office.store.checkpoint(Some(1)).await.expect("an answer").expect("a checkpoint");
    let keys = [new.verifier(), old.verifier()];
    assert_eq!(Checkpoint::open_with(&first, keys).map(|(_, key)| key), Ok(old.verifier()));
    assert!(Checkpoint::open_with(&first, [new.verifier()]).is_err());
    assert!(Checkpoint::open_with(&first.replace("\n1\n", "\n2\n"), keys).is_err());
}

/// Waits until `done` says so, at most a while.
#[track_caller]
fn soon(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..200 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{what}: not within ten seconds");
}

#[test]
fn a_served_office_stamps_what_it_signs_and_waits_for_no_authority() {
    let authority = Arc::new(Authority::new());
    let server = Server::start(authority.clone(), jiff::Timestamp::now);
    server.feels(Mood::Silent);
    let anchor = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(anchor.path(), authority.anchor_pem()).expect("written");
    let configure = |text: &str| {
        let url = format!("time_stamp_url = \"{}\"", server.url());
        let anchors = format!("time_stamp_anchors = [{:?}]", anchor.path().display().to_string());
        text.replacen("# time_stamp_url = \"http://tsa.example.org/\"", &url, 1)
            .replacen("time_stamp_anchors = []", &anchors, 1)
            .replacen("time_stamp_wait_seconds = 30", "time_stamp_wait_seconds = 1", 1)
            .replacen("time_stamp_interval_seconds = 3600", "time_stamp_interval_seconds = 1", 1)
    };
    let office = Served::open_with_changes(configure);
    let id = office.post("<notice/>");
    // The authority says nothing: the message is in all the same, and its proof is given.
    office.run(&["evidence", "export", &id, "--output", "proof"]).ends(0);
    let ready = || crate::cli_life::ask_operator(&office, "/readyz");
    soon("the trouble is said", || ready().contains("ready\nno time stamp since"));
    assert!(ready().starts_with("HTTP/1.1 200"), "{}", ready());
    assert!(crate::cli_life::ask_operator(&office, "/metrics").contains("amtsbote_time_stamp_failing 1"));
    let log = std::fs::read_to_string(office.path("server.log")).expect("a log");
    assert!(log.contains("time-stamp-missing") && !log.contains("ERROR"), "{log}");
    assert!(server.asked() >= 1);
    drop(office);

    server.feels(Mood::Answering(Twist::None));
    let office = Served::open_with_changes(configure);
    let id = office.post("<notice/>");
    soon("the stamp", || {
        office.run(&["evidence", "export", &id, "--output", "proof"]).ends(0);
        office.run(&["evidence", "verify", "proof", "--json"]).ends(0).json()["time_stamps"]
            .as_array()
            .is_some_and(|stamps| stamps.len() == 1)
    });
    let key = office.run(&["evidence", "key"]).ends(0).stdout;
    let pem = office.run(&["evidence", "certificate"]).ends(0).stdout;
    std::fs::write(office.path("card.pem"), &pem).expect("written");
    let told = office.run(&["evidence", "certificate", "--json"]).ends(0).json();
    let shown = office.run(&["cert", "show", "card.pem", "--json"]).ends(0).json();
    assert_eq!((&told[0]["pem"], &told[0]["fingerprint"]), (&pem.into(), &shown[0]["fingerprint"]));
    assert_eq!(told.as_array().map(Vec::len), Some(1));
    let tsa = anchor.path().to_str().expect("UTF-8");
    let believed = ["--key", key.trim(), "--card-certificate", "card.pem", "--time-stamp-anchor", tsa];
    let verify: Vec<&str> = ["evidence", "verify", "proof", "--json"].into_iter().chain(believed).collect();
    let said = office.run(&verify).ends(0).json();
    assert_eq!(
        (&said["card_signed"]["trusted"], &said["time_stamps"][0]["trusted"]),
        (&true.into(), &true.into())
    );
    let unpack: Vec<&str> = ["evidence", "unpack", "proof", "parts"].into_iter().chain(believed).collect();
    let listed = office.run(&unpack).ends(0).stdout;
    for name in ["card.xml", "card.json", "checkpoint.sig", "log-key.der", "record-0.txt", "time-stamp-1.der"]
    {
        assert!(listed.contains(&format!("parts/{name}")), "{name}: {listed}");
        assert!(office.path("parts").join(name).is_file(), "{name}");
    }
    office.run(&unpack).ends(1);
    let verified = office.run(&["store", "backup", "copy", "--reason", "test", "--yes"]).ends(0);
    drop(verified);
    let checked = office.run(&["evidence", "verify", "--store", "copy", "--json"]).ends(0).json();
    assert_eq!(checked["time_stamps"], 1);
    let of_the_store = |more: &[&str]| {
        let all: Vec<&str> = ["evidence", "verify", "--store", "copy"].iter().chain(more).copied().collect();
        office.run(&all)
    };
    assert!(of_the_store(&[]).ends(0).stderr.contains("give --time-stamp-anchor"));
    let believed = of_the_store(&["--time-stamp-anchor", tsa]).ends(0);
    assert!(believed.stderr.contains("revoked was not checked"), "{believed:#?}");
    std::fs::write(office.path("stranger.pem"), Authority::new().anchor_pem()).expect("written");
    let strange = of_the_store(&["--time-stamp-anchor", "stranger.pem"]).ends(4);
    assert!(strange.stderr.contains("is not trusted"), "{strange:#?}");
    of_the_store(&["--card-certificate", "card.pem"]).ends(2);
    let checks = office.run(&["check", "--json"]).ends(0).json();
    let said =
        checks.as_array().expect("a list").iter().map(|one| one["what"].as_str().unwrap_or("").to_owned());
    let said: Vec<String> = said.collect();
    assert!(
        said.contains(&"time stamps".to_owned()) && said.contains(&"process cards' key".to_owned()),
        "{said:?}"
    );
}

/// A served office that asks this authority every second; `more` are further lines of `[evidence]`.
fn asking(server: &Server, folder: &std::path::Path, authority: &Authority, more: &str) -> Served {
    let anchor = folder.join("tsa.crt");
    std::fs::write(&anchor, authority.anchor_pem()).expect("written");
    Served::open_with_changes(|text| {
        let url = format!("time_stamp_url = \"{}\"\n{more}", server.url());
        let anchors = format!("time_stamp_anchors = [{:?}]", anchor.display().to_string());
        let text = text.replacen("# time_stamp_url = \"http://tsa.example.org/\"", &url, 1);
        let text = more.lines().fold(text, |text, line| {
            // The example has the key with its default further on.
            let key = line.split(" = ").next().expect("a key");
            let given = |other: &&str| *other == line || !other.starts_with(&format!("{key} = "));
            text.lines().filter(given).map(|line| format!("{line}\n")).collect()
        });
        text.replacen("time_stamp_anchors = []", &anchors, 1)
            .replacen("time_stamp_wait_seconds = 30", "time_stamp_wait_seconds = 5", 1)
            .replacen("time_stamp_interval_seconds = 3600", "time_stamp_interval_seconds = 1", 1)
    })
}

fn stamps(office: &Served, id: &str) -> usize {
    office.run(&["evidence", "export", id, "--output", "proof"]).ends(0);
    let said = office.run(&["evidence", "verify", "proof", "--json"]).ends(0).json();
    said["time_stamps"].as_array().map_or(0, Vec::len)
}

/// Lists decide, and where they do not, the configuration does.
#[test]
fn a_revoked_authority_stamps_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Arc::new(Authority::new());
    let server = Server::start(authority.clone(), jiff::Timestamp::now);
    let refuse = "time_stamp_unknown_revocation = \"refuse\"";
    let with_lists = |is_revoked: bool, more: &str| {
        let names = ["root.crl", "middle.crl"].map(|name| folder.path().join(name));
        for (name, list) in names.iter().zip(authority.lists(jiff::Timestamp::now(), is_revoked)) {
            std::fs::write(name, list).expect("written");
        }
        let names = names.map(|name| format!("{:?}", name.display().to_string())).join(", ");
        format!("time_stamp_crls = [{names}]\n{more}")
    };
    for (what, more, expected) in [
        ("nothing is known", String::new(), Ok(())),
        ("nothing is known, which is not enough", refuse.to_owned(), Err("revocation could not be checked")),
        ("both are clear", with_lists(false, refuse), Ok(())),
        ("its issuer is revoked", with_lists(true, ""), Err("a revocation list names")),
    ] {
        let is_revoked = what.contains("is revoked");
        let more = if more.contains("crls") {
            with_lists(is_revoked, if is_revoked { "" } else { refuse })
        } else {
            more
        };
        let office = asking(&server, folder.path(), &authority, &more);
        let id = office.post("<notice/>");
        match expected {
            Ok(()) => soon(what, || stamps(&office, &id) == 1),
            Err(why) => {
                let ready = || crate::cli_life::ask_operator(&office, "/readyz");
                // A proof wants a checkpoint, and that a stamp.
                assert_eq!(stamps(&office, &id), 0, "{what}");
                soon(what, || ready().contains(why));
                assert!(ready().contains("CN=Test stamps TSA is not accepted"), "{what}: {}", ready());
                assert_eq!(stamps(&office, &id), 0, "{what}");
            }
        }
    }
}

#[test]
fn an_authority_behind_https_is_asked_if_its_server_is_believed() {
    use amtsbote::clock::SystemClock;
    use amtsbote::pki::development::{Authority as Ca, KeyChoice, Leaf, Role, Validity};
    use amtsbote::pki::key::Identity;
    use amtsbote::pki::tls::{ClientCertificate, server_config};

    let folder = tempfile::tempdir().expect("a folder");
    let day = |days: i64| jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
    let validity = Validity { from: day(-1), until: day(300) };
    let [ca, other] = ["Web", "Other"].map(|name| Ca::root(name, KeyChoice::P256, validity).expect("a root"));
    let leaf = Leaf {
        common_name: "tsa",
        role: Role::Server,
        key: KeyChoice::P256,
        validity,
        names: &["localhost"],
    };
    let issued = ca.issue(&leaf).expect("a certificate");
    let identity =
        Identity::from_pem(issued.chain_pem().as_bytes(), issued.key_pem().as_bytes()).expect("a pair");
    let tls =
        server_config(&identity, ClientCertificate::None, Arc::new(SystemClock)).expect("a configuration");
    let authority = Arc::new(Authority::new());
    let server = Server::start_with(authority.clone(), Some(Arc::new(tls)), jiff::Timestamp::now);
    for (believed, expected) in [(&ca, true), (&other, false)] {
        let anchor = folder.path().join("web.crt");
        std::fs::write(&anchor, believed.certificate().pem()).expect("written");
        let more = format!("time_stamp_server_anchors = [{:?}]", anchor.display().to_string());
        let office = asking(&server, folder.path(), &authority, &more);
        let id = office.post("<notice/>");
        if expected {
            soon("a stamp by https", || stamps(&office, &id) == 1);
        } else {
            let ready = || crate::cli_life::ask_operator(&office, "/readyz");
            assert_eq!(stamps(&office, &id), 0);
            soon("a stranger's server", || {
                ready().contains("no time stamp since") && ready().contains("certificate")
            });
            assert_eq!(stamps(&office, &id), 0);
        }
    }
}
