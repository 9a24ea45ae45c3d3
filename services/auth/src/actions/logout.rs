//! The end of a session, by its user.

use nsl_core::Caller;
use nsl_core::db::{Audit, AuditResult, Login};

use super::{SERVICE, State};
use crate::domain::refresh;
use crate::error::Error;
use crate::store::sessions;

const REASON: &str = "logout";

impl State {
    /// Ends the session that a refresh token is of. One that has ended already stays ended.
    pub(crate) async fn logout(&self, caller: &Caller, token: &str) -> crate::Result<()> {
        let hash = refresh::hash(token).ok_or(Error::RefreshTokenForeign)?;
        let family = sessions::by_token(&self.base.db.read(Login::Api, caller.tenant()), &hash)
            .await?
            .filter(|family| {
                family.tenant_id == caller.tenant() && Some(family.user_id) == caller.principal.user
            })
            .ok_or(Error::RefreshTokenForeign)?;
        let (tenant, user_id, session_id) = (family.tenant_id, family.user_id, family.session_id);
        let mut work = self.base.db.begin(Login::Api, caller).await?;
        if self.end_session(&mut work, (tenant, session_id, user_id), REASON).await? {
            work.audit(Audit::new(
                SERVICE,
                "LOGOUT",
                "session",
                session_id.to_string(),
                AuditResult::Success,
            ));
        }
        work.commit().await?;
        self.revoked().await;
        Ok(())
    }
}
