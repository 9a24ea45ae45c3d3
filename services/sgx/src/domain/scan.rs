//! What a scan compares: a row, whether its value opens, and what the log says of the item. Pure.
//!
//! A change of a row and its event are one transaction, and the event's version is the row's revision. So a log that was
//! read after the row knows at least the row's revision; and if it knows more, a row that is read again has it too.

use nsl_core::ports::LoggedEvent;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

/// What is wrong with an item or a version of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = sgx::FindingKind)]
pub(crate) enum FindingKind {
    /// Its bytes, or what they are bound to, were changed.
    Damaged,
    /// What lies there belongs elsewhere: rows or values were swapped or copied.
    Misplaced,
    /// It is older than the log: a row of an old backup.
    RolledBack,
    /// It was deleted, destroyed or purged, and is there again.
    Undeleted,
    /// The log knows it, and it is not there.
    Vanished,
    /// It is there, and the log does not know it.
    Invented,
    /// It is not sealed, while encryption is on.
    Unsealed,
}

impl FindingKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Misplaced => "misplaced",
            Self::RolledBack => "rolled_back",
            Self::Undeleted => "undeleted",
            Self::Vanished => "vanished",
            Self::Invented => "invented",
            Self::Unsealed => "unsealed",
        }
    }
}

/// The last row, or the last stream, that a scan looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ScanAt {
    Items { service: String, key: String },
    Versions { item_id: Uuid, version: i64 },
    Streams { stream: String },
    End,
}

impl Default for ScanAt {
    fn default() -> Self {
        Self::Items { service: String::new(), key: String::new() }
    }
}

/// Whether a value opens under what its row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seal {
    Opens,
    /// There is nothing to open.
    Destroyed,
    Unsealed,
    /// `own`: the fingerprint is that of the bytes, so that the bytes may be another value's.
    Broken {
        reason: String,
        own: bool,
    },
}

/// What of a row the log knows too.
#[derive(Clone, Debug)]
pub(crate) struct Row<'a> {
    pub service: &'a str,
    pub key: &'a str,
    pub version: i64,
    pub revision: i64,
    pub deleted: bool,
    pub fingerprint: &'a str,
}

/// What an event leaves of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Alive,
    Deleted,
    Destroyed,
    Purged,
    /// As it was before the event.
    AsBefore,
}

/// The fields of an item's event.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    service: String,
    key: String,
    item_id: Uuid,
    version: i64,
    fingerprint: Option<String>,
    #[serde(default)]
    deleted: bool,
    #[serde(default)]
    all: bool,
    #[serde(default)]
    versions: Value,
    keep_versions: Option<i64>,
    below: Option<i64>,
    from: Option<i64>,
}

/// What the log says of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub service: String,
    pub key: String,
    pub item_id: Uuid,
    pub version: i64,
    pub revision: i64,
    pub fingerprint: Option<String>,
    pub life: Life,
}

impl Known {
    /// None for an event that is not of an item.
    pub(crate) fn of(event: &LoggedEvent) -> Option<Self> {
        let fields = Fields::deserialize(&event.data).ok()?;
        let life = match event.kind.as_str() {
            "sgx.item_resealed" if fields.deleted => Life::Deleted,
            "sgx.item_put" | "sgx.item_restored" | "sgx.item_resealed" => Life::Alive,
            "sgx.item_deleted" => Life::Deleted,
            "sgx.item_destroyed" => {
                let current = || {
                    fields
                        .versions
                        .as_array()
                        .is_some_and(|all| all.iter().any(|version| *version == fields.version))
                };
                if fields.all || current() { Life::Destroyed } else { Life::AsBefore }
            }
            "sgx.item_purged" => Life::Purged,
            _ => Life::AsBefore,
        };
        Some(Self {
            service: fields.service,
            key: fields.key,
            item_id: fields.item_id,
            version: fields.version,
            revision: event.version,
            fingerprint: fields.fingerprint,
            life,
        })
    }
}

/// What an event says of the versions below the one that it left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trim {
    /// The version that the item was at after it.
    pub version: i64,
    /// Of former versions, those below this one may have gone with it.
    pub below: i64,
}

impl Trim {
    pub(crate) fn of(event: &LoggedEvent) -> Option<Self> {
        let fields = Fields::deserialize(&event.data).ok()?;
        let is_put = match event.kind.as_str() {
            "sgx.item_put" => true,
            // Without a version it only took the mark of deletion away.
            "sgx.item_restored" => fields.from.is_some(),
            _ => false,
        };
        let below = match (is_put, fields.keep_versions) {
            (true, Some(keep)) => fields.version.saturating_sub(keep).saturating_add(1),
            // Of a program that did not say how many it keeps.
            (true, None) => fields.version,
            (false, _) => fields.below.unwrap_or(0),
        };
        Some(Self { version: fields.version, below })
    }
}

