//! Losses of the three kinds of problem, each with its gradient in the same pass. `rows`, one number a row, says how
//! many times a row's loss counts; the mean stays over the rows as they are.

use super::sums::dot;

/// Cross-entropy of `logits`, `[rows, classes]`, against one class a row; mean over rows, or with
/// `weights`, `[classes]`, Σ wₜ·lossₜ / Σ wₜ as `torch.nn.CrossEntropyLoss`. Returns the loss and
/// turns `logits` into its gradient.
pub fn cross_entropy(
    logits: &mut [f32],
    targets: &[u32],
    weights: Option<&[f32]>,
    rows: Option<&[f32]>,
) -> f64 {
    let classes = logits.len() / targets.len().max(1);
    let weight = |target: u32| weights.map_or(1.0, |w| f64::from(w[target as usize]));
    let total: f64 = targets.iter().map(|&t| weight(t)).sum();
    let mut loss = 0.0;
    for (i, (row, &target)) in logits.chunks_exact_mut(classes).zip(targets).enumerate() {
        let most = row.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
        let sum: f64 = row.iter().map(|&z| f64::from(z - most).exp()).sum();
        let share = of_row(rows, i) * weight(target) / total;
        loss += share * (sum.ln() - f64::from(row[target as usize] - most));
        for (class, z) in row.iter_mut().enumerate() {
            let p = f64::from(*z - most).exp() / sum;
            let hit = if class == target as usize { 1.0 } else { 0.0 };
            *z = (share * (p - hit)) as f32;
        }
    }
    loss
}

/// T²·KL(teacher ‖ student) of softmax(`teacher` / T) and softmax(`logits` / T), both logits `[rows, classes]`, with the
/// temperature T; mean over rows (Hinton et al. 2015, by whose T² the gradient keeps its size). Returns the loss and turns
/// `logits` into its gradient.
pub fn divergence(
    logits: &mut [f32],
    teacher: &[f32],
    (classes, temperature): (usize, f64),
    rows: Option<&[f32]>,
) -> f64 {
    let n = (logits.len() / classes) as f64;
    let mut loss = 0.0;
    let pairs = logits.chunks_exact_mut(classes).zip(teacher.chunks_exact(classes));
    for (i, (row, teacher)) in pairs.enumerate() {
        let (own, its) = (log_softmax(row, temperature), log_softmax(teacher, temperature));
        let share = of_row(rows, i) / n;
        for (z, (q, p)) in row.iter_mut().zip(own.into_iter().zip(its)) {
            loss += share * temperature * temperature * p.exp() * (p - q);
            *z = (share * temperature * (q.exp() - p.exp())) as f32;
        }
    }
    loss
}

/// ln softmax(`row` / T).
fn log_softmax(row: &[f32], temperature: f64) -> Vec<f64> {
    let cooled: Vec<f64> = row.iter().map(|&z| f64::from(z) / temperature).collect();
    let most = cooled.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
    let sum: f64 = cooled.iter().map(|z| (z - most).exp()).sum();
    cooled.into_iter().map(|z| z - most - sum.ln()).collect()
}

/// Binary cross-entropy of `logits` against targets from 0 to 1, both `[rows, labels]`; mean over
/// all entries. With `positive`, `[labels]`, a target of 1 counts so many times, as by the
/// `pos_weight` of `torch.nn.BCEWithLogitsLoss`. Returns the loss and turns `logits` into its
/// gradient.
pub fn binary_cross_entropy(
    logits: &mut [f32],
    targets: &[f32],
    positive: Option<&[f32]>,
    rows: Option<&[f32]>,
) -> f64 {
    let labels = rows.map_or(1, |rows| logits.len() / rows.len().max(1)).max(1);
    let n = logits.len() as f64;
    let mut loss = 0.0;
    for (i, (z, &target)) in logits.iter_mut().zip(targets).enumerate() {
        let (x, t) = (f64::from(*z), f64::from(target));
        let weight = match positive {
            Some(weights) if target == 1.0 => f64::from(weights[i % weights.len()]),
            _ => 1.0,
        } * of_row(rows, i / labels);
        loss += weight * (x.max(0.0) - x * t + (-x.abs()).exp().ln_1p()) / n;
        *z = (weight * (1.0 / (1.0 + (-x).exp()) - t) / n) as f32;
    }
    loss
}

/// Mean squared error of `outputs` against `targets`, both `[rows]`. Returns the loss and turns
/// `outputs` into its gradient.
pub fn squared_error(outputs: &mut [f32], targets: &[f32], rows: Option<&[f32]>) -> f64 {
    let n = outputs.len() as f64;
    let mut loss = 0.0;
    for (i, (y, &target)) in outputs.iter_mut().zip(targets).enumerate() {
        let (error, times) = (f64::from(*y) - f64::from(target), of_row(rows, i));
        loss += times * error * error / n;
        *y = (times * 2.0 * error / n) as f32;
    }
    loss
}

