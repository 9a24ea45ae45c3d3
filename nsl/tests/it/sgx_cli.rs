//! `nsl sgx …`: versions, editing, slots, rotations, scans and the rest of sealed storage, from the command line.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::installation::Installation;
use crate::program::{Outcome, Sandbox, finish};
use crate::random;
use crate::terminal::at_terminal;

/// The command, ready to be given an environment and streams.
fn nsl(installation: &Installation, arguments: &[&str]) -> Command {
    installation.sandbox.nsl(&installation.arguments(arguments))
}

/// Runs a command with a file for its stdin.
fn with_input(installation: &Installation, arguments: &[&str], input: &[u8]) -> Outcome {
    let file = installation.sandbox.path().join("input");
    fs::write(&file, input).unwrap();
    finish(nsl(installation, arguments).stdin(File::open(&file).unwrap()))
}

/// A program that an editor variable can name.
fn script(sandbox: &Sandbox, name: &str, text: &str) -> PathBuf {
    let path = sandbox.path().join(name);
    fs::write(&path, format!("#!/bin/sh\nset -e\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn bytes_that_are_no_text_stay_off_a_terminal() {
    let installation = Installation::new().await;
    let warned = nsl(&installation, &["sgx", "put", "demo", "text", "--value", "hello"]).output().unwrap();
    assert!(warned.status.success());
    let said = String::from_utf8(warned.stderr).unwrap();
    assert!(said.contains("warning: --value") && said.contains("history"), "{said}");
    let quiet = with_input(&installation, &["sgx", "put", "demo", "bytes"], b"a\x1b[2Jb").success();
    assert!(quiet.stderr.is_empty(), "{quiet:?}");
    with_input(&installation, &["sgx", "put", "demo", "nul"], b"a\0b").success();

    let screen = at_terminal(&mut nsl(&installation, &["sgx", "get", "demo", "text"]), "");
    assert_eq!((screen.code, screen.text.as_str()), (Some(0), "hello\n"));
    for key in ["bytes", "nul"] {
        let screen = at_terminal(&mut nsl(&installation, &["sgx", "get", "demo", key]), "");
        assert_eq!(screen.code, Some(1), "{screen:?}");
        assert!(screen.text.contains("--force") && !screen.text.contains('\x1b'), "{screen:?}");
    }
    let screen = at_terminal(&mut nsl(&installation, &["sgx", "get", "demo", "bytes", "--force"]), "");
    assert_eq!((screen.code, screen.text.as_str()), (Some(0), "a\x1b[2Jb"));
    // Anything else takes every byte.
    assert_eq!(installation.run(&["sgx", "get", "demo", "nul"]).success().stdout, b"a\0b");
}

#[tokio::test]
async fn an_editor_changes_a_value_and_nothing_of_it_stays() {
    let installation = Installation::new().await;
    let put = ["sgx", "put", "demo", "app/config.yaml", "--metadata", r#"{"owner":"ops"}"#];
    with_input(&installation, &put, b"level: info").success();
    let edit = ["sgx", "edit", "demo", "app/config.yaml"];
    let by = |editor: &str| {
        let mut command = nsl(&installation, &edit);
        command.env("EDITOR", editor);
        command
    };
    let note = installation.sandbox.path().join("note");
    // It sees a file of that name, for its owner only, and leaves something beside it as editors do.
    let editor = script(
        &installation.sandbox,
        "editor",
        &format!(
            "echo \"$1\" > {note}\nstat -c %a \"$(dirname \"$1\")\" \"$1\" >> {note}\ncp \"$1\" \"$1~\"\n\
             echo 'level: debug' > \"$1\"",
            note = note.display()
        ),
    );
    let done = finish(&mut by(editor.to_str().unwrap())).success();
    assert!(done.text().starts_with("Replaced demo/app/config.yaml: version 2"), "{done:?}");
    let noted = fs::read_to_string(&note).unwrap();
    let mut lines = noted.lines();
    let place = PathBuf::from(lines.next().unwrap());
    assert_eq!(place.file_name().unwrap(), "config.yaml");
    assert_eq!(lines.collect::<Vec<_>>(), ["700", "600"]);
    assert!(!place.parent().unwrap().exists(), "{}", place.display());
    // The editor's line end is none of the value's, and the rest of the item is as it was.
    assert_eq!(installation.run(&["sgx", "get", "demo", "app/config.yaml"]).success().text(), "level: debug");
    let item = installation.run(&["sgx", "stat", "demo", "app/config.yaml", "--json"]).success().json();
    assert_eq!(item["metadata"]["owner"], "ops");

    // Nothing changed, an editor that failed, and one that is not there: no new version.
    assert!(finish(&mut by("true")).success().stderr.contains("Nothing changed"));
    assert!(finish(&mut by("false")).failure().contains("nothing was put"));
    assert!(finish(&mut by("/no/such/editor")).failure().contains("nothing was put"));
    // Somebody else was faster: theirs stays, ours is gone with the file.
    let data_dir = installation.data_dir().to_str().unwrap();
    let faster = script(
        &installation.sandbox,
        "faster",
        &format!(
            "printf 'level: trace' | {} sgx put demo app/config.yaml --data-dir {data_dir}\necho mine > \"$1\"\n\
             echo \"$1\" > {}",
            env!("CARGO_BIN_EXE_nsl"),
            note.display()
        ),
    );
    let lost = finish(&mut by(faster.to_str().unwrap()));
    assert!(lost.code == Some(1) && lost.stderr.contains("sgx.version_conflict"), "{lost:?}");
    assert!(!PathBuf::from(fs::read_to_string(&note).unwrap().trim_end()).exists());
    assert_eq!(installation.run(&["sgx", "get", "demo", "app/config.yaml"]).success().text(), "level: trace");

    // On a terminal there is another try, over what is there then.
    let once = script(
        &installation.sandbox,
        "once",
        &format!(
            "if [ ! -e {mark} ]; then touch {mark}; printf theirs | {nsl} sgx put demo app/config.yaml \
             --data-dir {data_dir}; printf mine > \"$1\"; fi",
            mark = installation.sandbox.path().join("mark").display(),
            nsl = env!("CARGO_BIN_EXE_nsl"),
        ),
    );
    let screen = at_terminal(&mut by(once.to_str().unwrap()), "y\n");
    assert_eq!(screen.code, Some(0), "{screen:?}");
    assert!(screen.text.contains("takes the place of version 4"), "{screen:?}");
    assert_eq!(installation.run(&["sgx", "get", "demo", "app/config.yaml"]).success().text(), "mine");

    // What is not there yet is made.
    let made = nsl(&installation, &["sgx", "edit", "demo", "new"]).env("EDITOR", "echo fresh >").output();
    assert!(String::from_utf8(made.unwrap().stdout).unwrap().starts_with("Created demo/new: version 1"));
}

/// The most memory that a command has held, in KiB.
#[expect(clippy::disallowed_methods, reason = "the pause between two looks at a process until its end")]
fn peak(command: &mut Command) -> u64 {
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(peak);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert!(child.wait().unwrap().success());
    peak
}

#[tokio::test]
async fn long_values_go_through_without_being_held() {
    const LONG: usize = 48 << 20;
    let mut installation = Installation::empty();
    installation.sandbox.set("SGX__Database__MaxValueBytes", "67108864");
    installation.up().await;
    let path = |name: &str| installation.sandbox.path().join(name).to_str().unwrap().to_owned();
    let (from, small, to) = (path("from"), path("small"), path("to"));
    let value = random::<1024>().repeat(LONG / 1024);
    fs::write(&from, &value).unwrap();
    fs::write(&small, b"small").unwrap();

    let put = |key, file| peak(&mut nsl(&installation, &["sgx", "put", "demo", key, "--file", file]));
    let (little, much) = (put("small", &small), put("long", &from));
    assert!(much < little + (24 << 10), "{much} KiB, and {little} for a small value");
    let get = |key| peak(&mut nsl(&installation, &["sgx", "get", "demo", key, "--output", &to]));
    let (little, much) = (get("small"), get("long"));
    assert!(much < little + (24 << 10), "{much} KiB, and {little} for a small value");
    assert!(fs::read(&to).unwrap() == value);
    // Of a pipe, whose length nobody knows.
    finish(nsl(&installation, &["sgx", "put", "demo", "piped"]).stdin(File::open(&from).unwrap())).success();
    assert!(installation.run(&["sgx", "get", "demo", "piped"]).success().stdout == value);
    let screen = at_terminal(&mut nsl(&installation, &["sgx", "get", "demo", "long"]), "");
    assert!(screen.code == Some(1) && screen.text.contains("48.0 MiB"), "{screen:?}");
    let mut edit = nsl(&installation, &["sgx", "edit", "demo", "long"]);
    assert!(finish(edit.env("EDITOR", "true")).failure().contains("--file"));

    // Too long by a byte: nothing is stored.
    fs::write(&from, vec![7; (64 << 20) + 1]).unwrap();
    let mut put = nsl(&installation, &["sgx", "put", "demo", "longer"]);
    let stderr = finish(put.stdin(File::open(&from).unwrap())).failure();
    assert!(stderr.contains("sgx.value_too_large"), "{stderr}");
    assert!(installation.run(&["sgx", "stat", "demo", "longer"]).failure().contains("no item demo/longer"));

    // Damage near the end: the command fails, and leaves no file that could be taken for the value.
    let database = installation.database("postgres").await;
    let flip = "UPDATE sgx.content_chunks SET sealed = set_byte(sealed, 9, get_byte(sealed, 9) # 1) \
                WHERE number = (SELECT max(number) - 1 FROM sgx.content_chunks)";
    assert!(database.execute(flip, &[]).await.unwrap() >= 1);
    fs::remove_file(&to).unwrap();
    let before = fs::read_dir(installation.sandbox.path()).unwrap().count();
    let stderr = installation.run(&["sgx", "get", "demo", "long", "--output", &to]).failure();
    assert!(stderr.contains("broke off"), "{stderr}");
    assert_eq!(fs::read_dir(installation.sandbox.path()).unwrap().count(), before);
    let cut = installation.run(&["sgx", "get", "demo", "long"]);
    assert!(cut.code == Some(1) && cut.stdout.len() < LONG && value.starts_with(&cut.stdout));
}

#[tokio::test]
async fn slots_are_added_tested_and_retired_and_no_key_is_an_argument() {
    let installation = Installation::new().await;
    let run = |arguments: &[&str]| installation.run(arguments);
    let secrets = installation.sandbox.run(&["secrets", "--json"]).success().json();
    let key = secrets["SGX_ENCRYPTION_KEY"].as_str().unwrap();
    let first = run(&["sgx", "slots", "list", "--json"]).success().json();
    let first = first[0]["id"].as_str().unwrap().to_owned();

    let refused = run(&["sgx", "slots", "add", key]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let add = ["sgx", "slots", "add", "--label", "spare", "--json"];
    let added = with_input(&installation, &add, format!("{key}\n").as_bytes()).success().json();
    assert_eq!((&added["label"], &added["atHand"]), (&"spare".into(), &false.into()));
    let spare = added["id"].as_str().unwrap();
    let again = with_input(&installation, &add, key.as_bytes());
    assert!(again.code == Some(1) && !again.stderr.contains(key), "{again:?}");
    let empty = with_input(&installation, &["sgx", "slots", "add"], b"\n").failure();
    assert!(empty.contains("empty"), "{empty}");

    let with_key = ["sgx", "slots", "test", spare, "--with-key"];
    assert!(with_input(&installation, &with_key, key.as_bytes()).success().text().starts_with("Opened slot"));
    let wrong = ["sgx", "slots", "test", &first, "--with-key"];
    let wrong = with_input(&installation, &wrong, key.as_bytes()).failure();
    assert!(wrong.contains("sgx.wrong_key_slot"), "{wrong}");
    run(&["sgx", "slots", "test", &first]).success();
    let table = run(&["sgx", "slots", "list"]).success();
    assert!(table.text().contains("spare") && table.text().contains("OPENED BY"), "{}", table.text());

    // Asked first; and without anybody there to be asked, refused.
    let retire = ["sgx", "slots", "retire", spare];
    assert!(run(&retire).failure().contains("--yes"));
    let screen = at_terminal(&mut nsl(&installation, &retire), "n\n");
    assert!(screen.code == Some(1) && screen.text.contains("nothing was done"), "{screen:?}");
    let screen = at_terminal(&mut nsl(&installation, &retire), "y\n");
    assert!(screen.code == Some(0) && screen.text.contains("Retired slot"), "{screen:?}");
    let last = run(&["sgx", "slots", "retire", &first, "--yes"]).failure();
    assert!(last.contains("sgx.last_slot"), "{last}");
}

#[tokio::test]
async fn a_rotation_ends_in_a_statement_that_anyone_can_verify() {
    let installation = Installation::new().await;
    let run = |arguments: &[&str]| installation.run(arguments);
    for key in ["a", "b", "b"] {
        with_input(&installation, &["sgx", "put", "demo", key], b"value").success();
    }
    let keys = run(&["sgx", "keys", "--json"]).success().json();
    let vkey = keys["statementKey"].as_str().unwrap().to_owned();
    assert_eq!((&keys["items"][0]["version"], &keys["items"][0]["state"]), (&1.into(), &"active".into()));

    // With a pinned key, and a bar on a terminal that is gone in the end.
    let rotate = ["sgx", "rotate", "--reason", "the yearly one", "--key", &vkey];
    let screen = at_terminal(&mut nsl(&installation, &rotate), "");
    assert_eq!(screen.code, Some(0), "{screen:?}");
    let text = &screen.text;
    assert!(text.contains("Rotating [") && text.contains("completed, 3 of 3"), "{screen:?}");
    assert!(text.contains("under-new-key 3") && text.contains("under-former-keys 0"), "{screen:?}");
    assert!(text.contains(&format!("The signature is good, of {vkey}")), "{screen:?}");
    assert_eq!(run(&["sgx", "get", "demo", "b"]).success().text(), "value");
    let keys = run(&["sgx", "keys"]).success();
    assert!(keys.text().contains("active") && keys.text().contains("retired"), "{}", keys.text());

    // Offline, byte for byte; a changed one and another's key are refused.
    let rotations = run(&["sgx", "rotate", "list", "--json"]).success().json();
    let id = rotations[0]["rotationId"].as_str().unwrap();
    assert_eq!(rotations[0]["reason"], "the yearly one");
    let statement = run(&["sgx", "statement", "get", id]).success();
    let file = installation.sandbox.path().join("statement");
    fs::write(&file, &statement.stdout).unwrap();
    let file = file.to_str().unwrap();
    let verified = installation.sandbox.run(&["sgx", "statement", "verify", file, "--key", &vkey]).success();
    assert!(verified.text().contains("under-former-keys 0"), "{verified:?}");
    assert!(statement.text().starts_with(verified.text()));
    let forged = statement.text().replace("under-former-keys 0", "under-former-keys 1");
    let refused =
        with_input(&installation, &["sgx", "statement", "verify", "-", "--key", &vkey], forged.as_bytes());
    assert!(refused.failure().contains("not to be trusted"));
    let other = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let refused = installation.sandbox.run(&["sgx", "statement", "verify", file, "--key", other]).failure();
    assert!(refused.contains("no signature of this key"), "{refused}");
    assert!(run(&["sgx", "statement", "get", id, "--key", other]).failure().contains("not to be trusted"));
    let none = installation.sandbox.run(&["sgx", "statement", "verify", file, "--key", "nonsense"]);
    assert!(none.code == Some(2) && none.stderr.contains("verifier key"), "{none:?}");

    // The values themselves, and the root; without waiting, and waited for later.
    let begun = run(&["sgx", "rotate", "--reseal", "--no-wait", "--json"]).success().json();
    let id = begun["rotationId"].as_str().unwrap();
    let ended = run(&["sgx", "rotate", "show", id, "--wait", "--json"]).success().json();
    assert_eq!(
        (&ended["kind"], &ended["state"], &ended["verifiedBy"]),
        (&"reseal".into(), &"completed".into(), &vkey.as_str().into())
    );
    assert!(ended["statement"].as_str().unwrap().contains("\nkind reseal\n"), "{ended}");
    let root = run(&["sgx", "rotate", "--scope", "root"]).success();
    assert!(root.text().contains("(root, ") && root.text().contains("kind root"), "{}", root.text());
    assert_eq!(run(&["sgx", "get", "demo", "a"]).success().text(), "value");
}

#[tokio::test]
async fn a_quote_out_of_its_time_is_told_apart_from_what_is_none() {
    let installation = Installation::new().await;
    let samples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/dcap");
    let sample = |name: &str| samples.join(name).to_str().unwrap().to_owned();
    let (quote, collateral) = (sample("tdx_quote"), sample("tdx_quote_collateral.json"));
    let verify = ["sgx", "attest", "verify", &quote, "--collateral", &collateral];

    let refused = installation.run(&verify);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.text().contains("not accepted") && refused.text().contains("tdx"), "{refused:?}");
    assert!(refused.stderr.contains("not accepted: "), "{refused:?}");
    let verdict = installation.run(&[&verify[..], &["--json"]].concat());
    assert_eq!(verdict.code, Some(1));
    let verdict = verdict.json();
    assert_eq!(verdict["accepted"], false);
    let shown = installation.run(&["sgx", "attest", "show", verdict["id"].as_str().unwrap(), "--json"]);
    assert_eq!(shown.success().json()["reasons"], verdict["reasons"]);

    let none =
        with_input(&installation, &["sgx", "attest", "verify", "-", "--collateral", &collateral], b"none");
    assert!(none.failure().contains("sgx."));
    let own = installation.run(&["sgx", "attest", "quote"]).failure();
    assert!(own.contains("simulation") && own.contains("nothing vouches"), "{own}");
}

#[tokio::test]
async fn a_scan_fails_where_something_is_not_as_it_should_be() {
    let installation = Installation::new().await;
    for key in ["flipped", "gone", "well"] {
        with_input(&installation, &["sgx", "put", "demo", key], b"value").success();
    }
    let clean = at_terminal(&mut nsl(&installation, &["sgx", "scan"]), "");
    assert_eq!(clean.code, Some(0), "{clean:?}");
    assert!(clean.text.contains("Scanning [") && clean.text.contains("3 versions checked"), "{clean:?}");
    assert!(clean.text.contains("nothing found"), "{clean:?}");

    let database = installation.database("postgres").await;
    for attack in [
        "UPDATE sgx.sealed_data_items SET sealed_data = set_byte(sealed_data, 9, get_byte(sealed_data, 9) # 1) \
         WHERE key = 'flipped'",
        "DELETE FROM sgx.sealed_data_items WHERE key = 'gone'",
    ] {
        assert_eq!(database.execute(attack, &[]).await.unwrap(), 1);
    }
    let found = installation.run(&["sgx", "scan"]);
    assert_eq!(found.code, Some(1), "{found:?}");
    for text in ["damaged", "flipped", "vanished", "gone", "2 findings"] {
        assert!(found.text().contains(text), "no {text}: {found:?}");
    }
    assert!(found.stderr.contains("2 items are not as they should be"), "{found:?}");
    let scans = installation.run(&["sgx", "scan", "list", "--json"]).success().json();
    assert_eq!((&scans[0]["findingCount"], &scans[1]["findingCount"]), (&2.into(), &0.into()));
    let id = scans[0]["scanId"].as_str().unwrap();
    let shown = installation.run(&["sgx", "scan", "show", id, "--json"]);
    assert_eq!((shown.code, shown.json()["findings"].as_array().unwrap().len()), (Some(1), 2));
}

#[tokio::test]
async fn versions_names_rules_and_limits() {
    let installation = Installation::new().await;
    let run = |arguments: &[&str]| installation.run(arguments);
    let put = |arguments: &[&str], value: &[u8]| {
        with_input(&installation, &[&["sgx", "put", "demo"], arguments].concat(), value)
    };
    for value in ["one", "two", "three"] {
        put(&["k"], value.as_bytes()).success();
    }
    let versions = run(&["sgx", "history", "demo", "k", "--json"]).success().json();
    assert_eq!((&versions[0]["version"], &versions[0]["current"]), (&3.into(), &true.into()));
    assert_eq!(run(&["sgx", "get", "demo", "k", "--version", "1"]).success().text(), "one");
    let restored = run(&["sgx", "restore", "demo", "k", "--version", "2"]).success();
    assert!(restored.text().starts_with("Restored demo/k: version 4"), "{restored:?}");
    assert_eq!(run(&["sgx", "get", "demo", "k"]).success().text(), "two");
    run(&["sgx", "delete", "demo", "k"]).success();
    run(&["sgx", "restore", "demo", "k"]).success();
    assert_eq!(run(&["sgx", "get", "demo", "k"]).success().text(), "two");

    run(&["sgx", "copy", "demo", "k", "copied", "--to-service", "other", "--version", "3"]).success();
    assert_eq!(run(&["sgx", "get", "other", "copied"]).success().text(), "three");
    let taken = run(&["sgx", "copy", "demo", "k", "copied", "--to-service", "other"]).failure();
    assert!(taken.contains("sgx.target_exists"), "{taken}");
    let renamed = run(&["sgx", "rename", "demo", "k", "renamed"]).success();
    assert!(renamed.text().starts_with("Renamed demo/k to demo/renamed"), "{renamed:?}");
    assert!(run(&["sgx", "get", "demo", "k"]).failure().contains("sgx.item_not_found"));

    // What cannot be taken back is asked for first.
    assert!(run(&["sgx", "destroy", "demo", "k", "--version", "1"]).failure().contains("--yes"));
    let gone = run(&["sgx", "destroy", "demo", "k", "--version", "1", "--yes"]).success();
    assert_eq!(gone.text(), "Destroyed demo/k: version 1\n");
    assert!(run(&["sgx", "history", "demo", "k"]).success().text().contains("destroyed"));
    let again = run(&["sgx", "restore", "demo", "k", "--version", "1"]).failure();
    assert!(again.contains("sgx.version_destroyed"), "{again}");

    let policies = run(&["sgx", "policies", "list"]).success();
    assert!(policies.text().contains("HighSecurity") && policies.text().contains("attestation"));
    let made = run(&["sgx", "policies", "create", "Twice", "--type", "CUSTOM", "--max-reads", "2"]).success();
    assert_eq!(made.text(), "Made the policy Twice: CUSTOM, 2 reads\n");
    put(&["ruled", "--policy", "Twice"], b"x").success();
    for _ in 0..2 {
        run(&["sgx", "get", "demo", "ruled"]).success();
    }
    assert!(run(&["sgx", "get", "demo", "ruled"]).failure().contains("sgx.reads_exhausted"));
    let changed = run(&["sgx", "policies", "update", "Twice", "--allow-unseal", "false", "--json"]).success();
    let changed = changed.json();
    assert_eq!((&changed["maxReads"], &changed["allowUnseal"]), (&2.into(), &false.into()));
    assert!(run(&["sgx", "policies", "update", "Twice"]).failure().contains("nothing to change"));
    assert!(run(&["sgx", "policies", "delete", "LongTerm"]).failure().contains("sgx.builtin_policy"));
    run(&["sgx", "policies", "show", "Twice"]).success();
    run(&["sgx", "policies", "delete", "Twice"]).success();

    put(&["found", "--metadata", r#"{"owner":"ops","tier":1}"#], b"x").success();
    let found = run(&["sgx", "list", "--metadata", r#"{"owner":"ops"}"#, "--json"]).success().json();
    assert_eq!((found.as_array().unwrap().len(), &found[0]["key"]), (1, &"found".into()));

    let set = run(&["sgx", "quota", "set", "--service", "small", "--max-items", "1", "--max-bytes", "1MiB"]);
    assert_eq!(set.success().text(), "Limited service small to 1 items and 1.0 MiB sealed\n");
    with_input(&installation, &["sgx", "put", "small", "a"], b"x").success();
    let refused = with_input(&installation, &["sgx", "put", "small", "b"], b"x").failure();
    assert!(refused.contains("sgx.quota_exceeded"), "{refused}");
    let kept = run(&["sgx", "stat"]).success();
    assert!(kept.text().contains("(all)") && kept.text().contains("of 1.0 MiB"), "{}", kept.text());
    assert!(run(&["sgx", "quota", "list"]).success().text().contains("small"));
    run(&["sgx", "quota", "remove", "--service", "small"]).success();
}
