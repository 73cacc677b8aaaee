//! The integration tests: one binary, a file per topic.

mod store_conformance;
mod store_embedded;
mod store_fixture;
mod xta_cycle;
mod xta_office;
mod xta_raw;
mod xta_refusals;
mod xta_requests;
mod xta_stream;
