//! Citizens' portals: a submission API in the shape of FIT-Connect, and the routing table behind it.
//!
//! A portal asks which authority is competent for a service in a place, encrypts an application for it, hands it over with
//! its attachments, and follows what becomes of it. The authority fetches it through the same API, or from the same mailbox
//! by XTA 2 or OSCI. The post office never opens it; for an authority that delegates its key, a gateway does
//! ([`super::gateway`]).
//!
//! # Switching it on
//!
//! ```toml
//! [portal]
//! address = "0.0.0.0:8445"
//! url = "https://portal.example.org"
//! ```
//! TLS comes from `[tls]`; `portal.key` (RSA, 4096 bits) is made at the first start and signs access tokens, events and
//! routing answers. Its public part is at `/.well-known/jwks.json`. All paths are served under `/v1` and `/v2`, also behind
//! `/submission-api`, `/destination-api` and `/routing-api`, so that clients need another base URL and nothing else.
//! `/openapi.json` describes them.
//!
//! The key is changed without a gap. Access tokens, routes and events name it by its thumbprint, and clients look it up at
//! `/.well-known/jwks.json`; so the next one is published before it signs, and the former one after.
//! 1. `amtsbote cert portal-key --make portal-2027.key > portal-2027.jwks`. Name the latter under `portal.further_keys` on every
//!    server, and restart one after the other. Wait for as long as clients keep the list.
//! 2. `amtsbote cert portal-key > portal-2026.jwks`. Copy `portal-2027.key` to every server (its owner is whom the server runs as,
//!    its mode 0600), set `portal.key` to it and `portal.further_keys = ["portal-2026.jwks"]`, and restart one after the other. At
//!    no time does a server sign what another one does not believe; `amtsbote check` says whom it believes. A server that finds
//!    no file makes a key of its own.
//! 3. After `portal.token_seconds` move the former one to `portal.former_keys`, restart, and destroy its private part everywhere:
//!    it stays published for whoever keeps what it signed (`portal.retain_card_days` at most), and no access token of its is
//!    taken. If it may have fallen into wrong hands, leave it out at once instead.
//!
//! # Destinations and clients
//!
//! Both belong to a participant and stand in the participants' file:
//!
//! ```toml
//! [[account]]
//! name = "saarbruecken"
//! identifiers = [{ value = "ags:10041100" }]
//!
//! [[account.portal.client]]
//! id = "saarbruecken-ewo"
//! secret_sha256 = "…"      # amtsbote destination secret
//! subscribes = true        # sends = true for a portal
//!
//! [[account.portal.destination]]
//! id = "5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a01"
//! name = "Meldebehörde Saarbrücken"
//! encryption_kid = "enc-2026"
//! keys = [{ jwk = '{"kty":"RSA","kid":"enc-2026","alg":"RSA-OAEP-256","key_ops":["wrapKey"],"n":"…","e":"AQAB"}' },
//!         { jwk = '{"kty":"RSA","kid":"sig-2026","alg":"PS512","key_ops":["verify"],"n":"…","e":"AQAB"}' }]
//! serves = [{ services = ["99050012104000"], regions = ["100410100100"], valid_from = "2026-01-01" }]
//! ```
//! Keys are RSA of 4096 to 8192 bits, each for one purpose; a private part is refused. For a roll-over add the new key, turn
//! `encryption_kid` to it, and leave the former key until what is encrypted for it has been fetched. An attachment that was
//! uploaded before its key went is refused with the submission (422 `encryption-invalid`) and is no longer there: the portal
//! encrypts it for the present key and uploads it anew. A destination may name
//! a mailbox (`identifier`), a service profile (`profile`) and `status = "inactive"`, under which it takes nothing and what
//! lies there can still be fetched. A destination without `serves` takes every service and is found by its id only.
//!
//! A client proves itself by its secret (HTTP Basic or form, RFC 6749), or by a TLS certificate of its account (RFC 8705,
//! section 2): one of `[[account.keys]]`, from an authority of `[tls]`, valid and not revoked. Then it sends `client_id` and
//! no `client_secret`; a client without `secret_sha256` has no other way. With such a certificate the other requests need no
//! token either. Which certificate was refused and why stands in the log. A token lasts `portal.token_seconds`, is not bound to
//! a certificate, and a blocked account or a removed client stops at once. Scopes are `send` and `subscribe`.
//!
//! One participant may ask `portal.requests_per_minute_max` times in a minute, one address as often for what is public, and 20
//! times with a wrong secret; more is answered 429 with `RateLimit-Reset`. Participants, addresses and guesses are counted each
//! by themselves; of IPv6 the first 64 bits are one address, as one subscriber has them all (RFC 6177). These counts save the machine and nothing else
//! depends on them. Servers of one database count a participant's requests together ([`super::database`]); addresses and
//! guesses each counts for itself, and forgets them with its end. Behind a balancer: [`super::failover`].
//!
//! `amtsbote destination activate|deactivate ID` changes a destination's state, and its keys roll over in three steps, each with
//! `--reason`: `amtsbote destination key add ID FILE` makes the next key known, `key use ID KID` lets portals encrypt for it,
//! `key remove ID KID` ends the former one, when nothing that waits is encrypted for it any more. A former key for signatures is
//! retired instead (`key retire ID KID`, `former = true` in the file): no new event is taken from it, and it stays published,
//! so that portals can verify what it signed. Keys that bring their certificate (`x5c`) are taken if it holds this very key, and
//! its end is announced like that of any other certificate (`amtsbote cert expiring`); whether its authority is believed is for
//! whoever encrypts. One that an older program took with another key's certificate is named in the log once a day
//! (`destination-key-certificate`) and by `amtsbote check`; until it is mended no change of a destination is taken. The
//! participants' file must
//! say the same, or its next `apply` takes it back (`amtsbote participant export`).
//!
//! # Routing
//!
//! Each service in each region is a rule. A region is an ARS of 12 digits, or its first 2, 3, 5 or 9 (land, region, district,
//! association); zeros at the end stand for a level above. The longest region wins among the rules that are valid on the day,
//! German time, both days included. Two destinations under the winning region are an error (409) and a warning in the log,
//! never a guess. The names of the 52 municipalities of the Saarland are known; rules may name any region.
//!
//! `amtsbote route explain --ags 10041100 --leika 99050012104000` says which rule won and what else was considered, `route
//! check` finds gaps (of today, or of `--day`) and overlaps, `route export` and `route import` bring the table out and in as CSV or TOML.
//!
//! # The life of a submission
//!
//! | step | request | event in the log | card |
//! | --- | --- | --- | --- |
//! | announced | POST /submissions | create-submission | none yet; forgotten after `portal.announced_hours` |
//! | uploaded | PUT …/attachments/ID, HEAD and PATCH to go on | | |
//! | submitted | PUT /submissions/ID | submit-submission, notify-submission | accepted, waiting |
//! | fetched | GET /submissions/ID | | handed out |
//! | decided | POST …/events | accept-, reject- or forward-submission, word for word | received; a finding with the token's digest |
//! | closed through XTA or OSCI | | accept-submission, by the post office | received |
//! | closed in time as what a gateway made of it, which the gateway did not tell | | accept-submission, by the post office, when its time is over | received; the finding `closed-in-the-clear` |
//! | not decided | | reject-submission, by the post office | reminded after `portal.remind_days`, expired after `portal.reject_days` |
//! | deleted | | delete-submission | payload purged after `portal.retain_payload_days` |
//!
//! With PostgreSQL every step of an upload (PATCH) is a row, and all that is there is read again with each: an attachment may
//! have 256 steps below 256 KiB and one more for every 256 KiB that it has. Steps of 64 KiB are refused behind 21 MiB (400
//! `body-invalid`, what came is kept), of 128 KiB behind 64 MiB, of 256 KiB never; the last step may be of any size. With the
//! embedded store a step may be of any size, and what is there is read again only after a restart, or when steps of 512 other
//! uploads have come since.
//!
//! Every request may be repeated: the same attachment (until it is submitted; behind that 404) and the same submission are
//! answered as before, other bytes are refused (409). An upload that broke off is kept; HEAD tells `Upload-Offset`, PATCH goes on there. Attachments are streamed
//! to disk and from it; metadata and data are one JSON body of `portal.submission_bytes_max`. All parts together have at
//! most `limits.content_bytes_max`, or what the destination's profile says; of that, attachments leave
//! `portal.submission_bytes_max` for metadata and data, but no more than half, so that what was uploaded can be submitted.
//!
//! What is announced waits on disk (with PostgreSQL in the database, where every server finds it: [`super::database`]) for
//! `portal.announced_hours`: 2048 submissions of one client and 4096 of one account. Where that is reached, those that nothing was uploaded for give way when they are a minute old, the oldest first and of the client
//! that has most, so that one client shuts no other one out; if all have uploads, 429 `too-many-announced`. With the embedded store, an upload
//! leaves `limits.disk_reserve_bytes` of the disk alone, whether it says its length or not: room is kept ahead of it, and what
//! does not fit is answered 503 `store-full` with a line for the operator, and nothing of that request stays. With PostgreSQL
//! the disk is the database's, and what of a refused upload was kept by then stays. What one client has
//! uploaded and not submitted keeps `portal.uploads_bytes_max` at most, counted when an upload begins, those that are under way
//! by what they say they bring; beyond, 429 `too-much-uploaded`. All that an upload may bring counts within its submission as
//! well, so that attachments that come at the same time fit together.
//!
//! With the embedded store, attachments that say they have less than 4 MiB and come one after the other lie behind one another in
//! one file; any other one has a file of its own. What came of a small one whose connection broke off is put aside, and HEAD
//! tells of it; one that was cut off with its server, or whose client left between the last byte and the answer, is whole or
//! begins again. Uploads that an older program left are gone on with; an
//! older program does not know of those that this one completed (422 `attachment-incomplete`, and they are uploaded once more).
//!
//! Submitting takes the largest such file over as the beginning of the payload (embedded store, `portal.folder`
//! on the store's disk; otherwise it is copied like the others), and reads it through beforehand only where this process has
//! not seen all of it come; what is copied is compared on the way with what was uploaded. What a destination has waiting is listed by an index of its own, whatever else lies in its mailbox.
//!
//! Content must be a JWE in compact form by RSA-OAEP-256 and A256GCM for a key of the destination, which it names by its `kid`
//! or by the key's thumbprint (RFC 7638, SHA-256); `crit`, keys in headers and other algorithms are refused. Clients of
//! version 1 compress (`zip`, DEF) before they encrypt: `portal.zip = false` refuses that; readers must bound what they
//! inflate, as the gateway does. Whoever accepts names the authentication tags of all parts; they are
//! compared.
//!
//! The SDKs for FIT-Connect on PyPI, `fitconnect` 0.4.2 (sends and fetches) and `fitconnect-client` 0.1.3 (sends), work with
//! their two URLs changed to `https://…/token` and `https://…/v1`; `.ci/run` drives the door with both. Of `fitconnect`,
//! `activate_destination` is not served (405), because the participants' file declares a destination's state, and its
//! `submission` with two attachments or more is refused (400): it announces the same id for all of them.
//!
//! Submissions of one client to one destination may form a case: whoever sends the `caseId` of an earlier one with the
//! announcement continues it, up to 500 times. Every event names the case (`txn`), `/v1/cases/ID/events` shows all of them that
//! the asker may see, and takes a subscriber's event about whichever submission it names. Readers by XTA find the first
//! submission in RelatesTo. A case of somebody else's or at another destination is not found (404), like one that never was.
//!
//! # Callbacks
//!
//! A destination may name a receiver that is told of new submissions, so that it need not poll:
//!
//! ```toml
//! callback = { url = "https://receiver.example/new", secret = "…" }   # amtsbote destination secret
//! ```
//! The call is a POST of JSON (`type` …/callbacks/new-submissions, `submissions` with `destinationId`, `submissionId` and
//! `caseId`, at most 100 of them): ids and nothing else. `callback-timestamp` holds the second of the call (Unix),
//! `callback-authentication` the HMAC-SHA-512 of `<timestamp>.<body>` with the secret, in lower-case hex; receivers compare
//! it over the very bytes, and refuse what is older than five minutes. Any 2xx within `portal.callback_seconds` is an answer.
//!
//! Every submission is told at least once, as long as nobody has fetched it; each call stands on its card. A receiver that
//! does not answer is called again after 10 seconds, then after pauses that double up to an hour, and delays nobody else.
//! When a call fails, submissions that have waited for `portal.callback_hours` are given up (`callback-dead`, a warning in the
//! log and a finding on the card): they wait in the mailbox as before. Of several relays over one database one makes each call, and where that falls in the
//! middle of it another one makes it again: receivers tell submissions apart by their ids.
//!
//! `amtsbote destination callback test ID` calls the receiver with a notice of no submission, signed like any other, and says
//! what came back: the status, or in words why it cannot be told.
//!
//! Receivers show a certificate of an authority in `portal.callback_anchors`; without one nobody is called. Revoked ones are not
//! called: `portal.callback_crls`, the lists of `revocation.lists` and answers by `revocation.ocsp` count, a reload or a newer
//! list with the next call, and `portal.callback_unknown_revocation` says what silence means. Redirects are
//! not followed. Only public addresses are dialled, judged after the name was looked up: loopback, private, link-local (metadata
//! services) and all other special ranges are refused, also inside IPv6 addresses, unless `portal.callback_networks` names them.
//!
//! # The reference portal
//!
//! `examples/portal` is a portal as small as one can be: a form for one application, its attachment, its state. Its client is
//! one of the participants' file (`[[account.portal.client]]` with `sends = true`), its secret lies in a file:
//!
//! ```text
//! cargo run --example portal -- --office https://localhost:8445 --anchor tls/ca.crt --client portal-1 \
//!     --secret-file portal.secret --listen 127.0.0.1:8446
//! ```
//!
//! The form works without script and then encrypts in the portal's process. With script it encrypts in the browser: it asks
//! the portal who is competent and for which key, seals metadata, data and attachment for that key (RSA-OAEP-256 and A256GCM
//! of the Web Cryptography API, which browsers have only over HTTPS or on the machine itself), and hands over ciphertext.
//! One form is one submission, however often it is sent and whichever answer is lost: a portal that does not know whether an
//! application arrived hands over the same bytes once more, and other entries in a form that was sent are not sent, which its
//! state page says. It keeps that in memory for as long as a form can be sent (12 hours, at most 10,000 forms and 128 MiB); a
//! restart in between forgets it, and the form must be loaded anew. An attachment is a PDF, PNG or JPEG of at most 5 MB. Without
//! `--certificate` and `--key` it speaks plain HTTP and listens on loopback addresses only. It keeps nothing: whoever has
//! the address of a state page sees the events, and no more. Held to WCAG 2.2 AA (`tests/pages/run`).
//!
//! # Left out
//!
//! Replies from authority to portal, callbacks to senders (they poll the event log), changing destinations through the API,
//! tokens bound to a certificate (RFC 8705, section 3).
