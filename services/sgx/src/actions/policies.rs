//! Sealing policies of a tenant: the built-in ones, which never change, and its own.

use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use nsl_core::Caller;
use nsl_core::db::{Audit, AuditResult};
use nsl_core::http::{Answer, IfMatch, Once};
use nsl_core::ids::TenantId;
use serde::Serialize;

use super::Sgx;
use super::alone::body;
use super::write::LOGIN;
use crate::Result;
use crate::domain::policy::{Definition, Rules, built_in, built_in_named, check_name};
use crate::domain::{Attributes, PolicyType, kept};
use crate::error::Error;
use crate::events::{PolicyRemoved, PolicySet, policy_stream};
use crate::store::policies::{self as store, Policy};

pub(super) fn definition(row: Policy) -> Definition {
    Definition {
        name: row.name,
        kind: PolicyType::of(&row.policy_type),
        description: row.description,
        expiration_hours: row.expiration_hours,
        rules: Rules {
            allow_unseal: row.allow_unseal,
            require_attestation: row.require_attestation,
            allowed_roles: row.allowed_roles,
            max_reads: row.max_reads,
            min_isv_svn: row.min_isv_svn,
        },
        is_active: row.is_active,
    }
}

/// A policy with what only those of a tenant have.
#[derive(Clone, Debug)]
pub(crate) struct PolicyEntry {
    pub definition: Definition,
    /// None for a built-in one.
    pub made: Option<Made>,
}

/// When a policy was made and last changed, and by whom.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub version: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub created_by: String,
    pub updated_by: String,
}

impl From<Policy> for PolicyEntry {
    fn from(row: Policy) -> Self {
        let made = Made {
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
            created_by: row.created_by.clone(),
            updated_by: row.updated_by.clone(),
        };
        Self { definition: definition(row), made: Some(made) }
    }
}

impl From<Definition> for PolicyEntry {
    fn from(definition: Definition) -> Self {
        Self { definition, made: None }
    }
}

impl Sgx {
    /// Policies after a name, built-in and own, in the order of their names.
    pub(crate) async fn policies(
        &self,
        caller: &Caller,
        after: &str,
        limit: i64,
    ) -> Result<Vec<PolicyEntry>> {
        let tenant = caller.tenant();
        let rows = store::list(&self.db.read(LOGIN, tenant), tenant, after, limit).await?;
        self.audit_policy(caller, "LIST_POLICIES", "*", None).await?;
        let mut policies: Vec<PolicyEntry> = rows.into_iter().map(Into::into).collect();
        policies.extend(built_in().into_iter().filter(|policy| policy.name.as_str() > after).map(Into::into));
        policies.sort_by(|a, b| a.definition.name.cmp(&b.definition.name));
        Ok(policies)
    }

    pub(crate) async fn policy(&self, caller: &Caller, name: &str) -> Result<PolicyEntry> {
        let found = match built_in_named(name) {
            Some(policy) => Ok(policy.into()),
            None => self.own_policy(caller.tenant(), name).await.map(Into::into),
        };
        self.audit_policy(caller, "GET_POLICY", name, found.as_ref().err()).await?;
        found
    }

    /// The row of a policy that the tenant made.
    async fn own_policy(&self, tenant: TenantId, name: &str) -> Result<Policy> {
        // A name that none can have may hold what PostgreSQL does not take.
        check_name(name).map_err(|_| Error::PolicyNotFound)?;
        store::named(&self.db.read(LOGIN, tenant), tenant, name).await?.ok_or(Error::PolicyNotFound)
    }

    pub(crate) async fn create_policy<V: Serialize>(
        &self,
        caller: &Caller,
        new: &Definition,
        once: &Once,
        view: fn(PolicyEntry) -> V,
    ) -> Result<Answer<V>> {
        let made = self.try_create_policy(caller, new, once, view).await;
        if let Err(error) = &made {
            self.audit_policy(caller, "CREATE_POLICY", &new.name, Some(error)).await?;
        }
        made
    }

    async fn try_create_policy<V: Serialize>(
        &self,
        caller: &Caller,
        new: &Definition,
        once: &Once,
        view: fn(PolicyEntry) -> V,
    ) -> Result<Answer<V>> {
        new.check()?;
        let (tenant, now, rules) = (caller.tenant(), self.clock.now(), &new.rules);
        let mut work = self.db.begin(LOGIN, caller).await?;
        if let Some(before) = once.replay(&work, caller).await? {
            work.rollback().await?;
            return Ok(Answer::Replayed(before));
        }
        let row = match built_in_named(&new.name) {
            Some(_) => Err(Error::BuiltinPolicy),
            None => store::add(
                &work,
                tenant,
                &new.name,
                new.kind.as_str(),
                new.description.as_deref(),
                new.expiration_hours,
                rules.allow_unseal,
                rules.require_attestation,
                rules.allowed_roles.as_deref(),
                rules.max_reads,
                rules.min_isv_svn,
                new.is_active,
                now,
                &caller.principal.name,
            )
            .await?
            .ok_or(Error::PolicyExists),
        };
        let row = match row {
            Ok(row) => row,
            Err(error) => {
                work.rollback().await?;
                return Err(error);
            }
        };
        work.event(policy_stream(&new.name), &set(new, row.version))?;
        work.audit(audit("CREATE_POLICY", &new.name, AuditResult::Success));
        let view = view(row.into());
        once.keep(&work, caller, StatusCode::CREATED, &view).await?;
        work.commit().await?;
        Ok(Answer::Made(view))
    }

