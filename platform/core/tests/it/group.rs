//! Group commit: each of its rules, and each way in which it fails.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use futures::future::join_all;
use nsl_core::db::group::{Batch, Bounds, GroupCommit, HotWrite, Verdict};
use nsl_core::db::{Endpoint, Scoped};
use nsl_core::jobs::{Jobs, Stage, drive};
use nsl_testkit::{eventually, pools};
use tokio_postgres::Client;

use super::proxy::{Cut, Proxy};
use super::*;

/// Adds to a counter.
struct Add {
    tenant: TenantId,
    /// Whose row it writes: another one's, where a test plants that mistake.
    owner: TenantId,
    name: String,
    amount: i64,
    /// How many times it finds its row changed before it writes.
    again: AtomicU32,
}

impl Add {
    fn new(tenant: TenantId, name: impl Into<String>, amount: i64) -> Self {
        Self { tenant, owner: tenant, name: name.into(), amount, again: AtomicU32::new(0) }
    }

    fn again(self, times: u32) -> Self {
        self.again.store(times, Ordering::SeqCst);
        self
    }
}

nsl_core::row! {
    struct Sum { place: i64, amount: i64 }
}
nsl_core::queries! {
    fn add_many(tenants: &[TenantId], names: &[&str], amounts: &[i64]) -> many<Sum> =
        "WITH input AS ( \
             SELECT i.* FROM unnest($1::uuid[], $2::text[], $3::bigint[]) WITH ORDINALITY \
                 AS i (tenant_id, name, amount, place)), \
         written AS ( \
             INSERT INTO core.counters AS c (tenant_id, name, amount) SELECT tenant_id, name, amount FROM input \
             ON CONFLICT (tenant_id, name) DO UPDATE SET amount = c.amount + excluded.amount \
             RETURNING tenant_id, name, amount) \
         SELECT i.place, w.amount FROM input i JOIN written w USING (tenant_id, name) ORDER BY i.place";
}

type Batches = Arc<Mutex<Vec<Vec<String>>>>;

/// Answers each command with the counter's new amount, and keeps which counters each batch held.
struct Counters(Batches);

impl HotWrite for Counters {
    type Command = Add;
    type Outcome = i64;
    type Prepared = ();

    const NAME: &'static str = "core.counters";

    fn tenant(&self, add: &Add) -> TenantId {
        add.tenant
    }

    fn keys(&self, add: &Add) -> Vec<String> {
        vec![format!("{}/{}", add.tenant, add.name)]
    }

    fn weight(&self, add: &Add) -> usize {
        add.name.len()
    }

    async fn prepare(&self, _read: &Scoped<'_>, _adds: &[&Add]) -> Result<(), DbError> {
        Ok(())
    }

    async fn write(&self, batch: &Batch<'_>, adds: &[&Add], (): ()) -> Result<Vec<Verdict<i64>>, DbError> {
        self.0.lock().unwrap().push(adds.iter().map(|add| add.name.clone()).collect());
        let is_due = |add: &&&Add| add.again.load(Ordering::SeqCst) == 0;
        let due: Vec<&Add> = adds.iter().filter(is_due).copied().collect();
        let tenants: Vec<TenantId> = due.iter().map(|add| add.owner).collect();
        let names: Vec<&str> = due.iter().map(|add| add.name.as_str()).collect();
        let amounts: Vec<i64> = due.iter().map(|add| add.amount).collect();
        let mut sums = add_many(batch, &tenants, &names, &amounts).await?.into_iter();
        Ok(adds
            .iter()
            .map(|add| {
                if is_due(&add) {
                    Verdict::Done(sums.next().unwrap().amount)
                } else {
                    add.again.fetch_sub(1, Ordering::SeqCst);
                    Verdict::Again
                }
            })
            .collect())
    }
}

/// A group commit at work on a database of its own.
struct Bench {
    test: TestDb,
    tenant: TenantId,
    jobs: Jobs,
    group: GroupCommit<Counters>,
    batches: Batches,
}

