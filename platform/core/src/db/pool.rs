//! Where the database is, the logins, a pool for each, and the single read.

use std::collections::HashMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts,
};
use tokio::sync::Notify;
use tokio_postgres::config::SslMode as DriverTls;
use tokio_postgres::{NoTls, Row, Statement};

use super::group::Batch;
use super::sql::{Conn, Param};
use super::tls;
use super::uow::Isolation;
use super::{DbError, TlsError, UnitOfWork};
use crate::caller::Caller;
use crate::config::{Address, ConnectionString, Host, Secret, SslMode};
use crate::ids::TenantId;

/// The logins of the serving processes: trust boundary = process boundary = database role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Login {
    Api,
    Enclave,
    Jobs,
}

impl Login {
    pub const ALL: [Self; 3] = [Self::Api, Self::Enclave, Self::Jobs];

    /// The role's name in the database.
    pub fn role(self) -> &'static str {
        match self {
            Self::Api => "neo_api",
            Self::Enclave => "neo_enclave",
            Self::Jobs => "neo_jobs",
        }
    }

    fn set_role(self) -> &'static str {
        match self {
            Self::Api => "SET ROLE neo_api",
            Self::Enclave => "SET ROLE neo_enclave",
            Self::Jobs => "SET ROLE neo_jobs",
        }
    }
}

impl FromStr for Login {
    type Err = ();
    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|login| login.role() == name).ok_or(())
    }
}

/// One database, as the connection string names it, without a user.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Tried in order.
    pub hosts: Vec<Host>,
    pub database: String,
    pub tls: SslMode,
    pub root_certificate: Option<PathBuf>,
    pub max_pool_size: usize,
    pub connect_timeout: Duration,
    pub keepalive: Option<Duration>,
}

/// Connections of a pool where nobody says how many: more than the two cores of a small machine keep busy.
const POOL_SIZE: usize = 16;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl From<&ConnectionString> for Endpoint {
    fn from(text: &ConnectionString) -> Self {
        Self {
            hosts: text.hosts.clone(),
            database: text.database.clone(),
            tls: text.ssl_mode,
            root_certificate: text.root_certificate.clone(),
            max_pool_size: text.max_pool_size.map_or(POOL_SIZE, |size| size.get() as usize),
            connect_timeout: text.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
            keepalive: text.keepalive,
        }
    }
}

impl Endpoint {
    /// The driver's configuration for a user.
    pub fn driver(&self, user: &str, password: &Secret, application: &str) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        for host in &self.hosts {
            match &host.address {
                Address::Tcp(name) => config.host(name),
                Address::Socket(directory) => config.host_path(directory),
            };
            config.port(host.port);
        }
        config
            .dbname(&self.database)
            .user(user)
            .password(password.expose())
            .application_name(application)
            .connect_timeout(self.connect_timeout)
            .ssl_mode(self.driver_tls());
        if let Some(idle) = self.keepalive {
            config.keepalives_idle(idle);
        }
        config
    }

    fn driver_tls(&self) -> DriverTls {
        // A Unix socket has no TLS; it is as local as it can be.
        let local = self.hosts.iter().all(|host| matches!(host.address, Address::Socket(_)));
        match self.tls {
            _ if local => DriverTls::Disable,
            SslMode::Disable => DriverTls::Disable,
            SslMode::Allow | SslMode::Prefer => DriverTls::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => DriverTls::Require,
        }
    }
}

/// A connection of its own, outside the pools: migrations, `nsl db`, group commits' writers.
pub async fn connect(
    endpoint: &Endpoint,
    user: &str,
    password: &Secret,
) -> Result<
    (tokio_postgres::Client, impl Future<Output = Result<(), tokio_postgres::Error>> + Send + 'static),
    DbError,
> {
    let config = endpoint.driver(user, password, "nsl");
    let tls = tls::connector(endpoint.tls, endpoint.root_certificate.as_deref())
        .map_err(|error| DbError::Unavailable(error.to_string()))?;
    let (client, connection) = config.connect(tls).await?;
    Ok((client, connection))
}

/// How a login proves itself.
enum Credentials {
    /// A password of its own.
    Own(Secret),
    /// Only the guide's connection string of `neo_user` is given: log in as that and `SET ROLE`.
    /// The separation is then nominal, and health and doctor say so.
    Nominal { user: String, password: Arc<Secret> },
}

/// Whose connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Any,
    /// Of group commits' writers, driven on their thread: what a writer sends and hears does not wait among requests.
    Hot,
}

