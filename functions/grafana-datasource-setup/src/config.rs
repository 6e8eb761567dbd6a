//! What to set up: resource properties over environment variables over defaults.
//!
//! Read for each request and not at the start: a function that cannot start never answers
//! CloudFormation, which then waits an hour for it.

pub(crate) mod former;
pub(crate) mod value;

use std::fmt;

use amp::WorkspaceUrl;
use aws_sdk_grafana::types::Role;
use serde_json::{Map, Value};
use startup::Environment;

use self::value::{amp_url, flag, name, region, title, uid, workspace_id};
use crate::dashboards::plan::WantedFolder;
use crate::data_sources::plan::cloudwatch::WantedCloudWatch;
use crate::data_sources::plan::prometheus::Wanted;
use crate::error::SetupError;
use crate::people::roster::{Roster, names};

/// One setting: its environment variable for manual runs and its property for CloudFormation.
struct Setting {
    variable: &'static str,
    property: &'static str,
}

const GRAFANA_WORKSPACE: Setting = Setting {
    variable: "GRAFANA_WORKSPACE_ID",
    property: "GrafanaWorkspaceId",
};
const AMP_WORKSPACE: Setting = Setting {
    variable: "AMP_WORKSPACE_URL",
    property: "AmpWorkspaceUrl",
};
const AMP_REGION: Setting = Setting {
    variable: "AMP_REGION",
    property: "AmpRegion",
};
const NAME: Setting = Setting {
    variable: "DATASOURCE_NAME",
    property: "DataSourceName",
};
const UID: Setting = Setting {
    variable: "DATASOURCE_UID",
    property: "DataSourceUid",
};
const CLOUDWATCH_NAME: Setting = Setting {
    variable: "CLOUDWATCH_DATASOURCE_NAME",
    property: "CloudWatchDataSourceName",
};
const FOLDER: Setting = Setting {
    variable: "DASHBOARD_FOLDER",
    property: "DashboardFolder",
};
const OVERWRITE: Setting = Setting {
    variable: "DASHBOARD_OVERWRITE",
    property: "DashboardOverwrite",
};
const ADMINS: Setting = Setting {
    variable: "GRAFANA_ADMINS",
    property: "GrafanaAdmins",
};
const EDITORS: Setting = Setting {
    variable: "GRAFANA_EDITORS",
    property: "GrafanaEditors",
};
const VIEWERS: Setting = Setting {
    variable: "GRAFANA_VIEWERS",
    property: "GrafanaViewers",
};
const SETTINGS: [Setting; 11] = [
    GRAFANA_WORKSPACE,
    AMP_WORKSPACE,
    AMP_REGION,
    NAME,
    UID,
    CLOUDWATCH_NAME,
    FOLDER,
    OVERWRITE,
    ADMINS,
    EDITORS,
    VIEWERS,
];

/// The highest role first: somebody on several lists gets the role of the first one.
const LISTS: [(Setting, Role); 3] = [
    (ADMINS, Role::Admin),
    (EDITORS, Role::Editor),
    (VIEWERS, Role::Viewer),
];

/// Set by Lambda.
const HOME_REGION: &str = "AWS_REGION";

const DEFAULT_NAME: &str = "Amazon Managed Prometheus";
const DEFAULT_UID: &str = "amazon-managed-prometheus";

/// Checked settings of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `g-…`.
    pub grafana_workspace: String,
    /// The data source for AMP.
    pub wanted: Wanted,
    /// The CloudWatch data source, if one is asked for.
    pub(crate) cloudwatch: Option<WantedCloudWatch>,
    /// The folder of dashboards, if one is asked for.
    pub(crate) folder: Option<WantedFolder>,
    /// Who shall have which role.
    pub(crate) people: Roster,
}

impl Settings {
    /// Reads `properties` (of a CloudFormation request) over `variables`.
    ///
    /// # Errors
    /// Everything that is missing or wrong, at once.
    pub fn read(
        properties: Option<&Map<String, Value>>,
        variables: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SetupError> {
        let lookup = |label: &str| {
            let is_asked =
                |setting: &&Setting| [setting.property, setting.variable].contains(&label);
            match SETTINGS.iter().find(is_asked) {
                Some(setting) => {
                    property(properties, setting.property).or_else(|| variables(setting.variable))
                }
                None => variables(label),
            }
        };
        let mut reader = Reader {
            home_region: variables(HOME_REGION).unwrap_or_default(),
            environment: Environment::new(lookup),
            is_request: properties.is_some(),
        };
        let grafana_workspace = reader.required(&GRAFANA_WORKSPACE, workspace_id);
        let wanted = reader.wanted();
        let cloudwatch = reader.cloudwatch();
        let folder = reader.folder();
        let people = reader.people();
        let settings = (|| {
            Some(Self {
                grafana_workspace: grafana_workspace?,
                wanted: wanted?,
                cloudwatch: cloudwatch?,
                folder: folder?,
                people: people?,
            })
        })();
        reader
            .environment
            .finish(settings)
            .map_err(|error| SetupError::InvalidConfiguration(error.to_string()))
    }
}

/// Reads settings, and names mistakes as the user wrote them: by property or by variable. `None` is a
/// mistake; an optional setting that is not set is `Some(None)`.
struct Reader<'a> {
    environment: Environment<'a>,
    is_request: bool,
    home_region: String,
}

