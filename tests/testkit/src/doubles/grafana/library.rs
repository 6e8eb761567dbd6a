//! Grafana's folders and dashboards: pkg/api/folder.go, pkg/api/dashboard.go over
//! pkg/services/dashboards/service/dashboard_service.go.

use serde_json::{Map, Value, json};

use super::store::{Refusal, check_uid};

/// Up to this version titles are unique in a folder, and versions come as a plain list:
/// <https://grafana.com/docs/grafana/v10.4/developers/http_api/dashboard_versions/>
const LAST_OLD: u32 = 10;

/// The first that counts what is in a folder.
const FIRST_WITH_COUNTS: u32 = 10;

#[derive(Debug, Default)]
pub(crate) struct Library {
    folders: Vec<Folder>,
    dashboards: Vec<Dashboard>,
    last_id: u64,
}

#[derive(Debug)]
struct Folder {
    id: u64,
    uid: String,
    title: String,
    /// Uid of the folder it is in; empty at the top.
    parent: String,
    /// Rules, panels and whatever else a person puts there.
    other_things: u64,
}

#[derive(Debug)]
struct Dashboard {
    id: u64,
    uid: String,
    folder: String,
    content: Map<String, Value>,
    /// What each save said, the first one first: version 1 is the first. None where the history of it
    /// is lost.
    messages: Vec<Option<String>>,
}

impl Dashboard {
    fn title(&self) -> &str {
        self.content["title"].as_str().unwrap_or_default()
    }

    fn version(&self) -> u64 {
        self.messages.len() as u64
    }

    /// `dash.Data` with what SetID, SetUID and SetVersion put into it.
    fn content(&self) -> Value {
        let mut content = self.content.clone();
        content.insert("id".into(), json!(self.id));
        content.insert("uid".into(), json!(self.uid));
        content.insert("version".into(), json!(self.version()));
        Value::Object(content)
    }
}

impl Library {
    /// Answers what is under `api`; nothing for a path that isn't of folders or dashboards.
    pub(crate) fn serve(
        &mut self,
        major: u32,
        request: (&str, &[&str]),
        query: &str,
        body: &[u8],
    ) -> Option<Result<Value, Refusal>> {
        Some(match request {
            ("GET", ["folders"]) => Ok(self.page_of_folders(query)),
            ("GET", ["folders", uid]) => self.folder(uid).map(Folder::item),
            ("POST", ["folders"]) => self.add_folder(major, body),
            ("GET", ["folders", uid, "counts"]) if major >= FIRST_WITH_COUNTS => self.counts(uid),
            ("DELETE", ["folders", uid]) => self.delete_folder(uid),
            ("POST", ["dashboards", "db"]) => self.save(major, body),
            ("GET", ["dashboards", "uid", uid]) => self.dashboard(uid),
            ("GET", ["dashboards", "uid", uid, "versions"]) => self.versions(major, uid),
            ("DELETE", ["dashboards", "uid", uid]) => self.delete_dashboard(uid),
            _ => return None,
        })
    }

    /// All folders: uid and title.
    pub(crate) fn folders(&self) -> Vec<(String, String)> {
        let folders = self.folders.iter();
        folders
            .map(|folder| (folder.uid.clone(), folder.title.clone()))
            .collect()
    }

    /// All dashboards, each with its content and the uid of its folder.
    pub(crate) fn dashboards(&self) -> Vec<(String, Value)> {
        let dashboards = self.dashboards.iter();
        dashboards
            .map(|dashboard| (dashboard.folder.clone(), dashboard.content()))
            .collect()
    }

    pub(crate) fn put_into_folder(&mut self, uid: &str) {
        let folder = self.folders.iter_mut().find(|folder| folder.uid == uid);
        folder.expect("a folder of that uid").other_things += 1;
    }

    /// Somebody moves a folder into another one, or to the top.
    pub(crate) fn move_folder(&mut self, uid: &str, parent: &str) {
        let folder = self.folders.iter_mut().find(|folder| folder.uid == uid);
        folder.expect("a folder of that uid").parent = parent.to_owned();
    }

    /// As an upgrade to Grafana 13 leaves it: dashboards keep their version, and lose what was said of
    /// it.
    pub(crate) fn lose_history(&mut self) {
        let messages = self
            .dashboards
            .iter_mut()
            .flat_map(|dashboard| &mut dashboard.messages);
        messages.for_each(|message| *message = None);
    }

