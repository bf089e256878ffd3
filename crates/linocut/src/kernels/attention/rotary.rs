//! Rotary positions: queries and keys turned by angles that grow with their place.

use super::round_up;

/// Angles of every place: entry c of a head and entry c + d/2 are turned by place · θ^(−2c/d), so that a
/// product of a query and a key depends on their distance. (Su et al. 2021, eq. 34, with the halves of
/// `rotate_half` of Transformers)
#[derive(Debug, Default)]
pub struct Rotary {
    theta: f32,
    /// Width of a head.
    d: usize,
    /// `[places, d/2]`
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rotary {
    /// Angles of base `theta` for heads of `d` entries, an even number, at `places` places.
    pub fn new(theta: f32, d: usize, places: usize) -> Self {
        // As the reference rounds them: powers, frequencies and angles to float32.
        let frequency = |c: usize| {
            let exponent = (2 * c) as f32 / d as f32;
            1.0 / f64::from(theta).powf(f64::from(exponent)) as f32
        };
        let frequencies: Vec<f32> = (0..d / 2).map(frequency).collect();
        let angles = (0..places).flat_map(|p| frequencies.iter().map(move |f| p as f32 * f));
        let (sin, cos) = angles.map(f32::sin_cos).unzip();
        Self { theta, d, cos, sin }
    }

    /// Cosines and sines of the angles, `[places, d/2]` each.
    pub fn angles(&self) -> (&[f32], &[f32]) {
        (&self.cos, &self.sin)
    }

    fn places(&self) -> usize {
        self.cos.len() / (self.d / 2).max(1)
    }

    /// Turns rows of a head, `[rows, d]` with `d` rounded up to whole vectors, that stand at `place` and
    /// the places after it; with `back` the other way.
    #[inline(always)]
    pub(super) fn turn(&self, rows: &mut [f32], place: usize, back: bool) {
        let half = self.d / 2;
        for (i, row) in rows.chunks_exact_mut(round_up(self.d)).enumerate() {
            let at = (place + i) * half;
            let (cos, sin) = (&self.cos[at..at + half], &self.sin[at..at + half]);
            let (low, high) = row.split_at_mut(half);
            let (low, high) = (&mut low[..half], &mut high[..half]);
            let sign = if back { -1.0 } else { 1.0 };
            for c in 0..half {
                let (a, b, sin) = (low[c], high[c], sign * sin[c]);
                low[c] = a * cos[c] - b * sin;
                high[c] = b * cos[c] + a * sin;
            }
        }
    }
}

/// The angles that a program's operations need, made once and kept.
#[derive(Debug, Default)]
pub struct Rotaries(Vec<Rotary>);

impl Rotaries {
    /// Makes those of `theta` for heads of `d` entries, for texts of up to `places` tokens.
    pub fn prepare(&mut self, theta: f32, d: usize, places: usize) {
        let known = self.0.iter_mut().find(|known| (known.theta, known.d) == (theta, d));
        match known {
            Some(known) if known.places() >= places => {}
            Some(known) => *known = Rotary::new(theta, d, places),
            None => self.0.push(Rotary::new(theta, d, places)),
        }
    }

    /// Those of `theta`.
    ///
    /// # Panics
    /// If they were not prepared.
    pub fn get(&self, theta: f32, d: usize) -> &Rotary {
        let found = self.0.iter().find(|known| (known.theta, known.d) == (theta, d));
        found.expect("angles are prepared before they are used")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cos` and `sin` of `ModernBertRotaryEmbedding` of Transformers 5.23, θ 160000, heads of 64, at
    /// places 1, 63 and 8191, entries 1, 5 and 31.
    #[test]
    fn angles_are_those_of_transformers() {
        let rotary = Rotary::new(160_000.0, 64, 8192);
        for (place, c, cos, sin) in [
            (1, 1, 0.772_735_9, 0.634_727_66),
            (63, 5, -0.965_773, -0.259_388_7),
            (8191, 31, 0.997_230_1, 0.074_378),
        ] {
            let at = place * 32 + c;
            assert!((rotary.cos[at] - cos).abs() < 1e-6, "{place} {c} {}", rotary.cos[at]);
            assert!((rotary.sin[at] - sin).abs() < 1e-6, "{place} {c} {}", rotary.sin[at]);
        }
    }

    #[test]
    fn turned_back_it_is_what_it_was() {
        let rotary = Rotary::new(100.0, 20, 9);
        let rows: Vec<f32> =
            (0..4 * 32).map(|i| if i % 32 < 20 { i as f32 } else { 0.0 }).collect();
        let mut turned = rows.clone();
        rotary.turn(&mut turned, 5, false);
        assert!(turned != rows);
        rotary.turn(&mut turned, 5, true);
        assert!(turned.iter().zip(&rows).all(|(a, b)| (a - b).abs() < 1e-4));
    }

    #[test]
    fn longer_texts_have_more_angles() {
        let mut rotaries = Rotaries::default();
        for (theta, places, expected) in [(10.0, 4, 4), (10.0, 2, 4), (10.0, 9, 9), (20.0, 1, 1)] {
            rotaries.prepare(theta, 8, places);
            assert_eq!(rotaries.get(theta, 8).places(), expected);
        }
    }
}
