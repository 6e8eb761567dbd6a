//! Moments that can be had again by their seed.

/// xorshift64*: <https://doi.org/10.1145/2845077>
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self(seed.max(1))
    }

    /// From 0 to below 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11;
        bits as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_spread_and_come_again() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            std::array::from_fn::<f64, 1_000, _>(|_| random.fraction())
        };
        let moments = draw(7);
        assert_eq!(moments, draw(7));
        for tenth in 0..10 {
            let range = f64::from(tenth) / 10.0..f64::from(tenth + 1) / 10.0;
            let count = moments
                .iter()
                .filter(|moment| range.contains(*moment))
                .count();
            assert!((50..200).contains(&count), "{count} moments in {range:?}");
        }
    }
}
