//! What must be undone when the resource is deleted. Pure.

use super::mark::Mark;
use crate::grafana::DataSource;

/// How to remove one data source of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The data source's uid.
    pub uid: String,
    /// This function created it, so it is deleted. Otherwise it stays, without our mark.
    pub(crate) made: bool,
    /// The data source that becomes the default again.
    pub default_again: Option<String>,
}

/// Decides what to undo when the resource with `uid` is deleted.
pub fn removals(uid: &str, sources: &[DataSource]) -> Vec<Removal> {
    let marked = sources
        .iter()
        .filter_map(|source| Some((source, Mark::of(source)?)));
    marked
        .filter(|(_, mark)| mark.uid == uid)
        .map(|(source, mark)| {
            // If somebody has chosen another default since, that choice stays.
            let default_again = mark
                .previous_default
                .filter(|_| source.is_default)
                .filter(|previous| *previous != source.uid)
                .filter(|previous| sources.iter().any(|source| source.uid == *previous));
            Removal {
                uid: source.uid.clone(),
                made: mark.made,
                default_again,
            }
        })
        .collect()
}

/// Whether a stack other than `stack` wrote the data source of the resource with `uid`.
pub(crate) fn is_of_another_stack(uid: &str, stack: &str, sources: &[DataSource]) -> bool {
    let marks = sources.iter().filter_map(Mark::of);
    marks
        .filter(|mark| mark.uid == uid)
        .filter_map(|mark| mark.stack)
        .any(|other| other != stack)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn source(uid: &str) -> DataSource {
        DataSource::new(uid, "prometheus")
    }

    /// The default data source, created for the resource `amp`; before it, `loki` was the default.
    fn made() -> DataSource {
        let mut made = source("amp");
        made.is_default = true;
        let mark = Mark {
            previous_default: Some("loki".into()),
            stack: Some("arn:a".into()),
            ..Mark::made_for("amp")
        };
        mark.write_to(&mut made);
        made
    }

    #[test]
    fn another_stack_is_told_by_the_one_remembered() {
        let sources = [made()];
        assert!(is_of_another_stack("amp", "arn:b", &sources));
        assert!(!is_of_another_stack("amp", "arn:a", &sources));
        assert!(!is_of_another_stack("amp-2", "arn:b", &sources));
    }

    #[test]
    fn the_default_goes_back_only_where_it_makes_sense() {
        let default_again = |sources: &[DataSource]| {
            let [removal] = &removals("amp", sources)[..] else {
                panic!("one data source is ours")
            };
            removal.default_again.clone()
        };
        let loki = source("loki");
        let again = default_again(&[made(), loki.clone()]);
        assert_eq!(again.as_deref(), Some("loki"));
        assert_eq!(default_again(&[made()]), None, "loki is gone");
        let mut deposed = made();
        deposed.is_default = false;
        let again = default_again(&[deposed, loki]);
        assert_eq!(again, None, "somebody chose another default");
    }

    #[test]
    fn a_source_without_a_mark_is_not_ours() {
        let mut unmarked = source("amp");
        unmarked.set("grafanaDatasourceSetup", json!("nonsense"));
        assert_eq!(removals("amp", &[unmarked, source("amp")]), []);
    }
}
