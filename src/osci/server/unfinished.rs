//! Where parts of large messages wait for the next request: in files of this node ([`super::parts`]), or, where several
//! nodes share a store, in that, so that any node answers the next request. Names, bounds and order of durability are the
//! same.

use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::partial_store::{enough, on_our_disk};
use super::parts::{
    AGE_MAX, Acceptance, Edition, Fetch, FetchBegun, Fetches, PER_ACCOUNT_MAX, Room, Standing, Upload,
    UploadBegun, Writing, name, on_disk,
};
use super::request::failed;
use super::spool::{Frozen, Spool, Stretch};
use super::{Door, Refused};
use crate::osci::code::Code;
use crate::osci::envelope::write::Prepared;
use crate::store::staging::{Beginning, Begun, Held, Staging};
use crate::store::{StagedPayload, StoreError};

/// What is gathered before a thread that may wait writes it.
const GATHERED_BYTES: usize = 1024 * 1024;
/// The number of the one piece that an answer is.
const ANSWER: u64 = 1;

/// Nobody else is at work at a place: in this process, and at other nodes.
pub struct Busy {
    _here: tokio::sync::OwnedMutexGuard<()>,
    _elsewhere: Option<Held>,
}

/// What is kept beside the chunks of an upload. Fields are only ever added.
#[derive(Serialize, Deserialize)]
struct SharedUpload {
    begun: UploadBegun,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accepted: Option<Acceptance>,
}

fn in_store(error: StoreError) -> Refused {
    match error {
        StoreError::Unknown => Refused::told(
            Code::Failed,
            "what was begun is over, or another request is at work on it; ask how it stands",
        ),
        error => failed(error.into()),
    }
}

fn words(value: &impl Serialize) -> Result<Vec<u8>, Refused> {
    serde_json::to_vec(value).map_err(|error| Refused::new(Code::Failed, error.to_string()))
}

fn understood<T: DeserializeOwned>(note: &[u8]) -> Result<T, Refused> {
    let damaged = |error| StoreError::Corrupt(format!("what is known of a large message: {error}"));
    serde_json::from_slice(note).map_err(|error| in_store(damaged(error)))
}

impl Door {
    /// Waits until nobody else is at work there; nothing where that takes longer than `limit`.
    pub(super) async fn hold(&self, place: &Path, limit: Option<Duration>) -> Result<Option<Busy>, Refused> {
        let begun = Instant::now();
        let here = match limit {
            None => self.parts.hold(place).await,
            Some(limit) => match self.parts.hold_within(place, limit).await {
                Some(here) => here,
                None => return Ok(None),
            },
        };
        let Some(staging) = self.relay.staging() else {
            return Ok(Some(Busy { _here: here, _elsewhere: None }));
        };
        let left = limit.map(|limit| limit.saturating_sub(begun.elapsed()));
        let held = staging.hold(&name(&place.with_extension("")), left).await.map_err(in_store)?;
        Ok(held.map(|held| Busy { _here: here, _elsewhere: Some(held) }))
    }

    pub(super) async fn standing(&self, upload: &Upload) -> Result<Standing, Refused> {
        self.look_at(upload, false).await
    }

    /// The same for the client to be told: what it calls received stays so, whatever happens.
    pub(super) async fn promised_standing(&self, upload: &Upload) -> Result<Standing, Refused> {
        self.look_at(upload, true).await
    }

    async fn look_at(&self, upload: &Upload, is_promise: bool) -> Result<Standing, Refused> {
        let Some(staging) = self.relay.staging() else {
            let upload = upload.clone();
            return on_disk(move || upload.standing()).await.map_err(on_our_disk);
        };
        let place = name(upload.place());
        let place = match is_promise {
            true => staging.promised_place(&place).await,
            false => staging.place(&place).await,
        };
        let Some(place) = place.map_err(in_store)? else { return Ok(Standing::default()) };
        let SharedUpload { begun, accepted } = understood(&place.note)?;
        let all = 1..=begun.cut.total;
        let received = match &accepted {
            Some(_) => all.collect(),
            None => place.pieces.into_iter().filter(|number| all.contains(number)).collect(),
        };
        Ok(Standing { begun: Some(begun), received, accepted })
    }

