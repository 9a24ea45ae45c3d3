//! API keys: made, seen, rotated, revoked.

use axum::http::StatusCode;
use jiff::Timestamp;
use nsl_core::Caller;
use nsl_core::db::{Audit, AuditResult, Login};
use nsl_core::http::{Answer, Limit, Once};
use nsl_core::ids::UserId;
use uuid::Uuid;

use super::mfa::own_session;
use super::{SERVICE, State};
use crate::domain::api_key::{ApiKey, check, check_name};
use crate::domain::user::Violation;
use crate::error::{CredentialError, Error};
use crate::events::credentials::{ApiKeyCreated, ApiKeyRevoked, ApiKeyRotated};
use crate::events::user_stream;
use crate::store::api_keys as store;

/// What one needs to see and revoke the keys of others.
pub(crate) const OTHERS: &str = "auth:users";

/// A key to be made.
pub(crate) struct NewApiKey<'a> {
    pub(crate) name: &'a str,
    pub(crate) permissions: &'a [String],
    pub(crate) expires_at: Option<Timestamp>,
}

/// A key with its text, which is shown once.
pub(crate) struct MadeKey {
    pub(crate) key: ApiKey,
    pub(crate) row: store::ApiKey,
}

impl State {
    /// Makes a key of the caller's. It has at most what the caller has.
    pub(crate) async fn create_api_key(
        &self,
        caller: &Caller,
        new: &NewApiKey<'_>,
        once: &Once,
    ) -> crate::Result<Answer<MadeKey>> {
        let (user, _) = own_session(caller)?;
        let now = self.base.clock.now();
        check(new.name, new.permissions).map_err(Error::Invalid)?;
        if new.expires_at.is_some_and(|expires| expires <= now) {
            return Err(Error::Invalid(vec![Violation::new("/expiresAt", "it lies in the past")]));
        }
        if let Some(excess) = new.permissions.iter().find(|name| !caller.principal.permissions.allows(name)) {
            return Err(CredentialError::ApiKeyExceedsCaller(excess.clone()).into());
        }
        let mut permissions = new.permissions.to_vec();
        permissions.sort();
        permissions.dedup();
        let (key, id, tenant) = (ApiKey::generate(), Uuid::now_v7(), caller.tenant());
        let mut work = self.base.db.begin(Login::Api, caller).await?;
        if let Some(before) = once.replay(&work, caller).await.map_err(Error::Idempotency)? {
            work.rollback().await?;
            return Ok(Answer::Replayed(before));
        }
        let (hash, expires) = (key.hash(), new.expires_at);
        let row =
            store::add(&work, tenant, id, user, new.name, key.shown(), &hash, &permissions, now, expires)
                .await?;
        let event = ApiKeyCreated { key_id: id, user_id: user, permissions: &permissions };
        work.event(user_stream(user), &event)?;
        work.audit(Audit::new(SERVICE, "CREATE_API_KEY", "api_key", id.to_string(), AuditResult::Success));
        once.keep_secret(&work, caller, StatusCode::CREATED, &id.to_string()).await?;
        work.commit().await?;
        Ok(Answer::Made(MadeKey { key, row }))
    }

    /// The caller's keys, or with the permission those of the whole tenant, after one; one more than the limit where
    /// there are more.
    pub(crate) async fn api_keys(
        &self,
        caller: &Caller,
        of_all: bool,
        after: Option<Uuid>,
        limit: Limit,
    ) -> crate::Result<Vec<store::ApiKey>> {
        let whose = if of_all {
            caller.authorize(OTHERS).map_err(Error::Forbidden)?;
            None
        } else {
            Some(caller.principal.user.ok_or(Error::UserNotFound)?)
        };
        let (tenant, most) = (caller.tenant(), i64::from(limit.0) + 1);
        Ok(store::list(&self.base.db.read(Login::Api, tenant), tenant, whose, after, most).await?)
    }

