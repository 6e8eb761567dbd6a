//! Which data source Grafana should have, and what is to be written for it. Pure.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::config::Wanted;
use crate::error::SetupError;
use crate::workspace::Version;

/// Grafana's own data source. Signs requests to AMP up to Grafana 11.
pub const PROMETHEUS: &str = "prometheus";

/// The plugin that signs requests to AMP from Grafana 12 on, where the core type no longer can:
/// <https://docs.aws.amazon.com/grafana/latest/userguide/amazon-prometheus-data-source.html>
pub const AMP_PLUGIN: &str = "grafana-amazonprometheus-datasource";

/// The first Grafana whose core type cannot sign:
/// <https://docs.aws.amazon.com/grafana/latest/userguide/prometheus-manually-adding.html>
const FIRST_WITHOUT_CORE_SIGV4: u32 = 12;

/// AMG's "Workspace IAM role": grafana-aws-sdk-react, src/providers.ts. Grafana accepts any other
/// text too, and then fails at query time.
pub(crate) const WORKSPACE_ROLE: &str = "ec2_iam_role";

/// `jsonData` keys that have another identity sign: a role to assume, a profile of the server.
const OTHER_IDENTITIES: [&str; 3] = ["sigV4AssumeRoleArn", "sigV4ExternalId", "sigV4Profile"];

/// The `jsonData` key of our [`Mark`]; Grafana keeps keys that it doesn't know.
const MARK: &str = "grafanaDatasourceSetup";

/// A data source as Grafana's HTTP API reads and writes it (pkg/api/dtos/datasource.go,
/// pkg/services/datasources/models.go). Secure fields are not read, and stay as they are when not
/// written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataSource {
    /// Its key.
    pub uid: String,
    /// Its name, unique in the workspace.
    pub name: String,
    /// Plugin id.
    #[serde(rename = "type")]
    pub source_type: String,
    /// `proxy`: Grafana's backend sends the queries.
    pub access: String,
    /// Where queries go.
    pub url: String,
    user: String,
    database: String,
    basic_auth: bool,
    basic_auth_user: String,
    with_credentials: bool,
    /// New panels use it.
    pub is_default: bool,
    #[serde(deserialize_with = "empty_when_null")]
    json_data: Map<String, Value>,
    /// Counts writes; one with an old number is refused (pkg/services/datasources/service/store.go).
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_version: Option<String>,
    /// Provisioned from a file, or by AWS.
    #[serde(skip_serializing)]
    pub read_only: bool,
}

/// What is remembered in the data source itself, for the day the stack is deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// Made by this function; else made by a person and adopted.
    made: bool,
    /// The uid in the settings: which stack's resource this is.
    uid: String,
    /// The default data source before this one became it.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_default: Option<String>,
    /// Id of the stack that last wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    stack: Option<String>,
}

impl Mark {
    /// The mark of a new data source, made for the resource with `uid`.
    pub(crate) fn made_for(uid: &str) -> Self {
        Self {
            made: true,
            uid: uid.to_owned(),
            previous_default: None,
            stack: None,
        }
    }
}

/// What this Grafana can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edition {
    /// The workspace's Grafana version.
    pub version: Version,
    /// Why [`AMP_PLUGIN`] is not installed; none where it is.
    pub lacks_amp_plugin: Option<String>,
}

/// What to write so that Grafana has the data source wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// There is none: add this.
    Create(DataSource),
    /// There is one: change it into this.
    Update {
        /// Its present uid.
        uid: String,
        /// What it becomes.
        into: DataSource,
    },
    /// There is one just as wanted: write nothing.
    Unchanged(DataSource),
}

impl Plan {
    /// The data source that Grafana has once this is carried out.
    pub fn into_source(self) -> DataSource {
        let (Self::Create(source) | Self::Update { into: source, .. } | Self::Unchanged(source)) =
            self;
        source
    }
}

/// What to take back so that nothing of ours is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The data source's uid.
    pub uid: String,
    /// This function made it, so it is to be deleted; else it stays, without our mark.
    pub made: bool,
    /// The data source that becomes the default again.
    pub default_again: Option<String>,
}

