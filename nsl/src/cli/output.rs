//! What a person or a program reads: tables, JSON, errors. No command writes to stdout but through here.

use std::io::{self, ErrorKind, IsTerminal, Write};

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

/// Writes to stdout. A reader that has seen enough (`| head`) is no error.
pub(crate) fn bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write the output"),
        _ => Ok(()),
    }
}

/// Writes a line.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes JSON, for `--json`.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string_pretty(value).context("cannot write the answer as JSON")?)
}

/// Tells on stderr, beside the output.
pub(crate) fn note(text: &str) {
    // Where stderr is closed nobody is there to be told.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Tells on stderr of what should be done otherwise.
pub(crate) fn warn(text: &str, as_json: bool) {
    if as_json {
        note(&json!({ "warning": text }).to_string());
    } else {
        note(&format!("warning: {text}"));
    }
}

/// Tells on stderr why the command failed and what to do next; with `--json` as one JSON object.
pub(crate) fn print_error(error: &anyhow::Error, json: bool) {
    if json {
        note(&as_json(error).to_string());
    } else {
        note(&describe(error));
    }
}

/// The error in the words of the problem that the service answered, where it did.
fn as_json(error: &anyhow::Error) -> Value {
    let text = describe(error);
    let detail = text.strip_prefix("error: ").unwrap_or(&text);
    match error.chain().find_map(|cause| cause.downcast_ref::<nsl_client::Error>()) {
        Some(nsl_client::Error::Problem(problem)) => json!({ "error": problem }),
        _ => json!({ "error": { "detail": detail } }),
    }
}

fn describe(error: &anyhow::Error) -> String {
    let mut lines = Vec::new();
    let mut client = None;
    for cause in error.chain() {
        let text = cause.to_string();
        // Some libraries put the text of a cause into their own.
        if !lines.last().is_some_and(|last: &String| last.contains(&text)) {
            lines.push(text);
        }
        client = cause.downcast_ref::<nsl_client::Error>();
        if client.is_some() {
            // Its text covers what is below it.
            break;
        }
    }
    if let Some(client) = client {
        if let nsl_client::Error::Problem(problem) = client {
            lines.extend(problem.errors.iter().map(|field| format!("{}: {}", field.pointer, field.detail)));
        }
        lines.extend(client.next_step());
        if let nsl_client::Error::Problem(problem) = client {
            lines.push(format!("code {}, trace id {}", problem.code, problem.trace_id));
        }
    }
    format!("error: {}", lines.join("\n  "))
}

/// Writes rows below headings, in columns as wide as they need to be. On a terminal that may have colours
/// (`NO_COLOR`) the headings stand out.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    let text = aligned(headings, rows);
    let plain =
        !io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match text.split_once('\n') {
        Some((first, rest)) if !plain => bytes(format!("\x1b[1m{first}\x1b[0m\n{rest}").as_bytes()),
        _ => bytes(text.as_bytes()),
    }
}

fn aligned(headings: &[&str], rows: &[Vec<String>]) -> String {
    let headings: Vec<String> = headings.iter().map(|&heading| heading.to_owned()).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&headings).chain(rows).collect();
    let width = |column: usize| {
        lines.iter().filter_map(|cells| cells.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut text = String::new();
    for cells in lines {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A number of bytes, to be read and not to be counted with: `12 B`, `1.5 KiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // Tenths, in whole numbers: a rounded float can say 1024.0 KiB.
    let (mut tenths, mut unit) = (u128::from(bytes) * 10 / 1024, 0);
    while tenths >= 10240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// A time to the second; what is not set shows as `-`.
pub(crate) fn time(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| format!("{at:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_where_the_text_does() {
        let rows =
            [["ключ", "12 B", "MRSIGNER"], ["a", "1.5 KiB", "-"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(
            aligned(&["KEY", "SIZE", "POLICY"], &rows),
            "KEY   SIZE     POLICY\nключ  12 B     MRSIGNER\na     1.5 KiB  -\n"
        );
    }

    #[test]
    fn sizes_are_cut_to_a_tenth() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1024 * 1024 - 1, "1023.9 KiB"),
            (1024 * 1024, "1.0 MiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn an_error_says_what_why_and_what_next() {
        let error = anyhow::anyhow!("the file is not there").context("cannot read the value");
        assert_eq!(describe(&error), "error: cannot read the value\n  the file is not there");
        assert_eq!(as_json(&error)["error"]["detail"], "cannot read the value\n  the file is not there");
        let error =
            anyhow::anyhow!("File exists (os error 17)").context("/a: File exists (os error 17); move it");
        assert_eq!(describe(&error), "error: /a: File exists (os error 17); move it");
        let problem: nsl_client::Problem = serde_json::from_str(
            r#"{"status":401,"code":"auth.token_expired","detail":"The token has expired.","traceId":"t-1",
                "errors":[{"pointer":"/a","detail":"is wrong"}]}"#,
        )
        .unwrap();
        let error = anyhow::Error::new(nsl_client::Error::Problem(Box::new(problem)));
        assert_eq!(as_json(&error)["error"]["code"], "auth.token_expired");
        assert_eq!(
            describe(&error),
            "error: The token has expired.\n  /a: is wrong\n  code auth.token_expired, trace id t-1"
        );
    }

    #[test]
    fn a_time_that_is_not_set_is_a_dash() {
        assert_eq!(time(None), "-");
        assert_eq!(time(Some("2026-11-24T10:00:00.987654Z".parse().unwrap())), "2026-11-24T10:00:00Z");
    }
}
