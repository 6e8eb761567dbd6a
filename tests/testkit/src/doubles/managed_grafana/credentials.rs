//! Service accounts, their tokens, and API keys of a workspace.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::{Exception, WORKSPACE_ID};
use crate::doubles::grafana::Tokens;

/// `secondsToLive`:
/// <https://docs.aws.amazon.com/grafana/latest/APIReference/API_CreateWorkspaceServiceAccountToken.html>
const MAX_SECONDS_TO_LIVE: u64 = 2_592_000;
/// Names of service accounts and tokens; an API key's is 100 long.
const MAX_NAME_LENGTH: usize = 128;
const MAX_KEY_NAME_LENGTH: usize = 100;
/// `maxResults` of the lists.
const MAX_RESULTS: usize = 100;
/// Smaller than any service's default, so that whoever doesn't follow `nextToken` is found out.
const DEFAULT_RESULTS: usize = 2;

/// What exists in the workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Names of service accounts, each billed as a user.
    pub accounts: Vec<String>,
    /// How many tokens there are, expired ones too.
    pub tokens: usize,
    /// Names of API keys.
    pub api_keys: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Credentials {
    /// What Grafana lets in.
    admitted: Tokens,
    accounts: Vec<Account>,
    api_keys: Vec<(String, String)>,
    max_accounts: usize,
    max_tokens: usize,
    secrets: Vec<String>,
    last_id: usize,
}

#[derive(Debug)]
struct Account {
    id: String,
    name: String,
    role: String,
    tokens: Vec<Token>,
}

#[derive(Debug)]
struct Token {
    id: String,
    name: String,
    key: String,
    created: SystemTime,
    expires: SystemTime,
}

/// Which part of a list is asked for.
#[derive(Debug)]
pub(crate) struct Page {
    from: usize,
    length: usize,
}

impl Page {
    pub(crate) fn parse(query: &str) -> Result<Self, Exception> {
        let value = |name: &str| {
            let pair = query
                .split('&')
                .find_map(|pair| pair.strip_prefix(&format!("{name}=")));
            pair.map(|text| percent_decode_str(text).decode_utf8_lossy().into_owned())
        };
        let number = |name: &str, default| {
            let parsed = value(name).map_or(Ok(default), |text| text.parse::<usize>());
            parsed.map_err(|_| Exception::invalid(format!("{name} is not valid")))
        };
        let length = number("maxResults", DEFAULT_RESULTS)?;
        if !(1..=MAX_RESULTS).contains(&length) {
            return Err(Exception::invalid("maxResults is not between 1 and 100"));
        }
        Ok(Self {
            from: number("nextToken", 0)?,
            length,
        })
    }

    pub(crate) fn of(&self, name: &str, items: Vec<Value>) -> Value {
        let rest = items.len().saturating_sub(self.from + self.length);
        let part: Vec<Value> = items
            .into_iter()
            .skip(self.from)
            .take(self.length)
            .collect();
        let mut page = json!({name: part, "workspaceId": WORKSPACE_ID});
        if rest > 0 {
            page["nextToken"] = json!((self.from + self.length).to_string());
        }
        page
    }
}

impl Credentials {
    pub(crate) fn new(admitted: Tokens) -> Self {
        Self {
            admitted,
            accounts: Vec::new(),
            api_keys: Vec::new(),
            max_accounts: 100,
            max_tokens: 100,
            secrets: Vec::new(),
            last_id: 0,
        }
    }

    pub(crate) fn set_quotas(&mut self, accounts: usize, tokens: usize) {
        (self.max_accounts, self.max_tokens) = (accounts, tokens);
    }

    pub(crate) fn live(&self) -> Live {
        Live {
            accounts: self
                .accounts
                .iter()
                .map(|account| account.name.clone())
                .collect(),
            tokens: self
                .accounts
                .iter()
                .map(|account| account.tokens.len())
                .sum(),
            api_keys: self.api_keys.iter().map(|(name, _)| name.clone()).collect(),
        }
    }

    pub(crate) fn secrets(&self) -> Vec<String> {
        self.secrets.clone()
    }

