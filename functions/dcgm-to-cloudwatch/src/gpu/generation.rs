//! Which generation of DCGM a node's exporter has, told by what else it exports.
//!
//! `DCGM_FI_DEV_GPU_UTIL_RATIO` is per cent in DCGM 4.6, where it is another name of an old field, and a
//! ratio in 4.7. A value of 1 could be either, so the value never decides.

use std::collections::{HashMap, HashSet};

use super::metric::Series;

/// Series that exporters have by default, each in one generation only.
pub(crate) const EVIDENCE: [(&str, Generation); 6] = [
    ("DCGM_FI_DEV_FB_USED", Generation::Older),
    ("DCGM_FI_DEV_FB_FREE", Generation::Older),
    ("DCGM_FI_DEV_SM_CLOCK", Generation::Older),
    ("DCGM_FI_DEV_FB_USED_BYTES", Generation::Newer),
    ("DCGM_FI_DEV_FB_FREE_BYTES", Generation::Newer),
    ("DCGM_FI_DEV_SM_CLOCK_HERTZ", Generation::Newer),
];

/// The scales of an exporter's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generation {
    /// Before DCGM 4.7: per cent, MiB, MHz.
    Older,
    /// DCGM 4.7 and later: base units.
    Newer,
}

impl Generation {
    /// The generation that the presence of a series proves; none if both have it.
    pub(crate) fn of(series: &Series, siblings: &[Series]) -> Option<Self> {
        let is_rescaled = |one: &Series| !one.scale.is_one();
        if series.older_scale.is_some() {
            None
        } else if is_rescaled(series) {
            Some(Self::Newer)
        } else {
            siblings.iter().any(is_rescaled).then_some(Self::Older)
        }
    }
}

/// What is known of the nodes' exporters. Times are milliseconds since the start of the range: all samples
/// of one scrape have one time.
#[derive(Debug, Default)]
pub(crate) struct Generations {
    newer: HashSet<(u32, u32)>,
    older: HashSet<(u32, u32)>,
    /// For each instance, the generation at some time.
    any: HashMap<u32, Generation>,
}

impl Generations {
    /// Notes that an instance's exporter was of a generation at some time. The newer one wins, as newer
    /// exporters may have old names, too.
    pub(crate) fn note(&mut self, instance: u32, at: u32, generation: Generation) {
        let any = self.any.entry(instance).or_insert(generation);
        match generation {
            Generation::Newer => {
                *any = generation;
                self.newer.insert((instance, at));
            }
            Generation::Older => {
                self.older.insert((instance, at));
            }
        }
    }

    /// Whether anything is known of the instance.
    pub(crate) fn knows(&self, instance: u32) -> bool {
        self.any.contains_key(&instance)
    }

    /// The generation of an instance's exporter at some time. If nothing is known of that scrape, that of
    /// other ones; if nothing at all, what the name says.
    pub(crate) fn at(&self, instance: u32, at: u32) -> Generation {
        if self.newer.contains(&(instance, at)) {
            Generation::Newer
        } else if self.older.contains(&(instance, at)) {
            Generation::Older
        } else {
            self.any
                .get(&instance)
                .copied()
                .unwrap_or(Generation::Newer)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::metric::find;
    use Generation::{Newer, Older};

    #[test]
    fn series_in_other_units_prove_a_generation() {
        let rows = [
            ("DCGM_FI_DEV_FB_USED", Some(Older)),
            ("DCGM_FI_DEV_FB_USED_BYTES", Some(Newer)),
            ("DCGM_FI_DEV_GPU_UTIL", Some(Older)),
            ("DCGM_FI_DEV_GPU_UTIL_RATIO", None),
            ("DCGM_FI_DEV_GPU_TEMP", None),
            ("DCGM_FI_DEV_GPU_TEMP_CELSIUS", None),
        ];
        for (name, generation) in rows {
            let metric = find(name).unwrap();
            let series = metric.series.iter().find(|one| one.name == name).unwrap();
            assert_eq!(Generation::of(series, &metric.series), generation, "{name}");
        }
        for (name, generation) in EVIDENCE {
            let metric = find(name).unwrap();
            let series = metric.series.iter().find(|one| one.name == name).unwrap();
            let proved = Generation::of(series, &metric.series);
            assert_eq!(proved, Some(generation), "{name}");
        }
    }

    #[test]
    fn a_node_is_upgraded_between_two_scrapes() {
        let mut generations = Generations::default();
        generations.note(1, 0, Older);
        generations.note(1, 15_000, Newer);
        generations.note(2, 0, Older);
        assert_eq!(generations.at(1, 0), Older);
        assert_eq!(generations.at(1, 15_000), Newer);
        assert_eq!(
            (generations.at(1, 7_000), generations.at(2, 7_000)),
            (Newer, Older)
        );
        assert!(generations.knows(2) && !generations.knows(3));
        assert_eq!(generations.at(3, 0), Newer);
    }
}
