//! Lists and answers that say what is revoked.

use super::*;

#[test]
fn revocation() {
    use UnknownRevocation::{Refuse, Warn};
    let ours = root("Ours");
    let issuing = ours.subordinate("Issuing", KeyChoice::P256, good()).expect("a CA");
    let namesake = root("Ours");
    let (direct, other) = (issue(&ours, Role::Participant), issue(&ours, Role::Participant));
    let below = issue(&issuing, Role::Participant);
    let list = |by: &Authority, validity: Validity, revoked: &[&Certificate]| {
        by.revocation_list(1, validity, revoked).expect("a list")
    };
    let named = [direct.certificate(), issuing.certificate()];
    let clear = list(&ours, good(), &[other.certificate()]);
    let naming = list(&ours, good(), &named);
    let clear_old = list(&ours, years(2020, 2021), &[]);
    let naming_old = list(&ours, years(2020, 2021), &named);
    let forged = list(&namesake, years(2021, 2120), &[]);
    let issuing_clear = list(&issuing, good(), &[]);
    let issuing_naming = list(&issuing, good(), &[below.certificate()]);

    let valid = (Verdict::Valid, None);
    let unknown = (Verdict::Indeterminate, Some(Reason::RevocationUnknown));
    let revoked = (Verdict::Invalid, Some(Reason::Revoked));
    let row = |what: &str, leaf: &Issued, lists: &[&str], expected: (Verdict, Option<Reason>)| {
        for policy in [Warn, Refuse] {
            let trust = trust(ours.certificate(), &[issuing.certificate()], lists, policy);
            let inspection = trust.inspect(TLS, leaf.certificate(), &[], at(NOW));
            let seen = (inspection.verdict, inspection.reasons.first().copied());
            assert_eq!(seen, expected, "{what}: {:?}", inspection.sentences);
            let acceptable = match expected.0 {
                Verdict::Valid => true,
                Verdict::Invalid => false,
                Verdict::Indeterminate => policy == Warn,
            };
            assert_eq!(inspection.is_acceptable(), acceptable, "{what}, {policy:?}");
            assert_eq!(inspection.outcome(CheckKind::Path), Some(&Outcome::Good), "{what}");
        }
    };
    row("no list", &direct, &[], unknown);
    row("a clear list", &direct, &[&clear], valid);
    row("a list that names it", &direct, &[&naming], revoked);
    row("a list that names another", &other, &[&clear], revoked);
    row("an old list", &direct, &[&clear_old], unknown);
    row("an old list that names it", &direct, &[&naming_old], revoked);
    row(
        "a clear list newer than one that names it",
        &direct,
        &[&naming_old, &list(&ours, years(2025, 2120), &[])],
        valid,
    );
    row("a list by another of its name", &direct, &[&forged], unknown);
    row("the same before one that names it", &direct, &[&forged, &naming_old], revoked);
    row("below, both lists clear", &below, &[&clear, &issuing_clear], valid);
    row("below, one list missing", &below, &[&clear], unknown);
    row("below, the other list missing", &below, &[&issuing_clear], unknown);
    row("below, named", &below, &[&clear, &issuing_naming], revoked);
    row("below, its issuer named", &below, &[&naming, &issuing_clear], revoked);
    row("below, its issuer named, own list missing", &below, &[&naming], revoked);

    let both = format!("{clear}{issuing_clear}");
    row("two lists in one file", &below, &[&both], valid);
    let expired = ours.issue(&leaf(Role::Participant, years(2020, 2021), KeyChoice::P256)).expect("a leaf");
    let gone = list(&ours, good(), &[expired.certificate()]);
    let check_expired = |list: &str, expected: &[Reason]| {
        let trust = trust(ours.certificate(), &[], &[list], Warn);
        assert_eq!(trust.inspect(TLS, expired.certificate(), &[], at(NOW)).reasons, expected);
    };
    check_expired(&clear, &[Reason::Expired]);
    check_expired(&clear_old, &[Reason::Expired]);
    check_expired(&gone, &[Reason::Revoked, Reason::Expired]);
}

