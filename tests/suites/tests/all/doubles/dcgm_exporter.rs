//! Simulated dcgm-exporters, scraped by a real Prometheus: what comes out is what was served.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test may fail it as the test itself may"
)]

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use testkit::doubles::dcgm_exporter::{
    DcgmExporter, Field, MigInstance, Node, Reading, Release, scrape_config,
};
use testkit::real::prometheus::{self, History, Prometheus, every};

/// Scraped often enough that a few scrapes take little time.
const INTERVAL: Duration = Duration::from_millis(250);

fn field(name: &str) -> Field {
    Field::named(name).unwrap()
}

async fn metrics(exporter: &DcgmExporter) -> String {
    let url = format!("http://{}/metrics", exporter.address());
    let response = reqwest::get(url).await.unwrap();
    let content_type = &response.headers()["content-type"];
    assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
    response.text().await.unwrap()
}

/// Scrapes until at least `count` scrapes of each exporter are stored, as they are once the next
/// one begins.
async fn scraped(exporters: &[DcgmExporter], count: usize) -> Prometheus {
    let config = scrape_config(exporters, INTERVAL);
    let options = prometheus::Options {
        config,
        ..Default::default()
    };
    let prometheus = Prometheus::start(options).await.unwrap();
    let all_scraped = async {
        while exporters
            .iter()
            .any(|exporter| exporter.scrapes().len() <= count)
        {
            tokio::time::sleep(INTERVAL / 5).await;
        }
    };
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, all_scraped)
        .await
        .expect("Prometheus scrapes");
    prometheus
}

/// All samples of a selector as Prometheus tells them: labels, then times and values.
async fn samples(prometheus: &Prometheus, selector: &str) -> Vec<(Value, Vec<(f64, String)>)> {
    let url = format!("{}/api/v1/query", prometheus.url());
    let body = format!("query={selector}[1h]");
    let request = reqwest::Client::new().post(url).body(body);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let reply = request.send().await.unwrap().text().await.unwrap();
    let mut reply: Value = serde_json::from_str(&reply).unwrap();
    let Value::Array(result) = reply["data"]["result"].take() else {
        panic!("{reply}")
    };
    let series = result.into_iter().map(|mut series| {
        let values = serde_json::from_value(series["values"].take()).unwrap();
        (series["metric"].take(), values)
    });
    series.collect()
}

/// Field, node and labels that tell series of one exporter apart.
type Key = (String, String, String, Option<String>, Option<String>);

fn stored_key(metric: &Value) -> Key {
    let label = |name: &str| metric[name].as_str().map(str::to_owned);
    let required = |name| label(name).unwrap_or_default();
    (
        required("__name__"),
        required("instance_id"),
        required("gpu"),
        label("GPU_I_ID"),
        label("hpc_job"),
    )
}

fn served_key(node: &Node, reading: &Reading) -> Key {
    let series = &reading.series;
    (
        reading.name.to_owned(),
        node.instance_id.clone(),
        series.gpu.to_string(),
        series.mig.as_ref().map(|mig| mig.id.to_string()),
        series.hpc_job.clone(),
    )
}

/// Each series' values in the order they were served.
fn served(exporters: &[DcgmExporter]) -> BTreeMap<Key, Vec<f64>> {
    let mut served = BTreeMap::<_, Vec<_>>::new();
    for exporter in exporters {
        for scrape in exporter.scrapes() {
            for reading in &scrape.readings {
                let key = served_key(exporter.node(), reading);
                served.entry(key).or_default().push(reading.value());
            }
        }
    }
    served
}

