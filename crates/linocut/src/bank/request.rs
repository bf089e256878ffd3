//! What is asked of a bank and what it answers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rayon::prelude::*;

use super::batch::Stream;
use super::{Bank, Task};
use crate::data::{Encoding, Extent, means};

use crate::nearest::nearest;
use crate::{Error, ErrorKind, Result};

/// One text, or a pair of texts, and the tasks asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The text.
    pub text: String,
    /// The second text, for tasks on pairs.
    pub pair: Option<String>,
    /// Names of tasks of the bank.
    pub tasks: Vec<String>,
}

/// What one task says of one text.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Answer {
    /// The task, in the version that answered.
    pub task: Arc<Task>,
    /// One for each of the task's outputs.
    pub logits: Vec<f32>,
    /// Tokens read.
    pub tokens: usize,
    /// Whether the text was longer than the task reads.
    pub text_cut: bool,
}

/// A task, and what it reads of a text: one sequence, or of a longer text in windows some.
type Ask = (Arc<Task>, Arc<[Encoding]>);

/// A request in tokens, as each of its tasks reads it; holds the tasks as they were then.
#[derive(Debug, Clone)]
pub struct Query {
    pub(super) asks: Vec<Ask>,
}

impl Query {
    /// One sequence asked of one task.
    pub fn of(task: Arc<Task>, sequence: Encoding) -> Self {
        Self { asks: vec![(task, [sequence].into())] }
    }

    /// Tokens of the text, counted once for every task: what the query weighs in a batch.
    pub fn tokens(&self) -> usize {
        self.asks.iter().map(|(_, sequences)| tokens(sequences)).sum()
    }

    /// What computing it takes, in tokens through the whole base: the layers that tasks share once
    /// for all of them, and for each those from the first one that it changes on. Less than
    /// [`Query::tokens`] where tasks share much.
    pub fn work(&self) -> f64 {
        let mut work = Work::default();
        self.asks.iter().map(|ask| work.add(ask)).last().unwrap_or(0.0)
    }

    /// Its tasks, in their order.
    pub fn tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.asks.iter().map(|(task, _)| task)
    }

    /// The same query in parts of at most `most` work, or of one task each where that has more;
    /// their answers one after the other are the query's.
    pub fn split(self, most: usize) -> Vec<Query> {
        let mut parts: Vec<Query> = Vec::new();
        let mut work = Work::default();
        for ask in self.asks {
            match parts.last_mut() {
                Some(part) if work.add(&ask) <= most as f64 => part.asks.push(ask),
                _ => {
                    work = Work::default();
                    work.add(&ask);
                    parts.push(Query { asks: vec![ask] });
                }
            }
        }
        parts
    }
}

fn tokens(sequences: &[Encoding]) -> usize {
    sequences.iter().map(|sequence| sequence.ids.len()).sum()
}

/// The work of asks, by the text as they read it.
#[derive(Default)]
struct Work(HashMap<*const [Encoding], TextWork>);

/// In shares of the base's layers.
#[derive(Default)]
struct TextWork {
    tokens: usize,
    /// Those that the task that changes the least shares with others.
    shared: f64,
    /// Those from each task's first change on.
    own: f64,
}

impl Work {
    /// Adds an ask; the work of all so far.
    fn add(&mut self, (task, sequences): &Ask) -> f64 {
        let text = self.0.entry(Arc::as_ptr(sequences)).or_default();
        text.tokens = tokens(sequences);
        text.shared = text.shared.max(task.shared_layers());
        // Of a slim task less than the rest of the base.
        text.own += (task.view().compute() - task.shared_layers()).max(0.0);
        self.0.values().map(|text| text.tokens as f64 * (text.shared + text.own)).sum()
    }
}

/// The error of a task that there is not.
pub(super) fn unknown(name: &str, known: &[Arc<str>]) -> Error {
    let known: Vec<&str> = known.iter().map(|known| &**known).collect();
    Error::new(ErrorKind::Config, format!("there is no task {name:?}"))
        .with_hint(nearest_known(name, &known))
}

/// Of the `known` names of tasks the nearest to one that there is not, as a hint says them.
pub fn nearest_known(name: &str, known: &[&str]) -> String {
    let near = nearest(name, known.iter().copied(), 3);
    let near: Vec<String> = near.iter().map(|name| format!("{name:?}")).collect();
    match near.is_empty() {
        true => "there is no task at all".into(),
        false => format!("the nearest known are {}", near.join(", ")),
    }
}

