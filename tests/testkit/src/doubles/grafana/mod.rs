//! Grafana's HTTP API as of versions 8 to 13, as far as data sources, folders and dashboards go. Paths in comments are
//! those of <https://github.com/grafana/grafana>.

mod library;
mod store;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::SystemTime,
};

use axum::{
    body::Bytes,
    http::{
        HeaderValue, Method,
        header::{AUTHORIZATION, LOCATION},
        request::Parts,
    },
    response::Response,
};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use self::library::Library;
use self::store::{Refusal, Store};
use crate::doubles::faults::{Faults, lock};
use crate::doubles::server::{Server, Service, json as answer};

/// The plugin that signs requests to AMP.
pub const AMP_PLUGIN: &str = "grafana-amazonprometheus-datasource";

/// Queries data sources, and writes nothing.
const DS_QUERY: &str = "POST /api/ds/query";

/// A Grafana of some version.
#[derive(Debug)]
pub struct Grafana {
    server: Server,
    state: Arc<State>,
}

/// The AMP workspace that health checks reach.
#[derive(Clone, Debug)]
pub struct Amp {
    /// Its URL, without trailing slash.
    pub url: String,
    /// The region that requests must be signed for.
    pub region: String,
    /// The Grafana workspace's role has aps:QueryMetrics.
    pub role_may_query: bool,
}

/// Tokens that Grafana lets in, shared with the control plane that makes them.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Arc<Mutex<BTreeMap<String, Token>>>);

#[derive(Clone, Debug)]
struct Token {
    is_admin: bool,
    expires: SystemTime,
}

#[derive(Debug)]
struct State {
    tokens: Tokens,
    faults: Faults,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    major: u32,
    plugins: BTreeSet<String>,
    /// How many looks more find no plugin, while Grafana is loading them.
    loading: usize,
    /// Whether plugins can be installed, and how many looks after that find none.
    installing: Option<usize>,
    amp: Amp,
    store: Store,
    library: Library,
    /// What a person saves just before the next save of anybody else.
    save_first: Option<Value>,
    requests: Vec<String>,
}

impl Grafana {
    /// Starts a Grafana of a major version, with the plugins AMG brings along.
    ///
    /// # Errors
    /// No free port.
    pub async fn start(major: u32, amp: Amp) -> anyhow::Result<Self> {
        let state = Arc::new(State {
            tokens: Tokens::default(),
            faults: Faults::default(),
            inner: Mutex::new(Inner {
                major,
                plugins: bundled_plugins(major),
                loading: 0,
                installing: None,
                amp,
                store: Store::default(),
                library: Library::default(),
                save_first: None,
                requests: Vec::new(),
            }),
        });
        Ok(Self {
            server: Server::start(Arc::clone(&state)).await?,
            state,
        })
    }

    /// Its address.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The major version.
    pub fn major(&self) -> u32 {
        lock(&self.state.inner).major
    }

    /// Tokens that are let in.
    pub fn tokens(&self) -> Tokens {
        self.state.tokens.clone()
    }

    /// Faults to come, by `METHOD path`, with `:uid` and `:id` in the path's place.
    pub fn faults(&self) -> &Faults {
        &self.state.faults
    }

    /// Puts a data source there by hand, read-only or with secure fields if it says so.
    pub fn add(&self, source: &Value) {
        lock(&self.state.inner).store.provision(source);
    }

    /// Installs a plugin.
    pub fn install(&self, plugin: &str) {
        lock(&self.state.inner).plugins.insert(plugin.to_owned());
    }

    /// Removes a plugin.
    pub fn uninstall(&self, plugin: &str) {
        lock(&self.state.inner).plugins.remove(plugin);
    }

    /// So many looks at a plugin find none, as in Grafana's first seconds.
    pub fn load_plugins_for(&self, looks: usize) {
        lock(&self.state.inner).loading = looks;
    }

