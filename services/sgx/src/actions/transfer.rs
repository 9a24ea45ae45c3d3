//! Copying and renaming: the value is sealed anew under the address that it gets, with the rules that were bound to it.

use axum::http::StatusCode;
use nsl_core::Caller;
use nsl_core::db::Audit;
use nsl_core::http::{Answer, IfMatch, Once};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::Sgx;
use super::alone::{Change, Growth, Keep, NewValue, Step, current, is_alive, success};
use super::guarded::content;
use super::opener::alive;
use super::write::Item;
use crate::Result;
use crate::domain::{Address, PolicyType, decide_put};
use crate::error::Error;
use crate::events::ItemDeleted;
use crate::store::quotas;
use crate::store::versions::{self as store, Place};

/// Where from and where to.
#[derive(Clone, Copy)]
pub(crate) struct Route<'a> {
    pub from: &'a Address,
    /// The current version where none is named.
    pub version: Option<i64>,
    pub to: &'a Address,
}

struct Transfer<'a> {
    route: Route<'a>,
    /// Whether the source is deleted with it.
    moves: bool,
}

impl Transfer<'_> {
    fn action(&self) -> &'static str {
        if self.moves { "RENAME_ITEM" } else { "COPY_ITEM" }
    }
}

impl Change for Transfer<'_> {
    type Done = Item;

    fn seals(&self) -> usize {
        1
    }

    fn opens(&self) -> Option<(&Address, Option<i64>)> {
        Some((self.route.from, self.route.version))
    }

    fn touches(&self) -> Vec<&Address> {
        vec![self.route.from, self.route.to]
    }

    fn audits(&self, done: &Item) -> Vec<Audit> {
        let Route { from, version, to } = self.route;
        let metadata = json!({ "to": to.resource(), "toVersion": done.version, "version": version });
        vec![success(self.action(), from, metadata)]
    }

    async fn attempt(&self, sgx: &Sgx, step: &Step<'_, '_>) -> Result<Option<Item>> {
        let (tenant, Route { from, version, to }) = (step.tenant(), self.route);
        let quotas = quotas::hold(step.work, tenant, &[to.service.as_str()]).await?;
        let (services, keys) = ([from.service.as_str(), &to.service], [from.key.as_str(), &to.key]);
        let places = store::hold(step.work, tenant, &services, &keys).await?;
        let at = |address: &Address| {
            places.iter().find(|place| place.service_name == address.service && place.key == address.key)
        };
        let source: &Place = at(from).ok_or(Error::NotFound)?;
        alive(source.deleted_at, None, step.now)?;
        let held = store::held(step.work, tenant, &from.service, &from.key, version).await?;
        let held = held.ok_or(Error::VersionNotFound)?;
        let value = sgx.open_held(tenant, from, &held).await?;
        alive(None, held.expires_at, step.now)?;
        let target = at(to);
        if target.is_some_and(|target| is_alive(target, step.now)) {
            return Err(Error::TargetExists);
        }
        if self.moves {
            let revision =
                store::mark_deleted(step.work, tenant, &from.service, &from.key, step.now).await?.revision;
            let event = ItemDeleted {
                service: &from.service,
                key: &from.key,
                item_id: source.item_id,
                version: source.version,
            };
            sgx.append(step, source.item_id, revision, &event).await?;
            let growth = Growth { items: -1, ..Growth::default() };
            sgx.note_usage(step, &from.service, growth, &[]).await?;
        }
        let there = target.map(|target| current(target, step.now));
        let next = decide_put(there.as_ref(), &IfMatch::Any, Uuid::now_v7())
            .map_err(|current| Error::VersionConflict { current })?;
        let content = content(&held);
        let new = NewValue {
            address: to,
            value: &value,
            content: content.as_ref(),
            policy: PolicyType::of(&held.policy_type),
            policy_name: held.policy_name.as_deref(),
            access: held.access.as_ref(),
            metadata: held.metadata.as_ref(),
            expires_at: held.expires_at,
            reads: held.reads,
            restored_from: None,
        };
        sgx.write_value(step, &quotas, target, &next, &new).await
    }
}

impl Sgx {
    /// Seals a value a second time, at another address.
    pub(crate) async fn copy<V: Serialize + Send>(
        &self,
        caller: &Caller,
        route: Route<'_>,
        once: &Once,
        view: fn(Item) -> V,
    ) -> Result<Answer<V>> {
        self.transfer(caller, &Transfer { route, moves: false }, once, view).await
    }

    /// Seals a value at another address and deletes the source, in one transaction.
    pub(crate) async fn rename<V: Serialize + Send>(
        &self,
        caller: &Caller,
        route: Route<'_>,
        once: &Once,
        view: fn(Item) -> V,
    ) -> Result<Answer<V>> {
        self.transfer(caller, &Transfer { route, moves: true }, once, view).await
    }

    async fn transfer<V: Serialize + Send>(
        &self,
        caller: &Caller,
        transfer: &Transfer<'_>,
        once: &Once,
        view: fn(Item) -> V,
    ) -> Result<Answer<V>> {
        let Route { from, to, .. } = transfer.route;
        let done = if from == to {
            Err(Error::SameAddress)
        } else {
            let created = StatusCode::CREATED;
            self.carry_out_once(caller, transfer, self.clock.now(), Some(Keep::under(once)), |item| {
                (created, view(item))
            })
            .await
        };
        self.recorded(caller, transfer.action(), from, done).await
    }
}
