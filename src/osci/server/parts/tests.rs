//! What is kept of large messages, and what gives way.

use super::*;

fn begun() -> UploadBegun {
    let cut = Cut { kilobytes: 8, total: 2, message_kilobytes: None };
    UploadBegun { version: 1, at: "2026-11-23T10:00:00Z".parse().expect("an instant"), cut }
}

#[tokio::test]
async fn uploads_stand_where_their_files_say() {
    let folder = tempfile::tempdir().expect("a folder");
    let parts = Parts::new(folder.path(), 0);
    let account = AccountName::parse("author").expect("a name");
    let upload = parts.upload(&account, "../../id");
    assert_eq!(upload.standing().expect("read"), Standing::default());
    upload.begin(&begun()).expect("begun");
    upload.keep(2, &mut &b"two"[..]).expect("kept");
    // What a crash left.
    fs::write(upload.place().join("1.new"), b"on").expect("written");
    let standing = upload.standing().expect("read");
    assert_eq!((standing.is_whole(), standing.received), (false, [2].into()));
    upload.keep(1, &mut &b"one"[..]).expect("kept");
    let standing = parts.upload(&account, "../../id").standing().expect("read");
    assert!(standing.is_whole() && standing.accepted.is_none());
    let mut whole = Vec::new();
    upload.pour(2, &mut whole).expect("poured");
    assert_eq!(whole, b"onetwo");
    upload.accept(&Acceptance { version: 1, feedback: Vec::new(), last: None }).expect("noted");
    let standing = upload.standing().expect("read");
    assert!(standing.is_whole() && standing.accepted.is_some());
    assert!(!upload.place().join("1").exists(), "chunks are gone");

    let at = begun().at;
    assert_eq!(parts.sweep(at).await.expect("swept"), 0);
    assert_eq!(parts.sweep(at.checked_add(AGE_MAX).expect("later")).await.expect("swept"), 1);
    assert_eq!(upload.standing().expect("read"), Standing::default());
}

#[test]
fn an_account_has_only_so_many() {
    let folder = tempfile::tempdir().expect("a folder");
    let parts = Parts::new(folder.path(), 0);
    let account = |name| AccountName::parse(name).expect("a name");
    for at in 0..PER_ACCOUNT_MAX {
        let upload = parts.upload(&account("author"), &at.to_string());
        assert_eq!(parts.room(upload.place(), 1).expect("read"), Room::Enough);
        upload.begin(&begun()).expect("begun");
    }
    let room = |parts: &Parts, name, id| parts.room(parts.upload(&account(name), id).place(), 1);
    assert_eq!(room(&parts, "author", "another").expect("read"), Room::TooMany);
    assert_eq!(room(&parts, "author", "0").expect("read"), Room::Enough, "it has begun before");
    assert_eq!(room(&parts, "reader", "another").expect("read"), Room::Enough);
    let full = Parts::new(folder.path(), u64::MAX - 1);
    assert_eq!(room(&full, "reader", "another").expect("read"), Room::DiskFull);
}

#[test]
fn an_account_keeps_only_so_much() {
    let folder = tempfile::tempdir().expect("a folder");
    let parts = Parts::new(folder.path(), 0);
    let upload = |name, id| parts.upload(&AccountName::parse(name).expect("a name"), id);
    let max = 80 * KILOBYTE;
    // Chunks of 8 KB, each counted twice.
    let begin = |name, id, total| {
        let begun = UploadBegun { cut: Cut { total, ..begun().cut }, ..begun() };
        parts.begin(&upload(name, id), &begun, max).expect("read")
    };
    let too_much = |kilobytes| Room::TooMuch { bytes: kilobytes * KILOBYTE, max };
    for (name, id, total, expected) in [
        ("author", "large", 100, Room::Enough),
        ("author", "small", 1, too_much(1616)),
        ("author", "large", 100, Room::Enough),
        ("reader", "a", 2, Room::Enough),
        ("reader", "b", 3, Room::Enough),
        ("reader", "c", 1, too_much(96)),
    ] {
        assert_eq!(begin(name, id, total), expected, "{name} {id}");
    }
    upload("reader", "a")
        .accept(&Acceptance { version: 1, feedback: Vec::new(), last: None })
        .expect("noted");
    assert_eq!(begin("reader", "c", 1), Room::Enough, "what was accepted keeps nothing");
}

