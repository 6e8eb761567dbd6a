//! The watermark in its SSM parameter.

use std::sync::{Mutex, PoisonError};

use aws_sdk_ssm::Client;
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ssm::types::ParameterType;

use crate::due::progress::Mark;
use crate::error::RunError;

/// Value of a new parameter: SSM accepts no empty one.
const NONE_YET: &str = "none";

/// The watermark of one function.
#[derive(Debug)]
pub(crate) struct Watermark {
    client: Client,
    parameter: String,
    /// A mark that could not be saved. The next run of this process goes on from it.
    unsaved: Mutex<Option<Mark>>,
}

impl Watermark {
    /// A watermark kept in that parameter.
    pub(crate) fn new(client: Client, parameter: String) -> Self {
        Self {
            client,
            parameter,
            unsaved: Mutex::new(None),
        }
    }

    /// How far earlier runs came. None, with a line in the log, if the parameter does not exist or holds no
    /// time in the past.
    ///
    /// # Errors
    /// SSM did not answer, or not to this role.
    pub(crate) async fn read(&self, clock: i64) -> Result<Option<Mark>, RunError> {
        let unsaved = *self.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(self.stored(clock).await?.max(unsaved))
    }

    async fn stored(&self, clock: i64) -> Result<Option<Mark>, RunError> {
        let request = self.client.get_parameter().name(&self.parameter);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if error.code() == Some("ParameterNotFound") => {
                tracing::warn!(parameter = self.parameter, "no watermark yet: no catch-up");
                return Ok(None);
            }
            Err(error) => return Err(self.failure("ssm:GetParameter", &error)),
        };
        let value = answer.parameter().and_then(|parameter| parameter.value());
        let value = value.unwrap_or_default();
        if value == NONE_YET {
            return Ok(self.before_reset(clock).await);
        }
        let complaint = match Mark::parse(value) {
            Some(mark) if mark.published <= clock => return Ok(Some(mark)),
            Some(_) => "lies in the future",
            None => "is no RFC 3339 time",
        };
        let parameter = &self.parameter;
        tracing::warn!(
            parameter,
            "the watermark {complaint}: no catch-up, it is set anew"
        );
        Ok(None)
    }

    /// The newest mark in the parameter's history. When anything of the parameter's resource changes, even
    /// a tag of the stack, CloudFormation overwrites the parameter with its first value.
    async fn before_reset(&self, clock: i64) -> Option<Mark> {
        let parameter = &self.parameter;
        let request = self.client.get_parameter_history().name(parameter);
        let mut pages = request.into_paginator().send();
        let mut newest = None;
        while let Some(page) = pages.next().await {
            match page {
                Ok(page) => {
                    let values = page
                        .parameters()
                        .iter()
                        .filter_map(|version| version.value());
                    let marks = values.filter_map(Mark::parse);
                    newest = marks
                        .filter(|mark| mark.published <= clock)
                        .chain(newest)
                        .max();
                }
                Err(error) => {
                    let error = startup::error_chain(&error);
                    tracing::info!(parameter, error, "the watermark's history can't be read");
                    break;
                }
            }
        }
        if let Some(mark) = newest {
            tracing::info!(parameter, "the watermark was reset: going on from {mark}");
        }
        newest
    }

    /// Moves the watermark.
    ///
    /// # Errors
    /// SSM did not answer, or not to this role.
    pub(crate) async fn write(&self, mark: Mark) -> Result<(), RunError> {
        // Set before the call, since a run may give up waiting for it.
        *self.unsaved.lock().unwrap_or_else(PoisonError::into_inner) = Some(mark);
        let put = self
            .client
            .put_parameter()
            .name(&self.parameter)
            .value(mark.to_string());
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
                RunError::Throttled(format!("SSM: {}", startup::error_chain(error)).into())
            }
            _ => RunError::PublishFailed(
                format!("watermark {parameter}: {}", startup::error_chain(error)).into(),
            ),
        }
    }
}
