//! The only place that spawns tasks: each has a name, is started again when it fails or panics, and ends in order.

use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::db::DbError;
use crate::db::lease::Lease;

/// Why a job step failed; logged where the job is supervised.
pub type JobError = Box<dyn std::error::Error + Send + Sync>;

/// The order of the drain: requests first, then loops, then the writers that both still needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Http,
    Loops,
    Writers,
}

impl Stage {
    const ORDER: [Self; 3] = [Self::Http, Self::Loops, Self::Writers];
}

struct Task {
    name: String,
    stage: Stage,
    handle: JoinHandle<()>,
}

#[derive(Default)]
struct Inner {
    tasks: Mutex<Vec<Task>>,
    stops: [CancellationToken; 3],
    /// A thread for what every request waits for: see [`Jobs::spawn_apart`].
    apart: OnceLock<Runtime>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Dropped as it is, a runtime waits for its threads, which a task must not.
        if let Some(runtime) = self.apart.take() {
            runtime.shutdown_background();
        }
    }
}

/// The tasks of this process.
#[derive(Clone, Default)]
pub struct Jobs(Arc<Inner>);

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Jobs {
    pub fn new() -> Self {
        Self::default()
    }

    /// The token that is cancelled when a stage is to end.
    pub fn stop(&self, stage: Stage) -> CancellationToken {
        self.0.stops[stage as usize].clone()
    }

    /// Runs a task until it returns `Ok`; a failure or panic is logged and starts it again after a growing pause.
    pub fn spawn<F, Fut>(&self, name: impl Into<String>, stage: Stage, run: F)
    where
        F: Fn(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), JobError>> + Send + 'static,
    {
        let name = name.into();
        let stop = self.stop(stage);
        let handle = detach(supervise(name.clone(), stop, run));
        self.note(name, stage, handle);
    }

    /// The same on a thread that all such tasks share and that serves no request. A task that many requests wait for, and
    /// that takes a few steps for each answer of the server, would stand behind other requests at every step.
    pub fn spawn_apart<F, Fut>(&self, name: impl Into<String>, stage: Stage, run: F)
    where
        F: Fn(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), JobError>> + Send + 'static,
    {
        let name = name.into();
        let task = supervise(name.clone(), self.stop(stage), run);
        let handle = match self.apart() {
            Some(runtime) => runtime.spawn(task),
            None => detach(task),
        };
        self.note(name, stage, handle);
    }

    fn apart(&self) -> Option<&Runtime> {
        if self.0.apart.get().is_none() {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            match builder.worker_threads(1).thread_name("nsl-writers").enable_all().build() {
                // Lost to another that was set meanwhile: that one serves.
                Ok(runtime) => {
                    if let Err(second) = self.0.apart.set(runtime) {
                        second.shutdown_background();
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "no thread for the writers: they share those of the requests");
                }
            }
        }
        self.0.apart.get()
    }

    fn note(&self, name: String, stage: Stage, handle: JoinHandle<()>) {
        self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(Task { name, stage, handle });
    }

    /// Runs a step again and again with a pause between; a failed step is logged and the loop goes on.
    pub fn every<F, Fut>(&self, name: &'static str, period: Duration, step: F)
    where
        F: Fn() -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), JobError>> + Send + 'static,
    {
        self.spawn(name, Stage::Loops, move |stop| {
            let step = step.clone();
            async move {
                let mut clock = interval(period);
                clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        _ = clock.tick() => {}
                    }
                    report(name, step().await);
                }
            }
        });
    }

    /// The same, in one process at a time: the one that holds the lease.
    pub fn every_single<F, Fut>(&self, lease: Lease, name: &'static str, period: Duration, step: F)
    where
        F: Fn() -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), JobError>> + Send + 'static,
    {
        let lease = Arc::new(lease);
        self.spawn(name, Stage::Loops, move |stop| {
            let (step, lease) = (step.clone(), Arc::clone(&lease));
            async move {
                let mut clock = interval(period);
                clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
                let mut ours_until = Instant::now();
                loop {
                    tokio::select! {
                        () = stop.cancelled() => break,
                        _ = clock.tick() => {}
                    }
                    // Renewed with two thirds of its time left, so that one lost answer does not lose it.
                    if Instant::now() + lease.ttl() * 2 / 3 >= ours_until {
                        let asked = Instant::now();
                        match lease.take().await {
                            Ok(Some(_)) => ours_until = asked + lease.ttl(),
                            Ok(None) => continue,
                            Err(error) => {
                                report(name, Err(error.into()));
                                continue;
                            }
                        }
                    }
                    report(name, step().await);
                }
                // Best effort: it runs out by itself.
                report(name, lease.give_back().await.map_err(Into::into));
                Ok(())
            }
        });
    }

    /// Ends the stages in order, each as soon as its tasks are done; what is not done at the deadline is cut off.
    pub async fn shut_down(&self, within: Duration) {
        let deadline = Instant::now() + within;
        for stage in Stage::ORDER {
            self.stop(stage).cancel();
            let tasks: Vec<Task> = {
                let mut all = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
                all.extract_if(.., |task| task.stage == stage).collect()
            };
            for mut task in tasks {
                if timeout_at(deadline, &mut task.handle).await.is_err() {
                    tracing::warn!(job = task.name, "cut off: it did not end in time");
                    task.handle.abort();
                }
            }
        }
    }
}

