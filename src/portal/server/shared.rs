//! Drafts where several nodes share a store: places of it ([`Staging`]), so that any node answers the next request.
//!
//! ```text
//! kind                owner                   name
//! portal-drafts       the account             <submission>               what was announced
//! portal-attachments  its client              <submission>.<attachment>  what is known of it, and its pieces
//! ```
//! Owners are named by digests. Bytes are an attachment's, counted for the client that announced it. An upload that begins
//! anew is another edition of the attachment; the pieces of an edition are numbered one after the other and never change.
//! Whoever keeps a piece under a number first has kept it, and whoever exchanges the words of the attachment first has
//! completed it, or begun it anew: nothing depends on only one node being at work at it.
//!
//! What an older program began lies in files ([`super::drafts`]) of its node, and is finished there.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Door;
use super::draft::{Announced, Draft, Uploaded};
use super::drafts::{GIVE_WAY_AT_ONCE, GIVES_WAY_SECONDS, PER_ACCOUNT_MAX, PER_CLIENT_MAX, Place};
use super::problem::Problem;
use crate::domain::account::AccountName;
use crate::domain::content::Digest;
use crate::pki::jose::HEADER_CHARS_MAX;
use crate::pki::jose::jwe::{Scanner, Zip};
use crate::relay::Refusal;
use crate::report::Loudness;
use crate::store::staging::{self, Alike, Beginning, Begun, Held, PlaceName, Staging};
use crate::store::{PayloadWriter, StagedPayload, StoreError};

const DRAFTS: &str = "portal-drafts";
const ATTACHMENTS: &str = "portal-attachments";
/// Of a place that gave way, until it is gone.
const GAVE_WAY: &[u8] = b"";
/// A node that fell holds what it was at work at for fifteen seconds.
pub const HELD_MAX: Duration = Duration::from_secs(20);
/// The numbers of an edition's pieces have so many bits.
const PIECE_BITS: u32 = 32;

/// Where a draft is.
#[derive(Debug, Clone)]
pub enum AnyDraft {
    /// In files of this node.
    Here(Draft),
    Shared(Box<SharedDraft>),
}

/// A draft in the store, as it was when it was looked at.
#[derive(Debug, Clone)]
pub struct SharedDraft {
    place: PlaceName,
    words: Vec<u8>,
    known: DraftWords,
    /// Owner of its attachments.
    client: String,
    left: Duration,
}

/// What decides whether a draft gives way.
struct Idle {
    name: String,
    has_uploads: bool,
    left: Duration,
}

/// Fields are only ever added.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct DraftWords {
    begun: Announced,
    /// Whether an upload was begun: then it gives way to no other.
    #[serde(default)]
    has_uploads: bool,
}

/// Fields are only ever added.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct AttachmentWords {
    edition: u32,
    /// Absent until it is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uploaded: Option<Uploaded>,
}

/// An attachment in the store, as it was when it was looked at.
#[derive(Debug, Clone)]
pub struct SharedAttachment {
    place: PlaceName,
    words: Vec<u8>,
    known: AttachmentWords,
    /// How many pieces this edition has.
    pieces: u64,
    /// Whether there are others: of editions before, of whoever fell or was too late.
    has_others: bool,
}

/// Nobody else is at work at a draft: in this process, and at other nodes.
pub struct Busy {
    _here: tokio::sync::OwnedMutexGuard<()>,
    _elsewhere: Option<Held>,
}

/// A place that is over is a draft that is over.
pub fn in_store(error: StoreError) -> Problem {
    match error {
        StoreError::Unknown => Problem::no_submission(),
        error => Problem::from(Refusal::from(error)),
    }
}

fn words(value: &impl Serialize) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(value).map_err(|error| in_store(StoreError::Corrupt(error.to_string())))
}

fn understood<T: DeserializeOwned>(note: &[u8]) -> Result<T, Problem> {
    let damaged = |error| StoreError::Corrupt(format!("what is known of a portal's draft: {error}"));
    serde_json::from_slice(note).map_err(|error| in_store(damaged(error)))
}

fn draft_place(account: &AccountName, submission: Uuid) -> PlaceName {
    PlaceName {
        kind: DRAFTS.to_owned(),
        owner: Digest::of(account.as_str().as_bytes()).to_string(),
        name: submission.hyphenated().to_string(),
    }
}

/// What stands in the words of each draft of this client, and of no other one: a string of JSON has no bare quotes.
fn of_client(client: &str) -> Result<Vec<u8>, Problem> {
    Ok([&b"\"client\":"[..], &words(&client)?].concat())
}

