//! `nsl-bench scale`: the product with few and with many items: latencies, a page of a list, memory, and a start on all of
//! them. README.md says how to read the figures.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;
use serde_json::json;

use crate::api::{Api, BATCH, Operation, SERVICE};
use crate::db::Database;
use crate::http::{Connection, write_request};
use crate::instance::{Instance, Program, Setup};
use crate::load::{self, Plan, Random, Target};
use crate::report;
use crate::sample::{Sample, Tally};
use crate::sgx::{load_average, mebibytes};

/// Pages that are asked for.
const PAGES: u32 = 200;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    setup: Setup,
    /// The many.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(20_000..=20_000_000))]
    items: u32,
    /// The few, with which they are compared.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(5_000..=1_000_000))]
    few: u32,
    /// Of each measurement.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=50))]
    connections: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What was measured at one number of items.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Stage {
    items: u32,
    put: Sample,
    get: Sample,
    page: Sample,
    resident_mib: f64,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(args.few < args.items, "--few is to be less than --items");
    let program = Program::new(&args.setup)?;
    if cfg!(debug_assertions) {
        eprintln!(
            "this is a development build: its figures say nothing (cargo build --release -p nsl -p nsl-bench)"
        );
    }
    let load_before = load_average()?;
    let (few, many, token) = program
        .run(async |instance| {
            let few = stage(instance, &args, args.few).await?;
            let many = stage(instance, &args, args.items).await?;
            Ok((few, many, instance.login(None).await?))
        })
        .await?;
    // The token outlives the restart, so that no login stands before the read.
    let (healthy, read, resident) = program
        .run(async |instance| {
            let begin = Instant::now();
            let headers = Api::Nsl.headers(Operation::Get, &token);
            let mut request = Vec::new();
            Api::Nsl.write(Operation::Get, args.items / 2, b"", &headers, &mut request);
            let answer = Connection::open(instance.address).await?.exchange(&request).await?.status;
            ensure!(answer == 200, "the first read answers {answer}");
            let read = instance.started_in + begin.elapsed();
            Ok((instance.started_in, read, mebibytes(instance.resident_kib()?)))
        })
        .await?;
    let ratio = |of: fn(&Stage) -> f64| of(&many) / of(&few);
    let (put, get) = (ratio(|stage| stage.put.p99_ms), ratio(|stage| stage.get.p99_ms));
    if args.json {
        return report::print_json(&json!({
            "loadBefore": load_before, "few": few, "many": many, "p99PutRatio": put, "p99GetRatio": get,
            "startToHealthySeconds": healthy.as_secs_f64(), "startToFirstReadSeconds": read.as_secs_f64(),
            "residentAfterStartMib": resident,
        }));
    }
    let mut lines = vec![["items", "", "ops/s", "p50 ms", "p99 ms"].map(str::to_owned)];
    for stage in [&few, &many] {
        for (name, sample) in [("put", &stage.put), ("get", &stage.get), ("list page of 100", &stage.page)] {
            lines.push([
                stage.items.to_string(),
                name.to_owned(),
                format!("{:.0}", sample.ops_per_second),
                format!("{:.2}", sample.p50_ms),
                format!("{:.2}", sample.p99_ms),
            ]);
        }
    }
    report::print(&format!(
        "load average before: {load_before}; {} connections (a list: 1), {} s each\n\n{}\n\
         p99 of many by that of few: put {put:.2}, get {get:.2} (goal at most 1.5)\n\
         resident after the load: {:.1} MiB at {}, {:.1} MiB at {} (goal at most 100)\n\
         start on {} items: healthy after {:.2} s, first read after {:.2} s (goal below 3), resident {resident:.1} MiB",
        args.connections,
        args.seconds,
        report::aligned(&lines),
        few.resident_mib,
        few.items,
        many.resident_mib,
        many.items,
        many.items,
        healthy.as_secs_f64(),
        read.as_secs_f64(),
    ))
}

/// Fills up to a number of items, then measures.
async fn stage(instance: &Instance, args: &Args, items: u32) -> anyhow::Result<Stage> {
    let product = Database::product(instance).await?;
    let time = Duration::from_secs(args.seconds);
    let plan = |seed| Plan { connections: args.connections, keys: items, time, seed };
    let token = instance.login(None).await?;
    let target = |operation| Target::new(Api::Nsl, instance.address, operation, [token.as_str()]);
    let begin = Instant::now();
    let filled = load::fill(&target(Operation::PutMany), &plan(0)).await?;
    ensure!(filled.refused.is_empty(), "batches were refused, by status: {:?}", filled.refused);
    eprintln!(
        "{items} items in {:.0} s: {:.0} values/s",
        begin.elapsed().as_secs_f64(),
        f64::from(u32::try_from(filled.operations()).unwrap_or(u32::MAX)) * f64::from(BATCH)
            / begin.elapsed().as_secs_f64()
    );
    product.settle().await?;
    product.analyze().await?;
    let mut measured = Vec::new();
    for operation in [Operation::Put, Operation::Get] {
        // A first pass warms up what a restart or a load has left cold.
        for (seed, counts) in [(1, false), (2, true)] {
            product.settle().await?;
            let (tally, elapsed) = load::drive(&target(operation), &plan(seed)).await?;
            ensure!(tally.refused.is_empty() && tally.wrong == 0, "{operation:?}: {tally:?}");
            if counts {
                measured.push(tally.sample(elapsed));
            }
        }
    }
    let page = pages(instance, &token, items).await?;
    let (Some(get), Some(put)) = (measured.pop(), measured.pop()) else {
        anyhow::bail!("nothing was measured")
    };
    let stage = Stage { items, put, get, page, resident_mib: mebibytes(instance.resident_kib()?) };
    eprintln!("{stage:.1?}");
    Ok(stage)
}

/// First pages of prefixes all over the names.
async fn pages(instance: &Instance, token: &str, items: u32) -> anyhow::Result<Sample> {
    let headers = Api::Nsl.headers(Operation::Get, token);
    let mut connection = Connection::open(instance.address).await?;
    let (mut request, mut random, mut tally) = (Vec::new(), Random::new(3, 0), Tally::default());
    let begin = Instant::now();
    for _ in 0..PAGES {
        // The first digits of a key that there is.
        let key = (random.below(items) + 1).to_string();
        let prefix = &key[..key.len().min(2)];
        let path = format!("/api/v1/sgx/items?service={SERVICE}&prefix=key-{prefix}&limit=100");
        write_request(&mut request, "GET", &path, &headers, b"");
        let asked = Instant::now();
        let answer = connection.exchange(&request).await?;
        ensure!(answer.is_success() && answer.body.len() > 1000, "a list answers {}", answer.status);
        tally.succeeded(asked.elapsed());
    }
    Ok(tally.sample(begin.elapsed()))
}
