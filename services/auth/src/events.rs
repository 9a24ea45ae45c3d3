//! The events that the service emits. Names and payloads are frozen by the tests below; a change of shape raises
//! `TYPE_VERSION`. The log is append-only, so no payload names a person: ids only.

use jiff::Timestamp;
/// Passwords, second factors, addresses and API keys.
pub(crate) mod credentials;

use nsl_core::db::DomainEvent;
use nsl_core::ids::{SessionId, TenantId, UserId};
use serde::Serialize;
use uuid::Uuid;

/// A user was made.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserCreated<'a> {
    pub(crate) user_id: UserId,
    pub(crate) roles: &'a [String],
}

impl DomainEvent for UserCreated<'_> {
    const TYPE: &'static str = "auth.user_created";
}

/// Someone logged in.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionStarted {
    pub(crate) session_id: SessionId,
    pub(crate) user_id: UserId,
}

impl DomainEvent for SessionStarted {
    const TYPE: &'static str = "auth.session_started";
}

/// A session was ended before its time.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionRevoked {
    pub(crate) session_id: SessionId,
    pub(crate) user_id: UserId,
    pub(crate) reason: &'static str,
}

impl DomainEvent for SessionRevoked {
    const TYPE: &'static str = "auth.session_revoked";
}

/// A refresh token came a second time: someone holds a copy.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RefreshReused {
    pub(crate) session_id: SessionId,
    pub(crate) user_id: UserId,
    /// Which token of the session it was; the first has 0.
    pub(crate) generation: i32,
}

impl DomainEvent for RefreshReused {
    const TYPE: &'static str = "auth.refresh_reused";
}

/// A wallet lets its holder in as a user. The address is not told: it leads to the person's dealings.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WalletLinked<'a> {
    pub(crate) wallet_id: Uuid,
    pub(crate) user_id: UserId,
    pub(crate) chain: &'a str,
}

impl DomainEvent for WalletLinked<'_> {
    const TYPE: &'static str = "auth.wallet_linked";
}

/// A wallet does so no longer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WalletUnlinked<'a> {
    pub(crate) wallet_id: Uuid,
    pub(crate) user_id: UserId,
    pub(crate) chain: &'a str,
}

impl DomainEvent for WalletUnlinked<'_> {
    const TYPE: &'static str = "auth.wallet_unlinked";
}

/// An account was changed. What it says now is the table's: the log names no person.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserUpdated {
    pub(crate) user_id: UserId,
    /// Whether the address was.
    pub(crate) email: bool,
    /// Whether the name was.
    pub(crate) full_name: bool,
    /// The new status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<&'static str>,
}

impl DomainEvent for UserUpdated {
    const TYPE: &'static str = "auth.user_updated";
}

/// A user became a member of a tenant.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MembershipBegan<'a> {
    pub(crate) user_id: UserId,
    pub(crate) tenant_id: TenantId,
    pub(crate) roles: &'a [String],
}

impl DomainEvent for MembershipBegan<'_> {
    const TYPE: &'static str = "auth.membership_began";
}

/// A user is no member of the event's tenant any more.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MembershipEnded {
    pub(crate) user_id: UserId,
}

impl DomainEvent for MembershipEnded {
    const TYPE: &'static str = "auth.membership_ended";
}

/// A member was given a role, or another end to it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RoleAssigned<'a> {
    pub(crate) user_id: UserId,
    pub(crate) role_id: Uuid,
    pub(crate) role: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<Timestamp>,
}

impl DomainEvent for RoleAssigned<'_> {
    const TYPE: &'static str = "auth.role_assigned";
}

/// A role was taken from a member.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RoleUnassigned<'a> {
    pub(crate) user_id: UserId,
    pub(crate) role_id: Uuid,
    pub(crate) role: &'a str,
}

impl DomainEvent for RoleUnassigned<'_> {
    const TYPE: &'static str = "auth.role_unassigned";
}

/// A role of a tenant was made.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RoleCreated<'a> {
    pub(crate) role_id: Uuid,
    pub(crate) name: &'a str,
    pub(crate) permissions: &'a [String],
}

impl DomainEvent for RoleCreated<'_> {
    const TYPE: &'static str = "auth.role_created";
}

/// It permits this now.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RoleChanged<'a> {
    pub(crate) role_id: Uuid,
    pub(crate) permissions: &'a [String],
}

impl DomainEvent for RoleChanged<'_> {
    const TYPE: &'static str = "auth.role_changed";
}

/// It is gone.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RoleDeleted {
    pub(crate) role_id: Uuid,
}

impl DomainEvent for RoleDeleted {
    const TYPE: &'static str = "auth.role_deleted";
}

/// A tenant was made. The event is the operator's.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TenantCreated<'a> {
    pub(crate) tenant_id: TenantId,
    pub(crate) name: &'a str,
}

impl DomainEvent for TenantCreated<'_> {
    const TYPE: &'static str = "core.tenant_created";
}

