//! Quotes: read, and verified to Intel's root with `dcap-qvl`.

pub(crate) use dcap_qvl::QuoteCollateralV3 as Collateral;
use dcap_qvl::quote::{EnclaveReport, Quote as Parsed, Report, TDReport10};
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{QuoteClaims, QuotePolicy, intel};
use serde::Deserialize;

use super::{Genuine, Measurements, Reason, ReportData, Tee};

/// Quotes have some 5 KiB; with more, somebody sends something else.
const LONGEST: usize = 64 << 10;

/// Bytes that are no quote of SGX or TDX.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotAQuote(String);

/// A quote as it was presented; nothing in it is verified.
pub(crate) struct Quote {
    bytes: Vec<u8>,
    parsed: Parsed,
}

impl Quote {
    pub(crate) fn read(bytes: Vec<u8>) -> Result<Self, NotAQuote> {
        let no = |why: &str| Err(NotAQuote(why.to_owned()));
        if bytes.len() > LONGEST {
            return no("it has more bytes than any quote");
        }
        let parsed =
            Parsed::parse(&bytes).map_err(|error| NotAQuote(format!("it cannot be read: {error}")))?;
        if ![0, 0x81].contains(&parsed.header.tee_type) {
            return no("it is of neither SGX nor TDX");
        }
        // Nothing vouches for what follows the signed parts; makers pad with zeros.
        let signed = parsed.signed_length();
        let length = bytes.get(signed..signed + 4).and_then(|length| length.try_into().ok());
        let end = signed + 4 + length.map_or(0, u32::from_le_bytes) as usize;
        if bytes.get(end..).is_none_or(|rest| rest.iter().any(|byte| *byte != 0)) {
            return no("other bytes follow it");
        }
        Ok(Self { bytes, parsed })
    }

    pub(crate) fn tee(&self) -> Tee {
        if self.parsed.header.is_sgx() { Tee::Sgx } else { Tee::Tdx }
    }

    /// What it says, whether it is genuine or not.
    pub(crate) fn report_data(&self) -> ReportData {
        report_data(&self.parsed.report)
    }

    /// The platform's model, and which of Intel's two authorities certified it: what collateral is asked for by.
    pub(crate) fn platform(&self) -> Option<(String, &'static str)> {
        let fmspc = intel::quote_fmspc(&self.parsed).ok()?;
        let authority = intel::quote_ca(&self.parsed).ok()?;
        Some((hex::encode_upper(fmspc), authority.as_id_str()))
    }

    /// Whether Intel's root vouches for it at this time (seconds of the Unix time).
    pub(crate) fn verify(&self, collateral: &Collateral, now: i64) -> Result<Genuine, Reason> {
        let now = u64::try_from(now).unwrap_or_default();
        // Judged by our own expectation afterwards.
        let any = QuotePolicy::claims_only(now);
        let claims = QuoteVerifier::new_prod()
            .verify_with_policy(&self.bytes, collateral, now, &any)
            .map_err(|error| refusal(&format!("{error:#}")))?;
        Ok(genuine(self.tee(), &claims))
    }
}

/// Whether a collateral is for this kind and model of platform; it says so itself, in a text that Intel signed.
pub(crate) fn covers(collateral: &Collateral, tee: Tee, fmspc: &str) -> bool {
    #[derive(Deserialize)]
    struct Of {
        id: String,
        fmspc: String,
    }
    serde_json::from_str::<Of>(&collateral.tcb_info)
        .is_ok_and(|of| of.id.eq_ignore_ascii_case(tee.as_str()) && of.fmspc.eq_ignore_ascii_case(fmspc))
}

/// The verifier's texts are all that it tells; tests hold on to those that matter here.
fn refusal(text: &str) -> Reason {
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    let code = if has(&["in the future", "NotValidYet", "NotYetValid"]) {
        "collateral_not_yet_valid"
    } else if has(&["expired", "CrlExpired", "CertExpired"]) {
        "collateral_expired"
    } else if has(&["Revoked"]) {
        "revoked"
    } else if has(&["Debug mode"]) {
        "debug"
    } else {
        "not_genuine"
    };
    Reason::new(code, text)
}

fn report_data(report: &Report) -> ReportData {
    match (report, report.as_td10()) {
        (Report::SgxEnclave(report), _) => report.report_data,
        (_, Some(report)) => report.report_data,
        // There is no fourth kind of report.
        (_, None) => [0; 64],
    }
}

fn genuine(tee: Tee, claims: &QuoteClaims) -> Genuine {
    let mut measurements = match (&claims.report, claims.report.as_td10()) {
        (Report::SgxEnclave(report), _) => of_enclave(report),
        (_, Some(report)) => of_domain(report),
        (_, None) => Measurements::default(),
    };
    measurements.fmspc = hex::encode(claims.platform.pck.fmspc);
    measurements.tcb_evaluation_data_number = claims.tcb.eval_data_number;
    Genuine {
        tee,
        tcb_status: claims.tcb.status.to_string(),
        advisory_ids: claims.tcb.advisory_ids.clone(),
        measurements,
        report_data: report_data(&claims.report),
        collateral_until: i64::try_from(claims.earliest_expiration_date).unwrap_or(i64::MAX),
    }
}

fn of_enclave(report: &EnclaveReport) -> Measurements {
    Measurements {
        mr_enclave: Some(hex::encode(report.mr_enclave)),
        mr_signer: Some(hex::encode(report.mr_signer)),
        isv_prod_id: Some(report.isv_prod_id),
        isv_svn: Some(report.isv_svn),
        attributes: Some(hex::encode(report.attributes)),
        ..Measurements::default()
    }
}

fn of_domain(report: &TDReport10) -> Measurements {
    Measurements {
        mr_td: Some(hex::encode(report.mr_td)),
        rtmr: [report.rt_mr0, report.rt_mr1, report.rt_mr2, report.rt_mr3].map(hex::encode).to_vec(),
        mr_seam: Some(hex::encode(report.mr_seam)),
        mr_config_id: Some(hex::encode(report.mr_config_id)),
        mr_owner: Some(hex::encode(report.mr_owner)),
        mr_owner_config: Some(hex::encode(report.mr_owner_config)),
        td_attributes: Some(hex::encode(report.td_attributes)),
        xfam: Some(hex::encode(report.xfam)),
        tee_tcb_svn: Some(hex::encode(report.tee_tcb_svn)),
        ..Measurements::default()
    }
}
