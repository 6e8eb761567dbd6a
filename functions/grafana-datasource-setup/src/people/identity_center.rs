//! Who the people on the lists are: looks their names up in IAM Identity Center.

use aws_sdk_grafana::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_grafana::types::{Role, UserType};
use aws_sdk_identitystore::config::Region;
use aws_sdk_identitystore::types::{AlternateIdentifier, UniqueAttribute};
use aws_sdk_ssoadmin::types::{InstanceStatus, RegionScope};
use aws_smithy_types::Document;
use startup::Deadline;
use tokio::sync::OnceCell;

use super::plan::{Member, Members};
use super::roster::{Name, Roster};
use crate::aws_call::{CallError, CallErrorKind};
use crate::error::SetupError;

/// IAM Identity Center, with all instances that the account sees.
#[derive(Clone, Debug)]
pub(crate) struct IdentityCenter {
    /// Lists the instances.
    pub(crate) sso: aws_sdk_ssoadmin::Client,
    /// Looks people and groups up in an instance's directory.
    pub(crate) directory: aws_sdk_identitystore::Client,
}

/// A directory of people and groups, which belongs to one instance.
#[derive(Debug)]
struct Store {
    id: String,
    /// The region it is in.
    region: Option<String>,
    /// The account that owns the instance.
    owner: Option<String>,
}

/// A name, its role, and its id if it is known.
type Looked<'a> = (&'a Name, &'a Role, Option<String>);

impl IdentityCenter {
    /// Looks up those on the lists now and those who were on `former` ones. `account` is the function's
    /// own.
    ///
    /// # Errors
    /// Identity Center fails, is off, or doesn't know everybody in `wanted`: the error names all of them.
    pub(crate) async fn members(
        &self,
        wanted: &Roster,
        former: &Roster,
        account: &str,
        deadline: &Deadline,
    ) -> Result<Members, SetupError> {
        let wanted = self.all(wanted, account, deadline).await?;
        let former = self.known(former, account, deadline).await?;
        Ok(Members::new(wanted, former))
    }

    async fn all(
        &self,
        roster: &Roster,
        account: &str,
        deadline: &Deadline,
    ) -> Result<Vec<Member>, SetupError> {
        let stores = OnceCell::new();
        let looked = self.look_up(roster, account, &stores, deadline).await?;
        let unknown = looked.iter().filter(|(.., id)| id.is_none());
        let unknown: Vec<_> = unknown.map(|(name, ..)| name.text()).collect();
        if unknown.is_empty() {
            return Ok(members(looked));
        }
        let stores = stores.get().into_iter().flatten();
        let asked: Vec<_> = stores.map(Store::text).collect();
        Err(SetupError::UnknownPeople {
            people: unknown.join(", "),
            asked: asked.join(", "),
        })
    }

    /// Those of a former roster who are still known.
    async fn known(
        &self,
        roster: &Roster,
        account: &str,
        deadline: &Deadline,
    ) -> Result<Vec<Member>, SetupError> {
        let stores = OnceCell::new();
        match self.look_up(roster, account, &stores, deadline).await {
            Ok(looked) => Ok(members(looked)),
            // Without Identity Center nobody has a role any more.
            Err(SetupError::IdentityCenterOff) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn look_up<'a>(
        &self,
        roster: &'a Roster,
        account: &str,
        stores: &OnceCell<Vec<Store>>,
        deadline: &Deadline,
    ) -> Result<Vec<Looked<'a>>, SetupError> {
        let mut looked = Vec::new();
        for (name, role) in roster {
            deadline.doing(format!("looking {} up in IAM Identity Center", name.text()));
            let id = if let Name::UserId(id) = name {
                Some(id.clone())
            } else {
                let stores = stores.get_or_try_init(|| self.stores(account)).await?;
                self.find(name, stores).await?
            };
            looked.push((name, role, id));
        }
        Ok(looked)
    }

