//! Scans of streamed values: every chunk is opened at its place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::scan::{kinds, scanned};
use crate::stream::{ATTACKS, MIB, large, store, value, world};
use crate::world::{Settings, World};

#[tokio::test]
async fn every_damaged_chunk_is_a_finding() {
    let world = world().await;
    let value = value(3 * MIB + 77);
    let cut_off = ("the last chunk dropped", "DELETE FROM sgx.content_chunks WHERE number = 6 AND {is}", 6);
    let emptied = ("all of them dropped", "DELETE FROM sgx.content_chunks WHERE {is}", 0);
    let attacks: Vec<_> = ATTACKS.into_iter().chain([cut_off, emptied]).collect();
    for (what, ..) in &attacks {
        store(&world, what, &value).await;
    }
    store(&world, "fine", &value).await;
    // A former version, and one more row that seals the same content anew.
    store(&world, "former", &value).await;
    world.store("demo", "former", "small").await;
    let restore = json!({"service": "demo", "key": "former", "version": 1});
    world.act("restore", &restore).send().await.expect(StatusCode::OK);
    let scan = scanned(&world).await;
    assert_eq!((&scan["state"], &scan["findings"]), (&json!("completed"), &json!([])), "{scan}");

    for (what, attack, _) in &attacks {
        let is = format!("content_id = (SELECT content_id FROM sgx.sealed_data_items WHERE key = '{what}')");
        assert!(world.as_attacker(&attack.replace("{is}", &is)).await > 0, "{what}");
    }
    let former = "UPDATE sgx.content_chunks SET sealed = set_bit(sealed, 9, 1 - get_bit(sealed, 9)) WHERE number = 1 \
                  AND content_id = (SELECT content_id FROM sgx.item_versions WHERE key = 'former' AND version = 1)";
    assert_eq!(world.as_attacker(former).await, 1);
    let scan = scanned(&world).await;
    let keys = attacks.iter().map(|(what, ..)| *what).chain(["former", "former"]);
    let mut expected: Vec<Value> = keys.map(|key| json!(["damaged", key])).collect();
    expected.sort_by_key(ToString::to_string);
    assert_eq!(kinds(&scan), expected, "{scan}");
    let details: Vec<&str> =
        scan["findings"].as_array().unwrap().iter().map(|found| found["detail"].as_str().unwrap()).collect();
    assert!(details.contains(&"chunk 4 of its content is missing"), "{details:?}");
    assert!(details.contains(&"a chunk of its content does not open"), "{details:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streamed_values_that_come_and_go_are_no_findings() {
    let settings = Settings { adjust: Arc::new(|config| config.database.keep_versions = 2), ..large() };
    let world = World::with(settings).await;
    let value = value(3 * MIB);
    let stop = AtomicBool::new(false);
    let client = async |number: usize| {
        let mut round = 0;
        let key = format!("k{number}");
        while !stop.load(Ordering::Relaxed) {
            let put = world.put("demo", &key).bytes(crate::world::BYTES, value.clone()).send().await;
            assert!(put.status.is_success(), "{}", put.text());
            if round % 3 == 2 {
                let body = json!({"service": "demo", "key": key});
                world.act("destroy", &body).send().await.expect(StatusCode::OK);
            }
            round += 1;
        }
    };
    let scans = async {
        for _ in 0..6 {
            let scan = scanned(&world).await;
            assert_eq!((&scan["state"], &scan["findings"]), (&json!("completed"), &json!([])), "{scan}");
        }
        stop.store(true, Ordering::Relaxed);
    };
    futures::future::join(futures::future::join_all((0..3).map(client)), scans).await;
}
