//! A proof from a small log, and everything that must be found in it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::*;
use crate::domain::account::AccountName;
use crate::domain::card::Step;
use crate::domain::party::{MailboxName, PartyIdentifier};
use crate::domain::state::{DeliveryState, Event};
use crate::evidence::checkpoint::SigningKey;
use crate::evidence::tree::{inclusion_proof, root};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a small number of seconds")
}

fn key() -> SigningKey {
    SigningKey::from_seed("post.example.org/evidence", &[3; 32]).expect("any 32 bytes are a seed")
}

fn new_card(id: &MessageId) -> ProcessCard {
    let party = |text| PartyIdentifier::new(text).expect("a well-formed identifier");
    ProcessCard {
        version: 1,
        id: id.clone(),
        state: DeliveryState::Waiting,
        mailbox: MailboxName::parse("ags:2").expect("a well-formed name"),
        author: party("ags:1"),
        reader: PartyIdentifier::with_labels("ags:2", None, Some("Bürgeramt"), None).expect("well-formed"),
        posted_by: AccountName::parse("author").expect("a well-formed name"),
        door: "test".to_owned(),
        service: "urn:meld".to_owned(),
        test: false,
        payload_digest: Digest::of(b"payload"),
        payload_bytes: 7,
        accepted_at: at(1),
        not_before: None,
        delivered_at: None,
        first_handed_out_at: None,
        received_at: None,
        expires_at: at(900),
        steps: Vec::new(),
        findings: Vec::new(),
        certificates: Vec::new(),
    }
}

/// Three steps of one message among records of others, in a log of 13 leaves.
fn proof(purged: bool) -> Proof {
    let id = MessageId::parse("urn:de:xta:messageid:amt:1A").expect("a well-formed id");
    let other = MessageId::parse("other").expect("a well-formed id");
    let mut card = new_card(&id);
    let record = |message_id: &MessageId, event, time, card: &ProcessCard| Record {
        time,
        event,
        message_id: message_id.clone(),
        payload_digest: card.payload_digest,
        card_digest: Digest::of(&card.to_bytes()),
    };
    let mut log = Vec::new();
    for (event, state) in [
        (Event::Accepted, DeliveryState::Waiting),
        (Event::HandedOut, DeliveryState::HandedOut),
        (Event::Received, DeliveryState::Received),
    ] {
        let time = at(10 * (1 + log.len() as i64));
        log.push(record(&other, Event::Accepted.into(), time, &card));
        card.record(Step { at: time, event, state, by: None, reason: None });
        log.push(record(&id, event.into(), time, &card));
        log.push(record(&other, Event::HandedOut.into(), time, &card));
    }
    log.extend((0..4).map(|n| record(&other, Event::Reminded.into(), at(500 + n), &card)));
    if purged {
        log[11] = record(&id, RecordEvent::CardPurged, at(800), &card);
    }
    let leaves: Vec<Hash> = log.iter().map(|record| leaf_hash(&record.to_bytes())).collect();
    let size = leaves.len() as u64;
    let records = log
        .iter()
        .zip(0..)
        .filter(|(record, _)| record.message_id == id)
        .map(|(record, index)| ProvenRecord {
            index,
            bytes: record.to_bytes(),
            path: inclusion_proof(leaves.as_slice(), index, size).expect("the leaves are there"),
        })
        .collect();
    let root = root(leaves.as_slice(), size).expect("the leaves are there");
    Proof {
        version: Version::One,
        message_id: id,
        card: (!purged).then(|| card.to_bytes()),
        signed_card: None,
        logs: vec![LogProof {
            log: key().verifier().clone(),
            records,
            time_stamps: Vec::new(),
            checkpoint: key().sign(size, &root),
        }],
    }
}

/// Verifies the proof after `adjust`; returns where it is faulty.
fn place(adjust: impl FnOnce(&mut Proof)) -> String {
    let mut proof = proof(false);
    adjust(&mut proof);
    verify(&proof.to_bytes(), &Trust::default()).map_or_else(|fault| fault.place, |_| "nowhere".to_owned())
}

