//! The integration tests: one binary that looks at the crate from outside, a file per topic.

mod admin_socket;
mod certs_dev;
mod cli_fixture;
mod cli_life;
mod cli_words;
mod floors;
mod store_conformance;
mod store_embedded;
mod store_fixture;
