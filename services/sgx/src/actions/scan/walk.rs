//! The walk: items, former versions, and then the streams of the log, whose items have to be there. Each in the order of its
//! key and a page at a time, so that memory does not grow with the store. What looks wrong because it changed in between is
//! looked at again.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use nsl_core::ids::TenantId;
use nsl_core::ports::LoggedEvent;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{Found, LOGIN, MOST_FINDINGS, Scan};
use crate::Result;
use crate::actions::Sgx;
use crate::domain::scan::{FindingKind, Known, Life, Row, ScanAt, Seal, Verdict, judge, judge_version};
use crate::domain::{Binding, CHUNK, Summary, open};
use crate::error::Error;
use crate::events;
use crate::store::scans as store;
use crate::store::whole::{Whole, whole_items, whole_versions};

/// Whole rows at once: a value may have a mebibyte.
const PAGE: i64 = 16;
/// A page of streamed values is cut where it costs as much as so many rows: progress is kept and the lease renewed between.
const STEP: usize = 64;
const STREAMS: i64 = 250;
/// An item that changes oftener than this while it is looked at is left for the next scan.
const LOOKS: usize = 4;
/// How many events back it is looked for whether an item is deleted: most events say it.
const FARTHEST: i64 = 64;
/// Beyond so many findings it is not asked any more whose bytes an item has: each question reads the tenant's log.
const QUESTIONS: i64 = 100;

/// The streams of items.
const PREFIX: &str = "sgx.item/";

impl Sgx {
    pub(super) async fn advance_scan(self: &Arc<Self>, scan: &Scan, until: Instant) -> Result<()> {
        let place = scan.place.clone().unwrap_or_default();
        let mut at: ScanAt = serde_json::from_value(place).unwrap_or_default();
        while Instant::now() < until {
            let begun = Instant::now();
            let (looked, checked) = match at.clone() {
                ScanAt::Items { service, key } => self.scan_items(scan, &mut at, (&service, &key)).await?,
                ScanAt::Versions { item_id, version } => {
                    self.scan_versions(scan, &mut at, (item_id, version)).await?
                }
                ScanAt::Streams { stream } => (self.scan_streams(scan, &mut at, &stream).await?, 0),
                ScanAt::End => return self.finish_scan(scan, None).await,
            };
            let place = serde_json::to_value(&at).map_err(|error| Error::Integrity(error.to_string()))?;
            let (tenant, id) = (scan.tenant_id, scan.scan_id);
            let checked = i64::try_from(checked).unwrap_or(i64::MAX);
            store::progress(&self.db.write(LOGIN, tenant), tenant, id, checked, &place, self.clock.now())
                .await?;
            let now = self.scan_now(tenant, id).await?;
            if now.is_some_and(|scan| scan.findings >= MOST_FINDINGS) {
                let failure = format!(
                    "It was broken off after {MOST_FINDINGS} findings. Restore the database from a backup that is whole."
                );
                return self.finish_scan(scan, Some(&failure)).await;
            }
            let rows = u32::try_from(looked).unwrap_or(u32::MAX);
            let share = Duration::from_secs(1) * rows / self.config.scan.rows_per_second.max(1);
            sleep(share.saturating_sub(begun.elapsed())).await;
        }
        Ok(())
    }

    /// How much was read, and how many rows.
    async fn scan_items(
        self: &Arc<Self>,
        scan: &Scan,
        at: &mut ScanAt,
        after: (&str, &str),
    ) -> Result<(usize, usize)> {
        let tenant = scan.tenant_id;
        let read = self.db.read(LOGIN, tenant);
        let mut rows = one_step(store::items_after(&read, tenant, after.0, after.1, PAGE).await?);
        let (looked, checked) = (weight(&rows), rows.len());
        *at = match rows.last() {
            Some(last) => ScanAt::Items { service: last.service_name.clone(), key: last.key.clone() },
            None => ScanAt::Versions { item_id: Uuid::nil(), version: 0 },
        };
        self.scan_former(scan, &rows).await?;
        for _ in 0..LOOKS {
            let known = self.known(tenant, &rows).await?;
            let mut behind = Vec::new();
            for row in rows {
                let seal = self.seal_of(tenant, &row).await?;
                let known = known.get(&row.item_id);
                match judge(&seen(&row), &seal, known) {
                    Verdict::Fine => {}
                    Verdict::Finding(kind, detail) => self.found(scan, kind, &place(&row), &detail).await?,
                    Verdict::Foreign(reason) => self.found_foreign(scan, &row, &reason).await?,
                    Verdict::Behind(kind, detail) => {
                        behind.push((row, known.map_or(0, |known| known.revision), kind, detail));
                    }
                }
            }
            if behind.is_empty() {
                break;
            }
            rows = self.look_again(scan, behind).await?;
        }
        Ok((looked, checked))
    }

