//! One binary for everything that looks at the crate from outside: a file per topic.

mod certs_dev;
