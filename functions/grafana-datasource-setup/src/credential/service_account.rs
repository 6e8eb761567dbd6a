//! AMG's calls for credentials: a service account with its token, and for Grafana 8 an API key. All
//! have the same name.

use std::time::SystemTime;

use aws_sdk_grafana::Client;
use aws_sdk_grafana::types::Role;
use secrecy::SecretString;

use crate::aws_call::{CallError, CallErrorKind};

/// Unique in a workspace, for a service account as for an API key:
/// <https://docs.aws.amazon.com/grafana/latest/APIReference/API_CreateWorkspaceServiceAccount.html>,
/// <https://docs.aws.amazon.com/grafana/latest/APIReference/API_CreateWorkspaceApiKey.html>
pub(super) const NAME: &str = "grafana-datasource-setup";

/// The credentials of one workspace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Credentials<'a> {
    pub(super) client: &'a Client,
    pub(super) workspace: &'a str,
}

/// A new token.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) id: String,
    pub(super) key: SecretString,
}

impl Credentials<'_> {
    /// Returns the account's id.
    pub(super) async fn create_account(&self) -> Result<String, CallError> {
        let request = self.client.create_workspace_service_account();
        let request = request.workspace_id(self.workspace).name(NAME);
        // The only role that may change data sources:
        // https://docs.aws.amazon.com/grafana/latest/userguide/using-api-keys.html
        let answer = request.grafana_role(Role::Admin).send().await;
        let failed = |error| CallError::new("grafana:CreateWorkspaceServiceAccount", &error);
        Ok(answer.map_err(failed)?.id)
    }

    pub(super) async fn create_token(
        &self,
        account: &str,
        seconds_to_live: i32,
    ) -> Result<Token, CallError> {
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
        let answer = answer.map_err(|error| CallError::new(OPERATION, &error))?;
        let token = answer
            .service_account_token
            .ok_or_else(|| CallError::unavailable(OPERATION, "the answer has no token in it"))?;
        Ok(Token {
            id: token.id,
            key: SecretString::from(token.key),
        })
    }

    pub(super) async fn create_api_key(
        &self,
        seconds_to_live: i32,
    ) -> Result<SecretString, CallError> {
        let request = self
            .client
            .create_workspace_api_key()
            .workspace_id(self.workspace);
        let request = request
            .key_name(NAME)
            .key_role("ADMIN")
            .seconds_to_live(seconds_to_live);
        let failed = |error| CallError::new("grafana:CreateWorkspaceApiKey", &error);
        let answer = request.send().await.map_err(failed)?;
        Ok(SecretString::from(answer.key))
    }

    /// The id of the account with our name.
    pub(super) async fn find_account(&self) -> Result<Option<String>, CallError> {
        let request = self
            .client
            .list_workspace_service_accounts()
            .workspace_id(self.workspace);
        let mut accounts = request.into_paginator().items().send();
        while let Some(account) = accounts.next().await {
            let failed = |error| CallError::new("grafana:ListWorkspaceServiceAccounts", &error);
            let account = account.map_err(failed)?;
            if account.name == NAME {
                return Ok(Some(account.id));
            }
        }
        Ok(None)
    }

    /// When the account's last token expires; `None` without tokens.
    pub(super) async fn expiry(&self, account: &str) -> Result<Option<SystemTime>, CallError> {
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
        let failed = |error| CallError::new("grafana:ListWorkspaceServiceAccountTokens", &error);
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
    pub(super) async fn delete_account(&self, account: &str) -> Result<(), CallError> {
        let request = self.client.delete_workspace_service_account();
        let request = request
            .workspace_id(self.workspace)
            .service_account_id(account);
        let failed = |error| CallError::new("grafana:DeleteWorkspaceServiceAccount", &error);
        gone(request.send().await.map_err(failed))
    }

    pub(super) async fn delete_token(&self, account: &str, id: &str) -> Result<(), CallError> {
        let request = self.client.delete_workspace_service_account_token();
        let request = request
            .workspace_id(self.workspace)
            .service_account_id(account);
        let failed = |error| CallError::new("grafana:DeleteWorkspaceServiceAccountToken", &error);
        gone(request.token_id(id).send().await.map_err(failed))
    }

    pub(super) async fn delete_api_key(&self) -> Result<(), CallError> {
        let request = self
            .client
            .delete_workspace_api_key()
            .workspace_id(self.workspace);
        let failed = |error| CallError::new("grafana:DeleteWorkspaceApiKey", &error);
        gone(request.key_name(NAME).send().await.map_err(failed))
    }
}

/// Deleting what does not exist is no error.
fn gone<T>(deleted: Result<T, CallError>) -> Result<(), CallError> {
    match deleted {
        Err(error) if error.kind != CallErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
