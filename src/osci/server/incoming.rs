//! From the body of an HTTP request to a message in the clear: spooled, opened, read (section 10, order of checks).
//!
//! Everything that goes wrong here is a fault. Whatever is wrong with the encryption looks alike (9202), and what came
//! out of it is released only after its tag was verified.

use std::io::{Seek, SeekFrom, Write};
use std::sync::Arc;

use http_body_util::BodyExt;

use super::spool::{Frozen, Spool};
use super::{InForce, Refused, Settings};
use crate::net::Body;
use crate::osci::code::Code;
use crate::osci::envelope::encrypted::{self, Algorithms, OwnKey};
use crate::osci::envelope::read::{self, Incoming, Received, Sealed};
use crate::osci::envelope::source::Source;
use crate::osci::envelope::{self, Limits};

/// Bytes that are gathered before they are handed to the disk.
const PIECE_BYTES: usize = 256 * 1024;

/// A request in the clear.
pub struct Request {
    pub received: Received,
    /// The bytes that spans of `received` count in.
    pub bytes: Frozen,
    pub seal: Option<Seal>,
}

/// How the request was encrypted.
#[derive(Debug, Clone)]
pub struct Seal {
    pub algorithms: Algorithms,
}

pub fn limits(settings: &Settings) -> Limits {
    let ours = &settings.limits;
    let mut limits = Limits::default();
    limits.xml.document_bytes_max = settings.request_bytes_max();
    limits.mime.parts_max = ours.parts_max.saturating_add(1);
    limits
}

pub async fn take(body: Body, in_force: Arc<InForce>, settings: &Settings) -> Result<Request, Refused> {
    let spool = Spool::new(&settings.spool_folder, settings.request_bytes_max());
    let spool = gather(body, spool).await?;
    let plaintext = Spool::new(&settings.spool_folder, settings.request_bytes_max());
    let (limits, policy) = (limits(settings), settings.policy);
    let work = move || open(spool, plaintext, &in_force, &limits, &policy);
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Refused::new(Code::Internal, "the request could not be read to its end")))
}

async fn gather(mut body: Body, mut spool: Spool) -> Result<Spool, Refused> {
    let mut piece = Vec::new();
    loop {
        let frame = match body.frame().await {
            None => break,
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                return Err(Refused::new(Code::Malformed, format!("the request ended too early: {error}")));
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        piece.extend_from_slice(&data);
        if piece.len() >= PIECE_BYTES {
            spool = spooled(spool, std::mem::take(&mut piece)).await?;
        }
    }
    spooled(spool, piece).await
}

async fn spooled(mut spool: Spool, piece: Vec<u8>) -> Result<Spool, Refused> {
    let written = tokio::task::spawn_blocking(move || spool.write_all(&piece).map(|()| spool)).await;
    let stopping = |_| std::io::Error::other("the process is stopping");
    written.map_err(stopping).and_then(|written| written).map_err(|error| match error.kind() {
        std::io::ErrorKind::FileTooLarge => {
            Refused::new(Code::Malformed, "the request is larger than limits.content_bytes_max allows")
        }
        _ => Refused::new(Code::Internal, format!("the request cannot be spooled: {error}")),
    })
}

fn open(
    spool: Spool,
    plaintext: Spool,
    in_force: &InForce,
    limits: &Limits,
    policy: &crate::xml::enc::Policy,
) -> Result<Request, Refused> {
    let outer = spool.freeze();
    match parse(&outer, limits).map_err(|error| unreadable(Code::Malformed, &error))? {
        Incoming::Message(received) => Ok(Request { received: *received, bytes: outer, seal: None }),
        Incoming::Fault(_) => Err(Refused::new(Code::Malformed, "a fault is no request")),
        Incoming::Encrypted(sealed) => {
            let (inner, algorithms) = decrypt(&sealed, &outer, plaintext, in_force, policy)?;
            // Content in CBC is not authentic: whether its padding was right must not show, or it can be read by asking.
            let code =
                if algorithms.method.is_cbc() { Code::Undecipherable } else { Code::DecryptedMalformed };
            match parse(&inner, limits).map_err(|error| unreadable(code, &error))? {
                Incoming::Message(received) => {
                    let seal = Some(Seal { algorithms });
                    Ok(Request { received: *received, bytes: inner, seal })
                }
                Incoming::Encrypted(_) | Incoming::Fault(_) => {
                    Err(Refused::new(code, "what was encrypted is no request"))
                }
            }
        }
    }
}

pub fn parse(bytes: &Frozen, limits: &Limits) -> Result<Incoming, envelope::Error> {
    let whole = bytes.stretch(0..bytes.length());
    let mut source = whole.open().map_err(|error| envelope::Error::Input(error.kind()))?;
    read::read(&mut source, limits)
}

fn unreadable(code: Code, error: &envelope::Error) -> Refused {
    match error {
        envelope::Error::Input(_) => Refused::new(Code::Internal, error.to_string()),
        _ => Refused::new(code, error.to_string()),
    }
}

fn decrypt(
    sealed: &Sealed,
    outer: &Frozen,
    plaintext: Spool,
    in_force: &InForce,
    policy: &crate::xml::enc::Policy,
) -> Result<(Frozen, Algorithms), Refused> {
    let own: Vec<OwnKey<'_>> = in_force
        .cipher
        .iter()
        .map(|own| OwnKey { certificate_der: own.certificate.der().as_ref(), key: &own.key })
        .collect();
    let ciphertext = outer.stretch(sealed.ciphertext.span.clone());
    let failed = |error: std::io::Error| Refused::new(Code::Internal, format!("the spool: {error}"));
    let mut source = ciphertext.open().map_err(failed)?;
    let opened = sealed.open(&mut source, &own, policy, plaintext);
    let (decrypted, algorithms) = opened.map_err(|error| {
        let code = match &error {
            encrypted::Error::Structure(_) => Code::Malformed,
            encrypted::Error::NotForUs => Code::KeyUnknown,
            encrypted::Error::Undecryptable => Code::Undecipherable,
            encrypted::Error::Spool(_) | encrypted::Error::Input(_) => Code::Internal,
        };
        Refused::new(code, error.to_string())
    })?;
    let mut spool = decrypted.into_spool();
    spool.seek(SeekFrom::Start(0)).map_err(failed)?;
    Ok((spool.freeze(), algorithms))
}