    pub(crate) fn call(
        &mut self,
        operation: &str,
        path: &[&str],
        page: &Page,
        body: &Value,
    ) -> Result<Value, Exception> {
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        let seconds = body["secondsToLive"].as_u64().unwrap_or_default();
        match (operation, path) {
            ("CreateWorkspaceServiceAccount", _) => {
                let (name, role) = (text("name"), text("grafanaRole"));
                let id = self.create_account(name, role)?;
                Ok(
                    json!({"id": id, "name": name, "grafanaRole": role, "workspaceId": WORKSPACE_ID}),
                )
            }
            ("ListWorkspaceServiceAccounts", _) => Ok(page.of(
                "serviceAccounts",
                self.accounts.iter().map(Account::summary).collect(),
            )),
            ("DeleteWorkspaceServiceAccount", [_, account]) => self.delete_account(account),
            ("CreateWorkspaceServiceAccountToken", [_, account, _]) => {
                let name = text("name");
                let (id, key) = self.create_token(account, name, seconds)?;
                Ok(json!({
                    "serviceAccountToken": {"id": id, "name": name, "key": key},
                    "serviceAccountId": account, "workspaceId": WORKSPACE_ID,
                }))
            }
            ("ListWorkspaceServiceAccountTokens", [_, account, _]) => {
                let tokens = self
                    .account(account)?
                    .tokens
                    .iter()
                    .map(Token::summary)
                    .collect();
                let mut answer = page.of("serviceAccountTokens", tokens);
                answer["serviceAccountId"] = json!(account);
                Ok(answer)
            }
            ("DeleteWorkspaceServiceAccountToken", [_, account, _, token]) => {
                self.delete_token(account, token)
            }
            ("CreateWorkspaceApiKey", _) => {
                let name = text("keyName");
                let key = self.create_api_key(name, text("keyRole"), seconds)?;
                Ok(json!({"keyName": name, "key": key, "workspaceId": WORKSPACE_ID}))
            }
            ("DeleteWorkspaceApiKey", [_, name]) => self.delete_api_key(name),
            _ => Err(Exception::new(
                "UnknownOperationException",
                "no such operation",
            )),
        }
    }

    pub(crate) fn create_account(&mut self, name: &str, role: &str) -> Result<String, Exception> {
        check_name(name, MAX_NAME_LENGTH)?;
        check_role(role)?;
        // "The name must be unique within the workspace": CreateWorkspaceServiceAccount.
        if self.accounts.iter().any(|account| account.name == name) {
            return Err(Exception::new(
                "ConflictException",
                "service account already exists",
            ));
        }
        if self.accounts.len() >= self.max_accounts {
            return Err(Exception::new(
                "ServiceQuotaExceededException",
                "too many service accounts",
            ));
        }
        let (id, name, role) = (self.next_id(), name.to_owned(), role.to_owned());
        self.accounts.push(Account {
            id: id.clone(),
            name,
            role,
            tokens: Vec::new(),
        });
        Ok(id)
    }

    pub(crate) fn create_token(
        &mut self,
        account: &str,
        name: &str,
        seconds_to_live: u64,
    ) -> Result<(String, String), Exception> {
        check_name(name, MAX_NAME_LENGTH)?;
        let expires = expiry(seconds_to_live)?;
        self.account(account)?;
        // "includes active and expired tokens":
        // https://docs.aws.amazon.com/grafana/latest/userguide/service-accounts.html
        if self.live().tokens >= self.max_tokens {
            return Err(Exception::new(
                "ServiceQuotaExceededException",
                "too many tokens",
            ));
        }
        let (id, key) = (self.next_id(), self.next_secret("glsa"));
        let account = self.account_mut(account)?;
        let is_admin = account.role == "ADMIN";
        if account.tokens.iter().any(|token| token.name == name) {
            return Err(Exception::new("ConflictException", "token already exists"));
        }
        account.tokens.push(Token {
            id: id.clone(),
            name: name.to_owned(),
            key: key.clone(),
            created: SystemTime::now(),
            expires,
        });
        self.admitted.add(&key, is_admin, expires);
        Ok((id, key))
    }

    /// "This will delete any tokens created for the service account":
    /// <https://docs.aws.amazon.com/grafana/latest/APIReference/API_DeleteWorkspaceServiceAccount.html>
    fn delete_account(&mut self, id: &str) -> Result<Value, Exception> {
        for token in &self.account(id)?.tokens {
            self.admitted.remove(&token.key);
        }
        self.accounts.retain(|account| account.id != id);
        Ok(json!({"serviceAccountId": id, "workspaceId": WORKSPACE_ID}))
    }