#[tokio::test]
async fn every_sample_in_prometheus_is_one_that_was_served() {
    let jobs = vec!["4711".to_owned(), "4712".to_owned()];
    let exporters = [
        DcgmExporter::start(Node::p5en(0)).await.unwrap(),
        DcgmExporter::start(Node {
            hpc_jobs: jobs,
            ..Node::p5en(1)
        })
        .await
        .unwrap(),
    ];
    let prometheus = scraped(&exporters, 4).await;
    let stored = samples(&prometheus, r#"{__name__=~"DCGM_FI_.*"}"#).await;
    // Asked for after what is stored, so that all of that is in it.
    let served = served(&exporters);
    // The last XID is no series yet.
    assert_eq!(stored.len(), 24 * 8 + 24 * 8 * 2);
    for (metric, values) in &stored {
        let values: Vec<f64> = values
            .iter()
            .map(|(_, value)| value.parse().unwrap())
            .collect();
        assert!(values.len() >= 4, "{metric}: {values:?}");
        assert_eq!(
            values,
            served[&stored_key(metric)][..values.len()],
            "{metric}"
        );
    }
}

#[tokio::test]
async fn a_sample_is_stored_with_the_time_of_its_scrape() {
    // Prometheus aligns the times of scrapes to its interval, within this tolerance.
    const TOLERANCE: f64 = 0.002;
    let exporters = [DcgmExporter::start(Node::p5en(0)).await.unwrap()];
    let prometheus = scraped(&exporters, 3).await;
    let stored = samples(&prometheus, "DCGM_FI_DEV_POWER_USAGE").await;
    let served: Vec<f64> = exporters[0]
        .scrapes()
        .iter()
        .map(|scrape| scrape.at.duration_since(UNIX_EPOCH).unwrap().as_secs_f64())
        .collect();
    for (_, values) in &stored {
        let times: Vec<f64> = values.iter().map(|(time, _)| *time).collect();
        let before = times
            .iter()
            .zip(&served)
            .all(|(time, at)| *time <= at + TOLERANCE);
        let after = times[1..]
            .iter()
            .zip(&served)
            .all(|(time, at)| *time >= at - TOLERANCE);
        assert!(times.len() >= 3 && before && after, "{times:?} {served:?}");
    }
}

#[tokio::test]
async fn relabelling_adds_the_instance_and_the_cluster() {
    let exporters = [DcgmExporter::start(Node::p5en(7)).await.unwrap()];
    let prometheus = scraped(&exporters, 1).await;
    let (metric, _) = &samples(&prometheus, "DCGM_FI_DEV_FB_USED").await[5];
    let address = exporters[0].address().to_string();
    for (label, value) in [
        ("gpu", "5"),
        ("UUID", "GPU-00000007-0000-4000-8000-000000000005"),
        ("device", "nvidia5"),
        ("modelName", "NVIDIA H200"),
        ("hostname", "ip-10-0-0-7.us-east-2.compute.internal"),
        ("instance_id", "i-00000000000000007"),
        ("cluster", "p5en"),
        ("job", "dcgm"),
        ("instance", address.as_str()),
    ] {
        assert_eq!(metric[label], value, "{label} of {metric}");
    }
}

#[tokio::test]
async fn every_release_prints_as_the_exporter_prints() {
    let power = ("DCGM_FI_DEV_POWER_USAGE", "Power draw (in W).");
    let watts = ("DCGM_FI_DEV_BOARD_POWER_WATTS", "Power draw in watts.");
    let driver = "DCGM_FI_DRIVER_VERSION";
    for (release, hostname, driver, (name, help)) in [
        (Release::V4_5, "Hostname", driver, power),
        (Release::V4_8_2, "Hostname", driver, power),
        (Release::V4_8_3, "hostname", driver, power),
        (
            Release::V4_9,
            "hostname",
            "DCGM_FI_SYSTEM_DRIVER_VERSION",
            watts,
        ),
    ] {
        let node = Node {
            release,
            ..Node::p5en(0)
        };
        let exporter = DcgmExporter::start(node).await.unwrap();
        exporter.print_instead(field("DCGM_FI_DEV_POWER_USAGE"), 0, "113.611000");
        let text = metrics(&exporter).await;
        let head = format!("# HELP {name} {help}\n# TYPE {name} gauge\n");
        let line = format!(
            "{name}{{gpu=\"0\",UUID=\"GPU-00000000-0000-4000-8000-000000000000\",\
             pci_bus_id=\"00000000:53:00.0\",device=\"nvidia0\",modelName=\"NVIDIA H200\",\
             {hostname}=\"ip-10-0-0-0.us-east-2.compute.internal\",\
             {driver}=\"580.105.08\"}} 113.611000\n"
        );
        assert!(text.contains(&format!("{head}{line}")), "{text}");
    }
}

/// The value of a series of GPU 0.
fn printed(text: &str, name: &str) -> Option<f64> {
    let start = format!("{name}{{gpu=\"0\"");
    let line = text.lines().find(|line| line.starts_with(&start))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn the_newest_release_has_other_names_and_base_units() {
    let older = Node::p5en(0);
    let newer = Node {
        release: Release::V4_9,
        ..older.clone()
    };
    let exporters = [
        DcgmExporter::start(older).await.unwrap(),
        DcgmExporter::start(newer).await.unwrap(),
    ];
    for exporter in &exporters {
        for (name, printed) in [
            ("DCGM_FI_DEV_GPU_UTIL", ["93", "0.930000"]),
            ("DCGM_FI_DEV_FB_USED", ["80000", "83886080000"]),
            ("DCGM_FI_DEV_SM_CLOCK", ["1980", "1980000000"]),
        ] {
            let is_newer = exporter.node().release == Release::V4_9;
            exporter.print_instead(field(name), 0, printed[usize::from(is_newer)]);
        }
    }
    let [older, newer] = [metrics(&exporters[0]).await, metrics(&exporters[1]).await];
    for (old_name, old, new_name, new) in [
        (
            "DCGM_FI_DEV_GPU_UTIL",
            93.0,
            "DCGM_FI_DEV_GPU_UTIL_RATIO",
            0.93,
        ),
        (
            "DCGM_FI_DEV_FB_USED",
            80_000.0,
            "DCGM_FI_DEV_FB_USED_BYTES",
            83_886_080_000.0,
        ),
        (
            "DCGM_FI_DEV_SM_CLOCK",
            1980.0,
            "DCGM_FI_DEV_SM_CLOCK_HERTZ",
            1_980_000_000.0,
        ),
    ] {
        assert_eq!(printed(&older, old_name), Some(old));
        assert_eq!(printed(&newer, new_name), Some(new));
        assert_eq!(
            printed(&older, new_name).or(printed(&newer, old_name)),
            None
        );
    }
    let measured = |exporter: &DcgmExporter| {
        let scrape = exporter.scrapes().remove(0);
        let readings = scrape.readings.into_iter();
        let of_first = readings.filter(|reading| reading.series.gpu == 0);
        let kept = of_first.filter(|reading| {
            ["GPU_UTIL", "FB_USED", "SM_CLOCK"]
                .contains(&reading.field.name.trim_start_matches("DCGM_FI_DEV_"))
        });
        kept.map(|reading| (reading.field.name, reading.measured))
            .collect::<Vec<_>>()
    };
    assert_eq!(measured(&exporters[0]), measured(&exporters[1]));
}

#[tokio::test]
async fn events_have_no_series_before_the_first_one() {
    let xid = "DCGM_FI_DEV_XID_ERRORS";
    for (release, name, before) in [
        (Release::V4_5, xid, Some(0.0)),
        (Release::V4_8_2, xid, None),
        (Release::V4_9, "DCGM_FI_DEV_XID_ERROR", None),
    ] {
        let node = Node {
            release,
            ..Node::p5en(0)
        };
        let exporter = DcgmExporter::start(node).await.unwrap();
        assert_eq!(printed(&metrics(&exporter).await, name), before);
        exporter.print_instead(field(xid), 0, "79");
        assert_eq!(printed(&metrics(&exporter).await, name), Some(79.0));
    }
}

#[tokio::test]
async fn the_projects_counters_file_adds_the_fields_of_health() {
    let node = Node {
        shows_health: true,
        ..Node::p5en(0)
    };
    let exporter = DcgmExporter::start(node).await.unwrap();
    let text = metrics(&exporter).await;
    let shown = |name| printed(&text, name);
    assert_eq!(shown("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL"), Some(0.0));
    assert_eq!(shown("DCGM_FI_DEV_POWER_MGMT_LIMIT"), Some(700.0));
    assert_eq!(shown("DCGM_EXP_XID_ERRORS_TOTAL"), None);
}

#[tokio::test]
async fn slices_of_a_gpu_are_series_of_their_own() {
    let slice = |id| {
        (
            2,
            MigInstance {
                profile: "1g.18gb".to_owned(),
                id,
            },
        )
    };
    let node = Node {
        mig: vec![slice(7), slice(8)],
        ..Node::p5en(0)
    };
    assert_eq!(node.series().len(), 9);
    let exporters = [DcgmExporter::start(node).await.unwrap()];
    let prometheus = scraped(&exporters, 1).await;
    let slices = samples(&prometheus, r#"DCGM_FI_DEV_FB_USED{gpu="2"}"#).await;
    let ids: Vec<_> = slices
        .iter()
        .map(|(metric, _)| metric["GPU_I_ID"].as_str())
        .collect();
    assert_eq!(ids, [Some("7"), Some("8")]);
    assert_eq!(slices[0].0["GPU_I_PROFILE"], "1g.18gb");
}

#[tokio::test]
async fn garbage_gets_through_to_prometheus() {
    let exporter = DcgmExporter::start(Node::p5en(0)).await.unwrap();
    let util = field("DCGM_FI_DEV_GPU_UTIL");
    for (gpu, printed) in [
        "NaN",
        "+Inf",
        "9223372036854775794",
        "140737488355328",
        "808334905",
    ]
    .iter()
    .enumerate()
    {
        exporter.print_instead(util, gpu as u32, printed);
    }
    exporter.also_print(r#"DCGM_FI_DEV_GPU_UTIL{gpu="",UUID="GPU-nobody"} 5"#);
    let exporters = [exporter];
    let prometheus = scraped(&exporters, 1).await;
    let stored = samples(&prometheus, "DCGM_FI_DEV_GPU_UTIL").await;
    let values: BTreeMap<_, _> = stored
        .iter()
        .map(|(metric, values)| (metric["gpu"].as_str().unwrap_or_default(), &*values[0].1))
        .collect();
    assert_eq!(values[""], "5", "a label without a value is no label");
    assert_eq!((values["0"], values["1"]), ("NaN", "+Inf"));
    assert_eq!(
        (values["2"], values["3"]),
        ("9223372036854776000", "140737488355328")
    );
    assert_eq!((values["4"], values.len()), ("808334905", 9));
}

#[tokio::test]
async fn an_exporter_that_is_dropped_is_gone() {
    let exporter = DcgmExporter::start(Node::p5en(0)).await.unwrap();
    let url = format!("http://{}/metrics", exporter.address());
    assert!(reqwest::get(&url).await.is_ok());
    drop(exporter);
    while reqwest::get(&url).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_history_holds_any_number_at_any_time() {
    let start = UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
    let times = every(
        Duration::from_secs(15),
        start,
        start + Duration::from_secs(60),
    );
    let numbers = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        9_223_372_036_854_775_794.0,
    ];
    let mut history = History::new().unwrap();
    history
        .series("odd", "gpu=\"0\"", times.into_iter().zip(numbers))
        .unwrap();
    let options = prometheus::Options {
        history: vec![history],
        ..Default::default()
    };
    let prometheus = Prometheus::start(options).await.unwrap();
    let url = format!(
        "{}/api/v1/query?query=odd[1m]&time=1700000060",
        prometheus.url()
    );
    let reply = reqwest::get(url).await.unwrap().text().await.unwrap();
    let values = r#"[[1700000000.250,"NaN"],[1700000015.250,"+Inf"],[1700000030.250,"-Inf"],"#;
    assert!(reply.contains(values) && reply.contains(r#"[1700000045.250,"9223372036854776000"]"#));
}

#[test]
fn the_load_is_that_of_a_training_h200() {
    let node = Node::p5en(3);
    let series = &node.series()[6];
    let start = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let hour = every(
        Duration::from_secs(1),
        start,
        start + Duration::from_secs(3600),
    );
    let read = |name: &str, time: &SystemTime| node.load(series, field(name), *time);
    let all = |name: &str| hour.iter().map(|time| read(name, time)).collect::<Vec<_>>();
    for (name, low, high) in [
        ("DCGM_FI_DEV_GPU_UTIL", 0.0, 100.0),
        ("DCGM_FI_DEV_MEM_COPY_UTIL", 0.0, 100.0),
        ("DCGM_FI_DEV_GPU_TEMP", 50.0, 75.0),
        ("DCGM_FI_DEV_POWER_USAGE", 100.0, 700.0),
    ] {
        let values = all(name);
        assert!(
            values.iter().all(|value| (low..=high).contains(value)),
            "{name}"
        );
        assert!(
            values.iter().any(|value| *value != values[0]),
            "{name} moves"
        );
    }
    let utilisation = all("DCGM_FI_DEV_GPU_UTIL");
    let busy = utilisation.iter().filter(|value| **value >= 90.0).count();
    assert!(
        (3400..3600).contains(&busy),
        "trains, but for checkpoints: {busy}"
    );
    assert_eq!(
        utilisation,
        all("DCGM_FI_DEV_GPU_UTIL"),
        "the same at any time it is asked"
    );
    for time in &hour {
        let parts = ["USED", "FREE", "RESERVED"].map(|part| format!("DCGM_FI_DEV_FB_{part}"));
        let total: f64 = parts.iter().map(|name| read(name, time)).sum();
        assert_eq!(total, 143_771.0);
    }
}
