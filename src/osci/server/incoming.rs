//! From the body of an HTTP request to a message in the clear: opened, spooled, read (section 10, order of checks).
//!
//! Everything that goes wrong here is a fault. Whatever is wrong with the encryption looks alike (9202). It is decrypted
//! while it arrives, so that it lies on the disk once; what comes out is released, and read, only after its tag was
//! verified.

use std::io::{self, Seek, SeekFrom, Write};
use std::sync::Arc;

use http_body_util::BodyExt;

use super::spool::{Frozen, Spool};
use super::{InForce, Refused, Settings};
use crate::mime::transfer::TransferEncoding;
use crate::net::Body;
use crate::osci::code::Code;
use crate::osci::envelope::encrypted::{self, Algorithms, OwnKey};
use crate::osci::envelope::read::{self, Incoming, Received, Sealed};
use crate::osci::envelope::source::Source;
use crate::osci::envelope::{self, Limits};
use crate::xml::enc::Opening;
use crate::xml::{self, tree};

/// Bytes that are gathered before they are handed to the disk.
const PIECE_BYTES: usize = 256 * 1024;
/// A request up to this size lies in memory, and takes hardly longer than its one private-key operation: it is read where
/// it is. Handing such work to another thread and waiting for it costs about as much again.
const SMALL_BYTES_MAX: usize = 64 * 1024;
const LINE_END_BYTES: usize = 2;
/// Elements and pieces of text in a body that is no content. The largest of a legal request names 1000 MessageIds.
const BODY_NODES_MAX: usize = 20_000;
/// More than our own blocks have.
const OWN_IDS: usize = 64;

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
    /// The ciphertext came as base64.
    pub in_base64: bool,
}

impl Request {
    /// True if any of its parts came as base64: who writes so may read nothing else.
    pub fn has_base64(&self) -> bool {
        self.seal.as_ref().is_some_and(|seal| seal.in_base64) || self.received.has_base64()
    }

    /// How often the binary parts of an answer are encoded: by themselves, and sealed once more.
    pub fn base64_layers(&self, in_base64: bool) -> u32 {
        u32::from(in_base64) * (1 + u32::from(self.seal.is_some()))
    }
}

/// What is read of a stranger: no more than the operator allows, and no more than our own answer can hold beside what is
/// ours in it.
pub fn limits(settings: &Settings) -> Limits {
    let ours = &settings.limits;
    let mut limits = Limits::default();
    let envelope_bytes_max = usize::try_from(ours.envelope_bytes_max).unwrap_or(usize::MAX);
    limits.header_bytes_max = envelope_bytes_max;
    limits.body_tree = tree::Limits { nodes_max: BODY_NODES_MAX, bytes_max: envelope_bytes_max };
    // A chunk may be asked for with the numbers of all others.
    let attribute_bytes_max = ours.xml_attribute_bytes_max.max(limits.xml.attribute_value_bytes_max);
    limits.xml = xml::Limits {
        depth_max: ours.xml_depth_max,
        attributes_max: ours.xml_attributes_max,
        name_bytes_max: ours.xml_name_bytes_max,
        attribute_value_bytes_max: attribute_bytes_max,
        markup_bytes_max: attribute_bytes_max.saturating_mul(2),
        document_bytes_max: settings.request_bytes_max(),
        ..limits.xml
    };
    limits.signature.ids_max = limits.signature.ids_max.saturating_sub(OWN_IDS);
    limits.mime.parts_max = ours.parts_max.saturating_add(1);
    limits.mime.header_block_bytes_max = ours.part_header_bytes_max;
    limits
}

