//! What a process does. Trust boundary = process boundary = database role: the roles decide which logins a process has
//! and which secrets it is given.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use nsl_core::db::Login;

/// One thing that a process can do. Folder = schema = URL prefix = metric prefix = process role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Every public route. Those of the enclave are forwarded to its process, unless it is this one.
    Api,
    /// The routes of authentication alone.
    Auth,
    Monitoring,
    EventSourcing,
    /// Sealed storage and the key that signs access tokens: the enclave, as far as this build has it.
    Sgx,
    /// The sequencer, and the loops of every service but the enclave's.
    Jobs,
}

impl Role {
    const ALL: [Self; 6] =
        [Self::Api, Self::Auth, Self::Monitoring, Self::EventSourcing, Self::Sgx, Self::Jobs];
    /// Roles of services that come with their steps.
    const ABSENT: [&'static str; 4] = ["keymanagement", "oracle", "voting", "crosschain"];

    fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Auth => "auth",
            Self::Monitoring => "monitoring",
            Self::EventSourcing => "eventsourcing",
            Self::Sgx => "sgx",
            Self::Jobs => "jobs",
        }
    }
}

/// The roles of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Roles(BTreeSet<Role>);

impl Roles {
    pub(crate) fn all() -> Self {
        Self(Role::ALL.into())
    }

    pub(crate) fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    /// Whether the users' own routes are served here.
    pub(crate) fn serves_auth(&self) -> bool {
        self.has(Role::Api) || self.has(Role::Auth)
    }

    pub(crate) fn serves_monitoring(&self) -> bool {
        self.has(Role::Api) || self.has(Role::Monitoring)
    }

    pub(crate) fn serves_event_sourcing(&self) -> bool {
        self.has(Role::Api) || self.has(Role::EventSourcing)
    }

    /// Whether this is the enclave's process, which others reach over mutual TLS.
    pub(crate) fn is_enclave_apart(&self) -> bool {
        self.has(Role::Sgx) && !self.serves_auth()
    }

    /// Whether this process works only with an enclave that is another process.
    pub(crate) fn needs_enclave_elsewhere(&self) -> bool {
        self.serves_auth() && !self.has(Role::Sgx)
    }

    /// Whether it listens on `Http:Listen`: everything but the enclave alone, which has its own listener.
    pub(crate) fn is_public(&self) -> bool {
        self.0.iter().any(|role| *role != Role::Sgx)
    }

    /// The logins that these roles work as.
    pub(crate) fn logins(&self) -> Vec<Login> {
        let api = self.serves_auth() || self.serves_monitoring() || self.serves_event_sourcing();
        let mut logins = Vec::new();
        logins.extend(api.then_some(Login::Api));
        logins.extend(self.has(Role::Sgx).then_some(Login::Enclave));
        logins.extend(self.has(Role::Jobs).then_some(Login::Jobs));
        logins
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|role| role.name()).collect();
        f.write_str(&names.join(","))
    }
}

impl FromStr for Roles {
    type Err = String;

    fn from_str(list: &str) -> Result<Self, String> {
        let mut roles = BTreeSet::new();
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "all" => roles.extend(Role::ALL),
                "enclave" => {
                    roles.insert(Role::Sgx);
                }
                name if Role::ABSENT.contains(&name) => {
                    return Err(format!(
                        "this build has no {name}; take it out of the list (known: {})",
                        known()
                    ));
                }
                name => {
                    let role = Role::ALL.into_iter().find(|role| role.name() == name);
                    roles.insert(
                        role.ok_or_else(|| format!("there is no role `{name}`; known are {}", known()))?,
                    );
                }
            }
        }
        if roles.is_empty() {
            return Err(format!("name at least one role of {}", known()));
        }
        Ok(Self(roles))
    }
}

fn known() -> String {
    let names: Vec<&str> = Role::ALL.into_iter().map(Role::name).chain(["enclave", "all"]).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(list: &str) -> Roles {
        list.parse().unwrap()
    }

    #[test]
    fn a_list_names_what_a_process_does() {
        assert_eq!(roles("all"), Roles::all());
        assert_eq!(roles("enclave"), roles("sgx"));
        assert_eq!(roles(" jobs, api ").to_string(), "api,jobs");
        for (list, says) in [
            ("apy", "no role `apy`"),
            ("api,oracle", "this build has no oracle"),
            ("keymanagement", "no keymanagement"),
            ("", "at least one role"),
            (",", "at least one role"),
        ] {
            let error = list.parse::<Roles>().unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn each_login_is_only_where_its_roles_are() {
        for (list, logins) in [
            ("all", vec![Login::Api, Login::Enclave, Login::Jobs]),
            ("api", vec![Login::Api]),
            ("auth", vec![Login::Api]),
            ("monitoring", vec![Login::Api]),
            ("enclave", vec![Login::Enclave]),
            ("jobs", vec![Login::Jobs]),
            ("api,jobs", vec![Login::Api, Login::Jobs]),
        ] {
            assert_eq!(roles(list).logins(), logins, "{list}");
        }
    }

    #[test]
    fn the_enclave_is_apart_where_no_users_are() {
        assert!(roles("enclave").is_enclave_apart() && roles("enclave,jobs").is_enclave_apart());
        assert!(!roles("all").is_enclave_apart() && !roles("sgx,auth").is_enclave_apart());
        assert!(roles("api").needs_enclave_elsewhere() && roles("auth,jobs").needs_enclave_elsewhere());
        assert!(!roles("jobs").needs_enclave_elsewhere() && !roles("all").needs_enclave_elsewhere());
        assert!(!roles("enclave").is_public() && roles("enclave,jobs").is_public());
    }
}
