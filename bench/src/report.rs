//! The table and its JSON. Figures are printed as they are, also those that miss a goal.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::json;

use crate::sample::Row;

/// What was measured, and on what.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ground {
    pub cores: usize,
    /// Over the minute before: of an idle machine it is near 0.
    pub load_before: f64,
    pub postgres: String,
    pub connections: u32,
    pub keys: u32,
    pub value_bytes: usize,
    pub rounds: u32,
    pub seconds: u64,
}

impl Ground {
    fn lines(&self) -> String {
        format!(
            "{} cores (load average before: {}), PostgreSQL {}, fsync and synchronous_commit on\n{} connections, \
             {} B values, {} keys; median of {} × {} s",
            self.cores,
            self.load_before,
            self.postgres,
            self.connections,
            self.value_bytes,
            self.keys,
            self.rounds,
            self.seconds
        )
    }
}

/// The rows aligned, with each one's ratio to the row named `base`.
pub(crate) fn table(ground: &Ground, rows: &[Row], base: &str) -> String {
    let base = base_ops(rows, base);
    let mut lines = vec![["", "ops/s", "min – max", "x (a)", "p50 ms", "p99 ms"].map(str::to_owned)];
    for row in rows {
        lines.push([
            row.name.to_owned(),
            format!("{:.0}", row.median.ops_per_second),
            format!("{:.0} – {:.0}", row.min_ops_per_second, row.max_ops_per_second),
            base.map_or_else(String::new, |base| format!("{:.2}", row.median.ops_per_second / base)),
            format!("{:.1}", row.median.p50_ms),
            format!("{:.1}", row.median.p99_ms),
        ]);
    }
    ground.lines() + "\n\n" + &aligned(&lines)
}

/// The first column to the left, the others to the right.
pub(crate) fn aligned<const COLUMNS: usize>(lines: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut text = String::new();
    for line in lines {
        let mut cells = String::new();
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            // A write into a String does not fail.
            let _done =
                if column == 0 { write!(cells, "{cell:width$}") } else { write!(cells, "  {cell:>width$}") };
        }
        text += cells.trim_end();
        text.push('\n');
    }
    text
}

/// The rows aligned, compared with nothing.
pub(crate) fn plain(rows: &[Row]) -> String {
    let mut lines = vec![["", "ops/s", "min – max", "p50 ms", "p99 ms"].map(str::to_owned)];
    lines.extend(rows.iter().map(|row| {
        [
            row.name.to_owned(),
            format!("{:.0}", row.median.ops_per_second),
            format!("{:.0} – {:.0}", row.min_ops_per_second, row.max_ops_per_second),
            format!("{:.2}", row.median.p50_ms),
            format!("{:.2}", row.median.p99_ms),
        ]
    }));
    aligned(&lines)
}

/// The rows as JSON, each with its ratio to the row named `base`.
pub(crate) fn rows(rows: &[Row], base: &str) -> anyhow::Result<Vec<serde_json::Value>> {
    let base = base_ops(rows, base);
    rows.iter()
        .map(|row| {
            let mut value = serde_json::to_value(row)?;
            value["ratio"] = json!(base.map(|base| row.median.ops_per_second / base));
            Ok(value)
        })
        .collect()
}

fn base_ops(rows: &[Row], name: &str) -> Option<f64> {
    rows.iter().find(|row| row.name == name).map(|row| row.median.ops_per_second)
}

/// Writes to standard output.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()).context("standard output is closed")
}

/// Writes JSON to standard output.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    fn example() -> (Ground, Vec<Row>) {
        let ground = Ground {
            cores: 2,
            load_before: 0.1,
            postgres: "15.18".to_owned(),
            connections: 32,
            keys: 5000,
            value_bytes: 1024,
            rounds: 2,
            seconds: 5,
        };
        let round = |ops| Sample { operations: 9, ops_per_second: ops, p50_ms: 1.0, p99_ms: 2.0 };
        (
            ground,
            vec![Row::new("put", vec![round(9000.0), round(11000.0)]), Row::new("base", vec![round(5000.0)])],
        )
    }

    #[test]
    fn the_table_is_aligned_and_has_ratios() {
        let (ground, rows) = example();
        let text = table(&ground, &rows, "base");
        let lines: Vec<&str> = text.lines().skip(3).collect();
        assert_eq!(lines[1], "put   10000  9000 – 11000   2.00     1.0     2.0");
        assert_eq!(lines[2], "base   5000   5000 – 5000   1.00     1.0     2.0");
    }

    #[test]
    fn json_has_every_round_and_the_ratio() {
        let (_, rows_of) = example();
        let json = rows(&rows_of, "base").unwrap();
        assert_eq!(json[0]["ratio"], json!(2.0));
        assert_eq!(json[0]["rounds"].as_array().unwrap().len(), 2);
        assert_eq!(json[0]["median"]["opsPerSecond"], json!(10000.0));
        assert!(rows(&rows_of, "absent").unwrap()[0]["ratio"].is_null());
    }
}
