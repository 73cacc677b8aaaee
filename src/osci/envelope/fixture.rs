//! Messages of every kind, with keys, for the tests of this room.

use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::scope::Scope;
use super::write::{Outgoing, OutgoingAttachment, Prepared, Signing};
use crate::mime::content_id::ContentId;
use crate::mime::write::Boundary;
use crate::osci::message::Message;
use crate::osci::message::certificates::{
    Certificate, IntermediaryCertificates, NonIntermediaryCertificates, Role,
};
use crate::osci::message::control_block::{Challenge, ControlBlock, ConversationId, Presence, Rule};
use crate::osci::message::custom_header::CustomHeader;
use crate::osci::message::feature_description::{Feature, FeatureDescription};
use crate::osci::message::kind::{Kind, Operation, Place};
use crate::osci::message::languages::DesiredLanguages;
use crate::osci::message::payload::Payload;
use crate::osci::message::timestamp_quality::TimestampQualities;
use crate::xml::dsig::sign::SigningKey;
use crate::xml::dsig::{DigestMethod, SignatureMethod};
use crate::xml::enc::RecipientKey;
use crate::xml::tree::Element;

pub const BOUNDARY: &str = "MIME_boundary_a/b+c=";
pub const PACKAGE: &str = "<osci:ContentPackage><osci:ContentContainer Id=\"container0\"><osci:Content>\
    <osci:Base64Content Id=\"content0\">R3LDvMOfZQ==</osci:Base64Content></osci:Content><osci:Content \
    Id=\"content1\" href=\"cid:a.txt\"></osci:Content></osci:ContentContainer></osci:ContentPackage>";

pub fn certificate() -> Vec<u8> {
    let pem = include_bytes!("../../../tests/data/pki/rsa.crt");
    CertificateDer::from_pem_slice(pem).expect("a certificate").as_ref().to_vec()
}

pub fn pkcs8() -> Vec<u8> {
    let pem = include_bytes!("../../../tests/data/pki/rsa.key");
    PrivatePkcs8KeyDer::from_pem_slice(pem).expect("a key").secret_pkcs8_der().to_vec()
}

pub fn signer() -> SigningKey {
    SigningKey::from_pkcs8(&pkcs8()).expect("a key")
}

pub fn recipient_key() -> RecipientKey {
    RecipientKey::from_pkcs8(&pkcs8()).expect("a key")
}

fn payload(kind: Kind) -> Payload {
    use Kind::{Request, Response};
    use Operation as O;
    let id = "<osci:MessageId>YTE=</osci:MessageId>";
    let stamp =
        |name: &str| format!("<osci:{name}><osci:Plain>2026-11-22T04:31:41Z</osci:Plain></osci:{name}>");
    let card = |name: &str| {
        format!(
            "<osci:{name}>{id}<osci:ProcessCard RecentModification='2026-11-22T04:31:41Z'>{}<osci:Subject>ä\
             </osci:Subject></osci:ProcessCard><osci:InspectionReport></osci:InspectionReport></osci:{name}>",
            stamp("Creation")
        )
    };
    let feedback = "<osci:Feedback><osci:Entry xml:lang='de'><osci:Code>0801</osci:Code><osci:Text>gut</osci:Text>\
        </osci:Entry></osci:Feedback>";
    let selection = format!("<osci:SelectionRule>{id}</osci:SelectionRule>");
    let chunk = "<osci2017:ChunkInformation ChunkNumber='1' TotalChunkNumbers='2'/>";
    let receiver = "<osci:ContentReceiver URI='http://127.0.0.1/'/>";
    let bundle = card("ProcessCardBundle");
    let inside = match kind {
        Request(O::InitDialog | O::ExitDialog | O::GetMessageId) => String::new(),
        Response(O::InitDialog | O::ExitDialog | O::AcceptDelivery) => feedback.to_owned(),
        Response(O::GetMessageId) => format!("{feedback}{id}"),
        Request(O::StoreDelivery) => format!("{id}<osci:Subject>a &amp; b</osci:Subject>"),
        Response(O::StoreDelivery | O::ForwardDelivery) => format!("{feedback}{bundle}"),
        Request(O::FetchDelivery | O::FetchProcessCard) => selection,
        Response(O::FetchDelivery) => {
            format!("{feedback}<osci:fetchDelivery>{selection}</osci:fetchDelivery>{bundle}")
        }
        Response(O::FetchProcessCard) => {
            format!("{feedback}<osci:fetchProcessCard>{selection}</osci:fetchProcessCard>{bundle}{bundle}")
        }
        Request(O::ForwardDelivery | O::MediateDelivery) => format!("{receiver}{id}"),
        Response(O::MediateDelivery) => {
            format!("{feedback}{}{}", card("RequestProcessCardBundle"), card("ReplyProcessCardBundle"))
        }
        Request(O::AcceptDelivery | O::ProcessDelivery) => bundle,
        Response(O::ProcessDelivery) => format!("{feedback}{id}"),
        Request(O::PartialStoreDelivery) => format!("{id}{chunk}"),
        Response(O::PartialStoreDelivery) => format!("{feedback}{bundle}{chunk}"),
        Request(O::PartialFetchDelivery) => format!("{selection}{chunk}"),
        Response(O::PartialFetchDelivery) => {
            format!("{feedback}<osci:fetchDelivery>{selection}</osci:fetchDelivery>{chunk}{id}")
        }
    };
    let name = format!("{}:{}", kind.prefix(), kind.element());
    let xml = format!(
        "<{name} xmlns:osci='http://www.osci.de/2002/04/osci' xmlns:osci2017='{}'>{inside}</{name}>",
        crate::osci::message::names::NS_OSCI2017
    );
    let element = Element::parse(xml.as_bytes(), &Default::default(), &Default::default());
    Payload::read(kind, &element.expect("well-formed")).expect("a payload")
}

