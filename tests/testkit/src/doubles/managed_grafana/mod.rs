//! Amazon Managed Grafana's control plane: DescribeWorkspace, service accounts with their tokens, API
//! keys, people's roles. Requests must be signed for service `grafana`. Operations, limits and errors: <https://docs.aws.amazon.com/grafana/latest/APIReference/API_Operations.html>.

mod credentials;
mod permissions;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::SystemTime,
};

use axum::{
    body::Bytes,
    http::{HeaderValue, request::Parts},
    response::Response,
};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::sync::Notify;

use self::{
    credentials::{Credentials, Page},
    permissions::Permissions,
};
use crate::doubles::faults::{Faults, lock};
use crate::doubles::grafana::Grafana;
use crate::doubles::server::{Server, Service, json as answer};
use crate::doubles::sigv4::{self, Verifier};
use crate::lambda::REGION;

pub use self::credentials::Live;

/// The first workspace, which all methods are about that name none.
pub const WORKSPACE_ID: &str = "g-0123abcdef";

/// AMG's control plane.
#[derive(Debug)]
pub struct ManagedGrafana {
    server: Server,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    verifier: Verifier,
    faults: Faults,
    token_made: Notify,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    workspaces: HashMap<String, Workspace>,
    calls: HashMap<&'static str, usize>,
}

#[derive(Debug)]
struct Workspace {
    is_deleted: bool,
    credentials: Credentials,
    permissions: Permissions,
    /// The last one stays.
    statuses: VecDeque<String>,
    endpoint: String,
    version: String,
}

/// A call that fails, by the error's name.
#[derive(Debug)]
pub(crate) struct Exception {
    name: &'static str,
    message: String,
}

impl ManagedGrafana {
    /// Starts the control plane; its workspace is ACTIVE and runs `grafana`.
    ///
    /// # Errors
    /// No free port.
    pub async fn start(grafana: &Grafana) -> anyhow::Result<Self> {
        Self::start_for(grafana, sigv4::Credentials::example()).await
    }

    /// Starts it for callers with other credentials than its own.
    ///
    /// # Errors
    /// No free port.
    pub async fn start_for(
        grafana: &Grafana,
        credentials: sigv4::Credentials,
    ) -> anyhow::Result<Self> {
        let workspaces = HashMap::from([(WORKSPACE_ID.to_owned(), Workspace::of(grafana))]);
        let state = Arc::new(State {
            verifier: Verifier {
                credentials,
                region: REGION.to_owned(),
                service: "grafana",
            },
            faults: Faults::default(),
            token_made: Notify::new(),
            inner: Mutex::new(Inner {
                workspaces,
                calls: HashMap::new(),
            }),
        });
        Ok(Self {
            server: Server::start(Arc::clone(&state)).await?,
            state,
        })
    }

    /// For `AWS_ENDPOINT_URL_GRAFANA`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Adds a workspace, which is ACTIVE and runs `grafana`.
    pub fn add_workspace(&self, id: &str, grafana: &Grafana) {
        let workspaces = &mut lock(&self.state.inner).workspaces;
        workspaces.insert(id.to_owned(), Workspace::of(grafana));
    }

    fn first<T>(&self, look: impl FnOnce(&mut Workspace) -> T) -> T {
        let mut inner = lock(&self.state.inner);
        let first = inner.workspaces.get_mut(WORKSPACE_ID);
        look(first.expect("a workspace stays, deleted or not"))
    }

    /// Faults to come, by the operation's name.
    pub fn faults(&self) -> &Faults {
        &self.state.faults
    }

    /// The states that DescribeWorkspace tells one after the other; the last one stays.
    pub fn set_statuses(&self, statuses: &[&str]) {
        let statuses = statuses.iter().map(|status| (*status).to_owned()).collect();
        self.first(|workspace| workspace.statuses = statuses);
    }

    /// The workspace's Grafana version from now on.
    pub fn set_version(&self, major: u32) {
        self.first(|workspace| workspace.version = version(major));
    }

    /// The workspace is deleted.
    pub fn delete_workspace(&self) {
        self.first(|workspace| workspace.is_deleted = true);
    }

    /// The most service accounts, and the most tokens, expired ones too.
    pub fn set_quotas(&self, accounts: usize, tokens: usize) {
        self.first(|workspace| workspace.credentials.set_quotas(accounts, tokens));
    }

    /// Adds a person's service account.
    pub fn add_account(&self, name: &str) {
        let made = self.first(|workspace| workspace.credentials.create_account(name, "VIEWER"));
        made.expect("a free name within the quota");
    }

    /// Adds the service account and token of a run that was killed `seconds_to_live` before the
    /// token's end; gives the token's key.
    pub fn add_left_over(&self, name: &str, seconds_to_live: u64) -> String {
        self.first(|Workspace { credentials, .. }| {
            let account = credentials.create_account(name, "ADMIN");
            let account = account.expect("a free name");
            let (_, key) = credentials
                .create_token(&account, name, seconds_to_live)
                .expect("room");
            key
        })
    }

