//! Embeds the migrations: one list of `include_str!`, so that the binary carries its database.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?);
    let folder = root.join("../../migrations").canonicalize()?;
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files: Vec<PathBuf> =
        fs::read_dir(&folder)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|e| e == "sql"));
    files.sort();
    let mut list = String::from("&[\n");
    for file in files {
        println!("cargo::rerun-if-changed={}", file.display());
        let stem = file.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        let (version, name) = stem.split_once('_').ok_or_else(|| {
            io::Error::other(format!("{stem}: a migration is named YYYYMMDDHHMM_<schema>_<what>.sql"))
        })?;
        writeln!(
            list,
            "    Migration {{ version: {version}, name: {name:?}, sql: include_str!({:?}) }},",
            file.display().to_string()
        )
        .map_err(io::Error::other)?;
    }
    list.push(']');
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);
    fs::write(out.join("migrations.rs"), list)
}
