//! The log of looks: sealed, chained, reported, and held against its heads.

use super::*;

#[test]
fn every_look_is_kept_sealed_chained_and_shown_to_whom_it_concerns() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi"), named("2", "Bussard", "Willi")]);
    for (asker, profile, family) in [
        (Asker::PublicBody, Profile::PersonSearch, "Adler"),
        (Asker::Citizen, Profile::PrivateEnquiry, "Adler"),
        (Asker::Police, Profile::PersonSearch, "Adler"),
        (Asker::PublicBody, Profile::PersonSearch, "Niemand"),
        (Asker::PublicBody, Profile::FreeSearch, "Adl*"),
    ] {
        rig.copies.ask(&asked(asker, profile, family), at(1)).expect("answered");
    }
    let looks = rig.copies.looks_at(home(), "1", two(&rig, "1", at(2)), at(2)).expect("read");
    let seen: Vec<_> = looks.iter().map(|one| (one.number, one.look.asker.as_str())).collect();
    assert_eq!(
        seen,
        [(1, "public-body"), (2, "citizen"), (5, "public-body")],
        "not the police, not the miss"
    );
    assert_eq!((looks[0].look.file_number.as_str(), looks[0].look.selection.is_none()), ("1/26", true));
    assert!(looks[2].look.selection.is_some(), "a free search's selection is kept");
    let told = |place: usize| looks[place].look.data.join(" ");
    assert_eq!(told(1), "family-name given-names present-addresses", "what a citizen was told");
    assert!(
        told(0).contains("all-addresses") && told(2).contains("main-address"),
        "{} / {}",
        told(0),
        told(2)
    );
    assert!(rig.copies.looks_at(home(), "2", two(&rig, "2", at(2)), at(2)).expect("read").is_empty());
    // Nobody releases to themselves, or too late; a release is for one person's report, and for one reading.
    let wish = |now| rig.copies.wish(&Subject::Report { ags: home(), mark: "1" }, Operator(1), now);
    let wished = wish(at(2)).expect("a wish");
    assert_eq!(wish(at(2)).expect("a wish"), wished, "asking again changes nothing");
    for (by, now) in [(Operator(1), at(2)), (Operator(2), at(3))] {
        assert!(matches!(rig.copies.released(wished.clone(), by, now), Err(CopyError::Refused(_))));
    }
    let once = rig.copies.released(wished, Operator(2), at(2)).expect("released");
    let other = rig.copies.looks_at(home(), "2", once.clone(), at(2));
    assert!(matches!(other, Err(CopyError::Refused(_))), "of somebody else");
    let spent = two(&rig, "1", at(2));
    rig.copies.looks_at(home(), "1", once, at(2)).expect("read");
    assert!(matches!(rig.copies.looks_at(home(), "1", spent, at(2)), Err(CopyError::Refused(_))), "twice");
    assert_eq!(rig.copies.verify_looks().expect("whole"), 8, "readings are entries");
    let contents = "SELECT content FROM look";
    let contents = rig.copies.read(|work| work.all(contents, params![], |row| row.get::<Vec<u8>>(0)));
    let clear = |content: &Vec<u8>| content.windows(5).any(|window| window == b"Amt A");
    assert!(!contents.expect("contents").iter().any(clear), "sealed");
    // Whom an entry is about is part of it.
    rig.set("DELETE FROM look_person WHERE number = 1", params![]);
    assert!(matches!(rig.copies.verify_looks(), Err(CopyError::Log(1))));
    rig.set(
        "INSERT INTO look_person (tag, number) SELECT tag, 1 FROM look_person WHERE number = 2",
        params![],
    );
    assert_eq!(rig.copies.verify_looks().expect("whole again"), 8);
    // Somebody with the file, without the key.
    for tamper in [
        "UPDATE look SET content = content_hash WHERE number = 3",
        "UPDATE look SET at = at + 1 WHERE number = 3",
        "DELETE FROM look WHERE number = 3",
    ] {
        rig.set(tamper, params![]);
        match rig.copies.verify_looks() {
            Err(CopyError::Log(at)) => assert!((3..=4).contains(&at), "{tamper}: {at}"),
            other => panic!("{tamper}: {other:?}"),
        }
        if tamper.contains("at + 1") {
            rig.set("UPDATE look SET at = at - 1 WHERE number = 3", params![]);
        }
    }
}

