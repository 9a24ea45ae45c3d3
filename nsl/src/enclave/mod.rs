//! The enclave as a process of its own: the way between it and the processes that serve the public. Which routes there
//! are, and what is sealed and signed, is the services' business.
//!
//! Both ends show a certificate of the installation's own small authority (TLS 1.3 only). What comes over that line is
//! trusted for where a request came from, never for who makes it: the enclave checks each token itself.

/// The certificates of both ends.
pub(crate) mod certificates;
mod config;
/// Routes that another process answers.
pub(crate) mod forward;
/// The enclave's health, as other processes show it.
pub(crate) mod health;
/// What the enclave does for other processes, beside answering requests.
pub(crate) mod inside;
/// The way to the enclave's process, and its ports.
pub(crate) mod link;
/// The enclave's listener.
pub(crate) mod listener;
mod tls;

pub(crate) use config::{EnclaveConfig, section};

/// Where a request came from, as the process says that took it from the network.
const ORIGIN: &str = "x-nsl-origin-address";
const SIGN: &str = "/internal/v1/tokens/sign";
const SEAL: &str = "/internal/v1/secrets/seal";
const OPEN: &str = "/internal/v1/secrets/open";
