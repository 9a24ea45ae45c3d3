//! Who calls, with which authority, from where: the first argument of every action.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use crate::error::ApiError;
use crate::ids::{SessionId, TenantId, UserId};

/// The authority that a credential gives, as the authenticator found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub tenant: TenantId,
    pub user: Option<UserId>,
    pub session: Option<SessionId>,
    /// How the person or process is named in audit rows.
    pub name: String,
    pub permissions: Permissions,
    /// The names of the roles that the holder of the credential has in the tenant.
    pub roles: Vec<String>,
}

/// A set of `<service>:<verb>` permissions; `*` is all of them, `<service>:*` all of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions(Arc<BTreeSet<String>>);

impl Permissions {
    pub fn allows(&self, permission: &str) -> bool {
        if self.0.contains("*") || self.0.contains(permission) {
            return true;
        }
        permission.split_once(':').is_some_and(|(service, _)| {
            self.0.iter().any(|p| p.strip_suffix(":*").is_some_and(|granted| granted == service))
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl<S: Into<String>> FromIterator<S> for Permissions {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        Self(Arc::new(names.into_iter().map(Into::into).collect()))
    }
}

/// Where a request came from: written to audit rows, never used to decide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    pub request_id: Option<String>,
    /// The trace id of a W3C `traceparent`, the correlation of events.
    pub trace_id: Option<String>,
    pub ip_address: Option<String>,
    pub user_agent: Option<String>,
}

impl Origin {
    /// The block of addresses that one party usually holds: /24 of IPv4, /64 of IPv6 (RFC 6177 section 2). Limits and
    /// lockouts count by it, since a single address is changed at will.
    pub fn address_block(&self) -> String {
        let address = self.ip_address.as_deref().and_then(|text| text.parse::<IpAddr>().ok());
        match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => {
                let [a, b, c, _] = address.octets();
                format!("{a}.{b}.{c}.0/24")
            }
            Some(IpAddr::V6(address)) => {
                let [a, b, c, d, ..] = address.segments();
                format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            None => "unknown".to_owned(),
        }
    }
}

/// A principal at work.
#[derive(Clone, Debug)]
pub struct Caller {
    pub principal: Arc<Principal>,
    pub origin: Arc<Origin>,
}

impl Caller {
    pub fn new(principal: impl Into<Arc<Principal>>, origin: impl Into<Arc<Origin>>) -> Self {
        Self { principal: principal.into(), origin: origin.into() }
    }

    /// The service layer itself, at work for one tenant: jobs and first-run set-up.
    pub fn system(tenant: TenantId, name: &str) -> Self {
        let principal = Principal {
            tenant,
            user: None,
            session: None,
            name: format!("system:{name}"),
            permissions: Permissions::from_iter(["*"]),
            roles: Vec::new(),
        };
        Self::new(principal, Origin::default())
    }

    pub fn tenant(&self) -> TenantId {
        self.principal.tenant
    }

    /// Refuses the caller that lacks a permission, naming it.
    pub fn authorize(&self, permission: &str) -> Result<(), ApiError> {
        if self.principal.permissions.allows(permission) {
            return Ok(());
        }
        Err(ApiError::forbidden(
            "core.permission_missing",
            format!(
                "This needs the permission {permission}; ask an administrator of the tenant for a role that has it."
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stands_for_its_block() {
        for (address, block) in [
            ("192.0.2.77", "192.0.2.0/24"),
            ("::ffff:192.0.2.77", "192.0.2.0/24"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("::1", "::/64"),
            ("nonsense", "unknown"),
        ] {
            let origin = Origin { ip_address: Some(address.to_owned()), ..Origin::default() };
            assert_eq!(origin.address_block(), block, "{address}");
        }
        assert_eq!(Origin::default().address_block(), "unknown");
    }

    #[test]
    fn a_permission_is_exact_or_covered_by_a_star() {
        let some = Permissions::from_iter(["sgx:read", "oracle:*"]);
        assert!(some.allows("sgx:read") && some.allows("oracle:submit"));
        assert!(!some.allows("sgx:write") && !some.allows("oraclex:read") && !some.allows("oracle"));
        assert!(Permissions::from_iter(["*"]).allows("auth:users"));
        assert!(!Permissions::default().allows("sgx:read"));
    }
}