/// What is to be thought of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fine,
    /// The log knows more: either the row has changed since it was read, or it is this finding.
    Behind(FindingKind, String),
    Finding(FindingKind, String),
    /// The bytes do not open, and may be another value's.
    Foreign(String),
}

fn finding(kind: FindingKind, detail: impl Into<String>) -> Verdict {
    Verdict::Finding(kind, detail.into())
}

/// Judges a current row by the last event of its stream, which was read after it.
pub(crate) fn judge(row: &Row<'_>, seal: &Seal, known: Option<&Known>) -> Verdict {
    use FindingKind::{Damaged, Invented, Misplaced, RolledBack, Undeleted, Unsealed, Vanished};
    let Some(known) = known else { return finding(Invented, "no event knows this item") };
    if (known.service.as_str(), known.key.as_str()) != (row.service, row.key) {
        return finding(Misplaced, format!("the log has this item at {}/{}", known.service, known.key));
    }
    if row.revision < known.revision {
        let (is, log) = (row.revision, known.revision);
        return match known.life {
            Life::Purged => Verdict::Behind(Undeleted, "it was purged, and is there again".to_owned()),
            Life::Deleted | Life::Destroyed if !row.deleted => {
                Verdict::Behind(Undeleted, format!("it was deleted (revision {log}), and is at {is} again"))
            }
            _ => Verdict::Behind(RolledBack, format!("it is at revision {is}, and the log at {log}")),
        };
    }
    if row.revision > known.revision {
        let (is, log) = (row.revision, known.revision);
        return finding(Invented, format!("it is at revision {is}, and the log at {log}"));
    }
    match (known.life, row.deleted, seal) {
        (Life::Deleted | Life::Destroyed, false, _) => {
            return finding(Undeleted, "it was deleted, and no event brought it back");
        }
        (Life::Destroyed, true, Seal::Opens | Seal::Broken { .. }) => {
            return finding(Undeleted, "it was destroyed, and its bytes are there again");
        }
        (Life::Alive, true, _) => return finding(Vanished, "it is marked deleted, and no event says so"),
        _ => {}
    }
    if row.version != known.version {
        let kind = if row.version < known.version { RolledBack } else { Invented };
        return finding(kind, format!("it is at version {}, and the log at {}", row.version, known.version));
    }
    let expected = known.fingerprint.as_deref().is_none_or(|expected| expected == row.fingerprint);
    match seal {
        Seal::Unsealed => finding(Unsealed, "it is not sealed, while encryption is on"),
        Seal::Broken { reason, own: true } if !expected => Verdict::Foreign(reason.clone()),
        Seal::Broken { reason, .. } => finding(Damaged, reason.clone()),
        Seal::Destroyed if known.life == Life::Alive => {
            finding(Damaged, "its bytes are gone, and no event says so")
        }
        // It opens, so these are bytes of this very version, from before it was sealed anew.
        Seal::Opens if !expected => finding(RolledBack, "its bytes are not those that the log has last"),
        Seal::Opens | Seal::Destroyed => Verdict::Fine,
    }
}

