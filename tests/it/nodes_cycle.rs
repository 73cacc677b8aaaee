//! Two relays over one database, as processes: whatever a client begins at one it goes on with at the other.

use std::time::{Duration, Instant};

use amtsbote::domain::content::PartRole;
use amtsbote::domain::envelope;
use amtsbote::domain::message_id::MessageId;
use amtsbote::domain::state::DeliveryState;
use amtsbote::xta::client::content::{MemorySink, Outgoing};
use amtsbote::xta::client::{Client, Error};
use amtsbote::xta::message::msg_box::MsgSelector;
use amtsbote::xta::message::transport_report::Status;
use jiff::Timestamp;
use rustix::process::Signal;

use crate::cli_fixture::Office;
use crate::nodes_office::{at_rest, in_turn, logs_are_sound, no_errors, open, open_with, port, stop};
use crate::postgres_cluster::{Cluster, programs};
use crate::serve_kill::{AUTHOR, People, READER};
use crate::xta_office::{self, party};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn content(text: &str) -> [Outgoing; 1] {
    [Outgoing::from_bytes(PartRole::Message, "text/xml", text.as_bytes().to_vec())]
}

/// From the registry office to the registration office.
fn notice(id: MessageId) -> envelope::Envelope {
    let mut message = xta_office::envelope(id, READER.1);
    message.author = party(AUTHOR.1);
    message
}

fn code(error: Error) -> String {
    match error {
        Error::Fault { code, .. } => code,
        other => panic!("no fault: {other}"),
    }
}

/// One client for each node.
struct Both {
    author: [Client; 2],
    reader: [Client; 2],
}

impl Both {
    fn of(nodes: &[Office]) -> Self {
        let people = People::of(nodes[0].folder.path(), 0);
        let (one, two) = (&nodes[0].xta, &nodes[1].xta);
        Self {
            author: [people.author(one), people.author(two)],
            reader: [people.reader(one), people.reader(two)],
        }
    }

    /// Ids are issued by one node and used up at the other.
    async fn send(&self, text: &str) -> MessageId {
        let id = self.author[0].create_message_id().await.expect("an id");
        self.author[1].send(&notice(id.clone()), &content(text)).await.expect("sent");
        id
    }
}

#[test]
fn what_begins_at_one_node_goes_on_at_the_other() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("cycle");
    let mut nodes = open(&connection, 2);
    let runtime = runtime();
    let ids = runtime.block_on(xta_cycle(&Both::of(&nodes)));
    for id in &ids {
        let card = |node: &Office| node.run(&["card", "show", id.as_str(), "--json"]).ends(0).json();
        assert_eq!(card(&nodes[0]), card(&nodes[1]), "one card, whoever is asked");
    }
    let osci = osci_cycle(&runtime, &mut nodes);
    stop(&mut nodes);
    no_errors(&nodes);
    logs_are_sound(&nodes);
    let states = runtime.block_on(at_rest(&connection, nodes.len()));
    assert_eq!(states.len(), ids.len() + 1);
    assert_eq!(states[&osci], DeliveryState::Received);
    assert!(ids.iter().all(|id| states[id.as_str()] == DeliveryState::Received), "{states:?}");
}

async fn xta_cycle(both: &Both) -> Vec<MessageId> {
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(both.send(&format!("<m>{number}</m>")).await);
    }
    // Again, at the other node: as before; with other bytes: refused.
    both.author[0].send(&notice(ids[0].clone()), &content("<m>0</m>")).await.expect("answered as before");
    let reused = both.author[0].send(&notice(ids[0].clone()), &content("<other/>")).await;
    assert_eq!(code(reused.expect_err("another message")), "9024");

    let mut seen = Vec::new();
    let mut page = both.reader[0].list(&MsgSelector::default(), Some(2)).await.expect("a page");
    for turn in 1.. {
        seen.extend(page.messages.iter().map(|shown| shown.envelope.id.clone()));
        if page.pending == 0 {
            break;
        }
        page = both.reader[turn % 2].next_list(&page.request_id).await.expect("a page");
    }
    assert_eq!(seen, ids);
    // Nobody else continues it, at whatever node.
    let strange = both.author[1].next_list(&page.request_id).await.expect_err("another's list");
    assert!(strange.to_string().contains("RequestIdInvalid"), "{strange}");

    let mut sink = MemorySink::default();
    let first = both.reader[1].fetch_first(&MsgSelector::default(), &mut sink).await.expect("answered");
    let mut fetched = first.expect("a message");
    let request = fetched.request_id.clone().expect("an id");
    let mut order = vec![fetched.message.envelope.id.clone()];
    for turn in 0..4 {
        assert_eq!(sink.parts[&0], format!("<m>{turn}</m>").into_bytes());
        sink = MemorySink::default();
        let confirmed = [fetched.message.envelope.id.clone()];
        let next = both.reader[turn % 2].fetch_next(&request, &confirmed, &mut sink).await.expect("answered");
        fetched = next.expect("a message");
        order.push(fetched.message.envelope.id.clone());
    }
    assert_eq!(order, ids);
    let report = both.author[0].transport_report(&ids[4]).await.expect("a report");
    assert_eq!(report.status, Status::Open, "handed out is not received");
    // The last one by the iterator alone, at the node that did not hand it out.
    both.reader[0].close(&request, &[]).await.expect("closed");
    for client in both.author.iter().chain(&both.reader) {
        let reports = client.transport_report(&ids[4]).await.expect("a report");
        assert_eq!(reports.status, Status::Green);
    }
    ids
}

