//! CloudFormation's custom resource protocol: reads the request, and delivers exactly one response.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref.html>

mod physical_id;
mod request;
mod response;

pub use physical_id::PhysicalId;
pub use request::Request;
pub(crate) use request::{Task, is_request};
pub(crate) use response::Response;
