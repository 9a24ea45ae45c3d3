//! `nsl-bench sgx`: sealed puts and gets over HTTP beside OpenBao and pgbench, in interleaved rounds on one PostgreSQL.
//! README.md says how to read the figures.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;
use serde_json::json;
use zeroize::Zeroizing;

use crate::api::{Api, BATCH, Operation};
use crate::db::{self, Database, Recorded};
use crate::http::{Connection, write_request};
use crate::instance::{Instance, Program, Setup};
use crate::load::{self, Runs, Target};
use crate::openbao::{OpenBao, Vault};
use crate::pgbench::{BASE, ONE_STATEMENT, Pgbench, Script};
use crate::report::{self, Ground};
use crate::sample::{Row, Sample, Tally};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    setup: Setup,
    #[command(flatten)]
    runs: Runs,
    /// What is measured beside the product and pgbench.
    #[arg(long, value_enum, default_value_t = Peer::Openbao)]
    peer: Peer,
    /// The program `bao`, as scripts/fetch-openbao.sh prints it.
    #[arg(long, value_name = "PATH", env = "NSL_OPENBAO")]
    openbao: Option<PathBuf>,
    /// Measure only the rows whose name contains this, such as `nsl put`.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Print JSON with every round.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Peer {
    Openbao,
    None,
}

/// Tenants of the mixed load.
const TENANTS: u32 = 100;
/// That many of them log in within a minute.
const SETTINGS: [(&str, &str); 2] =
    [("RateLimit__AnonymousPerMinute", "100000"), ("RateLimit__LoginPerMinute", "100000")];

/// Who is measured, and at what.
#[derive(Clone, Copy)]
enum Subject {
    Nsl(Operation),
    /// The keys spread over so many tenants.
    NslTenants(Operation),
    OpenBao(Operation),
    Pgbench(Script),
}

/// In the order of a round.
const SUBJECTS: [(&str, Subject); 11] = [
    ("nsl put", Subject::Nsl(Operation::Put)),
    ("nsl put, 100 tenants", Subject::NslTenants(Operation::Put)),
    (BATCH_PUT, Subject::Nsl(Operation::PutMany)),
    (PEER_PUT, Subject::OpenBao(Operation::Put)),
    (BASE, Subject::Pgbench(Script::Separate)),
    (ONE_STATEMENT, Subject::Pgbench(Script::OneStatement)),
    ("nsl get with its audit row", Subject::Nsl(Operation::Get)),
    (PEER_GET, Subject::OpenBao(Operation::Get)),
    ("pgbench get", Subject::Pgbench(Script::Get)),
    ("pgbench get and audit insert", Subject::Pgbench(Script::GetAudit)),
    (PEER_ENCRYPT, Subject::OpenBao(Operation::Encrypt)),
];

const BATCH_PUT: &str = "nsl batch-put of 100, values";
const PEER_PUT: &str = "openbao put (KV v2)";
const PEER_GET: &str = "openbao get (KV v2)";
const PEER_ENCRYPT: &str = "openbao transit encrypt";

/// A row, the peer's row that it is compared with, and what the comparison is called.
const COMPARED: [(&str, &str, &str); 4] = [
    ("nsl put", PEER_PUT, "put × openbao put"),
    ("nsl get with its audit row", PEER_GET, "get × openbao get"),
    (BATCH_PUT, PEER_ENCRYPT, "batch-put × openbao transit encrypt, values"),
    ("nsl put, 100 tenants", "nsl put", "100 tenants × one tenant"),
];

