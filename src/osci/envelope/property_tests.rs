//! Whatever a message of any kind says, what is written is read back the same; and no bytes make the reader panic.

use std::io::Cursor;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::fixture;
use super::read::{Incoming, Reader, read};
use super::scope::Scope;
use super::write::{Coding, Outgoing, OutgoingAttachment};
use super::*;
use crate::domain::envelope::Instant;
use crate::mime::content_id::ContentId;
use crate::mime::write::Boundary;
use crate::osci::message::Message;
use crate::osci::message::accept_delivery::{AcceptDelivery, ResponseToAcceptDelivery};
use crate::osci::message::certificates::{Certificate, NonIntermediaryCertificates, Role};
use crate::osci::message::chunk_information::{CHUNKS_MAX, ChunkInformation};
use crate::osci::message::control_block::{Challenge, ControlBlock, ConversationId};
use crate::osci::message::exit_dialog::ResponseToExitDialog;
use crate::osci::message::feature_description::FeatureDescription;
use crate::osci::message::feedback::{CodeNumber, Entry, Feedback};
use crate::osci::message::fetch_delivery::{FetchDelivery, ResponseToFetchDelivery};
use crate::osci::message::fetch_process_card::{FetchProcessCard, ResponseToFetchProcessCard};
use crate::osci::message::forward_delivery::{ForwardDelivery, ResponseToForwardDelivery};
use crate::osci::message::init_dialog::ResponseToInitDialog;
use crate::osci::message::languages::DesiredLanguages;
use crate::osci::message::mediate_delivery::{MediateDelivery, ResponseToMediateDelivery};
use crate::osci::message::message_id::{MessageId, ResponseToGetMessageId};
use crate::osci::message::partial_fetch_delivery::{PartialFetchDelivery, ResponseToPartialFetchDelivery};
use crate::osci::message::partial_store_delivery::{
    Chunk, PartialStoreDelivery, ResponseToPartialStoreDelivery,
};
use crate::osci::message::payload::Payload;
use crate::osci::message::process_card::{
    CertificateType, Inspection, MathResult, OfflineResult, OnlineResult, ProcessCardBundle, Timestamp,
};
use crate::osci::message::process_delivery::{ProcessDelivery, ResponseToProcessDelivery};
use crate::osci::message::selection::{CardRole, CardSelection, CardsSince, DeliverySelection};
use crate::osci::message::store_delivery::{ResponseToStoreDelivery, StoreDelivery};
use crate::osci::message::timestamp_quality::{Quality, TimestampQualities};

/// Text that XML can carry.
fn text() -> impl Strategy<Value = String> {
    "[ -~äß€\u{10348}\n\t\r]{0,12}"
}

/// Text without white space around it, where readers trim.
fn word() -> impl Strategy<Value = String> {
    "[!-~]{1,12}"
}

fn maybe<S: Strategy>(inner: S) -> impl Strategy<Value = Option<S::Value>>
where
    S::Value: Clone,
{
    proptest::option::of(inner)
}

fn id() -> impl Strategy<Value = MessageId> {
    "[ -~ä€]{1,20}".prop_map(|text| MessageId::new(text).expect("an id"))
}

fn instant() -> impl Strategy<Value = Instant> {
    let texts = ["2026-11-22T04:31:41.602Z", "2026-11-22T04:31:41+01:00", "2026-07-01T00:00:00"];
    select(texts.to_vec()).prop_map(|text| Instant {
        at: crate::domain::date_time::parse(text).expect("a moment"),
        text: text.to_owned(),
    })
}

fn feedback() -> impl Strategy<Value = Feedback> {
    let entry = (maybe(select(vec!["de", "en"])), 0_u16..=9999, text());
    let entry = entry.prop_map(|(language, code, text)| Entry {
        language: language.map(str::to_owned),
        code: CodeNumber::new(code).expect("four digits"),
        text,
    });
    vec(entry, 1..4).prop_map(|entries| {
        let mut entries = entries.into_iter();
        let mut feedback = Feedback::new(entries.next().expect("one"));
        entries.for_each(|entry| feedback.push(entry));
        feedback
    })
}

