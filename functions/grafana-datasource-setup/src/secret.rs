//! Text that must never be printed: Grafana tokens, and CloudFormation's presigned ResponseURL.

use std::fmt;

/// A secret. Reading it takes a deliberate [`expose`](Secret::expose).
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one request that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_does_not_show_it() {
        assert_eq!(
            format!("{:?}", Some(Secret::new("glsa_abc"))),
            "Some([redacted])"
        );
    }
}