    /// Rows that the log was ahead of. One that still is behind what the log had before this look is a finding; of one that
    /// is gone, the walk over the streams tells whether it may be.
    async fn look_again(
        &self,
        scan: &Scan,
        behind: Vec<(Whole, i64, FindingKind, String)>,
    ) -> Result<Vec<Whole>> {
        let services: Vec<&str> = behind.iter().map(|(row, ..)| row.service_name.as_str()).collect();
        let keys: Vec<&str> = behind.iter().map(|(row, ..)| row.key.as_str()).collect();
        let read = self.db.read(LOGIN, scan.tenant_id);
        let mut now: HashMap<Uuid, Whole> = whole_items(&read, scan.tenant_id, &services, &keys)
            .await?
            .into_iter()
            .map(|row| (row.item_id, row))
            .collect();
        let mut changed = Vec::new();
        for (row, logged, kind, detail) in &behind {
            match now.remove(&row.item_id) {
                Some(again) if again.revision < *logged => {
                    self.found(scan, *kind, &place(row), detail).await?;
                }
                Some(again) => changed.push(again),
                None => {}
            }
        }
        Ok(changed)
    }

    async fn scan_versions(
        self: &Arc<Self>,
        scan: &Scan,
        at: &mut ScanAt,
        after: (Uuid, i64),
    ) -> Result<(usize, usize)> {
        let tenant = scan.tenant_id;
        let read = self.db.read(LOGIN, tenant);
        let rows = one_step(store::versions_after(&read, tenant, after.0, after.1, PAGE).await?);
        *at = match rows.last() {
            Some(last) => ScanAt::Versions { item_id: last.item_id, version: last.version },
            None => ScanAt::Streams { stream: PREFIX.to_owned() },
        };
        let known = self.known(tenant, &rows).await?;
        for row in &rows {
            let seal = self.seal_of(tenant, row).await?;
            match judge_version(&seal, known.get(&row.item_id)) {
                Verdict::Fine => {}
                Verdict::Finding(kind, detail) => self.found(scan, kind, &place(row), &detail).await?,
                Verdict::Foreign(reason) => self.found_foreign(scan, row, &reason).await?,
                Verdict::Behind(kind, detail) => {
                    let again = whole_versions(&read, tenant, &[row.item_id], &[row.version]).await?;
                    if !again.is_empty() {
                        self.found(scan, kind, &place(row), &detail).await?;
                    }
                }
            }
        }
        Ok((weight(&rows), rows.len()))
    }

    /// Every item that the log knows, and that was not purged, has to be where the log has it.
    async fn scan_streams(&self, scan: &Scan, at: &mut ScanAt, after: &str) -> Result<usize> {
        let tenant = scan.tenant_id;
        let heads = self.log.heads(tenant, PREFIX, after, STREAMS).await?;
        *at = match heads.last() {
            Some(last) => ScanAt::Streams { stream: last.stream.clone() },
            None => ScanAt::End,
        };
        let mut missing: Vec<Known> =
            heads.iter().filter_map(Known::of).filter(|known| known.life != Life::Purged).collect();
        let services: Vec<&str> = missing.iter().map(|known| known.service.as_str()).collect();
        let keys: Vec<&str> = missing.iter().map(|known| known.key.as_str()).collect();
        let ids: Vec<Uuid> = missing.iter().map(|known| known.item_id).collect();
        let there = store::present(&self.db.read(LOGIN, tenant), tenant, &services, &keys, &ids).await?;
        missing.retain(|known| !there.iter().any(|row| row.item_id == known.item_id));
        if missing.is_empty() {
            return Ok(heads.len());
        }
        // What was purged meanwhile took its row and wrote its event at once.
        let streams: Vec<String> = missing.iter().map(|known| events::stream(known.item_id)).collect();
        let heads_now = self.log.heads_of(tenant, &streams).await?;
        let still: Vec<Known> =
            heads_now.iter().filter_map(Known::of).filter(|known| known.life != Life::Purged).collect();
        let ids: Vec<Uuid> = still.iter().map(|known| known.item_id).collect();
        let read = self.db.read(LOGIN, tenant);
        let told = store::found_items(&read, tenant, scan.scan_id, &ids).await?;
        for known in still.iter().filter(|known| !told.iter().any(|row| row.item_id == Some(known.item_id))) {
            let place = Found {
                service: &known.service,
                key: &known.key,
                item_id: known.item_id,
                version: known.version,
            };
            let detail = format!("the log has it at revision {}, and there is no row", known.revision);
            self.found(scan, FindingKind::Vanished, &place, &detail).await?;
        }
        Ok(heads.len())
    }

    /// What the log says last of the items of these rows. Read after them.
    async fn known(&self, tenant: TenantId, rows: &[Whole]) -> Result<HashMap<Uuid, Known>> {
        let mut streams: Vec<String> = rows.iter().map(|row| events::stream(row.item_id)).collect();
        streams.dedup();
        let mut all = HashMap::with_capacity(streams.len());
        for head in self.log.heads_of(tenant, &streams).await? {
            if let Some(known) = self.alive_or_not(tenant, &head).await? {
                all.insert(known.item_id, known);
            }
        }
        Ok(all)
    }

