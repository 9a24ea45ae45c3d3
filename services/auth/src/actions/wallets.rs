//! Sign-in with a wallet, and the wallets of one's account.
//!
//! No password is compared, so nobody can guess and nothing is locked: whoever shows a signature over a fresh challenge
//! holds the key. (A code of the second factor can be guessed, and is counted apart from what is guessed with a password.)
//! The challenge is spent before the session starts; where the latter fails, the wallet signs again.

use std::sync::Arc;

use axum::http::StatusCode;
use nsl_core::Caller;
use nsl_core::caller::{Origin, Permissions, Principal};
use nsl_core::config::Secret;
use nsl_core::context::Base;
use nsl_core::db::sql::Conn;
use nsl_core::db::{Audit, AuditResult, DbError, Login};
use nsl_core::http::{Answer, Once};
use nsl_core::ids::{TenantId, UserId};
use serde::Serialize;
use uuid::Uuid;

use super::login::Entrance;
use super::mfa::own_session;
use super::recovery::stranger;
use super::tokens::Tokens;
use super::{SERVICE, State};
use crate::config::{Sections, WalletConfig};
use crate::domain::lockout::Door;
use crate::domain::login::{Account, Denial};
use crate::domain::nonce::{NonceKey, Purpose};
use crate::domain::sign_in::SignIn;
use crate::domain::wallet::{Chain, Challenge, Form, Proof, Proven, Refusal};
use crate::error::{Error, StartError};
use crate::events::{UserCreated, WalletLinked, WalletUnlinked, user_stream};
use crate::store::wallets::{self, Owner, Wallet};
use crate::store::{attempts, factors, roles, users};

/// What wallet sign-in needs beside the database.
pub(super) struct Wallets {
    sign_in: SignIn,
    config: WalletConfig,
}

impl Wallets {
    pub(super) async fn start(base: &Base, sections: &Sections, secret: &[u8]) -> Result<Self, StartError> {
        let config = sections.wallet.clone();
        config.validate()?;
        let sign_in = SignIn {
            site: config.site()?,
            audience: sections.jwt.audience.clone(),
            n3: config.networks.n3.clone(),
            evm: config.networks.evm.clone(),
            key: NonceKey::of_secret(secret),
        };
        let wallets = Self { sign_in, config };
        let read = base.db.read(Login::Api, TenantId::DEFAULT);
        if wallets.config.auto_register && wallets.role(&read).await?.is_none() {
            return Err(StartError::WalletRole { role: wallets.config.default_role });
        }
        Ok(wallets)
    }

    /// The role of an account that a wallet makes.
    async fn role(&self, conn: &impl Conn) -> Result<Option<(Uuid, String)>, DbError> {
        let names = [self.config.default_role.clone()];
        let found = roles::by_names(conn, TenantId::DEFAULT, &names).await?;
        Ok(found.into_iter().next().map(|role| (role.id, role.name)))
    }
}

impl State {
    /// Something for a wallet to sign.
    pub(crate) fn wallet_challenge(
        &self,
        purpose: Purpose,
        account: (Chain, &str, u64),
        form: Form,
    ) -> crate::Result<Challenge> {
        let now = self.base.clock.now();
        self.wallets.sign_in.challenge(purpose, account, form, now).map_err(Error::Invalid)
    }

