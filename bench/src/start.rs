//! `nsl-bench start`: time from the process to Healthy on an existing directory, and resident memory when idle.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use tokio::time::sleep;

use crate::api::{Api, Operation};
use crate::instance::{Instance, Program, Setup};
use crate::load::{self, Plan, Target};
use crate::report;
use crate::sample::median;
use crate::sgx::mebibytes;

/// What the directory holds.
const ITEMS: u32 = 5000;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    setup: Setup,
    /// Starts on the existing directory.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=15))]
    runs: u32,
    /// For which nothing is asked of it before its memory is read.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=600))]
    idle_seconds: u64,
    /// Print JSON with every run.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let program = Program::new(&args.setup)?;
    if cfg!(debug_assertions) {
        eprintln!("this is a development build; the nsl that is measured should be a release build");
    }
    let first = program.run(fill).await?;
    eprintln!("first start {:.2} s (database made and migrated), then {ITEMS} items", first.as_secs_f64());
    let (mut starts, mut resident) = (Vec::new(), Vec::new());
    for run in 1..=args.runs {
        let (started_in, kib) = program
            .run(async |instance| {
                // The time is what is measured: memory at rest, not at the end of a start.
                sleep(Duration::from_secs(args.idle_seconds)).await;
                Ok((instance.started_in, instance.resident_kib()?))
            })
            .await?;
        eprintln!(
            "start {run} of {}: {:.2} s, {:.1} MiB",
            args.runs,
            started_in.as_secs_f64(),
            mebibytes(kib)
        );
        starts.push(started_in.as_secs_f64());
        resident.push(mebibytes(kib));
    }
    if args.json {
        return report::print_json(&json!({
            "items": ITEMS,
            "firstStartSeconds": first.as_secs_f64(),
            "startSeconds": { "median": median(&starts), "runs": starts },
            "idleResidentMib": { "median": median(&resident), "runs": resident },
        }));
    }
    report::print(&format!(
        "start to Healthy on a directory with {ITEMS} items: {:.2} s (median of {}, {:.2} – {:.2})\n\
         resident after {} s idle: {:.1} MiB ({:.1} – {:.1})",
        median(&starts),
        args.runs,
        least(&starts),
        most(&starts),
        args.idle_seconds,
        median(&resident),
        least(&resident),
        most(&resident),
    ))
}

async fn fill(instance: &Instance) -> anyhow::Result<Duration> {
    let plan = Plan { connections: 32, keys: ITEMS, time: Duration::ZERO, seed: 0 };
    let token = instance.login(None).await?;
    let target = Target::new(Api::Nsl, instance.address, Operation::Put, [token.as_str()]);
    let tally = load::fill(&target, &plan).await?;
    ensure!(tally.operations() == u64::from(ITEMS), "puts were refused, by status: {:?}", tally.refused);
    Ok(instance.started_in)
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}
