//! Databases: a migrated template, named by the hash of what it was made from, and a clone of it for each test.
//! Its rights are what `roles.sql` and the migrations make; tests connect as the real logins.

use std::time::Duration;

use anyhow::Context as _;
use nsl_core::clock::Clock;
use nsl_core::config::Secret;
use nsl_core::context::Base;
use nsl_core::db::migrate::{MIGRATIONS, ROLES_SQL, migrate};
use nsl_core::db::{Db, Endpoint, Login};
use nsl_core::ids::TenantId;
use nsl_core::jobs::Jobs;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::cluster::{Cluster, SUPERUSER, is_alive};

/// Advisory locks are per database: these are always taken in `postgres`. Arbitrary numbers.
const TEMPLATE_LOCK: i64 = 0x6e73_6c74_6573_7401;
const SWEEP_LOCK: i64 = 0x6e73_6c74_6573_7402;

/// Dropping a database takes some 15 ms.
const DROP_PATIENCE: Duration = Duration::from_millis(500);

/// Of the roles that roles.sql makes, those that log in.
const LOGINS: [&str; 4] = ["neo_user", "neo_api", "neo_enclave", "neo_jobs"];
const GROUPS: [&str; 3] = ["neo_readonly", "neo_auditor", "neo_backup"];

/// The password of a role on test servers, which nobody but this machine's users can reach.
pub fn password(role: &str) -> Secret {
    Secret::new(format!("test {role}"))
}

pub(crate) fn is_group(role: &str) -> bool {
    GROUPS.contains(&role)
}

/// The three logins' pools on a database, as a process of its own would have them.
pub fn pools(endpoint: Endpoint) -> anyhow::Result<Db> {
    Ok(Db::new(endpoint, Login::ALL.map(|login| (login, password(login.role()))))?)
}

/// A fresh, migrated database; dropped with this value.
pub struct TestDb {
    cluster: Cluster,
    name: String,
    db: Db,
}

impl TestDb {
    /// On the shared server.
    pub async fn new() -> anyhow::Result<Self> {
        Self::on(&Cluster::shared().await?).await
    }

    /// On a given server.
    pub async fn on(cluster: &Cluster) -> anyhow::Result<Self> {
        let admin = cluster.client("postgres", SUPERUSER).await?;
        sweep(&admin).await?;
        let template = ensure_template(cluster, &admin).await?;
        let test = Self::create(cluster, &admin, &format!("TEMPLATE {template} STRATEGY FILE_COPY")).await?;
        // A clone does not get the rights on its template's database.
        let name = &test.name;
        admin
            .batch_execute(&format!(
                "REVOKE ALL ON DATABASE {name} FROM PUBLIC; \
                 GRANT CONNECT ON DATABASE {name} TO neo_api, neo_enclave, neo_jobs, neo_readonly, neo_auditor, neo_backup"
            ))
            .await?;
        Ok(test)
    }

    /// Without anything in it, owned by neo_user, on a server that has our roles: for tests of migrations.
    pub async fn empty_on(cluster: &Cluster) -> anyhow::Result<Self> {
        let admin = cluster.client("postgres", SUPERUSER).await?;
        ensure_template(cluster, &admin).await?;
        Self::create(cluster, &admin, "TEMPLATE template0 STRATEGY FILE_COPY").await
    }

    async fn create(cluster: &Cluster, admin: &Client, options: &str) -> anyhow::Result<Self> {
        let name = format!("t_{}_{}", std::process::id(), Uuid::now_v7().simple());
        admin.batch_execute(&format!("CREATE DATABASE {name} OWNER neo_user {options}")).await?;
        let db = pools(cluster.endpoint(&name))?;
        Ok(Self { cluster: cluster.clone(), name, db })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub fn endpoint(&self) -> Endpoint {
        self.cluster.endpoint(&self.name)
    }

    /// The pools of this test's process, the same at every call; [`pools`] makes another process's.
    pub fn db(&self) -> Db {
        self.db.clone()
    }

    /// What services are made from; its clock can be moved forward.
    pub fn base(&self) -> Base {
        Base { db: self.db(), clock: Clock::system(), jobs: Jobs::new() }
    }

    /// A connection as any role: the owner `neo_user`, a login, a group, or the superuser `postgres`.
    pub async fn client(&self, role: &str) -> anyhow::Result<Client> {
        self.cluster.client(&self.name, role).await
    }

    /// Makes a tenant.
    pub async fn tenant(&self, name: &str) -> anyhow::Result<TenantId> {
        let tenant = TenantId::generate();
        let owner = self.client("neo_user").await?;
        owner
            .execute(
                "INSERT INTO core.tenants (id, name, display_name) VALUES ($1, $2, $2)",
                &[&tenant, &name],
            )
            .await?;
        Ok(tenant)
    }
}

impl Drop for TestDb {
    /// Best effort; what is left is dropped by the next run.
    fn drop(&mut self) {
        self.db.close();
        if self.cluster.is_own() {
            // It goes with its server.
            return;
        }
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let cluster = self.cluster.clone();
        let (done, dropped) = std::sync::mpsc::channel();
        // A thread, since a runtime can be neither started nor blocked on inside the test's own.
        std::thread::spawn(move || -> anyhow::Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let admin = cluster.session("postgres", SUPERUSER).await?;
                admin.client.batch_execute(&sql).await?;
                admin.close().await
            })?;
            Ok(done.send(())?)
        });
        // The server waits for a connection that is just logging in, and that one waits for the runtime of this very
        // test. It ends with the test, and then the statement goes on, whether or not its client is still there.
        let _left = dropped.recv_timeout(DROP_PATIENCE);
    }
}

