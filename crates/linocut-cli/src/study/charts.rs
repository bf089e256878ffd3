//! Charts of a study.

use crate::measure::axis::{AXIS, Taken, Ticked, draw_axis, log_ticks, ticks};
use crate::measure::charts::{BLUE, Drawn, FAINT, FONT, INK, RED, ink_on, svg};
use crate::output::{rounded, shortened};
use linocut::output::in_words;
use linocut::study::{Pair, Row, Signals};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const WIDTH: u32 = 900;

/// The arms from the best to the worst, each mean a dot with its deviation; the line goes down from full. Dots and
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
    svg((WIDTH, (height + AXIS) as u32), |area| {
        let marks: Vec<(i32, String)> = ticks(100.0 * low, 100.0 * high, 10)
            .into_iter()
            .map(|points| (at(points / 100.0), rounded(points)))
            .collect();
        draw_axis(area, (left, width - right, height), &marks, "score, points")?;
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
    svg((WIDTH, (bottom + AXIS) as u32), |area| {
        let text = |colour: &RGBColor, side| {
            (FONT, 13).into_font().color(colour).pos(Pos::new(side, VPos::Center))
        };
        let end = WIDTH as i32 - right;
        for (name, colour, x) in [("alone", BLUE, end + 30), ("left out", RED, end + 110)] {
            area.draw(&Text::new(name, (x, top / 2), text(&colour, HPos::Left)))?;
        }
        let marks: Vec<(i32, String)> = ticks(100.0 * low, 100.0 * high, 10)
            .into_iter()
            .map(|points| (at(points / 100.0), rounded(points)))
            .collect();
        draw_axis(area, (left, end, bottom), &marks, "points")?;
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
    scatter(&points, rows, "bytes of a cut, logarithmic", |x| {
        in_words(x.round() as u64).replace(".0 ", " ")
    })
}

/// Score of the arms with masks against their share of zeros, logarithmically.
pub(super) fn by_sparsity(rows: &[Row]) -> String {
    let share = |r: &Row| r.sparsity.filter(|s| *s > 0.0);
    let points: Vec<(f64, &Row)> = rows.iter().filter_map(|r| Some((share(r)?, r))).collect();
    scatter(&points, rows, "share of zeros, logarithmic", |x| format!("{}%", rounded(100.0 * x)))
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
            .build_cartesian_2d(
                Ticked(low..high, log_ticks(low, high, 9)),
                Ticked(100.0 * bottom..100.0 * top, ticks(100.0 * bottom, 100.0 * top, 9)),
            )?;
        chart
            .configure_mesh()
            .bold_line_style(FAINT)
            .x_label_formatter(&|x: &f64| x_label(10f64.powf(*x)))
            .y_label_formatter(&|y: &f64| rounded(*y))
            .x_desc(x_name)
            .y_desc("score, points")
            .label_style((FONT, 13).into_font().color(&INK))
            .axis_style(INK)
            .draw()?;
        let label = |colour: &RGBColor| {
            let pos = Pos::new(HPos::Left, VPos::Bottom);
            (FONT, 12).into_font().color(colour).pos(pos)
        };
        const LINE: i32 = 13; // pixels, of a name in the font of 12
        let wide = |name: &str| LINE * name.len() as i32 / 2;
        let mut taken = Taken::default();
        for (x, row) in points {
            let (x, y) = chart.backend_coord(&(x.log10(), 100.0 * row.mean));
            taken.take([x - 4, y - 4, x + 4, y + 4]);
        }
        // Names as they find room: boxes with their left and lower ends from a point of the chart.
        let mut place = |name: &str, (x, y): (i32, i32), beside: &[(i32, i32)]| {
            let boxes = beside.iter().map(|(right, down)| {
                [x + right, y + down - LINE, x + right + wide(name), y + down]
            });
            let found = taken.first_free(boxes).unwrap_or([x, y - LINE, x, y]);
            (found[0] - x, found[3] - y)
        };
        for row in lines() {
            let y = 100.0 * row.mean;
            chart.draw_series([PathElement::new([(low, y), (high, y)], RED.mix(0.6))])?;
            let by = place(&row.arm, chart.backend_coord(&(low, y)), &[(2, -1), (2, LINE + 1)]);
            let name = Text::new(row.arm.clone(), by, label(&RED));
            chart.draw_series([EmptyElement::at((low, y)) + name])?;
        }
        let mut points = points.to_vec();
        points.sort_by(|(_, a), (_, b)| a.mean.total_cmp(&b.mean));
        for (x, row) in points {
            let at = (x.log10(), 100.0 * row.mean);
            let spread = 100.0 * row.deviation.unwrap_or(0.0);
            let ends = [(at.0, at.1 - spread), (at.0, at.1 + spread)];
            chart.draw_series([PathElement::new(ends, BLUE)])?;
            chart.draw_series([Circle::new(at, 4, BLUE.filled())])?;
            // Beside the dot, on its other side, and then above all that is there.
            let left = -6 - wide(&row.arm);
            let mut beside = vec![(6, -4), (6, LINE + 4), (left, -4), (left, LINE + 4)];
            beside.extend((1..20).map(|lines| (6, -4 - lines * LINE)));
            let by = place(&row.arm, chart.backend_coord(&at), &beside);
            let name = Text::new(row.arm.clone(), by, label(&INK));
            chart.draw_series([EmptyElement::at(at) + name])?;
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
    // As much of a name as a column has room for.
    let name = |mask: &(String, u64)| format!("{} {}", shortened(&mask.0, 11), mask.1);
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
                let share = 0.1 + 0.9 * jaccard;
                let mix = |dark: u8| (255.0 - share * (255.0 - f64::from(dark))).round() as u8;
                let fill = RGBColor(mix(BLUE.0), mix(BLUE.1), mix(BLUE.2));
                area.draw(&Rectangle::new(corners, fill.filled()))?;
                let times = if chance > 0.0 { jaccard / chance } else { 0.0 };
                let shown = format!("{jaccard:.3}, {times:.1}×");
                let ink = (FONT, 12).into_font().color(&ink_on(fill)).pos(centre);
                area.draw(&Text::new(shown, (x + CELL.0 / 2, y + CELL.1 / 2), ink))?;
            }
        }
        Ok(())
    })
}
