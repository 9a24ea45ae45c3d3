//! The versions of an item: listing, restoring and destroying them.

use axum::http::StatusCode;
use nsl_core::Caller;
use nsl_core::db::{Audit, AuditResult};
use nsl_core::http::{Answer, Limit, Once};
use serde::Serialize;
use serde_json::json;

use super::Sgx;
use super::alone::{Change, Growth, Keep, NewValue, Step, success};
use super::guarded::{content, item};
use super::opener::alive;
use super::write::{Item, LOGIN};
use crate::Result;
use crate::domain::{Address, Next, PolicyType};
use crate::error::Error;
use crate::events::{ItemDestroyed, ItemPut, ItemRestored};
use crate::store::versions::{self as store, Gone, Listed, Place};
use crate::store::{items, quotas};

/// Makes a former version the current one again, or takes the mark of deletion away.
struct Restore<'a> {
    address: &'a Address,
    version: Option<i64>,
}

impl Change for Restore<'_> {
    type Done = Item;

    fn seals(&self) -> usize {
        usize::from(self.version.is_some())
    }

    fn opens(&self) -> Option<(&Address, Option<i64>)> {
        Some((self.address, self.version))
    }

    fn touches(&self) -> Vec<&Address> {
        vec![self.address]
    }

    fn audits(&self, done: &Item) -> Vec<Audit> {
        let metadata = json!({ "version": done.version, "from": self.version });
        vec![success("RESTORE_ITEM", self.address, metadata)]
    }

    async fn attempt(&self, sgx: &Sgx, step: &Step<'_, '_>) -> Result<Option<Item>> {
        let (tenant, Address { service, key }) = (step.tenant(), self.address);
        let quotas = quotas::hold(step.work, tenant, &[service]).await?;
        let place = hold(step, self.address).await?.ok_or(Error::NotFound)?;
        let held = store::held(step.work, tenant, service, key, self.version).await?;
        let held = held.ok_or(Error::VersionNotFound)?;
        if held.destroyed_at.is_some() {
            return Err(Error::VersionDestroyed);
        }
        let Some(from) = self.version else {
            if place.deleted_at.is_none() {
                return Err(Error::NotDeleted);
            }
            alive(None, held.expires_at, step.now)?;
            let revision = store::undelete(step.work, tenant, service, key).await?.revision;
            let growth = Growth { items: 1, ..Growth::default() };
            sgx.note_usage(step, service, growth, &quotas).await?;
            let item = item(self.address, held);
            let put = ItemPut {
                service,
                key,
                item_id: place.item_id,
                version: item.version,
                fingerprint: &item.fingerprint,
                size: item.size,
                policy: &item.policy,
                keep_versions: None,
            };
            sgx.append(step, place.item_id, revision, &ItemRestored { put, from: None }).await?;
            return Ok(Some(item));
        };
        let value = sgx.open_held(tenant, self.address, &held).await?;
        alive(None, held.expires_at, step.now)?;
        let next = Next {
            item_id: place.item_id,
            version: place.version + 1,
            revision: place.revision + 1,
            is_new: false,
        };
        let content = content(&held);
        let new = NewValue {
            address: self.address,
            value: &value,
            content: content.as_ref(),
            policy: PolicyType::of(&held.policy_type),
            policy_name: held.policy_name.as_deref(),
            access: held.access.as_ref(),
            metadata: held.metadata.as_ref(),
            expires_at: held.expires_at,
            reads: held.reads,
            restored_from: Some(from),
        };
        sgx.write_value(step, &quotas, Some(&place), &next, &new).await
    }
}

/// Takes the keys and values of versions, for good.
struct Destroy<'a> {
    address: &'a Address,
    version: Option<i64>,
}