    pub(super) async fn begin_upload(&self, upload: &Upload, begun: UploadBegun) -> Result<(), Refused> {
        let bytes_max = self.settings.account_bytes_max();
        let Some(staging) = self.relay.staging() else {
            let (parts, upload) = (self.parts.clone(), upload.clone());
            let room = on_disk(move || parts.begin(&upload, &begun, bytes_max));
            return enough(room.await.map_err(on_our_disk)?);
        };
        let bytes = begun.bytes();
        let note = words(&SharedUpload { begun, accepted: None })?;
        let count_max = PER_ACCOUNT_MAX as u64;
        let beginning = Beginning { note: &note, bytes, lasts: AGE_MAX, count_max, bytes_max };
        let begun = staging.begin_place(&name(upload.place()), beginning).await.map_err(in_store)?;
        enough(match begun {
            Begun::Yes => Room::Enough,
            Begun::TooMany => Room::TooMany,
            Begun::TooMuch { bytes } => Room::TooMuch { bytes, max: bytes_max },
        })
    }

    /// When this returns the chunk is received, whatever happens.
    pub(super) async fn keep_chunk(
        &self,
        upload: &Upload,
        number: u64,
        octets: Frozen,
    ) -> Result<(), Refused> {
        let Some(staging) = self.relay.staging() else {
            let (parts, upload) = (self.parts.clone(), upload.clone());
            let kept = on_disk(move || {
                use crate::osci::envelope::source::Source;
                parts.spare(octets.length())?;
                let whole = octets.stretch(0..octets.length());
                let mut chunk = whole.open()?;
                upload.keep(number, &mut chunk)
            });
            return kept.await.map_err(on_our_disk);
        };
        let piece = self.sealed(octets).await?;
        match staging.keep_piece(&name(upload.place()), number, piece).await.map_err(in_store)? {
            true => Ok(()),
            false => Err(Refused::new(Code::ChunkExists, format!("chunk {number} was received before"))),
        }
    }

    /// The bytes, staged in the store.
    async fn sealed(&self, bytes: Frozen) -> Result<StagedPayload, Refused> {
        let mut writer = self.relay.payload_writer().await.map_err(failed)?;
        let written = match bytes {
            Frozen::Memory(bytes) => writer.write(&bytes).await,
            Frozen::File(file, length) => writer.write_file(file, 0..length, None).await,
        };
        written.map_err(in_store)?;
        writer.seal().await.map_err(in_store)
    }

