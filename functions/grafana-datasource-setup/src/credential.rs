//! A short-lived administrator's credential for Grafana that is always taken back.
//!
//! Its fixed name makes it a lock as well: AMG refuses a second one, so two runs at the same time
//! take turns, and one that a killed run left behind is found by name and replaced once its token
//! has expired.

use std::future::Future;
use std::time::{Duration, SystemTime};

use aws_sdk_grafana::Client;
use aws_sdk_grafana::types::{Role, ServiceAccountSummary, ServiceAccountTokenSummary};
use backon::{ExponentialBuilder, Retryable};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::deadline::Deadline;
use crate::error::SetupError;
use crate::secret::Secret;
use crate::workspace::{Version, Workspace};

/// Name of service account, token and API key. Unique in a workspace:
/// <https://docs.aws.amazon.com/grafana/latest/APIReference/API_CreateWorkspaceServiceAccount.html>
const NAME: &str = "grafana-datasource-setup";

/// The first Grafana with service accounts:
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
    Account {
        id: String,
        token_id: Option<String>,
    },
    /// An API key may have been made; its name is all that is needed.
    ApiKey,
}

/// Lends an administrator's token to `work` and takes it back afterwards, however `work` ends:
/// also by an error, a panic, or because its time is over.
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
    let lender = Lender {
        client,
        workspace,
        deadline,
        held: Mutex::new(Held::Nothing),
    };
    let lent = deadline.guard(deadline.work(), lender.lend()).await;
    let outcome = match lent {
        Ok((token, end)) => deadline.guard(end, work(token, end)).await,
        Err(error) => Err(error),
    };
    match deadline
        .guard(deadline.take_back(), lender.take_back())
        .await
    {
        Ok(()) => {}
        Err(error) => tracing::error!(
            "the service account {NAME:?} of workspace {} was not removed, the next run will: {error}",
            workspace.id
        ),
    }
    outcome
}

struct Lender<'a> {
    client: &'a Client,
    workspace: &'a Workspace,
    deadline: &'a Deadline,
    held: Mutex<Held>,
}