impl Change for Destroy<'_> {
    /// The versions whose values went.
    type Done = Vec<i64>;

    fn seals(&self) -> usize {
        0
    }

    fn opens(&self) -> Option<(&Address, Option<i64>)> {
        None
    }

    fn touches(&self) -> Vec<&Address> {
        vec![self.address]
    }

    fn audits(&self, done: &Vec<i64>) -> Vec<Audit> {
        vec![success("DESTROY_ITEM", self.address, json!({ "versions": done }))]
    }

    async fn attempt(&self, sgx: &Sgx, step: &Step<'_, '_>) -> Result<Option<Vec<i64>>> {
        let (tenant, Address { service, key }) = (step.tenant(), self.address);
        let place = hold(step, self.address).await?.ok_or(Error::NotFound)?;
        let takes_current =
            place.destroyed_at.is_none() && self.version.is_none_or(|version| version == place.version);
        let mut gone = match self.version {
            Some(version) if version == place.version => Vec::new(),
            version => store::destroy_former(step.work, tenant, place.item_id, version, step.now).await?,
        };
        let revision = if takes_current {
            gone.push(Gone {
                version: place.version,
                sealed_size: place.sealed_size,
                kept: true,
                content_id: place.content_id,
            });
            store::destroy_current(step.work, tenant, service, key, step.now).await?.revision
        } else if gone.is_empty() {
            // There is no such version, or it went before.
            let version = Some(self.version.unwrap_or(place.version));
            let held = store::held(step.work, tenant, service, key, version).await?;
            return Err(held.map_or(Error::VersionNotFound, |_| Error::VersionDestroyed));
        } else {
            store::raise(step.work, tenant, service, key).await?.revision
        };
        sgx.drop_chunks(step, &gone).await?;
        let growth =
            Growth { items: -i64::from(takes_current && place.deleted_at.is_none()), ..Growth::default() };
        sgx.note_usage(step, service, growth.without(&gone), &[]).await?;
        let mut versions: Vec<i64> = gone.iter().map(|gone| gone.version).collect();
        versions.sort_unstable();
        let event = ItemDestroyed {
            service,
            key,
            item_id: place.item_id,
            version: place.version,
            versions: &versions,
            all: self.version.is_none(),
        };
        sgx.append(step, place.item_id, revision, &event).await?;
        Ok(Some(versions))
    }
}

/// Holds what stands at an address until the end of the transaction.
async fn hold(step: &Step<'_, '_>, address: &Address) -> Result<Option<Place>> {
    let (services, keys) = ([address.service.as_str()], [address.key.as_str()]);
    Ok(store::hold(step.work, step.tenant(), &services, &keys).await?.into_iter().next())
}

impl Sgx {
    /// The versions of an item that are kept, newest first; also of one that is deleted.
    pub(crate) async fn versions(
        &self,
        caller: &Caller,
        address: &Address,
        below: Option<i64>,
        limit: Limit,
    ) -> Result<Vec<Listed>> {
        let (tenant, Address { service, key }) = (caller.tenant(), address);
        let read = self.db.read(LOGIN, tenant);
        let rows =
            store::list(&read, tenant, service, key, below.unwrap_or(i64::MAX), i64::from(limit.0) + 1)
                .await?;
        if rows.is_empty() && items::info(&read, tenant, service, key).await?.is_none() {
            let error = Error::NotFound;
            self.record_refusal(caller, "LIST_VERSIONS", address, &error).await?;
            return Err(error);
        }
        self.audit(caller, "LIST_VERSIONS", address.resource(), AuditResult::Success, None).await?;
        Ok(rows)
    }

    /// Brings a deleted item back, or the value of a former version as a new one.
    pub(crate) async fn restore<V: Serialize + Send>(
        &self,
        caller: &Caller,
        address: &Address,
        version: Option<i64>,
        once: &Once,
        view: fn(Item) -> V,
    ) -> Result<Answer<V>> {
        let change = Restore { address, version };
        let done = self
            .carry_out_once(caller, &change, self.clock.now(), Some(Keep::under(once)), |item| {
                (StatusCode::OK, view(item))
            })
            .await;
        self.recorded(caller, "RESTORE_ITEM", address, done).await
    }

    /// Takes the keys and values of a version, or of all of them.
    pub(crate) async fn destroy<V: Serialize + Send>(
        &self,
        caller: &Caller,
        address: &Address,
        version: Option<i64>,
        once: &Once,
        view: impl Fn(Vec<i64>) -> V + Sync,
    ) -> Result<Answer<V>> {
        let change = Destroy { address, version };
        let done = self
            .carry_out_once(caller, &change, self.clock.now(), Some(Keep::under(once)), |versions| {
                (StatusCode::OK, view(versions))
            })
            .await;
        self.recorded(caller, "DESTROY_ITEM", address, done).await
    }

    /// A refusal is in the audit log before it is answered.
    pub(super) async fn recorded<T>(
        &self,
        caller: &Caller,
        action: &'static str,
        address: &Address,
        done: Result<T>,
    ) -> Result<T> {
        if let Err(error) = &done {
            self.record_refusal(caller, action, address, error).await?;
        }
        done
    }
}
