//! The events that the service emits. Names and payloads are frozen by the tests below; a change of shape raises
//! `TYPE_VERSION`. The log is append-only, so no payload names a person: ids only.

use nsl_core::db::DomainEvent;
use nsl_core::ids::{SessionId, UserId};
use serde::Serialize;

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
    use uuid::Uuid;

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
        assert_eq!(user_stream(user_id), format!("auth.user.{user}"));
        assert_eq!(session_stream(session_id), format!("auth.session.{session}"));
    }
}
