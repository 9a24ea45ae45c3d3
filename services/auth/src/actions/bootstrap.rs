//! The first administrator.

use nsl_core::Caller;
use nsl_core::config::Secret;
use nsl_core::context::Base;
use nsl_core::db::{Audit, AuditResult, Login};
use nsl_core::ids::{TenantId, UserId};
use nsl_crypto::password;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::SERVICE;
use crate::domain::user::{NewUser, check};
use crate::error::BootstrapError;
use crate::events::{UserCreated, user_stream};
use crate::store::{roles, users};

const ROLE: &str = "Administrator";

/// Makes the first user, an administrator of the tenant `default`, if there is no user at all; tells whether it did.
/// Any number of processes may call it at the same time: one of them makes the user.
pub async fn bootstrap(base: &Base, username: &str, password: &Secret) -> Result<bool, BootstrapError> {
    let names = [ROLE.to_owned()];
    let new = NewUser { username, email: None, full_name: None, roles: &names };
    check(&new, password.expose()).map_err(|violations| {
        let reasons: Vec<String> = violations.into_iter().map(|violation| violation.detail).collect();
        BootstrapError::Refused(reasons.join("; "))
    })?;
    if users::any(&base.db.global(Login::Api)).await?.found {
        return Ok(false);
    }
    let refuse = |error: &dyn std::error::Error| BootstrapError::Refused(error.to_string());
    let password = Zeroizing::new(password.expose().to_owned());
    let hash = spawn_blocking(move || password::hash(password.as_bytes()))
        .await
        .map_err(|error| refuse(&error))?
        .map_err(|error| refuse(&error))?;

    let caller = Caller::system(TenantId::DEFAULT, SERVICE);
    let mut work = base.db.begin(Login::Api, &caller).await?;
    users::lock(&work).await?;
    if users::any(&work).await?.found {
        work.rollback().await?;
        return Ok(false);
    }
    let known = roles::by_names(&work, TenantId::DEFAULT, &names).await?;
    let ids: Vec<_> = known.iter().map(|role| role.id).take(1).collect();
    if ids.is_empty() {
        work.rollback().await?;
        return Err(BootstrapError::Refused(format!(
            "the built-in role {ROLE} is missing; restore auth.roles from a backup"
        )));
    }
    let (user, now) = (UserId::generate(), base.clock.now());
    users::add(&work, TenantId::DEFAULT, user, username, None, None, &hash, &ids, None, now).await?;
    work.event(user_stream(user), &UserCreated { user_id: user, roles: &names })?;
    work.audit(Audit::new(SERVICE, "CREATE_USER", "user", user.to_string(), AuditResult::Success));
    work.commit().await?;
    Ok(true)
}
