//! Types and rules of sealed items, pure: what a name may be, which change is allowed, what a sealed value is bound
//! to, and what opens.

/// Attestation of enclaves and trust domains.
pub(crate) mod attestation;
/// Metadata as a text that is bound to the value.
mod canonical;
/// Streamed values.
mod content;
/// What a rotation moves, and what it states in the end.
pub(crate) mod rotation;
/// What a scan compares, and what it calls what it finds.
pub(crate) mod scan;
/// The slots of a root key.
pub(crate) mod slot;

use jiff::Timestamp;
use nsl_core::http::IfMatch;
use nsl_core::ids::TenantId;
use nsl_crypto::aad::Aad;
use nsl_crypto::digest::{constant_time_eq, fingerprint};
use nsl_crypto::envelope::{Kek, Plaintext};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use self::canonical::canonical;
pub(crate) use self::content::{CHUNK, Content, Summary, place};

/// A rule that the caller's input breaks.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {problem}.")]
pub(crate) struct Violation {
    pub code: &'static str,
    pub pointer: &'static str,
    pub problem: String,
}

pub(crate) fn violation(code: &'static str, pointer: &'static str, problem: impl Into<String>) -> Violation {
    Violation { code, pointer, problem: problem.into() }
}

const LONGEST_SERVICE: usize = 100;
const LONGEST_KEY: usize = 255;
/// What an operator says about an operation.
pub(crate) const LONGEST_REASON: usize = 500;
/// Metadata is for searching, not for storing.
const LARGEST_METADATA: usize = 16 << 10;

/// Where an item lies inside its tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub service: String,
    pub key: String,
}

impl Address {
    pub(crate) fn new(service: String, key: String) -> Result<Self, Violation> {
        check_name("sgx.invalid_service", "service", &service, LONGEST_SERVICE)?;
        if service.contains('/') {
            return Err(violation("sgx.invalid_service", "service", "it may not contain a slash"));
        }
        check_name("sgx.invalid_key", "key", &key, LONGEST_KEY)?;
        // Such a path would name another item after the normalisation that proxies and clients apply.
        if key.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
            return Err(violation(
                "sgx.invalid_key",
                "key",
                "its parts between slashes may not be empty, `.` or `..`",
            ));
        }
        Ok(Self { service, key })
    }

    /// How audit rows name it.
    pub(crate) fn resource(&self) -> String {
        format!("{}/{}", self.service, self.key)
    }
}

fn check_name(
    code: &'static str,
    pointer: &'static str,
    name: &str,
    longest: usize,
) -> Result<(), Violation> {
    let length = name.chars().count();
    if length == 0 || length > longest {
        return Err(violation(code, pointer, format!("it has {length} characters; it takes 1 to {longest}")));
    }
    if name.chars().any(char::is_control) {
        return Err(violation(code, pointer, "it contains a control character"));
    }
    Ok(())
}

/// Which code may open an item once the enclave is real. Bound into the seal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schema(as = sgx::PolicyType)]
pub(crate) enum PolicyType {
    /// Any enclave of the same signer.
    #[default]
    MrSigner,
    /// This very enclave only.
    MrEnclave,
}

impl PolicyType {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::MrSigner => "MRSIGNER",
            Self::MrEnclave => "MRENCLAVE",
        }
    }
}

/// What is to be sealed, besides the value.
#[derive(Clone, Debug)]
pub(crate) struct Attributes {
    pub metadata: Option<Value>,
    pub policy: PolicyType,
    /// The policy that was named, and its rules as they are now.
    pub policy_name: Option<String>,
    pub access: Option<Value>,
    pub expires_at: Option<Timestamp>,
}

impl Attributes {
    /// With the times that PostgreSQL keeps (1 µs), so that an answer to a put is what a later get says.
    pub(crate) fn new(metadata: Option<Value>, policy: PolicyType, expires_at: Option<Timestamp>) -> Self {
        let kept = |at: Timestamp| Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at);
        Self { metadata, policy, policy_name: None, access: None, expires_at: expires_at.map(kept) }
    }

    pub(crate) fn check(&self, now: Timestamp) -> Result<(), Violation> {
        if self.expires_at.is_some_and(|at| at <= now) {
            return Err(violation(
                "sgx.invalid_expiry",
                "/expiresAt",
                "it lies in the past; give a later time",
            ));
        }
        let Some(metadata) = &self.metadata else { return Ok(()) };
        let wrong = |problem: &str| Err(violation("sgx.invalid_metadata", "/metadata", problem));
        if !metadata.is_object() {
            return wrong("it has to be a JSON object");
        }
        let text = metadata.to_string();
        if text.len() > LARGEST_METADATA {
            return wrong("it has more than 16 KiB");
        }
        if text.contains("\\u0000") && has_nul(metadata) {
            return wrong("it contains the character U+0000, which PostgreSQL does not store");
        }
        Ok(())
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(map) => map.iter().any(|(key, item)| key.contains('\0') || has_nul(item)),
        _ => false,
    }
}

