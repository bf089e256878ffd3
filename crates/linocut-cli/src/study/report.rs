//! What a study found, as a page and as text.

use super::StudyArgs;
use super::charts;
use crate::flags::{self, quoted};
use crate::measure::charts::heat_map;
use crate::measure::page::{contents, escaped, figure, head, heading};
use crate::output::aligned;
use indicatif::HumanCount;
use linocut::closeness::{Distance, ModelReport, Overlap};
use linocut::output::in_words;
use linocut::study::{
    Advice, Critical, DRAWS, OverTasks, Pair, Paired, Row, Sampled, Setting, Signals, Summary,
    TaskSummary,
};
use std::fmt::Write as _;

/// A heading with what stands under it.
pub(super) struct Section {
    title: String,
    /// Paragraphs, each with a command to type where there is one.
    text: Vec<(String, Option<String>)>,
    /// Header and rows of cells.
    tables: Vec<Vec<Vec<String>>>,
    /// Title and SVG; on the page only.
    charts: Vec<(String, String)>,
}

impl Section {
    fn new(title: impl Into<String>) -> Self {
        let title = title.into();
        Self { title, text: Vec::new(), tables: Vec::new(), charts: Vec::new() }
    }
}

/// Everything, in reading order.
pub(super) fn sections(
    args: &StudyArgs,
    setting: &Setting,
    summary: &Summary,
    advice: &[Advice],
) -> Vec<Section> {
    let mut first = Section::new(format!("Study of {}", setting.base));
    let epochs = setting.epochs.map_or("epochs as train chooses".into(), |n| format!("{n} epochs"));
    let limit = setting.limit.map_or(String::new(), |n| format!(", at most {n} rows of each file"));
    first.text.push((
        format!(
            "Scores in points on the tasks' dev rows; {} pooling, {epochs}{limit}. Mean ± deviation over the \
             seeds that an arm has; differences to arm full are over the seeds that both have, with a 95% interval \
             (Student's t) over seeds, and over tasks where it says so. One seed has neither. Arms of unequal seeds \
             compare by that difference, not by their means.",
            setting.pooling
        ),
        None,
    ));
    first.text.push((
        "No run was selected by these rows. But whoever takes the arm that scores best here selects by them, and so did \
         whoever chose linocut's defaults where these tasks were at hand: expect somewhat less on other rows. An interval \
         over seeds does not say how other rows or another task would come out; one over tasks says what a task like \
         these may see."
            .into(),
        None,
    ));
    let mut advised = Section::new("Advice");
    advised.text =
        advice.iter().map(|one| (format!("{}.", one.text), command(one, args, setting))).collect();
    let mut sections = vec![first, advised];
    if summary.tasks.len() > 1 {
        let mut section = Section::new("Mean of the tasks");
        section.text.push(("Arms and seeds that have run on every task.".into(), None));
        section.tables.push(table(&summary.all));
        if !summary.over_tasks.is_empty() {
            section.tables.push(over_tasks(&summary.over_tasks));
        }
        section.charts = plots("mean of the tasks", &summary.all);
        section.text.extend(summary.sampled.as_ref().map(|found| (sampled(found), None)));
        sections.push(section);
    }
    for task in &summary.tasks {
        let mut section = Section::new(title(task));
        section.tables.push(table(&task.rows));
        section.charts = plots(&task.name, &task.rows);
        let Critical { layers, kinds, .. } = &task.critical;
        let known = |s: &Signals| s.movement.or(s.alone).or(s.left_out).is_some();
        if layers.iter().any(known) {
            section.tables.extend([signals("layer", layers), signals("kind", kinds)]);
            section.text.extend(task.closeness.as_ref().and_then(moved).map(|text| (text, None)));
            section.text.extend(correlations(&task.critical).map(|text| (text, None)));
            let title = format!(
                "Points that a layer or kind gains over the head when trained alone, and loses when left out, {}",
                task.name
            );
            section.charts.push((title, charts::gains(&[&layers[..], kinds].concat())));
        }
        section.text.extend(task.sampled.as_ref().map(|found| (sampled(found), None)));
        if let Some(closeness) = &task.closeness {
            let title = format!(
                "Angular distance of the first full fine-tune by layer and kind, as stored, {}",
                task.name
            );
            section.charts.push((title, heat_map(closeness, Distance::Angular)));
        }
        sections.push(section);
    }
    if !summary.overlaps.is_empty() {
        sections.push(overlaps(summary));
    }
    sections
}

