//! A reply, kept compressed until it is read.

use std::io::{self, Read};

use reqwest::Response;
use reqwest::header::HeaderMap;

use super::body::decoder;
use super::error::{Failure, QueryError};
use super::pace::Budget;

/// A whole reply as it came over the wire. Compressed, the reply about 10,000 nodes has a few megabytes.
#[derive(Debug)]
pub(crate) struct Reply {
    headers: HeaderMap,
    body: Vec<u8>,
    limit: usize,
}

impl Reply {
    pub(super) async fn read(mut response: Response, budget: Budget) -> Result<Self, Failure> {
        let body = startup::body_within(&mut response, budget.reply)
            .await
            .map_err(Failure::transport)?
            .ok_or_else(|| Failure::Last(QueryError::too_large("compressed", budget.reply)))?;
        Ok(Self {
            headers: std::mem::take(response.headers_mut()),
            body,
            limit: budget.json,
        })
    }

    /// The JSON, decompressed while it is read. Beyond the budget reading fails.
    pub(crate) fn json(&self) -> impl Read {
        Within {
            json: decoder(&self.headers, &self.body),
            left: self.limit,
        }
    }

    /// What an error is that reading the JSON ended with.
    pub(crate) fn failure(&self, error: &io::Error) -> QueryError {
        match error.get_ref() {
            Some(cause) if cause.is::<OverBudget>() => {
                QueryError::too_large("decompressed", self.limit)
            }
            _ => QueryError::unreadable(error),
        }
    }
}

/// Reads so many bytes at most.
struct Within<R> {
    json: R,
    left: usize,
}

#[derive(Debug, thiserror::Error)]
#[error("over the budget")]
struct OverBudget;

impl<R: Read> Read for Within<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.json.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read)
            .ok_or_else(|| io::Error::other(OverBudget))?;
        Ok(read)
    }
}