/// Somebody with the database, and without the key: everything is computed anew as far as that is possible.
#[test]
fn a_head_that_was_not_written_to_its_end_hides_no_cut() {
    use std::io::Write;
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    let ask = |hours| {
        let question = asked(Asker::PublicBody, Profile::PersonSearch, "Adler");
        rig.copies.ask(&question, at(hours)).expect("answered");
    };
    rig.copies.note_head().expect("that there is nothing");
    (1..=3).for_each(ask);
    rig.copies.note_head().expect("noted");
    let file = rig.copies.heads_file();
    let append = |bytes: &[u8]| {
        let file = std::fs::OpenOptions::new().append(true).open(&file);
        file.expect("there").write_all(bytes).expect("written");
    };
    let numbers = || {
        let heads = rig.copies.read_heads(&file).expect("heads");
        heads.iter().map(|head| head.number).collect::<Vec<_>>()
    };
    append(b"amtsbote-register-log 4 0000\0\0\0");
    assert_eq!(numbers(), [0, 3]);
    rig.batch(
        "CREATE TABLE kept AS SELECT * FROM look; DELETE FROM look WHERE number > 2; \
         CREATE TABLE head AS SELECT * FROM look_head; DELETE FROM look_head",
    );
    assert!(matches!(rig.copies.note_head(), Err(CopyError::LogCut { ends: 0, known: 3 })));
    rig.batch(
        "INSERT INTO look SELECT * FROM kept WHERE number > 2; INSERT INTO look_head SELECT * FROM head",
    );
    ask(4);
    rig.copies.note_head().expect("noted");
    assert_eq!(numbers(), [0, 3, 4]);
    // What nobody has sealed says nothing about where the log ends.
    let line = std::fs::read_to_string(&file).expect("text").lines().last().expect("a line").to_owned();
    append(line.replacen(" 4 ", " 9 ", 1).as_bytes());
    append(b"\n");
    rig.copies.note_head().expect("nothing new");
    assert!(matches!(rig.copies.read_heads(&file), Err(CopyError::Head(4))));
}

#[test]
fn a_log_that_was_cut_rewritten_or_emptied_is_told() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    assert_eq!(rig.copies.log_head().expect("a look"), None);
    let ask = |hours| {
        let question = asked(Asker::PublicBody, Profile::PersonSearch, "Adler");
        rig.copies.ask(&question, at(hours)).expect("answered");
    };
    (1..=3).for_each(ask);
    rig.copies.note_head().expect("noted");
    let file = rig.copies.heads_file();
    let head = |work: &Work<'_>| {
        work.only("SELECT chain, seal FROM look_head", params![], |row| Ok((row.get(0)?, row.get(1)?)))
    };
    let (chain, seal): (Vec<u8>, Vec<u8>) = rig.copies.read(head).expect("a head");
    (4..=5).for_each(ask);
    rig.copies.note_head().expect("noted");
    rig.copies.note_head().expect("nothing new");
    let heads = rig.copies.read_heads(&file).expect("heads");
    assert_eq!(heads.iter().map(|head| head.number).collect::<Vec<_>>(), [3, 5]);
    let verify = |heads: &[LogHead], hours| rig.copies.verify_log(heads, at(hours));
    assert_eq!(verify(&heads, 6).expect("whole"), LogChecked { entries: 5, heads: 2 });

    let with = |change: &dyn Fn(), check: &dyn Fn()| {
        rig.batch("CREATE TABLE kept AS SELECT * FROM look; CREATE TABLE head AS SELECT * FROM look_head");
        change();
        check();
        rig.batch(
            "DELETE FROM look; INSERT INTO look SELECT * FROM kept; DELETE FROM look_head; \
             INSERT INTO look_head SELECT * FROM head; DROP TABLE kept; DROP TABLE head",
        );
    };
    let cut = || rig.set("DELETE FROM look WHERE number > 3", params![]);
    // The end is cut.
    with(&cut, &|| {
        assert!(matches!(verify(&[], 6), Err(CopyError::LogCut { ends: 3, known: 5 })));
    });
    // The same with its seal of that time, or with none: only what was kept elsewhere tells.
    let put_back = || {
        cut();
        rig.set("UPDATE look_head SET number = 3, chain = ?1, seal = ?2", params![chain, seal]);
    };
    with(&put_back, &|| {
        assert_eq!(verify(&[], 6).expect("as it was").entries, 3);
        assert!(matches!(verify(&heads, 6), Err(CopyError::LogCut { ends: 3, known: 5 })));
        assert!(matches!(rig.copies.note_head(), Err(CopyError::LogCut { ends: 3, known: 5 })));
    });
    with(&|| rig.batch("DELETE FROM look WHERE number > 3; DELETE FROM look_head"), &|| {
        assert!(matches!(verify(&[], 6), Err(CopyError::Log(3))));
    });
    // A seal that is made up.
    with(&|| rig.batch("DELETE FROM look WHERE number > 4; UPDATE look_head SET number = 4"), &|| {
        assert!(matches!(verify(&[], 6), Err(CopyError::Log(4))));
    });
    // Content that is emptied too early; when its time is over, it may.
    with(&|| rig.batch("UPDATE look SET content = NULL, expires_at = 0 WHERE number = 2"), &|| {
        assert!(matches!(verify(&heads, 6), Err(CopyError::LogEmptied(2))));
        assert!(verify(&heads, 366 * 24).is_ok());
    });
    // An entry that is written anew, with all that follows it: the chain fits, and neither seal nor content do.
    let rewrite = || {
        let rows = |work: &Work<'_>| {
            work.all("SELECT number, at, content_hash FROM look ORDER BY number", params![], |row| {
                Ok((row.get::<i64>(0)?, row.get::<i64>(1)?, row.get::<Vec<u8>>(2)?))
            })
        };
        let mut chain = [0; 32];
        for (number, at, content_hash) in rig.copies.read(rows).expect("rows") {
            chain = looks::link(&chain, number, at, &content_hash);
            rig.set("UPDATE look SET chain = ?2 WHERE number = ?1", params![number, chain]);
        }
    };
    let forged = || {
        let forge =
            "UPDATE look SET content = NULL, at = at - 31622400000000, content_hash = ?1 WHERE number = 2";
        rig.set(forge, params![[0_u8; 32]]);
        rewrite();
    };
    with(&forged, &|| {
        assert!(matches!(verify(&[], 6), Err(CopyError::Log(5))), "the seal at the end");
        assert!(matches!(verify(&heads, 6), Err(CopyError::Log(3))), "the first head behind it");
    });
    // The mark of an audit on what is gone, and on what no audit holds.
    let mark = "UPDATE look SET expires_at = 9223372036854775807";
    with(&|| rig.batch(&format!("{mark}, content = NULL WHERE number = 2")), &|| {
        assert!(matches!(verify(&heads, 366 * 24), Err(CopyError::LogEmptied(2))));
    });
    with(&|| rig.batch(&format!("{mark} WHERE number = 2")), &|| {
        assert!(matches!(verify(&heads, 6), Err(CopyError::Log(2))));
    });
    assert!(verify(&heads, 6).is_ok());
    // A file of heads that somebody else has written into.
    let mut text = std::fs::read_to_string(&file).expect("the file");
    text.push_str(&format!("amtsbote-register-log 9 {0} {0}\n", "0".repeat(64)));
    std::fs::write(&file, text).expect("written");
    assert!(matches!(rig.copies.read_heads(&file), Err(CopyError::Head(3))));
}

