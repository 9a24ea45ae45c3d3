//! The database goes away and comes back; the health check.

use std::path::Path;

use axum::http::StatusCode;
use nsl_postgres::{Binaries, Mode, Server, Settings as ServerSettings};
use nsl_testkit::{Cluster, Durability, TestDb, eventually, password};
use serde_json::{Value, json};

use crate::LIMIT;
use crate::world::{ACME, BYTES, Settings, World, assert_problem};

#[tokio::test]
async fn requests_recover_when_every_connection_was_cut() {
    let world = World::new().await;
    world.store("demo", "k", "hello").await;
    for _ in 0..3 {
        let cut = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        assert!(world.as_attacker(cut).await > 0);
        eventually(LIMIT, "a put passes again", async || {
            let put = world.put("demo", "k").bytes(BYTES, "hello").send().await;
            assert!(
                put.status == StatusCode::OK || put.status == StatusCode::SERVICE_UNAVAILABLE,
                "{}",
                put.text()
            );
            put.status == StatusCode::OK
        })
        .await;
        eventually(LIMIT, "a get passes again", async || {
            world.get("demo", "k").send().await.status == StatusCode::OK
        })
        .await;
    }
    world.assert_events_match_items().await;
}

/// Rows of items that were looked at, whatever the plan, and how often items were changed or looked up.
async fn looked_at(world: &World) -> (i64, i64, i64) {
    let of = async |columns: &str| {
        let from = "FROM pg_stat_user_tables WHERE relid = 'sgx.sealed_data_items'::regclass";
        world.number(&format!("SELECT ({columns})::bigint {from}")).await
    };
    (
        of("seq_tup_read + idx_tup_fetch").await,
        of("n_tup_ins + n_tup_upd").await,
        of("idx_scan + seq_scan").await,
    )
}

/// A statement's plan is kept, and the first is made when there is nothing to choose by: it must not be one that walks
/// through all items of the tenant.
#[tokio::test]
async fn a_plan_that_was_made_on_empty_tables_finds_one_row_among_many() {
    let world = World::new().await;
    world.store("demo", "first", "x").await;
    world.get("demo", "first").send().await.expect(StatusCode::OK);
    for part in 0..4 {
        let items: Vec<Value> = (0..500)
            .map(|n| json!({"service": "demo", "key": format!("{part}/{n}"), "data": "eA=="}))
            .collect();
        let batch = world.app.post("/api/v1/sgx/items/batch-put").bearer(ACME).json(&json!({"items": items}));
        batch.send().await.expect(StatusCode::OK);
    }
    // A backend reports what it did within a second or so.
    eventually(LIMIT, "the statistics know of the items", async || looked_at(&world).await.1 >= 2001).await;
    let (rows, changes, _) = looked_at(&world).await;
    world.store("demo", "2/7", "y").await;
    eventually(LIMIT, "the statistics know of the put", async || looked_at(&world).await.1 > changes).await;
    let (rows_then, _, scans) = looked_at(&world).await;
    assert!(rows_then - rows < 100, "a put looked at {} rows", rows_then - rows);
    world.get("demo", "3/7").send().await.expect(StatusCode::OK);
    eventually(LIMIT, "the statistics know of the get", async || looked_at(&world).await.2 > scans).await;
    let (rows_at_last, _, _) = looked_at(&world).await;
    assert!(rows_at_last - rows_then < 100, "a get looked at {} rows", rows_at_last - rows_then);
}

/// The server of a test again, after its stop.
fn start_again(cluster: &Cluster) -> Server {
    let setting = std::env::var_os("NSL_PG_BIN").or_else(|| std::env::var_os("Database__BinDir"));
    let binaries = Binaries::find(setting.as_deref().map(Path::new), None).unwrap();
    let settings = ServerSettings { tcp: false, durable: false, ..ServerSettings::default() };
    Server::start(&binaries, cluster.server().data_dir(), settings, password("postgres").expose()).unwrap()
}