impl Reader<'_> {
    fn wanted(&mut self) -> Option<Wanted> {
        let url = self.required(&AMP_WORKSPACE, amp_url);
        // AMP accepts signatures for its own region only, and its host name contains it.
        let region_of_url = url.as_ref().and_then(WorkspaceUrl::region);
        let default_region = region_of_url.unwrap_or(&self.home_region).to_owned();
        let region = self.or(&AMP_REGION, default_region, region);
        let name = self.or(&NAME, DEFAULT_NAME.to_owned(), name);
        let uid = self.or(&UID, DEFAULT_UID.to_owned(), uid);
        Some(Wanted {
            uid: uid?,
            name: name?,
            url: url?,
            region: region?,
            stack: None,
        })
    }

    fn cloudwatch(&mut self) -> Option<Option<WantedCloudWatch>> {
        let Some(name) = self.or(&CLOUDWATCH_NAME, None, |text| name(text).map(Some))? else {
            return Some(None);
        };
        // `dcgm-to-cloudwatch`, of the same stack, publishes to this region.
        let region = self.environment.required(HOME_REGION, region)?;
        Some(Some(WantedCloudWatch { name, region }))
    }

    fn folder(&mut self) -> Option<Option<WantedFolder>> {
        let title = self.or(&FOLDER, None, |text| title(text).map(Some));
        let overwrite = self.or(&OVERWRITE, false, flag)?;
        Some(title?.map(|title| WantedFolder { title, overwrite }))
    }

    fn people(&mut self) -> Option<Roster> {
        let lists = LISTS.map(|(list, role)| {
            let names = self.or(&list, Vec::new(), names)?;
            Some(names.into_iter().map(move |name| (name, role.clone())))
        });
        let lists: Option<Vec<_>> = lists.into_iter().collect();
        Some(lists?.into_iter().flatten().collect())
    }

    fn required<T, E: fmt::Display>(
        &mut self,
        setting: &Setting,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.environment.required(self.label(setting), parse)
    }

    fn or<T, E: fmt::Display>(
        &mut self,
        setting: &Setting,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.environment.or(self.label(setting), default, parse)
    }

    fn label(&self, setting: &Setting) -> &'static str {
        if self.is_request {
            setting.property
        } else {
            setting.variable
        }
    }
}