#[test]
fn the_log_forgets_in_time_and_still_proves_the_rest() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    let question = asked(Asker::PublicBody, Profile::PersonSearch, "Adler");
    rig.copies.ask(&question, at(1)).expect("answered");
    assert_eq!(rig.copies.erase_expired(at(364 * 24)).expect("erased"), 0, "twelve months at least");
    assert_eq!(rig.copies.erase_expired(at(366 * 24)).expect("erased"), 1);
    assert!(
        rig.copies
            .looks_at(home(), "1", two(&rig, "1", at(366 * 24)), at(366 * 24))
            .expect("read")
            .is_empty()
    );
    assert_eq!(rig.copies.verify_looks().expect("whole"), 2);
}

#[test]
fn an_audit_holds_pre_filled_forms_alone_until_it_is_over() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    let form = || {
        let mut form = asked(Asker::RegistrationOffice, Profile::PrefilledForm, "Adler");
        form.selection.sex = None;
        form
    };
    rig.copies.ask(&form(), at(1)).expect("answered");
    rig.copies.ask(&asked(Asker::PublicBody, Profile::PersonSearch, "Adler"), at(1)).expect("answered");
    rig.copies.hold_log(Operator(1), "audit 1/26", at(2)).expect("held");
    let held = rig.copies.log_hold().expect("a look").expect("a hold");
    assert_eq!((held.since, &held.by[..], &held.reason[..]), (at(2), "uid 1", "audit 1/26"));
    for reason in [" ", "audit 2/26"] {
        assert!(matches!(rig.copies.hold_log(Operator(1), reason, at(3)), Err(CopyError::Refused(_))));
    }
    let old = at(366 * 24);
    // One that cannot be opened can be audited by nobody.
    rig.copies.ask(&form(), at(3)).expect("answered");
    rig.set("UPDATE look SET content = ?1 WHERE number = 4", params![&b"?"[..]]);
    assert_eq!(
        rig.copies.erase_expired(old).expect("erased"),
        3,
        "the search, that it was held, the broken one"
    );
    rig.copies.verify_log(&[], old).expect("held, and whole");
    assert_eq!(rig.copies.erase_expired(at(800 * 24)).expect("erased"), 0);
    let told = |now| rig.copies.looks_at(home(), "1", two(&rig, "1", now), now).expect("read").len();
    assert_eq!(told(old), 1, "what is kept is told");
    // Another subject's release lifts nothing.
    assert!(rig.copies.lift_log_hold(two(&rig, "1", old), "over", old).is_err());
    let lift_since = |since, now| {
        let wish = rig.copies.wish(&Subject::LiftLogHold { since }, Operator(1), now).expect("a wish");
        let two = rig.copies.released(wish, Operator(2), now).expect("released");
        rig.copies.lift_log_hold(two, "audit 1/26 is over", now)
    };
    let lift = |now| lift_since(at(2), now);
    assert!(lift_since(at(1), old).is_err(), "another hold's release");
    // One that came meanwhile is as old as it is.
    rig.copies.still_current(home(), 1, 0, old).expect("current");
    rig.copies.ask(&form(), old).expect("answered");
    lift(old).expect("lifted");
    assert!(lift(old).is_err() && rig.copies.log_hold().expect("a look").is_none());
    let last = rig.copies.read(|work| {
        work.only("SELECT number, at, content FROM look ORDER BY number DESC LIMIT 1", params![], |row| {
            Ok((row.get::<i64>(0)?, row.get::<i64>(1)?, row.get::<Vec<u8>>(2)?))
        })
    });
    let last = last.expect("a look");
    let end = rig.copies.key.open(last.0, last.1, &last.2).expect("ours");
    let end: Look = serde_json::from_slice(&end).expect("a look");
    for expected in ["audit 1/26 is over", "held since", &at(2).to_string(), "uid 1", ": audit 1/26)"] {
        assert!(end.occasion.contains(expected), "{expected}: {}", end.occasion);
    }
    assert_eq!(rig.copies.erase_expired(old).expect("erased"), 1);
    assert_eq!(told(old), 1);
    assert_eq!(rig.copies.verify_looks().expect("whole"), 8, "two reports, the hold and its end among them");
}

