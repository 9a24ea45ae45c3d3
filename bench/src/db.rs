//! The databases of the run: what the product recorded, counted by a superuser, and pgbench's own tables in a database
//! beside it. All SQL is here and in `sql/`.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use futures::TryStreamExt as _;
use nsl_core::config::{Address, Host, Secret, SslMode};
use nsl_core::db::{Db, Endpoint, Login};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, NoTls};
use uuid::Uuid;

use crate::api::SERVICE;
use crate::instance::Instance;

/// The product's database.
pub(crate) const PRODUCT: &str = "neo_service_layer";
/// pgbench's database.
pub(crate) const PEER: &str = "nsl_bench";
/// OpenBao's database.
pub(crate) const VAULT: &str = "openbao";
/// The product's owner, who owns pgbench's tables too.
pub(crate) const OWNER: &str = "neo_user";
const SUPERUSER: &str = "postgres";
/// The role under which the product writes items.
const WRITER: &str = "neo_enclave";
/// For the sequencer to give every row its place.
const SETTLE: Duration = Duration::from_mins(3);
const POLL: Duration = Duration::from_millis(100);

/// A connection that ends with this.
pub(crate) struct Database {
    client: Client,
    _connection: JoinSet<()>,
}

/// What the product recorded, to be compared with what was acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Recorded {
    pub items: u64,
    /// The sum of the items' versions.
    pub versions: u64,
    pub put_events: u64,
    pub put_audits: u64,
    pub get_audits: u64,
}

impl Database {
    async fn connect(instance: &Instance, database: &str, role: &str) -> anyhow::Result<Self> {
        let password = instance.password(role)?;
        let mut config = Config::new();
        config
            .host_path(&instance.socket_dir)
            .port(instance.pg_port)
            .dbname(database)
            .user(role)
            .password(&*password);
        let (client, connection) =
            config.connect(NoTls).await.with_context(|| format!("{role} cannot log in to {database}"))?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Its error is that of the statement under way too.
            let _error = connection.await;
        });
        Ok(Self { client, _connection: driver })
    }

    /// The product's database, as the superuser.
    pub(crate) async fn product(instance: &Instance) -> anyhow::Result<Self> {
        Self::connect(instance, PRODUCT, SUPERUSER).await
    }

    pub(crate) async fn version(&self) -> anyhow::Result<String> {
        self.text("SHOW server_version").await
    }

    async fn text(&self, statement: &str) -> anyhow::Result<String> {
        Ok(self.client.query_one(statement, &[]).await?.try_get(0)?)
    }

    /// A commit must survive a crash of the machine.
    async fn ensure_durable(&self, role: &str) -> anyhow::Result<()> {
        for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
            let value = self.text(&format!("SHOW {setting}")).await?;
            ensure!(value == "on", "{setting} is {value} for {role}: figures of durable writes need it on");
        }
        Ok(())
    }

    /// Waits for the sequencer, then writes a checkpoint: what one measurement left to do is not the next one's load.
    /// Tells how long the sequencer took.
    pub(crate) async fn settle(&self) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        loop {
            let row = self
                .client
                .query_one(
                    "SELECT (SELECT count(*) FROM eventsourcing.events) \
                          - (SELECT next_position - 1 FROM eventsourcing.sequencer) \
                          + (SELECT count(*) FROM monitoring.audit_logs) \
                          - (SELECT next_leaf_index FROM monitoring.audit_sequencer)",
                    &[],
                )
                .await?;
            let behind: i64 = row.try_get(0)?;
            if behind == 0 {
                break;
            }
            if begin.elapsed() > SETTLE {
                bail!("the sequencer is {behind} rows behind {} s after the load", SETTLE.as_secs());
            }
            sleep(POLL).await;
        }
        let took = begin.elapsed();
        self.client.batch_execute("CHECKPOINT").await?;
        Ok(took)
    }

    /// What autovacuum would do within minutes.
    pub(crate) async fn analyze(&self) -> anyhow::Result<()> {
        Ok(self.client.batch_execute("VACUUM ANALYZE").await?)
    }

    pub(crate) async fn recorded(&self) -> anyhow::Result<Recorded> {
        let row = self
            .client
            .query_one(
                "SELECT i.items, i.versions, \
                     (SELECT count(*) FROM eventsourcing.events WHERE type = 'sgx.item_put' AND data ->> 'service' = $1), \
                     (SELECT count(*) FROM monitoring.audit_logs WHERE service_name = 'sgx' AND action = 'SEAL_ITEM' \
                          AND result = 'Success' AND starts_with(resource_id, $1 || '/')), \
                     (SELECT count(*) FROM monitoring.audit_logs WHERE service_name = 'sgx' AND action = 'UNSEAL_ITEM' \
                          AND result = 'Success' AND starts_with(resource_id, $1 || '/')) \
                 FROM (SELECT count(*) AS items, coalesce(sum(version), 0)::bigint AS versions \
                       FROM sgx.sealed_data_items WHERE service_name = $1 AND deleted_at IS NULL) AS i",
                &[&SERVICE],
            )
            .await?;
        let count =
            |column: usize| -> anyhow::Result<u64> { Ok(u64::try_from(row.try_get::<_, i64>(column)?)?) };
        Ok(Recorded {
            items: count(0)?,
            versions: count(1)?,
            put_events: count(2)?,
            put_audits: count(3)?,
            get_audits: count(4)?,
        })
    }
}