fn empty_when_null<'de, D>(deserializer: D) -> Result<Map<String, Value>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl DataSource {
    /// One with nothing set.
    pub(crate) fn new(uid: &str, source_type: &str) -> Self {
        Self {
            uid: uid.to_owned(),
            source_type: source_type.to_owned(),
            access: "proxy".to_owned(),
            ..Self::default()
        }
    }

    /// Whether this function ever wrote it.
    pub(crate) fn is_marked(&self) -> bool {
        self.mark().is_some()
    }

    /// What this function remembers in it, if it ever wrote it.
    fn mark(&self) -> Option<Mark> {
        serde_json::from_value(self.json_data.get(MARK)?.clone()).ok()
    }

    /// This data source as the default; everything else stays.
    pub fn as_default(mut self) -> Self {
        self.is_default = true;
        self
    }

    /// This data source without what this function remembers in it.
    pub fn without_mark(mut self) -> Self {
        self.json_data.remove(MARK);
        self
    }

    /// Sets one of the settings that depend on the type.
    pub(crate) fn set(&mut self, key: &str, value: &Value) {
        self.json_data.insert(key.to_owned(), value.clone());
    }

    fn sign_for(&mut self, wanted: &Wanted, source_type: &str) {
        self.name = wanted.name.clone();
        self.source_type = source_type.to_owned();
        self.access = "proxy".to_owned();
        // A trailing slash is harmless: Grafana joins paths (pkg/promlib/client/client.go).
        if self.url.trim_end_matches('/') != wanted.url.as_str() {
            self.url = wanted.url.as_str().to_owned();
        }
        self.basic_auth = false;
        self.is_default = true;
        // Keys: pkg/services/datasources/service/datasource.go, httpClientOptions. The flag must be
        // a JSON boolean: https://github.com/grafana/grafana/issues/41703
        self.set("sigV4Auth", &json!(true));
        self.set("sigV4AuthType", &json!(WORKSPACE_ROLE));
        self.set("sigV4Region", &json!(wanted.region));
        for key in OTHER_IDENTITIES {
            self.json_data.remove(key);
        }
    }

    pub(crate) fn set_mark(&mut self, mark: &Mark) {
        self.set(MARK, &json!(mark));
    }
}

/// What to look for among the data sources that Grafana has.
pub(crate) struct Sought<'a> {
    pub(crate) uid: &'a str,
    pub(crate) name: &'a str,
    pub(crate) types: &'a [&'a str],
    /// What to set differently if another data source is in the way.
    pub(crate) settings: &'static str,
}

impl Sought<'_> {
    /// The one with this uid, else the one with this name.
    ///
    /// # Errors
    /// That one is of another kind, or name and uid belong to two different ones.
    pub(crate) fn among<'s>(
        &self,
        sources: &'s [DataSource],
    ) -> Result<Option<&'s DataSource>, SetupError> {
        let by_name = sources.iter().find(|source| source.name == self.name);
        let by_uid = sources.iter().find(|source| source.uid == self.uid);
        let Some(found) = by_uid.or(by_name) else {
            return Ok(None);
        };
        if let Some(namesake) = by_name.filter(|namesake| namesake.uid != found.uid) {
            return Err(self.name_taken(namesake));
        }
        if !self.types.contains(&found.source_type.as_str()) {
            return Err(self.name_taken(found));
        }
        Ok(Some(found))
    }

    fn name_taken(&self, source: &DataSource) -> SetupError {
        SetupError::NameTaken {
            name: source.name.clone(),
            uid: source.uid.clone(),
            source_type: source.source_type.clone(),
            settings: self.settings,
        }
    }
}

/// The data source to set up among those that Grafana has.
///
/// # Errors
/// It is of another kind or read-only, or name and uid belong to two different ones.
pub fn find<'a>(
    wanted: &Wanted,
    sources: &'a [DataSource],
) -> Result<Option<&'a DataSource>, SetupError> {
    let sought = Sought {
        uid: &wanted.uid,
        name: &wanted.name,
        types: &[PROMETHEUS, AMP_PLUGIN],
        settings: "DATASOURCE_NAME and DATASOURCE_UID",
    };
    match sought.among(sources)? {
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
    let source_type = source_type(edition, found)?;
    Ok(match found {
        None => Plan::Create(created(wanted, source_type, default)),
        Some(found) => changed(wanted, source_type, found, default),
    })
}

fn created(wanted: &Wanted, source_type: &str, default: Option<&str>) -> DataSource {
    let mut source = DataSource::new(&wanted.uid, source_type);
    source.sign_for(wanted, source_type);
    // Longer queries than a URL can carry; a person's own choice is never changed.
    source.set("httpMethod", &json!("POST"));
    source.set_mark(&Mark {
        previous_default: default.map(str::to_owned),
        stack: wanted.stack.clone(),
        ..Mark::made_for(&wanted.uid)
    });
    source
}

fn changed(wanted: &Wanted, source_type: &str, found: &DataSource, default: Option<&str>) -> Plan {
    let mark = found.mark();
    let made = mark.as_ref().is_some_and(|mark| mark.made);
    let mut into = found.clone();
    into.sign_for(wanted, source_type);
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
    into.set_mark(&Mark {
        made,
        uid: wanted.uid.clone(),
        previous_default,
        stack: wanted.stack.clone().or_else(|| mark?.stack),
    });
    Plan::Update {
        uid: found.uid.clone(),
        into,
    }
}

