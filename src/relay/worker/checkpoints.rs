//! Signs the evidence log at intervals while it grows, writes other nodes' checkpoints into it, and writes proofs out of it.
//!
//! Before a new checkpoint is signed, the one before it is opened and its root computed again: a log that was
//! shortened or rewritten is never signed over, and the operator is told. That holds across a change of the signing
//! key as well, for which the former public key must be known ([`crate::relay::Settings::former_evidence_keys`]).

use std::sync::{Arc, PoisonError};

use tokio::sync::watch;

use crate::domain::card::ProcessCard;
use crate::domain::content::Digest;
use crate::domain::message_id::MessageId;
use crate::evidence::checkpoint::{Checkpoint, NoteError, SigningKey, VerifierKey};
use crate::evidence::export::{self, Proof, ProvenRecord, Trust, Version};
use crate::evidence::record::Record;
use crate::evidence::signed_card::{CardSigner, SignedCard};
use crate::relay::{Refusal, Relay};
use crate::report::{CorrelationId, Failure};
use crate::store::StoreError;

use super::stopped;

/// How often a proof is begun anew because its message changed meanwhile.
const EXPORT_TRIES: u32 = 5;

impl Relay {
    /// From here on checkpoints are signed with this key. The first key given stays.
    pub fn sign_checkpoints_with(&self, key: Arc<SigningKey>) {
        if self.signer.set(key).is_err() {
            tracing::warn!("the evidence log has a signing key already; the second one is not used");
        }
    }

    /// From here on proofs hold the process card as XML that this signer signs.
    pub fn sign_cards_with(&self, signer: Arc<CardSigner>) {
        *self.card_signer.write().unwrap_or_else(PoisonError::into_inner) = Some(signer);
    }

