//! Disks that are full or read-only. They need a mount, so root; elsewhere these tests have nothing to test, and the
//! reading of the messages has unit tests in `error.rs`.

use super::*;

/// A small disk in memory, unmounted at the end.
struct Disk(Place);

impl Disk {
    fn of(size: &str) -> Option<Self> {
        let place = Place::new();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=755"), "nsl-test"])
            .arg(place.data_dir.path())
            .stderr(Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(place))
    }

    fn remount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{options}")]).arg(self.0.data_dir.path());
        assert!(mount.status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.data_dir.path()).status();
    }
}

#[test]
fn a_full_disk_is_told_in_one_line() {
    let Some(disk) = Disk::of("8m") else {
        eprintln!("not run: no right to mount");
        return;
    };
    let error = disk.0.start(quick()).unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    assert!(!disk.0.data_dir.pgdata().exists());
    // Room made, the same call succeeds.
    disk.remount("size=300m");
    stop(&disk.0.start(quick()).unwrap());

    // A database that is there, and no room to start it.
    let filler = disk.0.data_dir.path().join("filler");
    let _ = fs::write(&filler, vec![1; 300 << 20]);
    let error =
        disk.0.start(Settings { extra: vec![("work_mem".into(), "18MB".into())], ..quick() }).unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    fs::remove_file(&filler).unwrap();
    stop(&disk.0.start(quick()).unwrap());
}

#[test]
fn a_read_only_disk_is_told_in_one_line() {
    let Some(disk) = Disk::of("300m") else {
        eprintln!("not run: no right to mount");
        return;
    };
    disk.remount("ro");
    let error = disk.0.start(quick()).unwrap_err();
    assert!(matches!(error, Error::ReadOnly { .. }), "{error}");
    let error = nsl_postgres::InstanceLock::acquire(&disk.0.data_dir).unwrap_err();
    assert!(matches!(error, Error::ReadOnly { .. }), "{error}");
}