/// Of one that showed a certificate the account alone is known.
fn client_owner(account: &AccountName, client: Option<&str>) -> String {
    let whose = match client {
        Some(client) => format!("{account}\n{client}"),
        None => account.to_string(),
    };
    Digest::of(whose.as_bytes()).to_string()
}

impl SharedDraft {
    fn of(account: &AccountName, place: PlaceName, found: staging::Place) -> Result<Option<Self>, Problem> {
        if found.note == GAVE_WAY {
            return Ok(None);
        }
        let known: DraftWords = understood(&found.note)?;
        let client = client_owner(account, known.begun.client.as_deref());
        Ok(Some(Self { place, words: found.note, known, client, left: found.left }))
    }

    /// As it is by now; refused where it is gone.
    async fn again(&self, staging: &dyn Staging) -> Result<Self, Problem> {
        let found = staging.place(&self.place).await.map_err(in_store)?;
        let found = found.filter(|found| found.note != GAVE_WAY).ok_or_else(Problem::no_submission)?;
        let known = understood(&found.note)?;
        Ok(Self { words: found.note, known, left: found.left, ..self.clone() })
    }

    pub fn begun(&self) -> &Announced {
        &self.known.begun
    }

    pub fn place(&self) -> &PlaceName {
        &self.place
    }

    /// What the names of its attachments begin with.
    pub fn names(&self) -> String {
        format!("{}.", self.place.name)
    }

    pub fn attachment_place(&self, attachment: Uuid) -> PlaceName {
        PlaceName {
            kind: ATTACHMENTS.to_owned(),
            owner: self.client.clone(),
            name: format!("{}{}", self.names(), attachment.hyphenated()),
        }
    }
}

impl SharedAttachment {
    fn of(place: PlaceName, found: staging::Place) -> Result<Self, Problem> {
        let known: AttachmentWords = understood(&found.note)?;
        let mut own = Self { place, words: found.note, known, pieces: 0, has_others: false };
        // Behind a gap there is nothing: whoever left it was at work with another one.
        while found.pieces.binary_search(&own.number(own.pieces + 1)).is_ok() {
            own.pieces += 1;
        }
        own.has_others = found.pieces.len() as u64 > own.pieces;
        Ok(own)
    }

    pub fn place(&self) -> &PlaceName {
        &self.place
    }

    pub fn uploaded(&self) -> Option<&Uploaded> {
        self.known.uploaded.as_ref()
    }

    pub fn pieces(&self) -> u64 {
        self.pieces
    }

    pub fn has_others(&self) -> bool {
        self.has_others
    }

    pub fn is_empty(&self) -> bool {
        self.pieces == 0 && !self.has_others
    }

    /// Of a piece of this edition.
    pub fn number(&self, piece: u64) -> u64 {
        (u64::from(self.known.edition) << PIECE_BITS) | piece
    }

    /// Bytes that are kept of it.
    pub async fn length(&self, staging: &dyn Staging) -> Result<u64, Problem> {
        if let Some(uploaded) = self.uploaded() {
            return Ok(uploaded.length);
        }
        if self.pieces == 0 {
            return Ok(0);
        }
        let numbers = self.number(1)..=self.number(self.pieces);
        let lengths = staging.lengths(&self.place, numbers).await.map_err(in_store)?;
        Ok(lengths.iter().map(|(_, length)| length).sum())
    }

    /// Exchanges what is known of it, unless somebody else has done so.
    async fn exchange(&mut self, staging: &dyn Staging, known: AttachmentWords) -> Result<bool, Problem> {
        let new = words(&known)?;
        let exchanged = staging.exchange_note(&self.place, &self.words, &new).await.map_err(in_store)?;
        if exchanged {
            (self.words, self.known) = (new, known);
        }
        Ok(exchanged)
    }

    /// All of it is there. False where somebody else has begun it anew or completed it.
    pub async fn complete(&mut self, staging: &dyn Staging, uploaded: Uploaded) -> Result<bool, Problem> {
        let edition = self.known.edition;
        self.exchange(staging, AttachmentWords { edition, uploaded: Some(uploaded) }).await
    }

    /// Lets go of what there is of it, as long as it is what it was when it was looked at. False where somebody else was
    /// faster.
    pub async fn begin_anew(&mut self, staging: &dyn Staging) -> Result<bool, Problem> {
        let edition = self.known.edition.saturating_add(1);
        if !self.exchange(staging, AttachmentWords { edition, uploaded: None }).await? {
            return Ok(false);
        }
        self.pieces = 0;
        self.drop_earlier(staging).await?;
        Ok(true)
    }