impl Lender<'_> {
    /// A token, and when it must no longer be used.
    async fn lend(&self) -> Result<(Secret, Instant), SetupError> {
        if has_service_accounts(&self.workspace.version) {
            self.lend_service_account().await
        } else {
            self.lend_api_key().await
        }
    }

    async fn lend_service_account(&self) -> Result<(Secret, Instant), SetupError> {
        let mut without_token_since = None;
        loop {
            self.deadline
                .doing(format!("creating service account {NAME:?}"));
            self.hold(Held::PerhapsAccount).await;
            match self.create_account().await {
                Ok(id) => {
                    self.hold(Held::Account {
                        id: id.clone(),
                        token_id: None,
                    })
                    .await;
                    match self.create_token(&id).await {
                        // Another run took the account for a left-over.
                        Err(SetupError::NotFound { .. }) => {}
                        other => return other,
                    }
                }
                Err(SetupError::Conflict { message, .. }) => {
                    self.hold(Held::Nothing).await;
                    self.deadline
                        .doing(format!("creating service account {NAME:?} ({message})"));
                    self.wait_for_other_run(&mut without_token_since).await?;
                }
                Err(error) => {
                    if !matches!(error, SetupError::ManagedGrafanaUnavailable { .. }) {
                        self.hold(Held::Nothing).await;
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Waits a moment for the run that holds the service account, or removes the account if that
    /// run can no longer be alive.
    async fn wait_for_other_run(
        &self,
        without_token_since: &mut Option<(String, Instant)>,
    ) -> Result<(), SetupError> {
        let Some(account) = self.find_account().await? else {
            sleep(PAUSE).await;
            return Ok(());
        };
        let tokens = match self.tokens(&account.id).await {
            Err(SetupError::NotFound { .. }) => return Ok(()),
            other => other?,
        };
        let is_left_over = match latest_expiry(&tokens) {
            Some(expiry) => {
                without_token_since.take();
                let left = expiry
                    .duration_since(self.deadline.now())
                    .unwrap_or_default();
                self.deadline.doing(format!(
                    "waiting for another run, whose service account {NAME:?} is good for {} s more",
                    left.as_secs()
                ));
                left.is_zero()
            }
            None => {
                let (_, since) = without_token_since
                    .take_if(|(id, _)| *id == account.id)
                    .unwrap_or_else(|| (account.id.clone(), Instant::now()));
                *without_token_since = Some((account.id.clone(), since));
                since.elapsed() >= TIME_TO_MAKE_A_TOKEN
            }
        };
        if is_left_over {
            self.delete_account(&account.id).await?;
            tracing::info!("removed service account {NAME:?}, left by a run that was killed");
        } else {
            sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn create_account(&self) -> Result<String, SetupError> {
        let request = self.client.create_workspace_service_account();
        let request = request.workspace_id(&self.workspace.id).name(NAME);
        // The only role that may change data sources:
        // https://docs.aws.amazon.com/grafana/latest/userguide/Grafana-permissions.html
        let answer = request.grafana_role(Role::Admin).send().await;
        let failed = |error| SetupError::of_call("CreateWorkspaceServiceAccount", &error);
        Ok(answer.map_err(failed)?.id)
    }

    async fn create_token(&self, account: &str) -> Result<(Secret, Instant), SetupError> {
        self.deadline
            .doing(format!("creating a token of service account {NAME:?}"));
        let (seconds, end) = self.life();
        let answer = self
            .client
            .create_workspace_service_account_token()
            .workspace_id(&self.workspace.id)
            .service_account_id(account)
            .name(NAME)
            .seconds_to_live(seconds)
            .send()
            .await;
        let failed = |error| SetupError::of_call("CreateWorkspaceServiceAccountToken", &error);
        let token = answer.map_err(failed)?.service_account_token;
        let token = token.ok_or(SetupError::ManagedGrafanaUnavailable {
            operation: "CreateWorkspaceServiceAccountToken",
            message: "the answer has no token in it".into(),
        })?;
        self.hold(Held::Account {
            id: account.to_owned(),
            token_id: Some(token.id),
        })
        .await;
        tracing::info!("made service account {NAME:?} with a token good for {seconds} s");
        Ok((Secret::new(token.key), end))
    }

    /// Grafana 8 has API keys only, which AMG cannot list: one that is in the way is waited for as
    /// long as it can be good, and then removed by name.
    async fn lend_api_key(&self) -> Result<(Secret, Instant), SetupError> {
        let mut in_the_way_since = None;
        loop {
            self.deadline.doing(format!("creating API key {NAME:?}"));
            let (seconds, end) = self.life();
            self.hold(Held::ApiKey).await;
            match self.create_api_key(seconds).await {
                Ok(key) => return Ok((key, end)),
                Err(SetupError::Conflict { .. }) => {
                    self.hold(Held::Nothing).await;
                    self.deadline
                        .doing(format!("waiting for another run with API key {NAME:?}"));
                    let since = *in_the_way_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= LONGEST_LIFE {
                        self.delete_api_key().await?;
                    }
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn create_api_key(&self, seconds: i32) -> Result<Secret, SetupError> {
        let request = self
            .client
            .create_workspace_api_key()
            .workspace_id(&self.workspace.id);
        let request = request
            .key_name(NAME)
            .key_role("ADMIN")
            .seconds_to_live(seconds);
        let failed = |error| SetupError::of_call("CreateWorkspaceApiKey", &error);
        let key = request.send().await.map_err(failed)?.key;
        tracing::info!("made API key {NAME:?}, good for {seconds} s");
        Ok(Secret::new(key))
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
            Held::Account { id, token_id } => {
                if let Some(token_id) = token_id {
                    // The account takes its tokens with it; a token that is gone first is useless
                    // even if the account can't be deleted.
                    if let Err(error) = self.delete_token(&id, &token_id).await {
                        tracing::debug!("{error}");
                    }
                }
                patiently(|| self.delete_account(&id)).await?;
            }
            Held::ApiKey => patiently(|| self.delete_api_key()).await?,
        }
        tracing::info!("took the credential back");
        Ok(())
    }

    /// Deletes an account that was made although the answer never came. One with a token is
    /// another run's.
    async fn delete_account_without_token(&self) -> Result<(), SetupError> {
        let Some(account) = patiently(|| self.find_account()).await? else {
            return Ok(());
        };
        if self.tokens(&account.id).await?.is_empty() {
            self.delete_account(&account.id).await?;
        }
        Ok(())
    }

    async fn find_account(&self) -> Result<Option<ServiceAccountSummary>, SetupError> {
        let request = self.client.list_workspace_service_accounts();
        let mut pages = request
            .workspace_id(&self.workspace.id)
            .into_paginator()
            .items()
            .send();
        while let Some(account) = pages.next().await {
            let failed = |error| SetupError::of_call("ListWorkspaceServiceAccounts", &error);
            let account = account.map_err(failed)?;
            if account.name == NAME {
                return Ok(Some(account));
            }
        }
        Ok(None)
    }

    async fn tokens(&self, account: &str) -> Result<Vec<ServiceAccountTokenSummary>, SetupError> {
        let request = self.client.list_workspace_service_account_tokens();
        let request = request
            .workspace_id(&self.workspace.id)
            .service_account_id(account);
        let pages = request.into_paginator().items().send();
        let failed = |error| SetupError::of_call("ListWorkspaceServiceAccountTokens", &error);
        pages.collect::<Result<_, _>>().await.map_err(failed)
    }

    async fn delete_token(&self, account: &str, token: &str) -> Result<(), SetupError> {
        let request = self.client.delete_workspace_service_account_token();
        let request = request
            .workspace_id(&self.workspace.id)
            .service_account_id(account);
        let deleted = request.token_id(token).send().await;
        gone(deleted.map_err(|e| SetupError::of_call("DeleteWorkspaceServiceAccountToken", &e)))
    }

    async fn delete_account(&self, account: &str) -> Result<(), SetupError> {
        let request = self.client.delete_workspace_service_account();
        let request = request
            .workspace_id(&self.workspace.id)
            .service_account_id(account);
        let deleted = request.send().await;
        gone(deleted.map_err(|e| SetupError::of_call("DeleteWorkspaceServiceAccount", &e)))
    }

    async fn delete_api_key(&self) -> Result<(), SetupError> {
        let request = self.client.delete_workspace_api_key();
        let deleted = request
            .workspace_id(&self.workspace.id)
            .key_name(NAME)
            .send()
            .await;
        gone(deleted.map_err(|e| SetupError::of_call("DeleteWorkspaceApiKey", &e)))
    }

    async fn hold(&self, held: Held) {
        *self.held.lock().await = held;
    }
}

fn has_service_accounts(version: &Version) -> bool {
    version.major() >= FIRST_WITH_SERVICE_ACCOUNTS
}

fn latest_expiry(tokens: &[ServiceAccountTokenSummary]) -> Option<SystemTime> {
    let expiries = tokens
        .iter()
        .filter_map(|token| SystemTime::try_from(token.expires_at).ok());
    expiries.max()
}

/// What is to be deleted and isn't there is as good as deleted.
fn gone<T>(deleted: Result<T, SetupError>) -> Result<(), SetupError> {
    match deleted {
        Ok(_) | Err(SetupError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
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