    /// Without `parentUid` those at the top alone: GetFolders, pkg/api/folder.go. 1,000 by default.
    fn page_of_folders(&self, query: &str) -> Value {
        let number = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let found = pairs.find(|(key, _)| *key == name);
            found.and_then(|(_, value)| value.parse().ok())
        };
        let limit: usize = number("limit").unwrap_or(1_000).clamp(1, 1_000);
        let page: usize = number("page").unwrap_or(1).max(1);
        let top = self
            .folders
            .iter()
            .filter(|folder| folder.parent.is_empty());
        top.skip((page - 1) * limit)
            .take(limit)
            .map(Folder::item)
            .collect()
    }

    fn add_folder(&mut self, major: u32, body: &[u8]) -> Result<Value, Refusal> {
        let body = object(body)?;
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        let (uid, title) = (text("uid"), text("title"));
        // ToFolderErrorResponse, pkg/api/apierrors/folder.go
        if title.is_empty() {
            return Err(Refusal::new(400, "folder title cannot be empty"));
        }
        check_uid(uid)?;
        if self.folders.iter().any(|folder| folder.uid == uid) {
            let message = "a folder with the same UID already exists";
            return Err(Refusal::new(409, message));
        }
        if major <= LAST_OLD && self.folders.iter().any(|folder| folder.title == title) {
            let message = "a folder with the same name already exists in the current location";
            return Err(Refusal::new(409, message));
        }
        self.last_id += 1;
        self.folders.push(Folder {
            id: self.last_id,
            uid: uid.to_owned(),
            title: title.to_owned(),
            parent: String::new(),
            other_things: 0,
        });
        Ok(self.folders.last().expect("just pushed").item())
    }

    fn counts(&self, uid: &str) -> Result<Value, Refusal> {
        let folder = self.folder(uid)?;
        let inside = |dashboard: &&Dashboard| dashboard.folder == uid;
        let dashboards = self.dashboards.iter().filter(inside).count();
        // StatsKind of each service: pkg/services/store/entity/kinds.go
        Ok(json!({
            "folder": 0, "dashboard": dashboards, "librarypanel": 0,
            "alertrule": folder.other_things,
        }))
    }

    fn delete_folder(&mut self, uid: &str) -> Result<Value, Refusal> {
        // Without forceDeleteRules: pkg/services/ngalert/provisioning, ErrFolderNotEmpty.
        if self.folder(uid)?.other_things > 0 {
            return Err(Refusal::new(
                400,
                "folder cannot be deleted: folder is not empty",
            ));
        }
        self.folders.retain(|folder| folder.uid != uid);
        self.dashboards.retain(|dashboard| dashboard.folder != uid);
        Ok(json!({"message": "Folder deleted"}))
    }

    fn folder(&self, uid: &str) -> Result<&Folder, Refusal> {
        let folder = self.folders.iter().find(|folder| folder.uid == uid);
        folder.ok_or_else(|| Refusal::new(404, "folder not found"))
    }

    /// SaveDashboardCommand: pkg/services/dashboards/models.go.
    fn save(&mut self, major: u32, body: &[u8]) -> Result<Value, Refusal> {
        let command = object(body)?;
        let text = |name: &str| {
            command
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (folder, message) = (text("folderUid").to_owned(), text("message").to_owned());
        let overwrite = command.get("overwrite") == Some(&json!(true));
        let Some(Value::Object(content)) = command.get("dashboard").cloned() else {
            return Err(Refusal::new(400, "bad request data"));
        };
        if !folder.is_empty() && self.folder(&folder).is_err() {
            return Err(Refusal::new(400, "Folder not found"));
        }
        let title = content.get("title").and_then(Value::as_str);
        let title = title.unwrap_or_default().to_owned();
        if title.trim().is_empty() {
            return Err(failed(400, "empty-name", "Dashboard title cannot be empty"));
        }
        let uid = content.get("uid").and_then(Value::as_str);
        let uid = uid.unwrap_or_default().to_owned();
        check_uid(&uid)?;
        let existing = self.dashboards.iter().position(|found| found.uid == uid);
        self.check_id(&content, existing)?;
        let is_namesake = |found: &Dashboard| {
            found.uid != uid && found.folder == folder && found.title() == title
        };
        if major <= LAST_OLD && !overwrite && self.dashboards.iter().any(is_namesake) {
            let message = "A dashboard with the same name in the folder already exists";
            return Err(failed(412, "name-exists", message));
        }
        if let Some(position) = existing {
            let version = content.get("version").and_then(Value::as_u64);
            if !overwrite && version != Some(self.dashboards[position].version()) {
                let message = "The dashboard has been changed by someone else";
                return Err(failed(412, "version-mismatch", message));
            }
        }
        let position = existing.unwrap_or_else(|| self.new_dashboard(uid));
        let dashboard = &mut self.dashboards[position];
        // Without folderUid it goes to the top.
        dashboard.folder = folder;
        dashboard.content = content;
        dashboard.messages.push(Some(message));
        Ok(json!({
            "id": dashboard.id, "uid": dashboard.uid, "url": format!("/d/{}", dashboard.uid),
            "status": "success", "version": dashboard.version(),
        }))
    }

    fn new_dashboard(&mut self, uid: String) -> usize {
        self.last_id += 1;
        self.dashboards.push(Dashboard {
            id: self.last_id,
            uid,
            folder: String::new(),
            content: Map::new(),
            messages: Vec::new(),
        });
        self.dashboards.len() - 1
    }

    /// An id must be that of the dashboard.
    fn check_id(
        &self,
        content: &Map<String, Value>,
        existing: Option<usize>,
    ) -> Result<(), Refusal> {
        match content.get("id") {
            None | Some(Value::Null) => Ok(()),
            Some(id) if existing.is_some_and(|at| *id == json!(self.dashboards[at].id)) => Ok(()),
            Some(_) => Err(failed(404, "not-found", "Dashboard not found")),
        }
    }

    /// DashboardFullWithMeta: pkg/api/dtos/dashboard.go.
    fn dashboard(&self, uid: &str) -> Result<Value, Refusal> {
        let dashboard = &self.dashboards[self.position(uid)?];
        Ok(json!({
            "meta": {
                "type": "db", "version": dashboard.version(), "folderUid": dashboard.folder,
                "provisioned": false, "createdBy": "Anonymous", "updatedBy": "Anonymous",
            },
            "dashboard": dashboard.content(),
        }))
    }

    /// DashboardVersionMeta: pkg/services/dashboardversion/model.go. The newest comes first.
    fn versions(&self, major: u32, uid: &str) -> Result<Value, Refusal> {
        let dashboard = &self.dashboards[self.position(uid)?];
        let saves = dashboard.messages.iter().enumerate().rev();
        let versions: Value = saves
            .filter_map(|(before, message)| {
                let (version, message) = (before + 1, message.as_ref()?);
                Some(json!({
                    "id": version, "dashboardId": dashboard.id, "uid": uid, "version": version,
                    "parentVersion": before, "restoredFrom": 0, "data": null,
                    "created": "2026-11-22T10:00:00Z", "createdBy": "", "message": message,
                }))
            })
            .collect();
        Ok(if major <= LAST_OLD {
            versions
        } else {
            json!({"continueToken": "", "versions": versions})
        })
    }

    fn delete_dashboard(&mut self, uid: &str) -> Result<Value, Refusal> {
        let position = self.position(uid)?;
        let dashboard = self.dashboards.remove(position);
        Ok(json!({"title": dashboard.title(), "message": "Dashboard deleted", "uid": uid}))
    }

    fn position(&self, uid: &str) -> Result<usize, Refusal> {
        let position = self.dashboards.iter().position(|found| found.uid == uid);
        position.ok_or_else(|| Refusal::new(404, "Dashboard not found"))
    }
}

impl Folder {
    fn item(&self) -> Value {
        json!({"id": self.id, "uid": self.uid, "title": self.title})
    }
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    serde_json::from_slice(body).map_err(|_| Refusal::new(400, "bad request data"))
}

/// DashboardErr: pkg/services/dashboards/errors.go.
fn failed(code: u16, status: &str, message: &str) -> Refusal {
    Refusal {
        status: code,
        body: json!({"status": status, "message": message}),
    }
}