#[test]
fn a_whole_file_proves_the_story() {
    let verified = verify(&proof(false).to_bytes(), &Trust::keys([key().verifier().clone()]))
        .expect("nothing was touched");
    assert_eq!(verified.records().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 4, 7]);
    assert_eq!(verified.card.map(|card| card.state), Some(DeliveryState::Received));
    assert_eq!(verified.logs[0].checkpoint.size, 13);
    assert!(verified.key_trusted);
    let verified = verify(&proof(false).to_bytes(), &Trust::default()).expect("nothing was touched");
    assert!(!verified.key_trusted);
}

#[test]
fn the_proof_outlives_the_card() {
    let verified = verify(&proof(true).to_bytes(), &Trust::keys([key().verifier().clone()]))
        .expect("nothing was touched");
    assert_eq!(verified.card, None);
    assert_eq!(verified.records().last().map(|(_, record)| record.event), Some(RecordEvent::CardPurged));
    assert_eq!(place(|proof| proof.card = None), "card");
}

#[test]
fn every_flipped_byte_is_found_and_named() {
    for (bytes, what) in [(proof(false).to_bytes(), "with its card"), (proof(true).to_bytes(), "without")] {
        assert!(verify(&bytes, &Trust::default()).is_ok(), "{what}");
        let mut places = BTreeSet::new();
        for at in 0..bytes.len() {
            for flip in [0x01, 0x20, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                // Without a trusted key, which is the harder case: nothing but the file speaks for itself.
                match verify(&changed, &Trust::default()) {
                    Ok(_) => panic!("{what}: byte {at} ({:?}) flipped by {flip:#x}", bytes[at] as char),
                    Err(fault) => {
                        places.insert(fault.place.split([' ', '(']).next().unwrap_or("").to_owned())
                    }
                };
            }
        }
        for place in ["version", "message", "log", "card", "records", "record", "checkpoint"] {
            assert!(places.contains(place), "{what}: no fault was named {place:?}: {places:?}");
        }
    }
}

#[test]
fn every_lost_or_added_byte_is_found() {
    let bytes = proof(false).to_bytes();
    for at in 0..bytes.len() {
        let mut shorter = bytes.clone();
        shorter.remove(at);
        assert!(verify(&shorter, &Trust::default()).is_err(), "byte {at} is missing");
        assert!(verify(&bytes[..at], &Trust::default()).is_err(), "cut at {at}");
        for byte in [b'0', b' ', b'\n', b'+', b'A'] {
            let mut longer = bytes.clone();
            longer.insert(at, byte);
            assert!(verify(&longer, &Trust::default()).is_err(), "{:?} added at {at}", byte as char);
        }
    }
    assert!(verify(&[bytes, b"\n".to_vec()].concat(), &Trust::default()).is_err());
}

#[test]
fn a_well_written_lie_is_found_and_named() {
    assert_eq!(place(|_| {}), "nowhere");
    assert_eq!(place(|proof| proof.logs[0].records[1].index = 5), "record 2 (index 5)");
    assert_eq!(place(|proof| proof.logs[0].records.swap(0, 1)), "record 2 (index 1)");
    assert_eq!(place(|proof| proof.logs[0].records[2].path[0][0] ^= 1), "record 3 (index 7)");
    assert_eq!(place(|proof| proof.logs[0].records[2].path.push([0; 32])), "record 3 (index 7)");
    assert_eq!(place(|proof| proof.logs[0].records.truncate(2)), "card");
    assert_eq!(place(|proof| drop(proof.logs[0].records.remove(1))), "card");
    assert_eq!(place(|proof| proof.logs[0].records.clear()), "records");
    assert_eq!(
        place(|proof| proof.message_id = MessageId::parse("other").expect("an id")),
        "record 1 (index 1)"
    );
    let spelling = "urn:de:xta:messageid:amt:1a";
    assert_eq!(
        place(|proof| proof.message_id = MessageId::parse(spelling).expect("an id")),
        "record 1 (index 1)"
    );
    let stranger = || SigningKey::from_seed("post.example.org/evidence", &[4; 32]).expect("a seed");
    assert_eq!(place(|proof| proof.logs[0].log = stranger().verifier().clone()), "checkpoint");
    let fault = verify(&proof(false).to_bytes(), &Trust::keys([stranger().verifier().clone()]))
        .expect_err("another key is trusted");
    assert_eq!(fault.place, "log");
}