    fn delete_token(&mut self, account: &str, id: &str) -> Result<Value, Exception> {
        let tokens = &mut self.account_mut(account)?.tokens;
        let position = tokens.iter().position(|token| token.id == id);
        let position = position.ok_or_else(|| Exception::not_found("no such token"))?;
        let token = tokens.remove(position);
        self.admitted.remove(&token.key);
        Ok(json!({"tokenId": id, "serviceAccountId": account, "workspaceId": WORKSPACE_ID}))
    }

    fn create_api_key(
        &mut self,
        name: &str,
        role: &str,
        seconds_to_live: u64,
    ) -> Result<String, Exception> {
        check_name(name, MAX_KEY_NAME_LENGTH)?;
        check_role(role)?;
        let expires = expiry(seconds_to_live)?;
        // "Must be unique to the workspace": CreateWorkspaceApiKey.
        if self.api_keys.iter().any(|(taken, _)| taken == name) {
            return Err(Exception::new(
                "ConflictException",
                "API key already exists",
            ));
        }
        let key = self.next_secret("eyJrIjoi");
        self.api_keys.push((name.to_owned(), key.clone()));
        self.admitted.add(&key, role == "ADMIN", expires);
        Ok(key)
    }

    fn delete_api_key(&mut self, name: &str) -> Result<Value, Exception> {
        let position = self.api_keys.iter().position(|(taken, _)| taken == name);
        let position = position.ok_or_else(|| Exception::not_found("no such API key"))?;
        let (_, key) = self.api_keys.remove(position);
        self.admitted.remove(&key);
        Ok(json!({"keyName": name, "workspaceId": WORKSPACE_ID}))
    }

    fn account(&self, id: &str) -> Result<&Account, Exception> {
        let account = self.accounts.iter().find(|account| account.id == id);
        account.ok_or_else(|| Exception::not_found("no such service account"))
    }

    fn account_mut(&mut self, id: &str) -> Result<&mut Account, Exception> {
        let account = self.accounts.iter_mut().find(|account| account.id == id);
        account.ok_or_else(|| Exception::not_found("no such service account"))
    }

    fn next_id(&mut self) -> String {
        self.last_id += 1;
        self.last_id.to_string()
    }

    fn next_secret(&mut self, prefix: &str) -> String {
        let secret = format!("{prefix}_EXAMPLEsecret{:08}", self.secrets.len() + 1);
        self.secrets.push(secret.clone());
        secret
    }
}

impl Account {
    /// `isDisabled` is a text:
    /// <https://docs.aws.amazon.com/grafana/latest/APIReference/API_ServiceAccountSummary.html>
    fn summary(&self) -> Value {
        json!({"id": self.id, "name": self.name, "isDisabled": "false", "grafanaRole": self.role})
    }
}

impl Token {
    /// restJson1 timestamps are epoch seconds.
    fn summary(&self) -> Value {
        let seconds = |time: SystemTime| {
            time.duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs_f64()
        };
        json!({
            "id": self.id, "name": self.name,
            "createdAt": seconds(self.created), "expiresAt": seconds(self.expires),
        })
    }
}

fn check_name(name: &str, max_length: usize) -> Result<(), Exception> {
    let is_fit = (1..=max_length).contains(&name.chars().count());
    is_fit
        .then_some(())
        .ok_or_else(|| Exception::invalid("the name's length is not allowed"))
}

/// <https://docs.aws.amazon.com/grafana/latest/APIReference/API_CreateWorkspaceServiceAccount.html>
fn check_role(role: &str) -> Result<(), Exception> {
    let is_role = ["ADMIN", "EDITOR", "VIEWER"].contains(&role);
    is_role
        .then_some(())
        .ok_or_else(|| Exception::invalid("the role is not ADMIN, EDITOR or VIEWER"))
}

fn expiry(seconds_to_live: u64) -> Result<SystemTime, Exception> {
    if !(1..=MAX_SECONDS_TO_LIVE).contains(&seconds_to_live) {
        return Err(Exception::invalid(
            "secondsToLive is not between 1 and 2592000",
        ));
    }
    Ok(SystemTime::now() + Duration::from_secs(seconds_to_live))
}
