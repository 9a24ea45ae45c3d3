//! Sealing policies: what one may say, the built-in ones, and whether a reader meets the rules of one.

use nsl_core::caller::Principal;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{PolicyType, Violation, violation};

const LONGEST_NAME: usize = 100;
const LONGEST_DESCRIPTION: usize = 500;
const LONGEST_LIFE_HOURS: i32 = 100 * 366 * 24;
const MOST_ROLES: usize = 64;
/// ISV SVN is a 16-bit number (Intel SDM volume 3D, table "Layout of Enclave Report").
const LARGEST_SVN: i32 = u16::MAX as i32;

/// Who may read a value. Bound to it in the seal, as they were at the put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Rules {
    pub allow_unseal: bool,
    pub require_attestation: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_roles: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_reads: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_isv_svn: Option<i32>,
}

impl Rules {
    const NONE: Self = Self {
        allow_unseal: true,
        require_attestation: false,
        allowed_roles: None,
        max_reads: None,
        min_isv_svn: None,
    };
}

/// A policy as it is defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Definition {
    pub name: String,
    pub kind: PolicyType,
    pub description: Option<String>,
    /// How long a value of it lives at the most.
    pub expiration_hours: Option<i32>,
    pub rules: Rules,
    pub is_active: bool,
}

/// The five of the legacy system, with its numbers; every tenant has them, and none can change them.
pub(crate) fn built_in() -> [Definition; 5] {
    let define = |name: &str, kind, hours, description: &str, rules| Definition {
        name: name.to_owned(),
        kind,
        description: Some(description.to_owned()),
        expiration_hours: Some(hours),
        rules,
        is_active: true,
    };
    let attested = Rules { require_attestation: true, ..Rules::NONE };
    [
        define(
            "Default_MRENCLAVE",
            PolicyType::MrEnclave,
            12,
            "This enclave only; 12 hours",
            attested.clone(),
        ),
        define(
            "Default_MRSIGNER",
            PolicyType::MrSigner,
            24,
            "Any enclave of the signer; 24 hours",
            Rules::NONE,
        ),
        define("Ephemeral", PolicyType::Custom, 1, "For short-lived values; 1 hour", Rules::NONE),
        define(
            "HighSecurity",
            PolicyType::Custom,
            6,
            "Readers attest an enclave of security version 1 or later; 6 hours",
            Rules { min_isv_svn: Some(1), ..attested },
        ),
        define("LongTerm", PolicyType::MrSigner, 168, "Any enclave of the signer; 7 days", Rules::NONE),
    ]
}

/// The built-in policy of a name.
pub(crate) fn built_in_named(name: &str) -> Option<Definition> {
    built_in().into_iter().find(|policy| policy.name == name)
}

/// Whether a put means a bare policy type by this word, and not a policy of that name.
pub(crate) fn is_type(name: &str) -> bool {
    matches!(name, "MRSIGNER" | "MRENCLAVE" | "CUSTOM")
}

/// What a policy may be called.
pub(crate) fn check_name(name: &str) -> Result<(), Violation> {
    let wrong = |problem: &str| Err(violation("sgx.invalid_policy", "/name", problem));
    let mut letters = name.chars();
    let good = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if !good || name.len() > LONGEST_NAME {
        return wrong("it takes a letter and up to 99 letters, digits, `.`, `_` and `-`");
    }
    if is_type(name) {
        return wrong("it is the name of a policy type");
    }
    Ok(())
}

impl Definition {
    pub(crate) fn check(&self) -> Result<(), Violation> {
        let wrong = |pointer, problem: &str| Err(violation("sgx.invalid_policy", pointer, problem));
        check_name(&self.name)?;
        if let Some(text) = &self.description
            && (text.chars().count() > LONGEST_DESCRIPTION || text.chars().any(char::is_control))
        {
            return wrong("/description", "it takes up to 500 characters and no control character");
        }
        if self.expiration_hours.is_some_and(|hours| !(1..=LONGEST_LIFE_HOURS).contains(&hours)) {
            return wrong("/expirationHours", "it takes 1 hour to 100 years");
        }
        let rules = &self.rules;
        if let Some(roles) = &rules.allowed_roles {
            let unfit = |role: &String| role.is_empty() || role.chars().count() > 100 || role.contains('\0');
            if roles.is_empty() || roles.len() > MOST_ROLES || roles.iter().any(unfit) {
                return wrong(
                    "/allowedRoles",
                    "it takes 1 to 64 names of roles; to let nobody read, set allowUnseal to false",
                );
            }
        }
        if rules.max_reads.is_some_and(|most| most < 1) {
            return wrong("/maxReads", "it takes 1 or more; to let nobody read, set allowUnseal to false");
        }
        match rules.min_isv_svn {
            Some(svn) if !(0..=LARGEST_SVN).contains(&svn) => wrong("/minIsvSvn", "it takes 0 to 65535"),
            Some(_) if !rules.require_attestation => {
                wrong("/minIsvSvn", "only an attestation tells it; set requireAttestation to true")
            }
            _ => Ok(()),
        }
    }
}

