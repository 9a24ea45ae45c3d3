//! Group commit for hot commands. What queued while the last transaction committed shares the next one, as one
//! multi-row statement; no timer, one or two writers. Measured: 5.8 × separate transactions at 32 clients.
//!
//! - Writers and their connections are driven on a thread of their own. Among the requests each of their steps waited
//!   behind those that the last batch had answered: a third of both cores was idle while the next batch stood ready.
//! - Each caller gets its own outcome, and an answer only after the commit.
//! - A command may write several rows, and is then written whole or not at all.
//! - A key is at most once in a batch (ON CONFLICT cannot touch a row twice) and in at most one batch at a time.
//! - Rows go out sorted by key, so that two writers cannot deadlock.
//! - A data error bisects the batch: the row at fault fails alone.
//! - A batch may mix tenants; row-level security sees the tenants of its commands and no others.
//! - A COMMIT whose answer was lost is asked for with `pg_xact_status`.
//! - The queue is bounded; a caller that went away does not cancel what was queued.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};
use tokio_postgres::Row;

use super::error::is_settled;
use super::pool::{Lane, Scoped, Wanted, answer, tenants_setting};
use super::sql::{Conn, Param};
use super::{Db, DbError, Login, uow};
use crate::ids::TenantId;
use crate::jobs::{Jobs, Stage};

/// What a group commit needs to know of one kind of command.
pub trait HotWrite: Send + Sync + 'static {
    type Command: Send + Sync + 'static;
    type Outcome: Send + 'static;
    /// What [`prepare`](Self::prepare) found and computed.
    type Prepared: Send;

    /// The name in metrics and job names, `<service>.<what>`.
    const NAME: &'static str;

    fn tenant(&self, command: &Self::Command) -> TenantId;

    /// The rows that the command writes, for commands that may meet on one.
    fn keys(&self, command: &Self::Command) -> Vec<String>;

    /// About how many bytes the command sends; bounds a batch.
    fn weight(&self, command: &Self::Command) -> usize;

    /// Reads and computes before the transaction, so that nothing slow happens inside it.
    fn prepare(
        &self,
        read: &Scoped<'_>,
        batch: &[&Self::Command],
    ) -> impl Future<Output = Result<Self::Prepared, DbError>> + Send;

    /// Runs the batch's one statement and tells each command's verdict, in the order of the batch.
    fn write(
        &self,
        batch: &Batch<'_>,
        commands: &[&Self::Command],
        prepared: Self::Prepared,
    ) -> impl Future<Output = Result<Vec<Verdict<Self::Outcome>>, DbError>> + Send;
}

/// What became of one command of a committed batch.
pub enum Verdict<T> {
    Done(T),
    /// Its row changed between preparation and statement: it goes into the next batch.
    Again,
}

/// Bounds of a group commit.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub writers: usize,
    pub queue: usize,
    pub max_commands: usize,
    pub max_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { writers: 2, queue: 4096, max_commands: 256, max_bytes: 4 << 20 }
    }
}

/// A batch should not hold its transaction longer: row locks and the sequencer's horizon wait for it.
const LONGEST_BATCH: Duration = Duration::from_millis(50);
/// After so many meetings with other writers a command gives up.
const MAX_ATTEMPTS: u32 = 32;

struct Item<W: HotWrite> {
    command: W::Command,
    keys: Vec<String>,
    answer: oneshot::Sender<Result<W::Outcome, DbError>>,
    attempts: u32,
}

struct Queue<W: HotWrite> {
    waiting: VecDeque<Item<W>>,
    in_flight: HashSet<String>,
    /// How many commands the writers have in hand.
    writing: usize,
    closed: bool,
}

struct Shared<W: HotWrite> {
    write: W,
    db: Db,
    login: Login,
    bounds: Bounds,
    queue: Mutex<Queue<W>>,
    arrived: Notify,
    /// How many commands the next batch may hold: halved when a batch was slow.
    allowed: AtomicUsize,
}

/// The queue and its writers.
pub struct GroupCommit<W: HotWrite>(Arc<Shared<W>>);

