//! Typed HTTP client of the Neo Service Layer: what the command line, the end-to-end tests and users call.
//!
//! ```no_run
//! # async fn example(password: &str) -> Result<(), nsl_client::Error> {
//! use nsl_client::{Client, PutOptions};
//!
//! let client = Client::new("http://localhost:8080")?;
//! let tokens = client.login("admin", password, None).await?;
//! let client = client.with_token(tokens.access_token.expose())?;
//! client.sgx().put("billing", "stripe/api-key", b"sk_live_1", &PutOptions::default()).await?;
//! let item = client.sgx().get("billing", "stripe/api-key").await?;
//! assert_eq!(item.bytes.as_slice(), b"sk_live_1");
//! # Ok(())
//! # }
//! ```
//!
//! It sends what it is told, once: it follows no redirects, retries nothing, stores no credentials. A caller that
//! wants to try again finds in [`Error`] whether and when that makes sense.

/// Logging in and out, who one is, accounts.
mod auth;
/// The connection: address, credential, requests and answers.
mod client;
/// What can go wrong, and what to do then.
mod error;
/// Whether the service is well.
mod health;
/// Lists that come in pages.
mod page;
/// Names and keys as parts of a path.
mod path;
/// A text that is wiped when dropped.
mod secret;
/// Sealed storage.
mod sgx;

pub use auth::{
    ApiKey, Auth, Challenge, ChallengeRequest, FirstAdministrator, Jwk, Me, NewApiKey, NewUser, OwnerProof,
    Role, SessionInfo, SessionsOf, Tenant, Tokens, TotpEnrolment, TotpStatus, User, Wallet, WalletProof,
};
pub use client::Client;
pub use error::{Error, FieldError, Problem};
pub use health::{Check, Health, Status};
pub use page::Page;
pub use secret::Secret;
pub use sgx::{
    Attestation, AttestationPolicy, BatchItem, Destroyed, Download, Finding, GetOptions, Item, ItemHead,
    ItemInfo, Items, ListFilter, NewRotation, OwnQuote, Policy, PolicyRules, Put, PutOptions, Quota, Reason,
    Record, Refusal, Rotation, Scan, SealingKey, SealingKeys, ServiceUsage, Sgx, Slot, Statistics,
    VerifyQuote, VersionInfo,
};
