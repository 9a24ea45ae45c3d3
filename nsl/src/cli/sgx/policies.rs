//! `nsl sgx policies …`.

use anyhow::ensure;
use nsl_client::{Policy, PolicyRules};
use serde_json::json;

use super::{Globals, describe, output, session};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List the policies: those of the program, and the tenant's own.
    List,
    Show(NameArgs),
    Create(CreateArgs),
    Update(UpdateArgs),
    Delete(DeleteArgs),
}

/// Show a policy.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct NameArgs {
    name: String,
}

/// Make a policy.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct CreateArgs {
    name: String,
    #[command(flatten)]
    rules: Rules,
}

/// Change a policy: what is given takes the place of what is there.
///
/// Values that were put under it keep the rules that it had then, and obey the new ones where these are stricter.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct UpdateArgs {
    name: String,
    #[command(flatten)]
    rules: Rules,
    /// Whether values can be put under it, and read.
    #[arg(long, value_name = "true|false")]
    active: Option<bool>,
    /// Only at this version.
    #[arg(long, value_name = "N")]
    if_version: Option<i64>,
}

/// Delete a policy; values that were put under it keep its rules.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct DeleteArgs {
    name: String,
    /// Only at this version.
    #[arg(long, value_name = "N")]
    if_version: Option<i64>,
}

/// What a policy asks for. A limit of 0 takes the limit away.
#[derive(clap::Args)]
struct Rules {
    /// MRSIGNER, MRENCLAVE or CUSTOM.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    #[arg(long)]
    description: Option<String>,
    /// The longest life of a value.
    #[arg(long, value_name = "HOURS")]
    expiration_hours: Option<u32>,
    /// Whether values can be read at all.
    #[arg(long, value_name = "true|false")]
    allow_unseal: Option<bool>,
    /// Whether a reader names an accepted attestation.
    #[arg(long, value_name = "true|false")]
    require_attestation: Option<bool>,
    /// A role that can read; can be given again. Empty: any.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// How often each version can be read.
    #[arg(long, value_name = "N")]
    max_reads: Option<u64>,
    /// The lowest security version of a reader's enclave.
    #[arg(long, value_name = "N")]
    min_isv_svn: Option<u32>,
}

impl Rules {
    fn any(&self) -> bool {
        self.kind.is_some()
            || self.description.is_some()
            || self.expiration_hours.is_some()
            || self.allow_unseal.is_some()
            || self.require_attestation.is_some()
            || !self.roles.is_empty()
            || self.max_reads.is_some()
            || self.min_isv_svn.is_some()
    }

    fn onto(self, mut policy: PolicyRules) -> PolicyRules {
        policy.kind = self.kind.unwrap_or(policy.kind);
        policy.description = self.description.or(policy.description);
        policy.allow_unseal = self.allow_unseal.unwrap_or(policy.allow_unseal);
        policy.require_attestation = self.require_attestation.unwrap_or(policy.require_attestation);
        if !self.roles.is_empty() {
            policy.allowed_roles = Some(self.roles).filter(|roles| roles.iter().any(|role| !role.is_empty()));
        }
        policy.expiration_hours = limit(self.expiration_hours, policy.expiration_hours);
        policy.max_reads = limit(self.max_reads, policy.max_reads);
        // 0 is a security version that every enclave has.
        policy.min_isv_svn = limit(self.min_isv_svn, policy.min_isv_svn);
        policy
    }
}

fn limit<T: Default + PartialEq>(given: Option<T>, there: Option<T>) -> Option<T> {
    match given {
        Some(limit) => Some(limit).filter(|limit| *limit != T::default()),
        None => there,
    }
}

pub(super) async fn run(command: Command, globals: &Globals) -> anyhow::Result<()> {
    match command {
        Command::List => list(globals).await,
        Command::Show(args) => show(&args, globals).await,
        Command::Create(args) => create(args, globals).await,
        Command::Update(args) => update(args, globals).await,
        Command::Delete(args) => delete(&args, globals).await,
    }
}

