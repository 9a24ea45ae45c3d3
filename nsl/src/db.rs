//! The database before it can serve: roles, passwords, migrations; and what a server that is away or not ready means.

use std::time::Duration;

use anyhow::{Context as _, bail};
use nsl_core::config::{
    Address, Config, ConnectionString, ConnectionStringsConfig, DatabaseConfig, Host, RoleConfig,
    RolesConfig, Secret, SslMode, check_strength,
};
use nsl_core::db::migrate::{self, MIGRATIONS, MigrateError, ROLES_SQL};
use nsl_core::db::{Db, DbError, Endpoint, Login, connect};
use nsl_core::jobs::drive;
use postgres_protocol::password::scram_sha_256;
use tokio_postgres::Client;

use crate::local::{DATABASE, Local, LocalServer, OWNER, SUPERUSER};

/// Passwords in use are at least this long.
const SHORTEST_PASSWORD: usize = 16;

/// The lock of whoever prepares a database; an arbitrary number that every version agrees on.
const PREPARATION: i64 = 0x6e73_6c70_7265_7061;

/// The local server over its socket.
pub(crate) fn local_endpoint(server: &LocalServer, database: &str) -> Endpoint {
    Endpoint {
        hosts: vec![Host { address: Address::Socket(server.socket_dir.clone()), port: server.port }],
        database: database.to_owned(),
        tls: SslMode::Disable,
        root_certificate: None,
        max_pool_size: 16,
        connect_timeout: Duration::from_secs(5),
        keepalive: None,
    }
}

/// One connection that ends with its client.
pub(crate) async fn client(endpoint: &Endpoint, user: &str, password: &Secret) -> Result<Client, DbError> {
    let (client, connection) = connect(endpoint, user, password).await?;
    drive(connection);
    Ok(client)
}

/// Makes the database and its roles on the local server, with the passwords of this installation, and migrates it.
pub(crate) async fn prepare_local(local: &Local, server: &LocalServer) -> anyhow::Result<()> {
    let superuser = local.secret(SUPERUSER)?;
    let postgres = client(&local_endpoint(server, "postgres"), SUPERUSER, &superuser).await?;
    alone(&postgres).await?;
    let known = postgres
        .query_one("SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = $1)", &[&DATABASE])
        .await?;
    if !known.get::<_, bool>(0) {
        // A template that no extension or collation of the cluster's owner has touched.
        postgres
            .batch_execute("CREATE DATABASE neo_service_layer TEMPLATE template0 ENCODING 'UTF8'")
            .await?;
    }
    let admin = client(&local_endpoint(server, DATABASE), SUPERUSER, &superuser).await?;
    alone(&admin).await?;
    make_roles(&admin).await?;
    for role in [OWNER, "neo_api", "neo_enclave", "neo_jobs"] {
        set_password(&admin, role, &local.secret(role)?).await?;
    }
    let owner = client(&local_endpoint(server, DATABASE), OWNER, &local.secret(OWNER)?).await?;
    let applied = migrate::migrate(&owner, MIGRATIONS).await?;
    if !applied.is_empty() {
        tracing::info!(migrations = applied.len(), "migrated the database");
    }
    Ok(())
}

/// Waits for the session of a start that was killed: the server goes on with its last statement all the same.
async fn alone(superuser: &Client) -> Result<(), DbError> {
    superuser.execute("SELECT pg_catalog.pg_advisory_lock($1)", &[&PREPARATION]).await?;
    Ok(())
}

/// Runs `docker/postgres/roles.sql`, as a superuser.
pub(crate) async fn make_roles(superuser: &Client) -> anyhow::Result<()> {
    superuser.batch_execute("SET client_min_messages = warning").await?;
    superuser.batch_execute(ROLES_SQL).await.map_err(DbError::from)?;
    Ok(())
}

/// Sets a role's password as a SCRAM verifier, so that no log of the server ever sees the password.
pub(crate) async fn set_password(superuser: &Client, role: &str, password: &Secret) -> anyhow::Result<()> {
    let verifier = scram_sha_256(password.expose().as_bytes());
    // ALTER ROLE takes no parameters; the server quotes the two texts itself.
    let row = superuser
        .query_one(
            "SELECT pg_catalog.format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)",
            &[&role, &verifier],
        )
        .await?;
    superuser.batch_execute(row.get(0)).await?;
    Ok(())
}

/// The pools of the local installation.
pub(crate) fn local_pools(config: &Config, server: &LocalServer) -> anyhow::Result<Db> {
    let database: DatabaseConfig = config.section("Database")?;
    let mut endpoint = local_endpoint(server, DATABASE);
    if let Some(size) = database.max_pool_size {
        endpoint.max_pool_size = size.get() as usize;
    }
    Ok(Db::new(endpoint, passwords(database.roles, &Login::ALL)?)?)
}

