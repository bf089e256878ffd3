//! The report as text for people.

use crate::output::{aligned, shortened};
use linocut::closeness::{Distance, Figures, Group, ModelReport, Named, Report};

/// A bar's characters at its longest.
const BAR: usize = 12;

/// Three significant digits; `·` where undefined.
pub(crate) fn number(value: Option<f64>) -> String {
    match value {
        None => "·".into(),
        Some(0.0) => "0".into(),
        Some(x) => {
            let exponent = x.abs().log10().floor() as i32;
            match exponent {
                -3..=2 => format!("{x:.*}", (2 - exponent) as usize),
                3..=5 => format!("{x:.0}"),
                _ => format!("{x:.2e}"),
            }
        }
    }
}

pub(super) fn percent(share: f64) -> String {
    match share {
        0.0 => "0%".into(),
        x if (0.9995..1.0).contains(&x) => ">99.9%".into(),
        x if x >= 0.9995 => format!("{:.0}%", 100.0 * x),
        x if x < 0.0001 => "<0.01%".into(),
        x if x < 0.1 => format!("{:.2}%", 100.0 * x),
        x => format!("{:.1}%", 100.0 * x),
    }
}

/// The one model in full, or several side by side.
pub(super) fn text(report: &Report, by: Distance, tensors: usize) -> String {
    match &report.models[..] {
        [model] => one(report, model, by, tensors),
        _ => several(report, by),
    }
}

fn one(report: &Report, model: &ModelReport, by: Distance, tensors: usize) -> String {
    let mut text =
        format!("{} from {}: {} tensors\n\n", model.path, report.base, model.tensors.len());
    let table = |title: &str, mut rows: Vec<(String, &Group)>, most: usize| {
        sort(&mut rows, by);
        rows.truncate(most);
        let scale = largest(rows.iter().map(|(_, group)| &group.figures), by);
        let mut lines = vec![header(title, by, scale, model)];
        lines.extend(rows.iter().map(|(name, group)| line(name, group, by, scale, model)));
        lines
    };
    let scale = largest(model.all.baseline.iter().chain([&model.all.figures]), by);
    let mut lines = vec![header("", by, scale, model), line("all", &model.all, by, scale, model)];
    lines.extend(model.all.baseline.map(|baseline| random(&baseline, by, scale, model)));
    text += &aligned(&lines);
    text.push('\n');
    text += &aligned(&table("layer", named(&model.layers), usize::MAX));
    text.push('\n');
    text += &aligned(&table("kind", named(&model.kinds), usize::MAX));
    if tensors > 0 {
        let rows = model.tensors.iter().map(|t| (t.name.clone(), &t.group)).collect();
        text.push('\n');
        text += &aligned(&table("tensor", rows, tensors));
        let more = model.tensors.len().saturating_sub(tensors);
        if more > 0 {
            text += &format!("… {more} more with --tensors {}\n", model.tensors.len());
        }
    }
    if model.format == "cut" {
        text.push('\n');
        text += &zeros(model);
    }
    text + &unmatched(model)
}

fn named(groups: &[Named]) -> Vec<(String, &Group)> {
    groups.iter().map(|n| (n.name.clone(), &n.group)).collect()
}

/// The most moved first; what has no such distance last.
pub(super) fn sort(rows: &mut [(String, &Group)], by: Distance) {
    let key = |group: &Group| by.of(&group.figures).unwrap_or(-1.0);
    rows.sort_by(|a, b| key(b.1).total_cmp(&key(a.1)).then_with(|| a.0.cmp(&b.0)));
}

/// The largest of these distances: what bars are drawn to.
fn largest<'a>(figures: impl Iterator<Item = &'a Figures>, by: Distance) -> f64 {
    figures.filter_map(|figures| by.of(figures)).filter(|x| x.is_finite()).fold(0.0, f64::max)
}

/// The names of the columns; that of the bars says which distance a whole one is.
fn header(title: &str, by: Distance, scale: f64, model: &ModelReport) -> Vec<String> {
    let scale = match by {
        Distance::Changed => percent(scale),
        _ => number(Some(scale)),
    };
    let bars = format!("{:<BAR$}", format!("0 to {scale}"));
    let mut row = vec![title.to_string(), by.name().to_string(), bars];
    let others = Distance::ALL.into_iter().filter(|d| *d != by);
    row.extend(others.map(|d| d.name().to_string()));
    row.extend(["of random", "entries"].map(String::from));
    if model.format == "cut" {
        row.push("zeros".into());
    }
    row
}

fn value(distance: Distance, figures: &Figures) -> String {
    match distance {
        Distance::Changed => percent(figures.changed),
        _ => number(distance.of(figures)),
    }
}

fn line(name: &str, group: &Group, by: Distance, largest: f64, model: &ModelReport) -> Vec<String> {
    let figures = &group.figures;
    let mut row = vec![name.to_string(), value(by, figures)];
    row.push(bar(by.of(figures).unwrap_or(0.0), largest));
    row.extend(Distance::ALL.into_iter().filter(|d| *d != by).map(|d| value(d, figures)));
    let of_random = group.baseline.map(|b| percent(figures.l1 / b.l1));
    row.extend([of_random.unwrap_or("·".into()), figures.entries.to_string()]);
    if model.format == "cut" {
        row.push(share(group));
    }
    row
}

/// What two random initialisations would give.
fn random(baseline: &Figures, by: Distance, scale: f64, model: &ModelReport) -> Vec<String> {
    let bar = bar(by.of(baseline).unwrap_or(0.0), scale);
    let mut row = vec!["random".to_string(), value(by, baseline), bar];
    row.extend(Distance::ALL.into_iter().filter(|d| *d != by).map(|d| value(d, baseline)));
    row.extend(["100%".into(), baseline.entries.to_string()]);
    if model.format == "cut" {
        row.push("·".into());
    }
    row
}

