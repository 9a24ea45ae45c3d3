//! When guessing is stopped. Wrong passwords and codes are counted for an account and the block of addresses that they
//! come from, so that a stranger locks out themselves and not the owner. A second count, much higher, is of all blocks
//! from which nobody ever logged in: it stops whoever has many addresses, and never concerns the places of the owner.

use jiff::{SignedDuration, Timestamp};

/// The ways into an account whose guesses are counted apart: no number of wrong passwords keeps a wallet out, nor the
/// other way about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Door {
    #[default]
    Password,
    /// Behind a signature only codes are left to guess.
    Wallet,
}

impl Door {
    /// Under what the guesses from a block of addresses are counted.
    pub(crate) fn block(self, addresses: &str) -> String {
        match self {
            Self::Password => addresses.to_owned(),
            Self::Wallet => format!("wallet {addresses}"),
        }
    }

    /// The block of the second count.
    pub(crate) fn everywhere(self) -> &'static str {
        match self {
            Self::Password => "*",
            Self::Wallet => "wallet *",
        }
    }
}

/// Whether a block is one of the second count.
pub(crate) fn is_everywhere(block: &str) -> bool {
    block.ends_with('*')
}

/// How much higher the second count goes.
const EVERYWHERE_FACTOR: u32 = 20;
/// A count is forgotten when so long nobody failed.
pub(crate) const MEMORY: SignedDuration = SignedDuration::from_hours(24);
const LONGEST: SignedDuration = SignedDuration::from_hours(24);

/// The limits of one installation.
#[derive(Clone, Copy)]
pub(crate) struct Lockout {
    pub(crate) max_failures: u32,
    pub(crate) first: SignedDuration,
}

impl Lockout {
    /// How long a count that was just reached locks, if it does. It locks at each multiple of the limit, twice as long
    /// as the time before.
    pub(crate) fn after(self, block: &str, failures: i32) -> Option<SignedDuration> {
        let limit = if is_everywhere(block) {
            self.max_failures.saturating_mul(EVERYWHERE_FACTOR)
        } else {
            self.max_failures
        };
        let failures = u32::try_from(failures).ok()?;
        if failures == 0 || !failures.is_multiple_of(limit.max(1)) {
            return None;
        }
        let doublings = (failures / limit.max(1) - 1).min(16);
        Some(self.first.saturating_mul(1 << doublings).min(LONGEST))
    }
}

/// What is known of an account at a door and a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) door: Door,
    /// Whether someone logged in from there.
    pub(crate) is_known: bool,
    pub(crate) locked_until: Option<Timestamp>,
    pub(crate) everywhere_locked_until: Option<Timestamp>,
}

impl Standing {
    /// Whose lockouts concern a request from a block.
    pub(crate) fn blocks(self, block: &str) -> Vec<&str> {
        if self.is_known { vec![block] } else { vec![block, self.door.everywhere()] }
    }

    pub(crate) fn is_locked(self, now: Timestamp) -> bool {
        let is_on = |until: Option<Timestamp>| until.is_some_and(|until| now < until);
        is_on(self.locked_until) || (!self.is_known && is_on(self.everywhere_locked_until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn each_further_lockout_lasts_twice_as_long_up_to_a_day() {
        let lockout = Lockout { max_failures: 5, first: SignedDuration::from_mins(30) };
        for (failures, minutes) in [
            (1, None),
            (4, None),
            (5, Some(30)),
            (6, None),
            (10, Some(60)),
            (15, Some(120)),
            (30, Some(16 * 60)),
            (35, Some(24 * 60)),
            (500, Some(24 * 60)),
            (0, None),
            (-1, None),
        ] {
            let expected = minutes.map(SignedDuration::from_mins);
            assert_eq!(lockout.after("192.0.2.0/24", failures), expected, "{failures}");
        }
        assert_eq!(lockout.after(Door::Password.everywhere(), 5), None);
        assert_eq!(lockout.after(Door::Password.everywhere(), 100), Some(SignedDuration::from_mins(30)));
    }

    #[test]
    fn doors_are_counted_apart() {
        let (password, wallet) = (Door::Password, Door::Wallet);
        assert_ne!(password.block("192.0.2.0/24"), wallet.block("192.0.2.0/24"));
        assert_ne!(password.everywhere(), wallet.everywhere());
        for door in [password, wallet] {
            assert!(is_everywhere(door.everywhere()) && !is_everywhere(&door.block("192.0.2.0/24")));
        }
    }

    #[test]
    fn the_places_of_the_owner_are_locked_by_their_own_count_only() {
        let later = Some(NOW + SignedDuration::from_secs(1));
        let stranger = Standing { everywhere_locked_until: later, ..Standing::default() };
        assert!(stranger.is_locked(NOW));
        assert!(!Standing { is_known: true, ..stranger }.is_locked(NOW));
        assert!(Standing { is_known: true, locked_until: later, ..stranger }.is_locked(NOW));
        assert!(!Standing { locked_until: Some(NOW), ..Standing::default() }.is_locked(NOW));
        assert!(!Standing::default().is_locked(NOW));
    }
}
