//! What the runs of a study come down to, in plain sentences.

use super::arms::{Arm, Trains};
use super::folder::Folder;
use super::grid::StudyTask;
use super::stats::Paired;
use super::summary::{Row, Summary, summarise};
use crate::Result;
use crate::model::Base;
use crate::tune::Method;
use serde::Serialize;

/// One conclusion.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Advice {
    /// The task it is of; none for all together.
    pub task: Option<String>,
    /// What was found.
    pub text: String,
    /// What to train for it; none where there is nothing to do.
    pub train: Option<Method>,
}

/// A lower score that still counts as a plateau.
const PLATEAU: f64 = 0.02;

/// What the runs in `folder` on `tasks` of `base` come down to, also of arms that are not asked for now. `within` is
/// the loss against `full` that is accepted, as a share: 0.005 is half a point.
///
/// # Errors
/// A cut that cannot be read.
pub fn conclude(
    folder: &Folder,
    tasks: &[StudyTask],
    base: &Base,
    within: f64,
) -> Result<(Summary, Vec<Advice>)> {
    let names: Vec<String> = tasks.iter().map(|task| task.train.name.clone()).collect();
    let arms = Arm::known(&base.encoder, folder.records());
    let summary = summarise(folder, &names, &arms, &base.folder, base.config().own_layers)?;
    let model = 4 * base.encoder.layout().len() as u64;
    let advice = advise(&summary, &arms, within, model);
    Ok((summary, advice))
}

/// Concludes from `summary`. `within` is the loss against `full` that is accepted, as a share: 0.005
/// is half a point; `model` are the bytes of a whole model.
pub fn advise(summary: &Summary, arms: &[Arm], within: f64, model: u64) -> Vec<Advice> {
    let mut advice = Vec::new();
    if summary.tasks.len() > 1 {
        let rows = (&summary.all[..], summary.mask_over_random);
        of_rows(None, rows, arms, within, &mut advice);
    }
    advice.extend(over_tasks(summary, within));
    let rows = match &summary.tasks[..] {
        [task] => &task.rows,
        _ => &summary.all,
    };
    advice.extend(storage(rows, model));
    for task in &summary.tasks {
        let name = Some(task.name.clone());
        of_rows(name, (&task.rows[..], task.mask_over_random), arms, within, &mut advice);
    }
    advice
}

/// The method of the arm of `row`, if `train` offers it.
fn method<'a>(row: &Row, arms: &'a [Arm]) -> Option<&'a Method> {
    match &arms.iter().find(|arm| arm.name == row.arm)?.trains {
        Trains::Method(method) => Some(method),
        _ => None,
    }
}

fn of_rows(
    name: Option<String>,
    (rows, over_random): (&[Row], Option<Paired>),
    arms: &[Arm],
    within: f64,
    advice: &mut Vec<Advice>,
) {
    let place = name.clone().unwrap_or_else(|| "The mean of the tasks".into());
    let mut say = |text: String, train: Option<&Method>| {
        advice.push(Advice { task: name.clone(), text, train: train.cloned() });
    };
    let row = |arm: &str| rows.iter().find(|row| row.arm == arm);
    let Some(full) = row("full") else {
        say(
            format!(
                "{place}: arm full has not run, and without it there is nothing to compare with"
            ),
            None,
        );
        return;
    };
    let loss = |row: &Row| row.to_full.map(|d| -d.mean);
    let most = 100.0 * within;
    let most = format!("{most} point{}", if most == 1.0 { "" } else { "s" });
    let offered = |row: &&Row| row.arm != "full" && method(row, arms).is_some();
    let near = |loses: f64| {
        rows.iter().filter(offered).filter(move |r| loss(r).is_some_and(|l| l <= loses))
    };

    match near(within).min_by(|a, b| a.bytes.total_cmp(&b.bytes)) {
        Some(best) => say(
            format!(
                "{place}: the smallest cut within {most} of full is {} ({}): {} for {}, beside {} of full{}",
                best.arm,
                best.about,
                shown(best),
                bytes(best.bytes),
                bytes(full.bytes),
                certainty(best, within)
            ),
            method(best, arms),
        ),
        None => {
            // By the difference on the same seeds: an arm may have others than full.
            let gain = |r: &Row| r.to_full.map_or(f64::NEG_INFINITY, |d| d.mean);
            let nearest = rows.iter().filter(offered).filter(|r| r.to_full.is_some());
            let nearest = nearest.max_by(|a, b| gain(a).total_cmp(&gain(b)));
            let nearest = nearest.map_or(String::new(), |r| {
                format!("; the best is {}, {}{}", r.arm, shown(r), certainty(r, within))
            });
            say(format!("{place}: no arm comes within {most} of full{nearest}"), None);
        }
    }
    // Arms that train whole tensors, as claim C2 is about.
    let tensors = |row: &&Row| matches!(method(row, arms), Some(Method::Layers(_) | Method::Bias));
    if let Some(fewest) = near(within).filter(tensors).min_by_key(|row| row.trained)
        && fewest.trained < full.trained
    {
        say(
            format!(
                "{place}: of the arms that train whole tensors, {} ({}) is within {most} of full with {:.0}% fewer trained encoder parameters{}",
                fewest.arm,
                fewest.about,
                100.0 * (1.0 - fewest.trained as f64 / full.trained as f64),
                certainty(fewest, within)
            ),
            method(fewest, arms),
        );
    }
    let masked = |row: &&Row| matches!(method(row, arms), Some(Method::Mask { .. }));
    if let Some(most) = near(PLATEAU)
        .filter(masked)
        .max_by(|a, b| a.sparsity.unwrap_or(0.0).total_cmp(&b.sparsity.unwrap_or(0.0)))
    {
        say(
            format!(
                "{place}: masks stay within 2 points of full up to {:.1}% zeros ({}), as far as was tried{}",
                100.0 * most.sparsity.unwrap_or(0.0),
                most.arm,
                certainty(most, PLATEAU)
            ),
            method(most, arms),
        );
    }
    if let Some(over) = over_random {
        let text = match over.half {
            None => "by one seed".into(),
            Some(half) => {
                let (low, high) = (points(over.mean - half), points(over.mean + half));
                let so = match over.is_above_zero() {
                    true => "which entries are zero matters",
                    false => "which does not show that it matters which entries are zero",
                };
                format!("95% interval {low} to {high}: {so}")
            }
        };
        let mean = points(over.mean);
        say(format!("{place}: mask scores {mean} points over as many random zeros, {text}"), None);
    }
}

