//! Use cases: authorize → load → decide (domain) → store → event and audit → commit.

/// Verdicts on quotes, and the service's own quote.
pub(crate) mod attestation;
/// The tenants' sealing keys.
mod keys;
/// The platform in hardware mode.
pub(crate) mod platform;
/// The health check: a real seal–unseal round trip.
mod probe;
/// Reading, listing, deleting.
mod read;
/// The root keys.
pub(crate) mod root;
/// Puts in group commit.
mod write;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
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

pub(crate) use read::Listing;
pub(crate) use root::{NewSlot, SlotInfo};
pub(crate) use write::{Item, PutDone};

use self::attestation::collateral::CollateralSource;
use self::keys::KeyRing;
use self::root::RootRing;
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
    collateral: CollateralSource,
}

impl Sgx {
    /// Starts the writers.
    pub(crate) fn start(
        base: &Base,
        config: SgxConfig,
        root: Arc<RootRing>,
        security: Arc<dyn SecurityEvents>,
    ) -> Result<Arc<Self>, StartError> {
        config.validate()?;
        let collateral = CollateralSource::new(&config.attestation, &base.clock)?;
        let keys = Arc::new(KeyRing::new(&base.db, root));
        let encrypt = config.database.enable_encryption;
        if !encrypt {
            tracing::warn!(
                "SGX:Database:EnableEncryption is false: new values are stored as they are, unsealed"
            );
        }
        let write = PutItems { keys: Arc::clone(&keys), encrypt };
        Ok(Arc::new(Self {
            db: base.db.clone(),
            clock: base.clock.clone(),
            config,
            keys,
            puts: GroupCommit::start(&base.jobs, &base.db, LOGIN, write, Bounds::default()),
            audits: AuditLog::start(&base.jobs, &base.db, LOGIN),
            security,
            collateral,
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
        let now = self.clock.now();
        if value.len() > self.max_value_bytes() {
            return Err(Error::TooLarge { limit: self.max_value_bytes() });
        }
        attributes.check(now)?;
        let place = address.clone();
        let put = Put { caller: caller.clone(), address, value, attributes, condition, now };
        let outcome = self.puts.submit(put).await?;
        match &outcome {
            Ok(_) => {}
            // The tenant's sealing key is not what was stored.
            Err(error @ Error::Integrity(reason)) => {
                self.alarm(caller, "SEAL_ITEM", &place, error, reason).await?;
            }
            Err(error) => {
                self.audit(caller, "SEAL_ITEM", place.resource(), AuditResult::Failure, Some(error)).await?;
            }
        }
        outcome
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

    /// Removes what was deleted or expired longer ago than the retention; returns how many rows went.
    pub(crate) async fn purge(&self) -> Result<usize> {
        const STEP: i64 = 500;
        let days = i64::from(self.config.database.data_retention_days);
        let before: Timestamp = self.clock.now() - SignedDuration::from_hours(24 * days);
        let mut purged = 0;
        for tenant in all_tenants(&self.db).await? {
            loop {
                let gone =
                    store::items::purge(&self.db.write(LOGIN, tenant), tenant, before, STEP).await?.len();
                purged += gone;
                if gone < usize::try_from(STEP).unwrap_or(usize::MAX) {
                    break;
                }
            }
        }
        Ok(purged)
    }
}

async fn all_tenants(db: &Db) -> Result<Vec<TenantId>> {
    Ok(tenants::all(&db.global(LOGIN)).await?.into_iter().map(|tenant| tenant.id).collect())
}
