//! The database: who logs in as what, and every way in which a statement gets there.
//!
//! One login per trust boundary, each with a pool of its own even in one process: `neo_api`, `neo_enclave`, `neo_jobs`.
//! A statement runs in one of three ways: alone ([`Db::read`], one round trip), in a [`UnitOfWork`] (load, decide,
//! write, event, audit, commit), or with others in a [`group`] commit.

/// Audit rows of what writes nothing else, such as reads, in a group commit of their own.
pub mod audit;
mod error;
/// Group commit: what queued while the last transaction committed shares the next.
pub mod group;
/// The health check of the database itself.
pub mod health;
/// First answers to requests that carry an Idempotency-Key, kept for replay.
pub mod idempotency;
/// Leases in PostgreSQL for what only one process may do.
pub mod lease;
/// The migration runner and what it checks.
pub mod migrate;
mod pool;
/// The rows of events and audit that every change writes, and the columns that a hot statement must fill.
pub mod record;
/// Dense positions for events and audit rows.
pub mod sequencer;
pub mod sql;
/// Tenants: the unit of isolation.
pub mod tenants;
mod tls;
mod uow;

pub use error::{DbError, chain};
pub use pool::{Db, Endpoint, Login, PoolStatus, Scoped, connect};
pub use record::{Audit, AuditResult, DomainEvent};
pub use tls::TlsError;
pub use uow::UnitOfWork;
