//! Lends a credential for the length of the work, and returns it afterwards.
//!
//! Its fixed name makes it a lock as well. AMG refuses a second one of that name, so two runs at the
//! same time take turns. One that a killed run left behind is found by name, and replaced once its
//! token has expired.

use std::future::Future;
use std::time::Duration;

use aws_sdk_grafana::Client;
use backon::Retryable;
use secrecy::SecretString;
use startup::{Deadline, Interrupted};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::service_account::{Credentials, NAME};
use crate::aws_call::{CallError, CallErrorKind};
use crate::error::SetupError;
use crate::schedule::{return_end, work_end};
use crate::workspace::Workspace;

/// The first Grafana with service accounts; before it there are API keys:
/// <https://docs.aws.amazon.com/grafana/latest/userguide/service-accounts.html>
const FIRST_WITH_SERVICE_ACCOUNTS: u32 = 9;

/// The longest time that a credential is valid, and so the longest time that a killed run delays the
/// next one. The work takes a second; the rest is for a Grafana or a role that is not ready yet.
const MAX_LIFE: Duration = Duration::from_secs(180);

/// How long another run may take from its service account to the token. An account that is still
/// without a token then was left by a killed run.
const TIME_TO_MAKE_A_TOKEN: Duration = Duration::from_secs(10);

/// Pause between two looks at a credential that another run holds.
const PAUSE: Duration = Duration::from_secs(1);

/// What must be returned. It is noted before each call that creates something, and so covers a call
/// whose answer never came.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    Nothing,
    /// A service account may exist.
    PerhapsAccount,
    /// A service account exists. `token` is the id of its token, if that is known.
    Account {
        id: String,
        token: Option<String>,
    },
    /// An API key may exist. Its name is enough to delete it.
    ApiKey,
}

/// Lends an administrator's token to `work`, with the time until which it is valid. Returns the
/// credential however `work` ends: also by an error, a panic, or because its time is over.
///
/// # Errors
/// Those of `work`, or why there was no credential. A credential that could not be returned is only
/// logged: it expires by itself, and the next run removes what is left.
pub async fn with_credential<T, W>(
    client: &Client,
    workspace: &Workspace,
    deadline: &Deadline,
    work: impl FnOnce(SecretString, Instant) -> W,
) -> Result<T, SetupError>
where
    W: Future<Output = Result<T, SetupError>>,
{
    let credentials = Credentials {
        client,
        workspace: &workspace.id,
    };
    let lender = Lender {
        credentials,
        deadline,
        held: Mutex::new(Held::Nothing),
    };
    let has_service_accounts = workspace.version.major() >= FIRST_WITH_SERVICE_ACCOUNTS;
    let lending = deadline.guard(work_end(deadline), lender.lend(has_service_accounts));
    let outcome = match flat(lending.await) {
        Ok((token, end)) => flat(deadline.guard(end, work(token, end)).await),
        Err(error) => Err(error),
    };
    let returning = deadline.guard(return_end(deadline), lender.take_back());
    if let Err(error) = flat(returning.await) {
        let workspace = &workspace.id;
        tracing::error!("credential {NAME:?} is left in workspace {workspace}: {error}");
    }
    outcome
}

/// One error type for work that failed and work that was interrupted.
fn flat<T, E: Into<SetupError>>(
    guarded: Result<Result<T, E>, Interrupted>,
) -> Result<T, SetupError> {
    guarded?.map_err(Into::into)
}

struct Lender<'a> {
    credentials: Credentials<'a>,
    deadline: &'a Deadline,
    held: Mutex<Held>,
}

/// What has been seen of another run's service account.
#[derive(Default)]
struct Watch {
    without_token: Option<(String, Instant)>,
}

