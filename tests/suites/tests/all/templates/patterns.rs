//! A parameter takes what the function takes: a template refuses at once what would fail later, and
//! never what would work.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use dcgm_to_cloudwatch::config::Config;
use grafana_datasource_setup::config::Settings;
use proptest::prelude::*;
use regex::Regex;
use startup::Environment;

use crate::templates::template::Template;

/// Texts to make a value of: parts of right ones, and what breaks them. ClusterName is not here: its
/// parameter has ParallelCluster's rule, and a function may run for any Prometheus.
const PARTS: [(&str, &str, &[&str]); 8] = [
    (
        "SeriesSelector",
        "SERIES_SELECTOR",
        &[
            "hostname=~",
            "'p5en-[0-9]{1,3}'",
            "\"a{1}\"",
            "`a\\d{1}`",
            "'",
            "\"",
            "`",
            "\\",
            "#",
            " # {",
            "\n",
            ",",
            "{",
            "}",
            "é",
        ],
    ),
    (
        "DcgmFields",
        "DCGM_FIELDS",
        &[
            "DCGM_FI_DEV_GPU_UTIL",
            "DCGM_FI_DEV_SM_CLOCK",
            "my:gauge",
            "=",
            "GPUClock",
            ":",
            "None",
            "Count/Second",
            ",",
            " ",
            "\n",
            "x",
            "é",
            ":Percent",
        ],
    ),
    (
        "DimensionSets",
        "DIMENSION_SETS",
        &["gpu", "instance", "cluster", ",", " ", "\t", "gpus", "x"],
    ),
    (
        "InstanceIdLabels",
        "INSTANCE_ID_LABELS",
        &["instance", "Hostname", "_a", "9", ",", " ", ":", "-", "é"],
    ),
    (
        "DataSourceName",
        "DATASOURCE_NAME",
        &["Amazon", " ", "é", "\n", "\t", "a/b", "\u{a0}"],
    ),
    (
        "DataSourceUid",
        "DATASOURCE_UID",
        &["a", "-", "_", "9", "é", " ", "."],
    ),
    (
        "DashboardFolder",
        "DASHBOARD_FOLDER",
        &["GPU", " ", "é", "\n", "/", "\u{a0}"],
    ),
    (
        "GrafanaAdmins",
        "GRAFANA_ADMINS",
        &[
            "ada@example.com",
            "group:",
            "GPU operators",
            ",",
            " ",
            "\t",
            "9067642ac7-aaaabbbb-cccc-dddd-eeee-ffff00001111",
            "@",
            "[",
            "]",
            "\"",
            "\n",
            "é",
        ],
    ),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_a_function_takes_its_parameter_takes(
        (place, picks) in (0..PARTS.len(), prop::collection::vec(any::<prop::sample::Index>(), 0..8))
    ) {
        let (parameter, variable, parts) = PARTS[place];
        let value: String = picks.iter().map(|pick| parts[pick.index(parts.len())]).collect();
        // A function takes what is around a value for nothing.
        let value = value.trim();
        if !value.is_empty() && takes(variable, value) {
            prop_assert!(PATTERNS[parameter].is_match(value), "{parameter} refuses {value:?}");
        }
    }

    /// Here nothing but the form can be wrong, so that the two say the same.
    #[test]
    fn a_selector_that_a_function_refuses_its_parameter_refuses(
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..8)
    ) {
        let (parameter, variable, parts) = PARTS[0];
        let value: String = picks.iter().map(|pick| parts[pick.index(parts.len())]).collect();
        prop_assert_eq!(PATTERNS[parameter].is_match(&value), takes(variable, &value), "{:?}", value);
    }
}

/// CloudFormation has the whole value match.
static PATTERNS: LazyLock<BTreeMap<&str, Regex>> = LazyLock::new(|| {
    let template = Template::load("monitoring.yaml");
    let pattern = |parameter: &str| {
        let pattern = &template.section("Parameters")[parameter]["AllowedPattern"];
        Regex::new(&format!(r"\A(?:{})\z", pattern.as_str().unwrap())).unwrap()
    };
    PARTS
        .map(|(parameter, ..)| (parameter, pattern(parameter)))
        .into()
});

/// Whether the function that reads a variable takes this value.
fn takes(variable: &str, value: &str) -> bool {
    let workspace = "https://aps-workspaces.us-east-2.amazonaws.com/workspaces/ws-12345678-90ab-cdef-1234-567890abcdef";
    let set = BTreeMap::from([
        ("AWS_REGION", "us-east-2"),
        ("AMP_WORKSPACE_URL", workspace),
        ("CLUSTER_NAME", "p5en"),
        ("GRAFANA_WORKSPACE_ID", "g-0123abcdef"),
    ]);
    let lookup = |name: &str| {
        if name == variable {
            return Some(value.to_owned());
        }
        set.get(name).map(|value| (*value).to_owned())
    };
    Config::read(Environment::new(lookup)).is_ok() && Settings::read(None, lookup).is_ok()
}
