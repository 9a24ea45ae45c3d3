//! `nsl-bench auth`: what a credential adds to a request, and how much of Argon2id a login by password leaves.
//! README.md says how to read the figures.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, available_parallelism};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use argon2::{Algorithm, Argon2, Params, Version};
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::http::{Connection, write_request};
use crate::instance::{Instance, Program, Setup};
use crate::report;
use crate::sample::{Row, Sample, Tally, median};

/// A body that both routes refuse before the database is asked: no refresh token looks like that.
const REFUSED: &[u8] = br#"{"refreshToken":"7"}"#;
const ANONYMOUS: &str = "anonymous: auth/refresh";
const AUTHENTICATED: &str = "authenticated: auth/logout";
const RAW: &str = "raw Argon2id, a thread per core";
const LOGIN: &str = "login by password";
/// OWASP's, as the product has them: KiB, passes, lanes.
const ARGON2: (u32, u32, u32) = (19_456, 2, 1);
/// One client asks a thousand times as often as people do.
const SETTINGS: [(&str, &str); 2] =
    [("RateLimit__AnonymousPerMinute", "100000000"), ("RateLimit__LoginPerMinute", "100000000")];

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
    /// Keep-alive connections, each of a user of its own where they log in.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=64))]
    connections: u32,
    /// Print JSON with every round.
    #[arg(long)]
    json: bool,
}

/// One measurement of the product.
struct Measured {
    sample: Sample,
    /// Processor time of the product's process for each request.
    cpu_micros: f64,
}

/// What a credential adds, as factors of the same request without one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Added {
    /// Of the time for a request at this number of connections, the load generator's part in it.
    time: f64,
    /// Of the processor time of nsl alone.
    cpu: f64,
}

/// All that a run found.
struct Findings {
    rows: Vec<Row>,
    added: Added,
    /// Processor time of nsl for a login, its hash included, without PostgreSQL.
    login_cpu_ms: f64,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let program = Program::new(&args.setup)?.with(&SETTINGS);
    if cfg!(debug_assertions) {
        eprintln!(
            "this is a development build: its figures say nothing (cargo build --release -p nsl -p nsl-bench)"
        );
    }
    let Findings { rows, added, login_cpu_ms } =
        program.run(async |instance| measure(instance, &args).await).await?;
    let rate =
        |name: &str| rows.iter().find(|row| row.name == name).map_or(0.0, |row| row.median.ops_per_second);
    let of_raw = rate(LOGIN) / rate(RAW);
    if args.json {
        return report::print_json(&json!({
            "connections": args.connections,
            "seconds": args.seconds,
            "rows": rows,
            "authenticatedToAnonymous": added,
            "loginsToRawArgon2id": of_raw,
            "processorMsOfLogin": login_cpu_ms,
        }));
    }
    report::print(&format!(
        "{}\nauthenticated to anonymous: time {:.3}, processor time of nsl {:.3} (at most 1.1)\n\
         logins to raw Argon2id: {of_raw:.3} (at least 0.9); processor time of nsl for one: {login_cpu_ms:.1} ms",
        report::plain(&rows),
        added.time,
        added.cpu,
    ))
}

async fn measure(instance: &Instance, args: &Args) -> anyhow::Result<Findings> {
    let time = Duration::from_secs(args.seconds);
    let token = instance.login(None).await?;
    let users = users(instance, &token, args.connections).await?;
    let credential = Zeroizing::new(format!("Authorization: Bearer {}\r\n", *token));
    let anonymous = request("/api/v1/auth/refresh", "", REFUSED);
    let authenticated = request("/api/v1/auth/logout", &credential, REFUSED);
    let same = |request: &Arc<Zeroizing<Vec<u8>>>| vec![Arc::clone(request); args.connections as usize];
    let mut found: [Vec<Measured>; 3] = [Vec::new(), Vec::new(), Vec::new()];
    let mut raw = Vec::new();
    for round in 1..=args.rounds {
        eprintln!("round {round} of {}", args.rounds);
        found[0].push(drive(instance, same(&anonymous), 401, time).await?);
        found[1].push(drive(instance, same(&authenticated), 401, time).await?);
        raw.push(tokio::task::spawn_blocking(move || argon2id(time)).await??);
        found[2].push(drive(instance, users.clone(), 200, time).await?);
    }
    let middle =
        |of: &[Measured], what: fn(&Measured) -> f64| median(&of.iter().map(what).collect::<Vec<_>>());
    let added = Added {
        time: middle(&found[0], |round| round.sample.ops_per_second)
            / middle(&found[1], |round| round.sample.ops_per_second),
        cpu: middle(&found[1], |round| round.cpu_micros) / middle(&found[0], |round| round.cpu_micros),
    };
    let login_cpu_ms = middle(&found[2], |round| round.cpu_micros) / 1000.0;
    let [open, closed, logins] = found.map(|of| of.into_iter().map(|round| round.sample).collect());
    let rows = vec![
        Row::new(ANONYMOUS, open),
        Row::new(AUTHENTICATED, closed),
        Row::new(RAW, raw),
        Row::new(LOGIN, logins),
    ];
    Ok(Findings { rows, added, login_cpu_ms })
}