/// What the product answered in the whole run; refusals and wrong values also of the peer.
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
    ensure!(
        args.runs.keys >= BATCH * args.runs.connections,
        "each connection puts batches of {BATCH} keys of its own: give --keys {} or more",
        BATCH * args.runs.connections
    );
    let pgbench = Pgbench::find(args.setup.pg_bin.as_deref())?;
    let openbao = match args.peer {
        Peer::Openbao => Some(OpenBao::find(args.openbao.as_deref()).await?),
        Peer::None => None,
    };
    let program = Program::new(&args.setup)?.with(&SETTINGS);
    if cfg!(debug_assertions) {
        eprintln!(
            "this is a development build: its figures say nothing (cargo build --release -p nsl -p nsl-bench)"
        );
    }
    let found =
        program.run(async |instance| measure(instance, &pgbench, openbao.as_ref(), &args).await).await?;
    let compared: Vec<Ratio> = COMPARED.iter().filter_map(|pair| Ratio::of(&found.rows, pair)).collect();
    if args.json {
        report::print_json(&json!({
            "ground": found.ground,
            "rows": report::rows(&found.rows, BASE)?,
            "openbao": openbao.as_ref().map(|peer| &peer.version),
            "compared": compared,
            "answers": found.answers,
            "recorded": found.recorded,
            "sequencerSettledInSeconds": found.settled_in.as_secs_f64(),
            "residentKib": found.resident_kib,
        }))?;
    } else {
        report::print(&report::table(&found.ground, &found.rows, BASE))?;
        if let Some(peer) = &openbao {
            report::print(&format!("\nthe peer is OpenBao {}", peer.version))?;
        }
        for ratio in &compared {
            report::print(&ratio.line())?;
        }
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
    verify(&found.answers, &found.recorded, args.runs.keys)
}

/// What the machine was at before.
pub(crate) fn load_average() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").context("the load average is read on Linux only")?;
    text.split(' ').next().and_then(|one| one.parse().ok()).context("/proc/loadavg tells no load average")
}

async fn measure(
    instance: &Instance,
    pgbench: &Pgbench,
    openbao: Option<&OpenBao>,
    args: &Args,
) -> anyhow::Result<Findings> {
    let load_before = load_average()?;
    let product = Database::product(instance).await?;
    db::prepare(instance, &product).await?;
    let vault = match openbao {
        Some(openbao) => Some(openbao.start(instance).await?),
        None => None,
    };
    let plan = |seed| args.runs.plan(seed);
    let subjects: Vec<(&str, Subject)> =
        SUBJECTS.into_iter().filter(|(_, subject)| vault.is_some() || !subject.is_peer()).collect();
    let tenants = tenants(instance).await?;
    let mut answers = Answers::default();
    for (_, subject) in &subjects {
        let Some(target) = subject.target(instance, vault.as_ref(), &tenants).await? else { continue };
        if subject.puts() {
            let filled = load::fill(&target, &plan(0)).await?;
            answers.count(*subject, &filled);
        }
    }
    db::fill(instance, &product, args.runs.keys, pgbench.value()).await?;
    eprintln!("filled with {} items each", args.runs.keys);

    let mut samples = vec![Vec::<Sample>::new(); subjects.len()];
    let mut settled_in = Duration::ZERO;
    for round in 1..=args.runs.rounds {
        let rows = subjects.iter().zip(&mut samples).filter(|((name, _), _)| name.contains(&args.only));
        for ((name, subject), samples) in rows {
            product.settle().await?;
            let plan = plan(round.into());
            // A fresh token for each: it outlives the measurement.
            let sample = match (subject, subject.target(instance, vault.as_ref(), &tenants).await?) {
                (Subject::Pgbench(script), _) => pgbench.run(instance, *script, &plan).await?,
                (_, None) => bail!("{name} has nobody to ask"),
                (_, Some(target)) => {
                    let (tally, elapsed) = load::drive(&target, &plan).await?;
                    answers.count(*subject, &tally);
                    settled_in = settled_in.max(product.settle().await?);
                    tally.sample(elapsed).times(subject.values())
                }
            };
            eprintln!("round {round} of {}: {name} {:.0}/s", args.runs.rounds, sample.ops_per_second);
            samples.push(sample);
        }
    }
    Ok(Findings {
        ground: args.runs.ground(load_before, product.version().await?)?,
        rows: subjects
            .iter()
            .zip(samples)
            .filter(|(_, samples)| !samples.is_empty())
            .map(|((name, _), samples)| Row::new(name, samples))
            .collect(),
        answers,
        recorded: product.recorded().await?,
        settled_in,
        resident_kib: instance.resident_kib()?,
    })
}