/// The house's one call of `tokio::spawn`.
#[expect(clippy::disallowed_methods, reason = "this is the place that the ban sends everyone to")]
fn detach<F: Future + Send + 'static>(future: F) -> JoinHandle<F::Output>
where
    F::Output: Send,
{
    tokio::spawn(future)
}

/// Drives a connection or another future that ends by itself when its owner goes; not supervised, not drained.
pub fn drive<F: Future + Send + 'static>(future: F) -> JoinHandle<F::Output>
where
    F::Output: Send,
{
    detach(future)
}

async fn supervise<F, Fut>(name: String, stop: CancellationToken, run: F)
where
    F: Fn(CancellationToken) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), JobError>> + Send + 'static,
{
    let mut pause = FIRST_PAUSE;
    loop {
        let started = Instant::now();
        // In a task of its own, so that a panic is caught at its edge.
        match detach(run(stop.clone())).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                tracing::error!(job = name, error = %crate::db::chain(error.as_ref()), "job failed; it starts again");
            }
            Err(join) => tracing::error!(job = name, error = %join, "job panicked; it starts again"),
        }
        metrics::counter!("nsl_job_failures_total", "job" => name.clone()).increment(1);
        if started.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn report(name: &str, outcome: Result<(), JobError>) {
    let Err(error) = outcome else { return };
    metrics::counter!("nsl_job_failures_total", "job" => name.to_owned()).increment(1);
    let error = error.as_ref();
    // A database that is away is told once by health; each loop's every step would repeat it.
    if matches!(error.downcast_ref::<DbError>(), Some(DbError::Unavailable(_))) {
        tracing::debug!(job = name, error = %crate::db::chain(error), "step skipped: the database is away");
    } else {
        tracing::warn!(job = name, error = %crate::db::chain(error), "step failed; the next one follows");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_job_that_panics_or_fails_starts_again_and_ends_when_told() {
        let jobs = Jobs::new();
        let runs = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&runs);
        jobs.spawn("test", Stage::Loops, move |stop| {
            let run = seen.fetch_add(1, Ordering::SeqCst);
            async move {
                match run {
                    0 => panic!("first run"),
                    1 => Err("second run".into()),
                    _ => {
                        stop.cancelled().await;
                        Ok(())
                    }
                }
            }
        });
        let deadline = Instant::now() + Duration::from_mins(1);
        while runs.load(Ordering::SeqCst) < 3 && Instant::now() < deadline {
            sleep(Duration::from_millis(10)).await;
        }
        jobs.shut_down(Duration::from_secs(5)).await;
        assert_eq!(runs.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn stages_end_in_order() {
        let jobs = Jobs::new();
        let order = Arc::new(Mutex::new(Vec::new()));
        for (name, stage) in [("writers", Stage::Writers), ("http", Stage::Http), ("loops", Stage::Loops)] {
            let order = Arc::clone(&order);
            jobs.spawn(name, stage, move |stop| {
                let order = Arc::clone(&order);
                async move {
                    stop.cancelled().await;
                    sleep(Duration::from_millis(100)).await;
                    order.lock().unwrap().push(name);
                    Ok(())
                }
            });
        }
        jobs.shut_down(Duration::from_secs(5)).await;
        assert_eq!(*order.lock().unwrap(), ["http", "loops", "writers"]);
    }
}
