//! What docs/migrate.md promises to those who come from the guides, held to the guides and to the stack.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use regex::Regex;
use suites::guides;
use testkit::project::repository;

use crate::templates::markdown::Document;
use crate::templates::template::Template;

/// In both languages. That a translation has the same names is another test's business; their units are
/// words.
const DOCUMENTS: [&str; 2] = ["docs/migrate.md", "docs/ko/migrate.md"];

#[test]
fn names_that_stay_are_those_of_the_guides() {
    let several = Regex::new(r"([^()]*)\((\w+)\)").unwrap();
    for document in DOCUMENTS.map(Document::load) {
        let names = |first: &[&str]| document.row(first).names.clone();
        let namespace = guides::NAMESPACE.replace("${CLUSTER_NAME}", "<cluster>");
        assert_eq!(names(&["namespace", "네임스페이스"]), set([&namespace]));
        assert_eq!(names(&["dimensions", "차원"]), set(guides::DIMENSIONS));
        assert_eq!(
            names(&["data source", "데이터 소스"]),
            set([guides::DATA_SOURCE])
        );
        let function = guides::SET_UP_FUNCTION.replace("${AWS::StackName}", "<stack>");
        assert_eq!(names(&["function name", "함수 이름"]), set([&function]));

        let cell = &document.row(&["metrics and units", "지표와 단위"]).cells[1];
        let units: BTreeMap<_, _> = several
            .captures_iter(cell)
            .flat_map(|found| {
                let [metrics, unit] = [1, 2].map(|at| found.get(at).unwrap().as_str());
                let metrics = metrics.split('`').skip(1).step_by(2);
                metrics.map(move |metric| (metric, unit))
            })
            .collect();
        let expected = guides::METRICS.map(|(_, metric, unit)| (metric, unit));
        assert_eq!(units, expected.into(), "{}", document.path);
    }
}

#[test]
fn the_stack_has_the_names_that_stay() {
    let stack = Template::load("monitoring.yaml");
    let ours: BTreeSet<_> = stack.section("Outputs").keys().cloned().collect();
    let kept = &set(guides::OUTPUTS) & &ours;
    for document in DOCUMENTS.map(Document::load) {
        assert_eq!(
            document.row(&["outputs", "출력"]).names,
            kept,
            "{}",
            document.path
        );
    }
    let data_source = &stack.section("Parameters")["DataSourceName"];
    assert_eq!(data_source["Default"], guides::DATA_SOURCE);
    // `${NamePrefix}` is the stack's name where nobody has chosen another.
    let function = guides::SET_UP_FUNCTION.replace("AWS::StackName", "NamePrefix");
    let part = Template::load("grafana.yaml");
    let name = &part.resource("GrafanaDataSourceSetup")["Properties"]["FunctionName"];
    assert_eq!(name["Fn::Sub"], function);
    let prefix = &stack.resource("Grafana")["Properties"]["Parameters"]["NamePrefix"]["Fn::If"];
    let stack_name = serde_json::json!({"Ref": "AWS::StackName"});
    assert_eq!(
        (&prefix[0], &prefix[2]),
        (&"HasNamePrefix".into(), &stack_name)
    );
}

#[test]
fn whatever_the_guides_have_left_is_said_to_be_removed() {
    for document in DOCUMENTS {
        let text = fs::read_to_string(repository(document)).unwrap();
        for left in guides::LEFT_BEHIND {
            assert!(text.contains(left), "{document}: {left}");
        }
    }
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}