/// Of two authorities, in either order, with either list the newer one.
fn each_way(
    anchors: &[&Authority],
    intermediates: &[&Certificate],
    by: [&Authority; 2],
    named: [&[&Certificate]; 2],
    look: impl Fn(&TrustAnchors, &str),
) {
    for (reversed, since) in
        [(false, [2021, 2022]), (false, [2022, 2021]), (true, [2021, 2022]), (true, [2022, 2021])]
    {
        let mut builder = TrustAnchors::builder().unknown_revocation(TLS, UnknownRevocation::Warn);
        let (mut anchors, mut intermediates) = (anchors.to_vec(), intermediates.to_vec());
        if reversed {
            anchors.reverse();
            intermediates.reverse();
        }
        for anchor in anchors {
            builder = builder.anchors(TLS, anchor.certificate().der()).expect("an anchor");
        }
        for intermediate in intermediates {
            builder = builder.intermediates(TLS, intermediate.der()).expect("a CA");
        }
        for ((authority, since), named) in by.iter().zip(since).zip(named) {
            let list = authority.revocation_list(1, years(since, 2120), named).expect("a list");
            builder = builder.revocation_lists(TLS, list.as_bytes()).expect("a list");
        }
        look(&builder.build(), &format!("reversed: {reversed}, lists of {since:?}"));
    }
}

#[track_caller]
fn judged(trust: &TrustAnchors, leaf: &Issued, expected: (Verdict, Option<Reason>), what: &str) {
    let inspection = trust.inspect(TLS, leaf.certificate(), &[], at(NOW));
    let seen = (inspection.verdict, inspection.reasons.first().copied());
    assert_eq!(seen, expected, "{what}: {:?}", inspection.sentences);
    assert_eq!(inspection.outcome(CheckKind::Path), Some(&Outcome::Good), "{what}");
}

const VALID: (Verdict, Option<Reason>) = (Verdict::Valid, None);
const UNKNOWN: (Verdict, Option<Reason>) = (Verdict::Indeterminate, Some(Reason::RevocationUnknown));
const REVOKED: (Verdict, Option<Reason>) = (Verdict::Invalid, Some(Reason::Revoked));

#[test]
fn authorities_of_one_name_do_not_hide_each_other() {
    for choice in [KeyChoice::P256, KeyChoice::Rsa3072] {
        let one = root("Ours");
        let other = Authority::root("Ours", choice, good()).expect("a root");
        let leaves = [issue(&one, Role::Participant), issue(&other, Role::Participant)];
        let [first, second] = leaves.each_ref().map(Issued::certificate);
        let rows: [(&str, [&[&Certificate]; 2], _); 4] = [
            ("none named", [&[], &[]], [VALID, VALID]),
            ("named by its own", [&[first], &[second]], [REVOKED, REVOKED]),
            ("its number named by the other", [&[second], &[first]], [VALID, VALID]),
            ("one named", [&[first], &[]], [REVOKED, VALID]),
        ];
        for (what, named, expected) in rows {
            each_way(&[&one, &other], &[], [&one, &other], named, |trust, way| {
                for (leaf, expected) in leaves.iter().zip(expected) {
                    judged(trust, leaf, expected, &format!("{choice:?}, {what}, {way}"));
                }
            });
        }
        // The other's list alone proves nothing of a certificate, and names none.
        each_way(&[&one, &other], &[], [&other, &other], [&[first], &[first]], |trust, way| {
            judged(trust, &leaves[0], UNKNOWN, way);
            judged(trust, &leaves[1], VALID, way);
        });
        let forged = issue(&root("Ours"), Role::Participant);
        each_way(&[&one, &other], &[], [&one, &other], [&[], &[]], |trust, way| {
            let inspection = trust.inspect(TLS, forged.certificate(), &[], at(NOW));
            assert_eq!(inspection.verdict, Verdict::Invalid, "{way}: {:?}", inspection.sentences);
        });
    }
}

#[test]
fn a_new_key_that_the_old_one_vouches_for() {
    let old = root("Ours");
    let params = authority_params("Ours", good(), BasicConstraints::Constrained(1));
    let new = old.subordinate_from(params, key()).expect("a link certificate");
    let below = issue(&new, Role::Participant);
    let (link, leaf) = (new.certificate(), below.certificate());
    let rows: [(&str, [&[&Certificate]; 2], _); 3] = [
        ("none named", [&[], &[]], VALID),
        ("named", [&[], &[leaf]], REVOKED),
        ("its issuer named", [&[link], &[]], REVOKED),
    ];
    for (what, named, expected) in rows {
        each_way(&[&old], &[link], [&old, &new], named, |trust, way| {
            judged(trust, &below, expected, &format!("{what}, {way}"));
        });
    }
}