    /// One key: of the caller, or with the permission of the tenant.
    pub(crate) async fn api_key(&self, caller: &Caller, id: Uuid) -> crate::Result<store::ApiKey> {
        let tenant = caller.tenant();
        let found = store::one(&self.base.db.read(Login::Api, tenant), tenant, id, whose(caller)?).await?;
        found.ok_or_else(|| CredentialError::ApiKeyNotFound.into())
    }

    /// Gives one of the caller's keys another name.
    pub(crate) async fn rename_api_key(
        &self,
        caller: &Caller,
        id: Uuid,
        name: &str,
    ) -> crate::Result<store::ApiKey> {
        let (user, _) = own_session(caller)?;
        check_name(name).map_err(|found| Error::Invalid(vec![found]))?;
        let mut work = self.base.db.begin(Login::Api, caller).await?;
        let Some(row) = store::rename(&work, caller.tenant(), id, user, name).await? else {
            work.rollback().await?;
            return Err(CredentialError::ApiKeyNotFound.into());
        };
        work.audit(Audit::new(SERVICE, "RENAME_API_KEY", "api_key", id.to_string(), AuditResult::Success));
        work.commit().await?;
        Ok(row)
    }

    /// Gives one of the caller's keys another text, in the form of today. The old one ends with it.
    pub(crate) async fn rotate_api_key(
        &self,
        caller: &Caller,
        id: Uuid,
        once: &Once,
    ) -> crate::Result<Answer<MadeKey>> {
        let (user, _) = own_session(caller)?;
        let (key, tenant) = (ApiKey::generate(), caller.tenant());
        let mut work = self.base.db.begin(Login::Api, caller).await?;
        if let Some(before) = once.replay(&work, caller).await.map_err(Error::Idempotency)? {
            work.rollback().await?;
            return Ok(Answer::Replayed(before));
        }
        let Some(ended) = store::hash(&work, tenant, id, Some(user)).await? else {
            work.rollback().await?;
            return Err(CredentialError::ApiKeyNotFound.into());
        };
        let row = store::rotate(&work, tenant, id, key.shown(), &key.hash()).await?;
        work.event(user_stream(user), &ApiKeyRotated { key_id: id, user_id: user })?;
        work.audit(Audit::new(SERVICE, "ROTATE_API_KEY", "api_key", id.to_string(), AuditResult::Success));
        once.keep_secret(&work, caller, StatusCode::OK, &id.to_string()).await?;
        work.commit().await?;
        self.authenticator.api_keys().forget(&ended.key_hash);
        Ok(Answer::Made(MadeKey { key, row }))
    }

    /// Ends a key: one of the caller's, or with the permission one of the tenant. One that has ended is not there.
    pub(crate) async fn revoke_api_key(&self, caller: &Caller, id: Uuid) -> crate::Result<()> {
        let tenant = caller.tenant();
        let owner = self.api_key(caller, id).await?.user_id;
        if caller.principal.user != Some(owner) {
            self.covers(caller, owner, Some(tenant)).await?;
        }
        let mut work = self.base.db.begin(Login::Api, caller).await?;
        let Some(ended) = store::hash(&work, tenant, id, whose(caller)?).await? else {
            work.rollback().await?;
            return Err(CredentialError::ApiKeyNotFound.into());
        };
        store::revoke(&work, tenant, id, self.base.clock.now()).await?;
        work.event(user_stream(owner), &ApiKeyRevoked { key_id: id, user_id: owner })?;
        work.audit(Audit::new(SERVICE, "REVOKE_API_KEY", "api_key", id.to_string(), AuditResult::Success));
        work.commit().await?;
        self.authenticator.api_keys().forget(&ended.key_hash);
        Ok(())
    }
}

/// Whose keys the caller reaches: None for those of everyone in the tenant.
fn whose(caller: &Caller) -> crate::Result<Option<UserId>> {
    if caller.principal.permissions.allows(OTHERS) {
        return Ok(None);
    }
    Ok(Some(caller.principal.user.ok_or(Error::UserNotFound)?))
}
