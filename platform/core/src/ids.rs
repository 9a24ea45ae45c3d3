//! Typed identifiers: a tenant's id is never taken for a user's. Services declare their own with [`typed_id!`].

/// Declares an identifier type over UUIDv7 with its text, JSON, SQL and OpenAPI forms.
#[macro_export]
macro_rules! typed_id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[derive(::serde::Serialize, ::serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub ::uuid::Uuid);

        impl $name {
            /// A new, time-ordered id (RFC 9562 §5.7).
            pub fn generate() -> Self {
                Self(::uuid::Uuid::now_v7())
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = ::uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl $crate::db::sql::ToSql for $name {
            fn to_sql(
                &self,
                ty: &$crate::db::sql::Type,
                out: &mut $crate::db::sql::BytesMut,
            ) -> Result<$crate::db::sql::IsNull, Box<dyn ::std::error::Error + Sync + Send>> {
                self.0.to_sql(ty, out)
            }
            fn accepts(ty: &$crate::db::sql::Type) -> bool {
                <::uuid::Uuid as $crate::db::sql::ToSql>::accepts(ty)
            }
            fn to_sql_checked(
                &self,
                ty: &$crate::db::sql::Type,
                out: &mut $crate::db::sql::BytesMut,
            ) -> Result<$crate::db::sql::IsNull, Box<dyn ::std::error::Error + Sync + Send>> {
                self.0.to_sql_checked(ty, out)
            }
        }

        impl<'a> $crate::db::sql::FromSql<'a> for $name {
            fn from_sql(
                ty: &$crate::db::sql::Type,
                raw: &'a [u8],
            ) -> Result<Self, Box<dyn ::std::error::Error + Sync + Send>> {
                <::uuid::Uuid as $crate::db::sql::FromSql>::from_sql(ty, raw).map(Self)
            }
            fn accepts(ty: &$crate::db::sql::Type) -> bool {
                <::uuid::Uuid as $crate::db::sql::FromSql>::accepts(ty)
            }
        }

        impl ::utoipa::PartialSchema for $name {
            fn schema() -> ::utoipa::openapi::RefOr<::utoipa::openapi::schema::Schema> {
                $crate::ids::uuid_schema()
            }
        }
        impl ::utoipa::ToSchema for $name {}
    };
}

/// How an id stands in the OpenAPI document.
pub fn uuid_schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
    use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)))
        .into()
}

typed_id! {
    /// A tenant: the unit of isolation.
    TenantId
}
typed_id! {
    /// A person or machine that can log in; may be a member of several tenants.
    UserId
}
typed_id! {
    /// One log-in of one user: all its refresh tokens are one family.
    SessionId
}

impl TenantId {
    /// The tenant `default`, made by the first migration; a single-tenant user never meets another.
    pub const DEFAULT: Self = Self(uuid::uuid!("00000000-0000-7000-8000-000000000001"));
}