/// What an attestation that was accepted says of the enclave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub isv_svn: Option<i32>,
}

impl Verdict {
    /// Of a report as it is stored.
    pub(crate) fn of(report: &Value) -> Self {
        Self { isv_svn: report["isvSvn"].as_i64().and_then(|svn| svn.try_into().ok()) }
    }
}

/// What is known of the attestation that a reader names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attested {
    /// This process is no enclave and takes none.
    Unavailable,
    NotNamed,
    /// None of this tenant with that id was accepted and is still fresh.
    Unknown,
    Fresh(Verdict),
}

/// Who wants to read, and how often this version was read before.
pub(crate) struct Reader<'a> {
    pub principal: &'a Principal,
    pub reads: i64,
    pub attested: Attested,
}

/// Why a policy does not let a reader have a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denial {
    #[error("the policy lets nobody read the value")]
    Unseal,
    #[error("the policy is not active")]
    Inactive,
    #[error("the policy allows roles that the reader has none of")]
    Role,
    #[error("the value was read as often as its policy allows")]
    ReadsExhausted,
    #[error("the policy needs an attestation, and this process takes none: it runs in simulation mode")]
    AttestationUnavailable,
    #[error("the policy needs an attestation, and none was named")]
    AttestationRequired,
    #[error("the attestation that was named is not one of this tenant that was accepted and is still fresh")]
    AttestationInvalid,
    #[error("the attested enclave is of an older security version than the policy takes")]
    AttestationTooOld,
}

