//! # The register's process
//!
//! `amtsbote register serve` runs the population register's shadow copy. It is a participant of a post office like any
//! other: own certificate, own configuration (`amtsbote register init` writes one with every key explained), own
//! folder. It shares neither database nor key with the post office and reaches it by XTA 2 alone; both may run on one machine
//! or on two.
//!
//! Certificates, keys, authorities, revocation lists and tokens that `register.toml` names are read anew on SIGHUP (`systemctl
//! reload`), those of signers, payment and page included: all of them or, where one cannot be used (`reload-failed`), none,
//! and the process goes on with what it had. The files of `[store]` (`password_file`, `tls_anchors`) are not among them: they
//! are read at the start only, so another password or authority of the database wants a restart. Lists run out: fetch a new `office.crls` and `signatures.crls` before they do, else
//! the post office is not spoken to (`register-office-unreachable`) and signed messages are rejected. The configuration
//! itself is read at the start.
//!
//! `operation/amtsbote-register.service` runs it under systemd. With `register.operator_address` it says how it stands:
//! `/livez`; `/readyz`, whether messages are fetched and taken (post office, mailbox for locks, database), with the reason where not; and
//! `/metrics`: copies by state (`amtsbote_register_copies`), those that are too old (`amtsbote_register_copies_stale`) and the
//! age of the oldest (`amtsbote_register_copy_oldest_seconds`), changes held and municipalities with gaps
//! (`amtsbote_register_changes_held`, `amtsbote_register_gaps`), locks unread (`amtsbote_register_locks_unread`), whether
//! post office and mailbox for locks could be looked into (`amtsbote_register_office_reached`,
//! `amtsbote_register_locks_reached`), messages not posted yet (`amtsbote_register_answers_waiting`) and the feed's refusals
//! (`amtsbote_register_feed_refused_total`). There is no authentication, so it is on a loopback address, or reachable for the
//! monitoring host alone: whoever reads sums before and after a message sees what it moved. For that reason there are none of
//! open cases or of the log's entries, which a question about a locked person moves otherwise than one about an unknown one;
//! `amtsbote register cases` and `amtsbote register log` tell them.
//!
//! ## What it does with a message
//!
//! It fetches, does what the message asks for, writes effect and answer down in one transaction, and only then confirms
//! (XTA `close`). A crash in between repeats a message and loses none. The same UUID with the same bytes is answered as
//! before: no second search, fee, notice or line in the log. The same UUID with other bytes is rejected (S999).
//!
//! | number | from | answer |
//! | --- | --- | --- |
//! | 1100 full load | municipality | 0928 with counts and refused records; or 0010 |
//! | 1101 changes | municipality | 0020, with the numbers that are missing; 0010 (S020) for cases that failed, each with its reason |
//! | 1104 nothing happened, with or without hashes | municipality | 0020; where hashes came, with what differs |
//! | 0021 a receipt did not come | whoever sent the message | the same receipt or rejection; 0020 where there is none to send again |
//! | 0030 forward, 0031 hand-over | any office | what the message in it asks for, to its author; 0020 to the office; or 0032 |
//! | 0032 not competent | whoever got one of ours | none; the log has it |
//! | 0300 data for the pre-filled form | registration office | 0301; or 0032 where no copy of the municipality is kept |
//! | 0600 private enquiry | portal | 0601 |
//! | 0604 up to 500 private enquiries | portal | a 0601 each, with its event; 0010 (S020) for cases that cannot be read |
//! | 1330, 1332 searches | authority | 1331, 1333 |
//! | A001 that answer again | whoever asked | the same bytes; or A002 when its time is over |
//! | 0201, 0203, 0085 to 0097 | registration office, as a copy | none; the case is watched |
//!
//! Everything else is rejected with XInneres' codes (S, T, V, X; `amtsbote explain T070` says what one means, `amtsbote explain 0031` what a message is for). Rejections and receipts are never answered. Questions
//! that the law does not allow are answered by reason (02, 14, 15 where the number is known, else a word), not rejected.
//!
//! ## This is not XMeld
//!
//! XMeld's schemas are not public. The register reads and writes **its own exchange form** (`schemas/register`), which
//! takes names from DSMeld, the structure of heads from XInneres, and numbers from XMeld. No procedure that speaks XMeld can
//! talk to it as it stands. Official releases are plugged in at one place, `register::message`: [`RELEASES`] says which
//! (namespace, version) are alive, `Number::of_element` which element is which number, and `person`, `feed`, `question`,
//! `answer`, `moves` translate between elements and the values that the rest of the register works with. Two releases are
//! alive, 26.05 and 26.11; each message is answered in its own. 26.11 adds questions by identification feature, A001
//! and A002, and the numbers 0021, 003x, 030x and 0604.
//!
//! ## What is passed on
//!
//! A message that reached the wrong office comes in a 0030 or 0031, whole and unchanged (at most 1 MiB in Base64): its
//! `leser` is not rewritten, and may be the office that passes it on. Passing on lends nobody's rights: the message is taken
//! only if its author has signed it and is entered under `[[signer]]`, or is the office itself (else T010). It is answered
//! to its author. Feed, questions and copies of move notices can be passed on; what is another standard's, or no message that the register
//! takes, goes back as 0032, and so does a 0300 about a municipality whose copy is not kept here.
//!
//! ## Pre-filled forms
//!
//! Every municipality that writes as `ags:` may ask by 0300 for the data of somebody who moves in (section 23(3) BMG): family
//! or former name, given names and date of birth must be there, former dwelling, sex and place of birth may. Exactly one person is
//! answered; unknown, ambiguous, locked and stale get the neutral answer, and a locked person is owed a notice. Data of relatives are
//! left out: a copy has their names without their locks. Each is an entry in the log of looks.
//!
//! ## Many enquiries at once
//!
//! A 0604 (what XMeld's is for is not public; this use of the number is ours) holds up to 500 private enquiries about
//! persons of one municipality, else all of it is rejected (S999). Each has its event, and is a look, a fee, a notice and an answer of its
//! own, as if it had come alone. A001 with the message's UUID fetches all of them again.
//! All answers leave together, at an instant that depends on how many questions there are (50 ms each).
//!
//! ## Who may do what
//!
//! Who sent a message is the post office's word (the certificate that posted it); it must be the `autor` of the head
//! (else T070). A municipality `ags:X` feeds copy X and no other. What kind of body an asker is stands in the register's
//! configuration, never in the message; `amtsbote register explain` shows what follows from the kind. A message marked as
//! a test (in head or envelope) reaches nothing (S999).
//!
//! Revoked or expired certificates never get here: the post office refuses their connection. Where the law wants an
//! author's signature beside that (over the internet), the sender is entered under `[[signer]]` with its certificates: then it
//! must end each message with an enveloped XML signature over the whole of it, and without one (T010), with one that does
//! not hold (T011), or by a certificate that has expired (T000), is revoked (T001), is another (T002) or missing (T003),
//! nothing of the message is processed. Content that only encrypted parts hold is
//! rejected with T020: the register has no key for it yet.
//!
//! ## Locks
//!
//! A change that sets a lock (1101) is effective at once, also where changes before it are missing, also where it is rejected
//! because its generation or number does not fit; and a load whose picture is older does not lift it. So that it does not wait
//! in the mailbox either, the register has a second one for such changes (`register.urgent_identifier`): a task of its
//! own looks into it every `office.poll_milliseconds`, whatever the other mailboxes hold, and in the database it passes
//! everybody who waits to write. What is no message of changes
//! is taken from there with the others' turn (`register-not-urgent`). The other mailboxes are emptied without a pause while
//! something waits, one message of each author after the other; feed (1101, 1104) and one full load at a time run beside them.
//!
//! A full load is one message, of some 1.7 kB for each person. The post office takes 40 MiB at first (`limits.content_bytes_max`), some
//! 25,000 persons: raise it for larger municipalities (the register reads up to 1 GiB), or load from a file (`amtsbote register
//! load`). A load that is rejected leaves the copy as it was, and what it brought is cleared away like a copy that was
//! replaced; what a crash left behind goes with the next load of that municipality. Rejected (S999) is also a load of which no record can be taken, and one
//! without a record where the copy has some: a municipality that has ceased to be deletes its records by changes. The first
//! load of one in which nobody lives is taken. Rejected is a load, too, that leaves less than half of the persons that the
//! copy has, whether so few came or the others were refused. Where so few are right, no message says so: the municipality
//! tells the operator, who loads its records from a file with `amtsbote register load --shrink`.
//!
//! Locks win (sections 51, 34a(5) BMG), so a lock is effective also where its case, or the whole message, is rejected for its
//! form (S001 to S030, X001, S999), as long as it is certain who sends it and whom it hides: the message is well-formed to its end, of a
//! release that is served, from the municipality itself and signed where it must be, speaks of that municipality's copy, and
//! the case sets a lock (`anlass`) for one order mark. `register-lock-refused` says that it was so; the municipality has the rejection and sends the case
//! again. Which lock it is may be unreadable: then the person is hidden from everybody as by lock 11, and its notices are owed, until the case
//! comes again. Where it is not certain whom a lock hides (no XML, cut off, another release, not signed, no order mark
//! or two), nobody can be hidden: the message or case is rejected, `register-lock-unread` is an error of the log, and `amtsbote register status` says
//! `a lock could not be read` (exit code 4; `lock_unread_at` in JSON) until a load whose picture is younger, or a comparison
//! (1104) that finds copy and original equal, as they were later; where only the lock's kind is unknown, until a change of that person's locks or such a load. Call the municipality at once: until then whoever is to be locked may be found. A message
//! that is marked as a test sets no lock.
//!
//! A held change that cannot be read any more (a damaged disk) keeps those behind it from being applied, and holds up no message
//! and no lock: `amtsbote register status` says `change N cannot be read: load it again` (exit code 4; `unreadable_change` in JSON).
//!
//! A copy is as old as the last thing that was heard of it, never younger: a municipality's clock may be five minutes ahead, a
//! load or a 1104 that is dated later is rejected (S999), and a copy with a date in the future counts as stale.
//! `register-copy-stale` in the log names a copy that gives no data any more, and which changes it misses.
//!
//! Questions pass feed, loads and housework in the database; after eight of them in a row one of those has its turn. A
//! load of many records makes room at the next record when somebody waits who comes first. Changes that wait, of one message
//! or of several, are written in common transactions of a few changes, with the receipts of messages that end in them; such a
//! transaction ends at the next change when somebody waits who comes first, and a receipt leaves only when it is durable.
//!
//! ## Nights
//!
//! From `nightly.hour` on, once a day, the periods of sections 13 and 14 BMG are applied to every copy; a night that was
//! broken off is begun again. `amtsbote register status` shows the last one. A municipality compares its original with the copy by sending,
//! with 1104, each bucket's count and hash (`abgleich`; `schemas/register/2611/abgleich.md` lays down how they are computed, byte by byte, with an
//! example). The receipt names
//! the buckets that differ; sent again with the entries of these, the records are named that are missing, too many or
//! other. `status` shows when that was and whether the two are equal; a copy that is not compared within
//! `nightly.reconcile_within_hours` is warned about (`register-not-compared`), one that differs, too
//! (`register-copy-differs`), once a night. So are changes that are missing though the receipts have asked for them
//! (`register-changes-missing`; `status`: `changes 4 to 5 are missing`, exit code 4), and municipalities whose yearly report
//! (`amtsbote register plausibility`) was not made for a year (`register-plausibility-due`; `status`: `the yearly report is due`).
//!
//! ## Answers
//!
//! An answer leaves at the end of a time bucket (`answers.bucket_milliseconds`, 2000) counted from the question, so that
//! its time tells nothing of what was found; unknown, ambiguous, locked and stale have the same bytes but for ids and instants
//! of fixed length. It is kept sealed for its reader up to the end of the eighth calendar day after the question
//! (`answers.fetch_again_days`, `answers.time_zone`), then key and bytes are overwritten and a mark remains. An answer
//! that the post office does not take for `office.give_up_hours` (24) is given up with `register-answer-given-up` in the log;
//! its reader can still ask for it again.
//!
//! ## Moves
//!
//! A registration office that wants a deadline watched posts its 0201, 0203 or update a second time, to the register: the same
//! bytes, `leser` unchanged. Only head, event, relation and day of registration are read; nothing about the person is kept.
//! The answer (0203) is due by the end of the third working day after the notice came (`moves.due_days`, section 33 BMG);
//! `register-move-due` warns after the second, `register-move-late` is an error after the third. Saturdays count,
//! Sundays and holidays do not, an end on a Saturday moves; all of it can be configured, and the Saarland's holidays are
//! shipped. `amtsbote register cases` lists what is open.
//!
//! ## A person's report
//!
//! `amtsbote register report AGS MARK` is for the person concerned (Article 15 GDPR, section 10 BMG), once their identity was
//! checked (`--identity-checked`): their record as the copy has it, and who got data of it while the log is kept, without
//! retrievals of bodies of section 34(4) BMG, and which groups of data each was told. Kept back are the order mark, a lock that an authority had entered, and the name of a
//! partner or representative where anybody of that name is hidden in the same copy. It takes four eyes, and that it was read
//! is in the log.
//!
//! ## Cases
//!
//! A neutral answer leaves a case with the register (section 34a(5) BMG), unless that was waived; a question that meets a lock of
//! section 51 BMG leaves a notice to the person, one that meets lock 11 a notice to the authority behind it, each for
//! every question. `amtsbote register cases` lists them, and tells of nobody.
//! The law owes the notice for each request about the person (section 51(3) BMG: each request for a
//! Melderegisterauskunft), whatever is answered: also from a copy that is too old, in a search of the whole state too, and in a private enquiry that fits any number of
//! others. A list of a free or person search ends at 1,000 hits; behind its end nobody is looked at, so the question is about
//! nobody there, and nothing is owed: whoever asks has to narrow it, and then it is. A search of the whole state that finds nobody
//! leaves a case with each municipality whose copy is too old and has somebody it would have found.
//!
//! - `register case show N` opens one: the question as it was put, who put it, and, in a notice, the person with the present
//!   addresses for the letter. That it was opened is in the log.
//! - `register case answer N --person MARK --reason TEXT` gives the person's data as they stand in the copy, within the
//!   asker's rights; `--none` says for good that no data are given. The answer leaves under the number and in the release of the
//!   question, or is shown at the page under the question's number; it is a look like any other, without a second fee, can
//!   be had again for eight days of its own, and closes the case. It needs the register's configuration (`--settings`).
//! - `register case hand-over N --reason TEXT` gives the case to the municipality: it gets the question as it came, signature
//!   and all (0031). The case is closed when the post office has the message; one that had to be given up leaves it open
//!   (`register-answer-given-up`). What came by no message of its own (a page, a line of a 0604), or asks by a feature that
//!   only this register knows, cannot be handed over so: open it, and tell the municipality.
//! - `register cases --done N --reason TEXT` closes what was done on paper: no standard has a message for a notice.
//!
//! What a case holds is sealed, and destroyed when the case is closed, at the latest after twelve months, with the content of
//! the look that it came of; the case itself stays open until somebody closes it.
//!
//! ## Four eyes
//!
//! The report to a person, every case of a question that met a locked person, answers with a locked person's data, and the end
//! of a hold on the log take two operators. The first
//! one's command ends with code 5 and a number; another user of the operating system runs `amtsbote register release
//! NUMBER` within the hour; then the first one repeats the command, and reads once. Who they are is the kernel's
//! word: each writes a file into the register's folder `four-eyes`, whose owners must differ. That folder has mode 1770.
//!
//! The two need different rights, and nobody should have both:
//!
//! - Whoever reads opens the log: `log.key` and the database are their owner's alone, so the command runs as the register's
//!   own user (`sudo -u`). Let few do that.
//! - Whoever releases needs neither key nor database, but an own account in the group of `four-eyes`. Let nobody into that
//!   group who may become the register's user, or root: with `sudo` one person has two uids, and would be both.
//!
//! It proves that two accounts took part, for this one reading, within the hour. It does not prove that two people did, nor who
//! was behind the register's user: sudo's own log says that, so send it where those who read cannot change it. Two people who share an
//! account are one; the superuser can be anybody.
//!
//! `register case answer` asks first whether one of the persons is locked. That is an entry in the log, with a reason, and in
//! the report of each person named (unless a body of section 34(4) BMG had asked), also where no answer follows.
//!
//! ## The log and its heads
//!
//! Every look is an entry (section 40 BMG), sealed, chained, kept for twelve months; then its content is erased and its link of
//! the chain stays. An audit pauses that for entries of pre-filled forms, and for no others: `amtsbote register log --hold
//! REASON` keeps them, however old they become, until `--lift REASON`, which takes two operators, because what was kept beyond
//! its time is erased with it. Both are entries of the log, and that of the end says which hold it was. An entry that cannot be
//! opened is not held: nobody can audit it. `register status` (`log_hold` in JSON) says since when, by whom and why it is held,
//! and so does `register log` where the log is whole. The last entry is sealed with the log's key, and `register serve` writes that seal as a line into a file
//! of heads every minute (`register.log_heads`, `log.heads` in the register's folder): put it where the database's
//! administrator can only append, or copy what `amtsbote register log --head` prints elsewhere. `amtsbote register log`
//! walks the whole log and holds it against the file, and against others (`--heads FILE`). It ends with code 4 where an entry
//! was changed, the end was cut or put back to an older state, a content was emptied before its time or is held by nobody, a person was taken out
//! of an entry or put into it, or no head is left. Whom an entry is about is part of what is sealed; for entries of a
//! register before version 10 of the database it is sealed when that is brought to version 10, and proves what was there then.
//! Walk the log before a person's report.
//! `register-log-head` is the same as an error of the running process. Whoever has the database without the key
//! cannot forge a head; whoever has both database and file can put both back to an older state, and only a head that was
//! kept elsewhere tells. After the register was restored from a backup, keep the file of heads aside: it tells what is missing.
//!
//! ## Keeping, counting, charging
//!
//! `amtsbote register retire AGS` applies sections 13 and 14 BMG by hand, as the nights do: five years after the end of the year of move or death a
//! record is found by no search any more, and shrinks in the next night; after fifty more it goes. `plausibility AGS` is the yearly report to the
//! municipality, `statistics YYYY-MM` counts questions, `fees YYYY-MM` sums what private enquiries cost. Prices are lines
//! `[[rate]]`; of each fee a fifth, rounded down to the cent, is the operator's and the rest the municipality's. A neutral
//! answer costs as much as a hit.
//!
//! Rows go, too, each night: marks of answers and of messages, closed cases, answered moves and spent features after a
//! year, orders that came to nothing after 90 days, paid ones and what was charged after ten years from the end of their
//! year (section 147(3) AO); what needs a person stays. The file gives free room back in steps. One that was made before version 9
//! of the database does after `amtsbote register sweep --compact` (stop the process before; as much room as the file has
//! is needed beside it). A record that a night cannot read is left, counted and told of (`register-unreadable`).
//! A question that meets one is answered as of somebody who is locked, with the notices of lock 11 (`register-record-unreadable`
//! names municipality and row): load the municipality again. The person's own change mends it, too; its report
//! (`amtsbote register report`) says that the record cannot be read, and who got data of it, with exit code 4.
//! `register case answer` refuses to answer while one of the persons named is such a one, and names the order mark: leave
//! this person out, or load the municipality anew and answer then. A notice to such a person is due all the same:
//! `register case show` says `"unreadable": true`, with exit code 4.
//!
//! ## The page
//!
//! With `[page]` in its configuration the process serves a page for private enquiries (sections 44, 49 BMG) on a listener of
//! its own. Users are in the configuration; `amtsbote register password` reads a password of at least 12 characters from
//! the standard input and writes the line that stands for it (PBKDF2). After five wrong ones a user waits for 15 minutes.
//! A session lasts 20 hours, or to the end of the process. `page.url` is where browsers reach it, always by HTTPS. Without
//! `page.certificate` plain HTTP is spoken, on a loopback address only, for a proxy on the same machine that does TLS.
//!
//! ```text
//! amtsbote register init                                # register.toml, every key explained
//! amtsbote register password <password.txt >>users.txt  # the line `password = ...` of a [[page.user]]
//! amtsbote register serve                               # says where the page is
//! ```
//!
//! Each enquiry has a number, is judged, logged, charged and answered as a 0600 would be, and leaves at the end of its time
//! bucket. Refusals are said at the field that they are about, before anything is paid; a refused enquiry is neither logged
//! nor charged. What costs money leads to a page with the bill and the way to the payment service; the enquiry is put once
//! that service confirms the payment, and the same page says how it stands until then. The same form sent twice is one
//! enquiry and one payment. The answer lies sealed in the register and is shown by its number to the user who asked, and to
//! nobody else, up to the end of the eighth day; that costs nothing. The page keeps nothing. Without sign-in every address
//! shows the way in. Forms carry a token of their session, and what a browser sends at another site's wish is refused
//! (`Sec-Fetch-Site`). What is paid together is shown at the end of a time bucket that began with the payment. A user's name
//! is given to somebody else eight days after its last enquiry at the earliest: answers are fetched by name. Forms have 64 KiB at most, lists 2 MiB; who sends too slowly is cut off as at every other door.
//!
//! A list is a CSV file in UTF-8, columns divided by semicolons or commas, the first line naming them (`/list/template.csv`);
//! at most `page.list_lines_max` (500) enquiries and 2 MiB. Each line is a case of its own; one that cannot be asked is
//! refused in its row and named on the bill, and one payment is for all others (of 99 municipalities at most). The table
//! with all answers can be fetched for eight days, too. Cells that a spreadsheet would take for a formula begin with an
//! apostrophe.
//!
//! An account has at most 20 orders that wait for their payment, and 500 within 24 hours; the page says so.
//!
//! Prices are those of the channel `page`. Where no `[[rate]]` costs money, no payment service is needed and enquiries are
//! put at once; where one does, `[payment]` must be there.
//!
//! ## Payment
//!
//! What is asked at a page is paid before it is put, at a payment service with FITKO's interface XBezahldienste 1.0
//! (`[payment]`, HTTPS alone, with a client certificate, a bearer token, or both). The service learns amount,
//! municipality and where the browser goes back to, and nothing about anybody. [`payment`] has the states.
//!
//! - That the browser comes back proves nothing: the service is asked, at once then and every 3 to 60 seconds otherwise.
//!   Only `PAYED` in its answer, for our transaction, our request, our amount, puts the questions, each once.
//! - The questions lie sealed until then. They are destroyed when they are put, and when they will not be.
//! - Where an answer is lost, the request is repeated under its id; `PAYMENT_EXISTS` leads to a question about it, and,
//!   where the service cannot be asked so, to a second request. Nobody has ever seen the first one's page.
//! - Who has not paid within `pay_within_seconds` (1800) gets no answer. XBezahldienste knows no way to call a payment
//!   off, so the service is asked about it every hour for `watch_hours` (168) more. Money that comes then is `late`
//!   (`register-payment-late`); an answer that does not fit, or a paid question that could not be put, is `disputed`
//!   (`register-payment-disputed`). `amtsbote register payments` lists both until an operator has seen to them
//!   (`--settled CASE --reason TEXT`). Nothing is given back by itself: the interface has no word for that.
//! - A service that is silent is `register-payment-silent`, once; one that refuses our requests `register-payment-refused`.
//!
//! Answers are kept for the account that asked as every answer is, sealed, to the end of the eighth calendar day.
//!
//! ## PostgreSQL instead of a file
//!
//! One line of `register.toml` puts the data into a database (PostgreSQL 15 or later): `[store] engine = "postgres"`. The
//! register has a database and a role of its own, on the post office's server or another:
//!
//! ```text
//! createuser -P amtsbote_register
//! createdb -E UTF8 -T template0 -O amtsbote_register amtsbote_register
//! psql -c "GRANT pg_read_all_stats TO amtsbote_register"    # so that the standby can be seen
//! install -m 600 /dev/stdin store.password      # the password, beside register.toml
//! ```
//!
//! ```toml
//! [store]
//! engine = "postgres"
//! connection = "host=127.0.0.1 dbname=amtsbote_register user=amtsbote_register"
//! password_file = "store.password"
//! ```
//!
//! The tables are made at the first start, in the schema `amtsbote_register`. A database in which a post office keeps its
//! messages is refused, and a post office refuses the register's. The folder still holds the log's key, the file of heads and
//! what is under way: a backup of the database without `log.key` opens neither log nor answers, and a database whose log is
//! sealed with another key is refused. Every command works on the database that `register.toml` names; in a folder whose
//! data lie elsewhere, a command without the configuration is refused and begins nothing new.
//!
//! A register that has lain in its file so far is copied, while `register serve` and every command there stand still:
//!
//! ```text
//! # register.toml names the database, as above, and the folder as before
//! amtsbote register copy --from sqlite:register --to postgres:register.toml
//! amtsbote register log                         # the same entries, the same heads
//! ```
//!
//! It walks the log first and copies none that is not whole; then every table, in steps. What is interrupted goes on with the
//! same command. At the end every row of both sides is compared, the log is walked in the database, too, and one
//! transaction makes a register of it; before that, none works there. The file is not changed, and `register.moved` beside it
//! keeps every register from it. Destroy `register.sqlite`, `register.sqlite-wal` and `register.sqlite-shm` when the first
//! backup of the database is made, for they hold what the database forgets in time, and leave `register.moved` there.
//! `log.key` and `log.heads` go on in the folder; a new folder gets copies of both before, and the copy is refused without
//! them. Answers, cases and the log open with the same key.
//!
//! Process and command line write one at a time, under one lock of the database. Readers see one state and wait for nobody.
//! `fsync` must be on; `standby` is the post office's `[store] standby`: with `required` nothing is written without a
//! synchronous standby. When the connection is lost, nothing is lost: what was not committed has not happened, and where the
//! commit itself was under way, the next session looks for the token that each transaction leaves, also on a server that
//! crashed or was promoted meanwhile. Only where none answers in time nobody can say; then the message is taken again, and
//! one that was taken is known by its UUID. Tokens are deleted after a day. While the database is away, messages wait at the post office (`register-message-left`).
//!
//! The rows of what is destroyed (answers whose time is over, contents of old looks) are vacuumed at once, or as soon as no
//! session reads what was there before. That frees them; their bytes stay in the file until the room is used again, or until
//! `register sweep --compact`. The server's log of transactions, its archive and backups hold them until they are dropped:
//! keep them as long as answers may live, and no longer. `register sweep --compact` is `VACUUM FULL`.
//!
//! | what is said | next step |
//! | --- | --- |
//! | the database refuses this user or password | `password_file`, the user in `connection`, `pg_hba.conf` |
//! | there is no database of that name | `createdb`, or `dbname` |
//! | this user lacks rights | make it the owner of its database |
//! | in this database a relay keeps its messages | give the register a database of its own |
//! | this database is another register's | the right database, or the `log.key` that belongs to it |
//! | fsync is off | `fsync = on`, reload |
//! | in this database lies a register that was not copied to its end | the same `register copy` again |
//! | the database cannot be reached | is the server there, are host and port right; `register serve` does not start without it, as no server does, and is to be started again |
//!
//! ## Not there
//!
//! Registering users at the page, keys for encrypted content, the DVDV.
//!
//! [`RELEASES`]: crate::register::message::RELEASES
//! [`payment`]: crate::register::payment
