//! Changes of items that are not hot, each in a transaction of its own that holds the rows it is about: what the group
//! commit of plain puts does not do, because there are rules, quotas, or more than one row to it.

use std::future::Future;

use axum::http::StatusCode;
use jiff::Timestamp;
use nsl_core::Caller;
use nsl_core::db::{Audit, AuditResult, DbError, DomainEvent, UnitOfWork};
use nsl_core::http::{Answer, Once};
use nsl_core::ids::TenantId;
use nsl_crypto::digest::fingerprint;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::Sgx;
use super::keys::SealingKey;
use super::write::{Item, LOGIN};
use crate::Result;
use crate::domain::{Address, Binding, Content, Current, Next, PolicyType};
use crate::error::Error;
use crate::events::{self, ItemPut, ItemRestored};
use crate::store::quotas::Quota;
use crate::store::versions::{Gone, Place};
use crate::store::{content, log, usage, versions};

/// After so many meetings with other writers the caller is told to try again.
const MAX_ATTEMPTS: u32 = 8;

/// A change that is carried out in one transaction.
pub(super) trait Change: Sync {
    type Done: Send;

    /// How many values it seals.
    fn seals(&self) -> usize;

    /// What it opens, so that the key is at hand before the transaction begins.
    fn opens(&self) -> Option<(&Address, Option<i64>)>;

    /// The addresses whose rows it changes.
    fn touches(&self) -> Vec<&Address>;

    /// What the audit log says when it is done.
    fn audits(&self, done: &Self::Done) -> Vec<Audit>;

    /// One attempt; None where another writer was first and all of it has to be looked at again.
    fn attempt(
        &self,
        sgx: &Sgx,
        step: &Step<'_, '_>,
    ) -> impl Future<Output = Result<Option<Self::Done>>> + Send;
}

/// An attempt at a change.
pub(super) struct Step<'s, 'c> {
    pub work: &'s UnitOfWork<'c>,
    pub caller: &'s Caller,
    pub key: Option<&'s SealingKey>,
    pub now: Timestamp,
}

impl Step<'_, '_> {
    pub(super) fn tenant(&self) -> TenantId {
        self.caller.tenant()
    }
}

/// An idempotency key, and how the answer is kept for it.
pub(super) struct Keep<'a, V> {
    once: &'a Once,
    body: fn(&V) -> Result<Value>,
}

impl<'a, V: Serialize> Keep<'a, V> {
    pub(super) fn under(once: &'a Once) -> Self {
        Self { once, body: body::<V> }
    }
}

/// What is to stand at an address from now on.
pub(super) struct NewValue<'a> {
    pub address: &'a Address,
    pub value: &'a [u8],
    /// The chunks that `value`, their summary, stands for.
    pub content: Option<&'a Content>,
    pub policy: PolicyType,
    pub policy_name: Option<&'a str>,
    pub access: Option<&'a Value>,
    pub metadata: Option<&'a Value>,
    pub expires_at: Option<Timestamp>,
    /// Reads that count already: those of the value that this one is made of.
    pub reads: i64,
    /// The former version that it is made of, where that is what the change is.
    pub restored_from: Option<i64>,
}

/// By how much the usage of a service changes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Growth {
    pub items: i64,
    pub versions: i64,
    pub bytes: i64,
}

impl Growth {
    /// The value of a version is kept no longer.
    pub(super) fn without(mut self, gone: &[Gone]) -> Self {
        for gone in gone.iter().filter(|gone| gone.kept) {
            self.versions -= 1;
            self.bytes -= i64::from(gone.sealed_size);
        }
        self
    }
}

pub(super) fn current(place: &Place, now: Timestamp) -> Current {
    Current {
        item_id: place.item_id,
        version: place.version,
        revision: place.revision,
        alive: is_alive(place, now),
    }
}

pub(super) fn is_alive(place: &Place, now: Timestamp) -> bool {
    place.deleted_at.is_none() && place.expires_at.is_none_or(|at| at > now)
}

impl Sgx {
    /// Carries out a change that was asked for at a time, as often as it takes.
    pub(super) async fn carry_out<C: Change>(
        &self,
        caller: &Caller,
        change: &C,
        now: Timestamp,
    ) -> Result<C::Done> {
        match self.carry_out_once(caller, change, now, None, |done| (StatusCode::OK, done)).await? {
            Answer::Made(done) => Ok(done),
            // Nothing is replayed where there is no key.
            Answer::Replayed(_) => Err(DbError::Conflict("a replay without a key".to_owned()).into()),
        }
    }

