//! The CloudWatch data source: Slurm's metrics and those of `dcgm-to-cloudwatch`, beside AMP's. Pure.

use super::lookup::Lookup;
use super::mark::Mark;
use super::{Plan, WORKSPACE_ROLE};
use crate::error::SetupError;
use crate::grafana::DataSource;

const UID: &str = "amazon-cloudwatch";
const CLOUDWATCH: &str = "cloudwatch";

/// The wanted CloudWatch data source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WantedCloudWatch {
    /// The name people see.
    pub(crate) name: String,
    /// The region that panels query unless they name another.
    pub(crate) region: String,
}

/// The data source to set up: ours, or one that a person made under the same name.
///
/// # Errors
/// The name or uid belongs to a data source of another type.
pub(crate) fn find<'a>(
    wanted: &WantedCloudWatch,
    sources: &'a [DataSource],
) -> Result<Option<&'a DataSource>, SetupError> {
    let lookup = Lookup {
        uid: UID,
        name: &wanted.name,
        types: &[CLOUDWATCH],
        settings: "CLOUDWATCH_DATASOURCE_NAME",
    };
    lookup.find(sources)
}

/// Decides what to write for `wanted`. `owner` is the uid of the resource that asks for it.
pub(crate) fn plan(wanted: &WantedCloudWatch, owner: &str, found: Option<&DataSource>) -> Plan {
    let Some(found) = found else {
        return Plan::Create(as_wanted(DataSource::new(UID, CLOUDWATCH), wanted, owner));
    };
    if Mark::of(found).is_none() {
        // Made by a person: how it reads CloudWatch is that person's choice.
        return Plan::Unchanged(found.clone());
    }
    let into = as_wanted(found.clone(), wanted, owner);
    if into == *found {
        Plan::Unchanged(into)
    } else {
        let uid = found.uid.clone();
        Plan::Update { uid, into }
    }
}

/// Keys: pkg/tsdb/cloudwatch/models/settings.go.
fn as_wanted(mut source: DataSource, wanted: &WantedCloudWatch, owner: &str) -> DataSource {
    source.name.clone_from(&wanted.name);
    source.set("authType", WORKSPACE_ROLE);
    source.set("defaultRegion", wanted.region.as_str());
    Mark::made_for(owner).write_to(&mut source);
    source
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wanted() -> WantedCloudWatch {
        WantedCloudWatch {
            name: "Amazon CloudWatch".into(),
            region: "us-east-2".into(),
        }
    }

    fn made() -> DataSource {
        match plan(&wanted(), "amp", None) {
            Plan::Create(source) => source,
            plan => panic!("{plan:?}"),
        }
    }

    #[test]
    fn a_new_source_signs_with_the_workspaces_role_and_is_not_the_default() {
        assert_eq!(
            serde_json::to_value(made()).unwrap(),
            json!({
                "uid": "amazon-cloudwatch", "name": "Amazon CloudWatch", "type": "cloudwatch",
                "access": "proxy", "url": "", "isDefault": false,
                "user": "", "database": "", "basicAuth": false, "basicAuthUser": "",
                "withCredentials": false, "version": 0,
                "jsonData": {
                    "authType": "ec2_iam_role", "defaultRegion": "us-east-2",
                    "grafanaDatasourceSetup": {"made": true, "uid": "amp"},
                },
            })
        );
        assert_eq!(
            plan(&wanted(), "amp", Some(&made())),
            Plan::Unchanged(made())
        );
    }

    #[test]
    fn each_difference_is_written_and_what_else_is_set_stays() {
        let mut found = made();
        found.set("timeout", "1m");
        for (what, wanted, owner) in [
            (
                "name",
                WantedCloudWatch {
                    name: "CloudWatch".into(),
                    ..wanted()
                },
                "amp",
            ),
            (
                "region",
                WantedCloudWatch {
                    region: "us-west-2".into(),
                    ..wanted()
                },
                "amp",
            ),
            ("another uid of the resource", wanted(), "amp-2"),
        ] {
            let Plan::Update { uid, into } = plan(&wanted, owner, Some(&found)) else {
                panic!("{what}")
            };
            assert_eq!(uid, "amazon-cloudwatch");
            assert_eq!(
                plan(&wanted, owner, Some(&into)),
                Plan::Unchanged(into.clone())
            );
            let kept = serde_json::to_value(into).unwrap();
            assert_eq!(kept["jsonData"]["timeout"], "1m", "{what}");
        }
    }

    #[test]
    fn a_persons_source_is_used_as_it_is() {
        let persons: DataSource = serde_json::from_value(json!({
            "uid": "P1", "name": "Amazon CloudWatch", "type": "cloudwatch", "isDefault": true,
            "jsonData": {"authType": "keys", "defaultRegion": "eu-west-1"},
        }))
        .unwrap();
        let sources = [persons.clone()];
        let found = find(&wanted(), &sources).unwrap();
        assert_eq!(
            plan(&wanted(), "amp", found),
            Plan::Unchanged(persons.clone())
        );
        let mut of_another_kind = persons;
        of_another_kind.source_type = "loki".into();
        let error = find(&wanted(), &[of_another_kind]).unwrap_err();
        assert!(
            error.to_string().ends_with("CLOUDWATCH_DATASOURCE_NAME"),
            "{error}"
        );
    }
}
