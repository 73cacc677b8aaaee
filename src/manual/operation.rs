//! Running the post office: setting it up, watching it, copying it, changing its certificates, bringing it back.
//!
//! Files to install lie in the repository's `operation/`: units for systemd, alert rules for Prometheus, a dashboard for
//! Grafana. Every command says with `--help` what it takes; exit codes are 0 (good), 4 (a check found problems) and those
//! that `amtsbote --help` lists, so that each can stand in a cron job.
//!
//! # From the first folder to a real one
//!
//! `amtsbote init FOLDER` writes a configuration with every key explained, and a development PKI that is good for trying
//! only. For the real one, in this order:
//!
//! ```text
//! amtsbote cert request --help                 # a key and a request (PKCS #10) for the server, to send to the authority
//! amtsbote cert import --help                  # its answer, checked, put where the configuration says
//! vi amtsbote.toml                             # tls.anchors and crls or [revocation]: whom to believe
//! amtsbote check                               # until everything is good
//! systemctl start amtsbote
//! amtsbote participant apply participants.toml --reason "first set-up"
//! ```
//!
//! Three keys belong into the safe besides the configuration: `tls.key`, the OSCI keys, and `evidence.key` with
//! `evidence.card_key`. Give `amtsbote evidence key` and `amtsbote evidence certificate` to those who will check proofs,
//! early and by another way than the proofs: whoever holds the machine later could otherwise make both.
//!
//! # Every morning
//!
//! ```text
//! amtsbote check             # configuration, certificates, lists, time stamps, disk, server, register
//! amtsbote message dead      # what could not be delivered, and why; nothing leaves this list by itself
//! amtsbote cert expiring     # what ends within 60 days and has no successor
//! ```
//!
//! # What to watch
//!
//! `operation/alerts.yaml` raises these; each says what to do.
//!
//! | alert | what has happened | messages meanwhile |
//! | --- | --- | --- |
//! | `AmtsboteDown` | the process does not answer | authors cannot post; nothing accepted is lost |
//! | `AmtsboteNotAccepting` | disk full, or the disk fails | refused in the protocol's words; goes on by itself |
//! | `AmtsboteStandbyMissing` | PostgreSQL has no synchronous standby | `store.standby` decides |
//! | `AmtsboteDiskFillsUp` | two days of room, or less | go on |
//! | `AmtsboteCertificateEnds`, `AmtsboteCertificateEndsSoon` | a certificate of the server, of an authority or of a participant has no successor | go on until it ends |
//! | `AmtsboteCertificatesRefused` | somebody is turned away: expired, revoked, unknown, blocked | those of others go on |
//! | `AmtsboteRevocationListEnds` | no newer list was to be had | `tls.unknown_revocation` decides |
//! | `AmtsboteTimeStampsFail` | the authority gives none | go on; stamped later |
//! | `AmtsboteDeadLetters` | pushes given up | wait for a decision |
//! | `AmtsboteMailboxNotFetched` | a reader does not fetch | wait until they expire |
//! | `AmtsbotePushesFail` | a spool folder or another post office takes nothing | tried again by their profile |
//! | `AmtsboteCallbacksFail` | a portal destination's receiver does not answer | wait, and can be fetched; called again with growing pauses |
//! | `AmtsboteCallbackGivenUp` | a receiver was not told for `portal.callback_hours` | wait, and can be fetched |
//! | `AmtsboteRegisterDown` | the register's process does not answer | wait at the post office, locks among them |
//! | `AmtsboteRegisterUnready` | the register does not reach the post office, its mailbox for locks, or its database | wait at the post office |
//! | `AmtsboteRegisterLockUnread` | a lock of a municipality could not be read | go on; whoever is to be hidden may be found |
//! | `AmtsboteRegisterCopyStale` | nothing comes of a municipality | questions about it get the neutral answer |
//! | `AmtsboteConnectionsRefused` | one peer, or all together, hold too many connections | those connected go on |
//!
//! `/livez` says that the process answers, `/readyz` that it would accept a message, with the reason where it would not,
//! and behind `ready` what is amiss and keeps nothing out.
//! A balancer looks at `/readyz`. Log lines carry a correlation id that also stands in the refusal that the client got:
//! who calls with it is found with one `grep`.
//!
//! # Where is my message?
//!
//! ```text
//! amtsbote message trace ID      # every step, who took it, with the record of the log
//! amtsbote card show ID          # the process card as the author sees it
//! amtsbote evidence export ID    # the proof, to send to whoever asks
//! ```
//!
//! *Accepted* means on disk. *Handed out* means that a reader asked and got the bytes; *received* that the reader said so,
//! or in OSCI that it went on after. A message that is handed out and not received is offered again.
//!
//! # Copies
//!
//! ```text
//! amtsbote store backup /copies/2026-11-28 --reason nightly --yes    # while the server works
//! amtsbote store verify /copies/2026-11-28                           # every byte, the log's tree included
//! ```
//!
//! That is the embedded store; PostgreSQL's copies are its own ([`super::database`]). A copy holds messages, cards, mailboxes, participants and the evidence log. It does not hold the configuration, the
//! keys and certificates, the fetched revocation lists (they are fetched again), and messages in spool folders. It is
//! personal data of everybody whose mail waits: encrypt the disk it goes to, and delete it when its time is over.
//!
//! # Bringing it back
//!
//! ```text
//! amtsbote store restore /copies/2026-11-28 /var/lib/amtsbote/new    # checks the copy first
//! systemctl stop amtsbote
//! mv /var/lib/amtsbote/store /var/lib/amtsbote/store.lost            # never deleted before all is clear
//! mv /var/lib/amtsbote/new /var/lib/amtsbote/store
//! systemctl start amtsbote && amtsbote check
//! ```
//!
//! What was accepted after the copy is missing then, and what was received after it is offered once more. Authors find
//! out by their message ids: an id that the post office does not know (9070) is to be posted again, and one that it has is
//! answered as before. Tell them the instant of the copy. The evidence log goes on from the copy's end, so two signed
//! checkpoints of different content may exist for one size; keep `store.lost`, and say in `acts` (`--reason`) why. Try all of
//! this twice a year on another machine: a copy that was never brought back is a hope.
//!
//! A store whose disk is sound needs none of it after a crash or a power cut: the server starts by itself and has
//! everything that it accepted.
//!
//! # Another release
//!
//! ```text
//! amtsbote store backup /copies/before --reason "before the update" --yes
//! systemctl stop amtsbote                      # drains: what has begun is finished
//! install -m 0755 amtsbote /usr/local/bin/
//! amtsbote check                               # says so if the store is of an earlier version
//! amtsbote store upgrade                       # only then
//! systemctl start amtsbote
//! ```
//!
//! A release opens the stores of every earlier one, after `store upgrade`; an older release refuses a newer store and
//! changes nothing in it.
//!
//! # Certificates
//!
//! `amtsbote cert roll-over` says for every role which certificate is active, which is next, and what to do now. Participants
//! may have two keys at a time: `participants.toml` takes the new certificate beside the old one, `participant apply` shows
//! the difference, and the old one goes when its owner has changed over.
//!
//! # What stands between the post office and the network
//!
//! Only the doors (XTA, OSCI) face participants. The operator's listener has no authentication and belongs on a loopback
//! address or the administration's network. The administration's socket asks the kernel who is calling: root, the
//! server's own user and `server.admin_uids`. Behind a proxy every participant comes from one address; set
//! `limits.connections_per_peer_max` to `connections_max` there.