    /// Lets go of the editions before, which nobody can go on with or complete.
    pub async fn drop_earlier(&mut self, staging: &dyn Staging) -> Result<(), Problem> {
        staging.drop_pieces(&self.place, self.number(0)).await.map_err(in_store)?;
        self.has_others = false;
        Ok(())
    }

    /// Keeps the next piece of it, as long as it is what it was when it was looked at. False where somebody else was faster.
    pub async fn keep(&mut self, staging: &dyn Staging, piece: StagedPayload) -> Result<bool, Problem> {
        let number = self.number(self.pieces + 1);
        let kept = staging.keep_piece_of(&self.place, &self.words, number, piece).await.map_err(in_store)?;
        self.pieces += u64::from(kept);
        Ok(kept)
    }
}

impl Door {
    /// Waits until nobody else is at work at the draft, at any node.
    pub(super) async fn hold_draft(&self, account: &AccountName, submission: Uuid) -> Result<Busy, Problem> {
        let here = self.drafts.hold(self.drafts.draft(account, submission).place()).await;
        let elsewhere = match self.relay.staging() {
            Some(staging) => staging.hold(&draft_place(account, submission), None).await.map_err(in_store)?,
            None => None,
        };
        Ok(Busy { _here: here, _elsewhere: elsewhere })
    }

    pub(super) async fn shared_draft(
        &self,
        account: &AccountName,
        submission: Uuid,
    ) -> Result<Option<SharedDraft>, Problem> {
        let Some(staging) = self.relay.staging() else { return Ok(None) };
        let place = draft_place(account, submission);
        let found = staging.place(&place).await.map_err(in_store)?;
        found.map_or(Ok(None), |found| SharedDraft::of(account, place, found))
    }

    /// Begins a draft, unless there are too many. Says whether others gave way.
    pub(super) async fn begin_shared(
        &self,
        staging: &dyn Staging,
        account: &AccountName,
        submission: Uuid,
        begun: Announced,
    ) -> Result<Place, Problem> {
        let place = draft_place(account, submission);
        let lasts = Duration::from_secs(u64::from(self.settings.announced_hours) * 3600);
        let client = begun.client.clone();
        let note = words(&DraftWords { begun, has_uploads: false })?;
        let begin = async |count_max: usize| {
            let count_max = count_max as u64;
            let beginning = Beginning { note: &note, bytes: 0, lasts, count_max, bytes_max: u64::MAX };
            let begun = staging.begin_place(&place, beginning).await.map_err(in_store)?;
            Ok::<_, Problem>(begun == Begun::Yes)
        };
        // Whether it is among the client's own that there are too many is for the database to count.
        let begin_own = async |client: &str| {
            let alike = of_client(client)?;
            let alike = Alike { words: &alike, count_max: PER_CLIENT_MAX as u64 };
            let (count_max, bytes_max) = (PER_ACCOUNT_MAX as u64, u64::MAX);
            let beginning = Beginning { note: &note, bytes: 0, lasts, count_max, bytes_max };
            let begun = staging.begin_place_among(&place, beginning, alike).await.map_err(in_store)?;
            Ok::<_, Problem>(begun == Begun::Yes)
        };
        // The client has fewer than all have together.
        if begin(PER_CLIENT_MAX).await? {
            return Ok(Place::Free);
        }
        if let Some(client) = &client
            && begin_own(client).await?
        {
            return Ok(Place::Free);
        }
        // One after the other: each looks at all there are, and none loses to another what has just become free.
        let here = self.drafts.draft(account, submission);
        let here = here.place().parent().unwrap_or(here.place());
        // Whether there is room nobody knows who has not looked.
        let others = || {
            Problem::new(
                hyper::StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "others are making room for announcements of the same account",
            )
            .with_operator(
                Loudness::Warn,
                format!("account {account}"),
                "ask whoever runs its portals why they announce so much and do not submit",
            )
        };
        let Ok(_here) = tokio::time::timeout(HELD_MAX, self.drafts.hold(here)).await else {
            return Err(others());
        };
        let all = PlaceName { name: String::new(), ..place.clone() };
        let Some(_elsewhere) = staging.hold(&all, Some(HELD_MAX)).await.map_err(in_store)? else {
            return Err(others());
        };
        // Whoever was here before may have made way for all that waited.
        if begin(PER_CLIENT_MAX).await? {
            return Ok(Place::Free);
        }
        let room = self.make_way(staging, &place, client, lasts).await?;
        match room {
            // Uploads may have begun, and drafts been submitted, since they were looked at.
            Place::None(PER_ACCOUNT_MAX) if begin(PER_ACCOUNT_MAX).await? => Ok(Place::Free),
            Place::None(_) => Ok(room),
            _ if begin(PER_ACCOUNT_MAX).await? => Ok(room),
            _ => Ok(Place::None(PER_ACCOUNT_MAX)),
        }
    }

