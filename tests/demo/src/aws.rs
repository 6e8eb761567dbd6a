//! The real AWS CLI, and commands as one would type them.

use testkit::account::Account;
use testkit::project::tool;
use testkit::real::process;

use crate::screen::Screen;

/// The widest line of a command.
const WIDTH: usize = 84;

const HEAD: usize = 8;
const TAIL: usize = 3;

/// What `aws <words>` prints.
pub(crate) async fn run(account: &Account, words: &[&str]) -> anyhow::Result<String> {
    process::printed(account.command(tool("aws")).args(words)).await
}

/// Shows the command, runs it, and shows what it prints.
pub(crate) async fn show(account: &Account, words: &[&str], screen: &Screen) -> anyhow::Result<()> {
    screen.command(&typed("aws", words))?;
    shortened(&run(account, words).await?, screen)
}

/// Shows an output, of a longer one its first and last lines.
pub(crate) fn shortened(output: &str, screen: &Screen) -> anyhow::Result<()> {
    let lines: Vec<&str> = output.lines().collect();
    match lines.len().checked_sub(HEAD + TAIL) {
        Some(left_out) if left_out > 1 => {
            screen.block(&lines[..HEAD].join("\n"))?;
            screen.note(format!("… {left_out} more lines"))?;
            screen.block(&lines[HEAD + left_out..].join("\n"))?;
        }
        _ => screen.block(output)?,
    }
    Ok(())
}

/// The command as one would type it, broken where it gets too long: before an option, and where an
/// option has many values before each of them.
pub(crate) fn typed(program: &str, words: &[&str]) -> String {
    let mut lines = vec![program.to_owned()];
    for part in parts(words) {
        let line = lines.last_mut().expect("one stands there from the start");
        if line.len() + 1 + part.len() + 2 <= WIDTH {
            *line += &format!(" {part}");
        } else {
            line.push_str(" \\");
            lines.push(format!("    {part}"));
        }
    }
    lines.join("\n")
}

/// What stays on one line.
fn parts(words: &[&str]) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for word in words {
        let word = quoted(word);
        match parts.last_mut() {
            Some(option) if !word.starts_with("--") && option.len() + word.len() < WIDTH / 2 => {
                option.push(' ');
                option.push_str(&word);
            }
            _ => parts.push(word),
        }
    }
    parts
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+".contains(c);
    if word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_pasted_into_a_shell() {
        let words = [
            "cloudwatch",
            "list-metrics",
            "--query",
            "Metrics[].[MetricName]",
        ];
        let expected = "aws cloudwatch list-metrics --query 'Metrics[].[MetricName]'";
        assert_eq!(typed("aws", &words), expected);
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn a_long_command_is_broken_before_an_option_or_one_of_many_values() {
        let value = "x".repeat(40);
        let words = ["delete", "--name", &value, "--all", &value, &value];
        let expected = [
            format!("aws delete --name {value} --all"),
            format!("    {value}"),
            format!("    {value}"),
        ];
        assert_eq!(typed("aws", &words), expected.join(" \\\n"));
    }
}
