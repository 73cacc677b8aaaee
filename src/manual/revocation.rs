//! How revocation is learnt, and what happens when it cannot be told.
//!
//! # What counts
//!
//! | source | set by | believed if |
//! | --- | --- | --- |
//! | full list on disk | `tls.crls`, `osci.crls` | signed by the certificate's issuer, current, of the right scope |
//! | delta list | `tls.crls`, `osci.crls`, `revocation.lists` | as above; it adds names to the full list and never takes one away |
//! | fetched list | `revocation.lists`, `revocation.hosts` | as above, and not older than the one it replaces |
//! | responder's answer (OCSP) | `revocation.ocsp`, `revocation.hosts` | signed by the issuer or a responder that it appointed, about this very certificate, fresh, with our nonce or (unless `ocsp_nonce_required`) none |
//!
//! Every certificate of a path but the anchor needs a list or an answer. One that is named as revoked is refused,
//! however old the list or answer that names it. Indirect lists, lists for some reasons only and unknown critical
//! extensions are refused with a sentence; nothing is read as if it had not said so.
//!
//! Two authorities may bear one name, as an old and a new key of one CA do: each list counts for the certificates of the
//! key that signed it, and hides none of the other's.
//!
//! A time stamp authority's certificate is judged by the same rules when a stamp is taken: lists in
//! `evidence.time_stamp_crls` and those that are fetched, OCSP, and `evidence.time_stamp_unknown_revocation` where it cannot
//! be told. A kept stamp that is verified later, offline above all, is verified up to `evidence.time_stamp_anchors` alone:
//! whoever learns that an authority was revoked judges its earlier stamps by hand.
//!
//! A responder that answers "unknown" makes the verdict `indeterminate` even where a list is clear: a list cannot name
//! what was never issued.
//!
//! # When it cannot be told
//!
//! `tls.unknown_revocation` decides for client certificates, `osci.unknown_revocation` for those that OSCI clients show and
//! sign by: `"warn"` goes on and lets the process card say `indeterminate` (by OSCI with feedback 3501 or 3707); `"refuse"`
//! refuses.
//! No client waits for a responder. The first inspection of a new certificate notes the question, the server asks in
//! the background, and the answer counts from the next inspection on. With `"refuse"` a new certificate is therefore
//! turned away until the answer is there, which takes seconds.
//!
//! # Who is asked
//!
//! Addresses stand in certificates, and certificates come from strangers. Only hosts in `revocation.hosts` are asked,
//! over plain HTTP (lists and answers are signed), within `revocation.fetch_seconds`, up to 32 MB for a list and 64 kB
//! for an answer. Redirects are not followed. Issuers' certificates are never fetched.
//!
//! # What to watch
//!
//! `amtsbote_revocation_list_seconds_left` by issuer (of the list that runs out first, where an issuer's name has
//! several: full and delta lists, old and new key), `amtsbote_revocation_fetches_total` by kind and outcome,
//! `amtsbote_ocsp_answers`. The log warns (`revocation-list-stale`) from a day before a list runs out, or the last
//! quarter of its time if that is shorter; `amtsbote check` says the same. A failed fetch is repeated after five minutes.
//!
//! # Trying it with OpenSSL
//!
//! ```text
//! openssl crl -in list.crl -noout -text
//! openssl ocsp -issuer ca.crt -cert participant.crt -url http://ca.example/ -CAfile ca.crt
//! amtsbote cert check participant.crt
//! ```
