//! Whether the data source works.

use std::time::Duration;

use startup::Deadline;
use tokio::time::{Instant, sleep};

pub(crate) use super::diagnosis::Health;
use super::diagnosis::{diagnose, shortened};
use super::plan::prometheus::Wanted;
use crate::grafana::{DataSource, Grafana, GrafanaError, HealthAnswer};

/// How long a failing check is repeated. A new role's permissions take effect within that time:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency>
const PATIENCE: Duration = Duration::from_secs(60);

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Time reserved for what follows the check.
const RESERVE: Duration = Duration::from_millis(500);

/// The first Grafana whose health check queries Prometheus (pkg/promlib/healthcheck.go). In earlier
/// versions the check succeeds whatever AMP would answer.
const FIRST_WITH_REAL_CHECK: u32 = 10;

/// Repeats the health check until it succeeds, its time is over or `end` comes. It never fails: a data
/// source that does not work yet is still worth having.
pub(crate) async fn check(
    grafana: &Grafana<'_>,
    source: &DataSource,
    wanted: &Wanted,
    deadline: &Deadline,
    end: Instant,
) -> Health {
    let uid = &source.uid;
    let give_up = (end - RESERVE).min(Instant::now() + PATIENCE);
    let mut last = Health::unknown("no time was left for the health check");
    for pause in startup::backoff(FIRST_PAUSE, LONGEST_PAUSE) {
        deadline.doing(format!("checking the health of data source {uid}"));
        let Ok(proof) = tokio::time::timeout_at(give_up, prove(grafana, source)).await else {
            break;
        };
        let (health, is_final) = match proof {
            Ok(Proof::Answer(answer)) => diagnose(&answer, wanted),
            Ok(Proof::None) => {
                let version = grafana.version;
                let reason =
                    format!("Grafana {version} checks without a query, and none can be sent to it");
                (Health::unknown(&reason), true)
            }
            Err(error) => (Health::error(shortened(&error.to_string())), false),
        };
        if is_final {
            return health;
        }
        last = health;
        tracing::debug!("not healthy yet: {}", last.message);
        if Instant::now() + pause >= give_up {
            break;
        }
        sleep(pause).await;
    }
    last
}

/// What shows whether the data source works.
enum Proof {
    /// An answer for which Grafana queried AMP.
    Answer(HealthAnswer),
    /// This Grafana has no way to query AMP for the function.
    None,
}

/// Runs the health check, and a query where the check alone proves nothing.
async fn prove(grafana: &Grafana<'_>, source: &DataSource) -> Result<Proof, GrafanaError> {
    let health = grafana.health(&source.uid).await?;
    if health.status != 200 || grafana.version.major() >= FIRST_WITH_REAL_CHECK {
        return Ok(Proof::Answer(health));
    }
    Ok(match grafana.query(source).await? {
        Some(query) if (200..300).contains(&query.status) => Proof::Answer(health),
        Some(query) => Proof::Answer(query),
        None => Proof::None,
    })
}
