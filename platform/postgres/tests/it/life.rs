//! Start, reattach, crash, stop.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::*;

#[test]
fn first_start_has_all_that_was_promised_and_the_second_reattaches() {
    let place = Place::new();
    // A high port: 5432 may be another server's on this machine.
    let settings =
        Settings { port: 25_432, extra: vec![("work_mem".into(), "17MB".into())], ..Settings::default() };
    let server = place.start(settings.clone()).unwrap();
    assert!(!server.reattached() && server.is_running());

    let shown = |name: &str| place.ask(&server, &format!("SHOW {name}"));
    let ours = place.binaries.version().major.to_string();
    assert!(shown("server_version").starts_with(&ours));
    for (name, value) in [
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("password_encryption", "scram-sha-256"),
        ("ssl_min_protocol_version", "TLSv1.2"),
        ("log_parameter_max_length", "0"),
        ("log_parameter_max_length_on_error", "0"),
        ("shared_buffers", "256MB"),
        ("max_connections", "200"),
        ("work_mem", "17MB"),
        ("fsync", "on"),
        ("TimeZone", "UTC"),
    ] {
        assert_eq!(shown(name), value, "{name}");
    }
    let rules =
        place.ask(&server, "SELECT string_agg(type || ':' || auth_method, ' ') FROM pg_hba_file_rules");
    assert_eq!(place.ask(&server, "SELECT count(*) FROM pg_file_settings WHERE error IS NOT NULL"), "0");
    if server.has_tcp() {
        assert!(shown("listen_addresses").starts_with("127.0.0.1"));
        assert_eq!(rules, "local:scram-sha-256 hostssl:scram-sha-256 hostssl:scram-sha-256");
        // Verified TLS passes; no TLS does not.
        let tls = format!("sslrootcert={} sslmode=verify-full", place.data_dir.ca_certificate().display());
        let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        for host in ["127.0.0.1", "localhost"] {
            let output = place.psql(&server, &format!("host={host} {tls}"), sql, PASSWORD);
            assert_eq!(output.stdout, b"t\n", "{}", String::from_utf8_lossy(&output.stderr));
        }
        assert!(!place.psql(&server, "host=127.0.0.1 sslmode=disable", sql, PASSWORD).status.success());
    } else {
        // A server built without TLS (some packages are) must not listen in plain text instead.
        assert_eq!((shown("ssl").as_str(), shown("listen_addresses").as_str()), ("off", ""));
        assert_eq!(rules, "local:scram-sha-256");
    }
    let socket = format!("host={}", server.socket_dir().display());
    assert!(!place.psql(&server, &socket, "SELECT 1", "wrong").status.success());

    // Nothing secret is left lying about, and what runs is not root's.
    let names: Vec<_> =
        fs::read_dir(place.data_dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with("pg.init-")), "{names:?}");
    let pgdata = fs::metadata(place.data_dir.pgdata()).unwrap();
    assert_eq!((pgdata.uid(), pgdata.mode() & 0o777), (place.data_dir.account().uid(), 0o700));
    assert_ne!(fs::metadata(format!("/proc/{}", server.pid())).unwrap().uid(), 0);
    assert_eq!(place.data_dir.major(), Some(place.binaries.version().major));

    // The handle is not the server: the next one finds it, by whatever settings.
    let (pid, port) = (server.pid(), server.port());
    drop(server);
    let again = place.start(Settings { port: port + 1, ..settings }).unwrap();
    assert!(again.reattached());
    assert_eq!((again.pid(), again.port()), (pid, port));
    stop(&again);
    stop(&again); // none running is success
}

#[test]
fn a_killed_server_comes_back_with_its_data() {
    let place = Place::new();
    let settings = Settings { tcp: false, ..Settings::default() };
    let mut server = place.start(settings.clone()).unwrap();
    place.ask(&server, "CREATE TABLE kept AS SELECT 1 AS one");
    assert!(!server.restart_if_dead().unwrap());

    let (first, port) = (server.pid(), server.port());
    signal(first, Signal::KILL);
    wait_until(|| !is_alive(first));
    assert!(!server.is_running());
    assert!(server.restart_if_dead().unwrap());
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), first);
    assert_eq!(place.ask(&server, "SELECT one FROM kept"), "1");

    // Both died: a new handle starts it over the lock file of the dead one.
    let second = server.pid();
    signal(second, Signal::KILL);
    wait_until(|| !is_alive(second));
    drop(server);
    assert!(place.data_dir.pgdata().join("postmaster.pid").exists());
    let server = place.start(settings).unwrap();
    assert!(!server.reattached());
    assert_eq!(place.ask(&server, "SELECT one FROM kept"), "1");
    stop(&server);
}

