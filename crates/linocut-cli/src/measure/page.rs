//! The report as one page that needs no network and no script.

use linocut::closeness::{Distance, Figures, Group, ModelReport, Report};
use std::fmt::Write as _;

use super::charts::{distribution, heat_map, named, ranking, shown};
use super::table::{number, percent, sort};

/// The page stays below 2 MB: models that would go beyond are named at its end instead.
const MOST_BYTES: usize = 1_900_000;

/// In the dark the charts' colours are found by what plotters writes: those of charts.rs, each in its place.
const STYLE: &str = "\
:root{color-scheme:light dark;--paper:#fff;--ink:#1f2937;--line:#e5e7eb;--strong:#9ca3af;--red:#b91c1c;--raised:#f9fafb;--warn:#fef3c7}\
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:78rem;margin:2rem auto;padding:0 1.5rem}\
h1{font-size:1.6rem;margin:0 0 .3rem}h2{font-size:1.3rem;margin:2.5rem 0 .5rem;border-top:1px solid var(--line);padding-top:1.5rem}\
h1,h2,h3,p,li{overflow-wrap:anywhere}h3{font-size:1rem;margin:1.5rem 0 .3rem}p{margin:.3rem 0;max-width:50rem}\
nav ul{columns:16rem;list-style:none;padding:0;margin:.6rem 0}a{color:inherit}\
figure{margin:.5rem 0;overflow-x:auto}svg{display:block}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.5rem 0;display:block;overflow-x:auto}\
table{font-size:13px}th,td{padding:.2rem .55rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}\
th:first-child,td:first-child{text-align:left;padding-left:0}thead th{border-bottom:2px solid var(--strong)}\
tr.random td,tr.random th{color:var(--red)}th{font-weight:600}tbody th{font-weight:400}\
.warning{background:var(--warn);border-left:4px solid #b45309;padding:.5rem .8rem}\
summary{cursor:pointer;margin:.5rem 0}pre{background:var(--raised);padding:1rem;overflow-x:auto;font-size:13px}\
@media(prefers-color-scheme:dark){\
:root{--paper:#14171a;--ink:#e5e7eb;--line:#374151;--strong:#6b7280;--red:#fca5a5;--raised:#20252a;--warn:#3f2d0c}\
svg [fill=\"#1F2937\"]{fill:#e5e7eb}svg [stroke=\"#1F2937\"]{stroke:#9ca3af}svg [stroke=\"#E5E7EB\"]{stroke:#374151}\
svg [fill=\"#1D4E89\"]{fill:#60a5fa}svg [stroke=\"#1D4E89\"]{stroke:#60a5fa}\
svg [fill=\"#B91C1C\"]{fill:#fca5a5}svg [stroke=\"#B91C1C\"]{stroke:#fca5a5}\
svg rect[fill=\"#FFFFFF\"]{fill:#14171a}svg rect[fill=\"#F9FAFB\"]{fill:#20252a}}";

/// The beginning of a page, up to what it says; `style` is added to that of all pages.
pub(crate) fn head(title: &str, style: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{}</title>\
         <link rel=\"icon\" href=\"data:,\"><style>{STYLE}{style}</style></head><body>\n<main>",
        escaped(title)
    )
}

/// The headings of a page, each with the id that it has there; nothing where one sees them at once.
pub(crate) fn contents<'a>(headings: impl Iterator<Item = &'a str>) -> String {
    let links: Vec<String> = headings
        .enumerate()
        .map(|(i, title)| format!("<li><a href=\"#part-{i}\">{}</a></li>", escaped(title)))
        .collect();
    match links.len() {
        0..2 => String::new(),
        _ => format!("<nav aria-label=\"Contents\"><ul>{}</ul></nav>\n", links.concat()),
    }
}

/// The heading of a part of the page, its number in [`contents`] being `i`.
pub(crate) fn heading(i: usize, title: &str) -> String {
    format!("<h2 id=\"part-{i}\">{}</h2>\n", escaped(title))
}

/// A chart under its title.
pub(crate) fn figure(title: &str, chart: &str) -> String {
    let title = escaped(title);
    format!("<h3>{title}</h3><figure role=\"img\" aria-label=\"{title}\">{chart}</figure>\n")
}

const MEANINGS: &str = "What each figure means";
const DEFINITIONS: &str = include_str!("explain.txt");

