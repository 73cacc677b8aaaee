//! What a client must check of an answer before it believes it (OSCI-Transport 1.2; OSCI12, sections 1.3, 3, 4.3, 6).
//!
//! An answer is believed whole or not at all: of the right kind, with the control block that its kind has, encrypted if
//! the request was, signed if the request was, by the certificate that was pinned or that spoke first in this dialog,
//! and without certificates in places where they could be taken for another's. Pure. Left out: whether a certificate is
//! trusted; a client of this kind pins it.

use crate::osci::envelope::read::Received;
use crate::osci::message::certificates::Role;
use crate::osci::message::kind::{Kind, Operation};

/// Why an answer is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    #[error("a {expected} was expected, and a {found} came")]
    Kind { expected: String, found: String },
    #[error("its control block is wrong at {0}")]
    ControlBlock(&'static str),
    #[error("the request was encrypted, the answer is not")]
    Plain,
    #[error("the request was signed, the answer is not")]
    Unsigned,
    #[error("its signature does not hold: {0}")]
    Signature(String),
    #[error("it is signed by another certificate than before or than was pinned")]
    Signer,
    #[error("it holds a certificate that has no place there: {0}")]
    Certificate(&'static str),
}

/// How the request went out, and whom we know already.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub operation: Operation,
    pub encrypted: bool,
    pub signed: bool,
    /// The supplier's signature certificate (DER), if it was pinned or seen before.
    pub supplier: Option<&'a [u8]>,
}

/// Believes an answer, and hands out the signature certificate it was signed with.
pub fn answer<'r>(
    asked: Asked<'_>,
    received: &'r Received,
    encrypted: bool,
) -> Result<Option<&'r [u8]>, Distrust> {
    let expected = [Kind::Response(asked.operation)];
    // A delivery that fits into one chunk may come whole.
    let whole = [Kind::Response(Operation::PartialFetchDelivery), Kind::Response(Operation::FetchDelivery)];
    let kinds: &[Kind] = if asked.operation == Operation::PartialFetchDelivery { &whole } else { &expected };
    let kind = received.message.kind();
    if !kinds.contains(&kind) {
        let expected = Kind::Response(asked.operation).to_string();
        return Err(Distrust::Kind { expected, found: kind.to_string() });
    }
    if let Some(fault) = received.message.control.fault(kind) {
        return Err(Distrust::ControlBlock(fault.field));
    }
    if asked.encrypted && !encrypted {
        return Err(Distrust::Plain);
    }
    let signer = signer(asked, received)?;
    places(kind, received)?;
    Ok(signer)
}

fn signer<'r>(asked: Asked<'_>, received: &'r Received) -> Result<Option<&'r [u8]>, Distrust> {
    match &received.signature {
        Err(refused) => Err(Distrust::Signature(refused.to_string())),
        Ok(None) if asked.signed => Err(Distrust::Unsigned),
        Ok(None) => Ok(None),
        Ok(Some(signature)) => {
            let der = signature.certificate().der.as_slice();
            if asked.supplier.is_some_and(|known| known != der) {
                return Err(Distrust::Signer);
            }
            Ok(Some(der))
        }
    }
}

/// Certificates that would be taken for somebody else's where they stand.
fn places(kind: Kind, received: &Received) -> Result<(), Distrust> {
    let to_recipient = kind.operation().is_to_recipient();
    let intermediary = received.message.intermediary.as_ref();
    if !to_recipient && intermediary.is_some_and(|certificates| certificates.cipher.is_some()) {
        return Err(Distrust::Certificate(Role::CipherIntermediary.element()));
    }
    let others = received.message.certificates.as_ref();
    if !to_recipient
        && others.is_some_and(|certificates| certificates.first(Role::SignatureAddressee).is_some())
    {
        return Err(Distrust::Certificate(Role::SignatureAddressee.element()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::osci::envelope::read::{self, Incoming};
    use crate::osci::envelope::{Limits, fixture};
    use crate::osci::message::Message;
    use crate::osci::message::certificates::{
        Certificate, IntermediaryCertificates, NonIntermediaryCertificates,
    };

    const STORED: Kind = Kind::Response(Operation::StoreDelivery);

    fn received(message: &Message, signed: bool, damage: Option<(&str, &str)>) -> Box<Received> {
        let mut bytes = fixture::prepared(message, signed).to_vec().expect("written");
        if let Some((from, to)) = damage {
            bytes = String::from_utf8(bytes).expect("text").replace(from, to).into_bytes();
        }
        match read::read(&mut bytes.as_slice(), &Limits::default()).expect("read") {
            Incoming::Message(received) => received,
            other => panic!("{other:?}"),
        }
    }

    fn asked(operation: Operation) -> Asked<'static> {
        Asked { operation, encrypted: true, signed: true, supplier: None }
    }

    #[track_caller]
    fn check(asked: Asked<'_>, received: &Received, encrypted: bool, expected: &str) {
        let outcome = match answer(asked, received, encrypted) {
            Ok(Some(_)) => "signed".to_owned(),
            Ok(None) => "unsigned".to_owned(),
            Err(distrust) => distrust.to_string(),
        };
        assert!(outcome.starts_with(expected), "{outcome}");
    }

    #[test]
    fn an_answer_is_believed_whole_or_not_at_all() {
        let good = received(&fixture::message(STORED), true, None);
        let plain = received(&fixture::message(STORED), false, None);
        let store = asked(Operation::StoreDelivery);
        check(store, &good, true, "signed");
        check(Asked { supplier: Some(&fixture::certificate()), ..store }, &good, true, "signed");
        check(Asked { supplier: Some(b"another"), ..store }, &good, true, "it is signed by another");
        check(store, &good, false, "the request was encrypted");
        check(Asked { encrypted: false, ..store }, &good, false, "signed");
        check(store, &plain, true, "the request was signed");
        check(Asked { signed: false, ..store }, &plain, true, "unsigned");
        check(asked(Operation::GetMessageId), &good, true, "a ResponseToGetMessageId was expected");
        let damaged = received(&fixture::message(STORED), true, Some((">gut<", ">gott<")));
        check(store, &damaged, true, "its signature does not hold");
        check(Asked { signed: false, ..store }, &damaged, true, "its signature does not hold");
    }

    #[test]
    fn a_delivery_may_come_whole_where_chunks_were_asked_for() {
        let whole = received(&fixture::message(Kind::Response(Operation::FetchDelivery)), true, None);
        check(asked(Operation::PartialFetchDelivery), &whole, true, "signed");
        check(asked(Operation::StoreDelivery), &whole, true, "a ResponseToStoreDelivery was expected");
    }

    #[test]
    fn what_stands_in_the_wrong_place_is_refused() {
        let der = fixture::certificate();
        let mut message = fixture::message(STORED);
        message.intermediary = Some(IntermediaryCertificates::new(Some(&der), Some(&der)));
        let store = asked(Operation::StoreDelivery);
        check(store, &received(&message, true, None), true, "it holds a certificate that has no place");
        let mut message = fixture::message(STORED);
        let addressee = vec![Certificate::new(Role::SignatureAddressee, der)];
        message.certificates = Some(NonIntermediaryCertificates::new(addressee).expect("certificates"));
        check(store, &received(&message, true, None), true, "it holds a certificate that has no place");
        let mut message = fixture::message(STORED);
        message.control.response = None;
        check(store, &received(&message, true, None), true, "its control block is wrong at Response");
    }
}
