//! Streams that are told badly: the copy ends as if they had been told well, and each fault is named.

use super::*;
use crate::register::answer::Answer;
use crate::register::synth::plan::{Fault as Wrong, Plan, Sent, Step};

const SEEDS: u64 = 4;

fn told(sent: &Sent) -> String {
    let text = message(Number::Changes, TOWN, 100 + u64::from(sent.message), |out| {
        let first = &sent.changes[0];
        let (generation, sequence, at) = (sent.generation, first.sequence, first.at);
        Stand { ags: sent.ags, generation, sequence, at, announced: None }.write(out);
        sent.changes.iter().for_each(|one| feed::write_case(out, one, &format!("V-{}", one.sequence)));
    });
    if sent.test { text.replacen(" produkt=", " test=\"ja\" produkt=", 1) } else { text }
}

#[test]
fn a_stream_that_is_told_badly_comes_out_right() {
    for seed in 0..SEEDS {
        let plan = Plan::new(seed, home(), 60, 150);
        let mut rig = rig();
        let load = message(Number::Load, TOWN, 1, |out| {
            let announced = Some(plan.records.len() as u64);
            Stand { ags: home(), generation: 1, sequence: 0, at: plan.at, announced }.write(out);
            plan.records.iter().for_each(|one| person::write(out, one));
        });
        assert_eq!(rig.deliver(TOWN, &load).outcome, "loaded");
        rig.one();
        for step in &plan.steps {
            let Step::Send(sent) = step else {
                rig.desk = open(rig.folder.path(), &rig.clock);
                continue;
            };
            let done = rig.deliver(TOWN, &told(sent));
            let texts = rig.texts();
            let why = format!("seed {seed}, message {}, {:?}: {done:?}", sent.message, sent.fault);
            let whole = sent.expected.rejected.into_iter();
            let codes: Vec<&str> = whole.chain(sent.expected.cases.iter().map(|(_, code)| *code)).collect();
            assert_eq!(done.codes, codes, "{why}");
            assert_eq!(done.outcome == "answered as before", sent.fault == Wrong::Repeated, "{why}");
            for (sequence, code) in &sent.expected.cases {
                let named = format!("<ereignis.zeichen>V-{sequence}</ereignis.zeichen>");
                assert!(texts.iter().any(|text| text.contains(&named) && text.contains(code)), "{why}");
            }
            // Not of a message that was broken off: it is receipted where it is whole.
            for receipt in texts.iter().filter(|text| text.contains("quittung.0020")) {
                let missing = sent.expected.missing;
                let asked = missing.is_none_or(|(first, last)| {
                    receipt.contains(&format!("<nachforderung><von>{first}</von><bis>{last}</bis>"))
                });
                assert!(asked && receipt.contains("nachforderung") == missing.is_some(), "{why}: {receipt}");
            }
        }
        let copies = &rig.desk.copies;
        let expected: BTreeMap<String, Hash> =
            plan.expected.iter().map(|(mark, one)| (mark.clone(), hash(&one.to_bytes()))).collect();
        assert_eq!(copies.entries(home()).expect("entries"), expected, "seed {seed}");
        let states = copies.states(rig.clock.now()).expect("states");
        assert_eq!((states[0].sequence, states[0].held), (plan.sequence, 0), "seed {seed}");
        locks_are_as_they_ended(copies, &plan);
    }
}

/// Whoever has a name of their own is found, unless a lock hides them: no lock is lost, and none is left behind.
fn locks_are_as_they_ended(copies: &Copies, plan: &Plan) {
    let last = plan.messages().filter_map(|sent| sent.changes.last()).map(|one| one.at).max();
    let family = |one: &Person| one.family_names[0].to_lowercase();
    for one in plan.expected.values() {
        let alike = plan.expected.values().filter(|other| family(other) == family(one)).count();
        if alike > 1 || one.given_names == ["+"] || one.birth_dates[0].to_string().starts_with("00") {
            continue;
        }
        let mut asked = asked(Profile::PersonSearch, &one.family_names[0]);
        asked.selection.given_names = one.given_names.first().cloned();
        asked.selection.birth_date = Some(one.birth_dates[0].to_string());
        asked.selection.sex = None;
        let answer = copies.ask(&asked, last.expect("changes")).expect("answered").answer;
        assert_eq!(answer == Answer::Neutral, one.is_hidden(), "{}", one.mark);
    }
}

