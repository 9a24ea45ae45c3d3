//! Wallets that others wrote, as they come from their registries (`make test-chains`). The unit tests of each
//! module stand in its file.

#![expect(clippy::unwrap_used, reason = "what these functions unwrap is a failure of their test")]

/// Keys, addresses and signatures of those wallets.
mod foreign_wallets;
/// The wallets' processes.
mod wallets;
