//! Counter-based random numbers: a draw is a function of (seed, step, purpose, tensor, index), so
//! nothing is stored for the backward pass and results do not depend on the number of threads.

/// What a stream of draws is for; keeps streams of one seed apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// Sampling masks; `tensor` is the matrix's index in the layout.
    Mask = 1,
    /// Dropout of hidden states and attention probabilities; `tensor` numbers the place.
    Dropout = 2,
    /// Initial values of a head.
    Head = 3,
    /// Random baselines of `measure`; `step` numbers the chunk, `tensor` the tensor and the draw.
    Baseline = 4,
    /// Initial values of low-rank factors; `tensor` is the matrix's index in the layout.
    LowRank = 5,
    /// Masks that are not learned; `tensor` is the matrix's index in the layout.
    RandomMask = 6,
    /// Rows drawn for intervals; `step` is the draw.
    Bootstrap = 7,
}

/// The SplitMix64 output function (Steele, Lea & Flood 2014).
#[inline(always)]
pub fn splitmix64(z: u64) -> u64 {
    let z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The key of one stream of draws.
pub fn key(seed: u64, purpose: Purpose, step: u64, tensor: u64) -> u64 {
    splitmix64(splitmix64(seed ^ ((purpose as u64) << 56)) ^ (step << 20) ^ tensor)
}

/// 32 random bits for `index` in the stream `key`: two rounds of a multiplicative hash, half of
/// the key entering before each, so that streams are not permutations of one another.
#[inline(always)]
pub fn bits(key: u64, index: u32) -> u32 {
    let mut x = index ^ key as u32;
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= (key >> 32) as u32;
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// A uniform draw in [0, 1), a multiple of 2⁻²⁴.
#[inline(always)]
pub fn uniform(key: u64, index: u32) -> f32 {
    // Below 2²⁴, so the signed conversion (one vector instruction) is exact.
    (bits(key, index) >> 8) as i32 as f32 * (1.0 / 16_777_216.0)
}

/// A standard normal draw (Box–Muller on two uniform ones).
pub fn normal(key: u64, index: u32) -> f32 {
    let u = f64::from(uniform(key, 2 * index)) + 0.5 / 16_777_216.0;
    let v = f64::from(uniform(key, 2 * index + 1));
    ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
}

/// Inverted dropout of one place in the network at one step.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    key: u64,
    threshold: u32,
    scale: f32,
}

impl Dropout {
    /// Drops with `probability` (in [0, 1)) by the stream `key`; `None` where nothing is dropped.
    pub fn new(probability: f32, key: u64) -> Option<Self> {
        (probability > 0.0).then(|| Self {
            key,
            threshold: (f64::from(probability) * 4_294_967_296.0) as u32,
            scale: 1.0 / (1.0 - probability),
        })
    }

    /// The same place, another stream: one per sequence and head.
    pub fn substream(&self, number: u64) -> Self {
        Self { key: splitmix64(self.key ^ number), ..*self }
    }

    /// What entry `index` is multiplied by: 0 or 1 / (1 − probability).
    #[inline(always)]
    pub fn factor(&self, index: u32) -> f32 {
        if bits(self.key, index) < self.threshold { 0.0 } else { self.scale }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_never_change() {
        assert_eq!(splitmix64(0), 0xE220_A839_7B1D_CDAF);
        let k = key(7, Purpose::Mask, 3, 11);
        let again: Vec<u32> = (0..3).map(|i| bits(k, i)).collect();
        assert_eq!(
            again,
            (0..3).map(|i| bits(key(7, Purpose::Mask, 3, 11), i)).collect::<Vec<_>>()
        );
        assert_ne!(bits(k, 0), bits(key(7, Purpose::Mask, 4, 11), 0));
    }

    #[test]
    fn uniform_draws_fill_the_interval_evenly_and_streams_are_uncorrelated() {
        let n = 1 << 20;
        let (a, b) = (key(1, Purpose::Mask, 0, 0), key(1, Purpose::Mask, 1, 0));
        let mut bins = [0u32; 64];
        let (mut both, mut lag) = (0.0f64, 0.0f64);
        for i in 0..n {
            let u = uniform(a, i);
            assert!((0.0..1.0).contains(&u));
            bins[(u * 64.0) as usize] += 1;
            both += f64::from(u - 0.5) * f64::from(uniform(b, i) - 0.5);
            lag += f64::from(u - 0.5) * f64::from(uniform(a, i + 1) - 0.5);
        }
        let expected = f64::from(n) / 64.0;
        let chi: f64 = bins.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
        assert!(chi < 110.0, "χ² over 63 degrees of freedom: {chi}"); // p ≈ 2e-4
        let bound = 5.0 * f64::from(n).sqrt() / 12.0;
        assert!(both.abs() < bound && lag.abs() < bound, "{both} {lag} {bound}");
    }

    #[test]
    fn dropout_keeps_the_mean() {
        let d = Dropout::new(0.1, key(1, Purpose::Dropout, 0, 0)).unwrap();
        let n = 200_000;
        let mean = (0..n).map(|i| f64::from(d.factor(i))).sum::<f64>() / f64::from(n);
        assert!((mean - 1.0).abs() < 0.005, "{mean}");
        assert!(Dropout::new(0.0, 1).is_none());
    }
}
