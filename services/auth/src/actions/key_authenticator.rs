//! API keys as bearer credentials. What a key allows is read from the database at most once a second, once for all
//! requests that wait for the answer: the key itself, its owner, and what the owner may do now.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use nsl_core::caller::{Permissions, Principal};
use nsl_core::clock::Clock;
use nsl_core::context::Base;
use nsl_core::db::{Db, DbError, Login};
use nsl_core::ids::TenantId;
use nsl_crypto::digest::{Sha256Digest, sha256};
use uuid::Uuid;

use super::second_factor::{MfaPolicy, reduced};
use crate::domain::api_key::Format;
use crate::store::api_keys::{self, Grants};

/// How long what is known of a key is good.
const FRESH: SignedDuration = SignedDuration::from_secs(1);
/// Keys remembered at once, those that are none too: less than 1 KiB each.
const KEYS: u64 = 20_000;
/// A key's last use is noted no more often.
const NOTED_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// API keys of this process.
pub(crate) struct KeyAuthenticator {
    db: Db,
    login: Login,
    clock: Clock,
    policy: MfaPolicy,
    known: Cache<Sha256Digest, Arc<Watch>>,
    /// Uses that are not in the database yet.
    used: Mutex<HashMap<(TenantId, Uuid), Timestamp>>,
}

/// What is known of a key.
#[derive(Default)]
struct Watch {
    seen: Mutex<Option<Seen>>,
    /// Held by the one who asks, with the time of the last question that had no answer.
    asking: tokio::sync::Mutex<Option<Timestamp>>,
}

#[derive(Clone)]
struct Seen {
    at: Timestamp,
    /// None where the key is good for nothing.
    key: Option<Arc<KnownKey>>,
}

/// A key that is good.
pub(super) struct KnownKey {
    pub(super) id: Uuid,
    pub(super) principal: Principal,
    format: String,
    expires_at: Option<Timestamp>,
    noted_at: Option<Timestamp>,
}

impl KeyAuthenticator {
    pub(super) fn new(base: &Base, login: Login, policy: MfaPolicy) -> Self {
        Self {
            db: base.db.clone(),
            login,
            clock: base.clock.clone(),
            policy,
            known: Cache::builder().max_capacity(KEYS).eviction_policy(EvictionPolicy::lru()).build(),
            used: Mutex::new(HashMap::new()),
        }
    }

    /// Whom a key stands for; None for one that is good for nothing.
    pub(super) async fn key(&self, bearer: &str, format: Format) -> Result<Option<Arc<KnownKey>>, DbError> {
        let digest = sha256(bearer.as_bytes());
        let watch = self.known.get_with(digest, Arc::default);
        let now = self.clock.now();
        let key = self.look(&watch, &digest, now).await?.filter(|key| {
            key.format == format.as_str() && key.expires_at.is_none_or(|expires| now < expires)
        });
        if let Some(key) = &key {
            self.note(key, now);
        }
        Ok(key)
    }

    /// Makes this process forget at once that a key was good.
    pub(super) fn forget(&self, hash: &[u8]) {
        if let Ok(digest) = Sha256Digest::try_from(hash) {
            self.known.invalidate(&digest);
        }
    }

    async fn look(
        &self,
        watch: &Watch,
        digest: &Sha256Digest,
        now: Timestamp,
    ) -> Result<Option<Arc<KnownKey>>, DbError> {
        if let Some(seen) = watch.known(now) {
            return Ok(seen.key);
        }
        let mut failed_at = watch.asking.lock().await;
        // While we waited, another request got the answer, or found that there is none to be had.
        if let Some(seen) = watch.known(now) {
            return Ok(seen.key);
        }
        if failed_at.is_some_and(|at| at >= now) {
            return Err(DbError::Unavailable("the API key could not be checked".to_owned()));
        }
        match api_keys::grants(&self.db.global(self.login), digest, now).await {
            Ok(grants) => {
                let key = grants.map(|grants| Arc::new(self.allowed(grants)));
                watch.set(Seen { at: now, key: key.clone() });
                Ok(key)
            }
            Err(error) => {
                *failed_at = Some(self.clock.now());
                Err(error)
            }
        }
    }

    /// A key has those of its permissions that its owner still has.
    fn allowed(&self, grants: Grants) -> KnownKey {
        let mut owned = grants.owner_permissions;
        if !grants.owner_has_totp && self.policy.concerns(&grants.owner_roles) {
            owned = reduced(&owned);
        }
        let owned = Permissions::from_iter(owned);
        KnownKey {
            id: grants.id,
            principal: Principal {
                tenant: grants.tenant_id,
                user: Some(grants.user_id),
                session: None,
                name: format!("{} (API key {})", grants.username, grants.name),
                permissions: grants.permissions.into_iter().filter(|name| owned.allows(name)).collect(),
                roles: grants.owner_roles,
            },
            format: grants.format,
            expires_at: grants.expires_at,
            noted_at: grants.last_used_at,
        }
    }

    /// Remembers a use until [`flush`](Self::flush), unless one was noted just before.
    fn note(&self, key: &KnownKey, now: Timestamp) {
        if key.noted_at.is_some_and(|at| now.duration_since(at) < NOTED_EVERY) {
            return;
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.entry((key.principal.tenant, key.id)).or_insert(now);
    }

    /// Writes the uses to the database: off the path of requests, and each key's at most once a minute.
    pub(crate) async fn flush(&self) -> Result<(), DbError> {
        let used = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        let mut tenants: HashMap<TenantId, (Vec<Uuid>, Vec<Timestamp>)> = HashMap::new();
        for ((tenant, id), at) in used {
            let (ids, times) = tenants.entry(tenant).or_default();
            ids.push(id);
            times.push(at);
        }
        for (tenant, (ids, times)) in tenants {
            api_keys::used(&self.db.write(self.login, tenant), tenant, &ids, &times).await?;
        }
        Ok(())
    }
}

impl Watch {
    fn set(&self, new: Seen) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(new);
    }

    /// What is known, if that is fresh. A clock that was set back far makes it stale too.
    fn known(&self, now: Timestamp) -> Option<Seen> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone().filter(|seen| now.duration_since(seen.at).abs() < FRESH)
    }
}
