//! Units of work and single statements.

use super::*;
use nsl_testkit::{password, pools};

#[tokio::test]
async fn change_event_and_audit_row_are_one_transaction() {
    let test = TestDb::new().await.unwrap();
    add_counters(&test).await;
    let tenant = test.tenant("acme").await.unwrap();
    let caller = caller(tenant);
    let mut work = test.db().begin(Login::Api, &caller).await.unwrap();
    put(&work, tenant, "one", 1).await.unwrap();
    work.event("things", &Happened { what: "first".into() }).unwrap();
    work.event("things", &Happened { what: "second".into() }).unwrap();
    work.audit(audit("one"));
    work.commit().await.unwrap();

    let owner = test.client("neo_user").await.unwrap();
    let row = owner
        .query_one(
            "SELECT count(DISTINCT x.xid), max(x.version), (SELECT s.version FROM eventsourcing.streams s), \
                    (SELECT count(*) FROM core.counters c, monitoring.audit_logs a \
                     WHERE c.xmin::text = a.xid::text AND a.actor = 'system:test' AND a.tenant_id = $1) \
             FROM (SELECT xid, version FROM eventsourcing.events UNION ALL SELECT xid, 0 FROM monitoring.audit_logs) x",
            &[&tenant],
        )
        .await
        .unwrap();
    let [transactions, version, head, together] = std::array::from_fn(|column| row.get::<_, i64>(column));
    assert_eq!((transactions, version, head, together), (1, 2, 2, 1));
}

#[tokio::test]
async fn nothing_is_left_of_what_was_not_committed() {
    let test = TestDb::new().await.unwrap();
    add_counters(&test).await;
    let tenant = test.tenant("acme").await.unwrap();
    let caller = caller(tenant);
    for explicit in [true, false] {
        let mut work = test.db().begin(Login::Api, &caller).await.unwrap();
        put(&work, tenant, "one", 1).await.unwrap();
        work.event("things", &Happened { what: "never".into() }).unwrap();
        work.audit(audit("one"));
        if explicit {
            work.rollback().await.unwrap();
        } else {
            drop(work);
        }
    }
    // The second write fails, and the first goes with it.
    let work = test.db().begin(Login::Api, &caller).await.unwrap();
    put(&work, tenant, "one", 1).await.unwrap();
    let error = put(&work, tenant, "two", -1).await.unwrap_err();
    assert_eq!(error.constraint(), Some("counters_amount_check"));
    assert!(work.commit().await.is_err());
    for table in ["core.counters", "eventsourcing.events", "eventsourcing.streams", "monitoring.audit_logs"] {
        assert_eq!(count(&test, table).await, 0, "{table}");
    }
}