/// What stands at an address before a change.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    pub item_id: Uuid,
    pub version: i64,
    pub revision: i64,
    /// Neither deleted nor expired.
    pub alive: bool,
}

/// The change that a put makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    pub item_id: Uuid,
    pub version: i64,
    pub revision: i64,
    /// Nothing alive was there.
    pub is_new: bool,
}

/// Decides a put: the next version, or the version that the condition does not allow.
pub(crate) fn decide_put(
    current: Option<&Current>,
    condition: &IfMatch,
    fresh: Uuid,
) -> Result<Next, Option<i64>> {
    let alive = current.filter(|current| current.alive).map(|current| current.version);
    if !condition.holds(alive) {
        return Err(alive);
    }
    Ok(match current {
        // A deleted or expired item goes on counting, so that an old ETag never fits a later value.
        Some(current) => Next {
            item_id: current.item_id,
            version: current.version + 1,
            revision: current.revision + 1,
            is_new: alive.is_none(),
        },
        None => Next { item_id: fresh, version: 1, revision: 1, is_new: true },
    })
}

/// Where a value lies. Its wrapped data key is bound to nothing else, so that a rotation need not know more of it.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub tenant: TenantId,
    pub service: &'a str,
    pub key: &'a str,
    pub item_id: Uuid,
    pub version: i64,
}

impl Place<'_> {
    fn aad(&self, domain: &'static str) -> Aad {
        Aad::new(domain)
            .bytes(self.tenant.0.as_bytes())
            .text(self.service)
            .text(self.key)
            .bytes(self.item_id.as_bytes())
            .number(self.version.unsigned_abs())
    }

    /// The additional data of the value's wrapped data key.
    pub(crate) fn data_key(&self, sealing_key_version: i32) -> Aad {
        self.aad("nsl.sgx.data-key.v1").number(u64::from(sealing_key_version.unsigned_abs()))
    }
}

/// Everything that a sealed value is bound to. A row whose columns say something else does not open.
pub(crate) struct Binding<'a> {
    pub tenant: TenantId,
    pub service: &'a str,
    pub key: &'a str,
    pub item_id: Uuid,
    pub version: i64,
    pub policy: &'a str,
    /// The policy that the put named, and its rules at that time.
    pub policy_name: Option<&'a str>,
    pub access: Option<&'a Value>,
    /// Where the chunks of a streamed value are.
    pub content: Option<Uuid>,
    pub metadata: Option<&'a Value>,
    pub created_at: Timestamp,
    pub created_by: &'a str,
    pub updated_at: Timestamp,
    pub updated_by: &'a str,
    pub expires_at: Option<Timestamp>,
}

impl Binding<'_> {
    pub(crate) fn place(&self) -> Place<'_> {
        Place {
            tenant: self.tenant,
            service: self.service,
            key: self.key,
            item_id: self.item_id,
            version: self.version,
        }
    }

    /// The additional data of the value.
    pub(crate) fn value(&self) -> Aad {
        let micros = |at: Timestamp| at.as_microsecond().cast_unsigned();
        // What the first build did not know is bound by a domain of its own, so that its rows still open: a row from which
        // one of these was taken away is of the other domain.
        let plain = self.policy_name.is_none() && self.access.is_none() && self.content.is_none();
        let aad = self
            .place()
            .aad(if plain { "nsl.sgx.item.v1" } else { "nsl.sgx.item.v2" })
            .text(self.policy)
            .number(micros(self.created_at))
            .text(self.created_by)
            .number(micros(self.updated_at))
            .text(self.updated_by)
            // An absent one differs from every present one: its part is shorter.
            .bytes(&self.expires_at.map(|at| micros(at).to_be_bytes()).map_or_else(Vec::new, Vec::from));
        let text = |value: Option<&Value>| value.map(canonical).unwrap_or_default();
        let aad = aad.text(&text(self.metadata));
        if plain {
            return aad;
        }
        aad.text(self.policy_name.unwrap_or_default())
            .text(&text(self.access))
            .bytes(self.content.as_ref().map_or(&[], |content| content.as_bytes()))
    }

    /// The additional data of the value's wrapped data key.
    pub(crate) fn data_key(&self, sealing_key_version: i32) -> Aad {
        self.place().data_key(sealing_key_version)
    }
}

