//! The gateway: opens portals' submissions for participants that delegate their decryption key to it.
//!
//! Without it, submissions go through the post office encrypted, and an authority's own software opens them
//! ([`super::portal`]). An authority whose specialist procedure knows neither JWE nor FIT-Connect may delegate its
//! destination's keys to a gateway, for example its computing centre's. The procedure then finds the application in the clear
//! in the mailbox that it has, by XTA 2 or OSCI, closes it as it closes every message, and the portal reads that it is
//! accepted.
//!
//! The gateway is a process of its own (`amtsbote gateway serve`) with its own configuration, keys and certificate; it may run
//! on another machine than the post office, in the authority's zone. The relay never holds a content key.
//!
//! # Setting up
//!
//! `amtsbote gateway init` writes `gateway.toml` with every key explained; `amtsbote gateway check` reads what starting would
//! read, and asks nobody. At the post office it takes:
//!
//! 1. an account for the gateway with its certificate, its identifier (`office.author`), and in its rights
//!    `foreign_message_ids = true`: it gives each submission's message an id of its own making;
//! 2. in the participant's account a portal client that subscribes (`amtsbote destination secret`), whose secret the gateway
//!    has in `destination.secret_file`;
//! 3. at the destination a mailbox of its own (`identifier`), apart from the one that the procedure empties
//!    (`destination.reader`). In one mailbox the procedure would find each application twice, once encrypted, and whoever
//!    closes that one accepts it;
//! 4. the destination's public keys: those of `destination.decryption` for encryption, that of `destination.signature` for
//!    signatures, under the same kids. For a roll-over give the gateway the new key before the destination names it.
//!
//! # What it does with a submission
//!
//! | step | checked against | rejected as (`…/events/problems/`) |
//! | --- | --- | --- |
//! | event log | the post office's and the destination's keys; it is about this submission and says what was submitted | `invalid-event-log`, `missing-authentication-tags` |
//! | metadata, data, each attachment | the authentication tag of submit-submission | `incorrect-authentication-tag` |
//! | decryption | RSA-OAEP-256 and A256GCM with a key under its kid | `encryption-issue` |
//! | metadata | well-formed JSON; metadata schema 1.0.0, or the structure of another admitted version; the service that was announced | `syntax-violation`, `schema-violation`, `unsupported-metadata-schema`, `service-mismatch` |
//! | attachments | those that the metadata describe, each once | `attachments-mismatch` |
//! | data | present where described; schema in `destination.schemas`; SHA-512; well-formed as declared (JSON or XML) | `missing-data`, `missing-schema`, `unsupported-data-schema`, `hash-mismatch`, `syntax-violation` |
//! | each attachment | SHA-512 | `hash-mismatch` |
//!
//! The first thing that is wrong is said in a signed reject-submission with its part (`metadata`, `data`,
//! `attachment:ID`, `submission`), and nothing is posted. What is not the sender's fault is never rejected: a key that the
//! gateway was not given (`gateway-key-missing`), an event signed with a key that the destination publishes no more
//! (`gateway-signer-gone`), a submission above `office.submission_bytes_max` (`gateway-too-large`), a
//! post office that refuses (`gateway-post`) leave the submission where it is, with an error in the log that says what to do,
//! and are tried again.
//!
//! What is good becomes one XTA message to `destination.reader`: the data as the message, `metadata.json` and the attachments
//! beside it under their file names (the last step of a path only) and media types. Its properties name submission, case and
//! destination. Its id is `urn:de:xta:messageid:amtsbote-gateway:` and the submission's id.
//!
//! The reader's `close` (or his further request in an OSCI dialog) is seen in the transport report, at most
//! `office.report_seconds` later; then the gateway signs accept-submission with the tags of all parts. A message that nobody
//! closes is obsolete at the end of `destination.obsolete_days`, before the post office rejects the submission in its own name
//! (`portal.reject_days`): what the portal was told is rejected cannot be read any more. A gateway whose days leave no
//! whole day before those of the post office (or of the destination's profile) refuses to start and says so. If the gateway is not there when the time is over,
//! the reader's close counts all the same, provided that it was in time and that mailbox and destination are one
//! account's: the post office says accept-submission in its own name, and the card has the warning `closed-in-the-clear`.
//!
//! # Crashes, and what is kept
//!
//! The gateway keeps nothing: no database, no spool, no temporary file. Each step is decided by what the post office says.
//! Killed before the message was posted, it opens the submission again and posts the same bytes under the same id; killed after,
//! it finds the message there; killed before the acceptance was heard, it finds the submission decided. Clear content is in
//! memory only, one submission of a destination at a time, at most twice `office.submission_bytes_max` with its encrypted form; it reaches a disk only
//! through swap, which is the machine's to switch off or encrypt, and in the post office's store as every message of that
//! mailbox. The log names submissions, problems and parts, and no content; problem details go to the sender only.
//!
//! Two gateways with one configuration do no harm and twice the work.
//!
//! # Left out
//!
//! Signatures inside the content (`signature` in the metadata: AdES) are handed on unverified. Schemas of data are the
//! procedure's to check; the gateway compares the named schema and the form. Compressed content (`zip`, DEF) is
//! inflated to at most what is left of `office.submission_bytes_max`, and stays beyond, as everything that is
//! larger. There are
//! no replies to the portal, and no forwarding.
