//! What the operating system does for a process that holds keys: no core dumps, no look into its memory by its own
//! user's other processes, and no page of it on a swap disk.

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Takes what the system gives, and says in the log what it does not.
pub(crate) fn apply() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps of this process, which holds keys, could not be limited to nothing");
    }
    // Also what keeps its memory and its environment from other processes of the same user.
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "this process, which holds keys, could not be made undumpable");
    }
    lock_memory();
}

/// Locked only without a limit: with one, memory that is asked for later could be refused, and the process would end.
fn lock_memory() {
    let unlimited = Rlimit { current: None, maximum: None };
    let is_unlimited =
        getrlimit(Resource::Memlock).current.is_none() || setrlimit(Resource::Memlock, unlimited).is_ok();
    if !is_unlimited {
        tracing::warn!(
            "the memory of this process, which holds keys, is not locked: allow it (ulimit -l unlimited, \
             LimitMEMLOCK=infinity), or run it on a host without swap"
        );
        return;
    }
    // As pages are touched: locking what is only reserved, such as stacks, would fill it.
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    if let Err(error) = mlockall(flags) {
        tracing::warn!(%error, "the memory of this process, which holds keys, is not locked");
    }
}