struct Inner {
    endpoint: Endpoint,
    pools: HashMap<Login, Pool>,
    hot: HashMap<Login, Pool>,
    nominal: bool,
    recorded: Arc<Notify>,
}

/// The pools of this process.
#[derive(Clone)]
pub struct Db(Arc<Inner>);

/// The load of one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolStatus {
    pub max_size: usize,
    pub size: usize,
    pub available: usize,
    pub waiting: usize,
}

impl Db {
    /// Pools for logins that have passwords of their own.
    pub fn new(
        endpoint: Endpoint,
        passwords: impl IntoIterator<Item = (Login, Secret)>,
    ) -> Result<Self, TlsError> {
        let logins = passwords.into_iter().map(|(login, secret)| (login, Credentials::Own(secret)));
        Self::build(endpoint, logins, false)
    }

    /// Pools that log in as the owner and take the login's role: the guide's one connection string.
    pub fn nominal(
        endpoint: Endpoint,
        user: &str,
        password: Secret,
        logins: impl IntoIterator<Item = Login>,
    ) -> Result<Self, TlsError> {
        let password = Arc::new(password);
        let logins = logins.into_iter().map(|login| {
            (login, Credentials::Nominal { user: user.to_owned(), password: Arc::clone(&password) })
        });
        Self::build(endpoint, logins, true)
    }

    fn build(
        endpoint: Endpoint,
        logins: impl IntoIterator<Item = (Login, Credentials)>,
        nominal: bool,
    ) -> Result<Self, TlsError> {
        let mut pools = HashMap::new();
        let mut hot = HashMap::new();
        for (login, credentials) in logins {
            pools.insert(login, pool(&endpoint, login, &credentials)?);
            hot.insert(login, pool(&endpoint, login, &credentials)?);
        }
        Ok(Self(Arc::new(Inner { endpoint, pools, hot, nominal, recorded: Arc::new(Notify::new()) })))
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// True where the roles are only set, not logged in as.
    pub fn is_nominal(&self) -> bool {
        self.0.nominal
    }

    pub fn has(&self, login: Login) -> bool {
        self.0.pools.contains_key(&login)
    }

    pub fn status(&self, login: Login) -> Option<PoolStatus> {
        self.0.pools.get(&login).map(|pool| {
            let status = pool.status();
            PoolStatus {
                max_size: status.max_size,
                size: status.size,
                available: status.available,
                waiting: status.waiting,
            }
        })
    }

    /// Rang whenever this process committed events or audit rows: the sequencer need not wait for its next poll.
    pub fn recorded(&self) -> &Notify {
        &self.0.recorded
    }

    /// A connection of a pool. What runs on it sees no tenant's rows until a transaction names tenants.
    pub async fn client(&self, login: Login) -> Result<Object, DbError> {
        self.client_of(login, Lane::Any).await
    }

    pub(super) async fn client_of(&self, login: Login, lane: Lane) -> Result<Object, DbError> {
        let pools = match lane {
            Lane::Any => &self.0.pools,
            Lane::Hot => &self.0.hot,
        };
        let pool = pools
            .get(&login)
            .ok_or_else(|| DbError::Unavailable(format!("this process has no {} login", login.role())))?;
        Ok(pool.get().await?)
    }

    /// The same for what sends its COMMIT along: a connection that died while it was idle must be known to be dead before,
    /// since what becomes of a COMMIT on it cannot be told afterwards.
    pub(super) async fn live_client(&self, login: Login, lane: Lane) -> Result<Object, DbError> {
        loop {
            let client = self.client_of(login, lane).await?;
            // The connection's own task hears of the end, if it gets its turn.
            tokio::task::yield_now().await;
            if !client.is_closed() {
                return Ok(client);
            }
            drop(Object::take(client));
        }
    }

    /// Single statements for one tenant, each in a transaction of its own and in one round trip.
    pub fn read(&self, login: Login, tenant: TenantId) -> Scoped<'_> {
        Scoped::over(self, login, tenants_setting(&[tenant]))
    }

