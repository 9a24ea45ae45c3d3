//! The events of sealed storage. They carry what a scan needs to reconcile rows with the log, and nothing secret.

use nsl_core::db::DomainEvent;
use serde::Serialize;
use uuid::Uuid;

use crate::domain::policy::Rules;

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
    /// How many versions were kept, this one among them; absent where none was trimmed. A scan tells by it what must be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_versions: Option<i64>,
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

/// A deleted item is alive again, or the value of a former version was sealed as a new one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ItemRestored<'a> {
    #[serde(flatten)]
    pub put: ItemPut<'a>,
    /// The former version; absent where a deletion was taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
}

impl DomainEvent for ItemRestored<'_> {
    const TYPE: &'static str = "sgx.item_restored";
}

/// Keys and values of versions went for good.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ItemDestroyed<'a> {
    pub service: &'a str,
    pub key: &'a str,
    pub item_id: Uuid,
    /// The version that the item is at.
    pub version: i64,
    pub versions: &'a [i64],
    /// Whether it was all that was left.
    pub all: bool,
}

impl DomainEvent for ItemDestroyed<'_> {
    const TYPE: &'static str = "sgx.item_destroyed";
}

/// A policy was made or changed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PolicySet<'a> {
    pub name: &'a str,
    #[serde(rename = "type")]
    pub kind: &'a str,
    pub expiration_hours: Option<i32>,
    pub rules: &'a Rules,
    pub is_active: bool,
    pub version: i64,
}

impl DomainEvent for PolicySet<'_> {
    const TYPE: &'static str = "sgx.policy_set";
}

/// A policy was removed; values that were put under it keep its rules.
#[derive(Serialize)]
pub(crate) struct PolicyRemoved<'a> {
    pub name: &'a str,
}

impl DomainEvent for PolicyRemoved<'_> {
    const TYPE: &'static str = "sgx.policy_removed";
}

/// A quota was set; the empty service is the tenant as a whole.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QuotaSet<'a> {
    pub service: &'a str,
    pub max_bytes: Option<i64>,
    pub max_items: Option<i64>,
}

impl DomainEvent for QuotaSet<'_> {
    const TYPE: &'static str = "sgx.quota_set";
}

/// A quota was removed.
#[derive(Serialize)]
pub(crate) struct QuotaRemoved<'a> {
    pub service: &'a str,
}

impl DomainEvent for QuotaRemoved<'_> {
    const TYPE: &'static str = "sgx.quota_removed";
}

/// The stream of the quotas of a tenant.
pub(crate) const QUOTAS: &str = "sgx.quotas";

/// The stream of a policy.
pub(crate) fn policy_stream(name: &str) -> String {
    format!("sgx.policy/{name}")
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
