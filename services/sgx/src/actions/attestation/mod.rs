//! Attestation: verdicts on quotes that are presented, and the service's own quote.

/// Intel's collateral: from a file or a PCCS.
pub(super) mod collateral;

use jiff::{SignedDuration, Timestamp};
use nsl_core::Caller;
use nsl_core::db::{Audit, AuditResult};
use nsl_crypto::digest::sha256;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::platform::Mode;
use super::{LOGIN, Sgx, all_tenants};
use crate::Result;
use crate::domain::attestation::{
    Collateral, Expectation, Genuine, Measurements, Quote, Reason, ReportData, answer_to,
};
use crate::error::{AttestationError, Error};
use crate::store::attestations as store;

/// A quote that is presented.
pub(crate) struct Evidence {
    pub quote: Vec<u8>,
    /// The caller's; else the installation's own.
    pub collateral: Option<Value>,
    pub report_data: Option<ReportData>,
    pub expectation: Expectation,
}

/// A verdict on a quote.
pub(crate) struct Attestation {
    pub id: Uuid,
    pub accepted: bool,
    pub tee: String,
    pub tcb_status: Option<String>,
    pub advisory_ids: Vec<String>,
    /// None where nothing vouches for what the quote says.
    pub measurements: Option<Measurements>,
    pub report_data: Option<Vec<u8>>,
    pub quote_sha256: Vec<u8>,
    /// `caller`, `file` or `pccs`.
    pub collateral: String,
    pub reasons: Vec<Reason>,
    pub verified_by: String,
    pub verified_at: Timestamp,
    pub expires_at: Timestamp,
}

/// The service's own quote, or the word that there is none.
pub(crate) struct OwnQuote {
    pub mode: Mode,
    pub report_data: ReportData,
    pub quote: Option<Vec<u8>>,
    pub measurements: Option<Measurements>,
}

impl Sgx {
    /// Verifies a quote to Intel's root and holds it against what the caller expects. The verdict is kept, whichever it is.
    pub(crate) async fn verify_attestation(
        &self,
        caller: &Caller,
        evidence: Evidence,
    ) -> Result<Attestation> {
        let digest = sha256(&evidence.quote);
        let outcome = self.verdict(caller, evidence, &digest).await;
        if let Err(error) = &outcome {
            let resource = format!("sha256:{}", hex::encode(digest));
            let entry =
                Audit::new("sgx", "VERIFY_ATTESTATION", "attestation", resource, AuditResult::Failure);
            self.audits.record(caller, entry.details(error.to_string())).await?;
        }
        outcome
    }

    async fn verdict(&self, caller: &Caller, evidence: Evidence, digest: &[u8]) -> Result<Attestation> {
        let Evidence { quote, collateral, report_data, expectation } = evidence;
        expectation.check()?;
        let quote = Quote::read(quote).map_err(|why| AttestationError::NotAQuote(why.to_string()))?;
        let (collateral, source) = match collateral {
            Some(given) => (read(given)?, "caller"),
            None => self.collateral.find(&quote).await?,
        };
        let now = self.clock.now();
        let presented = quote.report_data();
        let tee = quote.tee();
        // Signatures over some ten certificates and lists: milliseconds that no other request should wait for.
        let verified = spawn_blocking(move || quote.verify(&collateral, now.as_second()));
        let verified =
            verified.await.map_err(|error| Error::from(AttestationError::NoQuote(error.to_string())))?;
        let (genuine, reasons) = match verified {
            Ok(genuine) => {
                let reasons = expectation.judge(&genuine, report_data.as_ref());
                (Some(genuine), reasons)
            }
            Err(reason) => (None, vec![reason]),
        };
        let accepted = reasons.is_empty();
        let report = stored_report(genuine.as_ref(), source);
        let status = genuine.as_ref().map(|genuine| genuine.tcb_status.as_str());
        let texts: Vec<String> = reasons.iter().map(ToString::to_string).collect();
        let expires = expiry(now, self.config.attestation.fresh_minutes, genuine.as_ref());
        let (id, by) = (Uuid::now_v7(), &caller.principal.name);
        let mut work = self.db.begin(LOGIN, caller).await?;
        let row = store::add(
            &work,
            caller.tenant(),
            id,
            tee.as_str(),
            accepted,
            status,
            &report,
            &texts,
            digest,
            &presented,
            by,
            now,
            expires,
        )
        .await?;
        let result = if accepted { AuditResult::Success } else { AuditResult::Denied };
        let mut entry = Audit::new("sgx", "VERIFY_ATTESTATION", "attestation", id.to_string(), result);
        entry.details = (!accepted).then(|| texts.join("; "));
        work.audit(entry);
        work.commit().await?;
        told(row)
    }

