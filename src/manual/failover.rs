//! Losing a relay, a primary, a site: PostgreSQL under Patroni, a load balancer before the relays, a second site behind a
//! thin line.
//!
//! [`super::database`] says what one relay needs of its database. Here is a whole set-up, with Debian 12's packages (tried
//! with Patroni 3.0.2, etcd 3.4.23, HAProxy 2.6.12, nftables 1.0.6, PostgreSQL 15.18 and 15.20). Site A has two database servers
//! or, better, three, two relays, a balancer; site B has one database server, or two, that follow by a line of 35 Mbit/s, and a
//! relay that is not started.
//! All of it was followed on ten fresh Debian systems, each with its own address and systemd, in containers on one machine
//! of two cores; the line was the kernel's own (`tc`, 35 Mbit/s). Times are from there.
//!
//! | what is lost | who decides | messages | clients |
//! | --- | --- | --- | --- |
//! | a relay | the balancer | none lost | go on at the other at once |
//! | the balancer | you | none lost | reach nothing until it is back; nor does site B reach the primary |
//! | the primary | Patroni | none lost | are refused, until a standby is promoted and has a standby itself |
//! | the standby | Patroni; `[store] standby` | none lost | are refused while there is no other (`required`) |
//! | two of three etcd members | nobody can | none lost | are refused: Patroni takes writes from the primary until two are back |
//! | the site | you | what site B lacks: `amtsbote store lag` | go on in site B when you say so |
//!
//! With two database servers, the loss of one leaves none that could be waited for, so with `required` nothing is accepted
//! until it is back or another is there (below: site B's). With three, the third steps in. Names, addresses
//! (10.0.0.0/8, 10.0.1.11 and so on) and what stands as `…` are yours to choose; every host must find every name. The balancer
//! is one machine here; two that share an address (VRRP) were not tried.
//!
//! # etcd
//!
//! Patroni asks etcd who leads, so etcd needs three members that do not fall together (`etcd1` on `db1`, `etcd2` on `db2`,
//! `etcd3` on `db3` or, with two database servers, on a third small machine). The package starts a member of its
//! own at once; it has to go. On each, with its own name in three lines (`apt install etcd-server etcd-client`), `/etc/default/etcd`:
//!
//! ```text
//! ETCD_NAME=etcd1
//! ETCD_INITIAL_ADVERTISE_PEER_URLS=http://etcd1.example.org:2380
//! ETCD_ADVERTISE_CLIENT_URLS=http://etcd1.example.org:2379
//! ETCD_LISTEN_PEER_URLS=http://0.0.0.0:2380
//! ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379
//! ETCD_INITIAL_CLUSTER_TOKEN=amtsbote
//! ETCD_INITIAL_CLUSTER=etcd1=http://etcd1.example.org:2380,etcd2=http://etcd2.example.org:2380,etcd3=http://etcd3.example.org:2380
//! ```
//!
//! ```text
//! systemctl stop etcd
//! rm -rf /var/lib/etcd/default
//! systemctl start --no-block etcd                # it waits for a second member
//! ETCDCTL_API=3 etcdctl --endpoints=etcd1.example.org:2379,etcd2.example.org:2379,etcd3.example.org:2379 endpoint health
//! ```
//!
//! Whoever reaches etcd or Patroni can make another server the primary, so let the firewall lead nobody to a port but these; or
//! give etcd and Patroni certificates (see their manuals):
//!
//! | port | on | for |
//! | --- | --- | --- |
//! | 2379 | etcd's machines | the database servers of the site |
//! | 2380 | etcd's machines | each other, the third small one too |
//! | 8008 | database servers | each other, the balancer of the site |
//! | 5432 | database servers | each other, the site's relays and register, its balancer; `b1` also for site A's, on the way back |
//! | 5440 | site A's balancer | site B's database servers alone: behind it `pg_hba` sees the balancer's address, whoever it is |
//! | 9464 | relays | the balancer, those who watch |
//! | 8443 to 8445 | the balancer | participants and portals |
//! | 8443 to 8445 | relays | the balancer; a door that is led past it, whom it serves |
//!
//! With nftables (`apt install nftables`), `/etc/nftables.conf` of `db1` to `db3`, where the balancer is 10.0.1.31, the relays are
//! 10.0.1.21 and 10.0.1.22, and who administrates is in 10.0.3.0/24. Another machine's has other lines below that of port 22:
//!
//! ```text
//! flush ruleset
//! table inet filter {
//!     chain input {
//!         type filter hook input priority filter; policy drop;
//!         ct state established,related accept
//!         iif lo accept
//!         meta l4proto { icmp, ipv6-icmp } accept
//!         ip saddr 10.0.3.0/24 tcp dport 22 accept
//!         ip saddr { 10.0.1.11, 10.0.1.12, 10.0.1.13 } tcp dport { 2379, 2380, 5432, 8008 } accept
//!         ip saddr 10.0.1.31 tcp dport { 5432, 8008 } accept
//!         ip saddr { 10.0.1.21, 10.0.1.22 } tcp dport 5432 accept
//!     }
//! }
//! ```
//!
//! ```text
//! nft -c -f /etc/nftables.conf && systemctl enable --now nftables    # after a change: reload in place of enable --now
//! ```
//!
//! It breaks no connection that is open. `ip saddr { 10.0.2.21, 10.0.1.11, 10.0.1.12, 10.0.1.13 } tcp dport 5432 accept` is the
//! only line of `b1`, which has its etcd to itself; a relay that nobody else asks has
//! `ip saddr 10.0.1.31 tcp dport { 8443, 8444, 8445, 9464 } accept`, the balancer `tcp dport { 8443, 8444, 8445 } accept` and
//! `ip saddr 10.0.2.11 tcp dport 5440 accept`.
//!
//! # Patroni in site A
//!
//! Patroni promotes a standby when the primary is lost, and only one that has everything. On each database server,
//! so that Debian makes no cluster of its own on the same port:
//!
//! ```text
//! apt install postgresql-common
//! sed -i 's/^#create_main_cluster = true/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
//! apt install postgresql-15 patroni
//! ```
//!
//! Relays ask for TLS, so each server has a certificate with its name. One authority for all of them, on a machine apart:
//!
//! ```text
//! openssl req -x509 -newkey rsa:3072 -nodes -days 3650 -subj "/CN=database CA" -keyout database-ca.key -out database-ca.crt
//! for h in db1 db2 db3 b1; do
//!   openssl req -newkey rsa:3072 -nodes -subj "/CN=$h.example.org" -keyout $h.key -out $h.csr
//!   echo "subjectAltName=DNS:$h.example.org" | openssl x509 -req -days 825 -in $h.csr -CA database-ca.crt \
//!     -CAkey database-ca.key -CAcreateserial -extfile /dev/stdin -out $h.crt
//! done
//! ```
//!
//! Before the 825 days are over, a certificate is made anew in the same way, put over the old one, and
//! `psql -h db1.example.org -U postgres -c "SELECT pg_reload_conf()"` takes it up on that server, without a stop.
//!
//! `/etc/patroni/config.yml` on `db1`; the others' differ in `name`, addresses and the names of the files, and have the same
//! passwords. **No `name` may occur twice, over both sites**: each server gives its own to the primary it follows
//! (`application_name`), and Patroni picks whom commits wait for by that alone. A server of site B with the name of one in site
//! A could be waited for, and site A's be promoted in its place without what was acknowledged. So site B's are `b1` and so on:
//!
//! ```yaml
//! scope: amtsbote
//! name: db1
//! restapi: {listen: "0.0.0.0:8008", connect_address: "db1.example.org:8008"}
//! etcd3: {hosts: "etcd1.example.org:2379,etcd2.example.org:2379,etcd3.example.org:2379"}
//! bootstrap:
//!   dcs:
//!     ttl: 20
//!     loop_wait: 5
//!     retry_timeout: 5
//!     synchronous_mode: true
//!     synchronous_mode_strict: true
//!     maximum_lag_on_failover: 1099511627776
//!     postgresql:
//!       use_pg_rewind: true
//!       use_slots: true
//!       parameters: {max_connections: 100, max_wal_size: 4GB, wal_keep_size: 1GB, tcp_keepalives_idle: 5,
//!         wal_receiver_timeout: 15s, wal_sender_timeout: 15s, wal_retrieve_retry_interval: 500ms,
//!         max_slot_wal_keep_size: 20GB}
//!     slots:
//!       site_b: {type: physical}
//!   initdb: [{encoding: UTF8}, {auth-local: peer}, {auth-host: scram-sha-256}, data-checksums]
//!   pg_hba:
//!     - local all all peer
//!     - hostssl replication replicator 10.0.0.0/8 scram-sha-256
//!     - hostssl all all 10.0.0.0/8 scram-sha-256
//! postgresql:
//!   listen: 0.0.0.0:5432
//!   connect_address: db1.example.org:5432
//!   data_dir: /var/lib/postgresql/15/amtsbote
//!   bin_dir: /usr/lib/postgresql/15/bin
//!   basebackup: [{checkpoint: fast}]
//!   authentication:
//!     superuser: {username: postgres, password: "…", sslmode: verify-ca, sslrootcert: /etc/patroni/database-ca.crt}
//!     replication: {username: replicator, password: "…", sslmode: verify-ca, sslrootcert: /etc/patroni/database-ca.crt}
//!     rewind: {username: rewinder, password: "…", sslmode: verify-ca, sslrootcert: /etc/patroni/database-ca.crt}
//!   parameters: {ssl: "on", ssl_cert_file: /etc/patroni/db1.crt, ssl_key_file: /etc/patroni/db1.key}
//! ```
//!
//! `synchronous_mode` lets nobody be promoted who may lack something. `synchronous_mode_strict` makes the database wait
//! where there is no standby, which is what `standby = "required"` asks of it; without it Patroni would let the
//! primary go on alone, and relays would say so. Without `auth-local` and `auth-host`, `initdb` lets every user of the
//! machine in as the superuser; without `checkpoint: fast` a copy begins with up to five minutes of waiting. Without `sslmode`, a standby
//! would give the log's reader's password to, and take its data from, whoever answers in the primary's place; `verify-ca` and not
//! `verify-full`, since site B connects to the balancer's name. `maximum_lag_on_failover` (in bytes; 1 MB where nothing is said)
//! bars from promotion whoever is further behind the primary's log as Patroni last saw it, the synchronous standby too: behind a
//! burst nobody might be promoted. It is not needed here, for what was acknowledged is on that standby and only it is promoted.
//! `wal_retrieve_retry_interval` (5 s where nothing is said) is how long a standby that has just lost its primary may wait before
//! it heeds an order to be promoted that came at that instant.
//! PostgreSQL's user reads the file and the key, nobody else:
//!
//! ```text
//! install -m 0640 -g postgres config.yml /etc/patroni/config.yml
//! install -m 0644 db1.crt /etc/patroni/
//! install -m 0644 database-ca.crt /etc/patroni/
//! install -m 0600 -o postgres db1.key /etc/patroni/
//! shred -u config.yml db1.key                    # the copies that these were made from; keep database-ca.key apart
//! systemctl start patroni                        # does nothing, and says nothing, where config.yml is missing
//! journalctl -u patroni                          # db1: until "initialized a new cluster"; then the same on db2
//! patronictl -c /etc/patroni/config.yml list     # one Leader, one Sync Standby (seconds after it is "running")
//! ```
//!
//! A first start that fails (`Failed to bootstrap cluster`: as a rule the key cannot be read) is begun again once
//! `data_dir` is gone, as is a copy that was cut off; where nobody leads then, after
//! `patronictl -c /etc/patroni/config.yml remove amtsbote`, too. On the leader:
//!
//! ```text
//! psql -h db1.example.org -U postgres \
//!   -c "CREATE ROLE amtsbote LOGIN" \
//!   -c "CREATE DATABASE amtsbote OWNER amtsbote ENCODING 'UTF8' TEMPLATE template0" \
//!   -c "GRANT pg_read_all_stats TO amtsbote" \
//!   -c "\password amtsbote"                       # asks: what stands in a command is seen by `ps` and kept by the shell
//! ```
//!
//! # The relays
//!
//! On `relay1`, with the files of the repository's `operation/`:
//!
//! ```text
//! useradd --system --user-group amtsbote
//! install -m 0755 amtsbote /usr/local/bin/
//! install -m 0644 amtsbote.service /etc/systemd/system/
//! amtsbote init /etc/amtsbote --name post.example.org --xta 0.0.0.0:8443 --osci 0.0.0.0:8444 --operator 10.0.1.21:9464
//! install -m 0644 database-ca.crt /etc/amtsbote/tls/
//! (umask 077; vi /etc/amtsbote/database.password) # the password of the role amtsbote
//! vi /etc/amtsbote/amtsbote.toml
//! ```
//!
//! ```toml
//! [server]
//! identity = "https://post.example.org:8443/"
//! admin_socket = "/run/amtsbote/admin.sock"
//! [revocation]
//! folder = "/var/lib/amtsbote/revocation"
//! [store]
//! folder = "/var/lib/amtsbote/store"
//! engine = "postgres"
//! connection = "host=db1.example.org,db2.example.org,db3.example.org dbname=amtsbote user=amtsbote"
//! password_file = "database.password"
//! tls_anchors = ["tls/database-ca.crt"]
//! node = "relay-1"
//! standby = "required"
//! [evidence]
//! origin = "post.example.org/relay-1"
//! key = "/var/lib/amtsbote/evidence.key"
//! card_key = "/var/lib/amtsbote/evidence-card.key"
//! card_certificate = "/var/lib/amtsbote/evidence-card.crt"
//! ```
//!
//! (Those keys only; the rest of the file stays. `init` makes a PKI for trying; [`super::operation`] says how real certificates
//! take its place.) Then, and on every later relay:
//!
//! ```text
//! chgrp -R amtsbote /etc/amtsbote && chmod -R g+rX,o= /etc/amtsbote
//! cd /etc/amtsbote && amtsbote check
//! systemctl daemon-reload && systemctl enable --now amtsbote
//! amtsbote check                                 # until it says "running, accepting"
//! amtsbote evidence key                          # into the safe, one for each relay: verification asks for it
//! amtsbote participant apply participants.toml --reason "first set-up"   # once; the participants are in the database
//! ```
//!
//! Relays name all database servers of their site and find the primary themselves: no balancer between relay and database.
//! `relay2` gets the same steps without `init`: a copy of `/etc/amtsbote`, in which `[store] node` and `[evidence] origin` end
//! in `relay-2` and `server.operator_address` is its own. Keys and certificates of the doors are the same
//! on every relay; those of the evidence are each one's own, made at its first start.
//!
//! With a portals' door:
//!
//! ```toml
//! [portal]
//! address = "0.0.0.0:8445"
//! url = "https://post.example.org:8445"
//! key = "/var/lib/amtsbote/portal.key"
//! folder = "/var/lib/amtsbote/portal"
//! ```
//!
//! `url` is the same on every relay and leads to the balancer, by a name that `tls.certificate` bears (all doors show that one).
//! The key is below `/var/lib/amtsbote` (`/etc` cannot be written in under the unit), is made by the first relay at its start, and
//! copied to every other, site B's too, before its start:
//!
//! ```text
//! install -D -m 0600 -o amtsbote portal.key /var/lib/amtsbote/portal.key    # the unit makes the folder amtsbote's
//! systemctl start amtsbote
//! amtsbote check                                 # "portal keys" and "OSCI keys": that others have the same
//! ```
//!
//! **A relay more** is set up like `relay2`, and named in the balancer. **One less**: take it out of the balancer,
//! `systemctl disable --now amtsbote`, and on another `amtsbote evidence close relay-2 --reason "…"`. **A database
//! server more**: as above, with a certificate; when `list` shows it as `running`, name it in `connection` on one relay
//! after the other, with a restart, and in the balancer's `primary`. **One less**: `systemctl disable --now patroni` there
//! once it is not the leader (`switchover`), `data_dir` away, its name out of both.
//!
//! # What a loss takes
//!
//! A client posted one message after the other through the balancer; times are from the loss to the next message accepted.
//!
//! | what was done | accepted again after | refused |
//! | --- | --- | --- |
//! | `patronictl … switchover --force amtsbote` | 4.4 s, the message of that time | none |
//! | SIGKILL of a relay | 0.3 s | none, but one connection that was open ended |
//! | a relay's machine lost | 5.1 s (`timeout connect`) | none |
//! | `systemctl restart amtsbote`, a database server added, one taken out | 0.5 s | none, or one connection that was being opened |
//! | the primary's machine lost, three database servers | 26 to 34 s | with XTA 9030, each within `patience_seconds`; what was under way, within twice that |
//! | the same, in the midst of 400 MB of log | 31 s | the same |
//! | the synchronous standby's machine lost, three database servers | 16 s; 22 s without `wal_sender_timeout: 15s` | none; the message of that time waits |
//! | the balancer's machine lost for 21 s | 22 s | no answer |
//! | two of three etcd members stopped, for 25 s | 3.4 s after they are back | from 10 s on, with XTA 9030 |
//! | the same, two, with a second site | 32 s: site B is waited for meanwhile, see below | the same |
//! | the same, two, without | until the other is back | the same |
//! | the site lost, from `edit-config` in site B on | 18 s | all, before |
//!
//! Portals fare alike: at a planned switchover a step took up to 4.2 s and none was refused, at the loss of a relay the next one
//! took 0.2 s, and at the loss of the primary's machine one waited 15 s and one was refused with 503 before.
//!
//! A client whose connection ends before an answer asks again with the same id; nothing that was acknowledged was missing, or
//! there twice, after any of these. Of the 30 s, 20 s are `ttl`, the time after which etcd believes the primary to be gone.
//!
//! Before maintenance of the primary, `patronictl -c /etc/patroni/config.yml switchover --force amtsbote` makes the standby the
//! primary. A server that was lost comes back as a standby by itself when it starts: `pg_rewind` takes away what nobody had
//! been told of. While no server of the site follows, Patroni waits for any that is connected (`synchronous_standby_names =
//! '*'`), so for site B's: `store lag` says `waited for  yes` beside it, and each message waits for the line. Where a
//! backlog on the line takes longer than `patience_seconds` (10), whoever waits is told that the outcome is not known, and all
//! relays refuse what comes (`store-standby-hung`, "the standby is connected and does not answer") until the line has caught up:
//! more than 40 MB of log are enough. So three database servers, where site B follows. Without any that follows, relays
//! with `standby = "required"` refuse, with `wanted` they go on and warn.
//!
//! A standby whose machine is gone ends no connection: the primary believes in it, and every commit waits for it, until
//! `wal_sender_timeout` is over (60 s where nothing is said; where another is there, Patroni lets it step in after `ttl`).
//!
//! A member that is away for longer than `ttl` loses its slot: `store lag` does not list it any more, and ends with 0 while another
//! is waited for. So watch the number of its lines, or of `list`'s. One whose disk was lost copies everything anew when
//! Patroni starts without `data_dir`. One that was away for longer than `wal_keep_size` reaches does not catch up by itself: `list`
//! says `running` with a `Lag in MB` that grows, its log that a segment "has already been removed", `store lag` that it is `absent`
//! (the bytes beside it are those since its slot was made anew, fewer than it lacks). On any of the servers:
//!
//! ```text
//! patronictl -c /etc/patroni/config.yml reinit --wait amtsbote db1     # asks; --force in a script
//! ```
//!
//! While it was copied, nobody was refused and no message took longer than 0.5 s.
//!
//! # A balancer before the relays
//!
//! It passes TCP on: TLS ends at the relay, which must see the client's certificate. No client needs a relay in particular:
//! any of them answers the next request, by XTA, OSCI or the portals' door.
//! `apt install haproxy`; `/etc/haproxy/haproxy.cfg` is the package's `global` section with one line more
//! (`hard-stop-after 2m`: after a reload, connections stay with the old process, which looks at nobody's health), and in place of
//! the rest:
//!
//! ```text
//! defaults
//!     log global
//!     mode tcp
//!     timeout connect 5s
//!     timeout client 10m
//!     timeout server 10m
//!     option redispatch
//!     option httpchk
//!     http-check expect status 200
//!     balance leastconn
//!     default-server check inter 2s fastinter 500ms fall 2 rise 2 tcp-ut 10s
//!
//! frontend xta
//!     bind :8443
//!     use_backend xta-alive if { nbsrv(xta-ready) eq 0 }
//!     default_backend xta-ready
//!
//! backend xta-ready
//!     option httpchk GET /readyz
//!     server relay-1 relay1.example.org:8443 port 9464
//!     server relay-2 relay2.example.org:8443 port 9464
//!
//! backend xta-alive
//!     option httpchk GET /livez
//!     server relay-1 relay1.example.org:8443 port 9464
//!     server relay-2 relay2.example.org:8443 port 9464
//! ```
//!
//! ```text
//! haproxy -c -f /etc/haproxy/haproxy.cfg && systemctl reload haproxy
//! ```
//!
//! and the same once more for OSCI (`frontend osci`, 8444) and for portals (`frontend portal`, 8445), each with two backends of its
//! own (`osci-ready`, `osci-alive` and so on). `server.operator_address` must be one that the
//! balancer reaches, on a network of your own. The second backend is for the minutes without a primary: no relay is ready then, and without it clients would see
//! connections end. With it a relay answers, in the client's protocol (XTA 9030), that it should be tried again. For the same
//! reason no session is cut (`on-marked-down`) when a relay is not ready: the request in it is about to be answered. `tcp-ut`
//! ends those to a machine that is gone. Before a relay is
//! stopped for maintenance nothing needs to be done: SIGTERM finishes what was begun. A connection that is opened in that
//! instant may end before its request; where that is one too many, lead new ones elsewhere before, in the backend of each door, and
//! back afterwards with `ready` in place of `drain` (`apt install socat`):
//!
//! ```text
//! echo "set server xta-ready/relay-1 state drain" | socat - /run/haproxy/admin.sock
//! ```
//!
//! A relay sees the balancer's address in place of the client's, so whatever is counted by address is counted for all clients
//! together, by each relay for itself. Raise `limits.connections_per_peer_max` (256) accordingly. At the portals' door all
//! clients of a relay share `portal.requests_per_minute_max` public questions and 20 wrong secrets a minute: 20 wrong secrets
//! from anybody, and that relay refuses everybody's `/token` with 429 until the minute ends. Tokens that were issued go on, and
//! so do clients that show a certificate and ask for none. The balancer cannot tell guesses: they are inside TLS, and 20 of them
//! fit into one connection, so a bound on connections (`stick-table`) does not help. Where strangers reach the portals' door, lead
//! it past the balancer: the name in `portal.url` gets an address of each relay, relays see who asks, and who guesses shuts out his
//! own address alone. Where a relay is down, clients ask the next address, as a rule by themselves.
//!
//! Bounds of a participant count at all relays together. Whoever has a participant's public cipher certificate can use up the
//! 20,000 message ids that unsigned requests may have in its name until midnight UTC; its signed requests are served as before.
//!
//! # The second site
//!
//! It has an etcd and a Patroni cluster of its own, which follows the first one's primary and decides nothing by itself. The etcd
//! has one member, on `b1`: `/etc/default/etcd` is as above with `etcd-b` in place of `etcd1`, and
//!
//! ```text
//! ETCD_INITIAL_CLUSTER_TOKEN=amtsbote-b
//! ETCD_INITIAL_CLUSTER=etcd-b=http://etcd-b.example.org:2380
//! ```
//!
//! It follows by a balancer in site A that leads to whoever is the primary:
//!
//! ```text
//! listen primary
//!     bind :5440 tcp-ut 20s
//!     option httpchk GET /primary
//!     default-server on-marked-down shutdown-sessions
//!     server db1 db1.example.org:5432 check port 8008
//!     server db2 db2.example.org:5432 check port 8008
//!     server db3 db3.example.org:5432 check port 8008
//! ```
//!
//! `tcp-ut` ends the connection when site B is gone. Without it the primary's sender may stand still in front of the balancer for
//! ten minutes, and a checkpoint that is to give up the slot (below) waits for it, while messages are accepted and the log grows.
//!
//! `/etc/patroni/config.yml` in site B is as above and with the same passwords (the roles come with the data), with
//! `scope: amtsbote-b`, `name: b1` (a name that site A does not have, see above), its own addresses, files and etcd, without the two lines
//! of `synchronous_mode` and without `slots`, and in their place:
//!
//! ```yaml
//!     standby_cluster:
//!       host: balancer.site-a.example.org
//!       port: 5440
//!       primary_slot_name: site_b
//!       create_replica_methods: [basebackup]
//! ```
//!
//! After `systemctl start patroni`, `list` says `creating replica` for as long as the copy takes (a minute for each 250 MB), then
//! `Standby Leader`. Site B's relay is set up as those of site A and not started: `node = "relay-3"`,
//! `connection = "host=b1.example.org …"`, `standby = "wanted"`, and on it, early, a note of what `amtsbote evidence key` says
//! on every relay of site A. Its `amtsbote check` says "none of the hosts is a primary" until site B leads, and nothing else must be
//! a `PROBLEM`. Its firewall lets clients in from the beginning (`tcp dport { 8443, 8444, 8445 } accept`).
//!
//! **A second server there** (`b2`) is set up like `b1`, with a certificate and the same file but for its name, addresses and
//! files. It copies from `b1` and follows it, so that the line carries everything once, and `store lag` in site A shows `b1`
//! alone. The firewall lets `b1` and `b2` to each other's 2379, 5432 and 8008, and both to the balancer's 5440. Where Patroni ends on
//! `b1`, `b2` follows by the line in its place, within twelve seconds. With the machine of the only etcd, nobody can be promoted
//! until it is back (who follows by the line goes on with that): so with `b2`, give site B three members, too.
//!
//! The slot keeps the log on the primary while site B is away, so without a bound site B's absence would fill the primary's
//! disk and stop site A. `max_slot_wal_keep_size` is that bound: less than half of the room on the smallest server's disk, and
//! more than is written in the longest absence that site B is to catch up with. Behind it the slot is `lost` (`SELECT slot_name,
//! wal_status FROM pg_replication_slots`), `store lag` shows it as `absent` by "an unknown amount", site B's log says that a segment
//! "has already been removed", and site B must be copied anew (`wal_keep_size` is kept in any case). Let Patroni drop the slot: of one
//! that is dropped with `pg_drop_replication_slot` it does not learn, and does not make it anew.
//!
//! ```text
//! # in site A
//! patronictl -c /etc/patroni/config.yml edit-config --force -s slots=null
//! gone="SELECT count(*) = 0 FROM pg_replication_slots WHERE slot_name = 'site_b'"
//! until [ "$(psql -h db1.example.org -U postgres -Atc "$gone")" = t ]; do sleep 1; done    # of the leader
//! patronictl -c /etc/patroni/config.yml edit-config --force -s slots.site_b.type=physical
//! systemctl stop patroni                         # on b1; with b2 on both, and its data away, too, before the next lines
//! rm -rf /var/lib/postgresql/15/amtsbote
//! patronictl -c /etc/patroni/config.yml remove amtsbote-b    # asks
//! systemctl start patroni                        # on b1; on b2 once b1 is Standby Leader
//! ```
//!
//! What the loss of site A would cost:
//!
//! ```text
//! $ amtsbote store lag --seconds-max 60
//! standby  state      waited for  bytes behind    time behind
//! db2      streaming  yes                  0 B            0 s
//! b1       streaming  no               44.4 MB  at most 2.5 s
//! The loss of the primary would lose nothing that was acknowledged.
//! ```
//!
//! The line of `b1` is what site B lacks (RPO): site A was switched off in that second, and the last three messages, 53 MB,
//! were missing in site B, of 2,517; none of the others was. Another time it said 16.3 MB and 2.1 s, and 17 of 115 were missing, all
//! of the last 2.0 s. After a burst of 30 MB it caught up with about 3 MB/s while messages went on, after 276 MB with 4.1 MB/s, in
//! 67 s, while none came: 35 Mbit/s are 4.4 MB/s, less what the line takes for itself. So the line carries what is accepted on
//! average as long as that is less; messages of 12 kB cost 19 kB each in the database's log.
//!
//! Where the primary changes in site A, site B may have more of the old one's log than the new one. Its Patroni
//! takes that back (`pg_rewind`) and fetches the log anew, up to `wal_keep_size`, by the line: it was back after two minutes once,
//! after half a minute otherwise, and until then `store lag` shows the slot as `absent` and how much is missing.
//!
//! **When site A is lost**, be sure that it is: nobody else keeps two primaries apart. Cut the line, and see that its relays
//! reach no clients when its power comes back: **its servers start by themselves, on their own copy, and accept**. Then,
//! in site B:
//!
//! ```text
//! patronictl -c /etc/patroni/config.yml edit-config --force -s standby_cluster=null
//! patronictl -c /etc/patroni/config.yml list     # b1 is Leader, after a few seconds
//! ```
//!
//! and on its relay, in `/etc/amtsbote`:
//!
//! ```text
//! amtsbote check                                 # all good but one warning: no standby
//! amtsbote store adopt-objects --reason "site A is lost"    # with [objects] alone: site A may have counted on; asks
//! systemctl enable --now amtsbote
//! amtsbote evidence verify --database --key …    # a --key for each relay's log: those that were noted, and its own
//! amtsbote evidence close relay-1 --reason "site A is lost"    # asks; --yes in a script
//! amtsbote evidence close relay-2 --reason "site A is lost"
//! ```
//!
//! and lead the clients there (DNS, or a balancer in site B). Site B's relay has `standby = "wanted"`: it has no standby yet,
//! and warns of that. Where there is `b2`, it stands by from then on:
//!
//! ```text
//! # on b1; then wait until list says Sync Standby
//! patronictl -c /etc/patroni/config.yml edit-config --force -s synchronous_mode=true -s synchronous_mode_strict=true
//! ```
//!
//! and the relay gets `standby = "required"`, `connection = "host=b1.example.org,b2.example.org …"` and a restart; so it may stay
//! from then on.
//!
//! What was acknowledged in the last seconds and had not reached site B is missing, and what was received
//! in them is offered again. Who has an acknowledgement sends nothing by itself: tell all authors the instant of the loss and
//! what `store lag` said last. They ask by their message ids; one that the post office does not know (9070) is to be posted
//! again, under a new id (the lost one is refused, 9022), one that it has is answered as before. A relay of site A that is led to site B does not work on the older
//! copy: it says how many transactions are missing, or that its log is closed.
//!
//! **When site A comes back**, its servers follow site B first, and its relays stay away from clients until then. On every
//! relay and every database server of site A, while the line is still cut (and stop the register there):
//!
//! ```text
//! systemctl stop amtsbote                        # relays
//! systemctl stop patroni                         # database servers, then:
//! mv /var/lib/postgresql/15/amtsbote /var/lib/postgresql/15/lost
//! patronictl -c /etc/patroni/config.yml remove amtsbote             # once, when all of them are stopped; asks
//! ```
//!
//! `lost` of the server that was the leader is the only copy of the messages that site B lacks. Before it is deleted, ask it
//! which they are, while Patroni is off there: each id that is in `lost` alone and that nobody has asked for is a message that
//! its author believes to be delivered (8 of 2,118 that had been acknowledged, all of the last 1.7 s; each was found so). Then the same in site B (`-h b1.example.org -U postgres`, without `-p`), and
//! `LC_ALL=C comm -23 ids-lost ids-b`:
//!
//! ```text
//! cd /var/lib/postgresql/15
//! runuser -u postgres -- /usr/lib/postgresql/15/bin/pg_ctl -D lost -w -l /tmp/lost.log start -o "-p 5499 -c listen_addresses= \
//!   -c hba_file=lost/pg_hba.conf -c ident_file=lost/pg_ident.conf"
//! runuser -u postgres -- psql -p 5499 -Atc 'SELECT id FROM amtsbote.message ORDER BY id' amtsbote >/root/ids-lost
//! runuser -u postgres -- /usr/lib/postgresql/15/bin/pg_ctl -D lost stop
//! ```
//!
//! Then connect the line again. Give site B's Patroni a slot, and site A's, in place of `synchronous_mode` and `slots`, the
//! `standby_cluster` above with `host: b1.example.org`, `port: 5432`, `primary_slot_name: site_a`:
//!
//! ```text
//! patronictl -c /etc/patroni/config.yml edit-config --force -s slots.site_a.type=physical      # on b1
//! systemctl start patroni                        # on db1, then the others; wait for Standby Leader and running
//! ```
//!
//! The names of the closed logs are used up: `[store] node`, `[evidence] origin` and the files of the evidence's keys get new
//! ones (`relay-4`, `relay-5`). When `store lag` on site B's relay shows nothing behind, `systemctl disable --now amtsbote` there,
//! ask once more, and swap:
//!
//! ```text
//! # on b1; then wait until list says Standby Leader
//! patronictl -c /etc/patroni/config.yml edit-config --force -s standby_cluster.host=balancer.site-a.example.org \
//!   -s standby_cluster.port=5440 -s standby_cluster.primary_slot_name=site_b -s slots=null
//! # on db1; then wait for Leader and Sync Standby
//! patronictl -c /etc/patroni/config.yml edit-config --force -s standby_cluster=null \
//!   -s synchronous_mode=true -s synchronous_mode_strict=true -s slots.site_b.type=physical
//! systemctl start amtsbote                       # on site A's relays; with [objects] after adopt-objects on one
//! ```
//!
//! 15 to 33 s passed without a relay then, and nothing was lost. `synchronous_mode` stays on in site B where there is `b2`.
//!
//! # A bucket for both sites
//!
//! With `[objects]` ([`super::database`]) what is larger than 64 KiB goes neither into the database's log nor by the line: of a
//! message of 5 MB, 9 kB did. Site B finds the rest in the object store alone, so that must not fall with site A. Every relay has
//! the section, site B's too, with the same `bucket` and `prefix`, and an `endpoint` that its site reaches. On each:
//!
//! ```text
//! (umask 077; vi /etc/amtsbote/objects.secret)
//! install -m 0644 objects-ca.crt /etc/amtsbote/tls/
//! vi /etc/amtsbote/amtsbote.toml
//! chgrp -R amtsbote /etc/amtsbote && chmod -R g+rX,o= /etc/amtsbote    # without it check is content, and no relay starts
//! cd /etc/amtsbote && amtsbote check             # "objects": good
//! systemctl restart amtsbote                     # not in site B; once all have it, one after the other
//! curl -s -o /dev/null -w '%{http_code}\n' --cacert tls/objects-ca.crt https://s3.example.org/amtsbote
//! ```
//!
//! The last one is for site B, where `check` says nothing of the bucket until site B leads: any number but 000 is an answer. Tried
//! with moto 5.2.5, over TLS: what site A's relays had put there was fetched in site B byte for byte after the loss. While the
//! bucket was out of reach, large messages were refused after 10 s with XTA 9030, small ones went on, and relays stayed ready.
//!
//! # The register's database
//!
//! It may lie on the same servers, in a database of its own ([`super::register`]), and is waited for, promoted and followed
//! with them. On the leader:
//!
//! ```text
//! psql -h db1.example.org -U postgres \
//!   -c "CREATE ROLE amtsbote_register LOGIN" \
//!   -c "CREATE DATABASE amtsbote_register OWNER amtsbote_register ENCODING 'UTF8' TEMPLATE template0" \
//!   -c "GRANT pg_read_all_stats TO amtsbote_register" \
//!   -c "\password amtsbote_register"
//! ```
//!
//! ```toml
//! [register]
//! log_heads = "/mnt/heads/log.heads"             # on a third machine, that neither site takes with it
//! [store]
//! engine = "postgres"
//! connection = "host=db1.example.org,db2.example.org,db3.example.org dbname=amtsbote_register user=amtsbote_register"
//! password_file = "store.password"
//! tls_anchors = ["tls/database-ca.crt"]
//! standby = "required"
//! ```
//!
//! What the database does not hold lies with the register: `log.key` in its folder, without which neither log nor answers open
//! and a register is refused by the database ("another register's"); `register.toml`, its certificate and key; the file of
//! heads. So copy its folder and these to site B as soon as the register has started once, `log.key` with mode 0600 and by a way
//! that nobody else reads. Site B's `register.toml` differs in
//!
//! ```toml
//! [store]
//! connection = "host=b1.example.org dbname=amtsbote_register user=amtsbote_register"
//! standby = "wanted"
//! ```
//!
//! and in `[office] url` where the post office has another name there. Its register stays off until site B is the leader and
//! its relay works.
//!
//! `log.heads` tells after the loss which looks are missing in site B: `amtsbote register log` ends with code 4 and the number
//! that the file knows. Keep that file aside (`register-log-head` is an error until then), as after a backup; `register serve` begins a
//! new one within a minute. On the way back, stop site B's register together with its relay, before `store lag` is asked for the last time;
//! in site A the file of heads from before the loss is put aside, too, and site B's takes its place before the register starts there.
