//! Password hashes: Argon2id (RFC 9106) as PHC strings. Rules for passwords, and how many logins may hash at
//! once (each takes 19 MiB), belong to the caller.

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, Version};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::digest::constant_time_eq;
use crate::random;

/// The parameters of the OWASP Password Storage Cheat Sheet: 19 MiB, two passes, one lane; 32 bytes of
/// output.
const PARAMS: Params = match Params::new(19_456, 2, 1, Some(32)) {
    Ok(params) => params,
    Err(_) => panic!("Argon2 knows these parameters"),
};
/// RFC 9106, section 3.1: 16 bytes are recommended for password hashing.
const SALT_LEN: usize = 16;
const HASH_LEN: usize = 32;
/// The longest output that a PHC string holds.
const MAX_HASH_LEN: usize = Output::MAX_LENGTH;

/// Longer passwords are refused: nobody types them, and hashing megabytes is a way to stop a server.
pub const MAX_PASSWORD_LEN: usize = 1024;

/// The bounds for stored parameters. A string from an import or a changed row must not take all memory or
/// minutes.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_PASSES: u32 = 16;

/// A password or a stored hash cannot be used. Neither is ever in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PasswordError {
    /// The password is longer than [`MAX_PASSWORD_LEN`].
    #[error("the password has more than 1024 bytes; choose a shorter one")]
    TooLong,
    /// The stored hash is no PHC string with salt and hash.
    #[error("the stored password hash is not a whole PHC string; set a new password for this user")]
    Malformed,
    /// The stored hash is of another kind.
    #[error("the stored password hash is not of Argon2id version 19; set a new password for this user")]
    Unsupported,
    /// The stored parameters are out of bounds.
    #[error(
        "the stored password hash asks for more than 256 MiB or 16 passes, or for impossible parameters; \
         set a new password for this user"
    )]
    Parameters,
}

/// The 19 MiB that a hash is computed in, kept from one to the next: new ones are cleared by the allocator and cold in
/// the processor's cache, which cost a fifth of the hash (measured).
///
/// They hold what a password can be guessed by quickly. [`wipe`](Self::wipe) them, unless the next hash follows at once
/// and overwrites them; dropping them wipes them too.
#[derive(Default)]
pub struct Memory(Vec<Block>);

impl Memory {
    /// Enough of it for the parameters.
    fn of(&mut self, params: &Params) -> &mut [Block] {
        let blocks = params.block_count();
        if self.0.len() < blocks {
            self.wipe();
            self.0.resize(blocks, Block::default());
        }
        &mut self.0[..blocks]
    }