/// Judges a former version: `known` is the last event of the item.
pub(crate) fn judge_version(seal: &Seal, known: Option<&Known>) -> Verdict {
    use FindingKind::{Damaged, Invented, Undeleted, Unsealed};
    let Some(known) = known else { return finding(Invented, "no event knows the item of this version") };
    if known.life == Life::Purged {
        return Verdict::Behind(Undeleted, "its item was purged".to_owned());
    }
    match seal {
        Seal::Unsealed => finding(Unsealed, "it is not sealed, while encryption is on"),
        Seal::Broken { reason, own: true } => Verdict::Foreign(reason.clone()),
        Seal::Broken { reason, .. } => finding(Damaged, reason.clone()),
        Seal::Opens | Seal::Destroyed => Verdict::Fine,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(kind: &str, version: i64, more: &Value) -> Known {
        let mut data = json!({"service": "demo", "key": "k", "itemId": Uuid::nil(), "version": 2});
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let event = LoggedEvent { stream: "s".to_owned(), version, kind: kind.to_owned(), data };
        Known::of(&event).unwrap()
    }

    fn row() -> Row<'static> {
        Row { service: "demo", key: "k", version: 2, revision: 3, deleted: false, fingerprint: "f" }
    }

    fn put(version: i64) -> Known {
        event("sgx.item_put", version, &json!({"fingerprint": "f"}))
    }

    fn broken(own: bool) -> Seal {
        Seal::Broken { reason: "no".to_owned(), own }
    }

    #[track_caller]
    fn found(verdict: &Verdict, kind: FindingKind) {
        match verdict {
            Verdict::Finding(found, _) => assert_eq!(*found, kind, "{verdict:?}"),
            _ => panic!("{verdict:?}"),
        }
    }

    #[test]
    fn a_row_is_fine_that_is_what_the_log_says() {
        assert_eq!(judge(&row(), &Seal::Opens, Some(&put(3))), Verdict::Fine);
        let deleted = Row { deleted: true, ..row() };
        assert_eq!(
            judge(&deleted, &Seal::Opens, Some(&event("sgx.item_deleted", 3, &json!({})))),
            Verdict::Fine
        );
        let destroyed = event("sgx.item_destroyed", 3, &json!({"versions": [1, 2]}));
        assert_eq!(judge(&deleted, &Seal::Destroyed, Some(&destroyed)), Verdict::Fine);
        let former = event("sgx.item_destroyed", 3, &json!({"versions": [1]}));
        assert_eq!(judge(&row(), &Seal::Opens, Some(&former)), Verdict::Fine);
    }

    #[test]
    fn each_kind_of_finding() {
        let fine = Seal::Opens;
        found(&judge(&row(), &fine, None), FindingKind::Invented);
        found(&judge(&row(), &fine, Some(&put(2))), FindingKind::Invented);
        let moved = Row { key: "other", ..row() };
        found(&judge(&moved, &fine, Some(&put(3))), FindingKind::Misplaced);
        found(&judge(&row(), &broken(false), Some(&put(3))), FindingKind::Damaged);
        found(&judge(&row(), &broken(true), Some(&put(3))), FindingKind::Damaged);
        found(&judge(&row(), &Seal::Destroyed, Some(&put(3))), FindingKind::Damaged);
        found(&judge(&row(), &Seal::Unsealed, Some(&put(3))), FindingKind::Unsealed);
        let foreign = Row { fingerprint: "g", ..row() };
        assert_eq!(judge(&foreign, &broken(true), Some(&put(3))), Verdict::Foreign("no".to_owned()));
        found(&judge(&foreign, &fine, Some(&put(3))), FindingKind::RolledBack);
        found(&judge(&row(), &fine, Some(&event("sgx.item_deleted", 3, &json!({})))), FindingKind::Undeleted);
        let hidden = Row { deleted: true, ..row() };
        found(&judge(&hidden, &fine, Some(&put(3))), FindingKind::Vanished);
        let destroyed = event("sgx.item_destroyed", 3, &json!({"all": true}));
        found(&judge(&hidden, &fine, Some(&destroyed)), FindingKind::Undeleted);
    }

    #[test]
    fn versions_go_below_what_an_event_says() {
        let trim = |kind: &str, more: &Value| {
            let mut data = json!({"service": "demo", "key": "k", "itemId": Uuid::nil(), "version": 20});
            data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let event = LoggedEvent { stream: "s".to_owned(), version: 30, kind: kind.to_owned(), data };
            Trim::of(&event).map(|trim| (trim.version, trim.below))
        };
        assert_eq!(trim("sgx.item_put", &json!({"keepVersions": 10})), Some((20, 11)));
        assert_eq!(trim("sgx.item_put", &json!({})), Some((20, 20)), "who knows");
        assert_eq!(trim("sgx.item_restored", &json!({"from": 3, "keepVersions": 1})), Some((20, 20)));
        assert_eq!(trim("sgx.item_restored", &json!({})), Some((20, 0)));
        assert_eq!(trim("sgx.versions_purged", &json!({"below": 14})), Some((20, 14)));
        assert_eq!(trim("sgx.item_destroyed", &json!({"all": true})), Some((20, 0)), "a row is left");
        assert_eq!(trim("sgx.item_put", &json!({"version": "x"})), None);
    }

    #[test]
    fn a_row_behind_the_log_is_looked_at_again() {
        let behind = |known: &Known, row: &Row<'_>| match judge(row, &Seal::Opens, Some(known)) {
            Verdict::Behind(kind, _) => kind,
            other => panic!("{other:?}"),
        };
        assert_eq!(behind(&put(4), &row()), FindingKind::RolledBack);
        assert_eq!(behind(&event("sgx.item_deleted", 4, &json!({})), &row()), FindingKind::Undeleted);
        assert_eq!(behind(&event("sgx.item_purged", 4, &json!({})), &row()), FindingKind::Undeleted);
        let deleted = Row { deleted: true, ..row() };
        assert_eq!(behind(&event("sgx.item_deleted", 4, &json!({})), &deleted), FindingKind::RolledBack);
    }
}
