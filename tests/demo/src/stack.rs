//! The life of the stack: created, looked at, updated, deleted, by the AWS CLI.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use testkit::account::Account;
use testkit::world::{STACK, put_stack};

use crate::{aws, clock::PERIOD, screen::Screen};

/// A period is published once it ended this long ago: the head node sends every five seconds.
pub(crate) const SETTLE: i64 = 15;

/// The data source's uid, and the name that an update gives it.
const DATA_SOURCE: &str = "amazon-managed-prometheus";
const NEW_NAME: &str = "GPUs";

/// Packages the stack and creates it, by the documents' own command. The stack is the one for
/// those who have a VPC.
pub(crate) async fn create(account: &Account, screen: &Screen) -> anyhow::Result<()> {
    screen.heading("The stack")?;
    account.package().await?;
    screen.row("packaged", "templates and built functions, uploaded to S3")?;
    show_grafana(account, screen)?;
    screen.note("AWS_ENDPOINT_URL leads the AWS CLI here; with AWS, type the same")?;
    change(account, "create-stack", None, screen).await?;
    let shown = "Stacks[0].Outputs[?contains(OutputKey,`Grafana`)].[OutputKey,OutputValue]";
    let outputs = ["cloudformation", "describe-stacks", "--stack-name", STACK];
    let table = ["--output", "table", "--query", shown];
    aws::show(account, &[&outputs[..], &table].concat(), screen).await?;
    show_grafana(account, screen)?;
    let default = account.grafana.defaults();
    ensure!(
        default == [DATA_SOURCE],
        "Grafana's default data source is {default:?}"
    );
    Ok(())
}

/// Runs the set-up again by hand: it finds nothing to do.
pub(crate) async fn set_up_again(account: &Account, screen: &Screen) -> anyhow::Result<()> {
    let function = format!("{STACK}-grafana-datasource-setup");
    let waiting = ["lambda", "invoke", "--cli-read-timeout", "910"];
    let words = ["--function-name", &function, "out.json"];
    screen.command(&aws::typed("aws", &[&waiting[..], &words].concat()))?;
    let reply = account.invoke(&function, None).await?;
    aws::shortened(&serde_json::to_string_pretty(&reply)?, screen)?;
    let action = &reply["dataSource"]["action"];
    ensure!(action == "unchanged", "the set-up run again says {action}");
    Ok(())
}

/// Changes one property: the set-up is run again.
pub(crate) async fn rename_data_source(account: &Account, screen: &Screen) -> anyhow::Result<()> {
    change(
        account,
        "update-stack",
        Some(("DataSourceName", NEW_NAME)),
        screen,
    )
    .await?;
    show_grafana(account, screen)?;
    let source = account.grafana.source(DATA_SOURCE);
    let name = &source.context("the data source is there")?["name"];
    ensure!(name == NEW_NAME, "the data source is still called {name}");
    Ok(())
}

/// Deletes the stack; nothing of it is left in Grafana.
pub(crate) async fn delete(account: &Account, screen: &Screen) -> anyhow::Result<()> {
    screen.heading("The stack is deleted")?;
    let words = ["cloudformation", "delete-stack", "--stack-name", STACK];
    screen.command(&aws::typed("aws", &words))?;
    let state = account.change(STACK, &words[1..]).await?;
    ensure!(
        state.is_none(),
        "the stack is {state:?}: {}",
        account.ministack.log()
    );
    show_grafana(account, screen)?;
    let live = account.amg.live();
    let credentials = live.accounts.len() + live.api_keys.len() + live.tokens;
    screen.row(
        "",
        format!("{credentials} service accounts, keys and tokens of ours"),
    )?;
    let left = account.grafana.sources().len()
        + account.grafana.folders().len()
        + account.grafana.dashboards().len()
        + credentials;
    ensure!(left == 0, "the stack has left something behind in Grafana");
    Ok(())
}

async fn change(
    account: &Account,
    verb: &str,
    new: Option<(&str, &str)>,
    screen: &Screen,
) -> anyhow::Result<()> {
    let (period, settle) = (PERIOD.to_string(), SETTLE.to_string());
    let set = [
        ("MonitoringType", "amp+amg"),
        ("PeriodSeconds", &period),
        ("SettleSeconds", &settle),
    ];
    let parameters: Vec<_> = set.into_iter().chain(new).collect();
    let words = put_stack(verb, "monitoring.yaml", &parameters);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    screen.command(&aws::typed("aws cloudformation", &words))?;
    let state = account.change(STACK, &words).await?;
    let state = state.context("the stack is there")?;
    screen.row("CloudFormation", &state)?;
    let succeeded = state.ends_with("_COMPLETE") && !state.contains("ROLLBACK");
    ensure!(succeeded, "{}", account.ministack.log());
    Ok(())
}

/// What an administrator sees in Grafana.
fn show_grafana(account: &Account, screen: &Screen) -> anyhow::Result<()> {
    let sources = account.grafana.sources();
    if sources.is_empty() {
        screen.row("Grafana", "no data source, no dashboard")?;
    }
    for source in sources {
        let text = |key: &str| source[key].as_str().unwrap_or_default().to_owned();
        let is_default = source["isDefault"] == Value::Bool(true);
        let default = if is_default { ", the default" } else { "" };
        let (name, kind) = (text("name"), text("type"));
        screen.row(
            "Grafana",
            format!("data source \"{name}\", {kind}{default}"),
        )?;
    }
    for (_, dashboard) in account.grafana.dashboards() {
        let title = dashboard["title"].as_str().unwrap_or_default();
        screen.row("", format!("dashboard \"{title}\""))?;
    }
    Ok(())
}
