//! Which values a setting accepts: the forms of AWS, the limits of Grafana.

use amp::WorkspaceUrl;

/// Grafana: `MaxUIDLength` in pkg/util/shortid_generator.go, `maxDatasourceNameLen` and
/// `maxDatasourceUrlLen` in pkg/services/datasources/service/datasource.go, the column of a folder's
/// title in pkg/services/sqlstore/migrations/dashboard_mig.go.
const MAX_UID_LENGTH: usize = 40;
const MAX_NAME_LENGTH: usize = 190;
const MAX_URL_LENGTH: usize = 255;
const MAX_TITLE_LENGTH: usize = 189;

/// `WorkspaceId`: <https://docs.aws.amazon.com/grafana/latest/APIReference/API_DescribeWorkspace.html>
pub(crate) fn workspace_id(text: &str) -> Result<String, &'static str> {
    let digits = text.strip_prefix("g-").unwrap_or_default();
    let is_id = digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id
        .then(|| text.to_owned())
        .ok_or("expected g- and ten hexadecimal digits")
}

pub(crate) fn amp_url(text: &str) -> Result<WorkspaceUrl, String> {
    let url = WorkspaceUrl::parse(text).map_err(|error| error.to_string())?;
    if url.as_str().len() > MAX_URL_LENGTH {
        return Err(format!(
            "expected at most {MAX_URL_LENGTH} characters, Grafana's limit"
        ));
    }
    Ok(url)
}

pub(crate) fn region(text: &str) -> Result<String, &'static str> {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (text.contains('-') && text.bytes().all(is_word))
        .then(|| text.to_owned())
        .ok_or("expected an AWS region like us-east-2")
}

pub(crate) fn name(text: &str) -> Result<String, String> {
    of_length(text, MAX_NAME_LENGTH)
}

pub(crate) fn title(text: &str) -> Result<String, String> {
    of_length(text, MAX_TITLE_LENGTH)
}

fn of_length(text: &str, max: usize) -> Result<String, String> {
    if text.contains(['\n', '\r']) {
        return Err("expected one line".to_owned());
    }
    (text.chars().count() <= max)
        .then(|| text.to_owned())
        .ok_or_else(|| format!("expected at most {max} characters, Grafana's limit"))
}

pub(crate) fn flag(text: &str) -> Result<bool, &'static str> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("expected true or false"),
    }
}

/// `ValidateUID`: pkg/util/shortid_generator.go.
pub(crate) fn uid(text: &str) -> Result<String, String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    ((1..=MAX_UID_LENGTH).contains(&text.len()) && text.bytes().all(is_allowed))
        .then(|| text.to_owned())
        .ok_or_else(|| format!("expected 1 to {MAX_UID_LENGTH} letters, digits, - or _"))
}
