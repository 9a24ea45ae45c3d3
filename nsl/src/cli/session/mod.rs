//! Which service a command speaks to, and as whom.
//!
//! Two files hold tokens, both `session.json` with mode 0600: the one in the user's configuration folder is the
//! saved login of `nsl login`; the one in the data directory of `nsl up` spares each command an Argon2id of the
//! password beside it. A refresh token is good for one use, and a second use ends the session: so a command renews
//! under a lock, and takes what another has renewed in the meantime.

/// A login on disk.
mod folder;

use std::path::PathBuf;

use anyhow::{Context, bail};
use jiff::{SignedDuration, Timestamp};
use nsl_client::{Client, Error, Secret, Tokens};

use self::folder::{Folder, Stored, warn_if_open};
use super::{Globals, output};
use crate::local::{Credentials, Local};

/// Shown by the `--help` of every command that speaks to a service.
pub(crate) const HELP: &str = "\
Which service, and as whom:
  The service: --url (or NSL_URL); else that of a given --data-dir (or NSL_DATA_DIR);
  else that of the saved login (`nsl login`); else that which `nsl up` keeps in ./.nsl;
  else http://localhost:8080.
  The credential: NSL_TOKEN, an access token or API key; else the saved login or the
  administrator that `nsl up` made, whichever is for that very service; where both are,
  the saved login, but after a given --data-dir.
  The saved login lies in ~/.config/nsl/session.json, for its owner only.
  For https with a certificate authority of your own, SSL_CERT_FILE names its file.";

const DEFAULT_URL: &str = "http://localhost:8080";
const CREDENTIALS: &str = "credentials.json";
/// A token that ends within the call would be refused.
const MARGIN: SignedDuration = SignedDuration::from_secs(30);

/// A service that knows who asks.
pub(crate) struct Session {
    client: Client,
    keeper: Keeper,
    /// The end of the token in use: tells it from one that another command has stored since.
    held: Option<Timestamp>,
}

/// Where tokens come from.
enum Keeper {
    /// `NSL_TOKEN`: used as it is.
    Given,
    /// The saved login.
    Saved(Folder),
    /// The administrator of `nsl up`.
    Local(Folder, Credentials),
}

/// Finds the service and a credential for it.
pub(crate) async fn open(globals: &Globals) -> anyhow::Result<Session> {
    let found = Found::look(globals)?;
    let client = Client::new(&found.address())?;
    if let Some(token) = variable("NSL_TOKEN").map(Secret::new) {
        let client = client.with_token(token.expose().trim()).context("NSL_TOKEN holds no token")?;
        return Ok(Session { client, keeper: Keeper::Given, held: None });
    }
    let keeper = found.keeper(client.url())?;
    let mut session = Session { client, keeper, held: None };
    session.authenticate().await?;
    Ok(session)
}

/// The address that a login goes to.
pub(crate) fn address(globals: &Globals) -> anyhow::Result<String> {
    Ok(Found::look(globals)?.address())
}

/// Keeps a login for later commands, and tells until when its access token is good.
pub(crate) fn save_login(url: &str, tokens: Tokens) -> anyhow::Result<Timestamp> {
    let folder = Folder::of_user()?;
    folder.make()?;
    let stored = Stored::new(url, tokens)?;
    let _lock = folder.lock()?;
    folder.store(&stored)?;
    Ok(stored.expires_at)
}

/// Ends the saved login, there and here, and tells where; None when there is none.
pub(crate) async fn forget_login() -> anyhow::Result<Option<String>> {
    let folder = Folder::of_user()?;
    let Some(stored) = folder.load()? else { return Ok(None) };
    let url = stored.url;
    let ended = end(&url, &folder).await;
    folder.remove()?;
    ended.with_context(|| format!("forgotten here; the session at {url} goes on until it expires"))?;
    Ok(Some(url))
}

async fn end(url: &str, folder: &Folder) -> anyhow::Result<()> {
    let client = Client::new(url)?;
    let mut session = Session { client, keeper: Keeper::Saved(folder.clone()), held: None };
    match session.authenticate().await {
        Err(error) if error.downcast_ref::<Error>().and_then(Error::status) == Some(401) => return Ok(()),
        other => other?,
    }
    let Some(stored) = folder.load()? else { return Ok(()) };
    let answer = session.client.logout(&stored.refresh_token).await;
    if refused(&answer) { Ok(()) } else { Ok(answer?) }
}

impl Session {
    /// Asks the service. Where the credential was refused, it is renewed and the request sent once more: a refused
    /// request has done nothing.
    pub(crate) async fn call<T>(
        &mut self,
        request: impl AsyncFn(&Client) -> Result<T, Error>,
    ) -> anyhow::Result<T> {
        let mut answer = request(&self.client).await;
        if refused(&answer) && !matches!(self.keeper, Keeper::Given) {
            self.authenticate().await?;
            answer = request(&self.client).await;
        }
        if refused(&answer) {
            let advice = match self.keeper {
                Keeper::Given => "NSL_TOKEN was refused; set another, or unset it to use the login",
                Keeper::Saved(_) | Keeper::Local(..) => "the login was refused; `nsl login` takes another",
            };
            return answer.context(advice);
        }
        Ok(answer?)
    }

