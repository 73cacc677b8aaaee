//! The population register's shadow copy (Schattenregister): an addressee of the relay with a database, keys and a
//! log of its own. It reaches the relay as any client would and imports nothing of it.
//!
//! | here | what |
//! | --- | --- |
//! | [`matching`] | the annex's rules of comparison |
//! | [`person`] | a record as a copy keeps it |
//! | [`question`], [`criteria`] | what is asked, and who meets it |
//! | [`rights`] | who may ask what, as a table |
//! | [`answer`] | what is told, and what must not be |
//! | [`stream`], [`reconcile`] | how a copy follows its original |
//! | [`message`] | how all of that is written down between offices |
//! | [`signers`] | who must sign what it sends |
//! | [`refetch`], [`workdays`] | how long an answer can be had, and when an office is late |
//! | [`fees`], [`payment`] | what an enquiry costs, who gets it, and how it is paid before it is put |
//! | [`retention`], [`plausibility`] | how long a record is kept, and what cannot be right in it |
//! | [`explained`] | what codes and reasons mean, in two languages |
//! | [`desk`] | one message after the other: its effect, its answer |
//! | [`synth`] | invented persons, for tests, benches and trials |
//! | [`copies`] | the database of the copies, the log of every look, the messages that came and what is sent |
//!
//! All but [`copies`] and [`payment::client`] is pure. The process itself is not here; this room is what it acts on.

pub mod answer;
pub mod copies;
pub mod criteria;
pub mod desk;
pub mod explained;
pub mod fees;
pub mod matching;
pub mod message;
pub mod payment;
pub mod person;
pub mod plausibility;
pub mod question;
pub mod reconcile;
pub mod refetch;
pub mod retention;
pub mod rights;
pub mod signers;
pub mod stream;
pub mod synth;
pub mod workdays;
