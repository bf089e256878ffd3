//! An encoder of one architecture: its tensors, and the program that reads texts.

use super::family::{self, Family};
use super::op::{Ids, Op, Value};
use super::program::Program;
use super::slim::{Chosen, Slim};
use super::{Layout, ModelConfig, Place, Pooling, Weights};
use crate::checkpoint::Checkpoint;
use crate::data::Batch;
use crate::{Error, ErrorKind, Result};
use serde_json::Value as Json;
use std::sync::Arc;

/// An encoder of one architecture with one pooling; holds no weights.
#[derive(Debug, Clone)]
pub struct Encoder {
    family: &'static Family,
    json: Arc<Json>,
    config: ModelConfig,
    layout: Arc<Layout>,
    /// One for each of [`Pooling::ALL`].
    programs: Arc<[Program; 3]>,
    pooling: Pooling,
    has_pooler: bool,
    base_layers: usize,
    /// Of a slim encoder what it keeps, and what its parts have of the base's.
    slim: Option<Arc<(Slim, Vec<Chosen>)>>,
}

/// What the encoder starts from.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    /// Token ids.
    Tokens(&'a Batch),
    /// Hidden states after a frozen trunk, see [`Encoder::trunk`].
    States {
        /// Layers already computed, 1..=layers.
        depth: usize,
        /// `[tokens, hidden]`, or with every layer computed one row a sequence.
        states: &'a [f32],
        /// Cumulative rows of the sequences, `[sequences + 1]`.
        offsets: &'a [usize],
    },
}

impl<'a> Input<'a> {
    /// Rows that the lowest computed layer reads.
    pub fn tokens(&self) -> usize {
        *self.offsets().last().unwrap_or(&0)
    }

    pub(super) fn offsets(&self) -> &'a [usize] {
        match self {
            Input::Tokens(batch) => &batch.offsets,
            Input::States { offsets, .. } => offsets,
        }
    }
}

impl Encoder {
    /// The encoder that `config`, a `config.json`, describes. `has_pooler` says whether the base has
    /// the tensors above its layers that [`Pooling::Cls`] reads texts through; where it has not, they
    /// are among its tensors all the same, for tasks that bring them.
    ///
    /// # Errors
    /// An architecture or a field that is not understood.
    pub fn new(config: &Json, has_pooler: bool, pooling: Pooling) -> Result<Self> {
        let family = family::of(config)?;
        let (sizes, layout, programs) = family.programs(config, None)?;
        Ok(Self {
            family,
            json: Arc::new(config.clone()),
            base_layers: sizes.layers,
            config: sizes,
            layout: Arc::new(layout),
            programs: Arc::new(programs),
            pooling,
            has_pooler,
            slim: None,
        })
    }

    /// The same encoder with other sizes, tensors and programs, as a slim one has them.
    pub(super) fn narrowed(
        &self,
        (config, layout, programs): (ModelConfig, Layout, [Program; 3]),
        slim: Slim,
        chosen: Vec<Chosen>,
    ) -> Self {
        // Dropout may be another than the base's by now.
        let ModelConfig { hidden_dropout, inner_dropout, attention_dropout, head_dropout, .. } =
            self.config;
        let config = ModelConfig {
            hidden_dropout,
            inner_dropout,
            attention_dropout,
            head_dropout,
            ..config
        };
        let (layout, programs) = (Arc::new(layout), Arc::new(programs));
        Self { config, layout, programs, slim: Some(Arc::new((slim, chosen))), ..self.clone() }
    }

    /// What it keeps of its base; none where that is all.
    pub fn kept(&self) -> Option<&Slim> {
        self.slim.as_deref().map(|(slim, _)| slim)
    }

    /// Layers of the base, those that a slim encoder leaves out among them.
    pub(crate) fn layers_of_base(&self) -> usize {
        self.base_layers
    }

    /// What its parts have of the base's, where it is slim.
    pub(crate) fn chosen(&self) -> &[Chosen] {
        self.slim.as_deref().map_or(&[], |(_, chosen)| chosen)
    }

