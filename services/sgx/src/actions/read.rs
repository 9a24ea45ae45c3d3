//! Reading, listing, deleting. A read is answered only after its audit row is committed.

use nsl_core::Caller;
use nsl_core::db::{Audit, AuditResult, DbError};
use nsl_core::http::{IfMatch, Limit};
use nsl_core::ports::{SecurityEvent, Severity};
use uuid::Uuid;

use super::Sgx;
use super::gets::{Get, Got};
use super::opener::{alive, size};
use super::write::{Item, LOGIN};
use crate::Result;
use crate::domain::{Address, Opened};
use crate::error::Error;
use crate::events::{self, ItemDeleted};
use crate::store::items as store;

/// What a list is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    pub service: Option<String>,
    pub prefix: String,
    /// The last (service, key) of the page before.
    pub after: (String, String),
    pub limit: Limit,
}

/// After so many changes between look and deletion the caller is told to try again.
const MAX_ATTEMPTS: u32 = 8;

impl Sgx {
    /// Opens an item.
    pub(crate) async fn get(&self, caller: &Caller, address: &Address) -> Result<(Item, Opened)> {
        let get = Get { caller: caller.clone(), address: address.clone(), now: self.clock.now() };
        match self.gets.submit(get).await? {
            Got::Opened(opened) => Ok(*opened),
            Got::Refused(error) => Err(error),
            Got::Damaged(error) => self.answer(caller, "UNSEAL_ITEM", address, Err(error)).await,
            Got::Apart => {
                let found = self.load(caller, address).await;
                self.answer(caller, "UNSEAL_ITEM", address, found).await
            }
        }
    }

    /// An item without its value.
    pub(crate) async fn stat(&self, caller: &Caller, address: &Address) -> Result<Item> {
        let tenant = caller.tenant();
        let row = store::info(&self.db.read(LOGIN, tenant), tenant, &address.service, &address.key).await?;
        let found = row
            .ok_or(Error::NotFound)
            .and_then(|row| alive(row.deleted_at, row.expires_at, self.clock.now()).map(|()| item(row)));
        self.answer(caller, "STAT_ITEM", address, found).await
    }

    /// Items in the order of service and key, without their values.
    pub(crate) async fn list(&self, caller: &Caller, listing: &Listing) -> Result<Vec<Item>> {
        let tenant = caller.tenant();
        let until = after_prefix(&listing.prefix);
        let rows = store::list(
            &self.db.read(LOGIN, tenant),
            tenant,
            listing.service.as_deref(),
            &listing.prefix,
            until.as_deref(),
            &listing.after.0,
            &listing.after.1,
            self.clock.now(),
            i64::from(listing.limit.0) + 1,
        )
        .await?;
        let resource = format!("{}/{}*", listing.service.as_deref().unwrap_or("*"), listing.prefix);
        self.audit(caller, "LIST_ITEMS", resource, AuditResult::Success, None).await?;
        Ok(rows.into_iter().map(item).collect())
    }

    /// Deletes an item; the row is purged after the retention.
    pub(crate) async fn delete(&self, caller: &Caller, address: &Address, condition: &IfMatch) -> Result<()> {
        match self.try_delete(caller, address, condition).await {
            Err(error @ (Error::NotFound | Error::Expired | Error::VersionConflict { .. })) => {
                let resource = address.resource();
                self.audit(caller, "DELETE_ITEM", resource, AuditResult::Failure, Some(&error)).await?;
                Err(error)
            }
            outcome => outcome,
        }
    }