    /// Asks the service what can be sent only once. So a credential that ends meanwhile is renewed before.
    pub(crate) async fn once<T>(
        &mut self,
        request: impl AsyncFnOnce(&Client) -> Result<T, Error>,
    ) -> anyhow::Result<T> {
        if self.held.is_some_and(|end| end <= Timestamp::now() + MARGIN) {
            self.authenticate().await?;
        }
        Ok(request(&self.client).await?)
    }

    /// Takes a stored token that is good, else a new one.
    async fn authenticate(&mut self) -> anyhow::Result<()> {
        let stored = match &self.keeper {
            Keeper::Given => return Ok(()),
            Keeper::Saved(folder) => self.saved(folder).await?,
            Keeper::Local(folder, credentials) => self.local(folder, credentials).await?,
        };
        self.client = self.client.clone().with_token(stored.access_token.expose())?;
        self.held = Some(stored.expires_at);
        Ok(())
    }

    async fn saved(&self, folder: &Folder) -> anyhow::Result<Stored> {
        if let Some(stored) = folder.load()?.filter(|stored| self.can_use(stored)) {
            return Ok(stored);
        }
        let _lock = folder.lock()?;
        let url = self.client.url();
        let Some(stored) = folder.load()?.filter(|stored| stored.url == url) else {
            bail!("the saved login was ended meanwhile; `nsl login --url {url}` logs in again");
        };
        if self.can_use(&stored) {
            return Ok(stored);
        }
        let answer = self.client.refresh(&stored.refresh_token).await;
        let tokens = if refused(&answer) {
            answer.with_context(|| {
                format!("the saved login has ended; `nsl login --url {url}` logs in again")
            })?
        } else {
            answer?
        };
        let stored = Stored::new(url, tokens)?;
        folder.store(&stored)?;
        Ok(stored)
    }

    async fn local(&self, folder: &Folder, credentials: &Credentials) -> anyhow::Result<Stored> {
        // Only a cache: whatever is wrong with it, the password still works.
        let cached = || folder.load().ok().flatten().filter(|stored| stored.url == self.client.url());
        if let Some(stored) = cached().filter(|stored| self.can_use(stored)) {
            return Ok(stored);
        }
        let lock = folder.lock().ok();
        // A refresh token that cannot be replaced where it lies is not to be used up.
        if lock.is_some()
            && let Some(stored) = cached()
        {
            if self.can_use(&stored) {
                return Ok(stored);
            }
            match self.client.refresh(&stored.refresh_token).await {
                Ok(tokens) => return self.cache(folder, tokens),
                Err(error) if error.status() == Some(401) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let login = self.client.login(&credentials.username, &credentials.password, None).await;
        let tokens = login.with_context(|| {
            format!(
                "cannot log in with {}; `nsl login` takes another name",
                folder.0.join(CREDENTIALS).display()
            )
        })?;
        self.cache(folder, tokens)
    }

    fn cache(&self, folder: &Folder, tokens: Tokens) -> anyhow::Result<Stored> {
        let stored = Stored::new(self.client.url(), tokens)?;
        if let Err(error) = folder.store(&stored) {
            tracing::debug!(cause = format!("{error:#}"), "the session is not cached");
        }
        Ok(stored)
    }

    fn can_use(&self, stored: &Stored) -> bool {
        stored.url == self.client.url()
            && stored.expires_at > Timestamp::now() + MARGIN
            && Some(stored.expires_at) != self.held
    }
}

fn refused<T>(answer: &Result<T, Error>) -> bool {
    answer.as_ref().is_err_and(|error| error.status() == Some(401))
}

/// What the flags, the variables and the files name.
struct Found {
    url: Option<String>,
    saved: Option<Stored>,
    local: Option<Credentials>,
    /// Given as a flag, and so before the saved login.
    data_dir_given: bool,
    data_dir: PathBuf,
}

impl Found {
    fn look(globals: &Globals) -> anyhow::Result<Self> {
        let url = globals.url.clone().or_else(|| variable("NSL_URL"));
        let folder = Local::of(globals.data_dir.as_deref());
        let data_dir = folder.dir().to_path_buf();
        let data_dir_given = globals.data_dir.is_some();
        let local = match folder.credentials() {
            // Without a name of its own, the folder of another user is no reason to fail.
            Err(_) if !data_dir_given => None,
            read => read?,
        };
        if local.is_some() {
            warn_if_open(&data_dir.join(CREDENTIALS));
        }
        if data_dir_given && local.is_none() && url.is_none() {
            let dir = data_dir.display();
            bail!(
                "{dir} holds no credentials.json; `nsl up --data-dir {dir}` makes it, --url names a service elsewhere"
            );
        }
        let saved = match Folder::of_user() {
            Ok(folder) => folder.load()?,
            // No home, no saved login.
            Err(_) => None,
        };
        Ok(Self { url, saved, local, data_dir_given, data_dir })
    }

    fn address(&self) -> String {
        let saved = self.saved.as_ref().map(|stored| stored.url.as_str());
        let local = self.local.as_ref().map(|credentials| credentials.url.as_str());
        let (first, second) = if self.data_dir_given { (local, saved) } else { (saved, local) };
        self.url.as_deref().or(first).or(second).unwrap_or(DEFAULT_URL).to_owned()
    }

    fn keeper(self, url: &str) -> anyhow::Result<Keeper> {
        let known: Vec<String> = [
            self.saved.as_ref().map(|stored| stored.url.clone()),
            self.local.as_ref().map(|credentials| credentials.url.clone()),
        ]
        .into_iter()
        .flatten()
        .collect();
        let saved = self.saved.is_some_and(|stored| stored.url == url);
        let elsewhere = self.local.as_ref().is_some_and(|credentials| !is_for(credentials, url));
        let local = self.local.filter(|credentials| is_for(credentials, url));
        match local {
            Some(credentials) if self.data_dir_given || !saved => {
                Ok(Keeper::Local(Folder(self.data_dir), credentials))
            }
            _ if saved => {
                if elsewhere && self.url.is_none() {
                    let dir = self.data_dir.display();
                    output::note(&format!(
                        "note: with the saved login at {url}; --data-dir {dir} works with the service of this folder"
                    ));
                }
                Ok(Keeper::Saved(Folder::of_user()?))
            }
            _ if known.is_empty() => {
                bail!(
                    "nobody is logged in at {url}; `nsl login --url {url}` logs in, `nsl up` starts a service here"
                )
            }
            _ => bail!(
                "nobody is logged in at {url}, only at {}; `nsl login --url {url}` logs in",
                known.join(" and ")
            ),
        }
    }
}

fn is_for(credentials: &Credentials, url: &str) -> bool {
    credentials.url.trim_end_matches('/') == url
}

/// A variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(url: &str) -> Stored {
        Stored {
            url: url.to_owned(),
            refresh_token: Secret::new("r".to_owned()),
            access_token: Secret::new("a".to_owned()),
            expires_at: Timestamp::now(),
        }
    }