/// A tenant was changed; this is its status now.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TenantChanged<'a> {
    pub(crate) tenant_id: TenantId,
    pub(crate) status: &'a str,
}

impl DomainEvent for TenantChanged<'_> {
    const TYPE: &'static str = "core.tenant_changed";
}

/// The stream of a role.
pub(crate) fn role_stream(role: Uuid) -> String {
    format!("auth.role.{role}")
}

/// The stream of a tenant.
pub(crate) fn tenant_stream(tenant: TenantId) -> String {
    format!("core.tenant.{tenant}")
}

/// The stream of a user.
pub(crate) fn user_stream(user: UserId) -> String {
    format!("auth.user.{user}")
}

/// The stream of a session.
pub(crate) fn session_stream(session: SessionId) -> String {
    format!("auth.session.{session}")
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
        let (user_id, session_id) = (UserId(Uuid::from_u128(1)), SessionId(Uuid::from_u128(2)));
        let (user, session) =
            ("00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002");
        assert_eq!(
            frozen(&UserCreated { user_id, roles: &["User".to_owned()] }),
            ("auth.user_created", 1, json!({"userId": user, "roles": ["User"]}))
        );
        assert_eq!(
            frozen(&SessionStarted { session_id, user_id }),
            ("auth.session_started", 1, json!({"sessionId": session, "userId": user}))
        );
        assert_eq!(
            frozen(&SessionRevoked { session_id, user_id, reason: "logout" }),
            ("auth.session_revoked", 1, json!({"sessionId": session, "userId": user, "reason": "logout"}))
        );
        assert_eq!(
            frozen(&RefreshReused { session_id, user_id, generation: 3 }),
            ("auth.refresh_reused", 1, json!({"sessionId": session, "userId": user, "generation": 3}))
        );
        let wallet_id = Uuid::from_u128(3);
        let wallet =
            json!({"walletId": "00000000-0000-0000-0000-000000000003", "userId": user, "chain": "n3"});
        assert_eq!(
            frozen(&WalletLinked { wallet_id, user_id, chain: "n3" }),
            ("auth.wallet_linked", 1, wallet.clone())
        );
        assert_eq!(
            frozen(&WalletUnlinked { wallet_id, user_id, chain: "n3" }),
            ("auth.wallet_unlinked", 1, wallet)
        );
        let (tenant_id, role_id) = (TenantId::DEFAULT, Uuid::from_u128(4));
        let (tenant, role) = ("00000000-0000-7000-8000-000000000001", "00000000-0000-0000-0000-000000000004");
        let names = ["sgx:read".to_owned()];
        assert_eq!(
            frozen(&UserUpdated { user_id, email: true, full_name: false, status: Some("locked") }),
            (
                "auth.user_updated",
                1,
                json!({"userId": user, "email": true, "fullName": false, "status": "locked"})
            )
        );
        assert_eq!(
            frozen(&MembershipBegan { user_id, tenant_id, roles: &["User".to_owned()] }),
            ("auth.membership_began", 1, json!({"userId": user, "tenantId": tenant, "roles": ["User"]}))
        );
        assert_eq!(
            frozen(&MembershipEnded { user_id }),
            ("auth.membership_ended", 1, json!({"userId": user}))
        );
        let expires_at = Some(Timestamp::UNIX_EPOCH);
        assert_eq!(
            frozen(&RoleAssigned { user_id, role_id, role: "User", expires_at }),
            (
                "auth.role_assigned",
                1,
                json!({"userId": user, "roleId": role, "role": "User", "expiresAt": "1970-01-01T00:00:00Z"})
            )
        );
        assert_eq!(
            frozen(&RoleUnassigned { user_id, role_id, role: "User" }),
            ("auth.role_unassigned", 1, json!({"userId": user, "roleId": role, "role": "User"}))
        );
        assert_eq!(
            frozen(&RoleCreated { role_id, name: "Clerk", permissions: &names }),
            ("auth.role_created", 1, json!({"roleId": role, "name": "Clerk", "permissions": ["sgx:read"]}))
        );
        assert_eq!(
            frozen(&RoleChanged { role_id, permissions: &names }),
            ("auth.role_changed", 1, json!({"roleId": role, "permissions": ["sgx:read"]}))
        );
        assert_eq!(frozen(&RoleDeleted { role_id }), ("auth.role_deleted", 1, json!({"roleId": role})));
        assert_eq!(
            frozen(&TenantCreated { tenant_id, name: "acme" }),
            ("core.tenant_created", 1, json!({"tenantId": tenant, "name": "acme"}))
        );
        assert_eq!(
            frozen(&TenantChanged { tenant_id, status: "suspended" }),
            ("core.tenant_changed", 1, json!({"tenantId": tenant, "status": "suspended"}))
        );
        assert_eq!(role_stream(role_id), format!("auth.role.{role}"));
        assert_eq!(tenant_stream(tenant_id), format!("core.tenant.{tenant}"));
        assert_eq!(user_stream(user_id), format!("auth.user.{user}"));
        assert_eq!(session_stream(session_id), format!("auth.session.{session}"));
    }
}
