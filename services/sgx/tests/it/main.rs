//! Sealed storage through the real router on a real PostgreSQL. The unit tests of each module stand in its file.

#![expect(clippy::unwrap_used, reason = "what these functions unwrap is a failure of their test")]

/// Who may call: no credential, no permission.
mod access;
/// Somebody changes the tables behind the service's back.
mod attack;
/// Quotes of others, and the service's own.
mod attestation;
/// Each operation's audit row, and events beside items.
mod audit;
/// Many items in one request; versions.
mod batch;
/// Conditions on the version, and writers that meet.
mod conditions;
/// The database goes away and comes back; the health check.
mod database;
/// A dump in somebody's hands.
mod dump;
/// Values stored as they are.
mod encryption_off;
/// A process that is told that it runs in an enclave, and does not.
mod hardware;
/// Requests that are refused, and leave nothing.
mod input;
/// Putting, getting, looking at and deleting one item.
mod items;
/// The tenants' sealing keys.
mod keys;
/// Listing.
mod list;
/// Sealing policies, and reads under their rules.
mod policies;
/// What was deleted or has expired is removed in the end.
mod purge;
/// Quotas, and statistics that are never counted.
mod quotas;
/// Bad input leaves its audit row.
mod refusals;
/// The root keys and their slots at the start.
mod roots;
/// Rotation of a tenant's sealing key.
mod rotation;
/// Rotation of the root key.
mod rotation_of_root;
/// Scans, and what they find.
mod scan;
/// Scans of streamed values.
mod scan_of_chunks;
/// Scans of former versions.
mod scan_of_versions;
/// Slots of the root key: listed, added, tested, retired.
mod slots;
/// The statements of the store.
mod statements;
/// Values in chunks.
mod stream;
/// Two tenants never meet.
mod tenants;
/// Copying and renaming.
mod transfer;
/// Versions: reading, listing, restoring and destroying them.
mod versions;
/// The service on a database of its own.
mod world;

use std::time::Duration;

/// For what another task or process does.
const LIMIT: Duration = Duration::from_secs(20);