#[tokio::test]
async fn room_is_made_by_the_oldest_that_nobody_works_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let parts = Arc::new(Parts::new(folder.path(), 0));
    let account = AccountName::parse("reader").expect("a name");
    let dialog = ConversationId::parse("17").expect("an id");
    let max = AnswersMax { account: 1_000_000, all: 1_000_000 };
    let message = |at: usize| parts.fetches(&account, "ags:1", &at.to_string());
    let begin = |at: usize| {
        let fetch = message(at).begun_in(&dialog);
        fetch.keep(|file| file.write_all(b"answer")).expect("kept");
        let at = begun().at.checked_add(Duration::from_secs(at as u64)).expect("later");
        let mut begun =
            FetchBegun { version: 1, at, slices: Slices { bytes: 6, kilobytes: 8 }, dialogs: Vec::new() };
        begun.serve(&dialog, 1);
        fetch.note(&begun).expect("noted");
    };
    (0..PER_ACCOUNT_MAX).for_each(begin);
    let is_kept = |at: usize| message(at).editions().expect("read").iter().any(|edition| edition.is_kept);
    let busy = parts.hold(message(0).place()).await;
    let new = message(PER_ACCOUNT_MAX).begun_in(&dialog);
    parts.make_room(&new, 1, max).expect("made").expect("room");
    assert_eq!((is_kept(0), is_kept(1), is_kept(2)), (true, false, true));
    assert_eq!(parts.room(new.place(), 1).expect("read"), Room::Enough);
    assert_eq!(message(1).editions().expect("read").len(), 1, "it is remembered");
    drop(busy);
    parts.make_room(&new, 1, max).expect("made").expect("room");
    assert!(is_kept(0), "there is room already");
}

/// Answers that are kept, of these names and bytes, the oldest first.
fn answers(parts: &Arc<Parts>, kept: &[(&str, &str, u64)]) {
    for (age, (account, id, bytes)) in kept.iter().enumerate() {
        let fetch = fetch(parts, account, id);
        fetch.keep(|file| file.set_len(*bytes)).expect("kept");
        let at = begun().at.checked_add(Duration::from_secs(age as u64)).expect("later");
        let slices = Slices { bytes: *bytes, kilobytes: 8 };
        fetch.note(&FetchBegun { version: 1, at, slices, dialogs: Vec::new() }).expect("noted");
    }
}

fn fetch(parts: &Arc<Parts>, account: &str, id: &str) -> Fetch {
    let dialog = ConversationId::parse("17").expect("an id");
    parts.fetches(&AccountName::parse(account).expect("a name"), "ags:1", id).begun_in(&dialog)
}

/// What is still kept of these when so many bytes were wanted for a new answer of `reader`.
fn left(kept: &[(&str, &str, u64)], bytes: u64, busy: &[(&str, &str)]) -> (Option<Room>, Vec<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let parts = Arc::new(Parts::new(folder.path(), 0));
    answers(&parts, kept);
    let locks: Vec<_> = busy
        .iter()
        .map(|(account, id)| parts.lock(fetch(&parts, account, id).place()).try_lock_owned().expect("free"))
        .collect();
    let max = AnswersMax { account: 100, all: 250 };
    let made = parts.make_room(&fetch(&parts, "reader", "new"), bytes, max).expect("made");
    drop(locks);
    let is_kept = |account: &str, id: &str| fetch(&parts, account, id).place().join(ANSWER).exists();
    let left = kept.iter().filter(|(account, id, _)| is_kept(account, id));
    (made.err(), left.map(|(_, id, _)| (*id).to_owned()).collect())
}

