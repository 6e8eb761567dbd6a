//! Grafana's data sources: pkg/api/datasources.go over pkg/services/datasources/service/store.go.

use serde_json::{Map, Value, json};

/// pkg/services/datasources/service/datasource.go
const MAX_NAME_LENGTH: usize = 190;
const MAX_URL_LENGTH: usize = 255;
/// pkg/util/shortid_generator.go
const MAX_UID_LENGTH: usize = 40;

/// What can be written: AddDataSourceCommand, UpdateDataSourceCommand, each with Go's zero value
/// (pkg/services/datasources/models.go).
const TEXTS: [&str; 9] = [
    "uid",
    "name",
    "type",
    "access",
    "url",
    "user",
    "database",
    "basicAuthUser",
    "apiVersion",
];
const FLAGS: [&str; 3] = ["basicAuth", "withCredentials", "isDefault"];

/// What DataSourceListItemDTO leaves out (pkg/api/dtos/datasource.go).
const NOT_IN_LIST: [&str; 5] = [
    "basicAuthUser",
    "withCredentials",
    "version",
    "secureJsonFields",
    "apiVersion",
];

/// A request that fails.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

#[derive(Clone, Debug)]
struct Source {
    id: u64,
    version: u64,
    fields: Map<String, Value>,
    read_only: bool,
    secure: Map<String, Value>,
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    sources: Vec<Source>,
    last_id: u64,
}

impl Refusal {
    pub(crate) fn new(status: u16, message: &str) -> Self {
        Self {
            status,
            body: json!({"message": message}),
        }
    }
}

impl Source {
    fn text(&self, name: &str) -> &str {
        self.fields[name].as_str().unwrap_or_default()
    }

    /// convertModelToDtos, pkg/api/datasources.go: which secure fields there are, not what they hold.
    fn dto(&self) -> Value {
        let secure = self.secure.keys().map(|name| (name.clone(), json!(true)));
        let mut fields = self.fields.clone();
        fields.insert("id".into(), json!(self.id));
        fields.insert("orgId".into(), json!(1));
        fields.insert("version".into(), json!(self.version));
        fields.insert("readOnly".into(), json!(self.read_only));
        fields.insert("typeLogoUrl".into(), json!("public/img/icn-datasource.svg"));
        fields.insert("secureJsonFields".into(), Value::Object(secure.collect()));
        Value::Object(fields)
    }
}

impl Store {
    pub(crate) fn provision(&mut self, source: &Value) {
        let body = source.to_string();
        self.add(body.as_bytes())
            .expect("a data source that Grafana accepts");
        if source["readOnly"] == true {
            self.set_read_only(source["uid"].as_str().unwrap_or_default());
        }
    }

    pub(crate) fn set_read_only(&mut self, uid: &str) {
        let position = self.position(uid).expect("a data source of that uid");
        self.sources[position].read_only = true;
    }

    pub(crate) fn everything(&self) -> Vec<Value> {
        let whole = |source: &Source| {
            let mut dto = source.dto();
            dto["secureJsonData"] = Value::Object(source.secure.clone());
            dto
        };
        self.sources.iter().map(whole).collect()
    }

    pub(crate) fn list(&self) -> Value {
        let item = |source: &Source| {
            let mut item = source.dto();
            item.as_object_mut()
                .expect("an object")
                .retain(|name, _| !NOT_IN_LIST.contains(&name.as_str()));
            item
        };
        Value::Array(self.sources.iter().map(item).collect())
    }

    pub(crate) fn get(&self, uid: &str) -> Result<Value, Refusal> {
        Ok(self.sources[self.position(uid)?].dto())
    }

    pub(crate) fn uid_of(&self, id: &str) -> Result<String, Refusal> {
        let id: u64 = id.parse().map_err(|_| Refusal::new(400, "id is invalid"))?;
        let source = self
            .sources
            .iter()
            .find(|source| source.id == id)
            .ok_or_else(not_found)?;
        Ok(source.text("uid").to_owned())
    }

    pub(crate) fn add(&mut self, body: &[u8]) -> Result<Value, Refusal> {
        let (mut fields, secure, _) = command(body)?;
        if fields["uid"] == "" {
            fields.insert("uid".into(), json!(format!("P{:016X}", self.last_id + 1)));
        }
        self.refuse_duplicate(&fields, None, 409, "")?;
        // AddDataSource, pkg/services/datasources/service/datasource.go: the first is the default.
        if self.sources.is_empty() {
            fields.insert("isDefault".into(), json!(true));
        }
        self.last_id += 1;
        let id = self.last_id;
        self.sources.push(Source {
            id,
            version: 1,
            fields,
            read_only: false,
            secure,
        });
        self.single_default(id);
        let source = self.sources.last().expect("just pushed");
        Ok(json!({
            "message": "Datasource added", "id": id, "name": source.fields["name"],
            "datasource": source.dto(),
        }))
    }

    pub(crate) fn update(&mut self, uid: &str, body: &[u8]) -> Result<Value, Refusal> {
        let (mut fields, secure, version) = command(body)?;
        let position = self.position(uid)?;
        let source = &self.sources[position];
        if source.read_only {
            return Err(Refusal::new(403, "Cannot update read-only data source"));
        }
        // An update without uid keeps it: xorm writes no empty column.
        if fields["uid"] == "" {
            fields.insert("uid".into(), source.fields["uid"].clone());
        }
        let id = source.id;
        // UpdateDataSource, store.go: `version < ?` against the body's version + 1.
        if version != 0 && source.version > version {
            return Err(Refusal::new(
                409,
                "Datasource has already been updated by someone else. Please reload and try again",
            ));
        }
        self.refuse_duplicate(&fields, Some(id), 409, "Failed to update datasource: ")?;
        let source = &mut self.sources[position];
        source.fields = fields;
        source.version = version + 1;
        // EncryptedValues are merged: UpdateDataSource, service/datasource.go.
        source.secure.extend(secure);
        self.single_default(id);
        let source = &self.sources[position];
        Ok(json!({
            "message": "Datasource updated", "id": id, "name": source.fields["name"],
            "datasource": source.dto(),
        }))
    }