/// A sealed value as its row holds it.
pub(crate) struct Stored<'a> {
    pub encryption: &'a str,
    pub wrapped_data_key: Option<&'a [u8]>,
    pub sealed_data: &'a [u8],
    pub original_size: i32,
    pub sealed_size: i32,
    pub fingerprint: &'a str,
}

/// An opened value; wiped when dropped, also where encryption was off.
pub(crate) enum Opened {
    Sealed(Plaintext),
    Plain(Vec<u8>),
}

impl std::ops::Deref for Opened {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Sealed(value) => value,
            Self::Plain(value) => value,
        }
    }
}

/// Opens a stored value, or says what about the row is not what was sealed.
///
/// `key` is the tenant's sealing key that the row names, with its version; none where the row says `encryption = none`.
/// Nothing vouches for such a row: `plain`, whether it is taken, is for services that run with encryption off. Elsewhere
/// whoever can write to the table could put any value in place of a sealed one.
pub(crate) fn open(
    stored: &Stored<'_>,
    binding: &Binding<'_>,
    key: Option<(&Kek, i32)>,
    plain: bool,
) -> Result<Opened, &'static str> {
    if binding.content.is_none() && usize::try_from(stored.sealed_size) != Ok(stored.sealed_data.len()) {
        return Err("sealed_size is not the size of sealed_data");
    }
    if !constant_time_eq(fingerprint(stored.sealed_data).as_bytes(), stored.fingerprint.as_bytes()) {
        return Err("fingerprint is not that of sealed_data");
    }
    let opened = match (stored.encryption, key, stored.wrapped_data_key) {
        ("none", None, None) if plain => Opened::Plain(stored.sealed_data.to_vec()),
        ("none", None, None) => return Err("it is not sealed, while encryption is on"),
        ("aes-256-gcm", Some((kek, version)), Some(wrapped)) => kek
            .open_value(wrapped, stored.sealed_data, &binding.data_key(version), &binding.value())
            .map(Opened::Sealed)
            .map_err(|_| "the value does not open under what its row says")?,
        _ => return Err("the columns of the encryption contradict each other"),
    };
    let size = if binding.content.is_some() {
        let summary = Summary::decode(&opened).ok_or("it names a content, and no summary of one opens")?;
        let sealed_size = summary.sealed_len().saturating_add(stored.sealed_data.len() as u64);
        if u64::try_from(stored.sealed_size) != Ok(sealed_size) {
            return Err("sealed_size is not the size of sealed_data and the sealed content");
        }
        summary.length
    } else {
        opened.len() as u64
    };
    if u64::try_from(stored.original_size) != Ok(size) {
        return Err("original_size is not the size of the value");
    }
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use nsl_crypto::key::Key256;
    use proptest::prelude::*;

    use super::*;

    fn binding() -> Binding<'static> {
        Binding {
            tenant: TenantId::DEFAULT,
            service: "demo",
            key: "greeting",
            item_id: Uuid::nil(),
            version: 3,
            policy: "MRSIGNER",
            policy_name: None,
            access: None,
            content: None,
            metadata: None,
            created_at: Timestamp::UNIX_EPOCH,
            created_by: "admin",
            updated_at: Timestamp::UNIX_EPOCH,
            updated_by: "admin",
            expires_at: None,
        }
    }

    #[test]
    fn names_are_checked() {
        let address = |service: &str, key: &str| Address::new(service.to_owned(), key.to_owned());
        assert!(address("demo", "a:b/c ü").is_ok());
        assert!(address("demo", &"x".repeat(255)).is_ok());
        for (service, key, code) in [
            ("", "k", "sgx.invalid_service"),
            ("a/b", "k", "sgx.invalid_service"),
            ("demo", "", "sgx.invalid_key"),
            ("demo", "a\0b", "sgx.invalid_key"),
            ("demo", "a\nb", "sgx.invalid_key"),
            ("demo", "../x", "sgx.invalid_key"),
            ("demo", "a//b", "sgx.invalid_key"),
        ] {
            assert_eq!(address(service, key).unwrap_err().code, code, "{service:?} {key:?}");
        }
        assert_eq!(address("demo", &"x".repeat(256)).unwrap_err().code, "sgx.invalid_key");
    }

    #[test]
    fn a_put_counts_on_and_respects_its_condition() {
        let fresh = Uuid::from_u128(7);
        let mut current = Current { item_id: Uuid::from_u128(1), version: 2, revision: 3, alive: true };
        let first = decide_put(None, &IfMatch::Any, fresh).unwrap();
        assert_eq!(first, Next { item_id: fresh, version: 1, revision: 1, is_new: true });
        let next = decide_put(Some(&current), &IfMatch::Versions(vec![2]), fresh).unwrap();
        assert_eq!((next.version, next.revision, next.is_new), (3, 4, false));
        assert_eq!(decide_put(Some(&current), &IfMatch::Versions(vec![1]), fresh), Err(Some(2)));
        assert_eq!(decide_put(Some(&current), &IfMatch::Absent, fresh), Err(Some(2)));
        current.alive = false;
        let again = decide_put(Some(&current), &IfMatch::Absent, fresh).unwrap();
        assert_eq!((again.version, again.item_id, again.is_new), (3, current.item_id, true));
        assert_eq!(decide_put(Some(&current), &IfMatch::Exists, fresh), Err(None));
    }

    type Change = fn(&mut Binding<'static>);

    #[test]
    fn each_bound_column_matters() {
        let kek = Kek::new(&Key256::generate());
        let original = binding();
        let sealed = kek.seal_value(b"hello", &original.data_key(1), &original.value());
        let print = fingerprint(&sealed.ciphertext);
        let stored = Stored {
            encryption: "aes-256-gcm",
            wrapped_data_key: Some(&sealed.wrapped_data_key),
            sealed_data: &sealed.ciphertext,
            original_size: 5,
            sealed_size: i32::try_from(sealed.ciphertext.len()).unwrap(),
            fingerprint: &print,
        };
        assert_eq!(&*open(&stored, &original, Some((&kek, 1)), false).unwrap(), b"hello");
        assert!(open(&stored, &original, Some((&kek, 2)), false).is_err());
        assert!(open(&stored, &original, None, true).is_err());
        let changes: [Change; 12] = [
            |b| b.tenant = TenantId(Uuid::nil()),
            |b| b.service = "demp",
            |b| b.key = "greetinh",
            |b| b.item_id = Uuid::from_u128(1),
            |b| b.version = 2,
            |b| b.policy = "MRENCLAVE",
            |b| b.metadata = Some(&Value::Null),
            |b| b.created_at = Timestamp::from_microsecond(1).unwrap(),
            |b| b.created_by = "eve",
            |b| b.updated_at = Timestamp::from_microsecond(1).unwrap(),
            |b| b.updated_by = "eve",
            |b| b.expires_at = Some(Timestamp::UNIX_EPOCH),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut changed = binding();
            change(&mut changed);
            assert!(open(&stored, &changed, Some((&kek, 1)), true).is_err(), "change {number}");
        }
        for wrong in [
            Stored { original_size: 4, ..stored },
            Stored { sealed_size: 4, ..stored },
            Stored { encryption: "none", ..stored },
            Stored { fingerprint: "sha256:00", ..stored },
            Stored { sealed_data: b"hello", ..stored },
        ] {
            assert!(open(&wrong, &original, Some((&kek, 1)), true).is_err());
        }
    }

    #[test]
    fn an_unsealed_value_opens_only_where_encryption_is_off() {
        let print = fingerprint(b"hello");
        let stored = Stored {
            encryption: "none",
            wrapped_data_key: None,
            sealed_data: b"hello",
            original_size: 5,
            sealed_size: 5,
            fingerprint: &print,
        };
        assert_eq!(&*open(&stored, &binding(), None, true).unwrap(), b"hello");
        assert!(open(&stored, &binding(), None, false).is_err());
    }

    proptest! {
        #[test]
        fn any_flipped_bit_of_the_sealed_bytes_is_found(bit in 0_usize..8 * 33) {
            let kek = Kek::new(&Key256::generate());
            let binding = binding();
            let mut sealed = kek.seal_value(b"hello", &binding.data_key(1), &binding.value());
            let print = fingerprint(&sealed.ciphertext);
            let bit = bit % (sealed.ciphertext.len() * 8);
            sealed.ciphertext[bit / 8] ^= 1 << (bit % 8);
            // An attacker with the table also rewrites the fingerprint.
            for print in [print, fingerprint(&sealed.ciphertext)] {
                let stored = Stored {
                    encryption: "aes-256-gcm",
                    wrapped_data_key: Some(&sealed.wrapped_data_key),
                    sealed_data: &sealed.ciphertext,
                    original_size: 5,
                    sealed_size: i32::try_from(sealed.ciphertext.len()).unwrap(),
                    fingerprint: &print,
                };
                prop_assert!(open(&stored, &binding, Some((&kek, 1)), true).is_err());
            }
        }
    }
}
