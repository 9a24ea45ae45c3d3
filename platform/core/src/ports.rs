//! Traits through which one service uses another. The owner implements, `nsl` wires, in process or across the
//! enclave's boundary.

use std::sync::Arc;

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::caller::{Caller, Principal};
use crate::db::{DbError, UnitOfWork};
use crate::error::ApiError;
use crate::ids::TenantId;

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

/// An event as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEvent {
    pub stream: String,
    /// Its number in the stream, from 1.
    pub version: i64,
    pub kind: String,
    pub data: serde_json::Value,
}

/// Reads a tenant's streams, for whoever reconciles its rows with them. Owner: eventsourcing.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// The last event of each stream whose name begins with a prefix, in the order of the names' bytes, after one of them.
    async fn heads(
        &self,
        tenant: TenantId,
        prefix: &str,
        after: &str,
        limit: i64,
    ) -> Result<Vec<LoggedEvent>, DbError>;

    /// The last event of each of these streams that has one.
    async fn heads_of(&self, tenant: TenantId, streams: &[String]) -> Result<Vec<LoggedEvent>, DbError>;

    /// One event.
    async fn event(
        &self,
        tenant: TenantId,
        stream: &str,
        version: i64,
    ) -> Result<Option<LoggedEvent>, DbError>;

    /// Some event whose data contain this, in a stream whose name begins with a prefix. Reads all of them: for what is
    /// suspicious only.
    async fn containing(
        &self,
        tenant: TenantId,
        prefix: &str,
        data: &serde_json::Value,
    ) -> Result<Option<LoggedEvent>, DbError>;
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