/// Each node has logged its part of what happened; the proof has all of it, whichever node is asked.
#[test]
fn any_node_proves_what_all_of_them_did() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("proof");
    let mut nodes = open(&connection, 3);
    let both = Both::of(&nodes);
    let id = runtime().block_on(async {
        let id = both.send("<m/>").await;
        let mut sink = MemorySink::default();
        let first = both.reader[0].fetch_first(&MsgSelector::default(), &mut sink).await.expect("answered");
        let request = first.and_then(|fetched| fetched.request_id).expect("a message");
        both.reader[0].close(&request, &[]).await.expect("closed");
        id
    });
    // Accepted at the second node, handed out and received at the first; the third had no hand in it.
    let keys: Vec<String> =
        nodes.iter().map(|node| node.run(&["evidence", "key"]).ends(0).stdout.trim().to_owned()).collect();
    for (number, node) in nodes.iter().enumerate() {
        let file = format!("proof-{number}");
        node.run(&["evidence", "export", id.as_str(), "--output", &file]).ends(0);
        let trusted = ["evidence", "verify", &file, "--json", "--key", &keys[0], "--key", &keys[1]];
        let told = node.run(&trusted).ends(0).json();
        let mut logs: Vec<&str> = told["logs"]
            .as_array()
            .expect("logs")
            .iter()
            .map(|log| log["log"].as_str().expect("a key"))
            .collect();
        logs.sort_unstable();
        assert_eq!(logs, [&keys[0], &keys[1]], "{told}");
        assert_eq!((&told["records"], &told["card"]["state"]), (&3.into(), &"received".into()), "{told}");
        // Whoever believes one of the nodes only is told that there is another.
        let refused = node.run(&["evidence", "verify", &file, "--key", &keys[0]]).ends(4).stderr;
        assert!(refused.contains("the file names the key amtsbote/evidence/relay-2"), "{refused}");
        // Checkpoints that left the house are held against all logs.
        node.run(&["evidence", "verify", "--database", &file]).ends(0);
        node.run(&["evidence", "unpack", &file, "parts"]).ends(0);
        for part in ["log-1-checkpoint.txt", "log-2-key.der", "card.xml"] {
            assert!(node.path("parts").join(part).exists(), "{part}");
        }
        let traced = node.run(&["message", "trace", id.as_str()]).ends(0).stdout;
        let lines = traced.lines().filter(|line| line.contains("amtsbote-evidence/1"));
        assert_eq!(lines.count(), 3, "{traced}");
        // A log that is left out, or a byte that is another, is missed.
        let text = std::fs::read_to_string(node.path(&file)).expect("a proof");
        let (head, logs) = text.split_once("logs 2\n").expect("two logs");
        let second = logs[1..].find("\nlog ").expect("a second log") + 2;
        for alone in [&logs[..second], &logs[second..]] {
            std::fs::write(node.path("alone"), format!("{head}logs 1\n{alone}")).expect("written");
            let refused = node.run(&["evidence", "verify", "alone"]).ends(4).stderr;
            assert!(refused.contains("card: "), "{refused}");
        }
    }

    // A node that was killed has not signed what it logged last; nobody else signs for it.
    let late = runtime().block_on(both.send("<late/>"));
    nodes[1].signal(rustix::process::Signal::KILL);
    nodes[1].ended();
    let export = ["evidence", "export", late.as_str(), "--output", "late"];
    let refused = nodes[0].run(&export).ends(1).stderr;
    assert!(refused.contains("node relay-2 is not signed over record"), "{refused}");
    // It is closed, by whoever answers for it.
    nodes[0].run(&["evidence", "close", "relay-2", "--reason", "it is gone", "--yes"]).ends(0);
    nodes[0].run(&export).ends(0);
    nodes[0].run(&["evidence", "verify", "late", "--key", &keys[0]]).ends(0);
    nodes.remove(1);
    stop(&mut nodes);
}

