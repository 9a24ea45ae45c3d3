//! A local PostgreSQL server (15 to 18) for `nsl up` and for tests: found, initialised, started, watched, stopped.
//!
//! It works with the server's own binaries and speaks no SQL; roles, databases and schema are the caller's.
//! All functions block: an async caller wraps them in `spawn_blocking`. It reads `/proc`, so it is for Linux.
//!
//! What lies below one data directory `DIR`:
//!
//! | path | owner | what |
//! | --- | --- | --- |
//! | `pg/` | database user, 0700 | PGDATA; the server's logs in `pg/log/`, one file per weekday |
//! | `pg-tls/` | nsl; `server.key` the database user, 0600 | `ca.crt` for clients, the server's certificate and key |
//! | `run/` | database user | the Unix socket, unless its path would be too long (then `/tmp/nsl-HASH/`) |
//! | `nsl.lock` | nsl | held by the one running `nsl up` |
//! | `pg.lock`, `pg-start.log` | nsl | held while a server is being started; what it said before its own log opened |
//!
//! PGDATA belongs to the less privileged user, so as root nothing in it is written but by that user (a link laid
//! there must not lead root elsewhere). The caller's secrets lie beside it, never in it.

/// The operating system's user that runs the server.
mod account;
/// Where the server's binaries are, and of what version.
mod binaries;
/// The certificate of the server, made at first start.
mod certificate;
/// PGDATA: initialised whole or not at all.
mod cluster;
/// The directory that holds everything, and who may enter it.
mod data_dir;
/// What can go wrong, and what to do then.
mod error;
/// Kernel locks on files.
mod lock;
/// The server's log since a mark, and what it means.
mod log;
/// `postmaster.pid`, and whether its process is the server of this PGDATA.
mod postmaster;
/// Start, reattach, restart, stop.
mod server;
/// The server's configuration files.
mod settings;
/// Waiting with a deadline.
mod wait;

pub use account::Account;
pub use binaries::{Binaries, Version};
pub use data_dir::DataDir;
pub use error::Error;
pub use lock::InstanceLock;
pub use server::{Mode, Server};
pub use settings::Settings;
