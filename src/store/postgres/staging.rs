//! What goes over several requests, as rows: places, their pieces, and who is at work where.
//!
//! A piece of some size is a payload like any other, in chunks or objects, sealed before the row that makes it a piece; its
//! sequence is the negative of the piece's id, so that no sweep takes it for an orphan. A piece is promised as a message is:
//! where a standby is required, it has it. What a place lets go of, its sweep
//! hands back to that of payloads. A request only marks what is over; deleting is the sweep's, in bounded steps.

use std::ops::RangeInclusive;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use tokio_postgres::Row as Found;

use super::payload::Outgoing;
use super::pools::{self, Pools};
use super::promises::Standby;
use super::read::column;
use super::{Fault, PostgresStore, Reading, ask, promise, promises, write};
use crate::store::row::{int, uint};
use crate::store::staging::{Alike, Beginning, Begun, Count, Counted, Held, Place, PlaceName, Staging};
use crate::store::{PayloadReader, StagedPayload, StagedPlace, StoreError};

/// A hold of a node that is gone ends so long after it was last renewed.
const HOLD_SECONDS: f64 = 15.0;
const HOLD_RENEWED_EVERY: Duration = Duration::from_secs(4);
const HOLD_POLL: Duration = Duration::from_millis(10);
const HOLD_POLL_MAX: Duration = Duration::from_millis(200);
/// Places that one sweep looks at, and pieces that one statement of it lets go of.
const SWEPT_MAX: i64 = 100;
const PIECES_AT_ONCE: i64 = 500;

const HOLD: &str = "INSERT INTO staged_hold (name, holder, until) \
    VALUES ($1, $2, clock_timestamp() + $3 * interval '1 second') ON CONFLICT (name) DO UPDATE \
    SET holder = excluded.holder, until = excluded.until \
    WHERE staged_hold.until <= clock_timestamp() OR staged_hold.holder = excluded.holder RETURNING 1";
const LET_GO: &str = "DELETE FROM staged_hold WHERE name = $1 AND holder = $2";
const HOLDS_OVER: &str = "DELETE FROM staged_hold WHERE until < clock_timestamp() - interval '1 minute'";

const COUNTED: &str =
    "SELECT pg_advisory_xact_lock(hashtextextended('amtsbote staged ' || $1 || ' ' || $2, 0))";
/// Out of the way of a new place of its name.
const OVER: &str = "UPDATE staged SET name = name || ' ' || id WHERE kind = $1 AND owner = $2 AND name = $3 \
    AND ends_at <= clock_timestamp()";
const OTHERS: &str = "SELECT count(*) FILTER (WHERE open AND name <> $3), \
    coalesce(sum(bytes) FILTER (WHERE open AND name <> $3), 0)::bigint, coalesce(bool_or(name = $3), false), \
    count(*) FILTER (WHERE open AND name <> $3 AND position($4::bytea in note) > 0) \
    FROM staged WHERE kind = $1 AND owner = $2 AND ends_at > clock_timestamp()";
const BEGIN: &str = "INSERT INTO staged (kind, owner, name, note, bytes, ends_at) \
    VALUES ($1, $2, $3, $4, $5, clock_timestamp() + $6 * interval '1 second')";
const PLACES: &str = "SELECT name, note, open, ARRAY(SELECT number FROM staged_piece WHERE place = staged.id ORDER BY number), \
    extract(epoch FROM ends_at - clock_timestamp())::float8 \
    FROM staged WHERE kind = $1 AND owner = $2 AND ends_at > clock_timestamp()";
const NOTE: &str = "UPDATE staged SET note = $4, open = open AND $5 WHERE kind = $1 AND owner = $2 AND name = $3 \
    AND ends_at > clock_timestamp() RETURNING 1";
const EXCHANGE: &str = "UPDATE staged SET note = $5 WHERE kind = $1 AND owner = $2 AND name = $3 AND note = $4 \
    AND open AND ends_at > clock_timestamp() RETURNING 1";
/// Bytes of the others, and of those of them among which it is.
const BESIDE: &str = "SELECT coalesce(sum(bytes) FILTER (WHERE name <> $3), 0)::bigint, \
    coalesce(sum(bytes) FILTER (WHERE name <> $3 AND starts_with(name, $4)), 0)::bigint, \
    coalesce(bool_or(name = $3), false) \
    FROM staged WHERE kind = $1 AND owner = $2 AND open AND ends_at > clock_timestamp()";
