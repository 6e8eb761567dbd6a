//! IAM Identity Center of an organisation: sso-admin's ListInstances, identitystore's GetUserId and
//! GetGroupId, in `x-amz-json-1.1`. It lives in another region than the stack, as it often does.
//! <https://docs.aws.amazon.com/singlesignon/latest/APIReference/>,
//! <https://docs.aws.amazon.com/singlesignon/latest/IdentityStoreAPIReference/>

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use axum::{body::Bytes, http::request::Parts, response::Response};
use serde_json::{Value, json};

use crate::doubles::faults::{Faults, lock};
use crate::doubles::server::{Server, Service, json as answer};
use crate::doubles::sigv4::{self, Credentials, Verifier};
use crate::lambda::REGION;

/// Where it was switched on.
const HOME: &str = "eu-west-1";

const STORE_ID: &str = "d-9067641234";

/// A running Identity Center; it stops when dropped.
#[derive(Debug)]
pub struct IdentityCenter {
    server: Server,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    credentials: Credentials,
    faults: Faults,
    directory: Mutex<Directory>,
}

/// The functions' own, as the Runtime API's double has it in their ARN.
const ACCOUNT: &str = "123456789012";

/// The store of an instance that the function's own account made for itself.
const OWN_STORE_ID: &str = "d-1111111111";

#[derive(Debug, Default)]
struct Directory {
    is_off: bool,
    has_account_instance: bool,
    users: Vec<User>,
    groups: Vec<(String, String)>,
    calls: Vec<String>,
}

#[derive(Debug)]
struct User {
    id: String,
    name: String,
    email: Option<String>,
}

