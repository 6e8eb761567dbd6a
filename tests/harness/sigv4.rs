//! Signature Version 4, checked from the server's side.

/// What a request is signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Goes over the wire in clear.
    pub access_key_id: String,
    /// Never leaves the signer.
    pub secret_access_key: String,
    /// Present for temporary credentials, such as a Lambda function's.
    pub session_token: Option<String>,
}

impl Credentials {
    /// Temporary credentials of nobody, easy to find in a log they must not be in.
    pub fn example() -> Self {
        Self {
            access_key_id: "ASIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: Some("IQoJb3JpZ2luX2VjEXAMPLE+SESSION/TOKEN//////////==".to_owned()),
        }
    }
}
