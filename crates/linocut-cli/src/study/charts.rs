//! Charts of a study.

use crate::measure::charts::{BLUE, Drawn, FAINT, FONT, INK, RED, svg};
use linocut::output::in_words;
use linocut::study::{Pair, Row, Signals};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const WIDTH: u32 = 900;

/// The arms from the best to the worst, each mean a dot with its deviation; the line is full. Dots and
/// not bars, whose lengths would be read from 0.
pub(super) fn ranking(rows: &[Row]) -> String {
    let mut rows: Vec<&Row> = rows.iter().collect();
    rows.sort_by(|a, b| b.mean.total_cmp(&a.mean));
    let (low, high) = range(rows.iter().copied());
    let (left, right, line) = (170, 100, 22);
    let width = WIDTH as i32;
    let at = |score: f64| {
        let share = ((score - low) / (high - low)).clamp(0.0, 1.0);
        left + (share * f64::from(width - left - right)).round() as i32
    };
    let height = line * rows.len() as i32;
    svg((WIDTH, (height + 4) as u32), |area| {
        if let Some(full) = rows.iter().find(|row| row.arm == "full") {
            let x = at(full.mean);
            area.draw(&PathElement::new([(x, 0), (x, height)], RED.mix(0.6)))?;
        }
        for (i, row) in rows.iter().enumerate() {
            let y = line * i as i32 + line / 2;
            let text = |pos| (FONT, 13).into_font().color(&INK).pos(pos);
            let name = text(Pos::new(HPos::Right, VPos::Center));
            area.draw(&Text::new(row.arm.clone(), (left - 8, y), name))?;
            area.draw(&PathElement::new([(left, y), (width - right, y)], FAINT))?;
            let baselines = ["head", "random-mask", "magnitude", "mask-of-another-task"];
            let baseline = baselines.contains(&row.arm.as_str());
            let colour = if baseline { RED } else { BLUE };
            let spread = row.deviation.unwrap_or(0.0);
            let whisker = [row.mean - spread, row.mean + spread].map(at);
            area.draw(&PathElement::new(whisker.map(|x| (x, y)), colour.stroke_width(2)))?;
            area.draw(&Circle::new((at(row.mean), y), 4, colour.filled()))?;
            let value = text(Pos::new(HPos::Left, VPos::Center));
            let shown = format!("{:.1}", 100.0 * row.mean);
            area.draw(&Text::new(shown, (width - right + 10, y), value))?;
        }
        Ok(())
    })
}

/// A line for each layer or kind: what it gains when trained alone in blue, what is lost when it is
/// left out in red. Nothing where neither is known.
pub(super) fn gains(all: &[Signals]) -> String {
    let known: Vec<&Signals> =
        all.iter().filter(|one| one.alone.or(one.left_out).is_some()).collect();
    if known.is_empty() {
        return String::new();
    }
    let values = || known.iter().flat_map(|one| [one.alone, one.left_out]).flatten();
    let (low, high) = (values().fold(0.0, f64::min), values().fold(0.0, f64::max));
    let (left, right, line, top) = (170, 190, 22, 24);
    let scale = f64::from(WIDTH as i32 - left - right) / (high - low).max(1e-6);
    let at = |value: f64| left + ((value - low) * scale).round() as i32;
    let bottom = top + line * known.len() as i32;
    svg((WIDTH, (bottom + 4) as u32), |area| {
        let text = |colour: &RGBColor, side| {
            (FONT, 13).into_font().color(colour).pos(Pos::new(side, VPos::Center))
        };
        let end = WIDTH as i32 - right;
        for (name, colour, x) in [("alone", BLUE, end + 30), ("left out", RED, end + 110)] {
            area.draw(&Text::new(name, (x, top / 2), text(&colour, HPos::Left)))?;
        }
        area.draw(&PathElement::new([(at(0.0), top), (at(0.0), bottom)], INK))?;
        for (i, one) in known.iter().enumerate() {
            let y = top + line * i as i32 + line / 2;
            let name = match one.name.parse::<usize>() {
                Ok(layer) => format!("layer {layer}"),
                Err(_) => one.name.clone(),
            };
            area.draw(&Text::new(name, (left - 8, y), text(&INK, HPos::Right)))?;
            area.draw(&PathElement::new([(left, y), (end, y)], FAINT))?;
            for (value, colour, x) in [(one.alone, BLUE, end + 30), (one.left_out, RED, end + 110)]
            {
                let Some(value) = value else { continue };
                area.draw(&Circle::new((at(value), y), 4, colour.filled()))?;
                let shown = format!("{:.1}", 100.0 * value);
                area.draw(&Text::new(shown, (x, y), text(&colour, HPos::Left)))?;
            }
        }
        Ok(())
    })
}

