//! `docker/postgres/init.sql` by psql, as each of the users that the guide knows. Whoever runs what in which order, the
//! catalogue is the same in the end.

use std::path::Path;
use std::process::Output;

use nsl_core::db::migrate::{MIGRATIONS, ROLES_SQL, init_sql, migrate};
use nsl_testkit::{Cluster, Durability, password};
use tempfile::TempDir;

use super::*;

const DATABASE: &str = "neo_service_layer";

/// Both files side by side, as in the repository.
fn files() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("init.sql"), init_sql(MIGRATIONS)).unwrap();
    std::fs::write(dir.path().join("roles.sql"), ROLES_SQL).unwrap();
    dir
}

fn psql(cluster: &Cluster, user: &str, file: &Path) -> Output {
    let mut psql = cluster.program("psql", DATABASE, user).unwrap();
    let output = psql.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-f"]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// All that makes the database what it is, a line each: owners, rights, columns, constraints, indexes, policies,
/// functions.
const CATALOG: &str = "
    WITH ours AS (SELECT oid, nspname, nspowner, nspacl FROM pg_namespace WHERE nspname IN (
        'core', 'auth', 'sgx', 'keymanagement', 'oracle', 'voting', 'crosschain', 'monitoring', 'eventsourcing')),
    acl (kind, name, acl) AS (
        SELECT 'database', '', datacl FROM pg_database WHERE datname = current_database()
        UNION ALL SELECT 'schema', nspname::text, nspacl FROM ours
        UNION ALL SELECT 'relation', c.oid::regclass::text, relacl FROM pg_class c JOIN ours o ON o.oid = relnamespace
        UNION ALL SELECT 'column', attrelid::regclass || '.' || attname, attacl FROM pg_attribute
            JOIN pg_class c ON c.oid = attrelid JOIN ours o ON o.oid = relnamespace
        UNION ALL SELECT 'function', p.oid::regprocedure::text, proacl FROM pg_proc p JOIN ours o ON o.oid = pronamespace)
    SELECT concat_ws(' ', kind, name, 'grants', item::text) AS line FROM acl, unnest(acl) AS item
    UNION ALL SELECT concat_ws(' ', 'database owned by', datdba::regrole) FROM pg_database WHERE datname = current_database()
    UNION ALL SELECT concat_ws(' ', 'schema', nspname, 'owned by', nspowner::regrole, obj_description(oid)) FROM ours
    UNION ALL SELECT concat_ws(' ', 'relation', c.oid::regclass, relkind, 'owned by', relowner::regrole, relrowsecurity,
        relforcerowsecurity, reloptions, pg_get_expr(relpartbound, c.oid), obj_description(c.oid),
        CASE WHEN relkind = 'v' THEN pg_get_viewdef(c.oid) END)
        FROM pg_class c JOIN ours o ON o.oid = relnamespace
    UNION ALL SELECT concat_ws(' ', 'column', attrelid::regclass || '.' || attname, attnum, format_type(atttypid, atttypmod),
        attnotnull, attstorage, attcollation::regcollation, pg_get_expr(adbin, adrelid), col_description(attrelid, attnum))
        FROM pg_attribute JOIN pg_class c ON c.oid = attrelid JOIN ours o ON o.oid = relnamespace
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attnum > 0
    UNION ALL SELECT concat_ws(' ', 'constraint', conrelid::regclass, conname, pg_get_constraintdef(k.oid))
        FROM pg_constraint k JOIN ours o ON o.oid = connamespace
    UNION ALL SELECT 'index ' || pg_get_indexdef(indexrelid) FROM pg_index
        JOIN pg_class c ON c.oid = indrelid JOIN ours o ON o.oid = relnamespace
    UNION ALL SELECT concat_ws(' ', 'policy', schemaname, tablename, policyname, permissive, roles, cmd, qual, with_check)
        FROM pg_policies
    UNION ALL SELECT concat_ws(' ', 'function', p.oid::regprocedure, 'owned by', proowner::regrole, prosecdef, proconfig,
        obj_description(p.oid), md5(pg_get_functiondef(p.oid))) FROM pg_proc p JOIN ours o ON o.oid = pronamespace
    UNION ALL SELECT concat_ws(' ', 'trigger', tgrelid::regclass, pg_get_triggerdef(oid)) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT 'extension ' || extname FROM pg_extension
    UNION ALL SELECT concat_ws(' ', 'migration', version, name, sha256, minimum_level) FROM core.migrations";

async fn catalog(cluster: &Cluster, database: &str) -> Vec<String> {
    let admin = cluster.client(database, "postgres").await.unwrap();
    let rows = admin.query(CATALOG, &[]).await.unwrap();
    assert!(rows.len() > 500);
    let mut lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    lines.sort();
    lines
}

#[track_caller]
fn assert_same(left: &[String], right: &[String]) {
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|line| those.binary_search(line).is_err()).cloned().collect()
    };
    assert_eq!(only(left, right), only(right, left));
    assert_eq!(left.len(), right.len());
}

