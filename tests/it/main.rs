//! The one integration binary: a file per topic.

mod certs_dev;
mod store_conformance;
mod store_embedded;
mod store_fixture;
