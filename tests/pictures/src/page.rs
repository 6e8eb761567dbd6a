//! The page's server: its files, the dashboards, and the way to their sources.

use std::fs;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use testkit::account::Account;
use testkit::doubles::server::Server;
use testkit::project::repository;
use testkit::real::prometheus::Prometheus;

use crate::aws;

/// What the page is made of, and what each file is.
const FILES: [(&str, &str); 9] = [
    ("index.html", "text/html; charset=utf-8"),
    ("page.css", "text/css"),
    ("page.js", "text/javascript"),
    ("chart.js", "text/javascript"),
    ("grafana.js", "text/javascript"),
    ("cloudwatch.js", "text/javascript"),
    ("units.js", "text/javascript"),
    ("uplot/uPlot.iife.min.js", "text/javascript"),
    ("uplot/uPlot.min.css", "text/css"),
];

/// Grafana's dashboards, in the order of the links, by file.
const GRAFANA: [&str; 5] = ["cluster", "health", "efficiency", "node", "pipeline"];

/// How the page knows the CloudWatch dashboard, which has no id in its body.
pub const CLOUDWATCH: &str = "cloudwatch";

/// A dashboard in the form of its own service.
#[derive(Clone, Debug)]
pub struct Dashboard {
    /// What the page's address calls it.
    pub id: String,
    /// Over the picture.
    pub title: String,
    /// As it is deployed.
    pub body: Value,
}

impl Dashboard {
    /// All of a stack: CloudWatch's first, then Grafana's.
    ///
    /// # Errors
    /// The stack has none in CloudWatch, or one of Grafana's is no JSON.
    pub async fn all(account: &Account, stack: &str) -> anyhow::Result<Vec<Self>> {
        let mut all = vec![Self::cloudwatch(account, stack).await?];
        all.extend(Self::grafana()?);
        Ok(all)
    }

    /// Those of `infra/dashboards`.
    ///
    /// # Errors
    /// One is no JSON.
    pub fn grafana() -> anyhow::Result<Vec<Self>> {
        let read = |name| {
            let file = repository(&format!("infra/dashboards/{name}.json"));
            let body: Value = serde_json::from_slice(&fs::read(&file)?)
                .with_context(|| file.display().to_string())?;
            let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
            let (id, title) = (text("uid"), text("title"));
            Ok(Self { id, title, body })
        };
        GRAFANA.into_iter().map(read).collect()
    }

    /// The one that a stack has made.
    ///
    /// # Errors
    /// The stack has none.
    pub async fn cloudwatch(account: &Account, stack: &str) -> anyhow::Result<Self> {
        let name = format!("{stack}-gpu");
        let ask = ["cloudwatch", "get-dashboard", "--dashboard-name", &name];
        let body = account.aws(&ask).await?["DashboardBody"].take();
        let body = body.as_str().context("the dashboard's body")?;
        Ok(Self {
            id: CLOUDWATCH.to_owned(),
            title: format!("CloudWatch: {name}"),
            body: serde_json::from_str(body)?,
        })
    }
}

/// What the page asks, by the addresses of those who answer.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The Prometheus behind the AMP workspace.
    pub prometheus: String,
    /// CloudWatch, with the metrics of the cluster.
    pub cloudwatch: String,
    /// The rest of the account: the metrics of Lambda and SQS, the logs.
    pub account: String,
}

impl Sources {
    /// Those of an account, whose AMP workspace has the samples of a Prometheus.
    #[must_use]
    pub fn of(account: &Account, prometheus: &Prometheus) -> Self {
        Self {
            prometheus: prometheus.url(),
            cloudwatch: account.cloudwatch.url(),
            account: account.ministack.url(),
        }
    }
}

/// A running page; it stops when dropped.
#[derive(Debug)]
pub struct Page(Server);

impl Page {
    /// Serves these dashboards on a free loopback port. A picture shows the last `seconds` unless its
    /// address says otherwise; `notes` stand below each.
    ///
    /// # Errors
    /// There is no port to listen on.
    pub async fn start(
        dashboards: &[Dashboard],
        sources: Sources,
        seconds: i64,
        notes: &[String],
    ) -> anyhow::Result<Self> {
        let listed = dashboards.iter().map(|Dashboard { id, title, body }| {
            let kind = if id == CLOUDWATCH { id } else { "grafana" };
            json!({"id": id, "title": title, "kind": kind, "body": body})
        });
        let listed: Vec<_> = listed.collect();
        let page = json!({"dashboards": listed, "seconds": seconds, "notes": notes}).to_string();
        let router = Router::new()
            .route(
                "/page.json",
                get(move || async { with_type("application/json", page) }),
            )
            .route("/prometheus/{*path}", get(prometheus))
            .route("/aws/{operation}", post(from_aws))
            .route("/", get(|| file(Path("index.html".to_owned()))))
            .route("/{*path}", get(file))
            .with_state(Arc::new(sources));
        Ok(Self(Server::route(router).await?))
    }

    /// `http://127.0.0.1:<port>/`
    pub fn url(&self) -> String {
        self.0.url() + "/"
    }
}

/// From disk each time, so that whoever changes a file sees it on the next look.
async fn file(Path(path): Path<String>) -> Response {
    let known = FILES.into_iter().find(|(name, _)| *name == path);
    let Some((name, kind)) = known else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match fs::read_to_string(repository("tests/pictures/page").join(name)) {
        Ok(text) => with_type(kind, text),
        Err(error) => (StatusCode::NOT_FOUND, error.to_string()).into_response(),
    }
}

fn with_type(kind: &'static str, body: impl IntoResponse) -> Response {
    ([(CONTENT_TYPE, kind)], body).into_response()
}

async fn prometheus(
    State(sources): State<Arc<Sources>>,
    Path(path): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let url = format!(
        "{}/{path}?{}",
        sources.prometheus,
        query.unwrap_or_default()
    );
    passed_on(reqwest::Client::new().get(url)).await
}

/// What AWS's own services publish is in the account, what the function publishes in CloudWatch.
async fn from_aws(
    State(sources): State<Arc<Sources>>,
    Path(operation): Path<String>,
    body: String,
) -> Response {
    let is_log = operation.contains("Query");
    let is_account = is_log || body.contains(r#""Namespace":"AWS/"#);
    let url = if is_account {
        &sources.account
    } else {
        &sources.cloudwatch
    };
    let service = if is_log { aws::LOGS } else { aws::CLOUDWATCH };
    passed_on(aws::request(url, service, &operation, body)).await
}

async fn passed_on(request: reqwest::RequestBuilder) -> Response {
    let answered = async {
        let reply = request.send().await?;
        Ok::<_, reqwest::Error>((reply.status(), reply.bytes().await?))
    };
    match answered.await {
        Ok((status, body)) => {
            let mut response = with_type("application/json", body);
            *response.status_mut() = status;
            response
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
