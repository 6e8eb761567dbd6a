//! The data source for AMP. Pure.

use amp::WorkspaceUrl;

use super::edition::{AMP_PLUGIN, Edition, PROMETHEUS};
use super::lookup::Lookup;
use super::mark::Mark;
use super::{Plan, WORKSPACE_ROLE};
use crate::error::SetupError;
use crate::grafana::DataSource;

/// `jsonData` keys with which another identity signs: a role to assume, or a profile of the server.
const OTHER_IDENTITIES: [&str; 3] = ["sigV4AssumeRoleArn", "sigV4ExternalId", "sigV4Profile"];

/// The wanted data source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Grafana's key for it, unless a data source made by a person is adopted.
    pub uid: String,
    /// The name people see.
    pub(crate) name: String,
    /// The AMP workspace.
    pub(crate) url: WorkspaceUrl,
    /// The region that requests to AMP are signed for.
    pub(crate) region: String,
    /// Id of the stack that asks for it; `None` in a manual run.
    pub(crate) stack: Option<String>,
}

/// The data source to set up among those that Grafana has.
///
/// # Errors
/// It has another type or is read-only, or name and uid belong to two different data sources.
pub fn find<'a>(
    wanted: &Wanted,
    sources: &'a [DataSource],
) -> Result<Option<&'a DataSource>, SetupError> {
    let lookup = Lookup {
        uid: &wanted.uid,
        name: &wanted.name,
        types: &[PROMETHEUS, AMP_PLUGIN],
        settings: "DATASOURCE_NAME and DATASOURCE_UID",
    };
    match lookup.find(sources)? {
        Some(found) if found.read_only => {
            let (name, uid) = (found.name.clone(), found.uid.clone());
            Err(SetupError::ReadOnly { name, uid })
        }
        found => Ok(found),
    }
}

/// Decides what to write for `wanted`, given the data source found and the uid of the default one.
///
/// # Errors
/// No type of this Grafana can sign requests to AMP.
pub fn plan(
    wanted: &Wanted,
    edition: &Edition,
    found: Option<&DataSource>,
    default: Option<&str>,
) -> Result<Plan, SetupError> {
    let source_type = edition.source_type(found)?;
    Ok(match found {
        None => Plan::Create(created(wanted, source_type, default)),
        Some(found) => changed(wanted, source_type, found, default),
    })
}

fn created(wanted: &Wanted, source_type: &str, default: Option<&str>) -> DataSource {
    let mut source = DataSource::new(&wanted.uid, source_type);
    sign_for(&mut source, wanted, source_type);
    // A query can be longer than a URL. In an adopted data source the person's choice stays.
    source.set("httpMethod", "POST");
    // Grafana's alert list shows the workspace's own rules and alerts.
    source.set("manageAlerts", true);
    let mark = Mark {
        previous_default: default.map(str::to_owned),
        stack: wanted.stack.clone(),
        ..Mark::made_for(&wanted.uid)
    };
    mark.write_to(&mut source);
    source
}

fn changed(wanted: &Wanted, source_type: &str, found: &DataSource, default: Option<&str>) -> Plan {
    let mark = Mark::of(found);
    let made = mark.as_ref().is_some_and(|mark| mark.made);
    let mut into = found.clone();
    sign_for(&mut into, wanted, source_type);
    if made {
        into.uid.clone_from(&wanted.uid);
    }
    let belongs_here = mark.as_ref().is_none_or(|mark| mark.uid == wanted.uid);
    if into == *found && belongs_here {
        return Plan::Unchanged(into);
    }
    let previous_default = default
        .filter(|default| *default != found.uid)
        .map(str::to_owned)
        .or_else(|| mark.as_ref()?.previous_default.clone());
    let mark = Mark {
        made,
        uid: wanted.uid.clone(),
        previous_default,
        stack: wanted.stack.clone().or_else(|| mark?.stack),
    };
    mark.write_to(&mut into);
    Plan::Update {
        uid: found.uid.clone(),
        into,
    }
}

