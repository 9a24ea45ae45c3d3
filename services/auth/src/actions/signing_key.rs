//! The key that signs access tokens: found or made at the start, wrapped by the enclave. Everything here runs as
//! neo_enclave; other processes see the public columns only.

use jiff::Timestamp;
use nsl_core::Caller;
use nsl_core::context::Base;
use nsl_core::db::{Audit, AuditResult, DbError, Login, UnitOfWork};
use nsl_core::ids::TenantId;
use nsl_core::ports::{SealedSecret, SecretSealer};
use nsl_crypto::signing::SigningKeyPair;

use super::SERVICE;
use crate::domain::token::{Signer, thumbprint};
use crate::error::StartError;
use crate::store::signing_keys::{self as store, WrappedKey};

/// What the wrapping binds the key to, with its kid.
const PURPOSE: &str = "auth.signing-key";

/// The present key, or a new one where there is none.
pub(super) async fn find_or_make(base: &Base, sealer: &dyn SecretSealer) -> Result<Signer, StartError> {
    let now = base.clock.now();
    if let Some(key) = store::current(&base.db.global(Login::Enclave), now).await? {
        return open(key, sealer);
    }
    // Made and wrapped before the transaction; dropped if another process was first.
    let pair = SigningKeyPair::generate();
    let kid = thumbprint(pair.public_key());
    let sealed = sealer
        .seal(PURPOSE, &kid, pair.expose_pkcs8())
        .map_err(|error| StartError::Sealer(error.to_string()))?;
    let caller = Caller::system(TenantId::DEFAULT, SERVICE);
    let mut work = base.db.begin(Login::Enclave, &caller).await?;
    if let Some(key) = add_unless_there(&work, &pair, &kid, &sealed, now).await? {
        work.rollback().await?;
        return open(key, sealer);
    }
    work.audit(Audit::new(SERVICE, "CREATE_SIGNING_KEY", "signing_key", kid, AuditResult::Success));
    work.commit().await?;
    Ok(Signer::ed25519(&pair))
}

/// The key that another process made in the meantime, else stores this one.
async fn add_unless_there(
    work: &UnitOfWork<'_>,
    pair: &SigningKeyPair,
    kid: &str,
    sealed: &SealedSecret,
    now: Timestamp,
) -> Result<Option<WrappedKey>, DbError> {
    store::lock(work).await?;
    let there = store::current(work, now).await?;
    if there.is_none() {
        store::add(work, kid, pair.public_key(), &sealed.bytes, &sealed.root_key_id, now).await?;
    }
    Ok(there)
}

fn open(key: WrappedKey, sealer: &dyn SecretSealer) -> Result<Signer, StartError> {
    let kid = key.kid;
    let sealed = SealedSecret { bytes: key.wrapped_private_key, root_key_id: key.root_key_id };
    let Ok(pkcs8) = sealer.open(PURPOSE, &kid, &sealed) else {
        return Err(StartError::SigningKeyLocked { kid });
    };
    match SigningKeyPair::from_pkcs8(&pkcs8) {
        Ok(pair) if thumbprint(pair.public_key()) == kid => Ok(Signer::ed25519(&pair)),
        _ => Err(StartError::SigningKeyDamaged { kid }),
    }
}