const COUNT: &str = "UPDATE staged SET bytes = $4 WHERE kind = $1 AND owner = $2 AND name = $3";
const FORGET: &str = "UPDATE staged SET name = name || ' ' || id, ends_at = '-infinity' \
    WHERE kind = $1 AND owner = $2 AND name = $3";
/// Nobody keeps a piece until it is counted. A count that a server's fall takes back is higher.
const COUNTED_NOW: &str = "SELECT id FROM staged, set_config('synchronous_commit', 'off', true) AS soon \
    WHERE kind = $1 AND owner = $2 AND name = $3 AND open AND ends_at > clock_timestamp() FOR UPDATE OF staged";
const COUNT_PIECES: &str = "UPDATE staged SET bytes = \
    (SELECT coalesce(sum(length), 0)::bigint FROM staged_piece WHERE place = $1) WHERE id = $1";
/// Shared with other pieces, but with nobody who ends the place or exchanges its words.
const OPEN: &str = "SELECT id, $4::bytea IS NULL OR note = $4 FROM staged WHERE kind = $1 AND owner = $2 AND name = $3 AND open \
    AND ends_at > clock_timestamp() FOR SHARE";
const PIECE: &str = "INSERT INTO staged_piece (place, number, length, bytes) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (place, number) DO NOTHING RETURNING id";
const NAMED: &str = "UPDATE payload_large SET sequence = -$2::bigint WHERE name = $1 AND sealed AND sequence IS NULL \
    AND dropped_at IS NULL RETURNING 1";
const FIND_PIECE: &str = "SELECT p.length, p.bytes IS NOT NULL, substring(p.bytes from $5 + 1 for $6), l.name, l.object_bytes \
    FROM staged s JOIN staged_piece p ON p.place = s.id LEFT JOIN payload_large l ON l.sequence = -p.id \
    WHERE s.kind = $1 AND s.owner = $2 AND s.name = $3 AND s.open AND s.ends_at > clock_timestamp() AND p.number = $4";

const LENGTHS: &str = "SELECT p.number, p.length FROM staged s JOIN staged_piece p ON p.place = s.id \
    WHERE s.kind = $1 AND s.owner = $2 AND s.name = $3 AND s.open AND s.ends_at > clock_timestamp() \
    AND p.number BETWEEN $4 AND $5 ORDER BY p.number";
const DROP: &str = "WITH few AS (SELECT p.id FROM staged s JOIN staged_piece p ON p.place = s.id \
    WHERE s.kind = $1 AND s.owner = $2 AND s.name = $3 AND p.number < $4 LIMIT $5), \
    gone AS (DELETE FROM staged_piece p USING few WHERE p.id = few.id RETURNING p.id), \
    freed AS (UPDATE payload_large l SET sequence = NULL, dropped_at = clock_timestamp() FROM gone \
    WHERE l.sequence = -gone.id) SELECT count(*) FROM gone";

const ENDED: &str =
    "SELECT id, true FROM staged WHERE ends_at <= clock_timestamp() ORDER BY ends_at LIMIT $1";
const SETTLED: &str = "SELECT id, false FROM staged WHERE NOT open AND NOT swept ORDER BY id LIMIT $1";
const PIECES_GONE: &str = "WITH few AS (SELECT id FROM staged_piece WHERE place = $1 LIMIT $2), \
    gone AS (DELETE FROM staged_piece p USING few WHERE p.id = few.id RETURNING p.id), \
    freed AS (UPDATE payload_large l SET sequence = NULL, dropped_at = clock_timestamp() FROM gone \
    WHERE l.sequence = -gone.id) SELECT count(*) FROM gone";
/// Unless another node is still at its pieces.
const SWEPT: &str = "UPDATE staged SET swept = true WHERE id = $1 \
    AND NOT EXISTS (SELECT 1 FROM staged_piece WHERE place = $1)";
const GONE: &str = "DELETE FROM staged WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM staged_piece WHERE place = $1) RETURNING 1";

fn place_of(row: &Found) -> Result<Place, Fault> {
    let pieces: Vec<i64> = column(row, 3)?;
    Ok(Place {
        name: column(row, 0)?,
        note: column(row, 1)?,
        is_open: column(row, 2)?,
        pieces: pieces.into_iter().map(uint).collect(),
        left: Duration::try_from_secs_f64(column(row, 4)?).unwrap_or_default(),
    })
}

