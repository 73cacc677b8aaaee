//! Decisions that are not obvious from the code, each with its reason and what would change it.
//!
//! # The embedded store is SQLite, not sled
//!
//! A post office has one property that nothing may be traded for: what was answered "accepted" is still there after a
//! power cut. In simulated power cuts on a real file system sled 0.34 failed in twelve of twelve runs, losing up to
//! every acknowledged message, because its flush does not reach the disk's sync; after some full disks it could not be
//! opened again. SQLite, redb and LMDB lost nothing. SQLite and LMDB also go on in the same process after the disk
//! was full.
//!
//! Among those three the choice is about everything else. Measured on the real mix of transactions (10 kB messages,
//! every acknowledgement durable, two cores, messages and confirmations per second with 1 and with 64 clients):
//!
//! | engine | 1 client | 64 clients |
//! | --- | --- | --- |
//! | SQLite (WAL, `synchronous=FULL`) | 3,500 | 14,500 |
//! | redb | 1,300 to 2,300 | 14,400 to 16,400 |
//! | LMDB | 2,100 | 28,200 |
//! | PostgreSQL | 970 | 6,260 |
//!
//! The real load is a few thousand messages a *day*, so each of them is fast enough by three orders of magnitude.
//! SQL then decides: the administrator's questions, the register's indexes and the twin in PostgreSQL come for free,
//! and an expert in court knows the format. If a profile of ours ever shows the engine to be the bottleneck, the
//! trait ([`crate::store::Store`]) lets another take its place, provided that it passes the same conformance tests.
//!
//! # One thread writes
//!
//! All of these engines have a single writer inside. Letting many threads queue for it costs a sync per message;
//! one thread that takes whatever has queued up during the last commit and commits it together was four times as
//! fast with SQLite at 64 clients (about 9,800 against 2,400 transactions a second), and twelve times with redb. There
//! is no timer: a lone message is committed at once, and batches grow only because a commit takes time. A batch ends
//! at 256 commands or 8 MB. The same thread owns sequence numbers and the evidence log, so that neither needs a lock.
//! Checkpoints of the write-ahead log run on another thread, for they took up to 1.7 seconds inside an accept.
//!
//! # Cryptography comes from aws-lc-rs, not ring
//!
//! An OSCI intermediary must decrypt RSA: content keys, and the encrypted challenge that opens a dialog. ring does not
//! decrypt RSA at all and lacks P-521 and AES-CBC. aws-lc-rs has ring's interface, these algorithms, and private-key
//! operations at twice the speed. The `rsa` crate never decrypts here, since its
//! timing leaks the key (RUSTSEC-2023-0071).
//!
//! # The TLS layer proves possession, the door judges
//!
//! In the TLS handshake a client proves that it holds the private key of the certificate that it shows, and nothing
//! else is decided there. A handshake can only break off; the client's operator would see an alert without a reason.
//! XTA has codes for the reasons (expired 9010, account blocked 9011, unknown 9012), and the operator's log wants them
//! with an account's name. So the door, which knows the directory, judges the certificate of each *request*. A second
//! consequence: blocking an account works on connections that are open already.
//!
//! # A mailbox has one owner
//!
//! An identifier's type separates two identifiers where both sides state one, but a mailbox bears only the value.
//! Two accounts with the same value and different types would read each other's messages. The directory therefore
//! refuses the same value in two accounts, whatever the types ([`crate::domain::account::Directory::new`]).
//!
//! # Listings without `newEntry` show everything that is not closed
//!
//! The text of the later XTA version reads as if a listing without `newEntry` showed only messages that were never
//! fetched. Clients list without any selector and, after a crash between fetching and closing, expect to see
//! again what they did not close. Showing less loses messages in practice; showing more costs a repeated fetch. So
//! only `newEntry="true"` narrows the list ([`crate::store::Selection::new_only`]).
//!
//! # Which service profile wins
//!
//! The message's own, if it names one (ServiceQuality); else the default of the reader's account; else the post
//! office's. The author may know better than the reader how urgent one message is; the reader knows better than we do.
//!
//! A name that is not configured is refused when it is a bare word, since that can only be a mistake. A URI is taken
//! under the reader's deadlines, with a warning `profile-unknown` on the card: software writes the URI of its standard's
//! profile into every message, and an administrator who has not copied that version's profile would otherwise shut
//! out a whole standard on the day of its new release ([`crate::relay::accept::profile`]).
//!
//! # A service that is synchronous only still takes answers
//!
//! The reader of such a service answers with an ordinary message. It names the same profile and would be refused for
//! not waiting. A message that answers one which was addressed to its author by its reader is therefore taken in any
//! manner ([`crate::relay::accept::Manner::Answer`]).
//!
//! # A retry is answered as before, even when the rules have changed
//!
//! "Accepted" may get lost on the way back. If the author repeats the message after its ObsoleteAfter is over or its
//! reader has left, today's rules refuse it, and he would believe that it was never sent. A refused message that is
//! equal in every respect to a stored one of the same account is therefore answered as accepted before.
//!
//! # An order is kept where we push, not where a reader fetches
//!
//! With an `ordered` profile a push waits until the message before it is done. A reader who fetches names the message
//! that he wants; refusing it because an older one lies there would stop a mailbox at its first damaged message.
//!
//! # An exported proof is text in exactly one spelling
//!
//! A format with optional white space or field order has bytes that mean nothing, and a changed one among them goes
//! unnoticed. The proof file is written in one way only, and the verifier writes it again and compares. It proves what
//! was logged up to its checkpoint ([`crate::evidence::export`]).
//!
//! # The signed card is written, never read
//!
//! A third party wants the card as XML with a signature that any tool checks; the log binds the card's stored bytes. Two
//! forms of one thing invite a difference between them. So the XML is written from the stored card in one way only, and
//! a verifier writes it again and compares: there is no reader of that form, and nothing in it that the log does not
//! bind ([`crate::evidence::signed_card`]).
//!
//! # The newest checkpoint is stamped, not each one
//!
//! The log only grows, and a checkpoint covers all that was before it: one stamp an hour proves as much as sixty, an hour
//! later. What an authority misses while it is down, its next stamp covers ([`crate::relay::worker::time_stamps`]).
//!
//! # A synchronous answer is received when its last byte has gone out
//!
//! XTA has no confirmation for the answer of sendMessageSync; a close belongs to the mailbox. Marking it received when it
//! is found would lose sight of it where the author's connection breaks before the bytes are with him. So it is handed
//! out when it is found, and received when the last byte has left this process and the system has taken it
//! ([`crate::net::WhenWritten`]). Between that moment and the author's disk it can still get lost; therefore the same
//! question, sent again within a day, brings the same answer, whether it was received or not, while its payload is
//! retained. An answer that did not go out whole stays in the author's mailbox, where he can fetch and close it as any
//! other message. Waiting for the author's next request on the same connection would be the stronger sign, but clients
//! open a connection for each call.
//!
//! # Fetching again is written down sixteen times, and lists are not written down at all
//!
//! A reader may fetch a message until he closes it, and may list as often as he likes. If each of those added a record,
//! a participant could fill card, evidence log and disk, past the reserve that is kept for finishing what was begun.
//! The first hand-outs are facts that somebody may ask about; the seventeenth in a row says nothing that the sixteenth
//! did not ([`crate::domain::card::HAND_OUTS_MAX`]). The id of a list or of a fetch carries what its continuation
//! needs, so that only a continuation is stored. That took a durable write out of every getStatusList with more
//! than a page and out of every getMessage.
//!
//! # lookupService says no where nobody owns the reader
//!
//! XTA's answer can also be "unknown", which clients take as "try". A message to a reader that no account owns is
//! refused here, today and tomorrow: a reader who is reached through another intermediary has an account here that
//! stands for him. "No" is the truth, and it spares the author a refused message. It is also the same word as for a reader who does not take the service, so that nobody
//! learns by asking which identifiers exist. (zeep drops a choice whose one value is false and shows an empty one.)
//!
//! # An OSCI message id is bound to a certificate, and to secrecy only where nothing else proves
//!
//! The standard leaves open who may use an id. Ours is good for the cipher certificate that it was issued to, not for the
//! dialog: clients fetch ids in one dialog and use them in another, and a library lets its user switch encryption on in
//! between, so an id that came in the clear may be used in an encrypted request, and the reverse. One use is refused. An
//! encrypted request outside any dialog and without a signature proves its sender only by an id that nobody else could
//! read; if that id was issued in the clear, whoever listened could store in the issuer's name. It is answered 9801, and
//! the client asks for another id or signs ([`crate::osci::server`]).
//!
//! # A participant's demands narrow, and are judged after decryption
//!
//! Who speaks is known only when the request is open. What the post office takes of nobody is refused before that, alike
//! for everybody; a participant's own lists come after it and can only refuse more. OSCI has codes for signatures and none
//! for encryption or key sizes, so the latter are 9811 with a sentence. An empty list is refused when it is applied.
//!
//! # Another intermediary stores a message once, whatever breaks
//!
//! OSCI knows no repetition: a client that lost the answer to storeDelivery does not know whether it was taken. So the id
//! that the other one issued is on our disk before it is used, and an attempt that finds one asks for its process card
//! first. A card is the proof that it was taken. 9801 without a card means that the id is not good there any more and
//! that nothing was stored under it; only then is another asked for. The card here says received when the other one has
//! it, with its id and times in words, and not when its reader fetched it: from there on it is the other one's promise.
//! Step times are ours, because clocks are never compared. Our dialog begins with a message that carries no content, so
//! a wrong certificate is found before anything is sent ([`crate::osci::outlet`]).
//!
//! What goes in chunks is cut from a message that was signed once and synced to `outgoing` beside the incoming requests: a
//! second signature over another challenge would make other bytes, and chunks of two messages make none. Where that file
//! is gone and chunks are there, another id is asked for; what lies there under the first is forgotten by itself.
//!
//! A sender becomes an author there, and the post office is the originator: the ids of all certificates stay, since
//! signatures point to them. The other's operator lists the identifiers that this office may write for.
//!
//! # A dialog's step and what it is for are one transaction
//!
//! A request of an explicit dialog moves the dialog on, which confirms what was handed out before, and then does what it is
//! for. Where that is a write (storeDelivery, getMessageId) both are one transaction with one wait for the disk: the step
//! first, then under a savepoint the rest. Where the dialog stands elsewhere nothing else is done; where the rest is
//! refused the step stays, because its answer says so. Every other request makes its step before it looks at anything.
//!
//! # An encrypted request is decrypted while it arrives, and read afterwards
//!
//! Of 100 MiB, writing them to the page cache once costs the processor more than deciphering and digesting them. So the
//! ciphertext is not spooled; what comes out of it is, and nobody reads that before the tag at its end was verified. The
//! private key is used when the ciphertext begins, and whatever is wrong is told when the request has ended, in the order
//! of a request that was spooled whole, so that an answer's time and code tell no more than before
//! ([`crate::osci::server`]).
//!
//! # How deep one request looks
//!
//! A mailbox may hold messages that only XTA can carry before the first that OSCI can. They are passed over in pages of
//! 2, then 100, then 1,000, up to 20,000 in one request. Beyond, the answer is 9811 with what to do, never "none matches":
//! nobody has looked.
//!
//! A question for process cards leads back from the party's newest message, by the indexes of what an account posted and
//! what entered a mailbox, and reads up to 20,000 cards (200,000 rows). It ends earlier where enough was found, and where
//! whatever follows was accepted too early. What changed since an instant (RecentModification) may lie anywhere on that way:
//! if it gets too long, up to 100,000 records of the evidence log are read back to the instant, an hour for clocks included,
//! because every change of a card stands there under the time that the card bears. So a party that asks regularly for what is
//! new gets all of it, however many cards it has. Only where neither way comes to its end there may be more (3801), or the
//! answer is 9811. The indexes are those that mailboxes need anyhow: one by time of change would cost every change of every
//! message a write.
//!
//! # A log is not signed over a checkpoint that cannot be compared
//!
//! Before it signs, the relay opens the last checkpoint and computes its root again. After a change of the key that
//! would be skipped, and with it the one moment in which a rewritten log shows. So former public keys are configured
//! (`evidence.former_keys`); an unknown signer stops signing, not accepting, and the log says which line is missing.
//!
//! # XML is read by rules of our own over a tokenizer
//!
//! A signature is over canonical octets, so whoever verifies must see exactly what the standard sees. Of the crates for
//! XML security one writes `xmlns=""` wrongly, another does not normalise attribute values and takes a wrapping attack in
//! its lenient mode; quick-xml takes two roots, `<` in attributes, control characters and unbound prefixes, and has no
//! bounds. So well-formedness, bounds, namespaces and canonical form are ours, as a stream ([`crate::xml::read`],
//! [`crate::xml::c14n`]); quick-xml cuts the rare start tag that is not written plainly. libxml2 and xmlsec1 judge in
//! `tests/peers`.
//!
//! # Plain content goes to the digest as it stands
//!
//! What procedures send is nearly always written the way Canonical XML writes it. A stretch of text and whole elements
//! without declarations, prefixed attributes and IDs, in namespaces that are not that of
//! signatures, is its own canonical form but for the order of attributes and, in exclusive form, declarations that it
//! gets anew. It is found in one look at each byte and handed
//! to the digest as pieces of the input; everything else goes the long way ([`crate::xml::read::Reader::plain_run`]).
//! Both ways are compared over random trees, and each condition was taken away once to see that the comparison notices.
//! Times libxmlsec1 and the JDK in the same run, before and after, per core:
//!
//! | document | libxmlsec1 | JDK 17 | MB a second | peak |
//! | --- | --- | --- | --- | --- |
//! | 10 kB | 1.95, 6.2 | 1.7, 3.5 | 59, 135 | 3.6 MiB |
//! | 1 MB | 3.0, 18.5 | 1.8, 12.3 | 76, 412 | 3.9 MiB |
//! | 100 MB of records | 10.0 | 8.3 | 172 | 3.7 MiB |
//! | 100 MB in one text | 2.9, 3.8 | 4.4, 7.2 | 856 | 3.7 MiB |
//!
//! The aim at 10 kB is 4 times libxmlsec1. Of 62 µs there the RSA operation and SHA-256 take 30. What stands before the
//! end of a signature is read once: the search keeps its IDs and the canonical SignedInfo, so that it is read again only
//! where the signature covers something in it or canonicalises with comments or a prefix list; before that, and before
//! runs added declarations, it was 111 µs and 2.9 times. The doors use runs where they verify
//! authors' signatures; the envelope of a message, whose elements somebody must look at, is read event by event.
//!
//! # Padding that is wrong costs what right padding costs
//!
//! AES-CBC and RSA with PKCS#1 1.5 padding are refused unless the operator allows them for old peers, for each can be
//! made an oracle. Where they are allowed, every trouble has one answer. A key that does not unwrap is replaced by a
//! random one, without a branch on the padding, and the content fails at its end; a bad padding of AES-CBC writes its
//! block to the spool, flushes and rewinds as a good one does, and only then is refused. The calls that a spool sees are
//! counted and compared, good beside bad (`xml::enc::wycheproof_tests`); times are not asserted anywhere.
//!
//! # Constraints on directory names are judged beside webpki
//!
//! webpki refuses every path below a constraint on directory names. It is shown such certificates with these names
//! marked as of a kind that nobody bears, at the same length, and verifies their signatures over the original bytes;
//! what they say is judged by us, for the path that webpki found. A name that cannot be compared, such as one in an
//! unknown string type, is in no permitted and in every excluded subtree.
//!
//! # The system's allocator stays
//!
//! With 64 XTA clients a sixth of the server's time goes into it. mimalloc brought little (286 instead of 306 µs of CPU
//! time for each message, within what other work on the machine changes), and 78 MiB above idle instead of 4 while a
//! message of 1 GiB came in. On a machine that an authority shares, memory that does not come back is the worse surprise.
//!
//! # What the whole server costs, as measured
//!
//! Two cores that other work used at the same time, ext4 on one virtual disk, client and server on the same machine; `benches/README.md` says how each figure is taken. Ratios are to floors of the same run.
//!
//! | | measured | aim |
//! | --- | --- | --- |
//! | accept 10 kB over mutual TLS, 64 clients, against SQLite alone with the same rows | 0.51 with a quick disk (4,604 of 9,970 a second); 0.61 to 0.80 with a slow one (3,250 to 3,830) | 0.5 |
//! | the same against the least that could keep a message | 0.34 and 0.42 quick; 0.48 to 0.51 slow | |
//! | syncs for each of these messages | 0.042 | 0.1 |
//! | CPU time of the server for each | 267 to 304 µs; 780 to 1,140 µs with one client | |
//! | one client: p99 against p99 of one fdatasync | 1.5 and 2.0 where the disk is slow; 5.2 where it is quick (1.67 ms against 0.41): the request's own CPU time alone is twice that sync | 3 |
//! | mailbox with 1,000,000 messages against an empty one, p50: accept, list, fetch | 0.96, 0.96, 1.14 | 1.3 |
//! | start over 1,000,000 messages | 0.13 s | 2 s |
//! | 1 GiB in, out: resident memory above idle | 3.5 MiB, 5.2 MiB | 64 MiB |
//! | OSCI, one client: server CPU for storeDelivery (10 kB) against its two RSA operations | 6.6 to 7.7 (3.7 ms; 8 to 10 before) | 1.5 |
//! | OSCI, 32 clients: dialogs of four requests | 72 a second, 10.8 ms of server CPU each, 4.4 times the RSA operations | |
//! | OSCI, 100 MiB in, out: rate for each second of CPU against AES-256-GCM and SHA-256 once | 0.12 to 0.16, 0.28 to 0.34 | 0.5 |
//! | OSCI, 100 MiB in, out: resident memory above idle | 1.6 MiB, 3.8 MiB | 64 MiB |
//!
//! What the engine takes from 64 tasks without a door before it was 0.45 of the bare one in a run beside other work
//! (`cargo bench --bench store`): the domain's rows, indexes and evidence are the larger half of the difference.
//!
//! The least is six rows and one index; the engine's transaction has fourteen rows and the indexes by which mailboxes of
//! a million messages are asked without a scan. Clients and server share two cores, 325 µs of CPU time for each message
//! are 81 % of both. Sampled (perf, the server alone, 64 clients), 51 to 53 % of its CPU time lay in the threads that serve
//! requests, 39 to 43 % in the one that writes, 6 to 8 % in the one that moves the log; 14 to 16 % went into the allocator, 16 %
//! into committing, 5 % into SHA-256, 6 % into copying. The figures with a quick disk and the mailbox are of a build with
//! mimalloc, see above.
