//! What the planner says and does.

use super::samples::{always, base, cuts};
use crate::bank::{Bank, Costs, Dtype, Options, TaskPlan};

fn plans(costs: Costs, budget: usize) -> Vec<TaskPlan> {
    let base = base();
    let cuts = cuts(&base);
    let options = Options { materialise_budget: budget, costs: Some(costs), ..Options::default() };
    let bank = Bank::new(base, options).unwrap();
    for (name, cut) in &cuts {
        bank.add(name, cut).unwrap();
    }
    bank.plan(32)
}

fn plan<'p>(plans: &'p [TaskPlan], name: &str) -> &'p TaskPlan {
    plans.iter().find(|plan| plan.task.name() == name).unwrap()
}

#[test]
fn forks_and_shared_layers() {
    let plans = plans(always(false), 1 << 30);
    let head = plan(&plans, "head, mean");
    assert_eq!((head.forks_at.as_deref(), head.shared_layers, head.cost), (None, 3, 0.0));
    let layer = plan(&plans, "mask of layer 1, cls");
    let query = "encoder.layer.1.attention.self.query.weight";
    assert_eq!((layer.forks_at.as_deref(), layer.shared_layers), (Some(query), 1));
    let values = plan(&plans, "mask of values, cls");
    // Key and value are one matrix.
    let key = "encoder.layer.0.attention.self.key.weight";
    assert_eq!((values.forks_at.as_deref(), values.corrected), (Some(key), 3));
    let pooler = plan(&plans, "pooler, cls");
    assert_eq!(
        (pooler.forks_at.as_deref(), pooler.shared_layers),
        (Some("pooler.dense.weight"), 3)
    );
    assert_eq!((pooler.corrected, pooler.replaced), (1, 1));
    let embeddings = plan(&plans, "embeddings and vectors zeroed, mean");
    assert_eq!(embeddings.shared_layers, 0);
    assert_eq!(plan(&plans, "all replaced, mean").corrected, 0);
}

#[test]
fn ways_follow_costs_and_budget() {
    let corrected = plans(always(false), 1 << 30);
    let materialised = plans(always(true), 1 << 30);
    let small = plans(always(true), 4 * 2 * 32 * 32);
    let counts = |plans: &[TaskPlan]| {
        let mask = plan(plans, "mask 10%, first");
        (mask.corrected, mask.materialised, mask.materialised_bytes)
    };
    // Five matrices a layer, with the pooler 16.
    let bytes = 4 * (3 * (4 * 32 * 32 + 2 * 32 * 80) + 32 * 32);
    assert_eq!(counts(&corrected), (16, 0, 0));
    assert_eq!(counts(&materialised), (0, 16, bytes));
    // The feed-forward matrices alone are larger than this budget.
    let fitting = 4 * (3 * 4 * 32 * 32 + 32 * 32);
    assert_eq!(counts(&small), (6, 10, fitting));
}

/// Factors stay factors where all edits of a part have some, and fewer numbers than the matrix.
#[test]
fn low_rank_changes_are_counted_as_factors() {
    let plans = plans(Costs { thin: 0.5, ..always(false) }, 1 << 30);
    let head = |plan: &TaskPlan| {
        let card = plan.task.card();
        let labels = card.labels.iter().map(|label| label.len() + size_of::<String>());
        4 * 33 * card.outputs + labels.sum::<usize>()
    };
    let beside = |name: &str| {
        let plan = plan(&plans, name);
        (plan.corrected, plan.replaced, plan.task.bytes() - head(plan), plan.cost)
    };
    // Queries and values of three layers, rank 3; of 24,576 multiply-adds a token, 1,152 more.
    let factors = 3 * 2 * 3 * (32 + 32);
    let cost = 0.5 * factors as f64 / (3 * (4 * 32 * 32 + 2 * 32 * 80)) as f64;
    assert_eq!(beside("low rank of queries and values, mean"), (6, 0, 4 * factors, cost));
    // Key and value are one matrix.
    let (corrected, replaced, bytes, _) = beside("ranks of keys and values, first");
    assert_eq!((corrected, replaced, bytes), (3, 0, 4 * 3 * (1 + 5) * (32 + 32)));
    // Where another edit stands beside them, and where there are as many factors as entries.
    let (corrected, replaced, bytes, _) = beside("low rank of values beside other keys, mean");
    let zeros = plan(&plans, "low rank of values beside other keys, mean").task.zeros();
    assert_eq!((corrected, replaced), (3, 3));
    assert!(zeros > 0 && bytes > 4 * 3 * 2 * 32 * 32, "{bytes}");
    let all = beside("as many factors as entries, and of tables, cls");
    assert_eq!((all.0, all.1), (0, 19));
}

#[test]
fn measured_costs_are_numbers() {
    let Costs { dense, own, make, zero, zero_row, turn, thin } =
        Costs::measure(&base(), Dtype::F32);
    for cost in [dense, make, zero_row, turn, thin] {
        assert!(cost > 0.0 && cost < 1e6, "{cost}");
    }
    assert!(own >= 0.0 && zero >= 0.0 && own.is_finite() && zero.is_finite());
}
