//! The health check: seals a random value, writes its row, reads it back, opens it, and rolls everything back.

use async_trait::async_trait;
use nsl_core::Caller;
use nsl_core::health::{Finding, HealthCheck};
use nsl_core::ids::TenantId;
use nsl_crypto::digest::fingerprint;
use nsl_crypto::random;
use serde_json::json;
use uuid::Uuid;

use super::{LOGIN, Sgx, all_tenants};
use crate::Result;
use crate::domain::{Binding, Stored, open};
use crate::error::Error;
use crate::store::items as store;

impl Sgx {
    async fn round_trip(&self) -> Result<()> {
        let tenant = TenantId::DEFAULT;
        let item_id = Uuid::now_v7();
        let key = item_id.to_string();
        let now = self.clock.now();
        let value: [u8; 32] = random::bytes();
        let binding = Binding {
            tenant,
            service: "nsl.health",
            key: &key,
            item_id,
            version: 1,
            policy: "MRSIGNER",
            policy_name: None,
            access: None,
            content: None,
            metadata: None,
            created_at: now,
            created_by: "system:health",
            updated_at: now,
            updated_by: "system:health",
            expires_at: None,
        };
        let sealing = self.keys.for_sealing(tenant).await?;
        let sealed = sealing.kek.seal_value(&value, &binding.data_key(sealing.version), &binding.value());
        let caller = Caller::system(tenant, "health");
        let work = self.db.begin(LOGIN, &caller).await?;
        store::probe(
            &work,
            tenant,
            item_id,
            Some(sealing.version),
            Some(&sealed.wrapped_data_key),
            &sealed.ciphertext,
            32,
            &fingerprint(&sealed.ciphertext),
            "aes-256-gcm",
            now,
        )
        .await?;
        let row = store::sealed(&work, tenant, "nsl.health", &key).await?.ok_or(Error::NotFound)?;
        work.rollback().await?;
        let stored = Stored {
            encryption: &row.encryption,
            wrapped_data_key: row.wrapped_data_key.as_deref(),
            sealed_data: row.sealed_data.as_deref().unwrap_or_default(),
            original_size: row.original_size,
            sealed_size: row.sealed_size,
            fingerprint: &row.fingerprint,
        };
        let opened = open(&stored, &binding, Some((&sealing.kek, sealing.version)), false)
            .map_err(|reason| Error::Integrity(reason.to_owned()))?;
        if *opened != value {
            return Err(Error::Integrity("another value came back".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl HealthCheck for Sgx {
    async fn check(&self) -> Finding {
        if let Err(error) = self.round_trip().await {
            let reason = match error {
                Error::Db(nsl_core::db::DbError::Unavailable(_)) => {
                    "the database is not reachable".to_owned()
                }
                other => format!("a value could not be sealed and opened again: {other}"),
            };
            return Finding::unhealthy(reason);
        }
        let items = match all_tenants(&self.db).await {
            Ok(tenants) => store::count(&self.db.read_many(LOGIN, &tenants)).await.ok().map(|row| row.count),
            Err(_) => None,
        };
        let data = json!({
            "mode": self.keys.root().mode().as_str(),
            "encryption": if self.config.database.enable_encryption { "aes-256-gcm" } else { "none" },
            "itemCount": items,
            "rootKeyId": hex::encode(self.keys.root().active_id()),
        });
        if self.config.database.enable_encryption {
            Finding::healthy(data)
        } else {
            Finding::degraded("SGX:Database:EnableEncryption is false: new values are stored unsealed", data)
        }
    }
}