/// `value` of `largest`, to an eighth of a character.
fn bar(value: f64, largest: f64) -> String {
    let share = if largest > 0.0 { value / largest } else { 0.0 };
    let eighths = (share.min(1.0) * (8 * BAR) as f64).round() as usize;
    let mut text = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        text.push(['▏', '▎', '▍', '▌', '▋', '▊', '▉'][eighths % 8 - 1]);
    }
    let pad = BAR.saturating_sub(text.chars().count());
    text + &" ".repeat(pad)
}

fn share(group: &Group) -> String {
    match group.zeros {
        None => "·".into(),
        Some(zeros) => percent(zeros as f64 / group.figures.entries.max(1) as f64),
    }
}

/// Share of zeros, layer by kind.
fn zeros(model: &ModelReport) -> String {
    let used = |name: &str, of: fn(&linocut::closeness::Cell) -> &str| {
        model.cells.iter().any(|c| of(c) == name && c.group.zeros.unwrap_or(0) > 0)
    };
    let kinds: Vec<&Named> = model.kinds.iter().filter(|k| used(&k.name, |c| &c.kind)).collect();
    let layers = model.layers.iter().filter(|l| used(&l.name, |c| &c.layer));
    let mut rows = vec![vec!["zeros by layer".to_string()]];
    rows[0].extend(kinds.iter().map(|k| k.name.clone()));
    rows[0].extend(["all".into(), "zeros".into()]);
    for layer in layers {
        let mut row = vec![layer.name.clone()];
        for kind in &kinds {
            let cell = model.cells.iter().find(|c| c.layer == layer.name && c.kind == kind.name);
            row.push(cell.map_or("·".into(), |c| share(&c.group)));
        }
        row.extend([share(&layer.group), layer.group.zeros.unwrap_or(0).to_string()]);
        rows.push(row);
    }
    let mut row = vec!["all".to_string()];
    row.extend(kinds.iter().map(|k| share(&k.group)));
    row.extend([share(&model.all), model.all.zeros.unwrap_or(0).to_string()]);
    rows.push(row);
    aligned(&rows)
}

/// Tensors without a counterpart.
fn unmatched(model: &ModelReport) -> String {
    let mut text = String::new();
    for (what, names) in [
        ("only in the base", &model.only_in_base),
        ("only in the model", &model.only_in_tuned),
        ("not compared, since no weights", &model.not_weights),
    ] {
        if !names.is_empty() {
            text += &format!("\n{what}: {}\n", names.join(", "));
        }
    }
    text
}

/// A line a model, layers by models, and what each two have in common.
fn several(report: &Report, by: Distance) -> String {
    let models = &report.models;
    let mut text = format!("{} models from {}\n\n", models.len(), report.base);
    let mut rows: Vec<(String, &Group)> =
        models.iter().map(|m| (shortened(&m.name, 40), &m.all)).collect();
    sort(&mut rows, by);
    let baseline = models[0].all.baseline;
    let scale = largest(rows.iter().map(|(_, g)| &g.figures).chain(&baseline), by);
    // A column for zeros as soon as one is a cut.
    let shape = models.iter().find(|m| m.format == "cut").unwrap_or(&models[0]);
    let mut lines = vec![header("model", by, scale, shape)];
    lines.extend(rows.iter().map(|(name, group)| line(name, group, by, scale, shape)));
    lines.extend(baseline.map(|baseline| random(&baseline, by, scale, shape)));
    text += &aligned(&lines);

    let numbered = |i: usize| format!("[{}]", i + 1);
    text += &format!("\n{} by layer\n", by.name());
    let mut header = vec!["layer".to_string()];
    header.extend((0..models.len()).map(numbered));
    let mut lines = vec![header];
    for layer in &models[0].layers {
        let of = |model: &ModelReport| {
            let found = model.layers.iter().find(|l| l.name == layer.name);
            found.map_or("·".into(), |l| value(by, &l.group.figures))
        };
        let mut line = vec![layer.name.clone()];
        line.extend(models.iter().map(of));
        lines.push(line);
    }
    text += &aligned(&lines);

    text += "\nangular distance of task vectors (0.5: unrelated)\n";
    text += &matrix(report, |pair| number(pair.angular));
    if report.pairs.iter().any(|pair| pair.mask.is_some()) {
        text += "\nmask overlap, Jaccard (by chance, given how large the entries are)\n";
        text += &matrix(report, |pair| match pair.mask {
            Some(mask) => {
                format!("{} ({})", number(mask.jaccard), number(mask.chance_by_magnitude))
            }
            None => "·".into(),
        });
    }
    for model in models {
        let lines = unmatched(model);
        if !lines.is_empty() {
            text += &format!("\n{}:{}", model.path, lines.replace("\n\n", "\n"));
        }
    }
    text
}

/// Every two models, each row named and numbered.
fn matrix(report: &Report, cell: impl Fn(&linocut::closeness::PairReport) -> String) -> String {
    let models = report.models.len();
    let mut header = vec![String::new()];
    header.extend((1..=models).map(|i| format!("[{i}]")));
    let mut rows = vec![header];
    for (i, model) in report.models.iter().enumerate() {
        let mut row = vec![format!("[{}] {}", i + 1, shortened(&model.name, 40))];
        for j in 0..models {
            let pair = report.pairs.iter().find(|p| (p.first, p.second) == (i.min(j), i.max(j)));
            row.push(pair.map_or("·".into(), &cell));
        }
        rows.push(row);
    }
    aligned(&rows)
}
