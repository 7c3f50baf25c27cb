//! Small reproducible random numbers.

#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        // Neighbouring seeds shall share nothing, and none may be zero.
        let mut bits = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        for factor in [0xBF58_476D_1CE4_E5B9, 0x94D0_49BB_1331_11EB] {
            bits = (bits ^ (bits >> 29)).wrapping_mul(factor);
        }
        Self(bits | 1)
    }

    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    /// Other dice, which these decide.
    pub(crate) fn fork(&mut self) -> Self {
        Self::new(self.roll(u64::MAX))
    }

    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.roll(last as u64 + 1) as usize);
        }
    }
}
