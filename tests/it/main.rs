//! The integration tests: one binary that looks at the crate from outside, a file per topic.

mod certs_dev;
mod floors;
mod store_conformance;
mod store_embedded;
mod store_fixture;
