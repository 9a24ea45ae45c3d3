//! Sign-in with a wallet, and the wallets of one's account.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use jiff::Timestamp;
use nsl_core::ApiError;
use nsl_core::caller::Origin;
use nsl_core::config::Secret;
use nsl_core::http::{Allowed, Answer, Body, IdempotencyKey, Parts, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Own;
use super::sessions::{TokenResponse, answer};
use crate::actions::State;
use crate::domain::nonce::Purpose;
use crate::domain::wallet::{Chain, Form, Proof};
use crate::store::wallets::Wallet;

#[derive(Clone, Copy, Deserialize, Serialize, ToSchema)]
#[schema(as = auth::WalletChain)]
#[serde(rename_all = "lowercase")]
enum ChainName {
    /// Neo N3.
    N3,
    /// Ethereum and its kin, Neo X among them.
    Evm,
}

impl From<ChainName> for Chain {
    fn from(name: ChainName) -> Self {
        match name {
            ChainName::N3 => Self::N3,
            ChainName::Evm => Self::Evm,
        }
    }
}

#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[schema(as = auth::WalletChallengeForm)]
#[serde(rename_all = "lowercase")]
enum FormName {
    /// A text that people can read: EIP-4361, and its like on Neo N3.
    #[default]
    Text,
    /// The payload of NEP-20, for `authenticate` of a NEP-21 wallet.
    Nep20,
}

#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[schema(as = auth::WalletChallengePurpose)]
#[serde(rename_all = "lowercase")]
enum PurposeName {
    /// For `auth/wallet/login`.
    #[default]
    Login,
    /// For `auth/wallets`.
    Link,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = auth::WalletChallengeRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ChallengeRequest {
    chain: ChainName,
    /// The wallet's address.
    address: String,
    /// The magic of the Neo N3 network, or the chain id of the EVM.
    network: u64,
    /// What the wallet signs.
    #[serde(default)]
    #[schema(value_type = Option<FormName>)]
    form: FormName,
    /// What the signature will be for.
    #[serde(default)]
    #[schema(value_type = Option<PurposeName>)]
    purpose: PurposeName,
}

/// What a wallet is to sign.
#[derive(Serialize, ToSchema)]
#[schema(as = auth::WalletChallenge)]
#[serde(rename_all = "camelCase")]
pub(super) struct ChallengeView {
    /// The text to sign, byte for byte; of form `nep20` the payload, as JSON.
    challenge: String,
    /// Part of the challenge; good for one answer.
    nonce: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Makes a challenge for a wallet to sign. Nothing is stored: any number can be asked for.
#[utoipa::path(post, path = "/wallet/challenge", tag = "auth", operation_id = "authWalletChallenge",
    request_body = ChallengeRequest, responses(
    (status = 200, description = "The challenge", body = ChallengeView),
    (status = 400, description = "Malformed", body = Problem),
    (status = 422, description = "The address is none, or the network is not served", body = Problem)))]
pub(super) async fn challenge(
    Extension(state): Extension<Arc<State>>,
    Body(request): Body<ChallengeRequest>,
) -> Result<Json<ChallengeView>, ApiError> {
    let form = match request.form {
        FormName::Text => Form::Text,
        FormName::Nep20 => Form::Nep20,
    };
    let purpose = match request.purpose {
        PurposeName::Login => Purpose::LogIn,
        PurposeName::Link => Purpose::Link,
    };
    let account = (request.chain.into(), request.address.as_str(), request.network);
    let made = state.wallet_challenge(purpose, account, form)?;
    Ok(Json(ChallengeView { challenge: made.text, nonce: made.nonce, expires_at: made.expires }))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = auth::WalletLoginRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WalletLoginRequest {
    chain: ChainName,
    address: String,
    /// The text that was signed, byte for byte; of form `nep20` the wallet's whole answer, as JSON.
    message: String,
    /// In hex or base64; of form `nep20` it is in the message.
    #[serde(default)]
    signature: Option<String>,
    /// Neo N3 only, in hex; of form `nep20` it is in the message.
    #[serde(default)]
    public_key: Option<String>,
    /// What some Neo N3 wallets put before the text, where the wallet gives one.
    #[serde(default)]
    salt: Option<String>,
    /// The challenge's nonce; of form `nep20` only, in all others it is in the message.
    #[serde(default)]
    nonce: Option<String>,
    /// The code of the second factor, for accounts that have one.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    totp_code: Option<Secret>,
}

/// Starts a session for the holder of a wallet. One that no account has gets an account of its own, where the
/// configuration lets it.
#[utoipa::path(post, path = "/wallet/login", tag = "auth", operation_id = "authWalletLogin",
    extensions(("x-rate-limit" = json!("login"))), request_body = WalletLoginRequest, responses(
    (status = 200, description = "The session's tokens", body = TokenResponse),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "The challenge, the signature or the account cannot be accepted, or a code is missing \
        or wrong", body = Problem),
    (status = 422, description = "The account has no second factor", body = Problem)))]