/// The task's name and that of its score, which is unknown before a run.
fn title(task: &TaskSummary) -> String {
    match task.metric.replace('_', " ") {
        metric if metric.is_empty() => task.name.clone(),
        metric => format!("{} ({metric})", task.name),
    }
}

/// The whole command that the advice comes down to.
fn command(advice: &Advice, args: &StudyArgs, setting: &Setting) -> Option<String> {
    let (task, method) = (advice.task.as_ref()?, advice.train.as_ref()?);
    let flags = flags::of_method(method);
    let folder = &setting.tasks.get(task)?.folder;
    let mut rows = args.rows.flags();
    if !folder.as_os_str().is_empty() {
        rows = format!(" --task {}{rows}", quoted(&folder.display().to_string()));
    }
    let out = quoted(&format!("{task}.cut"));
    let mut more = setting.epochs.map_or(String::new(), |n| format!(" --epochs {n}"));
    if args.pooling.is_some() {
        more += &format!(" --pooling {}", setting.pooling);
    }
    let base = quoted(&args.base.base);
    Some(format!("linocut train --base {base}{rows} {flags}{more} --out {out}"))
}

fn points(share: f64) -> String {
    format!("{:.1}", (1000.0 * share).round() / 10.0 + 0.0) // no zero is negative
}

/// `-0.8 (-1.6 to 0.0)`
fn interval(paired: &Paired) -> String {
    let mean = paired.mean;
    match paired.half {
        None => points(mean),
        Some(half) => {
            format!("{} ({} to {})", points(mean), points(mean - half), points(mean + half))
        }
    }
}

fn table(rows: &[Row]) -> Vec<Vec<String>> {
    let header = ["arm", "trains", "score", "to full", "seeds", "zeros", "trained", "cut"];
    let mut table = vec![header.map(String::from).to_vec()];
    for row in rows {
        let deviation = row.deviation.map_or(String::new(), |d| format!(" ± {}", points(d)));
        let failed =
            if row.failed > 0 { format!(" ({} failed)", row.failed) } else { String::new() };
        table.push(vec![
            row.arm.clone(),
            row.about.clone(),
            format!("{}{deviation}", points(row.mean)),
            row.to_full.as_ref().filter(|_| row.arm != "full").map_or("·".into(), interval),
            format!("{}{failed}", row.seeds),
            row.sparsity.map_or("·".into(), |s| format!("{:.2}%", 100.0 * s)),
            HumanCount(row.trained).to_string(),
            in_words(row.bytes as u64),
        ]);
    }
    table
}

/// Differences to full by task: what another task may see.
fn over_tasks(arms: &[OverTasks]) -> Vec<Vec<String>> {
    let header = ["arm", "tasks", "to full, over tasks", "deviation", "worst task"];
    let mut table = vec![header.map(String::from).to_vec()];
    table.extend(arms.iter().map(|OverTasks { arm, to_full, deviation, worst, .. }| {
        let worst = format!("{} ({})", points(worst.1), worst.0);
        let deviation = deviation.map_or("·".into(), points);
        vec![arm.clone(), to_full.pairs.to_string(), interval(to_full), deviation, worst]
    }));
    table
}

fn signals(what: &str, all: &[Signals]) -> Vec<Vec<String>> {
    let header = [what, "moved in full (angular)", "gain alone", "loss left out"];
    let mut table = vec![header.map(String::from).to_vec()];
    let cell = |value: Option<f64>| value.map_or("·".into(), points);
    table.extend(all.iter().map(|one| {
        let moved = one.movement.map_or("·".into(), |x| format!("{x:.5}"));
        vec![one.name.clone(), moved, cell(one.alone), cell(one.left_out)]
    }));
    table
}

/// How far the first full fine-tune moved beside how far random initialisations are apart.
fn moved(closeness: &ModelReport) -> Option<String> {
    let (moved, random) = (closeness.all.figures.angular?, closeness.all.baseline?.angular?);
    Some(format!(
        "The first full fine-tune moved by {moved:.4} in all (angular, 0 to 1); two random initialisations are \
         {random:.1} apart, {:.0} times as far.",
        random / moved
    ))
}