    /// The encoder that a checkpoint describes. Without `pooling`, the one its sentence-transformers
    /// folder names, else `cls` where there is a pooler, else `mean`.
    ///
    /// # Errors
    /// An unsupported architecture, a tensor that is missing or of another shape than `config.json`
    /// says, one that belongs neither to the encoder nor to a head on it, or `cls` without a pooler.
    pub fn open(checkpoint: &Checkpoint, pooling: Option<Pooling>) -> Result<Self> {
        let shape = |name: &str| checkpoint.tensor(name).map(|found| &found.shape[..]);
        let place = checkpoint.folder().display().to_string();
        let encoder =
            Self::fitting(checkpoint.config(), shape, checkpoint.tensors().len(), &place)?;
        encoder.check_whole(checkpoint, &place)?;
        let pooling = match pooling {
            Some(pooling) => pooling,
            None => checkpoint.pooling()?.unwrap_or(encoder.pooling),
        };
        if pooling == Pooling::Cls && !encoder.has_pooler {
            let name = encoder.family.poolers().next().unwrap_or_default();
            return Err(Error::new(ErrorKind::Base, format!("the base has no {name}"))
                .with_hint("use `pooling=mean` or `pooling=first`"));
        }
        Ok(encoder.with_pooling(pooling))
    }

