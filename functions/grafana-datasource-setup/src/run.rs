//! What one invocation works with.

use secrecy::SecretString;
use startup::Deadline;

use crate::grafana::Grafana;
use crate::people::apply::Roles;
use crate::people::identity_center::IdentityCenter;
use crate::workspace::Workspace;

/// The clients of the services, which all invocations share.
#[derive(Debug)]
pub(crate) struct Clients {
    /// AMG's control plane.
    pub(crate) managed_grafana: aws_sdk_grafana::Client,
    pub(crate) identity_center: IdentityCenter,
    /// For Grafana itself and for CloudFormation's ResponseURL.
    pub(crate) http: reqwest::Client,
}

/// One invocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    pub(crate) clients: &'a Clients,
    pub(crate) deadline: &'a Deadline,
    /// The function's own account.
    pub(crate) account: &'a str,
}

impl<'a> Run<'a> {
    /// The Grafana of a workspace, with a token for it.
    pub(crate) fn grafana(&self, workspace: &'a Workspace, token: SecretString) -> Grafana<'a> {
        Grafana {
            http: &self.clients.http,
            endpoint: &workspace.endpoint,
            version: &workspace.version,
            token,
            deadline: self.deadline,
        }
    }

    /// The roles in a workspace.
    pub(crate) fn roles(&self, workspace: &'a str) -> Roles<'a> {
        Roles {
            client: &self.clients.managed_grafana,
            workspace,
            deadline: self.deadline,
        }
    }
}
