//! Requests on many keep-alive connections, one under way on each. Not here: how a request looks (`api`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::api::{Api, BATCH, MARK, Operation, VALUE};
use crate::http::Connection;
use crate::report::Ground;
use crate::sample::Tally;

/// Whom the load goes to, and with what.
pub(crate) struct Target {
    address: SocketAddr,
    api: Api,
    operation: Operation,
    /// The header lines of each credential; a key always goes with the same one.
    headers: Arc<[Zeroizing<String>]>,
}

impl Target {
    /// `tokens` has at least one.
    pub(crate) fn new<'t>(
        api: Api,
        address: SocketAddr,
        operation: Operation,
        tokens: impl IntoIterator<Item = &'t str>,
    ) -> Self {
        let headers = tokens.into_iter().map(|token| api.headers(operation, token)).collect();
        Self { address, api, operation, headers }
    }
}

/// How a run measures: the options that runs have in common.
#[derive(clap::Args)]
pub(crate) struct Runs {
    /// Of each measurement.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Measurements of each row.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=15))]
    pub rounds: u32,
    /// Keep-alive connections or tasks, and pgbench's clients.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=128))]
    pub connections: u32,
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub keys: u32,
}

impl Runs {
    pub(crate) fn plan(&self, seed: u64) -> Plan {
        let time = Duration::from_secs(self.seconds);
        Plan { connections: self.connections, keys: self.keys, time, seed }
    }

    pub(crate) fn ground(&self, load_before: f64, postgres: String) -> anyhow::Result<Ground> {
        Ok(Ground {
            load_before,
            cores: std::thread::available_parallelism()?.get(),
            postgres,
            connections: self.connections,
            keys: self.keys,
            value_bytes: VALUE,
            rounds: self.rounds,
            seconds: self.seconds,
        })
    }
}

/// How much and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub connections: u32,
    /// Keys run from 1 to this.
    pub keys: u32,
    pub time: Duration,
    /// Another seed, other keys and values.
    pub seed: u64,
}

/// Random keys until the time is over. Also tells how long that took, the last answers included.
pub(crate) async fn drive(target: &Target, plan: &Plan) -> anyhow::Result<(Tally, Duration)> {
    let end = Instant::now() + plan.time;
    let (keys, seed) = (plan.keys, plan.seed);
    run(target, plan, |connection| {
        let mut random = Random::new(seed, u64::from(connection) << 1 | 1);
        std::iter::from_fn(move || (Instant::now() < end).then(|| random.below(keys) + 1))
    })
    .await
}

/// Each key once; in batches, a few of the last ones twice.
pub(crate) async fn fill(target: &Target, plan: &Plan) -> anyhow::Result<Tally> {
    // A batch takes the following keys of its connection, so that the next one begins after them.
    let (keys, step) = (plan.keys, (plan.connections * target.operation.values()) as usize);
    let (tally, _) = run(target, plan, |connection| (connection + 1..=keys).step_by(step)).await?;
    Ok(tally)
}

async fn run<K: Iterator<Item = u32> + Send + 'static>(
    target: &Target,
    plan: &Plan,
    keys: impl Fn(u32) -> K,
) -> anyhow::Result<(Tally, Duration)> {
    let mut workers = JoinSet::new();
    let mut connections = Vec::new();
    for number in 0..plan.connections {
        connections.push((number, Connection::open(target.address).await?));
    }
    let begin = Instant::now();
    for (number, connection) in connections {
        let worker = Worker {
            connection,
            api: target.api,
            operation: target.operation,
            headers: Arc::clone(&target.headers),
            random: Random::new(plan.seed, u64::from(number) << 1),
            share: Share { number, of: plan.connections, keys: plan.keys },
        };
        workers.spawn(worker.work(keys(number)));
    }
    let mut all = Tally::default();
    while let Some(done) = workers.join_next().await {
        all.merge(done.context("a worker died")??);
    }
    Ok((all, begin.elapsed()))
}

/// One connection.
struct Worker {
    connection: Connection,
    api: Api,
    operation: Operation,
    headers: Arc<[Zeroizing<String>]>,
    random: Random,
    share: Share,
}

/// The keys that only one connection puts in batches: two batches that meet on a key wait for each other.
#[derive(Clone, Copy, Debug)]
struct Share {
    number: u32,
    of: u32,
    keys: u32,
}