    /// The same under an idempotency key, whose first answer is replayed.
    pub(super) async fn carry_out_once<C: Change, V: Send>(
        &self,
        caller: &Caller,
        change: &C,
        now: Timestamp,
        keep: Option<Keep<'_, V>>,
        view: impl Fn(C::Done) -> (StatusCode, V) + Sync,
    ) -> Result<Answer<V>> {
        let tenant = caller.tenant();
        for _ in 0..MAX_ATTEMPTS {
            let mut key = None;
            if self.encrypts() {
                // Each call counts one wrap of the key.
                for _ in 0..change.seals() {
                    key = Some(self.keys.for_sealing(tenant).await?);
                }
            }
            self.warm(tenant, change.opens()).await?;
            let mut work = self.db.begin(LOGIN, caller).await?;
            if let Some(keep) = &keep
                && let Some(before) = keep.once.replay(&work, caller).await?
            {
                work.rollback().await?;
                return Ok(Answer::Replayed(before));
            }
            let step = Step { work: &work, caller, key: key.as_deref(), now };
            let done = match change.attempt(self, &step).await {
                Ok(Some(done)) => done,
                Ok(None) => {
                    work.rollback().await?;
                    // It may have been the key that was not the active one any more.
                    self.keys.forget(tenant);
                    continue;
                }
                Err(error) => {
                    work.rollback().await?;
                    return Err(error);
                }
            };
            for audit in change.audits(&done) {
                work.audit(audit);
            }
            let (status, view) = view(done);
            if let Some(keep) = &keep {
                keep.once.keep(&work, caller, status, &(keep.body)(&view)?).await?;
            }
            work.commit().await?;
            for address in change.touches() {
                self.heads.forget(tenant, address);
            }
            return Ok(Answer::Made(view));
        }
        Err(DbError::Conflict("the item kept changing".to_owned()).into())
    }

    async fn warm(&self, tenant: TenantId, opens: Option<(&Address, Option<i64>)>) -> Result<()> {
        let Some((address, version)) = opens else { return Ok(()) };
        let read = self.db.read(LOGIN, tenant);
        let row = versions::opening_key(&read, tenant, &address.service, &address.key, version).await?;
        if let Some(key) = row.and_then(|row| row.sealing_key_version) {
            self.keys.for_opening(tenant, key).await?;
        }
        Ok(())
    }

    /// Seals a value and writes it in place of what stands there, which becomes a former version; with its event and what
    /// it takes of the quotas. None where another writer was first.
    pub(super) async fn write_value(
        &self,
        step: &Step<'_, '_>,
        quotas: &[Quota],
        place: Option<&Place>,
        next: &Next,
        new: &NewValue<'_>,
    ) -> Result<Option<Item>> {
        let (tenant, actor, now) = (step.tenant(), step.caller.principal.name.as_str(), step.now);
        let Address { service, key } = new.address;
        let (created_at, created_by) = match place {
            Some(place) if !next.is_new => (place.created_at, place.created_by.as_str()),
            _ => (now, actor),
        };
        let binding = Binding {
            tenant,
            service,
            key,
            item_id: next.item_id,
            version: next.version,
            policy: new.policy.as_str(),
            policy_name: new.policy_name,
            access: new.access,
            content: new.content.map(|content| content.id),
            metadata: new.metadata,
            created_at,
            created_by,
            updated_at: now,
            updated_by: actor,
            expires_at: new.expires_at,
        };
        let (key_version, wrapped, sealed) = match step.key {
            Some(sealing) => {
                let sealed =
                    sealing.kek.seal_value(new.value, &binding.data_key(sealing.version), &binding.value());
                (Some(sealing.version), Some(sealed.wrapped_data_key.to_vec()), sealed.ciphertext)
            }
            None => (None, None, new.value.to_vec()),
        };
        let (size, sealed_size) = match new.content {
            Some(content) => (content.size, content.sealed_size + sealed.len()),
            None => (new.value.len(), sealed.len()),
        };
        let item = Item {
            service: service.clone(),
            key: key.clone(),
            version: next.version,
            size,
            sealed_size,
            fingerprint: fingerprint(&sealed),
            policy: new.policy_name.unwrap_or(new.policy.as_str()).to_owned(),
            encryption: if step.key.is_some() { "aes-256-gcm" } else { "none" }.to_owned(),
            metadata: new.metadata.cloned(),
            created_at,
            updated_at: now,
            expires_at: new.expires_at,
        };
        if place.is_some() {
            versions::keep_former(step.work, tenant, service, key, now).await?;
        }
        let written = versions::write(
            step.work,
            tenant,
            service,
            key,
            next.item_id,
            next.version,
            next.revision,
            new.policy.as_str(),
            new.policy_name,
            new.access,
            &item.encryption,
            key_version,
            wrapped.as_deref(),
            &sealed,
            number(item.size),
            number(item.sealed_size),
            &item.fingerprint,
            new.metadata,
            created_at,
            created_by,
            now,
            actor,
            new.expires_at,
            new.reads,
            new.content.map(|content| content.id),
        )
        .await?;
        if written.is_none() {
            return Ok(None);
        }
        let keep_versions = i64::from(self.config.database.keep_versions);
        let last = next.version - keep_versions;
        let trimmed = versions::trim(step.work, tenant, next.item_id, last).await?;
        self.drop_chunks(step, &trimmed).await?;
        let growth = Growth {
            items: i64::from(place.is_none_or(|place| place.deleted_at.is_some())),
            versions: 1,
            bytes: i64::from(number(item.sealed_size)),
        };
        self.note_usage(step, service, growth.without(&trimmed), quotas).await?;
        let put = ItemPut {
            service,
            key,
            item_id: next.item_id,
            version: next.version,
            fingerprint: &item.fingerprint,
            size: item.size,
            policy: &item.policy,
            keep_versions: Some(keep_versions),
        };
        match new.restored_from {
            Some(from) => {
                let event = ItemRestored { put, from: Some(from) };
                self.append(step, next.item_id, next.revision, &event).await?;
            }
            None => self.append(step, next.item_id, next.revision, &put).await?,
        }
        Ok(Some(item))
    }

