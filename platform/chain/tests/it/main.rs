//! Wallets that others wrote, as they come from their registries.

/// Keys, addresses and signatures of those wallets.
mod foreign_wallets;
/// The wallets' processes.
mod wallets;
