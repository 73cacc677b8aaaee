//! The population register's shadow copy (Schattenregister): an addressee of the relay with a database, keys and a
//! log of its own. It reaches the relay as any client would and imports nothing of it.

pub mod matching;