/// Section 34(4) BMG: also where a clerk works on it.
#[test]
fn what_security_bodies_ask_is_in_nobodys_report() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    let marks = ["1".to_owned()];
    for (number, asker, told) in [(1, Asker::Police, 0), (2, Asker::PublicBody, 1)] {
        rig.copies.ask(&asked(asker, Profile::PersonSearch, "Niemand"), at(1)).expect("answered");
        let takes_two = rig.copies.answer_takes_two(number, &marks, Operator(1), "looked for", at(1));
        assert!(!takes_two.expect("a case"));
        let looks = rig.copies.looks_at(home(), "1", two(&rig, "1", at(2)), at(2)).expect("read");
        assert_eq!(looks.len(), told, "{looks:?}");
    }
    assert_eq!(rig.copies.verify_looks().expect("whole"), 6);
}

#[test]
fn a_question_that_was_too_broad_is_a_look() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings { records_max: 1, ..Settings::new(folder.path()) };
    let rig = Rig { copies: Copies::open(settings, LogKey::new(&[7; 32])).expect("copies"), folder };
    rig.load(home(), 1, &[named("1", "Adler", "Willi"), named("2", "Adler", "Willi")]);
    let question = asked(Asker::PublicBody, Profile::PersonSearch, "Adler");
    for _ in 0..2 {
        assert!(matches!(rig.copies.ask(&question, at(1)), Err(CopyError::Question(Reason::TooBroad))));
    }
    assert_eq!(rig.copies.verify_looks().expect("whole"), 2);
    let look = "SELECT number, at, content FROM look WHERE number = 2";
    let look = rig.copies.read(|work| {
        work.only(look, params![], |row| Ok((row.get::<i64>(0)?, row.get::<i64>(1)?, row.get::<Vec<u8>>(2)?)))
    });
    let look = look.expect("a look");
    let content = rig.copies.key.open(look.0, look.1, &look.2).expect("ours");
    let look: Look = serde_json::from_slice(&content).expect("a look");
    assert_eq!((look.kind.as_str(), look.hits), ("question-too-broad", 0));
    assert!(look.selection.is_some_and(|selection| selection.to_string().contains("Adler")));
}

#[test]
fn the_same_on_postgresql() {
    testing::on_postgres(testing::scenarios![
        every_look_is_kept_sealed_chained_and_shown_to_whom_it_concerns,
        a_head_that_was_not_written_to_its_end_hides_no_cut,
        a_log_that_was_cut_rewritten_or_emptied_is_told,
        the_log_forgets_in_time_and_still_proves_the_rest,
        an_audit_holds_pre_filled_forms_alone_until_it_is_over,
        a_question_that_was_too_broad_is_a_look,
    ]);
}