/// As if a message had been accepted, or cancelled, whose author was told that nobody knows: it can be read, and the standby
/// lacks it.
#[test]
fn an_author_is_told_only_what_the_standby_has() {
    let Some(programs) = programs() else { return };
    let (primary, standby) = Cluster::pair(&programs);
    let connection = primary.database("report");
    let mut nodes = open_with(&connection, 2, |_, text| {
        let brief = text.replace("\npatience_seconds = 10\n", "\npatience_seconds = 3\n");
        assert_ne!(brief, text);
        brief
    });
    let both = Both::of(&nodes);
    let runtime = runtime();
    let id = runtime.block_on(both.send("<m/>"));
    let withdrawn = runtime.block_on(async {
        let mut later = notice(both.author[0].create_message_id().await.expect("an id"));
        let at = Timestamp::now() + Duration::from_secs(86_400);
        later.not_before = Some(envelope::Instant { at, text: at.to_string() });
        both.author[0].send(&later, &content("<m/>")).await.expect("sent");
        both.author[0].cancel(&later.id).await.expect("cancelled");
        later.id
    });
    standby.signal_receiver(Signal::STOP);
    primary.sql("report", "SET synchronous_commit = local; UPDATE amtsbote.message SET state = state");
    for author in &both.author {
        let told = runtime.block_on(author.transport_report(&id));
        assert!(told.is_err(), "{told:?}");
        let told = runtime.block_on(author.cancel(&withdrawn));
        assert!(told.is_err(), "{told:?}");
    }
    standby.signal_receiver(Signal::CONT);
    primary.wait_for_standby();
    for author in &both.author {
        let end = Instant::now() + Duration::from_secs(60);
        let report = loop {
            match runtime.block_on(author.transport_report(&id)) {
                Ok(report) => break report,
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        assert_eq!(report.status, Status::Open);
        runtime.block_on(author.cancel(&withdrawn)).expect("cancelled before");
    }
    primary.reconfigure(&["synchronous_standby_names = ''"]);
    stop(&mut nodes);
}

/// A balancer without memory leads every request of a dialog to another node than the one before.
fn osci_cycle(runtime: &tokio::runtime::Runtime, nodes: &mut [Office]) -> String {
    let ports = nodes.iter().map(|node| port(&node.osci)).collect();
    let own = nodes[0].osci.clone();
    nodes[0].osci = own.replace(&port(&own).to_string(), &runtime.block_on(in_turn(ports)).to_string());
    let office = &nodes[0];
    std::fs::write(office.path("notice.xml"), "<notice>Grüße</notice>").expect("writes");
    let reader = office.path("tls/meldebehoerde-cipher.crt").display().to_string();
    let sent = office.run_osci_as("standesamt", &["send", "notice.xml", "--to-cert", &reader, "--json"]);
    let id = sent.ends(0).json()["id"].as_str().expect("an id").to_owned();
    let fetch = |arguments: &[&str]| {
        office.run_osci_as("meldebehoerde", &[&["fetch", "--json"], arguments].concat()).ends(0).json()
    };
    let listed = fetch(&["--list"]);
    assert_eq!(
        (listed.as_array().map(Vec::len), listed[0]["id"].as_str()),
        (Some(1), Some(&*id)),
        "{listed}"
    );
    let kept = fetch(&["--keep", "--into", "kept"]);
    assert_eq!(kept[0]["confirmed"], false, "{kept}");
    let got = fetch(&["--into", "in"]);
    assert_eq!((got.as_array().map(Vec::len), &got[0]["confirmed"]), (Some(1), &true.into()), "{got}");
    let file = office.path(got[0]["files"][0].as_str().expect("a file"));
    assert_eq!(std::fs::read_to_string(file).expect("is there"), "<notice>Grüße</notice>");
    assert_eq!(fetch(&["--into", "again"]), serde_json::json!([]));
    let card = |name: &str| office.run_osci_as(name, &["card", "show", &id, "--json"]).ends(0).json();
    assert_eq!(card("standesamt"), card("meldebehoerde"), "both sides see one card");
    id
}

/// The author waits at one node, his reader lists and answers at the other.
#[test]
fn a_question_at_one_node_is_answered_at_the_other() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("question");
    let mut nodes = open(&connection, 2);
    let both = Both::of(&nodes);
    runtime().block_on(async {
        for (asked, answered) in [(0, 1), (1, 0)] {
            let question = notice(both.author[asked].create_message_id().await.expect("an id"));
            let mut sink = MemorySink::default();
            let text = content("<question/>");
            let asks = both.author[asked].send_sync(&question, &text, &mut sink);
            let answers = answer(&both.reader[answered]);
            let (fetched, ()) =
                tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(asks, answers) })
                    .await
                    .expect("they meet");
            let fetched = fetched.expect("an answer").message.envelope;
            assert_eq!(fetched.in_reply_to, [question.id]);
            assert_eq!(sink.parts[&0], b"<answer/>");
        }
    });
    stop(&mut nodes);
    no_errors(&nodes);
}

/// Answers the first question that comes, and closes it.
async fn answer(reader: &Client) {
    loop {
        let page = reader.list(&MsgSelector::default(), None).await.expect("a list");
        let Some(shown) = page.messages.first() else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let asked = shown.envelope.id.clone();
        let mut answer = xta_office::envelope(reader.create_message_id().await.expect("an id"), AUTHOR.1);
        answer.author = party(READER.1);
        answer.in_reply_to = vec![asked.clone()];
        reader.send(&answer, &content("<answer/>")).await.expect("answered");
        reader.close(&page.request_id, &[asked]).await.expect("closed");
        return;
    }
}
