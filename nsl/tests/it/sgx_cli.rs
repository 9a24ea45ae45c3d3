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

    // Too long, and a file that is not all there any more: nothing is stored.
    fs::write(&from, vec![7; (64 << 20) + 1]).unwrap();
    let stderr = installation.run(&["sgx", "put", "demo", "longer", "--file", &from]).failure();
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