    /// The workspace's plugin management is on, and an installation takes so many looks.
    pub fn manage_plugins(&self, looks: usize) {
        lock(&self.state.inner).installing = Some(looks);
    }

    /// Upgrades the workspace in place. From 13 on, sources that sign are migrated on start
    /// (pkg/services/promtypemigration), and dashboards move to a store without their history.
    pub fn upgrade(&self, major: u32) {
        let mut inner = lock(&self.state.inner);
        let former = std::mem::replace(&mut inner.major, major);
        inner.plugins.extend(bundled_plugins(major));
        if major >= 13 && former < 13 {
            inner.store.migrate_signing_sources(AMP_PLUGIN);
            inner.library.lose_history();
        }
    }

    /// Changes what health checks find at AMP.
    pub fn set_role_may_query(&self, may: bool) {
        lock(&self.state.inner).amp.role_may_query = may;
    }

    /// Changes which AMP workspace health checks find.
    pub fn set_amp_url(&self, url: &str) {
        lock(&self.state.inner).amp.url = url.to_owned();
    }

    /// Makes a data source read-only, as a provisioned one is.
    pub fn set_read_only(&self, uid: &str) {
        lock(&self.state.inner).store.set_read_only(uid);
    }

    /// All data sources, whole, with their secure fields.
    pub fn sources(&self) -> Vec<Value> {
        lock(&self.state.inner).store.everything()
    }

    /// The data source of that uid.
    pub fn source(&self, uid: &str) -> Option<Value> {
        self.sources()
            .into_iter()
            .find(|source| source["uid"] == uid)
    }

