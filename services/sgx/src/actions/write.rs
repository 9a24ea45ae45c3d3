//! Puts in group commit: know the rows, decide, seal, and write what is still as it was known.

use std::collections::{BTreeMap, BTreeSet};
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

use super::heads::{Heads, Known};
use super::keys::KeyRing;
use crate::domain::{Address, Attributes, Binding, Content, Next, decide_put};
use crate::error::Error;
use crate::events::{self, ItemPut};
use crate::store::items as store;

/// The database login of everything here.
pub(super) const LOGIN: Login = Login::Enclave;

/// One value to be put.
pub(super) struct Put {
    pub address: Address,
    pub value: Zeroizing<Vec<u8>>,
    pub attributes: Attributes,
    pub condition: IfMatch,
    /// The chunks that `value`, their summary, stands for.
    pub content: Option<Content>,
}

/// Puts that take effect together or not at all, as they wait in the queue. Mostly one.
pub(super) struct Puts {
    pub caller: Caller,
    pub now: Timestamp,
    pub all: Vec<Put>,
}

/// Why puts did not take effect: the first of them that was refused.
#[derive(Debug)]
pub(super) struct Refused {
    pub index: usize,
    pub error: Error,
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

pub(super) struct SealedPut {
    next: Next,
    /// One item more is kept: none was there, or a deleted one, which does not count.
    adds_item: bool,
    item: Item,
    policy_type: &'static str,
    created_by: String,
    key_version: Option<i32>,
    wrapped: Option<Vec<u8>>,
    sealed: Vec<u8>,
    stream: String,
    event: Value,
}

pub(super) struct PutItems {
    pub keys: Arc<KeyRing>,
    pub heads: Arc<Heads>,
    /// False: new values are stored as they are.
    pub encrypt: bool,
    /// How many versions of an item are kept, the current one among them.
    pub keep_versions: i64,
}

impl PutItems {
    async fn seal(
        &self,
        caller: &Caller,
        now: Timestamp,
        put: &Put,
        known: Option<&Known>,
    ) -> Result<SealedPut, Error> {
        let current = known.map(|known| known.at(now));
        let next = decide_put(current.as_ref(), &put.condition, Uuid::now_v7())
            .map_err(|current| Error::VersionConflict { current })?;
        let tenant = caller.tenant();
        let actor = &caller.principal.name;
        // A deleted item that comes back was created now.
        let (created_at, created_by) = match known {
            Some(known) if !next.is_new => (known.created_at, known.created_by.clone()),
            _ => (now, actor.clone()),
        };
        let attributes = &put.attributes;
        let binding = Binding {
            tenant,
            service: &put.address.service,
            key: &put.address.key,
            item_id: next.item_id,
            version: next.version,
            policy: attributes.policy.as_str(),
            policy_name: attributes.policy_name.as_deref(),
            access: attributes.access.as_ref(),
            content: put.content.as_ref().map(|content| content.id),
            metadata: attributes.metadata.as_ref(),
            created_at,
            created_by: &created_by,
            updated_at: now,
            updated_by: actor,
            expires_at: attributes.expires_at,
        };
        let (key_version, wrapped, sealed) = if self.encrypt {
            let key = self.keys.for_sealing(tenant).await?;
            let sealed = key.kek.seal_value(&put.value, &binding.data_key(key.version), &binding.value());
            (Some(key.version), Some(sealed.wrapped_data_key.to_vec()), sealed.ciphertext)
        } else {
            (None, None, put.value.to_vec())
        };
        let (size, sealed_size) = match &put.content {
            Some(content) => (content.size, content.sealed_size + sealed.len()),
            None => (put.value.len(), sealed.len()),
        };
        let item = Item {
            service: put.address.service.clone(),
            key: put.address.key.clone(),
            version: next.version,
            size,
            sealed_size,
            fingerprint: fingerprint(&sealed),
            policy: attributes.policy_name.clone().unwrap_or_else(|| binding.policy.to_owned()),
            encryption: if self.encrypt { "aes-256-gcm" } else { "none" }.to_owned(),
            metadata: attributes.metadata.clone(),
            created_at,
            updated_at: now,
            expires_at: attributes.expires_at,
        };
        let event = serde_json::to_value(ItemPut {
            service: &item.service,
            key: &item.key,
            item_id: next.item_id,
            version: next.version,
            fingerprint: &item.fingerprint,
            size: item.size,
            policy: &item.policy,
            keep_versions: Some(self.keep_versions),
        })
        .map_err(|error| {
            Error::Db(DbError::Refused { state: ItemPut::TYPE.to_owned(), text: error.to_string() })
        })?;
        let stream = events::stream(next.item_id);
        let policy_type = attributes.policy.as_str();
        let adds_item = known.is_none_or(|known| known.deleted);
        Ok(SealedPut {
            next,
            adds_item,
            item,
            policy_type,
            created_by,
            key_version,
            wrapped,
            sealed,
            stream,
            event,
        })
    }

