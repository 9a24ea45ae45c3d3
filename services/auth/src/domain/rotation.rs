//! When the key that signs access tokens changes. A key is published before it signs, so that no verifier meets a
//! token of a key that it could not know, and verifies for a while after it was retired.

use jiff::{SignedDuration, Timestamp};

/// How long before its first use a key is published: more than any cache keeps the key set (`Cache-Control` says five
/// minutes), and enough for an operator to notice that it cannot be made.
const AHEAD: SignedDuration = SignedDuration::from_hours(1);
/// How long after its successor's first use a key is retired: by then every process has seen the successor.
const SETTLE: SignedDuration = SignedDuration::from_mins(10);

/// When the next key begins to sign, if it is time to make one. `begins` are the first uses of the keys that are not
/// retired, in order.
pub(crate) fn next(begins: &[Timestamp], every: SignedDuration, now: Timestamp) -> Option<Timestamp> {
    // The first key of all has no verifier to wait for.
    let Some(latest) = begins.last() else { return Some(now) };
    let due = *latest + every;
    (due <= now + AHEAD).then(|| due.max(now + AHEAD))
}

/// How many of them, from the oldest on, have had a successor for long enough.
pub(crate) fn superseded(begins: &[Timestamp], now: Timestamp) -> usize {
    begins.iter().skip(1).take_while(|successor| **successor + SETTLE <= now).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const EVERY: SignedDuration = SignedDuration::from_hours(24);

    fn at(minutes: i64) -> Timestamp {
        NOW + SignedDuration::from_mins(minutes)
    }

    #[test]
    fn a_key_is_made_an_hour_before_it_is_needed() {
        assert_eq!(next(&[], EVERY, NOW), Some(NOW));
        let day = 24 * 60;
        assert_eq!(next(&[at(60 - day + 1)], EVERY, NOW), None);
        assert_eq!(next(&[at(60 - day)], EVERY, NOW), Some(at(60)));
        // Nothing ran for a month: the next one still waits for the verifiers.
        assert_eq!(next(&[at(-30 * day)], EVERY, NOW), Some(at(60)));
        // It is made already.
        assert_eq!(next(&[at(60 - day), at(60)], EVERY, NOW), None);
    }

    #[test]
    fn a_key_is_retired_when_all_have_its_successor() {
        assert_eq!(superseded(&[], NOW), 0);
        assert_eq!(superseded(&[at(-1000)], NOW), 0);
        assert_eq!(superseded(&[at(-1000), at(-9)], NOW), 0);
        assert_eq!(superseded(&[at(-1000), at(-10)], NOW), 1);
        assert_eq!(superseded(&[at(-1000), at(-500), at(-10), at(50)], NOW), 2);
    }
}
