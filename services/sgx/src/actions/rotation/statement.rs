//! The signed statement at the end of a rotation, a C2SP signed note, and the key that signs it.

use nsl_core::db::{Audit, AuditResult, UnitOfWork};
use nsl_core::ids::TenantId;
use nsl_core::ports::{SealedSecret, SecretSealer as _};
use nsl_crypto::merkle::RootHasher;
use nsl_crypto::note::VerifierKey;
use nsl_crypto::signing::SigningKeyPair;

use super::{LOGIN, Rotation};
use crate::Result;
use crate::actions::Sgx;
use crate::domain::rotation::{Kind, Statement};
use crate::error::{Error, RotationError};
use crate::events::RotationCompleted;
use crate::store::{rotations, statement_keys as store};

/// The name of the key on its signatures.
const NAME: &str = "nsl.sgx/statements";
const PURPOSE: &str = "sgx.statements";

/// The key of this installation's statements.
pub(super) struct Signer {
    pub key: VerifierKey,
    pair: SigningKeyPair,
}

impl Sgx {
    /// The signing key, made at first use.
    pub(super) async fn statement_signer(&self) -> Result<Signer> {
        let db = self.db.global(LOGIN);
        let mut row = store::statement_key(&db, NAME).await?;
        if row.is_none() {
            let pair = SigningKeyPair::generate();
            let sealed = self.keys.root().seal(PURPOSE, NAME, pair.expose_pkcs8()).await?;
            // Of no tenant; where another process makes one at the same time, that one's stays.
            let write = self.db.write(LOGIN, TenantId::DEFAULT);
            store::add_statement_key(&write, NAME, pair.public_key(), &sealed.bytes, &sealed.root_key_id)
                .await?;
            row = store::statement_key(&db, NAME).await?;
        }
        let row = row.ok_or_else(|| Error::SealingKey("the key of statements vanished".to_owned()))?;
        let sealed = SealedSecret { bytes: row.sealed_key, root_key_id: row.secret_key_id };
        let damaged = || Error::Integrity("the key of statements does not open".to_owned());
        let pkcs8 = self.keys.root().open(PURPOSE, NAME, &sealed).await?;
        let pair = SigningKeyPair::from_pkcs8(&pkcs8).map_err(|_| damaged())?;
        if row.public_key != pair.public_key() {
            return Err(damaged());
        }
        let key = VerifierKey::new(NAME, pair.public_key()).map_err(|_| damaged())?;
        Ok(Signer { key, pair })
    }

    /// Writes the statement with its event and audit row into the transaction whose snapshot it is about.
    pub(super) async fn state(
        &self,
        work: &mut UnitOfWork<'_>,
        rotation: &Rotation,
        kind: Kind,
        tree: &RootHasher,
    ) -> Result<()> {
        let now = self.clock.now();
        let root = tree.root();
        let statement = Statement {
            rotation_id: rotation.rotation_id,
            tenant: rotation.tenant_id,
            kind,
            from: &rotation.from_key,
            to: &rotation.to_key,
            rows: tree.leaves(),
            root,
            at: now,
        };
        let signer = self.statement_signer().await?;
        let note = signer.key.sign(&statement.text(), &signer.pair);
        let (tenant, id) = (rotation.tenant_id, rotation.rotation_id);
        if rotations::complete(work, tenant, id, &note, now).await?.is_none() {
            return Err(RotationError::NotFound.into());
        }
        let merkle_root = format!("sha256:{}", hex::encode(root));
        let completed = RotationCompleted {
            rotation_id: id,
            kind: kind.as_str(),
            from: &rotation.from_key,
            to: &rotation.to_key,
            rows: tree.leaves(),
            merkle_root: &merkle_root,
            statement: &note,
        };
        work.event(format!("sgx.rotation/{id}"), &completed)?;
        let mut entry =
            Audit::new("sgx", "ROTATION_COMPLETED", "rotation", id.to_string(), AuditResult::Success);
        entry.metadata = serde_json::json!({
            "kind": kind.as_str(), "from": rotation.from_key, "to": rotation.to_key, "rows": tree.leaves(),
            "merkleRoot": merkle_root,
        });
        work.audit(entry);
        Ok(())
    }
}
