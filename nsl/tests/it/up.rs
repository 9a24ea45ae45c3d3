//! `nsl up`: start, reattach, refuse, stop.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use nsl_client::{Client, Error, PutOptions, Status};
use nsl_testkit::eventually;
use rustix::process::Signal;

use crate::installation::Installation;
use crate::program::{finish, send};
use crate::{PATIENCE, random, random_below};

/// The promise of Ctrl-C.
const STOP: Duration = Duration::from_secs(5);

/// One line that says what to do.
#[track_caller]
fn one_line(stderr: &str, says: &[&str]) {
    // The log of what was done before it is JSON.
    let lines: Vec<&str> = stderr.lines().filter(|line| !line.starts_with('{')).collect();
    assert_eq!(lines.len(), 1, "{stderr}");
    assert!(lines[0].starts_with("error: "), "{stderr}");
    for text in says {
        assert!(lines[0].contains(text), "no {text:?} in {stderr}");
    }
}

/// Runs `nsl up` to the end that it should have.
async fn refused(installation: &mut Installation, further: &[&str]) -> String {
    let data_dir = installation.data_dir().to_str().unwrap().to_owned();
    let mut arguments = vec!["up", "--data-dir", &data_dir];
    if !further.contains(&"--port") {
        arguments.extend(["--port", "0"]);
    }
    arguments.extend(further);
    installation.sandbox.start(&arguments).outcome().await.failure()
}

#[tokio::test]
async fn a_restart_keeps_values_credentials_and_sessions() {
    let mut installation = Installation::new().await;
    installation.is_healthy().await;
    let health = Client::new(installation.url()).unwrap().health().await.unwrap();
    let names: Vec<&str> = health.checks.iter().map(|check| check.name.as_str()).collect();
    for name in ["postgresql", "sgx", "auth", "monitoring", "eventsourcing"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let (credentials, token) = (installation.credentials(), installation.token().await);
    installation.run(&["sgx", "put", "demo", "greeting", "--value", "hello"]).success();

    installation.stop(Signal::TERM).await;
    assert!(installation.postmaster().is_none());
    installation.up().await;

    assert_eq!(installation.run(&["sgx", "get", "demo", "greeting"]).success().text(), "hello");
    assert_eq!(installation.credentials()["password"], credentials["password"]);
    assert_eq!(installation.credentials()["url"], installation.url());
    let client = Client::new(installation.url()).unwrap().with_token(&token).unwrap();
    assert_eq!(client.me().await.unwrap().username, "admin");
}

#[tokio::test]
async fn the_commands_that_it_prints_work() {
    let mut installation = Installation::empty();
    let data_dir = installation.data_dir().to_str().unwrap().to_owned();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut running =
        installation.sandbox.start(&["up", "--data-dir", &data_dir, "--port", "0", "--pg-port", &port]);
    running.says("Ctrl-C stops it").await;
    let said = running.stdout();
    assert!(said.contains(&format!("(port {port} belongs to another server)")), "{said}");
    assert!(said.contains("an administrator was made"), "{said}");
    let (_, try_next) = said.split_once("Try next").unwrap();
    let commands: Vec<&str> = try_next.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    assert_eq!(commands.len(), 3, "{said}");
    let answers: Vec<String> = commands
        .iter()
        .map(|command| {
            finish(installation.sandbox.program("sh").args(["-c", command])).success().text().to_owned()
        })
        .collect();
    assert!(answers[0].contains("version 1"), "{answers:?}");
    assert_eq!(answers[1], "hello");
    assert!(answers[2].contains("1\n(1 row)"), "{answers:?}");
    installation.adopt(running);
    installation.stop(Signal::INT).await;
}

#[tokio::test]
async fn a_second_start_on_the_same_folder_is_refused() {
    let mut installation = Installation::new().await;
    let stderr = refused(&mut installation, &[]).await;
    one_line(&stderr, &["already running", installation.data_dir().to_str().unwrap(), "--data-dir"]);
    installation.is_healthy().await;
}

#[tokio::test]
async fn a_busy_http_port_is_told_and_leaves_nothing_running() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut installation = Installation::empty();
    let stderr = refused(&mut installation, &["--port", &port]).await;
    one_line(&stderr, &[&port, "taken by another program", "--port"]);
    assert!(installation.postmaster().is_none());
    // The start that was refused is completed by the next one.
    installation.up().await;
    installation.client().await.me().await.unwrap();
}

#[tokio::test]
async fn a_busy_database_port_gives_the_next_free_one() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut installation = Installation::empty();
    installation.up_with(&["--pg-port", &port.to_string()]).await;
    assert!(installation.ready["postgres"]["port"].as_u64().unwrap() > u64::from(port));
    assert_eq!(installation.ready["postgres"]["movedFrom"], port);
    installation.is_healthy().await;
}

#[tokio::test]
async fn a_directory_of_another_major_is_refused_and_left_alone() {
    let mut installation = Installation::new().await;
    installation.run(&["sgx", "put", "demo", "greeting", "--value", "hello"]).success();
    installation.stop(Signal::INT).await;
    let version = installation.data_dir().join("pg/PG_VERSION");
    let ours = std::fs::read_to_string(&version).unwrap();
    std::fs::write(&version, "14\n").unwrap();
    let stderr = refused(&mut installation, &[]).await;
    one_line(&stderr, &["made by PostgreSQL 14", "install 14"]);
    std::fs::write(&version, ours).unwrap();
    installation.up().await;
    assert_eq!(installation.run(&["sgx", "get", "demo", "greeting"]).success().text(), "hello");
}

