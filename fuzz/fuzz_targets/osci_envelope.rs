//! The reader of OSCI messages on arbitrary bytes, cut anywhere.
//!
//! It must not panic, must say the same however the bytes are cut, must name places inside the message only, and a
//! message that was read can be written, and read again as the same. Input: one byte for the size of the pieces, the
//! message.
#![no_main]

use std::sync::Arc;

use amtsbote::mime::write::Boundary;
use amtsbote::osci::envelope::read::{Incoming, Reader, Received};
use amtsbote::osci::envelope::write::{Outgoing, OutgoingAttachment};
use amtsbote::osci::envelope::{Error, Limits};
use libfuzzer_sys::fuzz_target;

fn read(message: &[u8], piece: usize) -> Result<Incoming, Error> {
    let mut reader = Reader::new(Limits::default());
    for piece in message.chunks(piece) {
        reader.push(piece)?;
    }
    reader.finish()
}

fn write(bytes: &[u8], received: &Received) -> Vec<u8> {
    let at = |span: std::ops::Range<u64>| bytes[span.start as usize..span.end as usize].to_vec();
    let mut outgoing = Outgoing::new(&received.message, &received.scope, Boundary::from_random([7; 24]));
    outgoing.content = received.package_span().map(|span| Arc::new(at(span)) as _);
    for attachment in &received.attachments {
        let source = Arc::new(at(attachment.span.clone()));
        outgoing.attachments.push(OutgoingAttachment::relayed(attachment, source));
    }
    let prepared = outgoing.prepare().expect("what was read can be written");
    let written = prepared.to_vec().expect("written");
    assert_eq!(prepared.size(), written.len() as u64);
    written
}

fuzz_target!(|input: &[u8]| {
    let Some((&size, message)) = input.split_first() else { return };
    let whole = read(message, message.len().max(1));
    let cut = read(message, usize::from(size).max(1));
    assert_eq!(whole.is_ok(), cut.is_ok());
    let (Ok(Incoming::Message(received)), Ok(Incoming::Message(cut))) = (whole, cut) else { return };
    assert_eq!(received.message, cut.message);
    assert_eq!(received.signature, cut.signature);
    assert_eq!(received.attachments, cut.attachments);
    if let Some(authors) = received.authors(&Limits::default()) {
        let span = received.soap_span.start as usize..received.soap_span.end as usize;
        let _ = authors.verify(&mut &message[span]);
    }
    let written = write(message, &received);
    let Ok(Incoming::Message(again)) = read(&written, 4096) else { panic!("what was written is read") };
    assert_eq!(again.message, received.message);
    assert_eq!(again.scope, received.scope);
});
