//! Reads that are more than one look at a row: of a former version, and of values whose policy has rules.

use std::sync::Arc;

use async_trait::async_trait;
use nsl_core::Caller;
use nsl_core::clock::Clock;
use nsl_core::db::{AuditResult, Db, DbError};
use nsl_core::ids::TenantId;
use uuid::Uuid;

use super::Sgx;
use super::alone::success;
use super::opener::{alive, size};
use super::write::{Item, LOGIN};
use crate::Result;
use crate::domain::policy::{Attested, Denial, Reader, Rules, Verdict, built_in_named, check_read};
use crate::domain::{Address, Binding, Content, Opened, Stored};
use crate::error::Error;
use crate::store::versions::{Held, count_read, held};
use crate::store::{attestations, items, policies};

/// Where a read asks for the attestation that its caller names.
#[async_trait]
pub(crate) trait Attestations: Send + Sync {
    /// The verdict with this id, if it is the tenant's, accepted its quote, and still counts.
    async fn fresh(&self, tenant: TenantId, id: Uuid) -> Result<Option<Verdict>, DbError>;
}

/// Verdicts as `attestations/verify` stored them.
pub(super) struct StoredAttestations {
    pub db: Db,
    pub clock: Clock,
}

#[async_trait]
impl Attestations for StoredAttestations {
    async fn fresh(&self, tenant: TenantId, id: Uuid) -> Result<Option<Verdict>, DbError> {
        let row = attestations::fresh(&self.db.read(LOGIN, tenant), tenant, id, self.clock.now()).await?;
        Ok(row.map(|row| Verdict::of(&row.report)))
    }
}

/// What a read asks for beside the address.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    /// The current version where none is named.
    pub version: Option<i64>,
    /// The attestation that the caller names.
    pub attestation: Option<Uuid>,
}

/// A version that has opened, and whose rules its reader meets.
pub(super) struct Guarded {
    held: Held,
    value: Opened,
    most_reads: Option<i64>,
}

/// What a read has to leave before it is answered.
pub(super) struct Admission {
    item_id: Uuid,
    version: i64,
    /// How many reads there may be of it, where they are counted.
    most_reads: Option<i64>,
}

impl Guarded {
    /// What is to be recorded; and the item, its value, and the content that the value is the summary of.
    pub(super) fn split(self, address: &Address) -> (Admission, (Item, Opened, Option<Uuid>)) {
        let Self { held, value, most_reads } = self;
        let admission = Admission { item_id: held.item_id, version: held.version, most_reads };
        let content = held.content_id;
        (admission, (item(address, held), value, content))
    }
}

/// How often a counted read is tried again when the item changes under it.
pub(super) const MAX_ATTEMPTS: u32 = 8;

impl Sgx {
    /// Opens a version of an item, under the rules of its policy.
    pub(crate) async fn read_guarded(
        &self,
        caller: &Caller,
        address: &Address,
        wanted: Wanted,
    ) -> Result<(Item, Opened)> {
        for _ in 0..MAX_ATTEMPTS {
            let found = self.open_guarded(caller, address, wanted).await.and_then(|guarded| {
                match guarded.split(address) {
                    (admission, (item, value, None)) => Ok((admission, (item, value))),
                    (_, (_, _, Some(_))) => Err(Error::Streamed),
                }
            });
            match found {
                Ok((admission, opened)) => {
                    if self.admit(caller, address, &admission).await? {
                        return Ok(opened);
                    }
                }
                Err(error) => return self.answer(caller, "UNSEAL_ITEM", address, Err(error)).await,
            }
        }
        Err(DbError::Conflict("the item kept changing".to_owned()).into())
    }

    /// Writes the audit row of a read before it is answered, with the count of it in the same transaction where it is counted.
    /// False where the item changed meanwhile.
    pub(super) async fn admit(
        &self,
        caller: &Caller,
        address: &Address,
        admission: &Admission,
    ) -> Result<bool> {
        let Admission { item_id, version, most_reads } = *admission;
        let Some(most) = most_reads else {
            self.audit(caller, "UNSEAL_ITEM", address.resource(), AuditResult::Success, None).await?;
            return Ok(true);
        };
        let (tenant, Address { service, key }) = (caller.tenant(), address);
        let mut work = self.db.begin(LOGIN, caller).await?;
        let Some(counted) = count_read(&work, tenant, service, key, item_id, version, most).await? else {
            work.rollback().await?;
            return Ok(false);
        };
        let metadata = serde_json::json!({ "version": version, "reads": counted.reads });
        work.audit(success("UNSEAL_ITEM", address, metadata));
        work.commit().await?;
        Ok(true)
    }

