//! The feed of revocations. What was ended must be refused by every process within a second, and asking the database
//! for each request would make it the price of each request. So each process reads the whole small set twice a second,
//! and a check costs two look-ups in memory.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nsl_core::clock::Clock;
use nsl_core::context::Base;
use nsl_core::db::{Db, DbError, Login, tenants};
use nsl_core::ids::TenantId;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::error::Error;
use crate::store::revocations as store;

/// How often the feed is read.
pub(crate) const EVERY: Duration = Duration::from_millis(500);
/// An older feed is not believed: rather ask, and answer 503 where there is no answer.
const FRESH: SignedDuration = SignedDuration::from_secs(5);

/// What this process knows of the feed.
pub(crate) struct Revocations {
    db: Db,
    login: Login,
    clock: Clock,
    feed: RwLock<Arc<Feed>>,
    /// Held by the one who reads, so that no older answer replaces a newer one; the time of the last read that failed.
    reading: Mutex<Option<Timestamp>>,
}

struct Feed {
    /// When the read began.
    at: Timestamp,
    ended: HashSet<Uuid>,
    suspended: HashSet<TenantId>,
}

impl Revocations {
    /// The feed, read once.
    pub(super) async fn start(base: &Base, login: Login) -> Result<Arc<Self>, DbError> {
        let nothing = Feed { at: Timestamp::UNIX_EPOCH, ended: HashSet::new(), suspended: HashSet::new() };
        let revocations = Arc::new(Self {
            db: base.db.clone(),
            login,
            clock: base.clock.clone(),
            feed: RwLock::new(Arc::new(nothing)),
            reading: Mutex::new(None),
        });
        revocations.read().await?;
        Ok(revocations)
    }

    /// Reads the feed. When this returns, whatever was committed before the call is known here.
    pub(crate) async fn read(&self) -> Result<(), DbError> {
        let mut failed_at = self.reading.lock().await;
        self.read_alone(&mut failed_at).await
    }

    /// The same, after a change of our own: at once in this process. A feed that cannot be read now is read later, and
    /// not believed for longer than it is fresh.
    pub(super) async fn changed(&self) {
        if let Err(error) = self.read().await {
            tracing::warn!(%error, "the feed of revocations was not read after a change; the next step reads it");
        }
    }

    async fn read_alone(&self, failed_at: &mut Option<Timestamp>) -> Result<(), DbError> {
        let at = self.clock.now();
        let global = self.db.global(self.login);
        match tokio::try_join!(store::living(&global, at), tenants::suspended(&global)) {
            Ok((ended, suspended)) => {
                let feed = Feed {
                    at,
                    ended: ended.into_iter().map(|row| row.subject_id).collect(),
                    suspended: suspended.into_iter().map(|row| row.id).collect(),
                };
                *self.feed.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(feed);
                Ok(())
            }
            Err(error) => {
                *failed_at = Some(self.clock.now());
                Err(error)
            }
        }
    }

    /// Refuses what was ended and who is of a suspended tenant.
    pub(super) async fn check(&self, tenant: TenantId, subject: Option<Uuid>) -> crate::Result<()> {
        let feed = self.fresh().await?;
        if feed.suspended.contains(&tenant) {
            return Err(Error::TenantSuspended);
        }
        if subject.is_some_and(|subject| feed.ended.contains(&subject)) {
            return Err(Error::SessionEnded);
        }
        Ok(())
    }

    fn known(&self) -> Arc<Feed> {
        Arc::clone(&self.feed.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The feed, if it is fresh; else the answer of the database, once for all requests that wait for it.
    async fn fresh(&self) -> Result<Arc<Feed>, DbError> {
        let asked = self.clock.now();
        // A clock that was set back far makes it stale too.
        let is_fresh = |feed: &Feed| asked.duration_since(feed.at).abs() < FRESH;
        let known = self.known();
        if is_fresh(&known) {
            return Ok(known);
        }
        let mut failed_at = self.reading.lock().await;
        // While we waited, another request got the answer, or found that there is none to be had: with the database
        // away, a queue of requests that each try again would be longer than anyone's patience.
        let known = self.known();
        if is_fresh(&known) || known.at >= asked {
            return Ok(known);
        }
        if failed_at.is_some_and(|at| at >= asked) {
            return Err(DbError::Unavailable("the revocations could not be read".to_owned()));
        }
        self.read_alone(&mut failed_at).await?;
        Ok(self.known())
    }
}
