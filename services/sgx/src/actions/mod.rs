//! Use cases: authorize → load → decide (domain) → store → event and audit → commit.

/// Changes of items that are not hot.
mod alone;
/// Reads of former versions, and under rules.
mod guarded;
/// The tenants' sealing keys.
mod keys;
/// Sealing policies.
mod policies;
/// The health check: a real seal–unseal round trip.
mod probe;
/// Quotas, and what is kept.
mod quotas;
/// Reading, listing, deleting.
mod read;
/// What goes after the retention.
mod retention;
/// The root key.
pub(crate) mod root;
/// Copying and renaming.
mod transfer;
/// Versions: listing, restoring, destroying.
mod versions;
/// Puts in group commit.
mod write;

use std::collections::BTreeSet;
use std::sync::Arc;

use nsl_core::Caller;
use nsl_core::clock::Clock;
use nsl_core::context::Base;
use nsl_core::db::audit::AuditLog;
use nsl_core::db::group::{Bounds, GroupCommit};
use nsl_core::db::{Audit, AuditResult, Db, tenants};
use nsl_core::http::IfMatch;
use nsl_core::ids::TenantId;
use nsl_core::ports::SecurityEvents;
use zeroize::Zeroizing;

pub(crate) use guarded::{Attestations, Wanted};
pub(crate) use policies::PolicyEntry;
pub(crate) use quotas::Statistics;
pub(crate) use read::Listing;
pub(crate) use retention::Purged;
pub(crate) use transfer::Route;
pub(crate) use write::{Item, PutDone};

use self::keys::KeyRing;
use self::quotas::Limited;
use self::root::RootKey;
use self::versions::PutAlone;
use self::write::{LOGIN, Put, PutItems};
use crate::config::SgxConfig;
use crate::domain::{Address, Attributes};
use crate::error::{Error, StartError};
use crate::{Result, store};

/// Sealed storage at work.
pub struct Sgx {
    db: Db,
    clock: Clock,
    config: SgxConfig,
    keys: Arc<KeyRing>,
    puts: GroupCommit<PutItems>,
    audits: AuditLog,
    security: Arc<dyn SecurityEvents>,
    limited: Limited,
    /// None in simulation mode, where no attestation proves anything.
    attestations: Option<Arc<dyn Attestations>>,
}

impl Sgx {
    /// Starts the writers, after a look at whether the root key is the one that the database was sealed under.
    pub(crate) async fn start(
        base: &Base,
        config: SgxConfig,
        root: Arc<RootKey>,
        security: Arc<dyn SecurityEvents>,
    ) -> Result<Arc<Self>, StartError> {
        config.validate()?;
        let keys = Arc::new(KeyRing::new(&base.db, root));
        check_root(&base.db, &keys).await?;
        let encrypt = config.database.enable_encryption;
        if !encrypt {
            tracing::warn!(
                "SGX:Database:EnableEncryption is false: new values are stored as they are, unsealed"
            );
        }
        let attestations = Self::attestations(&base.db, &base.clock, config.enable_hardware_mode);
        let write = PutItems { keys: Arc::clone(&keys), encrypt };
        Ok(Arc::new(Self {
            db: base.db.clone(),
            clock: base.clock.clone(),
            config,
            keys,
            puts: GroupCommit::start(&base.jobs, &base.db, LOGIN, write, Bounds::default()),
            audits: AuditLog::start(&base.jobs, &base.db, LOGIN),
            security,
            limited: Limited::default(),
            attestations,
        }))
    }

    /// Whether new values are sealed.
    pub(crate) fn encrypts(&self) -> bool {
        self.config.database.enable_encryption
    }

    pub(crate) fn max_value_bytes(&self) -> usize {
        self.config.database.max_value_bytes
    }

    /// Seals a value: a new item, or the next version of one.
    pub(crate) async fn put(
        &self,
        caller: &Caller,
        address: Address,
        value: Zeroizing<Vec<u8>>,
        attributes: Attributes,
        condition: IfMatch,
    ) -> Result<PutDone> {
        let place = address.clone();
        let outcome = self.try_put(caller, address, value, attributes, condition).await;
        if let Err(error) = &outcome {
            self.refused(caller, "SEAL_ITEM", &place, error).await?;
        }
        outcome
    }

    async fn try_put(
        &self,
        caller: &Caller,
        address: Address,
        value: Zeroizing<Vec<u8>>,
        mut attributes: Attributes,
        condition: IfMatch,
    ) -> Result<PutDone> {
        let (tenant, now) = (caller.tenant(), self.clock.now());
        if value.len() > self.max_value_bytes() {
            return Err(Error::TooLarge { limit: self.max_value_bytes() });
        }
        attributes.check(now)?;
        if attributes.policy_name.is_some() || self.is_limited(tenant).await? {
            let access = self.under_policy(tenant, &mut attributes, now).await?;
            return self
                .carry_out(caller, &PutAlone { address, value, attributes, access, condition }, now)
                .await;
        }
        let put = Put { caller: caller.clone(), address, value, attributes, condition, now };
        self.puts.submit(put).await?
    }

    /// An audit row of what writes nothing else.
    async fn audit(
        &self,
        caller: &Caller,
        action: &'static str,
        resource: String,
        result: AuditResult,
        error: Option<&Error>,
    ) -> Result<()> {
        let mut entry = Audit::new("sgx", action, "sealed_item", resource, result);
        entry.details = error.map(ToString::to_string);
        Ok(self.audits.record(caller, entry).await?)
    }
}

async fn all_tenants(db: &Db) -> Result<Vec<TenantId>> {
    Ok(tenants::all(&db.global(LOGIN)).await?.into_iter().map(|tenant| tenant.id).collect())
}

/// Refuses a root key that cannot open what the database holds.
async fn check_root(db: &Db, keys: &KeyRing) -> Result<(), StartError> {
    let tenants = match all_tenants(db).await {
        Ok(tenants) => tenants,
        Err(Error::Db(error)) => return Err(error.into()),
        Err(_) => return Ok(()),
    };
    let stored: BTreeSet<Vec<u8>> = store::sealing_keys::root_key_ids(&db.read_many(LOGIN, &tenants))
        .await?
        .into_iter()
        .map(|row| row.root_key_id)
        .collect();
    match stored.iter().find(|id| id.as_slice() != keys.root_id()) {
        Some(foreign) => Err(StartError::ForeignRootKey {
            stored: hex::encode(foreign),
            given: hex::encode(keys.root_id()),
        }),
        None => Ok(()),
    }
}