    /// A place for one more of this client's, among those of its account; the same rule as for files.
    async fn make_way(
        &self,
        staging: &dyn Staging,
        of: &PlaceName,
        client: Option<String>,
        lasts: Duration,
    ) -> Result<Place, Problem> {
        let mut begun: BTreeMap<Option<String>, Vec<Idle>> = BTreeMap::new();
        let mut count = 0;
        // What was announced is of some size: only so much of it at once, and no more kept than is needed.
        for first in "0123456789abcdef".chars() {
            for place in staging.places(DRAFTS, &of.owner, &first.to_string()).await.map_err(in_store)? {
                let name = PlaceName { name: place.name, ..of.clone() };
                if place.note == GAVE_WAY {
                    // A node fell before it was gone.
                    staging.forget_place(&name).await.map_err(in_store)?;
                    continue;
                }
                count += 1;
                if let Ok(known) = serde_json::from_slice::<DraftWords>(&place.note) {
                    let own = begun.entry(known.begun.client).or_default();
                    own.push(Idle { name: name.name, has_uploads: known.has_uploads, left: place.left });
                }
            }
        }
        let own = begun.get(&client).map_or(0, Vec::len);
        let (crowd, max) = match own >= PER_CLIENT_MAX {
            true => (begun.remove(&client), PER_CLIENT_MAX),
            false if count < PER_ACCOUNT_MAX => return Ok(Place::Free),
            false => (begun.into_values().max_by_key(Vec::len), PER_ACCOUNT_MAX),
        };
        let young = Duration::from_secs(GIVES_WAY_SECONDS.unsigned_abs());
        let mut crowd = crowd.unwrap_or_default();
        crowd.retain(|one| !one.has_uploads && lasts.saturating_sub(one.left) >= young);
        crowd.sort_by_key(|one| one.left);
        let mut made = 0;
        for one in crowd {
            let place = PlaceName { name: one.name, ..of.clone() };
            let Some(found) = staging.place(&place).await.map_err(in_store)? else { continue };
            if understood::<DraftWords>(&found.note).map_or(true, |known| known.has_uploads) {
                continue;
            }
            // Whoever begins an upload says so there first.
            if staging.exchange_note(&place, &found.note, GAVE_WAY).await.map_err(in_store)? {
                staging.forget_place(&place).await.map_err(in_store)?;
                made += 1;
            }
            if made == GIVE_WAY_AT_ONCE {
                break;
            }
        }
        Ok(if made == 0 { Place::None(max) } else { Place::Made(made) })
    }

    /// From here on the draft gives way to no other; it is not over, or this is refused.
    async fn note_uploads(&self, staging: &dyn Staging, draft: &SharedDraft) -> Result<(), Problem> {
        if draft.known.has_uploads {
            return Ok(());
        }
        let new = words(&DraftWords { has_uploads: true, ..draft.known.clone() })?;
        if staging.exchange_note(&draft.place, &draft.words, &new).await.map_err(in_store)? {
            return Ok(());
        }
        // Another attachment's upload has said so, or it gave way.
        match draft.again(staging).await?.known.has_uploads {
            true => Ok(()),
            false => Err(Problem::no_submission()),
        }
    }

    pub(super) async fn shared_attachment(
        &self,
        staging: &dyn Staging,
        draft: &SharedDraft,
        attachment: Uuid,
    ) -> Result<Option<SharedAttachment>, Problem> {
        let place = draft.attachment_place(attachment);
        let found = staging.place(&place).await.map_err(in_store)?;
        found.map(|found| SharedAttachment::of(place, found)).transpose()
    }

    /// The same; where nothing of it is there, it begins. The draft may have been submitted since it was looked at.
    pub(super) async fn begun_attachment(
        &self,
        staging: &dyn Staging,
        draft: &SharedDraft,
        attachment: Uuid,
    ) -> Result<SharedAttachment, Problem> {
        let draft = &draft.again(staging).await?;
        self.note_uploads(staging, draft).await?;
        if let Some(found) = self.shared_attachment(staging, draft, attachment).await? {
            return Ok(found);
        }
        let place = draft.attachment_place(attachment);
        let note = words(&AttachmentWords { edition: 1, uploaded: None })?;
        let (count_max, bytes_max) = (u64::MAX, u64::MAX);
        let beginning = Beginning { note: &note, bytes: 0, lasts: draft.left, count_max, bytes_max };
        staging.begin_place(&place, beginning).await.map_err(in_store)?;
        // Another node may have begun it at this moment, and gone on.
        let found = self.shared_attachment(staging, draft, attachment).await?;
        found.ok_or_else(Problem::no_submission)
    }