    /// Seals against what is known of the rows. A refusal stands only on what was read just now: another process may
    /// have changed the row since this one learnt of it.
    async fn seal_all(
        &self,
        read: &Scoped<'_>,
        puts: &Puts,
    ) -> Result<Result<Vec<SealedPut>, Refused>, DbError> {
        let tenant = puts.caller.tenant();
        let mut sealed = Vec::with_capacity(puts.all.len());
        for (index, put) in puts.all.iter().enumerate() {
            let known = self.heads.get(tenant, &put.address);
            let outcome = self.seal(&puts.caller, puts.now, put, known.as_deref()).await;
            let outcome = match outcome {
                Err(Error::VersionConflict { .. }) => {
                    let known = self.heads.read(read, tenant, &put.address).await?;
                    self.seal(&puts.caller, puts.now, put, known.as_deref()).await
                }
                outcome => outcome,
            };
            match outcome {
                Ok(put) => sealed.push(put),
                Err(Error::Db(error)) => return Err(error),
                Err(error) => return Ok(Err(Refused { index, error })),
            }
        }
        Ok(Ok(sealed))
    }
}

impl HotWrite for PutItems {
    type Command = Puts;
    type Outcome = Result<Vec<PutDone>, Refused>;
    type Prepared = Vec<Result<Vec<SealedPut>, Refused>>;

    const NAME: &'static str = "sgx.put";

    fn tenant(&self, puts: &Puts) -> TenantId {
        puts.caller.tenant()
    }

    fn keys(&self, puts: &Puts) -> Vec<String> {
        puts.all.iter().map(|put| super::heads::place(puts.caller.tenant(), &put.address)).collect()
    }

    fn weight(&self, puts: &Puts) -> usize {
        puts.all.iter().map(|put| 1024 + put.value.len()).sum()
    }

    async fn prepare(&self, read: &Scoped<'_>, batch: &[&Puts]) -> Result<Self::Prepared, DbError> {
        let mut places = Vec::with_capacity(batch.len());
        for puts in batch {
            places.extend(puts.all.iter().map(|put| (puts.caller.tenant(), &put.address)));
        }
        self.heads.learn(read, &places).await?;
        let mut prepared = Vec::with_capacity(batch.len());
        for puts in batch {
            prepared.push(self.seal_all(read, puts).await?);
        }
        Ok(prepared)
    }

    async fn write(
        &self,
        batch: &Batch<'_>,
        commands: &[&Puts],
        prepared: Self::Prepared,
    ) -> Result<Vec<Verdict<Self::Outcome>>, DbError> {
        let mut rows: Vec<Row<'_>> = commands
            .iter()
            .zip(&prepared)
            .filter_map(|(puts, prepared)| prepared.as_ref().ok().map(|sealed| (*puts, sealed)))
            .flat_map(|(puts, sealed)| {
                puts.all.iter().zip(sealed).map(|(put, sealed)| Row { puts, put, sealed })
            })
            .collect();
        // Every process goes through rows in the same order, so that two cannot wait for each other.
        rows.sort_by(|a, b| a.order().cmp(&b.order()));
        if !rows.is_empty() {
            let written = put_rows(batch, &rows, self.keep_versions).await;
            let tenants = rows.iter().map(|row| row.puts.caller.tenant());
            if written.is_err() {
                // What was known may be what is wrong: a row, or which key is active.
                for tenant in tenants.collect::<BTreeSet<_>>() {
                    self.keys.forget(tenant);
                }
                for row in &rows {
                    self.heads.forget(row.puts.caller.tenant(), &row.put.address);
                }
            }
            written?;
            for row in &rows {
                self.heads.keep(row.puts.caller.tenant(), &row.put.address, row.known());
            }
        }
        Ok(prepared
            .into_iter()
            .map(|prepared| {
                Verdict::Done(prepared.map(|sealed| {
                    sealed
                        .into_iter()
                        .map(|sealed| PutDone { item: sealed.item, is_new: sealed.next.is_new })
                        .collect()
                }))
            })
            .collect())
    }
}

/// A put beside what it became.
struct Row<'a> {
    puts: &'a Puts,
    put: &'a Put,
    sealed: &'a SealedPut,
}

impl Row<'_> {
    fn order(&self) -> (TenantId, &str, &str) {
        (self.puts.caller.tenant(), &self.put.address.service, &self.put.address.key)
    }

    /// What stands at the address once this is written.
    fn known(&self) -> Known {
        let SealedPut { next, item, created_by, .. } = self.sealed;
        Known {
            item_id: next.item_id,
            version: next.version,
            revision: next.revision,
            created_at: item.created_at,
            created_by: created_by.clone(),
            expires_at: item.expires_at,
            deleted: false,
        }
    }
}

fn number(size: usize) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}

/// How much of a service's room the rows take, by tenant and service.
fn usage<'r>(rows: &'r [Row<'_>]) -> BTreeMap<(TenantId, &'r str), (i64, i64, i64)> {
    let mut usage = BTreeMap::new();
    for row in rows {
        let (tenant, service, _) = row.order();
        let (items, versions, bytes) = usage.entry((tenant, service)).or_insert((0, 0, 0));
        *items += i64::from(row.sealed.adds_item);
        *versions += 1;
        *bytes += i64::try_from(row.sealed.item.sealed_size).unwrap_or(i64::MAX);
    }
    usage
}

