//! What a client may take in a minute, it may take once, however many relays it asks.

use std::sync::Arc;
use std::time::Duration;

use amtsbote::clock::{Clock, HandClock, SystemClock};
use amtsbote::domain::account::AccountName;
use amtsbote::osci::server::unproven::{Limits, Unproven, Written};
use amtsbote::portal::client::{Client, Error, Settings as PortalSettings};
use amtsbote::relay::rate::Rate;
use amtsbote::relay::{Relay, Settings as RelaySettings};
use amtsbote::store::postgres::{PostgresStore, Settings};
use amtsbote::store::{Rates, Store};
use hyper::Method;

use crate::nodes_office::{no_errors, open_furnished, stop};
use crate::portal_folder::{self, PORTAL, TOWN};
use crate::portal_office::SECRET;
use crate::postgres_cluster::{Cluster, programs};
use crate::store_postgres_failover::SETTABLE_CLOCK;

const MINUTE: Duration = Duration::from_secs(60);
const MAX: u64 = 5;

struct Node {
    store: Arc<PostgresStore>,
    relay: Arc<Relay>,
    rate: Arc<Rate>,
    clock: HandClock,
}

impl Node {
    /// All in the same minute, which does not end by itself.
    async fn open(connection: &str, name: &str, clock: &HandClock) -> Self {
        let settings = Settings::new(connection, name);
        let store = Arc::new(PostgresStore::open(settings).await.expect("a store"));
        let settings = RelaySettings::new("post", "https://post.example/");
        let relay = Relay::new(store.clone(), Arc::new(clock.clone()), settings);
        let rate = relay.rate("test", MINUTE);
        Self { store, relay, rate, clock: clock.clone() }
    }

    fn takes(&self, client: &str) -> bool {
        self.rate.take(client, MAX, self.clock.now()).is_ok()
    }

    async fn exchange(&self) {
        self.relay.exchange_rates().await.expect("exchanged");
    }
}

fn rows(cluster: &Cluster, database: &str) -> String {
    cluster.sql(database, "SELECT count(*) || ' ' || coalesce(sum(taken), 0) FROM amtsbote.rate")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_used_up_his_rate_at_one_node_has_used_it_up_at_the_others() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("rates");
    let clock = HandClock::at(SystemClock.now());
    let (one, two) =
        (Node::open(&connection, "one", &clock).await, Node::open(&connection, "two", &clock).await);
    one.exchange().await;
    assert_eq!(rows(&cluster, "rates"), "0 0", "nothing is written where nothing was taken");
    for _ in 0..MAX {
        assert!(one.takes("client"));
    }
    assert!(!one.takes("client"));
    one.exchange().await;
    assert!(two.takes("client"), "nobody has told it yet");
    two.exchange().await;
    assert!(!two.takes("client"), "five were taken at the other");
    assert!(two.takes("another"));
    // Half at each: the other half is not left to either.
    for node in [&one, &two, &one] {
        assert!(node.takes("shared"));
        node.exchange().await;
    }
    assert!(two.takes("shared"));
    two.exchange().await;
    assert!(one.takes("shared"));
    one.exchange().await;
    assert!(two.takes("shared"), "it has not asked since");
    two.exchange().await;
    assert!(!two.takes("shared") && !one.takes("client"));
    // Told twice is told once.
    let before = rows(&cluster, "rates");
    one.exchange().await;
    two.exchange().await;
    assert_eq!(rows(&cluster, "rates"), before);

    // A process that comes back finds what it took before.
    one.store.close().await.expect("closed");
    let again = Node::open(&connection, "one", &clock).await;
    assert!(again.takes("client"));
    again.exchange().await;
    assert!(!again.takes("client"));
    // Whoever the database fails goes on alone.
    two.store.close().await.expect("closed");
    assert!(two.takes("client again"));
    assert!(two.relay.exchange_rates().await.is_err());
    for _ in 1..MAX {
        assert!(two.takes("client again"));
    }
    assert!(!two.takes("client again"));
    // The next minute.
    clock.advance(MINUTE);
    assert!(again.takes("client"));
    again.exchange().await;
    assert!(again.takes("client"));

    // What is over is let go of. Whose it was stands nowhere.
    let told =
        cluster.sql("rates", "SELECT count(*) FROM amtsbote.rate WHERE client = sha256('client'::bytea)");
    assert_eq!(told, "4");
    cluster.sql("rates", "UPDATE amtsbote.rate SET until = clock_timestamp() - interval '1 second'");
    again.store.close().await.expect("closed");
    let last = Node::open(&connection, "one", &clock).await;
    for _ in 0..1000 {
        if rows(&cluster, "rates") == "0 0" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(rows(&cluster, "rates"), "0 0");
    last.store.close().await.expect("closed");
}

/// Nodes whose clocks differ begin their windows together.
#[tokio::test(flavor = "multi_thread")]
async fn windows_begin_on_the_databases_clock() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("clock");
    cluster.sql("clock", SETTABLE_CLOCK);
    // By half a minute, so that minutes do not begin together by themselves.
    cluster.sql("clock", "UPDATE public.jump SET by = '30 seconds'");
    let clock = HandClock::at("2026-11-29T10:00:00Z".parse().expect("an instant"));
    let node = Node::open(&connection, "one", &clock).await;
    let ahead = node.store.ahead().as_secs();
    assert!((25..=35).contains(&ahead), "{ahead}");
    node.exchange().await;
    for _ in 0..MAX {
        assert!(node.takes("client"));
    }
    clock.advance(Duration::from_secs(20));
    assert!(!node.takes("client"));
    // Here it is 10:00:35, there a new minute.
    clock.advance(Duration::from_secs(15));
    assert!(node.takes("client"));
    node.exchange().await;
    let begins = cluster.sql("clock", "SELECT string_agg(to_timestamp(begins)::timestamptz(0) AT TIME ZONE 'UTC' || '', ' ') FROM amtsbote.rate");
    assert_eq!(begins, "2026-11-29 10:01:00");
    node.store.close().await.expect("closed");
}