pub(super) async fn login(
    Extension(state): Extension<Arc<State>>,
    Extension(origin): Extension<Arc<Origin>>,
    Body(request): Body<WalletLoginRequest>,
) -> Result<Response, ApiError> {
    let proof = Proof {
        chain: request.chain.into(),
        address: request.address,
        message: request.message,
        signature: request.signature,
        public_key: request.public_key,
        salt: request.salt,
        nonce: request.nonce,
    };
    Ok(answer(state.wallet_login(origin, &proof, request.totp_code.as_ref()).await?))
}

/// A wallet whose holder logs in as this user.
#[derive(Serialize, ToSchema)]
#[schema(as = auth::WalletView)]
#[serde(rename_all = "camelCase")]
pub(super) struct WalletView {
    id: Uuid,
    /// `n3` or `evm`.
    chain: String,
    address: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
}

impl From<Wallet> for WalletView {
    fn from(wallet: Wallet) -> Self {
        Self {
            id: wallet.id,
            chain: wallet.chain,
            address: wallet.address,
            created_at: wallet.created_at,
            last_used_at: wallet.last_used_at,
        }
    }
}

/// One's own wallets.
#[derive(Serialize, ToSchema)]
#[schema(as = auth::WalletList)]
pub(super) struct WalletList {
    items: Vec<WalletView>,
}

/// A challenge, and the wallet's answer to it.
#[derive(Deserialize, Serialize, ToSchema)]
#[schema(as = auth::WalletProof)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ProofRequest {
    chain: ChainName,
    address: String,
    /// The text that was signed, byte for byte; of form `nep20` the wallet's whole answer, as JSON.
    message: String,
    /// In hex or base64; of form `nep20` it is in the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
    /// Neo N3 only, in hex; of form `nep20` it is in the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    /// What some Neo N3 wallets put before the text, where the wallet gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    salt: Option<String>,
    /// The challenge's nonce; of form `nep20` only, in all others it is in the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
}

impl From<ProofRequest> for Proof {
    fn from(request: ProofRequest) -> Self {
        Self {
            chain: request.chain.into(),
            address: request.address,
            message: request.message,
            signature: request.signature,
            public_key: request.public_key,
            salt: request.salt,
            nonce: request.nonce,
        }
    }
}

/// Links a wallet to one's account; its holder can log in as this user from then on.
#[utoipa::path(post, path = "/wallets", tag = "auth", operation_id = "authLinkWallet",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body replays the first answer for 24 h")),
    request_body = ProofRequest, security(("bearer" = ["auth:self"])), responses(
    (status = 201, description = "The wallet", body = WalletView),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential, or the challenge or the signature cannot be accepted",
        body = Problem),
    (status = 403, description = "Permission auth:self is missing, or the credential is no session", body = Problem),
    (status = 409, description = "Another account has this wallet, or yours has it already", body = Problem)))]
pub(super) async fn link(
    caller: Allowed<Own>,
    key: IdempotencyKey,
    Extension(state): Extension<Arc<State>>,
    Body(request): Body<ProofRequest>,
) -> Result<Response, ApiError> {
    let once = key.bind("auth.wallets.link", &request)?;
    let wallet = match state.link_wallet(&caller, &request.into(), &once, WalletView::from).await? {
        Answer::Made(wallet) => wallet,
        Answer::Replayed(before) => return Ok(before),
    };
    let location = format!("/api/v1/auth/wallets/{}", wallet.id);
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(wallet)).into_response())
}

/// The wallets of one's account.
#[utoipa::path(get, path = "/wallets", tag = "auth", operation_id = "authListWallets",
    security(("bearer" = ["auth:self"])), responses(
    (status = 200, description = "All of them", body = WalletList),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:self is missing", body = Problem)))]
pub(super) async fn list(
    caller: Allowed<Own>,
    Extension(state): Extension<Arc<State>>,
) -> Result<Json<WalletList>, ApiError> {
    let items = state.wallets(&caller).await?.into_iter().map(WalletView::from).collect();
    Ok(Json(WalletList { items }))
}

/// Removes a wallet from one's account. The last way to log in stays.
#[utoipa::path(delete, path = "/wallets/{id}", tag = "auth", operation_id = "authUnlinkWallet",
    params(("id" = Uuid, Path, description = "The wallet's id")),
    security(("bearer" = ["auth:self"])), responses(
    (status = 204, description = "Removed"),
    (status = 400, description = "Malformed", body = Problem),
    (status = 401, description = "No valid credential", body = Problem),
    (status = 403, description = "Permission auth:self is missing, or the credential is no session", body = Problem),
    (status = 404, description = "The account has no such wallet", body = Problem),
    (status = 409, description = "It is the only way to log in", body = Problem)))]
pub(super) async fn unlink(
    caller: Allowed<Own>,
    Extension(state): Extension<Arc<State>>,
    Parts(id): Parts<Uuid>,
) -> Result<StatusCode, ApiError> {
    state.unlink_wallet(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
