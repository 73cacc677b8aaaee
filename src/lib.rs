//! Amtsbote: a virtual post office for public authorities.
//!
//! Procedures post messages through a *door*, the *relay* decides, the *store* keeps, the *evidence* log proves, and
//! a reader fetches through the same or another door. One binary, `amtsbote`, is server and tool.
//!
//! # The map
//!
//! A module imports modules of lower floors only; neighbours on a floor do not meet. `tests/it/floors.rs` holds this
//! table as data and fails when an import points the wrong way.
//!
//! | floor | modules | what must not be known there |
//! | --- | --- | --- |
//! | 10 | [`cli`] | how anything is stored or sent |
//! | 9 | [`app`] | nothing: only here does everything meet |
//! | 8 | [`config`] | what the settings do |
//! | 7 | [`gateway`] | the relay and its store |
//! | 6 | [`xta`], [`osci`], [`portal`], [`admin`], [`enquiry`] | each other; how delivery is decided |
//! | 5 | [`relay`], [`register`] | relay: XML, SOAP, HTTP, SQL; register: the relay and its store |
//! | 4 | [`store`] | protocols, policy |
//! | 3 | [`evidence`] | where anything is kept, who is trusted |
//! | 2 | [`xml`] | protocols |
//! | 1 | [`mime`], [`page`], [`pki`] | messages' meaning; page: whose page it is |
//! | 0 | [`clock`], [`domain`], [`net`], [`report`] | everything above |
//!
//! # What always holds
//!
//! 1. *Accepted* is said after message, mailbox entry, process card and evidence record are on stable storage
//!    together, never before.
//! 2. Handed out is not received. A message is offered until its reader confirms it.
//! 3. An id is used once. The same id with the same bytes is answered as before; with other bytes it is refused.
//! 4. Content is never decoded, repaired or re-encoded. What goes out is what came in, byte for byte.
//! 5. Identity is a key: a certificate's public key names exactly one account.
//! 6. Nothing that correctness needs lives only in a process's memory.
//! 7. Nothing that came over the wire may panic, allocate without bound or hold up another client.
//!
//! # Glossary
//!
//! | here | in the field | |
//! | --- | --- | --- |
//! | relay | Intermediär | stores and forwards; never opens what is encrypted for somebody else |
//! | process card | Laufzettel | what happened to a message, when |
//! | participant, account | Teilnehmer | an authority's procedure with its certificates |
//! | author, reader | Autor, Leser | who wrote a message, whom it is for |
//! | service profile | Serviceprofil | deadlines and duties of delivery, as data |
//! | party identifier | Kennung | `ags:10041100`: prefix and key |
//! | message box, mailbox | Postfach | messages of one party identifier |
//! | transport report | Transportbericht | XTA's view of the process card |
//! | registration office | Meldebehörde | keeps the population register |
//! | shadow copy | Schattenregister | copies of the population registers, searched by law |
//! | enquiry page | Meldeportal | where registered users ask the shadow copy |
//! | registry office | Standesamt | keeps births, marriages, deaths |
//! | destination | Zustellpunkt | where a portal's applications go: a mailbox with keys, services and regions |
//! | submission | Einreichung | an encrypted application with its attachments |
//! | region, service key | ARS, LeiKa-Schlüssel | what routing goes by |
//! | gateway | Gateway | opens submissions for participants that delegate their key; a process of its own |
//! | specialist procedure | Fachverfahren | the software of an authority that posts and fetches |

// Two rooms beneath `xml::enc` call the provider themselves and say why.
#![deny(unsafe_code, clippy::undocumented_unsafe_blocks)]

pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod enquiry;
pub mod evidence;
pub mod gateway;
pub mod manual;
pub mod mime;
pub mod net;
pub mod osci;
pub mod page;
pub mod pki;
pub mod portal;
pub mod register;
pub mod relay;
pub mod report;
pub mod spool;
pub mod store;
pub mod xml;
pub mod xta;
