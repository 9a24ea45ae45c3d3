//! `nsl sgx stat`.

use anyhow::Context;

use super::{Globals, describe_item, output, session};

/// Show how much is kept, or what is known about an item; its value is not read.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct Args {
    #[arg(requires = "key")]
    service: Option<String>,
    key: Option<String>,
}

pub(super) async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    if let (Some(service), Some(key)) = (&args.service, &args.key) {
        return of_item(service, key, globals).await;
    }
    let mut session = session::open(globals).await?;
    let kept = session.call(async |client| client.sgx().statistics().await).await?;
    if globals.json {
        return output::json(&kept);
    }
    let row = |name: &str, items: u64, versions: u64, bytes: u64, max_items, max_bytes: Option<u64>| {
        vec![
            name.to_owned(),
            of(items.to_string(), max_items, |limit: u64| limit.to_string()),
            versions.to_string(),
            of(output::size(bytes), max_bytes, output::size),
        ]
    };
    let mut rows: Vec<Vec<String>> = kept
        .services
        .iter()
        .map(|of| row(&of.service, of.items, of.versions, of.bytes, of.max_items, of.max_bytes))
        .collect();
    rows.push(row("(all)", kept.items, kept.versions, kept.bytes, kept.max_items, kept.max_bytes));
    output::table(&["SERVICE", "ITEMS", "VERSIONS", "SEALED"], &rows)
}

/// What there is, of what may be.
fn of(kept: String, limit: Option<u64>, show: impl FnOnce(u64) -> String) -> String {
    match limit {
        Some(limit) => format!("{kept} of {}", show(limit)),
        None => kept,
    }
}

pub(super) async fn of_item(service: &str, key: &str, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let item = session.call(async |client| client.sgx().stat(service, key).await).await?;
    let item = item.with_context(|| {
        format!(
            "there is no item {service}/{key}; `nsl sgx list {service}` shows what there is, `nsl sgx history` the \
             versions of a deleted one"
        )
    })?;
    if globals.json {
        return output::json(&item);
    }
    describe_item(&item)
}