/// Deletes what is over, as much as one round may; returns how many places.
pub async fn sweep(pools: &Pools) -> Result<u64, StoreError> {
    pools.run(HOLDS_OVER, &[]).await?;
    let mut swept = 0;
    for question in [ENDED, SETTLED] {
        for row in pools.run(question, &[&SWEPT_MAX]).await? {
            let (id, is_over): (i64, bool) = (row.get(0), row.get(1));
            loop {
                let gone = pools.tidy(PIECES_GONE, &[&id, &PIECES_AT_ONCE]).await?;
                if gone.first().map_or(0, |row| row.get::<_, i64>(0)) < PIECES_AT_ONCE {
                    break;
                }
            }
            swept += pools.tidy(if is_over { GONE } else { SWEPT }, &[&id]).await?.len() as u64;
        }
    }
    Ok(swept)
}

fn unknown() -> Fault {
    StoreError::Unknown.into()
}

impl PostgresStore {
    async fn note(&self, place: &PlaceName, note: &[u8], stays_open: bool) -> Result<(), StoreError> {
        let PlaceName { kind, owner, name } = place;
        write!(self, reading, async {
            let noted = reading.ask(NOTE, &[kind, owner, name, &note, &stays_open]).await?;
            if noted.is_empty() { Err::<(), Fault>(unknown()) } else { Ok(()) }
        })
    }

    async fn hold_once(&self, name: &str, holder: &str) -> Result<bool, StoreError> {
        let held = ask!(self, reading, reading.ask(HOLD, &[&name, &holder, &HOLD_SECONDS]))?;
        Ok(!held.is_empty())
    }

    async fn begin(
        &self,
        place: &PlaceName,
        beginning: Beginning<'_>,
        alike: Option<Alike<'_>>,
    ) -> Result<Begun, StoreError> {
        let PlaceName { kind, owner, name } = place;
        let words = alike.map(|alike| alike.words);
        // Where the standby must have it and is away, this says so before anybody waits.
        promise!(self, reading, async {
            reading.ask(COUNTED, &[kind, owner]).await?;
            reading.ask(OVER, &[kind, owner, name]).await?;
            let rows = reading.ask(OTHERS, &[kind, owner, name, &words]).await?;
            let row = rows.first().ok_or_else(unknown)?;
            let (count, bytes, like_it): (i64, i64, i64) =
                (column(row, 0)?, column(row, 1)?, column(row, 3)?);
            if column(row, 2)? {
                return Ok::<_, Fault>(Begun::Yes);
            }
            let with_it = uint(bytes).saturating_add(beginning.bytes);
            if uint(count) >= beginning.count_max
                || alike.is_some_and(|alike| uint(like_it) >= alike.count_max)
            {
                return Ok(Begun::TooMany);
            }
            if count > 0 && with_it > beginning.bytes_max {
                return Ok(Begun::TooMuch { bytes: with_it });
            }
            let (bytes, lasts) = (int(beginning.bytes), beginning.lasts.as_secs_f64());
            reading.ask(BEGIN, &[kind, owner, name, &beginning.note, &bytes, &lasts]).await?;
            Ok(Begun::Yes)
        })
    }

    async fn keep(
        &self,
        place: &PlaceName,
        note: Option<&[u8]>,
        number: u64,
        mut piece: StagedPayload,
    ) -> Result<bool, StoreError> {
        let PlaceName { kind, owner, name } = place;
        let (large, inline) = match &piece.place {
            StagedPlace::Inline(bytes) => (None, Some(bytes.to_vec())),
            StagedPlace::Staged(token) => (Some(token.name().to_owned()), None),
        };
        let (number, length) = (int(number), int(piece.length));
        let kept = promise!(self, reading, async {
            let rows = reading.ask(OPEN, &[kind, owner, name, &note]).await?;
            let row = rows.first().ok_or_else(unknown)?;
            let open: i64 = column(row, 0)?;
            if !column::<bool>(row, 1)? {
                return Ok::<_, Fault>(false);
            }
            let rows = reading.ask(PIECE, &[&open, &number, &length, &inline]).await?;
            let Some(row) = rows.first() else { return Ok(false) };
            let id: i64 = column(row, 0)?;
            if let Some(large) = &large
                && reading.ask(NAMED, &[large, &id]).await?.is_empty()
            {
                return Err(Fault::Refusal(super::payload::vanished()));
            }
            Ok(true)
        })?;
        // Otherwise it is let go of: with an outcome that is not known as well, for what is named is not let go of.
        if let (true, StagedPlace::Staged(token)) = (kept, &mut piece.place) {
            token.keep();
        }
        Ok(kept)
    }
}