async fn put_rows(batch: &Batch<'_>, rows: &[Row<'_>], keep_versions: i64) -> Result<(), DbError> {
    fn column<'r, T>(rows: &'r [Row<'r>], of: impl Fn(&'r Row<'r>) -> T) -> Vec<T> {
        rows.iter().map(of).collect()
    }
    let tenants = column(rows, |row| row.puts.caller.tenant());
    let replaced: Vec<&Row<'_>> = rows.iter().filter(|row| row.sealed.next.revision > 1).collect();
    let trimmed: Vec<&Row<'_>> = rows.iter().filter(|row| row.sealed.next.version > keep_versions).collect();
    let usage = usage(rows);
    let keys: BTreeSet<(TenantId, i32)> = rows
        .iter()
        .filter_map(|row| row.sealed.key_version.map(|version| (row.puts.caller.tenant(), version)))
        .collect();
    let sessions = column(rows, |row| row.puts.caller.principal.session.map(|id| id.to_string()));
    let done = store::put_items(
        batch,
        &tenants,
        &column(rows, |row| row.sealed.item.service.as_str()),
        &column(rows, |row| row.sealed.item.key.as_str()),
        &column(rows, |row| row.sealed.next.item_id),
        &column(rows, |row| row.sealed.next.version),
        &column(rows, |row| row.sealed.next.revision),
        &column(rows, |row| row.sealed.policy_type),
        &column(rows, |row| row.sealed.item.encryption.as_str()),
        &column(rows, |row| row.sealed.key_version),
        &column(rows, |row| row.sealed.wrapped.as_deref()),
        &column(rows, |row| row.sealed.sealed.as_slice()),
        &column(rows, |row| number(row.sealed.item.size)),
        &column(rows, |row| number(row.sealed.item.sealed_size)),
        &column(rows, |row| row.sealed.item.fingerprint.as_str()),
        &column(rows, |row| row.sealed.item.metadata.as_ref()),
        &column(rows, |row| row.sealed.item.created_at),
        &column(rows, |row| row.sealed.created_by.as_str()),
        &column(rows, |row| row.sealed.item.updated_at),
        &column(rows, |row| row.puts.caller.principal.name.as_str()),
        &column(rows, |row| row.sealed.item.expires_at),
        &column(rows, |_| Uuid::now_v7()),
        &column(rows, |row| row.sealed.stream.as_str()),
        &column(rows, |row| &row.sealed.event),
        &column(rows, |row| row.puts.caller.origin.trace_id.as_deref()),
        &column(rows, |_| Uuid::now_v7()),
        &column(rows, |row| row.puts.caller.principal.user),
        &sessions.iter().map(Option::as_deref).collect::<Vec<_>>(),
        &column(rows, |row| row.puts.caller.origin.ip_address.as_deref()),
        &column(rows, |row| row.puts.caller.origin.user_agent.as_deref()),
        &column(rows, |row| row.puts.caller.origin.request_id.as_deref()),
        &column(rows, |row| row.put.attributes.policy_name.as_deref()),
        &column(rows, |row| row.put.attributes.access.as_ref()),
        &column(rows, |row| row.put.content.as_ref().map(|content| content.id)),
        &replaced.iter().map(|row| row.puts.caller.tenant()).collect::<Vec<_>>(),
        &replaced.iter().map(|row| row.sealed.item.service.as_str()).collect::<Vec<_>>(),
        &replaced.iter().map(|row| row.sealed.item.key.as_str()).collect::<Vec<_>>(),
        &replaced.iter().map(|row| row.sealed.next.revision - 1).collect::<Vec<_>>(),
        &replaced.iter().map(|row| row.sealed.item.updated_at).collect::<Vec<_>>(),
        &trimmed.iter().map(|row| row.puts.caller.tenant()).collect::<Vec<_>>(),
        &trimmed.iter().map(|row| row.sealed.next.item_id).collect::<Vec<_>>(),
        &trimmed.iter().map(|row| row.sealed.next.version - keep_versions).collect::<Vec<_>>(),
        &usage.keys().map(|(tenant, _)| *tenant).collect::<Vec<_>>(),
        &usage.keys().map(|(_, service)| *service).collect::<Vec<_>>(),
        &usage.values().map(|(items, _, _)| *items).collect::<Vec<_>>(),
        &usage.values().map(|(_, versions, _)| *versions).collect::<Vec<_>>(),
        &usage.values().map(|(_, _, bytes)| *bytes).collect::<Vec<_>>(),
        &keys.iter().map(|(tenant, _)| *tenant).collect::<Vec<_>>(),
        &keys.iter().map(|(_, version)| *version).collect::<Vec<_>>(),
    )
    .await?;
    if done.ok { Ok(()) } else { Err(DbError::NoRow("sgx.put_items")) }
}
