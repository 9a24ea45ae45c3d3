//! Access tokens: JWTs of RFC 9068's shape, signed with Ed25519 (RFC 8037) or HMAC, and the keys that are published.
//!
//! The time is not looked at here: whoever verifies compares `exp` with their clock. Where keys are stored and how a
//! verified token is remembered belongs to the actions.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use nsl_core::caller::Principal;
use nsl_core::ids::{SessionId, TenantId, UserId};
use nsl_crypto::digest::sha256;
use nsl_crypto::key::Key256;
use nsl_crypto::signing::{PUBLIC_KEY_LEN, SigningKeyPair};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::Algorithm;

/// RFC 9068 section 2.1: the type tells an access token from an ID token that is signed with the same key.
const TYPE: &str = "at+jwt";
/// RFC 9068 section 4: `application/at+jwt` is the same type.
const LONG_TYPE: &str = "application/at+jwt";
/// `client_id` (RFC 9068 section 2.2): a login by password comes through the service layer itself.
pub(crate) const CLIENT_ID: &str = "neo-service-layer";
/// A token longer than this is not one of ours: ours have some 600 bytes, more only with many roles.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// What an access token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) sub: UserId,
    pub(crate) aud: String,
    /// Seconds since 1970, as `iat`.
    pub(crate) exp: i64,
    pub(crate) iat: i64,
    pub(crate) jti: Uuid,
    pub(crate) client_id: String,
    pub(crate) tenant: TenantId,
    /// The session; it ends the token when it is revoked.
    pub(crate) sid: SessionId,
    /// The username.
    pub(crate) name: String,
    /// The permissions, joined by spaces (RFC 6749 section 3.3).
    pub(crate) scope: String,
    /// The names of the roles (RFC 9068 section 2.2.3.1); absent, there are none.
    #[serde(default)]
    pub(crate) roles: Vec<String>,
}

impl Claims {
    /// Whom the token stands for.
    pub(crate) fn principal(self) -> Principal {
        Principal {
            tenant: self.tenant,
            user: Some(self.sub),
            session: Some(self.sid),
            permissions: self.scope.split_ascii_whitespace().collect(),
            name: self.name,
            roles: self.roles,
        }
    }
}

/// Signs access tokens. With Ed25519 this is what lives with the enclave: claims go in, a token comes out, and the key
/// is never seen outside.
pub(crate) struct Signer {
    header: Header,
    key: EncodingKey,
}

impl Signer {
    pub(crate) fn ed25519(pair: &SigningKeyPair) -> Self {
        let kid = thumbprint(pair.public_key());
        Self::new(jsonwebtoken::Algorithm::EdDSA, kid, EncodingKey::from_ed_der(pair.expose_pkcs8()))
    }

    pub(crate) fn hs256(secret: &[u8]) -> Self {
        Self::new(jsonwebtoken::Algorithm::HS256, shared_key_id(secret), EncodingKey::from_secret(secret))
    }

    fn new(algorithm: jsonwebtoken::Algorithm, kid: String, key: EncodingKey) -> Self {
        let mut header = Header::new(algorithm);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(kid);
        Self { header, key }
    }

    /// The key's public name.
    pub(crate) fn kid(&self) -> &str {
        self.header.kid.as_deref().unwrap_or_default()
    }

    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, jsonwebtoken::errors::Error> {
        encode(&self.header, claims, &self.key)
    }
}

/// The name of an Ed25519 key: the SHA-256 thumbprint of its JWK (RFC 7638 section 3, RFC 8037 appendix A.3).
pub(crate) fn thumbprint(public_key: &[u8; PUBLIC_KEY_LEN]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public_key);
    URL_SAFE_NO_PAD.encode(sha256(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#).as_bytes()))
}

/// The name of the shared secret: derived, so that it tells nothing about it.
pub(crate) fn shared_key_id(secret: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Key256::from_bytes(sha256(secret)).id())
}

/// A key that verifies tokens, by its name.
pub(crate) struct VerificationKey {
    pub(crate) kid: String,
    pub(crate) key: DecodingKey,
    /// The published form; the shared secret has none.
    pub(crate) jwk: Option<Jwk>,
}

impl VerificationKey {
    pub(crate) fn ed25519(public_key: &[u8; PUBLIC_KEY_LEN]) -> Self {
        let kid = thumbprint(public_key);
        Self {
            key: DecodingKey::from_ed_der(public_key),
            jwk: Some(Jwk::ed25519(kid.clone(), public_key)),
            kid,
        }
    }

    pub(crate) fn hs256(secret: &[u8]) -> Self {
        Self { kid: shared_key_id(secret), key: DecodingKey::from_secret(secret), jwk: None }
    }
}

/// A public key as `/.well-known/jwks.json` carries it (RFC 7517, RFC 8037 section 2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = auth::Jwk)]
pub(crate) struct Jwk {
    /// `OKP`.
    kty: &'static str,
    /// `Ed25519`.
    crv: &'static str,
    /// The public key in base64url.
    x: String,
    /// The RFC 7638 thumbprint, which access tokens name.
    kid: String,
    /// `EdDSA`.
    alg: &'static str,
    /// `sig`.
    #[serde(rename = "use")]
    usage: &'static str,
}

