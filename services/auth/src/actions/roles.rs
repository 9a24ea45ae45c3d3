//! Roles of a tenant. The built-in ones are every tenant's and never change; nobody makes, changes or deletes a role
//! that permits what they may not.

use axum::http::StatusCode;
use nsl_core::Caller;
use nsl_core::db::{Audit, AuditResult, DbError, Login};
use nsl_core::http::{Answer, Limit, Once};
use serde::Serialize;
use uuid::Uuid;

use super::{SERVICE, State};
use crate::domain::role::{self, NewRole};
use crate::error::Error;
use crate::events::{RoleChanged, RoleCreated, RoleDeleted, role_stream};
use crate::store::roles::{self, Role};

impl State {
    /// The roles that the tenant can give, the built-in ones first, and one more than the limit where there are more.
    pub(crate) async fn roles(
        &self,
        caller: &Caller,
        after: Option<Uuid>,
        limit: Limit,
    ) -> crate::Result<Vec<Role>> {
        let (tenant, most) = (caller.tenant(), i64::from(limit.0) + 1);
        Ok(roles::list(&self.base.db.read(Login::Api, tenant), tenant, after, most).await?)
    }

    /// A role by its name.
    pub(crate) async fn role(&self, caller: &Caller, name: &str) -> crate::Result<Role> {
        if name.contains(char::is_control) {
            return Err(Error::RoleNotFound);
        }
        let (tenant, names) = (caller.tenant(), [name.to_owned()]);
        let found = roles::by_names(&self.base.db.read(Login::Api, tenant), tenant, &names).await?;
        found.into_iter().next().ok_or(Error::RoleNotFound)
    }

    /// A role that the caller may give, since they have all that it permits.
    pub(super) async fn grantable_role(&self, caller: &Caller, name: &str) -> crate::Result<Role> {
        let role = self.role(caller, name).await?;
        covers(caller, &role.name, &role.permissions)?;
        Ok(role)
    }

    /// Makes a role of the caller's tenant.
    pub(crate) async fn create_role<V: Serialize>(
        &self,
        caller: &Caller,
        new: &NewRole<'_>,
        once: &Once,
        view: impl FnOnce(Role) -> V,
    ) -> crate::Result<Answer<V>> {
        role::check(new).map_err(Error::Invalid)?;
        covers(caller, new.name, new.permissions)?;
        let (tenant, now, id) = (caller.tenant(), self.base.clock.now(), Uuid::now_v7());
        let names = [new.name.to_owned()];
        let mut work = self.base.db.begin(Login::Api, caller).await?;
        if let Some(before) = once.replay(&work, caller).await.map_err(Error::Idempotency)? {
            work.rollback().await?;
            return Ok(Answer::Replayed(before));
        }
        let made = async {
            // A built-in role's name is taken too, which no constraint says.
            if !roles::by_names(&work, tenant, &names).await?.is_empty() {
                return Err(Error::RoleTaken);
            }
            roles::add(&work, tenant, id, new.name, new.description, new.permissions, now)
                .await
                .map_err(taken)?;
            Ok(())
        };
        if let Err(error) = made.await {
            work.rollback().await?;
            return Err(error);
        }
        let role = roles::by_names(&work, tenant, &names).await?.into_iter().next();
        let role = role.ok_or(DbError::NoRow("role"))?;
        let event = RoleCreated { role_id: id, name: &role.name, permissions: &role.permissions };
        work.event(role_stream(id), &event)?;
        work.audit(Audit::new(SERVICE, "CREATE_ROLE", "role", id.to_string(), AuditResult::Success));
        let view = view(role);
        once.keep(&work, caller, StatusCode::CREATED, &view).await.map_err(Error::Idempotency)?;
        work.commit().await?;
        Ok(Answer::Made(view))
    }

    /// Changes a role of the caller's tenant. Its holders' next access tokens carry what it permits then.
    pub(crate) async fn update_role(
        &self,
        caller: &Caller,
        name: &str,
        description: Option<&str>,
        permissions: Option<&[String]>,
    ) -> crate::Result<Role> {
        let mut violations = permissions.map(role::permissions).unwrap_or_default();
        violations.extend(description.and_then(|text| role::description(text).err()));
        if !violations.is_empty() {
            return Err(Error::Invalid(violations));
        }
        let role = self.own_role(caller, name).await?;
        covers(caller, &role.name, permissions.unwrap_or_default())?;
        let tenant = caller.tenant();
        let mut work = self.base.db.begin(Login::Api, caller).await?;
        if roles::hold(&work, tenant, role.id).await?.is_none() {
            work.rollback().await?;
            return Err(Error::RoleNotFound);
        }
        if let Some(text) = description {
            roles::describe(&work, tenant, role.id, text).await?;
        }
        if let Some(names) = permissions {
            roles::permit(&work, tenant, role.id, names).await?;
        }
        let changed = roles::by_names(&work, tenant, &[role.name]).await?.into_iter().next();
        let changed = changed.ok_or(DbError::NoRow("role"))?;
        work.event(
            role_stream(role.id),
            &RoleChanged { role_id: role.id, permissions: &changed.permissions },
        )?;
        work.audit(Audit::new(SERVICE, "UPDATE_ROLE", "role", role.id.to_string(), AuditResult::Success));
        work.commit().await?;
        Ok(changed)
    }

    /// Deletes a role of the caller's tenant that nobody holds.
    pub(crate) async fn delete_role(&self, caller: &Caller, name: &str) -> crate::Result<()> {
        let role = self.own_role(caller, name).await?;
        let (tenant, now) = (caller.tenant(), self.base.clock.now());
        let mut work = self.base.db.begin(Login::Api, caller).await?;
        let deleted = async {
            roles::hold(&work, tenant, role.id).await?.ok_or(Error::RoleNotFound)?;
            match roles::in_use(&work, tenant, role.id, now).await?.holders {
                0 => Ok(roles::delete(&work, tenant, role.id).await?),
                holders => Err(Error::RoleInUse { holders }),
            }
        };
        if let Err(error) = deleted.await {
            work.rollback().await?;
            return Err(error);
        }
        work.event(role_stream(role.id), &RoleDeleted { role_id: role.id })?;
        work.audit(Audit::new(SERVICE, "DELETE_ROLE", "role", role.id.to_string(), AuditResult::Success));
        work.commit().await?;
        Ok(())
    }

    /// A role that the caller may change.
    async fn own_role(&self, caller: &Caller, name: &str) -> crate::Result<Role> {
        let role = self.role(caller, name).await?;
        if role.builtin {
            return Err(Error::RoleBuiltin);
        }
        covers(caller, &role.name, &role.permissions)?;
        Ok(role)
    }
}

/// Refuses a caller who lacks one of the permissions.
pub(super) fn covers(caller: &Caller, role: &str, permissions: &[String]) -> crate::Result<()> {
    match permissions.iter().find(|name| !caller.principal.permissions.allows(name)) {
        Some(excess) => Err(Error::RoleExceedsCaller { role: role.to_owned(), permission: excess.clone() }),
        None => Ok(()),
    }
}

fn taken(error: DbError) -> Error {
    match error.constraint() {
        Some("roles_name_key") => Error::RoleTaken,
        _ => error.into(),
    }
}