#[tokio::test]
async fn without_a_database_it_is_503_and_back_by_itself_when_that_returns() {
    let cluster = Cluster::own(Durability::Volatile).await.unwrap();
    let world = World::on(TestDb::on(&cluster).await.unwrap(), Settings::default()).await;
    world.store("demo", "k", "hello").await;
    assert_eq!(world.app.get("/health/sgx").send().await.expect(StatusCode::OK).json()["status"], "Healthy");

    cluster.server().stop(Mode::Fast, LIMIT).unwrap();
    let requests = [
        world.put("demo", "k").bytes(BYTES, "lost"),
        world.get("demo", "k"),
        world.delete("demo", "k"),
        world.list(""),
    ];
    for request in requests {
        let response = request.send().await;
        assert_problem(&response, StatusCode::SERVICE_UNAVAILABLE, "core.database_unavailable", "");
        assert_eq!(response.header("retry-after"), "1");
    }
    let health = world.app.get("/health/sgx").send().await.expect(StatusCode::SERVICE_UNAVAILABLE).json();
    assert_eq!(
        (&health["status"], &health["detail"]),
        (&json!("Unhealthy"), &json!("the database is not reachable"))
    );
    world.app.get("/health").send().await.expect(StatusCode::SERVICE_UNAVAILABLE);

    let _server = start_again(&cluster);
    eventually(LIMIT, "healthy again", async || {
        world.app.get("/health/sgx").send().await.json()["status"] == "Healthy"
    })
    .await;
    assert_eq!(world.value("demo", "k").await, "hello");
    assert_eq!(world.store("demo", "k", "again").await.header("etag"), "\"2\"");
    world.assert_events_match_items().await;
}

#[tokio::test]
async fn the_health_check_seals_and_opens_and_leaves_nothing() {
    let world = World::new().await;
    world.store("demo", "k", "hello").await;
    for _ in 0..3 {
        let health = world.app.get("/health/sgx").send().await.expect(StatusCode::OK).json();
        assert_eq!((&health["name"], &health["status"]), (&json!("sgx"), &json!("Healthy")));
        assert_eq!(health["detail"], Value::Null);
        let data = &health["data"];
        assert_eq!((&data["mode"], &data["encryption"]), (&json!("simulation"), &json!("aes-256-gcm")));
        assert_eq!(data["itemCount"], 1);
    }
    assert_eq!(world.number("SELECT count(*) FROM sgx.sealed_data_items").await, 1);
    assert_eq!(world.number("SELECT count(*) FROM eventsourcing.events").await, 1);
    assert_eq!(world.number("SELECT count(*) FROM monitoring.audit_logs").await, 1);
}

#[tokio::test]
async fn the_health_check_needs_the_table_and_the_key() {
    let world = World::new().await;
    let unhealthy = async || {
        let health = world.app.get("/health/sgx").send().await.expect(StatusCode::SERVICE_UNAVAILABLE).json();
        assert_eq!(health["status"], "Unhealthy");
    };
    world.as_attacker("ALTER TABLE sgx.sealed_data_items RENAME TO gone").await;
    unhealthy().await;
    world.as_attacker("ALTER TABLE sgx.gone RENAME TO sealed_data_items").await;
    world.app.get("/health/sgx").send().await.expect(StatusCode::OK);
    // What comes back is really opened: a trigger that changes it is found out.
    let plant = "CREATE FUNCTION public.change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 NEW.sealed_data := set_byte(NEW.sealed_data, 20, get_byte(NEW.sealed_data, 20) # 1); \
                 NEW.fingerprint := 'sha256:' || encode(sha256(NEW.sealed_data), 'hex'); RETURN NEW; END $$";
    world.as_attacker(plant).await;
    let set = "CREATE TRIGGER change BEFORE INSERT ON sgx.sealed_data_items \
               FOR EACH ROW EXECUTE FUNCTION public.change()";
    world.as_attacker(set).await;
    unhealthy().await;
}