    fn found(url: Option<&str>, saved: Option<&str>, local: Option<&str>, data_dir_given: bool) -> Found {
        Found {
            url: url.map(str::to_owned),
            saved: saved.map(stored),
            local: local.map(|url| Credentials {
                url: url.to_owned(),
                username: "admin".to_owned(),
                password: "p".to_owned(),
            }),
            data_dir_given,
            data_dir: PathBuf::from(".nsl"),
        }
    }

    #[test]
    fn the_nearest_name_of_a_service_wins() {
        let (u, s, l) = (Some("http://u"), Some("http://s"), Some("http://l"));
        for (found, address) in [
            (found(u, s, l, true), "http://u"),
            (found(None, s, l, true), "http://l"),
            (found(None, s, l, false), "http://s"),
            (found(None, None, l, false), "http://l"),
            (found(None, None, None, false), DEFAULT_URL),
        ] {
            assert_eq!(found.address(), address);
        }
    }

    #[test]
    fn a_credential_goes_only_to_its_own_service() {
        let (s, l) = (Some("http://s"), Some("http://l/"));
        assert!(matches!(found(None, s, l, false).keeper("http://s"), Ok(Keeper::Saved(_))));
        assert!(matches!(found(None, s, l, false).keeper("http://l"), Ok(Keeper::Local(..))));
        assert!(matches!(found(None, s, s, false).keeper("http://s"), Ok(Keeper::Saved(_))));
        assert!(matches!(found(None, s, s, true).keeper("http://s"), Ok(Keeper::Local(..))));
        let Err(error) = found(None, s, l, false).keeper("http://elsewhere") else { panic!("taken") };
        assert!(error.to_string().contains("http://s and http://l/"), "{error}");
        assert!(found(None, None, None, false).keeper(DEFAULT_URL).is_err());
    }

    #[test]
    fn a_token_at_its_end_or_refused_is_not_used() {
        let client = Client::new("http://s").unwrap();
        let mut session = Session { client, keeper: Keeper::Given, held: None };
        let lasting = |url, seconds| Stored {
            expires_at: Timestamp::now() + SignedDuration::from_secs(seconds),
            ..stored(url)
        };
        assert!(session.can_use(&lasting("http://s", 60)));
        assert!(!session.can_use(&lasting("http://s", 29)));
        assert!(!session.can_use(&lasting("http://other", 60)));
        let refused = lasting("http://s", 60);
        session.held = Some(refused.expires_at);
        assert!(!session.can_use(&refused));
    }
}