    async fn try_delete(&self, caller: &Caller, address: &Address, condition: &IfMatch) -> Result<()> {
        let tenant = caller.tenant();
        let (principal, origin) = (&caller.principal, &caller.origin);
        for _ in 0..MAX_ATTEMPTS {
            let read = self.db.read(LOGIN, tenant);
            let row =
                store::info(&read, tenant, &address.service, &address.key).await?.ok_or(Error::NotFound)?;
            alive(row.deleted_at, row.expires_at, self.clock.now())?;
            if !condition.holds(Some(row.version)) {
                return Err(Error::VersionConflict { current: Some(row.version) });
            }
            let event = serde_json::to_value(ItemDeleted {
                service: &row.service_name,
                key: &row.key,
                item_id: row.item_id,
                version: row.version,
            })
            .map_err(|error| Error::Integrity(error.to_string()))?;
            let done = store::delete_item(
                &self.db.write(LOGIN, tenant),
                tenant,
                &row.service_name,
                &row.key,
                row.revision,
                self.clock.now(),
                Uuid::now_v7(),
                &events::stream(row.item_id),
                &event,
                origin.trace_id.as_deref(),
                Uuid::now_v7(),
                principal.user,
                &principal.name,
                principal.session.map(|session| session.to_string()).as_deref(),
                origin.ip_address.as_deref(),
                origin.user_agent.as_deref(),
                origin.request_id.as_deref(),
            )
            .await?;
            if done.is_some() {
                self.heads.forget(tenant, address);
                self.db.recorded().notify_one();
                return Ok(());
            }
        }
        Err(DbError::Conflict("the item kept changing".to_owned()).into())
    }

    /// Reads and opens one row on its own.
    async fn load(&self, caller: &Caller, address: &Address) -> Result<(Item, Opened)> {
        match self.load_any(caller, address).await? {
            (item, opened, None) => Ok((item, opened)),
            (_, _, Some(_)) => Err(Error::Streamed),
        }
    }

    /// The same for streamed values too, whose summary is what opens; their content is named.
    pub(super) async fn load_any(
        &self,
        caller: &Caller,
        address: &Address,
    ) -> Result<(Item, Opened, Option<Uuid>)> {
        let tenant = caller.tenant();
        let row = store::sealed(&self.db.read(LOGIN, tenant), tenant, &address.service, &address.key)
            .await?
            .ok_or(Error::NotFound)?;
        self.opener.open_any(tenant, address, row, self.clock.now()).await
    }

    /// Writes the audit row of a read, and raises what must not happen, before anything is answered.
    pub(super) async fn answer<T>(
        &self,
        caller: &Caller,
        action: &'static str,
        address: &Address,
        found: Result<T>,
    ) -> Result<T> {
        match &found {
            Ok(_) => self.audit(caller, action, address.resource(), AuditResult::Success, None).await?,
            Err(error @ Error::Integrity(reason)) => {
                self.alarm(caller, action, address, error, reason).await?;
            }
            Err(Error::Db(_)) => {}
            Err(error) => {
                self.audit(caller, action, address.resource(), AuditResult::Failure, Some(error)).await?;
            }
        }
        found
    }

    /// A damaged row: security event and audit row in one transaction.
    pub(super) async fn alarm(
        &self,
        caller: &Caller,
        action: &'static str,
        address: &Address,
        error: &Error,
        reason: &str,
    ) -> Result<()> {
        let mut work = self.db.begin(LOGIN, caller).await?;
        let event = SecurityEvent {
            kind: "sgx.integrity_violation",
            severity: Severity::Critical,
            description: format!("Sealed item {} is not what was sealed: {reason}", address.resource()),
            data: serde_json::json!({ "service": address.service, "key": address.key, "reason": reason }),
        };
        self.security.record(&work, caller, &event).await?;
        work.audit(
            Audit::new("sgx", action, "sealed_item", address.resource(), AuditResult::Failure)
                .details(error.to_string()),
        );
        Ok(work.commit().await?)
    }
}

/// The least text above every text with this prefix, in the order of bytes; None if there is none.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // The next character that exists: the surrogates' range is skipped.
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            text.push(next);
            return Some(text);
        }
    }
    None
}

fn item(row: store::Info) -> Item {
    Item {
        service: row.service_name,
        key: row.key,
        version: row.version,
        size: size(row.original_size),
        sealed_size: size(row.sealed_size),
        fingerprint: row.fingerprint,
        policy: row.policy_type,
        encryption: row.encryption,
        metadata: row.metadata,
        created_at: row.created_at,
        updated_at: row.updated_at,
        expires_at: row.expires_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_text() {
        assert_eq!(after_prefix("ab").as_deref(), Some("ac"));
        assert_eq!(after_prefix(""), None);
        assert_eq!(after_prefix("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(after_prefix("\u{d7ff}").as_deref(), Some("\u{e000}"));
        assert_eq!(after_prefix("\u{10ffff}"), None);
    }
}