/// Whether a reader meets the rules. Checked for those that are bound to the value, and for those that its policy has now.
pub(crate) fn check_read(rules: &Rules, reader: &Reader<'_>) -> Result<(), Denial> {
    if !rules.allow_unseal {
        return Err(Denial::Unseal);
    }
    if let Some(allowed) = &rules.allowed_roles
        && !allowed.iter().any(|role| reader.principal.roles.contains(role))
    {
        return Err(Denial::Role);
    }
    if rules.require_attestation {
        let verdict = match reader.attested {
            Attested::Unavailable => return Err(Denial::AttestationUnavailable),
            Attested::NotNamed => return Err(Denial::AttestationRequired),
            Attested::Unknown => return Err(Denial::AttestationInvalid),
            Attested::Fresh(verdict) => verdict,
        };
        if let Some(least) = rules.min_isv_svn
            && verdict.isv_svn.is_none_or(|svn| svn < least)
        {
            return Err(Denial::AttestationTooOld);
        }
    }
    if rules.max_reads.is_some_and(|most| reader.reads >= most) {
        return Err(Denial::ReadsExhausted);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use nsl_core::caller::Permissions;
    use nsl_core::ids::TenantId;

    use super::*;

    fn principal(roles: &[&str]) -> Principal {
        Principal {
            tenant: TenantId::DEFAULT,
            user: None,
            session: None,
            name: "ann".to_owned(),
            permissions: Permissions::from_iter(["*"]),
            roles: roles.iter().map(|&role| role.to_owned()).collect(),
        }
    }

    fn read(rules: &Rules, roles: &[&str], reads: i64, attested: Attested) -> Result<(), Denial> {
        let principal = principal(roles);
        check_read(rules, &Reader { principal: &principal, reads, attested })
    }

    #[test]
    fn the_five_have_the_legacy_numbers_and_are_valid() {
        let numbers: Vec<_> = built_in()
            .iter()
            .map(|policy| {
                policy.check().unwrap();
                let Rules { require_attestation, min_isv_svn, .. } = policy.rules;
                (
                    policy.name.clone(),
                    policy.kind.as_str(),
                    policy.expiration_hours,
                    require_attestation,
                    min_isv_svn,
                )
            })
            .collect();
        let expected = [
            ("Default_MRENCLAVE", "MRENCLAVE", 12, true, None),
            ("Default_MRSIGNER", "MRSIGNER", 24, false, None),
            ("Ephemeral", "CUSTOM", 1, false, None),
            ("HighSecurity", "CUSTOM", 6, true, Some(1)),
            ("LongTerm", "MRSIGNER", 168, false, None),
        ]
        .map(|(name, kind, hours, attested, svn)| (name.to_owned(), kind, Some(hours), attested, svn));
        assert_eq!(numbers, expected);
    }

    type Change = fn(&mut Definition);

    #[test]
    fn what_no_policy_can_say_is_named() {
        let good = Definition {
            name: "Payroll-1.a_b".to_owned(),
            kind: PolicyType::Custom,
            description: Some("é".repeat(500)),
            expiration_hours: Some(1),
            rules: Rules {
                allowed_roles: Some(vec!["Clerk".to_owned()]),
                max_reads: Some(1),
                require_attestation: true,
                min_isv_svn: Some(0),
                ..Rules::NONE
            },
            is_active: true,
        };
        assert_eq!(good.check(), Ok(()));
        let changes: [(&str, Change); 14] = [
            ("/name", |d| d.name = String::new()),
            ("/name", |d| d.name = "1a".to_owned()),
            ("/name", |d| d.name = "a/b".to_owned()),
            ("/name", |d| d.name = "x".repeat(101)),
            ("/name", |d| d.name = "MRSIGNER".to_owned()),
            ("/description", |d| d.description = Some("é".repeat(501))),
            ("/description", |d| d.description = Some("a\0".to_owned())),
            ("/expirationHours", |d| d.expiration_hours = Some(0)),
            ("/expirationHours", |d| d.expiration_hours = Some(i32::MAX)),
            ("/allowedRoles", |d| d.rules.allowed_roles = Some(Vec::new())),
            ("/allowedRoles", |d| d.rules.allowed_roles = Some(vec!["a\0".to_owned()])),
            ("/maxReads", |d| d.rules.max_reads = Some(0)),
            ("/minIsvSvn", |d| d.rules.min_isv_svn = Some(65_536)),
            ("/minIsvSvn", |d| d.rules.require_attestation = false),
        ];
        for (pointer, change) in changes {
            let mut bad = good.clone();
            change(&mut bad);
            assert_eq!(bad.check().unwrap_err().pointer, pointer, "{bad:?}");
        }
    }

    #[test]
    fn each_rule_refuses_who_does_not_meet_it() {
        let none = Attested::NotNamed;
        assert_eq!(read(&Rules::NONE, &[], i64::MAX, Attested::Unavailable), Ok(()));
        let closed = Rules { allow_unseal: false, ..Rules::NONE };
        assert_eq!(read(&closed, &["Administrator"], 0, none), Err(Denial::Unseal));

        let clerks =
            Rules { allowed_roles: Some(vec!["Clerk".to_owned(), "Chief".to_owned()]), ..Rules::NONE };
        assert_eq!(read(&clerks, &["User", "Chief"], 0, none), Ok(()));
        for roles in [&["User"][..], &["clerk"], &[]] {
            assert_eq!(read(&clerks, roles, 0, none), Err(Denial::Role));
        }

        let twice = Rules { max_reads: Some(2), ..Rules::NONE };
        assert_eq!(
            (read(&twice, &[], 1, none), read(&twice, &[], 2, none)),
            (Ok(()), Err(Denial::ReadsExhausted))
        );
    }

    #[test]
    fn an_attestation_has_to_be_named_known_and_new_enough() {
        let attested = Rules { require_attestation: true, ..Rules::NONE };
        let second = Rules { min_isv_svn: Some(2), ..attested.clone() };
        let svn = |isv_svn| Attested::Fresh(Verdict { isv_svn });
        for (state, expected) in [
            (Attested::Unavailable, Err(Denial::AttestationUnavailable)),
            (Attested::NotNamed, Err(Denial::AttestationRequired)),
            (Attested::Unknown, Err(Denial::AttestationInvalid)),
        ] {
            assert_eq!(read(&attested, &[], 0, state), expected);
            assert_eq!(read(&second, &[], 0, state), expected);
        }
        assert_eq!(read(&attested, &[], 0, svn(None)), Ok(()));
        assert_eq!(read(&second, &[], 0, svn(Some(2))), Ok(()));
        for old in [Some(1), None] {
            assert_eq!(read(&second, &[], 0, svn(old)), Err(Denial::AttestationTooOld));
        }
    }

    #[test]
    fn rules_come_back_from_their_snapshot_as_they_were() {
        for policy in built_in() {
            let text = serde_json::to_value(&policy.rules).unwrap();
            assert_eq!(serde_json::from_value::<Rules>(text).unwrap(), policy.rules);
        }
        assert!(serde_json::from_value::<Rules>(serde_json::json!({"allowUnseal": true})).is_err());
    }
}