    /// Starts a session for the holder of a wallet. An account with a second factor needs its code here too: the key of
    /// a wallet is one factor.
    pub(crate) async fn wallet_login(
        &self,
        origin: Arc<Origin>,
        proof: &Proof,
        totp_code: Option<&Secret>,
    ) -> crate::Result<Tokens> {
        let now = self.base.clock.now();
        let proven = match self.wallets.sign_in.verify(Purpose::LogIn, proof, now) {
            Ok(proven) => proven,
            Err(refusal) => return Err(self.deny_wallet(origin, &proof.address, refusal).await?),
        };
        let (chain, address) = (proven.chain.as_str(), proven.address.as_str());
        let owner = wallets::owner(&self.base.db.global(Login::Api), chain, address).await?;
        let (user, tenant) = match &owner {
            Some(owner) => match may_enter(owner) {
                Ok(tenant) => (owner.user_id, tenant),
                Err(refusal) => return Err(self.deny_wallet(origin, address, refusal).await?),
            },
            None if !self.wallets.config.auto_register => {
                return Err(self.deny_wallet(origin, address, Refusal::Unknown).await?);
            }
            None => (UserId::generate(), TenantId::DEFAULT),
        };
        let addresses = origin.address_block();
        // Held until the outcome is recorded: codes can be guessed.
        let _turn = self.guesses.turn(address, &addresses).await?;
        let standing = self.standing(user, Door::Wallet, &addresses).await?;
        let totp = factors::totp(&self.base.db.global(Login::Api), user).await?;
        let totp = totp.filter(|totp| totp.confirmed_at.is_some()).map(factors::Totp::sealed);
        let denial = match self.second_factor(user, totp.as_ref(), totp_code).await? {
            // Whether the code is right is not told: it could be guessed at while the account is locked.
            Ok(Some(_)) | Err(Denial::WrongCode) if standing.is_locked(now) => Denial::Locked,
            Err(denial) => denial,
            Ok(code) => {
                if let Err(refusal) =
                    self.spend_challenge(&origin, &proven, owner.as_ref(), user, tenant).await?
                {
                    return Err(self.deny_wallet(origin, address, refusal).await?);
                }
                let entrance = Entrance {
                    user,
                    tenant,
                    attempted: address,
                    standing,
                    revision: None,
                    code,
                    renewed: None,
                };
                match self.enter_session(Arc::clone(&origin), entrance).await? {
                    Ok(tokens) => return Ok(tokens),
                    Err(denial) => denial,
                }
            }
        };
        let account = owner.map(|owner| {
            let Owner { user_id: id, username, status, tenants } = owner;
            (username, Account { id, status, locked_until: None, standing, tenants })
        });
        self.deny(origin, address, account, standing, denial).await?;
        Err(match denial {
            Denial::Locked | Denial::Overtaken => Error::WalletRefused(Refusal::Closed),
            denial => denial.into(),
        })
    }

    /// Spends the challenge, and makes the account where the wallet has none.
    async fn spend_challenge(
        &self,
        origin: &Arc<Origin>,
        proven: &Proven,
        owner: Option<&Owner>,
        user: UserId,
        tenant: TenantId,
    ) -> crate::Result<Result<(), Refusal>> {
        let (chain, address) = (proven.chain.as_str(), proven.address.as_str());
        let now = self.base.clock.now();
        let name = match owner {
            Some(owner) => owner.username.clone(),
            None => self.free_name(address, user).await?,
        };
        let caller = Caller::new(
            Principal {
                tenant,
                user: Some(user),
                session: None,
                name: name.clone(),
                permissions: Permissions::default(),
                roles: Vec::new(),
            },
            Arc::clone(origin),
        );
        let mut work = self.base.db.begin(Login::Api, &caller).await?;
        if wallets::spend(&work, &proven.nonce.hash, proven.nonce.expires).await? == 0 {
            work.rollback().await?;
            return Ok(Err(Refusal::NonceUsed));
        }
        if owner.is_none() {
            let (role, role_name) = self
                .wallets
                .role(&work)
                .await?
                .ok_or_else(|| Error::internal("Wallet:DefaultRole is gone"))?;
            let made = async {
                wallets::register(&work, tenant, user, &name, role, now).await?;
                wallets::add(&work, Uuid::now_v7(), chain, address, user, now).await
            };
            let wallet = match made.await {
                Ok(wallet) => wallet.ok_or(DbError::NoRow("wallet"))?,
                Err(error) => {
                    work.rollback().await?;
                    return if is_taken(&error) { Ok(Err(Refusal::Taken)) } else { Err(error.into()) };
                }
            };
            let stream = user_stream(user);
            work.event(stream.clone(), &UserCreated { user_id: user, roles: &[role_name] })?;
            work.event(stream, &WalletLinked { wallet_id: wallet.id, user_id: user, chain })?;
            work.audit(Audit::new(
                SERVICE,
                "REGISTER_WALLET",
                "user",
                user.to_string(),
                AuditResult::Success,
            ));
        }
        wallets::touch(&work, chain, address, now).await?;
        work.commit().await?;
        Ok(Ok(()))
    }

    /// The name of an account that a wallet makes: its address. Where somebody took that for a name, which must not keep
    /// the wallet out, more follows.
    async fn free_name(&self, address: &str, user: UserId) -> crate::Result<String> {
        let there = users::by_username(&self.base.db.global(Login::Api), address).await?;
        Ok(if there.is_some() { format!("{address}-{user}") } else { address.to_owned() })
    }

