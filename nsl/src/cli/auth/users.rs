//! `nsl auth users` and `nsl auth user …`.

use nsl_client::{NewUser, User};
use serde_json::json;

use super::{Globals, describe, new_password, output, session};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    Create(CreateArgs),
    Show(UserArgs),
    Lock(UserArgs),
    Unlock(UserArgs),
    Delete(UserArgs),
}

/// Make a user of the tenant.
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct CreateArgs {
    username: String,
    #[arg(long)]
    email: Option<String>,
    #[arg(long, value_name = "NAME")]
    full_name: Option<String>,
    /// What the user may do; can be given again [default: User].
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Read the password from stdin instead of asking for it.
    #[arg(long)]
    password_stdin: bool,
}

/// Show a user, keep one out (`lock`) or let in again (`unlock`), or end a membership in the tenant (`delete`).
#[derive(clap::Args)]
#[command(after_help = session::HELP)]
pub(super) struct UserArgs {
    /// The username, or the id.
    user: String,
}

pub(super) async fn run(command: Command, globals: &Globals) -> anyhow::Result<()> {
    match command {
        Command::Create(args) => create(args, globals).await,
        Command::Show(args) => show(args, globals).await,
        Command::Lock(args) => set_lock(&args, true, globals).await,
        Command::Unlock(args) => set_lock(&args, false, globals).await,
        Command::Delete(args) => delete(&args, globals).await,
    }
}

pub(super) async fn list(globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let users = session.call(async |client| client.auth().users().await).await?;
    if globals.json {
        return output::json(&users);
    }
    let rows: Vec<Vec<String>> = users
        .into_iter()
        .map(|user| {
            vec![
                user.username,
                user.status,
                user.roles.join(" "),
                user.email.unwrap_or_else(|| "-".to_owned()),
                output::time(user.last_login_at),
                user.id,
            ]
        })
        .collect();
    output::table(&["USERNAME", "STATUS", "ROLES", "EMAIL", "LAST LOGIN", "ID"], &rows)
}

async fn create(args: CreateArgs, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let password = new_password(&args.username, args.password_stdin)?;
    let new = NewUser {
        username: &args.username,
        password: &password,
        email: args.email.as_deref(),
        full_name: args.full_name.as_deref(),
        roles: &args.roles,
    };
    let user = session.call(async |client| client.auth().create_user(&new).await).await?;
    if globals.json {
        return output::json(&user);
    }
    output::line(&format!("Made {} ({}): {}", user.username, user.roles.join(", "), user.id))
}

async fn show(args: UserArgs, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let user = find(&mut session, &args.user).await?;
    if globals.json {
        return output::json(&user);
    }
    let mut fields = vec![
        ("username", user.username),
        ("id", user.id),
        ("status", user.status),
        ("roles", user.roles.join(" ")),
    ];
    fields.extend(user.email.map(|email| ("email", email)));
    fields.extend(user.full_name.map(|name| ("name", name)));
    fields.push(("created", output::time(Some(user.created_at))));
    fields.push(("last login", output::time(user.last_login_at)));
    describe(&fields)
}

async fn set_lock(args: &UserArgs, lock: bool, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let id = find(&mut session, &args.user).await?.id;
    let user = session
        .call(async |client| {
            let auth = client.auth();
            if lock { auth.lock_user(&id).await } else { auth.unlock_user(&id).await }
        })
        .await?;
    if globals.json {
        return output::json(&user);
    }
    output::line(&format!("{} is {}.", user.username, user.status))
}

async fn delete(args: &UserArgs, globals: &Globals) -> anyhow::Result<()> {
    let mut session = session::open(globals).await?;
    let user = find(&mut session, &args.user).await?;
    session.call(async |client| client.auth().remove_user(&user.id).await).await?;
    if globals.json {
        return output::json(&json!({ "id": user.id, "deleted": true }));
    }
    output::line(&format!("{} is no member of the tenant any more.", user.username))
}

/// The user of a name, or of an id. A name comes first: whoever wants the id of a user has asked for the list.
pub(super) async fn find(session: &mut session::Session, user: &str) -> anyhow::Result<User> {
    let users = session.call(async |client| client.auth().users().await).await?;
    let same = |known: &&User| known.username.to_lowercase() == user.to_lowercase();
    let found = users.iter().find(same).or_else(|| users.iter().find(|known| known.id == user));
    found
        .cloned()
        .ok_or_else(|| anyhow::anyhow!("the tenant has no user {user}; `nsl auth users` lists those it has"))
}