    /// A verdict that was given before.
    pub(crate) async fn attestation(&self, caller: &Caller, id: Uuid) -> Result<Attestation> {
        let row = store::attestation(&self.db.read(LOGIN, caller.tenant()), caller.tenant(), id).await?;
        let result = if row.is_some() { AuditResult::Success } else { AuditResult::Failure };
        let entry = Audit::new("sgx", "READ_ATTESTATION", "attestation", id.to_string(), result);
        self.audits.record(caller, entry).await?;
        told(row.ok_or(AttestationError::NotFound)?)
    }

    /// The service's own quote over a nonce; in simulation the plain word that there is none.
    pub(crate) async fn own_quote(&self, caller: &Caller, nonce: &[u8]) -> Result<OwnQuote> {
        let report_data = answer_to(nonce);
        let quoted = match self.keys.root().platform() {
            Some(platform) => platform.quote(&report_data).await.map(|quote| {
                let measurements = platform.measurements().clone();
                OwnQuote {
                    mode: Mode::Hardware,
                    report_data,
                    quote: Some(quote),
                    measurements: Some(measurements),
                }
            }),
            None => Ok(OwnQuote { mode: Mode::Simulation, report_data, quote: None, measurements: None }),
        };
        let result = if quoted.is_ok() { AuditResult::Success } else { AuditResult::Failure };
        let mut entry = Audit::new("sgx", "ATTEST_SERVICE", "attestation", "own", result);
        entry.details = quoted.as_ref().err().map(ToString::to_string);
        self.audits.record(caller, entry).await?;
        Ok(quoted.map_err(|error| AttestationError::NoQuote(error.to_string()))?)
    }

    /// Removes verdicts that expired longer ago than the retention; returns how many went.
    pub(crate) async fn purge_attestations(&self) -> Result<u64> {
        const STEP: u64 = 500;
        let days = i64::from(self.config.database.data_retention_days);
        let before = self.clock.now() - SignedDuration::from_hours(24 * days);
        let mut purged = 0;
        for tenant in all_tenants(&self.db).await? {
            loop {
                let gone =
                    store::purge(&self.db.write(LOGIN, tenant), tenant, before, STEP.cast_signed()).await?;
                purged += gone;
                if gone < STEP {
                    break;
                }
            }
        }
        Ok(purged)
    }
}

fn read(collateral: Value) -> Result<Collateral> {
    Ok(serde_json::from_value(collateral)
        .map_err(|error| AttestationError::InvalidCollateral(error.to_string()))?)
}

fn expiry(now: Timestamp, fresh_minutes: u32, genuine: Option<&Genuine>) -> Timestamp {
    let fresh = now + SignedDuration::from_mins(i64::from(fresh_minutes));
    let until = genuine.and_then(|genuine| Timestamp::from_second(genuine.collateral_until).ok());
    until.map_or(fresh, |until| fresh.min(until))
}

/// What is kept of a quote beside the columns: its measurements at the top, where policies look.
fn stored_report(genuine: Option<&Genuine>, source: &str) -> Value {
    let mut report = genuine
        .and_then(|genuine| serde_json::to_value(&genuine.measurements).ok())
        .unwrap_or_else(|| json!({}));
    report["collateral"] = json!(source);
    report["advisoryIds"] = json!(genuine.map(|genuine| genuine.advisory_ids.as_slice()).unwrap_or_default());
    report
}

fn told(row: store::Verdict) -> Result<Attestation> {
    // Without a status nothing vouched for the rest.
    let measurements = row
        .tcb_status
        .is_some()
        .then(|| serde_json::from_value(row.report.clone()))
        .transpose()
        .map_err(|error| Error::Integrity(format!("a stored verdict cannot be read: {error}")))?;
    let report_data = row.report_data.filter(|_| row.tcb_status.is_some());
    let texts = row.report["advisoryIds"].as_array().cloned().unwrap_or_default();
    Ok(Attestation {
        id: row.attestation_id,
        accepted: row.accepted,
        tee: row.tee,
        tcb_status: row.tcb_status,
        advisory_ids: texts.iter().filter_map(|id| id.as_str().map(ToOwned::to_owned)).collect(),
        measurements,
        report_data,
        quote_sha256: row.quote_sha256,
        collateral: row.report["collateral"].as_str().unwrap_or_default().to_owned(),
        reasons: row.reasons.iter().map(|text| Reason::read(text)).collect(),
        verified_by: row.verified_by,
        verified_at: row.verified_at,
        expires_at: row.expires_at,
    })
}
