//! What clients took here is told to the other nodes of the store, and what they took there is learnt.
//!
//! Once a second where there is anything to tell, in one round trip of a task of its own. Where the store does not answer,
//! each node goes on with what it knows.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::relay::Relay;
use crate::relay::rate::{News, Rate};
use crate::store::StoreError;

use super::stopped;

const EVERY: Duration = Duration::from_secs(1);

/// All rates of one relay.
#[derive(Debug, Default)]
pub(super) struct Rates {
    ahead: Arc<AtomicI64>,
    all: Mutex<Vec<Weak<Rate>>>,
}

pub(super) async fn run(relay: Arc<Relay>, mut stop: watch::Receiver<bool>) {
    if relay.store.rates().is_none() {
        return;
    }
    let mut clock = interval(EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stopped(&mut stop) => return,
            _ = clock.tick() => {}
        }
        if let Err(error) = relay.exchange_rates().await {
            tracing::debug!(%error, "what clients take is counted by this node alone");
        }
    }
}

impl Relay {
    /// A count that all nodes of the store share. `kind` names it among all others.
    pub fn rate(&self, kind: &'static str, window: Duration) -> Arc<Rate> {
        let rate = Arc::new(Rate::on_clock(kind, window, self.rates.ahead.clone()));
        let mut all = self.rates.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| known.strong_count() > 0);
        all.push(Arc::downgrade(&rate));
        rate
    }

    /// Tells and learns once; asks nothing where there is nothing to tell, or where the store has one node.
    pub async fn exchange_rates(&self) -> Result<(), StoreError> {
        let Some(store) = self.store.rates() else { return Ok(()) };
        self.rates.ahead.store(store.ahead().as_secs(), Ordering::Relaxed);
        let now = self.now();
        let all: Vec<Arc<Rate>> = {
            let all = self.rates.all.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().filter_map(Weak::upgrade).collect()
        };
        let news: Vec<(&Arc<Rate>, News)> =
            all.iter().flat_map(|rate| rate.news(now).into_iter().map(move |news| (rate, news))).collect();
        if news.is_empty() {
            return Ok(());
        }
        let taken: Vec<_> = news.iter().map(|(_, news)| news.taken.clone()).collect();
        let others = store.exchange(&taken).await?;
        for ((rate, news), others) in news.iter().zip(others) {
            rate.learn(news, others);
        }
        Ok(())
    }
}
