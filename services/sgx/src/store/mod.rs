//! All SQL of the schema `sgx`. Free functions over a connection; none begins or commits.

/// Verdicts on quotes.
pub(crate) mod attestations;
/// The chunks of streamed values.
pub(crate) mod content;
/// The current version of each item.
pub(crate) mod items;
/// The root keys and their slots.
pub(crate) mod roots;
/// Rotations, and the wrapped data keys that they move.
pub(crate) mod rotations;
/// Scans and their findings.
pub(crate) mod scans;
/// The tenants' sealing keys.
pub(crate) mod sealing_keys;
/// The key that signs statements.
pub(crate) mod statement_keys;
/// Whole rows, for what opens everything.
pub(crate) mod whole;

use nsl_core::db::sql::Checked;

/// Every statement, for the test that checks them on a migrated database.
pub const ALL: &[&[Checked]] = &[
    attestations::ALL,
    content::ALL,
    items::ALL,
    roots::ALL,
    rotations::ALL,
    scans::ALL,
    sealing_keys::ALL,
    statement_keys::ALL,
    whole::ALL,
];
