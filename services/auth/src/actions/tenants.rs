//! Tenants and their members. Tenants are the operator's: who may make and suspend them is an administrator of the
//! tenant `default`. Members are their own tenant's; the operator names the first ones, until there is an administrator.

use axum::http::StatusCode;
use nsl_core::Caller;
use nsl_core::config::Secret;
use nsl_core::db::tenants::{self, Tenant};
use nsl_core::db::{Audit, AuditResult, DbError, Login, UnitOfWork};
use nsl_core::http::{Answer, Limit, Once};
use nsl_core::ids::{TenantId, UserId};
use serde::Serialize;
use uuid::Uuid;

use super::users::{chosen, refusal};
use super::{SERVICE, State};
use crate::domain::tenant::{self, TenantStatus};
use crate::domain::user::{NewUser, Violation, check};
use crate::error::Error;
use crate::events::{MembershipBegan, TenantChanged, TenantCreated, UserCreated, tenant_stream, user_stream};
use crate::store::roles::{self, ADMINISTRATOR};
use crate::store::users::{self, Member};

/// What one needs to make tenants, beside being of the operator's.
pub(crate) const TENANTS: &str = "core:tenants";
const ROLE: &str = "Administrator";

/// A tenant to be made.
#[derive(Serialize)]
pub(crate) struct NewTenant<'a> {
    pub(crate) name: &'a str,
    pub(crate) display_name: &'a str,
    /// Its first administrator: a new user where a password comes along, else one that there is.
    pub(crate) administrator: Option<NewUser<'a>>,
}

impl State {
    /// Makes a tenant, and its first administrator.
    pub(crate) async fn create_tenant<V: Serialize>(
        &self,
        caller: &Caller,
        new: &NewTenant<'_>,
        password: Option<Secret>,
        once: &Once,
        view: impl FnOnce(Tenant) -> V,
    ) -> crate::Result<Answer<V>> {
        operator(caller)?;
        let mut violations: Vec<Violation> = tenant::name(new.name).err().into_iter().collect();
        violations.extend(tenant::display_name(new.display_name).err());
        if let (Some(user), Some(password)) = (&new.administrator, &password) {
            let found = check(user, password.expose()).err().unwrap_or_default();
            violations.extend(found.into_iter().map(|violation| {
                Violation::new(format!("/administrator{}", violation.pointer), violation.detail)
            }));
        }
        if !violations.is_empty() {
            return Err(Error::Invalid(violations));
        }
        let hash = match password {
            Some(password) => Some(self.passwords.hash(password).await?),
            None => None,
        };
        let (id, now) = (TenantId::generate(), self.base.clock.now());
        let mut work = self.base.db.begin_across(Login::Api, caller, &[id]).await?;
        if let Some(before) = once.replay(&work, caller).await.map_err(Error::Idempotency)? {
            work.rollback().await?;
            return Ok(Answer::Replayed(before));
        }
        let made = async {
            let tenant = tenants::add(&work, id, new.name, new.display_name, now).await.map_err(taken)?;
            let Some(user) = &new.administrator else { return Ok((tenant, None)) };
            let by = caller.principal.user;
            let user_id = if let Some(hash) = hash {
                let (user_id, roles) = (UserId::generate(), [ADMINISTRATOR]);
                let NewUser { username, email, full_name, .. } = *user;
                users::add(&work, id, user_id, username, email, full_name, &hash, &roles, by, now)
                    .await
                    .map_err(refusal)?;
                user_id
            } else {
                let found = users::by_username(&work, user.username).await?;
                let found = found.ok_or_else(|| {
                    Error::Invalid(vec![Violation::new(
                        "/administrator/username",
                        "there is no such user; send a password to make one",
                    )])
                })?;
                users::join(&work, id, found.id, &[ADMINISTRATOR], by, now).await?;
                found.id
            };
            Ok((tenant, Some(user_id)))
        };
        let (tenant, administrator) = match made.await {
            Ok(made) => made,
            Err(error) => {
                work.rollback().await?;
                return Err(error);
            }
        };
        work.event(tenant_stream(id), &TenantCreated { tenant_id: id, name: &tenant.name })?;
        if let Some(user_id) = administrator {
            work.event(user_stream(user_id), &UserCreated { user_id, roles: &[ROLE.to_owned()] })?;
        }
        work.audit(Audit::new(SERVICE, "CREATE_TENANT", "tenant", id.to_string(), AuditResult::Success));
        let view = view(tenant);
        once.keep(&work, caller, StatusCode::CREATED, &view).await.map_err(Error::Idempotency)?;
        work.commit().await?;
        Ok(Answer::Made(view))
    }

    /// The tenants after one, and one more than the limit where there are more.
    pub(crate) async fn tenants(
        &self,
        caller: &Caller,
        after: Option<TenantId>,
        limit: Limit,
    ) -> crate::Result<Vec<Tenant>> {
        operator(caller)?;
        let read = self.base.db.global(Login::Api);
        Ok(tenants::list(&read, after, i64::from(limit.0) + 1).await?)
    }

    pub(crate) async fn tenant(&self, caller: &Caller, id: TenantId) -> crate::Result<Tenant> {
        operator(caller)?;
        let found = tenants::by_id(&self.base.db.global(Login::Api), id).await?;
        found.ok_or(Error::TenantNotFound)
    }

