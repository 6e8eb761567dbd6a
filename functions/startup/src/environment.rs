//! Reads environment variables into checked values, and reports every mistake at once.

use std::fmt;

/// A set of variables being read. Each getter returns the value or notes the mistake; [`finish`]
/// hands out the result only when there was none.
///
/// A variable that is set but blank counts as unset: a CloudFormation parameter left empty
/// reaches the function that way.
///
/// [`finish`]: Environment::finish
pub struct Environment<'a> {
    lookup: Lookup<'a>,
    mistakes: Vec<String>,
}

type Lookup<'a> = Box<dyn Fn(&str) -> Option<String> + 'a>;

/// Every mistake found in the environment, each by variable, value and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid configuration: {}", .0.join("; "))]
pub struct InvalidEnvironment(Vec<String>);

impl<'a> Environment<'a> {
    /// Variables that `lookup` finds.
    pub fn new(lookup: impl Fn(&str) -> Option<String> + 'a) -> Self {
        Self {
            lookup: Box::new(lookup),
            mistakes: Vec::new(),
        }
    }

    /// The process's own variables.
    pub fn process() -> Self {
        Self::new(process_variable)
    }

    /// A variable that must be there.
    pub fn required<T, E: fmt::Display>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match self.get(name) {
            Some(value) => self.parsed(name, &value, parse),
            None => {
                self.mistakes.push(format!("{name} is not set"));
                None
            }
        }
    }

    /// A variable with a default.
    pub fn or<T, E: fmt::Display>(
        &mut self,
        name: &str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match self.get(name) {
            Some(value) => self.parsed(name, &value, parse),
            None => Some(default),
        }
    }

    /// Notes a mistake that no single value shows.
    pub fn mistake(&mut self, mistake: impl Into<String>) {
        self.mistakes.push(mistake.into());
    }

    /// `configuration`, when nothing was wrong.
    ///
    /// # Errors
    /// All mistakes noted.
    pub fn finish<T>(self, configuration: Option<T>) -> Result<T, InvalidEnvironment> {
        match configuration {
            Some(configuration) if self.mistakes.is_empty() => Ok(configuration),
            _ => Err(InvalidEnvironment(self.mistakes)),
        }
    }

    fn get(&self, name: &str) -> Option<String> {
        (self.lookup)(name)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    fn parsed<T, E: fmt::Display>(
        &mut self,
        name: &str,
        value: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        parse(value)
            .map_err(|expected| self.mistakes.push(format!("{name}={value:?}: {expected}")))
            .ok()
    }
}

impl fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("mistakes", &self.mistakes)
            .finish_non_exhaustive()
    }
}

/// A variable of the process.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the environment comes in"
)]
pub fn process_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment<'a>(pairs: &'a [(&str, &str)]) -> Environment<'a> {
        Environment::new(move |name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    fn number(text: &str) -> Result<u32, &'static str> {
        text.parse().map_err(|_| "expected a whole number")
    }

    #[test]
    fn tells_every_mistake_at_once() {
        let mut variables = environment(&[("A", "x"), ("B", " "), ("C", "7"), ("D", "-1")]);
        let a = variables.required("A", number);
        let b = variables.required("B", number);
        let c = variables.required("C", number);
        let d = variables.or("D", 5, number);
        assert_eq!((a, b, c, d), (None, None, Some(7), None));
        let error = variables.finish(Some(())).unwrap_err().to_string();
        assert_eq!(
            error,
            "invalid configuration: A=\"x\": expected a whole number; B is not set; \
             D=\"-1\": expected a whole number"
        );
    }

    #[test]
    fn blank_is_unset_and_values_are_trimmed() {
        let mut variables = environment(&[("A", ""), ("B", " 7\n")]);
        let read = (variables.or("A", 1, number), variables.or("B", 1, number));
        assert_eq!(variables.finish(Some(read)), Ok((Some(1), Some(7))));
    }
}