    /// The event of a change of an item, at the revision that the change gave it.
    pub(super) async fn append<E: DomainEvent>(
        &self,
        step: &Step<'_, '_>,
        item_id: Uuid,
        revision: i64,
        event: &E,
    ) -> Result<()> {
        let origin = &step.caller.origin;
        log::append(
            step.work,
            Uuid::now_v7(),
            step.tenant(),
            &events::stream(item_id),
            revision,
            E::TYPE,
            &body(event)?,
            &step.caller.principal.name,
            origin.trace_id.as_deref(),
            origin.request_id.as_deref(),
        )
        .await?;
        Ok(())
    }

    /// The chunks of streamed values go with the last row that names them.
    pub(super) async fn drop_chunks(&self, step: &Step<'_, '_>, gone: &[Gone]) -> Result<()> {
        let contents: Vec<Uuid> = gone.iter().filter_map(|gone| gone.content_id).collect();
        if !contents.is_empty() {
            content::release(step.work, step.tenant(), &contents).await?;
        }
        Ok(())
    }

    /// Notes what changes in a service's usage, and refuses what exceeds a quota.
    pub(super) async fn note_usage(
        &self,
        step: &Step<'_, '_>,
        service: &str,
        growth: Growth,
        quotas: &[Quota],
    ) -> Result<()> {
        let tenant = step.tenant();
        let Growth { items, versions, bytes } = growth;
        usage::add_changes(step.work, &[tenant], &[service], &[items], &[versions], &[bytes]).await?;
        let bounds = |quota: &&Quota| quota.service_name.is_empty() || quota.service_name == service;
        for quota in quotas.iter().filter(bounds) {
            let of = Some(quota.service_name.as_str()).filter(|service| !service.is_empty());
            let total = usage::total(step.work, tenant, of).await?;
            let over =
                |grown: i64, used: i64, most: Option<i64>| most.filter(|most| grown > 0 && used > *most);
            let exceeded = over(bytes, total.bytes, quota.max_bytes)
                .map(|most| (most, "bytes"))
                .or_else(|| over(items, total.items, quota.max_items).map(|most| (most, "items")));
            if let Some((most, unit)) = exceeded {
                let scope = of.map_or_else(|| "the tenant".to_owned(), |name| format!("service {name}"));
                return Err(Error::QuotaExceeded { scope, most, unit });
            }
        }
        Ok(())
    }

    /// Writes the audit row of what was refused, and raises what must not be.
    pub(crate) async fn record_refusal(
        &self,
        caller: &Caller,
        action: &'static str,
        address: &Address,
        error: &Error,
    ) -> Result<()> {
        match error {
            Error::Integrity(reason) => self.alarm(caller, action, address, error, reason).await,
            Error::Db(_) => Ok(()),
            _ => self.audit(caller, action, address.resource(), error.audit_result(), Some(error)).await,
        }
    }
}

/// The audit row of a change that was carried out.
pub(super) fn success(action: &'static str, address: &Address, metadata: Value) -> Audit {
    let mut audit = Audit::new("sgx", action, "sealed_item", address.resource(), AuditResult::Success);
    audit.metadata = metadata;
    audit
}

/// What serialises into JSON always does; an error here is a defect.
pub(super) fn body<T: Serialize>(value: &T) -> Result<Value> {
    serde_json::to_value(value)
        .map_err(|error| Error::Db(DbError::Refused { state: "json".to_owned(), text: error.to_string() }))
}

fn number(size: usize) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}
