//! kill -9 under writers: what was acknowledged is there, byte for byte, and nothing is there by half.
//!
//! `NSL_KILL_ROUNDS` says how often (3); `make test-kill` runs 20.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nsl_client::{Client, Error, PutOptions};
use nsl_testkit::eventually;
use rustix::process::Signal;
use tokio::task::JoinSet;
use tokio::time::interval;

use crate::installation::Installation;
use crate::program::send;
use crate::{PATIENCE, random, random_below};

const WRITERS: usize = 32;
const SERVICE: &str = "kill";
/// Keys that all writers put to, so that versions of one item race.
const SHARED: usize = 4;
/// Between a refusal and the next try, as a client would.
const PAUSE: Duration = Duration::from_millis(100);
/// Not done, whatever else it says; the one 503 of which that is not sure has this code.
const UNKNOWN: &str = "core.outcome_unknown";

/// What is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Nsl,
    Postmaster,
    Both,
}

/// One put, and what came of it.
struct Attempt {
    key: String,
    value: Vec<u8>,
    outcome: Outcome,
}

enum Outcome {
    Acknowledged {
        version: i64,
        fingerprint: String,
    },
    /// The service said that it did nothing.
    Refused,
    /// No answer, or one that says so.
    Unknown,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_put_is_lost_by_kill_9() {
    let rounds: usize = std::env::var("NSL_KILL_ROUNDS").map_or(3, |text| text.parse().unwrap());
    let mut installation = Installation::new().await;
    // It is good for the whole test: what signs it survives too.
    let token = installation.token().await;
    let mut attempts = Vec::new();
    for round in 0..rounds {
        let victim = [Victim::Nsl, Victim::Postmaster, Victim::Both][round % 3];
        let before = attempts.len();
        attempts.extend(self::round(&mut installation, &token, round, victim).await);
        installation.is_healthy().await;
        // Reading everything back after each round would take longer than all rounds; it is done after the last.
        let from = if round + 1 == rounds { 0 } else { before };
        verify(&installation, &token, &attempts, from).await;
    }
}

async fn round(installation: &mut Installation, token: &str, round: usize, victim: Victim) -> Vec<Attempt> {
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let client = Client::new(installation.url()).unwrap().with_token(token).unwrap();
        let name = format!("{round}/{number}");
        writers.spawn(write(client, name, Arc::clone(&stop), Arc::clone(&acknowledged)));
    }
    let seen = async |more: usize| {
        let enough = acknowledged.load(Ordering::Relaxed) + more;
        eventually(PATIENCE, "puts are acknowledged", async || {
            acknowledged.load(Ordering::Relaxed) >= enough
        })
        .await;
    };
    seen(WRITERS + usize::try_from(random_below(800)).unwrap()).await;
    let postmaster = installation.postmaster().unwrap();
    match victim {
        Victim::Nsl => installation.kill(),
        Victim::Postmaster => send(postmaster, Signal::KILL),
        Victim::Both => {
            send(postmaster, Signal::KILL);
            installation.kill();
        }
    }
    if matches!(victim, Victim::Postmaster) {
        // It comes back by itself, under the same writers.
        seen(4 * WRITERS).await;
        assert_ne!(installation.postmaster(), Some(postmaster));
    } else {
        stop.store(true, Ordering::Relaxed);
        installation.up().await;
    }
    stop.store(true, Ordering::Relaxed);
    let attempts: Vec<Attempt> = writers.join_all().await.into_iter().flatten().collect();
    let lost = attempts.iter().filter(|attempt| matches!(attempt.outcome, Outcome::Unknown)).count();
    println!(
        "round {round}, {victim:?}: {} puts, {} acknowledged, {lost} of unknown outcome",
        attempts.len(),
        acknowledged.load(Ordering::Relaxed)
    );
    attempts
}

