//! Tokens of the legacy system (`Jwt:AcceptLegacyTokens`), until they expire. Its users are known here by their id or
//! their name. Who is known has the roles that they hold here, whatever the token says; who is not has the built-in
//! roles that the token names. Nothing is remembered: they are few, and soon none.

use nsl_core::caller::{Permissions, Principal};
use nsl_core::clock::Clock;
use nsl_core::context::Base;
use nsl_core::db::{Db, Login};
use nsl_core::ids::{TenantId, UserId};

use super::second_factor::{MfaPolicy, reduced};
use crate::domain::legacy::{LegacyIdentity, LegacyRules};
use crate::domain::token::NotOurs;
use crate::error::Error;
use crate::store::{roles, users};

/// Accepts legacy tokens.
pub(super) struct LegacyTokens {
    rules: LegacyRules,
    policy: MfaPolicy,
    db: Db,
    login: Login,
    clock: Clock,
}

impl LegacyTokens {
    pub(super) fn new(base: &Base, login: Login, secret: &[u8], policy: MfaPolicy) -> Self {
        let (db, clock) = (base.db.clone(), base.clock.clone());
        Self { rules: LegacyRules::new(secret), policy, db, login, clock }
    }

    /// Whom a token stands for, in the tenant `default`: the legacy system has no other.
    pub(super) async fn principal(&self, token: &str) -> crate::Result<Principal> {
        let identity = self.rules.verify(token).map_err(|NotOurs| Error::TokenInvalid)?;
        let now = self.clock.now();
        if now.as_second() >= identity.expires_at {
            return Err(Error::TokenExpired);
        }
        let (tenant, read) = (TenantId::DEFAULT, self.db.read(self.login, TenantId::DEFAULT));
        let LegacyIdentity { user, roles, .. } = identity;
        let id = match user.parse::<UserId>() {
            Ok(id) if users::exists(&read, id).await?.found => Some(id),
            _ => users::id_by_username(&read, &user).await?.map(|known| known.id),
        };
        let Some(id) = id else {
            let known = roles::by_names(&read, tenant, &roles).await?;
            let (names, permissions): (Vec<_>, Vec<_>) = known
                .into_iter()
                .filter(|role| role.builtin)
                .map(|role| (role.name, role.permissions))
                .unzip();
            let mut permissions = permissions.concat();
            // Who is not known here has no second factor here.
            if self.policy.concerns(&names) {
                permissions = reduced(&permissions);
            }
            return Ok(Principal {
                tenant,
                user: None,
                session: None,
                name: format!("legacy:{user}"),
                permissions: permissions.into_iter().collect(),
                roles: names,
            });
        };
        // None for a user who is locked, was disabled or is no member.
        let mut grants = users::grants(&read, tenant, id, now).await?.ok_or(Error::SessionEnded)?;
        self.policy.apply(&mut grants);
        Ok(Principal {
            tenant,
            user: Some(id),
            session: None,
            name: grants.username,
            permissions: Permissions::from_iter(grants.permissions),
            roles: grants.roles,
        })
    }
}
