//! Checked SQL: statements stand in a service's `store.rs` as typed functions, and a test prepares every one of them
//! on the migrated database and compares parameters, columns, types and nullability ([`check`]).
//! No SQL is put together at run time; an optional filter is `($3::text IS NULL OR name = $3)`.

use std::future::Future;

pub use postgres_types::private::BytesMut;
pub use postgres_types::{FromSql, IsNull, ToSql, Type};
pub use tokio_postgres::{Error as RowError, Row};

use super::DbError;

/// A parameter as the driver takes it.
pub type Param<'a> = &'a (dyn ToSql + Sync);

/// What a `store` function runs on: a single read, a unit of work, a group commit's transaction.
pub trait Conn: Send + Sync {
    fn query(
        &self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<Vec<Row>, DbError>> + Send;

    fn execute(
        &self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<u64, DbError>> + Send;
}

/// A struct that one row becomes; made by [`row!`](crate::row).
pub trait FromRow: Sized {
    const COLUMNS: &'static [Column];
    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error>;
}

/// What the check needs to know of a field of a row struct.
pub struct Column {
    pub name: &'static str,
    pub accepts: fn(&Type) -> bool,
    pub takes_null: fn() -> bool,
}

/// What the check needs to know of a parameter.
pub struct Parameter {
    pub name: &'static str,
    pub accepts: fn(&Type) -> bool,
}

/// One statement of a store, as [`check`] sees it.
pub struct Checked {
    pub name: &'static str,
    pub sql: &'static str,
    pub parameters: &'static [Parameter],
    /// None for a statement whose rows are not read.
    pub columns: Option<&'static [Column]>,
}

/// Whether a Rust type reads NULL; only `Option` does.
pub fn takes_null<T: for<'a> FromSql<'a>>() -> bool {
    T::from_sql_null(&Type::BOOL).is_ok()
}

/// Declares a struct that a row becomes, field by column in order.
#[macro_export]
macro_rules! row {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($(#[$fmeta:meta])* $fvis:vis $field:ident : $ty:ty),* $(,)? }) => {
        $(#[$meta])*
        $vis struct $name { $($(#[$fmeta])* $fvis $field: $ty),* }

        impl $crate::db::sql::FromRow for $name {
            const COLUMNS: &'static [$crate::db::sql::Column] = &[$($crate::db::sql::Column {
                name: stringify!($field),
                accepts: <$ty as $crate::db::sql::FromSql>::accepts,
                takes_null: $crate::db::sql::takes_null::<$ty>,
            }),*];

            fn from_row(row: &$crate::db::sql::Row) -> Result<Self, $crate::db::sql::RowError> {
                let mut index = 0..;
                Ok(Self { $($field: row.try_get(index.next().unwrap_or_default())?),* })
            }
        }
    };
}

/// Declares the statements of a store. Kinds: `one<Row>`, `opt<Row>`, `many<Row>`, `exec` (rows affected).
#[macro_export]
macro_rules! queries {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident($($p:ident : $pt:ty),* $(,)?) -> $kind:ident $(<$row:ty>)? = $sql:expr;)*) => {
        $(
            $(#[$meta])*
            $vis async fn $name(
                c: &impl $crate::db::sql::Conn,
                $($p: $pt),*
            ) -> Result<$crate::queries!(@out $kind $($row)?), $crate::db::DbError> {
                let params: &[$crate::db::sql::Param<'_>] = &[$(&$p),*];
                $crate::queries!(@run c, $sql, params, $name, $kind $($row)?)
            }
        )*

        /// Every statement of this module, for the test that checks them on a migrated database.
        pub const ALL: &[$crate::db::sql::Checked] = &[$($crate::db::sql::Checked {
            name: concat!(module_path!(), "::", stringify!($name)),
            sql: $sql,
            parameters: &[$($crate::db::sql::Parameter {
                name: stringify!($p),
                accepts: <$pt as $crate::db::sql::ToSql>::accepts,
            }),*],
            columns: $crate::queries!(@columns $kind $($row)?),
        }),*];
    };
    (@out one $row:ty) => { $row };
    (@out opt $row:ty) => { Option<$row> };
    (@out many $row:ty) => { Vec<$row> };
    (@out exec) => { u64 };
    (@run $c:ident, $sql:expr, $params:ident, $name:ident, one $row:ty) => {
        $crate::db::sql::single(&$c.query($sql, $params).await?, stringify!($name))
    };
    (@run $c:ident, $sql:expr, $params:ident, $name:ident, opt $row:ty) => {
        $crate::db::sql::first(&$c.query($sql, $params).await?)
    };
    (@run $c:ident, $sql:expr, $params:ident, $name:ident, many $row:ty) => {
        $crate::db::sql::all(&$c.query($sql, $params).await?)
    };
    (@run $c:ident, $sql:expr, $params:ident, $name:ident, exec) => { $c.execute($sql, $params).await };
    (@columns exec) => { None };
    (@columns $kind:ident $row:ty) => { Some(<$row as $crate::db::sql::FromRow>::COLUMNS) };
}

/// The first row, if there is one.
pub fn first<R: FromRow>(rows: &[Row]) -> Result<Option<R>, DbError> {
    Ok(rows.first().map(R::from_row).transpose()?)
}

/// The row of a statement that always has one.
pub fn single<R: FromRow>(rows: &[Row], name: &'static str) -> Result<R, DbError> {
    first(rows)?.ok_or(DbError::NoRow(name))
}

/// Every row.
pub fn all<R: FromRow>(rows: &[Row]) -> Result<Vec<R>, DbError> {
    Ok(rows.iter().map(R::from_row).collect::<Result<_, _>>()?)
}

/// Prepares every statement on the migrated database and names what does not fit; empty when all is well.
///
/// Nullability is the catalog's: a column that may be NULL needs an `Option`. Expressions and the inner side of outer
/// joins carry no such fact; a test that reads a miss covers those.
pub async fn check(client: &tokio_postgres::Client, statements: &[Checked]) -> Vec<String> {
    let mut problems = Vec::new();
    for statement in statements {
        let prepared = match client.prepare(statement.sql).await {
            Ok(prepared) => prepared,
            Err(error) => {
                let text = error.as_db_error().map_or_else(|| error.to_string(), |e| e.message().to_owned());
                problems.push(format!("{}: {text}", statement.name));
                continue;
            }
        };
        let mut report = |text: String| problems.push(format!("{}: {text}", statement.name));
        if prepared.params().len() != statement.parameters.len() {
            report(format!(
                "takes {} parameters, {} are given",
                prepared.params().len(),
                statement.parameters.len()
            ));
        }
        for (ty, parameter) in prepared.params().iter().zip(statement.parameters) {
            if !(parameter.accepts)(ty) {
                report(format!("parameter {} is {ty}", parameter.name));
            }
        }
        let Some(columns) = statement.columns else { continue };
        if prepared.columns().len() != columns.len() {
            report(format!("answers {} columns, {} are read", prepared.columns().len(), columns.len()));
        }
        for (found, column) in prepared.columns().iter().zip(columns) {
            if found.name() != column.name {
                report(format!("column {} is read as {}", found.name(), column.name));
            }
            if !(column.accepts)(found.type_()) {
                report(format!("column {} is {}", column.name, found.type_()));
            }
            if !(column.takes_null)() && may_be_null(client, found).await {
                report(format!("column {} can be NULL", column.name));
            }
        }
    }
    problems
}

async fn may_be_null(client: &tokio_postgres::Client, column: &tokio_postgres::Column) -> bool {
    let (Some(table), Some(number)) = (column.table_oid(), column.column_id()) else { return false };
    let fact = client
        .query_opt(
            "SELECT attnotnull FROM pg_catalog.pg_attribute WHERE attrelid = $1 AND attnum = $2",
            &[&table, &number],
        )
        .await;
    matches!(fact, Ok(Some(row)) if !row.get::<_, bool>(0))
}
