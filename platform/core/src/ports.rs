//! Traits through which one service uses another. The owner implements, `nsl` wires, in process or across the
//! enclave's boundary.

use std::sync::Arc;

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::caller::{Caller, Principal};
use crate::db::{DbError, UnitOfWork};
use crate::error::ApiError;

/// Turns a bearer credential into a principal. Owner: auth.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// 401 with a stable code for anything that is not a valid credential.
    async fn authenticate(&self, bearer: &str) -> Result<Principal, ApiError>;
}

/// How bad a security event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Critical,
    High,
    Medium,
    Low,
    Info,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "Critical",
            Self::High => "High",
            Self::Medium => "Medium",
            Self::Low => "Low",
            Self::Info => "Info",
        }
    }
}

/// Something that a security officer must see.
#[derive(Clone, Debug)]
pub struct SecurityEvent {
    /// `<service>.<what>`, such as `sgx.integrity_violation`.
    pub kind: &'static str,
    pub severity: Severity,
    pub description: String,
    pub data: serde_json::Value,
}

/// Records security events in the transaction of what caused them. Owner: monitoring.
#[async_trait]
pub trait SecurityEvents: Send + Sync {
    async fn record(
        &self,
        work: &UnitOfWork<'_>,
        caller: &Caller,
        event: &SecurityEvent,
    ) -> Result<(), DbError>;
}

/// A secret under the root key of the enclave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSecret {
    pub bytes: Vec<u8>,
    /// Which root key it is under; public.
    pub root_key_id: Vec<u8>,
}

/// Wraps small secrets of other services under the enclave's root key. Owner: sgx. The enclave may be another process,
/// so nobody calls this inside a transaction.
#[async_trait]
pub trait SecretSealer: Send + Sync {
    /// `purpose` and `name` are bound: a secret moved to another name does not open.
    async fn seal(&self, purpose: &'static str, name: &str, secret: &[u8]) -> Result<SealedSecret, ApiError>;
    async fn open(
        &self,
        purpose: &'static str,
        name: &str,
        sealed: &SealedSecret,
    ) -> Result<Zeroizing<Vec<u8>>, ApiError>;
}

/// The code of an answer that only the enclave's process could give, while it is away. Nothing was done then.
pub const ENCLAVE_AWAY: &str = "core.enclave_unavailable";

/// Signs access tokens with a key that never leaves the enclave's process. Owner: auth.
#[async_trait]
pub trait TokenSigner: Send + Sync {
    /// The signed form of an access token's claims. Refuses claims that this installation would not make.
    async fn sign(&self, claims: &serde_json::Value) -> Result<String, ApiError>;
}

/// The ports that this process has.
#[derive(Clone)]
pub struct Ports {
    pub authenticator: Arc<dyn Authenticator>,
}