/// What an unsigned OSCI request may have written in a participant's name.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_unproven_is_counted_over_all_relays() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("unproven");
    let clock = HandClock::at(SystemClock.now());
    let (one, two) =
        (Node::open(&connection, "one", &clock).await, Node::open(&connection, "two", &clock).await);
    let limits = Limits { ids_per_day: 2, dialogs_max: 1 };
    let idle = Duration::from_secs(1800);
    let [here, there] = [&one, &two].map(|node| Unproven::new(&node.relay, limits, idle));
    let account = AccountName::parse("town").expect("a name");
    assert_eq!(here.admit(&account, Written::Dialog, &one.relay), Ok(()));
    for _ in 0..2 {
        assert_eq!(here.admit(&account, Written::Id, &one.relay), Ok(()));
    }
    one.exchange().await;
    for (what, refusal) in
        [(Written::Id, (2, Duration::from_secs(86_400))), (Written::Dialog, (1, Duration::from_secs(1800)))]
    {
        assert_eq!(here.admit(&account, what, &one.relay), Err(refusal));
        assert_eq!(there.admit(&account, what, &two.relay), Ok(()));
        two.exchange().await;
        assert_eq!(there.admit(&account, what, &two.relay), Err(refusal));
    }
    for node in [one, two] {
        node.store.close().await.expect("closed");
    }
}

/// The doors count so: a participant asks until it is refused at one relay, then at the other, which refuses before it would by
/// itself. What is counted by address each relay counts for itself: behind a balancer it is everybody's.
#[test]
fn a_portals_requests_are_counted_over_all_relays() {
    const PER_MINUTE: u32 = 300;
    const GUESSES_MAX: u32 = 20;
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("doors");
    let furnish = |folder: &std::path::Path| portal_folder::furnish(folder, None);
    let mut nodes = open_furnished(&connection, 2, furnish, |_, text| {
        let (from, to) =
            ("requests_per_minute_max = 1000000", format!("requests_per_minute_max = {PER_MINUTE}"));
        assert!(text.contains(from), "{from}");
        text.replace(from, &to)
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let tls = portal_folder::tls(nodes[0].path(".").as_path());
    let status = |answer: Result<bytes::Bytes, Error>| match answer {
        Ok(_) => 200,
        Err(Error::Problem { status, .. }) => status.as_u16(),
        Err(other) => panic!("{other}"),
    };
    // Answered, how often, until it is too often; not faster than nodes tell each other. More often than in one minute
    // only where minutes end in between.
    let asks = async |client: &Client, path: &str, pause: Duration| {
        for count in 0..=10 * PER_MINUTE {
            match status(client.call(Method::GET, path, "", "").await) {
                403 | 404 => {}
                429 => return count,
                other => panic!("{other}"),
            }
            tokio::time::sleep(pause).await;
        }
        panic!("never refused");
    };
    let nobodys = "00000000-0000-4000-8000-000000000000";
    let (public, own) = (format!("/v2/destinations/{nobodys}"), format!("/v2/submissions/{nobodys}"));
    let shared = runtime.block_on(async {
        let client = |node: usize| {
            Client::new(PortalSettings::new(&nodes[node].portal, tls.clone())).expect("a client")
        };
        // A minute may end in between, and all is given back; not each time.
        for _ in 0..5 {
            let (mut portal, mut town) = ([client(0), client(1)], [client(0), client(1)]);
            for (clients, who) in [(&mut portal, PORTAL), (&mut town, TOWN)] {
                for client in clients {
                    // Until the minute in which somebody guessed is over.
                    for _ in 0..200 {
                        if client.log_in(who, SECRET).await.is_ok() {
                            break;
                        }
                        tokio::time::sleep(Duration::from_millis(500)).await;
                    }
                }
            }
            let mut stranger = client(0);
            asks(&stranger, &public, Duration::ZERO).await;
            for _ in 0..GUESSES_MAX {
                let _wrong = stranger.log_in(PORTAL, "wrong").await.expect_err("refused");
            }
            let first = asks(&town[0], &own, Duration::ZERO).await;
            let second = asks(&portal[0], &own, Duration::ZERO).await;
            // By then the first has told of all; by the end the other would have heard of what it has itself.
            let told = asks(&portal[1], &own, Duration::from_millis(20)).await;
            let _known = status(portal[1].call(Method::GET, &public, "", "").await);
            let _wrong = portal[1].log_in(PORTAL, "wrong").await.expect_err("refused");
            let heard = asks(&town[1], &own, Duration::from_millis(20)).await;
            let is_shut = stranger.log_in(PORTAL, SECRET).await.is_err();
            if first == PER_MINUTE && second == PER_MINUTE && told.max(heard) < PER_MINUTE && is_shut {
                let answered = status(portal[1].call(Method::GET, &public, "", "").await);
                assert_eq!(answered, 404, "asked too often at the other");
                portal[1].log_in(PORTAL, SECRET).await.expect("nobody has guessed here");
                return true;
            }
            println!("{first} and {second} at one relay, {told} and {heard} at the other, shut: {is_shut}");
        }
        false
    });
    assert!(shared, "each relay counts for itself");
    stop(&mut nodes);
    no_errors(&nodes);
}