/// The role that signs a message of this kind.
pub fn signing_role(kind: Kind) -> Role {
    use Operation as O;
    match kind {
        Kind::Request(O::AcceptDelivery | O::ProcessDelivery) => Role::SignatureIntermediary,
        Kind::Request(_) => Role::SignatureOriginator,
        Kind::Response(O::AcceptDelivery) => Role::SignatureAddressee,
        Kind::Response(O::ProcessDelivery) => Role::SignatureOriginator,
        Kind::Response(_) => Role::SignatureIntermediary,
    }
}

/// A message with every block that its kind may have.
pub fn message(kind: Kind) -> Message {
    let presence = Presence::of(kind);
    let is = |rule: Rule| rule != Rule::MustNot;
    let control = ControlBlock {
        conversation_id: is(presence.conversation_id).then(|| ConversationId::new("4711").expect("an id")),
        sequence_number: is(presence.sequence_number).then_some(3),
        response: is(presence.response).then(|| Challenge::from_random([1; 10])),
        challenge: is(presence.challenge).then(|| Challenge::from_random([2; 10])),
    };
    let mut message = Message::new(control, payload(kind));
    let der = certificate();
    let signing = signing_role(kind);
    let mut certificates = vec![
        Certificate::new(Role::CipherOriginator, der.clone()),
        Certificate::new(Role::CipherAddressee, der.clone()),
        Certificate::new(Role::CipherOtherReader, der.clone()),
        Certificate::new(Role::SignatureOtherAuthor, der.clone()),
    ];
    if signing == Role::SignatureIntermediary {
        message.intermediary = Some(IntermediaryCertificates::new(None, Some(&der)));
    } else {
        certificates.push(Certificate::new(signing, der));
    }
    message.certificates = Some(NonIntermediaryCertificates::new(certificates).expect("certificates"));
    if kind.is_request() {
        message.languages = Some(DesiredLanguages::new(["de", "en"]));
        message.timestamp_qualities = TimestampQualities::PLAIN;
    }
    message.features = Some(FeatureDescription {
        chunk_kilobytes_max: Some(50_000),
        chunk_timeout: Some(60_000),
        ..FeatureDescription::of(Feature::ALL)
    });
    message.custom.push(CustomHeader {
        namespace: "urn:x".to_owned(),
        local: "Note".to_owned(),
        id: "MetaData".to_owned(),
        xml: "<x:Note xmlns:x=\"urn:x\" Id='MetaData'> <!-- kept --> &lt;ä</x:Note>".to_owned(),
    });
    message
}

/// The same with short certificates that are none, for samples that are kept.
pub fn small(kind: Kind) -> Message {
    let mut message = message(kind);
    let certificate = |role| Certificate::new(role, *b"not a certificate");
    let all = vec![certificate(Role::CipherOriginator), certificate(Role::CipherAddressee)];
    message.certificates = Some(NonIntermediaryCertificates::new(all).expect("certificates"));
    message.intermediary = message.intermediary.map(|_| IntermediaryCertificates {
        cipher: None,
        signature: Some(certificate(Role::SignatureIntermediary)),
    });
    message
}

pub fn has_content(kind: Kind) -> bool {
    matches!(kind.place(), Place::HeaderWithContent | Place::HeaderWithOptionalContent)
}

pub fn attachment() -> OutgoingAttachment {
    let id = ContentId::from_header("<a.txt>").expect("an id");
    OutgoingAttachment::new(id, "text/plain", Arc::new(b"attached \r\n--MIME".to_vec()))
}

/// The message as bytes, signed or not, with content and an attachment where its kind has them.
pub fn prepared(message: &Message, signed: bool) -> Prepared {
    let scope = Scope::standard();
    let mut outgoing = Outgoing::new(message, &scope, Boundary::from_text(BOUNDARY).expect("a boundary"));
    if has_content(message.kind()) {
        outgoing.content = Some(Arc::new(PACKAGE.as_bytes().to_vec()));
        outgoing.attachments.push(attachment());
    }
    let (key, id) = (signer(), signer_id(message));
    if signed {
        outgoing.signing = Some(Signing {
            signer: &key,
            certificate_id: &id,
            method: SignatureMethod::RsaSha256,
            digest: DigestMethod::Sha256,
        });
    }
    outgoing.prepare().expect("a message")
}

pub fn signer_id(message: &Message) -> String {
    Certificate::new(signing_role(message.kind()), certificate()).id
}

pub fn bytes(kind: Kind, signed: bool) -> Vec<u8> {
    prepared(&message(kind), signed).to_vec().expect("written")
}