/// Puts until told to stop.
async fn write(
    client: Client,
    name: String,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    let mut pause = interval(PAUSE);
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = match number % 4 {
            3 => format!("shared/{}", number / 4 % SHARED),
            _ => format!("{name}/{number}"),
        };
        let value = random::<1024>().to_vec();
        let outcome = match client.sgx().put(SERVICE, &key, &value, &PutOptions::default()).await {
            Ok(put) => {
                acknowledged.fetch_add(1, Ordering::Relaxed);
                Outcome::Acknowledged { version: put.item.version, fingerprint: put.item.fingerprint }
            }
            Err(error) => {
                pause.tick().await;
                failed(&error)
            }
        };
        attempts.push(Attempt { key, value, outcome });
    }
    attempts
}

fn failed(error: &Error) -> Outcome {
    match (error, error.code()) {
        (Error::Transport { .. } | Error::Stalled { .. }, _) | (_, Some(UNKNOWN)) => Outcome::Unknown,
        (Error::Problem(problem), _) if problem.status == 503 => Outcome::Refused,
        _ => panic!("a database that is away is 503: {error}"),
    }
}

/// What is there is what was acknowledged: by its bytes for the keys of the attempts from a place on, by its events for
/// all.
async fn verify(installation: &Installation, token: &str, attempts: &[Attempt], from: usize) {
    let database = installation.database("postgres").await;
    let rows = database
        .query(
            "SELECT data->>'key', (data->>'version')::bigint, data->>'fingerprint' FROM eventsourcing.events \
             WHERE type = 'sgx.item_put' AND data->>'service' = $1",
            &[&SERVICE],
        )
        .await
        .unwrap();
    let events: HashMap<(String, i64), String> =
        rows.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect();
    assert_eq!(events.len(), rows.len(), "two events of one version");

    let mut by_key: HashMap<&str, Vec<&Attempt>> = HashMap::new();
    for attempt in attempts {
        by_key.entry(&attempt.key).or_default().push(attempt);
        if let Outcome::Acknowledged { version, fingerprint } = &attempt.outcome {
            let event = events.get(&(attempt.key.clone(), *version));
            assert_eq!(event, Some(fingerprint), "{} version {version}", attempt.key);
        }
    }
    assert!(events.keys().all(|(key, _)| by_key.contains_key(key.as_str())), "an event that nobody caused");
    rows_match(&database).await;

    let keys = database
        .query("SELECT key::text FROM sgx.sealed_data_items WHERE service_name = $1", &[&SERVICE])
        .await
        .unwrap();
    let there: HashSet<String> = keys.iter().map(|row| row.get(0)).collect();
    let touched: HashSet<&str> = attempts[from..].iter().map(|attempt| attempt.key.as_str()).collect();
    let (present, absent): (Vec<&str>, Vec<&str>) = touched.into_iter().partition(|key| there.contains(*key));
    for key in absent {
        assert!(newest(&by_key[key]).is_none(), "{key} was acknowledged and is gone");
    }
    let items = read(installation, token, &present).await;
    assert_eq!(items.len(), present.len());
    for (key, (version, bytes)) in items {
        let attempts = &by_key[key.as_str()];
        match newest(attempts) {
            Some((newest, value)) if newest == version => assert_eq!(bytes, value, "{key}"),
            Some((newest, _)) if newest > version => panic!("{key} went back from {newest} to {version}"),
            // Newer than what was acknowledged: one of those whose answer was lost, whole.
            _ => {
                let whole = attempts.iter().find(|attempt| attempt.value == bytes);
                let whole = whole.unwrap_or_else(|| panic!("{key} holds what nobody put"));
                assert!(matches!(whole.outcome, Outcome::Unknown), "{key}: 503 said that nothing was done");
            }
        }
    }
}

/// The newest acknowledged version of a key.
fn newest<'a>(attempts: &[&'a Attempt]) -> Option<(i64, &'a [u8])> {
    let acknowledged = attempts.iter().filter_map(|attempt| match attempt.outcome {
        Outcome::Acknowledged { version, .. } => Some((version, attempt.value.as_slice())),
        _ => None,
    });
    acknowledged.max_by_key(|(version, _)| *version)
}

