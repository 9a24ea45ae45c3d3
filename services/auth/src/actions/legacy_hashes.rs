//! Which legacy forms of password hashes are still in the database: so much work each login does, whoever it is for.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use nsl_core::clock::Clock;
use nsl_core::context::Base;
use nsl_core::db::{Db, DbError, Login};

use crate::domain::legacy_hash::Work;
use crate::store::credentials;

/// An import tells nobody; until this has passed, its users take longer than others.
const FRESH: SignedDuration = SignedDuration::from_secs(60);

pub(super) struct LegacyHashes {
    db: Db,
    clock: Clock,
    seen: Mutex<Option<(Timestamp, Work)>>,
}

impl LegacyHashes {
    pub(super) fn new(base: &Base) -> Self {
        Self { db: base.db.clone(), clock: base.clock.clone(), seen: Mutex::new(None) }
    }

    /// The work that a login does beside Argon2id.
    pub(super) async fn work(&self) -> Result<Work, DbError> {
        let now = self.clock.now();
        let known = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, work)) = known
            && now.duration_since(at).abs() < FRESH
        {
            return Ok(work);
        }
        let forms = credentials::legacy_forms(&self.db.global(Login::Api)).await?;
        let bcrypt_cost = u32::try_from(forms.bcrypt_cost).unwrap_or_default();
        let work = Work { pbkdf2: forms.pbkdf2, bcrypt_cost };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, work));
        Ok(work)
    }
}
