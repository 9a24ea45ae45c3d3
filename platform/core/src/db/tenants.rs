//! Tenants (`core.tenants`): the unit of isolation. Who belongs to one is auth's business.

use crate::ids::TenantId;

crate::row! {
    /// The id of a tenant.
    pub struct Found {
        pub id: TenantId,
    }
}

crate::queries! {
    /// Every tenant, for jobs that serve all of them.
    pub fn all() -> many<Found> = "SELECT id FROM core.tenants ORDER BY id";
}
