//! Use cases: authorize → load → decide (domain) → store → event and audit → commit.

/// Changes of items that are not hot.
mod alone;
/// Verdicts on quotes, and the service's own quote.
pub(crate) mod attestation;
/// Many items at once.
mod batch;
/// Streamed values.
mod content;
/// Reads in group commit.
mod gets;
/// Reads of former versions, and under rules.
mod guarded;
/// What is known of the rows.
mod heads;
/// The tenants' sealing keys.
mod keys;
/// Puts of tenants that have quotas.
mod limited;
/// From a row to its value.
mod opener;
/// The platform in hardware mode.
pub(crate) mod platform;
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
/// The root keys.
pub(crate) mod root;
/// Rotations of sealing keys and of the root key.
pub(crate) mod rotation;
/// Scans of everything.
pub(crate) mod scan;
/// Copying and renaming.
mod transfer;
/// Versions: listing, restoring, destroying.
mod versions;
/// Whole rows as the rules of sealing see them.
mod whole;
/// Puts in group commit.
mod write;

use std::sync::Arc;

use jiff::Timestamp;
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
pub(crate) use guarded::{Attestations, Wanted};
pub(crate) use policies::PolicyEntry;
pub(crate) use quotas::Statistics;
pub(crate) use read::Listing;
pub(crate) use retention::Purged;
pub(crate) use root::{NewSlot, SlotInfo};
pub(crate) use transfer::Route;
pub(crate) use write::{Item, PutDone};

use self::attestation::collateral::CollateralSource;
use self::gets::GetItems;
use self::heads::Heads;
use self::keys::KeyRing;
use self::opener::Opener;
use self::quotas::Limited;
use self::root::RootRing;
use self::write::{LOGIN, Put, PutItems, Puts, Refused};
use crate::Result;
use crate::config::SgxConfig;
use crate::domain::{Address, Attributes};
use crate::error::{Error, StartError};

/// Two writers: while one waits for its commit, the other's statement runs, and large batches use both cores.
const PUTS: Bounds = Bounds { writers: 2, queue: 4096, max_commands: 256, max_bytes: 1 << 20 };
/// One: a batch of gets is short, and its start costs more than what two commits beside each other gain.
const GETS: Bounds = Bounds { writers: 1, ..PUTS };

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
    limited: Limited,
    /// None in simulation mode, where no attestation proves anything.
    attestations: Option<Arc<dyn Attestations>>,
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
        let attestations = Self::attestations(&base.db, &base.clock, config.enable_hardware_mode);
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
            puts: GroupCommit::start(&base.jobs, &base.db, LOGIN, write, PUTS),
            gets: GroupCommit::start(&base.jobs, &base.db, LOGIN, get, GETS),
            audits: AuditLog::start(&base.jobs, &base.db, LOGIN),
            security,
            log,
            limited: Limited::default(),
            attestations,
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
        self.put_one(caller, Put { address, value, attributes, condition, content: None }).await
    }

    /// Puts one value and waits for its outcome; what was refused leaves its audit row.
    async fn put_one(&self, caller: &Caller, put: Put) -> Result<PutDone> {
        let place = put.address.clone();
        let outcome = self.try_put(caller, put).await;
        if let Err(error) = &outcome {
            self.record_refusal(caller, "SEAL_ITEM", &place, error).await?;
        }
        outcome
    }

    async fn try_put(&self, caller: &Caller, put: Put) -> Result<PutDone> {
        let now = self.clock.now();
        let put = self.prepare_put(caller, put, now).await?;
        let done = self.put_together(caller, vec![put], now).await.map_err(|refused| refused.error)?;
        done.into_iter().next().ok_or_else(|| DbError::NoRow("sgx.put").into())
    }

    /// Checks what is to be sealed beside a value before the value is read. The put itself looks up the policy once more,
    /// so that its times are those of the put.
    async fn check_attributes(&self, caller: &Caller, attributes: &Attributes) -> Result<()> {
        let now = self.clock.now();
        attributes.check(now)?;
        self.under_policy(caller.tenant(), &mut attributes.clone(), now).await
    }

    /// Checks a put and looks up the policy that it names.
    async fn prepare_put(&self, caller: &Caller, mut put: Put, now: Timestamp) -> Result<Put> {
        if put.content.is_none() && put.value.len() > self.inline_bytes() {
            return Err(self.too_large_for_json());
        }
        put.attributes.check(now)?;
        self.under_policy(caller.tenant(), &mut put.attributes, now).await?;
        Ok(put)
    }

    /// Puts all or nothing: in group commit, or under the quotas of the tenant where it has any.
    async fn put_together(
        &self,
        caller: &Caller,
        all: Vec<Put>,
        now: Timestamp,
    ) -> Result<Vec<PutDone>, Refused> {
        let first = |error| Refused { index: 0, error };
        if self.is_limited(caller.tenant()).await.map_err(first)? {
            // Boxed: it is large and rare.
            return Box::pin(self.put_under_quotas(caller, all, now)).await;
        }
        let outcome = self.puts.submit(Puts { caller: caller.clone(), now, all }).await;
        outcome.map_err(|error| first(error.into()))?
    }

    /// Names a request without telling its values, should someone try to guess them.
    pub(crate) fn keyed_digest(&self, request: &[u8]) -> [u8; 32] {
        self.keys.keyed_digest(request)
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