#[tokio::test]
async fn every_way_ends_in_the_same_database() {
    let files = files();
    let (init, roles) = (files.path().join("init.sql"), files.path().join("roles.sql"));

    // A superuser runs it, twice; the runner finds nothing to do.
    let all = Cluster::own(Durability::Volatile).await.unwrap();
    if !all.has_client_tools() {
        return;
    }
    let admin = all.client("postgres", "postgres").await.unwrap();
    admin.batch_execute(&format!("CREATE DATABASE {DATABASE}")).await.unwrap();
    assert_eq!(text(&psql(&all, "postgres", &init)), "");
    let by_superuser = catalog(&all, DATABASE).await;
    assert_eq!(text(&psql(&all, "postgres", &init)), "");
    assert_same(&catalog(&all, DATABASE).await, &by_superuser);
    let set = format!("ALTER ROLE neo_user PASSWORD '{}'", password("neo_user").expose());
    admin.batch_execute(&set).await.unwrap();
    let owner = all.client(DATABASE, "neo_user").await.unwrap();
    assert_eq!(migrate(&owner, MIGRATIONS).await.unwrap(), Vec::<i64>::new());
    assert_same(&catalog(&all, DATABASE).await, &by_superuser);

    // The guide's option 3: neo_user, who was granted all privileges on a database of postgres, and nothing else.
    let plain = Cluster::own(Durability::Volatile).await.unwrap();
    let admin = plain.client("postgres", "postgres").await.unwrap();
    let user = format!("CREATE USER neo_user WITH PASSWORD '{}'", password("neo_user").expose());
    admin.batch_execute(&user).await.unwrap();
    admin.batch_execute(&format!("CREATE DATABASE {DATABASE}")).await.unwrap();
    let grant = format!("GRANT ALL PRIVILEGES ON DATABASE {DATABASE} TO neo_user");
    admin.batch_execute(&grant).await.unwrap();
    let said = text(&psql(&plain, "neo_user", &init));
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.ends_with(&format!("psql -d {DATABASE} -f docker/postgres/roles.sql")), "{said}");
    // Again, and then the one command that was left; then the runner.
    psql(&plain, "neo_user", &init);
    psql(&plain, "postgres", &roles);
    assert_same(&catalog(&plain, DATABASE).await, &by_superuser);
    assert_eq!(text(&psql(&plain, "neo_user", &init)), "");
    let owner = plain.client(DATABASE, "neo_user").await.unwrap();
    assert_eq!(migrate(&owner, MIGRATIONS).await.unwrap(), Vec::<i64>::new());
    assert_same(&catalog(&plain, DATABASE).await, &by_superuser);

    // And the runner alone, after roles.sql.
    let test = TestDb::new().await.unwrap();
    assert_same(&catalog(test.cluster(), test.name()).await, &by_superuser);
}

#[test]
fn the_file_in_the_repository_is_the_generated_one() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docker/postgres/init.sql");
    let generated = init_sql(MIGRATIONS);
    if std::env::var_os("NSL_UPDATE").is_some() {
        std::fs::write(&file, &generated).unwrap();
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == generated,
        "docker/postgres/init.sql is not what migrations/ say: run this with NSL_UPDATE=1"
    );
}