    /// The draft's attachments of which there is anything.
    pub(super) async fn shared_attachments(
        &self,
        draft: &SharedDraft,
    ) -> Result<BTreeMap<Uuid, SharedAttachment>, Problem> {
        let Some(staging) = self.relay.staging() else { return Ok(BTreeMap::new()) };
        let names = draft.names();
        let places = staging.places(ATTACHMENTS, &draft.client, &names).await.map_err(in_store)?;
        let mut found = BTreeMap::new();
        for one in places {
            if let Some(id) = one.name.strip_prefix(&names).and_then(|id| Uuid::try_parse(id).ok()) {
                found.insert(id, SharedAttachment::of(draft.attachment_place(id), one)?);
            }
        }
        Ok(found)
    }

    /// What was submitted is kept elsewhere. The draft goes behind its attachments: while it is there, this may be said
    /// again. Uploads that began meanwhile go behind it; those that begin later see that it is gone.
    pub(super) async fn forget_shared(&self, draft: &SharedDraft) -> Result<(), StoreError> {
        let Some(staging) = self.relay.staging() else { return Ok(()) };
        let has_attachments = !draft.begun().attachments.is_empty();
        if has_attachments {
            forget_attachments(staging, draft).await?;
        }
        staging.forget_place(&draft.place).await?;
        if has_attachments {
            forget_attachments(staging, draft).await?;
        }
        Ok(())
    }

    /// The key that an attachment was encrypted for; its header was judged when it came.
    pub(super) async fn kid_of(&self, attachment: &SharedAttachment) -> Result<String, Problem> {
        let Some(staging) = self.relay.staging() else { return Err(Problem::no_submission()) };
        let damaged = || damaged(&attachment.place.name);
        let mut scanner = Scanner::new(Zip::Passes);
        for piece in 1..=attachment.pieces() {
            let (number, length) = (attachment.number(piece), HEADER_CHARS_MAX as u64 + 1);
            let opened = staging.open_piece(attachment.place(), number, 0, length).await;
            let mut reader = opened.map_err(in_store)?;
            while let Some(bytes) = reader.next().await.map_err(in_store)? {
                scanner.feed(&bytes).map_err(|_| damaged())?;
            }
            if let Some(kid) = scanner.kid() {
                return Ok(kid.to_owned());
            }
        }
        Err(damaged())
    }

    /// Writes an attachment that is whole into the payload; it must be what was uploaded.
    pub(super) async fn pour(
        &self,
        attachment: &SharedAttachment,
        uploaded: &Uploaded,
        writer: &mut dyn PayloadWriter,
    ) -> Result<(), Problem> {
        let Some(staging) = self.relay.staging() else { return Err(Problem::no_submission()) };
        let (mut digest, mut length) = (Context::new(&SHA256), 0u64);
        for piece in 1..=attachment.pieces() {
            // What somebody kept behind what was completed is no part of it.
            if length >= uploaded.length {
                break;
            }
            let number = attachment.number(piece);
            let opened = staging.open_piece(attachment.place(), number, 0, u64::MAX).await;
            let mut reader = opened.map_err(in_store)?;
            while let Some(bytes) = reader.next().await.map_err(in_store)? {
                length = length.saturating_add(bytes.len() as u64);
                digest.update(&bytes);
                writer.write(&bytes).await.map_err(in_store)?;
            }
        }
        if length == uploaded.length && digest.finish().as_ref() == uploaded.digest.0 {
            return Ok(());
        }
        Err(damaged(&attachment.place.name))
    }
}

async fn forget_attachments(staging: &dyn Staging, draft: &SharedDraft) -> Result<(), StoreError> {
    for one in staging.places(ATTACHMENTS, &draft.client, &draft.names()).await? {
        let place = PlaceName { kind: ATTACHMENTS.to_owned(), owner: draft.client.clone(), name: one.name };
        staging.forget_place(&place).await?;
    }
    Ok(())
}

/// What becomes part of a message must be what was uploaded.
pub fn damaged(what: &str) -> Problem {
    Problem::new(hyper::StatusCode::INTERNAL_SERVER_ERROR, "internal", "an attachment was damaged")
        .with_operator(
            Loudness::Error,
            format!("{what} is not what was uploaded"),
            "check the disk, or the database; the portal must announce and upload again",
        )
}