    pub(crate) fn delete(&mut self, uid: &str) -> Result<Value, Refusal> {
        let position = self.position(uid)?;
        if self.sources[position].read_only {
            return Err(Refusal::new(403, "Cannot delete read-only data source"));
        }
        // No other one becomes the default: DeleteDataSource, store.go.
        let source = self.sources.remove(position);
        Ok(json!({"message": "Data source deleted", "id": source.id}))
    }

    /// pkg/services/promtypemigration: uid, name and default stay.
    pub(crate) fn migrate_signing_sources(&mut self, plugin: &str) {
        for source in &mut self.sources {
            if source.fields["type"] == "prometheus"
                && source.fields["jsonData"]["sigV4Auth"] == true
            {
                source.fields.insert("type".into(), json!(plugin));
                source.fields["jsonData"]["prometheus-type-migration"] = json!(true);
                source.version += 1;
            }
        }
    }

    fn position(&self, uid: &str) -> Result<usize, Refusal> {
        self.sources
            .iter()
            .position(|source| source.text("uid") == uid)
            .ok_or_else(not_found)
    }

    /// ErrDataSourceNameExists, ErrDataSourceUidExists: pkg/services/datasources/errors.go.
    fn refuse_duplicate(
        &self,
        fields: &Map<String, Value>,
        own_id: Option<u64>,
        status: u16,
        prefix: &str,
    ) -> Result<(), Refusal> {
        for name in ["name", "uid"] {
            let is_taken =
                |source: &Source| Some(source.id) != own_id && source.fields[name] == fields[name];
            if self.sources.iter().any(is_taken) {
                let message = format!("{prefix}data source with the same {name} already exists");
                return Err(Refusal::new(status, &message));
            }
        }
        Ok(())
    }

    /// updateIsDefaultFlag, store.go: a new default deposes the old one, whose version stays.
    fn single_default(&mut self, id: u64) {
        let is_default = |source: &Source| source.id == id && source.fields["isDefault"] == true;
        if self.sources.iter().any(is_default) {
            for source in self.sources.iter_mut().filter(|source| source.id != id) {
                source.fields.insert("isDefault".into(), json!(false));
            }
        }
    }
}

type Command = (Map<String, Value>, Map<String, Value>, u64);

/// web.Bind of AddDataSourceCommand or UpdateDataSourceCommand: what is absent has Go's zero value,
/// what has another JSON type is refused, what is unknown is ignored, any plugin type accepted.
fn command(body: &[u8]) -> Result<Command, Refusal> {
    let bad = || Refusal::new(400, "bad request data");
    let body: Map<String, Value> = serde_json::from_slice(body).map_err(|_| bad())?;
    let mut fields = Map::new();
    for name in TEXTS {
        let value = body.get(name).cloned().unwrap_or_else(|| json!(""));
        fields.insert(
            name.into(),
            Some(value).filter(Value::is_string).ok_or_else(bad)?,
        );
    }
    for name in FLAGS {
        let value = body.get(name).cloned().unwrap_or(Value::Bool(false));
        fields.insert(
            name.into(),
            Some(value).filter(Value::is_boolean).ok_or_else(bad)?,
        );
    }
    let object = |name: &str| {
        let value = body.get(name).cloned().unwrap_or_else(|| json!({}));
        Some(value).filter(Value::is_object).ok_or_else(bad)
    };
    fields.insert("jsonData".into(), object("jsonData")?);
    let secure = object("secureJsonData")?
        .as_object()
        .cloned()
        .unwrap_or_default();
    let version = body
        .get("version")
        .map_or(Some(0), Value::as_u64)
        .ok_or_else(bad)?;
    check(&fields)?;
    Ok((fields, secure, version))
}

fn check(fields: &Map<String, Value>) -> Result<(), Refusal> {
    let text = |name: &str| fields[name].as_str().unwrap_or_default();
    // `binding:"Required"`: models.go.
    if ["name", "type", "access"]
        .iter()
        .any(|name| text(name).is_empty())
    {
        return Err(Refusal::new(400, "bad request data"));
    }
    // ErrDataSourceNameInvalid, ErrDataSourceURLInvalid: service/datasource.go.
    if text("name").len() > MAX_NAME_LENGTH || text("url").len() > MAX_URL_LENGTH {
        return Err(Refusal::new(400, "max length is exceeded"));
    }
    // ValidateURL, pkg/api/datasource/validation.go.
    let url = text("url");
    if !url.is_empty() && reqwest::Url::parse(url).is_err() {
        return Err(Refusal::new(400, "Validation error, invalid URL"));
    }
    check_uid(text("uid"))
}

/// ValidateUID, pkg/util/shortid_generator.go.
pub(crate) fn check_uid(uid: &str) -> Result<(), Refusal> {
    let is_fit = uid
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if uid.len() > MAX_UID_LENGTH || !is_fit {
        return Err(Refusal::new(400, "invalid UID"));
    }
    Ok(())
}

fn not_found() -> Refusal {
    Refusal::new(404, "Data source not found")
}