pub async fn take(mut body: Body, in_force: Arc<InForce>, settings: &Settings) -> Result<Request, Refused> {
    let mut arriving = Arriving::new(in_force, settings);
    let mut piece = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Refused::new(Code::Malformed, format!("the request ended too early: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        piece.extend_from_slice(&data);
        if piece.len() >= PIECE_BYTES {
            (arriving, piece) = elsewhere(move || {
                arriving.push(&piece)?;
                piece.clear();
                Ok((arriving, piece))
            })
            .await?;
        }
    }
    let is_small = arriving.bytes == 0 && piece.len() <= SMALL_BYTES_MAX;
    let last = move || {
        arriving.push(&piece)?;
        arriving.finish()
    };
    if is_small { last() } else { elsewhere(last).await }
}

/// Runs what takes its time where it blocks nobody.
async fn elsewhere<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    let stopped = |_| Err(Refused::new(Code::Internal, "the request could not be read to its end"));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(stopped)
}

/// A request of which part is still to come.
struct Arriving {
    in_force: Arc<InForce>,
    limits: Limits,
    policy: crate::xml::enc::Policy,
    reader: read::Reader,
    /// Why it is no message; what follows is taken and forgotten.
    unreadable: Option<envelope::Error>,
    bytes: u64,
    bytes_max: u64,
    /// The request, unless it is encrypted.
    clear: Spool,
    decryption: Decryption,
}

/// How far an encrypted request is opened. What went wrong is told when the request is complete, and reads as a message.
enum Decryption {
    /// Into this, once there is a ciphertext.
    Expected(Spool),
    UnderWay(Box<Opening<Spool>>, Algorithms),
    Failed(encrypted::Error),
}

impl Arriving {
    fn new(in_force: Arc<InForce>, settings: &Settings) -> Self {
        let (limits, bytes_max) = (limits(settings), settings.request_bytes_max());
        let reserve_bytes = settings.limits.disk_reserve_bytes;
        let spool = || Spool::new(&settings.spool_folder, bytes_max).sparing(reserve_bytes);
        Self {
            in_force,
            reader: read::Reader::new(limits.clone()),
            limits,
            policy: settings.policy,
            unreadable: None,
            bytes: 0,
            bytes_max,
            clear: spool(),
            decryption: Decryption::Expected(spool()),
        }
    }

