//! The progress bar of a training run, on standard error.

use crate::flags;
use crate::output::say;
use crate::time;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use linocut::tune::metrics::percent;
use linocut::tune::{Event, Trial};
use std::time::{Duration, Instant};

/// A bar on standard error, hidden if `quiet`.
pub(crate) fn plain(quiet: bool, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, target(quiet));
    bar.set_style(style(template));
    bar
}

/// Room for several bars on standard error, hidden if `quiet`.
pub(crate) fn bars(quiet: bool) -> MultiProgress {
    MultiProgress::with_draw_target(target(quiet))
}

fn target(quiet: bool) -> ProgressDrawTarget {
    if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(5) }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("█▉▊▋▌▍▎▏ ")
}

/// How long steps are watched before it is said how long the others take, and from what time on that is said.
const TIMED: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(60);

/// Shows a run's events.
pub(crate) struct Progress {
    bar: ProgressBar,
    quiet: bool,
    /// Running mean of the loss.
    loss: Option<f64>,
    sparsity: Option<f64>,
    tokens: usize,
    started: Instant,
    /// Time spent in frozen layers and steps, and tokens of the steps, for the JSON result.
    pub steps_time: Duration,
    pub steps_tokens: usize,
    last: Option<Instant>,
    /// When the steps began, and at which; nothing once it is known how long they take.
    timed: Option<(Instant, usize)>,
    /// Whether it was said how long the texts are.
    told: bool,
    /// Whether it was said that the state cannot be saved.
    unsaved: bool,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        Self::of(ProgressBar::with_draw_target(None, target(quiet)), quiet)
    }

    /// One of several.
    pub(crate) fn among(bars: &MultiProgress) -> Self {
        // Whether they are hidden is up to all of them; lines are theirs to print, too.
        Self::of(bars.add(ProgressBar::no_length()), true)
    }

    fn of(bar: ProgressBar, quiet: bool) -> Self {
        Self {
            bar,
            quiet,
            loss: None,
            sparsity: None,
            tokens: 0,
            started: Instant::now(),
            steps_time: Duration::ZERO,
            steps_tokens: 0,
            last: None,
            timed: None,
            told: false,
            unsaved: false,
        }
    }

    fn begin(&mut self, template: &str, at: usize, of: usize) {
        self.bar.set_style(style(template));
        self.bar.set_length(of as u64);
        self.bar.reset();
        self.bar.set_position(at as u64);
        self.started = Instant::now();
    }

    /// Shows one event.
    pub(crate) fn show(&mut self, event: Event) {
        match event {
            Event::Tokens(lengths) => {
                // Folds and trials are of the same texts.
                if !std::mem::replace(&mut self.told, true) {
                    self.say(&lengths.in_words());
                }
            }
            Event::Trunk { done, rows } => {
                if done == 0 {
                    self.begin("frozen layers {wide_bar} {pos}/{len} rows, {eta} left", 0, rows);
                    self.last = Some(Instant::now());
                }
                if let Some(last) = self.last.replace(Instant::now()) {
                    self.steps_time += last.elapsed();
                }
                self.bar.set_position(done as u64);
            }
            Event::Choosing { step, steps } => {
                if step == 0 {
                    let template = "what is needed {wide_bar} {pos}/{len} steps  {eta} left";
                    self.begin(template, 0, steps);
                    self.last = Some(Instant::now());
                }
                self.bar.set_position(step as u64);
            }
            Event::Fold { fold, folds } => self.say(&format!("fold {} of {folds}", fold + 1)),
            Event::Tried(Trial { change, score, .. }) => {
                let what: Vec<String> =
                    change.iter().map(|(name, value)| flags::of_choice(name, value)).collect();
                let what = if what.is_empty() { "as it is".into() } else { what.join(" ") };
                self.say(&format!("tried {what}: {}", percent(score)));
            }
            Event::Start { step, steps, .. } => {
                let template = "training {wide_bar} {pos}/{len} steps  {msg}  {eta} left";
                self.begin(template, step, steps);
                self.last = Some(Instant::now());
                self.timed = self.last.map(|now| (now, step));
            }
            Event::Step { step, loss, tokens, sparsity } => {
                let before = self.loss.unwrap_or(loss);
                self.loss = Some(0.95 * before + 0.05 * loss);
                self.sparsity = sparsity.or(self.sparsity);
                self.tokens += tokens;
                if let Some(last) = self.last.replace(Instant::now()) {
                    self.steps_time += last.elapsed();
                    self.steps_tokens += tokens;
                }
                let rate = self.tokens as f64 / self.started.elapsed().as_secs_f64();
                let mut message =
                    format!("loss {:.3}  {rate:.0} tokens/s", self.loss.unwrap_or(0.0));
                if let Some(sparsity) = self.sparsity {
                    message += &format!("  {:.2}% zeros", 100.0 * sparsity);
                }
                self.bar.set_message(message);
                self.bar.set_position(step as u64);
                self.guess(step);
            }
            Event::Evaluated { step, score, held_out } => {
                let rows = if held_out { "held-out rows" } else { "dev rows" };
                self.say(&format!("step {step}: {} on {rows}", percent(score)));
                self.last = Some(Instant::now());
            }
            Event::Saved { .. } => self.last = Some(Instant::now()),
            Event::Unsaved { step, why } => {
                // Once is enough, quiet or not: training goes on.
                if !std::mem::replace(&mut self.unsaved, true) {
                    let line = format!("warning: no state of step {step} is kept: {why}");
                    self.bar.suspend(|| say(&line));
                }
                self.last = Some(Instant::now());
            }
        }
    }

    /// Says once how long the steps will take, if that is long.
    fn guess(&mut self, step: usize) {
        let Some((began, first)) = self.timed else { return };
        let (taken, steps) = (step - first, self.bar.length().unwrap_or(0) as usize);
        if began.elapsed() < TIMED || taken < 2 {
            return;
        }
        self.timed = None;
        let left = steps.saturating_sub(step);
        let time = began.elapsed().mul_f64(left as f64 / taken as f64);
        if time > LONG {
            self.say(&format!("about {} for the {left} steps that are left", time::shown(time)));
        }
    }

    /// Prints a line above the bar.
    pub(crate) fn say(&self, line: &str) {
        if !self.quiet {
            self.bar.suspend(|| say(line));
        }
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
