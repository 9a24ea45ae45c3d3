//! Waiting for a condition with a deadline: the only place of this crate that sleeps.

use std::time::{Duration, Instant};

/// How long between two looks: short against a start of the server (some 100 ms), cheap against a core.
const PAUSE: Duration = Duration::from_millis(15);

/// Looks until `condition` holds or `limit` is over; says whether it held.
#[expect(clippy::disallowed_methods, reason = "the pause between two looks at a condition with a deadline")]
pub(crate) fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}
