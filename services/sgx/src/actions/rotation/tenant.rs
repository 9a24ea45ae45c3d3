//! Rotation of a tenant's sealing key: each value's data key is wrapped anew, and no value is touched.

use std::time::Duration;

use nsl_core::Caller;
use nsl_core::db::UnitOfWork;
use nsl_core::ids::TenantId;
use nsl_crypto::envelope::WrappedKey;
use nsl_crypto::merkle::RootHasher;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{LOGIN, Order, Rotation};
use crate::Result;
use crate::actions::Sgx;
use crate::domain::Place;
use crate::domain::rotation::{At, Kind, Walk, rewrap, value_leaf};
use crate::error::Error;
use crate::store::{rotations as store, sealing_keys};

/// Rows that are looked at, and moved, at once: their locks are held for some milliseconds.
const PAGE: i64 = 250;
/// Rows of a page in the walk of the statement, which locks nothing.
const STATED_PAGE: i64 = 2000;
/// How often it is looked whether the last writers under the former key have ended.
const POLL: Duration = Duration::from_millis(10);
/// Beyond the time that any statement may take.
const LONGEST_WRITER: Duration = Duration::from_secs(45);

/// A row whose data key is moved.
struct Moved<'r> {
    row: &'r store::Wrapped,
    former: &'r [u8],
    wrapped: WrappedKey,
}

impl Sgx {
    pub(super) async fn begin_tenant(
        &self,
        work: &UnitOfWork<'_>,
        caller: &Caller,
        kind: Kind,
        order: &Order,
    ) -> Result<Rotation> {
        let tenant = caller.tenant();
        let (former, next) = self.keys.add_next(work, tenant).await?;
        let total = store::rows_before(work, tenant, next).await?.rows;
        let (from, to) = (former.to_string(), next.to_string());
        self.add_rotation(work, caller, kind, (&from, &to), total, order).await
    }

    /// Walks over the tenant's rows until a walk meets none under a former key, then states it.
    pub(super) async fn advance_tenant(&self, rotation: &Rotation, kind: Kind, until: Instant) -> Result<()> {
        let to: i32 =
            rotation.to_key.parse().map_err(|_| Error::SealingKey("a rotation names no key".to_owned()))?;
        let place = rotation.place.clone().unwrap_or_default();
        let mut walk: Walk = serde_json::from_value(place).unwrap_or_default();
        while Instant::now() < until {
            let begun = Instant::now();
            let moved = match walk.at.clone() {
                At::End if walk.met == 0 && walk.damaged > 0 => {
                    let failure = format!(
                        "{} values do not open, and stay under the former key. A scan names them: restore them from a \
                         backup, or destroy them, then rotate again.",
                        walk.damaged
                    );
                    return self.fail_rotation(rotation, &failure).await;
                }
                At::End if walk.met == 0 => {
                    if self.conclude_tenant(rotation, kind, to).await? {
                        return Ok(());
                    }
                    walk = Walk::default();
                    0
                }
                At::End => {
                    walk = Walk::default();
                    0
                }
                At::Items { service, key } => {
                    self.move_items(rotation, kind, to, &mut walk, (&service, &key)).await?
                }
                At::Versions { item_id, version } => {
                    self.move_versions(rotation, kind, to, &mut walk, (item_id, version)).await?
                }
            };
            let place = serde_json::to_value(&walk).map_err(|error| Error::Integrity(error.to_string()))?;
            let write = self.db.write(LOGIN, rotation.tenant_id);
            let count = i64::try_from(moved).unwrap_or(i64::MAX);
            store::progress(
                &write,
                rotation.tenant_id,
                rotation.rotation_id,
                count,
                &place,
                self.clock.now(),
            )
            .await?;
            let share = Duration::from_secs(moved) / self.config.rotation.rows_per_second.max(1);
            sleep(share.saturating_sub(begun.elapsed())).await;
        }
        Ok(())
    }

    async fn move_items(
        &self,
        rotation: &Rotation,
        kind: Kind,
        to: i32,
        walk: &mut Walk,
        after: (&str, &str),
    ) -> Result<u64> {
        let tenant = rotation.tenant_id;
        let read = self.db.read(LOGIN, tenant);
        let rows = store::wrapped_items(&read, tenant, after.0, after.1, PAGE).await?;
        walk.at = match rows.last() {
            Some(last) => At::Items { service: last.service_name.clone(), key: last.key.clone() },
            None => At::VERSIONS,
        };
        if kind == Kind::Reseal {
            return self.reseal(rotation, to, walk, &rows).await;
        }
        let moved = self.rewrap(tenant, to, walk, &rows).await?;
        let Some(version) = moved.1 else { return Ok(0) };
        let moved = moved.0;
        store::rewrap_items(
            &self.db.write(LOGIN, tenant),
            tenant,
            &moved.iter().map(|moved| moved.row.service_name.as_str()).collect::<Vec<_>>(),
            &moved.iter().map(|moved| moved.row.key.as_str()).collect::<Vec<_>>(),
            &moved.iter().map(|moved| moved.former).collect::<Vec<_>>(),
            &moved.iter().map(|moved| moved.wrapped.as_slice()).collect::<Vec<_>>(),
            version,
        )
        .await
        .map_err(Into::into)
    }