    /// Id and role of everybody who has one.
    pub fn roles(&self) -> Vec<(String, String)> {
        self.first(|workspace| workspace.permissions.all())
    }

    /// Somebody gave this role by hand.
    pub fn give_role(&self, id: &str, role: &str) {
        self.first(|workspace| workspace.permissions.add(id, role));
    }

    /// Changed roles are listed only after so many reads.
    pub fn set_role_lag(&self, reads: usize) {
        self.first(|workspace| workspace.permissions.set_lag(reads));
    }

    /// A new role comes beside the old one, and doesn't take its place.
    pub fn keep_old_roles(&self) {
        self.first(|workspace| workspace.permissions.keep_old_roles());
    }

    /// This user's roles can't be changed.
    pub fn refuse_role_of(&self, id: &str) {
        self.first(|workspace| workspace.permissions.refuse(id));
    }

    /// What exists right now, in all workspaces.
    pub fn live(&self) -> Live {
        let inner = lock(&self.state.inner);
        let mut live = Live::default();
        for workspace in inner.workspaces.values() {
            let own = workspace.credentials.live();
            live.accounts.extend(own.accounts);
            live.api_keys.extend(own.api_keys);
            live.tokens += own.tokens;
        }
        live
    }

    /// Waits until a token is made.
    pub async fn token_made(&self) {
        self.state.token_made.notified().await;
    }

    /// Every key and token ever handed out.
    pub fn secrets(&self) -> Vec<String> {
        let inner = lock(&self.state.inner);
        let workspaces = inner.workspaces.values();
        workspaces
            .flat_map(|workspace| workspace.credentials.secrets())
            .collect()
    }

    /// How often an operation was called.
    pub fn calls(&self, operation: &str) -> usize {
        lock(&self.state.inner)
            .calls
            .get(operation)
            .copied()
            .unwrap_or_default()
    }
}

/// AMG's versions: <https://docs.aws.amazon.com/grafana/latest/userguide/version-differences.html>
fn version(major: u32) -> String {
    match major {
        8 | 9 | 10 | 12 => format!("{major}.4"),
        other => format!("{other}.0"),
    }
}

impl Exception {
    pub(crate) fn new(name: &'static str, message: impl Into<String>) -> Self {
        Self {
            name,
            message: message.into(),
        }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new("ResourceNotFoundException", message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }

    /// HTTP status codes: the operations' pages, "Errors".
    fn status(&self) -> u16 {
        match self.name {
            "ValidationException" => 400,
            "ServiceQuotaExceededException" => 402,
            "ResourceNotFoundException" => 404,
            "ConflictException" => 409,
            "ThrottlingException" => 429,
            "InternalServerException" => 500,
            _ => 403,
        }
    }

    fn of_status(status: u16) -> Self {
        let name = match status {
            400 => "ValidationException",
            402 => "ServiceQuotaExceededException",
            404 => "ResourceNotFoundException",
            409 => "ConflictException",
            429 => "ThrottlingException",
            403 => "AccessDeniedException",
            _ => "InternalServerException",
        };
        Self::new(name, format!("fault {status}"))
    }

    /// AWS restJson1: <https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html>
    fn response(&self) -> Response {
        let mut response = answer(self.status(), &json!({"message": self.message}));
        let name = HeaderValue::from_static(self.name);
        response.headers_mut().insert("x-amzn-errortype", name);
        response
    }
}

impl Service for State {
    type Error = u16;

    fn operation(&self, parts: &Parts) -> String {
        let path = segments(parts);
        operation(parts.method.as_str(), &borrowed(&path))
            .unwrap_or("Unknown")
            .to_owned()
    }

    fn serve(&self, parts: &Parts, body: &Bytes) -> Response {
        let request = sigv4::Request::new(parts, body);
        if let Err(refusal) = self.verifier.verify(&request, SystemTime::now()) {
            return Exception::new(refusal.error_type(), refusal.to_string()).response();
        }
        let (path, body) = (
            segments(parts),
            serde_json::from_slice(body).unwrap_or_default(),
        );
        let query = parts.uri.query().unwrap_or_default();
        match lock(&self.inner).call(parts.method.as_str(), &borrowed(&path), query, &body) {
            Ok(body) => {
                if body.get("serviceAccountToken").is_some() {
                    self.token_made.notify_one();
                }
                answer(200, &body)
            }
            Err(exception) => exception.response(),
        }
    }

    fn failure(&self, _operation: &str, status: u16) -> Response {
        Exception::of_status(status).response()
    }