#[tokio::test]
async fn a_dropped_future_hands_no_open_transaction_on() {
    let test = TestDb::new().await.unwrap();
    add_counters(&test).await;
    let tenant = test.tenant("acme").await.unwrap();
    let caller = caller(tenant);
    // One connection: whoever comes next gets the same one, or a new one in its place.
    let db = pools(nsl_core::db::Endpoint { max_pool_size: 1, ..test.endpoint() }).unwrap();
    let open = "SELECT count(*) FROM pg_catalog.pg_stat_activity \
                WHERE datname = current_database() AND usename = 'neo_api' AND state LIKE '%in transaction%'";
    let observer = test.client("neo_jobs").await.unwrap();

    // In the middle of a statement.
    let work = db.begin(Login::Api, &caller).await.unwrap();
    put(&work, tenant, "one", 1).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(20), sleep_long(&work)).await.is_err());
    drop(work);
    let next = db.begin(Login::Api, &caller).await.unwrap();
    assert!(find(&next, "one").await.unwrap().is_none());
    next.rollback().await.unwrap();

    // While it begins: polled as often as it takes to be anywhere in it.
    for polls in 1..20 {
        let mut begin = Box::pin(db.begin(Login::Api, &caller));
        for _ in 0..polls {
            if futures::poll!(begin.as_mut()).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(begin);
    }
    // While it commits: all of it or nothing.
    for polls in 1..40 {
        let mut work = db.begin(Login::Api, &caller).await.unwrap();
        put(&work, tenant, &format!("committed {polls}"), 1).await.unwrap();
        work.event("things", &Happened { what: "maybe".into() }).unwrap();
        work.audit(audit("maybe"));
        let mut commit = Box::pin(work.commit());
        for _ in 0..polls {
            if futures::poll!(commit.as_mut()).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let next = db.begin(Login::Api, &caller).await.unwrap();
    assert_eq!(
        next.query("SELECT pg_catalog.pg_current_xact_id_if_assigned()::text AS xid", &[]).await.unwrap()[0]
            .get::<_, Option<&str>>(0),
        None
    );
    next.rollback().await.unwrap();
    nsl_testkit::eventually(LIMIT, "no transaction is left open", async || {
        observer.query_one(open, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    let counters = count(&test, "core.counters").await;
    assert_eq!(count(&test, "eventsourcing.events").await, counters);
    assert_eq!(count(&test, "monitoring.audit_logs").await, counters);
}

#[tokio::test]
async fn tenants_do_not_meet() {
    let test = TestDb::new().await.unwrap();
    add_counters(&test).await;
    let (acme, other) = (test.tenant("acme").await.unwrap(), test.tenant("other").await.unwrap());
    let nominal = Db::nominal(test.endpoint(), "neo_user", password("neo_user"), Login::ALL).unwrap();
    assert!(nominal.is_nominal());
    for (db, name) in [(test.db(), "own logins"), (nominal, "one login and SET ROLE")] {
        assert_eq!(put(&db.write(Login::Api, acme), acme, name, 1).await.unwrap(), 1, "{name}");
        // The statements forget the tenant; row-level security does not.
        assert!(find(&db.read(Login::Api, acme), name).await.unwrap().is_some(), "{name}");
        assert!(find(&db.read(Login::Api, other), name).await.unwrap().is_none(), "{name}");
        assert!(find(&db.global(Login::Api), name).await.unwrap().is_none(), "{name}");
        assert_eq!(raise_all(&db.read(Login::Api, other), 1).await.unwrap(), 0, "{name}");
        assert!(find(&db.read_many(Login::Api, &[other, acme]), name).await.unwrap().is_some(), "{name}");
        let refused = put(&db.write(Login::Api, other), acme, "planted", 1).await.unwrap_err();
        assert!(matches!(&refused, DbError::Refused { state, .. } if state == "42501"), "{name}: {refused}");

        let caller = caller(other);
        let work = db.begin(Login::Api, &caller).await.unwrap();
        assert!(find(&work, name).await.unwrap().is_none());
        assert!(put(&work, acme, "planted", 1).await.is_err());
        drop(work);
        // And nothing of it stays on the connection.
        let client = db.client(Login::Api).await.unwrap();
        let seen = client.query("SELECT FROM core.counters", &[]).await.unwrap();
        assert!(seen.is_empty(), "{name}");
    }
    assert_eq!(raise_all(&test.db().read(Login::Api, acme), 5).await.unwrap(), 2);
    assert_eq!(counter(&test, acme, "own logins").await, Some(6));
}

#[tokio::test]
async fn a_unit_of_work_reaches_the_tenants_that_it_names_and_no_others() {
    let test = TestDb::new().await.unwrap();
    add_counters(&test).await;
    let mut tenants = Vec::new();
    for name in ["acme", "second", "third"] {
        tenants.push(test.tenant(name).await.unwrap());
    }
    let [own, named, other] = tenants[..] else { unreachable!() };
    let caller = caller(own);
    let work = test.db().begin_across(Login::Api, &caller, &[named, own]).await.unwrap();
    put(&work, own, "one", 1).await.unwrap();
    put(&work, named, "one", 1).await.unwrap();
    work.commit().await.unwrap();
    let work = test.db().begin_across(Login::Api, &caller, &[named]).await.unwrap();
    assert!(
        matches!(put(&work, other, "one", 1).await, Err(DbError::Refused { state, .. }) if state == "42501")
    );
}
