//! `nsl sgx list`.

use nsl_client::{ItemInfo, ListFilter};
use serde_json::Value;

use super::{Globals, object, output, session};

/// List items, of one service or of all.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct Args {
    service: Option<String>,
    /// Only keys that begin with this.
    #[arg(long)]
    prefix: Option<String>,
    /// Only items whose metadata holds all of this JSON object.
    #[arg(long, value_name = "JSON", value_parser = object)]
    metadata: Option<Value>,
}

pub(super) async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let filter = ListFilter { service: args.service, prefix: args.prefix, metadata: args.metadata };
    let mut session = session::open(globals).await?;
    let items = session
        .call(async |client| {
            let mut all = Vec::new();
            let mut items = client.sgx().find(filter.clone());
            while let Some(item) = items.next().await? {
                all.push(item);
            }
            Ok(all)
        })
        .await?;
    if globals.json {
        return output::json(&items);
    }
    if items.is_empty() {
        output::note("No items.");
        return Ok(());
    }
    let of_all = filter.service.is_none();
    let mut headings = vec!["KEY", "VERSION", "SIZE", "UPDATED", "EXPIRES", "POLICY"];
    if of_all {
        headings.insert(0, "SERVICE");
    }
    let cells = |item: ItemInfo| {
        let mut cells = vec![
            item.key,
            item.version.to_string(),
            output::size(item.size),
            output::time(Some(item.updated_at)),
            output::time(item.expires_at),
            item.policy,
        ];
        if of_all {
            cells.insert(0, item.service);
        }
        cells
    };
    output::table(&headings, &items.into_iter().map(cells).collect::<Vec<_>>())
}