impl Jwk {
    fn ed25519(kid: String, public_key: &[u8; PUBLIC_KEY_LEN]) -> Self {
        Self {
            kty: "OKP",
            crv: "Ed25519",
            x: URL_SAFE_NO_PAD.encode(public_key),
            kid,
            alg: "EdDSA",
            usage: "sig",
        }
    }
}

/// A token that is not to be believed; why is nobody's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotOurs;

/// What a token must be, beside being signed.
pub(crate) struct Rules {
    validation: Validation,
}

impl Rules {
    /// One algorithm, whatever the header says: no `none`, and no HMAC with a public key for its secret.
    pub(crate) fn new(algorithm: Algorithm, issuer: &str, audience: &str) -> Self {
        let mut validation = Validation::new(match algorithm {
            Algorithm::EdDSA => jsonwebtoken::Algorithm::EdDSA,
            Algorithm::HS256 => jsonwebtoken::Algorithm::HS256,
        });
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        // Compared with the house's clock by the caller.
        validation.validate_exp = false;
        Self { validation }
    }

    /// The key that a token names, if its header is one of ours. Nothing of it is believed yet.
    pub(crate) fn key_id(&self, token: &str) -> Result<String, NotOurs> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(NotOurs);
        }
        let header = decode_header(token).map_err(|_| NotOurs)?;
        let is_ours = header
            .typ
            .as_deref()
            .is_some_and(|typ| typ.eq_ignore_ascii_case(TYPE) || typ.eq_ignore_ascii_case(LONG_TYPE));
        // RFC 7515 section 4.1.11: an extension that is critical and unknown refuses the token.
        if !is_ours || header.crit.is_some() || !self.validation.algorithms.contains(&header.alg) {
            return Err(NotOurs);
        }
        header.kid.ok_or(NotOurs)
    }

    /// The claims of a token that is signed by the key, and of our issuer and audience.
    pub(crate) fn verify(&self, token: &str, key: &DecodingKey) -> Result<Claims, NotOurs> {
        decode::<Claims>(token, key, &self.validation).map(|token| token.claims).map_err(|_| NotOurs)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &[u8] = b"q7RkV2nLx0Zt5WmBc9Ye3HsJd8UfGa1P";

    fn claims() -> Claims {
        Claims {
            iss: "us".to_owned(),
            sub: UserId::generate(),
            aud: "all".to_owned(),
            exp: 2_000_000_000,
            iat: 1_999_999_100,
            jti: Uuid::now_v7(),
            client_id: CLIENT_ID.to_owned(),
            tenant: TenantId::DEFAULT,
            sid: SessionId::generate(),
            name: "ann".to_owned(),
            scope: "auth:self sgx:*".to_owned(),
            roles: vec!["User".to_owned()],
        }
    }

    fn rules(algorithm: Algorithm) -> Rules {
        Rules::new(algorithm, "us", "all")
    }

    fn accepts(rules: &Rules, key: &VerificationKey, token: &str) -> bool {
        rules.key_id(token).is_ok_and(|kid| kid == key.kid) && rules.verify(token, &key.key).is_ok()
    }

    /// A token put together by hand, with an HMAC under any bytes.
    fn hmac_token(header: &Value, claims: &Value, secret: &[u8]) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        let tag = aws_lc_rs::hmac::sign(&key, message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    #[test]
    fn a_thumbprint_of_the_rfc() {
        // RFC 8037, appendices A.2 and A.3.
        let x = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        let public_key = <[u8; PUBLIC_KEY_LEN]>::try_from(x).unwrap();
        assert_eq!(thumbprint(&public_key), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_signed_token_verifies_and_says_what_it_was_given() {
        let pair = SigningKeyPair::generate();
        for (algorithm, signer, key) in [
            (Algorithm::EdDSA, Signer::ed25519(&pair), VerificationKey::ed25519(pair.public_key())),
            (Algorithm::HS256, Signer::hs256(SECRET), VerificationKey::hs256(SECRET)),
        ] {
            let (rules, claims) = (rules(algorithm), claims());
            let token = signer.sign(&claims).unwrap();
            assert_eq!(rules.key_id(&token).as_deref(), Ok(signer.kid()));
            assert_eq!(signer.kid(), key.kid);
            assert_eq!(rules.verify(&token, &key.key), Ok(claims.clone()));
            let principal = claims.clone().principal();
            assert_eq!((principal.user, principal.session), (Some(claims.sub), Some(claims.sid)));
            assert!(principal.permissions.allows("sgx:read") && !principal.permissions.allows("auth:users"));
            assert_eq!(principal.roles, ["User"]);
        }
    }

    #[test]
    fn a_token_without_roles_is_of_none() {
        let key = VerificationKey::hs256(SECRET);
        let header = json!({"alg": "HS256", "typ": TYPE, "kid": key.kid});
        let mut claims = serde_json::to_value(claims()).unwrap();
        claims.as_object_mut().unwrap().remove("roles");
        let read = rules(Algorithm::HS256).verify(&hmac_token(&header, &claims, SECRET), &key.key).unwrap();
        assert_eq!(read.principal().roles, Vec::<String>::new());
    }

    #[test]
    fn tokens_of_others_are_refused() {
        let pair = SigningKeyPair::generate();
        let (signer, key) = (Signer::ed25519(&pair), VerificationKey::ed25519(pair.public_key()));
        let rules = rules(Algorithm::EdDSA);
        assert!(accepts(&rules, &key, &signer.sign(&claims()).unwrap()));
        for foreign in
            [Claims { iss: "them".to_owned(), ..claims() }, Claims { aud: "some".to_owned(), ..claims() }]
        {
            assert!(!accepts(&rules, &key, &signer.sign(&foreign).unwrap()), "{foreign:?}");
        }
        let other = Signer::ed25519(&SigningKeyPair::generate());
        let mut claims_of_ours_by_another =
            Signer::new(jsonwebtoken::Algorithm::EdDSA, key.kid.clone(), other.key);
        assert!(!accepts(&rules, &key, &claims_of_ours_by_another.sign(&claims()).unwrap()));
        for typ in [None, Some("JWT"), Some("id+jwt")] {
            claims_of_ours_by_another.header.typ = typ.map(str::to_owned);
            let mut plain = Signer::ed25519(&pair);
            plain.header.typ = typ.map(str::to_owned);
            assert!(!accepts(&rules, &key, &plain.sign(&claims()).unwrap()), "{typ:?}");
        }
        let mut critical = Signer::ed25519(&pair);
        critical.header.crit = Some(vec!["b64".to_owned()]);
        assert!(!accepts(&rules, &key, &critical.sign(&claims()).unwrap()));
    }

    #[test]
    fn algorithms_cannot_be_confused() {
        let pair = SigningKeyPair::generate();
        let key = VerificationKey::ed25519(pair.public_key());
        let claims = serde_json::to_value(claims()).unwrap();
        let header = |alg: &str, kid: &str| json!({"alg": alg, "typ": TYPE, "kid": kid});
        // The public key taken for an HMAC secret.
        let confused = hmac_token(&header("HS256", &key.kid), &claims, pair.public_key());
        assert!(!accepts(&rules(Algorithm::EdDSA), &key, &confused));
        assert!(
            rules(Algorithm::EdDSA).verify(&confused, &DecodingKey::from_secret(pair.public_key())).is_err()
        );
        // The same bytes are a token where HMAC is what is configured: the test's tokens are well made.
        let shared = VerificationKey::hs256(SECRET);
        let honest = hmac_token(&header("HS256", &shared.kid), &claims, SECRET);
        assert!(accepts(&rules(Algorithm::HS256), &shared, &honest));
        assert!(!accepts(&rules(Algorithm::EdDSA), &shared, &honest));
        let signed = Signer::ed25519(&pair).sign(&self::claims()).unwrap();
        assert!(!accepts(&rules(Algorithm::HS256), &key, &signed));
        for alg in ["none", "None", "HS512", "EdDSA"] {
            let token = hmac_token(&header(alg, &shared.kid), &claims, SECRET);
            assert!(!accepts(&rules(Algorithm::HS256), &shared, &token), "{alg}");
            let (unsigned, _) = token.rsplit_once('.').unwrap();
            assert!(!accepts(&rules(Algorithm::HS256), &shared, &format!("{unsigned}.")), "{alg}");
            assert!(!accepts(&rules(Algorithm::EdDSA), &key, &format!("{unsigned}.")), "{alg}");
        }
    }

    #[test]
    fn a_claim_that_is_missing_refuses_the_token() {
        let key = VerificationKey::hs256(SECRET);
        let header = json!({"alg": "HS256", "typ": TYPE, "kid": key.kid});
        let whole = serde_json::to_value(claims()).unwrap();
        assert!(accepts(&rules(Algorithm::HS256), &key, &hmac_token(&header, &whole, SECRET)));
        for name in whole.as_object().unwrap().keys().filter(|name| *name != "roles") {
            let mut part = whole.clone();
            part.as_object_mut().unwrap().remove(name);
            assert!(!accepts(&rules(Algorithm::HS256), &key, &hmac_token(&header, &part, SECRET)), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_token_by_chance(text in any::<String>()) {
            prop_assert!(rules(Algorithm::EdDSA).key_id(&text).is_err());
        }

        /// A bit anywhere in the token counts, the padding bits of base64 too.
        #[test]
        fn a_changed_token_is_refused(at: usize, bit in 0_u8..7) {
            let pair = SigningKeyPair::generate();
            let token = Signer::ed25519(&pair).sign(&claims()).unwrap();
            let mut bytes = token.into_bytes();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let changed = String::from_utf8(bytes).unwrap();
            let key = VerificationKey::ed25519(pair.public_key());
            prop_assert!(!accepts(&rules(Algorithm::EdDSA), &key, &changed));
        }
    }
}
