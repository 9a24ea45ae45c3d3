//! The root keys and their slots at the start: a fresh database, one of the first build, and somebody else's keys.

use std::sync::Arc;

use nsl_core::config::Secret;
use nsl_core::context::Base;
use nsl_core::ids::TenantId;
use nsl_core::ports::{SealedSecret, SecretSealer as _};
use nsl_crypto::aad::Aad;
use nsl_crypto::envelope::Kek;
use nsl_crypto::key::Key256;
use nsl_sgx::{RootRing, SgxConfig, StartError};
use nsl_testkit::TestDb;
use serde_json::{Value, json};

use crate::world::{ACME, KEY, OTHER, OTHER_KEY, Settings, World, start};

fn config(key: &str) -> SgxConfig {
    let mut config = SgxConfig::default();
    config.database.encryption_key = Some(Secret::new(key.to_owned()));
    config
}

async fn open(base: &Base, key: &str) -> Result<RootRing, StartError> {
    RootRing::open(base, &config(key)).await
}

fn id(key: &str) -> String {
    hex::encode(Key256::parse(key).unwrap().id())
}

/// The refusal of a start with another key.
async fn refusal(world: &World, key: &'static str) -> StartError {
    let settings = Settings { key, ..Settings::default() };
    let refused = start(&world.test, world.acme, world.other, &settings).await.err().unwrap();
    refused.downcast().unwrap()
}

const ROOTS: &str = "SELECT encode(root_key_id, 'hex') AS id, state FROM sgx.root_keys";
const SLOTS: &str = "SELECT encode(root_key_id, 'hex') AS root, kind, encode(opener_id, 'hex') AS opener, state, \
                            octet_length(wrapped_root) AS length FROM sgx.root_slots";

#[tokio::test]
async fn a_fresh_database_gets_a_root_key_of_its_own_in_one_slot() {
    let world = World::new().await;
    let roots = world.rows(ROOTS).await;
    assert_eq!((roots.len(), &roots[0]["state"]), (1, &json!("active")));
    let root = roots[0]["id"].as_str().unwrap();
    assert_ne!(root, id(KEY), "the configured key opens the slot, and is not the root key");
    let slot =
        json!({"root": root, "kind": "configured", "opener": id(KEY), "state": "active", "length": 61});
    assert_eq!(world.rows(SLOTS).await, [slot]);
    world.store("demo", "k", "hello").await;
    let under = world.rows("SELECT encode(root_key_id, 'hex') AS id FROM sgx.sealing_keys").await;
    assert_eq!(under, [json!({"id": root})]);
    let world = world.restart(Settings::default()).await;
    assert_eq!(world.value("demo", "k").await, "hello");
    assert_eq!(world.rows(ROOTS).await, roots, "a restart makes none");
}

#[tokio::test]
async fn of_processes_that_start_at_once_one_makes_the_root_key() {
    let test = TestDb::new().await.unwrap();
    let base = test.base();
    let rings = futures::future::join_all((0..8).map(|_| open(&base, KEY))).await;
    let rings: Vec<RootRing> = rings.into_iter().map(Result::unwrap).collect();
    let sealed = rings[0].seal("test.purpose", "a", b"secret").await.unwrap();
    for ring in &rings {
        assert_eq!(&**ring.open("test.purpose", "a", &sealed).await.unwrap(), b"secret");
    }
    let client = test.client("postgres").await.unwrap();
    let counts = "SELECT (SELECT count(*) FROM sgx.root_keys), (SELECT count(*) FROM sgx.root_slots), \
                         (SELECT count(*) FROM sgx.secret_keys WHERE is_active)";
    let counts = client.query_one(counts, &[]).await.unwrap();
    assert_eq!([0, 1, 2].map(|column| counts.get::<_, i64>(column)), [1, 1, 1]);
}

/// What the first build left: a tenant's key directly under the configured key, and no root key.
async fn first_build(test: &TestDb, tenant: TenantId) -> anyhow::Result<Key256> {
    let root = Key256::parse(KEY)?;
    let key = Key256::generate();
    let place = Aad::new("nsl.sgx.tenant-key.v1").bytes(tenant.0.as_bytes()).number(1);
    let wrapped = Kek::new(&root.derive(&[b"nsl.sgx.tenant-keys.v1"])).wrap_key(&key, &place);
    let insert = "INSERT INTO sgx.sealing_keys (tenant_id, version, wrapped_key, root_key_id) \
                  VALUES ($1, 1, $2, $3)";
    let client = test.client("postgres").await?;
    client.execute(insert, &[&tenant, &wrapped.as_slice(), &root.id().as_slice()]).await?;
    Ok(root)
}

/// A secret as the first build sealed it.
fn first_secret(root: &Key256) -> SealedSecret {
    let place = |domain| Aad::new(domain).text("test.purpose").text("a");
    let kek = Kek::new(&root.derive(&[b"nsl.sgx.secrets.v1"]));
    let sealed = kek.seal_value(b"old secret", &place("nsl.sgx.secret-key.v1"), &place("nsl.sgx.secret.v1"));
    let mut bytes = sealed.wrapped_data_key.to_vec();
    bytes.extend_from_slice(&sealed.ciphertext);
    SealedSecret { bytes, root_key_id: root.id().to_vec() }
}

