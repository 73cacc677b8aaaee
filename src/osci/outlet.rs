//! Deliveries for a reader at another intermediary: storeDelivery there, as one of its clients (OSCI12, sections 3, 8 and
//! 10; item 8 of section 10 on requests that are repeated).
//!
//! What came by OSCI goes on byte for byte in its sender's declarations, so that signatures of authors hold. Its sender
//! becomes an author of ours, with the ids of his certificates kept; we are the originator. What came through another
//! door is bridged as a fetch would bridge it. Only the one URL of the configuration is ever dialled.
//!
//! A message is stored there once, whatever breaks: the id that the other one issued is noted durably before it is used,
//! and an attempt that finds a note asks for that id's process card before it sends anything. An id that was used (9801)
//! and has a card counts as delivered; one that was used or forgotten and has none was never ours there, and another is
//! asked for. What is larger than a chunk goes in chunks (partialStoreDelivery, section 5.2): the message inside is written
//! once, to a file that outlives the process, so that after a break the chunks that are missing are cut from the very
//! bytes of the others. Left out: asking later when the reader there confirmed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;

use super::chunk::KILOBYTE;
use super::client::exchange;
use super::client::judge::Distrust;
use super::client::request::Addressed;
use super::client::scratch::Slice;
use super::client::session::{Client, Content, Error as SessionError, Session, Stored, Upload};
use super::code::Code;
use super::envelope::scope::Scope;
use super::envelope::write::Coding;
use super::message::certificates::{Certificate as Shown, NonIntermediaryCertificates, Role};
use super::message::feature_description::Feature;
use super::message::fetch_process_card::FetchProcessCard;
use super::message::message_id::MessageId;
use super::message::process_card::{ProcessCardBundle, Timestamp};
use super::message::selection::CardSelection;
use super::server::Metadata;
use super::server::fetch::{self, can_carry, carried};
use crate::domain::content::Digest;
use crate::domain::party::MailboxName;
use crate::pki::certificate::Certificate;
use crate::relay::{Outlet, PushVerdict, Refusal, Relay};
use crate::store::{Entry, PayloadReader};

/// Refusals that speak of this delivery and will be the same tomorrow: certificates of its addressee, readers and
/// authors, and its size.
const FOR_GOOD: [Code; 7] = [
    Code::AuthorCipherUntrusted,
    Code::AuthorCipherRevoked,
    Code::AddresseeCipherUntrusted,
    Code::AddresseeCipherRevoked,
    Code::ReaderCipherUntrusted,
    Code::ReaderCipherRevoked,
    Code::MessageTooBig,
];

/// A message that is on its way in chunks for so long is written anew.
const OUTGOING_AGE_MAX: Duration = Duration::from_secs(7 * 86_400);

/// Time for exitDialog; without it the dialog ends there by itself.
const EXIT_TIME_MAX: Duration = Duration::from_secs(5);

/// One foreign intermediary, and whom we reach through it.
pub struct ForeignIntermediary {
    /// The relay holds its outlets, so they do not hold it.
    relay: Weak<Relay>,
    client: Client,
    readers: BTreeMap<MailboxName, Certificate>,
    metadata: Arc<dyn Metadata>,
    spool_folder: PathBuf,
    /// Messages that go in chunks, by the id that they have there.
    outgoing: Outgoing,
    /// At most so many KB go in one piece; otherwise the other one's own bound counts.
    chunk_kilobytes: Option<u64>,
    name: String,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("our own store: {0}")]
    Relay(#[from] Refusal),
    #[error("{0}")]
    Content(String),
    /// It will never work out.
    #[error("{0}")]
    Impossible(&'static str),
    #[error(
        "the message id {0} that was kept for it is no longer good there; the next attempt asks for another"
    )]
    IdForgotten(String),
    #[error(
        "what was sent of it as {0} in chunks cannot be continued; the next attempt begins anew with another id"
    )]
    UploadLost(String),
    #[error("it has {kilobytes} KB, and at most {max} KB are taken there")]
    TooLarge { kilobytes: u64, max: u64 },
    #[error("{}: {source}; see limits.disk_reserve_bytes", folder.display())]
    Outgoing { folder: PathBuf, source: io::Error },
}

impl ForeignIntermediary {
    /// `client` is who we are there. Each reader's cipher certificate addresses what lies in his mailbox here.
    pub fn new(
        relay: &Arc<Relay>,
        client: Client,
        readers: BTreeMap<MailboxName, Certificate>,
        metadata: Arc<dyn Metadata>,
        chunk_kilobytes: Option<u64>,
    ) -> Self {
        let name = client.settings().address.to_string();
        let spool_folder = client.settings().scratch.clone();
        let outgoing = Outgoing::new(&spool_folder);
        let relay = Arc::downgrade(relay);
        Self { relay, client, readers, metadata, spool_folder, outgoing, chunk_kilobytes, name }
    }

