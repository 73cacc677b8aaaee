//! What a reader may see, and what an author may: two views of one message.
//!
//! A reader sees what has entered one of his mailboxes. A message held until NotBefore has not, and does not exist
//! for him; neither does one that was withdrawn before it entered. An author sees what his account posted. Everything
//! else is [`Refusal::UnknownMessage`], whatever the true reason, so that ids cannot be probed.

use crate::domain::account::Account;
use crate::domain::card::ProcessCard;
use crate::domain::party::{MailboxName, PartyIdentifier};
use crate::domain::state::Event;

use super::refusal::Refusal;
use super::route;

/// Whether the message lies, or has lain, in one of `mailboxes`.
pub fn reader_sees(mailboxes: &[MailboxName], card: &ProcessCard) -> bool {
    card.delivered_at.is_some() && mailboxes.contains(&card.mailbox)
}

/// A reader fetches: only what is offered; what he confirmed is closed for him.
pub fn may_hand_out(mailboxes: &[MailboxName], card: &ProcessCard) -> Result<(), Refusal> {
    if reader_sees(mailboxes, card) && card.state.is_offered() {
        Ok(())
    } else {
        Err(Refusal::UnknownMessage)
    }
}

/// Author and reader may see the process card; a party named in the request narrows the view to that identifier.
pub fn may_see_card(
    who: &Account,
    as_party: Option<&PartyIdentifier>,
    card: &ProcessCard,
) -> Result<(), Refusal> {
    let mailboxes = route::mailboxes(who, as_party)?;
    let narrowed = as_party.filter(|party| !party.is_wildcard());
    let as_author = card.posted_by == who.name && narrowed.is_none_or(|party| party.matches(&card.author));
    if as_author || reader_sees(&mailboxes, card) { Ok(()) } else { Err(Refusal::UnknownMessage) }
}

/// What an event does to a message, for sentences such as "cannot be held".
pub fn participle(event: Event) -> &'static str {
    match event {
        Event::Accepted => "accepted",
        Event::Released => "released",
        Event::HandedOut => "handed out",
        Event::Received => "received",
        Event::CancelledByAuthor | Event::CancelledByOperator => "cancelled",
        Event::Declined => "declined",
        Event::HeldByOperator => "held",
        Event::Expired => "expired",
        Event::Reminded => "reminded of",
        Event::PushFailed => "pushed",
        Event::Undeliverable => "declared undeliverable",
        Event::Requeued => "put back into its mailbox",
        Event::PayloadPurged => "relieved of its payload",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::state::DeliveryState as S;
    use crate::relay::fixture::{account, at, card, identifier};

    fn boxes(names: &[&str]) -> Vec<MailboxName> {
        names.iter().map(|name| MailboxName::parse(name).expect("a well-formed name")).collect()
    }

    #[test]
    fn readers_fetch_what_is_offered_in_their_own_mailboxes() {
        for (mailboxes, delivered, state, expected) in [
            (&["ags:2"][..], true, S::Waiting, true),
            (&["ags:9", "ags:2"], true, S::HandedOut, true),
            (&["ags:9"], true, S::Waiting, false),
            (&[], true, S::Waiting, false),
            (&["ags:2"], false, S::Held, false),
            (&["ags:2"], true, S::Held, false),
            (&["ags:2"], true, S::Received, false),
            (&["ags:2"], true, S::Expired, false),
            (&["ags:2"], true, S::Cancelled, false),
            (&["ags:2"], true, S::Dead, false),
        ] {
            let mut card = card("author", state);
            card.delivered_at = delivered.then(|| at(1));
            let fetched = may_hand_out(&boxes(mailboxes), &card);
            assert_eq!(fetched.is_ok(), expected, "{mailboxes:?} {delivered} {state}");
        }
    }

    #[test]
    fn cards_are_for_author_and_reader_only() {
        let unknown = || Err(Refusal::UnknownMessage);
        let foreign = |claimed: &str| Err(Refusal::NotYourIdentifier { claimed: claimed.to_owned() });
        for (who, as_party, delivered, expected) in [
            ("author", None, false, Ok(())),
            ("author", Some("ags:1"), false, Ok(())),
            ("author", Some("*"), false, Ok(())),
            ("author", Some("ags:11"), false, unknown()),
            ("author", Some("ags:2"), false, foreign("ags:2")),
            ("reader", None, true, Ok(())),
            ("reader", Some("ags:2"), true, Ok(())),
            ("reader", None, false, unknown()),
            ("reader", Some("ags:22"), true, unknown()),
            ("stranger", None, true, unknown()),
            ("stranger", Some("ags:1"), true, foreign("ags:1")),
        ] {
            let who = match who {
                "author" => account("author", &["ags:1", "ags:11"]),
                "reader" => account("reader", &["ags:2", "ags:22"]),
                name => account(name, &["ags:3"]),
            };
            let mut card = card("author", if delivered { S::Waiting } else { S::Held });
            card.delivered_at = delivered.then(|| at(1));
            let party = as_party.map(identifier);
            assert_eq!(may_see_card(&who, party.as_ref(), &card), expected, "{} {as_party:?}", who.name);
        }
    }
}