    fn push(&mut self, piece: &[u8]) -> Result<(), Refused> {
        self.bytes = self.bytes.saturating_add(piece.len() as u64);
        if self.bytes > self.bytes_max {
            let sentence = "the request is larger than limits.content_bytes_max allows";
            return Err(Refused::new(Code::Malformed, sentence));
        }
        if self.unreadable.is_some() {
            return Ok(());
        }
        let (decryption, in_force, policy) = (&mut self.decryption, &self.in_force, &self.policy);
        let read = self.reader.push_past(piece, &mut |sealed, ciphertext| {
            decryption.begin(sealed, in_force, policy);
            decryption.push(ciphertext);
        });
        self.unreadable = read.err();
        if !self.reader.is_encrypted() {
            self.clear.write_all(piece).map_err(on_our_disk)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Request, Refused> {
        if let Some(error) = &self.unreadable {
            return Err(unreadable(Code::Malformed, error));
        }
        let outer = self.reader.finish().map_err(|error| unreadable(Code::Malformed, &error))?;
        match outer {
            Incoming::Message(received) => {
                Ok(Request { received: *received, bytes: self.clear.freeze(), seal: None })
            }
            Incoming::Fault(_) => Err(Refused::new(Code::Malformed, "a fault is no request")),
            Incoming::Encrypted(sealed) => {
                let in_base64 = sealed.ciphertext.encoding == TransferEncoding::Base64;
                self.decryption.begin(&sealed, &self.in_force, &self.policy);
                let (inner, algorithms, good) = self.decryption.finish()?;
                // Content in CBC is not authentic: whether its padding was right must not show, in answer or time, or
                // blocks of a captured request can be read by asking. So it is read in both cases, and nothing may
                // stand behind its end in which a foreign block would go unnoticed. That a captured request as a whole
                // is good does show.
                let mut code = Code::DecryptedMalformed;
                if algorithms.method.is_cbc() {
                    code = Code::Undecipherable;
                    self.limits.mime.epilogue_bytes_max = LINE_END_BYTES;
                }
                let parsed = parse(&inner, &self.limits);
                if !good {
                    return Err(undecipherable());
                }
                match parsed.map_err(|error| unreadable(code, &error))? {
                    Incoming::Message(received) => {
                        let seal = Some(Seal { algorithms, in_base64 });
                        Ok(Request { received: *received, bytes: inner, seal })
                    }
                    Incoming::Encrypted(_) | Incoming::Fault(_) => {
                        Err(Refused::new(code, "what was encrypted is no request"))
                    }
                }
            }
        }
    }
}

impl Decryption {
    /// Begins, unless it has begun.
    fn begin(&mut self, sealed: &Sealed, in_force: &InForce, policy: &crate::xml::enc::Policy) {
        let stopped = Self::Failed(encrypted::Error::Undecryptable);
        *self = match std::mem::replace(self, stopped) {
            Self::Expected(spool) => {
                let own: Vec<OwnKey<'_>> = in_force
                    .cipher
                    .iter()
                    .map(|own| OwnKey { certificate_der: own.certificate.der().as_ref(), key: &own.key })
                    .collect();
                match sealed.begin(&own, policy, spool) {
                    Ok((opening, algorithms)) => Self::UnderWay(Box::new(opening), algorithms),
                    Err(error) => Self::Failed(error),
                }
            }
            begun => begun,
        };
    }

    fn push(&mut self, ciphertext: &[u8]) {
        if let Self::UnderWay(opening, _) = self
            && let Err(error) = opening.push(ciphertext)
        {
            *self = Self::Failed(error.into());
        }
    }

    /// With `false` the content is to be read and then refused ([`Opening::finish_alike`]).
    fn finish(self) -> Result<(Frozen, Algorithms, bool), Refused> {
        let refused = |error: encrypted::Error| {
            let code = match &error {
                encrypted::Error::Structure(_) => Code::Malformed,
                encrypted::Error::NotForUs => Code::KeyUnknown,
                encrypted::Error::Undecryptable => Code::Undecipherable,
                encrypted::Error::Spool(kind) => return on_our_disk((*kind).into()),
                encrypted::Error::Input(_) => Code::Internal,
            };
            Refused::new(code, error.to_string())
        };
        let (opening, algorithms) = match self {
            Self::UnderWay(opening, algorithms) => (opening, algorithms),
            Self::Failed(error) => return Err(refused(error)),
            Self::Expected(_) => return Err(undecipherable()),
        };
        let (content, good) = opening.finish_alike().map_err(|error| refused(error.into()))?;
        let mut spool = content.into_spool();
        spool.seek(SeekFrom::Start(0)).map_err(on_our_disk)?;
        Ok((spool.freeze(), algorithms, good))
    }
}

pub fn parse(bytes: &Frozen, limits: &Limits) -> Result<Incoming, envelope::Error> {
    if let Frozen::Memory(bytes) = bytes {
        let mut reader = read::Reader::new(limits.clone());
        reader.push(bytes)?;
        return reader.finish();
    }
    let whole = bytes.stretch(0..bytes.length());
    let mut source = whole.open().map_err(|error| envelope::Error::Input(error.kind()))?;
    read::read(&mut source, limits)
}

fn undecipherable() -> Refused {
    Refused::new(Code::Undecipherable, encrypted::Error::Undecryptable.to_string())
}

fn on_our_disk(error: io::Error) -> Refused {
    let advice = match error.kind() {
        io::ErrorKind::StorageFull => "; make room, see limits.disk_reserve_bytes",
        _ => "",
    };
    Refused::new(Code::Internal, format!("the request cannot be spooled: {error}{advice}"))
}

fn unreadable(code: Code, error: &envelope::Error) -> Refused {
    match error {
        envelope::Error::Input(_) => Refused::new(Code::Internal, error.to_string()),
        _ => Refused::new(code, error.to_string()),
    }
}
