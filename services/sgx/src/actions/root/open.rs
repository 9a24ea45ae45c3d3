//! Opening the root keys at the start; making or taking over the first one.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, RwLock};

use jiff::Timestamp;
use nsl_core::Caller;
use nsl_core::context::Base;
use nsl_core::db::{Db, UnitOfWork, tenants};
use nsl_core::ids::TenantId;
use nsl_crypto::envelope::Kek;
use nsl_crypto::key::Key256;
use uuid::Uuid;

use super::secrets::SecretKeys;
use super::slot::{Opener, Tried, name};
use super::{Root, RootRing, Roots, secret_key_place};
use crate::Result;
use crate::actions::LOGIN;
use crate::actions::attestation::collateral::CollateralSource;
use crate::actions::platform::{ATTESTATION_DIR, Platform};
use crate::config::{PlatformKey, SgxConfig};
use crate::domain::slot::SlotKind;
use crate::error::{Error, StartError};
use crate::store::roots as store;
use crate::store::sealing_keys;

impl RootRing {
    /// Opens every root key that is in use with the keys at hand, or refuses and names the keys that it needs. A fresh
    /// database gets its root key; one of the first build keeps the key that it was sealed under.
    pub async fn open(base: &Base, config: &SgxConfig) -> Result<Self, StartError> {
        Self::open_on(base, config, Path::new(ATTESTATION_DIR)).await
    }

    /// The same with another directory for the platform: a test's. No configuration leads here.
    pub async fn open_on(base: &Base, config: &SgxConfig, platform: &Path) -> Result<Self, StartError> {
        let db = &base.db;
        let configured = config.configured_key()?;
        let (platform, mut openers) = if config.enable_hardware_mode {
            let collateral = CollateralSource::new(&config.attestation, &base.clock)?;
            let (platform, openers) = Platform::start(platform, config, &base.clock, &collateral).await?;
            (Some(platform), openers)
        } else {
            (None, Vec::new())
        };
        openers.extend(configured.iter().map(|key| Opener::new(SlotKind::Configured, key)));
        if store::roots(&db.global(LOGIN)).await?.is_empty() {
            let kind = match config.platform_key {
                PlatformKey::Mrsigner => SlotKind::Mrsigner,
                PlatformKey::Mrenclave => SlotKind::Mrenclave,
            };
            let first =
                openers.iter().filter(|opener| opener.kind == kind || opener.kind == SlotKind::Configured);
            make_first(db, first, configured.as_ref(), base.clock.now()).await?;
        }
        let stored = Stored::load(db).await?;
        stored.check_openers(&openers)?;
        let roots = stored.open(&openers)?;
        let needed = under(db).await?;
        if let Some(missing) =
            needed.iter().find(|id| !roots.opened.keys().any(|opened| opened == id.as_slice()))
        {
            return Err(stored.refusal(missing, &openers));
        }
        let secrets = open_secret_keys(db, &roots).await?;
        let ring = Self { db: db.clone(), openers, roots: RwLock::new(roots), secrets, platform };
        let root_key = hex::encode(ring.active_id());
        tracing::info!(%root_key, mode = ring.mode().as_str(), "opened the root key");
        Ok(ring)
    }

    /// Looks again at what the database holds: another process may have made a root key.
    pub(crate) async fn reload(&self) -> Result<()> {
        let stored = Stored::load(&self.db).await?;
        let roots = stored.open(&self.openers).map_err(|error| Error::SealingKey(error.to_string()))?;
        self.replace(roots);
        Ok(())
    }
}

/// The root keys and slots as they are stored.
struct Stored {
    roots: Vec<store::Root>,
    slots: Vec<store::RootSlot>,
}

impl Stored {
    async fn load(db: &Db) -> Result<Self, nsl_core::db::DbError> {
        let read = db.global(LOGIN);
        Ok(Self { roots: store::roots(&read).await?, slots: store::slots(&read).await? })
    }

    fn active(&self) -> Result<&store::Root, StartError> {
        self.roots.iter().find(|root| root.state == "active").ok_or(StartError::NoActiveRoot)
    }

    /// Each key that the operator gave has to be of use: one whose slot was retired must not start a process, though
    /// another key would.
    fn check_openers(&self, openers: &[Opener]) -> Result<(), StartError> {
        let active = self.active()?;
        for opener in openers.iter().filter(|opener| opener.kind == SlotKind::Configured) {
            let fitting = || self.slots.iter().filter(|slot| opener.fits(slot));
            let opens =
                fitting().any(|slot| slot.state == "active" && slot.root_key_id == active.root_key_id);
            if !opens && fitting().any(|slot| slot.state == "retired") {
                return Err(StartError::RetiredSlot {
                    given: hex::encode(opener.id),
                    needs: self.needs(&active.root_key_id),
                });
            }
            if !opens {
                return Err(self.refusal(&active.root_key_id, openers));
            }
        }
        Ok(())
    }

    /// Opens what the keys open; the active root key has to be among it.
    fn open(&self, openers: &[Opener]) -> Result<Roots, StartError> {
        let mut opened = HashMap::new();
        for root in self.roots.iter().filter(|root| root.state != "retired") {
            if let Some(root) = self.open_one(&root.root_key_id, openers)? {
                opened.insert(root.id, Arc::new(root));
            }
        }
        let active = &self.active()?.root_key_id;
        match opened.values().find(|root| root.id == **active).cloned() {
            Some(active) => Ok(Roots { active, opened }),
            None => Err(self.refusal(active, openers)),
        }
    }

