//! From tokens to pooled vectors and back.

use super::embeddings::{self, EmbeddingTape};
use super::layer::{Layer, LayerTape, Scratch, bias_grad, weight_grad};
use super::layout::{check_shapes, embedding, layer_tensor, pooler_tensor};
use super::{DropoutStep, Grads, Layout, ModelConfig, Pooling, Weights};
use crate::checkpoint::Checkpoint;
use crate::data::Batch;
use crate::kernels::gemm::{Mat, matmul};
use crate::kernels::sums;
use crate::{Error, ErrorKind, Result};
use std::sync::Arc;

/// A BERT encoder of one architecture with one pooling; holds no weights.
#[derive(Debug, Clone)]
pub struct Encoder {
    config: ModelConfig,
    layout: Arc<Layout>,
    pooling: Pooling,
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

    fn offsets(&self) -> &'a [usize] {
        match self {
            Input::Tokens(batch) => &batch.offsets,
            Input::States { offsets, .. } => offsets,
        }
    }

    fn depth(&self) -> usize {
        match self {
            Input::Tokens(_) => 0,
            Input::States { depth, .. } => *depth,
        }
    }
}

/// Everything a forward pass leaves for its backward, and the buffers both use; kept from step to
/// step so that nothing is allocated anew.
#[derive(Debug, Default)]
pub struct Tape {
    embeddings: EmbeddingTape,
    /// Hidden states before the first computed layer.
    start: Vec<f32>,
    layers: Vec<LayerTape>,
    scratch: Scratch,
    /// First tokens or means, `[sequences, hidden]`.
    gathered: Vec<f32>,
    /// What the head reads, `[sequences, hidden]`.
    pooled: Vec<f32>,
    grad: Vec<f32>,
}

impl Encoder {
    /// An encoder for `config` that pools by `pooling`; `pooler` says whether the base has one.
    ///
    /// # Errors
    /// `cls` pooling without a pooler.
    pub fn new(config: ModelConfig, pooler: bool, pooling: Pooling) -> Result<Self> {
        if pooling == Pooling::Cls && !pooler {
            return Err(Error::new(ErrorKind::Base, "the base has no pooler.dense.weight")
                .with_hint("use --pooling mean or --pooling first"));
        }
        let layout = Arc::new(Layout::bert(&config, pooler));
        Ok(Self { config, layout, pooling })
    }

    /// The encoder that a checkpoint describes. Without `pooling`, the one its sentence-transformers
    /// folder names, else `cls` where there is a pooler, else `mean`.
    ///
    /// # Errors
    /// An unsupported architecture, a tensor that is missing or of another shape than `config.json`
    /// says, or `cls` without a pooler.
    pub fn open(checkpoint: &Checkpoint, pooling: Option<Pooling>) -> Result<Self> {
        let config = ModelConfig::from_json(checkpoint.config())?;
        let shape = |name: &str| checkpoint.tensor(name).map(|found| &found.shape[..]);
        let pooler = shape("pooler.dense.weight").is_some();
        let place = checkpoint.folder().display().to_string();
        check_shapes(&config, pooler, shape, checkpoint.tensors().len(), &place)?;
        let pooling = match pooling {
            Some(pooling) => pooling,
            None => {
                checkpoint.pooling()?.unwrap_or(if pooler { Pooling::Cls } else { Pooling::Mean })
            }
        };
        Self::new(config, pooler, pooling)
    }

    /// Reads the weights of `checkpoint`, which the encoder was opened from.
    ///
    /// # Errors
    /// Non-finite entries, or a file that is written to meanwhile.
    pub fn load(&self, checkpoint: &Checkpoint) -> Result<Weights> {
        let mut weights = Weights::new(self.layout.clone(), vec![0.0; self.layout.len()]);
        for (i, spec) in self.layout.tensors().iter().enumerate() {
            checkpoint.read_f32(&spec.name, weights.at_mut(i))?;
        }
        checkpoint.check_unchanged()?;
        Ok(weights)
    }

    /// The architecture.
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

    /// Whether `layer` is computed for first tokens only.
    fn first_only(&self, layer: usize) -> bool {
        layer + 1 == self.config.layers && self.pooling != Pooling::Mean
    }

