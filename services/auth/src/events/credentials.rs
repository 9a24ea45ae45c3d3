//! Events of passwords, second factors, addresses and API keys.

use jiff::Timestamp;
use nsl_core::db::DomainEvent;
use nsl_core::ids::UserId;
use serde::Serialize;
use uuid::Uuid;

/// A user has another password.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PasswordChanged {
    pub(crate) user_id: UserId,
    /// `change` with the old one, `reset` by mail.
    pub(crate) by: &'static str,
}

impl DomainEvent for PasswordChanged {
    const TYPE: &'static str = "auth.password_changed";
}

/// Mail to the address of a user reaches them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EmailVerified {
    pub(crate) user_id: UserId,
}

impl DomainEvent for EmailVerified {
    const TYPE: &'static str = "auth.email_verified";
}

/// A user has a second factor.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TotpEnabled {
    pub(crate) user_id: UserId,
}

impl DomainEvent for TotpEnabled {
    const TYPE: &'static str = "auth.totp_enabled";
}

/// A user has none any more.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TotpDisabled {
    pub(crate) user_id: UserId,
}

impl DomainEvent for TotpDisabled {
    const TYPE: &'static str = "auth.totp_disabled";
}

/// A user has new backup codes; earlier ones are void.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BackupCodesMade {
    pub(crate) user_id: UserId,
}

impl DomainEvent for BackupCodesMade {
    const TYPE: &'static str = "auth.backup_codes_made";
}

/// An account was locked against guessing.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LockedOut {
    pub(crate) user_id: UserId,
    /// Whether from everywhere that is new to the account, rather than from one block of addresses.
    pub(crate) everywhere: bool,
    pub(crate) until: Timestamp,
}

impl DomainEvent for LockedOut {
    const TYPE: &'static str = "auth.locked_out";
}

/// An API key was made.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApiKeyCreated<'a> {
    pub(crate) key_id: Uuid,
    pub(crate) user_id: UserId,
    pub(crate) permissions: &'a [String],
}

impl DomainEvent for ApiKeyCreated<'_> {
    const TYPE: &'static str = "auth.api_key_created";
}

/// An API key has another text; the old one is good no longer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApiKeyRotated {
    pub(crate) key_id: Uuid,
    pub(crate) user_id: UserId,
}

impl DomainEvent for ApiKeyRotated {
    const TYPE: &'static str = "auth.api_key_rotated";
}

/// An API key is good no longer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApiKeyRevoked {
    pub(crate) key_id: Uuid,
    pub(crate) user_id: UserId,
}

impl DomainEvent for ApiKeyRevoked {
    const TYPE: &'static str = "auth.api_key_revoked";
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json, to_value};

    use super::*;

    fn frozen<E: DomainEvent>(event: &E) -> (&'static str, i32, Value) {
        (E::TYPE, E::TYPE_VERSION, to_value(event).unwrap())
    }

    #[test]
    fn names_and_payloads_are_frozen() {
        let (user_id, key_id) = (UserId(Uuid::from_u128(1)), Uuid::from_u128(2));
        let (user, key) = ("00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002");
        let (of_user, of_key) = (json!({"userId": user}), json!({"userId": user, "keyId": key}));
        let until = Timestamp::UNIX_EPOCH;
        let permissions = ["sgx:read".to_owned()];
        for (event, expected) in [
            (
                frozen(&PasswordChanged { user_id, by: "reset" }),
                ("auth.password_changed", 1, json!({"userId": user, "by": "reset"})),
            ),
            (frozen(&EmailVerified { user_id }), ("auth.email_verified", 1, of_user.clone())),
            (frozen(&TotpEnabled { user_id }), ("auth.totp_enabled", 1, of_user.clone())),
            (frozen(&TotpDisabled { user_id }), ("auth.totp_disabled", 1, of_user.clone())),
            (frozen(&BackupCodesMade { user_id }), ("auth.backup_codes_made", 1, of_user)),
            (
                frozen(&LockedOut { user_id, everywhere: false, until }),
                (
                    "auth.locked_out",
                    1,
                    json!({"userId": user, "everywhere": false, "until": "1970-01-01T00:00:00Z"}),
                ),
            ),
            (
                frozen(&ApiKeyCreated { key_id, user_id, permissions: &permissions }),
                (
                    "auth.api_key_created",
                    1,
                    json!({"userId": user, "keyId": key, "permissions": ["sgx:read"]}),
                ),
            ),
            (frozen(&ApiKeyRotated { key_id, user_id }), ("auth.api_key_rotated", 1, of_key.clone())),
            (frozen(&ApiKeyRevoked { key_id, user_id }), ("auth.api_key_revoked", 1, of_key)),
        ] {
            assert_eq!(event, expected);
        }
    }
}