    pub fn wipe(&mut self) {
        self.0.iter_mut().for_each(Block::zeroize);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// Hashes a password with a random salt.
pub fn hash(password: &[u8]) -> Result<String, PasswordError> {
    hash_in(&mut Memory::default(), password)
}

/// The same, in memory that is there.
pub fn hash_in(memory: &mut Memory, password: &[u8]) -> Result<String, PasswordError> {
    if password.len() > MAX_PASSWORD_LEN {
        return Err(PasswordError::TooLong);
    }
    let salt = random::bytes::<SALT_LEN>();
    let mut out = [0; HASH_LEN];
    compute(memory, &PARAMS, password, &salt, &mut out)?;
    // The parameters are our own and the lengths are constants: nothing is left to fail.
    let refuse = |_| PasswordError::Parameters;
    let whole = PasswordHash {
        algorithm: ARGON2ID_IDENT,
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(&PARAMS).map_err(refuse)?,
        salt: Some(Salt::new(&salt).map_err(|_| PasswordError::Parameters)?),
        hash: Some(Output::new(&out).map_err(|_| PasswordError::Parameters)?),
    };
    Ok(whole.to_string())
}

/// Whether `password` belongs to the stored hash, by the parameters that stand in it. The comparison takes
/// constant time.
pub fn verify(phc: &str, password: &[u8]) -> Result<bool, PasswordError> {
    verify_in(&mut Memory::default(), phc, password)
}

/// The same, in memory that is there. A hash of other parameters may need more; that much is not kept.
pub fn verify_in(memory: &mut Memory, phc: &str, password: &[u8]) -> Result<bool, PasswordError> {
    let (stored, params) = parse(phc)?;
    let (Some(salt), Some(expected)) = (&stored.salt, &stored.hash) else {
        return Err(PasswordError::Malformed);
    };
    if password.len() > MAX_PASSWORD_LEN {
        return Ok(false);
    }
    let mut larger = Memory::default();
    let memory = if params.block_count() > PARAMS.block_count() { &mut larger } else { memory };
    let mut out = Zeroizing::new([0; MAX_HASH_LEN]);
    let out = out.get_mut(..expected.len()).ok_or(PasswordError::Malformed)?;
    compute(memory, &params, password, salt, out)?;
    Ok(constant_time_eq(out, expected.as_bytes()))
}

fn compute(
    memory: &mut Memory,
    params: &Params,
    password: &[u8],
    salt: &[u8],
    out: &mut [u8],
) -> Result<(), PasswordError> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
        .hash_password_into_with_memory(password, salt, out, memory.of(params))
        .map_err(|_| PasswordError::Parameters)
}

/// Whether the stored hash is of other parameters than today's (or unusable): after a right login, store a
/// new one.
pub fn needs_rehash(phc: &str) -> bool {
    match parse(phc) {
        Ok((stored, params)) => params != PARAMS || stored.salt.is_none_or(|salt| salt.len() < SALT_LEN),
        Err(_) => true,
    }
}

/// Reads a PHC string and refuses what must not be computed.
fn parse(phc: &str) -> Result<(PasswordHash, Params), PasswordError> {
    let stored = PasswordHash::new(phc).map_err(|_| PasswordError::Malformed)?;
    if stored.algorithm != ARGON2ID_IDENT || stored.version != Some(Version::V0x13.into()) {
        return Err(PasswordError::Unsupported);
    }
    if stored.salt.is_none() || stored.hash.is_none() {
        return Err(PasswordError::Malformed);
    }
    let params = Params::try_from(&stored).map_err(|_| PasswordError::Parameters)?;
    if params.m_cost() > MAX_MEMORY_KIB || params.t_cost() > MAX_PASSES {
        return Err(PasswordError::Parameters);
    }
    Ok((stored, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By Python's `cryptography` 48 (OpenSSL's Argon2), password "correct horse": today's parameters, and
    /// others.
    const CURRENT: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$0AuQxA+RjPiJeA19Op7DwrFxnfh9xeTU2T6mFj2wThc";
    const OTHER: &str =
        "$argon2id$v=19$m=64,t=3,p=2$AAECAwQFBgcICQoLDA0ODw$IK/S7alx11UTA4rTcwcN0shTFfPE1Y8vREYyz6XECvE";

    #[test]
    fn hashes_of_another_implementation() {
        for phc in [CURRENT, OTHER] {
            assert_eq!(verify(phc, b"correct horse"), Ok(true));
            assert_eq!(verify(phc, b"correct house"), Ok(false));
            assert_eq!(verify(phc, b""), Ok(false));
        }
        assert!(!needs_rehash(CURRENT));
        assert!(needs_rehash(OTHER));
    }

    /// What an earlier hash left behind changes nothing, whatever its parameters were.
    #[test]
    fn memory_is_used_again() {
        let mut memory = Memory::default();
        for _ in 0..2 {
            for phc in [CURRENT, OTHER] {
                assert_eq!(verify_in(&mut memory, phc, b"correct horse"), Ok(true));
                assert_eq!(verify_in(&mut memory, phc, b"correct house"), Ok(false));
            }
            let made = hash_in(&mut memory, b"another horse").unwrap();
            assert_eq!(verify(&made, b"another horse"), Ok(true));
            assert!(!needs_rehash(&made));
        }
        assert!(memory.0.iter().any(|block| block.as_ref().iter().any(|word| *word != 0)));
        memory.wipe();
        assert!(memory.0.iter().all(|block| block.as_ref().iter().all(|word| *word == 0)));
    }

    #[test]
    fn a_hash_verifies_and_is_salted() {
        let (a, b) = (hash(b"correct horse").unwrap(), hash(b"correct horse").unwrap());
        assert!(a.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{a}");
        assert_ne!(a, b);
        assert_eq!(verify(&a, b"correct horse"), Ok(true));
        assert_eq!(verify(&a, b"Correct horse"), Ok(false));
        assert!(!needs_rehash(&a));
    }

    #[test]
    fn long_passwords() {
        let longest = [b'x'; MAX_PASSWORD_LEN];
        assert_eq!(verify(&hash(&longest).unwrap(), &longest), Ok(true));
        let longer = [b'x'; MAX_PASSWORD_LEN + 1];
        assert_eq!(hash(&longer), Err(PasswordError::TooLong));
        assert_eq!(verify(CURRENT, &longer), Ok(false));
    }

    #[test]
    fn stored_strings_that_are_refused() {
        let with = |from: &str, to: &str| CURRENT.replace(from, to);
        let (without_hash, _) = CURRENT.rsplit_once('$').unwrap();
        for (phc, expected) in [
            (String::new(), PasswordError::Malformed),
            ("secret".to_owned(), PasswordError::Malformed),
            (without_hash.to_owned(), PasswordError::Malformed),
            (with("$0AuQ", "$0Au!"), PasswordError::Malformed),
            (with("argon2id", "argon2i"), PasswordError::Unsupported),
            (with("argon2id", "scrypt"), PasswordError::Unsupported),
            (with("v=19", "v=16"), PasswordError::Unsupported),
            (with("$v=19", ""), PasswordError::Unsupported),
            (with("m=19456", "m=262145"), PasswordError::Parameters),
            (with("m=19456", "m=4294967295"), PasswordError::Parameters),
            (with("t=2", "t=17"), PasswordError::Parameters),
            (with("t=2", "t=0"), PasswordError::Parameters),
            (with("m=19456", "m=7"), PasswordError::Parameters),
            (with("p=1", "p=1,z=1"), PasswordError::Parameters),
        ] {
            assert_eq!(verify(&phc, b"correct horse"), Err(expected), "{phc}");
            assert!(needs_rehash(&phc), "{phc}");
        }
    }

    /// The bounds themselves are allowed: the passes are counted, the answer is that the password is another
    /// one's.
    #[test]
    fn the_bounds_are_inclusive() {
        assert_eq!(verify(&OTHER.replace("t=3", "t=16"), b"correct horse"), Ok(false));
        assert_eq!(
            verify(&OTHER.replace("m=64", "m=262144").replace("t=3", "t=1"), b"correct horse"),
            Ok(false)
        );
    }

    #[test]
    fn a_short_salt_is_renewed() {
        let short = CURRENT.replace("$AAECAwQFBgcICQoLDA0ODw$", "$AAECAwQFBgc$");
        assert!(needs_rehash(&short));
        assert_eq!(verify(&short, b"correct horse"), Ok(false));
    }
}