fn stamp() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        instant().prop_map(Timestamp::Plain),
        (maybe(word()), word()).prop_map(|(algorithm, token)| Timestamp::Cryptographic { algorithm, token }),
    ]
}

fn inspection() -> impl Strategy<Value = Inspection> {
    use CertificateType as T;
    let names = (text(), text(), "[0-9]{1,30}");
    let types = select(vec![T::Advanced, T::Qualified, T::Accredited, T::Unknown]);
    let math = select(vec![MathResult::Ok, MathResult::Corrupted, MathResult::Indeterminate]);
    let offline = select(vec![OfflineResult::Valid, OfflineResult::Invalid, OfflineResult::Indeterminate]);
    let online = maybe(select(vec![OnlineResult::Ok, OnlineResult::Revoked]));
    (stamp(), names, types, math, offline, online).prop_map(
        |(at, (subject_name, issuer_name, serial_number), certificate_type, math, offline, online)| {
            Inspection {
                at,
                subject_name,
                issuer_name,
                serial_number,
                certificate_type,
                math,
                offline,
                online,
            }
        },
    )
}

fn card() -> impl Strategy<Value = ProcessCardBundle> {
    let times = (instant(), stamp(), maybe(stamp()), maybe(stamp()));
    (id(), times, maybe(text()), vec(inspection(), 0..3)).prop_map(
        |(message_id, (recent_modification, creation, forwarding, reception), subject, inspections)| {
            ProcessCardBundle {
                message_id,
                recent_modification,
                creation,
                forwarding,
                reception,
                subject,
                inspections,
            }
        },
    )
}

fn delivery_selection() -> impl Strategy<Value = Option<DeliverySelection>> {
    maybe(prop_oneof![
        id().prop_map(DeliverySelection::MessageId),
        instant().prop_map(DeliverySelection::ReceptionOfDelivery),
    ])
}

fn cards_since() -> impl Strategy<Value = CardsSince> {
    let role = maybe(select(vec![CardRole::Originator, CardRole::Addressee]));
    let since = (instant(), maybe(any::<bool>()), role);
    since.prop_map(|(since, no_reception, role)| CardsSince { since, no_reception, role })
}

fn card_request() -> impl Strategy<Value = FetchProcessCard> {
    let selection = maybe(prop_oneof![
        vec(id(), 1..4).prop_map(CardSelection::MessageIds),
        cards_since().prop_map(CardSelection::ReceptionOfDelivery),
        cards_since().prop_map(CardSelection::RecentModification),
    ]);
    let request = (selection, maybe(1..u64::MAX));
    request.prop_map(|(selection, quantity_max)| FetchProcessCard { selection, quantity_max })
}

fn chunk() -> impl Strategy<Value = ChunkInformation> {
    let number = || maybe(0..=CHUNKS_MAX);
    (number(), number(), maybe(vec(0..=CHUNKS_MAX, 0..5)), number(), number()).prop_map(
        |(number, kilobytes, received, total, message_kilobytes)| ChunkInformation {
            number,
            kilobytes,
            received,
            total,
            message_kilobytes,
        },
    )
}

