//! Tenants (`core.tenants`): the unit of isolation. Who belongs to one is auth's business.

use jiff::Timestamp;

use crate::ids::TenantId;

crate::row! {
    /// A tenant.
    pub struct Tenant {
        pub id: TenantId,
        /// Lower case, digits and dashes; what a login names.
        pub name: String,
        pub display_name: String,
        /// `active` or `suspended`.
        pub status: String,
        pub created_at: Timestamp,
        pub updated_at: Timestamp,
    }
}

crate::row! {
    /// The id of a tenant.
    pub struct Found {
        pub id: TenantId,
    }
}

impl Tenant {
    /// A suspended tenant's members can do nothing.
    pub fn is_active(&self) -> bool {
        self.status == "active"
    }
}

crate::queries! {
    /// Makes a tenant; the constraint `tenants_name_key` refuses a name that is taken.
    pub fn add(id: TenantId, name: &str, display_name: &str, now: Timestamp) -> one<Tenant> =
        "INSERT INTO core.tenants (id, name, display_name, created_at, updated_at) VALUES ($1, $2, $3, $4, $4) \
         RETURNING id, name, display_name, status, created_at, updated_at";

    pub fn by_id(id: TenantId) -> opt<Tenant> =
        "SELECT id, name, display_name, status, created_at, updated_at FROM core.tenants WHERE id = $1";

    pub fn by_name(name: &str) -> opt<Tenant> =
        "SELECT id, name, display_name, status, created_at, updated_at FROM core.tenants WHERE name = $1";

    /// The tenants after one, in the order of their ids.
    pub fn list(after: Option<TenantId>, most: i64) -> many<Tenant> =
        "SELECT id, name, display_name, status, created_at, updated_at FROM core.tenants \
         WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2";

    /// Changes what is given; no row if there is no such tenant.
    pub fn update(
        id: TenantId, display_name: Option<&str>, status: Option<&str>, now: Timestamp,
    ) -> opt<Tenant> =
        "UPDATE core.tenants SET display_name = coalesce($2, display_name), status = coalesce($3, status), \
             updated_at = $4 \
         WHERE id = $1 RETURNING id, name, display_name, status, created_at, updated_at";

    /// Holds a tenant as it is until the transaction ends; for what must not happen twice in it.
    pub fn lock(id: TenantId) -> opt<Found> = "SELECT id FROM core.tenants WHERE id = $1 FOR NO KEY UPDATE";

    /// The suspended ones, in a statement that every process repeats.
    pub fn suspended() -> many<Found> = "SELECT id FROM core.tenants WHERE status = 'suspended' ORDER BY id";

    /// Every tenant, for jobs that serve all of them.
    pub fn all() -> many<Found> = "SELECT id FROM core.tenants ORDER BY id";
}
