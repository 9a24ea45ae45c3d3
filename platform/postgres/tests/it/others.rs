//! Programs, databases and users that are not ours.

use std::net::TcpListener;

use nsl_postgres::InstanceLock;

use super::*;

#[test]
fn a_busy_port_is_another_programs_and_the_next_is_taken() {
    let place = Place::new();
    let busy = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let wanted = busy.local_addr().unwrap().port();
    let settings = Settings { port: wanted, durable: false, ..Settings::default() };
    let mut server = place.start(settings).unwrap();
    assert!(server.port() > wanted);
    if !server.has_tcp() {
        return; // a server built without TLS: its port is but the socket's name
    }

    // Clients know the port: at a restart it is that one or a clear error.
    let (pid, port) = (server.pid(), server.port());
    signal(pid, Signal::KILL);
    wait_until(|| !is_alive(pid));
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let error = server.restart_if_dead().unwrap_err();
    assert!(matches!(error, Error::PortBusy { port: told } if told == port), "{error}");
    drop(taken);
    assert!(server.restart_if_dead().unwrap());
    assert_eq!(server.port(), port);
    stop(&server);
}

#[test]
fn no_server_but_its_own_is_taken_for_it_or_stopped() {
    let place = Place::new();
    let server = place.start(quick()).unwrap();
    let (pid, socket_dir) = (server.pid(), server.socket_dir().to_path_buf());
    let lock = socket_dir.join(format!(".s.PGSQL.{}.lock", server.port()));
    signal(pid, Signal::KILL);
    wait_until(|| !is_alive(pid));

    // After a crash, in a new container above all, the number may be another program's, even of the same user.
    let mut sleep = Command::new("sleep");
    if place.data_dir.account().is_other() {
        std::os::unix::process::CommandExt::uid(&mut sleep, place.data_dir.account().uid());
    }
    let mut other = sleep.arg("60").current_dir("/").spawn().unwrap();
    for file in [place.data_dir.pgdata().join("postmaster.pid"), lock] {
        let text = fs::read_to_string(&file).unwrap();
        let (_, rest) = text.split_once('\n').unwrap();
        fs::write(&file, format!("{}\n{rest}", other.id())).unwrap();
    }
    assert!(!server.is_running());
    server.stop(Mode::Immediate, LIMIT).unwrap();
    let again = place.start(quick()).unwrap();
    assert!(!again.reattached());
    assert_eq!(place.ask(&again, "SELECT 1"), "1");
    stop(&again);
    assert!(other.try_wait().unwrap().is_none(), "the other program was not touched");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn two_data_directories_are_two_servers() {
    let (one, two) = (Place::new(), Place::new());
    let first = one.start(quick()).unwrap();
    let second = two.start(quick()).unwrap();
    // A lock file copied from elsewhere names a server, but not this one.
    let copied = fs::read(one.data_dir.pgdata().join("postmaster.pid")).unwrap();
    stop(&second);
    fs::write(two.data_dir.pgdata().join("postmaster.pid"), copied).unwrap();
    assert!(!second.is_running());
    second.stop(Mode::Fast, LIMIT).unwrap();
    assert!(first.is_running());
    assert!(is_alive(first.pid()));
    stop(&first);
}

#[test]
fn a_database_of_another_major_is_refused() {
    let place = Place::new();
    let pgdata = place.data_dir.pgdata();
    fs::create_dir(&pgdata).unwrap();
    fs::write(pgdata.join("PG_VERSION"), "14\n").unwrap();
    if place.data_dir.account().is_other() {
        std::os::unix::fs::chown(&pgdata, Some(place.data_dir.account().uid()), None).unwrap();
    }
    let error = place.start(quick()).unwrap_err();
    assert!(matches!(&error, Error::ForeignMajor { found, .. } if found == "14"), "{error}");
    assert!(error.to_string().contains("was made by PostgreSQL 14"), "{error}");
    assert_eq!(place.data_dir.major(), Some(14));
}

#[test]
fn a_directory_with_other_things_in_it_is_refused() {
    let place = Place::new();
    fs::create_dir(place.data_dir.pgdata()).unwrap();
    fs::write(place.data_dir.pgdata().join("thesis.tex"), "").unwrap();
    assert!(matches!(place.start(quick()), Err(Error::NotADatabase { .. })));
    assert!(place.data_dir.pgdata().join("thesis.tex").exists());
}

#[test]
fn a_database_of_root_is_refused_by_its_owner() {
    let place = Place::new();
    if !place.data_dir.account().is_other() {
        return; // only root can give files away
    }
    fs::create_dir(place.data_dir.pgdata()).unwrap();
    fs::write(place.data_dir.pgdata().join("PG_VERSION"), "15\n").unwrap();
    let error = place.start(quick()).unwrap_err();
    assert!(matches!(&error, Error::WrongOwner { owner, .. } if owner == "root"), "{error}");
}

#[test]
fn binaries_that_the_database_user_cannot_reach_are_named() {
    let place = Place::new();
    if !place.data_dir.account().is_other() {
        return; // no other user is involved
    }
    let private = tempfile::tempdir().unwrap();
    fs::set_permissions(private.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let bin = private.path().join("bin");
    fs::create_dir(&bin).unwrap();
    for name in ["initdb", "postgres"] {
        std::os::unix::fs::symlink(place.binaries.dir().join(name), bin.join(name)).unwrap();
    }
    let binaries = Binaries::find(Some(&bin), None).unwrap();
    let error = Server::start(&binaries, &place.data_dir, quick(), PASSWORD).unwrap_err();
    assert!(matches!(&error, Error::CannotEnter { dir, .. } if *dir == bin), "{error}");
}

#[test]
fn a_link_in_the_place_of_a_lock_is_not_followed() {
    let place = Place::new();
    let target = place.dir.path().join("precious");
    std::os::unix::fs::symlink(&target, place.data_dir.path().join("nsl.lock")).unwrap();
    assert!(matches!(InstanceLock::acquire(&place.data_dir), Err(Error::Io { .. })));
    assert!(!target.exists());
}

#[test]
fn one_instance_at_a_time() {
    let place = Place::new();
    let held = InstanceLock::acquire(&place.data_dir).unwrap();
    let error = InstanceLock::acquire(&place.data_dir).unwrap_err();
    assert!(
        matches!(error, Error::AlreadyRunning { pid: Some(pid), .. } if pid == std::process::id()),
        "{error}"
    );
    drop(held);
    InstanceLock::acquire(&place.data_dir).unwrap();
}
