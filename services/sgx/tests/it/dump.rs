//! A dump of the database in somebody's hands: it opens with the key that it was made under, and with no later one.

use std::process::Command;

use axum::http::StatusCode;
use nsl_crypto::key::Key256;
use nsl_sgx::StartError;
use nsl_testkit::TestDb;
use serde_json::{Value, json};

use crate::rotation_of_root::rotated;
use crate::world::{BYTES, KEY, OPERATOR, OTHER, OTHER_KEY, Settings, World, path, start};

const SLOTS: &str = "/api/v1/sgx/slots";

fn name(key: &str) -> String {
    format!("configured key {}", hex::encode(Key256::parse(key).unwrap().id()))
}

fn settings(key: &'static str) -> Settings {
    Settings { key, ..Settings::default() }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn refusal(test: &TestDb, of: &World, key: &'static str) -> StartError {
    let refused = start(test, of.acme, of.other, &settings(key)).await.err().unwrap();
    refused.downcast().unwrap()
}

/// Another key opens the installation from now on, and another root key is behind it.
async fn change_keys(world: World) -> World {
    let first = world.app.get(SLOTS).bearer(OPERATOR).send().await.expect(StatusCode::OK).json();
    let body = json!({"kind": "configured", "key": OTHER_KEY});
    world.app.post(SLOTS).bearer(OPERATOR).json(&body).send().await.expect(StatusCode::CREATED);
    let world = world.restart(settings(OTHER_KEY)).await;
    let retire = format!("{SLOTS}/{}/retire", first["items"][0]["id"].as_str().unwrap());
    world.app.post(&retire).bearer(OPERATOR).json(&json!({})).send().await.expect(StatusCode::OK);
    let rotation = rotated(&world).await;
    assert_eq!(rotation["state"], "completed", "{rotation}");
    world
}

async fn assert_values(world: &World) {
    assert_eq!(world.value("demo", "k").await, "the second value");
    assert_eq!(world.version("demo", "k", 1).await.expect(StatusCode::OK).text(), "the first value");
    let theirs = world.app.get(&path("demo", "k")).bearer(OTHER).header("accept", BYTES).send().await;
    assert_eq!(theirs.expect(StatusCode::OK).text(), "theirs");
}

#[tokio::test]
async fn a_dump_opens_with_the_key_of_its_time_only() {
    let world = World::new().await;
    if !world.test.cluster().has_client_tools() {
        return;
    }
    world.keep("demo", "k", "the first value").await;
    world.keep("demo", "k", "the second value").await;
    world.app.put(&path("demo", "k")).bearer(OTHER).bytes(BYTES, "theirs").send().await;
    let root = world.rows("SELECT encode(root_key_id, 'hex') AS id FROM sgx.root_keys").await.remove(0);

    let cluster = world.test.cluster().clone();
    let dump = tempfile::NamedTempFile::new().unwrap();
    let pg_dump = || cluster.program("pg_dump", world.test.name(), "postgres").unwrap();
    run(pg_dump().arg("-f").arg(dump.path()));
    let text = std::fs::read_to_string(dump.path()).unwrap();
    for shown in ["the first value", "the second value", "theirs", KEY] {
        let bytes = hex::encode(shown);
        assert!(!text.contains(shown) && !text.contains(&bytes), "the dump shows {shown:?}");
    }
    let world = change_keys(world).await;
    assert_values(&world).await;

    let restored = TestDb::empty_on(&cluster).await.unwrap();
    let psql = |file: &tempfile::NamedTempFile| {
        let mut psql = cluster.program("psql", restored.name(), "postgres").unwrap();
        run(psql.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-f"]).arg(file.path()));
    };
    psql(&dump);
    let refused = refusal(&restored, &world, OTHER_KEY).await;
    let StartError::NoSlot { root: wanted, needs, given } = refused else { panic!("{refused}") };
    assert_eq!((Value::from(wanted), needs, given), (root["id"].clone(), name(KEY), name(OTHER_KEY)));

    // Nor with the slots of today beside the values of then: the root key of then is in none of them.
    let slots = tempfile::NamedTempFile::new().unwrap();
    let pg_dump = || cluster.program("pg_dump", world.test.name(), "postgres").unwrap();
    let tables = ["--data-only", "--table=sgx.root_keys", "--table=sgx.root_slots"];
    run(pg_dump().args(tables).arg("-f").arg(slots.path()));
    let client = restored.client("postgres").await.unwrap();
    let keep = "CREATE TABLE public.roots AS SELECT * FROM sgx.root_keys; \
                CREATE TABLE public.slots AS SELECT * FROM sgx.root_slots";
    client.batch_execute(keep).await.unwrap();
    let clear = "DELETE FROM sgx.root_slots; DELETE FROM sgx.root_keys;";
    client.batch_execute(clear).await.unwrap();
    psql(&slots);
    let refused = refusal(&restored, &world, OTHER_KEY).await;
    let StartError::NoSlot { root: wanted, needs, .. } = refused else { panic!("{refused}") };
    assert_eq!(Value::from(wanted), root["id"]);
    assert!(needs.contains("every slot of it is retired"), "{needs}");
    let refused = refusal(&restored, &world, KEY).await;
    assert!(matches!(refused, StartError::RetiredSlot { .. }), "{refused}");

    // The key of then opens the dump, and not what the installation is now.
    client.batch_execute(clear).await.unwrap();
    let back = "INSERT INTO sgx.root_keys SELECT * FROM public.roots; INSERT INTO sgx.root_slots SELECT * FROM public.slots";
    client.batch_execute(back).await.unwrap();
    let refused = refusal(&world.test, &world, KEY).await;
    assert!(matches!(refused, StartError::RetiredSlot { .. }), "{refused}");
    let then = World::of(restored, world.acme, world.other, settings(KEY)).await;
    assert_values(&then).await;
    assert_values(&world).await;
}
