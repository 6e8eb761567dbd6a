//! The log: everything that the functions say, and only warnings of libraries.

use std::str::FromStr;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::{self, format};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Logs to standard output as Lambda's logging configuration asks (`AWS_LAMBDA_LOG_LEVEL`,
/// `AWS_LAMBDA_LOG_FORMAT`; else `RUST_LOG` as a bare level; else INFO, text).
///
/// Only the crates named go below WARN: at DEBUG and TRACE the AWS SDK, aws-sigv4, hyper and the
/// runtime print request headers, session tokens, canonical requests and whole payloads.
pub fn log(crates: &[&str]) {
    let variable = |name| crate::environment::process_variable(name);
    let level = variable("AWS_LAMBDA_LOG_LEVEL").or_else(|| variable("RUST_LOG"));
    let json =
        variable("AWS_LAMBDA_LOG_FORMAT").is_some_and(|format| format.eq_ignore_ascii_case("json"));
    let targets = targets(level.as_deref(), crates);
    let subscriber = tracing_subscriber::registry().with(targets);
    let lines = fmt::layer().with_target(false).with_ansi(false);
    if json {
        // Lambda filters JSON lines by `timestamp` and `level`; without a time every line counts
        // as INFO. https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-advanced.html
        let json = format::json().flatten_event(true).with_span_list(false);
        subscriber
            .with(
                lines
                    .event_format(json)
                    .fmt_fields(format::JsonFields::new()),
            )
            .init();
    } else {
        subscriber.with(lines.without_time()).init();
    }
}

fn targets(level: Option<&str>, crates: &[&str]) -> Targets {
    let level = level
        .and_then(|level| LevelFilter::from_str(level).ok())
        .unwrap_or(LevelFilter::INFO);
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        // The runtime's span carries the request id, at INFO.
        .with_target("lambda_runtime", level.min(LevelFilter::INFO))
        .with_target("startup", level)
        .with_targets(crates.iter().map(|name| (*name, level)))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn libraries_stay_at_warnings_whatever_the_level_asked_for() {
        for level in ["TRACE", "debug", "INFO"] {
            let targets = targets(Some(level), &["ours"]);
            for library in [
                "aws_sigv4::http_request",
                "aws_smithy_runtime",
                "hyper",
                "reqwest",
            ] {
                assert!(
                    !targets.would_enable(library, &Level::INFO),
                    "{library} at {level}"
                );
                assert!(
                    targets.would_enable(library, &Level::WARN),
                    "{library} at {level}"
                );
            }
            assert!(!targets.would_enable("lambda_runtime", &Level::DEBUG));
        }
    }

    #[test]
    fn our_crates_follow_the_level_asked_for() {
        assert!(targets(Some("TRACE"), &["ours"]).would_enable("ours::part", &Level::TRACE));
        assert!(!targets(Some("ERROR"), &["ours"]).would_enable("ours", &Level::WARN));
        assert!(!targets(Some("ERROR"), &["ours"]).would_enable("hyper", &Level::WARN));
        assert!(targets(Some("nonsense"), &["ours"]).would_enable("ours", &Level::INFO));
        assert!(!targets(None, &["ours"]).would_enable("ours", &Level::DEBUG));
    }
}
