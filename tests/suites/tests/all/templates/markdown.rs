//! A document as its reader sees it: headings, blocks of code, tables, and the names in between.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use testkit::project::repository;

pub(crate) struct Document {
    /// Its path in the repository.
    pub(crate) path: String,
    /// From each heading to the next one; the first has none.
    pub(crate) sections: Vec<Section>,
}

#[derive(Default)]
pub(crate) struct Section {
    pub(crate) line: usize,
    pub(crate) heading: Option<(HeadingLevel, String)>,
    pub(crate) blocks: Vec<Block>,
    /// Those of all its tables, their headings too.
    pub(crate) rows: Vec<Passage>,
    /// All that is in neither block nor table, in one cell.
    pub(crate) prose: Passage,
    /// Where links and pictures lead.
    pub(crate) links: Vec<String>,
}

/// A block of code.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) line: usize,
    pub(crate) language: String,
    pub(crate) text: String,
}

#[derive(Debug, Default)]
pub(crate) struct Passage {
    pub(crate) line: usize,
    /// Their words, code between backticks.
    pub(crate) cells: Vec<String>,
    /// Code, pictures, and addresses outside the repository.
    pub(crate) names: BTreeSet<String>,
}

impl Document {
    pub(crate) fn load(path: impl AsRef<Path>) -> Self {
        let root = repository("");
        let file = root.join(path);
        let path = file.strip_prefix(root).unwrap().display().to_string();
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self::parse(&path, &text)
    }

    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let mut sections = vec![Section::default()];
        let (mut in_block, mut in_heading, mut in_row) = (false, false, false);
        let events = Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter();
        for (event, range) in events {
            let line = text[..range.start].lines().count() + 1;
            let section = sections.last_mut().unwrap();
            match event {
                Event::Start(Tag::Heading { level, .. }) => {
                    in_heading = true;
                    sections.push(Section {
                        line,
                        heading: Some((level, String::new())),
                        ..Section::default()
                    });
                }
                Event::End(TagEnd::Heading(_)) => in_heading = false,
                Event::Start(Tag::CodeBlock(kind)) => {
                    in_block = true;
                    let language = match kind {
                        CodeBlockKind::Fenced(language) => language.to_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    let text = String::new();
                    section.blocks.push(Block {
                        line,
                        language,
                        text,
                    });
                }
                Event::End(TagEnd::CodeBlock) => in_block = false,
                Event::Start(Tag::TableHead | Tag::TableRow) => {
                    in_row = true;
                    section.rows.push(Passage {
                        line,
                        ..Passage::default()
                    });
                }
                Event::End(TagEnd::TableHead | TagEnd::TableRow) => in_row = false,
                Event::Start(Tag::TableCell) => {
                    section.passage(in_row).cells.push(String::new());
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    if dest_url.contains("://") {
                        section.passage(in_row).names.insert(dest_url.to_string());
                    }
                    section.links.push(dest_url.into_string());
                }
                Event::Html(html) => section.show(&html),
                Event::Text(text) if in_block => {
                    section.blocks.last_mut().unwrap().text += &text;
                }
                Event::Text(text) => section.say(&text, in_heading, in_row),
                Event::Code(code) => {
                    section.say(&format!("`{code}`"), in_heading, in_row);
                    section.passage(in_row).names.insert(code.into_string());
                }
                Event::SoftBreak | Event::HardBreak | Event::End(TagEnd::Paragraph) => {
                    section.say(" ", in_heading, in_row);
                }
                _ => {}
            }
        }
        Self {
            path: path.to_owned(),
            sections,
        }
    }

    /// All that stands outside of blocks.
    pub(crate) fn passages(&self) -> impl Iterator<Item = &Passage> {
        self.sections
            .iter()
            .flat_map(|section| section.rows.iter().chain([&section.prose]))
    }

    /// The row that begins with one of these words, as long as only one does.
    pub(crate) fn row(&self, first: &[&str]) -> &Passage {
        let rows = self.sections.iter().flat_map(|section| &section.rows);
        let found: Vec<_> = rows
            .filter(|row| first.contains(&row.cells[0].as_str()))
            .collect();
        match found[..] {
            [row] => row,
            _ => panic!("{}: {} rows begin with {first:?}", self.path, found.len()),
        }
    }

    /// What links to its headings end with, after `#`.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let headings = self
            .sections
            .iter()
            .filter_map(|section| section.heading.as_ref());
        headings.map(|(_, words)| anchor(words)).collect()
    }
}

impl Section {
    fn passage(&mut self, in_row: bool) -> &mut Passage {
        if in_row {
            self.rows.last_mut().unwrap()
        } else {
            if self.prose.cells.is_empty() {
                self.prose.line = self.line;
                self.prose.cells.push(String::new());
            }
            &mut self.prose
        }
    }

    /// Pictures, of which GitHub takes one for each colour scheme in HTML only.
    fn show(&mut self, html: &str) {
        let parts: Vec<_> = html.split('"').collect();
        for pair in parts.windows(2) {
            if pair[0].ends_with("src=") || pair[0].ends_with("srcset=") {
                let (_, file) = pair[1].rsplit_once('/').unwrap();
                self.passage(false).names.insert(file.to_owned());
                self.links.push(pair[1].to_owned());
            }
        }
    }

    fn say(&mut self, text: &str, in_heading: bool, in_row: bool) {
        if in_heading && let Some((_, words)) = &mut self.heading {
            *words += text;
        }
        *self.passage(in_row).cells.last_mut().unwrap() += text;
    }
}

/// As GitHub makes it of a heading.
fn anchor(heading: &str) -> String {
    let heading = heading.to_lowercase().replace(' ', "-");
    let kept = |letter: &char| letter.is_alphanumeric() || ['-', '_'].contains(letter);
    heading.chars().filter(kept).collect()
}