/// Decides what to take back when the resource with `uid` is deleted.
pub fn removals(uid: &str, sources: &[DataSource]) -> Vec<Removal> {
    let marked = sources
        .iter()
        .filter_map(|source| Some((source, source.mark()?)));
    marked
        .filter(|(_, mark)| mark.uid == uid)
        .map(|(source, mark)| {
            // Somebody's choice of another default since then is left alone.
            let default_again = mark
                .previous_default
                .filter(|_| source.is_default)
                .filter(|previous| *previous != source.uid)
                .filter(|previous| sources.iter().any(|source| source.uid == *previous));
            Removal {
                uid: source.uid.clone(),
                made: mark.made,
                default_again,
            }
        })
        .collect()
}

/// Whether the resource with `uid` is another stack's than `stack`.
pub fn is_of_another_stack(uid: &str, stack: &str, sources: &[DataSource]) -> bool {
    let marks = sources.iter().filter_map(DataSource::mark);
    marks
        .filter(|mark| mark.uid == uid)
        .filter_map(|mark| mark.stack)
        .any(|other| other != stack)
}

/// Grafana accepts any type text on a write, so the choice is made here: the plugin where it is
/// installed or already in use (a source that Grafana 13 migrated stays migrated).
fn source_type(edition: &Edition, found: Option<&DataSource>) -> Result<&'static str, SetupError> {
    let is_migrated = found.is_some_and(|source| source.source_type == AMP_PLUGIN);
    match &edition.lacks_amp_plugin {
        None => Ok(AMP_PLUGIN),
        Some(_) if is_migrated => Ok(AMP_PLUGIN),
        Some(_) if !needs_amp_plugin(&edition.version) => Ok(PROMETHEUS),
        Some(why) => Err(SetupError::PluginMissing {
            version: edition.version.to_string(),
            plugin: AMP_PLUGIN,
            why: why.clone(),
        }),
    }
}

/// Whether Grafana's own type can't sign requests to AMP in this version.
pub fn needs_amp_plugin(version: &Version) -> bool {
    version.major() >= FIRST_WITHOUT_CORE_SIGV4
}

#[cfg(test)]
mod tests {
    use amp::WorkspaceUrl;

    use super::*;

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
                    "httpMethod": "POST", "sigV4Auth": true, "sigV4AuthType": "ec2_iam_role",
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
            found.set(key, &json!("arn:aws:iam::999988887777:role/reader"));
        }
        let plan = plan(&wanted(), &edition("10.4", false), Some(&found), None);
        let into = plan.unwrap().into_source();
        for key in OTHER_IDENTITIES {
            assert_eq!(into.json_data.get(key), None, "{key}");
        }
        assert_eq!(into.json_data["sigV4AuthType"], WORKSPACE_ROLE);
    }

    #[test]
    fn a_source_remembers_the_stack_that_wrote_it() {
        let of_stack = |stack: &str| Wanted {
            stack: Some(stack.into()),
            ..wanted()
        };
        let edition = edition("12.4", true);
        let made = plan(&of_stack("arn:a"), &edition, None, None)
            .unwrap()
            .into_source();
        let sources = [made.clone()];
        assert!(is_of_another_stack("amp", "arn:b", &sources));
        assert!(!is_of_another_stack("amp", "arn:a", &sources));
        assert!(!is_of_another_stack("amp-2", "arn:b", &sources));
        // A manual run keeps what is remembered, and writes nothing for it.
        let unchanged = plan(&wanted(), &edition, Some(&made), Some("amp")).unwrap();
        assert_eq!(unchanged, Plan::Unchanged(made));
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
    fn the_default_goes_back_only_where_it_makes_sense() {
        let made = plan(&wanted(), &edition("12.4", true), None, Some("loki"))
            .unwrap()
            .into_source();
        let loki = source(json!({"uid": "loki"}));
        let default_again = |sources: &[DataSource]| {
            let [removal] = &removals("amp", sources)[..] else {
                panic!("one data source is ours")
            };
            removal.default_again.clone()
        };
        assert_eq!(
            default_again(&[made.clone(), loki.clone()]).as_deref(),
            Some("loki")
        );
        assert_eq!(
            default_again(std::slice::from_ref(&made)),
            None,
            "loki is gone"
        );
        let deposed = DataSource {
            is_default: false,
            ..made
        };
        assert_eq!(
            default_again(&[deposed, loki]),
            None,
            "somebody chose another default"
        );
        assert_eq!(removals("amp", &[hand_made()]), [], "nothing of ours");
    }
}
