//! Puts in group commit: look at the rows, decide, seal, and write what is still as it was looked at.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use nsl_core::Caller;
use nsl_core::db::group::{Batch, HotWrite, Verdict};
use nsl_core::db::{DbError, DomainEvent as _, Login, Scoped};
use nsl_core::http::IfMatch;
use nsl_core::ids::TenantId;
use nsl_crypto::digest::fingerprint;
use serde_json::Value;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::keys::KeyRing;
use crate::domain::{Address, Attributes, Binding, Current, Next, decide_put};
use crate::error::Error;
use crate::events::{self, ItemPut};
use crate::store::items as store;

/// The database login of everything here.
pub(super) const LOGIN: Login = Login::Enclave;

/// A put as it waits in the queue.
pub(super) struct Put {
    pub caller: Caller,
    pub address: Address,
    pub value: Zeroizing<Vec<u8>>,
    pub attributes: Attributes,
    pub condition: IfMatch,
    pub now: Timestamp,
}

/// An item as a write or a read answers it.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub service: String,
    pub key: String,
    pub version: i64,
    pub size: usize,
    pub sealed_size: usize,
    pub fingerprint: String,
    pub policy: String,
    pub encryption: String,
    pub metadata: Option<Value>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub expires_at: Option<Timestamp>,
}

/// A put that took effect.
pub(crate) struct PutDone {
    pub item: Item,
    pub is_new: bool,
}

/// A put between preparation and statement.
pub(super) enum Prepared {
    Refused(Error),
    Sealed(Box<SealedPut>),
}

pub(super) struct SealedPut {
    next: Next,
    item: Item,
    created_by: String,
    key_version: Option<i32>,
    wrapped: Option<Vec<u8>>,
    sealed: Vec<u8>,
    stream: String,
    event: Value,
}

pub(super) struct PutItems {
    pub keys: Arc<KeyRing>,
    /// False: new values are stored as they are.
    pub encrypt: bool,
}

impl PutItems {
    async fn seal(&self, put: &Put, current: Option<&Current>) -> Result<SealedPut, Error> {
        let next = decide_put(current, &put.condition, Uuid::now_v7())
            .map_err(|current| Error::VersionConflict { current })?;
        let tenant = put.caller.tenant();
        let actor = &put.caller.principal.name;
        // A deleted item that comes back was created now.
        let (created_at, created_by) = match current {
            Some(current) if !next.is_new => (current.created_at, current.created_by.clone()),
            _ => (put.now, actor.clone()),
        };
        let binding = Binding {
            tenant,
            service: &put.address.service,
            key: &put.address.key,
            item_id: next.item_id,
            version: next.version,
            policy: put.attributes.policy.as_str(),
            policy_name: None,
            access: None,
            content: None,
            metadata: put.attributes.metadata.as_ref(),
            created_at,
            created_by: &created_by,
            updated_at: put.now,
            updated_by: actor,
            expires_at: put.attributes.expires_at,
        };
        let (key_version, wrapped, sealed) = if self.encrypt {
            let key = self.keys.for_sealing(tenant).await?;
            let sealed = key.kek.seal_value(&put.value, &binding.data_key(key.version), &binding.value());
            (Some(key.version), Some(sealed.wrapped_data_key.to_vec()), sealed.ciphertext)
        } else {
            (None, None, put.value.to_vec())
        };
        let item = Item {
            service: put.address.service.clone(),
            key: put.address.key.clone(),
            version: next.version,
            size: put.value.len(),
            sealed_size: sealed.len(),
            fingerprint: fingerprint(&sealed),
            policy: binding.policy.to_owned(),
            encryption: if self.encrypt { "aes-256-gcm" } else { "none" }.to_owned(),
            metadata: put.attributes.metadata.clone(),
            created_at,
            updated_at: put.now,
            expires_at: put.attributes.expires_at,
        };
        let event = serde_json::to_value(ItemPut {
            service: &item.service,
            key: &item.key,
            item_id: next.item_id,
            version: next.version,
            fingerprint: &item.fingerprint,
            size: item.size,
            policy: &item.policy,
        })
        .map_err(|error| {
            Error::Db(DbError::Refused { state: ItemPut::TYPE.to_owned(), text: error.to_string() })
        })?;
        let stream = events::stream(next.item_id);
        Ok(SealedPut { next, item, created_by, key_version, wrapped, sealed, stream, event })
    }
}

impl HotWrite for PutItems {
    type Command = Put;
    type Outcome = Result<PutDone, Error>;
    type Prepared = Vec<Prepared>;

    const NAME: &'static str = "sgx.put";

    fn tenant(&self, put: &Put) -> TenantId {
        put.caller.tenant()
    }

    fn key(&self, put: &Put) -> Option<String> {
        // A service name has no slash, so this is unambiguous.
        Some(format!("{}/{}/{}", put.caller.tenant(), put.address.service, put.address.key))
    }

    fn weight(&self, put: &Put) -> usize {
        1024 + put.value.len()
    }