#[test]
fn room_is_made_by_bytes() {
    let own = [("reader", "a", 40), ("reader", "b", 40), ("reader", "c", 10)];
    let all = [("x", "a", 95), ("y", "b", 30), ("y", "c", 60), ("z", "d", 5), ("reader", "e", 45)];
    let too_much = Some(Room::TooMuch { bytes: 101, max: 100 });
    let all_too_much = Some(Room::AllTooMuch { max: 250 });
    let busy = [("x", "a"), ("y", "b"), ("y", "c"), ("z", "d"), ("reader", "e")];
    for (kept, bytes, busy, expected, left_over) in [
        (&own[..], 10, &[][..], None, &["a", "b", "c"][..]),
        (&own, 11, &[], None, &["b", "c"]),
        (&own, 60, &[], None, &["c"]),
        (&own, 60, &[("reader", "a")], None, &["a"]),
        (&own, 61, &[("reader", "a")], too_much, &["a"]),
        // One alone is taken whatever it keeps.
        (&own, 1000, &[], None, &[]),
        (&all, 15, &[], None, &["a", "b", "c", "d", "e"]),
        // The oldest of who keeps most goes, and nobody who keeps little suffers.
        (&all, 16, &[], None, &["b", "c", "d", "e"]),
        (&all, 16, &busy[..1], None, &["a", "c", "d", "e"]),
        (&all, 16, &busy, all_too_much, &["a", "b", "c", "d", "e"]),
    ] {
        let (refused, kept_on) = left(kept, bytes, busy);
        assert_eq!(refused, expected, "{bytes} {busy:?}");
        assert_eq!(kept_on, left_over, "{bytes} {busy:?}");
    }
}

#[test]
fn what_is_being_written_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let parts = Arc::new(Parts::new(folder.path(), 0));
    let max = AnswersMax { account: 100, all: 100 };
    let first = fetch(&parts, "reader", "first");
    // It has a folder and no answer yet.
    fs::create_dir_all(first.place()).expect("made");
    let _busy = parts.lock(first.place()).try_lock_owned().expect("free");
    let writing = parts.make_room(&first, 80, max).expect("made").expect("room");
    let second = fetch(&parts, "reader", "second");
    let refused = parts.make_room(&second, 30, max).expect("made").err();
    assert_eq!(refused, Some(Room::TooMuch { bytes: 110, max: 100 }));
    let third = fetch(&parts, "other", "third");
    let refused = parts.make_room(&third, 30, max).expect("made").err();
    assert_eq!(refused, Some(Room::AllTooMuch { max: 100 }));
    drop(writing);
    assert!(parts.make_room(&second, 30, max).expect("made").is_ok(), "it was given up");
}

#[test]
fn files_of_version_1_are_read() {
    let begun: UploadBegun = serde_json::from_str(
        r#"{"version":1,"at":"2026-11-23T10:00:00Z","cut":{"kilobytes":8,"total":2,"message_kilobytes":null}}"#,
    )
    .expect("read");
    assert_eq!(begun.cut.total, 2);
    let fetch: FetchBegun = serde_json::from_str(
        r#"{"version":1,"at":"2026-11-23T10:00:00Z","slices":{"bytes":9,"kilobytes":8},"served":[1]}"#,
    )
    .expect("read");
    assert_eq!((fetch.slices.total(), fetch.dialogs.len()), (1, 0));
    let fetch: FetchBegun = serde_json::from_str(
        r#"{"version":1,"at":"2026-11-23T10:00:00Z","slices":{"bytes":9,"kilobytes":8},
            "dialogs":[{"conversation":"17","served":[1]}]}"#,
    )
    .expect("read");
    let dialog = ConversationId::parse("17").expect("an id");
    assert_eq!(fetch.served_in(&dialog), Some(&[1].into()));
    let accepted: Acceptance =
        serde_json::from_str(r#"{"version":1,"feedback":[["de",800,"gut"],[null,3707,""]]}"#).expect("read");
    assert_eq!((accepted.feedback.len(), accepted.last), (2, None));
}