impl Lender<'_> {
    /// Returns a token, and the time after which it must not be used.
    async fn lend(&self, has_service_accounts: bool) -> Result<(SecretString, Instant), CallError> {
        if has_service_accounts {
            self.lend_service_account().await
        } else {
            self.lend_api_key().await
        }
    }

    async fn lend_service_account(&self) -> Result<(SecretString, Instant), CallError> {
        let mut watch = Watch::default();
        loop {
            self.deadline
                .doing(format!("creating service account {NAME:?}"));
            self.hold(Held::PerhapsAccount).await;
            match self.credentials.create_account().await {
                Ok(id) => match self.lend_token(id).await {
                    // Another run has removed the account as a left-over.
                    Err(error) if error.kind == CallErrorKind::NotFound => {}
                    other => return other,
                },
                Err(error) if error.kind == CallErrorKind::Conflict => {
                    self.hold(Held::Nothing).await;
                    let message = error.message;
                    self.deadline
                        .doing(format!("creating service account {NAME:?} ({message})"));
                    self.wait_for_other_run(&mut watch).await?;
                }
                Err(error) => return Err(self.nothing_made(error).await),
            }
        }
    }

    async fn lend_token(&self, id: String) -> Result<(SecretString, Instant), CallError> {
        self.deadline
            .doing(format!("creating a token of service account {NAME:?}"));
        self.hold(Held::Account {
            id: id.clone(),
            token: None,
        })
        .await;
        let (seconds, end) = self.life();
        let token = self.credentials.create_token(&id, seconds).await?;
        self.hold(Held::Account {
            id,
            token: Some(token.id),
        })
        .await;
        tracing::info!("made service account {NAME:?} with a token good for {seconds} s");
        Ok((token.key, end))
    }

    /// Pauses for the run that holds the service account, or removes the account if that run can no
    /// longer be alive.
    async fn wait_for_other_run(&self, watch: &mut Watch) -> Result<(), CallError> {
        let Some(account) = self.credentials.find_account().await? else {
            sleep(PAUSE).await;
            return Ok(());
        };
        let expiry = match self.credentials.expiry(&account).await {
            Err(error) if error.kind == CallErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let is_left_over = match expiry {
            Some(expiry) => {
                let left = expiry
                    .duration_since(self.deadline.now())
                    .unwrap_or_default();
                self.deadline.doing(format!(
                    "waiting for another run, whose service account {NAME:?} is good for {} s more",
                    left.as_secs()
                ));
                left.is_zero()
            }
            None => watch.time_without_token(&account) >= TIME_TO_MAKE_A_TOKEN,
        };
        if is_left_over {
            self.credentials.delete_account(&account).await?;
            tracing::info!("removed service account {NAME:?}, left by a run that was killed");
        } else {
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// AMG cannot list API keys, so their expiry is unknown. One that is in the way is deleted by name
    /// after the longest time that a key is valid.
    async fn lend_api_key(&self) -> Result<(SecretString, Instant), CallError> {
        let mut in_the_way_since = None;
        loop {
            self.deadline.doing(format!("creating API key {NAME:?}"));
            self.hold(Held::ApiKey).await;
            let (seconds, end) = self.life();
            match self.credentials.create_api_key(seconds).await {
                Ok(key) => {
                    tracing::info!("made API key {NAME:?}, good for {seconds} s");
                    return Ok((key, end));
                }
                Err(error) if error.kind == CallErrorKind::Conflict => {
                    self.hold(Held::Nothing).await;
                    self.deadline
                        .doing(format!("waiting for another run with API key {NAME:?}"));
                    let since = *in_the_way_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= MAX_LIFE {
                        self.credentials.delete_api_key().await?;
                    }
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(self.nothing_made(error).await),
            }
        }
    }

    /// Notes that AMG created nothing, unless it may have failed after creating it.
    async fn nothing_made(&self, error: CallError) -> CallError {
        if error.kind != CallErrorKind::ManagedGrafanaUnavailable {
            self.hold(Held::Nothing).await;
        }
        error
    }

    /// How many seconds a credential made now is valid, and when to stop using it.
    fn life(&self) -> (i32, Instant) {
        let now = Instant::now();
        let end = work_end(self.deadline).min(now + MAX_LIFE);
        let life = end.saturating_duration_since(now).as_secs_f64().ceil();
        (life.max(1.0) as i32, end)
    }

    async fn take_back(&self) -> Result<(), CallError> {
        let held = self.held.lock().await.clone();
        self.deadline.doing("taking the credential back");
        match held {
            Held::Nothing => return Ok(()),
            Held::PerhapsAccount => self.delete_account_without_token().await?,
            Held::Account { id, token } => self.delete_account(&id, token.as_deref()).await?,
            Held::ApiKey => patiently(|| self.credentials.delete_api_key()).await?,
        }
        tracing::info!("took the credential back");
        Ok(())
    }

    /// Deletes the account, which deletes its tokens. If that is refused, deletes the token at least.
    async fn delete_account(&self, id: &str, token: Option<&str>) -> Result<(), CallError> {
        let deleted = patiently(|| self.credentials.delete_account(id)).await;
        if let (Err(_), Some(token)) = (&deleted, token) {
            patiently(|| self.credentials.delete_token(id, token)).await?;
        }
        deleted
    }

    /// Deletes an account whose creation was never answered. An account with a token belongs to
    /// another run.
    async fn delete_account_without_token(&self) -> Result<(), CallError> {
        let Some(account) = patiently(|| self.credentials.find_account()).await? else {
            return Ok(());
        };
        if patiently(|| self.credentials.expiry(&account))
            .await?
            .is_none()
        {
            patiently(|| self.credentials.delete_account(&account)).await?;
        }
        Ok(())
    }

    async fn hold(&self, held: Held) {
        *self.held.lock().await = held;
    }
}

impl Watch {
    /// How long this account has been seen without a token.
    fn time_without_token(&mut self, account: &str) -> Duration {
        let seen = self.without_token.take().filter(|(id, _)| id == account);
        let (_, since) = self
            .without_token
            .insert(seen.unwrap_or_else(|| (account.to_owned(), Instant::now())));
        since.elapsed()
    }
}

/// Repeats a call beyond the SDK's own retries, until the caller's time is over.
async fn patiently<T, F>(call: impl FnMut() -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let pauses = startup::backoff(Duration::from_millis(200), Duration::from_secs(2));
    call.retry(pauses).when(CallError::is_transient).await
}
