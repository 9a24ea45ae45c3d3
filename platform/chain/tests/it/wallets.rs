//! The wallets' processes: tasks in, results out, as JSON. What a result should be does not belong here.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// neon-core, ethers and siwe, on Node.js.
pub(crate) fn javascript(tasks: &[Value]) -> Vec<Value> {
    let mut node = Command::new("node");
    node.env("NODE_PATH", installed().join("node_modules")).arg(script("wallets.cjs"));
    run(&mut node, tasks)
}

/// neo-mamba, on Python.
pub(crate) fn python(tasks: &[Value]) -> Vec<Value> {
    let mut python = Command::new("python3");
    // Without the site's own packages, which could be other versions; and without files of bytecode beside
    // the script.
    python.env("PYTHONPATH", installed().join("python")).args(["-S", "-B"]).arg(script("wallets.py"));
    run(&mut python, tasks)
}

fn installed() -> PathBuf {
    match std::env::var_os("NSL_FOREIGN_WALLETS") {
        Some(directory) => directory.into(),
        None => panic!(
            "set NSL_FOREIGN_WALLETS to what scripts/fetch-wallets.sh prints, or run `make test-chains`"
        ),
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/foreign-wallets").join(name)
}

fn run(command: &mut Command, tasks: &[Value]) -> Vec<Value> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // The scripts read everything before they write anything; closing the pipe ends their input.
    child.stdin.take().unwrap().write_all(&serde_json::to_vec(tasks).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?} failed: {}", output.status);
    let results: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(results.len(), tasks.len());
    results
}