/// A property as text, whatever JSON type a template gives it. A blank one counts as absent.
fn property(properties: Option<&Map<String, Value>>, name: &str) -> Option<String> {
    let text = match properties?.get(name)? {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Some(text).filter(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::people::roster::Name;

    const AMP: &str = "https://aps-workspaces.us-east-2.amazonaws.com/workspaces/ws-0123abcd";

    fn read(properties: Option<Value>, variables: &[(&str, &str)]) -> Result<Settings, SetupError> {
        let properties = properties.map(|value| value.as_object().unwrap().clone());
        Settings::read(properties.as_ref(), |name| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn two_settings_are_enough() {
        let amp = format!("{AMP}/api/v1/remote_write");
        let settings = read(
            None,
            &[
                ("GRAFANA_WORKSPACE_ID", "g-0123456789"),
                ("AMP_WORKSPACE_URL", &amp),
            ],
        )
        .unwrap();
        assert_eq!(settings.grafana_workspace, "g-0123456789");
        assert_eq!(
            settings.wanted,
            Wanted {
                uid: "amazon-managed-prometheus".into(),
                name: "Amazon Managed Prometheus".into(),
                url: WorkspaceUrl::parse(AMP).unwrap(),
                region: "us-east-2".into(),
                stack: None,
            }
        );
    }

    #[test]
    fn properties_win_over_variables_and_blank_ones_do_not() {
        let properties = json!({
            "ServiceToken": "arn:aws:lambda:…", "GrafanaWorkspaceId": "g-aaaaaaaaaa",
            "AmpRegion": "eu-west-1", "DataSourceName": " ",
        });
        let variables = [
            ("GRAFANA_WORKSPACE_ID", "g-bbbbbbbbbb"),
            ("AMP_WORKSPACE_URL", AMP),
            ("DATASOURCE_NAME", "From the environment"),
        ];
        let settings = read(Some(properties), &variables).unwrap();
        assert_eq!(settings.grafana_workspace, "g-aaaaaaaaaa");
        assert_eq!(settings.wanted.region, "eu-west-1");
        assert_eq!(settings.wanted.name, "From the environment");
    }

    #[test]
    fn an_amp_workspace_behind_another_host_name_is_in_the_functions_region() {
        let variables = [
            ("GRAFANA_WORKSPACE_ID", "g-0123456789"),
            ("AMP_WORKSPACE_URL", "http://127.0.0.1:9090/workspaces/ws-1"),
            ("AWS_REGION", "ap-northeast-2"),
        ];
        assert_eq!(
            read(None, &variables).unwrap().wanted.region,
            "ap-northeast-2"
        );
    }

    #[test]
    fn what_is_not_asked_for_is_not_made() {
        let required = [
            ("GRAFANA_WORKSPACE_ID", "g-0123456789"),
            ("AMP_WORKSPACE_URL", AMP),
        ];
        let settings = read(None, &required).unwrap();
        assert_eq!((settings.cloudwatch, settings.folder), (None, None));

        let asked = [
            ("AWS_REGION", "eu-west-1"),
            ("CLOUDWATCH_DATASOURCE_NAME", "Amazon CloudWatch"),
            ("DASHBOARD_FOLDER", "GPUs"),
            ("DASHBOARD_OVERWRITE", "true"),
        ];
        let settings = read(None, &[&required[..], &asked].concat()).unwrap();
        let (name, region) = ("Amazon CloudWatch".into(), "eu-west-1".into());
        assert_eq!(settings.cloudwatch, Some(WantedCloudWatch { name, region }));
        let (title, overwrite) = ("GPUs".into(), true);
        assert_eq!(settings.folder, Some(WantedFolder { title, overwrite }));
    }

    #[test]
    fn lists_name_people_by_address_id_and_group() {
        let variables = [
            ("GRAFANA_WORKSPACE_ID", "g-0123456789"),
            ("AMP_WORKSPACE_URL", AMP),
            ("GRAFANA_ADMINS", "ada@example.com, group:GPU operators,"),
            ("GRAFANA_VIEWERS", "a1b2c3d4-5678-90ab-cdef-1234567890ab"),
        ];
        let expected = vec![
            (Name::Email("ada@example.com".into()), Role::Admin),
            (Name::Group("GPU operators".into()), Role::Admin),
            (
                Name::UserId("a1b2c3d4-5678-90ab-cdef-1234567890ab".into()),
                Role::Viewer,
            ),
        ];
        assert_eq!(read(None, &variables).unwrap().people, expected);
        let wrong = [&variables[..2], &[("GRAFANA_EDITORS", "ada,bob@x,group:")]].concat();
        let error = read(None, &wrong).unwrap_err().to_string();
        assert!(
            error.contains("\"ada\" is no") && error.contains("\"group:\" is no"),
            "{error}"
        );
    }

    #[test]
    fn a_list_of_a_template_is_understood() {
        let people = |list: Value| {
            let properties = json!({
                "GrafanaWorkspaceId": "g-0123456789", "AmpWorkspaceUrl": AMP, "GrafanaAdmins": list,
            });
            read(Some(properties), &[]).map(|settings| settings.people)
        };
        let email = |text: &str| (Name::Email(text.into()), Role::Admin);
        let ada = email("ada@example.com");
        let both = vec![ada.clone(), email("bob@example.com")];
        for list in [
            json!(["ada@example.com", "bob@example.com"]),
            json!([" ada@example.com , bob@example.com", ""]),
            json!("ada@example.com\nbob@example.com\n"),
            json!("[\"ada@example.com\", \"bob@example.com\"]"),
        ] {
            assert_eq!(people(list.clone()).unwrap(), both, "{list}");
        }
        let group = (Name::Group("Research, GPU".into()), Role::Admin);
        let list = json!(["group:Research, GPU", "ada@example.com"]);
        assert_eq!(people(list).unwrap(), [group, ada]);
        assert_eq!(people(json!([])).unwrap(), []);
        let error = people(json!(["ada"])).unwrap_err().to_string();
        assert!(error.contains("\"ada\" is no e-mail address"), "{error}");
        assert!(people(json!([7])).is_err());
    }

    #[test]
    fn every_mistake_is_told_at_once_by_the_name_the_user_wrote() {
        let properties = json!({
            "GrafanaWorkspaceId": 7, "DataSourceUid": "a b", "DashboardOverwrite": "yes",
        });
        let error = read(Some(properties), &[("AWS_REGION", "us-east-2")])
            .unwrap_err()
            .to_string();
        for part in [
            "GrafanaWorkspaceId=\"7\"",
            "AmpWorkspaceUrl is not set",
            "DataSourceUid=\"a b\"",
            "DashboardOverwrite=\"yes\"",
        ] {
            assert!(error.contains(part), "{part} in {error}");
        }
    }
}
