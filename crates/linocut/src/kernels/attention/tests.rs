use super::*;
use crate::kernels::random::{Purpose, key, normal};

const HIDDEN: usize = 36;
const HEADS: usize = 3;
const OFFSETS: [usize; 5] = [0, 17, 18, 35, 40];

fn draw(key: u64, len: usize) -> Vec<f32> {
    (0..len as u32).map(|i| normal(key, i)).collect()
}

/// One way of attending; `table` holds what positions are made from.
#[derive(Clone, Copy)]
struct Case {
    by: By,
    first_only: bool,
    dropout: bool,
    window: Option<usize>,
    together: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum By {
    Embedded,
    Distances,
    Rotary,
    Both,
    Keys,
    Queries,
}

const BUCKETS: Buckets = Buckets { span: 8, farthest: Some(20) };

/// Queries, keys beside values, biases by distance, and keys and queries of distances.
struct Given {
    q: Vec<f32>,
    kv: Vec<f32>,
    biases: Vec<f32>,
    keys: Vec<f32>,
    queries: Vec<f32>,
}

impl Given {
    fn all(&mut self) -> [&mut Vec<f32>; 5] {
        [&mut self.q, &mut self.kv, &mut self.biases, &mut self.keys, &mut self.queries]
    }
}

fn offsets(case: &Case) -> Vec<usize> {
    // The last sequence takes several blocks where there is a window.
    if case.window.is_some() { vec![0, 17, 18, 60] } else { OFFSETS.to_vec() }
}

fn given(case: &Case) -> Given {
    let offsets = offsets(case);
    let (sequences, tokens) = (offsets.len() - 1, offsets[offsets.len() - 1]);
    let rows = if case.first_only && !case.together { sequences } else { tokens };
    let reached = BUCKETS.reached(longest(&offsets)).rows;
    Given {
        q: draw(1, rows * HIDDEN),
        kv: draw(2, tokens * 2 * HIDDEN),
        biases: draw(4, 32 * HEADS),
        keys: draw(5, reached * HIDDEN),
        queries: draw(6, reached * HIDDEN),
    }
}

/// Runs `with` the attention of a case.
fn attend<R>(case: &Case, given: &Given, with: impl FnOnce(&Attention<'_>) -> R) -> R {
    let offsets = offsets(case);
    let distances = Distances::new(&given.biases, HEADS, None, &offsets);
    let rotary = Rotary::new(100.0, HIDDEN / HEADS, longest(&offsets));
    let reached = BUCKETS.reached(longest(&offsets));
    let positions = match case.by {
        By::Embedded => Positions::Embedded,
        By::Distances => Positions::Distances(&distances),
        By::Rotary => Positions::Rotary(&rotary),
        by => Positions::Disentangled(Disentangled {
            keys: (by != By::Queries).then_some(&given.keys),
            queries: (by != By::Keys).then_some(&given.queries),
            reached: &reached,
        }),
    };
    let dropout = Dropout::new(0.3, key(1, Purpose::Dropout, 0, 0)).filter(|_| case.dropout);
    let (first_only, window) = (case.first_only, case.window);
    with(&Attention {
        offsets: &offsets,
        heads: HEADS,
        hidden: HIDDEN,
        first_only,
        positions,
        window,
        dropout,
    })
}

/// Queries, keys and values side by side.
fn together(given: &Given) -> Vec<f32> {
    let rows = given.q.chunks_exact(HIDDEN).zip(given.kv.chunks_exact(2 * HIDDEN));
    rows.flat_map(|(q, kv)| [q, kv].concat()).collect()
}

/// Σ weight ∘ out by a plain float64 loop.
fn loss(case: &Case, given: &Given, weight: &[f32]) -> f64 {
    let d = HIDDEN / HEADS;
    let turned = |row: &[f32], place: usize, c: usize| -> f64 {
        let at = |c: usize| f64::from(row[c]);
        if case.by != By::Rotary {
            return at(c);
        }
        let half = d / 2;
        let angle = place as f64 * 100f64.powf(-((2 * (c % half)) as f64) / d as f64);
        let other = if c < half { -at(c + half) } else { at(c - half) };
        at(c) * angle.cos() + other * angle.sin()
    };
    attend(case, given, |a| {
        let mut loss = 0.0;
        let reached = BUCKETS.reached(longest(a.offsets));
        for s in 0..a.offsets.len() - 1 {
            let (rows, tokens) = (a.rows(s), a.tokens(s));
            let len = tokens.len();
            for h in 0..HEADS {
                let place = a.place(s, h);
                let q_of = |i: usize| {
                    let row = if case.together { tokens.start + i } else { rows.start + i };
                    &given.q[row * HIDDEN + h * d..][..d]
                };
                let k_of = |j: usize| &given.kv[(tokens.start + j) * 2 * HIDDEN + h * d..][..d];
                let dot = |f: &dyn Fn(usize) -> f64| (0..d).map(f).sum::<f64>();
                for i in 0..rows.len() {
                    let score = |j: usize| -> f64 {
                        if a.window.is_some_and(|w| i.abs_diff(j) > w) {
                            return f64::NEG_INFINITY;
                        }
                        let (q, k) = (q_of(i), k_of(j));
                        let mut product = dot(&|c| turned(q, i, c) * turned(k, j, c));
                        let mut bias = 0.0;
                        let mut terms = 1;
                        match a.positions {
                            Positions::Embedded | Positions::Rotary(_) => {}
                            Positions::Distances(by) => bias = f64::from(by.row(h, i, len)[j]),
                            Positions::Disentangled(by) => {
                                let row = reached.row(i, len)[len - 1 - j] as usize;
                                let at = |x: &[f32], c| f64::from(x[row * HIDDEN + h * d + c]);
                                if let Some(keys) = by.keys {
                                    product += dot(&|c| f64::from(q[c]) * at(keys, c));
                                    terms += 1;
                                }
                                if let Some(queries) = by.queries {
                                    product += dot(&|c| f64::from(k[c]) * at(queries, c));
                                    terms += 1;
                                }
                            }
                        }
                        product / ((d * terms) as f64).sqrt() + bias
                    };
                    let exps: Vec<f64> = (0..len).map(|j| score(j).exp()).collect();
                    let total: f64 = exps.iter().sum();
                    for j in 0..len {
                        let factor = place
                            .dropout
                            .map_or(1.0, |d| f64::from(d.factor((i * len + j) as u32)));
                        let value = |c: usize| {
                            f64::from(
                                given.kv[(tokens.start + j) * 2 * HIDDEN + HIDDEN + h * d + c],
                            ) * f64::from(weight[(rows.start + i) * HIDDEN + h * d + c])
                        };
                        loss += exps[j] / total * factor * dot(&value);
                    }
                }
            }
        }
        loss
    })
}

fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for by in [By::Embedded, By::Distances, By::Rotary, By::Both, By::Keys, By::Queries] {
        for (first_only, dropout) in [(false, false), (false, true), (true, false)] {
            let case = Case { by, first_only, dropout, window: None, together: false };
            cases.push(case);
            cases.push(Case { together: true, ..case });
            if matches!(by, By::Embedded | By::Rotary | By::Distances) {
                cases.push(Case { window: Some(5), together: by == By::Rotary, ..case });
            }
        }
    }
    cases
}

#[test]
fn forward_and_backward_agree_with_float64() {
    for case in cases() {
        let mut given = given(&case);
        let offsets = offsets(&case);
        let rows = if case.first_only { offsets.len() - 1 } else { offsets[offsets.len() - 1] };
        let weight = draw(3, rows * HIDDEN);
        let qkv = together(&given);
        let mut grads = Given {
            q: vec![9.0; given.q.len()],
            kv: vec![9.0; given.kv.len()],
            biases: vec![0.0; given.biases.len()],
            keys: vec![],
            queries: vec![],
        };
        let got = attend(&case, &given, |a| {
            let operands = match case.together {
                true => Operands::Together(&qkv),
                false => Operands::Apart(&given.q, &given.kv),
            };
            let (mut out, mut log_sums) = (vec![0.0; rows * HIDDEN], vec![0.0; rows * HEADS]);
            a.forward(operands, &mut out, &mut log_sums);
            let positions = if case.together {
                let mut all = vec![9.0; qkv.len()];
                let into = OperandGrads::Together(&mut all);
                let positions = a.backward(operands, &log_sums, &weight, into);
                for (i, row) in all.chunks_exact(3 * HIDDEN).enumerate() {
                    grads.q[i * HIDDEN..][..HIDDEN].copy_from_slice(&row[..HIDDEN]);
                    grads.kv[i * 2 * HIDDEN..][..2 * HIDDEN].copy_from_slice(&row[HIDDEN..]);
                }
                positions
            } else {
                let into = OperandGrads::Apart(&mut grads.q, &mut grads.kv);
                a.backward(operands, &log_sums, &weight, into)
            };
            if let Positions::Distances(distances) = a.positions {
                grads.biases = distances.table_grad(&positions.by_distance);
            }
            (grads.keys, grads.queries) = (positions.keys, positions.queries);
            out.iter().zip(&weight).map(|(o, w)| f64::from(o * w)).sum::<f64>()
        });
        let name = format!(
            "{} first {} dropout {} window {:?} together {}",
            case.by as usize, case.first_only, case.dropout, case.window, case.together
        );
        assert!((got - loss(&case, &given, &weight)).abs() < 1e-4, "{name}");
        for part in 0..5 {
            let grads = std::mem::take(grads.all()[part]);
            for i in (0..grads.len()).step_by([7, 11, 3, 5, 5][part]) {
                let mut at = |h: f32| {
                    let before = given.all()[part][i];
                    given.all()[part][i] = before + h;
                    let loss = loss(&case, &given, &weight);
                    given.all()[part][i] = before;
                    loss
                };
                let want = (at(1e-3) - at(-1e-3)) / 2e-3;
                let got = f64::from(grads[i]);
                assert!((got - want).abs() < 2e-3, "{name}: part {part} [{i}] {got} {want}");
            }
        }
    }
}

/// Blocks, threads and heads side by side are ways to the same bits.
#[test]
fn long_texts_have_the_bits_of_short_blocks() {
    let (hidden, heads, len) = (32, 2, 1100);
    let (q, kv) = (draw(1, len * hidden), draw(2, len * 2 * hidden));
    let run = |offsets: &[usize], tokens: usize| {
        let attention = Attention {
            offsets,
            heads,
            hidden,
            first_only: false,
            positions: Positions::Embedded,
            window: Some(40),
            dropout: None,
        };
        let (mut out, mut sums) = (vec![0.0; tokens * hidden], vec![0.0; tokens * heads]);
        let operands = Operands::Apart(&q[..tokens * hidden], &kv[..tokens * 2 * hidden]);
        attention.forward(operands, &mut out, &mut sums);
        out
    };
    let (long, short) = (run(&[0, len], len), run(&[0, 300], 300));
    // Tokens that reach none beyond the shorter text.
    assert_eq!(long[..250 * hidden], short[..250 * hidden]);
    let both = run(&[0, 300, 301, 302, 303, 304], 304);
    assert_eq!(short, both[..300 * hidden]);
}

#[test]
fn large_scores_do_not_overflow() {
    let case =
        Case { by: By::Embedded, first_only: false, dropout: false, window: None, together: false };
    let mut given = given(&case);
    given.q.fill(40.0);
    given.kv.iter_mut().for_each(|v| *v *= 40.0);
    attend(&case, &given, |a| {
        let (mut out, mut log_sums) = (vec![0.0; given.q.len()], vec![0.0; 40 * HEADS]);
        a.forward(Operands::Apart(&given.q, &given.kv), &mut out, &mut log_sums);
        assert!(out.iter().all(|v| v.is_finite()));
    });
}
