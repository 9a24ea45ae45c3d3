//! Rotations: a new key becomes the active one at once, a job moves what is under the former ones, and in the end a signed
//! statement says that nothing is left there. Only then are the former keys retired.

/// Sealing values themselves anew.
mod reseal;
/// Rotation of the root key.
mod root;
/// The signed statement at the end.
mod statement;
/// Rotation of a tenant's sealing key.
mod tenant;

use std::time::Duration;

use axum::http::StatusCode;
use jiff::SignedDuration;
use nsl_core::Caller;
use nsl_core::db::{Audit, AuditResult, UnitOfWork};
use nsl_core::http::{Answer, Limit, Once};
use nsl_core::ids::TenantId;
use serde::Serialize;
use tokio::time::Instant;
use uuid::Uuid;

use super::{LOGIN, Sgx, all_tenants};
use crate::Result;
use crate::domain::rotation::{Kind, Scope};
use crate::error::{Error, RootError, RotationError};
use crate::store::rotations as store;
use crate::store::sealing_keys::{self, Overview};

pub(crate) use store::Rotation;

/// One step of the job ends after so long, so that its lease is renewed and a shutdown need not wait.
const SLICE: Duration = Duration::from_secs(1);

/// What is to be rotated.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Order {
    pub scope: Scope,
    pub reseal: bool,
    pub reason: Option<String>,
}

impl Order {
    fn kind(&self) -> Result<Kind> {
        match (self.scope, self.reseal) {
            (Scope::Tenant, false) => Ok(Kind::Tenant),
            (Scope::Tenant, true) => Ok(Kind::Reseal),
            (Scope::Root, false) => Ok(Kind::Root),
            (Scope::Root, true) => Err(RotationError::ResealOfRoot.into()),
        }
    }
}

impl Sgx {
    /// The tenant's sealing keys, newest first, and the key that statements are verified with.
    pub(crate) async fn sealing_keys(&self, caller: &Caller) -> Result<(Vec<Overview>, String)> {
        let tenant = caller.tenant();
        let keys = sealing_keys::overview(&self.db.read(LOGIN, tenant), tenant).await?;
        let signer = self.statement_signer().await?;
        self.note(caller, "LIST_SEALING_KEYS", "sealing_key", "*", None).await?;
        Ok((keys, signer.key.to_string()))
    }

    /// Makes the next key the active one and starts to move what is under the former.
    pub(crate) async fn rotate<V: Serialize + Send>(
        &self,
        caller: &Caller,
        order: &Order,
        once: &Once,
        view: impl FnOnce(Rotation) -> V + Send,
    ) -> Result<Answer<V>> {
        let begun = self.try_rotate(caller, order, once, view).await;
        if let Err(error) = &begun {
            let scope = if order.scope == Scope::Root { "root" } else { "tenant" };
            self.note(caller, "ROTATE_KEYS", "rotation", scope, Some(error)).await?;
        }
        begun
    }

    async fn try_rotate<V: Serialize + Send>(
        &self,
        caller: &Caller,
        order: &Order,
        once: &Once,
        view: impl FnOnce(Rotation) -> V + Send,
    ) -> Result<Answer<V>> {
        let kind = order.kind()?;
        let tenant = caller.tenant();
        match kind {
            Kind::Root => operator(caller)?,
            // A tenant that has no sealing key yet gets its first one.
            Kind::Tenant | Kind::Reseal => drop(self.keys.for_sealing(tenant).await?),
        }
        // Made before the first rotation ends, so that its key can be fetched at once.
        self.statement_signer().await?;
        let further = if kind == Kind::Root { all_tenants(&self.db).await? } else { Vec::new() };
        let mut work = self.db.begin_across(LOGIN, caller, &further).await?;
        if let Some(before) = once.replay(&work, caller).await? {
            work.rollback().await?;
            return Ok(Answer::Replayed(before));
        }
        let begun = match kind {
            Kind::Root => self.begin_root(&work, caller, order).await,
            Kind::Tenant | Kind::Reseal => self.begin_tenant(&work, caller, kind, order).await,
        };
        let rotation = match begun {
            Ok(rotation) => rotation,
            Err(error) => {
                work.rollback().await?;
                return Err(error);
            }
        };
        let mut entry = Audit::new(
            "sgx",
            "ROTATE_KEYS",
            "rotation",
            rotation.rotation_id.to_string(),
            AuditResult::Success,
        );
        entry.details.clone_from(&order.reason);
        entry.metadata = serde_json::json!({
            "kind": rotation.kind, "from": rotation.from_key, "to": rotation.to_key, "total": rotation.total,
        });
        work.audit(entry);
        let view = view(rotation);
        once.keep(&work, caller, StatusCode::ACCEPTED, &view).await?;
        work.commit().await?;
        match kind {
            Kind::Root => self.keys.root().reload().await?,
            Kind::Tenant | Kind::Reseal => self.keys.forget(tenant),
        }
        Ok(Answer::Made(view))
    }

