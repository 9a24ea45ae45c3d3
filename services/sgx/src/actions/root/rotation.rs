//! The next root key, and the end of a former one. What is under the former one is moved by a rotation, between the two.

use jiff::Timestamp;
use nsl_core::db::UnitOfWork;
use nsl_crypto::key::Key256;

use super::open::{add_slot, unwrap_secret_key};
use super::{Root, RootRing, secret_key_place};
use crate::Result;
use crate::domain::slot::KeyId;
use crate::error::{Error, RootError};
use crate::store::roots as store;

/// A root key that was made and is not committed yet.
pub(crate) struct NewRoot {
    pub id: KeyId,
    /// The one that it follows, now superseded.
    pub former: KeyId,
    /// Where it lies.
    pub slots: Vec<store::RootSlot>,
    /// Slots of the former root key whose keys are not at hand: they do not open the new one, and have to be added again.
    pub left_out: Vec<store::RootSlot>,
}

impl RootRing {
    /// Makes the next root key, in a slot for each key at hand that opens the former one. The keys for other services'
    /// secrets go under it at once; tenants' keys stay under the former until a rotation moves them. After the commit the
    /// caller calls [`RootRing::reload`].
    pub(crate) async fn add_root(&self, work: &UnitOfWork<'_>, now: Timestamp) -> Result<NewRoot> {
        let former = store::lock_roots(work).await?.into_iter().find(|root| root.state == "active");
        let former = former.ok_or_else(|| Error::SealingKey("there is no active root key".to_owned()))?;
        let former_root = self
            .root(&former.root_key_id)
            .ok_or_else(|| Error::SealingKey("another process has just made a root key".to_owned()))?;
        let root = Root::new(Key256::generate());
        store::supersede_root(work, &former.root_key_id).await?;
        store::add_root(work, &root.id)
            .await?
            .ok_or_else(|| Error::SealingKey("there is a root key with this id".to_owned()))?;
        let (mut slots, mut left_out) = (Vec::new(), Vec::new());
        let active = store::slots(work)
            .await?
            .into_iter()
            .filter(|slot| slot.root_key_id == former.root_key_id && slot.state == "active");
        for slot in active {
            match self.opener_of(&slot) {
                Some(opener) => {
                    slots.push(add_slot(work, opener, &root, slot.label.as_deref(), now).await?);
                }
                None => left_out.push(slot),
            }
        }
        if slots.is_empty() {
            return Err(Error::SealingKey("no key at hand opens a slot any more".to_owned()));
        }
        let opened = self.read(|roots| roots.opened.clone());
        for row in store::secret_keys(work).await? {
            let key = unwrap_secret_key(&opened, &row)
                .ok_or_else(|| Error::SealingKey("a key for secrets does not open".to_owned()))?;
            let wrapped = root.secret_keys.wrap_key(&key, &secret_key_place(&row.secret_key_id));
            store::rewrap_secret_key(work, &row.secret_key_id, &wrapped, &root.id).await?;
        }
        Ok(NewRoot { id: root.id, former: former_root.id, slots, left_out })
    }

    /// Root keys that are superseded and not retired, oldest first.
    pub(crate) async fn superseded(&self) -> Result<Vec<KeyId>> {
        let roots = store::roots(&self.db.global(crate::actions::LOGIN)).await?;
        let superseded = roots.iter().filter(|root| root.state == "superseded");
        Ok(superseded.filter_map(|root| root.root_key_id.as_slice().try_into().ok()).collect())
    }

