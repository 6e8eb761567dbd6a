//! AMG's control plane as far as credentials go: the service account and its token, and for
//! Grafana 8 the API key. All bear one name.

use std::time::SystemTime;

use aws_sdk_grafana::Client;
use aws_sdk_grafana::types::Role;

use crate::error::SetupError;
use crate::secret::Secret;

/// Unique in a workspace, for a service account as for an API key:
/// <https://docs.aws.amazon.com/grafana/latest/APIReference/API_CreateWorkspaceServiceAccount.html>,
/// <https://docs.aws.amazon.com/grafana/latest/APIReference/API_CreateWorkspaceApiKey.html>
pub(crate) const NAME: &str = "grafana-datasource-setup";

/// The credentials of one workspace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credentials<'a> {
    pub(crate) client: &'a Client,
    pub(crate) workspace: &'a str,
}

/// A token just made.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) id: String,
    pub(crate) key: Secret,
}

impl Credentials<'_> {
    /// The account's id.
    pub(crate) async fn create_account(&self) -> Result<String, SetupError> {
        let request = self.client.create_workspace_service_account();
        let request = request.workspace_id(self.workspace).name(NAME);
        // The only role that may change data sources:
        // https://docs.aws.amazon.com/grafana/latest/userguide/using-api-keys.html
        let answer = request.grafana_role(Role::Admin).send().await;
        let failed = |error| SetupError::of_call("grafana:CreateWorkspaceServiceAccount", &error);
        Ok(answer.map_err(failed)?.id)
    }

    pub(crate) async fn create_token(
        &self,
        account: &str,
        seconds_to_live: i32,
    ) -> Result<Token, SetupError> {
        const OPERATION: &str = "grafana:CreateWorkspaceServiceAccountToken";
        let request = self.client.create_workspace_service_account_token();
        let request = request
            .workspace_id(self.workspace)
            .service_account_id(account);
        let answer = request
            .name(NAME)
            .seconds_to_live(seconds_to_live)
            .send()
            .await;
        let answer = answer.map_err(|error| SetupError::of_call(OPERATION, &error))?;
        let token = answer
            .service_account_token
            .ok_or(SetupError::ManagedGrafanaUnavailable {
                operation: OPERATION,
                message: "the answer has no token in it".into(),
            })?;
        Ok(Token {
            id: token.id,
            key: Secret::new(token.key),
        })
    }

    pub(crate) async fn create_api_key(&self, seconds_to_live: i32) -> Result<Secret, SetupError> {
        let request = self
            .client
            .create_workspace_api_key()
            .workspace_id(self.workspace);
        let request = request
            .key_name(NAME)
            .key_role("ADMIN")
            .seconds_to_live(seconds_to_live);
        let failed = |error| SetupError::of_call("grafana:CreateWorkspaceApiKey", &error);
        Ok(Secret::new(request.send().await.map_err(failed)?.key))
    }

    /// The id of the account of our name.
    pub(crate) async fn find_account(&self) -> Result<Option<String>, SetupError> {
        let request = self
            .client
            .list_workspace_service_accounts()
            .workspace_id(self.workspace);
        let mut accounts = request.into_paginator().items().send();
        while let Some(account) = accounts.next().await {
            let failed =
                |error| SetupError::of_call("grafana:ListWorkspaceServiceAccounts", &error);
            let account = account.map_err(failed)?;
            if account.name == NAME {
                return Ok(Some(account.id));
            }
        }
        Ok(None)
    }

    /// When the account's last token expires; `None` without tokens.
    pub(crate) async fn expiry(&self, account: &str) -> Result<Option<SystemTime>, SetupError> {
        let request = self.client.list_workspace_service_account_tokens();
        let request = request
            .workspace_id(self.workspace)
            .service_account_id(account);
        let tokens = request
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await;
        let failed =
            |error| SetupError::of_call("grafana:ListWorkspaceServiceAccountTokens", &error);
        let expiries = tokens
            .map_err(failed)?
            .into_iter()
            .map(|token| token.expires_at);
        Ok(expiries
            .filter_map(|expiry| SystemTime::try_from(expiry).ok())
            .max())
    }

    /// "This will delete any tokens created for the service account":
    /// <https://docs.aws.amazon.com/grafana/latest/APIReference/API_DeleteWorkspaceServiceAccount.html>
    pub(crate) async fn delete_account(&self, account: &str) -> Result<(), SetupError> {
        let request = self.client.delete_workspace_service_account();
        let request = request
            .workspace_id(self.workspace)
            .service_account_id(account);
        let failed = |error| SetupError::of_call("grafana:DeleteWorkspaceServiceAccount", &error);
        gone(request.send().await.map_err(failed))
    }

    pub(crate) async fn delete_token(&self, account: &str, id: &str) -> Result<(), SetupError> {
        let request = self.client.delete_workspace_service_account_token();
        let request = request
            .workspace_id(self.workspace)
            .service_account_id(account);
        let failed =
            |error| SetupError::of_call("grafana:DeleteWorkspaceServiceAccountToken", &error);
        gone(request.token_id(id).send().await.map_err(failed))
    }

    pub(crate) async fn delete_api_key(&self) -> Result<(), SetupError> {
        let request = self
            .client
            .delete_workspace_api_key()
            .workspace_id(self.workspace);
        let failed = |error| SetupError::of_call("grafana:DeleteWorkspaceApiKey", &error);
        gone(request.key_name(NAME).send().await.map_err(failed))
    }
}

/// What is to be deleted and isn't there is as good as deleted.
fn gone<T>(deleted: Result<T, SetupError>) -> Result<(), SetupError> {
    match deleted {
        Ok(_) | Err(SetupError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
