//! Wallets of Neo N3 and EVM that sign as the chains' own do, and what is asked of the service with them.

#![expect(clippy::unwrap_used, reason = "an answer of another form fails the test that asked for it")]

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nsl_auth::{Algorithm, Sections, WalletConfig};
use nsl_chain::{evm, n3};
use nsl_testkit::{Response, TestApp};
use serde_json::{Value, json};

use crate::world::{Tokens, config};

pub(crate) const N3_MAIN: u64 = 860_833_102;
pub(crate) const NEO_X: u64 = 47_763;
pub(crate) const SALT: &str = "058b9e03e7154e4db1e489c99256b7fa";

/// A wallet of someone.
pub(crate) enum Wallet {
    N3(EcdsaKeyPair),
    Evm(Box<k256::ecdsa::SigningKey>),
}

impl Wallet {
    pub(crate) fn n3() -> Self {
        Self::N3(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn evm(seed: u8) -> Self {
        Self::Evm(Box::new(k256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap()))
    }

    pub(crate) fn network(&self) -> (&'static str, u64) {
        match self {
            Self::N3(_) => ("n3", N3_MAIN),
            Self::Evm(_) => ("evm", NEO_X),
        }
    }

    pub(crate) fn public_key(&self) -> Option<n3::PublicKey> {
        match self {
            Self::N3(pair) => Some(n3::PublicKey::from_sec1(pair.public_key().as_ref()).unwrap()),
            Self::Evm(_) => None,
        }
    }

    pub(crate) fn address(&self) -> String {
        match self {
            Self::N3(_) => self.public_key().unwrap().address().to_string(),
            Self::Evm(key) => {
                let point = key.verifying_key().to_sec1_point(false);
                evm::Address::from_public_key(point.as_bytes()).unwrap().to_string()
            }
        }
    }

    pub(crate) fn asks(&self, with: &Value) -> Value {
        let (chain, network) = self.network();
        let mut body = json!({"chain": chain, "address": self.address(), "network": network});
        for (name, value) in with.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    }

    /// A signature over bytes as the chain's wallets make it.
    pub(crate) fn sign(&self, bytes: &[u8]) -> String {
        match self {
            Self::N3(pair) => hex::encode(pair.sign(&SystemRandom::new(), bytes).unwrap()),
            Self::Evm(key) => {
                let (rs, recovery) = key.sign_prehash_recoverable(&evm::message_hash(bytes));
                format!("0x{}{:02x}", hex::encode(rs.to_bytes()), 27 + recovery.to_byte())
            }
        }
    }

    /// The answer to a text, of which the wallet signs just that.
    pub(crate) fn answers(&self, text: &str) -> Value {
        self.shows(text, &self.sign(text.as_bytes()))
    }

    pub(crate) fn shows(&self, text: &str, signature: &str) -> Value {
        let (chain, _) = self.network();
        let mut body =
            json!({"chain": chain, "address": self.address(), "message": text, "signature": signature});
        if let Some(key) = self.public_key() {
            body["publicKey"] = json!(key.to_string());
        }
        body
    }

    /// The answer to a payload of NEP-20, in the layout of the accepted text.
    pub(crate) fn authenticates(&self, challenge: &Challenge, at: i64) -> Value {
        let payload: Value = serde_json::from_str(&challenge.text).unwrap();
        let (magic, domain) = (payload["networks"][0].as_u64().unwrap(), payload["domain"].as_str().unwrap());
        let nonce: u64 = payload["nonce"].as_str().unwrap().parse().unwrap();
        let (magic, at) = (u32::try_from(magic).unwrap(), u32::try_from(at).unwrap());
        let key = self.public_key().unwrap();
        let mut bytes = [&nonce.to_le_bytes()[..], &at.to_le_bytes(), &magic.to_le_bytes()].concat();
        bytes.extend_from_slice(key.script_hash().as_le_bytes());
        for text in ["Authentication", domain] {
            bytes.push(u8::try_from(text.len()).unwrap());
            bytes.extend_from_slice(text.as_bytes());
        }
        let signature = STANDARD.encode(hex::decode(self.sign(&bytes)).unwrap());
        let answer = json!({"algorithm": "ECDSA-P256", "network": magic, "pubkey": key.to_string(),
            "address": self.address(), "nonce": nonce.to_string(), "timestamp": at, "signature": signature});
        json!({"chain": "n3", "address": self.address(), "message": answer.to_string(), "nonce": challenge.nonce})
    }
}

/// `010001f0 ‖ length ‖ text ‖ 0000`, as NeoLine signs it.
pub(crate) fn classic(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    let length = if length < 0xfd {
        vec![u8::try_from(length).unwrap()]
    } else {
        [&[0xfd][..], &length.to_le_bytes()].concat()
    };
    [&[0x01, 0x00, 0x01, 0xf0][..], &length, text.as_bytes(), &[0, 0]].concat()
}

pub(crate) struct Challenge {
    pub(crate) text: String,
    pub(crate) nonce: String,
}

pub(crate) async fn asked(app: &TestApp, wallet: &Wallet, with: Value) -> Response {
    app.post("/api/v1/auth/wallet/challenge").json(&wallet.asks(&with)).send().await
}

pub(crate) async fn challenge(app: &TestApp, wallet: &Wallet, with: Value) -> Challenge {
    let body = asked(app, wallet, with).await.expect(StatusCode::OK).json();
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    Challenge { text: text("challenge"), nonce: text("nonce") }
}

pub(crate) async fn login(app: &TestApp, proof: &Value) -> Response {
    app.post("/api/v1/auth/wallet/login").json(proof).send().await
}

pub(crate) async fn link(app: &TestApp, token: &str, proof: &Value) -> Response {
    app.post("/api/v1/auth/wallets").bearer(token).json(proof).send().await
}

/// A whole login.
pub(crate) async fn enter(app: &TestApp, wallet: &Wallet) -> Tokens {
    let challenge = challenge(app, wallet, json!({})).await;
    Tokens::of(&login(app, &wallet.answers(&challenge.text)).await.expect(StatusCode::OK))
}

pub(crate) fn seconds(app: &TestApp) -> i64 {
    app.context().clock().now().as_second()
}

pub(crate) fn sections(wallet: WalletConfig) -> Sections {
    Sections { jwt: config(Algorithm::EdDSA), wallet, ..Sections::default() }
}
