//! Sealing values themselves anew, each under a fresh data key: the bytes and their fingerprint change, the value and its
//! version do not. A streamed value's data key is wrapped anew; its chunks stay.

use std::collections::BTreeSet;

use nsl_core::ids::TenantId;
use nsl_crypto::digest::fingerprint;
use uuid::Uuid;

use super::tenant::under_former;
use super::{LOGIN, Rotation};
use crate::Result;
use crate::actions::Sgx;
use crate::domain::rotation::{Walk, rewrap};
use crate::domain::{Binding, open};
use crate::error::Error;
use crate::events::{ItemResealed, ResealedVersion};
use crate::store::rotations::Wrapped;
use crate::store::whole::{self as store, Whole};

/// A value as it is stored from now on; without `sealed` its bytes stay.
struct Anew {
    wrapped: Vec<u8>,
    sealed: Option<Vec<u8>>,
    fingerprint: Option<String>,
}

impl Sgx {
    /// Seals the items anew of which one of these rows is under a former key, each with its former versions.
    pub(super) async fn reseal(
        &self,
        rotation: &Rotation,
        to: i32,
        walk: &mut Walk,
        rows: &[Wrapped],
    ) -> Result<u64> {
        let tenant = rotation.tenant_id;
        let mut items = BTreeSet::new();
        let mut moved = 0;
        for row in rows.iter().filter(|row| under_former(row, to).is_some()) {
            if items.insert(row.item_id) {
                moved += self.reseal_item(tenant, to, walk, row).await?;
            }
        }
        Ok(moved)
    }

    async fn reseal_item(&self, tenant: TenantId, to: i32, walk: &mut Walk, row: &Wrapped) -> Result<u64> {
        let read = self.db.read(LOGIN, tenant);
        let current = store::whole_items(&read, tenant, &[&row.service_name], &[&row.key]).await?;
        let Some(current) = current.into_iter().find(|current| current.item_id == row.item_id) else {
            // A version of an item that is gone.
            walk.damaged += 1;
            return Ok(0);
        };
        let versions = store::versions_before(&read, tenant, row.item_id, to).await?;
        let under = |whole: &Whole| {
            whole.wrapped_data_key.is_some() && whole.sealing_key_version.is_some_and(|version| version < to)
        };
        let key = self.keys.for_sealing(tenant).await?;
        let mut anew = Vec::with_capacity(versions.len() + 1);
        for whole in std::iter::once(&current).filter(|current| under(current)).chain(&versions) {
            let Some(sealed) = self.seal_anew(tenant, whole, &key).await? else {
                walk.damaged += 1;
                return Ok(0);
            };
            walk.met += 1;
            anew.push((whole, sealed));
        }
        let (of_current, of_versions): (Vec<_>, Vec<_>) =
            anew.iter().partition(|(whole, _)| whole.revision > 0);
        let of_current = of_current.first().map(|(_, anew)| anew);
        let event = serde_json::to_value(ItemResealed {
            service: &current.service_name,
            key: &current.key,
            item_id: current.item_id,
            version: current.version,
            fingerprint: of_current
                .and_then(|anew| anew.fingerprint.as_deref())
                .unwrap_or(&current.fingerprint),
            deleted: current.deleted_at.is_some(),
            versions: of_versions
                .iter()
                .map(|(whole, anew)| ResealedVersion {
                    version: whole.version,
                    fingerprint: anew.fingerprint.as_deref().unwrap_or(&whole.fingerprint),
                })
                .collect(),
        })
        .map_err(|error| Error::Integrity(error.to_string()))?;
        let written = store::reseal(
            &self.db.write(LOGIN, tenant),
            tenant,
            &current.service_name,
            &current.key,
            current.item_id,
            current.revision,
            key.version,
            of_current.map(|anew| anew.wrapped.as_slice()),
            of_current.and_then(|anew| anew.sealed.as_deref()),
            of_current.and_then(|anew| anew.fingerprint.as_deref()),
            &of_versions.iter().map(|(whole, _)| whole.version).collect::<Vec<_>>(),
            &of_versions
                .iter()
                .map(|(whole, _)| whole.wrapped_data_key.as_deref().unwrap_or_default())
                .collect::<Vec<_>>(),
            &of_versions.iter().map(|(_, anew)| anew.wrapped.as_slice()).collect::<Vec<_>>(),
            &of_versions.iter().map(|(_, anew)| anew.sealed.as_deref()).collect::<Vec<_>>(),
            &of_versions.iter().map(|(_, anew)| anew.fingerprint.as_deref()).collect::<Vec<_>>(),
            Uuid::now_v7(),
            &event,
            "system:sgx.rotation",
        )
        .await?;
        if written.is_none() {
            // Somebody changed it: it is met again.
            return Ok(0);
        }
        self.db.recorded().notify_one();
        Ok(u64::try_from(anew.len()).unwrap_or_default())
    }

    /// None if the value does not open.
    async fn seal_anew(
        &self,
        tenant: TenantId,
        whole: &Whole,
        key: &crate::actions::keys::SealingKey,
    ) -> Result<Option<Anew>> {
        let (Some(version), Some(wrapped)) = (whole.sealing_key_version, whole.wrapped_data_key.as_deref())
        else {
            return Ok(None);
        };
        let Some(old) = self.keys.for_opening(tenant, version).await? else { return Ok(None) };
        let binding = Binding::of(tenant, whole);
        if whole.content_id.is_some() {
            let place = binding.place();
            let moved = rewrap(&place, wrapped, (&old.kek, version), (&key.kek, key.version));
            return Ok(moved.ok().map(|wrapped| Anew {
                wrapped: wrapped.to_vec(),
                sealed: None,
                fingerprint: None,
            }));
        }
        let Ok(value) = open(&whole.stored(), &binding, Some((&old.kek, version)), false) else {
            return Ok(None);
        };
        let sealed = key.kek.seal_value(&value, &binding.data_key(key.version), &binding.value());
        Ok(Some(Anew {
            wrapped: sealed.wrapped_data_key.to_vec(),
            fingerprint: Some(fingerprint(&sealed.ciphertext)),
            sealed: Some(sealed.ciphertext),
        }))
    }
}
