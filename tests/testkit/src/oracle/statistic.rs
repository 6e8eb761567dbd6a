//! Statistics as CloudWatch computes them.

/// CloudWatch's statistics of the samples of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Statistic {
    /// The mean.
    Average,
    /// The smallest.
    Minimum,
    /// The largest.
    Maximum,
    /// All added up.
    Sum,
    /// How many.
    SampleCount,
    /// The smallest that nine in ten do not exceed.
    P90,
}

impl Statistic {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Average,
        Self::Minimum,
        Self::Maximum,
        Self::Sum,
        Self::SampleCount,
        Self::P90,
    ];

    /// As CloudWatch calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Average => "Average",
            Self::Minimum => "Minimum",
            Self::Maximum => "Maximum",
            Self::Sum => "Sum",
            Self::SampleCount => "SampleCount",
            Self::P90 => "p90",
        }
    }

    /// Of samples by rising value, of which there is at least one.
    pub(super) fn of(self, samples: &[f64]) -> f64 {
        let count = samples.len();
        let sum: f64 = samples.iter().sum();
        match self {
            Self::Average => sum / count as f64,
            Self::Minimum => samples[0],
            Self::Maximum => samples[count - 1],
            Self::Sum => sum,
            Self::SampleCount => count as f64,
            // The nearest rank.
            Self::P90 => samples[(90 * count).div_ceil(100) - 1],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_those_of_the_samples() {
        let ten: Vec<f64> = (1..=10).map(f64::from).collect();
        let of = |samples: &[f64]| Statistic::ALL.map(|statistic| statistic.of(samples));
        assert_eq!(of(&ten), [5.5, 1.0, 10.0, 55.0, 10.0, 9.0]);
        assert_eq!(of(&[7.0]), [7.0, 7.0, 7.0, 7.0, 1.0, 7.0]);
        let eleven: Vec<f64> = (1..=11).map(f64::from).collect();
        assert_eq!(Statistic::P90.of(&eleven), 10.0);
    }
}