/// The page; bars and rankings go by `by`.
pub(super) fn page(report: &Report, by: Distance) -> String {
    let mut page = head("linocut measure", "");
    let _ = writeln!(page, "<h1>How far from {}</h1>", escaped(&report.base));
    let baseline = match report.baseline_seed {
        Some(seed) => format!("two draws with seed {seed}"),
        None => "the expectation for two independent draws".into(),
    };
    let _ = writeln!(
        page,
        "<p>Distances between the weights of this base and of {}. In red, how far is far: {baseline} \
         of the same matrices from N(0, {}²). Definitions are at the end.</p>",
        match report.models.len() {
            1 => "a model tuned from it".into(),
            n => format!("{n} models tuned from it"),
        },
        report.initializer_range,
    );
    let mut rows: Vec<(String, &Group)> =
        report.models.iter().map(|m| (m.path.clone(), &m.all)).collect();
    sort(&mut rows, by);
    let mut all = table("model", &rows);
    if report.models.len() > 1 {
        all += &pairs(report);
    }
    let mut parts = String::new();
    let mut headings = Vec::new();
    let mut left_out = Vec::new();
    for model in &report.models {
        let section = section(model, by);
        if all.len() + parts.len() + section.len() + DEFINITIONS.len() > MOST_BYTES {
            left_out.push(escaped(&model.path));
        } else {
            parts += &heading(headings.len(), &model.path);
            parts += &section;
            headings.push(model.path.as_str());
        }
    }
    headings.push(MEANINGS);
    page += &contents(headings.iter().copied());
    page += &all;
    page += &parts;
    if !left_out.is_empty() {
        let names = left_out.join(", ");
        let _ = writeln!(
            page,
            "<p class=\"warning\">Left out to keep the page small: {names}. Measure them on their \
             own, or see --json.</p>"
        );
    }
    let definitions = escaped(DEFINITIONS);
    let end = format!("<pre>{definitions}</pre></main></body></html>\n");
    page + &heading(headings.len() - 1, MEANINGS) + &end
}

fn section(model: &ModelReport, by: Distance) -> String {
    let mut text = String::new();
    if model.unrelated {
        text += "<p class=\"warning\">As far from the base as a random initialisation: probably \
                 not the base it was tuned from.</p>\n";
    } else if !model.far.is_empty() {
        let names = escaped(&model.far.join(", "));
        let _ = writeln!(
            text,
            "<p class=\"warning\">As far from the base as random, so probably initialised anew: \
             {names}.</p>"
        );
    }
    for (what, names) in [
        ("Only in the base", &model.only_in_base),
        ("Only in the model", &model.only_in_tuned),
        ("Not compared, since no weights", &model.not_weights),
    ] {
        if !names.is_empty() {
            let _ = writeln!(text, "<p>{what}: {}.</p>", escaped(&names.join(", ")));
        }
    }
    let mut add = |title: &str, chart: String| {
        if !chart.is_empty() {
            text += &figure(title, &chart);
        }
    };
    add(&format!("Layers by {}, the most moved first", by.name()), ranking(model, by));
    for distance in Distance::ALL {
        let title =
            format!("{} by layer and kind{}", title(distance), random(&model.all, distance));
        add(&title, heat_map(model, distance));
    }
    for distance in [Distance::Angular, Distance::MeanAbs] {
        let title = format!("Distribution of {}", distance.name());
        add(&title, distribution(model, distance));
    }
    let layers: Vec<(String, &Group)> =
        model.layers.iter().map(|l| (named(&l.name), &l.group)).collect();
    let kinds: Vec<(String, &Group)> =
        model.kinds.iter().map(|k| (k.name.clone(), &k.group)).collect();
    let mut tensors: Vec<(String, &Group)> =
        model.tensors.iter().map(|t| (t.name.clone(), &t.group)).collect();
    sort(&mut tensors, by);
    // The least moved first, without those that have no such distance.
    let known = tensors.iter().filter(|(_, g)| by.of(&g.figures).is_some()).count();
    let least: Vec<(String, &Group)> = tensors[..known]
        .iter()
        .rev()
        .take(10)
        .map(|(name, group)| (name.clone(), *group))
        .collect();
    for (title, name, rows) in [
        ("Layers", "layer", &layers[..]),
        ("Kinds", "kind", &kinds[..]),
        ("Most moved tensors", "tensor", &tensors[..tensors.len().min(10)]),
        ("Least moved tensors", "tensor", &least[..]),
    ] {
        let _ = writeln!(text, "<h3>{title}</h3>{}", table(name, rows));
    }
    let _ = writeln!(
        text,
        "<details><summary>All {} tensors</summary>{}</details>",
        tensors.len(),
        table("tensor", &tensors)
    );
    text
}

fn title(distance: Distance) -> &'static str {
    match distance {
        Distance::Angular => "Angular distance",
        Distance::RelativeL2 => "Relative L2",
        Distance::MeanAbs => "Mean |Δ|",
        Distance::L1 => "L1",
        Distance::L2 => "L2",
        Distance::MaxAbs => "Largest |Δ|",
        Distance::Changed => "Share of entries changed",
    }
}

