//! Ids of message box requests (MsgBoxRequestID) that say by themselves what they stand for.
//!
//! A reader lists and fetches as often as he likes, and hardly ever continues. So the first answer stores nothing: its id
//! carries what a continuation needs, and only that continuation is kept by the store, under the same id. Such an id
//! gives no rights: whose mailboxes are read, and who may confirm, is asked of the relay each time.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::domain::account::AccountName;
use crate::domain::message_id::MessageId;
use crate::store::{Iterator, Selection};

const FETCH: &str = "urn:amtsbote:fetch:";
const LIST: &str = "urn:amtsbote:list:";
/// A list with so much to say is kept by the store from the beginning.
const STATE_BYTES_MAX: usize = 1024;

/// A list whose first page has been shown.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    /// Who began it; for others it is no list.
    account: AccountName,
    pub selection: Selection,
    pub position: u64,
    pub page_size: u32,
}

/// The id of a fetch that named one message.
pub(super) fn of_fetch(id: &MessageId) -> String {
    format!("{FETCH}{}", URL_SAFE_NO_PAD.encode(id.as_str()))
}

pub(super) fn fetched(request_id: &str) -> Option<MessageId> {
    let bytes = URL_SAFE_NO_PAD.decode(request_id.strip_prefix(FETCH)?).ok()?;
    MessageId::parse(std::str::from_utf8(&bytes).ok()?).ok()
}

/// The id of a list that stands at `iterator`, unless it would be too long.
pub(super) fn of_list(iterator: &Iterator) -> Option<String> {
    let begun = Begun {
        account: iterator.account.clone(),
        selection: Selection { mailboxes: Vec::new(), ..iterator.selection.clone() },
        position: iterator.position,
        page_size: iterator.page_size,
    };
    let state = serde_json::to_vec(&begun).ok().filter(|state| state.len() <= STATE_BYTES_MAX)?;
    // Two lists alike are still two, each with a place of its own.
    let own = uuid::Uuid::new_v4().simple();
    Some(format!("{LIST}{own}:{}", URL_SAFE_NO_PAD.encode(state)))
}

pub(super) fn begun_list(request_id: &str, account: &AccountName) -> Option<Begun> {
    if request_id.len() > 2 * STATE_BYTES_MAX {
        return None;
    }
    let (own, state) = request_id.strip_prefix(LIST)?.split_once(':')?;
    uuid::Uuid::try_parse(own).ok()?;
    let begun: Begun = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(state).ok()?).ok()?;
    (begun.account == *account).then_some(Begun { page_size: begun.page_size.max(1), ..begun })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::party::MailboxName;

    fn account(name: &str) -> AccountName {
        AccountName::parse(name).expect("a name")
    }

    fn iterator(ids: usize) -> Iterator {
        let id = |n| MessageId::parse(&format!("urn:de:xta:messageid:amt:{n}")).expect("an id");
        Iterator {
            id: String::new(),
            account: account("reader"),
            selection: Selection {
                mailboxes: vec![MailboxName::parse("ags:1").expect("a name")],
                ids: (0..ids).map(id).collect(),
                new_only: true,
                ..Selection::default()
            },
            position: 17,
            handed_out: Vec::new(),
            page_size: 5,
            expires_at: jiff::Timestamp::MAX,
        }
    }

    #[test]
    fn fetches_come_back_whatever_the_id_holds() {
        for text in ["urn:de:xta:messageid:amt:0-1", "opaque-id%41/?<&>", "%", "a"] {
            let id = MessageId::parse(text).expect("an id");
            assert_eq!(fetched(&of_fetch(&id)), Some(id), "{text}");
        }
        for foreign in ["1", "urn:uuid:1", FETCH, "urn:amtsbote:fetch:?", "urn:amtsbote:fetch:_w"] {
            assert_eq!(fetched(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn lists_come_back_without_anybodys_mailboxes() {
        let one = of_list(&iterator(2)).expect("it fits");
        let begun = begun_list(&one, &account("reader")).expect("it is one of ours");
        assert_eq!((begun.position, begun.page_size, begun.selection.ids.len()), (17, 5, 2));
        assert!(begun.selection.new_only && begun.selection.mailboxes.is_empty());
        assert_eq!(begun_list(&one, &account("other")), None);
        assert_ne!(of_list(&iterator(2)).expect("it fits"), one, "two lists are two");
        assert_eq!(of_list(&iterator(100)), None, "too long for an id");
        let no_state = format!("{LIST}{}:", uuid::Uuid::nil().simple());
        for foreign in ["1", LIST, "urn:amtsbote:list:x:e30", no_state.as_str()] {
            assert_eq!(begun_list(foreign, &account("reader")), None, "{foreign}");
        }
    }
}
