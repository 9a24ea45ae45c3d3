//! Former versions that have to be there, and are not. A put says in its event how many versions it kept, and a purge below
//! which one it removed: what is missing above all of these was removed by somebody else.

use std::collections::HashSet;

use nsl_core::ports::LoggedEvent;
use uuid::Uuid;

use super::{Found, LOGIN, Scan};
use crate::Result;
use crate::actions::Sgx;
use crate::domain::scan::{FindingKind, Trim};
use crate::events;
use crate::store::scans::{self as store, History};
use crate::store::whole::Whole;

/// So many events back it is looked for what explains a gap; the last put says it, unless more are kept now than before.
const FARTHEST: usize = 64;

impl Sgx {
    /// Looks for former versions of these items. The log is read after them: events that came meanwhile only explain more.
    /// An item that is not at the version that the log has last was put meanwhile, or is a finding of its own.
    pub(super) async fn scan_former(&self, scan: &Scan, rows: &[Whole]) -> Result<()> {
        let services: Vec<&str> = rows.iter().map(|row| row.service_name.as_str()).collect();
        let keys: Vec<&str> = rows.iter().map(|row| row.key.as_str()).collect();
        let ids: Vec<Uuid> = rows.iter().map(|row| row.item_id).collect();
        let read = self.db.read(LOGIN, scan.tenant_id);
        let mut gaps = store::histories(&read, scan.tenant_id, &services, &keys, &ids).await?;
        gaps.retain(|history| !self.missing(history).is_empty());
        if gaps.is_empty() {
            return Ok(());
        }
        let streams: Vec<String> = gaps.iter().map(|history| events::stream(history.item_id)).collect();
        let heads = self.log.heads_of(scan.tenant_id, &streams).await?;
        for (history, stream) in gaps.iter().zip(&streams) {
            if let Some(head) = heads.iter().find(|head| head.stream == *stream) {
                self.found_missing(scan, history, head).await?;
            }
        }
        Ok(())
    }

    /// Of the versions that are kept of an item, those that are not there.
    fn missing(&self, history: &History) -> Vec<i64> {
        let first = history.version - i64::from(self.config.database.keep_versions) + 1;
        let former: HashSet<i64> = history.former.iter().copied().collect();
        (first.max(1)..history.version).filter(|version| !former.contains(version)).collect()
    }

    /// Goes back over the events since the missing versions were kept, and names those that none of the events explains.
    async fn found_missing(&self, scan: &Scan, history: &History, head: &LoggedEvent) -> Result<()> {
        let mut missing = self.missing(history);
        let mut trim = Trim::of(head).filter(|trim| trim.version == history.version);
        // Whether those below went is said by events that are further back than is looked.
        let mut reached = history.version;
        for before in (0..head.version).rev().take(FARTHEST) {
            let Some(Trim { version, below }) = trim else { break };
            reached = version;
            missing.retain(|version| *version >= below);
            if missing.first().is_none_or(|lowest| *lowest >= reached) || before == 0 {
                break;
            }
            trim = self.log.event(scan.tenant_id, &head.stream, before).await?.as_ref().and_then(Trim::of);
        }
        for version in missing.into_iter().filter(|version| *version >= reached) {
            let place = Found {
                service: &history.service_name,
                key: &history.key,
                item_id: history.item_id,
                version,
            };
            let detail = "this former version was kept, and no event says that it went";
            self.found(scan, FindingKind::Vanished, &place, detail).await?;
        }
        Ok(())
    }
}
