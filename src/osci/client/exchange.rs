//! One request out, one answer in: written, signed, encrypted, carried, decrypted, read, believed.
//!
//! What is heavy runs beside the threads that serve; both messages wait in files without a name, so memory does not
//! grow with them.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::rand;

use super::address::Address;
use super::judge::{self, Asked, Distrust};
use super::keys::Keys;
use super::scratch::{self, Slice};
use super::transport;
use crate::mime::write::Boundary;
use crate::osci::envelope::encrypted::{self, Algorithms, OwnKey, PreparedSealed};
use crate::osci::envelope::fault::Fault;
use crate::osci::envelope::read::{self, Incoming, Received};
use crate::osci::envelope::scope::Scope;
use crate::osci::envelope::source::Shared;
use crate::osci::envelope::write::{self, Outgoing, OutgoingAttachment, Signing};
use crate::osci::envelope::{self, Limits};
use crate::osci::message::Message;
use crate::osci::message::control_block::Challenge;
use crate::osci::message::kind::Kind;
use crate::pki::certificate::Certificate;
use crate::xml::dsig::DigestMethod;
use crate::xml::enc::{ContentMethod, IvLength, KeyTransport, Policy};

/// Bytes of an answer after which it is looked anew how much room the disk has.
const ANSWER_BYTES_UNMEASURED: u64 = 4 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Transport(#[from] transport::Error),
    /// The peer could not take the request as one.
    #[error("the peer refused the message: {} {}", .0.code.map_or_else(|| "without code".to_owned(), |code| code.to_string()), .0.text)]
    Fault(Fault),
    #[error("the answer is no message of OSCI 1.2: {0}")]
    Answer(#[from] envelope::Error),
    #[error("the answer cannot be read: {0}")]
    Sealed(#[from] encrypted::Error),
    #[error("the answer is not believed: {0}")]
    Distrust(#[from] Distrust),
    #[error("the request cannot be written: {0}")]
    Write(#[from] write::Error),
    #[error("the request is not one: {0}")]
    Request(#[from] crate::osci::message::Error),
    #[error("{0}")]
    File(#[from] io::Error),
    #[error("no random numbers")]
    Random,
    #[error("a task broke off: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// How we speak to one peer.
pub struct Settings {
    pub address: Address,
    pub transport: transport::Settings,
    pub keys: Keys,
    /// The peer's cipher certificate; requests are encrypted for it.
    pub peer_cipher: Certificate,
    /// The peer's signature certificate, if it is known beforehand.
    pub peer_signature: Option<Certificate>,
    pub encrypt: bool,
    pub sign: bool,
    pub digest: DigestMethod,
    pub algorithms: Algorithms,
    pub policy: Policy,
    pub limits: Limits,
    /// Where messages wait on their way.
    pub scratch: PathBuf,
    /// Free bytes of that disk that no message on its way may use.
    pub reserve_bytes: u64,
}

impl Settings {
    /// Encrypted and signed, by today's algorithms.
    pub fn new(address: Address, keys: Keys, peer_cipher: Certificate) -> Self {
        Self {
            address,
            transport: transport::Settings::default(),
            sign: keys.signature.is_some(),
            keys,
            peer_cipher,
            peer_signature: None,
            encrypt: true,
            digest: DigestMethod::Sha256,
            algorithms: Algorithms {
                method: ContentMethod::Aes256Gcm,
                iv: IvLength::Twelve,
                transport: KeyTransport::OAEP_SHA256,
            },
            policy: encrypted::policy(),
            limits: Limits::default(),
            scratch: std::env::temp_dir(),
            reserve_bytes: 0,
        }
    }
}

/// A request with what it carries.
pub struct Parcel {
    pub message: Message,
    /// The declarations around handed-on content; the usual ones for our own.
    pub scope: Scope,
    pub content: Option<Shared>,
    pub attachments: Vec<OutgoingAttachment>,
}

impl Parcel {
    pub fn bare(message: Message) -> Self {
        Self { message, scope: Scope::standard(), content: None, attachments: Vec::new() }
    }
}

/// An answer that was opened; content and attachments lie in `plain`.
pub struct Opened {
    pub received: Box<Received>,
    pub plain: Slice,
    pub encrypted: bool,
}

/// Sends a parcel and reads what comes back. What it says is for [`judge::answer`].
pub async fn exchange(settings: &Arc<Settings>, parcel: Parcel) -> Result<Opened, Error> {
    let own = settings.clone();
    let request = blocking(move || pack(&own, &parcel)).await?;
    carry(settings, request).await
}

/// Sends a request that is packed; from here on the peer may see it.
pub(super) async fn carry(settings: &Arc<Settings>, request: Slice) -> Result<Opened, Error> {
    // First of all: without a place for the answer nothing is asked.
    let file = scratch::file(&settings.scratch)?;
    let mut answer =
        transport::post(&settings.transport, &settings.address, request.body(), request.length()).await?;
    let mut file = tokio::fs::File::from_std(file);
    let mut unmeasured = ANSWER_BYTES_UNMEASURED;
    while let Some(piece) = answer.next().await? {
        unmeasured += piece.len() as u64;
        if unmeasured >= ANSWER_BYTES_UNMEASURED {
            // What comes out of its encryption needs as much again.
            scratch::room(&settings.scratch, 2 * ANSWER_BYTES_UNMEASURED, settings.reserve_bytes)?;
            unmeasured = 0;
        }
        tokio::io::AsyncWriteExt::write_all(&mut file, &piece).await?;
    }
    tokio::io::AsyncWriteExt::flush(&mut file).await?;
    let whole = Slice::whole(Arc::new(file.into_std().await))?;
    let own = settings.clone();
    blocking(move || unpack(&own, whole)).await
}

/// Sends a parcel and believes the answer, or not. `supplier` is whom we know already.
pub async fn ask(
    settings: &Arc<Settings>,
    parcel: Parcel,
    supplier: Option<&[u8]>,
) -> Result<(Opened, Option<Vec<u8>>), Error> {
    let operation = parcel.message.kind().operation();
    let opened = exchange(settings, parcel).await?;
    let pinned = settings.peer_signature.as_ref().map(|certificate| certificate.der().as_ref());
    let (encrypted, signed) = (settings.encrypt, settings.sign);
    let asked = Asked { operation, encrypted, signed, supplier: pinned.or(supplier) };
    let signer = judge::answer(asked, &opened.received, opened.encrypted)?.map(<[u8]>::to_vec);
    Ok((opened, signer))
}

pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await?
}

/// The request as it goes out.
pub(super) fn pack(settings: &Settings, parcel: &Parcel) -> Result<Slice, Error> {
    let prepared = prepare(settings, parcel, settings.sign)?;
    scratch::room(&settings.scratch, prepared.size(), settings.reserve_bytes)?;
    let mut out = BufWriter::with_capacity(64 * 1024, scratch::file(&settings.scratch)?);
    if settings.encrypt {
        let peer = &settings.peer_cipher;
        let sealed =
            PreparedSealed::new(prepared, settings.algorithms, peer.der(), peer.spki(), boundary()?, false)?;
        sealed.write(&mut out)?;
    } else {
        prepared.write(&mut out)?;
    }
    finished(out)
}

/// A complete message in the clear, such as the one inside chunks.
pub fn write_plain(settings: &Settings, parcel: &Parcel) -> Result<Slice, Error> {
    let prepared = prepare(settings, parcel, settings.sign)?;
    scratch::room(&settings.scratch, prepared.size(), settings.reserve_bytes)?;
    let mut out = BufWriter::with_capacity(64 * 1024, scratch::file(&settings.scratch)?);
    prepared.write(&mut out)?;
    finished(out)
}

fn prepare(settings: &Settings, parcel: &Parcel, sign: bool) -> Result<write::Prepared, Error> {
    let mut outgoing = Outgoing::new(&parcel.message, &parcel.scope, boundary()?);
    outgoing.content = parcel.content.clone();
    outgoing.attachments = parcel.attachments.clone();
    let id = signer_id(&parcel.message);
    if let (true, Some(own), Some(id)) = (sign, &settings.keys.signature, &id) {
        let (method, digest) = (own.method(), settings.digest);
        outgoing.signing = Some(Signing { signer: &own.key, certificate_id: id, method, digest });
    }
    Ok(outgoing.prepare()?)
}

/// The certificate in the message that we sign with.
fn signer_id(message: &Message) -> Option<String> {
    use crate::osci::message::certificates::Role;
    let role = match message.kind() {
        Kind::Request(operation) if operation.is_to_recipient() => {
            return message
                .intermediary
                .as_ref()?
                .signature
                .as_ref()
                .map(|certificate| certificate.id.clone());
        }
        _ => Role::SignatureOriginator,
    };
    message.certificates.as_ref()?.first(role).map(|certificate| certificate.id.clone())
}

fn finished(out: BufWriter<File>) -> Result<Slice, Error> {
    let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.flush()?;
    Ok(Slice::whole(Arc::new(file))?)
}

/// Reads an answer, through its encryption if there is one.
fn unpack(settings: &Settings, whole: Slice) -> Result<Opened, Error> {
    match read::read(&mut whole.reader(), &settings.limits)? {
        Incoming::Message(received) => Ok(Opened { received, plain: whole, encrypted: false }),
        Incoming::Fault(fault) => Err(Error::Fault(Fault::read(&fault))),
        Incoming::Encrypted(sealed) => {
            let mut ciphertext = whole.part(sealed.ciphertext.span.clone()).reader();
            let own = OwnKey { certificate_der: settings.keys.cipher.der(), key: &settings.keys.cipher_key };
            let spool = scratch::file(&settings.scratch)?;
            let (decrypted, _) = sealed.open(&mut ciphertext, &[own], &settings.policy, spool)?;
            let plain = Slice::whole(Arc::new(decrypted.into_spool()))?;
            read_plain(settings, plain, true)
        }
    }
}

/// Reads a message that must be in the clear.
pub fn read_plain(settings: &Settings, plain: Slice, encrypted: bool) -> Result<Opened, Error> {
    match read::read(&mut plain.reader(), &settings.limits)? {
        Incoming::Message(received) => Ok(Opened { received, plain, encrypted }),
        Incoming::Fault(fault) => Err(Error::Fault(Fault::read(&fault))),
        Incoming::Encrypted(_) => {
            let (what, why) = ("encrypted message", "another encrypted message is inside");
            Err(envelope::Error::Invalid { what, why }.into())
        }
    }
}

pub fn boundary() -> Result<Boundary, Error> {
    let mut random = [0; 24];
    rand::fill(&mut random).map_err(|_| Error::Random)?;
    Ok(Boundary::from_random(random))
}

pub fn challenge() -> Result<Challenge, Error> {
    let mut random = [0; 10];
    rand::fill(&mut random).map_err(|_| Error::Random)?;
    Ok(Challenge::from_random(random))
}
