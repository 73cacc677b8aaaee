//! Checking a proof with other people's tools.
//!
//! `amtsbote evidence export ID --output proof` writes one file that proves what happened to a message; `amtsbote
//! evidence verify proof` checks all of it, offline and on any machine. Whoever does not want to believe our software
//! takes the file apart and checks each part with tools that everybody has. What the file holds stands in
//! [`crate::evidence::export`], what the signed card says in `schemas/process-card/1`.
//!
//! # What to ask the post office for, once
//!
//! By another way than the file itself, for whoever forges a file forges these too:
//!
//! - the log's public key: `amtsbote evidence key` (with `--json` the former ones too); of a post office of several nodes
//!   each node's, since a file may hold the logs of several;
//! - the certificate that signs process cards, or that of its authority: `amtsbote evidence certificate`;
//! - the certificates of the time stamp authority, from the authority.
//!
//! With these in the files `card-anchor.pem` and `tsa-anchor.pem`:
//!
//! ```text
//! amtsbote evidence verify proof --key KEY --card-certificate card-anchor.pem --time-stamp-anchor tsa-anchor.pem
//! ```
//!
//! # The parts
//!
//! `amtsbote evidence unpack proof parts` writes:
//!
//! | file | what it is |
//! | --- | --- |
//! | `card.xml` | the process card (Laufzettel), signed XML |
//! | `card-certificates.pem` | the certificate that signed it, and those above |
//! | `card.json` | the card as the post office stores it; its digest is in the log's last record |
//! | `record-N.txt`, `record-N.path` | record number N of the log, and the hashes from it to the root (RFC 6962) |
//! | `checkpoint.note` | the log's size and root, signed (C2SP tlog-checkpoint) |
//! | `checkpoint.txt`, `checkpoint.sig` | the same taken apart: the text, and the Ed25519 signature over it |
//! | `log-key.der` | the log's public key (SubjectPublicKeyInfo): compare it with the one you were given |
//! | `time-stamp-1.der`, … | RFC 3161 tokens: the first over `checkpoint.note`, each further one over the one before |
//!
//! Where several nodes of a post office had a hand in the message, each has logged its part. The files of each log then
//! have its number in front: `log-1-checkpoint.txt`, `log-1-key.der`, `log-2-record-7.txt`, …; the commands are the same for
//! each. The card's digest is in the last record of one of them.
//!
//! # The commands
//!
//! In the folder `parts`, with the two anchor files beside them. Each line must succeed. `tests/peers/evidence` runs
//! exactly these lines against a real server and a time stamp authority made of `openssl ts`.
//!
//! ```sh
//! # The card's signature, its certificate included.
//! xmlsec1 --verify --enabled-key-data x509 --trusted-pem card-anchor.pem card.xml
//! # Its form.
//! xmllint --nonet --noout --schema process-card.xsd card.xml
//! # The card is the one in the log: both name the digest of card.json.
//! digest=$(openssl dgst -sha256 -r card.json | cut -d' ' -f1)
//! grep -q "<LoggedCard>$digest</LoggedCard>" card.xml
//! cat $(ls record-*.txt | sort -t- -k2 -n | tail -1) | grep -q " $digest "
//! # The log's signature on size and root.
//! openssl pkeyutl -verify -pubin -keyform DER -inkey log-key.der -rawin -in checkpoint.txt -sigfile checkpoint.sig
//! # The time stamp on the signed checkpoint.
//! openssl ts -verify -data checkpoint.note -in time-stamp-1.der -token_in -CAfile tsa-anchor.pem
//! # When that was.
//! openssl ts -reply -in time-stamp-1.der -token_in -text | grep '^Time stamp:'
//! ```
//!
//! (`xmlsec1` and `openssl ts` judge certificates as of today; once they have ended, `--verification-gmt-time` and
//! `-attime` name the instant.)
//!
//! What is left are the hashes from a record to the root. Anybody computes them from RFC 6962, section 2.1.1:
//! `tests/peers/inclusion.py` does it in twenty lines.
//!
//! # Stamps and their renewal
//!
//! A time stamp authority is configured in section `evidence`. The newest checkpoint is stamped at most once in
//! `time_stamp_interval_seconds`; it covers every record before it, so a message accepted since the last stamp is
//! stamped by the next one. An authority that does not answer holds up nothing: `time-stamp-missing` stands in the log,
//! `/readyz` says so beside `ready`, `amtsbote_time_stamp_failing` is 1, and the next stamp catches up. A stamp is
//! renewed `time_stamp_renew_days` before its certificate or algorithm ends, by a stamp over itself. The authority is asked
//! by plain HTTP only: its signature and the nonce protect the answer, and what goes out is a digest. An authority that
//! wants HTTPS needs a proxy on this machine. Whether its certificates were revoked is not checked here; where that
//! matters, check it by the authority's lists (`openssl ts -verify` takes none; `openssl verify -crl_check` does).
//!
//! # A new key for the log
//!
//! Stop the server, put the line that `amtsbote evidence key` prints into `evidence.former_keys`, move the key file
//! away, start: a new key is made (without that line nothing is signed), checkpoints of the former one stay the log's own, and proofs of old messages name the
//! key that signed their checkpoint. Hand the new key to whoever verifies.