impl Bank {
    /// Answers of every request's tasks in their order; a request that cannot be answered has its
    /// error and does not concern the others. All see the same tasks.
    ///
    /// Each answer is within 1e-5·max(1, largest |logit|) of what [`logits`](crate::model::logits)
    /// gives for that task alone, whatever shares the batch.
    ///
    /// # Errors
    /// Of a request: an unknown task, an empty text, a pair for a task on single texts or the other
    /// way round, a text that the tokenizer rejects.
    pub fn predict(&self, requests: &[Request]) -> Vec<Result<Vec<Answer>>> {
        let queries = self.encode_all(requests);
        let good: Vec<&Query> = queries.iter().filter_map(|query| query.as_ref().ok()).collect();
        let mut answers = self.answer(&good).into_iter();
        let next = |query: Result<Query>| query.map(|_| answers.next().unwrap_or_default());
        queries.into_iter().map(next).collect()
    }

    /// Requests in tokens on all threads, for [`Bank::answer`]; all see the same tasks.
    ///
    /// # Errors
    /// Of a request, as [`Bank::predict`].
    pub fn encode_all(&self, requests: &[Request]) -> Vec<Result<Query>> {
        let tasks: Vec<Vec<Option<Arc<Task>>>> = {
            let tasks = self.read();
            let find = |name: &String| tasks.get(name.as_str()).cloned();
            requests.iter().map(|request| request.tasks.iter().map(find).collect()).collect()
        };
        let pairs = requests.par_iter().zip(tasks);
        let query = |(request, tasks): (&Request, Vec<Option<Arc<Task>>>)| {
            let named = request.tasks.iter().zip(tasks);
            let tasks = named.map(|(name, task)| task.ok_or_else(|| self.unknown(name)));
            let tasks = tasks.collect::<Result<Vec<_>>>()?;
            self.ask(&request.text, request.pair.as_deref(), &tasks)
        };
        pairs.map(query).collect()
    }

    /// A request in tokens, for [`Bank::answer`].
    ///
    /// # Errors
    /// As [`Bank::predict`].
    pub fn encode(&self, request: &Request) -> Result<Query> {
        let tasks = self.find(&request.tasks)?;
        self.ask(&request.text, request.pair.as_deref(), &tasks)
    }

    /// The tasks of these names, as they are at one time.
    ///
    /// # Errors
    /// If there is none of one of them; the hint has the nearest.
    pub fn find(&self, names: &[String]) -> Result<Vec<Arc<Task>>> {
        let tasks: Vec<Option<Arc<Task>>> = {
            let tasks = self.read();
            names.iter().map(|name| tasks.get(name.as_str()).cloned()).collect()
        };
        let named = names.iter().zip(tasks);
        named.map(|(name, task)| task.ok_or_else(|| self.unknown(name))).collect()
    }

    /// A text, or a pair of texts, asked of tasks of this bank, in tokens, for [`Bank::answer`]. As
    /// [`Tokenizer::sequences`](crate::data::Tokenizer::sequences) reads it.
    ///
    /// # Errors
    /// As [`Bank::predict`].
    pub fn ask(&self, text: &str, pair: Option<&str>, tasks: &[Arc<Task>]) -> Result<Query> {
        for task in tasks {
            task.card().check_pairs(task.name(), pair.is_some())?;
        }
        let extents: BTreeSet<Extent> = tasks.iter().map(|task| task.card().extent()).collect();
        let read = self.base.tokenizer.sequences(text, pair, &extents)?;
        let read: BTreeMap<Extent, Arc<[Encoding]>> =
            read.into_iter().map(|(extent, sequences)| (extent, sequences.into())).collect();
        let ask = |task: &Arc<Task>| (Arc::clone(task), Arc::clone(&read[&task.card().extent()]));
        Ok(Query { asks: tasks.iter().map(ask).collect() })
    }

