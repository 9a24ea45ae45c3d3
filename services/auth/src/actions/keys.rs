//! The verification keys of this process. They are read from the public columns and read again when a token names a
//! key that is not known, at most once a second: other processes rotate keys, and strangers invent names.

use std::sync::{Arc, PoisonError, RwLock};

use jiff::{SignedDuration, Timestamp};
use nsl_core::clock::Clock;
use nsl_core::context::Base;
use nsl_core::db::{Db, DbError, Login};
use tokio::sync::Mutex;

use crate::domain::token::{Jwk, VerificationKey};
use crate::store::signing_keys as store;

const PAUSE: SignedDuration = SignedDuration::from_secs(1);

/// The keys, and where they come from.
pub(crate) struct VerificationKeys {
    db: Db,
    login: Login,
    clock: Clock,
    known: RwLock<Arc<Vec<VerificationKey>>>,
    source: Source,
}

enum Source {
    /// The one shared secret: there are no others.
    Shared,
    /// `auth.signing_keys`.
    Published {
        /// A retired key verifies so long: its last token has then expired.
        access: SignedDuration,
        read_at: Mutex<Timestamp>,
    },
}

impl VerificationKeys {
    pub(super) fn shared(base: &Base, login: Login, key: VerificationKey) -> Self {
        Self::new(base, login, vec![key], Source::Shared)
    }

    pub(super) async fn published(
        base: &Base,
        login: Login,
        access: SignedDuration,
    ) -> Result<Self, DbError> {
        let keys = Self::new(
            base,
            login,
            Vec::new(),
            Source::Published { access, read_at: Mutex::new(Timestamp::UNIX_EPOCH) },
        );
        keys.refresh().await?;
        Ok(keys)
    }

    fn new(base: &Base, login: Login, known: Vec<VerificationKey>, source: Source) -> Self {
        let (db, clock) = (base.db.clone(), base.clock.clone());
        Self { db, login, clock, known: RwLock::new(Arc::new(known)), source }
    }

    fn known(&self) -> Arc<Vec<VerificationKey>> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does something with the key of a name, if there is one.
    pub(super) async fn with<T>(
        &self,
        kid: &str,
        verify: impl Fn(&VerificationKey) -> T,
    ) -> Result<Option<T>, DbError> {
        let find = || self.known().iter().find(|key| key.kid == kid).map(&verify);
        if let Some(found) = find() {
            return Ok(Some(found));
        }
        self.refresh().await?;
        Ok(find())
    }

    /// Reads the keys again, unless that was done just now.
    pub(super) async fn refresh(&self) -> Result<(), DbError> {
        let Source::Published { access, read_at } = &self.source else { return Ok(()) };
        let mut read_at = read_at.lock().await;
        let now = self.clock.now();
        if now.duration_since(*read_at).abs() < PAUSE {
            return Ok(());
        }
        // Also when it fails: strangers must not make us ask a database that is in trouble.
        *read_at = now;
        let rows = store::published(&self.db.global(self.login), now - *access).await?;
        let mut keys = Vec::with_capacity(rows.len());
        for row in rows {
            match <[u8; 32]>::try_from(row.public_key.as_slice())
                .map(|bytes| VerificationKey::ed25519(&bytes))
            {
                Ok(key) if key.kid == row.kid => keys.push(key),
                // A row that someone changed verifies nothing.
                _ => tracing::error!(
                    kid = row.kid,
                    "auth.signing_keys holds a public key that is not of its kid"
                ),
            }
        }
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(())
    }

    /// The published form of every key.
    pub(super) fn jwks(&self) -> Vec<Jwk> {
        self.known().iter().filter_map(|key| key.jwk.clone()).collect()
    }

    pub(super) fn has(&self, kid: &str) -> bool {
        self.known().iter().any(|key| key.kid == kid)
    }
}
