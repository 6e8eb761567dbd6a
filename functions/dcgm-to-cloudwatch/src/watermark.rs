//! The end of the last published period, kept in an SSM parameter.

use std::sync::{Mutex, PoisonError};

use aws_sdk_ssm::Client;
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ssm::types::ParameterType;
use chrono::{DateTime, SecondsFormat, Utc};

use crate::error::RunError;

/// What a new parameter holds: SSM takes no empty value.
const NONE_YET: &str = "none";

/// The watermark of one function.
#[derive(Debug)]
pub struct Watermark {
    client: Client,
    parameter: String,
    /// A write that failed: the next run of this process need not publish those periods again.
    unsaved: Mutex<Option<i64>>,
}

impl Watermark {
    /// A watermark kept in that parameter.
    pub fn new(client: Client, parameter: String) -> Self {
        Self {
            client,
            parameter,
            unsaved: Mutex::new(None),
        }
    }

    /// Where earlier runs left off, in seconds since the epoch; none where the parameter is not
    /// there or does not hold a time of the past, which is told in the log.
    ///
    /// # Errors
    /// SSM did not answer, or not to this role.
    pub async fn read(&self, clock: i64) -> Result<Option<i64>, RunError> {
        let unsaved = *self.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(self.stored(clock).await?.max(unsaved))
    }

    async fn stored(&self, clock: i64) -> Result<Option<i64>, RunError> {
        let answer = match self
            .client
            .get_parameter()
            .name(&self.parameter)
            .send()
            .await
        {
            Ok(answer) => answer,
            Err(error) if error.code() == Some("ParameterNotFound") => {
                tracing::warn!(parameter = self.parameter, "no watermark yet: no catch-up");
                return Ok(None);
            }
            Err(error) => return Err(self.failure("ssm:GetParameter", &error)),
        };
        let text = answer
            .parameter()
            .and_then(|parameter| parameter.value())
            .unwrap_or_default();
        if text == NONE_YET {
            return Ok(None);
        }
        let time = DateTime::parse_from_rfc3339(text.trim()).map(|time| time.timestamp());
        let complaint = match time {
            Ok(time) if time <= clock => return Ok(Some(time)),
            Ok(_) => "lies in the future",
            Err(_) => "is no RFC 3339 time",
        };
        let parameter = &self.parameter;
        tracing::warn!(
            parameter,
            "the watermark {complaint}: no catch-up, it is set anew"
        );
        Ok(None)
    }

    /// Moves the watermark.
    ///
    /// # Errors
    /// SSM did not answer, or not to this role.
    pub async fn write(&self, time: i64) -> Result<(), RunError> {
        // Also when the wait for SSM is given up half-way.
        *self.unsaved.lock().unwrap_or_else(PoisonError::into_inner) = Some(time);
        let put = self
            .client
            .put_parameter()
            .name(&self.parameter)
            .value(text(time));
        put.r#type(ParameterType::String)
            .overwrite(true)
            .send()
            .await
            .map_err(|error| self.failure("ssm:PutParameter", &error))?;
        *self.unsaved.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    fn failure<E>(&self, action: &str, error: &SdkError<E>) -> RunError
    where
        SdkError<E>: ProvideErrorMetadata + std::error::Error,
    {
        let parameter = &self.parameter;
        match error.code() {
            Some("AccessDeniedException") => RunError::AccessDenied(
                format!("the function's role needs {action} on parameter {parameter}").into(),
            ),
            Some("ThrottlingException") => {
                RunError::Throttled(format!("SSM: {}", startup::chain(error)).into())
            }
            _ => RunError::PublishFailed(
                format!("watermark {parameter}: {}", startup::chain(error)).into(),
            ),
        }
    }
}

/// A time as people and the parameter have it.
pub fn text(time: i64) -> String {
    DateTime::<Utc>::from_timestamp(time, 0)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Secs, true)
}
