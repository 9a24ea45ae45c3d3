//! Where a value lies while it is edited: a folder of its own, in memory where there is such a place, wiped afterwards.

use std::env;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::output;

pub(super) struct Scratch {
    dir: PathBuf,
    file: PathBuf,
}

impl Scratch {
    /// A file with this value, in a folder that only its owner can enter. The name of the key lets an editor know the
    /// kind of text.
    pub(super) fn new(key: &str, value: &[u8]) -> anyhow::Result<Self> {
        let memory = in_memory();
        if memory.is_none() {
            output::note(
                "note: there is no file system in memory here, so the value lies on the disk while you edit it",
            );
        }
        let parent = memory.unwrap_or_else(env::temp_dir);
        let dir =
            parent.join(format!("nsl-edit-{}-{}", std::process::id(), Timestamp::now().as_nanosecond()));
        let cannot = || format!("cannot make a place to edit in {}", parent.display());
        DirBuilder::new().mode(0o700).create(&dir).with_context(cannot)?;
        let file = dir.join(name(key));
        let scratch = Self { dir, file };
        let mut options = OpenOptions::new();
        let mut written =
            options.write(true).create_new(true).mode(0o600).open(&scratch.file).with_context(cannot)?;
        written.write_all(value).with_context(cannot)?;
        Ok(scratch)
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    pub(super) fn read(&self) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        let read = fs::read(&self.file)
            .with_context(|| format!("the editor left no {}; nothing was put", self.file.display()))?;
        Ok(Zeroizing::new(read))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let wiped = wipe(&self.dir).and_then(|()| fs::remove_dir_all(&self.dir));
        if let Err(error) = wiped {
            output::note(&format!("warning: the value may still lie in {}: {error}", self.dir.display()));
        }
    }
}

/// Overwrites every file: what an editor put beside the value too.
fn wipe(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            wipe(&entry.path())?;
        } else if kind.is_file() {
            let mut file = OpenOptions::new().write(true).open(entry.path())?;
            let length = file.metadata()?.len();
            io::copy(&mut io::Read::take(io::repeat(0), length), &mut file)?;
            file.sync_all()?;
        }
    }
    Ok(())
}

/// A folder of a file system that never reaches the disk (but for swap), where there is one.
fn in_memory() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let runtime = env::var("XDG_RUNTIME_DIR").ok();
    let candidates = ["/dev/shm", runtime.as_deref().unwrap_or_default()];
    candidates.into_iter().find(|place| is_tmpfs(&mounts, place)).map(PathBuf::from)
}

fn is_tmpfs(mounts: &str, place: &str) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(place) && matches!(fields.next(), Some("tmpfs" | "ramfs"))
    })
}

/// The last part of a key, as far as it can be the name of a file.
fn name(key: &str) -> String {
    let last = key.rsplit('/').next().unwrap_or_default();
    let name: String =
        last.chars().map(|c| if c.is_ascii_alphanumeric() || "._".contains(c) { c } else { '_' }).collect();
    // A name that begins with a dot is hidden from editors, and an empty one is none.
    if name.trim_start_matches('.').is_empty() {
        "value".to_owned()
    } else {
        name.trim_start_matches('.').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_gives_a_name_that_can_be_one() {
        for (key, file) in [
            ("stripe/config.yaml", "config.yaml"),
            ("a/b c$(x).json", "b_c__x_.json"),
            ("-rf", "_rf"),
            (".env", "env"),
            ("...", "value"),
            ("ключ", "____"),
        ] {
            assert_eq!(name(key), file, "{key}");
        }
    }

    #[test]
    fn only_a_file_system_in_memory_is_one() {
        let mounts =
            "overlay / overlay rw 0 0\ntmpfs /dev/shm tmpfs rw 0 0\n/dev/sda /run/user/7 ext4 rw 0 0\n";
        assert!(is_tmpfs(mounts, "/dev/shm"));
        assert!(!is_tmpfs(mounts, "/run/user/7") && !is_tmpfs(mounts, "/") && !is_tmpfs(mounts, ""));
    }

    #[test]
    fn it_is_for_its_owner_only_and_goes_with_all_that_an_editor_left() {
        let scratch = Scratch::new("a/b.txt", b"secret").unwrap();
        let (dir, file) = (scratch.dir.clone(), scratch.file().to_path_buf());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&file)), (0o700, 0o600));
        assert_eq!(*scratch.read().unwrap(), b"secret");
        fs::create_dir(dir.join("backup")).unwrap();
        fs::write(dir.join("backup/b.txt~"), b"secret").unwrap();
        // A hard link outside shows that the bytes themselves went.
        let kept = dir.with_extension("kept");
        fs::hard_link(&file, &kept).unwrap();
        drop(scratch);
        let left = fs::read(&kept).unwrap();
        fs::remove_file(&kept).unwrap();
        assert!(!dir.exists());
        assert_eq!(left, [0; 6]);
    }
}
