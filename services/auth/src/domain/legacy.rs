//! Access tokens of the legacy system: HS256 under `JWT_SECRET_KEY`, which it shares with us. They end by themselves,
//! and nothing here signs one.
//!
//! They cannot be taken for ours, nor ours for them: ours have the type `at+jwt` and name a key, theirs have neither;
//! the issuers differ; and the one algorithm of these rules is fixed, whatever a header says.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

use super::token::NotOurs;

const ISSUER: &str = "NeoServiceLayer";
const AUDIENCE: &str = "NeoServiceLayerUsers";
/// The longest that the legacy system configured.
const MAX_LIFETIME_SECONDS: i64 = 24 * 60 * 60;
/// Theirs have some 500 bytes.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// `admin` is how its code spells what its seed calls Administrator.
const ADMIN: &str = "admin";
const ADMINISTRATOR: &str = "Administrator";

/// What the legacy system wrote into a token. Claims that decide nothing here are not read.
#[derive(Debug, Deserialize)]
struct Claims {
    sub: String,
    nameid: Option<String>,
    jti: String,
    iat: i64,
    exp: i64,
    session_id: String,
    #[serde(default)]
    role: Names,
}

/// .NET writes one value as a string and several as an array.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Names {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

/// Whom a legacy token stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LegacyIdentity {
    /// Its id there, in the words of the token.
    pub(crate) user: String,
    /// The roles, as they are spelled here.
    pub(crate) roles: Vec<String>,
    /// Seconds since 1970.
    pub(crate) expires_at: i64,
}

/// What a legacy token must be.
pub(crate) struct LegacyRules {
    key: DecodingKey,
    validation: Validation,
}

impl LegacyRules {
    pub(crate) fn new(secret: &[u8]) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        // Compared with the house's clock by the caller.
        validation.validate_exp = false;
        Self { key: DecodingKey::from_secret(secret), validation }
    }

    /// Whether a token has the form of theirs. Nothing of it is believed yet.
    pub(crate) fn is_one(token: &str) -> bool {
        token.len() <= MAX_TOKEN_BYTES
            && decode_header(token).is_ok_and(|header| {
                let is_plain = header.typ.as_deref().is_none_or(|typ| typ.eq_ignore_ascii_case("JWT"));
                is_plain && header.kid.is_none() && header.crit.is_none() && header.alg == Algorithm::HS256
            })
    }

    /// Whom a token stands for that is signed with the shared secret, and of their issuer and audience.
    pub(crate) fn verify(&self, token: &str) -> Result<LegacyIdentity, NotOurs> {
        let claims = decode::<Claims>(token, &self.key, &self.validation).map_err(|_| NotOurs)?.claims;
        let lives_too_long = claims.exp.saturating_sub(claims.iat) > MAX_LIFETIME_SECONDS;
        if lives_too_long || claims.jti.is_empty() || claims.session_id.is_empty() {
            return Err(NotOurs);
        }
        let user = claims.nameid.unwrap_or(claims.sub);
        if user.is_empty() || user.chars().count() > 100 || user.contains(char::is_control) {
            return Err(NotOurs);
        }
        let roles = match claims.role {
            Names::None => Vec::new(),
            Names::One(name) => vec![name],
            Names::Many(names) => names,
        };
        let spelled =
            |name: String| if name.eq_ignore_ascii_case(ADMIN) { ADMINISTRATOR.to_owned() } else { name };
        Ok(LegacyIdentity { user, roles: roles.into_iter().map(spelled).collect(), expires_at: claims.exp })
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &[u8] = b"q7RkV2nLx0Zt5WmBc9Ye3HsJd8UfGa1P";

    fn claims() -> Value {
        json!({"nameid": "7", "sub": "ann", "jti": "j", "iat": 1_000, "nbf": 1_000, "exp": 1_900, "session_id": "s",
               "role": "Admin", "iss": ISSUER, "aud": AUDIENCE})
    }

    fn signed(header: &Header, claims: &Value, secret: &[u8]) -> String {
        encode(header, claims, &EncodingKey::from_secret(secret)).unwrap()
    }

    fn read(claims: &Value) -> Result<LegacyIdentity, NotOurs> {
        let (rules, token) = (LegacyRules::new(SECRET), signed(&Header::default(), claims, SECRET));
        assert!(LegacyRules::is_one(&token));
        rules.verify(&token)
    }

    #[test]
    fn a_token_of_the_legacy_system_says_who_it_is() {
        let expected = |user: &str, roles: &[&str]| LegacyIdentity {
            user: user.to_owned(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            expires_at: 1_900,
        };
        assert_eq!(read(&claims()), Ok(expected("7", &["Administrator"])));
        let mut several = claims();
        several["role"] = json!(["User", "admin"]);
        assert_eq!(read(&several), Ok(expected("7", &["User", "Administrator"])));
        let mut plain = claims();
        plain.as_object_mut().unwrap().retain(|name, _| !["role", "nameid"].contains(&name.as_str()));
        assert_eq!(read(&plain), Ok(expected("ann", &[])));
    }

    #[test]
    fn what_is_not_theirs_is_refused() {
        for (name, value) in [
            ("iss", json!("us")),
            ("aud", json!("us")),
            ("exp", json!(1_000 + MAX_LIFETIME_SECONDS + 1)),
            ("session_id", json!("")),
            ("nameid", json!("a\nb")),
        ] {
            let mut foreign = claims();
            foreign[name] = value;
            assert_eq!(read(&foreign), Err(NotOurs), "{name}");
        }
        for name in ["sub", "jti", "iat", "exp", "session_id", "iss", "aud"] {
            let mut part = claims();
            part.as_object_mut().unwrap().remove(name);
            assert_eq!(read(&part), Err(NotOurs), "{name}");
        }
        let rules = LegacyRules::new(SECRET);
        let other = signed(&Header::default(), &claims(), b"another secret of the tests, as long");
        assert_eq!(rules.verify(&other), Err(NotOurs));
    }

    #[test]
    fn ours_and_other_algorithms_are_not_taken_for_theirs() {
        let rules = LegacyRules::new(SECRET);
        let mut ours = Header::new(Algorithm::HS256);
        ours.typ = Some("at+jwt".to_owned());
        let named = Header { kid: Some("x".to_owned()), ..Header::default() };
        for header in [ours, named, Header::new(Algorithm::HS512)] {
            let token = signed(&header, &claims(), SECRET);
            assert!(!LegacyRules::is_one(&token), "{header:?}");
        }
        let strong = signed(&Header::new(Algorithm::HS512), &claims(), SECRET);
        assert_eq!(rules.verify(&strong), Err(NotOurs));
        assert!(!LegacyRules::is_one("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.e30."));
    }
}