    /// Asks one directory after the other. A failure counts only if no other directory knows the name.
    async fn find(&self, name: &Name, stores: &[Store]) -> Result<Option<String>, CallError> {
        let mut failure = None;
        for store in stores {
            let found = match name {
                Name::UserId(id) => Ok(Some(id.clone())),
                Name::Group(group) => self.group(store, group).await,
                Name::Email(email) => self.person(store, email).await,
            };
            match found {
                Ok(Some(id)) => return Ok(Some(id)),
                Ok(None) => {}
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(None),
        }
    }

    /// The directories of all instances of Identity Center that this account sees, in any region. The
    /// organisation's comes first, because Amazon Managed Grafana signs people in with that one:
    /// <https://docs.aws.amazon.com/grafana/latest/userguide/authentication-in-AMG-SSO.html>.
    /// A member account may have an instance of its own in addition.
    async fn stores(&self, account: &str) -> Result<Vec<Store>, SetupError> {
        const OPERATION: &str = "sso:ListInstances";
        let client = &self.sso;
        let request = client.list_instances();
        let request = request.region_scope(RegionScope::AllRegions);
        let mut instances = request.into_paginator().items().send();
        let mut stores = Vec::new();
        while let Some(instance) = instances.next().await {
            let instance = instance.map_err(|error| CallError::new(OPERATION, &error))?;
            let is_active = instance
                .status
                .is_none_or(|status| status == InstanceStatus::Active);
            if let Some(id) = instance.identity_store_id.filter(|_| is_active) {
                stores.push(Store {
                    id,
                    region: instance.primary_region,
                    owner: instance.owner_account_id,
                });
            }
        }
        stores.sort_by_key(|store| store.owner.as_deref() == Some(account));
        if stores.is_empty() {
            return Err(SetupError::IdentityCenterOff);
        }
        Ok(stores)
    }

    /// Falls back to the user name when no e-mail address matches.
    async fn person(&self, store: &Store, email: &str) -> Result<Option<String>, CallError> {
        match self.user(store, "emails.value", email).await? {
            Some(id) => Ok(Some(id)),
            None => self.user(store, "userName", email).await,
        }
    }

    /// Paths: <https://docs.aws.amazon.com/singlesignon/latest/IdentityStoreAPIReference/API_GetUserId.html>
    async fn user(
        &self,
        store: &Store,
        path: &str,
        value: &str,
    ) -> Result<Option<String>, CallError> {
        let client = &self.directory;
        let request = client.get_user_id().identity_store_id(&store.id);
        let request = request.alternate_identifier(unique(path, value));
        let request = request.customize().config_override(store.config());
        let found = known("identitystore:GetUserId", request.send().await)?;
        Ok(found.map(|user| user.user_id))
    }

    async fn group(&self, store: &Store, name: &str) -> Result<Option<String>, CallError> {
        let client = &self.directory;
        let request = client.get_group_id().identity_store_id(&store.id);
        let request = request.alternate_identifier(unique("displayName", name));
        let request = request.customize().config_override(store.config());
        let found = known("identitystore:GetGroupId", request.send().await)?;
        Ok(found.map(|group| group.group_id))
    }
}

impl Store {
    /// The directory as an error message names it.
    fn text(&self) -> String {
        let mut text = format!("directory {}", self.id);
        if let Some(region) = &self.region {
            text += &format!(" in {region}");
        }
        if let Some(owner) = &self.owner {
            text += &format!(" of account {owner}");
        }
        text
    }

    /// A directory answers only in its own region.
    fn config(&self) -> aws_sdk_identitystore::config::Builder {
        let config = aws_sdk_identitystore::Config::builder();
        match &self.region {
            Some(region) => config.region(Region::new(region.clone())),
            None => config,
        }
    }
}

fn unique(path: &str, value: &str) -> AlternateIdentifier {
    let attribute = UniqueAttribute::builder()
        .attribute_path(path)
        .attribute_value(Document::String(value.to_owned()));
    let attribute = attribute.build().expect("BUG: both fields are set");
    AlternateIdentifier::UniqueAttribute(attribute)
}

/// Turns "not found" into `None`.
fn known<T, E>(
    operation: &'static str,
    answer: Result<T, SdkError<E>>,
) -> Result<Option<T>, CallError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match answer.map_err(|error| CallError::new(operation, &error)) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind == CallErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn members(looked: Vec<Looked<'_>>) -> Vec<Member> {
    let known = looked.into_iter().filter_map(|(name, role, id)| {
        Some(Member {
            name: name.text(),
            id: id?,
            user_type: match name {
                Name::Group(_) => UserType::SsoGroup,
                Name::Email(_) | Name::UserId(_) => UserType::SsoUser,
            },
            role: role.clone(),
        })
    });
    known.collect()
}