    async fn hand_over(&self, entry: &Entry, payload: Box<dyn PayloadReader>) -> Result<String, Error> {
        let relay = self.relay.upgrade().ok_or(Error::Content("the post office is closing".to_owned()))?;
        let reader = self
            .readers
            .get(&entry.card.mailbox)
            .ok_or(Error::Impossible("no certificate of its reader is known"))?;
        if !can_carry(entry) {
            return Err(Error::Impossible("it is encrypted in the form of XTA, which OSCI cannot carry"));
        }
        let refused = |refused: super::server::Refused| Error::Content(refused.detail);
        let spool = fetch::readable(payload, &self.spool_folder).await.map_err(refused)?;
        let content = carried(entry, &spool, Coding::Binary, self.metadata.as_ref()).map_err(refused)?;
        let id = &entry.envelope.id;
        let noted = relay.push_note(id).await?;
        let mut session = self.client.begin().await?;
        let remote = match noted {
            Some(noted) => {
                let remote =
                    MessageId::new(noted.as_str()).map_err(|error| Error::Content(error.to_string()))?;
                // An attempt before this one used it or was about to; whether it was taken, only the other one knows.
                if let Some(card) = card_of(&mut session, &remote).await? {
                    return Ok(self.taken(&remote, Some(&card), session));
                }
                remote
            }
            None => {
                let remote = session.message_id().await?;
                relay.note_push(id, Some(remote.as_str())).await?;
                remote
            }
        };
        let addressed = Addressed {
            id: Some(remote.clone()),
            subject: entry.envelope.qualifier.subject.clone(),
            certificates: certificates(content.certificates.as_ref(), reader.der()),
            custom: content.custom,
        };
        let parcel = Content { package: content.package, attachments: content.attachments };
        let bytes = parcel.attachments.iter().fold(parcel.package.bytes(), |sum, one| sum + one.bytes());
        // What came of it before is over, where the other one takes only less by now.
        let chunks = self.chunk_kilobytes(&session, bytes);
        let stored = match chunks.inspect_err(|_| self.outgoing.forget(remote.as_str()))? {
            None => session.store_in(addressed, parcel, content.scope).await,
            Some(kilobytes) => {
                let stored = self.upload(&mut session, addressed, parcel, content.scope, kilobytes).await;
                match stored {
                    Err(Error::UploadLost(lost)) => {
                        relay.note_push(id, None).await?;
                        return Err(Error::UploadLost(lost));
                    }
                    Err(Error::Session(error)) => Err(error),
                    Err(error) => return Err(error),
                    Ok(stored) => Ok(stored),
                }
            }
        };
        match stored {
            Ok(Stored { card, .. }) => Ok(self.taken(&remote, card.as_ref(), session)),
            Err(error) if is(&error, Code::MessageIdUnknown) => match card_of(&mut session, &remote).await? {
                Some(card) => Ok(self.taken(&remote, Some(&card), session)),
                None => {
                    relay.note_push(id, None).await?;
                    Err(Error::IdForgotten(remote.as_str().to_owned()))
                }
            },
            Err(error) => Err(error.into()),
        }
    }

    /// The size of the chunks that so many bytes go in, if they do not go in one piece.
    fn chunk_kilobytes(&self, session: &Session, bytes: u64) -> Result<Option<u64>, Error> {
        let features = session.features();
        let kilobytes = bytes.div_ceil(KILOBYTE);
        let announced = features.and_then(|features| features.chunk_kilobytes_max);
        let knows_chunks = features.is_some_and(|features| features.has(Feature::PartialMessageTransmission));
        let max = features.and_then(|features| features.message_kilobytes_max);
        if let Some(max) = max.filter(|max| kilobytes > *max) {
            return Err(Error::TooLarge { kilobytes, max });
        }
        let one_piece = match (self.chunk_kilobytes, announced) {
            (Some(own), Some(announced)) => Some(own.min(announced)),
            (own, announced) => own.or(announced),
        };
        Ok(one_piece.filter(|one_piece| knows_chunks && kilobytes > *one_piece))
    }