    /// The encoder that `config` describes, once its tensors have the shapes that it says, before
    /// anything of those sizes is made; with `cls` pooling where there is a pooler, else `mean`. `shape`
    /// gives the shape of a tensor by canonical name, `count` says how many there are, and `place` is
    /// the model's folder, for errors.
    ///
    /// # Errors
    /// As for [`Encoder::new`], more layers than the file can have, or the first tensor that is missing
    /// or of another shape.
    pub(crate) fn fitting<'a>(
        config: &Json,
        shape: impl Fn(&str) -> Option<&'a [usize]>,
        count: usize,
        place: &str,
    ) -> Result<Self> {
        let refuse = |message: String| Error::new(ErrorKind::Base, format!("{place}: {message}"));
        let family = family::of(config).map_err(|e| e.at(place))?;
        let (layers, of_layer) = family.sizes(config).map_err(|e| e.at(place))?;
        if layers > count / of_layer {
            return Err(refuse(format!(
                "config.json makes it {layers} layers of {of_layer} tensors, the weights have {count} \
                 tensors"
            )));
        }
        let has_pooler = family.poolers().any(|name| shape(&name).is_some());
        let pooling = if has_pooler { Pooling::Cls } else { Pooling::Mean };
        let encoder = Self::new(config, has_pooler, pooling)?;
        for (i, spec) in encoder.layout.tensors().iter().enumerate() {
            match shape(&spec.name) {
                None if encoder.is_absent(i) => {}
                Some(found) if found == spec.shape => {}
                Some(found) => {
                    return Err(refuse(format!(
                        "tensor {} has shape {found:?}, config.json makes it {:?}",
                        spec.name, spec.shape
                    )));
                }
                None => {
                    return Err(refuse(format!("tensor {} is missing", spec.name)).with_hint(
                        "is this folder an encoder of the architecture its config.json says?",
                    ));
                }
            }
        }
        Ok(encoder)
    }

    /// Checks that nothing of the checkpoint would be left out that could belong to the encoder.
    fn check_whole(&self, checkpoint: &Checkpoint, place: &str) -> Result<()> {
        let more = checkpoint.tensors().iter();
        let more = more.filter(|tensor| {
            self.layout.index(&tensor.name).is_none() && !self.family.is_by_product(&tensor.name)
        });
        let others = checkpoint.others().iter();
        let others = others.filter(|name| !self.family.is_beside_encoder(name));
        let unknown: Vec<&str> =
            more.map(|tensor| &tensor.stored_name).chain(others).map(String::as_str).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let what = format!(
            "a {} encoder of {} layers as config.json describes it, nor of a known head on one",
            self.family.spelling.family, self.config.layers
        );
        let hint = "if it is a head of another kind, save the encoder alone (Transformers: \
                    AutoModel.from_pretrained('.').save_pretrained('base'))";
        Err(family::not_understood(place, &what, unknown, hint.into()))
    }

    /// Reads the weights of `checkpoint`, which the encoder was opened from.
    ///
    /// # Errors
    /// Non-finite entries, or a file that is written to meanwhile.
    pub fn load(&self, checkpoint: &Checkpoint) -> Result<Weights> {
        let mut weights = Weights::new(self.layout.clone(), vec![0.0; self.layout.len()]);
        for (i, spec) in self.layout.tensors().iter().enumerate() {
            if !self.is_absent(i) {
                checkpoint.read_f32(&spec.name, weights.at_mut(i))?;
            }
        }
        checkpoint.check_unchanged()?;
        Ok(weights)
    }

    /// The same encoder with another pooling.
    #[must_use]
    pub fn with_pooling(&self, pooling: Pooling) -> Self {
        Self { pooling, ..self.clone() }
    }

    /// Whether the base does not have a tensor of the layout: it is 0 there until a task brings it.
    pub fn is_absent(&self, tensor: usize) -> bool {
        !self.has_pooler && self.layout.tensors()[tensor].place == Place::Above
    }

    /// The family that it belongs to.
    pub fn family(&self) -> &'static Family {
        self.family
    }

    /// The `config.json` that it follows.
    pub fn json(&self) -> &Json {
        &self.json
    }

    /// The sizes.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The tensors.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The pooling.
    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// Whether the base has the tensors above the layers that [`Pooling::Cls`] reads texts through.
    pub fn has_pooler(&self) -> bool {
        self.has_pooler
    }

    /// What it computes.
    pub fn program(&self) -> &Program {
        self.program_of(self.pooling)
    }

    /// What it computes under another pooling.
    pub(crate) fn program_of(&self, pooling: Pooling) -> &Program {
        &self.programs[pooling as usize]
    }

    /// The table of words, whose gradient is kept for the rows that a batch uses alone.
    pub fn words(&self) -> usize {
        let table = self.program().ops().iter().find_map(|op| match op {
            Op::Embed { tables, .. } => tables.iter().find(|(_, ids)| *ids == Ids::Words),
            _ => None,
        });
        let (part, _) = table.expect("a program begins with words");
        self.layout.parts()[*part].tensors.start
    }

    /// The first operation that reads a tensor; none where texts are not read through it.
    fn first_read(&self, tensor: usize) -> Option<usize> {
        let parts = self.layout.parts().iter().enumerate();
        let mut holding = parts.filter(|(_, part)| part.tensors.contains(&tensor));
        holding.find_map(|(part, _)| self.program().first_read(part))
    }

    /// How many layers end before a part is read first; all where only poolings read it that this
    /// encoder has not.
    pub(crate) fn layers_below(&self, part: usize) -> usize {
        let read = self.programs.iter().find_map(|program| program.first_read(part));
        let program = self.program();
        let read = read.unwrap_or(usize::MAX);
        (0..self.config.layers).take_while(|&layer| program.layer_end(layer).0 <= read).count()
    }

    /// Whether texts are read through a tensor.
    pub fn reads(&self, tensor: usize) -> bool {
        self.first_read(tensor).is_some()
    }

    /// The first operation that reads one of the tensors that `chosen` marks.
    pub(super) fn first_of(&self, chosen: impl Fn(usize) -> bool) -> Option<usize> {
        let tensors = 0..self.layout.tensors().len();
        tensors.filter(|&tensor| chosen(tensor)).filter_map(|tensor| self.first_read(tensor)).min()
    }

    /// How many of the lowest layers a frozen trunk spans when the tensors that `trained` marks
    /// are trained: 0 if one of them is an embedding, all layers if only head or pooler are.
    pub fn trunk_depth(&self, trained: &[bool]) -> usize {
        let layers = self.config.layers;
        let lowest = self.first_of(|tensor| trained[tensor]).unwrap_or(usize::MAX);
        (0..layers).take_while(|&layer| self.program().layer_end(layer).0 <= lowest).count()
    }

    /// The same encoder with other probabilities of dropout, each made from its own.
    #[must_use]
    pub fn with_dropout(mut self, from: impl Fn(f32) -> f32) -> Self {
        let config = &mut self.config;
        for probability in [
            &mut config.hidden_dropout,
            &mut config.inner_dropout,
            &mut config.attention_dropout,
            &mut config.head_dropout,
        ] {
            *probability = from(*probability);
        }
        self
    }

    /// Where a forward pass of `input` begins: the operation, and the value that is there already.
    pub(super) fn start(&self, input: Input<'_>) -> (usize, Option<Value>) {
        let program = self.program();
        match input {
            Input::Tokens(_) => (0, None),
            Input::States { depth, .. } => {
                let (at, value) = self.depth(program, depth);
                (at, Some(value))
            }
        }
    }

    /// The operation after the lowest `depth` layers, and what they leave: hidden states, or with all of
    /// them the one row a sequence that pooling starts from.
    pub(super) fn depth(&self, program: &Program, depth: usize) -> (usize, Value) {
        match depth == self.config.layers {
            true => program.gathered(),
            false => program.layer_end(depth - 1),
        }
    }
}
