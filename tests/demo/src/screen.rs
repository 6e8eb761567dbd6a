//! What the person at the terminal sees: plain lines, and one that is written over as time passes.

use std::{
    cell::Cell,
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
};

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const CYAN: &str = "36";

/// Standard output.
#[derive(Debug)]
pub(crate) struct Screen {
    is_terminal: bool,
    colours: bool,
    /// A progress line stands unfinished.
    in_progress: Cell<bool>,
    /// The last step of a progress that was written as a plain line.
    written: Cell<Option<i64>>,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let is_terminal = io::stdout().is_terminal();
        // https://no-color.org: "when present and not an empty string".
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self {
            is_terminal,
            colours: is_terminal && !refused && !dumb,
            in_progress: Cell::default(),
            written: Cell::default(),
        }
    }

    pub(crate) fn say(&self, text: impl Display) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.in_progress.replace(false) {
            write!(out, "\r\x1b[K")?;
        }
        writeln!(out, "{text}")?;
        out.flush()
    }

    pub(crate) fn heading(&self, text: &str) -> io::Result<()> {
        self.say("")?;
        self.say(self.paint(BOLD, text))
    }

    pub(crate) fn note(&self, text: impl Display) -> io::Result<()> {
        self.say(self.paint(DIM, &format!("  {text}")))
    }

    /// A thing by its name, and what is to be said of it.
    pub(crate) fn row(&self, name: &str, text: impl Display) -> io::Result<()> {
        self.say(format!("  {name:<16}{text}"))
    }

    /// A command as one would type it.
    pub(crate) fn command(&self, text: &str) -> io::Result<()> {
        self.say("")?;
        for (number, line) in text.lines().enumerate() {
            let prompt = if number == 0 { "$" } else { " " };
            self.say(format!("  {prompt} {}", self.paint(CYAN, line)))?;
        }
        Ok(())
    }

    pub(crate) fn block(&self, text: &str) -> io::Result<()> {
        text.lines()
            .try_for_each(|line| self.say(format!("  {line}")))
    }

    pub(crate) fn verdict(&self, agrees: bool, name: &str, text: impl Display) -> io::Result<()> {
        let mark = if agrees {
            self.paint(GREEN, "✓")
        } else {
            self.paint(RED, "✗")
        };
        self.say(format!("  {mark} {name:<18}{text}"))
    }

    /// Where a wait has got to. Not on a terminal, only the first line of each `step` is written.
    pub(crate) fn progress(&self, step: i64, text: &str) -> io::Result<()> {
        if !self.is_terminal {
            return match self.written.replace(Some(step)) {
                Some(written) if written == step => Ok(()),
                _ => self.say(format!("  {text}")),
            };
        }
        let mut out = io::stdout().lock();
        write!(out, "\r\x1b[K  {text}")?;
        self.in_progress.set(true);
        out.flush()
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colours && !text.is_empty() {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// `37068` as `37,068`.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        let rows = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ];
        for (number, text) in rows {
            assert_eq!(grouped(number), text);
        }
    }
}
