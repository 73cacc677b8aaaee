//! PostgreSQL as the store: what is set up, what is promised, what the operator reads when something is wrong.
//!
//! The embedded store serves one server. With `[store] engine = "postgres"` the messages lie in a database (PostgreSQL 15
//! or later) that several servers may share.
//!
//! # Setting up
//!
//! The database belongs to a user of its own; tables are made at the first start, in the schema `amtsbote`.
//!
//! ```sql
//! CREATE ROLE amtsbote LOGIN;
//! \password amtsbote                     -- asks, in psql
//! CREATE DATABASE amtsbote OWNER amtsbote ENCODING 'UTF8' TEMPLATE template0;
//! GRANT pg_read_all_stats TO amtsbote;   -- so that the standby can be seen
//! ```
//!
//! ```toml
//! [store]
//! engine = "postgres"
//! connection = "host=db1.example.org,db2.example.org dbname=amtsbote user=amtsbote"
//! password_file = "database.password"
//! tls_anchors = ["tls/database-ca.crt"]
//! node = "relay-1"
//! standby = "required"
//! ```
//!
//! Several hosts may be named; the one that takes writes is found, also after another was promoted. Across a network
//! TLS is demanded, and the host's certificate must lead to `tls_anchors` and bear its name. Connect to the servers
//! themselves: a pooler that hands one session to several clients (PgBouncer in transaction mode) breaks the hold on
//! the node's name.
//!
//! `node` names this server among its fellows, for good: its evidence log goes by that name, and one process has it at a
//! time. `amtsbote check` connects, looks, and changes nothing.
//!
//! # What is promised
//!
//! "Accepted" is said after the commit. `fsync = off` is refused, at the start and later. Whether the loss of the primary
//! loses nothing hangs on a synchronous standby (`synchronous_standby_names`); `standby` says whether its absence stops
//! accepting (`required`), is a warning (`wanted`), or is not looked at (`unasked`). Where nothing is accepted, `/readyz`,
//! `amtsbote store health` and the metric `amtsbote_store_accepting` tell. Under `wanted` the missing standby keeps nothing out:
//! `/readyz` says it in a line behind `ready`, `store health` as its warning (`warning` in JSON), besides the metric
//! `amtsbote_store_standby`, `amtsbote check` and the log (`store-standby`).
//!
//! Where it is `required`, every transaction that a client or an operator is told of (messages and what becomes of them, chunks,
//! participants, acts) asks twice: before its commit whether a synchronous standby is connected, and
//! behind it whether the server was to wait for one. Without one, a request is refused within `patience_seconds`, and nothing
//! is stored; where the names were taken away while the commit waited, it is said that the outcome is not known. Names that
//! came and went meanwhile show in that the server has read its settings anew; the database is asked once more then, by a
//! commit that waits again. Chunks of OSCI messages are acknowledged, and told to have been received before, by the same rule.
//! So are transport reports, portals' event logs and OSCI's process cards: after "the outcome is not known" a look at them tells
//! what the standby has, or is refused. Mailboxes' listings and what operators are shown tell what the primary has.
//! What is made anew where it was lost waits for a named standby like every commit, and is not asked about: dialogs, listings
//! that are under way, checkpoints and time stamps of the evidence log; so do `evidence close` and `adopt-objects`. The state is looked at every five seconds besides, every half second while something is wrong, on a connection of its own: a node
//! holds up to `connections_max` and three more.
//!
//! A standby that is connected and does not answer makes every commit wait. Whoever waits is told after `patience_seconds` that
//! the outcome is not known, and keeps a session of the server until the standby answers. Once one has waited that long, it is looked at, and
//! nobody joins it: requests are refused at once, nothing is cleared away, the log says so (`store-standby-hung`), and it goes
//! on by itself. Until then a node holds up to twice `connections_max` and three more.
//!
//! A commit whose answer is lost is never guessed at. The node's row in the database carries the number of its last
//! transaction; a new session takes that row, which waits for whatever is still under way and shuts it out, reads the
//! number, and commits, which waits for the standby. Only then are the clients answered. Where the database cannot be
//! asked within `patience_seconds` (10), they are told that the outcome is not known and to ask again with the same id.
//! While there is no primary, requests are refused after that time, later ones at once.
//!
//! Leases, timers and the ends of dialogs follow the database's clock; a server whose clock differs by more than half a
//! second says so once (`store-clock`). That clock is read in every transaction that leases something. Where it jumps ahead, what was
//! leased before lasts so much longer, for an hour or as long as the longest lease, so that nothing is pushed twice for it; the
//! nodes that saw the jump write it down in the database for those that start later. Where it jumps back, what is due comes
//! so much later. Let the database's hosts slew their clocks and never step them.
//!
//! # OSCI messages in chunks
//!
//! Any server answers any request: the chunks of an upload, and the answer that is fetched in chunks, are staged in the
//! database (what is larger than 64 KiB as large payloads are, so in the object store where there is one). A server that
//! falls takes no chunk with it. The bounds are those of one server, for all together: 16 uploads and 16 fetches of a
//! participant, `limits.upload_bytes_max`; after three days, on the database's clock, what was begun is over. Every server
//! deletes what is over, each minute and in small steps; bytes of large chunks go ten minutes after that. Reckon with the
//! largest messages once more in the database while they are on their way, and with the same on the disk of the server that
//! puts the last chunk to the others. Tables of version 5 are needed; while an older program is among the servers, it keeps
//! its chunks in its own folder, so let the balancer lead OSCI clients to the same server until all are replaced, and expect
//! that what was on its way then is begun again.
//!
//! # Rates
//!
//! What a participant may take in a minute it may take once, however many servers it asks: `portal.requests_per_minute_max` of
//! an account, and what an unsigned OSCI request may have written in a
//! participant's name (20,000 ids a day, 2,000 dialogs within the time after which a silent one is over). Each server decides by
//! what it knows, so that no request waits for it; once a second it writes what was taken since into the table `rate` (where
//! anything was) and learns with the same statement what the others have taken of the same. So a client that changes the
//! server with each request may get what it asks within about a second beyond its rate. Of each kind, at most 1,000 clients are
//! told of in a second, those who took the most first. Windows are those of the database's clock. The table holds
//! SHA-256 of accounts' names until their window is over, is unlogged (no standby has it, and a promotion begins with
//! none: every server goes on by its own counts), and where the database does not answer each server counts for itself.
//!
//! Not shared: what is counted by address (`portal.requests_per_minute_max` of public questions, the 20 wrong secrets). Behind a
//! balancer all clients may have one address, and a stranger who uses it up at one server must not have used it up at the
//! others ([`super::failover`]). Nor what guards a server's own: connections and newcomers (`[limits]`), pushes to one
//! recipient at once, repeated lines in the log, and the room for uploads in a server's folder.
//!
//! # Portals' submissions
//!
//! Any server answers any request: what a portal has announced and uploaded lies in the database until it is submitted. All
//! servers have the same `portal.url` and the same `portal.key`, which the first start makes: copy it, or a token of one
//! server is none at the other. While it is changed they believe each other's ([`super::portal`]).
//! Each server tells the others the id of its key, at its start and every ten minutes; one that
//! finds another says so in its log (`portal-key-differs`), and `amtsbote check` names every server whose key differs, for an
//! hour after it was last heard of. The same is done for the first of `osci.cipher_certificates` (`osci-cipher-differs`): an OSCI
//! client that encrypts for it may come to any server, so that all need its key, first or further. Uploads are kept in pieces of 8 MiB (large ones in the object store, where there is one);
//! when a server falls, its portals go on at another with what HEAD tells them, and at most the last piece is sent again.
//! An attachment that a server was at work with when it fell is free for the others after fifteen seconds; a request for it
//! waits that long. Bounds are those of one server, for all together: 2048 announced submissions of a client, 4096 of an
//! account, `portal.uploads_bytes_max` of a client; what of a refused upload was kept by then stays, as HEAD tells; it
//! tells only what a required standby has. Announcements for which others must give way come one after the other; one that has
//! waited twenty seconds is answered 503 `unavailable`. An
//! attachment that comes in steps may have 256 that are smaller than 256 KiB, and its last (400 `body-invalid`). What is
//! over is over on the database's clock, and deleted as above. Reckon with that many bytes more in the database. What a
//! server that fell had taken leave to upload counts until the portal goes on with that attachment, or until the submission
//! is over.
//!
//! Callbacks are made by one server at a time: it holds the destination in the database, for fifteen seconds at a time and on
//! its clock, and keeps it while the receiver does not answer, so that the pauses between calls are those of all. From the
//! fifth failure in a row on, behind two and a half minutes, it lets go after each, so that a server that can reach the
//! receiver has its turn; from then on each server counts pauses of its own. Where one falls, another one that has something
//! to tell goes on within about a minute, and every one within five. A receiver is told at least once: where a hold is lost (a
//! failover of the database, an outage of more than fifteen seconds) two servers may tell it the same for a while.
//!
//! What a program that is older than this has announced lies in its server's `portal.folder` and is finished there, by the
//! newer program as well; an older program knows nothing of what lies in the database. So let the balancer lead portals to
//! the same server (`balance source`) until all servers are replaced and `portal.announced_hours` have passed; a portal that
//! is led elsewhere meanwhile is told 404 `submission-not-found` and announces anew.
//!
//! # How much would be lost
//!
//! `amtsbote store lag` asks the primary how far every standby is behind, in bytes of its log and in seconds, and says what
//! the loss of the primary would cost: nothing with a synchronous standby, else what the best standby that is connected
//! lacks, else everything since the last backup. Seconds are an upper bound: the delay that the primary measured, and the
//! age of the standby's last answer, whose clock should follow a time server. A standby that is away is listed where it has
//! a replication slot (Patroni takes a member's away after `ttl`). The exit code is 4 where `standby` asks for a synchronous one and there is none, and, with
//! `--bytes-max` or `--seconds-max`, where any standby is away or further behind. The metrics `amtsbote_store_lag_bytes`
//! and `amtsbote_store_lag_seconds` say the same of the best standby, every five seconds.
//!
//! # Moving from the embedded store
//!
//! ```text
//! systemctl stop amtsbote
//! cd /etc/amtsbote
//! amtsbote store copy --from sqlite:/var/lib/amtsbote/store --to postgres:amtsbote-new.toml
//! mv amtsbote.toml amtsbote-embedded.toml && mv amtsbote-new.toml amtsbote.toml
//! chgrp -R amtsbote . && chmod -R g+rX,o= .      # root's check reads every file; the server reads as its own user
//! amtsbote check
//! systemctl start amtsbote
//! ```
//!
//! `amtsbote-new.toml` is the server's configuration as it will be, with `engine = "postgres"` and a database that holds
//! nothing. The embedded store is locked and verified first, from the first to the last byte. Then every table is copied in
//! the order of its keys, and every large payload in a transaction of its own; at the end each row is compared with the one it came from,
//! each large payload is read back and digested, the embedded store is marked as moved, and only then is the copy a store: until
//! then no server starts on it. A copy
//! that was interrupted goes on with the same command, and only from the same store in the same state. The evidence log
//! becomes that of the node in the configuration and goes on with the same key. The embedded store stays as it was, but
//! for a file `moved` in its folder, with which no server starts on it; keep it. There is no way back by command.
//!
//! # Large payloads in an object store
//!
//! What is larger than 64 KiB lies in the database as rows of chunks. With `[objects]` it lies in an object store that
//! speaks S3, in objects of 4 MiB below `prefix`, the store's own id and the payload's name; requests are signed (AWS
//! Signature Version 4), buckets are part of the path.
//!
//! ```toml
//! [objects]
//! endpoint = "https://s3.example.org"
//! bucket = "amtsbote"
//! access_key = "relay"
//! secret_key_file = "objects.secret"
//! tls_anchors = ["tls/objects-ca.crt"]
//! ```
//!
//! The order of durability stays: an object counts once the object store has said that it has it, and only then the database
//! is told of the message. So its promise is part of yours: it must keep what it said yes to through the loss of a machine,
//! as the database does with its standby. The key needs to put, get, delete and list below the prefix. Payloads are not
//! encrypted by the server there; encrypt the bucket where its keepers are not to read. Nothing else may write or expire
//! objects below the prefix.
//!
//! All servers need the section before the first of them uses it: replace all programs (tables of version 3, see below),
//! then add the section everywhere and restart (the commands: [`super::failover`], "A bucket for both sites"). A server without it says of such a payload that it lies elsewhere. Payloads
//! that are in the database stay there; a store that was copied has them there, too. Where the object store does not answer,
//! large payloads are refused within `patience_seconds` and small ones go on; the log says so once (`store-objects`), and
//! `amtsbote check` looks. What was begun and not finished is swept like rows: by its own node at its next start, by any a
//! day later; what was purged goes after ten minutes. Chunks whose payload is not known are deleted. Backup of the bucket is
//! the object store's own.
//!
//! Objects that no row knows are left behind where a primary was lost with the row, or a server stood still while it wrote.
//! Every server looks through the store's objects, a page of 1,000 each minute and all of it again after six hours, and
//! deletes what has no row and is older than seven days by the object store's own clock (at most 200 in a minute). It says so in
//! the log and counts it (`amtsbote_store_objects_swept_total`). Only names that it gives itself are touched, only where the
//! objects are this database's own (below), and none for 30 days after `store adopt-objects`: what came to the lost
//! original after the backup may still be wanted.
//!
//! A copy of the database, put back beside the original for a test, has the names of the original's objects. So the store
//! counts on every minute, in the database and in an object `claim` beside the payloads: a copy that lags behind does not
//! start, and one that runs deletes nothing (`store-objects-foreign`; `store-objects-claim` where `claim` holds no number:
//! delete it once no other copy is at work). Give it a `prefix` of its own, with copies of the
//! objects that it is to read. Where the original is lost and a backup takes its place, `amtsbote store adopt-objects` says
//! so; the same where a primary was lost that had no synchronous standby.
//!
//! # Evidence of several nodes
//!
//! Every node has a log of its own and signs it. At each checkpoint it first writes down, as a line of its own log, the newest
//! checkpoint of every other node's log (node, size, root, SHA-256 of the signed note; `amtsbote-anchor/1`); before that it
//! holds both this one and the one it wrote down before against the other's log, and refuses to cover what contradicts them
//! (an error in the log of the server). Checkpoints over nothing but such lines are left out, so that a quiet store is quiet.
//! Whoever wants to change one log unseen has to change the others too, which are signed with other keys: give every node
//! its own.
//!
//! `amtsbote evidence verify --database` reads the logs of all nodes, beside the servers at work: every record into its
//! tree, every checkpoint, and what the logs hold of each other; node, record and checkpoint are named. Proof files that are
//! named as well must agree with a log of the store. Where all logs are sound, every message is held against them: its card must
//! be one that a node has logged last and say what every other node has logged last of it, its envelope and payload must be what was
//! accepted (every byte of it is read, also from the object store: give this machine its `[objects]`), and what is not there must have
//! been purged. What cannot be reached is told as such and ends it. How many of a log's records are held by others stands in the list; what
//! came after that is under the node's own signature only.
//!
//! Each node keeps the last checkpoint that it has signed in the folder of `[store]` too (`evidence-head-NODE`), and holds its
//! log against it at each checkpoint and at its start: an end that was cut off with everything in the database that told of it
//! is an error in the log of the server, and no start. `evidence verify --database` asks for the file of its own
//! configuration. Where a store was put back from a backup on purpose, move the file aside.
//!
//! A node that gets another key (`evidence.former_keys`) leaves a checkpoint that others have written down as it is and signs
//! with the new key when its log grows.
//!
//! `amtsbote evidence export ID`, asked of any node, writes what all logs hold of the message, each log's records with a
//! checkpoint that its own node has signed and with its time stamps; `evidence verify` needs `--key` for every node that is
//! in the file, and `message trace` shows the same lines. Nodes publish their public keys in the database at their start, and
//! present and former ones are tried. Where a node has not signed so far yet, it is asked to and waited for, five seconds at
//! most; a node that was killed signs after its next start, and until then the proof is refused with its name.
//!
//! A node that comes back goes on with its log. One that will not is ended by `amtsbote evidence close NODE`, from any
//! configuration of the store: its log is verified, gets a last line (`amtsbote-closing/1`) and a last checkpoint, signed with
//! that configuration's key; nobody works under the name again.
//!
//! # Upgrading nodes one after the other
//!
//! Tables may be one version newer than a server: it starts and works, and refuses from two on. So:
//!
//! ```text
//! install -m 0755 amtsbote /root/amtsbote-new    # on one server, while all work
//! cd /etc/amtsbote && /root/amtsbote-new store upgrade    # asks; --yes in a script
//! install -m 0755 /root/amtsbote-new /usr/local/bin/amtsbote && systemctl restart amtsbote    # one server after the other
//! amtsbote check                                 # running, accepting; then the next
//! ```
//!
//! From version 5 to 6, with messages coming in by a balancer, no client was refused. `store upgrade` waits five seconds at most
//! for what others hold, changes nothing where that is not enough, and says so. A server that is newer than the tables does not
//! start; it names the command. The step to version 5 reads the card of every message once, and whoever accepts waits for
//! that; a trigger files submissions from then on, also those that servers of the version before accept. The step to version
//! 6 adds a table and a column (rates, objects); while an older program is among the servers, it counts for itself.
//!
//! # What is refused, and what helps
//!
//! | what is wrong | what is said to do |
//! | --- | --- |
//! | user or password refused | see user, `password_file`, `pg_hba.conf` |
//! | no such database | `createdb`, or correct `dbname` |
//! | rights are missing | make the user the database's owner |
//! | another version of the tables | `amtsbote store upgrade`, or a newer amtsbote |
//! | the hosts lead to another store's data | correct the hosts; nothing is written there |
//! | the database lacks transactions that were answered for | bring the newer copy back |
//! | `fsync` is off, the standby is missing | switch it on, start the standby |
//! | TLS fails | see `tls_anchors`, and `ssl` in `postgresql.conf` |
//! | the object store does not do what it is asked | see `[objects]`, its keys, whether it runs |
//! | a payload lies in an object store | configure `[objects]` on this server, too |
//! | the standby is connected and does not answer | see its log and its disk, or let another stand in |
//! | all connections are in use | raise `connections_max` |
//! | a question takes longer than `question_seconds` (30) | look for locks in `pg_stat_activity` |
//! | somebody holds a table or a row for longer than three quarters of `patience_seconds` | look in `pg_locks` |
//! | the database's disk is full | make room there; accepting goes on by itself |
//! | another process has the node's name | stop it, or give each server its own |
//! | the node's log was closed | give the server another name |
//! | a copy into the database was not finished | go on with `amtsbote store copy`, or drop the schema |
//!
//! # What is not there yet
//!
//! Backup and restore are PostgreSQL's own (`pg_basebackup`); `amtsbote store backup` says so. Of what is stored, `evidence verify
//! --database` looks at logs, messages, timers and the counters of mailboxes; the tables' structure is for `pg_amcheck`.
//!
//! A copy of the database that is opened beside the original (a restored backup, for a look) has the same objects. It is
//! refused with them while the original counts on (`adopt-objects` above), and reads none without `[objects]`.