    /// Stores in chunks, or goes on with it.
    async fn upload(
        &self,
        session: &mut Session,
        addressed: Addressed,
        content: Content,
        scope: Scope,
        kilobytes: u64,
    ) -> Result<Stored, Error> {
        let id = addressed.id.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default();
        let (received, total) = match session.uploaded(addressed.clone()).await {
            Ok(Upload::Stored(stored)) => {
                self.outgoing.forget(&id);
                return Ok(*stored);
            }
            Ok(Upload::Open { received, total }) => (received, total),
            Err(error) => {
                if is_over(&error) {
                    self.outgoing.forget(&id);
                }
                return Err(error.into());
            }
        };
        let failed = |source| Error::Outgoing { folder: self.outgoing.0.clone(), source };
        let whole = match self.outgoing.find(&id).map_err(failed)? {
            Some(whole) => whole,
            // Written anew it would have another challenge, and another signature with it.
            None if !received.is_empty() => return Err(Error::UploadLost(id)),
            None => {
                let whole = self.client.inside_chunks(&addressed, content, scope).await?;
                let (outgoing, name) = (self.outgoing.clone(), id.clone());
                let kept = tokio::task::spawn_blocking(move || outgoing.keep(&name, &whole));
                kept.await.map_err(|error| failed(io::Error::other(error)))?.map_err(failed)?
            }
        };
        let cut = whole.length().div_ceil(kilobytes * KILOBYTE);
        if total.is_some_and(|total| total != cut) {
            self.outgoing.forget(&id);
            return Err(Error::UploadLost(id));
        }
        let stored = session.upload(addressed, &whole, kilobytes, &received).await;
        if stored.as_ref().err().is_none_or(is_over) {
            self.outgoing.forget(&id);
        }
        Ok(stored?)
    }

    /// What the other one says of it. It has the delivery, whatever becomes of the dialog.
    fn taken(&self, remote: &MessageId, card: Option<&ProcessCardBundle>, session: Session) -> String {
        // The answer to its last chunk may not have been heard.
        self.outgoing.forget(remote.as_str());
        let name = self.name.clone();
        // Beside the verdict, which must not wait for it: nothing depends on how the dialog ends.
        tokio::spawn(async move {
            match tokio::time::timeout(EXIT_TIME_MAX, session.exit()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(destination = name, %error, "a dialog did not end as it should");
                }
                Err(_) => tracing::debug!(destination = name, "exitDialog was not answered"),
            }
        });
        let mut remark = format!("{} took it as {}", self.name, remote.as_str());
        let mut add = |what: &str, at: Option<&Timestamp>| match at {
            Some(Timestamp::Plain(at)) => remark.push_str(&format!(", {what} {}", at.text)),
            Some(Timestamp::Cryptographic { .. }) => remark.push_str(&format!(", {what} by a time stamp")),
            None => {}
        };
        add("created", card.map(|card| &card.creation));
        add("forwarded", card.and_then(|card| card.forwarding.as_ref()));
        add("received", card.and_then(|card| card.reception.as_ref()));
        remark
    }

    fn verdict(&self, error: &Error) -> PushVerdict {
        let reason = match advice(error) {
            None => error.to_string(),
            Some(advice) => {
                tracing::warn!(code = "foreign-intermediary", destination = self.name, %error, "{advice}");
                format!("{error}; {advice}")
            }
        };
        let for_good = match error {
            Error::Impossible(_) | Error::TooLarge { .. } => true,
            Error::Session(error) => FOR_GOOD.iter().any(|code| is(error, *code)),
            _ => false,
        };
        if for_good { PushVerdict::Refused { reason } } else { PushVerdict::TryLater { reason } }
    }
}

#[async_trait]
impl Outlet for ForeignIntermediary {
    async fn push(&self, entry: &Entry, payload: Box<dyn PayloadReader>) -> PushVerdict {
        match self.hand_over(entry, payload).await {
            Ok(remark) => PushVerdict::Taken { remark },
            Err(error) => self.verdict(&error),
        }
    }

    fn destination(&self) -> &str {
        &self.name
    }
}

/// Messages on their way in chunks, in files that outlive the process.
#[derive(Debug, Clone)]
struct Outgoing(PathBuf);

impl Outgoing {
    fn new(spool_folder: &Path) -> Self {
        Self(spool_folder.join("outgoing"))
    }

    fn path(&self, id: &str) -> PathBuf {
        self.0.join(Digest::of(id.as_bytes()).to_string())
    }

    fn find(&self, id: &str) -> io::Result<Option<Slice>> {
        match File::open(self.path(id)) {
            Ok(file) => Slice::whole(Arc::new(file)).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps a message, whole or not at all, before its first chunk leaves.
    fn keep(&self, id: &str, whole: &Slice) -> io::Result<Slice> {
        std::fs::create_dir_all(&self.0)?;
        self.sweep()?;
        let (path, unfinished) = (self.path(id), self.path(id).with_extension("new"));
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        io::copy(&mut whole.reader(), &mut file)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, &path)?;
        File::open(&self.0)?.sync_all()?;
        Slice::whole(Arc::new(file))
    }

    /// What is so old was cancelled here or is forgotten there.
    fn sweep(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.0)? {
            let entry = entry?;
            let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
            if age > OUTGOING_AGE_MAX {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn forget(&self, id: &str) {
        match std::fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.path(id).display(), %error, "a message that has left cannot be removed; remove it by hand");
            }
            _ => {}
        }
    }
}