fn template_name() -> String {
    let mut text = String::from(ROLES_SQL);
    for migration in MIGRATIONS {
        text.push_str(migration.name);
        text.push_str(&migration.sha256());
    }
    let hash = hex::encode(nsl_crypto::digest::sha256(text.as_bytes()));
    format!("tpl_{}", &hash[..16])
}

async fn exists(admin: &Client, database: &str) -> anyhow::Result<bool> {
    let found =
        admin.query_opt("SELECT FROM pg_catalog.pg_database WHERE datname = $1", &[&database]).await?;
    Ok(found.is_some())
}

/// The template's name; it, and the server's roles, are there after this.
async fn ensure_template(cluster: &Cluster, admin: &Client) -> anyhow::Result<String> {
    let template = template_name();
    if !exists(admin, &template).await? {
        make_template(cluster, admin, &template).await.context("the template database was not made")?;
    }
    Ok(template)
}

/// Under another name first, so that one that was interrupted is no template.
async fn make_template(cluster: &Cluster, admin: &Client, template: &str) -> anyhow::Result<()> {
    admin.execute("SELECT pg_catalog.pg_advisory_lock($1)", &[&TEMPLATE_LOCK]).await?;
    // The lock goes with the connection, so an error on the way needs no unlock.
    if !exists(admin, template).await? {
        let new = format!("{template}_new");
        admin.batch_execute(&format!("DROP DATABASE IF EXISTS {new} WITH (FORCE)")).await?;
        admin.batch_execute(&format!("CREATE DATABASE {new}")).await?;
        let superuser = cluster.session(&new, SUPERUSER).await?;
        superuser.client.batch_execute(ROLES_SQL).await?;
        for role in LOGINS {
            let set = format!("ALTER ROLE {role} PASSWORD '{}'", password(role).expose());
            superuser.client.batch_execute(&set).await?;
        }
        superuser.close().await?;
        let owner = cluster.session(&new, "neo_user").await?;
        migrate(&owner.client, MIGRATIONS).await?;
        owner.close().await?;
        admin.batch_execute(&format!("ALTER DATABASE {new} ALLOW_CONNECTIONS false")).await?;
        admin.batch_execute(&format!("ALTER DATABASE {new} RENAME TO {template}")).await?;
    }
    admin.execute("SELECT pg_catalog.pg_advisory_unlock($1)", &[&TEMPLATE_LOCK]).await?;
    Ok(())
}

/// Drops the databases of runs that were killed. One process at a time does it; the others need not wait.
async fn sweep(admin: &Client) -> anyhow::Result<()> {
    let dead: Vec<String> = admin
        .query("SELECT datname::text FROM pg_catalog.pg_database WHERE datname ~ '^t_[0-9]+_'", &[])
        .await?
        .iter()
        .map(|row| row.get::<_, String>(0))
        .filter(|name| name.split('_').nth(1).is_some_and(|pid| !is_alive(pid)))
        .collect();
    if dead.is_empty() {
        return Ok(());
    }
    let ours = admin.query_one("SELECT pg_catalog.pg_try_advisory_lock($1)", &[&SWEEP_LOCK]).await?;
    if ours.get::<_, bool>(0) {
        for name in dead {
            admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
        }
        admin.execute("SELECT pg_catalog.pg_advisory_unlock($1)", &[&SWEEP_LOCK]).await?;
    }
    Ok(())
}
