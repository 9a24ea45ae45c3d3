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
use crate::config::SgxConfig;
use crate::domain::slot::{KeyId, SlotKind};
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
        let configured = config.configured_key()?;
        let (platform, mut openers) = if config.enable_hardware_mode {
            let collateral = CollateralSource::new(&config.attestation, &base.clock)?;
            let (platform, openers) = Platform::start(platform, config, &base.clock, &collateral).await?;
            (Some(platform), openers)
        } else {
            (None, Vec::new())
        };
        openers.extend(configured.iter().map(|key| Opener::new(SlotKind::Configured, key)));
        let ring = Self::open_with(base, openers, configured.as_ref(), config.platform_key.into()).await?;
        let ring = Self { platform, ..ring };
        let root_key = hex::encode(ring.active_id());
        tracing::info!(%root_key, mode = ring.mode().as_str(), "opened the root key");
        Ok(ring)
    }

    /// Opens the root keys with these keys. In a fresh database the first one gets a slot for the platform's key of the kind
    /// that is wanted, and for the configured key.
    async fn open_with(
        base: &Base,
        openers: Vec<Opener>,
        configured: Option<&Key256>,
        wanted: SlotKind,
    ) -> Result<Self, StartError> {
        let db = &base.db;
        if store::roots(&db.global(LOGIN)).await?.is_empty() {
            let first =
                openers.iter().filter(|opener| opener.kind == wanted || opener.kind == SlotKind::Configured);
            make_first(db, first, configured, base.clock.now()).await?;
        }
        let stored = Stored::load(db).await?;
        stored.check_openers(&openers)?;
        let roots = stored.open(&openers, &HashMap::new())?;
        let needed = under(db).await?;
        if let Some(missing) =
            needed.iter().find(|id| !roots.opened.keys().any(|opened| opened == id.as_slice()))
        {
            return Err(stored.refusal(missing, &openers));
        }
        if let Some(opener) = openers.iter().find(|opener| opener.kind == wanted)
            && !stored.has_slot(&roots.active.id, opener)
        {
            tracing::warn!(
                kind = wanted.as_str(),
                "the platform's key has no slot: add one (POST /api/v1/sgx/slots), or the next start needs the configured key again"
            );
        }
        let secrets = open_secret_keys(db, &roots).await?;
        Ok(Self { db: db.clone(), openers, roots: RwLock::new(roots), secrets, platform: None })
    }

    /// Looks again at what the database holds: another process may have made a root key. What is open and in use stays open,
    /// also where the slot that it came from is retired.
    pub(crate) async fn reload(&self) -> Result<()> {
        let stored = Stored::load(&self.db).await?;
        let known = self.read(|roots| roots.opened.clone());
        let roots =
            stored.open(&self.openers, &known).map_err(|error| Error::SealingKey(error.to_string()))?;
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
            let opens = self.has_slot(&active.root_key_id, opener);
            if !opens && self.slots.iter().any(|slot| opener.fits(slot) && slot.state == "retired") {
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

    fn has_slot(&self, root_key_id: &[u8], opener: &Opener) -> bool {
        let slots =
            self.slots.iter().filter(|slot| slot.state == "active" && slot.root_key_id == root_key_id);
        slots.into_iter().any(|slot| opener.fits(slot))
    }

    /// Opens what the keys open; the active root key has to be among it.
    fn open(&self, openers: &[Opener], known: &HashMap<KeyId, Arc<Root>>) -> Result<Roots, StartError> {
        let mut opened = HashMap::new();
        for root in self.roots.iter().filter(|root| root.state != "retired") {
            let open = known.values().find(|open| open.id == *root.root_key_id).cloned();
            let open = match open {
                Some(open) => Some(open),
                None => self.open_one(&root.root_key_id, openers)?.map(Arc::new),
            };
            opened.extend(open.map(|root| (root.id, root)));
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
    roots: &HashMap<KeyId, Arc<Root>>,
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

#[cfg(test)]
mod tests {
    use nsl_testkit::TestDb;

    use super::*;

    /// The openers of a process in an enclave whose platform gives these keys.
    fn enclave(signer: u8, enclave: u8, configured: Option<&Key256>) -> Vec<Opener> {
        let mut openers = vec![
            Opener::new(SlotKind::Mrsigner, &Key256::from_platform(&[signer; 16])),
            Opener::new(SlotKind::Mrenclave, &Key256::from_platform(&[enclave; 16])),
        ];
        openers.extend(configured.map(|key| Opener::new(SlotKind::Configured, key)));
        openers
    }

    #[tokio::test]
    async fn a_key_of_the_safe_opens_what_a_change_of_microcode_locked() {
        let test = TestDb::new().await.unwrap();
        let base = test.base();
        let wanted = SlotKind::Mrsigner;
        let ring = RootRing::open_with(&base, enclave(1, 1, None), None, wanted).await.unwrap();
        let slots = store::slots(&base.db.global(LOGIN)).await.unwrap();
        let kinds: Vec<&str> = slots.iter().map(|slot| slot.kind.as_str()).collect();
        assert_eq!(kinds, ["mrsigner"], "the enclave's own key would be lost with the next build");

        // The safe's key gets a slot while the platform's still opens.
        let kept = Key256::generate();
        let caller = Caller::system(TenantId::DEFAULT, "test");
        let root = ring.root(&ring.active_id()).unwrap();
        let work = base.db.begin(LOGIN, &caller).await.unwrap();
        let safe = Opener::new(SlotKind::Configured, &kept);
        add_slot(&work, &safe, &root, Some("safe"), base.clock.now()).await.unwrap();
        work.commit().await.unwrap();
        // Another build by the same signer.
        let upgraded = RootRing::open_with(&base, enclave(1, 2, None), None, wanted).await.unwrap();
        assert_eq!(upgraded.active_id(), ring.active_id());

        // Other microcode: other keys.
        let Err(StartError::NoSlot { needs, given, .. }) =
            RootRing::open_with(&base, enclave(3, 3, None), None, wanted).await
        else {
            panic!("it opened");
        };
        let id = |key: &Key256| hex::encode(key.id());
        let platform = |byte: u8| id(&Key256::from_platform(&[byte; 16]));
        assert_eq!(needs, format!("configured key {} or mrsigner key {}", id(&kept), platform(1)));
        assert_eq!(given, format!("mrsigner key {0} and mrenclave key {0}", platform(3)));
        let openers = enclave(3, 3, Some(&kept));
        let saved = RootRing::open_with(&base, openers, Some(&kept), wanted).await.unwrap();
        assert_eq!(saved.active_id(), ring.active_id());
        assert!(saved.platform_opener(SlotKind::Mrsigner).is_some());
        // A key of the wrong kind opens nothing, though its bytes were the right ones.
        let misnamed = vec![Opener::new(SlotKind::Mrenclave, &kept)];
        assert!(RootRing::open_with(&base, misnamed, None, wanted).await.is_err());
    }

    /// A first build's database has to be opened with its key before an enclave can take it over.
    #[tokio::test]
    async fn an_enclave_alone_does_not_take_over_a_database_of_the_first_build() {
        let test = TestDb::new().await.unwrap();
        let base = test.base();
        let configured = Key256::generate();
        let client = test.client("postgres").await.unwrap();
        let insert = "INSERT INTO sgx.sealing_keys (tenant_id, version, wrapped_key, root_key_id) VALUES ($1, 1, '', $2)";
        client.execute(insert, &[&TenantId::DEFAULT, &configured.id().as_slice()]).await.unwrap();
        let alone = RootRing::open_with(&base, enclave(1, 1, None), None, SlotKind::Mrsigner).await;
        assert!(matches!(alone, Err(StartError::ForeignRootKey { .. })));
        let openers = enclave(1, 1, Some(&configured));
        let ring = RootRing::open_with(&base, openers, Some(&configured), SlotKind::Mrsigner).await.unwrap();
        assert_eq!(ring.active_id(), configured.id());
        let again = RootRing::open_with(&base, enclave(1, 1, None), None, SlotKind::Mrsigner).await.unwrap();
        assert_eq!(again.active_id(), configured.id(), "from now on the platform's slot opens it too");
    }
}
