//! Password hashing on a bounded pool. Each hash takes 19 MiB and some 20 ms of a core: as many run as there are
//! cores, some wait, and the rest is refused, so that a flood of logins takes neither all memory nor the time of those
//! who are logged in already.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;

use nsl_core::config::Secret;
use nsl_crypto::password::{self, MAX_PASSWORD_LEN, Memory, PasswordError};
use nsl_crypto::token::random_token;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_blocking;

use crate::domain::legacy_hash::{LegacyHash, Work};
use crate::error::Error;

/// How many wait for a core. At 20 ms each on two cores the last of them waits 0.6 s.
const WAITING: usize = 64;

/// What a comparison found.
pub(super) struct Checked {
    pub(super) matches: bool,
    /// The hash to store in place of one of an older form.
    pub(super) renewed: Option<String>,
}

fn compare(
    memory: &mut Memory,
    stored: Option<&str>,
    decoy: &str,
    password: &[u8],
    work: Work,
) -> crate::Result<Checked> {
    let legacy = stored.and_then(LegacyHash::parse);
    let argon2 = stored.filter(|_| legacy.is_none());
    let verdict = password::verify_in(memory, argon2.unwrap_or(decoy), password);
    // Nobody's password is longer, and bcrypt reads no more than 72 bytes of it.
    let is_short = password.len() <= MAX_PASSWORD_LEN;
    let legacy_matches = is_short && work.matches(legacy.as_ref(), password);
    let matches = match verdict {
        _ if legacy.is_some() => legacy_matches,
        Ok(matches) => matches && stored.is_some(),
        Err(error) => {
            // To a stranger this user has a wrong password; the operator has to set a new one.
            tracing::error!(%error, "a stored password hash cannot be used");
            false
        }
    };
    let is_outdated = matches && stored.is_some_and(password::needs_rehash);
    Ok(Checked { matches, renewed: is_outdated.then(|| password::hash_in(memory, password)).transpose()? })
}

/// The pool.
pub(super) struct Passwords {
    /// Places in the pool: running or waiting.
    line: Arc<Semaphore>,
    /// Places at work.
    cores: Arc<Semaphore>,
    /// Of each place at work. The last one used is the next, since it is in the cache.
    memories: Arc<Mutex<Vec<Memory>>>,
    /// Compared with where there is no hash, so that an unknown user takes as long as a known one.
    decoy: Arc<str>,
}

impl Passwords {
    pub(super) fn start() -> Result<Self, PasswordError> {
        let cores = available_parallelism().map_or(1, usize::from);
        Ok(Self {
            line: Arc::new(Semaphore::new(cores + WAITING)),
            cores: Arc::new(Semaphore::new(cores)),
            memories: Arc::default(),
            decoy: password::hash(random_token("").expose().as_bytes())?.into(),
        })
    }

    /// Whether the password belongs to the stored hash; without one, it does not, after the same work: that of
    /// Argon2id, and of every legacy form that is still there.
    pub(super) async fn check(
        &self,
        stored: Option<&str>,
        given: Secret,
        legacy: Work,
    ) -> crate::Result<Checked> {
        let stored = stored.map(str::to_owned);
        let decoy = Arc::clone(&self.decoy);
        self.run(move |memory| compare(memory, stored.as_deref(), &decoy, given.expose().as_bytes(), legacy))
            .await?
    }

    /// The hash to store.
    pub(super) async fn hash(&self, given: Secret) -> crate::Result<String> {
        Ok(self.run(move |memory| password::hash_in(memory, given.expose().as_bytes())).await??)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> crate::Result<T> {
        let place = Arc::clone(&self.line).try_acquire_owned().map_err(|_| Error::Busy)?;
        let core = Arc::clone(&self.cores).acquire_owned().await.map_err(Error::internal)?;
        let (answer, done) = oneshot::channel();
        let (line, memories) = (Arc::clone(&self.line), Arc::clone(&self.memories));
        // The places go along: a caller who leaves does not stop the hashing, and must not free its place either.
        drop(spawn_blocking(move || {
            let free = || memories.lock().unwrap_or_else(PoisonError::into_inner);
            let mut memory = free().pop().unwrap_or_default();
            // A caller who left wants no answer.
            let _ = answer.send(work(&mut memory));
            // Where someone waits, the next hash overwrites it at once.
            if line.available_permits() >= WAITING {
                memory.wipe();
            }
            free().push(memory);
            drop((core, place));
        }));
        done.await.map_err(Error::internal)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let passwords = Passwords::start().unwrap();
        let hash = passwords.hash(secret("correct horse battery")).await.unwrap();
        let check = async |stored: Option<&str>, given: &str, legacy: Work| {
            let checked = passwords.check(stored, secret(given), legacy).await.unwrap();
            (checked.matches, checked.renewed)
        };
        for legacy in [Work::default(), Work { pbkdf2: true, bcrypt_cost: 4 }] {
            assert_eq!(check(Some(&hash), "correct horse battery", legacy).await, (true, None));
            assert_eq!(check(Some(&hash), "Correct horse battery", legacy).await, (false, None));
            assert_eq!(check(None, "correct horse battery", legacy).await, (false, None));
            assert_eq!(check(Some("no hash"), "correct horse battery", legacy).await, (false, None));
        }
        let longer = "x".repeat(password::MAX_PASSWORD_LEN + 1);
        assert!(matches!(passwords.hash(secret(&longer)).await, Err(Error::Invalid(_))));
    }

    #[tokio::test]
    async fn a_full_line_is_refused_and_a_caller_who_leaves_keeps_the_place_until_the_work_is_done() {
        let passwords = Passwords {
            line: Arc::new(Semaphore::new(1)),
            cores: Arc::new(Semaphore::new(1)),
            memories: Arc::default(),
            decoy: "".into(),
        };
        let (finish, wait) = mpsc::channel::<()>();
        let (started, running) = tokio::sync::oneshot::channel();
        let work = passwords.run(move |_| {
            started.send(()).unwrap();
            wait.recv().unwrap();
        });
        tokio::select! {
            _ = work => panic!("it waits for `finish`"),
            started = running => started.unwrap(),
        }
        // The first caller is gone by now.
        assert!(matches!(passwords.run(|_| ()).await, Err(Error::Busy)));
        finish.send(()).unwrap();
        let place = passwords.line.acquire().await.unwrap();
        drop(place);
        assert!(passwords.run(|_| ()).await.is_ok());
    }
}