/// The process card of an id, if the other one has one for us.
async fn card_of(session: &mut Session, id: &MessageId) -> Result<Option<ProcessCardBundle>, SessionError> {
    let wanted =
        FetchProcessCard { selection: Some(CardSelection::MessageIds(vec![id.clone()])), quantity_max: None };
    let cards = session.cards(wanted).await?;
    Ok(cards.into_iter().find(|card| card.message_id == *id))
}

fn is(error: &SessionError, code: Code) -> bool {
    error.code().is_some_and(|found| found.to_string() == code.as_str())
}

/// Whether nothing more is sent under the id that was refused.
fn is_over(error: &SessionError) -> bool {
    FOR_GOOD.iter().any(|code| is(error, *code)) || is(error, Code::MessageIdUnknown)
}

/// What the operator can do where no repetition helps until he does.
fn advice(error: &Error) -> Option<&'static str> {
    use exchange::Error as E;
    match error {
        Error::Session(error) if is(error, Code::KeyUnknown) || is(error, Code::KeyRevoked) => Some(
            "nothing was sent: intermediary.cipher_certificate is not the one that is in use there; ask for the \
             current one",
        ),
        Error::Session(SessionError::Exchange(E::Distrust(Distrust::Signer | Distrust::Signature(_)))) => {
            Some(
                "the answer is not signed by intermediary.signature_certificate; ask for the current one, and whether \
             it is who answers at this URL",
            )
        }
        Error::Session(SessionError::Exchange(E::Sealed(_))) => Some(
            "intermediary.own_cipher_key does not open the answer; it must belong to own_cipher_certificate",
        ),
        _ => None,
    }
}

/// The parties of a delivery when it is ours to send: its sender becomes one more author, and its addressee one more
/// reader where we address another certificate. Their ids stay, because signatures and keys point to them.
fn certificates(theirs: Option<&NonIntermediaryCertificates>, reader: &[u8]) -> Vec<Shown> {
    let mut all: Vec<Shown> = theirs.into_iter().flat_map(|block| block.all().iter().cloned()).collect();
    all.retain(|certificate| certificate.role != Role::SignatureAddressee);
    for certificate in &mut all {
        certificate.role = match certificate.role {
            Role::CipherOriginator => Role::CipherOtherAuthor,
            Role::SignatureOriginator => Role::SignatureOtherAuthor,
            Role::CipherAddressee if certificate.der != reader => Role::CipherOtherReader,
            role => role,
        };
    }
    if !all.iter().any(|certificate| certificate.role == Role::CipherAddressee) {
        all.push(Shown::new(Role::CipherAddressee, reader));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(theirs: &[(Role, &str, &str)], expected: &[(Role, &str, &str)]) {
        let all = theirs.iter().map(|(role, id, der)| Shown {
            role: *role,
            id: (*id).to_owned(),
            der: der.as_bytes().to_vec(),
        });
        let block = NonIntermediaryCertificates::new(all.collect()).expect("a block");
        let made = certificates(Some(&block), b"reader");
        let made: Vec<_> = made
            .iter()
            .map(|one| (one.role, one.id.as_str(), std::str::from_utf8(&one.der).expect("text")))
            .collect();
        assert_eq!(made, expected);
    }

    #[test]
    fn a_sender_becomes_an_author_under_the_same_ids() {
        use Role as R;
        check(
            &[
                (R::CipherOriginator, "a", "author"),
                (R::CipherAddressee, "r", "reader"),
                (R::SignatureOriginator, "s", "signer"),
                (R::SignatureOtherAuthor, "t", "second"),
                (R::SignatureAddressee, "u", "reader-signature"),
            ],
            &[
                (R::CipherOtherAuthor, "a", "author"),
                (R::CipherAddressee, "r", "reader"),
                (R::SignatureOtherAuthor, "s", "signer"),
                (R::SignatureOtherAuthor, "t", "second"),
            ],
        );
        let addressee = Shown::new(R::CipherAddressee, b"reader".to_vec());
        check(
            &[(R::CipherAddressee, "r", "former")],
            &[(R::CipherOtherReader, "r", "former"), (R::CipherAddressee, &addressee.id, "reader")],
        );
        let none = certificates(None, b"reader");
        assert_eq!(none, [addressee]);
    }
}
