//! The one integration binary: a file per topic.

mod admin_socket;
mod certs_dev;
mod cli_fixture;
mod cli_life;
mod cli_words;
mod floors;
mod relay_life;
mod relay_spool;
mod relay_trouble;
mod store_conformance;
mod store_embedded;
mod store_fixture;
mod store_full;
mod store_kill;
mod store_model;
mod store_tamper;
mod wycheproof;
mod xml_attacks;
mod xml_peers;
mod xta_cycle;
mod xta_damage;
mod xta_office;
mod xta_raw;
mod xta_refusals;
mod xta_requests;
mod xta_stream;
