//! A command on a terminal: what a person sees, and what one types.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::process::Command;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// What stood on the screen when the command had ended.
#[derive(Debug)]
pub(crate) struct Screen {
    pub(crate) code: Option<i32>,
    pub(crate) text: String,
}

/// Runs a command with a terminal for all three of its streams; what is typed waits there from the start.
pub(crate) fn at_terminal(command: &mut Command, typed: &str) -> Screen {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let theirs = OpenOptions::new().read(true).write(true).open(name).unwrap();
    let mut ours = File::from(ours);
    ours.write_all(typed.as_bytes()).unwrap();
    command.stdin(theirs.try_clone().unwrap()).stdout(theirs.try_clone().unwrap()).stderr(theirs);
    let mut child = command.spawn().unwrap();
    // The command keeps its end open until it is made anew.
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    command.stderr(std::process::Stdio::null());
    let mut seen = Vec::new();
    let mut piece = [0; 4096];
    // Linux says EIO when the last one has closed the other end.
    while let Ok(length @ 1..) = ours.read(&mut piece) {
        seen.extend_from_slice(&piece[..length]);
    }
    let status = child.wait().unwrap();
    Screen { code: status.code(), text: String::from_utf8_lossy(&seen).replace('\r', "") }
}