impl Share {
    /// As many keys of this share as a batch has, from about this one on.
    fn batch(self, key: u32) -> impl Iterator<Item = u32> {
        let mine = (self.keys - self.number).div_ceil(self.of).max(1);
        let first = (key - 1) / self.of;
        (0..BATCH).map(move |i| (first + i) % mine * self.of + self.number + 1)
    }
}

impl Worker {
    /// A broken connection ends the run: on loopback there is no reason for one.
    async fn work(mut self, keys: impl Iterator<Item = u32>) -> anyhow::Result<Tally> {
        let mut tally = Tally::default();
        let mut request = Vec::new();
        for key in keys {
            let headers = &self.headers[key as usize % self.headers.len()];
            match self.operation {
                Operation::PutMany => {
                    let values: Vec<(u32, Vec<u8>)> =
                        self.share.batch(key).map(|key| (key, self.random.value(key))).collect();
                    Api::write_many(&values, headers, &mut request);
                }
                Operation::Get => self.api.write(self.operation, key, b"", headers, &mut request),
                Operation::Put | Operation::Encrypt => {
                    let value = self.random.value(key);
                    self.api.write(self.operation, key, &value, headers, &mut request);
                }
            }
            let begin = Instant::now();
            let answer = self.connection.exchange(&request).await?;
            let latency = begin.elapsed();
            if !answer.is_success() {
                tally.refused(answer.status);
            } else if self.api.is_right(self.operation, key, answer.body) {
                tally.succeeded(latency);
            } else {
                tally.wrong += 1;
            }
        }
        Ok(tally)
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): random enough for keys and values, and a value costs less than a microsecond.
pub(crate) struct Random(u64);

impl Random {
    /// Each pair of seed and stream has a sequence of its own.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut mixed = Self(seed);
        let start = mixed.next() ^ stream.wrapping_mul(0x9E6D_62D0_6F6A_9A9B);
        let mut mixed = Self(start);
        Self(mixed.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to `bound`, without it; the bias of a bound far below 2^32 is none that a load could show.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        u32::try_from((u128::from(self.next()) * u128::from(bound)) >> 64).unwrap_or(0)
    }

    /// A value that names its key.
    fn value(&mut self, key: u32) -> Vec<u8> {
        let mut value = vec![0; VALUE];
        self.fill(&mut value);
        value[..MARK].copy_from_slice(&key.to_be_bytes());
        value
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A random value in the text form of bytea, the same for a seed.
pub(crate) fn hex_value(seed: u64) -> String {
    let mut value = [0; VALUE];
    Random::new(seed, 0).fill(&mut value);
    let mut text = String::from("\\x");
    for byte in value {
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(digit.into(), 16));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn random_is_splitmix64() {
        // The reference implementation's first outputs for the seed 1234567.
        let mut random = Random(1_234_567);
        assert_eq!(
            [random.next(), random.next(), random.next()],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn streams_and_seeds_differ() {
        let firsts: HashSet<u64> = (0..4u64)
            .flat_map(|seed| (0..256u64).map(move |stream| Random::new(seed, stream).next()))
            .collect();
        assert_eq!(firsts.len(), 4 * 256);
    }

    #[test]
    fn every_key_is_reached_and_none_beyond() {
        let mut random = Random::new(7, 1);
        let seen: HashSet<u32> = (0..1000).map(|_| random.below(10)).collect();
        assert_eq!(seen, (0..10).collect());
    }

    #[test]
    fn no_two_connections_batch_the_same_key() {
        let mut all = HashSet::new();
        for number in 0..32 {
            let share = Share { number, of: 32, keys: 5000 };
            let mine: HashSet<u32> = [1, 2500, 5000].into_iter().flat_map(|key| share.batch(key)).collect();
            assert!(mine.iter().all(|key| (1..=5000).contains(key)));
            assert_eq!(share.batch(4999).collect::<HashSet<_>>().len(), BATCH as usize);
            assert!(mine.iter().all(|key| all.insert(*key)));
        }
    }

    #[test]
    fn a_hex_value_is_one_kibibyte() {
        let text = hex_value(1);
        assert_eq!(text.len(), 2 + 2 * VALUE);
        assert!(text.starts_with("\\x") && text[2..].chars().all(|digit| digit.is_ascii_hexdigit()));
    }
}
