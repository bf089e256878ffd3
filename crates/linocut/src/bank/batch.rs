//! Who shares which rows: texts that many tasks read are computed once until the tasks part.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::task::{Change, Task};

/// The rows of one text that some tasks share so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stream {
    /// Which text of the batch.
    pub(super) text: usize,
    /// Which tasks of the batch, ascending; at least one.
    pub(super) tasks: Vec<usize>,
}

/// Streams in the order of their rows: shared ones first, then task by task, so that the rows of
/// one task stand together.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    pub(super) list: Vec<Stream>,
    /// Cumulative rows, `[streams + 1]`.
    pub(super) offsets: Vec<usize>,
}

/// What a fork made of some streams.
pub(super) struct Fork {
    pub(super) streams: Streams,
    /// The stream that each came from.
    pub(super) from: Vec<usize>,
}

/// Adjacent rows that one version of a matrix applies to.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    pub(super) change: Option<&'a Arc<Change>>,
    /// Rows before the fork.
    pub(super) from: Range<usize>,
    /// Rows after it.
    pub(super) rows: Range<usize>,
}

impl Streams {
    /// Streams of these lengths in rows.
    pub(super) fn new(mut list: Vec<Stream>, rows: impl Fn(&Stream) -> usize) -> Self {
        list.sort_by_key(|s| (s.tasks.len() == 1, s.tasks[0], s.text));
        let mut offsets = vec![0];
        for stream in &list {
            offsets.push(offsets[offsets.len() - 1] + rows(stream));
        }
        Self { list, offsets }
    }

    /// Number of rows.
    pub(super) fn rows(&self) -> usize {
        self.offsets[self.list.len()]
    }

    /// Rows of stream `i`.
    pub(super) fn range(&self, i: usize) -> Range<usize> {
        self.offsets[i]..self.offsets[i + 1]
    }

    /// The same streams, with `single` of one row each.
    pub(super) fn of(&self, single: bool) -> Cow<'_, Self> {
        if !single {
            return Cow::Borrowed(self);
        }
        Cow::Owned(Self { list: self.list.clone(), offsets: (0..=self.list.len()).collect() })
    }

    /// Parts tasks that change these parts differently; `None` where every stream stays whole.
    pub(super) fn fork(&self, parts: &[usize], tasks: &[Arc<Task>]) -> Option<Fork> {
        let key = |task: usize| -> Vec<_> {
            parts.iter().map(|&part| tasks[task].change(part).map(Arc::as_ptr)).collect()
        };
        self.part_by(key)
    }

    /// Parts tasks of different `key`; `None` where every stream stays whole.
    fn part_by<K: std::hash::Hash + Eq>(&self, key: impl Fn(usize) -> K) -> Option<Fork> {
        let mut parted: Vec<(Stream, usize)> = Vec::new();
        for (from, stream) in self.list.iter().enumerate() {
            let mut place = HashMap::new();
            for &task in &stream.tasks {
                let at = *place.entry(key(task)).or_insert(parted.len());
                if at == parted.len() {
                    parted.push((Stream { text: stream.text, tasks: vec![] }, from));
                }
                parted[at].0.tasks.push(task);
            }
        }
        if parted.len() == self.list.len() {
            return None;
        }
        Some(self.forked(parted))
    }

    /// The streams of the tasks that `keep` keeps.
    pub(super) fn only(&self, keep: impl Fn(usize) -> bool) -> Fork {
        let kept = self.list.iter().enumerate().filter_map(|(from, stream)| {
            let tasks: Vec<usize> = stream.tasks.iter().copied().filter(|&t| keep(t)).collect();
            (!tasks.is_empty()).then_some((Stream { text: stream.text, tasks }, from))
        });
        self.forked(kept.collect())
    }

    /// The fork into these streams, each with the one it came from.
    fn forked(&self, parted: Vec<(Stream, usize)>) -> Fork {
        let from: HashMap<(usize, usize), usize> =
            parted.iter().map(|(s, from)| ((s.text, s.tasks[0]), *from)).collect();
        let list = parted.into_iter().map(|(stream, _)| stream).collect();
        let from = |stream: &Stream| from[&(stream.text, stream.tasks[0])];
        let streams = Streams::new(list, |stream| self.range(from(stream)).len());
        let from = streams.list.iter().map(from).collect();
        Fork { streams, from }
    }

    /// Adjacent rows with the same change to `part`. All tasks of a stream make the
    /// same one. `before` and `from` are as the last fork left them, of streams that it parted.
    pub(super) fn pieces<'a>(
        &self,
        part: usize,
        tasks: &'a [Arc<Task>],
        before: Option<(&Streams, &[usize])>,
    ) -> Vec<Piece<'a>> {
        let mut pieces: Vec<Piece<'a>> = Vec::new();
        for (i, stream) in self.list.iter().enumerate() {
            let change = tasks[stream.tasks[0]].change(part);
            let rows = self.range(i);
            let from = before.map_or(rows.clone(), |(before, from)| before.range(from[i]));
            match pieces.last_mut() {
                Some(last) if same(last.change, change) && last.from.end == from.start => {
                    last.from.end = from.end;
                    last.rows.end = rows.end;
                }
                _ => pieces.push(Piece { change, from, rows }),
            }
        }
        pieces
    }

    /// Adjacent rows whose tasks change all of `parts` alike, each with one of the tasks.
    pub(super) fn runs(&self, parts: &[usize], tasks: &[Arc<Task>]) -> Vec<(Range<usize>, usize)> {
        let mut runs: Vec<(Range<usize>, usize)> = Vec::new();
        for (i, stream) in self.list.iter().enumerate() {
            let task = stream.tasks[0];
            let alike = |other: usize| {
                parts.iter().all(|&p| same(tasks[task].change(p), tasks[other].change(p)))
            };
            match runs.last_mut() {
                Some((rows, other)) if task == *other || alike(*other) => {
                    rows.end = self.offsets[i + 1];
                }
                _ => runs.push((self.range(i), task)),
            }
        }
        runs
    }
}

/// Whether two changes are one.
fn same(a: Option<&Arc<Change>>, b: Option<&Arc<Change>>) -> bool {
    a.map(Arc::as_ptr) == b.map(Arc::as_ptr)
}
