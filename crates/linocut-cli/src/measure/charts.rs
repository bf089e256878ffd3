//! Charts as SVG, drawn by plotters.

use linocut::closeness::{Distance, Group, ModelReport};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::{AXIS, Ticked, draw_axis, log_ticks, ticks};
use super::table::{number, percent, sort};
use crate::output::rounded;

pub(crate) const INK: RGBColor = RGBColor(31, 41, 55);
pub(crate) const FAINT: RGBColor = RGBColor(229, 231, 235);
pub(crate) const BLUE: RGBColor = RGBColor(29, 78, 137);
pub(crate) const RED: RGBColor = RGBColor(185, 28, 28);
pub(crate) const FONT: &str = "sans-serif";

pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(crate) type Drawn = Result<(), Box<dyn std::error::Error>>;

/// A chart of `size` pixels. Drawing into a string fails only for impossible ranges, which leave
/// an empty chart.
pub(crate) fn svg(size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Drawn) -> String {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        if let Err(error) = draw(&area).and_then(|()| Ok(area.present()?)) {
            debug_assert!(false, "a chart failed: {error}");
        }
    }
    text
}

pub(super) fn shown(distance: Distance, value: Option<f64>) -> String {
    match (distance, value) {
        (Distance::Changed, Some(value)) => percent(value),
        _ => number(value),
    }
}

/// Black or white, whichever is told apart better from `fill`: by 4.5 to 1 at least (WCAG 2). Not
/// [`INK`], which pages make light in the dark, where the fill stays.
pub(crate) fn ink_on(RGBColor(r, g, b): RGBColor) -> RGBColor {
    let linear = |part: u8| match f64::from(part) / 255.0 {
        x if x <= 0.03928 => x / 12.92,
        x => ((x + 0.055) / 1.055).powf(2.4),
    };
    let light = 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    // Where (light + 0.05) / 0.05 is 1.05 / (light + 0.05).
    if light > 0.179 { BLACK } else { WHITE }
}

/// Light to dark blue, on a logarithmic scale from the smallest to the largest value above 0.
fn shade(value: f64, (least, most): (f64, f64)) -> (RGBColor, RGBColor) {
    if value <= 0.0 {
        return (RGBColor(249, 250, 251), INK); // both change in the dark
    }
    let share = if most > least { (value / least).ln() / (most / least).ln() } else { 0.5 };
    let mix = |light: u8, dark: u8| {
        (f64::from(light) + share * (f64::from(dark) - f64::from(light))).round() as u8
    };
    let fill = RGBColor(mix(232, 8), mix(241, 48), mix(250, 107));
    (fill, ink_on(fill))
}

/// Layers downwards, kinds across; each cell with its value.
pub(crate) fn heat_map(model: &ModelReport, distance: Distance) -> String {
    const LEFT: i32 = 130;
    const TOP: i32 = 26;
    const CELL: (i32, i32) = (104, 26);
    let kinds: Vec<&str> = model.kinds.iter().map(|k| k.name.as_str()).collect();
    let layers: Vec<&str> = model.layers.iter().map(|l| l.name.as_str()).collect();
    let values = || model.cells.iter().filter_map(|c| distance.of(&c.group.figures));
    let above = || values().filter(|&v| v > 0.0);
    let range = (above().fold(f64::INFINITY, f64::min), above().fold(0.0, f64::max));
    let width = LEFT + CELL.0 * kinds.len() as i32 + 2;
    let height = TOP + CELL.1 * layers.len() as i32 + 2;
    svg((width as u32, height as u32), |area| {
        let text =
            |size: i32, colour: &RGBColor, at| (FONT, size).into_font().color(colour).pos(at);
        let centre = Pos::new(HPos::Center, VPos::Center);
        for (k, kind) in kinds.iter().enumerate() {
            let x = LEFT + CELL.0 * k as i32 + CELL.0 / 2;
            area.draw(&Text::new(kind.to_string(), (x, TOP / 2), text(13, &INK, centre)))?;
        }
        for (l, layer) in layers.iter().enumerate() {
            let y = TOP + CELL.1 * l as i32;
            let at = Pos::new(HPos::Right, VPos::Center);
            let name = named(layer);
            let label = text(13, &INK, at);
            area.draw(&Text::new(name, (LEFT - 8, y + CELL.1 / 2), label))?;
            for (k, kind) in kinds.iter().enumerate() {
                let cell = model.cells.iter().find(|c| c.layer == *layer && c.kind == *kind);
                let Some(cell) = cell else { continue };
                let value = distance.of(&cell.group.figures);
                let (fill, ink) = shade(value.unwrap_or(0.0), range);
                let x = LEFT + CELL.0 * k as i32;
                let corners = [(x + 1, y + 1), (x + CELL.0 - 1, y + CELL.1 - 1)];
                area.draw(&Rectangle::new(corners, fill.filled()))?;
                let at = (x + CELL.0 / 2, y + CELL.1 / 2);
                area.draw(&Text::new(shown(distance, value), at, text(13, &ink, centre)))?;
            }
        }
        Ok(())
    })
}

/// `layer 3` for a layer that is only a number.
pub(super) fn named(layer: &str) -> String {
    match layer.bytes().all(|b| b.is_ascii_digit()) {
        true => format!("layer {layer}"),
        false => layer.to_string(),
    }
}