    fn layer<'a>(
        &'a self,
        weights: &'a Weights,
        offsets: &'a [usize],
        number: usize,
        dropout: Option<DropoutStep>,
    ) -> Layer<'a> {
        let first_only = self.first_only(number);
        Layer { config: &self.config, weights, number, offsets, first_only, dropout }
    }

    /// How many of the lowest layers a frozen trunk spans when the tensors that `trained` marks
    /// are trained: 0 if one of them is an embedding, all layers if only head or pooler are.
    pub fn trunk_depth(&self, trained: &[bool]) -> usize {
        match trained.iter().position(|&t| t) {
            Some(first) if first < embedding::COUNT => 0,
            Some(first) => {
                ((first - embedding::COUNT) / super::layout::slot::COUNT).min(self.config.layers)
            }
            None => self.config.layers,
        }
    }

    /// The same encoder with other probabilities of dropout, each made from its own.
    #[must_use]
    pub fn with_dropout(mut self, from: impl Fn(f32) -> f32) -> Self {
        let ModelConfig { hidden_dropout, attention_dropout, head_dropout, .. } = &mut self.config;
        for probability in [hidden_dropout, attention_dropout, head_dropout] {
            *probability = from(*probability);
        }
        self
    }

    /// Hidden states after the lowest `depth` layers, without dropout: `[tokens, hidden]`, or with
    /// all layers the one row a sequence that pooling starts from. Input for [`Input::States`].
    pub fn trunk<'t>(
        &self,
        weights: &Weights,
        batch: &Batch,
        depth: usize,
        tape: &'t mut Tape,
    ) -> &'t [f32] {
        self.run_layers(weights, Input::Tokens(batch), depth, None, false, tape);
        if depth == self.config.layers {
            self.gather(&batch.offsets, tape, depth);
            &tape.gathered
        } else {
            last_states(tape)
        }
    }

    /// The vectors that the head reads, `[sequences, hidden]`. With `keep`, the tape holds what
    /// [`Encoder::backward`] needs; without, layers share their buffers.
    pub fn forward<'t>(
        &self,
        weights: &Weights,
        input: Input<'_>,
        dropout: Option<DropoutStep>,
        keep: bool,
        tape: &'t mut Tape,
    ) -> &'t [f32] {
        let layers = self.config.layers;
        match input {
            Input::States { depth, states, .. } if depth == layers => {
                tape.gathered.clear();
                tape.gathered.extend_from_slice(states);
            }
            _ => {
                self.run_layers(weights, input, layers, dropout, keep, tape);
                self.gather(input.offsets(), tape, layers);
            }
        }
        let Tape { gathered, pooled, .. } = tape;
        if self.pooling != Pooling::Cls {
            return gathered;
        }
        let h = self.config.hidden;
        let pooler = pooler_tensor(layers);
        pooled.resize(gathered.len(), 0.0);
        let weight = Mat::new(weights.at(pooler), h, h);
        matmul(pooled, Mat::new(gathered, gathered.len() / h, h), weight.t(), false);
        sums::add_bias(pooled, weights.at(pooler + 1));
        for v in pooled.iter_mut() {
            *v = v.tanh();
        }
        pooled
    }

    /// Runs layers up to `depth`; the last states stand in the tape.
    fn run_layers(
        &self,
        weights: &Weights,
        input: Input<'_>,
        depth: usize,
        dropout: Option<DropoutStep>,
        keep: bool,
        tape: &mut Tape,
    ) {
        match input {
            Input::Tokens(batch) => embeddings::forward(
                &self.config,
                weights,
                batch,
                dropout,
                &mut tape.embeddings,
                &mut tape.start,
            ),
            Input::States { states, .. } => {
                tape.start.clear();
                tape.start.extend_from_slice(states);
            }
        }
        let kept = if keep { depth - input.depth() } else { (depth - input.depth()).min(1) };
        tape.layers.resize_with(kept, LayerTape::default);
        for number in input.depth()..depth {
            let layer = self.layer(weights, input.offsets(), number, dropout);
            let Tape { start, layers, scratch, .. } = tape;
            if keep {
                let (before, this) = layers.split_at_mut(number - input.depth());
                let x = before.last().map_or(&start[..], |l| &l.out);
                layer.forward(x, &mut this[0], scratch);
            } else {
                if number > input.depth() {
                    std::mem::swap(start, &mut layers[0].out);
                }
                layer.forward(start, &mut layers[0], scratch);
            }
        }
    }

    /// First tokens or means of the last states into `tape.gathered`.
    fn gather(&self, offsets: &[usize], tape: &mut Tape, depth: usize) {
        let h = self.config.hidden;
        let mut gathered = std::mem::take(&mut tape.gathered);
        let states = last_states(tape);
        gathered.clear();
        match self.pooling {
            // The last layer computed first tokens only.
            Pooling::Cls | Pooling::First if depth > 0 => gathered.extend_from_slice(states),
            Pooling::Cls | Pooling::First => {
                for &start in &offsets[..offsets.len() - 1] {
                    gathered.extend_from_slice(&states[start * h..(start + 1) * h]);
                }
            }
            Pooling::Mean => {
                for w in offsets.windows(2) {
                    let from = gathered.len();
                    gathered.resize(from + h, 0.0);
                    let mean = &mut gathered[from..];
                    for row in states[w[0] * h..w[1] * h].chunks_exact(h) {
                        for j in 0..h {
                            mean[j] += row[j];
                        }
                    }
                    let share = 1.0 / (w[1] - w[0]) as f32;
                    for v in mean {
                        *v *= share;
                    }
                }
            }
        }
        tape.gathered = gathered;
    }

    /// Gradients of the tensors that `grads` asks for, given `pooled_grad`, `[sequences, hidden]`,
    /// after a [`Encoder::forward`] of the same input and dropout with `keep`.
    pub fn backward(
        &self,
        weights: &Weights,
        input: Input<'_>,
        dropout: Option<DropoutStep>,
        pooled_grad: &[f32],
        tape: &mut Tape,
        grads: &mut Grads,
    ) {
        let (h, layers) = (self.config.hidden, self.config.layers);
        let offsets = input.offsets();
        let lowest = (0..self.layout.tensors().len()).find(|&i| grads.wants(i));
        let Some(lowest) = lowest else { return };
        let Tape { embeddings, start, layers: tapes, scratch, gathered, pooled, grad } = tape;

        let mut gathered_grad = pooled_grad.to_vec();
        let pooler = pooler_tensor(layers);
        if self.pooling == Pooling::Cls {
            for (g, y) in gathered_grad.iter_mut().zip(pooled.iter()) {
                *g *= 1.0 - y * y;
            }
            bias_grad(&gathered_grad, pooler + 1, grads);
            weight_grad(&gathered_grad, h, (gathered, h), pooler, grads);
            let through = gathered_grad.clone();
            let rows = through.len() / h;
            let weight = Mat::new(weights.at(pooler), h, h);
            matmul(&mut gathered_grad, Mat::new(&through, rows, h), weight, false);
        }
        if lowest >= pooler || input.depth() == layers {
            return;
        }

        // Gradient of the last layer's output, [rows, hidden].
        match self.pooling {
            Pooling::Cls | Pooling::First => *grad = gathered_grad,
            Pooling::Mean => {
                grad.clear();
                for (w, g) in offsets.windows(2).zip(gathered_grad.chunks_exact(h)) {
                    let share = 1.0 / (w[1] - w[0]) as f32;
                    for _ in w[0]..w[1] {
                        grad.extend(g.iter().map(|v| v * share));
                    }
                }
            }
        }
        for number in (input.depth()..layers).rev() {
            let layer = self.layer(weights, offsets, number, dropout);
            let below = lowest < layer_tensor(number, 0);
            let at = number - input.depth();
            let x = if at == 0 { &start[..] } else { &tapes[at - 1].out };
            layer.backward(x, &tapes[at], scratch, grad, grads, below);
            if !below {
                return;
            }
        }
        if let Input::Tokens(batch) = input {
            embeddings::backward(&self.config, weights, batch, dropout, embeddings, grad, grads);
        }
    }
}

impl Tape {
    /// Hidden states after the last layer of the last forward pass that ran it: `[tokens, hidden]`,
    /// or `[sequences, hidden]` under first-token pooling.
    pub fn hidden_states(&self) -> &[f32] {
        last_states(self)
    }
}

/// What the last computed layer left, or the embeddings.
fn last_states(tape: &Tape) -> &[f32] {
    tape.layers.last().map_or(&tape.start, |l| &l.out)
}