    async fn prepare(&self, read: &Scoped<'_>, puts: &[&Put]) -> Result<Vec<Prepared>, DbError> {
        let tenants: Vec<TenantId> = puts.iter().map(|put| put.caller.tenant()).collect();
        let services: Vec<&str> = puts.iter().map(|put| put.address.service.as_str()).collect();
        let keys: Vec<&str> = puts.iter().map(|put| put.address.key.as_str()).collect();
        let heads = store::heads(read, &tenants, &services, &keys).await?;
        let mut heads: HashMap<usize, store::Head> =
            heads.into_iter().map(|head| (usize::try_from(head.place).unwrap_or_default(), head)).collect();
        let mut prepared = Vec::with_capacity(puts.len());
        for (index, put) in puts.iter().enumerate() {
            // WITH ORDINALITY counts from 1.
            let current = heads.remove(&(index + 1)).map(|head| current(head, put.now));
            prepared.push(match self.seal(put, current.as_ref()).await {
                Ok(sealed) => Prepared::Sealed(Box::new(sealed)),
                Err(Error::Db(error)) => return Err(error),
                Err(refused) => Prepared::Refused(refused),
            });
        }
        Ok(prepared)
    }

    async fn write(
        &self,
        batch: &Batch<'_>,
        puts: &[&Put],
        prepared: Vec<Prepared>,
    ) -> Result<Vec<Verdict<Self::Outcome>>, DbError> {
        let rows: Vec<(&Put, &SealedPut)> = puts
            .iter()
            .zip(&prepared)
            .filter_map(|(put, prepared)| match prepared {
                Prepared::Sealed(sealed) => Some((*put, &**sealed)),
                Prepared::Refused(_) => None,
            })
            .collect();
        let mut written = vec![false; rows.len()];
        if !rows.is_empty() {
            for row in put_rows(batch, &rows).await? {
                let index = usize::try_from(row.place - 1).unwrap_or(usize::MAX);
                if let Some(flag) = written.get_mut(index) {
                    *flag = true;
                }
            }
        }
        // The row changed meanwhile, or a rotation made another key the active one.
        for ((put, _), _) in rows.iter().zip(&written).filter(|(_, written)| !**written) {
            self.keys.forget(put.caller.tenant());
        }
        let mut written = written.into_iter();
        Ok(prepared
            .into_iter()
            .map(|prepared| match prepared {
                Prepared::Refused(error) => Verdict::Done(Err(error)),
                Prepared::Sealed(sealed) if written.next() == Some(true) => {
                    Verdict::Done(Ok(PutDone { item: sealed.item, is_new: sealed.next.is_new }))
                }
                Prepared::Sealed(_) => Verdict::Again,
            })
            .collect())
    }
}

fn current(head: store::Head, now: Timestamp) -> Current {
    Current {
        item_id: head.item_id,
        version: head.version,
        revision: head.revision,
        created_at: head.created_at,
        created_by: head.created_by,
        alive: head.deleted_at.is_none() && head.expires_at.is_none_or(|at| at > now),
    }
}

fn number(size: usize) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}

async fn put_rows(batch: &Batch<'_>, rows: &[(&Put, &SealedPut)]) -> Result<Vec<store::Written>, DbError> {
    fn column<'r, T>(rows: &[(&'r Put, &'r SealedPut)], of: impl Fn(&'r Put, &'r SealedPut) -> T) -> Vec<T> {
        rows.iter().map(|(put, sealed)| of(put, sealed)).collect()
    }
    store::put_items(
        batch,
        &column(rows, |put, _| put.caller.tenant()),
        &column(rows, |_, sealed| sealed.item.service.as_str()),
        &column(rows, |_, sealed| sealed.item.key.as_str()),
        &column(rows, |_, sealed| sealed.next.item_id),
        &column(rows, |_, sealed| sealed.next.version),
        &column(rows, |_, sealed| sealed.next.revision),
        &column(rows, |_, sealed| sealed.item.policy.as_str()),
        &column(rows, |_, sealed| sealed.item.encryption.as_str()),
        &column(rows, |_, sealed| sealed.key_version),
        &column(rows, |_, sealed| sealed.wrapped.as_deref()),
        &column(rows, |_, sealed| sealed.sealed.as_slice()),
        &column(rows, |_, sealed| number(sealed.item.size)),
        &column(rows, |_, sealed| number(sealed.item.sealed_size)),
        &column(rows, |_, sealed| sealed.item.fingerprint.as_str()),
        &column(rows, |_, sealed| sealed.item.metadata.as_ref()),
        &column(rows, |_, sealed| sealed.item.created_at),
        &column(rows, |_, sealed| sealed.created_by.as_str()),
        &column(rows, |_, sealed| sealed.item.updated_at),
        &column(rows, |put, _| put.caller.principal.name.as_str()),
        &column(rows, |_, sealed| sealed.item.expires_at),
        &column(rows, |_, _| Uuid::now_v7()),
        &column(rows, |_, sealed| sealed.stream.as_str()),
        &column(rows, |_, sealed| sealed.event.clone()),
        &column(rows, |put, _| put.caller.origin.trace_id.as_deref()),
        &column(rows, |_, _| Uuid::now_v7()),
        &column(rows, |put, _| put.caller.principal.user),
        &column(rows, |put, _| put.caller.principal.session.map(|id| id.to_string()))
            .iter()
            .map(Option::as_deref)
            .collect::<Vec<_>>(),
        &column(rows, |put, _| put.caller.origin.ip_address.as_deref()),
        &column(rows, |put, _| put.caller.origin.user_agent.as_deref()),
        &column(rows, |put, _| put.caller.origin.request_id.as_deref()),
    )
    .await
}
