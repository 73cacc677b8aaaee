//! What a private enquiry costs, and who gets it: a tariff as data, and the split in whole cents. Pure.
//!
//! Between authorities nothing is charged (section 34(6) BMG). A neutral answer costs as much as a hit: else the bill
//! would tell them apart. Of each fee the operator gets a fifth, rounded down, and the municipality the rest, so that
//! nothing is lost and no municipality ever has less than four fifths.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::person::Ags;
use super::question::Profile;

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    Message,
    CommandLine,
    /// A page where people ask.
    Page,
}

impl Channel {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::CommandLine => "command-line",
            Self::Page => "page",
        }
    }
}

/// One line of the tariff. What is left out stands for all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    #[serde(default)]
    pub ags: Option<Ags>,
    #[serde(default)]
    pub channel: Option<Channel>,
    /// From this day on.
    pub from: Date,
    pub cents: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tariff(pub Vec<Rate>);

impl Tariff {
    /// The closest line counts: one for the municipality before one for all, one for the channel before one for all, and
    /// of these the latest that is in force.
    pub fn cents(&self, ags: Ags, profile: Profile, channel: Channel, day: Date) -> u32 {
        if profile != Profile::PrivateEnquiry {
            return 0;
        }
        let meant = self.0.iter().filter(|rate| {
            rate.ags.is_none_or(|one| one == ags)
                && rate.channel.is_none_or(|one| one == channel)
                && rate.from <= day
        });
        let closest = meant.max_by_key(|rate| (rate.ags.is_some(), rate.channel.is_some(), rate.from));
        closest.map_or(0, |rate| rate.cents)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    pub municipality: u32,
    pub operator: u32,
}

pub fn split(cents: u32) -> Split {
    let operator = cents / 5;
    Split { municipality: cents - operator, operator }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_closest_rate_in_force_counts() {
        let ags = |text: &str| Ags::parse(text).expect("a key");
        let day = |text: &str| -> Date { text.parse().expect("a day") };
        let rate =
            |ags: Option<Ags>, channel, from: &str, cents| Rate { ags, channel, from: day(from), cents };
        let (town, other) = (ags("10041100"), ags("10041511"));
        let tariff = Tariff(vec![
            rate(None, None, "2026-01-01", 1000),
            rate(None, None, "2027-01-01", 1100),
            rate(None, Some(Channel::Message), "2026-01-01", 800),
            rate(Some(town), None, "2026-07-01", 750),
        ]);
        let of = |ags, channel, at: &str| tariff.cents(ags, Profile::PrivateEnquiry, channel, day(at));
        assert_eq!(of(other, Channel::CommandLine, "2025-12-31"), 0);
        assert_eq!(of(other, Channel::CommandLine, "2026-12-31"), 1000);
        assert_eq!(of(other, Channel::CommandLine, "2027-01-01"), 1100);
        assert_eq!(of(other, Channel::Message, "2027-01-01"), 800);
        assert_eq!(of(town, Channel::Message, "2026-06-30"), 800);
        assert_eq!(of(town, Channel::Message, "2026-07-01"), 750);
        assert_eq!(tariff.cents(town, Profile::PersonSearch, Channel::Message, day("2027-01-01")), 0);
    }

    proptest! {
        #[test]
        fn a_fee_is_split_to_the_cent(cents in any::<u32>()) {
            let Split { municipality, operator } = split(cents);
            prop_assert_eq!(u64::from(municipality) + u64::from(operator), u64::from(cents));
            prop_assert!(u64::from(municipality) * 5 >= u64::from(cents) * 4);
            prop_assert!(u64::from(municipality) * 5 < u64::from(cents) * 4 + 5);
        }
    }
}