/// Has the data source query AMP, signed by the workspace's role; all other settings stay.
fn sign_for(source: &mut DataSource, wanted: &Wanted, source_type: &str) {
    source.name.clone_from(&wanted.name);
    source.source_type = source_type.to_owned();
    source.access = "proxy".to_owned();
    // A trailing slash is harmless: Grafana joins paths (pkg/promlib/client/client.go).
    if source.url.trim_end_matches('/') != wanted.url.as_str() {
        source.url = wanted.url.as_str().to_owned();
    }
    source.basic_auth = false;
    source.is_default = true;
    // Keys: pkg/services/datasources/service/datasource.go, httpClientOptions. The flag must be
    // a JSON boolean: https://github.com/grafana/grafana/issues/41703
    source.set("sigV4Auth", true);
    source.set("sigV4AuthType", WORKSPACE_ROLE);
    source.set("sigV4Region", wanted.region.as_str());
    for key in OTHER_IDENTITIES {
        source.json_data.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{Removal, removals};
    use super::*;
    use crate::grafana::Version;

    const AMP: &str = "https://aps-workspaces.us-east-2.amazonaws.com/workspaces/ws-1";

    fn wanted() -> Wanted {
        Wanted {
            uid: "amp".into(),
            name: "Prometheus of AWS".into(),
            url: WorkspaceUrl::parse(AMP).unwrap(),
            region: "us-east-2".into(),
            stack: None,
        }
    }

    fn edition(version: &str, has_amp_plugin: bool) -> Edition {
        Edition {
            version: Version::parse(version).unwrap(),
            lacks_amp_plugin: (!has_amp_plugin).then(|| "it is not installed".into()),
        }
    }

    fn source(value: Value) -> DataSource {
        serde_json::from_value(value).unwrap()
    }

    fn hand_made() -> DataSource {
        source(json!({
            "uid": "P12", "name": "Prometheus of AWS", "type": "prometheus", "access": "proxy",
            "url": "http://old", "basicAuth": true, "version": 4,
            "jsonData": {"timeInterval": "15s", "httpMethod": "GET", "sigV4Auth": "true"},
        }))
    }

    #[test]
    fn the_type_follows_version_and_plugins() {
        for (version, has_plugin, expected) in [
            ("9.4", false, Some(PROMETHEUS)),
            ("10.4", false, Some(PROMETHEUS)),
            ("10.4", true, Some(AMP_PLUGIN)),
            ("12.4", true, Some(AMP_PLUGIN)),
            ("13.0", true, Some(AMP_PLUGIN)),
            ("12.4", false, None),
        ] {
            let plan = plan(&wanted(), &edition(version, has_plugin), None, None);
            let found = plan.ok().map(|plan| plan.into_source().source_type);
            assert_eq!(
                found.as_deref(),
                expected,
                "{version}, plugin: {has_plugin}"
            );
        }
    }

    #[test]
    fn a_new_source_is_written_whole() {
        let plan = plan(&wanted(), &edition("12.4", true), None, Some("loki")).unwrap();
        let Plan::Create(source) = plan else {
            panic!("{plan:?}")
        };
        assert_eq!(
            serde_json::to_value(source).unwrap(),
            json!({
                "uid": "amp", "name": "Prometheus of AWS", "access": "proxy", "url": AMP,
                "type": "grafana-amazonprometheus-datasource", "isDefault": true,
                "user": "", "database": "", "basicAuth": false, "basicAuthUser": "",
                "withCredentials": false, "version": 0,
                "jsonData": {
                    "httpMethod": "POST", "manageAlerts": true, "sigV4Auth": true, "sigV4AuthType": "ec2_iam_role",
                    "sigV4Region": "us-east-2",
                    "grafanaDatasourceSetup":
                        {"made": true, "uid": "amp", "previousDefault": "loki"},
                },
            })
        );
    }

    #[test]
    fn what_is_as_wanted_is_not_written_again() {
        let edition = edition("10.4", false);
        let made = plan(&wanted(), &edition, None, Some("loki"))
            .unwrap()
            .into_source();
        assert_eq!(
            plan(&wanted(), &edition, Some(&made), Some("amp")).unwrap(),
            Plan::Unchanged(made.clone())
        );
        let with_slash = DataSource {
            url: format!("{AMP}/"),
            ..made
        };
        assert!(matches!(
            plan(&wanted(), &edition, Some(&with_slash), Some("amp")).unwrap(),
            Plan::Unchanged(_)
        ));
    }

    #[test]
    fn each_difference_is_written() {
        let edition = edition("10.4", false);
        let made = plan(&wanted(), &edition, None, None).unwrap().into_source();
        let differ = |change: fn(&mut DataSource)| {
            let mut source = made.clone();
            change(&mut source);
            source
        };
        for (what, found) in [
            ("name", differ(|source| source.name = "x".into())),
            ("access", differ(|source| source.access = "direct".into())),
            ("url", differ(|source| source.url = format!("{AMP}/api/v1"))),
            ("default", differ(|source| source.is_default = false)),
            ("basic auth", differ(|source| source.basic_auth = true)),
            (
                "sigv4 as text",
                differ(|source| {
                    source.json_data.insert("sigV4Auth".into(), json!("true"));
                }),
            ),
            (
                "sigv4 type",
                differ(|source| {
                    source
                        .json_data
                        .insert("sigV4AuthType".into(), json!("workspace-iam-role"));
                }),
            ),
            (
                "region",
                differ(|source| {
                    source
                        .json_data
                        .insert("sigV4Region".into(), json!("us-west-1"));
                }),
            ),
        ] {
            let plan = plan(&wanted(), &edition, Some(&found), Some("amp")).unwrap();
            assert_eq!(
                plan,
                Plan::Update {
                    uid: "amp".into(),
                    into: made.clone()
                },
                "{what}"
            );
        }
    }

    #[test]
    fn an_adopted_source_keeps_uid_and_foreign_settings() {
        let plan = plan(
            &wanted(),
            &edition("9.4", false),
            Some(&hand_made()),
            Some("loki"),
        );
        let Ok(Plan::Update { uid, into }) = plan else {
            panic!("{plan:?}")
        };
        assert_eq!(
            (uid.as_str(), into.uid.as_str(), into.version),
            ("P12", "P12", 4)
        );
        assert_eq!(into.json_data["timeInterval"], "15s");
        assert_eq!(into.json_data["httpMethod"], "GET");
        assert_eq!(into.json_data["sigV4Auth"], true);
        assert_eq!(
            removals("amp", &[into, source(json!({"uid": "loki"}))]),
            [Removal {
                uid: "P12".into(),
                made: false,
                default_again: Some("loki".into()),
            }]
        );
    }

    #[test]
    fn an_adopted_source_signs_with_the_workspaces_role_and_no_other_identity() {
        let mut found = hand_made();
        for key in OTHER_IDENTITIES {
            found.set(key, "arn:aws:iam::999988887777:role/reader");
        }
        let plan = plan(&wanted(), &edition("10.4", false), Some(&found), None);
        let into = plan.unwrap().into_source();
        for key in OTHER_IDENTITIES {
            assert_eq!(into.json_data.get(key), None, "{key}");
        }
        assert_eq!(into.json_data["sigV4AuthType"], WORKSPACE_ROLE);
    }

    #[test]
    fn a_migrated_source_keeps_its_type_without_the_plugin_being_seen() {
        let migrated = DataSource {
            source_type: AMP_PLUGIN.into(),
            ..hand_made()
        };
        let plan = plan(&wanted(), &edition("13.0", false), Some(&migrated), None).unwrap();
        assert_eq!(plan.into_source().source_type, AMP_PLUGIN);
    }

    #[test]
    fn another_uid_in_the_settings_moves_the_source_made_before() {
        let edition = edition("12.4", true);
        let old = plan(&wanted(), &edition, None, Some("loki"))
            .unwrap()
            .into_source();
        let moved = Wanted {
            uid: "amp-2".into(),
            ..wanted()
        };
        let plan = plan(&moved, &edition, Some(&old), Some("amp")).unwrap();
        let Plan::Update { uid, into } = plan else {
            panic!("{plan:?}")
        };
        assert_eq!((uid.as_str(), into.uid.as_str()), ("amp", "amp-2"));
        let now = [into, source(json!({"uid": "loki"}))];
        assert_eq!(
            removals("amp", &now),
            [],
            "CloudFormation's clean-up of the old uid"
        );
        let removals = removals("amp-2", &now);
        assert_eq!(removals[0].default_again.as_deref(), Some("loki"));
    }

    #[test]
    fn what_may_not_be_touched_is_an_error() {
        let read_only = DataSource {
            read_only: true,
            ..hand_made()
        };
        let of_another_kind = DataSource {
            source_type: "loki".into(),
            ..hand_made()
        };
        let namesake = DataSource {
            uid: "amp".into(),
            name: "x".into(),
            ..hand_made()
        };
        for (sources, error_type) in [
            (vec![read_only], "ReadOnly"),
            (vec![of_another_kind], "NameTaken"),
            (vec![hand_made(), namesake], "NameTaken"),
        ] {
            assert_eq!(
                find(&wanted(), &sources).unwrap_err().error_type(),
                error_type
            );
        }
        assert!(find(&wanted(), &[]).unwrap().is_none());
    }

    #[test]
    fn a_manual_run_keeps_the_stack_that_is_remembered() {
        let of_stack = Wanted {
            stack: Some("arn:a".into()),
            ..wanted()
        };
        let edition = edition("12.4", true);
        let made = plan(&of_stack, &edition, None, None).unwrap().into_source();
        let mark = Mark::of(&made).unwrap();
        assert_eq!(mark.stack.as_deref(), Some("arn:a"));
        let unchanged = plan(&wanted(), &edition, Some(&made), Some("amp")).unwrap();
        assert_eq!(unchanged, Plan::Unchanged(made));
    }
}
