//! All SQL of the schema `sgx`. Free functions over a connection; none begins or commits.

/// The chunks of streamed values.
pub(crate) mod content;
/// The current version of each item.
pub(crate) mod items;
/// The tenants' sealing keys.
pub(crate) mod sealing_keys;

use nsl_core::db::sql::Checked;

/// Every statement, for the test that checks them on a migrated database.
pub const ALL: &[&[Checked]] = &[content::ALL, items::ALL, sealing_keys::ALL];