#[tokio::test]
async fn both_signals_stop_everything_in_time() {
    let mut installation = Installation::empty();
    for signal in [Signal::INT, Signal::TERM] {
        installation.up().await;
        // Somebody who began a request and never ends it, and somebody who keeps an idle connection.
        let address = installation.url().strip_prefix("http://").unwrap().to_owned();
        let mut hangs = TcpStream::connect(&address).unwrap();
        hangs.write_all(b"PUT /api/v1/sgx/items/a/b HTTP/1.1\r\nHost: x\r\nContent-Le").unwrap();
        let idle = installation.client().await;
        idle.me().await.unwrap();
        let took = installation.stop(signal).await;
        assert!(took < STOP, "{signal:?}: {took:?}");
        assert!(installation.postmaster().is_none(), "{signal:?}");
    }
}

#[tokio::test]
async fn after_kill_9_the_next_start_takes_over_the_running_server() {
    let mut installation = Installation::new().await;
    let token = installation.token().await;
    let client = installation.client().await;
    let value = random::<1024>();
    client.sgx().put("demo", "value", &value, &PutOptions::default()).await.unwrap();
    let postmaster = installation.postmaster().unwrap();
    installation.kill();
    assert_eq!(installation.postmaster(), Some(postmaster));

    installation.up().await;
    assert_eq!(installation.postmaster(), Some(postmaster));
    installation.is_healthy().await;
    let client = Client::new(installation.url()).unwrap().with_token(&token).unwrap();
    assert_eq!(*client.sgx().get("demo", "value").await.unwrap().bytes, value);
    // It is its own again, and stops with it.
    installation.stop(Signal::TERM).await;
    assert!(installation.postmaster().is_none());
}

#[tokio::test]
async fn a_server_that_died_comes_back_by_itself() {
    let mut installation = Installation::new().await;
    let client = installation.client().await;
    client.sgx().put("demo", "value", b"before", &PutOptions::default()).await.unwrap();
    let postmaster = installation.postmaster().unwrap();
    send(postmaster, Signal::KILL);
    let mut reason = None;
    eventually(PATIENCE, "health says that PostgreSQL is away", async || {
        let health = client.health().await.unwrap();
        let check = health.checks.into_iter().find(|check| check.name == "postgresql").unwrap();
        reason = check.detail;
        check.status == Status::Unhealthy
    })
    .await;
    assert!(reason.is_some_and(|reason| !reason.is_empty()), "without a reason");
    installation.is_healthy().await;
    assert_ne!(installation.postmaster().unwrap(), postmaster);
    assert_eq!(client.sgx().get("demo", "value").await.unwrap().bytes.as_slice(), b"before");
    client.sgx().put("demo", "value", b"after", &PutOptions::default()).await.unwrap();
    assert!(installation.process().is_running());
}

#[tokio::test]
async fn a_first_start_that_was_cut_off_is_completed_by_the_next() {
    for _ in 0..4 {
        let mut installation = Installation::empty();
        for _ in 0..2 {
            installation.begin(&[]);
            // The moment is what is tested: from before initdb to after the administrator.
            tokio::time::sleep(Duration::from_millis(random_below(2500))).await;
            installation.kill();
        }
        installation.up().await;
        installation.is_healthy().await;
        let client = installation.client().await;
        client.sgx().put("demo", "value", b"there", &PutOptions::default()).await.unwrap();
    }
}

/// A disk in memory over the data directory.
struct Disk(std::path::PathBuf);

impl Disk {
    fn under(installation: &Installation, size: &str) -> Option<Self> {
        let dir = installation.data_dir().to_path_buf();
        std::fs::create_dir(&dir).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=711"), "nsl-test"]).arg(&dir);
        // Only root may; elsewhere the test has nothing to test.
        mount.output().is_ok_and(|output| output.status.success()).then_some(Self(dir))
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _busy = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[tokio::test]
async fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let mut installation = Installation::empty();
    let Some(disk) = Disk::under(&installation, "160m") else {
        eprintln!("not run: no right to mount");
        return;
    };
    installation.up().await;
    let client = installation.client().await;
    let mut kept = Vec::new();
    let mut filled = false;
    // Room that the server has already taken is used up first.
    for number in 0.. {
        let (key, value) = (format!("value-{number}"), random::<65536>());
        match client.sgx().put("demo", &key, &value, &PutOptions::default()).await {
            Ok(_) => kept.push((key, value)),
            Err(error) => {
                assert!(filled, "{error}");
                assert!(matches!(error, Error::Problem(_)), "{error}");
                assert!(matches!(error.status(), Some(503 | 507)), "{error}");
                break;
            }
        }
        if number == 10 {
            disk.fill();
            filled = true;
        }
    }
    disk.make_room();
    installation.is_healthy().await;
    for (key, value) in &kept {
        assert_eq!(*client.sgx().get("demo", key).await.unwrap().bytes, *value, "{key}");
    }
    client.sgx().put("demo", "later", b"there is room", &PutOptions::default()).await.unwrap();

    // No room to start.
    installation.stop(Signal::TERM).await;
    disk.fill();
    let stderr = refused(&mut installation, &[]).await;
    one_line(&stderr, &["full"]);
    disk.make_room();
    installation.up().await;
    let client = installation.client().await;
    assert_eq!(client.sgx().get("demo", "later").await.unwrap().bytes.as_slice(), b"there is room");
}