/// How far the cosines of `vectors`, `[rows, width]`, lie from 1 for two rows of one class and from 0 for others:
/// the mean squared error of the one kind of pairs plus that of the other, so that neither outweighs the other by its
/// number. A kind without a pair counts nothing. Returns the loss and its gradient, `[rows, width]`; a vector of
/// zeros has cosines of 0 and no gradient.
///
/// The loss of SetFit (Tunstall et al. 2022), over all pairs of a batch in place of some.
pub fn pair_cosines(vectors: &[f32], classes: &[u32]) -> (f64, Vec<f32>) {
    let rows = classes.len();
    let width = vectors.len() / rows.max(1);
    let mut norms = Vec::with_capacity(rows);
    let mut unit = Vec::with_capacity(vectors.len());
    for vector in vectors.chunks_exact(width.max(1)) {
        let norm = vector.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
        norms.push(norm);
        unit.extend(vector.iter().map(|&v| if norm > 0.0 { f64::from(v) / norm } else { 0.0 }));
    }
    let of = |row: usize| &unit[row * width..(row + 1) * width];
    let pairs = || (0..rows).flat_map(|i| (0..i).map(move |j| (i, j)));
    let alike = pairs().filter(|&(i, j)| classes[i] == classes[j]).count();
    let others = rows * rows.saturating_sub(1) / 2 - alike;
    let mut loss = 0.0;
    // Of the unit vectors.
    let mut grads = vec![0.0; unit.len()];
    for (i, j) in pairs() {
        let (want, count) = if classes[i] == classes[j] { (1.0, alike) } else { (0.0, others) };
        let error = dot(of(i), of(j)) - want;
        loss += error * error / count as f64;
        let slope = 2.0 * error / count as f64;
        for k in 0..width {
            grads[i * width + k] += slope * unit[j * width + k];
            grads[j * width + k] += slope * unit[i * width + k];
        }
    }
    let grad = grads.chunks_exact(width.max(1)).enumerate().flat_map(|(i, grad)| {
        // What of it lies along the vector changes nothing.
        let (unit, norm) = (of(i), norms[i]);
        let along = dot(grad, unit);
        let one = move |(g, u): (&f64, &f64)| ((g - along * u) / norm) as f32;
        grad.iter().zip(unit).map(move |pair| if norm > 0.0 { one(pair) } else { 0.0 })
    });
    (loss, grad.collect())
}