    async fn move_versions(
        &self,
        rotation: &Rotation,
        kind: Kind,
        to: i32,
        walk: &mut Walk,
        after: (Uuid, i64),
    ) -> Result<u64> {
        let tenant = rotation.tenant_id;
        let read = self.db.read(LOGIN, tenant);
        let rows = store::wrapped_versions(&read, tenant, after.0, after.1, PAGE).await?;
        walk.at = match rows.last() {
            Some(last) => At::Versions { item_id: last.item_id, version: last.version },
            None => At::End,
        };
        if kind == Kind::Reseal {
            return self.reseal(rotation, to, walk, &rows).await;
        }
        let (moved, Some(version)) = self.rewrap(tenant, to, walk, &rows).await? else { return Ok(0) };
        store::rewrap_versions(
            &self.db.write(LOGIN, tenant),
            tenant,
            &moved.iter().map(|moved| moved.row.item_id).collect::<Vec<_>>(),
            &moved.iter().map(|moved| moved.row.version).collect::<Vec<_>>(),
            &moved.iter().map(|moved| moved.former).collect::<Vec<_>>(),
            &moved.iter().map(|moved| moved.wrapped.as_slice()).collect::<Vec<_>>(),
            version,
        )
        .await
        .map_err(Into::into)
    }

    /// Wraps the data keys anew that are under an earlier key than `to`; with the version that they are under then, none
    /// if there are none to move.
    async fn rewrap<'r>(
        &self,
        tenant: TenantId,
        to: i32,
        walk: &mut Walk,
        rows: &'r [store::Wrapped],
    ) -> Result<(Vec<Moved<'r>>, Option<i32>)> {
        let mut moved: Vec<Moved<'r>> = Vec::new();
        let mut under = None;
        for row in rows {
            let Some((former, version)) = under_former(row, to) else { continue };
            let new = self.keys.for_sealing(tenant).await?;
            // All of a page go under one key; those after a change of it are met again.
            if *under.get_or_insert(new.version) != new.version {
                walk.met += 1;
                continue;
            }
            let place = place(tenant, row);
            let old = self.keys.for_opening(tenant, version).await?;
            let wrapped =
                old.and_then(|old| rewrap(&place, former, (&old.kek, version), (&new.kek, new.version)).ok());
            match wrapped {
                Some(wrapped) => {
                    walk.met += 1;
                    moved.push(Moved { row, former, wrapped });
                }
                None => walk.damaged += 1,
            }
        }
        let under = under.filter(|_| !moved.is_empty());
        Ok((moved, under))
    }

    /// States that nothing is under a former key, on one snapshot; false if something is.
    async fn conclude_tenant(&self, rotation: &Rotation, kind: Kind, to: i32) -> Result<bool> {
        self.await_writers().await?;
        let tenant = rotation.tenant_id;
        let caller = Caller::system(tenant, "sgx.rotation");
        let mut work = self.db.begin_snapshot(LOGIN, &caller, &[]).await?;
        let mut tree = RootHasher::new();
        let (mut service, mut key) = (String::new(), String::new());
        let (mut item_id, mut version) = (Uuid::nil(), 0);
        let mut versions = false;
        loop {
            let rows = if versions {
                store::wrapped_versions(&work, tenant, item_id, version, STATED_PAGE).await?
            } else {
                store::wrapped_items(&work, tenant, &service, &key, STATED_PAGE).await?
            };
            for row in &rows {
                if under_former(row, to).is_some() {
                    work.rollback().await?;
                    return Ok(false);
                }
                if let (Some(wrapped), Some(key)) = (&row.wrapped_data_key, row.sealing_key_version) {
                    tree.push(value_leaf(tenant, row.item_id, row.version, key, wrapped));
                }
            }
            match rows.last() {
                Some(last) if versions => (item_id, version) = (last.item_id, last.version),
                Some(last) => (service, key) = (last.service_name.clone(), last.key.clone()),
                None if versions => break,
                None => versions = true,
            }
        }
        self.state(&mut work, rotation, kind, &tree).await?;
        sealing_keys::retire_before(&work, tenant, to, self.clock.now()).await?;
        work.commit().await?;
        tracing::info!(%tenant, rotation = %rotation.rotation_id, rows = tree.leaves(), "completed a rotation");
        Ok(true)
    }

    /// Waits for whoever may have looked which key is the active one before the rotation began, and not yet committed what
    /// it sealed under that one. The statements look again when they write, and a statement that starts later sees the
    /// new key.
    async fn await_writers(&self) -> Result<()> {
        let db = self.db.global(LOGIN);
        let mut left: Vec<Option<String>> =
            store::writers(&db).await?.into_iter().map(|writer| writer.transaction).collect();
        let deadline = Instant::now() + LONGEST_WRITER;
        while !left.is_empty() {
            if Instant::now() > deadline {
                return Err(Error::SealingKey(
                    "a transaction on the sealed rows does not end; the rotation waits for it".to_owned(),
                ));
            }
            sleep(POLL).await;
            let still = store::writers(&db).await?;
            left.retain(|transaction| still.iter().any(|writer| writer.transaction == *transaction));
        }
        Ok(())
    }
}

/// The wrapped data key of a row that is under an earlier key than `to`, with that key's version.
pub(super) fn under_former(row: &store::Wrapped, to: i32) -> Option<(&[u8], i32)> {
    let version = row.sealing_key_version.filter(|version| *version < to)?;
    // A destroyed value has none.
    Some((row.wrapped_data_key.as_deref()?, version))
}

fn place(tenant: TenantId, row: &store::Wrapped) -> Place<'_> {
    Place { tenant, service: &row.service_name, key: &row.key, item_id: row.item_id, version: row.version }
}