    /// Single statements over several tenants: jobs that serve all of them.
    pub fn read_many(&self, login: Login, tenants: &[TenantId]) -> Scoped<'_> {
        Scoped::over(self, login, tenants_setting(tenants))
    }

    /// One statement that writes for one tenant, alone in its transaction; a lost COMMIT is asked for.
    pub fn write(&self, login: Login, tenant: TenantId) -> Batch<'_> {
        Batch::over(self, login, tenants_setting(&[tenant]))
    }

    /// Single statements on tables that belong to no tenant (or that a login may read across tenants).
    pub fn global(&self, login: Login) -> Scoped<'_> {
        Scoped::over(self, login, tenants_setting(&[]))
    }

    /// A unit of work of the caller, in the caller's tenant.
    pub async fn begin<'c>(&self, login: Login, caller: &'c Caller) -> Result<UnitOfWork<'c>, DbError> {
        UnitOfWork::begin(self, login, caller, &[caller.tenant()], Isolation::ReadCommitted).await
    }

    /// The same, which also reaches rows of further tenants: for what is about a user in all of theirs. Its events and
    /// audit rows are of the caller's tenant.
    pub async fn begin_across<'c>(
        &self,
        login: Login,
        caller: &'c Caller,
        further: &[TenantId],
    ) -> Result<UnitOfWork<'c>, DbError> {
        UnitOfWork::begin(self, login, caller, &with(caller, further), Isolation::ReadCommitted).await
    }

    /// The same on one snapshot of the database: for what is said about many rows at one moment.
    pub async fn begin_snapshot<'c>(
        &self,
        login: Login,
        caller: &'c Caller,
        further: &[TenantId],
    ) -> Result<UnitOfWork<'c>, DbError> {
        UnitOfWork::begin(self, login, caller, &with(caller, further), Isolation::Snapshot).await
    }

    /// Closes every connection; what waits for one gets an error.
    pub fn close(&self) {
        self.0.pools.values().chain(self.0.hot.values()).for_each(Pool::close);
    }
}

/// The caller's tenant and the further ones.
fn with(caller: &Caller, further: &[TenantId]) -> Vec<TenantId> {
    let mut tenants = vec![caller.tenant()];
    tenants.extend(further.iter().copied().filter(|tenant| *tenant != caller.tenant()));
    tenants
}

/// The array text of `nsl.tenants`, the setting that the row-level security policies read.
pub(super) fn tenants_setting(tenants: &[TenantId]) -> String {
    let mut text = String::with_capacity(2 + tenants.len() * 37);
    text.push('{');
    for (index, tenant) in tenants.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&tenant.to_string());
    }
    text.push('}');
    text
}

/// Sets the tenants for the rest of the transaction.
pub(super) const SET_TENANTS: &str = "SELECT pg_catalog.set_config('nsl.tenants', $1, true)";
/// The same for a statement of a group commit, whose plan finds rows by their keys and is made once.
const SET_TENANTS_HOT: &str = "SELECT pg_catalog.set_config('nsl.tenants', $1, true), \
                                      pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', true), \
                                      pg_catalog.set_config('enable_seqscan', 'off', true), \
                                      pg_catalog.set_config('enable_hashjoin', 'off', true), \
                                      pg_catalog.set_config('enable_mergejoin', 'off', true)";