/// The pools of these logins for the server that the connection string names: own logins where their passwords are given; else the
/// string's own user, whose separation from the owner is then nominal.
pub(crate) fn remote_pools(config: &Config, logins: &[Login]) -> anyhow::Result<Db> {
    let text = config.section::<ConnectionStringsConfig>("ConnectionStrings")?.default_connection()?;
    let database: DatabaseConfig = config.section("Database")?;
    let endpoint = endpoint(&text, &database);
    let roles = &database.roles;
    let given = [&roles.neo_api, &roles.neo_enclave, &roles.neo_jobs];
    if given.iter().any(|role| role.password.is_some()) {
        return Ok(Db::new(endpoint, passwords(database.roles, logins)?)?);
    }
    let Some(user) = &text.username else {
        bail!(
            "ConnectionStrings:DefaultConnection names no user, and no Database__Roles__neo_api__Password is set: give \
             the passwords of its logins (neo_api, neo_enclave, neo_jobs; `nsl secrets` makes them, `nsl db roles` sets them)"
        );
    };
    let Some(password) = text.password.or(database.roles.neo_user.password) else {
        bail!("{user} has no password: put Password=… into the connection string, or set POSTGRES_PASSWORD");
    };
    tracing::warn!(
        user,
        "the service logs in as {user} and only takes the roles: give neo_api, neo_enclave and neo_jobs passwords of \
         their own (Database__Roles__…__Password) to separate them"
    );
    Ok(Db::nominal(endpoint, user, password, logins.iter().copied())?)
}

fn endpoint(text: &ConnectionString, database: &DatabaseConfig) -> Endpoint {
    let mut endpoint = Endpoint::from(text);
    if let Some(size) = database.max_pool_size {
        endpoint.max_pool_size = size.get() as usize;
    }
    endpoint
}

fn passwords(roles: RolesConfig, logins: &[Login]) -> anyhow::Result<Vec<(Login, Secret)>> {
    let mut passwords = Vec::new();
    let given =
        [(Login::Api, roles.neo_api), (Login::Enclave, roles.neo_enclave), (Login::Jobs, roles.neo_jobs)];
    for (login, role) in given.into_iter().filter(|(login, _)| logins.contains(login)) {
        let variable = format!("Database__Roles__{}__Password", login.role());
        check_strength(&variable, role.password.as_ref(), SHORTEST_PASSWORD)?;
        passwords.extend(role.password.map(|password| (login, password)));
    }
    Ok(passwords)
}

/// The owner's connection, for migrations: of the connection string, with `POSTGRES_PASSWORD`, or of `nsl up`.
pub(crate) async fn owner(config: &Config, local: &Local) -> anyhow::Result<Client> {
    let database: DatabaseConfig = config.section("Database")?;
    let strings: ConnectionStringsConfig = config.section("ConnectionStrings")?;
    if strings.default_connection.is_none()
        && let Some(server) = local.server()?
    {
        let password = local.existing_secret(OWNER)?;
        return Ok(client(&local_endpoint(&server, DATABASE), OWNER, &password).await?);
    }
    let text = strings.default_connection()?;
    let endpoint = endpoint(&text, &database);
    let RoleConfig { password } = database.roles.neo_user;
    let Some(password) = password.or(text.password) else {
        bail!("migrations run as {OWNER}: set POSTGRES_PASSWORD to its password");
    };
    client(&endpoint, OWNER, &password)
        .await
        .with_context(|| format!("{OWNER} cannot log in; check POSTGRES_PASSWORD and the connection string"))
}

/// Waits, with back-off, until the server answers, and refuses a database that is not ready.
pub(crate) async fn wait_until_ready(db: &Db) -> anyhow::Result<()> {
    let mut pause = Duration::from_millis(250);
    loop {
        match ready(db).await {
            Ok(()) => return Ok(()),
            Err(MigrateError::Db(DbError::Unavailable(reason))) if !is_refusal(&reason) => {
                tracing::warn!(reason, "the database is not reachable yet; trying again in {pause:?}");
            }
            Err(MigrateError::Db(DbError::Unavailable(reason) | DbError::Refused { text: reason, .. }))
                if is_refusal(&reason) =>
            {
                return Err(refused(db, &reason));
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(15));
    }
}

async fn ready(db: &Db) -> Result<(), MigrateError> {
    for login in Login::ALL.into_iter().filter(|login| db.has(*login)) {
        let client = db.client(login).await?;
        migrate::ready(&client, MIGRATIONS).await?;
    }
    Ok(())
}

/// What waiting does not mend: a login that the server refuses, a database or role that does not exist.
fn is_refusal(reason: &str) -> bool {
    [
        "password authentication failed",
        "does not exist",
        "permission denied to set role",
        "no pg_hba.conf entry",
    ]
    .iter()
    .any(|text| reason.contains(text))
}

fn refused(db: &Db, reason: &str) -> anyhow::Error {
    let database = &db.endpoint().database;
    if reason.contains("database") && reason.contains("does not exist") {
        return anyhow::anyhow!(
            "{reason}: create it (`createdb {database}`), then run docker/postgres/init.sql"
        );
    }
    if reason.contains("no pg_hba.conf entry") {
        return anyhow::anyhow!(
            "{reason}: allow the login in pg_hba.conf, or turn on TLS with `SSL Mode=Require`"
        );
    }
    anyhow::anyhow!(
        "{reason}. Either the roles are missing, then as a superuser run `psql -d {database} -f \
         docker/postgres/roles.sql` and set their passwords (`nsl db roles` does both); or the password given is not \
         the role's"
    )
}