fn of_row(rows: Option<&[f32]>, row: usize) -> f64 {
    rows.map_or(1.0, |rows| f64::from(rows[row]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_agree_with_finite_differences() {
        let logits = [0.3f32, -1.2, 2.0, 0.1, 0.0, -0.4];
        let weights = [0.5, 2.0, 1.0];
        let teacher = [1.0, 0.2, -0.7, 0.1, -2.5, 0.3];
        let shares = [0.9, 0.2, 0.5, 0.0, 1.0, 0.3];
        type Loss<'a> = (&'a str, Box<dyn Fn(&mut [f32]) -> f64 + 'a>);
        let times = [1.5, 0.5];
        let hot = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0];
        let losses: [Loss<'_>; 11] = [
            ("cross-entropy", Box::new(|z| cross_entropy(z, &[2, 0], None, None))),
            ("weighted", Box::new(|z| cross_entropy(z, &[2, 0], Some(&weights), None))),
            ("rows", Box::new(|z| cross_entropy(z, &[2, 0], Some(&weights), Some(&times)))),
            ("binary rows", Box::new(|z| binary_cross_entropy(z, &hot, None, Some(&times)))),
            (
                "squared rows",
                Box::new(|z| squared_error(z, &hot, Some(&[2.0, 0.5, 0.0, 1.0, 1.5, 1.0]))),
            ),
            ("binary", Box::new(|z| binary_cross_entropy(z, &hot, None, None))),
            ("positive", Box::new(|z| binary_cross_entropy(z, &hot, Some(&weights), None))),
            ("squared", Box::new(|z| squared_error(z, &[1.0, 0.0, 3.0, 0.5, -1.0, 1.0], None))),
            ("divergence", Box::new(|z| divergence(z, &teacher, (3, 2.0), None))),
            ("divergence rows", Box::new(|z| divergence(z, &teacher, (3, 1.5), Some(&times)))),
            ("shares", Box::new(|z| binary_cross_entropy(z, &shares, None, Some(&times)))),
        ];
        for (name, loss) in &losses {
            let mut grad = logits;
            loss(&mut grad);
            for i in 0..logits.len() {
                let at = |h: f32| {
                    let mut z = logits;
                    z[i] += h;
                    loss(&mut z)
                };
                let want = (at(1e-2) - at(-1e-2)) / 2e-2;
                assert!((f64::from(grad[i]) - want).abs() < 1e-4, "{name}[{i}]");
            }
        }
    }

    /// `F.cosine_similarity` of all pairs in float64, and finite differences.
    #[test]
    fn pairs_are_drawn_together_or_apart() {
        let vectors = [0.3f32, -1.2, 2.0, 0.1, 0.5, -0.4, 1.1, 0.2, -0.7, 0.6, 0.9, -2.0];
        let classes = [0, 1, 0, 1];
        let (value, grad) = pair_cosines(&vectors, &classes);
        let cosine = |i: usize, j: usize| {
            let [a, b] = [i, j].map(|row| vectors[3 * row..][..3].iter().map(|&v| f64::from(v)));
            let square = |v: f64| v * v;
            let norms = a.clone().map(square).sum::<f64>() * b.clone().map(square).sum::<f64>();
            a.zip(b).map(|(a, b)| a * b).sum::<f64>() / norms.sqrt()
        };
        let alike = [(0, 2), (1, 3)].map(|(i, j)| (1.0 - cosine(i, j)).powi(2));
        let others = [(0, 1), (0, 3), (2, 1), (2, 3)].map(|(i, j)| cosine(i, j).powi(2));
        let want = alike.iter().sum::<f64>() / 2.0 + others.iter().sum::<f64>() / 4.0;
        assert!((value - want).abs() < 1e-12, "{value} {want}");
        for i in 0..vectors.len() {
            let at = |h: f32| {
                let mut moved = vectors;
                moved[i] += h;
                pair_cosines(&moved, &classes).0
            };
            let want = (at(1e-3) - at(-1e-3)) / 2e-3;
            assert!((f64::from(grad[i]) - want).abs() < 1e-4, "{i}: {} {want}", grad[i]);
        }
        assert_eq!(pair_cosines(&[1.0, 2.0], &[0]), (0.0, vec![0.0; 2]));
        let (value, grad) = pair_cosines(&[0.0, 0.0, 1.0, 2.0], &[0, 0]);
        assert_eq!((value, grad), (1.0, vec![0.0; 4]));
    }

    /// Σ p (ln p − ln q) of the definition, in float64.
    #[test]
    fn the_divergence_is_hintons() {
        let (logits, teacher) = ([0.3f32, -1.2, 2.0], [1.0f32, 0.2, -0.7]);
        let softmax = |z: &[f32], t: f64| {
            let powers: Vec<f64> = z.iter().map(|&z| (f64::from(z) / t).exp()).collect();
            let sum: f64 = powers.iter().sum();
            powers.into_iter().map(move |power| power / sum).collect::<Vec<f64>>()
        };
        for t in [1.0, 2.0, 5.0] {
            let (q, p) = (softmax(&logits, t), softmax(&teacher, t));
            let want: f64 = t * t * p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum::<f64>();
            let found = divergence(&mut logits.clone(), &teacher, (3, t), None);
            assert!((found - want).abs() < 1e-12, "{t}: {found} {want}");
        }
        // Of what the teacher says already, nothing is to be learned.
        let mut same = teacher;
        assert_eq!((divergence(&mut same, &teacher, (3, 2.0), None), same), (0.0, [0.0; 3]));
    }

    #[test]
    fn huge_logits_stay_finite() {
        let mut z = [1e30f32, -1e30, 3e38, -3e38];
        assert!(cross_entropy(&mut z, &[0, 0], None, None).is_finite());
        let mut z = [1e30f32, -1e30];
        assert!(binary_cross_entropy(&mut z, &[1.0, 0.0], None, None).is_finite());
        let mut z = [1e30f32, -1e30, 3e38, -3e38];
        assert!(divergence(&mut z, &[-1e30, 1e30, -3e38, 3e38], (2, 2.0), None).is_finite());
    }

    /// scikit-learn's meaning: a row that counts twice is as good as two of it.
    #[test]
    fn a_row_that_counts_twice_is_two_rows() {
        let (mut twice, mut weighted) =
            ([0.3f32, -1.2, 2.0, 0.1, 2.0, 0.1], [0.3f32, -1.2, 2.0, 0.1]);
        let one = cross_entropy(&mut twice, &[1, 0, 0], None, None);
        let other = cross_entropy(&mut weighted, &[1, 0], None, Some(&[2.0 / 3.0, 4.0 / 3.0]));
        assert!((one - other).abs() < 1e-7);
        assert!((twice[0] - weighted[0]).abs() < 1e-7);
        assert!((2.0 * twice[2] - weighted[2]).abs() < 1e-7);
    }
}
