//! Puts of tenants that have quotas: not in group commit, since each has to see what the one before it left.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use nsl_core::Caller;
use nsl_core::db::Audit;
use serde_json::json;
use uuid::Uuid;

use super::Sgx;
use super::alone::{Change, NewValue, Step, current, success};
use super::write::{Put, PutDone, Refused};
use crate::Result;
use crate::domain::{Address, decide_put};
use crate::error::Error;
use crate::store::{quotas, versions};

/// Puts that take effect together or not at all.
struct LimitedPuts {
    all: Vec<Put>,
    /// The one that is being put: the one to name, should it be refused.
    at: AtomicUsize,
}

impl Change for LimitedPuts {
    type Done = Vec<PutDone>;

    fn seals(&self) -> usize {
        self.all.len()
    }

    fn opens(&self) -> Option<(&Address, Option<i64>)> {
        None
    }

    fn touches(&self) -> Vec<&Address> {
        self.all.iter().map(|put| &put.address).collect()
    }

    fn audits(&self, done: &Vec<PutDone>) -> Vec<Audit> {
        let rows = self.all.iter().zip(done);
        rows.map(|(put, done)| success("SEAL_ITEM", &put.address, json!({ "version": done.item.version })))
            .collect()
    }

    async fn attempt(&self, sgx: &Sgx, step: &Step<'_, '_>) -> Result<Option<Vec<PutDone>>> {
        let tenant = step.tenant();
        let services: Vec<&str> = self.all.iter().map(|put| put.address.service.as_str()).collect();
        let keys: Vec<&str> = self.all.iter().map(|put| put.address.key.as_str()).collect();
        let distinct: Vec<&str> = services.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let quotas = quotas::hold(step.work, tenant, &distinct).await?;
        let places = versions::hold(step.work, tenant, &services, &keys).await?;
        let mut done = Vec::with_capacity(self.all.len());
        for (index, put) in self.all.iter().enumerate() {
            self.at.store(index, Ordering::Relaxed);
            let Put { address, value, attributes, condition, content } = put;
            let place =
                places.iter().find(|place| place.service_name == address.service && place.key == address.key);
            let there = place.map(|place| current(place, step.now));
            let next = decide_put(there.as_ref(), condition, Uuid::now_v7())
                .map_err(|current| Error::VersionConflict { current })?;
            let new = NewValue {
                address,
                value,
                content: content.as_ref(),
                policy: attributes.policy,
                policy_name: attributes.policy_name.as_deref(),
                access: attributes.access.as_ref(),
                metadata: attributes.metadata.as_ref(),
                expires_at: attributes.expires_at,
                reads: 0,
                restored_from: None,
            };
            let Some(item) = sgx.write_value(step, &quotas, place, &next, &new).await? else {
                return Ok(None);
            };
            done.push(PutDone { item, is_new: next.is_new });
        }
        Ok(Some(done))
    }
}

impl Sgx {
    /// Puts all or nothing, and nothing where it would exceed a quota.
    pub(super) async fn put_under_quotas(
        &self,
        caller: &Caller,
        all: Vec<Put>,
        now: Timestamp,
    ) -> Result<Vec<PutDone>, Refused> {
        let puts = LimitedPuts { all, at: AtomicUsize::new(0) };
        let outcome = self.carry_out(caller, &puts, now).await;
        outcome.map_err(|error| Refused { index: puts.at.load(Ordering::Relaxed), error })
    }
}
