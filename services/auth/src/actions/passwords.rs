//! Password hashing on a bounded pool. Each hash takes 19 MiB and some 20 ms of a core: as many run as there are
//! cores, some wait, and the rest is refused, so that a flood of logins takes neither all memory nor the time of those
//! who are logged in already.

use std::sync::Arc;
use std::thread::available_parallelism;

use nsl_core::config::Secret;
use nsl_crypto::password::{self, PasswordError};
use nsl_crypto::token::random_token;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::error::Error;

/// How many wait for a core. At 20 ms each on two cores the last of them waits 0.6 s.
const WAITING: usize = 64;

/// The pool.
pub(super) struct Passwords {
    /// Places in the pool: running or waiting.
    line: Arc<Semaphore>,
    /// Places at work.
    cores: Arc<Semaphore>,
    /// Compared with where there is no hash, so that an unknown user takes as long as a known one.
    dummy: Arc<str>,
}

impl Passwords {
    pub(super) fn start() -> Result<Self, PasswordError> {
        let cores = available_parallelism().map_or(1, usize::from);
        Ok(Self {
            line: Arc::new(Semaphore::new(cores + WAITING)),
            cores: Arc::new(Semaphore::new(cores)),
            dummy: password::hash(random_token("").expose().as_bytes())?.into(),
        })
    }

    /// Whether the password belongs to the stored hash; without one, false after the same work.
    pub(super) async fn matches(&self, stored: Option<&str>, given: Secret) -> crate::Result<bool> {
        let is_known = stored.is_some();
        let stored: Arc<str> = stored.map_or_else(|| Arc::clone(&self.dummy), Arc::from);
        let verdict = self.run(move || password::verify(&stored, given.expose().as_bytes())).await?;
        match verdict {
            Ok(matches) => Ok(matches && is_known),
            Err(error) => {
                // To a stranger this user has a wrong password; the operator has to set a new one.
                tracing::error!(%error, "a stored password hash cannot be used");
                Ok(false)
            }
        }
    }

    /// The hash to store.
    pub(super) async fn hash(&self, given: Secret) -> crate::Result<String> {
        Ok(self.run(move || password::hash(given.expose().as_bytes())).await??)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> crate::Result<T> {
        let place = Arc::clone(&self.line).try_acquire_owned().map_err(|_| Error::Busy)?;
        let core = Arc::clone(&self.cores).acquire_owned().await.map_err(Error::internal)?;
        // The places go along: a caller who leaves does not stop the hashing, and must not free its place either.
        let done = spawn_blocking(move || {
            let result = work();
            drop((core, place));
            result
        });
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
        assert!(passwords.matches(Some(&hash), secret("correct horse battery")).await.unwrap());
        assert!(!passwords.matches(Some(&hash), secret("Correct horse battery")).await.unwrap());
        assert!(!passwords.matches(None, secret("correct horse battery")).await.unwrap());
        assert!(!passwords.matches(Some("no hash"), secret("correct horse battery")).await.unwrap());
        let longer = "x".repeat(password::MAX_PASSWORD_LEN + 1);
        assert!(matches!(passwords.hash(secret(&longer)).await, Err(Error::Invalid(_))));
    }

    #[tokio::test]
    async fn a_full_line_is_refused_and_a_caller_who_leaves_keeps_the_place_until_the_work_is_done() {
        let passwords = Passwords {
            line: Arc::new(Semaphore::new(1)),
            cores: Arc::new(Semaphore::new(1)),
            dummy: "".into(),
        };
        let (finish, wait) = mpsc::channel::<()>();
        let (started, running) = tokio::sync::oneshot::channel();
        let work = passwords.run(move || {
            started.send(()).unwrap();
            wait.recv().unwrap();
        });
        tokio::select! {
            _ = work => panic!("it waits for `finish`"),
            started = running => started.unwrap(),
        }
        // The first caller is gone by now.
        assert!(matches!(passwords.run(|| ()).await, Err(Error::Busy)));
        finish.send(()).unwrap();
        let place = passwords.line.acquire().await.unwrap();
        drop(place);
        assert!(passwords.run(|| ()).await.is_ok());
    }
}
