//! A short-lived administrator's credential for Grafana that is always taken back.
//!
//! Its fixed name makes it a lock as well: AMG refuses a second one, so two runs at the same time
//! take turns, and one that a killed run left behind is found by name and replaced once its token
//! has expired.

use std::future::Future;
use std::time::Duration;

use aws_sdk_grafana::Client;
use backon::{ExponentialBuilder, Retryable};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::deadline::Deadline;
use crate::error::SetupError;
use crate::secret::Secret;
use crate::service_account::{Credentials, NAME};
use crate::workspace::Workspace;

/// The first Grafana with service accounts; before it there are API keys:
/// <https://docs.aws.amazon.com/grafana/latest/userguide/service-accounts.html>
const FIRST_WITH_SERVICE_ACCOUNTS: u32 = 9;

/// The longest a credential is good for, and so the longest a killed run can hold up the next one.
/// The work takes a second; the rest is patience with a Grafana or a role that is still settling.
const LONGEST_LIFE: Duration = Duration::from_secs(180);

/// A service account without a token is one whose run is just making it, or was killed then.
const TIME_TO_MAKE_A_TOKEN: Duration = Duration::from_secs(10);

/// Between looks at a credential that another run holds.
const PAUSE: Duration = Duration::from_secs(1);

/// What is to be taken back. Noted before each call that makes something, so that a call whose
/// answer never came is covered too.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    Nothing,
    /// A service account may have been made.
    PerhapsAccount,
    /// A service account, with a token or perhaps one.
    Account {
        id: String,
        token: Option<String>,
    },
    /// An API key may have been made; its name is all that is needed.
    ApiKey,
}

/// Lends an administrator's token to `work`, with the time when it ends, and takes it back
/// afterwards, however `work` ends: also by an error, a panic, or because its time is over.
///
/// # Errors
/// Those of `work`, or why there was no credential. That the credential could not be taken back is
/// logged as an error: it ends by itself, and the next run removes what is left.
pub async fn with_credential<T, W>(
    client: &Client,
    workspace: &Workspace,
    deadline: &Deadline,
    work: impl FnOnce(Secret, Instant) -> W,
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
    let lent = deadline
        .guard(deadline.work(), lender.lend(has_service_accounts))
        .await;
    let outcome = match lent {
        Ok((token, end)) => deadline.guard(end, work(token, end)).await,
        Err(error) => Err(error),
    };
    if let Err(error) = deadline
        .guard(deadline.take_back(), lender.take_back())
        .await
    {
        let workspace = &workspace.id;
        tracing::error!("credential {NAME:?} is left in workspace {workspace}: {error}");
    }
    outcome
}

struct Lender<'a> {
    credentials: Credentials<'a>,
    deadline: &'a Deadline,
    held: Mutex<Held>,
}

/// What is known of another run's service account.
#[derive(Default)]
struct Watch {
    without_token: Option<(String, Instant)>,
}

impl Lender<'_> {
    /// A token, and when it must no longer be used.
    async fn lend(&self, has_service_accounts: bool) -> Result<(Secret, Instant), SetupError> {
        if has_service_accounts {
            self.lend_service_account().await
        } else {
            self.lend_api_key().await
        }
    }

    async fn lend_service_account(&self) -> Result<(Secret, Instant), SetupError> {
        let mut watch = Watch::default();
        loop {
            self.deadline
                .doing(format!("creating service account {NAME:?}"));
            self.hold(Held::PerhapsAccount).await;
            match self.credentials.create_account().await {
                Ok(id) => match self.lend_token(id).await {
                    // Another run took the account for a left-over.
                    Err(SetupError::NotFound { .. }) => {}
                    other => return other,
                },
                Err(SetupError::Conflict { message, .. }) => {
                    self.hold(Held::Nothing).await;
                    self.deadline
                        .doing(format!("creating service account {NAME:?} ({message})"));
                    self.wait_for_other_run(&mut watch).await?;
                }
                Err(error) => return Err(self.nothing_made(error).await),
            }
        }
    }

    async fn lend_token(&self, id: String) -> Result<(Secret, Instant), SetupError> {
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

    /// Waits a moment for the run that holds the service account, or removes the account if that
    /// run can no longer be alive.
    async fn wait_for_other_run(&self, watch: &mut Watch) -> Result<(), SetupError> {
        let Some(account) = self.credentials.find_account().await? else {
            sleep(PAUSE).await;
            return Ok(());
        };
        let expiry = match self.credentials.expiry(&account).await {
            Err(SetupError::NotFound { .. }) => return Ok(()),
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

    /// AMG cannot list API keys: one that is in the way is waited for as long as it can be good,
    /// and then removed by name.
    async fn lend_api_key(&self) -> Result<(Secret, Instant), SetupError> {
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
                Err(SetupError::Conflict { .. }) => {
                    self.hold(Held::Nothing).await;
                    self.deadline
                        .doing(format!("waiting for another run with API key {NAME:?}"));
                    let since = *in_the_way_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= LONGEST_LIFE {
                        self.credentials.delete_api_key().await?;
                    }
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(self.nothing_made(error).await),
            }
        }
    }

    /// Notes that AMG refused to make anything, unless it may have failed after making it.
    async fn nothing_made(&self, error: SetupError) -> SetupError {
        if !matches!(error, SetupError::ManagedGrafanaUnavailable { .. }) {
            self.hold(Held::Nothing).await;
        }
        error
    }

    /// How long a credential made now shall be good, and when to stop using it.
    fn life(&self) -> (i32, Instant) {
        let now = Instant::now();
        let end = self.deadline.work().min(now + LONGEST_LIFE);
        let life = end.saturating_duration_since(now).as_secs_f64().ceil();
        (life.max(1.0) as i32, end)
    }

    async fn take_back(&self) -> Result<(), SetupError> {
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

    /// Deletes the account and its tokens with it; if that is refused, the token at least.
    async fn delete_account(&self, id: &str, token: Option<&str>) -> Result<(), SetupError> {
        let deleted = patiently(|| self.credentials.delete_account(id)).await;
        if let (Err(_), Some(token)) = (&deleted, token) {
            patiently(|| self.credentials.delete_token(id, token)).await?;
        }
        deleted
    }

    /// Deletes an account that was made although the answer never came. One with a token is
    /// another run's.
    async fn delete_account_without_token(&self) -> Result<(), SetupError> {
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
    /// For how long an account has been seen without a token.
    fn time_without_token(&mut self, account: &str) -> Duration {
        let seen = self.without_token.take().filter(|(id, _)| id == account);
        let (_, since) = self
            .without_token
            .insert(seen.unwrap_or_else(|| (account.to_owned(), Instant::now())));
        since.elapsed()
    }
}

/// Beyond the SDK's own retries, until the caller's time is over.
async fn patiently<T, F>(call: impl FnMut() -> F) -> Result<T, SetupError>
where
    F: Future<Output = Result<T, SetupError>>,
{
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(2))
        .without_max_times();
    call.retry(pauses).when(SetupError::is_transient).await
}
