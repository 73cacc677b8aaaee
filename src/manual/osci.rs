//! A participant by OSCI-Transport 1.2: setting it up, and large messages in chunks.
//!
//! # Setting it up
//!
//! The post office needs a certificate that clients encrypt for and one that it signs by, and the authorities whose
//! certificates it believes (the file that `amtsbote init` writes explains every key):
//!
//! ```toml
//! [osci]
//! address = "0.0.0.0:8444"
//! cipher_certificates = ["osci-cipher.crt"]
//! cipher_keys = ["osci-cipher.key"]
//! signature_certificate = "osci-signature.crt"
//! signature_key = "osci-signature.key"
//! signature_anchors = ["authority.crt"]
//! cipher_anchors = ["authority.crt"]
//! crls = ["authority.crl"]
//! ```
//!
//! A participant is known by its certificates. `amtsbote cert show FILE` prints the fingerprint; the participants' file
//! names it, and `amtsbote participant apply FILE` puts it into force:
//!
//! ```toml
//! [[account]]
//! name = "einwohnermeldeamt"
//! identifiers = [{ value = "ags:10041100" }]
//! [account.osci]
//! signature_required = true
//! [[account.osci.cipher]]
//! fingerprint = "…"          # of the certificate that answers are encrypted for: it names the mailbox
//! identifier = "ags:10041100" # may be absent where the account has only one
//! [[account.osci.signature]]
//! fingerprint = "…"          # of the certificate that its requests are signed by
//! ```
//!
//! Several cipher certificates may name one mailbox, so that a renewal needs no hour at which everybody changes. The
//! client needs the post office's URL and its cipher certificate; `amtsbote send --osci` and `amtsbote fetch --osci` try
//! both directions. A mailbox is opened for whoever signs, or answers a challenge that only the cipher key could read.
//!
//! # What holds of every request
//!
//! The limits of `[limits]` hold as for XTA: `envelope_bytes_max` for everything before the content, `parts_max` and
//! `part_header_bytes_max` for attachments, `xml_*` for the markup; what exceeds them is the fault 9100. A message holds up
//! to `content_bytes_max`, attachments and content package together (9904), and so says MaxMessageSize. The disk keeps
//! `disk_reserve_bytes`: a request that would eat into it is the fault 9000, and the log says so.
//!
//! A part that came by XTA goes on as an attachment, by its file name where that is a plain one and as `part1`, `part2`, …
//! otherwise, with `Content-Disposition`, `Content-Description` and `Content-Language`; its encoding is the `charset` of its
//! type. XTA's `id` has no place there.
//!
//! A delivery that waits and cannot be written as a message of OSCI (an older version took it, or the disk damaged it) is
//! passed over by fetches, so that it blocks nothing. The log has an ERROR with its id: look at it with `amtsbote message
//! show`, let its reader fetch it by XTA, or take it out of the mailbox with `amtsbote message hold`.
//!
//! # Large messages in chunks
//!
//! Clients that know partialStoreDelivery and partialFetchDelivery cut a message into chunks of 8 KB to 65,536 KB (KB of
//! 1024 bytes; the last may be smaller), at most 10,000. The post office keeps them in the folder `osci-chunks` in the
//! store's folder, or in the database that several servers share, until all are there; the message inside is then judged as if it came alone. After a break the client asks
//! which chunks are there and sends the rest, also over a restart.
//!
//! - An account has at most 16 uploads and 16 fetches on their way (9811). Each must end three days after it began; then it
//!   is swept. The feature description says so as ChunkMessageTimeout, in milliseconds.
//! - An upload begins only if the disk has room for all of it beside what other uploads have begun: twice its stated size,
//!   for the chunks and for the message made of them, and `limits.disk_reserve_bytes` (9811, and an ERROR in the log).
//!   Where several servers share a database, chunks lie in it and no server's disk is asked; keep an eye on the database's.
//! - So much an upload keeps from its first chunk on until it is accepted, refused or swept. Uploads of one account keep
//!   `limits.upload_bytes_max` together, 1 GiB by default and never less than four times `limits.content_bytes_max`; one alone is taken whatever it
//!   keeps. What exceeds that is
//!   refused (9811, and a WARN in the log), so that nobody holds the disk by announcing what he never sends.
//! - What is fetched in chunks is kept as a copy of its own. Copies of one account keep as much as its uploads may, those of
//!   all accounts together eight times as much; beyond that the oldest copies of whoever keeps most are forgotten, but for
//!   those at work, and their readers are told to begin again. Where only such are left, the fetch is refused (9811, and a
//!   WARN in the log).
//!   Where several servers share a database, copies lie in it, and those of one account are bounded, not those of all.
//! - A delivery that is fetched in chunks is received when the reader goes on after the chunk that made it whole.
//!
//! Whoever copies the store's folder copies the chunks with it; nothing is lost without them but the way that an upload had
//! come: its sender was not told that the message was accepted, and sends it again.
