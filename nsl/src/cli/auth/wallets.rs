//! `nsl auth wallets` and `nsl auth wallet …`. The wallet signs, wherever it is: this program sees no private key.

use std::path::PathBuf;

use clap::ValueEnum;
use nsl_client::{ChallengeRequest, Client, WalletProof};
use serde_json::json;

use super::{Globals, exact_text, output, session};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    Challenge(ChallengeArgs),
    Login(ProofArgs),
    Link(ProofArgs),
    Remove(RemoveArgs),
}

#[derive(Clone, Copy, ValueEnum)]
enum Chain {
    /// Neo N3.
    N3,
    /// Ethereum and its kin, Neo X among them.
    Evm,
}

impl Chain {
    fn as_str(self) -> &'static str {
        match self {
            Self::N3 => "n3",
            Self::Evm => "evm",
        }
    }

    /// The main network of Neo N3, and of Neo X.
    fn main_network(self) -> u64 {
        match self {
            Self::N3 => 860_833_102,
            Self::Evm => 47_763,
        }
    }
}

/// Print a challenge for a wallet to sign, byte for byte.
///
/// It is good for five minutes and one answer. With --json the nonce is shown too, which NEP-20 needs.
#[derive(clap::Args)]
pub(super) struct ChallengeArgs {
    #[arg(long, value_enum)]
    chain: Chain,
    #[arg(long)]
    address: String,
    /// The magic of the Neo N3 network, or the chain id [default: the main network's].
    #[arg(long, value_name = "N")]
    network: Option<u64>,
    /// As the payload of NEP-20 instead of a text (Neo N3).
    #[arg(long)]
    nep20: bool,
    /// To link the wallet to one's account, not to log in.
    #[arg(long)]
    link: bool,
}

/// Log in with a signed challenge (`login`), or let its wallet log in as oneself (`link`).
#[derive(clap::Args)]
pub(super) struct ProofArgs {
    #[arg(long, value_enum)]
    chain: Chain,
    #[arg(long)]
    address: String,
    /// The file with the challenge as it was signed, or the wallet's answer of NEP-20; `-` is stdin.
    #[arg(long, value_name = "FILE")]
    message: PathBuf,
    /// In hex, or in base64 on Neo N3; none for NEP-20.
    #[arg(long)]
    signature: Option<String>,
    /// On Neo N3, in hex.
    #[arg(long, value_name = "KEY")]
    public_key: Option<String>,
    /// Where the wallet gives one beside its signature (Neo N3).
    #[arg(long)]
    salt: Option<String>,
    /// The challenge's nonce, for NEP-20.
    #[arg(long)]
    nonce: Option<String>,
    /// The code of the second factor, to log in to an account that has one.
    #[arg(long, value_name = "CODE")]
    totp: Option<String>,
}

/// Remove a wallet from one's account.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct RemoveArgs {
    /// Its id, as `nsl auth wallets` shows it.
    id: String,
}

pub(super) async fn run(command: Command, globals: &Globals) -> anyhow::Result<()> {
    match command {
        Command::Challenge(args) => challenge(&args, globals).await,
        Command::Login(args) => login(args, globals).await,
        Command::Link(args) => link(args, globals).await,
        Command::Remove(args) => remove(args, globals).await,
    }
}

pub(super) async fn list(globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let wallets = session.call(async |client| client.auth().wallets().await).await?;
    if globals.json {
        return output::json(&wallets);
    }
    if wallets.is_empty() {
        output::note("No wallets; `nsl auth wallet challenge --link` begins to link one.");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = wallets
        .into_iter()
        .map(|wallet| vec![wallet.chain, wallet.address, output::time(wallet.last_used_at), wallet.id])
        .collect();
    output::table(&["CHAIN", "ADDRESS", "LAST USED", "ID"], &rows)
}

async fn challenge(args: &ChallengeArgs, globals: &Globals) -> anyhow::Result<()> {
    let client = Client::new(&session::address(globals)?)?;
    let request = ChallengeRequest {
        chain: args.chain.as_str(),
        address: &args.address,
        network: args.network.unwrap_or_else(|| args.chain.main_network()),
        form: if args.nep20 { "nep20" } else { "text" },
        purpose: if args.link { "link" } else { "login" },
    };
    let challenge = client.wallet_challenge(&request).await?;
    if globals.json {
        return output::json(&challenge);
    }
    // No line end: the wallet signs just this.
    output::bytes(challenge.challenge.as_bytes())
}

fn proof(args: ProofArgs) -> anyhow::Result<WalletProof> {
    Ok(WalletProof {
        message: exact_text(&args.message)?,
        chain: args.chain.as_str().to_owned(),
        address: args.address,
        signature: args.signature,
        public_key: args.public_key,
        salt: args.salt,
        nonce: args.nonce,
        totp_code: args.totp,
    })
}

async fn login(args: ProofArgs, globals: &Globals) -> anyhow::Result<()> {
    let client = Client::new(&session::address(globals)?)?;
    let proof = proof(args)?;
    let tokens = client.wallet_login(&proof).await?;
    let until = session::save_login(client.url(), tokens)?;
    if globals.json {
        return output::json(&json!({ "url": client.url(), "address": proof.address, "expiresAt": until }));
    }
    output::line(&format!(
        "Logged in at {} with {} until {}; commands renew it as they run.",
        client.url(),
        proof.address,
        output::time(Some(until))
    ))
}

async fn link(args: ProofArgs, globals: &Globals) -> anyhow::Result<()> {
    let proof = proof(args)?;
    let mut session = session::open(globals).await?;
    let wallet = session.call(async |client| client.auth().link_wallet(&proof).await).await?;
    if globals.json {
        return output::json(&wallet);
    }
    output::line(&format!("Linked {}: its holder logs in as you from now on.", wallet.address))
}

async fn remove(args: RemoveArgs, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    session.call(async |client| client.auth().unlink_wallet(&args.id).await).await?;
    if globals.json {
        return output::json(&json!({ "id": args.id, "removed": true }));
    }
    output::line(&format!("Removed the wallet {}.", args.id))
}
