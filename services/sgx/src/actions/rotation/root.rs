//! Rotation of the root key: the sealing keys of all tenants are wrapped anew. They are few, so one walk does it.

use nsl_core::Caller;
use nsl_core::db::UnitOfWork;
use nsl_core::ids::TenantId;
use nsl_crypto::merkle::RootHasher;
use uuid::Uuid;

use super::{LOGIN, Order, Rotation};
use crate::Result;
use crate::actions::Sgx;
use crate::domain::rotation::{Kind, key_leaf};
use crate::error::Error;
use crate::store::{roots, rotations as store};

const PAGE: i64 = 500;

impl Sgx {
    pub(super) async fn begin_root(
        &self,
        work: &UnitOfWork<'_>,
        caller: &Caller,
        order: &Order,
    ) -> Result<Rotation> {
        let new = self.keys.root().add_root(work, self.clock.now()).await?;
        let total = roots::under_root(work, &new.former).await?.sealing_keys;
        let (from, to) = (hex::encode(new.former), hex::encode(new.id));
        tracing::info!(%from, %to, slots = new.slots.len(), "made the next root key");
        for slot in &new.left_out {
            tracing::warn!(
                slot = %slot.slot_id, kind = slot.kind, label = slot.label,
                "the key of this slot is not at hand: it does not open the new root key; add a slot for it"
            );
        }
        self.add_rotation(work, caller, Kind::Root, (&from, &to), total, order).await
    }

    /// Wraps what is under another root key than the new one, then states that nothing is left.
    pub(super) async fn advance_root(&self, rotation: &Rotation, tenants: &[TenantId]) -> Result<()> {
        let to = hex::decode(&rotation.to_key).map_err(|error| Error::SealingKey(error.to_string()))?;
        if self.keys.root().active_id() != *to {
            self.keys.root().reload().await?;
        }
        let mut after = (Uuid::nil(), 0);
        loop {
            let keys = store::tenant_keys(&self.db.read_many(LOGIN, tenants), after.0, after.1, PAGE).await?;
            let Some(last) = keys.last() else { break };
            after = (last.tenant_id.0, last.version);
            let mut moved = 0;
            for key in keys.iter().filter(|key| key.root_key_id != to) {
                if !self.rewrap_tenant_key(key).await? {
                    let failure = format!(
                        "sealing key {} of tenant {} does not open, and stays under the former root key. Restore its row \
                         from a backup, then rotate again.",
                        key.version, key.tenant_id
                    );
                    return self.fail_rotation(rotation, &failure).await;
                }
                moved += 1;
            }
            let write = self.db.write(LOGIN, rotation.tenant_id);
            let (tenant, id) = (rotation.tenant_id, rotation.rotation_id);
            store::progress(&write, tenant, id, moved, &serde_json::Value::Null, self.clock.now()).await?;
        }
        self.conclude_root(rotation, tenants, &to).await
    }

    /// False if it does not open under the root key that it names.
    async fn rewrap_tenant_key(&self, row: &store::TenantKey) -> Result<bool> {
        let (root, tenant) = (self.keys.root(), row.tenant_id);
        let Ok(key) = root.unwrap_tenant_key(&row.root_key_id, tenant, row.version, &row.wrapped_key) else {
            return Ok(false);
        };
        let (id, wrapped) = root.wrap_tenant_key(tenant, row.version, &key);
        let write = self.db.write(LOGIN, tenant);
        // Whoever else changed it meanwhile has moved it too.
        store::rewrap_tenant_key(&write, tenant, row.version, &row.wrapped_key, &wrapped, &id).await?;
        Ok(true)
    }

    /// New keys are made under the active root key only, which their statement checks under a lock: what is missing in
    /// this snapshot is under the new one.
    async fn conclude_root(&self, rotation: &Rotation, tenants: &[TenantId], to: &[u8]) -> Result<()> {
        let caller = Caller::system(rotation.tenant_id, "sgx.rotation");
        let mut work = self.db.begin_snapshot(LOGIN, &caller, tenants).await?;
        let mut tree = RootHasher::new();
        let mut after = (Uuid::nil(), 0);
        loop {
            let keys = store::tenant_keys(&work, after.0, after.1, PAGE).await?;
            let Some(last) = keys.last() else { break };
            after = (last.tenant_id.0, last.version);
            for key in &keys {
                if key.root_key_id != to {
                    // Made while this walked: the next step moves it.
                    return Ok(work.rollback().await?);
                }
                tree.push(key_leaf(key.tenant_id.0, key.version, &key.root_key_id, &key.wrapped_key));
            }
        }
        for key in roots::secret_keys(&work).await? {
            if key.root_key_id != to {
                return Err(Error::SealingKey("a key for secrets is under a former root key".to_owned()));
            }
            tree.push(key_leaf(Uuid::nil(), 0, &key.root_key_id, &key.wrapped_key));
        }
        self.state(&mut work, rotation, Kind::Root, &tree).await?;
        for former in self.keys.root().superseded().await? {
            self.keys.root().retire_root(&work, &former, self.clock.now()).await?;
        }
        work.commit().await?;
        self.keys.root().reload().await?;
        tracing::info!(rotation = %rotation.rotation_id, keys = tree.leaves(), "completed a rotation of the root key");
        Ok(())
    }
}
