//! What can go wrong with quotes, of others and of the own platform.

use std::path::PathBuf;

use axum::http::StatusCode;
use nsl_core::ApiError;

/// A request about quotes that comes to nothing. A quote that is not accepted is no such failure, but a verdict.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttestationError {
    #[error("these bytes are no quote: {0}")]
    NotAQuote(String),
    #[error("the collateral cannot be read: {0}")]
    InvalidCollateral(String),
    #[error("there is no collateral to verify the quote against")]
    NoCollateral,
    #[error("the collateral cannot be had: {0}")]
    CollateralUnavailable(String),
    #[error("there is no such attestation")]
    NotFound,
    #[error("the platform gives no quote: {0}")]
    NoQuote(String),
}

impl AttestationError {
    pub(super) fn into_api(self) -> ApiError {
        let unprocessable =
            |code, detail: String| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail);
        match self {
            Self::NotAQuote(why) => unprocessable(
                "sgx.invalid_quote",
                format!(
                    "The quote is none of SGX or TDX that could be verified: {why}. Send the DCAP quote as it came from \
                     the platform, in base64."
                ),
            )
            .at("/quote", why),
            Self::InvalidCollateral(why) => unprocessable(
                "sgx.invalid_collateral",
                format!(
                    "The collateral is not a QuoteCollateralV3 (JSON, its binary parts in hexadecimal): {why}."
                ),
            )
            .at("/collateral", why),
            Self::NoCollateral => unprocessable(
                "sgx.collateral_needed",
                "Send Intel's `collateral` for this platform; this installation has none of its own \
                 (SGX:Attestation:CollateralFile or SGX:Attestation:PccsUrl)."
                    .to_owned(),
            )
            .at("/collateral", "needed"),
            Self::CollateralUnavailable(why) => ApiError::unavailable(
                "sgx.collateral_unavailable",
                "The collateral for this platform cannot be had now; try again, or send it as `collateral`.",
            )
            .because(why),
            Self::NotFound => ApiError::not_found(
                "sgx.attestation_not_found",
                "There is no attestation with this id in this tenant, or it was purged; verify the quote again.",
            ),
            Self::NoQuote(why) => ApiError::unavailable(
                "sgx.quote_unavailable",
                "The platform gives no quote now; the operator finds the reason in the log.",
            )
            .because(why),
        }
    }
}

/// Why a process that is to run in an enclave does not start. It never falls back to simulation.
#[derive(Debug, thiserror::Error)]
pub enum HardwareError {
    #[error(
        "SGX__EnableHardwareMode=true, and {} cannot be {verb}: {source}. That is not how an SGX enclave under Gramine looks \
         whose manifest has `sgx.remote_attestation = \"dcap\"` (docs/enclave.md); to run in simulation mode, unset it and \
         give SGX_ENCRYPTION_KEY", file.display()
    )]
    File { file: PathBuf, verb: &'static str, source: std::io::Error },
    #[error(
        "SGX__EnableHardwareMode=true, and {} has {length} bytes where the platform gives {expected}: it is not the \
         platform's; to run in simulation mode, unset it and give SGX_ENCRYPTION_KEY", file.display()
    )]
    Length { file: PathBuf, length: usize, expected: usize },
    #[error(
        "SGX__EnableHardwareMode=true, and {} gives no quote: {problem}. It is not the platform's; to run in simulation \
         mode, unset it and give SGX_ENCRYPTION_KEY", file.display()
    )]
    NoQuote { file: PathBuf, problem: String },
    #[error(
        "SGX__EnableHardwareMode=true, and the quote in {} does not answer the random report data that were just written: it \
         is an old one, or not the platform's", file.display()
    )]
    StaleQuote { file: PathBuf },
    #[error(
        "SGX__EnableHardwareMode=true, and the own quote cannot be verified: {0}. Give Intel's collateral for this platform \
         with SGX:Attestation:CollateralFile or SGX:Attestation:PccsUrl"
    )]
    Collateral(String),
    #[error("SGX__EnableHardwareMode=true, and the own quote is not accepted: {0}")]
    NotAccepted(String),
    #[error("SGX:Attestation:{setting} cannot be used: {problem}")]
    Setting { setting: &'static str, problem: String },
}
