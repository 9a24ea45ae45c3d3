//! All SQL of the schema `sgx`. Free functions over a connection; none begins or commits.

/// Verdicts on quotes.
pub(crate) mod attestations;
/// The current version of each item.
pub(crate) mod items;
/// The root keys and their slots.
pub(crate) mod roots;
/// The tenants' sealing keys.
pub(crate) mod sealing_keys;

use nsl_core::db::sql::Checked;

/// Every statement, for the test that checks them on a migrated database.
pub const ALL: &[&[Checked]] = &[attestations::ALL, items::ALL, roots::ALL, sealing_keys::ALL];