#[test]
fn the_server_outlives_a_killed_starter() {
    let place = Place::new();
    let mut starter = Command::new(std::env::current_exe().unwrap());
    starter.args(["--ignored", "--exact", "life::starter"]).stdin(Stdio::null());
    let status =
        starter.env("NSL_TEST_DATA_DIR", place.data_dir.path()).stdout(Stdio::null()).status().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::KILL.as_raw()));
    let server = place.start(quick()).unwrap();
    assert!(server.reattached());
    assert_eq!(place.ask(&server, "SELECT 1"), "1");
    stop(&server);
}

#[test]
#[ignore = "the other process of the_server_outlives_a_killed_starter"]
fn starter() {
    let Some(dir) = std::env::var_os("NSL_TEST_DATA_DIR") else { return };
    let data_dir = DataDir::resolve(Some(Path::new(&dir)), Path::new(".nsl")).unwrap();
    let binaries = binaries();
    Server::start(&binaries, &data_dir, quick(), PASSWORD).unwrap();
    signal(std::process::id(), Signal::KILL);
}

#[test]
fn a_busy_child_of_a_killed_server_is_waited_for() {
    let place = Place::new();
    let server = place.start(quick()).unwrap();
    // The child is in a computation in which it does not notice its parent's death, and keeps the shared memory.
    let mut psql = Command::new(place.binaries.tool("psql").unwrap());
    psql.env("PGPASSWORD", PASSWORD).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
    psql.arg(format!(
        "host={} port={} user=postgres dbname=postgres",
        server.socket_dir().display(),
        server.port()
    ));
    let busy = "SELECT count(*) FROM generate_series(1, 12000000) busy";
    let mut client = psql.args(["-XAtqc", busy]).spawn().unwrap();
    let find = "SELECT pid FROM pg_stat_activity WHERE query LIKE '%) busy' AND state = 'active'";
    let mut child = String::new();
    wait_until(|| {
        child = place.ask(&server, find);
        !child.is_empty()
    });
    let child: u32 = child.parse().unwrap();
    signal(server.pid(), Signal::KILL);
    wait_until(|| !is_alive(server.pid()));
    assert!(is_alive(child));
    let again = place.start(quick()).unwrap();
    assert!(!is_alive(child) && !again.reattached());
    assert_eq!(place.ask(&again, "SELECT 1"), "1");
    client.wait().unwrap();
    stop(&again);
}

#[test]
fn an_interrupted_initdb_leaves_nothing_that_counts() {
    let place = Place::new();
    let left = place.data_dir.path().join("pg.init-1-1");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("PG_VERSION"), "15\n").unwrap();
    fs::write(place.data_dir.path().join("pg.init-1-1.pw"), "secret\n").unwrap();
    let server = place.start(quick()).unwrap();
    assert!(!left.exists() && !place.data_dir.path().join("pg.init-1-1.pw").exists());
    stop(&server);
}

#[test]
fn settings_that_the_server_refuses_are_told_in_its_words() {
    let place = Place::new();
    let broken = Settings { extra: vec![("work_mem".into(), "much".into())], ..quick() };
    let error = place.start(broken).unwrap_err();
    assert!(matches!(error, Error::StartFailed { .. }));
    assert!(error.to_string().contains("work_mem"), "{error}");
    let smuggled = Settings { extra: vec![("work_mem".into(), "1\nfsync = off".into())], ..quick() };
    assert!(matches!(place.start(smuggled), Err(Error::Setting { .. })));
    // The next start, by right settings, is not hindered.
    stop(&place.start(quick()).unwrap());
}

#[test]
fn a_path_with_letters_of_the_shell_is_a_path() {
    let place = Place::new();
    let odd = place.dir.path().join("a 'b' \"c\" $(d), é");
    let data_dir = DataDir::resolve(Some(&odd), Path::new(".nsl")).unwrap();
    let server = Server::start(&place.binaries, &data_dir, quick(), PASSWORD).unwrap();
    assert!(server.socket_dir().starts_with("/tmp/"), "{:?}", server.socket_dir());
    assert_eq!(place.ask(&server, "SELECT 1"), "1");
    let again = Server::start(&place.binaries, &data_dir, quick(), PASSWORD).unwrap();
    assert!(again.reattached());
    stop(&again);
    fs::remove_dir_all(again.socket_dir()).unwrap();
}

#[test]
fn a_password_must_be_one_line() {
    let place = Place::new();
    for password in ["", "two\nlines"] {
        let error = Server::start(&place.binaries, &place.data_dir, quick(), password).unwrap_err();
        assert!(matches!(error, Error::Password));
    }
    assert!(!place.data_dir.pgdata().exists());
}
