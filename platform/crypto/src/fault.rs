//! The end of the process, for faults of the machine after which no cryptography can be trusted.
//!
//! Anything that input could cause is an error of its own module and never comes here.

/// Says why and aborts. Not a panic: a panic is caught by the HTTP layer, and the process would go on
/// serving.
pub(crate) fn abort(reason: &str) -> ! {
    eprintln!("fatal: {reason}; the process stops, restart it and look at the host");
    std::process::abort()
}