    /// Changes a tenant. A suspended one's members can do nothing from now on, in any process within a second.
    pub(crate) async fn update_tenant(
        &self,
        caller: &Caller,
        id: TenantId,
        display_name: Option<&str>,
        status: Option<TenantStatus>,
    ) -> crate::Result<Tenant> {
        operator(caller)?;
        if let Some(name) = display_name {
            tenant::display_name(name).map_err(|violation| Error::Invalid(vec![violation]))?;
        }
        if id == TenantId::DEFAULT && status == Some(TenantStatus::Suspended) {
            return Err(Error::DefaultTenant);
        }
        let now = self.base.clock.now();
        let status = status.map(TenantStatus::as_str);
        let mut work = self.base.db.begin(Login::Api, caller).await?;
        let Some(tenant) = tenants::update(&work, id, display_name, status, now).await? else {
            work.rollback().await?;
            return Err(Error::TenantNotFound);
        };
        work.event(tenant_stream(id), &TenantChanged { tenant_id: id, status: &tenant.status })?;
        let audit = Audit::new(SERVICE, "UPDATE_TENANT", "tenant", id.to_string(), AuditResult::Success);
        work.audit(audit.details(tenant.status.clone()));
        work.commit().await?;
        self.revoked().await;
        Ok(tenant)
    }

    /// Makes a user a member of a tenant: the caller's own, or, for the operator, one without an administrator.
    pub(crate) async fn add_member<V: Serialize>(
        &self,
        caller: &Caller,
        tenant: TenantId,
        username: &str,
        role_names: &[String],
        once: &Once,
        view: impl FnOnce(Member) -> V,
    ) -> crate::Result<Answer<V>> {
        let is_own = tenant == caller.tenant();
        if !is_own {
            self.tenant(caller, tenant).await.map_err(|_| Error::TenantNotFound)?;
        }
        let read = self.base.db.read(Login::Api, tenant);
        let known = roles::by_names(&read, tenant, role_names).await?;
        let (ids, names) = chosen(caller, role_names, &known)?;
        let found = if username.contains(char::is_control) {
            None
        } else {
            users::by_username(&read, username).await?
        };
        let user = found.map(|user| user.id).ok_or_else(|| {
            Error::Invalid(vec![Violation::new(
                "/username",
                "there is no such user; POST /api/v1/auth/users makes one",
            )])
        })?;
        let mut work = self.base.db.begin_across(Login::Api, caller, &[tenant]).await?;
        if let Some(before) = once.replay(&work, caller).await.map_err(Error::Idempotency)? {
            work.rollback().await?;
            return Ok(Answer::Replayed(before));
        }
        let joined = join(&work, caller, tenant, user, &ids, self.base.clock.now());
        let member = match joined.await {
            Ok(member) => member,
            Err(error) => {
                work.rollback().await?;
                return Err(error);
            }
        };
        work.event(user_stream(user), &MembershipBegan { user_id: user, tenant_id: tenant, roles: &names })?;
        let audit = Audit::new(SERVICE, "ADD_MEMBER", "user", user.to_string(), AuditResult::Success);
        work.audit(audit.details(tenant.to_string()));
        let view = view(member);
        once.keep(&work, caller, StatusCode::CREATED, &view).await.map_err(Error::Idempotency)?;
        work.commit().await?;
        Ok(Answer::Made(view))
    }

    /// Refuses what is of another tenant than the caller's: that there is such a tenant is not told.
    pub(crate) fn own_tenant(caller: &Caller, tenant: TenantId) -> crate::Result<()> {
        if tenant == caller.tenant() { Ok(()) } else { Err(Error::TenantNotFound) }
    }

    /// Refuses a tenant that is suspended, by the feed that refuses its members' tokens too.
    pub(super) async fn check_tenant(&self, tenant: TenantId) -> crate::Result<()> {
        self.authenticator.revocations().check(tenant, None).await
    }

    /// The tenant that a login names, by its name or its id. No tenant has the nil id: nobody is a member of it, which is
    /// all that a stranger learns of a name that nobody has.
    pub(crate) async fn named_tenant(&self, text: &str) -> crate::Result<TenantId> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        if tenant::name(text).is_err() {
            return Ok(TenantId(Uuid::nil()));
        }
        let found = tenants::by_name(&self.base.db.global(Login::Api), text).await?;
        Ok(found.map_or(TenantId(Uuid::nil()), |tenant| tenant.id))
    }
}

async fn join(
    work: &UnitOfWork<'_>,
    caller: &Caller,
    tenant: TenantId,
    user: UserId,
    roles: &[Uuid],
    now: jiff::Timestamp,
) -> crate::Result<Member> {
    if tenant != caller.tenant() {
        // Held, so that two operators do not both name the first one.
        tenants::lock(work, tenant).await?.ok_or(Error::TenantNotFound)?;
        if !roles::lasting_holders(work, tenant, ADMINISTRATOR).await?.is_empty() {
            return Err(Error::TenantNotFound);
        }
    }
    users::hold(work, user).await?.ok_or(Error::UserNotFound)?;
    let by = caller.principal.user;
    users::join(work, tenant, user, roles, by, now).await.map_err(|error| match error.constraint() {
        // Which of the two refuses first is the planner's choice.
        Some("memberships_pkey" | "user_roles_pkey") => Error::AlreadyMember,
        _ => error.into(),
    })?;
    let member = users::member(work, tenant, user, by, now).await?;
    Ok(member.ok_or(DbError::NoRow("member"))?)
}

/// Refuses whoever is not of the operator's tenant, whatever they may do in their own.
fn operator(caller: &Caller) -> crate::Result<()> {
    caller.authorize(TENANTS).map_err(Error::Forbidden)?;
    if caller.tenant() == TenantId::DEFAULT { Ok(()) } else { Err(Error::OperatorsOnly) }
}

fn taken(error: DbError) -> Error {
    match error.constraint() {
        Some("tenants_name_key") => Error::TenantTaken,
        _ => error.into(),
    }
}