    fn faults(&self) -> &Faults {
        &self.faults
    }
}

fn segments(parts: &Parts) -> Vec<String> {
    let segments = parts
        .uri
        .path()
        .split('/')
        .filter(|segment| !segment.is_empty());
    segments
        .map(|text| percent_decode_str(text).decode_utf8_lossy().into_owned())
        .collect()
}

fn borrowed(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}

fn operation(method: &str, path: &[&str]) -> Option<&'static str> {
    Some(match (method, path) {
        ("GET", ["workspaces", _]) => "DescribeWorkspace",
        ("POST", ["workspaces", _, "serviceaccounts"]) => "CreateWorkspaceServiceAccount",
        ("GET", ["workspaces", _, "serviceaccounts"]) => "ListWorkspaceServiceAccounts",
        ("DELETE", ["workspaces", _, "serviceaccounts", _]) => "DeleteWorkspaceServiceAccount",
        ("POST", ["workspaces", _, "serviceaccounts", _, "tokens"]) => {
            "CreateWorkspaceServiceAccountToken"
        }
        ("GET", ["workspaces", _, "serviceaccounts", _, "tokens"]) => {
            "ListWorkspaceServiceAccountTokens"
        }
        ("DELETE", ["workspaces", _, "serviceaccounts", _, "tokens", _]) => {
            "DeleteWorkspaceServiceAccountToken"
        }
        ("POST", ["workspaces", _, "apikeys"]) => "CreateWorkspaceApiKey",
        ("DELETE", ["workspaces", _, "apikeys", _]) => "DeleteWorkspaceApiKey",
        ("GET", ["workspaces", _, "permissions"]) => "ListPermissions",
        ("PATCH", ["workspaces", _, "permissions"]) => "UpdatePermissions",
        _ => return None,
    })
}

impl Inner {
    fn call(
        &mut self,
        method: &str,
        path: &[&str],
        query: &str,
        body: &Value,
    ) -> Result<Value, Exception> {
        let operation = operation(method, path)
            .ok_or_else(|| Exception::new("UnknownOperationException", "no such operation"))?;
        *self.calls.entry(operation).or_default() += 1;
        let workspace = self.workspaces.get_mut(path[1]);
        let workspace = workspace.filter(|workspace| !workspace.is_deleted);
        let workspace =
            workspace.ok_or_else(|| Exception::not_found("the workspace does not exist"))?;
        if operation == "DescribeWorkspace" {
            return Ok(workspace.describe(path[1]));
        }
        workspace.check(operation)?;
        let page = Page::parse(query)?;
        match operation {
            "ListPermissions" => Ok(workspace.permissions.list(&page)),
            "UpdatePermissions" => workspace.permissions.update(body),
            _ => workspace
                .credentials
                .call(operation, &path[2..], &page, body),
        }
    }
}

impl Workspace {
    fn of(grafana: &Grafana) -> Self {
        Self {
            is_deleted: false,
            credentials: Credentials::new(grafana.tokens()),
            permissions: Permissions::default(),
            statuses: VecDeque::from(["ACTIVE".to_owned()]),
            endpoint: grafana.url(),
            version: version(grafana.major()),
        }
    }

    /// <https://docs.aws.amazon.com/grafana/latest/APIReference/API_WorkspaceDescription.html>
    fn describe(&mut self, id: &str) -> Value {
        let status = self.statuses.front().cloned().unwrap_or_default();
        if self.statuses.len() > 1 {
            self.statuses.pop_front();
        }
        json!({"workspace": {
            "id": id, "status": status, "endpoint": self.endpoint,
            "grafanaVersion": self.version, "created": 1_700_000_000, "modified": 1_700_000_000,
            "dataSources": [], "accountAccessType": "CURRENT_ACCOUNT",
            "permissionType": "CUSTOMER_MANAGED",
            "authentication": {"providers": ["AWS_SSO"]},
        }})
    }

    fn check(&self, operation: &str) -> Result<(), Exception> {
        // "A resource was in an inconsistent state": the operations' pages, ConflictException.
        let status = self
            .statuses
            .front()
            .map(String::as_str)
            .unwrap_or_default();
        if [
            "CREATING",
            "UPDATING",
            "UPGRADING",
            "VERSION_UPDATING",
            "DELETING",
        ]
        .contains(&status)
        {
            return Err(Exception::new(
                "ConflictException",
                format!("workspace is {status}"),
            ));
        }
        let major: u32 = self
            .version
            .split('.')
            .next()
            .and_then(|major| major.parse().ok())
            .unwrap_or_default();
        // "only compatible with Grafana version 9 and above": CreateWorkspaceServiceAccount.
        if operation.contains("ServiceAccount") && major < 9 {
            return Err(Exception::invalid(
                "service accounts need Grafana 9 or later",
            ));
        }
        // "available in versions 8, 9, and 10":
        // https://docs.aws.amazon.com/grafana/latest/userguide/authenticating-grafana-apis.html
        if operation == "CreateWorkspaceApiKey" && major > 10 {
            return Err(Exception::invalid(
                "API keys are not available in this Grafana version",
            ));
        }
        Ok(())
    }
}