    /// Answers of queries of this bank, in their order and that of their tasks.
    pub fn answer(&self, queries: &[&Query]) -> Vec<Vec<Answer>> {
        let asked = Asked::new(queries);
        let mut logits: HashMap<(usize, usize), Vec<f32>> = HashMap::new();
        for batch in asked.batches(self.batch_tokens) {
            let texts: Vec<&Encoding> = batch.iter().map(|s| asked.texts[s.text]).collect();
            let local = batch.iter().enumerate();
            let streams = local.map(|(text, s)| Stream { text, tasks: s.tasks.clone() }).collect();
            for row in self.run(&texts, &asked.tasks, streams) {
                logits.insert((batch[row.text].text, row.task), row.logits);
            }
        }
        let answer = |(task, sequences): &Ask, places: &Vec<(usize, usize)>| {
            let logits = match &places[..] {
                [place] => logits[place].clone(),
                places => {
                    let all = places.iter().flat_map(|place| &logits[place]).copied();
                    means(&all.collect::<Vec<f32>>(), task.card().outputs, &[places.len()])
                }
            };
            Answer {
                task: Arc::clone(task),
                logits,
                tokens: tokens(sequences),
                text_cut: sequences.iter().any(|sequence| sequence.cut),
            }
        };
        let pairs = queries.iter().zip(&asked.places);
        pairs
            .map(|(query, places)| {
                query.asks.iter().zip(places).map(|(ask, places)| answer(ask, places)).collect()
            })
            .collect()
    }
}

/// Queries as distinct token sequences, and which tasks are asked of each.
struct Asked<'q> {
    texts: Vec<&'q Encoding>,
    /// Distinct tasks, those with matrices of their own last: the rows that need no product with
    /// the base's then stand together.
    tasks: Vec<Arc<Task>>,
    /// For each text, which of the tasks, ascending.
    wanted: Vec<Vec<usize>>,
    /// For each query, of every ask the texts, and the task of each.
    places: Vec<Vec<Vec<(usize, usize)>>>,
}

impl<'q> Asked<'q> {
    fn new(queries: &[&'q Query]) -> Self {
        let asks = || queries.iter().flat_map(|query| &query.asks);
        let distinct: HashMap<*const Task, &Arc<Task>> =
            asks().map(|(task, _)| (Arc::as_ptr(task), task)).collect();
        let mut tasks: Vec<Arc<Task>> = distinct.into_values().cloned().collect();
        tasks.sort_by_cached_key(|task| {
            (task.has_whole_matrix(), task.name().to_string(), Arc::as_ptr(task))
        });
        let numbers: HashMap<*const Task, usize> =
            tasks.iter().enumerate().map(|(i, task)| (Arc::as_ptr(task), i)).collect();
        let (mut texts, mut wanted) = (Vec::new(), Vec::<Vec<usize>>::new());
        let mut known: HashMap<(&[u32], &[u32]), usize> = HashMap::new();
        let mut place = |task: usize, sequence: &'q Encoding| {
            let text = *known.entry((&sequence.ids, &sequence.type_ids)).or_insert_with(|| {
                texts.push(sequence);
                wanted.push(vec![]);
                texts.len() - 1
            });
            wanted[text].push(task);
            (text, task)
        };
        let mut ask = |(task, sequences): &'q Ask| {
            let task = numbers[&Arc::as_ptr(task)];
            sequences.iter().map(|sequence| place(task, sequence)).collect()
        };
        let mut places = Vec::with_capacity(queries.len());
        for query in queries {
            places.push(query.asks.iter().map(&mut ask).collect());
        }
        for wanted in &mut wanted {
            wanted.sort_unstable();
            wanted.dedup();
        }
        Self { texts, tasks, wanted, places }
    }

    /// Batches of at most `most` tokens, each counted once for every task that has rows of its own in
    /// the end: texts in the order of their first task, so that its rows stand in few batches, then of
    /// their length.
    fn batches(&self, most: usize) -> Vec<Vec<Stream>> {
        let mut texts: Vec<usize> = (0..self.texts.len()).collect();
        texts.sort_by_key(|&text| (self.wanted[text].first(), self.texts[text].ids.len()));
        let mut batches: Vec<Vec<Stream>> = Vec::new();
        let mut room = 0;
        for text in texts {
            let tokens = self.texts[text].ids.len();
            let mut rest = &self.wanted[text][..];
            // A text of very many tasks goes through the trunk once for every so many.
            while !rest.is_empty() {
                let (mut own, mut heads) = (0, 0);
                let fits = |task: &&usize| {
                    match self.tasks[**task].shared_layers() < 1.0 {
                        true => own += 1,
                        false => heads = 1,
                    }
                    tokens * (own + heads) <= most
                };
                let (tasks, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
                let own = tasks.iter().filter(|&&t| self.tasks[t].shared_layers() < 1.0).count();
                let rows = tokens * (own + usize::from(own < tasks.len()));
                if rows > room || batches.is_empty() {
                    batches.push(vec![]);
                    room = most.max(rows);
                }
                room -= rows;
                let last = batches.len() - 1;
                batches[last].push(Stream { text, tasks: tasks.to_vec() });
                rest = later;
            }
        }
        batches
    }
}
