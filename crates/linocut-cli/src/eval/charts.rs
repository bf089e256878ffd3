//! Charts of an evaluation.

use crate::measure::charts::{Area, BLUE, Drawn, FAINT, FONT, INK, RED, ink_on, svg};
use linocut::tune::{BINS, Bin, Covered, PrecisionRecall};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::ops::Range;

const SIZE: (u32, u32) = (760, 420);
/// Dots of a scatter plot: more are not told apart.
const DOTS: usize = 2000;
/// Bars of residuals.
const BARS: usize = 40;

/// Colours that are told apart, also by those who see few (Okabe and Ito).
const COLOURS: [RGBColor; 8] = [
    BLUE,
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(107, 114, 128),
    RGBColor(180, 170, 20),
];

/// Fill and ink of a cell with such a share, 0 to 1, from white to dark blue.
pub(super) fn shade(share: f64) -> (String, &'static str) {
    let mix = |dark: u8| (255.0 - share * (255.0 - f64::from(dark))).round() as u8;
    let fill = RGBColor(mix(BLUE.0), mix(BLUE.1), mix(BLUE.2));
    let ink = if ink_on(fill) == WHITE { "#fff" } else { "#000" };
    (format!("rgb({},{},{})", fill.0, fill.1, fill.2), ink)
}

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// An empty chart; shares are shown as percentages.
fn axes<'a, 'b>(
    area: &'a Area<'b>,
    (x, x_name): (Range<f64>, &str),
    (y, y_name): (Range<f64>, &str),
    shares: bool,
) -> Result<Chart<'a, 'b>, Box<dyn std::error::Error>>
where
    'b: 'a,
{
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(24)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(x, y)?;
    let label = |value: &f64| match shares {
        true => format!("{:.0}%", 100.0 * value),
        false => crate::output::rounded(*value),
    };
    chart
        .configure_mesh()
        .max_light_lines(0)
        .bold_line_style(FAINT)
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .x_desc(x_name)
        .y_desc(y_name)
        .label_style((FONT, 13).into_font().color(&INK))
        .axis_style(INK)
        .draw()?;
    Ok(chart)
}

fn names<'a, 'b: 'a>(chart: &mut Chart<'a, 'b>, position: SeriesLabelPosition) -> Drawn {
    chart
        .configure_series_labels()
        .position(position)
        .background_style(WHITE.mix(0.85))
        .border_style(FAINT)
        .label_font((FONT, 13).into_font().color(&INK))
        .draw()?;
    Ok(())
}

/// At most [`DOTS`] of them, evenly spread, the first and the last among them.
fn thinned(all: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if all.len() <= DOTS {
        return all.to_vec();
    }
    (0..DOTS).map(|i| all[i * (all.len() - 1) / (DOTS - 1)]).collect()
}

/// The points of a curve of shares that lie about a pixel or more from the one before, and the last.
fn apart(points: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    const PIXEL: f64 = 0.0015;
    let (mut kept, mut last): (Vec<(f64, f64)>, _) = (vec![], None);
    for point in points {
        let far = |(x, y): &(f64, f64)| (x - point.0).abs().max((y - point.1).abs()) >= PIXEL;
        if kept.last().is_none_or(far) {
            kept.push(point);
            last = None;
        } else {
            last = Some(point);
        }
    }
    kept.extend(last);
    kept
}

/// Share that is right against probability, a line a series; a dot's area goes with what lies in its bin.
pub(super) fn reliability(series: &[(&str, [Option<Bin>; BINS])]) -> String {
    svg(SIZE, |area| {
        let mut chart = axes(area, (0.0..1.0, "probability"), (0.0..1.0, "right"), true)?;
        chart.draw_series([PathElement::new([(0.0, 0.0), (1.0, 1.0)], INK.mix(0.4))])?;
        let several = series.len() > 1;
        for (i, (name, bins)) in series.iter().enumerate() {
            let colour = if several && i == 0 { RED } else { BLUE };
            let filled = || bins.iter().flatten();
            let most = filled().map(|bin| bin.count).max().unwrap_or(1) as f64;
            let line: Vec<(f64, f64)> = filled().map(|bin| (bin.sure, bin.right)).collect();
            chart
                .draw_series([PathElement::new(line, colour.mix(0.6).stroke_width(2))])?
                .label(*name)
                .legend(move |(x, y)| Circle::new((x + 8, y), 4, colour.filled()));
            chart.draw_series(filled().map(|bin| {
                let radius = 2.0 + 8.0 * (bin.count as f64 / most).sqrt();
                Circle::new((bin.sure, bin.right), radius.round() as i32, colour.mix(0.7).filled())
            }))?;
        }
        if several { names(&mut chart, SeriesLabelPosition::UpperLeft) } else { Ok(()) }
    })
}