    /// The message inside, made of its chunks; what the disk has against it is for its caller to judge.
    pub(super) async fn pour(
        &self,
        upload: &Upload,
        total: u64,
        mut spool: Spool,
    ) -> Result<io::Result<Frozen>, Refused> {
        let Some(staging) = self.relay.staging() else {
            let upload = upload.clone();
            let poured = on_disk(move || upload.pour(total, &mut spool).map(|()| spool.freeze()));
            return Ok(poured.await);
        };
        for number in 1..=total {
            match taken(staging, upload.place(), number, 0..u64::MAX, spool).await? {
                Ok(more) => spool = more,
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(spool.freeze()))
    }

    /// The message inside is accepted: its chunks are needed no longer.
    pub(super) async fn note_acceptance(
        &self,
        upload: &Upload,
        standing: &Standing,
        accepted: Acceptance,
    ) -> Result<(), Refused> {
        let (Some(staging), Some(begun)) = (self.relay.staging(), standing.begun.clone()) else {
            let upload = upload.clone();
            return on_disk(move || upload.accept(&accepted)).await.map_err(on_our_disk);
        };
        let note = words(&SharedUpload { begun, accepted: Some(accepted) })?;
        staging.settle_place(&name(upload.place()), &note).await.map_err(in_store)
    }

    pub(super) async fn drop_upload(&self, upload: &Upload) -> Result<(), Refused> {
        match self.relay.staging() {
            Some(staging) => staging.forget_place(&name(upload.place())).await.map_err(in_store),
            None => {
                let upload = upload.clone();
                on_disk(move || upload.forget()).await.map_err(on_our_disk)
            }
        }
    }

    /// The answers of a message that are kept or remembered.
    pub(super) async fn editions(&self, fetches: &Fetches) -> Result<Vec<Edition>, Refused> {
        let Some(staging) = self.relay.staging() else {
            let fetches = fetches.clone();
            return on_disk(move || fetches.editions()).await.map_err(on_our_disk);
        };
        let of = name(fetches.place());
        let places = staging.places(&of.kind, &of.owner, &format!("{}.", of.name)).await.map_err(in_store)?;
        // Without words it was not noted before its node fell.
        let noted = places.into_iter().filter(|place| !place.note.is_empty());
        let editions = noted.map(|place| {
            let is_kept = place.is_open && place.pieces.contains(&ANSWER);
            Ok(Edition { fetch: fetches.named(&place.name), begun: understood(&place.note)?, is_kept })
        });
        editions.collect()
    }

    /// Makes room for another answer of so many bytes, or says why there is none. What is given back is kept until the
    /// answer is written.
    pub(super) async fn fetch_room(&self, fetch: &Fetch, bytes: u64) -> Result<Option<Writing>, Refused> {
        let Some(staging) = self.relay.staging() else {
            let (parts, place, max) = (self.parts.clone(), fetch.clone(), self.settings.answers_max());
            let made = on_disk(move || parts.make_room(&place, bytes, max)).await.map_err(on_our_disk)?;
            let no_room = |room| enough(room).and(Err(on_our_disk(io::ErrorKind::StorageFull.into())));
            return made.map(Some).or_else(no_room);
        };
        let place = name(fetch.place());
        // Whoever has slices of the one before has begun again.
        staging.forget_place(&place).await.map_err(in_store)?;
        let (count_max, max) = (PER_ACCOUNT_MAX as u64, self.settings.account_bytes_max());
        let beginning = Beginning { note: b"", bytes, lasts: AGE_MAX, count_max, bytes_max: max };
        loop {
            let room = match staging.begin_place(&place, beginning).await.map_err(in_store)? {
                Begun::Yes => return Ok(None),
                Begun::TooMany => Room::TooMany,
                Begun::TooMuch { bytes } => Room::TooMuch { bytes, max },
            };
            if !forget_oldest(staging, fetch).await? {
                enough(room)?;
            }
        }
    }

    /// Keeps the answer that will be sliced, and says how long it is.
    pub(super) async fn keep_answer(
        &self,
        fetch: &Fetch,
        writing: Option<Writing>,
        prepare: impl FnOnce() -> io::Result<Prepared> + Send + 'static,
    ) -> Result<u64, Refused> {
        let Some(staging) = self.relay.staging() else {
            let fetch = fetch.clone();
            let written = on_disk(move || {
                let prepared = prepare()?;
                let kept = fetch.keep(|file| prepared.write(file).map_err(io::Error::other));
                drop(writing);
                kept
            });
            return written.await.map_err(on_our_disk);
        };
        let mut spool = self.spool(u64::MAX);
        let whole = on_disk(move || {
            prepare()?.write(&mut spool).map_err(io::Error::other)?;
            Ok(spool.freeze())
        });
        let whole = whole.await.map_err(on_our_disk)?;
        let bytes = whole.length();
        let answer = self.sealed(whole).await?;
        match staging.keep_piece(&name(fetch.place()), ANSWER, answer).await.map_err(in_store)? {
            true => Ok(bytes),
            false => Err(in_store(StoreError::Unknown)),
        }
    }

    pub(super) async fn note_fetch(&self, fetch: &Fetch, begun: &FetchBegun) -> Result<(), Refused> {
        match self.relay.staging() {
            Some(staging) => staging.note_place(&name(fetch.place()), &words(begun)?).await.map_err(in_store),
            None => {
                let (fetch, begun) = (fetch.clone(), begun.clone());
                on_disk(move || fetch.note(&begun)).await.map_err(on_our_disk)
            }
        }
    }

    /// A slice of an answer.
    pub(super) async fn slice(&self, fetch: &Fetch, span: Range<u64>) -> Result<Stretch, Refused> {
        let Some(staging) = self.relay.staging() else {
            let fetch = fetch.clone();
            let whole = on_disk(move || fetch.open()).await.map_err(on_our_disk)?;
            return Ok(whole.stretch(span));
        };
        let wanted = span.end.saturating_sub(span.start);
        let spool = taken(staging, fetch.place(), ANSWER, span, self.spool(u64::MAX)).await?;
        let slice = spool.map_err(on_our_disk)?.freeze();
        if slice.length() != wanted {
            return Err(in_store(StoreError::Corrupt("a kept answer is shorter than was noted".to_owned())));
        }
        Ok(slice.stretch(0..wanted))
    }
}

/// Forgets the oldest of an account's other answers that nobody is at work on; false where there is none.
async fn forget_oldest(staging: &dyn Staging, fetch: &Fetch) -> Result<bool, Refused> {
    let own = name(fetch.place());
    let message = name(&fetch.place().with_extension(""));
    let places = staging.places(&own.kind, &own.owner, "").await.map_err(in_store)?;
    let others = places.into_iter().filter(|place| place.is_open && place.name != own.name);
    let begun = |note: &[u8]| serde_json::from_slice::<FetchBegun>(note).ok().map(|begun| begun.at);
    let mut others: Vec<_> = others.map(|place| (begun(&place.note), place)).collect();
    others.sort_by(|one, other| (one.0, &one.1.name).cmp(&(other.0, &other.1.name)));
    for (begun, other) in others {
        let mut its = own.clone();
        its.name = other.name.split('.').next().unwrap_or_default().to_owned();
        // The lock of the message's own answers is its caller's.
        let is_ours = its == message;
        let held = match is_ours {
            true => None,
            false => staging.hold(&its, Some(Duration::ZERO)).await.map_err(in_store)?,
        };
        if !is_ours && held.is_none() {
            continue;
        }
        its.name = other.name;
        let forgotten = match begun {
            Some(_) => staging.settle_place(&its, &other.note).await,
            None => staging.forget_place(&its).await,
        };
        match forgotten {
            // Its time was over meanwhile.
            Ok(()) | Err(StoreError::Unknown) => return Ok(true),
            Err(error) => return Err(in_store(error)),
        }
    }
    Ok(false)
}

/// Takes a stretch of a piece from the store into the spool.
async fn taken(
    staging: &dyn Staging,
    place: &Path,
    number: u64,
    span: Range<u64>,
    mut spool: Spool,
) -> Result<io::Result<Spool>, Refused> {
    let length = span.end.saturating_sub(span.start);
    let reader = staging.open_piece(&name(place), number, span.start, length).await;
    let mut reader = reader.map_err(in_store)?;
    let mut gathered = Vec::new();
    loop {
        let more = reader.next().await.map_err(in_store)?;
        let is_over = more.is_none();
        gathered.extend_from_slice(more.as_deref().unwrap_or_default());
        if is_over || gathered.len() >= GATHERED_BYTES {
            let bytes = std::mem::take(&mut gathered);
            match on_disk(move || spool.write_all(&bytes).map(|()| spool)).await {
                Ok(more) => spool = more,
                Err(error) => return Ok(Err(error)),
            }
        }
        if is_over {
            return Ok(Ok(spool));
        }
    }
}