impl<W: HotWrite> Clone for GroupCommit<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W: HotWrite> GroupCommit<W> {
    /// Starts the writers as supervised jobs; they drain the queue before they stop.
    pub fn start(jobs: &Jobs, db: &Db, login: Login, write: W, bounds: Bounds) -> Self {
        let shared = Arc::new(Shared {
            write,
            db: db.clone(),
            login,
            bounds,
            queue: Mutex::new(Queue {
                waiting: VecDeque::new(),
                in_flight: HashSet::new(),
                writing: 0,
                closed: false,
            }),
            arrived: Notify::new(),
            allowed: AtomicUsize::new(bounds.max_commands),
        });
        for number in 1..=bounds.writers {
            let shared = Arc::clone(&shared);
            jobs.spawn_apart(format!("{}.writer-{number}", W::NAME), Stage::Writers, move |stop| {
                let shared = Arc::clone(&shared);
                async move {
                    shared.run(stop).await;
                    Ok(())
                }
            });
        }
        Self(shared)
    }

    /// Queues a command and waits for its outcome, which comes after the commit.
    pub async fn submit(&self, command: W::Command) -> Result<W::Outcome, DbError> {
        let (answer, outcome) = oneshot::channel();
        let keys = self.0.write.keys(&command);
        {
            let mut queue = self.0.lock();
            if queue.closed || queue.waiting.len() >= self.0.bounds.queue {
                return Err(DbError::Busy);
            }
            queue.waiting.push_back(Item { command, keys, answer, attempts: 0 });
        }
        self.0.arrived.notify_one();
        // A writer that dies with the command in hand leaves its fate open.
        outcome.await.unwrap_or(Err(DbError::OutcomeUnknown))
    }

    /// How many commands wait.
    pub fn waiting(&self) -> usize {
        self.0.lock().waiting.len()
    }
}

