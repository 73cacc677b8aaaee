//! The integration tests: one binary, a file per topic.

mod relay_life;
mod store_conformance;
mod store_embedded;
mod store_fixture;
