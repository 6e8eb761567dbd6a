//! The doubles of Identity Center and of the workspace's roles are as strict as what they stand for.

#![expect(
    clippy::unwrap_used,
    reason = "in a test's helpers too a failed unwrap is a failed test"
)]

use aws_config::{SdkConfig, retry::RetryConfig};
use aws_sdk_grafana::types::{Role, UpdateAction, UpdateInstruction, User, UserType};
use aws_sdk_identitystore::types::{AlternateIdentifier, UniqueAttribute};
use aws_sdk_ssoadmin::{error::ProvideErrorMetadata, types::RegionScope};
use aws_smithy_types::Document;
use suites::sdk;
use testkit::doubles::grafana::{Amp, Grafana};
use testkit::doubles::identity_center::IdentityCenter;
use testkit::doubles::managed_grafana::{ManagedGrafana, WORKSPACE_ID};
use testkit::doubles::sigv4;
use testkit::lambda::REGION;

/// Where the organisation has switched it on.
const HOME: &str = "eu-west-1";

fn config(url: String, region: &'static str) -> SdkConfig {
    let keys = sigv4::Credentials::example();
    sdk::config(url, region, keys, RetryConfig::disabled())
}

async fn identity_center() -> IdentityCenter {
    let center = IdentityCenter::start(sigv4::Credentials::example());
    center.await.unwrap()
}

fn attribute(path: &str, value: &str) -> AlternateIdentifier {
    let attribute = UniqueAttribute::builder()
        .attribute_path(path)
        .attribute_value(Document::String(value.to_owned()));
    AlternateIdentifier::UniqueAttribute(attribute.build().unwrap())
}

#[tokio::test]
async fn an_identity_center_is_seen_from_elsewhere_only_when_all_regions_are_asked_for() {
    let center = identity_center().await;
    let client = aws_sdk_ssoadmin::Client::new(&config(center.url(), REGION));
    let here = client.list_instances().send().await.unwrap();
    assert!(here.instances().is_empty());
    let everywhere = client.list_instances();
    let everywhere = everywhere.region_scope(RegionScope::AllRegions).send();
    let found = everywhere.await.unwrap().instances()[0].clone();
    assert_eq!(found.primary_region(), Some(HOME));
    center.switch_off();
    let off = client.list_instances();
    let off = off.region_scope(RegionScope::AllRegions).send();
    assert!(off.await.unwrap().instances().is_empty());
}

#[tokio::test]
async fn people_are_found_by_their_unique_attributes_in_the_directorys_own_region() {
    let center = identity_center().await;
    let ada = center.add_user("ada", Some("ada@example.com"));
    let ask = async |region, store: &str, path: &str, value: &str| {
        let client = aws_sdk_identitystore::Client::new(&config(center.url(), region));
        let request = client.get_user_id().identity_store_id(store);
        let answer = request
            .alternate_identifier(attribute(path, value))
            .send()
            .await;
        answer
            .map(|found| found.user_id)
            .map_err(|error| error.code().unwrap_or_default().to_owned())
    };
    let store = "d-9067641234";
    assert_eq!(ask(HOME, store, "userName", "ada").await, Ok(ada.clone()));
    let by_address = ask(HOME, store, "emails.value", "ada@example.com").await;
    assert_eq!(by_address, Ok(ada));
    for (region, store, path, value, error) in [
        (
            HOME,
            store,
            "emails.value",
            "ada",
            "ResourceNotFoundException",
        ),
        (
            HOME,
            "d-0000000000",
            "userName",
            "ada",
            "ResourceNotFoundException",
        ),
        (HOME, store, "displayName", "ada", "ValidationException"),
        (
            REGION,
            store,
            "userName",
            "ada",
            "InvalidSignatureException",
        ),
    ] {
        let answer = ask(region, store, path, value).await;
        assert_eq!(answer, Err(error.to_owned()), "{region} {store} {path}");
    }
}

async fn amg() -> (ManagedGrafana, aws_sdk_grafana::Client) {
    let amp = Amp {
        url: "https://aps".into(),
        region: REGION.into(),
        role_may_query: true,
    };
    let grafana = Grafana::start(12, amp).await.unwrap();
    let amg = ManagedGrafana::start(&grafana).await.unwrap();
    let client = aws_sdk_grafana::Client::new(&config(amg.url(), REGION));
    (amg, client)
}

fn instruction(action: UpdateAction, role: Role, id: &str) -> UpdateInstruction {
    let user = User::builder().id(id).r#type(UserType::SsoUser);
    UpdateInstruction::builder()
        .action(action)
        .role(role)
        .users(user.build().unwrap())
        .build()
        .unwrap()
}

const ADA: &str = "9067641234-aaaaaaaa-0000-4000-8000-00000000000a";

#[tokio::test]
async fn roles_are_changed_by_id_in_batches_of_twenty() {
    let (amg, client) = amg().await;
    let update = async |instructions: Vec<UpdateInstruction>| {
        let request = client.update_permissions().workspace_id(WORKSPACE_ID);
        let request = request.set_update_instruction_batch(Some(instructions));
        let answer = request.send().await;
        answer
            .map(|answer| answer.errors)
            .map_err(|error| error.code().unwrap_or_default().to_owned())
    };
    let add = |id| instruction(UpdateAction::Add, Role::Viewer, id);
    let invalid = Err("ValidationException".to_owned());
    assert_eq!(update(vec![add("ada@example.com")]).await, invalid);
    assert_eq!(update(vec![add(ADA); 21]).await, invalid);
    assert_eq!(amg.roles(), []);
    assert_eq!(update(vec![add(ADA)]).await, Ok(Vec::new()));
    assert_eq!(amg.roles(), [(ADA.to_owned(), "VIEWER".to_owned())]);
}

#[tokio::test]
async fn what_cannot_be_changed_is_told_in_an_answer_of_200() {
    let (amg, client) = amg().await;
    let revoke = instruction(UpdateAction::Revoke, Role::Admin, ADA);
    let request = client.update_permissions().workspace_id(WORKSPACE_ID);
    let answer = request
        .update_instruction_batch(revoke.clone())
        .send()
        .await;
    let errors = answer.unwrap().errors;
    assert_eq!(errors[0].caused_by(), Some(&revoke));
    assert_eq!(amg.roles(), []);
}

#[tokio::test]
async fn roles_are_listed_page_by_page() {
    let (amg, client) = amg().await;
    for n in 0..5 {
        amg.give_role(&format!("aaaaaaaa-0000-4000-8000-00000000000{n}"), "EDITOR");
    }
    let list = client.list_permissions().workspace_id(WORKSPACE_ID);
    let first = list.clone().send().await.unwrap();
    assert!(first.next_token().is_some());
    let all = list.into_paginator().items().send();
    let all = all.collect::<Result<Vec<_>, _>>().await.unwrap();
    assert_eq!(all.len(), 5);
    assert!(all.iter().all(|entry| entry.role == Role::Editor));
}