impl<W: HotWrite> Shared<W> {
    fn lock(&self) -> MutexGuard<'_, Queue<W>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self, stop: tokio_util::sync::CancellationToken) {
        loop {
            let batch = self.take();
            if !batch.items.is_empty() {
                self.commit(batch).await;
                continue;
            }
            drop(batch);
            if !stop.is_cancelled() {
                tokio::select! {
                    () = self.arrived.notified() => {}
                    () = stop.cancelled() => {}
                }
            } else if self.close() {
                return;
            } else {
                // What still waits has its key in the other writer's batch, or is too little beside it: it rings at its end.
                self.arrived.notified().await;
            }
        }
    }

    /// Takes no more commands; true when none is left to be taken.
    fn close(&self) -> bool {
        let mut queue = self.lock();
        queue.closed = true;
        queue.waiting.is_empty()
    }

    /// Takes what may go together, leaving what has to wait in its order.
    ///
    /// Beside another writer only half as much as that one has in hand, or more: what a statement costs whatever it holds
    /// (its plan's start, the tables' checks) is a dozen rows', and the commands come back to the other soon.
    fn take(&self) -> InFlight<'_, W> {
        let mut queue = self.lock();
        if queue.waiting.len() < queue.writing / 2 {
            return InFlight { shared: self, keys: Vec::new(), count: 0, items: Vec::new() };
        }
        let allowed = self.allowed.load(Ordering::Relaxed);
        let mut items = Vec::new();
        let mut bytes = 0;
        let mut rest = VecDeque::with_capacity(queue.waiting.len());
        let mut skipped = HashSet::new();
        while let Some(item) = queue.waiting.pop_front() {
            let weight = self.write.weight(&item.command);
            let full =
                items.len() >= allowed || (!items.is_empty() && bytes + weight > self.bounds.max_bytes);
            let busy = item.keys.iter().any(|key| queue.in_flight.contains(key) || skipped.contains(key));
            if full || busy {
                skipped.extend(item.keys.iter().cloned());
                rest.push_back(item);
                if full {
                    rest.append(&mut queue.waiting);
                }
                continue;
            }
            bytes += weight;
            queue.in_flight.extend(item.keys.iter().cloned());
            items.push(item);
        }
        queue.waiting = rest;
        let count = items.len();
        queue.writing += count;
        drop(queue);
        items.sort_by(|a, b| a.keys.cmp(&b.keys));
        let size = u32::try_from(count).unwrap_or(u32::MAX);
        metrics::histogram!("nsl_group_commit_batch_size", "batch" => W::NAME).record(size);
        let keys = items.iter().flat_map(|item| item.keys.iter().cloned()).collect();
        InFlight { shared: self, keys, count, items }
    }

    async fn commit(&self, mut batch: InFlight<'_, W>) {
        let items = std::mem::take(&mut batch.items);
        let size = items.len();
        let started = Instant::now();
        // Pieces still to be written; a data error cuts one in two.
        let mut pieces = vec![items];
        let mut again = Vec::new();
        while let Some(mut piece) = pieces.pop() {
            match self.write_piece(&piece).await {
                Ok(verdicts) => {
                    for (mut item, verdict) in piece.into_iter().zip(verdicts) {
                        match verdict {
                            Verdict::Done(outcome) => {
                                // The caller may have gone away; the change stands.
                                let _gone = item.answer.send(Ok(outcome));
                            }
                            Verdict::Again => {
                                item.attempts += 1;
                                again.push(item);
                            }
                        }
                    }
                }
                Err(error) if error.is_about_data() && piece.len() > 1 => {
                    let second = piece.split_off(piece.len() / 2);
                    pieces.push(second);
                    pieces.push(piece);
                }
                Err(DbError::Conflict(_)) if piece.iter().all(|item| item.attempts < MAX_ATTEMPTS) => {
                    again.extend(piece.into_iter().map(|mut item| {
                        item.attempts += 1;
                        item
                    }));
                }
                Err(error) => {
                    for item in piece {
                        let _gone = item.answer.send(Err(error.clone()));
                    }
                }
            }
        }
        self.adapt(size, started.elapsed());
        // Before its keys are free: else a later command of one of them could overtake.
        self.put_back(again);
        drop(batch);
        self.db.recorded().notify_one();
    }

    async fn write_piece(&self, piece: &[Item<W>]) -> Result<Vec<Verdict<W::Outcome>>, DbError> {
        let commands: Vec<&W::Command> = piece.iter().map(|item| &item.command).collect();
        let mut tenants: Vec<TenantId> = commands.iter().map(|command| self.write.tenant(command)).collect();
        tenants.sort_unstable();
        tenants.dedup();
        let tenants = tenants_setting(&tenants);
        let read = Scoped::hot(&self.db, self.login, tenants.clone());
        let prepared = self.write.prepare(&read, &commands).await?;
        let batch = Batch::hot(&self.db, self.login, tenants);
        let verdicts = self.write.write(&batch, &commands, prepared).await?;
        if verdicts.len() != piece.len() {
            return Err(DbError::NoRow(W::NAME));
        }
        Ok(verdicts)
    }

    fn put_back(&self, again: Vec<Item<W>>) {
        let mut queue = self.lock();
        for item in again.into_iter().rev() {
            if item.attempts < MAX_ATTEMPTS {
                queue.waiting.push_front(item);
            } else {
                let met = "it met another writer too often".to_owned();
                let _gone = item.answer.send(Err(DbError::Conflict(met)));
            }
        }
    }

    fn adapt(&self, size: usize, took: Duration) {
        metrics::histogram!("nsl_group_commit_seconds", "batch" => W::NAME).record(took.as_secs_f64());
        let allowed = self.allowed.load(Ordering::Relaxed);
        let next = if took > LONGEST_BATCH {
            (size / 2).max(1)
        } else if size >= allowed {
            (allowed * 2).min(self.bounds.max_commands)
        } else {
            allowed
        };
        self.allowed.store(next, Ordering::Relaxed);
    }
}

/// The items of one batch; its keys are free again when it ends, however it ends.
struct InFlight<'s, W: HotWrite> {
    shared: &'s Shared<W>,
    keys: Vec<String>,
    count: usize,
    items: Vec<Item<W>>,
}

