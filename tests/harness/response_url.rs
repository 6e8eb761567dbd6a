//! The presigned S3 URL CloudFormation waits on.
