//! What is expected of a quote: measurements, versions, the state of the platform.

use serde::Deserialize;
use utoipa::ToSchema;

use super::{Genuine, Reason, ReportData};
use crate::domain::Violation;

/// What a quote has to say to be accepted. A list that is left out takes anything; of one that is given, any entry will do.
/// Bytes in hexadecimal.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schema(as = sgx::AttestationPolicy)]
pub(crate) struct Expectation {
    #[schema(required = false)]
    pub mr_enclave: Vec<String>,
    #[schema(required = false)]
    pub mr_signer: Vec<String>,
    pub isv_prod_id: Option<u16>,
    pub min_isv_svn: Option<u16>,
    #[schema(required = false)]
    pub mr_td: Vec<String>,
    #[schema(required = false)]
    pub rtmr0: Vec<String>,
    #[schema(required = false)]
    pub rtmr1: Vec<String>,
    #[schema(required = false)]
    pub rtmr2: Vec<String>,
    #[schema(required = false)]
    pub rtmr3: Vec<String>,
    /// Default `["UpToDate"]`. Every other state is a weakness that the platform's owner has not mended.
    #[schema(required = false)]
    pub accepted_tcb_status: Vec<String>,
    /// Such as `INTEL-SA-00289`: weaknesses that are never accepted.
    #[schema(required = false)]
    pub rejected_advisories: Vec<String>,
    /// Keeps somebody from presenting collateral from before a weakness was known.
    pub min_tcb_evaluation_data_number: Option<u32>,
}

impl Default for Expectation {
    fn default() -> Self {
        Self {
            mr_enclave: Vec::new(),
            mr_signer: Vec::new(),
            isv_prod_id: None,
            min_isv_svn: None,
            mr_td: Vec::new(),
            rtmr0: Vec::new(),
            rtmr1: Vec::new(),
            rtmr2: Vec::new(),
            rtmr3: Vec::new(),
            accepted_tcb_status: vec!["UpToDate".to_owned()],
            rejected_advisories: Vec::new(),
            min_tcb_evaluation_data_number: None,
        }
    }
}

/// The states that Intel gives, without `Revoked`, which nobody may accept.
const STATES: [&str; 8] = [
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "TDRelaunchAdvised",
    "TDRelaunchAdvisedConfigurationNeeded",
];

const LONGEST_LIST: usize = 64;

impl Expectation {
    /// Refuses what no quote could say, such as a measurement of another length: it would refuse every quote.
    pub(crate) fn check(&self) -> Result<(), Violation> {
        let no = |pointer, problem: String| {
            Err(Violation { code: "sgx.invalid_attestation_policy", pointer, problem })
        };
        for (pointer, list, length) in [
            ("/policy/mrEnclave", &self.mr_enclave, 32),
            ("/policy/mrSigner", &self.mr_signer, 32),
            ("/policy/mrTd", &self.mr_td, 48),
            ("/policy/rtmr0", &self.rtmr0, 48),
            ("/policy/rtmr1", &self.rtmr1, 48),
            ("/policy/rtmr2", &self.rtmr2, 48),
            ("/policy/rtmr3", &self.rtmr3, 48),
        ] {
            if list.len() > LONGEST_LIST {
                return no(pointer, format!("at most {LONGEST_LIST} entries"));
            }
            if !list.iter().all(|text| hex::decode(text).is_ok_and(|bytes| bytes.len() == length)) {
                return no(pointer, format!("each entry has {length} bytes in hexadecimal"));
            }
        }
        let states = &self.accepted_tcb_status;
        if states.is_empty() || !states.iter().all(|state| STATES.contains(&state.as_str())) {
            return no("/policy/acceptedTcbStatus", format!("any of {}", STATES.join(", ")));
        }
        if self.rejected_advisories.len() > LONGEST_LIST {
            return no("/policy/rejectedAdvisories", format!("at most {LONGEST_LIST} entries"));
        }
        Ok(())
    }

    /// Every point in which a genuine quote is not what is expected; none, and it is accepted.
    pub(crate) fn judge(&self, quote: &Genuine, report_data: Option<&ReportData>) -> Vec<Reason> {
        let measured = &quote.measurements;
        let rtmr = |index: usize| measured.rtmr.get(index);
        let mut reasons = Vec::new();
        let mut refuse = |code, detail: String| reasons.push(Reason::new(code, detail));
        if !self.accepted_tcb_status.contains(&quote.tcb_status) {
            let accepted = self.accepted_tcb_status.join(", ");
            refuse("tcb_status", format!("the platform is {}, and accepted is {accepted}", quote.tcb_status));
        }
        let rejected = quote.advisory_ids.iter().filter(|id| self.rejected_advisories.contains(id));
        for id in rejected {
            refuse("advisory", format!("the platform has the weakness {id}"));
        }
        let number = measured.tcb_evaluation_data_number;
        if let Some(least) = self.min_tcb_evaluation_data_number.filter(|least| number < *least) {
            refuse(
                "tcb_evaluation",
                format!("the collateral is of evaluation {number}, at least {least} is expected"),
            );
        }
        if report_data.is_some_and(|expected| *expected != quote.report_data) {
            refuse(
                "report_data",
                "the quote carries other report data: it was made for something else".to_owned(),
            );
        }
        for (code, expected, found) in [
            ("mr_enclave", &self.mr_enclave, measured.mr_enclave.as_ref()),
            ("mr_signer", &self.mr_signer, measured.mr_signer.as_ref()),
            ("mr_td", &self.mr_td, measured.mr_td.as_ref()),
            ("rtmr0", &self.rtmr0, rtmr(0)),
            ("rtmr1", &self.rtmr1, rtmr(1)),
            ("rtmr2", &self.rtmr2, rtmr(2)),
            ("rtmr3", &self.rtmr3, rtmr(3)),
        ] {
            let fits = |found: &String| expected.iter().any(|one| one.eq_ignore_ascii_case(found));
            if !expected.is_empty() && !found.is_some_and(fits) {
                let found = found.map_or("not in a quote of this kind", String::as_str);
                refuse(code, format!("it is {found}"));
            }
        }
        if self.isv_prod_id.is_some() && measured.isv_prod_id != self.isv_prod_id {
            refuse("isv_prod_id", format!("it is {}", number_of(measured.isv_prod_id)));
        }
        if let Some(least) = self.min_isv_svn.filter(|least| measured.isv_svn.is_none_or(|svn| svn < *least))
        {
            refuse("isv_svn", format!("it is {}, at least {least} is expected", number_of(measured.isv_svn)));
        }
        reasons
    }
}

fn number_of(number: Option<u16>) -> String {
    number.map_or_else(|| "not in a quote of this kind".to_owned(), |number| number.to_string())
}