    /// Records a sign-in that failed, and answers what to tell. Nobody is known to have tried: the address is only
    /// claimed.
    async fn deny_wallet(
        &self,
        origin: Arc<Origin>,
        claimed: &str,
        refusal: Refusal,
    ) -> crate::Result<Error> {
        let name = claimed.chars().filter(char::is_ascii_alphanumeric).take(42).collect::<String>();
        let caller = stranger(origin);
        let (ip, agent) = (caller.origin.ip_address.as_deref(), caller.origin.user_agent.as_deref());
        let mut work = self.base.db.begin(Login::Api, &caller).await?;
        let (id, reason, now) = (Uuid::now_v7(), refusal.reason(), self.base.clock.now());
        attempts::add_denied(&work, id, &name, None, false, ip, agent, reason, now).await?;
        work.audit(Audit::new(SERVICE, "LOGIN", "wallet", name, AuditResult::Denied).details(reason));
        work.commit().await?;
        Ok(Error::WalletRefused(refusal))
    }

    /// Links a wallet to the caller's account.
    pub(crate) async fn link_wallet<V: Serialize>(
        &self,
        caller: &Caller,
        proof: &Proof,
        once: &Once,
        view: impl FnOnce(Wallet) -> V,
    ) -> crate::Result<Answer<V>> {
        let (user, _) = own_session(caller)?;
        let now = self.base.clock.now();
        let mut work = self.base.db.begin(Login::Api, caller).await?;
        if let Some(before) = once.replay(&work, caller).await.map_err(Error::Idempotency)? {
            work.rollback().await?;
            return Ok(Answer::Replayed(before));
        }
        let proven = match self.wallets.sign_in.verify(Purpose::Link, proof, now) {
            Ok(proven) => proven,
            Err(refusal) => {
                work.rollback().await?;
                return Err(Error::WalletRefused(refusal));
            }
        };
        if wallets::spend(&work, &proven.nonce.hash, proven.nonce.expires).await? == 0 {
            work.rollback().await?;
            return Err(Error::WalletRefused(Refusal::NonceUsed));
        }
        let (chain, address) = (proven.chain.as_str(), proven.address.as_str());
        let wallet = match wallets::add(&work, Uuid::now_v7(), chain, address, user, now).await {
            Ok(wallet) => wallet.ok_or(DbError::NoRow("wallet"))?,
            Err(error) => {
                work.rollback().await?;
                return Err(if is_taken(&error) { Error::WalletTaken } else { error.into() });
            }
        };
        let wallet_id = wallet.id;
        work.event(user_stream(user), &WalletLinked { wallet_id, user_id: user, chain })?;
        work.audit(Audit::new(SERVICE, "LINK_WALLET", "wallet", wallet_id.to_string(), AuditResult::Success));
        let view = view(wallet);
        once.keep(&work, caller, StatusCode::CREATED, &view).await.map_err(Error::Idempotency)?;
        work.commit().await?;
        Ok(Answer::Made(view))
    }

    /// The wallets of the caller's account.
    pub(crate) async fn wallets(&self, caller: &Caller) -> crate::Result<Vec<Wallet>> {
        let user = caller.principal.user.ok_or(Error::UserNotFound)?;
        Ok(wallets::of_user(&self.base.db.global(Login::Api), user).await?)
    }

    /// Removes a wallet from the caller's account, unless nothing else lets them in.
    pub(crate) async fn unlink_wallet(&self, caller: &Caller, wallet: Uuid) -> crate::Result<()> {
        let (user, _) = own_session(caller)?;
        let mut work = self.base.db.begin(Login::Api, caller).await?;
        wallets::lock(&work, user).await?;
        let Some(removed) = wallets::remove(&work, user, wallet).await? else {
            work.rollback().await?;
            return Err(Error::WalletNotFound);
        };
        if !wallets::other_way(&work, user).await?.is_some_and(|other| other.found) {
            work.rollback().await?;
            return Err(Error::WalletLast);
        }
        let (wallet_id, chain) = (removed.id, removed.chain.as_str());
        work.event(user_stream(user), &WalletUnlinked { wallet_id, user_id: user, chain })?;
        work.audit(Audit::new(
            SERVICE,
            "UNLINK_WALLET",
            "wallet",
            wallet_id.to_string(),
            AuditResult::Success,
        ));
        work.commit().await?;
        Ok(())
    }
}

/// The tenant that the owner of a wallet enters. A lock that wrong passwords made does not count here: whoever has the
/// key has not guessed.
fn may_enter(owner: &Owner) -> Result<TenantId, Refusal> {
    if owner.status != "active" {
        return Err(Refusal::Closed);
    }
    owner.tenants.first().copied().ok_or(Refusal::Closed)
}

/// Another account has the wallet, or took the name between our look and our write.
fn is_taken(error: &DbError) -> bool {
    matches!(error.constraint(), Some("wallets_chain_address_key" | "users_username_key"))
}