#[test]
fn an_expired_certificate_of_an_issuer_does_not_hide_the_renewed_one() {
    let ours = root("Ours");
    let pair = key();
    let issuing = |validity| {
        let again = KeyPair::from_pem(&pair.serialize_pem()).expect("the same key");
        let params = authority_params("Issuing", validity, BasicConstraints::Constrained(0));
        ours.subordinate_from(params, again).expect("a CA")
    };
    let (expired, renewed) = (issuing(years(2020, 2021)), issuing(good()));
    let below = issue(&renewed, Role::Participant);
    let both = [expired.certificate(), renewed.certificate()];
    each_way(&[&ours], &both, [&ours, &ours], [&[], &[]], |trust, way| judged(trust, &below, UNKNOWN, way));
    each_way(&[&ours], &both, [&ours, &renewed], [&[], &[]], |trust, way| judged(trust, &below, VALID, way));
    each_way(&[&ours], &both, [&ours, &renewed], [&[], &[below.certificate()]], |trust, way| {
        judged(trust, &below, REVOKED, way);
    });
}

fn answer(status: Status) -> crate::pki::revocation::ocsp::Answer {
    let (this_update, until) = (at("2026-11-23T11:00:00Z"), at("2026-11-24T11:00:00Z"));
    crate::pki::revocation::ocsp::Answer { status, this_update, until }
}

#[test]
fn answers_and_delta_lists_take_part() {
    use crate::pki::revocation::answers::Question;
    let ours = Ca::new("Ours");
    let issuing = ours.authority.subordinate("Issuing", KeyChoice::P256, good()).expect("a CA");
    let below = issue(&issuing, Role::Participant);
    let (leaf, middle, top) = (below.certificate(), issuing.certificate(), ours.certificate());
    let revoked = Status::Revoked { at: at("2026-11-01T00:00:00Z") };
    let full = Draft::full(2).signed(&ours);
    let row = |what: &str, lists: &[&[u8]], said: &[(&Certificate, &Certificate, Status)], expected| {
        let mut builder = TrustAnchors::builder().anchors(TLS, top.der()).expect("an anchor");
        builder = builder.intermediates(TLS, middle.der()).expect("a CA");
        for list in lists {
            builder = builder.revocation_lists(TLS, list).expect("a list");
        }
        let answers = Arc::new(Answers::default());
        let trust = builder.build().with_answers(answers.clone());
        let before = trust.inspect(TLS, leaf, &[], at(NOW));
        for (certificate, issuer, status) in said {
            let question = Question { certificate: (*certificate).clone(), issuer: (*issuer).clone() };
            answers.keep(question, answer(*status), at(NOW));
        }
        let inspection = trust.inspect(TLS, leaf, &[], at(NOW));
        assert_eq!(inspection.verdict, expected, "{what}: {:?}", inspection.sentences);
        assert_eq!(inspection.outcome(CheckKind::Path), Some(&Outcome::Good), "{what}");
        if said.is_empty() {
            assert_eq!(inspection, before, "{what}");
        }
    };
    use {Status::Good, Status::Unknown, Verdict::Indeterminate, Verdict::Invalid, Verdict::Valid};
    row("nothing", &[], &[], Indeterminate);
    row("an answer for the leaf alone", &[], &[(leaf, middle, Good)], Indeterminate);
    row("answers for all", &[], &[(leaf, middle, Good), (middle, top, Good)], Valid);
    row("an answer and a list", &[&full], &[(leaf, middle, Good)], Valid);
    row("an answer about another issuer", &[&full], &[(leaf, top, Good)], Indeterminate);
    row("revoked by answer", &[&full], &[(leaf, middle, revoked)], Invalid);
    row("its issuer revoked by answer", &[], &[(leaf, middle, Good), (middle, top, revoked)], Invalid);
    row("not known to the responder", &[&full], &[(leaf, middle, Unknown)], Indeterminate);
    let named = Draft::delta(3, 2).naming(middle, vec![]).signed(&ours);
    row("its issuer on a delta list", &[&full, &named], &[(leaf, middle, Good)], Invalid);
    let newer = Draft::full(3).signed(&ours);
    row("a delta list that is overtaken", &[&newer, &named], &[(leaf, middle, Good)], Valid);
    let forged = Draft::delta(3, 2).naming(middle, vec![]).signed(&Ca::new("Ours"));
    row("a delta list by another", &[&full, &forged], &[(leaf, middle, Good)], Valid);
    let delta_alone = Draft::delta(3, 2).signed(&ours);
    row("a delta list clears nobody", &[&delta_alone], &[(leaf, middle, Good)], Indeterminate);
}