/// None before there is one.
fn correlations(critical: &Critical) -> Option<String> {
    critical.correlations.iter().find(|r| r.is_some())?;
    let shown = |r: Option<f64>| r.map_or("unknown".into(), |r| format!("{r:.2}"));
    let [a, b, c] = critical.correlations.map(shown);
    Some(format!(
        "Rank correlation (Spearman) of the layers' movement with the gain of a layer trained alone: {a}; \
         with the loss when it is left out: {b}; of these two: {c}."
    ))
}

/// Charts of the arms, with what they are `of` in their titles.
fn plots(of: &str, rows: &[Row]) -> Vec<(String, String)> {
    let mut plots = vec![
        (
            format!(
                "Score of each arm, {of}: its deviation as a line, in red what a mask is to beat"
            ),
            charts::ranking(rows),
        ),
        (format!("Score by bytes of a cut, {of}"), charts::by_bytes(rows)),
    ];
    if rows.iter().any(|row| row.sparsity.is_some()) {
        plots.push((format!("Score by share of zeros, {of}"), charts::by_sparsity(rows)));
    }
    plots
}

/// Score with drawn masks beside that with the mask as stored.
fn sampled(sampled: &Sampled) -> String {
    format!(
        "Arm mask with every entry kept with its probability, as in training, instead of the mask as stored: {} \
         (mean of {DRAWS} draws); the mask as stored scores {} over that.",
        points(sampled.mean),
        interval(&sampled.thresholded_over)
    )
}

fn overlaps(summary: &Summary) -> Section {
    let mut section = Section::new("Overlap of masks");
    section.text.push((
        "Zeros that two masks of arm mask share, over those that either has (Jaccard), beside what random masks \
         would share that have as many zeros among entries of like magnitude (by chance), since zeros fall on large entries. \
         By density: random masks of the same density in each matrix. By layer and kind: means over the pairs. Masks of two \
         tasks are of different seeds where there are: equal seeds draw the same numbers."
            .into(),
        None,
    ));
    let header = ["one", "other", "Jaccard", "by chance", "times chance", "by density"];
    let mut table = vec![header.map(String::from).to_vec()];
    let name = |(task, seed): &(String, u64)| format!("{task}, seed {seed}");
    for pair in &summary.overlaps {
        let mut row = vec![name(&pair.first), name(&pair.second)];
        row.extend(beside_chance(&[&pair.overlap]));
        row.push(pair.overlap.chance.map_or("·".into(), |chance| format!("{chance:.4}")));
        table.push(row);
    }
    section.tables.push(table);
    section.tables.extend(by_place(&summary.overlaps));
    section.charts.push((
        "Jaccard of every two masks, and how many times what chance gives".into(),
        charts::overlap(&summary.overlaps),
    ));
    section
}

