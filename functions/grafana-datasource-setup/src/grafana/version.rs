//! Grafana's version.

use std::fmt;

/// Grafana's version as AMG writes it, `12.4`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    text: String,
    major: u32,
}

/// A version that does not start with a number, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownVersion(pub(crate) String);

impl Version {
    /// Reads a version as AMG writes it.
    ///
    /// # Errors
    /// It does not start with a number.
    pub fn parse(text: &str) -> Result<Self, UnknownVersion> {
        let major = text.split('.').next().and_then(|major| major.parse().ok());
        let major = major.ok_or_else(|| UnknownVersion(text.to_owned()))?;
        Ok(Self {
            text: text.to_owned(),
            major,
        })
    }

    /// `12` of `12.4`.
    pub(crate) fn major(&self) -> u32 {
        self.major
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_by_its_major_number() {
        assert_eq!(Version::parse("12.4").unwrap().major(), 12);
        assert_eq!(Version::parse("9").unwrap().major(), 9);
        let unknown = UnknownVersion("latest".to_owned());
        assert_eq!(Version::parse("latest"), Err(unknown));
    }
}
