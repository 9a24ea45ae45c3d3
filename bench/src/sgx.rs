//! `nsl-bench sgx`: sealed puts and gets over HTTP beside pgbench, in interleaved rounds on one PostgreSQL. README.md
//! says how to read the figures.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;
use serde_json::json;

use crate::db::{self, Database, Recorded};
use crate::instance::{Instance, Program, Setup};
use crate::load::{self, Operation, Plan, VALUE};
use crate::pgbench::{Pgbench, Script};
use crate::report::{self, Ground};
use crate::sample::{Row, Sample, Tally};

/// Against which the others are compared.
const BASE: &str = "pgbench (a) BEGIN, 3 statements, COMMIT";

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    setup: Setup,
    /// Of each measurement.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Measurements of each row.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=15))]
    rounds: u32,
    /// Keep-alive connections, and pgbench's clients.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=128))]
    connections: u32,
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    keys: u32,
    /// Print JSON with every round.
    #[arg(long)]
    json: bool,
}

/// Who is measured, and at what.
#[derive(Clone, Copy)]
enum Subject {
    Nsl(Operation),
    Pgbench(Script),
}

/// In the order of a round.
const SUBJECTS: [(&str, Subject); 6] = [
    ("nsl put", Subject::Nsl(Operation::Put)),
    (BASE, Subject::Pgbench(Script::Separate)),
    ("pgbench (b) one CTE statement", Subject::Pgbench(Script::OneStatement)),
    ("nsl get with its audit row", Subject::Nsl(Operation::Get)),
    ("pgbench get", Subject::Pgbench(Script::Get)),
    ("pgbench get and audit insert", Subject::Pgbench(Script::GetAudit)),
];

/// What the product answered in the whole run.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answers {
    puts: u64,
    gets: u64,
    /// Other than 2xx, by status.
    refused: BTreeMap<u16, u64>,
    wrong_values: u64,
}

/// All that a run found.
struct Findings {
    ground: Ground,
    rows: Vec<Row>,
    answers: Answers,
    recorded: Recorded,
    /// The longest that the sequencer took after a measurement.
    settled_in: Duration,
    resident_kib: u64,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    // Before anything is started.
    let pgbench = Pgbench::find(args.setup.pg_bin.as_deref())?;
    let program = Program::new(&args.setup)?;
    if cfg!(debug_assertions) {
        eprintln!(
            "this is a development build: its figures say nothing (cargo build --release -p nsl -p nsl-bench)"
        );
    }
    let found = program.run(async |instance| measure(instance, &pgbench, &args).await).await?;
    if args.json {
        report::print_json(&json!({
            "ground": found.ground,
            "rows": report::rows(&found.rows, BASE)?,
            "answers": found.answers,
            "recorded": found.recorded,
            "sequencerSettledInSeconds": found.settled_in.as_secs_f64(),
            "residentKib": found.resident_kib,
        }))?;
    } else {
        report::print(&report::table(&found.ground, &found.rows, BASE))?;
        report::print(&format!(
            "\nanswers other than 2xx: {}, wrong values: {}\n\
             acknowledged puts {}: versions {}, events {}, audit rows {}\n\
             answered gets {}: audit rows {}\n\
             sequencer done within {:.1} s after the load; nsl resident {:.1} MiB",
            found.answers.refused.values().sum::<u64>(),
            found.answers.wrong_values,
            found.answers.puts,
            found.recorded.versions,
            found.recorded.put_events,
            found.recorded.put_audits,
            found.answers.gets,
            found.recorded.get_audits,
            found.settled_in.as_secs_f64(),
            mebibytes(found.resident_kib),
        ))?;
    }
    verify(&found.answers, &found.recorded, args.keys)
}

/// What the machine was at before.
fn load_average() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").context("the load average is read on Linux only")?;
    text.split(' ').next().and_then(|one| one.parse().ok()).context("/proc/loadavg tells no load average")
}

