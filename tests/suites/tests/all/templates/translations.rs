//! The Korean guides of `docs/ko` keep to the English documents: the same commands, headings, names and
//! figures. Words are for people to compare.

use std::collections::BTreeSet;
use std::fs;
use std::sync::LazyLock;

use regex::Regex;
use testkit::project::repository;

use crate::templates::markdown::{Document, Passage};

/// The documents that there are in both languages.
const GUIDES: [&str; 6] = [
    "README.md",
    "configuration.md",
    "deploy.md",
    "migrate.md",
    "operations.md",
    "troubleshooting.md",
];

/// What both languages have to say alike, in the same order.
struct Aspect {
    name: &'static str,
    items: fn(&Document) -> Vec<Item>,
}

const ASPECTS: [Aspect; 4] = [
    Aspect {
        name: "block of code",
        items: blocks,
    },
    Aspect {
        name: "heading",
        items: headings,
    },
    Aspect {
        name: "row",
        items: rows,
    },
    Aspect {
        name: "section",
        items: sections,
    },
];

struct Item {
    line: usize,
    says: String,
    /// The translation may have more: it writes some words as numbers.
    figures: BTreeSet<String>,
}

#[test]
fn both_languages_say_the_same() {
    let found: Vec<_> = GUIDES
        .iter()
        .flat_map(|guide| {
            let english = Document::load(&original(guide).0);
            let korean = Document::load(format!("docs/ko/{guide}"));
            ASPECTS.map(|aspect| aspect.differences(&english, &korean))
        })
        .flatten()
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// By document, line and number.
#[test]
fn what_is_forgotten_on_one_side_is_told() {
    const ENGLISH: &str = "
# Start

Set `SIZE` to 2.

| variable | costs |
| --- | --- |
| `SIZE` | 3.65 USD |

## Stop

```sh
make stop
```
";
    const KOREAN: &str = "
# 시작

`SIZE`를 둘로 설정합니다.

| 변수 | 비용 |
| --- | --- |
| `SIZE` | 월 3.65 USD |

## 중지

```sh
make stop
```
";
    let english = Document::parse("stop.md", ENGLISH);
    let differences = |korean: &str| -> Vec<_> {
        let korean = Document::parse("ko/stop.md", korean);
        let aspects = ASPECTS.iter();
        aspects
            .flat_map(|aspect| aspect.differences(&english, &korean))
            .collect()
    };
    assert_eq!(differences(KOREAN), Vec::<String>::new());
    let block = "```sh\nmake stop\n```";
    for (from, to, expected) in [
        (
            "make stop",
            "make stop NOW=1",
            "block of code 1 of 1:\nstop.md:12: ```sh\nmake stop\n``` {}\n\
             ko/stop.md:12: ```sh\nmake stop NOW=1\n``` {}",
        ),
        (
            block,
            "",
            "block of code 1 of 1:\nstop.md:12: ```sh\nmake stop\n``` {}\nko/stop.md: has none",
        ),
        (
            "## 중지",
            "### 중지",
            "heading 2 of 2:\nstop.md:10: h2 {}\nko/stop.md:10: h3 {}",
        ),
        (
            "| `SIZE` |",
            "| 크기 |",
            "row 2 of 2:\nstop.md:8: 2 cells with {\"SIZE\"} {\"3.65\"}\n\
             ko/stop.md:8: 2 cells with {} {\"3.65\"}",
        ),
        (
            "월 3.65",
            "월 4.00",
            "row 2 of 2:\nstop.md:8: 2 cells with {\"SIZE\"} {\"3.65\"}\n\
             ko/stop.md:8: 2 cells with {\"SIZE\"} {\"4.00\"}",
        ),
        (
            "`SIZE`를",
            "크기를",
            "section 2 of 3:\nstop.md:2: 1 cells with {\"SIZE\"} {}\n\
             ko/stop.md:2: 1 cells with {} {}",
        ),
    ] {
        assert_eq!(differences(&KOREAN.replacen(from, to, 1)), [expected]);
    }
}

/// That a guide follows an older release than the newest is no failure, as long as it says so.
#[test]
fn every_guide_begins_with_the_document_and_version_it_follows() {
    let changelog = fs::read_to_string(repository("CHANGELOG.md")).unwrap();
    let mut versions = changelog.split("\n## ").skip(1);
    let (unreleased, released) = (versions.next().unwrap(), versions.next().unwrap());
    let released = released.split(' ').next().unwrap();
    let may_follow = if unreleased.contains("\n- ") {
        vec!["Unreleased", released]
    } else {
        vec![released]
    };
    for guide in GUIDES {
        let (title, link) = original(guide);
        let text = fs::read_to_string(repository("docs/ko").join(guide)).unwrap();
        let third = text.lines().nth(2).unwrap();
        let follows = may_follow.iter().any(|version| {
            third == format!("> 영어 문서 [{title}]({link})의 {version} 판을 따릅니다.")
        });
        assert!(follows, "docs/ko/{guide}: {third}");
    }
}

#[test]
fn every_guide_is_compared_and_found_from_the_first_lines() {
    let there = fs::read_dir(repository("docs/ko")).unwrap();
    let mut there: Vec<_> = there
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    there.sort();
    assert_eq!(there, GUIDES);

    let readme = fs::read_to_string(repository("README.md")).unwrap();
    let first: Vec<_> = readme.lines().take(5).collect();
    let link = "한국어 문서: [docs/ko/README.md](docs/ko/README.md)";
    assert!(first.contains(&link), "{first:?}");
    let links = links(&Document::load("docs/ko/README.md"));
    for guide in &GUIDES[1..] {
        assert!(links.contains(*guide), "no link to {guide}");
    }
}

/// Whoever reads Korean is sent to an English document only where there is no Korean one.
#[test]
fn a_guide_leads_to_guides() {
    for guide in GUIDES {
        let links = links(&Document::load(format!("docs/ko/{guide}")));
        for other in GUIDES {
            let (_, english) = original(other);
            assert_eq!(
                links.contains(&english),
                other == guide,
                "{guide}: {english}"
            );
        }
    }
}

/// The English document, from the repository's root and from `docs/ko`.
fn original(guide: &str) -> (String, String) {
    if guide == "README.md" {
        (guide.to_owned(), format!("../../{guide}"))
    } else {
        (format!("docs/{guide}"), format!("../{guide}"))
    }
}

/// Where a document leads to, whatever heading there.
fn links(document: &Document) -> BTreeSet<String> {
    let links = document.sections.iter().flat_map(|section| &section.links);
    links
        .map(|link| link.split('#').next().unwrap().to_owned())
        .collect()
}

impl Aspect {
    fn differences(&self, english: &Document, korean: &Document) -> Vec<String> {
        let [ours, theirs] = [english, korean].map(self.items);
        let items = ours.len().max(theirs.len());
        let differences = (0..items).filter_map(|at| {
            let (our, their) = (ours.get(at), theirs.get(at));
            let agree = our.zip(their).is_some_and(|(our, their)| {
                our.says == their.says && our.figures.is_subset(&their.figures)
            });
            (!agree).then(|| {
                let [our, their] = [(english, our), (korean, their)].map(|(document, item)| {
                    item.map_or_else(
                        || format!("{}: has none", document.path),
                        |Item {
                             line,
                             says,
                             figures,
                         }| {
                            format!("{}:{line}: {says} {figures:?}", document.path)
                        },
                    )
                });
                format!("{} {} of {items}:\n{our}\n{their}", self.name, at + 1)
            })
        });
        // One that is left out shifts all that follow.
        let told = if ours.len() == theirs.len() { items } else { 1 };
        differences.take(told).collect()
    }
}

fn blocks(document: &Document) -> Vec<Item> {
    let blocks = document.sections.iter().flat_map(|section| &section.blocks);
    blocks
        .map(|block| Item {
            line: block.line,
            says: format!("```{}\n{}```", block.language, block.text),
            figures: BTreeSet::new(),
        })
        .collect()
}

fn headings(document: &Document) -> Vec<Item> {
    let headings = document.sections.iter().filter_map(|section| {
        let (level, _) = section.heading.as_ref()?;
        Some(Item {
            line: section.line,
            says: level.to_string(),
            figures: BTreeSet::new(),
        })
    });
    headings.collect()
}

fn rows(document: &Document) -> Vec<Item> {
    let rows = document.sections.iter().flat_map(|section| &section.rows);
    rows.map(passage).collect()
}

fn sections(document: &Document) -> Vec<Item> {
    let sections = document.sections.iter();
    sections.map(|section| passage(&section.prose)).collect()
}

fn passage(passage: &Passage) -> Item {
    /// Prices, versions and large numbers; small ones are words in one language or the other.
    static FIGURE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\d+(?:[.,]\d+)+").unwrap());
    let figures = passage.cells.iter().flat_map(|cell| FIGURE.find_iter(cell));
    Item {
        line: passage.line,
        says: format!("{} cells with {:?}", passage.cells.len(), passage.names),
        figures: figures.map(|figure| figure.as_str().to_owned()).collect(),
    }
}
