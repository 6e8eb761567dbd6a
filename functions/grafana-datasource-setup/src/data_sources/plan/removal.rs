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
