//! Streams as other services read them.

use nsl_core::Caller;
use nsl_core::db::{DomainEvent, Login};
use nsl_core::ids::TenantId;
use nsl_core::ports::LoggedEvent;
use nsl_eventsourcing::event_log;
use nsl_testkit::TestDb;
use serde::Serialize;
use serde_json::json;

#[derive(Serialize)]
struct Happened {
    number: i64,
}

impl DomainEvent for Happened {
    const TYPE: &'static str = "test.happened";
}

async fn happen(test: &TestDb, tenant: TenantId, stream: &str, numbers: &[i64]) {
    let (base, caller) = (test.base(), Caller::system(tenant, "test"));
    for number in numbers {
        let mut work = base.db.begin(Login::Enclave, &caller).await.unwrap();
        work.event(stream, &Happened { number: *number }).unwrap();
        work.commit().await.unwrap();
    }
}

fn brief(events: &[LoggedEvent]) -> Vec<(&str, i64)> {
    events.iter().map(|event| (event.stream.as_str(), event.version)).collect()
}

#[tokio::test]
async fn the_last_event_of_each_stream_a_page_at_a_time() {
    let test = TestDb::new().await.unwrap();
    let (acme, other) = (test.tenant("acme").await.unwrap(), test.tenant("other").await.unwrap());
    for (stream, numbers) in [
        ("test.a/1", &[1, 2, 3][..]),
        ("test.a/2", &[4]),
        ("test.a/\u{e9}", &[5, 6]),
        ("test.a", &[7]),
        ("test.b/1", &[8]),
    ] {
        happen(&test, acme, stream, numbers).await;
    }
    happen(&test, other, "test.a/3", &[9]).await;
    let log = event_log(&test.base().db, Login::Enclave);
    let all = log.heads(acme, "test.a/", "", 10).await.unwrap();
    assert_eq!(brief(&all), [("test.a/1", 3), ("test.a/2", 1), ("test.a/\u{e9}", 2)]);
    assert_eq!((all[0].kind.as_str(), &all[0].data), ("test.happened", &json!({"number": 3})));
    let page = log.heads(acme, "test.a/", "", 2).await.unwrap();
    assert_eq!(brief(&page), [("test.a/1", 3), ("test.a/2", 1)]);
    let page = log.heads(acme, "test.a/", "test.a/2", 2).await.unwrap();
    assert_eq!(brief(&page), [("test.a/\u{e9}", 2)]);
    assert_eq!(log.heads(acme, "test.c/", "", 2).await.unwrap(), []);
    assert_eq!(brief(&log.heads(other, "test.a/", "", 9).await.unwrap()), [("test.a/3", 1)]);
}

#[tokio::test]
async fn single_streams_and_events() {
    let test = TestDb::new().await.unwrap();
    let (acme, other) = (test.tenant("acme").await.unwrap(), test.tenant("other").await.unwrap());
    happen(&test, acme, "test.a/1", &[1, 2]).await;
    happen(&test, acme, "test.b/1", &[3]).await;
    happen(&test, other, "test.a/3", &[9]).await;
    let log = event_log(&test.base().db, Login::Enclave);
    let names = ["test.b/1", "test.a/3", "test.none", "test.a/1"].map(str::to_owned);
    let mut heads = log.heads_of(acme, &names).await.unwrap();
    heads.sort_by(|a, b| a.stream.cmp(&b.stream));
    assert_eq!(brief(&heads), [("test.a/1", 2), ("test.b/1", 1)], "another tenant's stream is not seen");
    let first = log.event(acme, "test.a/1", 1).await.unwrap().unwrap();
    assert_eq!(first.data, json!({"number": 1}));
    assert_eq!(log.event(acme, "test.a/1", 3).await.unwrap(), None);
    let found = log.containing(acme, "test.a/", &json!({"number": 2})).await.unwrap().unwrap();
    assert_eq!((found.stream.as_str(), found.version), ("test.a/1", 2));
    for (prefix, number) in [("test.b/", 2), ("test.a/", 9)] {
        assert_eq!(log.containing(acme, prefix, &json!({ "number": number })).await.unwrap(), None);
    }
}
