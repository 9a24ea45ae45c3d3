//! `nsl-bench stream`: large values in and out over HTTP, beside COPY of the same chunks on the same PostgreSQL. README.md
//! says how to read the figures.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::api::{Api, Operation};
use crate::db::{self, Chunks, Database};
use crate::http::{Connection, write_request};
use crate::instance::{Instance, Program, Setup};
use crate::load::Random;
use crate::report;
use crate::sample::median;
use crate::sgx::{load_average, mebibytes};

/// The largest value that the product takes.
const SETTINGS: [(&str, &str); 1] = [("SGX__Database__MaxValueBytes", "67108864")];
/// Bytes of the value in a chunk, and what sealing adds, as the product has them.
const CHUNK: usize = 512 * 1024;
const TAG: usize = 16;
/// What the goals are: throughput of COPY's, and memory in MiB.
const GOALS: (f64, f64) = (0.6, 32.0);

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    setup: Setup,
    /// Of the value.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u8).range(2..=64))]
    mebibytes: u8,
    /// Measurements of each row.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=15))]
    rounds: u32,
    /// Print JSON with every round.
    #[arg(long)]
    json: bool,
}

/// One row of the table: MiB/s of each round.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    rounds: Vec<f64>,
}

/// All that a run found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Findings {
    load_before: f64,
    postgres: String,
    rows: [Row; 4],
    /// Over what was resident before: MiB of each round, in and out.
    extra_in: Vec<f64>,
    extra_out: Vec<f64>,
}

const NAMES: [&str; 4] = ["nsl put", "COPY FROM, binary", "nsl get", "COPY TO, binary"];

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let program = Program::new(&args.setup)?.with(&SETTINGS);
    if cfg!(debug_assertions) {
        eprintln!(
            "this is a development build: its figures say nothing (cargo build --release -p nsl -p nsl-bench)"
        );
    }
    let found = program.run(async |instance| measure(instance, &args).await).await?;
    let of = |row: usize| median(&found.rows[row].rounds);
    let (into, out) = (of(0) / of(1), of(2) / of(3));
    if args.json {
        return report::print_json(&json!({ "found": found, "in": into, "out": out }));
    }
    let mut lines = vec![["", "MiB/s", "min – max"].map(str::to_owned)];
    lines.extend(found.rows.iter().map(|row| {
        let (least, most) =
            row.rounds.iter().fold((f64::INFINITY, 0.0), |(a, b): (f64, f64), x| (a.min(*x), b.max(*x)));
        [row.name.to_owned(), format!("{:.0}", median(&row.rounds)), format!("{least:.0} – {most:.0}")]
    }));
    let most = |extra: &[f64]| extra.iter().copied().fold(0.0, f64::max);
    report::print(&format!(
        "load average before: {}, PostgreSQL {}, fsync and synchronous_commit on\none value of {} MiB; median of {}\n\n{}\n\
         in: {into:.2} × COPY FROM (goal {}), out: {out:.2} × COPY TO (goal {})\n\
         extra resident memory at most: in {:.1} MiB, out {:.1} MiB (goal below {})",
        found.load_before,
        found.postgres,
        args.mebibytes,
        args.rounds,
        report::aligned(&lines),
        GOALS.0,
        GOALS.0,
        most(&found.extra_in),
        most(&found.extra_out),
        GOALS.1,
    ))
}

async fn measure(instance: &Instance, args: &Args) -> anyhow::Result<Findings> {
    let load_before = load_average()?;
    let product = Database::product(instance).await?;
    db::prepare(instance, &product).await?;
    let peer = Chunks::new(instance).await?;
    let mut random = Random::new(7, 0);
    let mut value = vec![0; usize::from(args.mebibytes) << 20];
    random.fill(&mut value);
    let chunks: Vec<Vec<u8>> = value
        .chunks(CHUNK)
        .map(|chunk| {
            let mut sealed = vec![0; chunk.len() + TAG];
            random.fill(&mut sealed);
            sealed
        })
        .collect();
    let sealed: usize = chunks.iter().map(Vec::len).sum();
    let token = instance.login(None).await?;
    let (put, get) = (Api::Nsl.headers(Operation::Put, &token), Api::Nsl.headers(Operation::Get, &token));
    let mut connection = Connection::open(instance.address).await?;
    let mut request = Vec::new();

    let mut rows = NAMES.map(|name| Row { name, rounds: Vec::new() });
    let (mut extra_in, mut extra_out) = (Vec::new(), Vec::new());
    // The first round warms up: caches, the allocator, prepared statements.
    for round in 0..=args.rounds {
        let path = format!("/api/v1/sgx/items/bench/large-{round}");
        let tenant_content = (Uuid::now_v7(), Uuid::now_v7());
        let mut speeds = [0.0; 4];

        product.settle().await?;
        write_request(&mut request, "PUT", &path, &put, &value);
        let before = watch(instance)?;
        let begin = Instant::now();
        let answer = connection.exchange(&request).await?;
        speeds[0] = speed(value.len(), begin.elapsed());
        ensure!(
            answer.status == 201,
            "the put answers {}: {}",
            answer.status,
            String::from_utf8_lossy(answer.body)
        );
        let grown_in = mebibytes(instance.peak_kib()?.saturating_sub(before));

        product.settle().await?;
        let begin = Instant::now();
        peer.copy_in(tenant_content.0, tenant_content.1, &chunks).await?;
        speeds[1] = speed(value.len(), begin.elapsed());

        product.settle().await?;
        write_request(&mut request, "GET", &path, &get, b"");
        let (mut at, mut same) = (0, true);
        let before = watch(instance)?;
        let begin = Instant::now();
        let status = connection
            .watch(&request, |bytes| {
                same &= value.get(at..at + bytes.len()) == Some(bytes);
                at += bytes.len();
            })
            .await?;
        speeds[2] = speed(value.len(), begin.elapsed());
        let grown_out = mebibytes(instance.peak_kib()?.saturating_sub(before));
        ensure!(status == 200 && same && at == value.len(), "the get answers {status} and another value");

        product.settle().await?;
        let begin = Instant::now();
        let came = peer.copy_out(tenant_content.1).await?;
        speeds[3] = speed(value.len(), begin.elapsed());
        ensure!(came > sealed, "COPY TO gave {came} bytes of {sealed}");

        eprintln!(
            "round {round} of {}: {speeds:.0?} MiB/s, memory {grown_in:.1} and {grown_out:.1} MiB",
            args.rounds
        );
        if round > 0 {
            for (row, speed) in rows.iter_mut().zip(speeds) {
                row.rounds.push(speed);
            }
        }
        extra_in.push(grown_in);
        extra_out.push(grown_out);
    }
    Ok(Findings { load_before, postgres: product.version().await?, rows, extra_in, extra_out })
}

/// Begins to watch the memory; tells what is resident now.
fn watch(instance: &Instance) -> anyhow::Result<u64> {
    instance.forget_peak()?;
    instance.resident_kib()
}

/// In MiB/s.
fn speed(bytes: usize, took: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a length is far below 2^52")]
    let bytes = bytes as f64;
    bytes / f64::from(1 << 20) / took.as_secs_f64()
}
