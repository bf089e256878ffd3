//! The report as CSV: a line for every tensor, layer, kind and model.

use linocut::closeness::{Figures, Group, Report};
use linocut::{Error, ErrorKind, Result};

const FIGURES: [&str; 10] = [
    "entries",
    "non_finite",
    "changed",
    "l1",
    "mean_abs",
    "l2",
    "relative_l2",
    "angular",
    "cosine",
    "max_abs",
];

fn cells(figures: Option<&Figures>) -> Vec<String> {
    let Some(f) = figures else { return vec![String::new(); FIGURES.len()] };
    let optional = |x: Option<f64>| x.map_or(String::new(), |x| x.to_string());
    vec![
        f.entries.to_string(),
        f.non_finite.to_string(),
        f.changed.to_string(),
        f.l1.to_string(),
        f.mean_abs.to_string(),
        f.l2.to_string(),
        optional(f.relative_l2),
        optional(f.angular),
        optional(f.cosine),
        f.max_abs.to_string(),
    ]
}

/// All lines, the first one naming the columns; undefined figures are empty.
pub(super) fn lines(report: &Report) -> Result<String> {
    let failed = |e: ::csv::Error| Error::new(ErrorKind::Io, format!("cannot write CSV: {e}"));
    let mut out = ::csv::Writer::from_writer(Vec::new());
    let baseline = FIGURES.map(|name| format!("baseline_{name}"));
    let columns = ["model", "scope", "name", "layer", "kind", "zeros"].map(String::from);
    let figures = FIGURES.map(String::from);
    out.write_record(columns.iter().chain(&figures).chain(&baseline)).map_err(failed)?;
    for model in &report.models {
        let mut line = |scope: &str, [name, layer, kind]: [&str; 3], group: &Group| {
            let zeros = group.zeros.map_or(String::new(), |z| z.to_string());
            let head = [&model.path, scope, name, layer, kind, &zeros].map(String::from);
            let (figures, baseline) = (cells(Some(&group.figures)), cells(group.baseline.as_ref()));
            out.write_record(head.iter().chain(&figures).chain(&baseline)).map_err(failed)
        };
        line("all", ["", "", ""], &model.all)?;
        for layer in &model.layers {
            line("layer", ["", &layer.name, ""], &layer.group)?;
        }
        for kind in &model.kinds {
            line("kind", ["", "", &kind.name], &kind.group)?;
        }
        for tensor in &model.tensors {
            line("tensor", [&tensor.name, &tensor.layer, &tensor.kind], &tensor.group)?;
        }
    }
    let bytes = out.into_inner().map_err(|e| failed(e.into_error().into()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