/// Version and bytes of each item, as the service opens it.
async fn read(installation: &Installation, token: &str, keys: &[&str]) -> HashMap<String, (i64, Vec<u8>)> {
    let mut readers = JoinSet::new();
    for part in keys.chunks(keys.len().div_ceil(WRITERS).max(1)) {
        let client = Client::new(installation.url()).unwrap().with_token(token).unwrap();
        let part: Vec<String> = part.iter().map(|key| (*key).to_owned()).collect();
        readers.spawn(async move {
            let mut items = Vec::new();
            for key in part {
                let item = client.sgx().get(SERVICE, &key).await.unwrap();
                items.push((key, (item.version, item.bytes.to_vec())));
            }
            items
        });
    }
    readers.join_all().await.into_iter().flatten().collect()
}

/// Items, events and audit rows match one to one, and each has its place in the order.
async fn rows_match(database: &tokio_postgres::Client) {
    for (what, sql) in [
        (
            "items whose events are not their versions, one for each",
            "SELECT count(*) FROM sgx.sealed_data_items i \
             LEFT JOIN LATERAL (SELECT count(*) AS all_of, min(version) AS first, max(version) AS last \
                 FROM eventsourcing.events e WHERE e.tenant_id = i.tenant_id AND e.stream = 'sgx.item/' || i.item_id) e \
             ON true WHERE (e.all_of, e.first, e.last) IS DISTINCT FROM (i.revision, 1::bigint, i.revision)",
        ),
        (
            "items that are not what their last event says",
            "SELECT count(*) FROM sgx.sealed_data_items i WHERE NOT EXISTS ( \
             SELECT FROM eventsourcing.events e WHERE e.tenant_id = i.tenant_id AND e.stream = 'sgx.item/' || i.item_id \
                 AND e.version = i.revision AND e.data->>'fingerprint' = i.fingerprint \
                 AND e.data->>'key' = i.key AND e.data->>'version' = i.version::text)",
        ),
        (
            "events without an item",
            "SELECT count(*) FROM eventsourcing.events e WHERE e.stream LIKE 'sgx.item/%' AND NOT EXISTS ( \
             SELECT FROM sgx.sealed_data_items i WHERE i.tenant_id = e.tenant_id AND e.stream = 'sgx.item/' || i.item_id)",
        ),
        (
            "events and audit rows that are not in pairs",
            "SELECT count(*) FROM ( \
                 SELECT data->>'service' || '/' || (data->>'key') AS place, data->>'version' AS version, count(*) AS n \
                 FROM eventsourcing.events WHERE type = 'sgx.item_put' GROUP BY 1, 2) e \
             FULL JOIN ( \
                 SELECT resource_id AS place, metadata->>'version' AS version, count(*) AS n FROM monitoring.audit_logs \
                 WHERE action = 'SEAL_ITEM' AND result = 'Success' GROUP BY 1, 2) a USING (place, version) \
             WHERE (e.n, a.n) IS DISTINCT FROM (1::bigint, 1::bigint)",
        ),
    ] {
        assert_eq!(count(database, sql).await, 0, "{what}");
    }
    for (what, sql) in [
        (
            "every event has its position, dense from 1",
            "SELECT (SELECT count(*) FROM eventsourcing.events e \
                     WHERE NOT EXISTS (SELECT FROM eventsourcing.log l WHERE l.event_id = e.id)) \
                  + (SELECT max(position) - count(*) + min(position) - 1 FROM eventsourcing.log)",
        ),
        (
            "every audit row has its leaf, dense from 0",
            "SELECT (SELECT count(*) FROM monitoring.audit_logs a \
                     WHERE NOT EXISTS (SELECT FROM monitoring.audit_leaves l WHERE l.audit_id = a.id)) \
                  + (SELECT max(leaf_index) + 1 - count(*) + min(leaf_index) FROM monitoring.audit_leaves)",
        ),
    ] {
        eventually(PATIENCE, what, async || count(database, sql).await == 0).await;
    }
}

async fn count(database: &tokio_postgres::Client, sql: &str) -> i64 {
    database.query_one(sql, &[]).await.unwrap().get(0)
}
