//! `nsl serve` on a test database: what is about routes needs no installation.

use nsl_client::Client;
use nsl_core::config::{Secret, fresh};
use nsl_testkit::{Cluster, Durability, TestDb};

use crate::program::{Running, Sandbox};

pub(crate) const ADMIN: &str = "administrator";

/// A database of its own server, its logins' passwords, an administrator, and an environment that names them.
pub(crate) struct Remote {
    pub(crate) sandbox: Sandbox,
    pub(crate) test: TestDb,
    pub(crate) password: Secret,
    pub(crate) jwt_secret: String,
}

impl Remote {
    /// On a server of its own, since the passwords of its roles are changed: those of the test kit are too weak for
    /// the binary, which is right.
    pub(crate) async fn new() -> Self {
        let test = TestDb::on(&Cluster::own(Durability::Volatile).await.unwrap()).await.unwrap();
        let password = fresh().unwrap();
        assert!(nsl_auth::bootstrap(&test.base(), ADMIN, &password).await.unwrap());
        let mut sandbox = Sandbox::new();
        let superuser = test.client("postgres").await.unwrap();
        for role in ["neo_api", "neo_enclave", "neo_jobs"] {
            let password = fresh().unwrap();
            let set = format!("ALTER ROLE {role} PASSWORD '{}'", password.expose());
            superuser.batch_execute(&set).await.unwrap();
            sandbox.set(&format!("Database__Roles__{role}__Password"), password.expose());
        }
        sandbox.set("ConnectionStrings__DefaultConnection", &connection_string(&test));
        let jwt_secret = fresh().unwrap().expose().to_owned();
        sandbox.set("JWT_SECRET_KEY", &jwt_secret);
        sandbox.set("SGX_ENCRYPTION_KEY", fresh().unwrap().expose());
        Self { sandbox, test, password, jwt_secret }
    }

    /// Starts to serve; returns when it does.
    pub(crate) async fn serve(&self) -> Served {
        let mut running = self.sandbox.start(&["serve", "--port", "0"]);
        running.says("\"serving\"").await;
        let url = address(&running);
        Served { running, url }
    }

    /// The administrator's access token.
    pub(crate) async fn token(&self, url: &str) -> String {
        token(url, ADMIN, self.password.expose()).await
    }
}

/// A process that serves.
pub(crate) struct Served {
    pub(crate) running: Running,
    pub(crate) url: String,
}

/// A client for what the typed one cannot say. It reads no certificates of the system, which takes longer than the call.
pub(crate) fn http() -> reqwest::Client {
    reqwest::Client::builder().tls_certs_only([]).no_proxy().build().unwrap()
}

/// Over the server's socket, without a user.
pub(crate) fn connection_string(test: &TestDb) -> String {
    let server = test.cluster().server();
    format!("Host={};Port={};Database={}", server.socket_dir().display(), server.port(), test.name())
}

/// Where a process serves, by its log.
pub(crate) fn address(running: &Running) -> String {
    let said = running.stderr();
    let line = said.lines().find(|line| line.contains("\"serving\"")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    format!("http://{}", line["address"].as_str().unwrap())
}

pub(crate) async fn token(url: &str, username: &str, password: &str) -> String {
    let tokens = Client::new(url).unwrap().login(username, password, None).await.unwrap();
    tokens.access_token.expose().to_owned()
}
