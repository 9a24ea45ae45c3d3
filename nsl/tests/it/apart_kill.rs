//! kill -9 of the enclave's process and of the API's, under writers: the other one goes on, says 503 meanwhile, and
//! nothing that was acknowledged is lost.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nsl_client::{Client, Error, PutOptions};
use nsl_testkit::eventually;
use reqwest::{StatusCode, header};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::interval;

use crate::relay::Relay;
use crate::served::http;
use crate::split::Split;
use crate::{PATIENCE, random};

const WRITERS: usize = 16;
const SERVICE: &str = "apart";
/// Between a refusal and the next try, as a client would.
const PAUSE: Duration = Duration::from_millis(50);

/// What a writer knows of its key.
struct Written {
    key: String,
    /// The newest version that was acknowledged, with its bytes.
    acknowledged: Option<(i64, Vec<u8>)>,
    /// What was sent since, and whose outcome nobody told.
    unknown: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    acknowledged: AtomicUsize,
    /// Answers of the API that the enclave is away.
    away: AtomicUsize,
    /// Requests without an answer: the API's process is away.
    silent: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_put_is_lost_by_kill_9_of_either_process() {
    let split = Split::new().await;
    let (mut enclave, inside) = split.enclave().await;
    let relay = Relay::to(inside).await;
    let (mut api, address) = split.api("api,jobs", &relay, 0).await;
    let url = format!("http://{address}");
    let token = split.remote.token(&url).await;

    let counts = Arc::new(Counts::default());
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let client = Client::new(&url).unwrap().with_token(&token).unwrap();
        writers.spawn(write(client, format!("{number}"), Arc::clone(&counts)));
    }
    let more = async |counter: &AtomicUsize, what: &str| {
        let enough = counter.load(Ordering::Relaxed) + 4 * WRITERS;
        eventually(PATIENCE, what, async || counter.load(Ordering::Relaxed) >= enough).await;
    };

    for _ in 0..2 {
        more(&counts.acknowledged, "puts are acknowledged").await;
        enclave.kill();
        more(&counts.away, "the API says that the enclave is away").await;
        says_when_to_come_back(address, &token).await;
        let (again, inside) = split.enclave().await;
        enclave = again;
        relay.move_to(inside);
        more(&counts.acknowledged, "puts are acknowledged after the enclave came back").await;

        api.kill();
        more(&counts.silent, "the API is away").await;
        assert!(enclave.is_running());
        (api, _) = split.api("api,jobs", &relay, address.port()).await;
        more(&counts.acknowledged, "puts are acknowledged after the API came back").await;
    }
    counts.stop.store(true, Ordering::Relaxed);
    let written = writers.join_all().await;
    println!(
        "{} acknowledged, {} refused, {} without an answer, {} of unknown outcome at the end",
        counts.acknowledged.load(Ordering::Relaxed),
        counts.away.load(Ordering::Relaxed),
        counts.silent.load(Ordering::Relaxed),
        written.iter().map(|key| key.unknown.len()).sum::<usize>()
    );
    let client = Client::new(&url).unwrap().with_token(&token).unwrap();
    for Written { key, acknowledged, unknown } in written {
        let item = client.sgx().get(SERVICE, &key).await.unwrap();
        let (version, bytes) = acknowledged.unwrap();
        if item.version == version {
            assert_eq!(*item.bytes, bytes, "{key}");
        } else {
            assert!(item.version > version, "{key} went back from {version} to {}", item.version);
            assert!(unknown.iter().any(|sent| *sent == *item.bytes), "{key} holds what nobody put");
        }
    }
    events_match(&split).await;
}

/// Puts to one key until told to stop.
async fn write(client: Client, key: String, counts: Arc<Counts>) -> Written {
    let mut written = Written { key, acknowledged: None, unknown: Vec::new() };
    let mut pause = interval(PAUSE);
    while !counts.stop.load(Ordering::Relaxed) {
        let value = random::<64>().to_vec();
        match client.sgx().put(SERVICE, &written.key, &value, &PutOptions::default()).await {
            Ok(put) => {
                counts.acknowledged.fetch_add(1, Ordering::Relaxed);
                written.acknowledged = Some((put.item.version, value));
                written.unknown.clear();
                continue;
            }
            Err(Error::Transport { .. }) => {
                counts.silent.fetch_add(1, Ordering::Relaxed);
                written.unknown.push(value);
            }
            Err(Error::Problem(problem)) if problem.status == 503 => match problem.code.as_str() {
                // It says that nothing was changed, and is held to it.
                "core.enclave_unavailable" => {
                    counts.away.fetch_add(1, Ordering::Relaxed);
                }
                "core.outcome_unknown" => written.unknown.push(value),
                code => panic!("{code}: {}", problem.detail),
            },
            Err(error) => panic!("{error}"),
        }
        pause.tick().await;
    }
    written
}

async fn says_when_to_come_back(api: SocketAddr, token: &str) {
    let list = http().get(format!("http://{api}/api/v1/sgx/items")).bearer_auth(token);
    let answer = list.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()[header::RETRY_AFTER], "1");
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["code"], "core.enclave_unavailable");
    // What is not the enclave's goes on.
    let me = http().get(format!("http://{api}/api/v1/auth/me")).bearer_auth(token);
    assert_eq!(me.send().await.unwrap().status(), StatusCode::OK);
}

/// Each item has the events of all its versions, and no more.
async fn events_match(split: &Split) {
    let owner = split.remote.test.client("postgres").await.unwrap();
    let rows = owner
        .query(
            "SELECT i.key::text, i.version, count(e.version) FROM sgx.sealed_data_items AS i \
             LEFT JOIN eventsourcing.events AS e ON e.stream = 'sgx.item/' || i.item_id GROUP BY 1, 2",
            &[],
        )
        .await
        .unwrap();
    let versions: HashMap<String, (i64, i64)> =
        rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
    assert_eq!(versions.len(), WRITERS);
    for (key, (version, events)) in versions {
        assert_eq!(version, events, "{key}");
    }
}
