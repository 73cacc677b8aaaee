//! Every bound on what a stranger may make us hold, in one place. Configuration can override each.
//!
//! A refusal names the limit, its value and what was seen.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Sizes are bytes, times seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// All parts of one message together. XTA 2 WS 2.1.1 states 40 MB for its container.
    pub content_bytes_max: u64,
    /// The SOAP envelope without its attachments (inline base64 content is counted as content).
    pub envelope_bytes_max: u64,
    /// Parts of one message, the envelope included.
    pub parts_max: usize,
    /// Header lines of one MIME part.
    pub part_header_bytes_max: usize,
    /// HTTP request line and header.
    pub http_header_bytes_max: usize,
    pub xml_depth_max: usize,
    pub xml_attributes_max: usize,
    pub xml_attribute_bytes_max: usize,
    pub xml_name_bytes_max: usize,
    /// Connections of one door (XTA, OSCI) at a time.
    pub connections_max: usize,
    /// Connections of one door from one IPv4 address or one IPv6 network of 64 bits.
    pub connections_per_peer_max: usize,
    /// Connections of one door that have not yet sent a complete request (handshake and header).
    pub newcomers_max: usize,
    /// Seconds for the TLS handshake.
    pub handshake_seconds: u64,
    /// Seconds for the complete HTTP header.
    pub header_seconds: u64,
    /// Seconds without a byte, while a body is read or written.
    pub idle_seconds: u64,
    /// Seconds that a finished connection is kept for the next request.
    pub keep_alive_seconds: u64,
    /// Slowest body: bytes per second, averaged, after the first 30 seconds.
    pub body_bytes_per_second_min: u64,
    /// Entries in one status list.
    pub list_items_max: u32,
    /// Seconds on a drain before connections are cut.
    pub drain_seconds: u64,
    /// Seconds for one attempt of an outlet (a spool folder, another intermediary), beside the time that its bytes may
    /// take.
    pub outlet_seconds: u64,
    /// Slowest line of an outlet: bytes of content per second that lengthen an attempt's time.
    pub outlet_bytes_per_second_min: u64,
    /// Announced ids that nobody used are forgotten after this many days.
    pub announced_days: u32,
    /// Free space of the disk, in bytes, below which nothing is accepted.
    pub disk_reserve_bytes: u64,
    /// Bytes of the disk that one participant's large messages may keep while they come in chunks. One of them is taken
    /// whatever it keeps.
    pub upload_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            content_bytes_max: 40 * 1024 * 1024,
            envelope_bytes_max: 1024 * 1024,
            parts_max: 256,
            part_header_bytes_max: 16 * 1024,
            http_header_bytes_max: 32 * 1024,
            xml_depth_max: 64,
            xml_attributes_max: 64,
            xml_attribute_bytes_max: 64 * 1024,
            xml_name_bytes_max: 1024,
            connections_max: 1024,
            connections_per_peer_max: 256,
            newcomers_max: 256,
            handshake_seconds: 10,
            header_seconds: 15,
            idle_seconds: 60,
            keep_alive_seconds: 75,
            body_bytes_per_second_min: 512,
            list_items_max: 1000,
            drain_seconds: 30,
            outlet_seconds: 120,
            outlet_bytes_per_second_min: 64 * 1024,
            announced_days: 30,
            disk_reserve_bytes: 256 * 1024 * 1024,
            upload_bytes_max: 1024 * 1024 * 1024,
        }
    }
}

impl Limits {
    pub fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_seconds)
    }

    /// Time for one attempt of an outlet to hand over so many bytes of content.
    pub fn outlet_time(&self, content_bytes: u64) -> Duration {
        let seconds = content_bytes.div_ceil(self.outlet_bytes_per_second_min.max(1));
        // A hundred years are no end that a clock could not reach.
        Duration::from_secs(self.outlet_seconds.saturating_add(seconds).min(100 * 365 * 86_400))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_lasts_longer_the_more_it_carries() {
        let limits = Limits::default();
        assert_eq!(limits.outlet_time(0), Duration::from_secs(120));
        assert_eq!(limits.outlet_time(1), Duration::from_secs(121));
        // At 10 Mbit/s these take 168 s.
        assert_eq!(limits.outlet_time(200 << 20), Duration::from_secs(120 + 3200));
        let slowest = Limits { outlet_bytes_per_second_min: 0, ..limits };
        assert!(jiff::Timestamp::now().checked_add(slowest.outlet_time(u64::MAX)).is_ok());
    }
}