#[test]
fn a_clear_list_does_not_vouch_for_what_was_never_issued() {
    let ours = Ca::new("Ours");
    let leaf = ours.participant("office");
    let builder = TrustAnchors::builder().anchors(TLS, ours.certificate().der()).expect("an anchor");
    let builder = builder.revocation_lists(TLS, &Draft::full(1).signed(&ours)).expect("a list");
    let answers = Arc::new(Answers::default());
    let trust = builder.build().with_answers(answers.clone());
    assert_eq!(trust.inspect(TLS, &leaf, &[], at(NOW)).verdict, Verdict::Valid);
    let question = crate::pki::revocation::answers::Question {
        certificate: leaf.clone(),
        issuer: ours.certificate().clone(),
    };
    answers.keep(question, answer(Status::Unknown), at(NOW));
    let inspection = trust.inspect(TLS, &leaf, &[], at(NOW));
    assert_eq!(inspection.verdict, Verdict::Indeterminate, "{:?}", inspection.sentences);
}

#[test]
fn every_list_is_asked_within_its_scope() {
    use crate::pki::revocation::list::tests::{named_point, point};
    use Verdict::{Indeterminate, Invalid, Valid};
    let ours = Ca::new("Ours");
    let plain = ours.participant("office");
    let (url, elsewhere) = ("http://ca.example/1", "http://ca.example/2");
    let pointing = {
        let mut params = leaf_params(&leaf(Role::Participant, good(), KeyChoice::P256)).expect("parameters");
        params.crl_distribution_points = vec![rcgen::CrlDistributionPoint { uris: vec![url.to_owned()] }];
        ours.authority.issue_from(params, key()).expect("a leaf").certificate().clone()
    };
    assert_eq!(pointing.list_urls(), [url]);
    let part = |draft: Draft, url: &str| draft.with(point(&named_point(url)));
    let users = |draft: Draft| draft.with(point(&[named_point(url).as_slice(), &[0x81, 1, 0xff]].concat()));
    let at_day = |draft: Draft, this_update| Draft { this_update, ..draft };
    let (full, newer) = (Draft::full, |value| at_day(Draft::full(value), "20261102000000Z"));
    let row = |what: &str, leaf: &Certificate, lists: &[Draft], expected| {
        let mut builder = TrustAnchors::builder().anchors(TLS, ours.certificate().der()).expect("an anchor");
        for list in lists {
            builder = builder.revocation_lists(TLS, &list.signed(&ours)).expect("a list");
        }
        let inspection = builder.build().inspect(TLS, leaf, &[], at(NOW));
        assert_eq!(inspection.verdict, expected, "{what}: {:?}", inspection.sentences);
    };
    row("a part it does not name", &plain, &[part(full(1), url)], Indeterminate);
    row("the part that it names", &pointing, &[part(full(1), url)], Valid);
    row("another part", &pointing, &[part(full(1), elsewhere)], Indeterminate);
    row("named by a part", &plain, &[part(full(1).naming(&plain, vec![]), url)], Invalid);
    let naming = || full(1).naming(&plain, vec![]);
    row("a newer part hides nothing", &plain, &[naming(), part(newer(2), url)], Invalid);
    row("nor does a newer list of users", &plain, &[naming(), users(newer(2))], Invalid);
    row("a newer one of the same scope has it all", &plain, &[naming(), newer(2)], Valid);
    row("whose number must not go back", &plain, &[full(3).naming(&plain, vec![]), newer(2)], Invalid);
    let delta = || Draft::delta(3, 1).naming(&plain, vec![]);
    row("numbers of another scope", &plain, &[full(1), users(newer(9)), delta()], Invalid);
    row("numbers of its own", &plain, &[newer(9), delta()], Valid);
}