    /// Replaces a policy. Values that were put under it keep the rules that they were put with, beside the new ones.
    pub(crate) async fn replace_policy(
        &self,
        caller: &Caller,
        new: &Definition,
        condition: &IfMatch,
    ) -> Result<PolicyEntry> {
        let done = self.try_replace_policy(caller, new, condition).await;
        if let Err(error) = &done {
            self.audit_policy(caller, "UPDATE_POLICY", &new.name, Some(error)).await?;
        }
        done
    }

    async fn try_replace_policy(
        &self,
        caller: &Caller,
        new: &Definition,
        condition: &IfMatch,
    ) -> Result<PolicyEntry> {
        let (version, tenant) = (self.changeable(caller, &new.name, condition).await?, caller.tenant());
        new.check()?;
        let (now, rules) = (self.clock.now(), &new.rules);
        let mut work = self.db.begin(LOGIN, caller).await?;
        let row = store::replace(
            &work,
            tenant,
            &new.name,
            new.kind.as_str(),
            new.description.as_deref(),
            new.expiration_hours,
            rules.allow_unseal,
            rules.require_attestation,
            rules.allowed_roles.as_deref(),
            rules.max_reads,
            rules.min_isv_svn,
            new.is_active,
            now,
            &caller.principal.name,
            version,
        )
        .await?;
        let Some(row) = row else {
            work.rollback().await?;
            return Err(Error::PolicyConflict { current: None });
        };
        work.event(policy_stream(&new.name), &set(new, row.version))?;
        work.audit(audit("UPDATE_POLICY", &new.name, AuditResult::Success));
        work.commit().await?;
        Ok(row.into())
    }

    /// Removes a policy. Values that were put under it keep the rules that they were put with.
    pub(crate) async fn remove_policy(&self, caller: &Caller, name: &str, condition: &IfMatch) -> Result<()> {
        let done = self.try_remove_policy(caller, name, condition).await;
        if let Err(error) = &done {
            self.audit_policy(caller, "DELETE_POLICY", name, Some(error)).await?;
        }
        done
    }

    async fn try_remove_policy(&self, caller: &Caller, name: &str, condition: &IfMatch) -> Result<()> {
        let (version, tenant) = (self.changeable(caller, name, condition).await?, caller.tenant());
        let mut work = self.db.begin(LOGIN, caller).await?;
        if store::remove(&work, tenant, name, version).await? == 0 {
            work.rollback().await?;
            return Err(Error::PolicyConflict { current: None });
        }
        work.event(policy_stream(name), &PolicyRemoved { name })?;
        work.audit(audit("DELETE_POLICY", name, AuditResult::Success));
        Ok(work.commit().await?)
    }

    /// The version of a policy that may be changed under a condition.
    async fn changeable(&self, caller: &Caller, name: &str, condition: &IfMatch) -> Result<i64> {
        if built_in_named(name).is_some() {
            return Err(Error::BuiltinPolicy);
        }
        let version = self.own_policy(caller.tenant(), name).await?.version;
        if condition.holds(Some(version)) {
            return Ok(version);
        }
        Err(Error::PolicyConflict { current: Some(version) })
    }

    /// What a put under a policy gets of it: its type, the rules that are bound to the value, and its end.
    pub(super) async fn under_policy(
        &self,
        tenant: TenantId,
        attributes: &mut Attributes,
        now: Timestamp,
    ) -> Result<()> {
        let Some(name) = &attributes.policy_name else { return Ok(()) };
        let policy = match built_in_named(name) {
            Some(policy) => policy,
            None => match self.own_policy(tenant, name).await {
                Ok(row) => definition(row),
                // What cannot be a name is not repeated.
                Err(Error::PolicyNotFound) if check_name(name).is_err() => {
                    return Err(Error::UnknownPolicy("of that name".to_owned()));
                }
                Err(Error::PolicyNotFound) => return Err(Error::UnknownPolicy(name.clone())),
                Err(error) => return Err(error),
            },
        };
        if !policy.is_active {
            return Err(Error::PolicyInactive);
        }
        attributes.policy = policy.kind;
        if let Some(hours) = policy.expiration_hours {
            let end = kept(now + SignedDuration::from_hours(i64::from(hours)));
            attributes.expires_at = Some(attributes.expires_at.map_or(end, |asked| asked.min(end)));
        }
        attributes.access = Some(body(&policy.rules)?);
        Ok(())
    }

    async fn audit_policy(
        &self,
        caller: &Caller,
        action: &'static str,
        name: &str,
        error: Option<&Error>,
    ) -> Result<()> {
        let name: String = name.chars().take(100).filter(|c| !c.is_control()).collect();
        let mut entry = match error {
            // The database is away: there is nothing to write it to.
            Some(Error::Db(_)) => return Ok(()),
            Some(error) => audit(action, &name, error.audit_result()),
            None => audit(action, &name, AuditResult::Success),
        };
        entry.details = error.map(ToString::to_string);
        Ok(self.audits.record(caller, entry).await?)
    }
}

fn set(policy: &Definition, version: i64) -> PolicySet<'_> {
    PolicySet {
        name: &policy.name,
        kind: policy.kind.as_str(),
        expiration_hours: policy.expiration_hours,
        rules: &policy.rules,
        is_active: policy.is_active,
        version,
    }
}

fn audit(action: &'static str, name: &str, result: AuditResult) -> Audit {
    Audit::new("sgx", action, "sealing_policy", name, result)
}
