//! A bar on a terminal for what takes its time. Elsewhere it shows nothing.

use std::io::{self, IsTerminal, Write};

const WIDTH: usize = 24;

pub(crate) struct Bar {
    label: &'static str,
    shown: bool,
}

impl Bar {
    /// With `--json` a program reads along, and no bar is drawn.
    pub(crate) fn new(label: &'static str, json: bool) -> Self {
        Self { label, shown: !json && io::stderr().is_terminal() }
    }

    pub(crate) fn draw(&self, done: u64, total: u64, seconds_left: Option<u64>) {
        if self.shown {
            // From the start of the line, over what stands there, to its end.
            let _ = write!(io::stderr(), "\r{}\x1b[K", line(self.label, done, total, seconds_left));
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(label: &str, done: u64, total: u64, seconds_left: Option<u64>) -> String {
    let part = |whole: u64| u128::from(done.min(total)) * u128::from(whole) / u128::from(total.max(1));
    let filled = usize::try_from(part(WIDTH as u64)).unwrap_or(WIDTH);
    let bar = format!("{}{}", "#".repeat(filled), "-".repeat(WIDTH - filled));
    let left = seconds_left.map(|seconds| format!(", {} left", span(seconds))).unwrap_or_default();
    format!("{label} [{bar}] {:>3} % {done} of {total}{left}", part(100))
}

/// Seconds, to be read.
fn span(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_never_over_full_and_an_empty_job_has_one() {
        assert_eq!(
            line("Scanning", 450, 1000, Some(75)),
            "Scanning [##########--------------]  45 % 450 of 1000, 1 min 15 s left"
        );
        assert!(line("Scanning", 0, 0, None).contains("  0 % 0 of 0"));
        // Rows that came meanwhile are done too.
        assert!(line("Scanning", 7, 5, None).contains("[########################] 100 %"));
        assert!(line("Scanning", u64::MAX, u64::MAX, Some(7260)).ends_with("2 h 1 min left"));
    }
}
