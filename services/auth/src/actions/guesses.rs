//! Guessing: how many may try at once, what a failure counts for, and when it locks.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use nsl_core::Caller;
use nsl_core::db::{Audit, AuditResult, DbError, Login, UnitOfWork};
use nsl_core::ids::UserId;
use nsl_core::ports::{SecurityEvent, Severity};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{SERVICE, State};
use crate::config::AuthConfig;
use crate::domain::lockout::{Door, Lockout, MEMORY, Standing, is_everywhere};
use crate::error::Error;
use crate::events::credentials::LockedOut;
use crate::events::user_stream;
use crate::store::origins;

/// Tries of one name from one block at a time. A count is read before the password is compared and raised after it, so
/// as many tries as this can pass where fewer are left.
const AT_ONCE: usize = 4;
const WAITING: usize = 64;
/// Names and blocks that are being tried, some 200 bytes each.
const GATES: u64 = 10_000;
const IDLE: Duration = Duration::from_mins(1);
/// A block from which nobody logged in for so long is no place of the owner any more.
pub(super) const KNOWN: SignedDuration = SignedDuration::from_hours(90 * 24);

/// Who may try now.
pub(super) struct Guesses {
    gates: Cache<(String, String), Arc<Gate>>,
    lockout: Lockout,
}

struct Gate {
    line: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

/// A try under way; the next one waits until it is dropped.
pub(super) struct Turn {
    _place: OwnedSemaphorePermit,
    _turn: OwnedSemaphorePermit,
}

impl Guesses {
    pub(super) fn new(config: &AuthConfig) -> Self {
        Self {
            gates: Cache::builder()
                .max_capacity(GATES)
                .time_to_idle(IDLE)
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            lockout: Lockout { max_failures: config.max_failed_attempts, first: config.lockout() },
        }
    }

    /// Waits for a turn to try a name from a block.
    pub(super) async fn turn(&self, name: &str, block: &str) -> crate::Result<Turn> {
        let gate = self.gates.get_with((name.to_lowercase(), block.to_owned()), || {
            Arc::new(Gate {
                line: Arc::new(Semaphore::new(AT_ONCE + WAITING)),
                turns: Arc::new(Semaphore::new(AT_ONCE)),
            })
        });
        let place = Arc::clone(&gate.line).try_acquire_owned().map_err(|_| Error::Busy)?;
        let turn = Arc::clone(&gate.turns).acquire_owned().await.map_err(Error::internal)?;
        Ok(Turn { _place: place, _turn: turn })
    }
}

impl State {
    /// What is known of an account at a door, for requests from some addresses.
    pub(super) async fn standing(
        &self,
        user: UserId,
        door: Door,
        addresses: &str,
    ) -> Result<Standing, DbError> {
        let (since, block) = (self.base.clock.now() - KNOWN, door.block(addresses));
        let read = self.base.db.global(Login::Api);
        let row = origins::standing(&read, user, &block, door.everywhere(), since).await?;
        Ok(Standing {
            door,
            is_known: row.is_known,
            locked_until: row.locked_until,
            everywhere_locked_until: row.everywhere_locked_until,
        })
    }

    /// Counts a failure in the transaction that records it, and locks where it was one too many. The same statement for
    /// no account and for what was no guess.
    pub(super) async fn count_failure(
        &self,
        work: &mut UnitOfWork<'_>,
        caller: &Caller,
        user: Option<UserId>,
        is_guess: bool,
        standing: Standing,
    ) -> Result<(), DbError> {
        let now = self.base.clock.now();
        let block = standing.door.block(&caller.origin.address_block());
        let counted =
            origins::count(work, user, is_guess, &standing.blocks(&block), now, now - MEMORY).await?;
        let Some(user_id) = user else { return Ok(()) };
        for count in counted {
            let (block, failures) = (count.address_block, count.failures);
            let Some(lasts) = self.guesses.lockout.after(&block, failures) else { continue };
            let (until, everywhere) = (now + lasts, is_everywhere(&block));
            origins::lock(work, user_id, &block, until).await?;
            work.event(user_stream(user_id), &LockedOut { user_id, everywhere, until })?;
            work.audit(
                Audit::new(SERVICE, "LOCK_OUT", "user", user_id.to_string(), AuditResult::Denied)
                    .details(format!("{failures} failures from {block}")),
            );
            let event = SecurityEvent {
                kind: "auth.lockout",
                severity: Severity::High,
                description: format!("{failures} wrong passwords or codes for one account"),
                data: json!({"userId": user_id, "addressBlock": block, "failures": failures, "lockedUntil": until}),
            };
            self.security.record(work, caller, &event).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn few_try_at_once_and_a_long_line_is_refused() {
        let guesses = Guesses::new(&AuthConfig::default());
        let mut turns = Vec::new();
        for _ in 0..AT_ONCE {
            turns.push(guesses.turn("Ann", "192.0.2.0/24").await.unwrap());
        }
        // Another name and another block have lines of their own.
        guesses.turn("bob", "192.0.2.0/24").await.unwrap();
        guesses.turn("ann", "198.51.100.0/24").await.unwrap();
        let waiting: Vec<_> = (0..WAITING).map(|_| Box::pin(guesses.turn("ann", "192.0.2.0/24"))).collect();
        let mut waiting = futures::future::join_all(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        assert!(matches!(guesses.turn("ANN", "192.0.2.0/24").await, Err(Error::Busy)));
        turns.clear();
        drop(waiting);
        guesses.turn("ann", "192.0.2.0/24").await.unwrap();
    }
}
