//! The integration tests: one binary, a file per topic.

mod store_conformance;
mod store_embedded;
mod store_fixture;
mod xta_cycle;
mod xta_office;
