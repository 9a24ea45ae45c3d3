//! Use cases: authorize → load → decide (domain) → store → event and audit → commit.

/// Verdicts on quotes, and the service's own quote.
pub(crate) mod attestation;
/// Many items at once.
mod batch;
/// Streamed values.
mod content;
/// Reads in group commit.
mod gets;
/// What is known of the rows.
mod heads;
/// The tenants' sealing keys.
mod keys;
/// From a row to its value.
mod opener;
/// The platform in hardware mode.
pub(crate) mod platform;
/// The health check: a real seal–unseal round trip.
mod probe;
/// Reading, listing, deleting.
mod read;
/// The root keys.
pub(crate) mod root;
/// Rotations of sealing keys and of the root key.
pub(crate) mod rotation;
/// Scans of everything.
pub(crate) mod scan;
/// Whole rows as the rules of sealing see them.
mod whole;
/// Puts in group commit.
mod write;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use nsl_core::Caller;
use nsl_core::clock::Clock;
use nsl_core::context::Base;
use nsl_core::db::audit::AuditLog;
use nsl_core::db::group::{Bounds, GroupCommit};
use nsl_core::db::{Audit, AuditResult, Db, DbError, tenants};
use nsl_core::http::IfMatch;
use nsl_core::ids::TenantId;
use nsl_core::ports::{EventLog, SecurityEvents};
use zeroize::Zeroizing;

pub(crate) use batch::ToPut;
pub(crate) use content::{Piece, Upload, Value};
pub(crate) use read::Listing;
pub(crate) use root::{NewSlot, SlotInfo};
pub(crate) use write::{Item, PutDone};

use self::attestation::collateral::CollateralSource;
use self::gets::GetItems;
use self::heads::Heads;
use self::keys::KeyRing;
use self::opener::Opener;
use self::root::RootRing;
use self::write::{LOGIN, Put, PutItems, Puts};
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
    heads: Arc<Heads>,
    opener: Opener,
    puts: GroupCommit<PutItems>,
    gets: GroupCommit<GetItems>,
    audits: AuditLog,
    security: Arc<dyn SecurityEvents>,
    log: Arc<dyn EventLog>,
    collateral: CollateralSource,
}

impl Sgx {
    /// Starts the writers.
    pub(crate) fn start(
        base: &Base,
        config: SgxConfig,
        root: Arc<RootRing>,
        security: Arc<dyn SecurityEvents>,
        log: Arc<dyn EventLog>,
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
        let heads = Arc::new(Heads::new());
        let write = PutItems {
            keys: Arc::clone(&keys),
            heads: Arc::clone(&heads),
            encrypt,
            keep_versions: i64::from(config.database.keep_versions),
        };
        let opener = Opener { keys: Arc::clone(&keys), plain: !encrypt };
        let get = GetItems { opener: opener.clone() };
        Ok(Arc::new(Self {
            db: base.db.clone(),
            clock: base.clock.clone(),
            config,
            keys,
            heads,
            opener,
            puts: GroupCommit::start(&base.jobs, &base.db, LOGIN, write, Bounds::default()),
            gets: GroupCommit::start(&base.jobs, &base.db, LOGIN, get, Bounds::default()),
            audits: AuditLog::start(&base.jobs, &base.db, LOGIN),
            security,
            log,
            collateral,
        }))
    }

    /// Whether scans are started by the clock.
    pub(crate) fn scans_by_itself(&self) -> bool {
        self.config.database.enable_integrity_checking && self.config.scan.every_hours > 0
    }

    /// Whether new values are sealed.
    pub(crate) fn encrypts(&self) -> bool {
        self.config.database.enable_encryption
    }

    pub(crate) fn max_value_bytes(&self) -> usize {
        self.config.database.max_value_bytes
    }

    /// Larger values are streamed.
    pub(crate) fn inline_bytes(&self) -> usize {
        self.config.database.inline_bytes.min(self.max_value_bytes())
    }

    /// What is too large for JSON may still be streamed, unless nothing may be larger.
    pub(crate) fn too_large_for_json(&self) -> Error {
        let (inline, limit) = (self.inline_bytes(), self.max_value_bytes());
        if inline < limit { Error::TooLargeInline { limit: inline } } else { Error::TooLarge { limit } }
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
        self.check_put(&value, &attributes, now)?;
        self.put_one(caller, Put { address, value, attributes, condition, content: None }).await
    }

    /// Queues one put and waits for its outcome; what was refused leaves its audit row.
    async fn put_one(&self, caller: &Caller, put: Put) -> Result<PutDone> {
        let place = put.address.clone();
        let puts = Puts { caller: caller.clone(), now: self.clock.now(), all: vec![put] };
        match self.puts.submit(puts).await? {
            Ok(done) => done.into_iter().next().ok_or_else(|| DbError::NoRow("sgx.put").into()),
            Err(refused) => {
                self.refuse_put(caller, &place, &refused.error).await?;
                Err(refused.error)
            }
        }
    }

    fn check_put(&self, value: &[u8], attributes: &Attributes, now: Timestamp) -> Result<()> {
        if value.len() > self.inline_bytes() {
            return Err(self.too_large_for_json());
        }
        Ok(attributes.check(now)?)
    }

    /// Names a request without telling its values, should someone try to guess them.
    pub(crate) fn keyed_digest(&self, request: &[u8]) -> [u8; 32] {
        self.keys.keyed_digest(request)
    }

    /// What a refused put leaves.
    pub(crate) async fn refuse_put(&self, caller: &Caller, place: &Address, error: &Error) -> Result<()> {
        match error {
            // The tenant's sealing key is not what was stored.
            Error::Integrity(reason) => self.alarm(caller, "SEAL_ITEM", place, error, reason).await,
            _ => self.audit(caller, "SEAL_ITEM", place.resource(), AuditResult::Failure, Some(error)).await,
        }
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