/// The same message, its parts in the logs of two nodes: the first two steps in one, the last in another.
fn of_two_nodes(purged: bool) -> Proof {
    let whole = proof(purged);
    let logs = [&whole.logs[0].records[..2], &whole.logs[0].records[2..]].into_iter().zip(1..).map(
        |(part, node)| {
            let key =
                SigningKey::from_seed(&format!("post.example.org/{node}"), &[node; 32]).expect("a seed");
            let leaves: Vec<Hash> = part.iter().map(|record| leaf_hash(&record.bytes)).collect();
            let size = leaves.len() as u64;
            let proven = part.iter().zip(0..).map(|(record, index)| ProvenRecord {
                index,
                bytes: record.bytes.clone(),
                path: inclusion_proof(leaves.as_slice(), index, size).expect("the leaves are there"),
            });
            LogProof {
                log: key.verifier().clone(),
                records: proven.collect(),
                time_stamps: Vec::new(),
                checkpoint: key.sign(size, &root(leaves.as_slice(), size).expect("the leaves are there")),
            }
        },
    );
    let logs = logs.collect();
    Proof { version: Version::Three, logs, ..whole }
}

#[test]
fn the_logs_of_several_nodes_prove_one_story() {
    for purged in [false, true] {
        let file = of_two_nodes(purged).to_bytes();
        let verified = verify(&file, &Trust::default()).expect("nothing was touched");
        assert_eq!(
            verified.logs.iter().map(|log| log.records.len()).sum::<usize>(),
            if purged { 4 } else { 3 }
        );
        assert_eq!(verified.card.is_some(), !purged);
        for at in 0..file.len() {
            for flip in [0x01, 0x20, 0x80, 0xff] {
                let mut changed = file.clone();
                changed[at] ^= flip;
                assert!(verify(&changed, &Trust::default()).is_err(), "byte {at} flipped by {flip:#x}");
            }
            assert!(verify(&file[..at], &Trust::default()).is_err(), "cut at {at}");
        }
        // Every log's key is asked after.
        let keys = |count| Trust::keys(verified.logs.iter().take(count).map(|log| log.log.clone()));
        assert!(verify(&file, &keys(2)).expect("both are known").key_trusted);
        assert_eq!(verify(&file, &keys(1)).expect_err("one is not").place, "log 2");
    }
    let place = |adjust: &dyn Fn(&mut Proof)| -> String {
        let mut proof = of_two_nodes(false);
        adjust(&mut proof);
        verify(&proof.to_bytes(), &Trust::default())
            .map_or_else(|fault| fault.place, |_| "nowhere".to_owned())
    };
    // The card of when the first log had its last word, which is not the last of all.
    let stale = place(&|proof| {
        let mut card = ProcessCard::from_bytes(proof.card.as_deref().expect("a card")).expect("a card");
        card.steps.truncate(2);
        let card = card.to_bytes();
        let last = proof.logs[0].records.last_mut().expect("a record");
        let mut record = Record::from_bytes(&last.bytes).expect("a record");
        record.card_digest = Digest::of(&card);
        last.bytes = record.to_bytes();
        proof.card = Some(card);
        let key = SigningKey::from_seed("post.example.org/1", &[1; 32]).expect("a seed");
        let log = &mut proof.logs[0];
        let leaves: Vec<Hash> = log.records.iter().map(|record| leaf_hash(&record.bytes)).collect();
        let size = leaves.len() as u64;
        for record in &mut log.records {
            record.path = inclusion_proof(leaves.as_slice(), record.index, size).expect("there");
        }
        log.checkpoint = key.sign(size, &root(leaves.as_slice(), size).expect("there"));
    });
    assert_eq!(stale, "card");
    // In whatever order: clocks of nodes are not compared.
    assert_eq!(place(&|proof| proof.logs.reverse()), "nowhere");
    assert_eq!(place(&|proof| drop(proof.logs.pop())), "card");
    assert_eq!(place(&|proof| drop(proof.logs.remove(0))), "card");
    assert_eq!(place(&|proof| proof.logs.clear()), "logs");
    assert_eq!(place(&|proof| proof.logs.extend_from_within(..1)), "log 3, checkpoint");
    assert_eq!(place(&|proof| proof.logs[1].records[0].path.push([0; 32])), "log 2, record 1 (index 0)");
    assert_eq!(place(&|proof| proof.logs[1].records.clear()), "log 2, records");
    assert_eq!(place(&|proof| proof.logs[0].log = proof.logs[1].log.clone()), "log 1, checkpoint");
    assert_eq!(place(&|proof| proof.card = None), "card");
}
