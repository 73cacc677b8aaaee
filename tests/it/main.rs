//! The integration tests: one binary, a file per topic.

mod store_conformance;
mod store_embedded;
mod store_fixture;