/// Messages that wait are laid on the desk together: each is answered as it would have been alone, and the copy ends the same.
#[test]
fn messages_that_wait_together_are_answered_like_each_alone() {
    const TOGETHER: usize = 7;
    for seed in 0..SEEDS {
        let plan = Plan::new(seed, home(), 60, 150);
        let mut rig = rig();
        let load = message(Number::Load, TOWN, 1, |out| {
            let announced = Some(plan.records.len() as u64);
            Stand { ags: home(), generation: 1, sequence: 0, at: plan.at, announced }.write(out);
            plan.records.iter().for_each(|one| person::write(out, one));
        });
        assert_eq!(rig.deliver(TOWN, &load).outcome, "loaded");
        rig.one();
        for steps in plan.steps.chunk_by(|one, two| matches!((one, two), (Step::Send(_), Step::Send(_)))) {
            let sent: Vec<&Sent> = steps
                .iter()
                .filter_map(|step| match step {
                    Step::Send(sent) => Some(sent),
                    Step::Restart => None,
                })
                .collect();
            for sent in sent.chunks(TOGETHER) {
                let (mut texts, mut codes): (Vec<(&str, String)>, Vec<Vec<&str>>) = Default::default();
                for one in sent {
                    texts.push((TOWN, told(one)));
                    let whole = one.expected.rejected.into_iter();
                    codes.push(whole.chain(one.expected.cases.iter().map(|(_, code)| *code)).collect());
                    // A question among them has its turn between its neighbours.
                    if one.message % 5 == 0 {
                        let number = 90_000 + rig.deliveries.get() + texts.len() as u64;
                        texts.push((BODY, search(number, "Niemand")));
                        codes.push(Vec::new());
                    }
                }
                let done = rig.deliver_together(&texts);
                let told: Vec<Vec<&str>> = done.iter().map(|one| one.codes.clone()).collect();
                assert_eq!(told, codes, "seed {seed}: {done:?}");
                rig.texts();
            }
            if sent.is_empty() {
                rig.desk = open(rig.folder.path(), &rig.clock);
            }
        }
        let copies = &rig.desk.copies;
        let expected: BTreeMap<String, Hash> =
            plan.expected.iter().map(|(mark, one)| (mark.clone(), hash(&one.to_bytes()))).collect();
        assert_eq!(copies.entries(home()).expect("entries"), expected, "seed {seed}");
        let states = copies.states(rig.clock.now()).expect("states");
        assert_eq!((states[0].sequence, states[0].held), (plan.sequence, 0), "seed {seed}");
        locks_are_as_they_ended(copies, &plan);
        assert!(copies.groups() > 0);
    }
}

/// What waits in a message stays waiting, whatever others it lets go on.
#[test]
fn what_is_held_is_receipted_as_held() {
    let rig = Rig::filled(&[named("1", "Adler")]);
    let of = |sequence| change(sequence, named("1", &format!("Adler{sequence}")));
    rig.deliver(TOWN, &changes(2, &[of(2), of(3)]));
    assert!(rig.one().contains("<zurueckgestellt>2<"));
    rig.deliver(TOWN, &changes(3, &[of(5), of(1)]));
    let receipt = rig.one();
    for expected in ["<uebernommen>3<", "<zurueckgestellt>1<", "<von>4</von><bis>4</bis>"] {
        assert!(receipt.contains(expected), "{expected}: {receipt}");
    }
}