fn pool(endpoint: &Endpoint, login: Login, credentials: &Credentials) -> Result<Pool, TlsError> {
    let (user, password) = match credentials {
        Credentials::Own(password) => (login.role(), password),
        Credentials::Nominal { user, password } => (user.as_str(), &**password),
    };
    let mut config = endpoint.driver(
        user,
        password,
        match login {
            Login::Api => "nsl api",
            Login::Enclave => "nsl enclave",
            Login::Jobs => "nsl jobs",
        },
    );
    // A statement that hangs must not hold a connection for ever, nor a forgotten transaction its locks. Statements are
    // short: compiling one costs more than running it (1 s measured where the planner expected many rows).
    config.options(
        "-c statement_timeout=30s -c lock_timeout=10s -c idle_in_transaction_session_timeout=30s -c jit=off",
    );
    let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = if endpoint.tls == SslMode::Disable {
        Manager::from_config(config, NoTls, manager_config)
    } else {
        let connector = tls::connector(endpoint.tls, endpoint.root_certificate.as_deref())?;
        Manager::from_config(config, connector, manager_config)
    };
    let mut builder =
        Pool::builder(manager).max_size(endpoint.max_pool_size).runtime(Runtime::Tokio1).timeouts(Timeouts {
            wait: Some(endpoint.connect_timeout),
            create: Some(endpoint.connect_timeout),
            recycle: Some(endpoint.connect_timeout),
        });
    if matches!(credentials, Credentials::Nominal { .. }) {
        builder = builder.post_create(Hook::async_fn(move |client, _| {
            Box::pin(async move { client.batch_execute(login.set_role()).await.map_err(HookError::Backend) })
        }));
    }
    builder.build().map_err(|error| TlsError::Pool(error.to_string()))
}

/// What a statement is run for.
#[derive(Clone, Copy)]
pub(super) enum Wanted {
    Rows,
    /// How many rows it touched.
    Count,
}

/// Its request goes out at the first poll, so that several of them make one round trip.
pub(super) async fn answer(
    client: &Object,
    statement: &Statement,
    params: &[Param<'_>],
    wanted: Wanted,
) -> Result<(Vec<Row>, u64), tokio_postgres::Error> {
    match wanted {
        Wanted::Rows => Ok((client.query(statement, params).await?, 0)),
        Wanted::Count => Ok((Vec::new(), client.execute(statement, params).await?)),
    }
}

/// Statements that run alone: BEGIN, the tenants, the statement and COMMIT go out together.
pub struct Scoped<'db> {
    db: &'db Db,
    login: Login,
    tenants: String,
    begin: &'static str,
    lane: Lane,
}

impl<'db> Scoped<'db> {
    pub(super) fn over(db: &'db Db, login: Login, tenants: String) -> Self {
        Self { db, login, tenants, begin: SET_TENANTS, lane: Lane::Any }
    }

    /// What a group commit reads before its statement; planned as that is.
    pub(super) fn hot(db: &'db Db, login: Login, tenants: String) -> Self {
        Self { begin: SET_TENANTS_HOT, lane: Lane::Hot, ..Self::over(db, login, tenants) }
    }

    async fn alone(
        &self,
        sql: &'static str,
        params: &[Param<'_>],
        wanted: Wanted,
    ) -> Result<(Vec<Row>, u64), DbError> {
        let client = self.db.client_of(self.login, self.lane).await?;
        // Both must be prepared first: a prepare in the middle would let COMMIT overtake the statement.
        let set = client.prepare_cached(self.begin).await?;
        let statement = client.prepare_cached(sql).await?;
        let tenants: [Param<'_>; 1] = [&self.tenants];
        let (begun, set, answer, committed) = tokio::join!(
            client.batch_execute("BEGIN"),
            client.query(&set, &tenants),
            answer(&client, &statement, params, wanted),
            client.batch_execute("COMMIT"),
        );
        begun?;
        set?;
        let answer = answer?;
        committed?;
        Ok(answer)
    }
}

impl Conn for Scoped<'_> {
    async fn query(&self, sql: &'static str, params: &[Param<'_>]) -> Result<Vec<Row>, DbError> {
        Ok(self.alone(sql, params, Wanted::Rows).await?.0)
    }

    async fn execute(&self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, DbError> {
        Ok(self.alone(sql, params, Wanted::Count).await?.1)
    }
}
