//! Waiting for what another task or process does: a condition and a deadline, never a fixed pause.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

/// Looks again and again until the condition holds; panics, naming what was waited for, when it does not in time.
pub async fn eventually(within: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + within;
    let mut pause = interval(Duration::from_millis(5));
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pause.tick().await;
        if condition().await {
            return;
        }
        assert!(Instant::now() < deadline, "waited {within:?} in vain: {what}");
    }
}
