//! `nsl sgx quota …`.

use anyhow::ensure;
use serde_json::json;

use super::{Globals, output, session};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List the limits; `nsl sgx stat` shows what is kept beside them.
    List,
    Set(SetArgs),
    Remove(RemoveArgs),
}

/// Limit what a service keeps, or without --service what the tenant keeps as a whole.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct SetArgs {
    #[arg(long)]
    service: Option<String>,
    /// Bytes at rest, such as 1000000, 64MiB or 10GB.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_bytes: Option<u64>,
    #[arg(long, value_name = "N")]
    max_items: Option<u64>,
}

/// Take the limits of a service away, or without --service those of the tenant as a whole.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct RemoveArgs {
    #[arg(long)]
    service: Option<String>,
}

pub(super) async fn run(command: Command, globals: &Globals) -> anyhow::Result<()> {
    match command {
        Command::List => list(globals).await,
        Command::Set(args) => set(args, globals).await,
        Command::Remove(args) => remove(args, globals).await,
    }
}

/// The words for a service, or for the tenant as a whole.
fn named(service: Option<&str>) -> String {
    service.map_or_else(|| "the tenant as a whole".to_owned(), |service| format!("service {service}"))
}

async fn list(globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let quotas = session.call(async |client| client.sgx().quotas().await).await?;
    if globals.json {
        return output::json(&quotas);
    }
    if quotas.is_empty() {
        output::note("No limits.");
        return Ok(());
    }
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let rows: Vec<Vec<String>> = quotas
        .into_iter()
        .map(|quota| {
            vec![
                quota.service.unwrap_or_else(|| "(all)".to_owned()),
                or_dash(quota.max_items.map(|items| items.to_string())),
                or_dash(quota.max_bytes.map(output::size)),
            ]
        })
        .collect();
    output::table(&["SERVICE", "MAX ITEMS", "MAX SEALED"], &rows)
}

async fn set(args: SetArgs, globals: &Globals) -> anyhow::Result<()> {
    let SetArgs { service, max_bytes, max_items } = args;
    ensure!(max_bytes.is_some() || max_items.is_some(), "nothing to limit: give --max-bytes or --max-items");
    let mut session = session::open(globals).await?;
    let service = service.as_deref();
    let quota =
        session.call(async |client| client.sgx().set_quota(service, max_bytes, max_items).await).await?;
    if globals.json {
        return output::json(&quota);
    }
    let limits = [
        quota.max_items.map(|items| format!("{items} items")),
        quota.max_bytes.map(|bytes| format!("{} sealed", output::size(bytes))),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    output::line(&format!("Limited {} to {}", named(service), limits.join(" and ")))
}

async fn remove(args: RemoveArgs, globals: &Globals) -> anyhow::Result<()> {
    let service = args.service.as_deref();
    let mut session = session::open(globals).await?;
    session.call(async |client| client.sgx().remove_quota(service).await).await?;
    if globals.json {
        return output::json(&json!({ "service": service, "removed": true }));
    }
    output::line(&format!("No limits on {} any more", named(service)))
}

/// `--max-bytes`.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err("give a size such as 1000000, 64MiB or 10GB".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "give a size such as 1000000, 64MiB or 10GB")?;
    number.checked_mul(factor).ok_or_else(|| "it is larger than what can be counted".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in
            [("0", 0), ("1500", 1500), ("64MiB", 64 << 20), ("10 GB", 10_000_000_000), ("1KiB", 1024)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5GB", "1 parsec", "99999999TiB", "99999999999999999999"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