    async fn add_rotation(
        &self,
        work: &UnitOfWork<'_>,
        caller: &Caller,
        kind: Kind,
        (from, to): (&str, &str),
        total: i64,
        order: &Order,
    ) -> Result<Rotation> {
        let rotation = store::add_rotation(
            work,
            caller.tenant(),
            Uuid::now_v7(),
            kind.as_str(),
            from,
            to,
            total,
            order.reason.as_deref(),
            &caller.principal.name,
            self.clock.now(),
        )
        .await?;
        rotation.ok_or_else(|| RotationError::Running.into())
    }

    /// Rotations of the tenant, newest first.
    pub(crate) async fn rotations(
        &self,
        caller: &Caller,
        before: Option<Uuid>,
        limit: Limit,
    ) -> Result<Vec<Rotation>> {
        let tenant = caller.tenant();
        let read = self.db.read(LOGIN, tenant);
        let rotations = store::rotations(&read, tenant, before, i64::from(limit.0) + 1).await?;
        self.note(caller, "LIST_ROTATIONS", "rotation", "*", None).await?;
        Ok(rotations)
    }

    /// One rotation of the tenant.
    pub(crate) async fn rotation(&self, caller: &Caller, id: Uuid) -> Result<Rotation> {
        self.look(caller, "READ_ROTATION", id, Ok).await
    }

    /// The signed statement of a completed rotation.
    pub(crate) async fn rotation_statement(&self, caller: &Caller, id: Uuid) -> Result<String> {
        self.look(caller, "READ_STATEMENT", id, |rotation| {
            rotation.statement.ok_or_else(|| RotationError::NoStatement.into())
        })
        .await
    }

    async fn look<T: Send>(
        &self,
        caller: &Caller,
        action: &'static str,
        id: Uuid,
        part: impl FnOnce(Rotation) -> Result<T> + Send,
    ) -> Result<T> {
        let tenant = caller.tenant();
        let row = store::rotation(&self.db.read(LOGIN, tenant), tenant, id).await?;
        let found = row.ok_or_else(|| RotationError::NotFound.into()).and_then(part);
        self.note(caller, action, "rotation", &id.to_string(), found.as_ref().err()).await?;
        found
    }

    /// Goes on with every rotation that runs, for a while.
    pub(crate) async fn advance_rotations(&self) -> Result<()> {
        let tenants = all_tenants(&self.db).await?;
        for rotation in store::running(&self.db.read_many(LOGIN, &tenants)).await? {
            let until = Instant::now() + SLICE;
            match Kind::of(&rotation.kind) {
                Some(Kind::Root) => self.advance_root(&rotation, &tenants).await?,
                Some(kind) => self.advance_tenant(&rotation, kind, until).await?,
                None => {}
            }
        }
        Ok(())
    }

    /// Drops the keys that another process has replaced.
    pub(crate) async fn refresh_keys(&self) -> Result<()> {
        self.keys.refresh().await
    }

    /// Ends a rotation that cannot be completed.
    async fn fail_rotation(&self, rotation: &Rotation, failure: &str) -> Result<()> {
        let (tenant, now) = (rotation.tenant_id, self.clock.now());
        let caller = Caller::system(tenant, "sgx.rotation");
        let mut work = self.db.begin(LOGIN, &caller).await?;
        store::fail(&work, tenant, rotation.rotation_id, failure, now).await?;
        let id = rotation.rotation_id.to_string();
        work.audit(
            Audit::new("sgx", "ROTATION_FAILED", "rotation", id, AuditResult::Failure).details(failure),
        );
        tracing::error!(rotation = %rotation.rotation_id, failure, "a rotation cannot be completed");
        Ok(work.commit().await?)
    }

    /// An audit row of an operation that writes nothing else.
    pub(super) async fn note(
        &self,
        caller: &Caller,
        action: &'static str,
        resource_type: &'static str,
        resource: &str,
        error: Option<&Error>,
    ) -> Result<()> {
        let result = match error {
            None => AuditResult::Success,
            Some(Error::Root(RootError::OperatorOnly)) => AuditResult::Denied,
            Some(_) => AuditResult::Failure,
        };
        let mut entry = Audit::new("sgx", action, resource_type, resource, result);
        entry.details = error.map(ToString::to_string);
        Ok(self.audits.record(caller, entry).await?)
    }
}

/// What concerns the whole installation is for its operator.
fn operator(caller: &Caller) -> Result<()> {
    if caller.tenant() == TenantId::DEFAULT && caller.principal.permissions.allows("sgx:operate") {
        return Ok(());
    }
    Err(RootError::OperatorOnly.into())
}

/// How much longer a rotation takes if it goes on as it did.
pub(crate) fn seconds_left(rotation: &Rotation) -> Option<u64> {
    let since = rotation.updated_at.duration_since(rotation.started_at);
    estimate(rotation.state == "running", since, rotation.done, rotation.total)
}

/// How many seconds are left of what took so long for what is done.
pub(super) fn estimate(runs: bool, since: SignedDuration, done: i64, total: i64) -> Option<u64> {
    let left = total.saturating_sub(done);
    if !runs || done <= 0 {
        return None;
    }
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate of seconds, and not below zero"
    )]
    let seconds = (since.as_secs_f64() / done as f64 * left as f64).ceil().max(0.0) as u64;
    Some(seconds)
}
