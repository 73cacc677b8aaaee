//! Readers at other post offices: storeDelivery at a foreign OSCI-Transport 1.2 intermediary.
//!
//! # What it does
//!
//! An `[[intermediary]]` of the configuration (`amtsbote init` writes an example) names another intermediary, who we are
//! there, and the readers that are reached through it. Each reader is a participant here whose mailbox stands for him:
//! what enters it, by whichever door, is stored there for his certificate. Only the URL of the configuration is dialled.
//! What is encrypted in XTA's form cannot go by OSCI and becomes a dead letter at once. Certificates and keys are read at
//! the start: after a change, restart.
//!
//! # What the card says
//!
//! *Taken* means that the other intermediary confirmed storeDelivery. The message counts as received here, because our part
//! is done; the step names the id that it has there and the instants of the card there. An author who asks by XTA reads
//! "Another post office took the message for its reader." Whether the reader fetched it, only the other one knows.
//!
//! # What is noted, so that nothing is stored twice
//!
//! The id that the other one issued is noted on disk before it is used. Every further attempt, also after a restart or a
//! kill, asks for that id's process card first and sends again only if there is none. `amtsbote message requeue ID` and
//! `release` keep the note.
//!
//! # How long an attempt may last
//!
//! `limits.outlet_seconds`, and one second more for every `limits.outlet_bytes_per_second_min` bytes of content: 120 s and
//! 64 KiB/s unless you say otherwise. Lower the rate where large messages go over a slow line, or each attempt is cut before
//! its end. After a kill in the middle of an attempt the message waits until the time for the largest one allowed
//! (`limits.content_bytes_max`) is over.
//!
//! # Failures, dead letters
//!
//! An attempt that fails is repeated after a pause (`profile.push_backoff_…`), at most `profile.push_attempts_max` times;
//! failures in a row leave the whole destination alone for a while, which costs no message an attempt. Then, or when the
//! other one refuses the message for good (its certificates, its size), it is a dead letter: `amtsbote message list --state
//! dead` shows it, `amtsbote message show ID` says why. Mend the cause and `amtsbote message requeue ID`, or cancel it.
//!
//! # A yes that came too late
//!
//! The other one may take a message that expired, was cancelled or was held during the attempt. Its state stays; its card
//! gets the finding `taken-late` with the id there, the log a WARN, and `amtsbote_pushes_total` counts it as `late`. If it
//! should count as received, release or requeue it: the attempt that follows asks there first. If the reader should not act
//! on it, tell him.