async fn list(globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let policies = session.call(async |client| client.sgx().policies().await).await?;
    if globals.json {
        return output::json(&policies);
    }
    let rows: Vec<Vec<String>> = policies
        .into_iter()
        .map(|policy| {
            let state = match (policy.built_in, policy.is_active) {
                (true, _) => "built-in",
                (false, true) => "active",
                (false, false) => "inactive",
            };
            let rules = rules(&policy);
            vec![policy.name, policy.kind, state.to_owned(), rules]
        })
        .collect();
    output::table(&["NAME", "TYPE", "STATE", "RULES"], &rows)
}

/// In a line.
fn rules(policy: &Policy) -> String {
    let mut rules = Vec::new();
    rules.extend(policy.expiration_hours.map(|hours| format!("{hours} h")));
    rules.extend((!policy.allow_unseal).then(|| "no reads".to_owned()));
    rules.extend(policy.require_attestation.then(|| "attestation".to_owned()));
    rules.extend(policy.min_isv_svn.map(|svn| format!("isv svn {svn} or higher")));
    rules.extend(policy.max_reads.map(|reads| format!("{reads} reads")));
    rules.extend(policy.allowed_roles.as_ref().map(|roles| format!("roles {}", roles.join(" "))));
    rules.join(", ")
}

async fn show(args: &NameArgs, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let policy = session.call(async |client| client.sgx().policy(&args.name).await).await?;
    if globals.json {
        return output::json(&policy);
    }
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    describe(&[
        ("name", policy.name),
        ("type", policy.kind),
        ("description", or_dash(policy.description)),
        ("expiration", or_dash(policy.expiration_hours.map(|hours| format!("{hours} h")))),
        ("readable", yes(policy.allow_unseal)),
        ("attestation", yes(policy.require_attestation)),
        ("least isv svn", or_dash(policy.min_isv_svn.map(|svn| svn.to_string()))),
        ("roles", or_dash(policy.allowed_roles.map(|roles| roles.join(" ")))),
        ("reads", or_dash(policy.max_reads.map(|reads| reads.to_string()))),
        ("active", yes(policy.is_active)),
        ("built-in", yes(policy.built_in)),
        ("version", or_dash(policy.version.map(|version| version.to_string()))),
    ])
}

async fn create(args: CreateArgs, globals: &Globals) -> anyhow::Result<()> {
    let rules = args.rules.onto(PolicyRules::default());
    let mut session = session::open(globals).await?;
    let policy = session.call(async |client| client.sgx().create_policy(&args.name, &rules).await).await?;
    say("Made", &policy, globals)
}

async fn update(args: UpdateArgs, globals: &Globals) -> anyhow::Result<()> {
    ensure!(args.rules.any() || args.active.is_some(), "nothing to change: give at least one of the rules");
    let mut session = session::open(globals).await?;
    let there = session.call(async |client| client.sgx().policy(&args.name).await).await?;
    // What is replaced is what was read.
    let version = args.if_version.or(there.version);
    let rules = args.rules.onto(PolicyRules {
        kind: there.kind,
        description: there.description,
        expiration_hours: there.expiration_hours,
        allow_unseal: there.allow_unseal,
        require_attestation: there.require_attestation,
        allowed_roles: there.allowed_roles,
        max_reads: there.max_reads,
        min_isv_svn: there.min_isv_svn,
        is_active: args.active.unwrap_or(there.is_active),
    });
    let policy =
        session.call(async |client| client.sgx().replace_policy(&args.name, &rules, version).await).await?;
    say("Changed", &policy, globals)
}

async fn delete(args: &DeleteArgs, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    session.call(async |client| client.sgx().delete_policy(&args.name, args.if_version).await).await?;
    if globals.json {
        return output::json(&json!({ "name": args.name, "deleted": true }));
    }
    output::line(&format!("Deleted the policy {}", args.name))
}

fn say(done: &str, policy: &Policy, globals: &Globals) -> anyhow::Result<()> {
    if globals.json {
        return output::json(policy);
    }
    let rules = rules(policy);
    let rules = if rules.is_empty() { "no rules".to_owned() } else { rules };
    output::line(&format!("{done} the policy {}: {}, {rules}", policy.name, policy.kind))
}