    /// Who signs process cards, if anybody does.
    pub fn card_signer(&self) -> Option<Arc<CardSigner>> {
        self.card_signer.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The key by which others check this log, where it is signed.
    pub fn evidence_key(&self) -> Option<&VerifierKey> {
        self.signer.get().map(|key| key.verifier())
    }

    /// That key and those before it.
    pub fn evidence_keys(&self) -> impl Iterator<Item = &VerifierKey> {
        self.evidence_key().into_iter().chain(&self.settings.former_evidence_keys)
    }

    /// Signs the log as it is. `None` where nothing was added since the last checkpoint, or where there is no key.
    pub async fn sign_checkpoint(&self) -> Result<Option<Checkpoint>, Refusal> {
        let Some(signer) = self.signer.get() else { return Ok(None) };
        let size = self.store.evidence_size().await?;
        if let Some((last, ours)) = self.last_checkpoint(signer.verifier()).await? {
            if last.size > size || self.store.tree_root(last.size).await? != last.root {
                let detail = format!(
                    "the evidence log ({size} records) contradicts its checkpoint of {} records; nothing is signed \
                     until somebody has looked",
                    last.size
                );
                return Err(Refusal::Internal { detail });
            }
            // Ours takes the place of a former key's, but not from under its time stamps.
            if last.size == size && (ours || !self.store.time_stamps(size).await?.is_empty()) {
                return Ok(None);
            }
        }
        if size == 0 {
            return Ok(None);
        }
        let root = self.store.tree_root(size).await?;
        match self.store.save_checkpoint(size, &signer.sign(size, &root)).await {
            Ok(()) => {}
            // A former key's checkpoint was stamped after we had looked: it stays, and so does its stamp.
            Err(StoreError::Outdated { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        metrics::counter!("amtsbote_checkpoints_total").increment(1);
        self.checkpoint_added.notify_one();
        tracing::debug!(size, "evidence log signed");
        Ok(Some(Checkpoint { origin: signer.verifier().name().to_owned(), size, root }))
    }

    /// Writes the other nodes' checkpoints into this log, and signs this log as it is then.
    async fn anchor_and_sign(&self) -> Result<(), Refusal> {
        let anchored = match self.signer.get() {
            Some(_) => self.store.anchor_others(self.now()).await,
            // Nobody would sign what is written down.
            None => Ok(0),
        };
        if let Ok(count @ 1..) = anchored {
            tracing::debug!(count, "checkpoints of other nodes written down");
        }
        self.sign_checkpoint().await?;
        anchored.map(drop).map_err(Refusal::from)
    }

    /// The last checkpoint, and whether this key signed it and not a former one. A signer that is not known is no
    /// reason to sign over what cannot be compared.
    async fn last_checkpoint(&self, key: &VerifierKey) -> Result<Option<(Checkpoint, bool)>, Refusal> {
        let Some(note) = self.store.checkpoint(None).await? else { return Ok(None) };
        let known = std::iter::once(key).chain(&self.settings.former_evidence_keys);
        match Checkpoint::open_with(&note, known) {
            Ok((checkpoint, signer)) => Ok(Some((checkpoint, signer == key))),
            Err(NoteError::OtherSigner { found, .. }) => Err(Refusal::Internal {
                detail: format!(
                    "the last checkpoint of the evidence log is signed by {found}, which is neither the present key \
                     nor a former one; nothing is signed until its public key stands under evidence.former_keys"
                ),
            }),
            Err(error) => {
                Err(Refusal::Internal { detail: format!("the last checkpoint is damaged: {error}") })
            }
        }
    }

    /// The proof file of one message: card, signed card, records, inclusion proofs, checkpoint, time stamps. It is
    /// checked before it is given.
    pub async fn export_evidence(&self, id: &MessageId) -> Result<Vec<u8>, Refusal> {
        if self.signer.get().is_none() {
            let what = "this post office has no key for its evidence log".to_owned();
            return Err(Refusal::ParameterInvalid { what });
        }
        for _ in 0..EXPORT_TRIES {
            let card = match self.store.find(id).await {
                Ok(entry) => Some(entry.card),
                Err(StoreError::Unknown) => None,
                Err(error) => return Err(error.into()),
            };
            let logged = self.store.evidence_of(id).await?;
            let Some(last) = logged.last() else { return Err(Refusal::UnknownMessage) };
            if !is_of(card.as_ref(), &last.bytes) {
                continue;
            }
            let message_id = Record::from_bytes(&last.bytes).map_err(unreadable)?.message_id;
            let Covering { note, size, key } = self.covering(last.index.saturating_add(1)).await?;
            let stamps = self.store.time_stamps(size).await?;
            let mut records = Vec::with_capacity(logged.len());
            for record in logged {
                let path = self.store.inclusion_proof(record.index, size).await?;
                records.push(ProvenRecord { index: record.index, bytes: record.bytes, path });
            }
            let proof = Proof {
                version: Version::Two,
                message_id,
                log: key.clone(),
                signed_card: card.as_ref().map(|card| self.signed_card(card)).transpose()?.flatten(),
                card: card.map(|card| card.to_bytes()),
                records,
                time_stamps: stamps.into_iter().map(|stamp| stamp.token).collect(),
                checkpoint: note,
            };
            let bytes = proof.to_bytes();
            return match export::verify(&bytes, &Trust::keys([key])) {
                Ok(_) => Ok(bytes),
                Err(fault) => {
                    Err(Refusal::Internal { detail: format!("the evidence of {id} is damaged: {fault}") })
                }
            };
        }
        let detail = format!(
            "{id} changed {EXPORT_TRIES} times while its evidence was read, or card and log disagree"
        );
        Err(Refusal::Unavailable { detail })
    }

    fn signed_card(&self, card: &ProcessCard) -> Result<Option<SignedCard>, Refusal> {
        let signer = self.card_signer();
        let signed = signer.map(|signer| signer.sign(card, self.now())).transpose();
        signed.map_err(|error| Refusal::Internal { detail: format!("{}: {error}", card.id) })
    }

    /// A checkpoint of the log over at least `size` records: the smallest that is stamped, else any; signed on the spot
    /// where there is none yet.
    async fn covering(&self, size: u64) -> Result<Covering, Refusal> {
        let stamped = self.store.time_stamped(Some(size)).await?;
        for fresh in [false, true] {
            if fresh {
                self.sign_checkpoint().await?;
            }
            // The smallest one that covers it may be of a key that is not known; the latest is of ours.
            for wanted in stamped.into_iter().map(Some).chain([Some(size), None]) {
                if let Some(note) = self.store.checkpoint(wanted).await?
                    && let Ok((checkpoint, key)) = Checkpoint::open_with(&note, self.evidence_keys())
                    && checkpoint.size >= size
                {
                    return Ok(Covering { note, size: checkpoint.size, key: key.clone() });
                }
            }
        }
        let detail = format!(
            "no checkpoint over {size} records is signed with a known key; former keys belong in evidence.former_keys"
        );
        Err(Refusal::Internal { detail })
    }
}

/// A checkpoint for a proof, with the key that signed it.
struct Covering {
    note: String,
    size: u64,
    key: VerifierKey,
}

/// Whether this is the card after that record: otherwise the message changed between the two questions.
fn is_of(card: Option<&ProcessCard>, record: &[u8]) -> bool {
    card.is_none_or(|card| {
        Record::from_bytes(record).is_ok_and(|record| record.card_digest == Digest::of(&card.to_bytes()))
    })
}

fn unreadable(error: impl std::fmt::Display) -> Refusal {
    Refusal::Internal { detail: format!("the evidence log: {error}") }
}

/// Signs at each interval, and once more on the way out, so that a stopped post office leaves nothing unsigned.
pub(super) async fn run(relay: Arc<Relay>, mut stop: watch::Receiver<bool>) {
    let mut in_trouble = false;
    loop {
        let stopping = tokio::select! {
            () = stopped(&mut stop) => true,
            () = tokio::time::sleep(relay.settings.checkpoint_interval) => false,
        };
        match relay.anchor_and_sign().await {
            Ok(()) => in_trouble = false,
            Err(refusal) if !in_trouble => {
                in_trouble = true;
                Failure::from(refusal).log(CorrelationId::random());
            }
            Err(_) => {}
        }
        if stopping {
            return;
        }
    }
}