/// One writer, so that what queues behind a batch is the next batch.
const ONE_WRITER: Bounds = Bounds { writers: 1, queue: 64, max_commands: 256, max_bytes: 4 << 20 };

impl Bench {
    async fn new(bounds: Bounds) -> Self {
        Self::through(bounds, |_| None).await
    }

    async fn through(bounds: Bounds, way: impl FnOnce(&Endpoint) -> Option<Endpoint>) -> Self {
        let test = TestDb::new().await.unwrap();
        add_counters(&test).await;
        let tenant = test.tenant("acme").await.unwrap();
        let (jobs, batches) = (Jobs::new(), Batches::default());
        let db = pools(way(&test.endpoint()).unwrap_or_else(|| test.endpoint())).unwrap();
        let group = GroupCommit::start(&jobs, &db, Login::Api, Counters(Arc::clone(&batches)), bounds);
        Self { test, tenant, jobs, group, batches }
    }

    async fn gate(&self) -> Client {
        self.hold("gate").await
    }

    /// Makes whoever adds to the counter wait until the client's transaction ends.
    async fn hold(&self, name: &str) -> Client {
        let owner = self.test.client("neo_user").await.unwrap();
        owner.batch_execute("BEGIN").await.unwrap();
        let insert = "INSERT INTO core.counters VALUES ($1, $2, 0)";
        owner.execute(insert, &[&self.tenant, &name]).await.unwrap();
        owner
    }

    /// Submits in order while the writers are held at the gate, then opens it.
    async fn all_behind_the_gate(&self, adds: Vec<Add>) -> Vec<Result<i64, DbError>> {
        let gate = self.gate().await;
        let adds_count = adds.len();
        let held = self.group.submit(Add::new(self.tenant, "gate", 0));
        let open = async {
            eventually(LIMIT, "all but the held one are queued", async || self.group.waiting() == adds_count)
                .await;
            gate.batch_execute("ROLLBACK").await.unwrap();
        };
        let others = async {
            eventually(LIMIT, "the writer is at the gate", async || self.group.waiting() == 0).await;
            join_all(adds.into_iter().map(|add| self.group.submit(add))).await
        };
        let (held, (), others) = tokio::join!(held, open, others);
        assert_eq!(held.unwrap(), 0);
        others
    }

    fn batches(&self) -> Vec<Vec<String>> {
        self.batches.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn what_queued_shares_a_batch_and_each_has_its_own_outcome() {
    let bench = Bench::new(ONE_WRITER).await;
    let other = bench.test.tenant("other").await.unwrap();
    let adds = (0..40_i64).map(|number| {
        let tenant = if number % 2 == 0 { bench.tenant } else { other };
        Add::new(tenant, format!("counter {number}"), number)
    });
    let outcomes = bench.all_behind_the_gate(adds.collect()).await;
    for (outcome, number) in outcomes.into_iter().zip(0_i64..) {
        assert_eq!(outcome.unwrap(), number);
    }
    let sizes: Vec<usize> = bench.batches().iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, 40]);
    // Two tenants' rows in one transaction, each with its owner.
    assert_eq!(counter(&bench.test, bench.tenant, "counter 2").await, Some(2));
    assert_eq!(counter(&bench.test, other, "counter 3").await, Some(3));
    assert_eq!(counter(&bench.test, other, "counter 2").await, None);
    let owner = bench.test.client("neo_user").await.unwrap();
    let transactions = "SELECT count(DISTINCT xmin::text) FROM core.counters WHERE name <> 'gate'";
    assert_eq!(owner.query_one(transactions, &[]).await.unwrap().get::<_, i64>(0), 1);
}