fn requests() -> impl Strategy<Value = Payload> {
    let receiver = || ("[ -~]{0,20}", maybe(id()), maybe(text()));
    prop_oneof![
        Just(Payload::InitDialog),
        Just(Payload::ExitDialog),
        Just(Payload::GetMessageId),
        (maybe(id()), maybe(text()))
            .prop_map(|(message_id, subject)| Payload::StoreDelivery(StoreDelivery { message_id, subject })),
        delivery_selection().prop_map(|selection| Payload::FetchDelivery(FetchDelivery { selection })),
        card_request().prop_map(Payload::FetchProcessCard),
        receiver().prop_map(|(receiver_uri, message_id, subject)| {
            Payload::ForwardDelivery(ForwardDelivery { receiver_uri, message_id, subject })
        }),
        receiver().prop_map(|(receiver_uri, message_id, subject)| {
            Payload::MediateDelivery(MediateDelivery { receiver_uri, message_id, subject })
        }),
        card().prop_map(|card| Payload::AcceptDelivery(Box::new(AcceptDelivery { card }))),
        (maybe(id()), maybe(card())).prop_map(|(reply_id, card)| {
            Payload::ProcessDelivery(Box::new(ProcessDelivery { reply_id, card }))
        }),
        (id(), maybe(text()), maybe(chunk())).prop_map(|(message_id, subject, chunk)| {
            let chunk = chunk.map_or(Chunk::InfoOnly, Chunk::Information);
            Payload::PartialStoreDelivery(PartialStoreDelivery { message_id, subject, chunk })
        }),
        (delivery_selection(), chunk()).prop_map(|(selection, chunk)| {
            Payload::PartialFetchDelivery(PartialFetchDelivery { selection, chunk })
        }),
    ]
}

fn responses() -> impl Strategy<Value = Payload> {
    let echo = || delivery_selection().prop_map(|selection| FetchDelivery { selection });
    prop_oneof![
        feedback().prop_map(|feedback| Payload::ResponseToInitDialog(ResponseToInitDialog { feedback })),
        feedback().prop_map(|feedback| Payload::ResponseToExitDialog(ResponseToExitDialog { feedback })),
        feedback()
            .prop_map(|feedback| Payload::ResponseToAcceptDelivery(ResponseToAcceptDelivery { feedback })),
        (feedback(), maybe(id())).prop_map(|(feedback, message_id)| {
            Payload::ResponseToGetMessageId(ResponseToGetMessageId { feedback, message_id })
        }),
        (feedback(), maybe(card())).prop_map(|(feedback, card)| {
            Payload::ResponseToStoreDelivery(Box::new(ResponseToStoreDelivery { feedback, card }))
        }),
        (feedback(), maybe(card())).prop_map(|(feedback, card)| {
            Payload::ResponseToForwardDelivery(Box::new(ResponseToForwardDelivery { feedback, card }))
        }),
        (feedback(), echo(), maybe(card())).prop_map(|(feedback, request, card)| {
            Payload::ResponseToFetchDelivery(Box::new(ResponseToFetchDelivery { feedback, request, card }))
        }),
        (feedback(), card_request(), vec(card(), 0..3)).prop_map(|(feedback, request, cards)| {
            Payload::ResponseToFetchProcessCard(Box::new(ResponseToFetchProcessCard {
                feedback,
                request,
                cards,
            }))
        }),
        (feedback(), maybe(card()), maybe(card())).prop_map(|(feedback, request_card, reply_card)| {
            let payload = ResponseToMediateDelivery { feedback, request_card, reply_card };
            Payload::ResponseToMediateDelivery(Box::new(payload))
        }),
        (feedback(), maybe(id()), maybe(text())).prop_map(|(feedback, message_id, subject)| {
            Payload::ResponseToProcessDelivery(ResponseToProcessDelivery { feedback, message_id, subject })
        }),
        (maybe(feedback()), feedback(), maybe(card()), chunk()).prop_map(
            |(inside, feedback, card, chunk)| {
                let payload = ResponseToPartialStoreDelivery { inside, feedback, card, chunk };
                Payload::ResponseToPartialStoreDelivery(Box::new(payload))
            }
        ),
        (feedback(), echo(), maybe(chunk()), maybe(id())).prop_map(
            |(feedback, request, chunk, message_id)| {
                let payload = ResponseToPartialFetchDelivery { feedback, request, chunk, message_id };
                Payload::ResponseToPartialFetchDelivery(Box::new(payload))
            }
        ),
    ]
}

fn control() -> impl Strategy<Value = ControlBlock> {
    let challenge = || maybe(word().prop_map(|text| Challenge::new(text).expect("a challenge")));
    let conversation = maybe("[0-9]{1,30}".prop_map(|text| ConversationId::new(text).expect("an id")));
    (conversation, maybe(any::<u64>()), challenge(), challenge()).prop_map(
        |(conversation_id, sequence_number, response, challenge)| ControlBlock {
            conversation_id,
            sequence_number,
            response,
            challenge,
        },
    )
}

