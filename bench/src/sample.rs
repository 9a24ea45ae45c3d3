//! What one measurement gave, and what several give together. Not here: how it was measured.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

/// What a worker saw; merged over all of them.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Microseconds of each operation that succeeded.
    latencies: Vec<u32>,
    /// Answers other than 2xx, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Answers that were 2xx and not the value asked for.
    pub wrong: u64,
}

/// One measurement in figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sample {
    pub operations: u64,
    pub ops_per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

impl Sample {
    /// Of requests that are about so many values each: values in place of requests. A latency stays that of a request.
    #[must_use]
    pub(crate) fn times(self, values: u32) -> Self {
        Self {
            operations: self.operations * u64::from(values),
            ops_per_second: self.ops_per_second * f64::from(values),
            ..self
        }
    }
}

/// All rounds of one row of the table.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub name: &'static str,
    /// The figures' medians, each for itself.
    pub median: Sample,
    pub min_ops_per_second: f64,
    pub max_ops_per_second: f64,
    pub rounds: Vec<Sample>,
}

impl Tally {
    pub(crate) fn succeeded(&mut self, latency: Duration) {
        self.latencies.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
    }

    pub(crate) fn refused(&mut self, status: u16) {
        *self.refused.entry(status).or_default() += 1;
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        for (status, count) in other.refused {
            *self.refused.entry(status).or_default() += count;
        }
        self.wrong += other.wrong;
    }

    /// Operations that succeeded.
    pub(crate) fn operations(&self) -> u64 {
        self.latencies.len() as u64
    }

    pub(crate) fn sample(mut self, elapsed: Duration) -> Sample {
        self.latencies.sort_unstable();
        #[expect(clippy::cast_precision_loss, reason = "a count of operations is far below 2^52")]
        let ops_per_second = self.latencies.len() as f64 / elapsed.as_secs_f64();
        Sample {
            operations: self.operations(),
            ops_per_second,
            p50_ms: percentile_ms(&self.latencies, 50),
            p99_ms: percentile_ms(&self.latencies, 99),
        }
    }
}

/// The nearest-rank percentile: the smallest value that at least so many of a hundred do not exceed.
fn percentile_ms(sorted: &[u32], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).map_or(0.0, |micros| f64::from(*micros) / 1000.0)
}

impl Row {
    /// `rounds` has at least one.
    pub(crate) fn new(name: &'static str, rounds: Vec<Sample>) -> Self {
        let ops: Vec<f64> = rounds.iter().map(|round| round.ops_per_second).collect();
        let mut operations: Vec<u64> = rounds.iter().map(|round| round.operations).collect();
        operations.sort_unstable();
        Self {
            name,
            median: Sample {
                operations: operations.get(operations.len() / 2).copied().unwrap_or(0),
                ops_per_second: median(&ops),
                p50_ms: median(&rounds.iter().map(|round| round.p50_ms).collect::<Vec<_>>()),
                p99_ms: median(&rounds.iter().map(|round| round.p99_ms).collect::<Vec<_>>()),
            },
            min_ops_per_second: ops.iter().copied().fold(f64::INFINITY, f64::min),
            max_ops_per_second: ops.iter().copied().fold(0.0, f64::max),
            rounds,
        }
    }
}

/// Of an even count the mean of the two in the middle: the lower one would flatter latencies, the upper one throughput.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.get(sorted.len() / 2), sorted.len() % 2) {
        (None, _) => 0.0,
        (Some(middle), 1) => *middle,
        (Some(upper), _) => f64::midpoint(sorted[sorted.len() / 2 - 1], *upper),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let hundred: Vec<u32> = (1..=100).map(|n| n * 1000).collect();
        assert!((percentile_ms(&hundred, 50) - 50.0).abs() < 1e-9);
        assert!((percentile_ms(&hundred, 99) - 99.0).abs() < 1e-9);
        assert!((percentile_ms(&[7000], 99) - 7.0).abs() < 1e-9);
        assert!(percentile_ms(&[], 50).abs() < 1e-9);
    }

    #[test]
    fn tallies_add_up() {
        let (mut one, mut other) = (Tally::default(), Tally::default());
        for micros in [3000, 1000] {
            one.succeeded(Duration::from_micros(micros));
        }
        one.refused(503);
        other.succeeded(Duration::from_millis(2));
        other.refused(503);
        other.wrong = 1;
        one.merge(other);
        assert_eq!((one.refused[&503], one.wrong), (2, 1));
        let sample = one.sample(Duration::from_secs(2));
        assert_eq!(sample, Sample { operations: 3, ops_per_second: 1.5, p50_ms: 2.0, p99_ms: 3.0 });
    }

    #[test]
    fn a_row_is_the_median_of_its_rounds() {
        let round = |ops: f64, p50_ms| Sample { operations: 1, ops_per_second: ops, p50_ms, p99_ms: 9.0 };
        let row = Row::new("put", vec![round(30.0, 1.0), round(10.0, 3.0), round(20.0, 2.0)]);
        assert!((row.median.ops_per_second - 20.0).abs() < 1e-9 && (row.median.p50_ms - 2.0).abs() < 1e-9);
        assert!((row.min_ops_per_second - 10.0).abs() < 1e-9 && (row.max_ops_per_second - 30.0).abs() < 1e-9);
        assert!((median(&[1.0, 4.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
    }
}
