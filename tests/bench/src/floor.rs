//! What Prometheus itself takes for the same six queries, nothing done with the answers.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use serde::Serialize;
use testkit::doubles::dcgm_exporter::Field;

use crate::fleet::Fleet;
use crate::median;

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Floor {
    /// One after the other.
    pub(crate) sequence: Duration,
    /// All at once.
    pub(crate) parallel: Duration,
}

pub(crate) async fn measure(fleet: &Fleet, times: usize) -> anyhow::Result<Floor> {
    let client = reqwest::Client::new();
    let query = |field: Field| ask(&client, fleet, field);
    let (mut sequences, mut parallels) = (Vec::new(), Vec::new());
    // The first reads the blocks off the disk.
    for _ in 0..=times {
        let began = Instant::now();
        for field in Field::published() {
            query(field).await?;
        }
        sequences.push(began.elapsed());
        let began = Instant::now();
        try_join_all(Field::published().into_iter().map(query)).await?;
        parallels.push(began.elapsed());
    }
    let of = |values: &[Duration]| median(&values[1..], Duration::as_secs_f64).unwrap_or_default();
    Ok(Floor {
        sequence: of(&sequences),
        parallel: of(&parallels),
    })
}

async fn ask(client: &reqwest::Client, fleet: &Fleet, field: Field) -> anyhow::Result<()> {
    let form = format!("query={}%5B60s%5D&time={}", field.name, fleet.last_moment());
    let mut answer = client
        .post(format!("{}/api/v1/query", fleet.prometheus.url()))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await?
        .error_for_status()?;
    while answer.chunk().await?.is_some() {}
    Ok(())
}
