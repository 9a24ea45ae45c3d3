//! Which crate may depend on which (ARCHITECTURE.md): three storeys, and arrows only downwards.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A member of the workspace.
struct Member {
    name: String,
    /// Below the root, such as `services/auth`.
    folder: PathBuf,
    /// Ours, with whether it is for tests alone.
    uses: Vec<(String, bool)>,
}

fn root() -> PathBuf {
    std::fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap()
}

fn members() -> Vec<Member> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--no-deps", "--format-version", "1", "--offline"]).current_dir(root());
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let manifest = PathBuf::from(text(&package["manifest_path"]));
            let ours =
                package["dependencies"].as_array().unwrap().iter().filter(|dep| dep["path"].is_string());
            Member {
                name: text(&package["name"]),
                folder: manifest.parent().unwrap().strip_prefix(root()).unwrap().to_path_buf(),
                uses: ours.map(|dep| (text(&dep["name"]), dep["kind"] == "dev")).collect(),
            }
        })
        .collect()
}

/// What a crate may use of ours; `dev` is what its tests may use beside that.
fn allowed(member: &Member, services: &[String]) -> (Vec<String>, Vec<String>) {
    let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    match member.folder.to_str().unwrap() {
        "platform/crypto" | "platform/postgres" | "clients/rust" => (Vec::new(), Vec::new()),
        "platform/chain" => (of(&["nsl-crypto"]), Vec::new()),
        "platform/core" => (of(&["nsl-crypto"]), of(&["nsl-testkit", "nsl-postgres"])),
        // Load against the built binary, beside a server of its own; and the commit path alone, which is core's.
        "bench" => (of(&["nsl-client", "nsl-core", "nsl-postgres"]), Vec::new()),
        "platform/testkit" => (of(&["nsl-core", "nsl-crypto", "nsl-chain", "nsl-postgres"]), Vec::new()),
        folder if folder.starts_with("services/") => {
            (of(&["nsl-core", "nsl-crypto", "nsl-chain"]), of(&["nsl-testkit", "nsl-postgres"]))
        }
        "nsl" => {
            let mut roof = of(&["nsl-core", "nsl-crypto", "nsl-chain", "nsl-client", "nsl-postgres"]);
            roof.extend_from_slice(services);
            (roof, of(&["nsl-testkit"]))
        }
        folder => panic!("{folder} has no place in ARCHITECTURE.md; give it one, here too"),
    }
}

#[test]
fn arrows_point_downwards_only() {
    let members = members();
    let services: Vec<String> = members
        .iter()
        .filter(|member| member.folder.starts_with("services"))
        .map(|member| member.name.clone())
        .collect();
    assert!(services.contains(&"nsl-sgx".to_owned()), "{services:?}");
    for member in &members {
        let (always, in_tests) = allowed(member, &services);
        for (used, for_tests) in &member.uses {
            let may = always.contains(used) || (*for_tests && in_tests.contains(used));
            assert!(
                may,
                "{} must not depend on {used}{}",
                member.name,
                if *for_tests { " in tests" } else { "" }
            );
        }
    }
}

#[test]
fn a_service_has_one_name_everywhere() {
    for member in members().iter().filter(|member| member.folder.starts_with("services")) {
        let folder = member.folder.file_name().unwrap().to_str().unwrap();
        assert_eq!(member.name, format!("nsl-{folder}"));
    }
}

#[test]
fn every_member_takes_the_lints_of_the_workspace() {
    for member in members() {
        let manifest = std::fs::read_to_string(root().join(&member.folder).join("Cargo.toml")).unwrap();
        let lines: Vec<&str> = manifest.lines().map(str::trim).collect();
        let takes = lines.windows(2).any(|pair| pair == ["[lints]", "workspace = true"]);
        assert!(takes, "{}: write `[lints]` and `workspace = true`", member.folder.display());
    }
}