/// The error's name and message.
type Refusal = (&'static str, String);

impl IdentityCenter {
    /// Starts it for callers with these credentials.
    ///
    /// # Errors
    /// No free port.
    pub async fn start(credentials: Credentials) -> anyhow::Result<Self> {
        let state = Arc::new(State {
            credentials,
            faults: Faults::default(),
            directory: Mutex::default(),
        });
        Ok(Self {
            server: Server::start(Arc::clone(&state)).await?,
            state,
        })
    }

    /// For `AWS_ENDPOINT_URL_SSO_ADMIN` and `AWS_ENDPOINT_URL_IDENTITYSTORE`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Faults to come, by the operation's name.
    pub fn faults(&self) -> &Faults {
        &self.state.faults
    }

    /// It was never switched on.
    pub fn switch_off(&self) {
        lock(&self.state.directory).is_off = true;
    }

    /// The function's account has an instance of its own too, which is listed first and has nobody in
    /// it. Another one is still being made.
    pub fn add_account_instance(&self) {
        lock(&self.state.directory).has_account_instance = true;
    }

    /// Somebody with an e-mail address, or with a user name alone; gives the id.
    pub fn add_user(&self, name: &str, email: Option<&str>) -> String {
        let users = &mut lock(&self.state.directory).users;
        let id = format!("9067641234-{:08x}-0000-4000-8000-00000000000a", users.len());
        users.push(User {
            id: id.clone(),
            name: name.to_owned(),
            email: email.map(str::to_owned),
        });
        id
    }

    /// A group; gives its id.
    pub fn add_group(&self, name: &str) -> String {
        let groups = &mut lock(&self.state.directory).groups;
        let id = format!(
            "9067641234-{:08x}-0000-4000-8000-00000000000b",
            groups.len()
        );
        groups.push((id.clone(), name.to_owned()));
        id
    }

    /// Somebody has left the organisation.
    pub fn remove_user(&self, name: &str) {
        lock(&self.state.directory)
            .users
            .retain(|user| user.name != name);
    }

    /// Every operation called, in order.
    pub fn calls(&self) -> Vec<String> {
        lock(&self.state.directory).calls.clone()
    }
}

impl State {
    fn call(&self, parts: &Parts, raw: &Bytes) -> Result<Value, Refusal> {
        let target = target(parts);
        let body: Value = serde_json::from_slice(raw).unwrap_or_default();
        let (service, region) = match target.split_once('.') {
            Some(("SWBExternalService", _)) => ("sso", REGION),
            Some(("AWSIdentityStore", _)) if body["IdentityStoreId"] == OWN_STORE_ID => {
                ("identitystore", REGION)
            }
            Some(("AWSIdentityStore", _)) => ("identitystore", HOME),
            _ => return Err(("UnknownOperationException", target.to_owned())),
        };
        let verifier = Verifier {
            credentials: self.credentials.clone(),
            region: region.to_owned(),
            service,
        };
        let request = sigv4::Request::new(parts, raw);
        let verified = verifier.verify(&request, SystemTime::now());
        verified.map_err(|refusal| (refusal.error_type(), refusal.to_string()))?;
        let operation = self.operation(parts);
        let mut directory = lock(&self.directory);
        directory.calls.push(operation.clone());
        match &*operation {
            "ListInstances" => directory.instances(&body),
            "GetUserId" => directory.user(&body),
            "GetGroupId" => directory.group(&body),
            _ => Err(("UnknownOperationException", operation)),
        }
    }
}

impl Service for State {
    type Error = u16;

    fn operation(&self, parts: &Parts) -> String {
        let (_, operation) = target(parts).split_once('.').unwrap_or_default();
        operation.to_owned()
    }

    fn serve(&self, parts: &Parts, body: &Bytes) -> Response {
        match self.call(parts, body) {
            Ok(body) => answer(200, &body),
            Err((name, message)) => answer(400, &json!({"__type": name, "Message": message})),
        }
    }

    fn failure(&self, _operation: &str, status: u16) -> Response {
        let name = match status {
            403 => "AccessDeniedException",
            429 => "ThrottlingException",
            _ => "InternalServerException",
        };
        let message = format!("fault {status}");
        answer(status, &json!({"__type": name, "Message": message}))
    }

    fn faults(&self) -> &Faults {
        &self.faults
    }
}

fn target(parts: &Parts) -> &str {
    let target = parts.headers.get("x-amz-target");
    target
        .and_then(|target| target.to_str().ok())
        .unwrap_or_default()
}

impl Directory {
    fn instances(&self, body: &Value) -> Result<Value, Refusal> {
        let is_in_scope = match body["RegionScope"].as_str() {
            // The default: "Lists only the instances in the Region that you call this API from."
            None | Some("CURRENT_REGION") => HOME == REGION,
            Some("ALL_REGIONS") => true,
            Some(other) => return Err(invalid(&format!("RegionScope {other}"))),
        };
        if self.is_off || !is_in_scope {
            return Ok(json!({"Instances": []}));
        }
        let instance = |unique: &str, status: &str, store: &str, owner: &str, region: &str| {
            json!({
                "InstanceArn": format!("arn:aws:sso:::instance/ssoins-{unique}"), "Status": status,
                "IdentityStoreId": store, "OwnerAccountId": owner, "PrimaryRegion": region,
            })
        };
        let organisations = instance("6804c1d2e3f4a5b6", "ACTIVE", STORE_ID, "999988887777", HOME);
        let mut instances = Vec::new();
        if self.has_account_instance {
            let own = |unique, status, store| instance(unique, status, store, ACCOUNT, REGION);
            instances.push(own("1111111111111111", "ACTIVE", OWN_STORE_ID));
            instances.push(own(
                "2222222222222222",
                "CREATE_IN_PROGRESS",
                "d-2222222222",
            ));
        }
        instances.push(organisations);
        Ok(json!({"Instances": instances}))
    }

    fn user(&self, body: &Value) -> Result<Value, Refusal> {
        let (path, value) = self.attribute(body)?;
        if body["IdentityStoreId"] == OWN_STORE_ID {
            return Err(unknown("USER"));
        }
        let found = self.users.iter().find(|user| match path {
            "emails.value" => user.email.as_deref() == Some(value),
            _ => user.name == value,
        });
        // "the only valid paths are userName and emails.value"
        if !["userName", "emails.value"].contains(&path) {
            return Err(invalid(&format!("AttributePath {path}")));
        }
        let id = &found.ok_or_else(|| unknown("USER"))?.id;
        let arn = format!("arn:aws:identitystore:::user/{id}");
        Ok(json!({"UserId": id, "IdentityStoreId": STORE_ID, "UserArn": arn}))
    }

    fn group(&self, body: &Value) -> Result<Value, Refusal> {
        let (path, value) = self.attribute(body)?;
        if body["IdentityStoreId"] == OWN_STORE_ID {
            return Err(unknown("GROUP"));
        }
        if path != "displayName" {
            return Err(invalid(&format!("AttributePath {path}")));
        }
        let found = self.groups.iter().find(|(_, name)| name == value);
        let (id, _) = found.ok_or_else(|| unknown("GROUP"))?;
        let arn = format!("arn:aws:identitystore:::group/{id}");
        Ok(json!({"GroupId": id, "IdentityStoreId": STORE_ID, "GroupArn": arn}))
    }

    /// `AlternateIdentifier` is a union: exactly one member.
    fn attribute<'a>(&self, body: &'a Value) -> Result<(&'a str, &'a str), Refusal> {
        let is_known = body["IdentityStoreId"] == STORE_ID
            || (self.has_account_instance && body["IdentityStoreId"] == OWN_STORE_ID);
        if self.is_off || !is_known {
            return Err(unknown("IDENTITY_STORE"));
        }
        let identifier = body["AlternateIdentifier"].as_object();
        let attribute = identifier
            .filter(|union| union.len() == 1)
            .and_then(|union| union.get("UniqueAttribute"));
        let text = |name: &str| attribute.and_then(|attribute| attribute[name].as_str());
        match (text("AttributePath"), text("AttributeValue")) {
            (Some(path), Some(value)) if !value.is_empty() => Ok((path, value)),
            _ => Err(invalid("AlternateIdentifier")),
        }
    }
}

fn invalid(what: &str) -> Refusal {
    ("ValidationException", format!("{what} is not valid"))
}

fn unknown(what: &str) -> Refusal {
    ("ResourceNotFoundException", format!("{what} not found."))
}