    /// The uids of all default data sources: one at most, in a Grafana that is well.
    pub fn defaults(&self) -> Vec<String> {
        let sources = self
            .sources()
            .into_iter()
            .filter(|source| source["isDefault"] == true);
        sources
            .map(|source| source["uid"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// All folders: uid and title.
    pub fn folders(&self) -> Vec<(String, String)> {
        lock(&self.state.inner).library.folders()
    }

    /// All dashboards: uid of the folder, and content.
    pub fn dashboards(&self) -> Vec<(String, Value)> {
        lock(&self.state.inner).library.dashboards()
    }

    /// The content of the dashboard of that uid.
    pub fn dashboard(&self, uid: &str) -> Option<Value> {
        let dashboards = self.dashboards().into_iter();
        dashboards
            .map(|(_, content)| content)
            .find(|content| content["uid"] == uid)
    }

    /// A person saves something, as Grafana's own pages do: `POST /api/folders`,
    /// `POST /api/dashboards/db`.
    pub fn save_as_person(&self, path: &str, body: &Value) {
        let mut inner = lock(&self.state.inner);
        let major = inner.major;
        let path: Vec<&str> = path.split('/').collect();
        let body = body.to_string();
        let saved = inner
            .library
            .serve(major, ("POST", &path[2..]), "", body.as_bytes());
        saved
            .expect("a path of folders or dashboards")
            .expect("something that Grafana takes");
    }

    /// A person saves a dashboard after the next reader has read it, and before that one saves it.
    pub fn save_as_person_in_between(&self, body: &Value) {
        lock(&self.state.inner).save_first = Some(body.clone());
    }

    /// A person moves a folder into another one.
    pub fn move_folder(&self, uid: &str, parent: &str) {
        lock(&self.state.inner).library.move_folder(uid, parent);
    }

    /// A person puts an alert rule into a folder.
    pub fn put_into_folder(&self, uid: &str) {
        lock(&self.state.inner).library.put_into_folder(uid);
    }

    /// Every request that came in, `METHOD path`, in order.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.state.inner).requests.clone()
    }

    /// The requests that write.
    pub fn writes(&self) -> Vec<String> {
        self.requests()
            .into_iter()
            .filter(|request| !request.starts_with("GET ") && request != DS_QUERY)
            .collect()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        lock(&self.state.inner).requests.clear();
    }
}

/// AMG brings the plugin along from 12 on:
/// <https://docs.aws.amazon.com/grafana/latest/userguide/amazon-prometheus-data-source.html>
fn bundled_plugins(major: u32) -> BTreeSet<String> {
    let core = ["prometheus", "loki", "cloudwatch"];
    let amp = (major >= 12).then_some(AMP_PLUGIN);
    core.into_iter().chain(amp).map(str::to_owned).collect()
}

impl Tokens {
    /// Lets a token in until it expires.
    pub fn add(&self, key: &str, is_admin: bool, expires: SystemTime) {
        lock(&self.0).insert(key.to_owned(), Token { is_admin, expires });
    }

    /// Lets a token in no more.
    pub fn remove(&self, key: &str) {
        lock(&self.0).remove(key);
    }

    fn check(&self, header: Option<&str>) -> Result<(), Refusal> {
        // pkg/services/contexthandler/contexthandler.go
        let key = header.and_then(|header| header.strip_prefix("Bearer "));
        let key = key.ok_or_else(|| Refusal::new(401, "Unauthorized"))?;
        // pkg/services/authn/clients/api_key.go: errAPIKeyInvalid, errAPIKeyExpired
        let token = lock(&self.0).get(key).cloned();
        let token = token.ok_or_else(|| Refusal::new(401, "Invalid API key"))?;
        if token.expires <= SystemTime::now() {
            return Err(Refusal::new(401, "Expired API key"));
        }
        if token.is_admin {
            return Ok(());
        }
        // pkg/services/accesscontrol/middleware.go, deny
        let body = json!({
            "title": "Access denied",
            "message": "You'll need additional permissions to perform this action. \
                        Permissions needed: datasources:read",
            "accessErrorId": "ACE0123456789",
        });
        Err(Refusal { status: 403, body })
    }
}

impl Service for State {
    type Error = u16;

    fn operation(&self, parts: &Parts) -> String {
        let path = parts.uri.path();
        let path: Vec<&str> = path.split('/').skip(2).collect();
        let path = match path[..] {
            ["datasources", "uid", _, "health"] => "datasources/uid/:uid/health".to_owned(),
            ["datasources", "uid", _] => "datasources/uid/:uid".to_owned(),
            ["dashboards", "uid", _, "versions"] => "dashboards/uid/:uid/versions".to_owned(),
            ["dashboards", "uid", _] => "dashboards/uid/:uid".to_owned(),
            ["folders", _, "counts"] => "folders/:uid/counts".to_owned(),
            ["folders", _] => "folders/:uid".to_owned(),
            ["plugins", _, "settings"] => "plugins/:id/settings".to_owned(),
            ["plugins", _, "install"] => "plugins/:id/install".to_owned(),
            ["datasources", "proxy", "uid", _, ..] => "datasources/proxy/uid/:uid".to_owned(),
            _ => path.join("/"),
        };
        format!("{} /api/{path}", parts.method)
    }

    fn serve(&self, parts: &Parts, body: &Bytes) -> Response {
        lock(&self.inner)
            .requests
            .push(format!("{} {}", parts.method, parts.uri.path()));
        let header = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|header| header.to_str().ok());
        let path: Vec<String> = parts.uri.path().split('/').skip(1).map(decoded).collect();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let checked = self.tokens.check(header);
        let query = parts.uri.query().unwrap_or_default();
        let request = (&parts.method, &*path, query);
        match checked.and_then(|()| lock(&self.inner).serve(request, body)) {
            Ok(body) => answer(200, &body),
            Err(Refusal { status, body }) => answer(status, &body),
        }
    }

    fn failure(&self, _operation: &str, status: u16) -> Response {
        let mut failure = answer(status, &json!({"message": format!("fault {status}")}));
        if failure.status().is_redirection() {
            // pkg/middleware/auth.go, notAuthorized
            let login = HeaderValue::from_static("/login");
            failure.headers_mut().insert(LOCATION, login);
        }
        failure
    }

    fn faults(&self) -> &Faults {
        &self.faults
    }
}

fn decoded(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

impl Inner {
    /// Routes: pkg/api/api.go.
    fn serve(
        &mut self,
        (method, path, query): (&Method, &[&str], &str),
        body: &[u8],
    ) -> Result<Value, Refusal> {
        match (method.as_str(), path) {
            ("GET", ["api", "datasources"]) => Ok(self.store.list()),
            ("POST", ["api", "datasources"]) => self.store.add(body),
            ("GET", ["api", "datasources", "uid", uid]) => self.store.get(uid),
            ("PUT", ["api", "datasources", "uid", uid]) => self.store.update(uid, body),
            ("DELETE", ["api", "datasources", "uid", uid]) => self.store.delete(uid),
            ("GET", ["api", "datasources", "uid", uid, "health"]) => self.health(uid),
            ("GET", ["api", "plugins", id, "settings"]) => self.plugin_settings(id),
            ("POST", ["api", "plugins", id, "install"]) => self.install(id),
            ("POST", ["api", "ds", "query"]) => self.query_as_a_panel(body),
            // By uid since 9.0: pkg/api/api.go.
            (
                "GET",
                [
                    "api",
                    "datasources",
                    "proxy",
                    "uid",
                    uid,
                    "api",
                    "v1",
                    "query",
                ],
            ) if self.major >= 9 => self.query_by_proxy(uid, query),
            // https://grafana.com/whats-new/2026-04-14-deprecated-data-source-apis-disabled-by-default/
            (_, ["api", "datasources", id]) if self.major < 13 => {
                let uid = self.store.uid_of(id)?;
                match method.as_str() {
                    "GET" => self.store.get(&uid),
                    "PUT" => self.store.update(&uid, body),
                    "DELETE" => self.store.delete(&uid),
                    _ => Err(Refusal::new(404, "Not found")),
                }
            }
            (method, ["api", path @ ..]) => {
                if (method, path) == ("POST", &["dashboards", "db"])
                    && let Some(first) = self.save_first.take()
                {
                    let first = first.to_string();
                    let saved =
                        self.library
                            .serve(self.major, (method, path), "", first.as_bytes());
                    saved.expect("a path of dashboards")?;
                }
                let answer = self.library.serve(self.major, (method, path), query, body);
                answer.unwrap_or_else(|| Err(Refusal::new(404, "Not found")))
            }
            _ => Err(Refusal::new(404, "Not found")),
        }
    }

    /// GetPluginSettingByID, pkg/api/plugins.go.
    fn plugin_settings(&mut self, id: &str) -> Result<Value, Refusal> {
        let is_loading = self.loading > 0;
        self.loading = self.loading.saturating_sub(1);
        if self.plugins.contains(id) && !is_loading {
            Ok(json!({"id": id, "type": "datasource", "enabled": true}))
        } else {
            Err(Refusal::new(
                404,
                "Plugin not found, no installed plugin with that id",
            ))
        }
    }

    /// checkDatasourceHealth, pkg/api/datasources.go: 400 when the plugin says it is not well.
    fn health(&self, uid: &str) -> Result<Value, Refusal> {
        let source = self.store.get(uid)?;
        let source_type = source["type"].as_str().unwrap_or_default();
        if !self.plugins.contains(source_type) {
            return Err(Refusal::new(404, "Plugin not found"));
        }
        // Up to 9 the backend part of Prometheus's check asks nothing.
        let checked = if self.major < 10 {
            Ok(())
        } else {
            self.query(&source)
        };
        match checked {
            Ok(()) => {
                Ok(json!({"status": "OK", "message": "Successfully queried the Prometheus API."}))
            }
            // getHealthCheckMessage, pkg/promlib/healthcheck.go
            Err(cause) => {
                let message =
                    format!("{cause} - There was an error returned querying the Prometheus API.");
                Err(Refusal {
                    status: 400,
                    body: json!({"status": "ERROR", "message": message}),
                })
            }
        }
    }

    /// InstallPlugin, pkg/api/plugins.go; without plugin management there is no such route.
    fn install(&mut self, id: &str) -> Result<Value, Refusal> {
        let Some(looks) = self.installing else {
            return Err(Refusal::new(404, "Not found"));
        };
        if !self.plugins.insert(id.to_owned()) {
            return Err(Refusal::new(409, "Plugin already installed"));
        }
        self.loading = looks;
        Ok(json!({}))
    }

    /// pkg/api/pluginproxy/ds_proxy.go: AMP's answer as it is.
    fn query_by_proxy(&self, uid: &str, query: &str) -> Result<Value, Refusal> {
        let source = self.store.get(uid)?;
        if query != "query=1%2B1" {
            let body = json!({"status": "error", "errorType": "bad_data", "error": "parse error"});
            return Err(Refusal { status: 400, body });
        }
        match self.query(&source) {
            Ok(()) => Ok(json!({
                "status": "success", "data": {"resultType": "scalar", "result": [1, "2"]},
            })),
            Err(cause) => {
                let status = cause
                    .split(' ')
                    .next()
                    .and_then(|status| status.parse().ok());
                Err(Refusal::new(
                    status.unwrap_or(502),
                    "Missing Authentication Token",
                ))
            }
        }
    }

    /// pkg/api/ds_query.go over pkg/services/query: each query has an error of its own.
    fn query_as_a_panel(&self, body: &[u8]) -> Result<Value, Refusal> {
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        let query = &request["queries"][0];
        let asks = ["from", "to"].iter().all(|name| request[name].is_string())
            && query["refId"].is_string()
            && query["expr"].is_string();
        if !asks {
            return Err(Refusal::new(400, "bad request data"));
        }
        let source = self
            .store
            .get(query["datasource"]["uid"].as_str().unwrap_or_default())?;
        match self.query(&source) {
            Ok(()) => Ok(json!({"results": {"A": {"status": 200, "frames": []}}})),
            Err(cause) => {
                let status = cause.split(' ').next().unwrap_or_default();
                let error = format!("client_error: client error: {status}");
                let body = json!({"results": {"A": {"error": error, "status": 500, "frames": []}}});
                Err(Refusal { status: 400, body })
            }
        }
    }

    /// What becomes of the health check's query `1+1`.
    fn query(&self, source: &Value) -> Result<(), String> {
        let settings = &source["jsonData"];
        // pkg/services/datasources/service/datasource.go, httpClientOptions: MustBool(false), so
        // the text "true" is false. From 12 on the core type doesn't sign at all:
        // https://docs.aws.amazon.com/grafana/latest/userguide/prometheus-manually-adding.html
        let can_sign = source["type"] == AMP_PLUGIN || self.major < 12;
        if settings["sigV4Auth"] != true || !can_sign {
            return Err("403 Forbidden".to_owned());
        }
        // grafana-aws-sdk, pkg/awsds/settings.go: AMG allows its workspace role.
        let auth = settings["sigV4AuthType"].as_str().unwrap_or_default();
        if auth != "ec2_iam_role" {
            return Err(format!("trying to use non-allowed auth method {auth}"));
        }
        // grafana-aws-sdk, pkg/awsauth: the workspace's role assumes the other one, if it may.
        if settings["sigV4AssumeRoleArn"].is_string() {
            return Err("403 Forbidden: not authorized to perform: sts:AssumeRole".to_owned());
        }
        let url = source["url"].as_str().unwrap_or_default();
        // pkg/promlib/client/client.go, createUrl joins paths: a slash more is harmless.
        if url.trim_end_matches('/') != self.amp.url {
            return Err("404 Not Found".to_owned());
        }
        if settings["sigV4Region"] != self.amp.region.as_str() || !self.amp.role_may_query {
            return Err("403 Forbidden".to_owned());
        }
        Ok(())
    }
}