    fn open_one(&self, root_key_id: &[u8], openers: &[Opener]) -> Result<Option<Root>, StartError> {
        let mut damaged = None;
        for slot in self.slots.iter().filter(|slot| slot.root_key_id == root_key_id) {
            for opener in openers {
                match opener.open(slot) {
                    Tried::Opened(root) => return Ok(Some(root)),
                    Tried::NotFor => {}
                    Tried::Damaged => damaged = Some(slot.slot_id),
                }
            }
        }
        damaged.map_or(Ok(None), |slot_id| Err(StartError::DamagedSlot { slot_id }))
    }

    /// The keys that open a root key, by their public ids.
    fn needs(&self, root_key_id: &[u8]) -> String {
        let needs: BTreeSet<String> = self
            .slots
            .iter()
            .filter(|slot| slot.root_key_id == root_key_id && slot.state == "active")
            .map(|slot| name(&slot.kind, &slot.opener_id))
            .collect();
        if needs.is_empty() {
            return "nothing: every slot of it is retired".to_owned();
        }
        needs.into_iter().collect::<Vec<_>>().join(" or ")
    }

    fn refusal(&self, root_key_id: &[u8], openers: &[Opener]) -> StartError {
        let given: Vec<String> =
            openers.iter().map(|opener| name(opener.kind.as_str(), &opener.id)).collect();
        StartError::NoSlot {
            root: hex::encode(root_key_id),
            needs: self.needs(root_key_id),
            given: given.join(" and "),
        }
    }
}

/// The root keys that sealing keys of any tenant are under.
async fn under(db: &Db) -> Result<BTreeSet<Vec<u8>>, StartError> {
    let tenants: Vec<TenantId> =
        tenants::all(&db.global(LOGIN)).await?.into_iter().map(|tenant| tenant.id).collect();
    let rows = sealing_keys::root_key_ids(&db.read_many(LOGIN, &tenants)).await?;
    Ok(rows.into_iter().map(|row| row.root_key_id).collect())
}

/// Makes the first root key with a slot for each key at hand; in a database that the first build sealed, the configured
/// key stays the root key. Where another process does so at the same time, that one's stays.
async fn make_first(
    db: &Db,
    openers: impl Iterator<Item = &Opener>,
    configured: Option<&Key256>,
    now: Timestamp,
) -> Result<(), StartError> {
    let stored = under(db).await?;
    let given = configured.map(Key256::id);
    if let Some(foreign) = stored.iter().find(|id| given.is_none_or(|given| **id != given)) {
        return Err(StartError::ForeignRootKey {
            stored: hex::encode(foreign),
            given: given.map_or_else(|| "not set".to_owned(), hex::encode),
        });
    }
    let adopted = configured.filter(|_| !stored.is_empty());
    let root = Root::new(adopted.map_or_else(Key256::generate, |key| Key256::from_bytes(*key.expose())));
    let caller = Caller::system(TenantId::DEFAULT, "sgx");
    let work = db.begin(LOGIN, &caller).await?;
    if store::add_root(&work, &root.id).await?.is_none() {
        return Ok(work.rollback().await?);
    }
    for opener in openers {
        add_slot(&work, opener, &root, None, now).await?;
    }
    // What the first build sealed for other services is under this key. The first build made a sealing key at the first
    // put only, so a database without any may hold such secrets too.
    if let Some(configured) = configured {
        let former = configured.derive(&[b"nsl.sgx.secrets.v1"]);
        add_secret_key(&work, &configured.id(), &former, &root, adopted.is_some()).await?;
    }
    if adopted.is_none() {
        let key = Key256::generate();
        add_secret_key(&work, &key.id(), &key, &root, true).await?;
    }
    work.commit().await?;
    let root_key = hex::encode(root.id);
    if adopted.is_some() {
        tracing::info!(%root_key, "took over SGX_ENCRYPTION_KEY as the root key of a database of the first build");
    } else {
        tracing::info!(%root_key, "made the root key of this database");
    }
    Ok(())
}

/// Wraps a root key in a slot of its own.
pub(super) async fn add_slot(
    work: &UnitOfWork<'_>,
    opener: &Opener,
    root: &Root,
    label: Option<&str>,
    now: Timestamp,
) -> Result<store::RootSlot, nsl_core::db::DbError> {
    let slot_id = Uuid::now_v7();
    let wrapped = opener.wrap(slot_id, root);
    store::add_slot(work, slot_id, &root.id, opener.kind.as_str(), &opener.id, &wrapped, label, now).await
}

async fn add_secret_key(
    work: &UnitOfWork<'_>,
    id: &[u8],
    key: &Key256,
    root: &Root,
    is_active: bool,
) -> Result<(), StartError> {
    let wrapped = root.secret_keys.wrap_key(key, &secret_key_place(id));
    store::add_secret_key(work, id, &wrapped, &root.id, is_active).await?;
    Ok(())
}

/// Opens a stored key for other services' secrets.
pub(super) fn unwrap_secret_key(
    roots: &HashMap<super::KeyId, Arc<Root>>,
    row: &store::WrappedSecretKey,
) -> Option<Key256> {
    let root = roots.values().find(|root| root.id == *row.root_key_id)?;
    root.secret_keys.unwrap_key(&row.wrapped_key, &secret_key_place(&row.secret_key_id)).ok()
}

async fn open_secret_keys(db: &Db, roots: &Roots) -> Result<SecretKeys, StartError> {
    let mut opened = HashMap::new();
    let mut active = Vec::new();
    for row in store::secret_keys(&db.global(LOGIN)).await? {
        let key = unwrap_secret_key(&roots.opened, &row)
            .ok_or_else(|| StartError::DamagedSecretKey { id: hex::encode(&row.secret_key_id) })?;
        opened.insert(row.secret_key_id.clone(), Kek::new(&key));
        if row.is_active {
            active = row.secret_key_id;
        }
    }
    SecretKeys::new(active, opened).ok_or(StartError::DamagedSecretKey { id: "of new secrets".to_owned() })
}