    /// A version of an item without its value.
    pub(crate) async fn stat_version(
        &self,
        caller: &Caller,
        address: &Address,
        version: i64,
    ) -> Result<Item> {
        let found = async {
            let held = self.held(caller.tenant(), address, Some(version)).await?;
            if held.destroyed_at.is_some() {
                return Err(Error::VersionDestroyed);
            }
            alive(None, held.expires_at, self.clock.now())?;
            Ok(item(address, held))
        };
        let found = found.await;
        self.answer(caller, "STAT_ITEM", address, found).await
    }

    /// A version whose item is alive.
    async fn held(&self, tenant: TenantId, address: &Address, version: Option<i64>) -> Result<Held> {
        let (read, Address { service, key }) = (self.db.read(LOGIN, tenant), address);
        let Some(held) = held(&read, tenant, service, key, version).await? else {
            let item = items::info(&read, tenant, service, key).await?.ok_or(Error::NotFound)?;
            alive(item.deleted_at, None, self.clock.now())?;
            return Err(Error::VersionNotFound);
        };
        alive(held.deleted_at, None, self.clock.now())?;
        Ok(held)
    }

    pub(super) async fn open_guarded(
        &self,
        caller: &Caller,
        address: &Address,
        wanted: Wanted,
    ) -> Result<Guarded> {
        let tenant = caller.tenant();
        let held = self.held(tenant, address, wanted.version).await?;
        let value = self.open_held(tenant, address, &held).await?;
        // Only what was sealed is looked at: rules or an expiry that somebody wrote into the row are a damage.
        alive(None, held.expires_at, self.clock.now())?;
        let rules = self.rules(tenant, &held).await?;
        let attested = match wanted.attestation {
            _ if !rules.iter().any(|rules| rules.require_attestation) => Attested::NotNamed,
            _ if self.attestations.is_none() => Attested::Unavailable,
            None => Attested::NotNamed,
            Some(id) => self.attested(tenant, id).await?,
        };
        let reader = Reader { principal: &caller.principal, reads: held.reads, attested };
        for rules in &rules {
            check_read(rules, &reader)?;
        }
        let most_reads = rules.iter().filter_map(|rules| rules.max_reads).min();
        Ok(Guarded { held, value, most_reads })
    }

    async fn attested(&self, tenant: TenantId, id: Uuid) -> Result<Attested> {
        let Some(attestations) = &self.attestations else { return Ok(Attested::Unavailable) };
        Ok(attestations.fresh(tenant, id).await?.map_or(Attested::Unknown, Attested::Fresh))
    }

    /// The rules that are bound to a value, and those that its policy has now: a policy that became stricter counts, one
    /// that became looser, or was removed, does not.
    async fn rules(&self, tenant: TenantId, held: &Held) -> Result<Vec<Rules>> {
        let bound = held.access.clone().map(serde_json::from_value::<Rules>).transpose();
        let bound = bound.map_err(|_| Error::Integrity("its rules cannot be read".to_owned()))?;
        let mut rules: Vec<Rules> = bound.into_iter().collect();
        let Some(name) = &held.policy_name else { return Ok(rules) };
        let mut live = built_in_named(name);
        if live.is_none() {
            let row = policies::named(&self.db.read(LOGIN, tenant), tenant, name).await?;
            live = row.map(super::policies::definition);
        }
        if let Some(policy) = live {
            if !policy.is_active {
                return Err(Denial::Inactive.into());
            }
            rules.push(policy.rules);
        }
        Ok(rules)
    }

