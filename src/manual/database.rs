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
//! CREATE ROLE amtsbote LOGIN PASSWORD '…';
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
//! accepting (`required`), is a warning (`wanted`), or is not looked at (`unasked`). `/readyz`, `amtsbote store health` and
//! the metrics `amtsbote_store_accepting` and `amtsbote_store_standby` tell.
//!
//! A commit whose answer is lost is never guessed at. The node's row in the database carries the number of its last
//! transaction; a new session takes that row, which waits for whatever is still under way and shuts it out, reads the
//! number, and commits, which waits for the standby. Only then are the clients answered. Where the database cannot be
//! asked within `patience_seconds` (10), they are told that the outcome is not known and to ask again with the same id.
//! While there is no primary, requests are refused after that time, later ones at once.
//!
//! Leases, timers and the ends of dialogs follow the database's clock; a server whose clock differs by more than half a
//! second says so once (`store-clock`).
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
//! | all connections are in use | raise `connections_max` |
//! | a question takes longer than `question_seconds` (30) | look for locks in `pg_stat_activity` |
//! | another process has the node's name | stop it, or give each server its own |
//!
//! # What is not there yet
//!
//! Backup, restore and verification are PostgreSQL's own (`pg_basebackup`, `pg_amcheck`); `amtsbote store backup` and
//! `verify` say so. A server proves what its own log holds; logs of several nodes are not anchored in each other, and a
//! proof of a message that several nodes have handled is asked of each. Uploads in chunks (OSCI) lie on the server that
//! took them. Participants that are applied on one server are known to the others when these reload. A message's arrival
//! wakes only the server that took it; the others find it at their next look.