async fn measure(instance: &Instance, pgbench: &Pgbench, args: &Args) -> anyhow::Result<Findings> {
    let load_before = load_average()?;
    let product = Database::product(instance).await?;
    db::prepare(instance, &product).await?;
    let time = Duration::from_secs(args.seconds);
    let plan = |seed| Plan { connections: args.connections, keys: args.keys, time, seed };
    let mut answers = Answers::default();
    let filled = load::fill(instance, &plan(0)).await?;
    answers.count(Operation::Put, &filled);
    db::fill(instance, &product, args.keys, pgbench.value()).await?;
    eprintln!("filled with {} items", args.keys);

    let mut samples: [Vec<Sample>; SUBJECTS.len()] = Default::default();
    let mut settled_in = Duration::ZERO;
    for round in 1..=args.rounds {
        for ((name, subject), samples) in SUBJECTS.iter().zip(&mut samples) {
            product.settle().await?;
            let plan = plan(round.into());
            let sample = match subject {
                Subject::Nsl(operation) => {
                    let (tally, elapsed) = load::drive(instance, *operation, &plan).await?;
                    answers.count(*operation, &tally);
                    settled_in = settled_in.max(product.settle().await?);
                    tally.sample(elapsed)
                }
                Subject::Pgbench(script) => pgbench.run(instance, *script, &plan).await?,
            };
            eprintln!("round {round} of {}: {name} {:.0}/s", args.rounds, sample.ops_per_second);
            samples.push(sample);
        }
    }
    Ok(Findings {
        ground: Ground {
            load_before,
            cores: std::thread::available_parallelism()?.get(),
            postgres: product.version().await?,
            connections: args.connections,
            keys: args.keys,
            value_bytes: VALUE,
            rounds: args.rounds,
            seconds: args.seconds,
        },
        rows: SUBJECTS.iter().zip(samples).map(|((name, _), samples)| Row::new(name, samples)).collect(),
        answers,
        recorded: product.recorded().await?,
        settled_in,
        resident_kib: instance.resident_kib()?,
    })
}

impl Answers {
    fn count(&mut self, operation: Operation, tally: &Tally) {
        match operation {
            Operation::Put => self.puts += tally.operations(),
            Operation::Get => self.gets += tally.operations(),
        }
        for (status, count) in &tally.refused {
            *self.refused.entry(*status).or_default() += count;
        }
        self.wrong_values += tally.wrong;
    }
}

/// The database must hold exactly what was acknowledged.
fn verify(answers: &Answers, recorded: &Recorded, keys: u32) -> anyhow::Result<()> {
    ensure!(answers.refused.is_empty(), "answers other than 2xx, by status: {:?}", answers.refused);
    ensure!(answers.wrong_values == 0, "{} gets were answered with another value", answers.wrong_values);
    let expected = Recorded {
        items: keys.into(),
        versions: answers.puts,
        put_events: answers.puts,
        put_audits: answers.puts,
        get_audits: answers.gets,
    };
    if *recorded != expected {
        bail!("the database does not hold what was acknowledged: {recorded:?}, expected {expected:?}");
    }
    Ok(())
}

/// From KiB.
pub(crate) fn mebibytes(kib: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "memory in KiB is far below 2^52")]
    let kib = kib as f64;
    kib / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean() -> (Answers, Recorded) {
        let answers = Answers { puts: 7, gets: 3, ..Answers::default() };
        (answers, Recorded { items: 5, versions: 7, put_events: 7, put_audits: 7, get_audits: 3 })
    }

    #[test]
    fn what_was_acknowledged_must_be_there() {
        let (answers, recorded) = clean();
        assert!(verify(&answers, &recorded, 5).is_ok());
        assert!(verify(&answers, &recorded, 6).is_err());
        for lost in [
            Recorded { versions: 6, ..recorded },
            Recorded { put_events: 8, ..recorded },
            Recorded { put_audits: 6, ..recorded },
            Recorded { get_audits: 2, ..recorded },
        ] {
            assert!(verify(&answers, &lost, 5).is_err(), "{lost:?}");
        }
    }

    #[test]
    fn a_refusal_or_a_wrong_value_fails_the_run() {
        let (mut answers, recorded) = clean();
        answers.wrong_values = 1;
        assert!(verify(&answers, &recorded, 5).is_err());
        let (mut answers, recorded) = clean();
        let mut tally = Tally::default();
        tally.refused(503);
        answers.count(Operation::Get, &tally);
        assert!(verify(&answers, &recorded, 5).is_err());
    }
}
