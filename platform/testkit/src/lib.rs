//! For tests alone: a real PostgreSQL, a fresh database for each test, and the real application over it.
//!
//! [`TestDb::new`] clones a migrated template on the one shared test server, which is started when it is not running
//! and outlives the run (`cargo run -p nsl-testkit --bin stop` ends it). A test that looks at the sequencer's horizon,
//! changes roles or hurts the server takes a [`Cluster::own`], since all databases of a cluster share those.
//!
//! No stand-ins for our own code belong here, and nothing that knows a service.

/// The application's router without a socket.
mod app;
/// Servers: the shared one and private ones.
mod cluster;
/// Databases: the migrated template and its clones.
mod database;
/// Waiting for what another task or process does.
mod wait;

pub use app::{Composition, Request, Response, TestApp};
pub use cluster::{Cluster, Durability};
pub use database::{TestDb, password, pools};
pub use wait::eventually;