    /// An event that does not say whether the item is deleted leaves it as it was before.
    async fn alive_or_not(&self, tenant: TenantId, head: &LoggedEvent) -> Result<Option<Known>> {
        let Some(mut known) = Known::of(head) else { return Ok(None) };
        let mut version = head.version;
        while known.life == Life::AsBefore && version > 1 && head.version - version < FARTHEST {
            version -= 1;
            let before = self.log.event(tenant, &head.stream, version).await?;
            let Some(before) = before.as_ref().and_then(Known::of) else { break };
            known.life = before.life;
        }
        Ok(Some(known))
    }

    async fn seal_of(self: &Arc<Self>, tenant: TenantId, row: &Whole) -> Result<Seal> {
        if row.sealed_data.is_none() {
            return Ok(Seal::Destroyed);
        }
        if row.encryption == "none" && self.encrypts() {
            return Ok(Seal::Unsealed);
        }
        let own = nsl_crypto::digest::fingerprint(row.sealed_data.as_deref().unwrap_or_default())
            == row.fingerprint;
        let key = match row.sealing_key_version {
            Some(version) => match self.keys.for_opening(tenant, version).await {
                Ok(Some(key)) => Some(key),
                Ok(None) => {
                    return Ok(Seal::Broken { reason: "its sealing key does not exist".to_owned(), own });
                }
                Err(Error::Integrity(reason)) => return Ok(Seal::Broken { reason, own }),
                Err(error) => return Err(error),
            },
            None => None,
        };
        let key = key.as_ref().map(|key| (&key.kek, key.version));
        Ok(match open(&row.stored(), &Binding::of(tenant, row), key, true) {
            Ok(opened) => match row.content_id {
                Some(content) => self.seal_of_chunks(tenant, content, &opened, own).await?,
                None => Seal::Opens,
            },
            Err(reason) => Seal::Broken { reason: reason.to_owned(), own },
        })
    }

    /// Whether every chunk of a streamed value opens at its place.
    async fn seal_of_chunks(
        self: &Arc<Self>,
        tenant: TenantId,
        content: Uuid,
        opened: &[u8],
        own: bool,
    ) -> Result<Seal> {
        let Some(summary) = Summary::decode(opened) else {
            return Ok(Seal::Broken { reason: "its content has no summary".to_owned(), own });
        };
        let mut chunks = pin!(self.chunks(tenant, content, &summary));
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok(_) => {}
                Err(Error::Integrity(reason)) => return Ok(Seal::Broken { reason, own }),
                // No row opens it any more: it was replaced or destroyed meanwhile.
                Err(Error::NotFound) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(Seal::Opens)
    }

    /// Asks the log whose bytes these are.
    async fn found_foreign(&self, scan: &Scan, row: &Whole, reason: &str) -> Result<()> {
        let tenant = scan.tenant_id;
        let asked = match self.scan_now(tenant, scan.scan_id).await? {
            Some(scan) if scan.findings < QUESTIONS => {
                let wanted = serde_json::json!({ "fingerprint": row.fingerprint });
                // A log that is too large to be searched has no answer; the finding stays.
                self.log.containing(tenant, PREFIX, &wanted).await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "the log could not be searched for a fingerprint");
                    None
                })
            }
            _ => None,
        };
        let (kind, detail) = match asked.as_ref().and_then(Known::of) {
            Some(owner) if owner.item_id != row.item_id => (
                FindingKind::Misplaced,
                format!("its bytes are those of {}/{}, version {}", owner.service, owner.key, owner.version),
            ),
            Some(owner) if owner.version != row.version => {
                (FindingKind::RolledBack, format!("its bytes are those of version {}", owner.version))
            }
            _ => (FindingKind::Damaged, reason.to_owned()),
        };
        self.found(scan, kind, &place(row), &detail).await
    }
}

/// What rows cost to read, in rows: a chunk of a streamed value counts as one.
fn weight(rows: &[Whole]) -> usize {
    let chunks = |row: &Whole| usize::try_from(row.original_size).unwrap_or(0).div_ceil(CHUNK);
    rows.iter().map(|row| 1 + row.content_id.map_or(0, |_| chunks(row))).sum()
}

/// As many of the first rows as one step may cost, and at least one.
fn one_step(mut rows: Vec<Whole>) -> Vec<Whole> {
    while rows.len() > 1 && weight(&rows) > STEP {
        rows.pop();
    }
    rows
}

fn seen(row: &Whole) -> Row<'_> {
    Row {
        service: &row.service_name,
        key: &row.key,
        version: row.version,
        revision: row.revision,
        deleted: row.deleted_at.is_some(),
        fingerprint: &row.fingerprint,
    }
}

fn place(row: &Whole) -> Found<'_> {
    Found { service: &row.service_name, key: &row.key, item_id: row.item_id, version: row.version }
}
