//! Whom a list means: names looked up in IAM Identity Center.

use aws_sdk_grafana::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_grafana::types::{Role, UserType};
use aws_sdk_identitystore::config::Region;
use aws_sdk_identitystore::types::{AlternateIdentifier, UniqueAttribute};
use aws_sdk_ssoadmin::types::RegionScope;
use aws_smithy_types::Document;
use tokio::sync::OnceCell;

use crate::deadline::Deadline;
use crate::error::SetupError;
use crate::people::{Member, Name, Roster};

/// The organisation's Identity Center, found when the first name is looked up.
#[derive(Clone, Debug)]
pub struct IdentityCenter {
    /// Knows where it is.
    pub sso: aws_sdk_ssoadmin::Client,
    /// Knows who is in it.
    pub directory: aws_sdk_identitystore::Client,
}

/// A directory of people and groups, and the region that knows it.
struct Store {
    id: String,
    region: Option<String>,
}

/// Somebody who was looked up: known or not.
type Looked<'a> = (&'a Name, &'a Role, Option<String>);

impl IdentityCenter {
    /// Everybody of a roster.
    ///
    /// # Errors
    /// Identity Center is off, or knows not all of them: they are told all at once.
    pub async fn all(
        &self,
        roster: &Roster,
        deadline: &Deadline,
    ) -> Result<Vec<Member>, SetupError> {
        let looked = self.look_up(roster, deadline).await?;
        let unknown = looked.iter().filter(|(.., id)| id.is_none());
        let unknown: Vec<_> = unknown.map(|(name, ..)| name.text()).collect();
        if unknown.is_empty() {
            Ok(members(looked))
        } else {
            Err(SetupError::UnknownPeople(unknown.join(", ")))
        }
    }

    /// Those of a former roster who are still known.
    ///
    /// # Errors
    /// Identity Center fails.
    pub async fn known(
        &self,
        roster: &Roster,
        deadline: &Deadline,
    ) -> Result<Vec<Member>, SetupError> {
        match self.look_up(roster, deadline).await {
            Ok(looked) => Ok(members(looked)),
            // Without it nobody has a role any more.
            Err(SetupError::IdentityCenterOff) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn look_up<'a>(
        &self,
        roster: &'a Roster,
        deadline: &Deadline,
    ) -> Result<Vec<Looked<'a>>, SetupError> {
        let cell = OnceCell::new();
        let store = || cell.get_or_try_init(|| self.store());
        let mut looked = Vec::new();
        for (name, role) in roster {
            deadline.doing(format!("looking {} up in IAM Identity Center", name.text()));
            let id = match name {
                Name::UserId(id) => Some(id.clone()),
                Name::Group(group) => self.group(store().await?, group).await?,
                Name::Email(email) => self.person(store().await?, email).await?,
            };
            looked.push((name, role, id));
        }
        Ok(looked)
    }

    /// An organisation has one Identity Center, in whatever region.
    async fn store(&self) -> Result<Store, SetupError> {
        const OPERATION: &str = "sso:ListInstances";
        let client = &self.sso;
        let request = client.list_instances();
        let request = request.region_scope(RegionScope::AllRegions);
        let mut instances = request.into_paginator().items().send();
        while let Some(instance) = instances.next().await {
            let instance = instance.map_err(|error| failed(OPERATION, &error))?;
            if let Some(id) = instance.identity_store_id {
                let region = instance.primary_region;
                return Ok(Store { id, region });
            }
        }
        Err(SetupError::IdentityCenterOff)
    }

    /// Not every directory has addresses; where user names are addresses, they will do.
    async fn person(&self, store: &Store, email: &str) -> Result<Option<String>, SetupError> {
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
    ) -> Result<Option<String>, SetupError> {
        let client = &self.directory;
        let request = client.get_user_id().identity_store_id(&store.id);
        let request = request.alternate_identifier(unique(path, value));
        let request = request.customize().config_override(store.config());
        let found = known("identitystore:GetUserId", request.send().await)?;
        Ok(found.map(|user| user.user_id))
    }

    async fn group(&self, store: &Store, name: &str) -> Result<Option<String>, SetupError> {
        let client = &self.directory;
        let request = client.get_group_id().identity_store_id(&store.id);
        let request = request.alternate_identifier(unique("displayName", name));
        let request = request.customize().config_override(store.config());
        let found = known("identitystore:GetGroupId", request.send().await)?;
        Ok(found.map(|group| group.group_id))
    }
}

impl Store {
    /// A directory is asked in its own region.
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

/// What is not found is nobody's.
fn known<T, E>(
    operation: &'static str,
    answer: Result<T, SdkError<E>>,
) -> Result<Option<T>, SetupError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) => match failed(operation, &error) {
            SetupError::NotFound { .. } => Ok(None),
            error => Err(error),
        },
    }
}

fn failed<E>(operation: &'static str, error: &SdkError<E>) -> SetupError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match SetupError::of_call(operation, error) {
        SetupError::ManagedGrafanaRejected { operation, message }
        | SetupError::ManagedGrafanaUnavailable { operation, message } => {
            SetupError::IdentityCenterFailed { operation, message }
        }
        other => other,
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
