//! Jobs that go on at the service, with or without this command.

use std::time::{Duration, Instant};

use anyhow::bail;
use nsl_client::{Client, Error, Rotation, Scan};
use tokio::time::sleep;

use super::{Globals, session};
use crate::cli::progress::Bar;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// A service that restarts takes the job up again; so long it may be away.
const AWAY: Duration = Duration::from_mins(2);

pub(super) trait Job {
    /// The words for it, such as `the scan`, and for its bar.
    const NAME: &'static str;
    const LABEL: &'static str;
    /// How to go on waiting.
    const SHOW: &'static str;

    fn id(&self) -> &str;
    fn is_running(&self) -> bool;
    fn done(&self) -> u64;
    fn total(&self) -> u64;
    fn seconds_left(&self) -> Option<u64>;
    async fn look(client: &Client, id: &str) -> Result<Self, Error>
    where
        Self: Sized;
}

impl Job for Rotation {
    const NAME: &'static str = "the rotation";
    const LABEL: &'static str = "Rotating";
    const SHOW: &'static str = "nsl sgx rotate show";

    fn id(&self) -> &str {
        &self.id
    }

    fn is_running(&self) -> bool {
        self.state == "running"
    }

    fn done(&self) -> u64 {
        self.done
    }

    fn total(&self) -> u64 {
        self.total
    }

    fn seconds_left(&self) -> Option<u64> {
        self.seconds_left
    }

    async fn look(client: &Client, id: &str) -> Result<Self, Error> {
        client.sgx().rotation(id).await
    }
}

impl Job for Scan {
    const NAME: &'static str = "the scan";
    const LABEL: &'static str = "Scanning";
    const SHOW: &'static str = "nsl sgx scan show";

    fn id(&self) -> &str {
        &self.id
    }

    fn is_running(&self) -> bool {
        self.state == "running"
    }

    fn done(&self) -> u64 {
        self.checked
    }

    fn total(&self) -> u64 {
        self.total
    }

    fn seconds_left(&self) -> Option<u64> {
        self.seconds_left
    }

    async fn look(client: &Client, id: &str) -> Result<Self, Error> {
        client.sgx().scan(id).await
    }
}

/// Looks at a job until it has ended. Ctrl-C ends the waiting and not the job.
pub(super) async fn to_its_end<J: Job>(
    session: &mut session::Session,
    mut job: J,
    globals: &Globals,
) -> anyhow::Result<J> {
    let bar = Bar::new(J::LABEL, globals.json);
    let mut seen = Instant::now();
    while job.is_running() {
        bar.draw(job.done(), job.total(), job.seconds_left());
        tokio::select! {
            () = sleep(PAUSE) => {}
            _ = tokio::signal::ctrl_c() => {
                drop(bar);
                bail!("{} goes on at the service; `{} {} --wait` waits for its end", J::NAME, J::SHOW, job.id());
            }
        }
        match session.call(async |client| J::look(client, job.id()).await).await {
            Ok(next) => (job, seen) = (next, Instant::now()),
            Err(error) if is_away(&error) && seen.elapsed() < AWAY => {}
            Err(error) => return Err(error),
        }
    }
    Ok(job)
}

fn is_away(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<Error>() {
        Some(Error::Transport { .. } | Error::Stalled { .. }) => true,
        Some(other) => other.status() == Some(503),
        None => false,
    }
}
