//! The events of sealed storage. They carry what a scan needs to reconcile rows with the log, and nothing secret.

use nsl_core::db::DomainEvent;
use serde::Serialize;
use uuid::Uuid;

/// A value was sealed: a new item or a new version.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ItemPut<'a> {
    pub service: &'a str,
    pub key: &'a str,
    pub item_id: Uuid,
    pub version: i64,
    pub fingerprint: &'a str,
    pub size: usize,
    pub policy: &'a str,
}

impl DomainEvent for ItemPut<'_> {
    const TYPE: &'static str = "sgx.item_put";
}

/// An item was deleted; it is purged after the retention.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ItemDeleted<'a> {
    pub service: &'a str,
    pub key: &'a str,
    pub item_id: Uuid,
    pub version: i64,
}

impl DomainEvent for ItemDeleted<'_> {
    const TYPE: &'static str = "sgx.item_deleted";
}

/// An item's values were sealed anew; they are what they were.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ItemResealed<'a> {
    pub service: &'a str,
    pub key: &'a str,
    pub item_id: Uuid,
    pub version: i64,
    pub fingerprint: &'a str,
    /// Whether the item is deleted.
    pub deleted: bool,
    /// The former versions among them.
    pub versions: Vec<ResealedVersion<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResealedVersion<'a> {
    pub version: i64,
    pub fingerprint: &'a str,
}

/// Nothing is left under a former key.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RotationCompleted<'a> {
    pub rotation_id: Uuid,
    pub kind: &'a str,
    pub from: &'a str,
    pub to: &'a str,
    /// Everything under the new key.
    pub rows: u64,
    pub merkle_root: &'a str,
    /// The signed note that says so.
    pub statement: &'a str,
}

impl DomainEvent for RotationCompleted<'_> {
    const TYPE: &'static str = "sgx.rotation_completed";
}

/// The stream of an item's incarnation; its versions are the row's revisions.
pub(crate) fn stream(item_id: Uuid) -> String {
    format!("sgx.item/{item_id}")
}