impl<W: HotWrite> Drop for InFlight<'_, W> {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        for key in &self.keys {
            queue.in_flight.remove(key);
        }
        queue.writing -= self.count;
        drop(queue);
        if self.count > 0 {
            // Its keys, or its size, may have kept commands waiting.
            self.shared.arrived.notify_one();
        }
    }
}

/// The transaction of one batch: its one statement goes out with BEGIN, the tenants and COMMIT in one round trip.
pub struct Batch<'s> {
    db: &'s Db,
    login: Login,
    tenants: String,
    begin: &'static str,
    lane: Lane,
}

impl<'s> Batch<'s> {
    /// A statement that is run once in a while.
    pub(super) fn over(db: &'s Db, login: Login, tenants: String) -> Self {
        Self { db, login, tenants, begin: BEGIN_ONE, lane: Lane::Any }
    }

    /// A group commit's statement. Its plan does not depend on what is in the arrays, and making one for each batch costs
    /// as much as a dozen rows. It finds each row by its key: a plan that was made while the tables were empty would scan
    /// and hash them, and be kept.
    fn hot(db: &'s Db, login: Login, tenants: String) -> Self {
        Self { begin: BEGIN_HOT, lane: Lane::Hot, ..Self::over(db, login, tenants) }
    }
}

/// The tenants for the rest of the transaction, and its id, should the answer to COMMIT get lost.
const BEGIN_ONE: &str =
    "SELECT pg_catalog.set_config('nsl.tenants', $1, true), pg_catalog.pg_current_xact_id()::text";
const BEGIN_HOT: &str = "SELECT pg_catalog.set_config('nsl.tenants', $1, true), pg_catalog.pg_current_xact_id()::text, \
                                pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', true), \
                                pg_catalog.set_config('enable_seqscan', 'off', true), \
                                pg_catalog.set_config('enable_hashjoin', 'off', true), \
                                pg_catalog.set_config('enable_mergejoin', 'off', true)";

impl Batch<'_> {
    async fn run(
        &self,
        sql: &'static str,
        params: &[Param<'_>],
        wanted: Wanted,
    ) -> Result<(Vec<Row>, u64), DbError> {
        let client = self.db.live_client(self.login, self.lane).await?;
        // Prepared before the pipeline: a prepare in the middle would let COMMIT overtake the statement.
        let set = client.prepare_cached(self.begin).await?;
        let statement = client.prepare_cached(sql).await?;
        let tenants: [Param<'_>; 1] = [&self.tenants];
        let sent = tokio::time::Instant::now();
        let (begun, set, rows, committed) = tokio::join!(
            client.batch_execute("BEGIN"),
            client.query_one(&set, &tenants),
            answer(&client, &statement, params, wanted),
            client.batch_execute("COMMIT"),
        );
        // COMMIT of a failed transaction answers Ok (it rolled back): the outcome is the statement's answer first.
        // A server's refusal settles it; a lost connection does not, since COMMIT may have arrived all the same.
        let refused = |error: &tokio_postgres::Error| error.as_db_error().is_some();
        let set = match set {
            Err(error) if refused(&error) => return Err(error.into()),
            set => set,
        };
        if let Some(error) = begun.err().filter(refused) {
            return Err(error.into());
        }
        let rows = match rows {
            Err(error) if refused(&error) => return Err(error.into()),
            rows => rows,
        };
        match committed {
            Ok(()) => Ok(rows?),
            Err(error) if is_settled(&error) => Err(error.into()),
            Err(_) => {
                drop(deadpool_postgres::Object::take(client));
                let xid: String = set.and_then(|row| row.try_get(1)).map_err(|_| DbError::OutcomeUnknown)?;
                uow::outcome(self.db, Some(xid), sent).await?;
                rows.map_err(|_| DbError::OutcomeUnknown)
            }
        }
    }
}

impl Conn for Batch<'_> {
    async fn query(&self, sql: &'static str, params: &[Param<'_>]) -> Result<Vec<Row>, DbError> {
        Ok(self.run(sql, params, Wanted::Rows).await?.0)
    }

    async fn execute(&self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, DbError> {
        Ok(self.run(sql, params, Wanted::Count).await?.1)
    }
}