/// How masks score beside full fine-tuning on the tasks there are, and whether that shows that another
/// task may expect as much: only if the whole interval over tasks is within `within`.
fn over_tasks(summary: &Summary, within: f64) -> Option<Advice> {
    let mask = summary.over_tasks.iter().find(|arm| arm.arm == "mask")?;
    let Paired { pairs, mean, half } = mask.to_full;
    let half = half?;
    let so = match mean - half >= -within {
        true => format!("masks score as full does, within {}", points(within)),
        false => {
            format!("this does not show that masks score as full does within {}", points(within))
        }
    };
    let (task, worst) = (&mask.worst.0, points(mask.worst.1));
    let text = format!(
        "Over the {pairs} tasks mask is {} to full, 95% interval over tasks {} to {}, the worst {worst} ({task}): {so}",
        points(mean),
        points(mean - half),
        points(mean + half),
    );
    Some(Advice { task: None, text, train: None })
}

/// What a mask takes beside whatever else would hold the task.
fn storage(rows: &[Row], model: u64) -> Option<Advice> {
    let mask = rows.iter().find(|row| row.arm == "mask")?;
    let others =
        rows.iter().filter(|r| ["top-", "lora-", "full"].iter().any(|a| r.arm.starts_with(a)));
    let others: String = others.map(|r| format!(", arm {} {}", r.arm, bytes(r.bytes))).collect();
    let text = format!(
        "A task of arm mask takes {}; with raw bitmaps for its zeros it would take {}{others}, a model of its own {}",
        bytes(mask.bytes),
        bytes(mask.bitmap_bytes?),
        bytes(model as f64)
    );
    Some(Advice { task: None, text, train: None })
}

fn shown(row: &Row) -> String {
    points(row.mean)
}

/// A share in points; no zero is negative.
fn points(share: f64) -> String {
    format!("{:.1}", (1000.0 * share).round() / 10.0 + 0.0)
}

/// How sure the difference of `row` to full is, where `within` is accepted.
fn certainty(row: &Row, within: f64) -> String {
    let Some(Paired { mean, half, .. }) = row.to_full else { return String::new() };
    let Some(half) = half else { return format!("; {} to full, by one seed", points(mean)) };
    let interval = format!("{} to {}", points(mean - half), points(mean + half));
    let open = if mean - half < -within { ", which leaves it open: more seeds tell" } else { "" };
    format!("; {} to full, 95% interval {interval}{open}", points(mean))
}

fn bytes(n: f64) -> String {
    match n {
        n if n < 1e6 => format!("{:.0} KB", n / 1e3),
        n => format!("{:.1} MB", n / 1e6),
    }
}