/// Mean Jaccard, mean by chance, and how many times one is the other.
fn beside_chance(overlaps: &[&Overlap]) -> [String; 3] {
    let both =
        overlaps.iter().filter_map(|overlap| overlap.jaccard.zip(overlap.chance_by_magnitude));
    let (jaccard, chance): (Vec<f64>, Vec<f64>) = both.unzip();
    if jaccard.is_empty() {
        return ["·".into(), "·".into(), "·".into()];
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (jaccard, chance) = (mean(&jaccard), mean(&chance));
    [
        format!("{jaccard:.4}"),
        format!("{chance:.4}"),
        if chance > 0.0 { format!("{:.1}", jaccard / chance) } else { "·".into() },
    ]
}

/// The overlaps by layer and kind: of one task's masks with different seeds, and of two tasks'.
fn by_place(pairs: &[Pair]) -> Option<Vec<Vec<String>>> {
    let (seeds, tasks): (Vec<&Pair>, Vec<&Pair>) =
        pairs.iter().partition(|pair| pair.first.0 == pair.second.0);
    let groups = [("two seeds", seeds), ("two tasks", tasks)];
    let groups: Vec<_> = groups.into_iter().filter(|(_, pairs)| !pairs.is_empty()).collect();
    let mut header = vec!["layer or kind".to_string()];
    for (name, _) in &groups {
        header.extend(["Jaccard", "by chance", "times"].map(|column| format!("{name}: {column}")));
    }
    let mut table = vec![header];
    // All pairs name the same layers and kinds, unless a mask keeps all of one.
    let places = |pair: &Pair| [&pair.places.layers, &pair.places.kinds].map(Clone::clone).concat();
    for (name, _) in places(pairs.first()?) {
        let mut row = vec![name.clone()];
        for (_, pairs) in &groups {
            let all: Vec<(String, Overlap)> = pairs.iter().flat_map(|pair| places(pair)).collect();
            let of = all.iter().filter(|(other, _)| *other == name).map(|(_, overlap)| overlap);
            row.extend(beside_chance(&of.collect::<Vec<_>>()));
        }
        table.push(row);
    }
    Some(table)
}

/// `study.md`
pub(super) fn markdown(sections: &[Section]) -> String {
    let mut text = String::new();
    for (i, section) in sections.iter().enumerate() {
        let _ = writeln!(text, "{} {}\n", if i == 0 { "#" } else { "##" }, section.title);
        for (paragraph, command) in &section.text {
            let _ = writeln!(text, "{paragraph}\n");
            if let Some(command) = command {
                let _ = writeln!(text, "```sh\n{command}\n```\n");
            }
        }
        for table in &section.tables {
            for (i, row) in table.iter().enumerate() {
                let cells: Vec<String> = row.iter().map(|c| c.replace('|', "\\|")).collect();
                let _ = writeln!(text, "| {} |", cells.join(" | "));
                if i == 0 {
                    let _ = writeln!(text, "|---{}|", "|--:".repeat(row.len() - 1));
                }
            }
            text.push('\n');
        }
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

/// Headers of second columns that hold words.
const WORDS: [&str; 3] = ["trains", "other", "predicted"];
/// For pages with such tables.
pub(crate) const LEFT: &str = ".words tr>:nth-child(2){text-align:left}";

/// `study.html`: needs no network and no script.
pub(super) fn page(sections: &[Section]) -> String {
    let title = sections.first().map_or("", |s| &s.title);
    let mut page = head(title, LEFT);
    for (i, section) in sections.iter().enumerate() {
        match i {
            0 => page += &format!("<h1>{}</h1>\n", escaped(&section.title)),
            _ => page += &heading(i - 1, &section.title),
        }
        for (paragraph, command) in &section.text {
            let _ = writeln!(page, "<p>{}</p>", escaped(paragraph));
            if let Some(command) = command {
                let _ = writeln!(page, "<pre>{}</pre>", escaped(command));
            }
        }
        if i == 0 {
            page += &contents(sections[1..].iter().map(|section| section.title.as_str()));
        }
        for table in &section.tables {
            page += &html_table(table);
        }
        for (title, chart) in section.charts.iter().filter(|(_, chart)| !chart.is_empty()) {
            page += &figure(title, chart);
        }
    }
    page + "</main></body></html>\n"
}

/// Cells as a table, the first row its header; columns of words go to the left.
pub(crate) fn html_table(table: &[Vec<String>]) -> String {
    let words = table.first().is_some_and(|header| WORDS.contains(&&header[1][..]));
    let mut text = String::from(if words { "<table class=\"words\">" } else { "<table>" });
    for (i, row) in table.iter().enumerate() {
        text += if i == 0 { "<thead><tr>" } else { "<tr>" };
        for (c, cell) in row.iter().enumerate() {
            let _ = match (i, c) {
                (0, _) => write!(text, "<th scope=\"col\">{}</th>", escaped(cell)),
                (_, 0) => write!(text, "<th scope=\"row\">{}</th>", escaped(cell)),
                _ => write!(text, "<td>{}</td>", escaped(cell)),
            };
        }
        text += if i == 0 { "</tr></thead><tbody>\n" } else { "</tr>\n" };
    }
    text + "</tbody></table>\n"
}

/// Advice and tables for the terminal.
pub(super) fn text(summary: &Summary, advice: &[Advice], args: &StudyArgs) -> String {
    let mut text = String::new();
    let short = |rows: &[Row]| -> String {
        // What an arm trains stands in study.md.
        let table = table(rows).into_iter().map(|mut row| {
            row.remove(1);
            row
        });
        aligned(&table.collect::<Vec<_>>())
    };
    for task in &summary.tasks {
        text += &format!("{}\n{}\n", title(task), short(&task.rows));
    }
    if summary.tasks.len() > 1 {
        text += &format!("mean of the tasks\n{}\n", short(&summary.all));
    }
    for one in advice {
        text += &format!("{}.\n", one.text);
        if let Some(method) = &one.train {
            text += &format!("  linocut train {}\n", flags::of_method(method));
        }
    }
    text + &format!(
        "\n{}, study.md and study.jsonl beside it\n",
        args.out.join("study.html").display()
    )
}