    /// Opens a version under what its row says, at the address that it was asked for.
    pub(super) async fn open_held(&self, tenant: TenantId, address: &Address, held: &Held) -> Result<Opened> {
        if held.destroyed_at.is_some() {
            return Err(Error::VersionDestroyed);
        }
        let stored = Stored {
            encryption: &held.encryption,
            wrapped_data_key: held.wrapped_data_key.as_deref(),
            sealed_data: held.sealed_data.as_deref().unwrap_or_default(),
            original_size: held.original_size,
            sealed_size: held.sealed_size,
            fingerprint: &held.fingerprint,
        };
        let binding = Binding {
            tenant,
            service: &address.service,
            key: &address.key,
            item_id: held.item_id,
            version: held.version,
            policy: &held.policy_type,
            policy_name: held.policy_name.as_deref(),
            access: held.access.as_ref(),
            content: held.content_id,
            metadata: held.metadata.as_ref(),
            created_at: held.created_at,
            created_by: &held.created_by,
            updated_at: held.updated_at,
            updated_by: &held.updated_by,
            expires_at: held.expires_at,
        };
        self.opener.unseal(held.sealing_key_version, &stored, &binding).await
    }

    /// Who answers for attestations: nobody in simulation mode.
    pub(super) fn attestations(db: &Db, clock: &Clock, hardware: bool) -> Option<Arc<dyn Attestations>> {
        if hardware {
            return Some(Arc::new(StoredAttestations { db: db.clone(), clock: clock.clone() }));
        }
        None
    }

    /// Writes the audit row of a request that was refused before there was an address.
    pub(crate) async fn refused_request(
        &self,
        caller: &Caller,
        action: &'static str,
        resource: String,
        error: Error,
    ) -> Error {
        match self.audit(caller, action, resource, AuditResult::Failure, Some(&error)).await {
            Ok(()) => error.recorded(),
            Err(failed) => failed,
        }
    }
}

/// The chunks that a version stands for, where it is a streamed one: what is made of it names them too.
pub(super) fn content(held: &Held) -> Option<Content> {
    let summary = held.sealed_data.as_ref().map_or(0, Vec::len);
    held.content_id.map(|id| Content {
        id,
        size: size(held.original_size),
        sealed_size: size(held.sealed_size).saturating_sub(summary),
    })
}

pub(super) fn item(address: &Address, held: Held) -> Item {
    Item {
        service: address.service.clone(),
        key: address.key.clone(),
        version: held.version,
        size: size(held.original_size),
        sealed_size: size(held.sealed_size),
        fingerprint: held.fingerprint,
        policy: held.policy_name.unwrap_or(held.policy_type),
        encryption: held.encryption,
        metadata: held.metadata,
        created_at: held.created_at,
        updated_at: held.updated_at,
        expires_at: held.expires_at,
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use nsl_testkit::{TestDb, pools};

    use super::*;

    #[tokio::test]
    async fn only_a_verdict_of_the_tenant_that_accepted_and_still_counts_is_fresh() {
        let test = TestDb::new().await.unwrap();
        let (tenant, other) = (test.tenant("acme").await.unwrap(), test.tenant("other").await.unwrap());
        let clock = Clock::system();
        let stored = StoredAttestations { db: pools(test.endpoint()).unwrap(), clock: clock.clone() };
        let client = test.client("postgres").await.unwrap();
        let mut ids = Vec::new();
        for (accepted, hours, report) in [
            (true, 1, serde_json::json!({"isvSvn": 3})),
            (true, 1, serde_json::json!({"isvSvn": "3"})),
            (true, -1, serde_json::json!({"isvSvn": 3})),
            (false, 1, serde_json::json!({"isvSvn": 3})),
        ] {
            let (id, expires) = (Uuid::now_v7(), clock.now() + SignedDuration::from_hours(hours));
            client
                .execute(
                    "INSERT INTO sgx.attestations (attestation_id, tenant_id, tee, accepted, report, quote_sha256, \
                         verified_by, expires_at) VALUES ($1, $2, 'sgx', $3, $4, '\\x00', 'test', $5)",
                    &[&id, &tenant.0, &accepted, &report, &expires],
                )
                .await
                .unwrap();
            ids.push(id);
        }
        let fresh = async |tenant, id| stored.fresh(tenant, id).await.unwrap();
        assert_eq!(fresh(tenant, ids[0]).await, Some(Verdict { isv_svn: Some(3) }));
        assert_eq!(fresh(tenant, ids[1]).await, Some(Verdict { isv_svn: None }));
        for id in [ids[2], ids[3], Uuid::nil()] {
            assert_eq!(fresh(tenant, id).await, None);
        }
        assert_eq!(fresh(other, ids[0]).await, None);
    }
}
