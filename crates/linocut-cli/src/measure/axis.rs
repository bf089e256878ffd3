//! Axes with ticks where a person would put them.

use super::charts::{Area, Drawn, FONT, INK};
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::ops::Range;

/// Pixels that an axis takes with its numbers and its name.
pub(crate) const AXIS: i32 = 40;

/// Multiples of 1, 2 or 5 times a power of ten from `low` to `high`: as many as there are, up to `most`.
pub(crate) fn ticks(low: f64, high: f64, most: usize) -> Vec<f64> {
    let wide = high - low;
    if !(wide > 0.0 && wide.is_finite()) {
        return Vec::new();
    }
    let finest = (wide / most as f64).log10().floor() as i32;
    for exponent in finest.. {
        for factor in [1.0, 2.0, 5.0] {
            let step: f64 = format!("{factor}e{exponent}").parse().unwrap_or(1.0);
            // What rounding moved off the ends still belongs to them.
            let (first, last) = ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor());
            if last - first < most as f64 {
                // Parsed, so that 3 times 0.1 is 0.3.
                let tick =
                    |i: i64| format!("{}e{exponent}", i * factor as i64).parse().unwrap_or(0.0);
                return (first as i64..=last as i64).map(tick).collect();
            }
        }
    }
    Vec::new()
}

/// Logarithms to base ten of ticks between two such logarithms: 1, 2 and 5 of each power of ten, or as
/// few of these as make at most `most`.
pub(crate) fn log_ticks(low: f64, high: f64, most: usize) -> Vec<f64> {
    let exponents = || low.floor() as i32..=high.ceil() as i32;
    let within = |x: &f64| (low - 1e-9..=high + 1e-9).contains(x);
    for parts in [&[1.0, 2.0, 5.0][..], &[1.0, 3.0], &[1.0]] {
        let ticks = exponents()
            .flat_map(|e| parts.iter().map(move |part: &f64| f64::from(e) + part.log10()));
        let ticks: Vec<f64> = ticks.filter(within).collect();
        match ticks.len() {
            // So near each other that they are as on any axis.
            0..2 => {
                return self::ticks(10f64.powf(low), 10f64.powf(high), most)
                    .into_iter()
                    .map(f64::log10)
                    .collect();
            }
            n if n <= most => return ticks,
            _ => {}
        }
    }
    ticks(low, high, most).into_iter().filter(|x| x.fract() == 0.0).collect()
}

/// An axis of a chart with these ticks and no others.
pub(crate) struct Ticked(pub(crate) Range<f64>, pub(crate) Vec<f64>);

impl Ranged for Ticked {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let share = (value - self.0.start) / (self.0.end - self.0.start);
        from + (share * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Light ones would stand between the ticks.
        if hint.weight().allow_light_points() { Vec::new() } else { self.1.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.0.clone()
    }
}

impl From<Ticked> for Range<f64> {
    fn from(axis: Ticked) -> Self {
        axis.0
    }
}

/// Draws a horizontal axis at `y` from `left` to `right` (pixels), with its name under it.
pub(crate) fn draw_axis(
    area: &Area<'_>,
    (left, right, y): (i32, i32, i32),
    ticks: &[(i32, String)],
    name: &str,
) -> Drawn {
    let text = || (FONT, 13).into_font().color(&INK).pos(Pos::new(HPos::Center, VPos::Top));
    area.draw(&PathElement::new([(left, y), (right, y)], INK))?;
    for (x, number) in ticks {
        area.draw(&PathElement::new([(*x, y), (*x, y + 4)], INK))?;
        area.draw(&Text::new(number.clone(), (*x, y + 6), text()))?;
    }
    area.draw(&Text::new(name.to_string(), ((left + right) / 2, y + 22), text()))?;
    Ok(())
}

/// Boxes of a chart that something stands in: left, top, right and bottom, in pixels.
#[derive(Default)]
pub(crate) struct Taken(Vec<[i32; 4]>);

impl Taken {
    pub(crate) fn take(&mut self, place: [i32; 4]) {
        self.0.push(place);
    }

    /// Takes the first of some boxes that nothing stands in; the first of all where there is none.
    pub(crate) fn first_free(
        &mut self,
        places: impl Iterator<Item = [i32; 4]> + Clone,
    ) -> Option<[i32; 4]> {
        let free = |[left, top, right, bottom]: &[i32; 4]| {
            !self.0.iter().any(|[l, t, r, b]| l < right && left < r && t < bottom && top < b)
        };
        let found = places.clone().find(free).or_else(|| places.clone().next())?;
        self.take(found);
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_a_person() {
        assert_eq!(ticks(57.3, 71.9, 8), [58.0, 60.0, 62.0, 64.0, 66.0, 68.0, 70.0]);
        assert_eq!(ticks(0.0, 0.00291, 6), [0.0, 0.0005, 0.001, 0.0015, 0.002, 0.0025]);
        assert_eq!(ticks(-0.3, 0.3, 7), [-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3]);
        assert_eq!(ticks(0.0, 4200.0, 5), [0.0, 1000.0, 2000.0, 3000.0, 4000.0]);
        assert!(ticks(1.0, 1.0, 5).is_empty());
        assert!(ticks(f64::NEG_INFINITY, 1.0, 5).is_empty());
    }

    #[test]
    fn ticks_of_a_logarithmic_axis() {
        let shown = |low: f64, high: f64, most| -> Vec<f64> {
            let values = log_ticks(low.log10(), high.log10(), most).into_iter();
            values.map(|x| format!("{:.6e}", 10f64.powf(x)).parse().unwrap()).collect()
        };
        assert_eq!(shown(80.0, 2100.0, 8), [100.0, 200.0, 500.0, 1000.0, 2000.0]);
        assert_eq!(shown(900.0, 2e6, 8), [1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6]);
        assert_eq!(shown(900.0, 2e8, 8), [1e3, 1e4, 1e5, 1e6, 1e7, 1e8]);
        assert_eq!(shown(1e-9, 1e9, 8), [1e-5, 1.0, 1e5]);
        // 2 alone lies between: as on any axis.
        assert_eq!(shown(1.3, 2.5, 8), [1.4, 1.6, 1.8, 2.0, 2.2, 2.4]);
    }

    #[test]
    fn names_that_do_not_lie_on_each_other() {
        let mut taken = Taken::default();
        taken.take([0, 0, 10, 10]);
        let places = [[5, 5, 20, 9], [10, 5, 25, 9], [0, 10, 15, 14]];
        assert_eq!(taken.first_free(places.into_iter()), Some(places[1]));
        assert_eq!(taken.first_free(places.into_iter()), Some(places[2]));
        assert_eq!(taken.first_free(places.into_iter()), Some(places[0]));
    }
}
