//! Sign-in with a wallet, and the wallets of one's account. Signing is the wallet's: no private key comes here.

use jiff::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::{Auth, Tokens};
use crate::client::Client;
use crate::error::Error;
use crate::path;

/// For which account a challenge is asked, and what for.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChallengeRequest<'a> {
    /// `n3` or `evm`.
    pub chain: &'a str,
    pub address: &'a str,
    /// The magic of the Neo N3 network, or the chain id of the EVM.
    pub network: u64,
    /// `text` or `nep20`.
    pub form: &'a str,
    /// `login` or `link`.
    pub purpose: &'a str,
}

/// What a wallet is to sign.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Challenge {
    /// The text to sign, byte for byte; of form `nep20` the payload, as JSON.
    pub challenge: String,
    pub nonce: String,
    pub expires_at: Timestamp,
}

/// A challenge, and the wallet's answer to it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WalletProof {
    /// `n3` or `evm`.
    pub chain: String,
    pub address: String,
    /// The text that was signed; of form `nep20` the wallet's whole answer, as JSON.
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Neo N3 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// What some Neo N3 wallets put before the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// The challenge's nonce, of form `nep20` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// To log in to an account that has a second factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub totp_code: Option<String>,
}

/// A wallet whose holder logs in as its account.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Wallet {
    pub id: String,
    pub chain: String,
    pub address: String,
    pub created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
}

const WALLETS: &str = "/api/v1/auth/wallets";

impl Client {
    /// Something for a wallet to sign.
    pub async fn wallet_challenge(&self, request: &ChallengeRequest<'_>) -> Result<Challenge, Error> {
        self.call(self.post("/api/v1/auth/wallet/challenge").json(request)).await?.json()
    }

    /// Logs the holder of a wallet in.
    pub async fn wallet_login(&self, proof: &WalletProof) -> Result<Tokens, Error> {
        self.call(self.post("/api/v1/auth/wallet/login").json(proof)).await?.json()
    }
}

impl Auth<'_> {
    /// The wallets of one's account.
    pub async fn wallets(&self) -> Result<Vec<Wallet>, Error> {
        #[derive(Deserialize)]
        struct List {
            items: Vec<Wallet>,
        }
        let list: List = self.ask(self.client.get(WALLETS)).await?;
        Ok(list.items)
    }

    /// Links a wallet to one's account; the challenge was asked for with the purpose `link`.
    pub async fn link_wallet(&self, proof: &WalletProof) -> Result<Wallet, Error> {
        self.ask(self.client.post(WALLETS).json(proof)).await
    }

    /// Removes a wallet from one's account.
    pub async fn unlink_wallet(&self, id: &str) -> Result<(), Error> {
        let path = format!("{WALLETS}/{}", path::segment("wallet", id)?);
        self.tell(self.client.request(Method::DELETE, &path)).await
    }
}
