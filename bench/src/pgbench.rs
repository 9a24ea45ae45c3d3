//! pgbench on the same server: the same rows without the product, as fast as plain SQL goes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use nsl_postgres::Binaries;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::db::{OWNER, PEER};
use crate::instance::Instance;
use crate::load::{Plan, hex_value};
use crate::sample::{Sample, Tally};

/// What it may take over the planned time: connecting, writing the log.
const GRACE: Duration = Duration::from_mins(1);

/// Against which the others are compared.
pub(crate) const BASE: &str = "pgbench (a) BEGIN, 3 statements, COMMIT";
pub(crate) const ONE_STATEMENT: &str = "pgbench (b) one CTE statement";

/// One transaction, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    Separate,
    OneStatement,
    Get,
    GetAudit,
}

impl Script {
    fn text(self) -> &'static str {
        match self {
            Self::Separate => include_str!("../sql/separate.sql"),
            Self::OneStatement => include_str!("../sql/one_statement.sql"),
            Self::Get => include_str!("../sql/get.sql"),
            Self::GetAudit => include_str!("../sql/get_audit.sql"),
        }
    }
}

/// The program and a directory for its scripts and logs.
pub(crate) struct Pgbench {
    program: PathBuf,
    dir: TempDir,
    value: String,
}

impl Pgbench {
    /// The pgbench of the server that `nsl up` takes.
    pub(crate) fn find(pg_bin: Option<&Path>) -> anyhow::Result<Self> {
        let binaries = Binaries::find(pg_bin, None)?;
        let program = binaries.tool("pgbench").with_context(|| {
            format!(
                "there is no pgbench in {}: install PostgreSQL's contrib or client package",
                binaries.dir().display()
            )
        })?;
        let dir = tempfile::Builder::new()
            .prefix("nsl-pgbench-")
            .tempdir()
            .context("no temporary directory can be made")?;
        Ok(Self { program, dir, value: hex_value(0) })
    }

    /// The value that it writes, in the text form of bytea.
    pub(crate) fn value(&self) -> &str {
        &self.value
    }

    pub(crate) async fn run(
        &self,
        instance: &Instance,
        script: Script,
        plan: &Plan,
    ) -> anyhow::Result<Sample> {
        let file = self.dir.path().join("script.sql");
        fs::write(&file, script.text()).context("the script cannot be written")?;
        let clients = plan.connections.to_string();
        let mut command = Command::new(&self.program);
        command
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=2", "--log", "--client", &clients])
            .arg(format!("--time={}", plan.time.as_secs()))
            .arg(format!("--random-seed={}", plan.seed))
            .arg(format!("--define=keys={}", plan.keys))
            .arg(format!("--define=value={}", self.value))
            .arg(format!("--log-prefix={}", self.dir.path().join("latency").display()))
            .arg("--file")
            .arg(&file)
            .arg("--host")
            .arg(&instance.socket_dir)
            .args(["--port", &instance.pg_port.to_string(), "--username", OWNER, PEER])
            .env("PGPASSWORD", instance.password(OWNER)?.as_str())
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = match timeout(plan.time + GRACE, command.output()).await {
            Ok(output) => output.with_context(|| format!("{} does not start", self.program.display()))?,
            Err(_) => bail!("pgbench is not done {} s after its time", GRACE.as_secs()),
        };
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "pgbench failed ({}): {}", output.status, said.trim());
        let report = String::from_utf8_lossy(&output.stdout);
        let tps = transactions_per_second(&report).context("pgbench tells no tps")?;
        let mut sample = self.take_latencies()?.sample(plan.time);
        // Its own figure leaves out the time that connecting took.
        sample.ops_per_second = tps;
        Ok(sample)
    }

    /// Reads and removes the logs, one of each thread.
    fn take_latencies(&self) -> anyhow::Result<Tally> {
        let mut tally = Tally::default();
        for entry in fs::read_dir(self.dir.path())? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"latency.")) {
                read_log(&path, &mut tally)?;
                fs::remove_file(&path)?;
            }
        }
        ensure!(tally.operations() > 0, "pgbench logged no transaction");
        Ok(tally)
    }
}

/// `client_id transaction_no time script_no time_epoch time_us`; the third is the latency in microseconds, or `failed`.
fn read_log(path: &Path, tally: &mut Tally) -> anyhow::Result<()> {
    for line in fs::read_to_string(path)?.lines() {
        let micros = line.split(' ').nth(2).and_then(|time| time.parse().ok());
        let micros =
            micros.with_context(|| format!("pgbench logged a transaction without a time: {line}"))?;
        tally.succeeded(Duration::from_micros(micros));
    }
    Ok(())
}

/// From `tps = 4795.310914 (without initial connection time)`.
fn transactions_per_second(report: &str) -> Option<f64> {
    report.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_read() {
        let report = "latency average = 6.5 ms\ninitial connection time = 60.1 ms\n\
                      tps = 4795.310914 (without initial connection time)\n";
        assert!((transactions_per_second(report).unwrap() - 4_795.310_914).abs() < 1e-6);
        assert_eq!(transactions_per_second("latency average = 6.5 ms\n"), None);
    }

    #[test]
    fn the_log_is_read_and_a_failed_transaction_refused() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("latency.1");
        fs::write(&log, "0 1 1000 0 1764025000 1\n3 1 3000 0 1764025000 2\n").unwrap();
        let mut tally = Tally::default();
        read_log(&log, &mut tally).unwrap();
        let sample = tally.sample(Duration::from_secs(1));
        assert_eq!((sample.operations, sample.p50_ms, sample.p99_ms), (2, 1.0, 3.0));
        fs::write(&log, "0 1 failed 0 1764025000 1\n").unwrap();
        assert!(read_log(&log, &mut Tally::default()).is_err());
    }

    #[test]
    fn a_script_is_one_transaction_of_whole_lines() {
        for script in [Script::Separate, Script::OneStatement, Script::Get, Script::GetAudit] {
            let mut lines = script.text().lines();
            assert_eq!(lines.next(), Some("\\set key random(1, :keys)"), "{script:?}");
            assert!(lines.all(|line| line.ends_with(';')), "{script:?}");
        }
    }
}