/// Scores shown, with some room; never empty.
fn range<'a>(rows: impl Iterator<Item = &'a Row> + Clone) -> (f64, f64) {
    let spread = |row: &Row| row.deviation.unwrap_or(0.0);
    let low = rows.clone().map(|r| r.mean - spread(r)).fold(f64::INFINITY, f64::min);
    let high = rows.map(|r| r.mean + spread(r)).fold(f64::NEG_INFINITY, f64::max);
    if !(low.is_finite() && high.is_finite()) {
        return (0.0, 1.0);
    }
    let room = (0.08 * (high - low)).max(0.005);
    (low - room, high + room)
}

/// Score against the bytes of a cut, logarithmically.
pub(super) fn by_bytes(rows: &[Row]) -> String {
    let points: Vec<(f64, &Row)> =
        rows.iter().filter(|r| r.bytes > 0.0).map(|r| (r.bytes, r)).collect();
    scatter(&points, rows, "bytes of a cut, logarithmic", |x| in_words(x.round() as u64))
}

/// Score of the arms with masks against their share of zeros, logarithmically.
pub(super) fn by_sparsity(rows: &[Row]) -> String {
    let share = |r: &Row| r.sparsity.filter(|s| *s > 0.0);
    let points: Vec<(f64, &Row)> = rows.iter().filter_map(|r| Some((share(r)?, r))).collect();
    scatter(&points, rows, "share of zeros, logarithmic", |x| format!("{:.3}%", 100.0 * x))
}

/// Points with their names and deviations; the means of full and head as lines.
fn scatter(
    points: &[(f64, &Row)],
    rows: &[Row],
    x_name: &str,
    x_label: impl Fn(f64) -> String,
) -> String {
    let x = || points.iter().map(|(x, _)| x.log10());
    let (low, high) = (x().fold(f64::INFINITY, f64::min), x().fold(f64::NEG_INFINITY, f64::max));
    if !(low.is_finite() && high.is_finite()) {
        return String::new(); // nothing to show
    }
    let room = (0.1 * (high - low)).max(0.1);
    let (low, high) = (low - room, high + room);
    let lines = || rows.iter().filter(|r| matches!(r.arm.as_str(), "full" | "head"));
    let (bottom, top) = range(points.iter().map(|(_, row)| *row).chain(lines()));
    svg((WIDTH, 420), |area| -> Drawn {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(90)
            .x_label_area_size(36)
            .y_label_area_size(52)
            .build_cartesian_2d(low..high, 100.0 * bottom..100.0 * top)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(FAINT)
            .x_labels(7)
            .x_label_formatter(&|x: &f64| x_label(10f64.powf(*x)))
            .x_desc(x_name)
            .y_desc("score")
            .label_style((FONT, 13).into_font().color(&INK))
            .axis_style(INK)
            .draw()?;
        let label = |colour: &RGBColor| {
            let pos = Pos::new(HPos::Left, VPos::Bottom);
            (FONT, 12).into_font().color(colour).pos(pos)
        };
        for row in lines() {
            let y = 100.0 * row.mean;
            chart.draw_series([PathElement::new([(low, y), (high, y)], RED.mix(0.6))])?;
            chart.draw_series([Text::new(row.arm.clone(), (low, y), label(&RED))])?;
        }
        // From the lowest up, so that names that would overlap stand above each other in the order
        // of their scores.
        let mut points = points.to_vec();
        points.sort_by(|(_, a), (_, b)| a.mean.total_cmp(&b.mean));
        const LINE: i32 = 13; // pixels, of a name in the font of 12
        let mut names: Vec<(i32, i32, i32)> = Vec::new(); // left, right, bottom; pixels
        for (x, row) in points {
            let (x, y) = (x.log10(), 100.0 * row.mean);
            let spread = 100.0 * row.deviation.unwrap_or(0.0);
            chart.draw_series([PathElement::new([(x, y - spread), (x, y + spread)], BLUE)])?;
            chart.draw_series([Circle::new((x, y), 4, BLUE.filled())])?;
            let (left, dot) = chart.backend_coord(&(x, y));
            let right = left + LINE * row.arm.len() as i32 / 2;
            let mut bottom = dot - 4;
            while let Some((.., below)) =
                names.iter().find(|(l, r, b)| *l < right && left < *r && (b - bottom).abs() < LINE)
            {
                bottom = below - LINE;
            }
            names.push((left, right, bottom));
            let name = Text::new(row.arm.clone(), (6, bottom - dot), label(&INK));
            chart.draw_series([EmptyElement::at((x, y)) + name])?;
        }
        Ok(())
    })
}