/// The baseline where it is the same for every shape, else in all.
fn random(all: &Group, distance: Distance) -> String {
    let Some(baseline) = all.baseline else { return String::new() };
    let value = shown(distance, distance.of(&baseline));
    match distance {
        Distance::L1 | Distance::L2 | Distance::MaxAbs => format!(" (random: {value} in all)"),
        _ => format!(" (random: {value})"),
    }
}

/// Rows of figures, each with its baseline's beside it.
fn table(name: &str, rows: &[(String, &Group)]) -> String {
    let mut text = format!("<table><thead><tr><th scope=\"col\">{name}</th>");
    for distance in Distance::ALL {
        let _ = write!(text, "<th scope=\"col\">{}</th>", distance.name());
    }
    let zeros = rows.iter().any(|(_, group)| group.zeros.is_some());
    for more in ["of random", "random l1", "random l2", "random max", "entries"] {
        let _ = write!(text, "<th scope=\"col\">{more}</th>");
    }
    text += if zeros {
        "<th scope=\"col\">zeros</th></tr></thead><tbody>\n"
    } else {
        "</tr></thead><tbody>\n"
    };
    for (name, group) in rows {
        let _ = write!(text, "<tr><th scope=\"row\">{}</th>", escaped(name));
        let figures = &group.figures;
        for distance in Distance::ALL {
            let _ = write!(text, "<td>{}</td>", shown(distance, distance.of(figures)));
        }
        let of = |f: fn(&Figures) -> f64| number(group.baseline.as_ref().map(f));
        let share = group.baseline.map_or("·".into(), |b| percent(figures.l1 / b.l1));
        let (l1, l2, max) = (of(|b| b.l1), of(|b| b.l2), of(|b| b.max_abs));
        let _ = write!(text, "<td>{share}</td><td>{l1}</td><td>{l2}</td><td>{max}</td>");
        let _ = write!(text, "<td>{}</td>", figures.entries);
        if zeros {
            let share = group.zeros.map(|z| percent(z as f64 / figures.entries.max(1) as f64));
            let _ = write!(text, "<td>{}</td>", share.unwrap_or("·".into()));
        }
        text += "</tr>\n";
    }
    let baseline = rows.first().and_then(|(_, group)| group.baseline);
    if let Some(baseline) = baseline {
        // What does not depend on the shape.
        text += "<tr class=\"random\"><th scope=\"row\">random</th>";
        for distance in Distance::ALL {
            let fixed = !matches!(distance, Distance::L1 | Distance::L2 | Distance::MaxAbs);
            let value = if fixed { shown(distance, distance.of(&baseline)) } else { String::new() };
            let _ = write!(text, "<td>{value}</td>");
        }
        text += "<td>100%</td></tr>\n";
    }
    text + "</tbody></table>\n"
}

/// Task vectors and masks of every two models.
fn pairs(report: &Report) -> String {
    let mut text = String::from(
        "<h3>Every two models</h3><p>The angular distance of their task vectors (0.5: unrelated), \
         and what two masks have in common, beside what random masks have that fall on large entries as often.</p><table><thead><tr><th scope=\"col\">models</th>\
         <th scope=\"col\">angular</th><th scope=\"col\">mask overlap</th><th scope=\"col\">by \
         chance</th></tr></thead><tbody>\n",
    );
    // A table of many pairs says no more than its first rows; --json has all.
    for pair in report.pairs.iter().take(200) {
        let name = |i: usize| escaped(&report.models[i].name);
        let mask = |value: Option<f64>| number(value);
        let _ = writeln!(
            text,
            "<tr><th scope=\"row\">{} – {}</th><td>{}</td><td>{}</td><td>{}</td></tr>",
            name(pair.first),
            name(pair.second),
            number(pair.angular),
            mask(pair.mask.and_then(|m| m.jaccard)),
            mask(pair.mask.and_then(|m| m.chance_by_magnitude)),
        );
    }
    text += "</tbody></table>\n";
    if report.pairs.len() > 200 {
        let _ = writeln!(text, "<p>{} more pairs are in --json.</p>", report.pairs.len() - 200);
    }
    text
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::STYLE;
    use crate::measure::charts::{BLUE, FAINT, INK, RED};

    #[test]
    fn the_colours_of_charts_have_others_in_the_dark() {
        for colour in [INK, FAINT, BLUE, RED] {
            let written = format!("=\"#{:02X}{:02X}{:02X}\"", colour.0, colour.1, colour.2);
            assert!(STYLE.contains(&written), "{written}");
        }
    }
}
