//! Signs the evidence log at intervals while it grows, writes other nodes' checkpoints into it, and writes proofs out of it.
//!
//! Before a new checkpoint is signed, the one before it is opened and its root computed again: a log that was
//! shortened or rewritten is never signed over, and the operator is told. That holds across a change of the signing
//! key as well, for which the former public key must be known ([`crate::relay::Settings::former_evidence_keys`]).

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::domain::card::ProcessCard;
use crate::domain::content::Digest;
use crate::domain::message_id::MessageId;
use crate::evidence::checkpoint::{Checkpoint, NoteError, SigningKey, VerifierKey};
use crate::evidence::export::{self, LogProof, Proof, ProvenRecord, Trust, Version};
use crate::evidence::record::Record;
use crate::evidence::signed_card::{CardSigner, SignedCard};
use crate::relay::{Refusal, Relay};
use crate::report::{CorrelationId, Failure};
use crate::store::{LoggedRecord, Notice, OtherLog, OtherProof, StoreError};

use super::{Head, HeadKeeper, stopped};

/// How often a proof is begun anew because its message changed meanwhile.
const EXPORT_TRIES: u32 = 5;
/// How long a proof waits for another node to sign its log.
const SIGNATURE_PATIENCE: Duration = Duration::from_secs(5);
const SIGNATURE_POLL: Duration = Duration::from_millis(200);

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

    /// From here on, what is signed is kept there as well. `last` is what was kept before: the log must still be a
    /// continuation of it.
    pub fn keep_heads_with(&self, keeper: Arc<dyn HeadKeeper>, last: Option<&str>) -> Result<(), String> {
        if let Some(note) = last {
            let unread =
                |error| format!("{} is damaged: {error}; see whether anybody changed it", keeper.place());
            self.remember_head(Checkpoint::stated(note).map_err(unread)?);
        }
        self.head_keeper.set(keeper).map_err(|_| "heads are kept already".to_owned())
    }

    fn remember_head(&self, Checkpoint { size, root, .. }: Checkpoint) {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = Some(Head { size, root });
    }

    /// Whether the log still begins with what this node has signed last. Nothing in the store tells of an end that was cut
    /// off together with the checkpoints over it; this node remembers.
    pub async fn check_head(&self) -> Result<(), Refusal> {
        let head = self.head.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(Head { size, root }) = head else { return Ok(()) };
        let there = self.store.evidence_size().await?;
        if there >= size && self.store.tree_root(size).await? == root {
            return Ok(());
        }
        let kept = self.head_keeper.get().map_or_else(
            || "restart the relay".to_owned(),
            |keeper| format!("move {} aside and restart the relay", keeper.place()),
        );
        let detail = format!(
            "the evidence log ({there} records) contradicts this node: it does not continue the {size} records that this node \
             has signed, so its end was cut off or changed; nothing is signed until somebody has looked (`amtsbote evidence verify`). If the \
             store was put back from a backup on purpose, write the loss down, {kept}"
        );
        Err(Refusal::Internal { detail })
    }

    /// Signs the log as it is. `None` where nothing was added since the last checkpoint, or where there is no key.
    pub async fn sign_checkpoint(&self) -> Result<Option<Checkpoint>, Refusal> {
        let Some(signer) = self.signer.get() else { return Ok(None) };
        let signing = self.signing.clone().lock_owned().await;
        self.check_head().await?;
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
        let note = signer.sign(size, &root);
        match self.store.save_checkpoint(size, &note).await {
            Ok(()) => {}
            // A former key's checkpoint that was stamped after we had looked, or that another node has written down,
            // stays; the present key signs when the log grows.
            Err(StoreError::Outdated { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        metrics::counter!("amtsbote_checkpoints_total").increment(1);
        let checkpoint = Checkpoint { origin: signer.verifier().name().to_owned(), size, root };
        self.remember_head(checkpoint.clone());
        if let Some(keeper) = self.head_keeper.get().cloned() {
            // Whoever asked may leave meanwhile; the turn ends with the file.
            let kept = tokio::task::spawn_blocking(move || {
                if let Err(what) = keeper.keep(&note) {
                    tracing::error!(
                        code = "evidence-head",
                        place = keeper.place(),
                        what,
                        next_step = "make room there, and see that the relay may write",
                        "what was signed last cannot be kept outside the store"
                    );
                }
                drop(signing);
            });
            // A panic in there was reported by its thread.
            let _ = kept.await;
        }
        self.checkpoint_added.notify_one();
        tracing::debug!(size, "evidence log signed");
        Ok(Some(checkpoint))
    }

    /// Writes the other nodes' checkpoints into this log, and signs this log as it is then.
    async fn anchor_and_sign(&self) -> Result<(), Refusal> {
        self.publish_keys().await?;
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

    /// Lets the other nodes know by which keys this log is checked, so that they can prove what it says.
    async fn publish_keys(&self) -> Result<(), Refusal> {
        if self.signer.get().is_some() && !self.keys_published.load(Ordering::Relaxed) {
            let keys: Vec<VerifierKey> = self.evidence_keys().cloned().collect();
            self.store.publish_evidence_keys(&keys).await?;
            self.keys_published.store(true, Ordering::Relaxed);
        }
        Ok(())
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

    /// The proof file of one message: card, signed card, and of each log that has records of it these records, their
    /// inclusion proofs, checkpoint, time stamps. It is checked before it is given.
    pub async fn export_evidence(&self, id: &MessageId) -> Result<Vec<u8>, Refusal> {
        if self.signer.get().is_none() {
            let what = "this post office has no key for its evidence log".to_owned();
            return Err(Refusal::ParameterInvalid { what });
        }
        let patience_end = Instant::now() + SIGNATURE_PATIENCE;
        for _ in 0..EXPORT_TRIES {
            let card = match self.store.find(id).await {
                Ok(entry) => Some(entry.card),
                Err(StoreError::Unknown) => None,
                Err(error) => return Err(error.into()),
            };
            let own = self.store.evidence_of(id).await?;
            let others = self.store.evidence_elsewhere(id).await?;
            let first =
                others.iter().map(|log| &log.records).chain([&own]).find_map(|records| records.first());
            let Some(first) = first else { return Err(Refusal::UnknownMessage) };
            let message_id = Record::from_bytes(&first.bytes).map_err(unreadable)?.message_id;
            let lasts =
                others.iter().map(|log| &log.records).chain([&own]).filter_map(|records| records.last());
            if !is_of(card.as_ref(), lasts.map(|record| &record.bytes[..])) {
                continue;
            }
            let mut logs = Vec::with_capacity(others.len() + 1);
            if !own.is_empty() {
                logs.push(self.prove_own(own).await?);
            }
            for log in others {
                logs.push(self.prove_other(log, patience_end).await?);
            }
            let keys: Vec<VerifierKey> = logs.iter().map(|log| log.log.clone()).collect();
            let proof = Proof {
                version: if logs.len() == 1 { Version::Two } else { Version::Three },
                message_id,
                signed_card: card.as_ref().map(|card| self.signed_card(card)).transpose()?.flatten(),
                card: card.map(|card| card.to_bytes()),
                logs,
            };
            let bytes = proof.to_bytes();
            let of_several = proof.logs.len() > 1;
            return match export::verify(&bytes, &Trust::keys(keys)) {
                Ok(_) => Ok(bytes),
                // Another node has changed it between the questions.
                Err(fault) if of_several && fault.place == "card" => continue,
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

    /// What this node's log says.
    async fn prove_own(&self, logged: Vec<LoggedRecord>) -> Result<LogProof, Refusal> {
        let last = logged.last().map_or(0, |record| record.index);
        let Covering { note, size, key } = self.covering(last.saturating_add(1)).await?;
        let stamps = self.store.time_stamps(size).await?;
        let mut records = Vec::with_capacity(logged.len());
        for record in logged {
            let path = self.store.inclusion_proof(record.index, size).await?;
            records.push(ProvenRecord { index: record.index, bytes: record.bytes, path });
        }
        let time_stamps = stamps.into_iter().map(|stamp| stamp.token).collect();
        Ok(LogProof { log: key, records, time_stamps, checkpoint: note })
    }

    /// What another node's log says. Only that node signs it, and is asked to where its checkpoints do not come that far.
    async fn prove_other(&self, log: OtherLog, patience_end: Instant) -> Result<LogProof, Refusal> {
        let OtherLog { node, records } = log;
        let last = records.last().map_or(0, |record| record.index);
        let covering = loop {
            let asked = Instant::now();
            let covering = self.covering_elsewhere(&node, last.saturating_add(1)).await?;
            match covering {
                Some(covering) => break covering,
                None if asked >= patience_end => {
                    let detail = format!(
                        "the log of node {node} is not signed over record {last} with a key that is known here: start that \
                         node, which publishes its key and signs, and ask again; of a node that will not come back, \
                         close the log (`amtsbote evidence close {node}`); of a log that was closed before its keys were published (tables \
                         before version 4), name its public keys under evidence.former_keys here"
                    );
                    return Err(Refusal::Unavailable { detail });
                }
                None => self.store.tell(Notice::Sign),
            }
            tokio::time::sleep(SIGNATURE_POLL).await;
        };
        let Covering { note, size, key } = covering;
        let indexes: Vec<u64> = records.iter().map(|record| record.index).collect();
        let OtherProof { paths, time_stamps } = self.store.proof_elsewhere(&node, &indexes, size).await?;
        let proven = records.into_iter().zip(paths).map(|(record, path)| ProvenRecord {
            index: record.index,
            bytes: record.bytes,
            path,
        });
        let time_stamps = time_stamps.into_iter().map(|stamp| stamp.token).collect();
        Ok(LogProof { log: key, records: proven.collect(), time_stamps, checkpoint: note })
    }

    async fn covering_elsewhere(&self, node: &str, size: u64) -> Result<Option<Covering>, Refusal> {
        let (notes, published) = self.store.checkpoints_elsewhere(node, size).await?;
        Ok(notes.into_iter().find_map(|note| {
            let known = published.iter().chain(self.evidence_keys());
            let (checkpoint, key) = Checkpoint::open_with(&note, known).ok()?;
            let key = key.clone();
            (checkpoint.size >= size).then_some(Covering { note, size: checkpoint.size, key })
        }))
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

/// Whether this is the card after one of these records, which are the last ones of their logs: otherwise the message
/// changed between the questions.
fn is_of<'a>(card: Option<&ProcessCard>, mut lasts: impl Iterator<Item = &'a [u8]>) -> bool {
    card.is_none_or(|card| {
        let digest = Digest::of(&card.to_bytes());
        lasts.any(|last| Record::from_bytes(last).is_ok_and(|record| record.card_digest == digest))
    })
}

fn unreadable(error: impl std::fmt::Display) -> Refusal {
    Refusal::Internal { detail: format!("the evidence log: {error}") }
}

/// Signs at each interval, and once more on the way out, so that a stopped post office leaves nothing unsigned.
pub(super) async fn run(relay: Arc<Relay>, mut stop: watch::Receiver<bool>) {
    let mut in_trouble = false;
    if let Err(refusal) = relay.publish_keys().await {
        // Tried again with the first checkpoint.
        tracing::debug!(code = refusal.code(), "the log's keys are not known to other nodes yet");
    }
    loop {
        let stopping = tokio::select! {
            () = stopped(&mut stop) => true,
            () = tokio::time::sleep(relay.settings.checkpoint_interval) => false,
            () = relay.signature_wanted.notified() => false,
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
