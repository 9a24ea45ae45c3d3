//! `nsl doctor`: looks for what is wrong with this installation, and says what to do about each finding.

use std::os::unix::fs::PermissionsExt as _;

use nsl_client::Status;
use nsl_core::config::{ConnectionStringsConfig, DatabaseConfig};
use nsl_core::db::Login;
use nsl_core::db::migrate::{self, MIGRATIONS};
use nsl_postgres::Binaries;
use serde::Serialize;

use super::{Globals, output};
use crate::local::{DATABASE, Local, OWNER, SUPERUSER};
use crate::{db, settings};

/// Looks at the configuration, the files of `nsl up`, the database and the service.
#[derive(clap::Args)]
pub(crate) struct Args {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warning,
    Failed,
}

/// One line of the report.
#[derive(Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    detail: String,
}

#[derive(Default)]
struct Report(Vec<Finding>);

impl Report {
    fn add(&mut self, check: &'static str, verdict: Verdict, detail: impl Into<String>) {
        self.0.push(Finding { check, verdict, detail: detail.into() });
    }

    fn result<T>(
        &mut self,
        check: &'static str,
        outcome: anyhow::Result<T>,
        fine: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        match outcome {
            Ok(value) => {
                self.add(check, Verdict::Ok, fine(&value));
                Some(value)
            }
            Err(error) => {
                self.add(check, Verdict::Failed, format!("{error:#}"));
                None
            }
        }
    }
}

pub(crate) async fn run(_args: Args, globals: &Globals) -> anyhow::Result<()> {
    let local = Local::of(globals.data_dir.as_deref());
    let mut report = Report::default();
    let installed = local.server()?.is_some();
    let variables = if installed { local.variables()? } else { Vec::new() };
    let loaded = settings::load_with(None, Vec::new(), variables).map_err(anyhow::Error::from);
    let config = report.result("configuration", loaded, |config| format!("{} settings", config.rows().len()));
    let bin_dir =
        config.as_ref().and_then(|config| config.section::<DatabaseConfig>("Database").ok()?.bin_dir);
    let remote = config.as_ref().is_some_and(|config| {
        config
            .section::<ConnectionStringsConfig>("ConnectionStrings")
            .is_ok_and(|c| c.default_connection.is_some())
    });
    if !remote {
        let found = Binaries::find(bin_dir.as_deref(), None).map_err(anyhow::Error::from);
        report.result("PostgreSQL programs", found, |found| {
            format!("{} in {}", found.version().text, found.dir().display())
        });
    }
    if installed {
        files(&mut report, &local);
    }
    if let Some(config) = &config {
        if installed || remote {
            database(&mut report, config, &local).await;
        } else {
            report.add(
                "database",
                Verdict::Warning,
                "none yet: run `nsl up`, or set ConnectionStrings__DefaultConnection",
            );
        }
    }
    service(&mut report, &local, globals).await;
    let failed = report.0.iter().filter(|finding| finding.verdict == Verdict::Failed).count();
    if globals.json {
        output::json(&report.0)?;
    } else {
        let rows: Vec<Vec<String>> = report
            .0
            .iter()
            .map(|finding| {
                let verdict = match finding.verdict {
                    Verdict::Ok => "ok",
                    Verdict::Warning => "warning",
                    Verdict::Failed => "FAILED",
                };
                vec![finding.check.to_owned(), verdict.to_owned(), finding.detail.clone()]
            })
            .collect();
        output::table(&["CHECK", "VERDICT", "DETAIL"], &rows)?;
    }
    anyhow::ensure!(failed == 0, "{failed} of {} checks failed: the details say what to do", report.0.len());
    Ok(())
}

/// Secrets that others can read are no secrets.
fn files(report: &mut Report, local: &Local) {
    let mut open = Vec::new();
    let mut paths = vec![local.dir().join("credentials.json")];
    paths.extend(
        std::fs::read_dir(local.dir().join("secrets")).into_iter().flatten().flatten().map(|e| e.path()),
    );
    for path in paths {
        if std::fs::metadata(&path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0) {
            open.push(path.display().to_string());
        }
    }
    if open.is_empty() {
        report.add("secret files", Verdict::Ok, "readable by their owner only");
    } else {
        report.add(
            "secret files",
            Verdict::Failed,
            format!("others can read {}: chmod 600", open.join(", ")),
        );
    }
}

async fn database(report: &mut Report, config: &nsl_core::config::Config, local: &Local) {
    let Some(owner) =
        report.result("database", db::owner(config, local).await, |_| format!("{OWNER} can log in"))
    else {
        return;
    };
    let level = migrate::level(&owner, MIGRATIONS).await.map_err(anyhow::Error::from);
    if let Some(level) = report.result("migrations", level, |level| format!("at {}", level.level))
        && !level.pending.is_empty()
    {
        let detail = format!("{} pending: run `nsl db migrate`", level.pending.len());
        report.add("migrations", Verdict::Failed, detail);
    }
    let pools = if local.server().ok().flatten().is_some() {
        local.server().ok().flatten().map(|server| db::local_pools(config, &server))
    } else {
        Some(db::remote_pools(config, &Login::ALL))
    };
    if let Some(Ok(pools)) = &pools
        && pools.is_nominal()
    {
        let detail =
            format!("only nominal: every process logs in as {OWNER}; set Database__Roles__…__Password");
        report.add("role separation", Verdict::Warning, detail);
    } else if let Some(pools) = pools {
        report.result("role separation", pools, |_| "each process has a login of its own".to_owned());
    }
    if let Ok(Some(server)) = local.server()
        && let Ok(password) = local.existing_secret(SUPERUSER)
    {
        let superuser = db::client(&db::local_endpoint(&server, DATABASE), SUPERUSER, &password).await;
        report.result("superuser", superuser.map_err(Into::into), |_| {
            "can log in (backup of last resort)".to_owned()
        });
    }
}

async fn service(report: &mut Report, local: &Local, globals: &Globals) {
    let url = globals.url.clone().or_else(|| local.credentials().ok().flatten().map(|known| known.url));
    let Some(url) = url else {
        report.add("service", Verdict::Warning, "no URL is known: run `nsl up`, or give --url");
        return;
    };
    let health = match nsl_client::Client::new(&url) {
        Ok(client) => client.health().await.map_err(anyhow::Error::from),
        Err(error) => Err(error.into()),
    };
    match health {
        Ok(health) if health.status == Status::Healthy => {
            report.add("service", Verdict::Ok, format!("{url} is Healthy"));
        }
        Ok(health) => {
            let verdict = if health.status == Status::Degraded { Verdict::Warning } else { Verdict::Failed };
            let details: Vec<String> = health
                .checks
                .iter()
                .filter(|check| check.status != Status::Healthy)
                .map(|check| {
                    format!("{}: {}", check.name, check.detail.as_deref().unwrap_or("no reason given"))
                })
                .collect();
            report.add("service", verdict, format!("{url} is {}: {}", health.status, details.join("; ")));
        }
        Err(error) => report.add("service", Verdict::Failed, format!("{error:#}")),
    }
}
