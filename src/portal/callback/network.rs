//! Which addresses a callback may dial: public ones, and networks that the operator names. Pure.
//!
//! URLs of callbacks come from participants. Behind a harmless name may stand an address inside the house, a metadata
//! service of a cloud, or the post office itself; and the name may lead elsewhere a moment later. So the address that is
//! dialled is judged, after every look-up, and nothing else. Special ranges: IANA's registries (RFC 6890 and its successors),
//! and every form in which an IPv6 address carries an IPv4 one.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// A network in the notation `10.0.0.0/8` or `fd00::/8`; an address alone is itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no network such as 10.0.0.0/8 or fd00::/8");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(wrong)?,
            None => most,
        };
        let network = Self { address, bits };
        match network.contains(address) && network.first() == address {
            true => Ok(network),
            false => {
                Err(format!("{text:?} has bits beyond its prefix; {}/{bits} is the network", network.first()))
            }
        }
    }

    fn first(self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() & mask).into()
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
        }
    }

    /// Whether nothing is kept out by it.
    pub fn is_everything(self) -> bool {
        self.bits == 0
    }

    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                Self { address, bits: self.bits }.first() == self.first()
            }
            _ => false,
        }
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}", self.address, self.bits)
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

/// Whether this address may be dialled.
pub fn may_dial(address: IpAddr, networks: &[Network]) -> bool {
    // A mapped address is dialled as the IPv4 one that it is.
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(address)) || is_public(address)
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = matches!(
        (a, b, c),
        (0 | 10 | 127, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 31, 196)
            | (192, 52, 193)
            | (192, 88, 99)
            | (192, 168, _)
            | (192, 175, 48)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            | (224..=255, _, _)
    );
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let words = address.segments();
    // Global unicast is 2000::/3; the rest is loopback, link-local, unique local, multicast, NAT64 or not assigned.
    let is_global = words[0] & 0xe000 == 0x2000;
    let is_special = match (words[0], words[1]) {
        // IETF protocols, Teredo and ORCHID (2001::/23), documentation, 6to4, 3fff::/20.
        (0x2001, second) => second < 0x200 || second == 0xdb8,
        (0x2002, _) => true,
        (0x3fff, second) => second < 0x1000,
        (0x2620, 0x4f) => true,
        _ => false,
    };
    is_global && !is_special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_dialled() {
        for (address, public) in [
            ("8.8.8.8", true),
            ("141.1.1.1", true),
            ("172.15.0.1", true),
            ("172.32.0.1", true),
            ("100.63.255.255", true),
            ("2a02:2e0:3fe::1", true),
            ("2001:200::1", true),
            ("2606:4700::1111", true),
            ("0.0.0.0", false),
            ("0.1.2.3", false),
            ("10.0.0.1", false),
            ("100.64.0.1", false),
            ("127.0.0.1", false),
            ("127.255.255.254", false),
            ("169.254.169.254", false),
            ("172.16.0.1", false),
            ("172.31.255.255", false),
            ("192.0.0.170", false),
            ("192.0.2.1", false),
            ("192.168.1.1", false),
            ("198.18.0.1", false),
            ("198.19.255.255", false),
            ("198.51.100.1", false),
            ("203.0.113.1", false),
            ("224.0.0.1", false),
            ("240.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:10.0.0.1", false),
            ("::ffff:8.8.8.8", true),
            ("::127.0.0.1", false),
            ("::8.8.8.8", false),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b:1::1", false),
            ("100::1", false),
            ("2001::1", false),
            ("2001:db8::1", false),
            ("2002:7f00:1::", false),
            ("3fff::1", false),
            ("fc00::1", false),
            ("fd00:ec2::254", false),
            ("fe80::1", false),
            ("fec0::1", false),
            ("ff02::1", false),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(may_dial(address, &[]), public, "{address}");
        }
    }

    #[test]
    fn what_the_operator_names_may_be_dialled() {
        let networks =
            ["10.1.0.0/16", "fd00:1::/32", "127.0.0.1"].map(|text| Network::parse(text).expect(text));
        for (address, may) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.2.0.0", false),
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("fd00:1::5", true),
            ("fd00:2::5", false),
            ("::1", false),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(may_dial(address, &networks), may, "{address}");
        }
        assert_eq!(networks[0].to_string(), "10.1.0.0/16");
        assert!(Network::parse("0.0.0.0/0").is_ok_and(|all| may_dial([127, 0, 0, 1].into(), &[all])));
        for wrong in ["10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/x", "localhost", "", "::/129", "fd00::1/8"] {
            assert!(Network::parse(wrong).is_err(), "{wrong}");
        }
    }
}