/// Layers from the most to the least moved, as bars from 0.
pub(super) fn ranking(model: &ModelReport, distance: Distance) -> String {
    let mut rows: Vec<(String, &Group)> =
        model.layers.iter().map(|l| (named(&l.name), &l.group)).collect();
    sort(&mut rows, distance);
    let of = |group: &Group| distance.of(&group.figures).unwrap_or(0.0);
    let most = rows.iter().map(|(_, g)| of(g)).fold(0.0, f64::max);
    let (left, right, bar) = (130, 110, 24);
    let width = 820;
    let bottom = 2 + bar * rows.len() as i32;
    let at = |value: f64| {
        let share = if most > 0.0 { value / most } else { 0.0 };
        left + (share * f64::from(width - left - right)).round() as i32
    };
    svg((width as u32, (bottom + AXIS) as u32), |area| {
        let number = |value: f64| match distance {
            Distance::Changed => format!("{}%", rounded(100.0 * value)),
            _ => rounded(value),
        };
        let marks: Vec<(i32, String)> =
            ticks(0.0, most, 7).into_iter().map(|value| (at(value), number(value))).collect();
        draw_axis(area, (left, width - right, bottom), &marks, distance.name())?;
        for (i, (name, group)) in rows.iter().enumerate() {
            let y = 2 + bar * i as i32;
            let label = |at| (FONT, 13).into_font().color(&INK).pos(at);
            let to_left = label(Pos::new(HPos::Right, VPos::Center));
            area.draw(&Text::new(name.clone(), (left - 8, y + bar / 2), to_left))?;
            let end = at(of(group));
            let corners = [(left, y + 3), (end.max(left + 1), y + bar - 3)];
            area.draw(&Rectangle::new(corners, BLUE.filled()))?;
            let value = shown(distance, distance.of(&group.figures));
            let beside = label(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(value, (end + 6, y + bar / 2), beside))?;
        }
        Ok(())
    })
}

/// How many tensors lie at which distance, logarithmically, with the random baseline's as a line.
pub(super) fn distribution(model: &ModelReport, distance: Distance) -> String {
    const BINS: usize = 40;
    let values = |of: &dyn Fn(&Group) -> Option<f64>| -> Vec<f64> {
        let found = model.tensors.iter().filter_map(|t| of(&t.group));
        found.filter(|&v| v > 0.0).map(f64::log10).collect()
    };
    let moved = values(&|group| distance.of(&group.figures));
    let random = values(&|group| group.baseline.and_then(|b| distance.of(&b)));
    let all = || moved.iter().chain(&random).copied();
    let (low, high) =
        (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    if !(low.is_finite() && high.is_finite()) {
        return String::new(); // nothing moved
    }
    let (low, high) = ((low - 0.2).floor(), (high + 0.2).ceil());
    let bin = |x: f64| (((x - low) / (high - low) * BINS as f64) as usize).min(BINS - 1);
    let count = |values: &[f64]| {
        let mut bins = [0u32; BINS];
        values.iter().for_each(|&x| bins[bin(x)] += 1);
        bins
    };
    let (moved, random) = (count(&moved), count(&random));
    let tallest = moved.iter().chain(&random).copied().max().unwrap_or(1);
    let highest = 1.45 * f64::from(tallest);
    svg((820, 220), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(24)
            .x_label_area_size(36)
            .y_label_area_size(44)
            // Above the bars is room for their names.
            .build_cartesian_2d(
                Ticked(low..high, log_ticks(low, high, 12)),
                Ticked(0.0..highest, ticks(0.0, highest, 6)),
            )?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(FAINT)
            .x_label_formatter(&|x| rounded(10f64.powf(*x)))
            .y_label_formatter(&|y| rounded(*y))
            .x_desc(format!("{} of a tensor, logarithmic", distance.name()))
            .y_desc("tensors")
            .label_style((FONT, 13).into_font().color(&INK))
            .axis_style(INK)
            .draw()?;
        let wide = (high - low) / BINS as f64;
        for (bins, colour, name) in
            [(&random, RED, "two random initialisations"), (&moved, BLUE, "this model")]
        {
            let bars = bins.iter().enumerate().filter(|(_, n)| **n > 0).map(|(i, n)| {
                let start = low + wide * i as f64;
                let corners = [(start, 0.0), (start + 0.9 * wide, f64::from(*n))];
                Rectangle::new(corners, colour.mix(0.85).filled())
            });
            chart.draw_series(bars)?.label(name).legend(move |(x, y)| {
                Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.mix(0.85).filled())
            });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE)
            .border_style(FAINT)
            .label_font((FONT, 13).into_font().color(&INK))
            .draw()?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_cells_are_told_apart_from_them() {
        let linear = |part: u8| {
            let x = f64::from(part) / 255.0;
            if x <= 0.03928 { x / 12.92 } else { ((x + 0.055) / 1.055).powf(2.4) }
        };
        let light = |RGBColor(r, g, b): RGBColor| {
            0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) + 0.05
        };
        for i in 0..=100 {
            let (fill, ink) = shade(10f64.powf(-f64::from(i) / 25.0), (1e-4, 1.0));
            let (a, b) = (light(fill), light(ink));
            assert!(a.max(b) / a.min(b) >= 4.5, "{fill:?} {ink:?}");
        }
    }
}