#[tokio::test]
async fn beside_a_writer_another_starts_with_half_as_much() {
    let bench = Bench::new(Bounds { writers: 2, ..ONE_WRITER }).await;
    let submit = |name: &str| {
        let (group, add) = (bench.group.clone(), Add::new(bench.tenant, name, 1));
        drive(async move { group.submit(add).await.unwrap() })
    };
    let batches = async |count: usize| {
        eventually(LIMIT, "so many batches were begun", async || bench.batches().len() == count).await;
    };
    let waiting = async |count: usize| {
        eventually(LIMIT, "so many wait", async || bench.group.waiting() == count).await;
    };
    let (a, b, c) = (bench.hold("a").await, bench.hold("b").await, bench.hold("c").await);
    let mut all = vec![submit("a")];
    batches(1).await;
    let held = submit("b");
    batches(2).await;
    // Both writers are busy: these will be one batch of eight, held as well.
    all.extend(["c", "d", "e", "f", "g", "h", "i", "j"].map(submit));
    waiting(8).await;
    a.batch_execute("ROLLBACK").await.unwrap();
    batches(3).await;
    b.batch_execute("ROLLBACK").await.unwrap();
    held.await.unwrap();
    // The other writer is free, and leaves three to it.
    let mut few = Vec::from(["k", "l", "m"].map(submit));
    waiting(3).await;
    few.push(submit("n"));
    for answer in join_all(few).await {
        assert_eq!(answer.unwrap(), 1);
    }
    assert_eq!(bench.batches()[3], ["k", "l", "m", "n"]);
    c.batch_execute("ROLLBACK").await.unwrap();
    for answer in join_all(all).await {
        assert_eq!(answer.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_row_that_the_database_refuses_fails_alone() {
    let bench = Bench::new(ONE_WRITER).await;
    let other = bench.test.tenant("other").await.unwrap();
    let mut adds: Vec<Add> =
        (0..13_i64).map(|number| Add::new(bench.tenant, format!("c{number:02}"), number)).collect();
    adds[3].amount = -1;
    adds[8].name.push('\0');
    // Declared for one tenant, written for another: the batch names only the first to row-level security.
    adds[11].owner = other;
    let outcomes = bench.all_behind_the_gate(adds).await;
    for (outcome, number) in outcomes.iter().zip(0_i64..) {
        match (number, outcome) {
            (3, Err(DbError::Constraint { constraint })) => assert_eq!(constraint, "counters_amount_check"),
            (8, Err(DbError::Refused { state, .. })) => assert_eq!(state, "22021"),
            (11, Err(DbError::Refused { state, .. })) => assert_eq!(state, "42501"),
            (_, Ok(amount)) => assert_eq!(*amount, number),
            (_, Err(error)) => panic!("{number}: {error}"),
        }
    }
    assert_eq!(count(&bench.test, "core.counters").await, 1 + 10);
}

#[tokio::test]
async fn a_key_is_once_in_a_batch_and_its_commands_keep_their_order() {
    let bench = Bench::new(ONE_WRITER).await;
    let adds =
        (0..12_i64).map(|number| Add::new(bench.tenant, format!("c{}", number % 3), 1 << (number / 3)));
    let outcomes = bench.all_behind_the_gate(adds.collect()).await;
    for (outcome, number) in outcomes.into_iter().zip(0_i64..) {
        // The sum of its own and all that were queued before it, and of none after it.
        assert_eq!(outcome.unwrap(), (2 << (number / 3)) - 1);
    }
    let sorted = vec!["c0".to_owned(), "c1".to_owned(), "c2".to_owned()];
    assert_eq!(bench.batches()[1..], [sorted.clone(), sorted.clone(), sorted.clone(), sorted]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_writers_keep_the_order_of_a_key_also_when_it_goes_again() {
    let bench = Bench::new(Bounds { writers: 2, max_commands: 3, queue: 4096, ..ONE_WRITER }).await;
    let adds = (0..600_i64).map(|number| {
        let again = u32::from(number % 2 == 0);
        Add::new(bench.tenant, format!("c{}", number % 5), 1).again(again)
    });
    let outcomes = join_all(adds.map(|add| bench.group.submit(add))).await;
    for (outcome, number) in outcomes.into_iter().zip(0_i64..) {
        assert_eq!(outcome.unwrap(), number / 5 + 1, "{number}");
    }
    for batch in bench.batches() {
        assert!(batch.is_sorted_by(|a, b| a < b) && batch.len() <= 3, "{batch:?}");
    }
}

#[tokio::test]
async fn a_command_whose_row_changed_goes_again_and_at_last_gives_up() {
    let bench = Bench::new(ONE_WRITER).await;
    assert_eq!(bench.group.submit(Add::new(bench.tenant, "late", 7).again(5)).await.unwrap(), 7);
    assert_eq!(bench.batches().len(), 6);
    let refused = bench.group.submit(Add::new(bench.tenant, "never", 7).again(1000)).await.unwrap_err();
    assert!(matches!(refused, DbError::Conflict(_)), "{refused}");
    assert_eq!(counter(&bench.test, bench.tenant, "never").await, None);
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let bench = Bench::new(Bounds { queue: 2, ..ONE_WRITER }).await;
    let gate = bench.gate().await;
    let held = bench.group.submit(Add::new(bench.tenant, "gate", 0));
    let filled = async {
        eventually(LIMIT, "the writer is at the gate", async || bench.group.waiting() == 0).await;
        let first = bench.group.submit(Add::new(bench.tenant, "a", 1));
        let second = bench.group.submit(Add::new(bench.tenant, "b", 1));
        let third = async {
            let refused = bench.group.submit(Add::new(bench.tenant, "c", 1)).await;
            gate.batch_execute("ROLLBACK").await.unwrap();
            refused
        };
        tokio::join!(first, second, third)
    };
    let (held, (first, second, third)) = tokio::join!(held, filled);
    assert!(held.is_ok() && first.is_ok() && second.is_ok());
    assert!(matches!(third, Err(DbError::Busy)));
    assert_eq!(counter(&bench.test, bench.tenant, "c").await, None);
}

#[tokio::test]
async fn a_caller_that_went_away_does_not_cancel() {
    let bench = Bench::new(ONE_WRITER).await;
    let gate = bench.gate().await;
    let mut held = Box::pin(bench.group.submit(Add::new(bench.tenant, "gate", 1)));
    let mut queued = Box::pin(bench.group.submit(Add::new(bench.tenant, "queued", 1)));
    assert!(futures::poll!(held.as_mut()).is_pending());
    eventually(LIMIT, "the first is at the gate", async || bench.group.waiting() == 0).await;
    assert!(futures::poll!(queued.as_mut()).is_pending());
    drop((held, queued));
    gate.batch_execute("ROLLBACK").await.unwrap();
    for name in ["gate", "queued"] {
        eventually(LIMIT, name, async || counter(&bench.test, bench.tenant, name).await == Some(1)).await;
    }
}

#[tokio::test]
async fn a_lost_answer_to_commit_is_asked_for() {
    for (cut, arrived) in [
        (Cut::AnswerToCommit, Ok(1)),
        (Cut::SessionAtCommit, Ok(1)),
        (Cut::Commit, Err("rolled back")),
        (Cut::AllAnswers, Err("did not say")),
    ] {
        let mut proxy = None;
        let bench =
            Bench::through(ONE_WRITER, |server| Some(proxy.insert(Proxy::before(server)).endpoint())).await;
        let proxy = proxy.unwrap();
        assert_eq!(bench.group.submit(Add::new(bench.tenant, "before", 1)).await.unwrap(), 1);
        proxy.arm(cut);
        let outcome = bench.group.submit(Add::new(bench.tenant, "cut", 1)).await;
        match (&outcome, arrived) {
            (Ok(amount), Ok(expected)) => assert_eq!(*amount, expected),
            (Err(DbError::Unavailable(text)), Err(expected)) if cut == Cut::Commit => {
                assert!(text.contains(expected), "{text}");
            }
            (Err(DbError::OutcomeUnknown), Err(_)) => assert!(cut == Cut::AllAnswers),
            _ => panic!("{outcome:?}"),
        }
        let expected = if cut == Cut::Commit { None } else { Some(1) };
        assert_eq!(counter(&bench.test, bench.tenant, "cut").await, expected);
        // And it goes on.
        assert_eq!(bench.group.submit(Add::new(bench.tenant, "before", 1)).await.unwrap(), 2);
    }
}

#[tokio::test]
async fn a_unit_of_work_asks_for_a_lost_answer_too() {
    let test = TestDb::new().await.unwrap();
    let proxy = Proxy::before(&test.endpoint());
    let db = pools(proxy.endpoint()).unwrap();
    let tenant = test.tenant("acme").await.unwrap();
    for cut in [Cut::AnswerToCommit, Cut::SessionAtCommit] {
        proxy.arm(cut);
        append(&db, tenant, "things", "cut").await.unwrap();
    }
    proxy.arm(Cut::Commit);
    let refused = append(&db, tenant, "things", "cut").await.unwrap_err();
    assert!(matches!(&refused, DbError::Unavailable(text) if text.contains("rolled back")), "{refused}");
    assert_eq!(count(&test, "eventsourcing.events").await, 2);
}

#[tokio::test]
async fn an_outcome_that_nobody_can_tell_is_unknown() {
    let test = TestDb::new().await.unwrap();
    let proxy = Proxy::before(&test.endpoint());
    let db = pools(proxy.endpoint()).unwrap();
    let caller = caller(test.tenant("acme").await.unwrap());
    let mut work = db.begin(Login::Api, &caller).await.unwrap();
    work.audit(audit("cut"));
    proxy.arm(Cut::AnswerToCommit);
    proxy.refuse();
    assert!(matches!(work.commit().await, Err(DbError::OutcomeUnknown)));
    assert_eq!(count(&test, "monitoring.audit_logs").await, 1);
}

#[tokio::test]
async fn an_ended_session_is_an_error_and_the_next_batch_passes() {
    let bench = Bench::new(ONE_WRITER).await;
    let gate = bench.gate().await;
    let end = async {
        let admin = bench.test.client("postgres").await.unwrap();
        let terminate = "SELECT count(pg_catalog.pg_terminate_backend(pid)) FROM pg_catalog.pg_stat_activity \
                         WHERE datname = current_database() AND usename = 'neo_api' AND wait_event_type = 'Lock'";
        eventually(LIMIT, "a session to end", async || {
            admin.query_one(terminate, &[]).await.unwrap().get::<_, i64>(0) == 1
        })
        .await;
    };
    let (outcome, ()) = tokio::join!(bench.group.submit(Add::new(bench.tenant, "gate", 5)), end);
    assert!(matches!(outcome, Err(DbError::Unavailable(_))), "{outcome:?}");
    gate.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(bench.group.submit(Add::new(bench.tenant, "gate", 1)).await.unwrap(), 1);
}

/// On one thread: a writer that spins while the other has the key would never let it finish.
#[tokio::test]
async fn shutting_down_commits_what_is_queued() {
    let bench = Bench::new(Bounds { writers: 2, ..ONE_WRITER }).await;
    let gate = bench.gate().await;
    let submit = |name: String| {
        let (group, tenant) = (bench.group.clone(), bench.tenant);
        drive(async move { group.submit(Add::new(tenant, name, 1)).await })
    };
    let mut submitted = vec![submit("gate".to_owned())];
    eventually(LIMIT, "a writer is at the gate", async || bench.batches().len() == 1).await;
    for number in 1..20 {
        submitted.push(submit(if number % 2 == 0 { "gate".to_owned() } else { format!("c{number}") }));
    }
    eventually(LIMIT, "the gate's other commands wait", async || {
        bench.group.waiting() == 9 && counter(&bench.test, bench.tenant, "c19").await.is_some()
    })
    .await;
    let stopping = bench.jobs.stop(Stage::Writers);
    let open = async {
        stopping.cancelled().await;
        eventually(LIMIT, "the queue is closed", async || {
            matches!(bench.group.submit(Add::new(bench.tenant, "late", 1)).await, Err(DbError::Busy))
        })
        .await;
        gate.batch_execute("ROLLBACK").await.unwrap();
    };
    tokio::join!(bench.jobs.shut_down(LIMIT), open);
    for submitted in submitted {
        assert!(submitted.await.unwrap().is_ok());
    }
    assert_eq!(counter(&bench.test, bench.tenant, "gate").await, Some(10));
}