fn request(path: &str, headers: &str, body: &[u8]) -> Arc<Zeroizing<Vec<u8>>> {
    let headers = Zeroizing::new(format!("{headers}Content-Type: application/json\r\n"));
    let mut bytes = Zeroizing::new(Vec::new());
    write_request(&mut bytes, "POST", path, &headers, body);
    Arc::new(bytes)
}

/// A user for each connection, and the request that logs them in: logins of one and the same would wait for its row.
async fn users(
    instance: &Instance,
    token: &str,
    number: u32,
) -> anyhow::Result<Vec<Arc<Zeroizing<Vec<u8>>>>> {
    const PASSWORD: &str = "harvest quarrel lantern 7 voyage";
    let credential = Zeroizing::new(format!("Authorization: Bearer {token}\r\n"));
    let mut connection = Connection::open(instance.address).await?;
    let mut logins = Vec::new();
    for index in 0..number {
        let user = json!({ "username": format!("bench-{index}"), "password": PASSWORD }).to_string();
        let answer =
            connection.exchange(&request("/api/v1/auth/users", &credential, user.as_bytes())).await?;
        ensure!(answer.status == 201, "a user is refused: {}", String::from_utf8_lossy(answer.body));
        logins.push(request("/api/v1/auth/login", "", user.as_bytes()));
    }
    Ok(logins)
}

/// Sends each connection its request again and again.
async fn drive(
    instance: &Instance,
    requests: Vec<Arc<Zeroizing<Vec<u8>>>>,
    expected: u16,
    time: Duration,
) -> anyhow::Result<Measured> {
    let mut workers = JoinSet::new();
    let (begin, cpu) = (Instant::now(), instance.processor_time()?);
    for request in requests {
        workers.spawn(repeat(instance.address, request, expected, begin + time));
    }
    let mut all = Tally::default();
    while let Some(done) = workers.join_next().await {
        all.merge(done.context("a worker died")??);
    }
    let elapsed = begin.elapsed();
    let cpu = instance.processor_time()?.saturating_sub(cpu);
    ensure!(all.refused.is_empty(), "other answers than {expected}, by status: {:?}", all.refused);
    ensure!(all.operations() > 0, "no request was answered within {} s", time.as_secs());
    #[expect(clippy::cast_precision_loss, reason = "a count of operations is far below 2^52")]
    let cpu_micros = cpu.as_secs_f64() * 1e6 / all.operations() as f64;
    Ok(Measured { sample: all.sample(elapsed), cpu_micros })
}

async fn repeat(
    address: SocketAddr,
    request: Arc<Zeroizing<Vec<u8>>>,
    expected: u16,
    end: Instant,
) -> anyhow::Result<Tally> {
    let mut connection = Connection::open(address).await?;
    let mut tally = Tally::default();
    while Instant::now() < end {
        let begin = Instant::now();
        let status = connection.exchange(&request).await?.status;
        let latency = begin.elapsed();
        if status == expected { tally.succeeded(latency) } else { tally.refused(status) }
    }
    Ok(tally)
}

/// Hashes on every core, each thread in memory of its own.
fn argon2id(time: Duration) -> anyhow::Result<Sample> {
    let (memory, passes, lanes) = ARGON2;
    let params = Params::new(memory, passes, lanes, Some(32)).map_err(anyhow::Error::msg)?;
    let cores = available_parallelism().map_or(1, usize::from);
    let begin = Instant::now();
    let threads: Vec<_> = (0..cores)
        .map(|_| {
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
            thread::spawn(move || {
                let (mut tally, mut hash) = (Tally::default(), [0; 32]);
                while begin.elapsed() < time {
                    let start = Instant::now();
                    argon2
                        .hash_password_into(
                            b"harvest quarrel lantern 7 voyage",
                            b"sixteen bytes of",
                            &mut hash,
                        )
                        .map_err(anyhow::Error::msg)?;
                    tally.succeeded(start.elapsed());
                }
                anyhow::Ok(tally)
            })
        })
        .collect();
    let mut all = Tally::default();
    for thread in threads {
        all.merge(thread.join().map_err(|_| anyhow::anyhow!("a hashing thread died"))??);
    }
    Ok(all.sample(begin.elapsed()))
}