/// Jaccard over chance of every two masks compared.
pub(super) fn overlap(pairs: &[Pair]) -> String {
    const LEFT: i32 = 150;
    const TOP: i32 = 26;
    const CELL: (i32, i32) = (96, 26);
    let mut masks: Vec<&(String, u64)> = Vec::new();
    for mask in pairs.iter().flat_map(|pair| [&pair.first, &pair.second]) {
        if !masks.contains(&mask) {
            masks.push(mask);
        }
    }
    let size = |cell: i32, start: i32| (start + cell * masks.len() as i32 + 2) as u32;
    let name = |mask: &(String, u64)| format!("{} {}", mask.0, mask.1);
    svg((size(CELL.0, LEFT), size(CELL.1, TOP)), |area| {
        let text = |pos| (FONT, 12).into_font().color(&INK).pos(pos);
        let centre = Pos::new(HPos::Center, VPos::Center);
        for (i, mask) in masks.iter().enumerate() {
            let (x, y) = (LEFT + CELL.0 * i as i32, TOP + CELL.1 * i as i32);
            area.draw(&Text::new(name(mask), (x + CELL.0 / 2, TOP / 2), text(centre)))?;
            let right = Pos::new(HPos::Right, VPos::Center);
            area.draw(&Text::new(name(mask), (LEFT - 8, y + CELL.1 / 2), text(right)))?;
        }
        for pair in pairs {
            let overlap = pair.overlap;
            let (Some(jaccard), Some(chance)) = (overlap.jaccard, overlap.chance_by_magnitude)
            else {
                continue;
            };
            let place = |mask| masks.iter().position(|m| *m == mask).unwrap_or(0) as i32;
            let (a, b) = (place(&pair.first), place(&pair.second));
            for (row, column) in [(a, b), (b, a)] {
                let (x, y) = (LEFT + CELL.0 * column, TOP + CELL.1 * row);
                let corners = [(x + 1, y + 1), (x + CELL.0 - 1, y + CELL.1 - 1)];
                area.draw(&Rectangle::new(corners, BLUE.mix(0.1 + 0.5 * jaccard).filled()))?;
                let times = if chance > 0.0 { jaccard / chance } else { 0.0 };
                let shown = format!("{jaccard:.3}, {times:.1}×");
                area.draw(&Text::new(shown, (x + CELL.0 / 2, y + CELL.1 / 2), text(centre)))?;
            }
        }
        Ok(())
    })
}