#[async_trait]
impl Staging for PostgresStore {
    async fn hold(&self, place: &PlaceName, limit: Option<Duration>) -> Result<Option<Held>, StoreError> {
        let name = format!("{}/{}/{}", place.kind, place.owner, place.name);
        let holder = uuid::Uuid::new_v4().simple().to_string();
        let end = limit.map(|limit| Instant::now() + limit);
        let mut pause = HOLD_POLL;
        while !self.hold_once(&name, &holder).await? {
            if end.is_some_and(|end| Instant::now() + pause > end) {
                return Ok(None);
            }
            sleep(pause).await;
            pause = (pause * 2).min(HOLD_POLL_MAX);
        }
        let (work, mut over) = oneshot::channel::<()>();
        let pools = self.pools.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = &mut over => break,
                    () = sleep(HOLD_RENEWED_EVERY) => {
                        // Where this comes too late, somebody else is at work as well, and does no harm.
                        let _ = pools.run(HOLD, &[&name, &holder, &HOLD_SECONDS]).await;
                    }
                }
            }
            let _ = pools.run(LET_GO, &[&name, &holder]).await;
        });
        Ok(Some(Held::new(work)))
    }

    async fn confirm(&self) -> Result<(), StoreError> {
        promise!(self, reading, async { reading.ask(promises::BEHIND, &[]).await.map(drop) })
    }

    async fn begin_place(&self, place: &PlaceName, beginning: Beginning<'_>) -> Result<Begun, StoreError> {
        self.begin(place, beginning, None).await
    }

    async fn begin_place_among(
        &self,
        place: &PlaceName,
        beginning: Beginning<'_>,
        alike: Alike<'_>,
    ) -> Result<Begun, StoreError> {
        self.begin(place, beginning, Some(alike)).await
    }

    async fn count_place(&self, place: &PlaceName, count: Count<'_>) -> Result<Counted, StoreError> {
        let PlaceName { kind, owner, name } = place;
        promise!(self, reading, async {
            reading.ask(COUNTED, &[kind, owner]).await?;
            let rows = reading.ask(BESIDE, &[kind, owner, name, &count.among]).await?;
            let row = rows.first().ok_or_else(unknown)?;
            if !column::<bool>(row, 2)? {
                return Err(unknown());
            }
            let (others, among) = (uint(column(row, 0)?), uint(column(row, 1)?));
            let among_room = count.among_bytes_max.saturating_sub(among);
            let room = among_room.min(count.bytes_max.saturating_sub(others));
            if count.bytes > room {
                return Ok::<_, Fault>(match count.bytes > among_room {
                    true => Counted::TooMuchAmong,
                    false => Counted::TooMuch { others },
                });
            }
            let bytes = count.bytes.saturating_add(count.ahead).min(room);
            reading.ask(COUNT, &[kind, owner, name, &int(bytes)]).await?;
            Ok(Counted::Yes(bytes))
        })
    }

    async fn count_pieces(&self, place: &PlaceName) -> Result<(), StoreError> {
        let PlaceName { kind, owner, name } = place;
        write!(self, reading, async {
            reading.ask(COUNTED, &[kind, owner]).await?;
            let rows = reading.ask(COUNTED_NOW, &[kind, owner, name]).await?;
            let id: i64 = column(rows.first().ok_or_else(unknown)?, 0)?;
            reading.ask(COUNT_PIECES, &[&id]).await.map(drop)
        })
    }

    async fn place(&self, place: &PlaceName) -> Result<Option<Place>, StoreError> {
        let question = format!("{PLACES} AND name = $3");
        let PlaceName { kind, owner, name } = place;
        ask!(self, reading, async {
            let rows = reading.ask(&question, &[kind, owner, name]).await?;
            rows.first().map(place_of).transpose()
        })
    }

    async fn promised_place(&self, place: &PlaceName) -> Result<Option<Place>, StoreError> {
        if self.pools.settings().standby != Standby::Required {
            return self.place(place).await;
        }
        // A piece whose commit was let go of is seen like any other.
        let question = format!("{PLACES} AND name = $3");
        let PlaceName { kind, owner, name } = place;
        promise!(self, reading, async {
            reading.ask(promises::BEHIND, &[]).await?;
            let rows = reading.ask(&question, &[kind, owner, name]).await?;
            rows.first().map(place_of).transpose()
        })
    }

    async fn places(&self, kind: &str, owner: &str, name: &str) -> Result<Vec<Place>, StoreError> {
        let question = format!("{PLACES} AND starts_with(name, $3) ORDER BY name");
        ask!(self, reading, async {
            let rows = reading.ask(&question, &[&kind, &owner, &name]).await?;
            rows.iter().map(place_of).collect::<Result<Vec<_>, _>>()
        })
    }

    async fn note_place(&self, place: &PlaceName, note: &[u8]) -> Result<(), StoreError> {
        self.note(place, note, true).await
    }

    async fn exchange_note(&self, place: &PlaceName, before: &[u8], note: &[u8]) -> Result<bool, StoreError> {
        let PlaceName { kind, owner, name } = place;
        write!(self, reading, async {
            let exchanged = reading.ask(EXCHANGE, &[kind, owner, name, &before, &note]).await?;
            Ok::<_, Fault>(!exchanged.is_empty())
        })
    }

    async fn settle_place(&self, place: &PlaceName, note: &[u8]) -> Result<(), StoreError> {
        self.note(place, note, false).await
    }

    async fn forget_place(&self, place: &PlaceName) -> Result<(), StoreError> {
        let PlaceName { kind, owner, name } = place;
        write!(self, reading, async { reading.ask(FORGET, &[kind, owner, name]).await.map(drop) })
    }

    async fn keep_piece(
        &self,
        place: &PlaceName,
        number: u64,
        piece: StagedPayload,
    ) -> Result<bool, StoreError> {
        self.keep(place, None, number, piece).await
    }

    async fn keep_piece_of(
        &self,
        place: &PlaceName,
        note: &[u8],
        number: u64,
        piece: StagedPayload,
    ) -> Result<bool, StoreError> {
        self.keep(place, Some(note), number, piece).await
    }

    async fn lengths(
        &self,
        place: &PlaceName,
        numbers: RangeInclusive<u64>,
    ) -> Result<Vec<(u64, u64)>, StoreError> {
        let PlaceName { kind, owner, name } = place;
        let (from, to) = (int(*numbers.start()), int(*numbers.end()));
        ask!(self, reading, async {
            let rows = reading.ask(LENGTHS, &[kind, owner, name, &from, &to]).await?;
            let length = |row: &Found| Ok((uint(column(row, 0)?), uint(column(row, 1)?)));
            rows.iter().map(length).collect::<Result<Vec<_>, Fault>>()
        })
    }

    async fn drop_pieces(&self, place: &PlaceName, below: u64) -> Result<(), StoreError> {
        let PlaceName { kind, owner, name } = place;
        loop {
            let below = int(below);
            let rows = self.pools.tidy(DROP, &[kind, owner, name, &below, &PIECES_AT_ONCE]).await?;
            if rows.first().map_or(0, |row| row.get::<_, i64>(0)) < PIECES_AT_ONCE {
                return Ok(());
            }
        }
    }

    async fn open_piece(
        &self,
        place: &PlaceName,
        number: u64,
        offset: u64,
        length: u64,
    ) -> Result<Box<dyn PayloadReader>, StoreError> {
        let PlaceName { kind, owner, name } = place;
        // A piece that is inline is smaller than the number that `substring` counts with.
        let small = |number: u64| i32::try_from(number).unwrap_or(i32::MAX - 1);
        let (from, for_) = (small(offset), small(length));
        let rows =
            ask!(self, reading, reading.ask(FIND_PIECE, &[kind, owner, name, &int(number), &from, &for_]))?;
        let row = rows.first().ok_or(StoreError::Unknown)?;
        let read = || -> Result<Outgoing, Fault> {
            let whole = uint(column(row, 0)?);
            let span = offset.min(whole)..offset.saturating_add(length).min(whole);
            if column(row, 1)? {
                return Ok(Outgoing::Inline(column::<Vec<u8>>(row, 2)?.into()));
            }
            let large: Option<String> = column(row, 3)?;
            let large =
                large.ok_or_else(|| Fault::corrupt(format!("piece {number} of an upload is missing")))?;
            Ok(Outgoing::apart(&self.pools, large, column(row, 4)?, span))
        };
        Ok(Box::new(read().map_err(Fault::into_store_error)?))
    }
}
