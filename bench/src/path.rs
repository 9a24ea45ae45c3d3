//! `nsl-bench path`: the commit path alone, in this process and without HTTP, on pgbench's own tables beside pgbench: what
//! `core::db` costs and gains. README.md says how to read the figures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nsl_core::db::group::{Batch, Bounds, GroupCommit, HotWrite, Verdict};
use nsl_core::db::sql::Conn as _;
use nsl_core::db::{Db, DbError, Login, Scoped};
use nsl_core::ids::TenantId;
use nsl_core::jobs::Jobs;
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::api::VALUE;
use crate::db::{self, Database};
use crate::instance::{Instance, Program, Setup};
use crate::load::{Plan, Random, Runs};
use crate::pgbench::{BASE, ONE_STATEMENT, Pgbench, Script};
use crate::report::{self, Ground};
use crate::sample::{Row, Sample, Tally};
use crate::sgx::load_average;

const BATCHED: &str = "in process, group commit";
const SINGLE: &str = "in process, one statement each";
/// The tenant of pgbench's scripts.
const TENANT: TenantId = TenantId(Uuid::from_u128(0x0197_a000_0000_7000_8000_0000_0000_0001));
const ONE: &str = include_str!("../sql/path_one.sql");
const MANY: &str = include_str!("../sql/path_many.sql");
/// Of a pool, and so of what runs beside each other without a group commit; pgbench (b) gets as many clients.
const CONNECTIONS: u32 = 16;
const DRAIN: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    setup: Setup,
    #[command(flatten)]
    runs: Runs,
    /// Print JSON with every round.
    #[arg(long)]
    json: bool,
}

/// A put as pgbench makes it.
#[derive(Clone)]
struct Put {
    number: i64,
    value: Arc<[u8]>,
}

struct Puts;

impl HotWrite for Puts {
    type Command = Put;
    type Outcome = ();
    type Prepared = ();

    const NAME: &'static str = "bench.put";

    fn tenant(&self, _put: &Put) -> TenantId {
        TENANT
    }

    fn keys(&self, put: &Put) -> Vec<String> {
        vec![put.number.to_string()]
    }

    fn weight(&self, put: &Put) -> usize {
        put.value.len()
    }

    async fn prepare(&self, _read: &Scoped<'_>, _puts: &[&Put]) -> Result<(), DbError> {
        Ok(())
    }

    async fn write(&self, batch: &Batch<'_>, puts: &[&Put], (): ()) -> Result<Vec<Verdict<()>>, DbError> {
        let tenants = vec![TENANT; puts.len()];
        let numbers: Vec<i64> = puts.iter().map(|put| put.number).collect();
        let values: Vec<&[u8]> = puts.iter().map(|put| &*put.value).collect();
        let written = batch.query(MANY, &[&tenants, &numbers, &values]).await?;
        if written.len() != puts.len() {
            return Err(DbError::NoRow(Self::NAME));
        }
        Ok(puts.iter().map(|_| Verdict::Done(())).collect())
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let pgbench = Pgbench::find(args.setup.pg_bin.as_deref())?;
    let program = Program::new(&args.setup)?;
    if cfg!(debug_assertions) {
        eprintln!(
            "this is a development build: its figures say nothing (cargo build --release -p nsl -p nsl-bench)"
        );
    }
    let (ground, rows) = program.run(async |instance| measure(instance, &pgbench, &args).await).await?;
    let of =
        |name: &str| rows.iter().find(|row| row.name == name).map_or(0.0, |row| row.median.ops_per_second);
    let batched = of(BATCHED) / of(BASE);
    let single = of(SINGLE) / of(ONE_STATEMENT);
    if args.json {
        return report::print_json(&json!({
            "ground": ground, "rows": report::rows(&rows, BASE)?, "batched": batched, "single": single,
        }));
    }
    report::print(&report::table(&ground, &rows, BASE))?;
    report::print(&format!(
        "\ngroup commit × pgbench (a): {batched:.2} (goal 5.5)\n\
         one statement each, {CONNECTIONS} connections × pgbench (b) with as many: {single:.2} (goal 0.95)"
    ))
}

async fn measure(instance: &Instance, pgbench: &Pgbench, args: &Args) -> anyhow::Result<(Ground, Vec<Row>)> {
    let load_before = load_average()?;
    let product = Database::product(instance).await?;
    db::prepare(instance, &product).await?;
    db::fill(instance, &product, args.runs.keys, pgbench.value()).await?;
    let jobs = Jobs::new();
    let db = db::paths(instance, CONNECTIONS).await?;
    let puts = GroupCommit::start(&jobs, &db, Login::Enclave, Puts, Bounds::default());
    let names = [BASE, ONE_STATEMENT, BATCHED, SINGLE];
    let mut samples = names.map(|_| Vec::<Sample>::new());
    for round in 1..=args.runs.rounds {
        for (name, samples) in names.into_iter().zip(&mut samples) {
            product.settle().await?;
            let few = name == ONE_STATEMENT || name == SINGLE;
            let connections = if few { CONNECTIONS } else { args.runs.connections };
            let plan = Plan { connections, ..args.runs.plan(round.into()) };
            let sample = match name {
                BASE => pgbench.run(instance, Script::Separate, &plan).await?,
                ONE_STATEMENT => pgbench.run(instance, Script::OneStatement, &plan).await?,
                BATCHED => {
                    let puts = puts.clone();
                    drive(&plan, move |put| {
                        let puts = puts.clone();
                        async move { puts.submit(put).await }
                    })
                    .await?
                }
                _ => {
                    let db = db.clone();
                    drive(&plan, move |put| {
                        let db = db.clone();
                        async move { write_one(&db, &put).await }
                    })
                    .await?
                }
            };
            eprintln!("round {round} of {}: {name} {:.0}/s", args.runs.rounds, sample.ops_per_second);
            samples.push(sample);
        }
    }
    jobs.shut_down(DRAIN).await;
    db.close();
    let ground = args.runs.ground(load_before, product.version().await?)?;
    Ok((ground, names.into_iter().zip(samples).map(|(name, samples)| Row::new(name, samples)).collect()))
}

async fn write_one(db: &Db, put: &Put) -> Result<(), DbError> {
    db.write(Login::Enclave, TENANT).query(ONE, &[&TENANT, &put.number, &&*put.value]).await.map(|_| ())
}

/// Puts random keys from so many tasks until the time is over.
async fn drive<F, Fut>(plan: &Plan, put: F) -> anyhow::Result<Sample>
where
    F: Fn(Put) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<(), DbError>> + Send,
{
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for worker in 0..plan.connections {
        let (put, keys, time, seed) = (put.clone(), plan.keys, plan.time, plan.seed);
        tasks.spawn(async move {
            let mut random = Random::new(seed, worker.into());
            let mut value = vec![0; VALUE];
            random.fill(&mut value);
            let value: Arc<[u8]> = value.into();
            let mut tally = Tally::default();
            while begin.elapsed() < time {
                let number = i64::from(random.below(keys)) + 1;
                let asked = Instant::now();
                put(Put { number, value: Arc::clone(&value) }).await?;
                tally.succeeded(asked.elapsed());
            }
            Ok::<_, DbError>(tally)
        });
    }
    let mut all = Tally::default();
    while let Some(tally) = tasks.join_next().await {
        all.merge(tally?.context("a put failed")?);
    }
    Ok(all.sample(begin.elapsed()))
}