    /// Ends a superseded root key: its slots are wiped, and nothing opens it any more. Refused while anything is under it.
    /// The transaction has to see every tenant's rows. After the commit the caller calls [`RootRing::reload`].
    pub(crate) async fn retire_root(
        &self,
        work: &UnitOfWork<'_>,
        root_key_id: &[u8],
        now: Timestamp,
    ) -> Result<()> {
        // Held, so that nobody is just putting a key under it; a key is made under the active one only.
        let roots = store::lock_roots(work).await?;
        if !roots.iter().any(|root| root.root_key_id == root_key_id && root.state == "superseded") {
            return Err(Error::Root(RootError::NotSuperseded));
        }
        let under = store::under_root(work, root_key_id).await?;
        if under.sealing_keys + under.secret_keys > 0 {
            return Err(Error::Root(RootError::InUse { keys: under.sealing_keys + under.secret_keys }));
        }
        store::retire_root(work, root_key_id).await?;
        store::wipe_slots_of(work, root_key_id, now).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nsl_core::Caller;
    use nsl_core::config::Secret;
    use nsl_core::context::Base;
    use nsl_core::db::tenants;
    use nsl_core::ids::TenantId;
    use nsl_core::ports::SecretSealer as _;
    use nsl_crypto::key::Key256;
    use nsl_testkit::TestDb;

    use super::*;
    use crate::actions::LOGIN;
    use crate::actions::root::UnwrapError;
    use crate::actions::root::slot::Opener;
    use crate::config::SgxConfig;
    use crate::domain::slot::SlotKind;
    use crate::store::sealing_keys;

    async fn ring(base: &Base, key: &str) -> Result<RootRing, crate::StartError> {
        let mut config = SgxConfig::default();
        config.database.encryption_key = Some(Secret::new(key.to_owned()));
        RootRing::open(base, &config).await
    }

    const KEY: &str = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";
    const TENANT: TenantId = TenantId::DEFAULT;

    fn same(a: &Key256, b: &Key256) -> bool {
        a.expose() == b.expose()
    }

    #[tokio::test]
    async fn a_root_key_follows_another_and_the_former_ends_when_nothing_is_under_it() {
        let test = TestDb::new().await.unwrap();
        let base = test.base();
        let (ours, theirs) = (ring(&base, KEY).await.unwrap(), ring(&base, KEY).await.unwrap());
        let caller = Caller::system(TENANT, "test");
        let sealed = ours.seal("test.purpose", "a", b"secret").await.unwrap();
        let key = Key256::generate();
        let (first, wrapped) = ours.wrap_tenant_key(TENANT, 1, &key);
        let write = base.db.write(LOGIN, TENANT);
        assert!(sealing_keys::add_sealing_key(&write, TENANT, 1, &wrapped, &first).await.unwrap().is_some());
        // A slot of a key that is not at hand here.
        let now = base.clock.now();
        let elsewhere = Opener::new(SlotKind::Configured, &Key256::generate());
        let work = base.db.begin(LOGIN, &caller).await.unwrap();
        add_slot(&work, &elsewhere, &ours.root(&first).unwrap(), Some("vault"), now).await.unwrap();
        work.commit().await.unwrap();

        let work = base.db.begin(LOGIN, &caller).await.unwrap();
        let new = ours.add_root(&work, now).await.unwrap();
        work.commit().await.unwrap();
        ours.reload().await.unwrap();
        assert_eq!((new.former, ours.active_id()), (first, new.id));
        assert_eq!((new.slots.len(), new.left_out.len()), (1, 1));
        assert_eq!(new.left_out[0].label.as_deref(), Some("vault"));
        assert_eq!(ours.superseded().await.unwrap(), [first]);

        // Both open while the former is in use; new keys go under the new one.
        assert!(same(&ours.unwrap_tenant_key(&first, TENANT, 1, &wrapped).unwrap(), &key));
        let (second, moved) = ours.wrap_tenant_key(TENANT, 1, &key);
        assert_eq!(second, new.id);
        let unknown = theirs.unwrap_tenant_key(&second, TENANT, 1, &moved).map(|_| ());
        assert_eq!(unknown, Err(UnwrapError::UnknownRoot));
        // A process that has not heard of it cannot put a key under the former one any more.
        let (late, wrapped) = theirs.wrap_tenant_key(TENANT, 2, &key);
        assert_eq!(late, first);
        let refused = sealing_keys::add_sealing_key(&write, TENANT, 2, &wrapped, &late).await.unwrap();
        assert!(refused.is_none());
        let active = sealing_keys::active_sealing_key(&write, TENANT).await.unwrap().unwrap();
        assert_eq!(active.version, 1, "the former key stays the active one");
        theirs.reload().await.unwrap();
        assert!(same(&theirs.unwrap_tenant_key(&second, TENANT, 1, &moved).unwrap(), &key));

        let everyone: Vec<TenantId> =
            tenants::all(&base.db.global(LOGIN)).await.unwrap().into_iter().map(|t| t.id).collect();
        let work = base.db.begin_across(LOGIN, &caller, &everyone).await.unwrap();
        let refused = ours.retire_root(&work, &first, now).await;
        assert!(matches!(refused, Err(Error::Root(RootError::InUse { keys: 1 }))), "{refused:?}");
        let refused = ours.retire_root(&work, &second, now).await;
        assert!(matches!(refused, Err(Error::Root(RootError::NotSuperseded))), "{refused:?}");
        work.rollback().await.unwrap();

        let client = test.client("postgres").await.unwrap();
        let rewrap = "UPDATE sgx.sealing_keys SET root_key_id = $1, wrapped_key = $2";
        client.execute(rewrap, &[&second.as_slice(), &moved.as_slice()]).await.unwrap();
        let work = base.db.begin_across(LOGIN, &caller, &everyone).await.unwrap();
        ours.retire_root(&work, &first, now).await.unwrap();
        work.commit().await.unwrap();
        ours.reload().await.unwrap();
        assert!(!ours.has(&first) && ours.has(&second));
        let left = "SELECT count(*) FROM sgx.root_slots WHERE root_key_id = $1 AND wrapped_root IS NOT NULL";
        let left: i64 = client.query_one(left, &[&first.as_slice()]).await.unwrap().get(0);
        assert_eq!(left, 0, "its slots are wiped");

        // What is sealed for other services opens as ever, also after a start with the new root key alone.
        let again = ring(&base, KEY).await.unwrap();
        for ring in [&ours, &theirs, &again] {
            assert_eq!(&**ring.open("test.purpose", "a", &sealed).await.unwrap(), b"secret");
        }
        assert!(same(&again.unwrap_tenant_key(&second, TENANT, 1, &moved).unwrap(), &key));
    }
}
