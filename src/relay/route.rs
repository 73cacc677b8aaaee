//! From identifiers to accounts and mailboxes (XTA 2 WS 2.1.1, party identifiers; section 8 of our notes).
//!
//! A mailbox bears the value of the identifier that owns it. A type separates only where both sides state one, and
//! `*` stands for all identifiers of the account that asks; it is nobody's address. What this room leaves out:
//! whether a certificate belongs to an account, which the door has judged before.

use crate::domain::account::{Account, Directory};
use crate::domain::party::{MailboxName, PartyIdentifier};

use super::refusal::Refusal;

/// The account and mailbox that take messages for `reader`.
pub fn destination<'a>(
    directory: &'a Directory,
    reader: &PartyIdentifier,
) -> Result<(&'a Account, MailboxName), Refusal> {
    let unknown = || Refusal::ReaderUnknown { reader: reader.value().to_owned() };
    if reader.is_wildcard() {
        return Err(unknown());
    }
    let account = directory.account_by_identifier(reader).ok_or_else(unknown)?;
    let mailbox = MailboxName::parse(reader.value()).map_err(|_| unknown())?;
    Ok((account, mailbox))
}

/// Refuses an identifier that is not the account's own.
pub fn own(who: &Account, claimed: &PartyIdentifier) -> Result<(), Refusal> {
    if !claimed.is_wildcard() && who.speaks_for(claimed) {
        Ok(())
    } else {
        Err(Refusal::NotYourIdentifier { claimed: claimed.value().to_owned() })
    }
}

/// The mailboxes that `who` may look into, narrowed to one identifier where it names one.
pub fn mailboxes(who: &Account, as_reader: Option<&PartyIdentifier>) -> Result<Vec<MailboxName>, Refusal> {
    match as_reader.filter(|reader| !reader.is_wildcard()) {
        None => Ok(who.mailboxes().into_iter().filter(|mailbox| mailbox.as_str() != "*").collect()),
        Some(reader) => {
            own(who, reader)?;
            MailboxName::parse(reader.value())
                .map(|mailbox| vec![mailbox])
                .map_err(|_| Refusal::NotYourIdentifier { claimed: reader.value().to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::fixture::{account, identifier};

    fn directory() -> Directory {
        let accounts = vec![account("bremen", &["ags:1|xoev", "dir:2"]), account("kiel", &["ags:3"])];
        Directory::new(1, accounts, Vec::new()).expect("the accounts do not collide")
    }

    #[track_caller]
    fn check(reader: &str, expected: Option<(&str, &str)>) {
        let directory = directory();
        let found = destination(&directory, &identifier(reader))
            .map(|(account, mailbox)| (account.name.to_string(), mailbox.to_string()));
        let found = found.as_ref().map(|(name, mailbox)| (name.as_str(), mailbox.as_str())).ok();
        assert_eq!(found, expected, "{reader}");
    }

    #[test]
    fn readers_are_found_by_value_and_by_type_where_both_state_one() {
        check("ags:1|xoev", Some(("bremen", "ags:1")));
        check("ags:1", Some(("bremen", "ags:1")));
        check("ags:1|XTA_ID", None);
        check("dir:2|anything", Some(("bremen", "dir:2")));
        check("ags:3", Some(("kiel", "ags:3")));
        check("AGS:3", None);
        check("ags:4", None);
        check("*", None);
    }

    #[test]
    fn a_reader_sees_only_mailboxes_of_his_own() {
        let who = account("bremen", &["ags:1|xoev", "dir:2"]);
        let names = |as_reader: Option<&str>| {
            let as_reader = as_reader.map(identifier);
            mailboxes(&who, as_reader.as_ref())
                .map(|names| names.iter().map(|name| name.as_str().to_owned()).collect::<Vec<_>>())
        };
        let refused =
            |claimed: &str| Err::<Vec<String>, _>(Refusal::NotYourIdentifier { claimed: claimed.to_owned() });
        assert_eq!(names(None), Ok(vec!["ags:1".to_owned(), "dir:2".to_owned()]));
        assert_eq!(names(Some("*")), names(None));
        assert_eq!(names(Some("dir:2")), Ok(vec!["dir:2".to_owned()]));
        assert_eq!(names(Some("ags:3")), refused("ags:3"));
        assert_eq!(names(Some("ags:1|XTA_ID")), refused("ags:1"));
    }

    #[test]
    fn the_wildcard_is_nobodys_address_even_where_an_account_lists_it() {
        let who = account("greedy", &["*"]);
        assert!(own(&who, &identifier("*")).is_err());
        assert_eq!(mailboxes(&who, None), Ok(Vec::new()));
    }
}
