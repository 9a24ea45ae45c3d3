//! `nsl auth mfa …` and `nsl auth password …`: one's own factors.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::Context;
use nsl_client::{OwnerProof, Secret};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::json;

use super::{Globals, new_password, output, session};

#[derive(clap::Subcommand)]
pub(super) enum MfaCommand {
    /// Show whether one has a second factor.
    Status,
    Totp(TotpArgs),
    Remove(RemoveArgs),
    /// Make ten backup codes and print them this once; earlier ones are void.
    BackupCodes,
}

/// Enrol an authenticator app: a picture to scan, then a code of the app.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct TotpArgs {
    /// End an enrolment that was begun before, with a code of the app.
    #[arg(long, value_name = "CODE")]
    confirm: Option<String>,
}

/// Take the second factor away.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct RemoveArgs {
    /// A code of the app; without it the password is asked for.
    #[arg(long)]
    code: Option<String>,
}

#[derive(clap::Subcommand)]
pub(super) enum PasswordCommand {
    Change(ChangeArgs),
}

/// Change one's password; one's other sessions end.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct ChangeArgs {
    /// Read the present password and the new one from stdin, a line each, instead of asking for them.
    #[arg(long)]
    passwords_stdin: bool,
}

pub(super) async fn run(command: MfaCommand, globals: &Globals) -> anyhow::Result<()> {
    match command {
        MfaCommand::Status => status(globals).await,
        MfaCommand::Totp(args) => totp(args, globals).await,
        MfaCommand::Remove(args) => remove(args, globals).await,
        MfaCommand::BackupCodes => backup_codes(globals).await,
    }
}

pub(super) async fn run_password(command: PasswordCommand, globals: &Globals) -> anyhow::Result<()> {
    match command {
        PasswordCommand::Change(args) => change(&args, globals).await,
    }
}

async fn status(globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let status = session.call(async |client| client.auth().totp_status().await).await?;
    if globals.json {
        return output::json(&status);
    }
    if !status.enrolled {
        return output::line("No second factor; `nsl auth mfa totp` enrols an authenticator app.");
    }
    output::line(&format!(
        "An authenticator app since {}, and {} backup codes left.",
        output::time(status.confirmed_at),
        status.backup_codes_left
    ))
}

async fn totp(args: TotpArgs, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let code = if let Some(code) = args.confirm {
        code
    } else {
        let begun = session.call(async |client| client.auth().start_totp().await).await?;
        if globals.json {
            return output::json(&json!({
                "secret": begun.secret.expose(),
                "otpauthUrl": begun.otpauth_url.expose(),
                "qrSvg": begun.qr_svg.expose(),
            }));
        }
        output::line(&picture(begun.otpauth_url.expose())?)?;
        output::line(&format!("Scan it with the authenticator app, or type in: {}", begun.secret.expose()))?;
        if !io::stdin().is_terminal() {
            return output::line("Then `nsl auth mfa totp --confirm CODE` with a code of the app.");
        }
        ask("Code of the app: ")?
    };
    session.call(async |client| client.auth().confirm_totp(code.trim()).await).await?;
    if globals.json {
        return output::json(&json!({ "enrolled": true }));
    }
    output::line(
        "Logins with your password need a code of the app now; `nsl auth mfa backup-codes` makes spares.",
    )
}

async fn remove(args: RemoveArgs, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let password = match args.code {
        Some(_) => None,
        None => Some(ask_secret("Your password: ")?),
    };
    let proof = match (&args.code, &password) {
        (Some(code), _) => OwnerProof::Code(code),
        (None, Some(password)) => OwnerProof::Password(password),
        (None, None) => OwnerProof::Code(""),
    };
    session.call(async |client| client.auth().remove_totp(&proof).await).await?;
    if globals.json {
        return output::json(&json!({ "enrolled": false }));
    }
    output::line("The second factor is gone, and its backup codes.")
}

async fn backup_codes(globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let codes = session.call(async |client| client.auth().make_backup_codes().await).await?;
    let texts: Vec<&str> = codes.iter().map(Secret::expose).collect();
    if globals.json {
        return output::json(&json!({ "codes": texts }));
    }
    output::note("Each is good once in place of the app's code; they are not shown again:");
    output::line(&texts.join("\n"))
}

async fn change(args: &ChangeArgs, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let (current, new) = if args.passwords_stdin {
        let mut lines = io::stdin().lock().lines();
        let mut next = |what: &str| -> anyhow::Result<Secret> {
            let line = lines.next().with_context(|| format!("stdin has no line with the {what} password"))?;
            Ok(Secret::new(line.context("cannot read the passwords from stdin")?))
        };
        (next("present")?, next("new")?)
    } else {
        (ask_secret("Present password: ")?, new_password("your account", false)?)
    };
    session.call(async |client| client.auth().change_password(&current, &new).await).await?;
    if globals.json {
        return output::json(&json!({ "changed": true }));
    }
    output::line("Changed; your other sessions have ended.")
}

/// A QR code for the camera of a telephone. Light modules are drawn, dark ones left: right on a dark terminal, and
/// readers take the inverse of a light one too.
fn picture(text: &str) -> anyhow::Result<String> {
    let code = QrCode::new(text).context("the link does not fit a QR code; type the secret in")?;
    Ok(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

fn ask(prompt: &str) -> anyhow::Result<String> {
    let mut out = io::stderr();
    write!(out, "{prompt}").and_then(|()| out.flush()).context("cannot ask")?;
    let mut line = String::new();
    io::stdin().read_line(&mut line).context("cannot read the answer")?;
    Ok(line)
}

fn ask_secret(prompt: &str) -> anyhow::Result<Secret> {
    rpassword::prompt_password(prompt).map(Secret::new).context("cannot ask for it without a terminal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_half_blocks_with_a_quiet_zone() {
        let text = picture("otpauth://totp/a:b?secret=JBSWY3DPEHPK3PXP&issuer=a").unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let width = lines[0].chars().count();
        assert!(lines.iter().all(|line| line.chars().count() == width), "{text}");
        assert!(text.chars().all(|c| matches!(c, ' ' | '▀' | '▄' | '█' | '\n')), "{text}");
        // ISO/IEC 18004: four modules of light around it.
        assert_eq!(lines[0], "█".repeat(width));
        // The number of rows is odd: the last line is the upper half of one.
        let (last, whole) = lines.split_last().unwrap();
        assert_eq!(*last, "▀".repeat(width));
        assert!(whole.iter().all(|line| line.starts_with("████") && line.ends_with("████")), "{text}");
    }
}