fn certificates() -> impl Strategy<Value = Option<NonIntermediaryCertificates>> {
    let readers = vec(vec(any::<u8>(), 1..80), 1..4);
    maybe(readers.prop_map(|readers| {
        let mut all: Vec<_> = readers
            .into_iter()
            .enumerate()
            .map(|(at, der)| Certificate::numbered(Role::CipherOtherReader, at, der))
            .collect();
        all.push(Certificate::new(Role::SignatureOriginator, *b"o"));
        all.push(Certificate::new(Role::CipherAddressee, *b"a"));
        NonIntermediaryCertificates::new(all).expect("certificates")
    }))
}

fn features() -> impl Strategy<Value = Option<FeatureDescription>> {
    let number = || maybe(any::<u64>());
    maybe((number(), number(), number(), number(), vec(("[ -~]{0,9}", word()), 0..5)).prop_map(
        |(chunk_kilobytes_min, chunk_kilobytes_max, message_kilobytes_max, chunk_timeout, features)| {
            FeatureDescription {
                chunk_kilobytes_min,
                chunk_kilobytes_max,
                message_kilobytes_max,
                chunk_timeout,
                features,
            }
        },
    ))
}

fn messages() -> impl Strategy<Value = Message> {
    let quality = || maybe(select(vec![Quality::Plain, Quality::Cryptographic]));
    let payload = prop_oneof![requests(), responses()];
    let languages = maybe(vec("[a-z]{2}", 0..4));
    (payload, control(), certificates(), features(), languages, quality(), quality()).prop_map(
        |(payload, control, certificates, features, languages, creation, reception)| {
            let is_request = payload.kind().is_request();
            Message {
                certificates,
                features,
                languages: languages.filter(|_| is_request).map(DesiredLanguages::new),
                timestamp_qualities: TimestampQualities { creation, reception },
                ..Message::new(control, payload)
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn written_is_read_back(message in messages(), octets in vec(any::<u8>(), 0..300), base64 in any::<bool>(), piece in 1_usize..400) {
        let scope = Scope::standard();
        let mut outgoing = Outgoing::new(&message, &scope, Boundary::from_random([1; 24]));
        if fixture::has_content(message.kind()) {
            outgoing.content = Some(Arc::new(fixture::PACKAGE.as_bytes().to_vec()));
            let id = ContentId::from_header("<a.txt>").expect("an id");
            let mut attachment = OutgoingAttachment::new(id, "text/plain", Arc::new(octets.clone()));
            attachment.coding = if base64 { Coding::Base64 } else { Coding::Binary };
            outgoing.attachments.push(attachment);
        }
        let prepared = outgoing.prepare().expect("a message");
        let bytes = prepared.to_vec().expect("written");
        prop_assert_eq!(prepared.size(), bytes.len() as u64);
        let mut reader = Reader::new(Limits::default());
        for piece in bytes.chunks(piece) {
            reader.push(piece).expect("taken");
        }
        let Ok(Incoming::Message(received)) = reader.finish() else { panic!("a message") };
        prop_assert_eq!(&received.message, &message);
        for attachment in &received.attachments {
            prop_assert_eq!(attachment.octets, octets.len() as u64);
        }
    }

    #[test]
    fn damaged_bytes_do_not_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(), signed in any::<bool>()) {
        let kind = crate::osci::message::kind::Kind::Request(crate::osci::message::kind::Operation::StoreDelivery);
        let mut bytes = if signed { SIGNED.clone() } else { fixture::bytes(kind, false) };
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] = byte;
        }
        let _ = read(&mut Cursor::new(bytes), &Limits::default());
    }
}

/// Signing is slow without optimisation.
static SIGNED: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
    let operation = crate::osci::message::kind::Operation::StoreDelivery;
    fixture::bytes(crate::osci::message::kind::Kind::Request(operation), true)
});
