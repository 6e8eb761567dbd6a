//! Runs a built bootstrap under the Lambda Runtime API.
