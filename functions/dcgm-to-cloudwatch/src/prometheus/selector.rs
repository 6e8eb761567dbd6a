//! Checks the label matchers that a user writes, so that they are safe inside a query.

use std::str::Chars;

/// Returns label matchers as they stand between the braces of a PromQL selector, without comments. Quotes
/// and comments follow Prometheus's lexer (`lexInsideBraces`, promql/parser/lex.go), so that no matcher can
/// close the selector. Any other mistake is reported by Prometheus itself.
pub(crate) fn parse(text: &str) -> Result<String, String> {
    let mut matchers = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '{' | '}' => {
                return Err(r#"expected label matchers without braces: cluster="p5en""#.to_owned());
            }
            '#' => {
                chars.find(|c| *c == '\n');
                continue;
            }
            _ => matchers.push(c),
        }
        if matches!(c, '"' | '\'' | '`') {
            quoted(c, &mut chars, &mut matchers)?;
        }
    }
    Ok(matchers)
}

/// Copies the rest of a string that `quote` opened. A backslash escapes the next character, except between
/// backticks.
fn quoted(quote: char, chars: &mut Chars<'_>, matchers: &mut String) -> Result<(), String> {
    let mut is_escaped = false;
    for c in chars {
        if c == '\n' && quote != '`' {
            break;
        }
        matchers.push(c);
        if c == quote && !is_escaped {
            return Ok(());
        }
        is_escaped = c == '\\' && quote != '`' && !is_escaped;
    }
    Err(format!("a string that {quote} opens is not closed"))
}
