//! A reply, kept compressed until it is read.

use std::io::Read;

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

    /// Decompresses the JSON into `buffer`, which several replies can share one after the other.
    ///
    /// # Errors
    /// The reply is damaged, or larger than the budget.
    pub(crate) fn json<'r>(&self, buffer: &'r mut Vec<u8>) -> Result<&'r [u8], QueryError> {
        buffer.clear();
        let mut json = decoder(&self.headers, &self.body).take(self.limit as u64 + 1);
        json.read_to_end(buffer)
            .map_err(|e| QueryError::unreadable(&e))?;
        if buffer.len() > self.limit {
            return Err(QueryError::too_large("decompressed", self.limit));
        }
        Ok(buffer)
    }
}
