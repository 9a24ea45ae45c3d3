//! `nsl sgx scan …`.

use anyhow::bail;
use nsl_client::Scan;

use super::{Globals, output, session, wait};

/// Check everything that is sealed, against the seals and against the event log.
///
/// Waits for the end; exits with 1 where something is not as it should be.
#[derive(clap::Args)]
#[command(after_help = session::HELP, args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    /// Begin the scan, and do not wait for its end.
    #[arg(long)]
    no_wait: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the scans.
    List,
    /// Show a scan, and what it found.
    Show(ShowArgs),
}

#[derive(clap::Args)]
#[command(after_help = session::HELP)]
struct ShowArgs {
    /// Its id, as `nsl sgx scan list` shows it.
    id: String,
    /// Wait for its end first.
    #[arg(long)]
    wait: bool,
}

pub(super) async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let (scan, waits) = match args.command {
        Some(Command::List) => return list(session, globals).await,
        Some(Command::Show(ShowArgs { id, wait })) => {
            (session.call(async |client| client.sgx().scan(&id).await).await?, wait)
        }
        None => (session.call(async |client| client.sgx().start_scan().await).await?, !args.no_wait),
    };
    let scan = if waits { wait::to_its_end(&mut session, scan, globals).await? } else { scan };
    show(&scan, globals)?;
    if !scan.findings.is_empty() {
        bail!(
            "{} not as it should be: see the security events, and restore what is damaged from a backup",
            count(scan.findings.len() as u64, "item is", "items are")
        );
    }
    if scan.state == "failed" {
        bail!(
            "the scan did not come to its end: {}",
            scan.failure.as_deref().unwrap_or("no reason is known")
        );
    }
    Ok(())
}

fn show(scan: &Scan, globals: &Globals) -> anyhow::Result<()> {
    if globals.json {
        return output::json(scan);
    }
    if !scan.findings.is_empty() {
        let rows: Vec<Vec<String>> = scan
            .findings
            .iter()
            .map(|found| {
                let text = |part: &Option<String>| part.clone().unwrap_or_else(|| "-".to_owned());
                let version = found.version.map_or_else(|| "-".to_owned(), |version| version.to_string());
                vec![
                    found.kind.clone(),
                    text(&found.service),
                    text(&found.key),
                    version,
                    text(&found.item_id),
                    found.detail.clone(),
                ]
            })
            .collect();
        output::table(&["FINDING", "SERVICE", "KEY", "VERSION", "ITEM", "DETAIL"], &rows)?;
    }
    let findings = match scan.findings.len() as u64 {
        0 => "nothing found".to_owned(),
        some => count(some, "finding", "findings"),
    };
    let checked = count(scan.checked, "version", "versions");
    output::line(&match scan.state.as_str() {
        "running" => format!("Scan {}: running, {} of {checked}, {findings}", scan.id, scan.checked),
        "completed" => format!("Scan {}: {checked} checked, {findings}", scan.id),
        state => format!("Scan {}: {state} after {checked}, {findings}", scan.id),
    })
}

fn count(number: u64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

async fn list(mut session: session::Session, globals: &Globals) -> anyhow::Result<()> {
    let scans = session.call(async |client| client.sgx().scans().await).await?;
    if globals.json {
        return output::json(&scans);
    }
    let rows: Vec<Vec<String>> = scans
        .into_iter()
        .map(|scan| {
            vec![
                scan.id,
                scan.state,
                output::time(Some(scan.started_at)),
                output::time(scan.finished_at),
                format!("{} of {}", scan.checked, scan.total),
                scan.findings.len().to_string(),
            ]
        })
        .collect();
    output::table(&["ID", "STATE", "STARTED", "ENDED", "CHECKED", "FINDINGS"], &rows)
}