/// Precision against recall, a line a curve, with its name and average precision.
pub(super) fn precision_recall(curves: &[(String, PrecisionRecall)]) -> String {
    svg(SIZE, |area| {
        let mut chart = axes(area, (0.0..1.0, "recall"), (0.0..1.0, "precision"), true)?;
        for (i, (name, curve)) in curves.iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            let first = curve.points.first().map(|point| (0.0, point.precision));
            let others = curve.points.iter().map(|point| (point.recall, point.precision));
            let line = apart(first.into_iter().chain(others));
            chart
                .draw_series([PathElement::new(line, colour.stroke_width(2))])?
                .label(format!("{name}, {:.1}%", 100.0 * curve.average))
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(3))
                });
        }
        names(&mut chart, SeriesLabelPosition::LowerLeft)
    })
}

/// Share of the answers that is right against the share answered; `marked` is a threshold with both.
pub(super) fn coverage(curve: &[Covered], marked: Option<(f64, f64, f64)>) -> String {
    let lowest = curve.iter().map(|c| c.accuracy).chain(marked.map(|(.., right)| right));
    // A round share below all of them.
    let low = (10.0 * lowest.fold(1.0, f64::min) - 0.5).floor().max(0.0) / 10.0;
    svg(SIZE, |area| {
        let mut chart = axes(area, (0.0..1.0, "rows answered"), (low..1.0, "right"), true)?;
        let line = apart(curve.iter().map(|point| (point.share, point.accuracy)));
        chart.draw_series([PathElement::new(line, BLUE.stroke_width(2))])?;
        if let Some((threshold, share, right)) = marked {
            chart.draw_series([PathElement::new([(share, low), (share, right)], RED.mix(0.6))])?;
            chart.draw_series([Circle::new((share, right), 5, RED.filled())])?;
            // On the side that has room for it.
            let (side, by) = if share > 0.5 { (HPos::Right, -8) } else { (HPos::Left, 8) };
            let style = (FONT, 13).into_font().color(&RED).pos(Pos::new(side, VPos::Bottom));
            let name = Text::new(format!("from {threshold:.3} on"), (by, -6), style);
            chart.draw_series([EmptyElement::at((share, low)) + name])?;
        }
        Ok(())
    })
}

/// Room around numbers, which may all be the same.
fn around(values: impl Iterator<Item = f64> + Clone) -> Range<f64> {
    let (low, high) =
        (values.clone().fold(f64::INFINITY, f64::min), values.fold(f64::NEG_INFINITY, f64::max));
    let room = match high - low {
        0.0 => low.abs().max(1.0) * 0.05,
        wide => 0.05 * wide,
    };
    low - room..high + room
}

/// Predicted against true numbers.
pub(super) fn scatter(points: &[(f64, f64)]) -> String {
    let range = around(points.iter().flat_map(|(t, p)| [*t, *p]));
    svg((520, 480), |area| {
        let mut chart = axes(area, (range.clone(), "true"), (range.clone(), "predicted"), false)?;
        let line = [(range.start, range.start), (range.end, range.end)];
        chart.draw_series([PathElement::new(line, INK.mix(0.4))])?;
        let dots = thinned(points).into_iter();
        chart.draw_series(dots.map(|at| Circle::new(at, 3, BLUE.mix(0.4).filled())))?;
        Ok(())
    })
}

/// How many rows are off by how much.
pub(super) fn spread(points: &[(f64, f64)]) -> String {
    let off = || points.iter().map(|(t, p)| p - t);
    let range = around(off().chain([0.0]));
    let wide = (range.end - range.start) / BARS as f64;
    let mut bars = [0usize; BARS];
    off().for_each(|x| bars[(((x - range.start) / wide) as usize).min(BARS - 1)] += 1);
    let most = bars.iter().copied().max().unwrap_or(1) as f64;
    svg((SIZE.0, 240), |area| {
        let x = (range.clone(), "predicted less true");
        let mut chart = axes(area, x, (0.0..1.05 * most, "rows"), false)?;
        let filled = bars.iter().enumerate().filter(|(_, n)| **n > 0);
        chart.draw_series(filled.map(|(i, n)| {
            let start = range.start + wide * i as f64;
            let corners = [(start, 0.0), (start + 0.9 * wide, *n as f64)];
            Rectangle::new(corners, BLUE.mix(0.85).filled())
        }))?;
        chart.draw_series([PathElement::new([(0.0, 0.0), (0.0, 1.05 * most)], RED)])?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_that_are_seen() {
        let all: Vec<(f64, f64)> = (0..10_001).map(|i| (f64::from(i), 0.0)).collect();
        let few = thinned(&all);
        assert_eq!((few.len(), few[0], few[DOTS - 1]), (DOTS, all[0], all[10_000]));
        assert_eq!(thinned(&all[..3]), all[..3]);
        // A jump is kept, however near its neighbours are, and so is the end.
        let curve = [(0.0, 1.0), (0.0001, 1.0), (0.0002, 0.5), (0.0003, 0.5)];
        assert_eq!(apart(curve.into_iter()), [curve[0], curve[2], curve[3]]);
        let many = apart((0..100_000).map(|i| (f64::from(i) / 1e5, 0.3)));
        assert!(many.len() < 700, "{}", many.len());
    }

    #[test]
    fn cells_are_white_to_blue() {
        assert_eq!(shade(0.0), ("rgb(255,255,255)".into(), "#000"));
        assert_eq!(shade(1.0), ("rgb(29,78,137)".into(), "#fff"));
    }
}
