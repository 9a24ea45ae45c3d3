//! Which member has which role, and until when. Whoever gives or takes a role has to have all that it permits.

use jiff::Timestamp;
use nsl_core::Caller;
use nsl_core::db::{Audit, AuditResult, DbError, Login};
use nsl_core::ids::UserId;

use super::accounts::keeps_an_administrator;
use super::{SERVICE, State};
use crate::domain::user::Violation;
use crate::error::Error;
use crate::events::{RoleAssigned, RoleUnassigned, user_stream};
use crate::store::roles::{self, ADMINISTRATOR};
use crate::store::users::{self, Member};

const REASON: &str = "role_taken_away";

impl State {
    /// Gives a role to a member, or another end to one that they hold.
    pub(crate) async fn assign_role(
        &self,
        caller: &Caller,
        user: UserId,
        role: &str,
        expires: Option<Timestamp>,
    ) -> crate::Result<Member> {
        let (tenant, now) = (caller.tenant(), self.base.clock.now());
        if expires.is_some_and(|at| at <= now) {
            return Err(Error::Invalid(vec![Violation::new(
                "/expiresAt",
                "the end lies in the past; name a later time, or leave it out for a role without an end",
            )]));
        }
        self.user(caller, user).await?;
        let role = self.grantable_role(caller, role).await?;
        let mut work = self.base.db.begin(Login::Api, caller).await?;
        let assigned = async {
            users::hold(&work, user).await?.ok_or(Error::UserNotFound)?;
            // An end is a removal that comes later.
            if role.id == ADMINISTRATOR && expires.is_some() {
                keeps_an_administrator(&work, tenant, user).await?;
            }
            let by = caller.principal.user;
            roles::assign(&work, tenant, user, role.id, expires, by, now).await.map_err(unassignable)?;
            Ok(())
        };
        if let Err(error) = assigned.await {
            work.rollback().await?;
            return Err(error);
        }
        work.event(
            user_stream(user),
            &RoleAssigned { user_id: user, role_id: role.id, role: &role.name, expires_at: expires },
        )?;
        let audit = Audit::new(SERVICE, "ASSIGN_ROLE", "user", user.to_string(), AuditResult::Success);
        work.audit(audit.details(role.name));
        let viewer = caller.principal.user;
        let member =
            users::member(&work, tenant, user, viewer, now).await?.ok_or(DbError::NoRow("member"))?;
        work.commit().await?;
        Ok(member)
    }

    /// Takes a role from a member. Their sessions in the tenant end at once: access tokens carry permissions.
    pub(crate) async fn unassign_role(&self, caller: &Caller, user: UserId, role: &str) -> crate::Result<()> {
        let tenant = caller.tenant();
        self.user(caller, user).await?;
        let role = self.grantable_role(caller, role).await?;
        let mut work = self.base.db.begin(Login::Api, caller).await?;
        let unassigned = async {
            users::hold(&work, user).await?.ok_or(Error::UserNotFound)?;
            if role.id == ADMINISTRATOR {
                keeps_an_administrator(&work, tenant, user).await?;
            }
            match roles::unassign(&work, tenant, user, role.id).await? {
                0 => Err(Error::RoleNotAssigned),
                _ => Ok(()),
            }
        };
        if let Err(error) = unassigned.await {
            work.rollback().await?;
            return Err(error);
        }
        self.end_sessions(&mut work, tenant, &[tenant], user, None, REASON).await?;
        work.event(user_stream(user), &RoleUnassigned { user_id: user, role_id: role.id, role: &role.name })?;
        let audit = Audit::new(SERVICE, "UNASSIGN_ROLE", "user", user.to_string(), AuditResult::Success);
        work.audit(audit.details(role.name));
        work.commit().await?;
        self.revoked().await;
        Ok(())
    }
}

/// The member or the role went away between the look and the write.
fn unassignable(error: DbError) -> Error {
    match error.constraint() {
        Some("user_roles_role_id_fkey") => Error::RoleNotFound,
        Some("user_roles_tenant_id_user_id_fkey") => Error::UserNotFound,
        _ => error.into(),
    }
}