#[tokio::test]
async fn a_database_of_the_first_build_keeps_its_key_as_the_root_key() {
    let test = TestDb::new().await.unwrap();
    let (acme, other) = (test.tenant(ACME).await.unwrap(), test.tenant(OTHER).await.unwrap());
    let root = first_build(&test, acme).await.unwrap();
    let base = test.base();
    let Err(StartError::ForeignRootKey { stored, given }) = open(&base, OTHER_KEY).await else { panic!() };
    assert_eq!((stored, given), (id(KEY), id(OTHER_KEY)));

    let ring = Arc::new(open(&base, KEY).await.unwrap());
    assert_eq!(&**ring.open("test.purpose", "a", &first_secret(&root)).await.unwrap(), b"old secret");
    // A process of the first build that still runs opens what is sealed from now on.
    assert_eq!(ring.seal("test.purpose", "a", b"x").await.unwrap().root_key_id, root.id());
    let again = open(&base, KEY).await.unwrap();
    assert_eq!(&**again.open("test.purpose", "a", &first_secret(&root)).await.unwrap(), b"old secret");

    let world = World::of(test, acme, other, Settings::default()).await;
    assert_eq!(world.rows(ROOTS).await, [json!({"id": id(KEY), "state": "active"})]);
    assert_eq!(world.rows(SLOTS).await[0]["opener"], id(KEY));
    world.store("demo", "k", "under the key of the first build").await;
    assert_eq!(world.value("demo", "k").await, "under the key of the first build");
    assert_eq!(world.number("SELECT count(*) FROM sgx.sealing_keys").await, 1, "no second one was made");
}

/// The first build made sealing keys at the first put only: before that, others' secrets were all that it had sealed.
#[tokio::test]
async fn secrets_of_a_first_build_without_items_still_open() {
    let test = TestDb::new().await.unwrap();
    let ring = open(&test.base(), KEY).await.unwrap();
    let root = Key256::parse(KEY).unwrap();
    assert_eq!(&**ring.open("test.purpose", "a", &first_secret(&root)).await.unwrap(), b"old secret");
    assert_ne!(
        ring.seal("test.purpose", "a", b"x").await.unwrap().root_key_id,
        root.id(),
        "new ones are not under it"
    );
}

#[tokio::test]
async fn another_key_refuses_to_start_and_says_which_it_needs() {
    let world = World::new().await;
    world.store("demo", "k", "hello").await;
    let refused = refusal(&world, OTHER_KEY).await;
    let text = refused.to_string();
    let StartError::NoSlot { root, needs, given } = refused else { panic!("{text}") };
    assert_eq!(world.rows(ROOTS).await, [json!({"id": root, "state": "active"})]);
    assert_eq!(needs, format!("configured key {}", id(KEY)));
    assert_eq!(given, format!("configured key {}", id(OTHER_KEY)));
    assert!([&root, &needs, &given].iter().all(|part| text.contains(part.as_str())), "{text}");
    assert!(!text.contains(OTHER_KEY) && !text.contains(KEY));
    // It left all as it was.
    let world = world.restart(Settings::default()).await;
    assert_eq!(world.value("demo", "k").await, "hello");
    assert_eq!(world.number("SELECT count(*) FROM sgx.root_keys").await, 1);
}

#[tokio::test]
async fn a_slot_that_somebody_changed_refuses_to_start() {
    let world = World::new().await;
    let changes = [
        "wrapped_root = set_byte(wrapped_root, 20, get_byte(wrapped_root, 20) # 1)",
        "wrapped_root = substr(wrapped_root, 1, 60)",
        "slot_id = gen_random_uuid()",
    ];
    for change in changes {
        world
            .as_attacker("CREATE TABLE public.kept AS SELECT slot_id, wrapped_root FROM sgx.root_slots")
            .await;
        world.as_attacker(&format!("UPDATE sgx.root_slots SET {change}")).await;
        let refused = refusal(&world, KEY).await;
        assert!(matches!(refused, StartError::DamagedSlot { .. }), "{change}: {refused}");
        world
            .as_attacker(
                "UPDATE sgx.root_slots r SET slot_id = k.slot_id, wrapped_root = k.wrapped_root FROM public.kept k",
            )
            .await;
        world.as_attacker("DROP TABLE public.kept").await;
    }
    for (change, says) in [
        ("UPDATE sgx.root_slots SET state = 'retired', wrapped_root = NULL", "was retired"),
        ("UPDATE sgx.root_keys SET state = 'superseded'", "no root key of this database is active"),
        ("DELETE FROM sgx.root_slots", "nothing"),
    ] {
        world.as_attacker(change).await;
        let refused = refusal(&world, KEY).await.to_string();
        assert!(refused.contains(says), "{change}: {refused}");
        world.as_attacker("UPDATE sgx.root_keys SET state = 'active'").await;
    }
}

/// A new root key beside values that it does not open would pass for a healthy, empty store.
#[tokio::test]
async fn a_database_that_lost_its_root_key_gets_no_new_one() {
    let world = World::new().await;
    world.store("demo", "k", "hello").await;
    let stored = world.rows(ROOTS).await[0]["id"].clone();
    world.as_attacker("DELETE FROM sgx.root_slots").await;
    world.as_attacker("DELETE FROM sgx.root_keys").await;
    let refused = refusal(&world, KEY).await;
    let StartError::ForeignRootKey { stored: named, .. } = refused else { panic!("{refused}") };
    assert_eq!(Value::from(named), stored);
    assert_eq!(world.number("SELECT count(*) FROM sgx.root_keys").await, 0);
}

#[tokio::test]
async fn a_key_for_secrets_that_somebody_changed_refuses_to_start() {
    let world = World::new().await;
    world
        .as_attacker("UPDATE sgx.secret_keys SET wrapped_key = set_byte(wrapped_key, 30, get_byte(wrapped_key, 30) # 1)")
        .await;
    let refused = refusal(&world, KEY).await;
    assert!(matches!(refused, StartError::DamagedSecretKey { .. }), "{refused}");
}