/// The peer of streamed values: the same chunks in the same table, by COPY in binary format.
pub(crate) struct Chunks(Database);

impl Chunks {
    pub(crate) async fn new(instance: &Instance) -> anyhow::Result<Self> {
        let peer = Database::connect(instance, PEER, OWNER).await?;
        peer.client.batch_execute(include_str!("../sql/chunks.sql")).await?;
        Ok(Self(peer))
    }

    /// Writes them in one transaction.
    pub(crate) async fn copy_in(
        &self,
        tenant: Uuid,
        content: Uuid,
        chunks: &[Vec<u8>],
    ) -> anyhow::Result<()> {
        let into =
            "COPY bench.content_chunks (tenant_id, content_id, number, sealed) FROM STDIN (FORMAT binary)";
        let sink = self.0.client.copy_in(into).await?;
        let writer = BinaryCopyInWriter::new(sink, &[Type::UUID, Type::UUID, Type::INT4, Type::BYTEA]);
        tokio::pin!(writer);
        for (number, chunk) in (0_i32..).zip(chunks) {
            writer.as_mut().write(&[&tenant, &content, &number, chunk]).await?;
        }
        writer.finish().await?;
        Ok(())
    }

    /// Reads the chunks of a content in their order; tells how many bytes came.
    pub(crate) async fn copy_out(&self, content: Uuid) -> anyhow::Result<usize> {
        // A number of a UUID's own has no character that SQL would take for another.
        let from = format!(
            "COPY (SELECT sealed FROM bench.content_chunks WHERE content_id = '{content}' ORDER BY tenant_id, number) \
             TO STDOUT (FORMAT binary)"
        );
        let rows = self.0.client.copy_out(&from).await?;
        tokio::pin!(rows);
        let mut bytes = 0;
        while let Some(piece) = rows.try_next().await? {
            bytes += piece.len();
        }
        Ok(bytes)
    }
}

/// Makes the databases of pgbench and OpenBao, and checks that the commits of both sides are durable.
pub(crate) async fn prepare(instance: &Instance, product: &Database) -> anyhow::Result<()> {
    Database::connect(instance, PRODUCT, WRITER).await?.ensure_durable(WRITER).await?;
    product
        .client
        .batch_execute("CREATE DATABASE nsl_bench OWNER neo_user TEMPLATE template0 ENCODING 'UTF8'")
        .await?;
    product
        .client
        .batch_execute("CREATE DATABASE openbao OWNER neo_user TEMPLATE template0 ENCODING 'UTF8'")
        .await?;
    let peer = Database::connect(instance, PEER, OWNER).await?;
    peer.ensure_durable(OWNER).await?;
    peer.client.batch_execute(include_str!("../sql/tables.sql")).await?;
    Ok(())
}

/// The product's pools on pgbench's tables.
pub(crate) async fn paths(instance: &Instance, connections: u32) -> anyhow::Result<Db> {
    let peer = Database::connect(instance, PEER, OWNER).await?;
    peer.client
        .batch_execute(
            "GRANT USAGE ON SCHEMA bench TO neo_enclave; \
             GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA bench TO neo_enclave",
        )
        .await?;
    let endpoint = Endpoint {
        hosts: vec![Host { address: Address::Socket(instance.socket_dir.clone()), port: instance.pg_port }],
        database: PEER.to_owned(),
        tls: SslMode::Disable,
        root_certificate: None,
        max_pool_size: usize::try_from(connections)?,
        connect_timeout: Duration::from_secs(5),
        keepalive: None,
    };
    let password = Secret::new(instance.password(WRITER)?.to_string());
    Ok(Db::new(endpoint, [(Login::Enclave, password)])?)
}

/// Puts each of pgbench's keys once, as the product's are. Then all databases get the statistics that autovacuum would
/// give them within minutes, in the middle of some measurement.
pub(crate) async fn fill(
    instance: &Instance,
    product: &Database,
    keys: u32,
    value: &str,
) -> anyhow::Result<()> {
    let peer = Database::connect(instance, PEER, OWNER).await?;
    peer.client
        .execute(
            "INSERT INTO bench.items (tenant_id, service_name, key, version, sealed_data) \
             SELECT '0197a000-0000-7000-8000-000000000001', 'bench', 'key-' || n, 1, $2::text::bytea \
             FROM generate_series(1, $1::bigint) AS n",
            &[&i64::from(keys), &value],
        )
        .await?;
    let vault = Database::connect(instance, VAULT, OWNER).await?;
    for database in [&peer, &vault, product] {
        database.analyze().await?;
    }
    Ok(())
}
