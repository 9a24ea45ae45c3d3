//! The keys that sign access tokens: made when they are due, published before their first use, wrapped by the enclave.
//! Everything here runs as neo_enclave; other processes see the public columns only.

use std::sync::{Arc, PoisonError, RwLock};

use jiff::{SignedDuration, Timestamp};
use nsl_core::Caller;
use nsl_core::context::Base;
use nsl_core::db::{Audit, AuditResult, Login, UnitOfWork};
use nsl_core::ids::TenantId;
use nsl_core::ports::{SealedSecret, SecretSealer, TokenSigner};
use nsl_crypto::signing::SigningKeyPair;

use super::SERVICE;
use crate::domain::rotation::{next, superseded};
use crate::domain::token::{Claims, Signer, thumbprint};
use crate::error::{Error, StartError};
use crate::store::signing_keys::{self as store, WrappedKey};

/// What the wrapping binds the key to, with its kid.
const PURPOSE: &str = "auth.signing-key";

/// The keys that sign, each from its first use on. All processes change to the next one at the same moment, since each
/// has had it for an hour.
pub(crate) struct Ring(RwLock<Arc<Vec<Slot>>>);

#[derive(Clone)]
struct Slot {
    begins: Timestamp,
    signer: Arc<Signer>,
}

impl Ring {
    /// One key for ever: the shared secret.
    pub(super) fn shared(signer: Signer) -> Self {
        let slot = Slot { begins: Timestamp::UNIX_EPOCH, signer: Arc::new(signer) };
        Self(RwLock::new(Arc::new(vec![slot])))
    }

    fn slots(&self) -> Arc<Vec<Slot>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The key that signs now: the latest whose time has come. Where no key's time has come, the first: the clocks of
    /// two hosts differ.
    pub(super) fn signer(&self, now: Timestamp) -> Option<Arc<Signer>> {
        let slots = self.slots();
        let come = slots.iter().rev().find(|slot| slot.begins <= now);
        come.or_else(|| slots.first()).map(|slot| Arc::clone(&slot.signer))
    }

    pub(super) fn sign(&self, claims: &Claims, now: Timestamp) -> crate::Result<String> {
        let signer =
            self.signer(now).ok_or_else(|| Error::internal("there is no key that signs access tokens"))?;
        signer.sign(claims).map_err(Error::internal)
    }
}

/// Where access tokens are signed.
pub(super) enum Signing {
    /// In this process.
    Here(Arc<Ring>),
    /// In the enclave's.
    Apart(Arc<dyn TokenSigner>),
}

impl Signing {
    pub(super) async fn sign(&self, claims: &Claims, now: Timestamp) -> crate::Result<String> {
        match self {
            Self::Here(ring) => ring.sign(claims, now),
            Self::Apart(signer) => {
                let claims = serde_json::to_value(claims).map_err(Error::internal)?;
                signer.sign(&claims).await.map_err(Error::Enclave)
            }
        }
    }
}

/// Makes and retires keys, and keeps the ring of this process in step.
pub(crate) struct Rotation {
    base: Base,
    sealer: Arc<dyn SecretSealer>,
    every: SignedDuration,
    ring: Arc<Ring>,
}

impl Rotation {
    /// The rotation with its first step done: there is a key to sign with.
    pub(super) async fn start(
        base: &Base,
        sealer: Arc<dyn SecretSealer>,
        every: SignedDuration,
    ) -> Result<Self, StartError> {
        let ring = Arc::new(Ring(RwLock::new(Arc::new(Vec::new()))));
        let rotation = Self { base: base.clone(), sealer, every, ring };
        rotation.step().await?;
        Ok(rotation)
    }

    pub(super) fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring)
    }

    /// Makes the next key if it is due, retires those that have had a successor for long enough, and takes over what
    /// there is. Any number of processes may do it at the same time: one of them makes the key.
    pub(crate) async fn step(&self) -> Result<(), StartError> {
        let now = self.base.clock.now();
        let mut keys = store::living(&self.base.db.global(Login::Enclave)).await?;
        if self.is_work(&keys, now) {
            keys = self.change(now).await?;
        }
        let known = self.ring.slots();
        let mut slots = Vec::with_capacity(keys.len());
        for key in keys {
            let signer = match known.iter().find(|slot| slot.signer.kid() == key.kid) {
                Some(slot) => Arc::clone(&slot.signer),
                None => Arc::new(open(&key, self.sealer.as_ref()).await?),
            };
            slots.push(Slot { begins: key.not_before, signer });
        }
        *self.ring.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(slots);
        Ok(())
    }

    fn is_work(&self, keys: &[WrappedKey], now: Timestamp) -> bool {
        let begins = begins(keys);
        next(&begins, self.every, now).is_some() || superseded(&begins, now) > 0
    }

    async fn change(&self, now: Timestamp) -> Result<Vec<WrappedKey>, StartError> {
        // Made and wrapped before the transaction; dropped if another process was first.
        let pair = SigningKeyPair::generate();
        let kid = thumbprint(pair.public_key());
        let sealed = self
            .sealer
            .seal(PURPOSE, &kid, pair.expose_pkcs8())
            .await
            .map_err(|error| StartError::Sealer(error.to_string()))?;
        let caller = Caller::system(TenantId::DEFAULT, SERVICE);
        let mut work = self.base.db.begin(Login::Enclave, &caller).await?;
        store::lock(&work).await?;
        let keys = store::living(&work).await?;
        let begins = begins(&keys);
        if let Some(begin) = next(&begins, self.every, now) {
            let (bytes, root) = (&sealed.bytes, &sealed.root_key_id);
            store::add(&work, &kid, pair.public_key(), bytes, root, now, begin).await?;
            audit(&mut work, "CREATE_SIGNING_KEY", &kid);
        }
        for key in &keys[..superseded(&begins, now)] {
            store::retire(&work, &key.kid, now).await?;
            audit(&mut work, "RETIRE_SIGNING_KEY", &key.kid);
        }
        let keys = store::living(&work).await?;
        work.commit().await?;
        Ok(keys)
    }
}

fn begins(keys: &[WrappedKey]) -> Vec<Timestamp> {
    keys.iter().map(|key| key.not_before).collect()
}

fn audit(work: &mut UnitOfWork<'_>, action: &'static str, kid: &str) {
    work.audit(Audit::new(SERVICE, action, "signing_key", kid, AuditResult::Success));
}

async fn open(key: &WrappedKey, sealer: &dyn SecretSealer) -> Result<Signer, StartError> {
    let kid = key.kid.clone();
    let sealed =
        SealedSecret { bytes: key.wrapped_private_key.clone(), root_key_id: key.root_key_id.clone() };
    let Ok(pkcs8) = sealer.open(PURPOSE, &kid, &sealed).await else {
        return Err(StartError::SigningKeyLocked { kid });
    };
    match SigningKeyPair::from_pkcs8(&pkcs8) {
        Ok(pair) if thumbprint(pair.public_key()) == kid => Ok(Signer::ed25519(&pair)),
        _ => Err(StartError::SigningKeyDamaged { kid }),
    }
}