impl Subject {
    fn is_peer(self) -> bool {
        matches!(self, Self::OpenBao(_))
    }

    /// How many values one request is about.
    fn values(self) -> u32 {
        match self {
            Self::Nsl(operation) | Self::NslTenants(operation) | Self::OpenBao(operation) => {
                operation.values()
            }
            Self::Pgbench(_) => 1,
        }
    }

    /// Whether its keys have to be there before.
    fn puts(self) -> bool {
        matches!(
            self,
            Self::Nsl(Operation::Put) | Self::NslTenants(Operation::Put) | Self::OpenBao(Operation::Put)
        )
    }

    /// Whom the load goes to; none for pgbench, which makes its own.
    async fn target(
        self,
        instance: &Instance,
        vault: Option<&Vault>,
        tenants: &[String],
    ) -> anyhow::Result<Option<Target>> {
        Ok(match self {
            Self::Pgbench(_) => None,
            Self::OpenBao(operation) => vault.map(|vault| vault.target(operation)),
            Self::Nsl(operation) => {
                let token = instance.login(None).await?;
                Some(Target::new(Api::Nsl, instance.address, operation, [token.as_str()]))
            }
            Self::NslTenants(operation) => {
                let mut tokens = Vec::new();
                for tenant in tenants {
                    tokens.push(instance.login(Some(tenant)).await?);
                }
                let tokens = tokens.iter().map(|token| token.as_str());
                Some(Target::new(Api::Nsl, instance.address, operation, tokens))
            }
        })
    }
}

/// Makes tenants with the administrator as theirs, and tells their names.
async fn tenants(instance: &Instance) -> anyhow::Result<Vec<String>> {
    let token = instance.login(None).await?;
    let headers =
        Zeroizing::new(format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", *token));
    let username = instance.username()?;
    let mut connection = Connection::open(instance.address).await?;
    let (mut names, mut request) = (Vec::new(), Vec::new());
    for number in 1..=TENANTS {
        let name = format!("bench-{number}");
        let body = json!({ "name": name, "administrator": { "username": username } }).to_string();
        write_request(&mut request, "POST", "/api/v1/core/tenants", &headers, body.as_bytes());
        let answer = connection.exchange(&request).await?;
        ensure!(answer.is_success(), "a tenant cannot be made: {}", String::from_utf8_lossy(answer.body));
        names.push(name);
    }
    Ok(names)
}

/// How two rows compare.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Ratio {
    name: &'static str,
    ops: f64,
    p99: f64,
}

impl Ratio {
    fn of(rows: &[Row], (row, with, name): &(&'static str, &'static str, &'static str)) -> Option<Self> {
        let find = |name: &str| rows.iter().find(|row| row.name == name).map(|row| row.median);
        let (row, with) = (find(row)?, find(with)?);
        Some(Self { name, ops: row.ops_per_second / with.ops_per_second, p99: row.p99_ms / with.p99_ms })
    }

    fn line(&self) -> String {
        format!("{}: {:.2} (p99 {:.2} of it)", self.name, self.ops, self.p99)
    }
}

impl Answers {
    fn count(&mut self, subject: Subject, tally: &Tally) {
        match subject {
            Subject::Nsl(Operation::Get) | Subject::NslTenants(Operation::Get) => {
                self.gets += tally.operations();
            }
            Subject::Nsl(_) | Subject::NslTenants(_) => {
                self.puts += tally.operations() * u64::from(subject.values());
            }
            Subject::OpenBao(_) | Subject::Pgbench(_) => {}
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
        // Of one tenant, and of the mixed ones.
        items: u64::from(keys) * 2,
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
        (answers, Recorded { items: 10, versions: 7, put_events: 7, put_audits: 7, get_audits: 3 })
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
        answers.count(Subject::Nsl(Operation::Get), &tally);
        assert!(verify(&answers, &recorded, 5).is_err());
    }
}
