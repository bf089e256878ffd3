//! Training by every method.

use super::place::{LEARN, Place, rough};
use insta::assert_snapshot;

#[test]
fn a_mask() {
    let place = Place::new();
    let options = "--init-scale 0.2 --init-sparsity 0.1 --epochs 4 --batch 8";
    let shown = place.run(&format!("train --base base --task topics {options} --out t.cut"));
    assert_snapshot!(shown.rough(), @"
    exit 0
    --- stdout
    accuracy # on # dev rows; the most frequent label for all: #
    t.cut: # KB (# KB without the head), #% zeros; the base is # KB
    --- stderr
    topics: # rows, # dev rows, # labels; mask on base, # epochs
    # rows of each label
    texts of # tokens (median), # at most; none is cut
    ");
    assert_eq!(place.names(), ["base", "t.cut", "topics"]);
}

#[test]
fn a_share_of_zeros() {
    let place = Place::new();
    let shown = place.train("--sparsity 0.25 --epochs 2 --batch 8", "t.cut");
    assert_snapshot!(shown.stdout.split(", ").nth(1).unwrap(), @"25.00% zeros; the base is 135.8 KB");
    let method = place.run("inspect t.cut --json").json()["card"]["method"].clone();
    assert_snapshot!(method, @r#"{"name":"mask","sampling":"stochastic","init_scale":6.0,"init_sparsity":0.24,"candidates":1.0,"sparsity":0.25,"scope":"matrix"}"#);
}

#[test]
fn layers() {
    let place = Place::new();
    let options = "--method layers --layers 1-2 --only query,output --epochs 2";
    assert_snapshot!(place.train(options, "t.cut").rough(), @"
    exit 0
    --- stdout
    accuracy # on # dev rows; the most frequent label for all: #
    t.cut: # KB (# KB without the head); the base is # KB
    ");
    let replaced = place.run("inspect t.cut --json").json()["card"]["tensors"].clone();
    let names: Vec<&String> = replaced.as_object().unwrap().keys().collect();
    assert_snapshot!(format!("{names:#?}"), @r#"
    [
        "encoder.layer.1.attention.self.query.weight",
        "encoder.layer.1.output.dense.weight",
        "encoder.layer.2.attention.self.query.weight",
        "encoder.layer.2.output.dense.weight",
    ]
    "#);
}

#[test]
fn low_rank_factors() {
    let place = Place::new();
    let options =
        "--method lora --rank 4 --layers 2 --lr 1e-2 --head-lr 1e-2 --epochs 20 --batch 8";
    let trained = place.train(&format!("{options} --json"), "t.cut").json();
    let shown = place.run("inspect t.cut").stdout;
    let table =
        shown.lines().skip_while(|line| !line.starts_with("difference ")).collect::<Vec<_>>();
    assert_snapshot!(table.join("\n"), @"
    difference                                     shape     kind  entries moved  error left  bytes
    encoder.layer.2.attention.self.query.weight  36 × 36  lowrank            all        none    576
    encoder.layer.2.attention.self.value.weight  36 × 36  lowrank            all        none    576
    ");
    // Every command that takes a cut takes this one, and they agree.
    let scored = place.run("eval t.cut --base base --task topics --json").json();
    assert_eq!(scored["primary"], trained["evaluation"]["primary"]);
    assert!(scored["primary"]["value"].as_f64().unwrap() > 0.6, "{scored}");
    assert_snapshot!(place.run("verify t.cut --base base --quiet").rough(), @"
    exit 0
    --- stdout
    ok t.cut: topics, # probes equal, base restored
    ");
    let measured = place.run("measure base t.cut --quiet --json").json();
    let moved = |i: usize| {
        let layer = &measured["models"][0]["layers"][i];
        (layer["name"].as_str().unwrap().to_string(), layer["l2"].as_f64().unwrap() > 0.0)
    };
    let layers: Vec<_> = (0..4).map(moved).filter(|(_, moved)| *moved).collect();
    assert_eq!(layers, [("2".to_string(), true)]);
    assert!(place.run("export t.cut --base base --out hf -q").to_string().starts_with("exit 0"));
    let predict = |of: &str| place.run_with(of, &["rain and snow"], b"").to_string();
    assert!(predict("predict t.cut --base base --quiet").starts_with("exit 0"));
}

#[test]
fn head_alone() {
    let place = Place::new();
    assert_snapshot!(place.train("--method head --epochs 2", "t.cut").rough(), @"
    exit 0
    --- stdout
    accuracy # on # dev rows; the most frequent label for all: #
    t.cut: # KB (# KB without the head); the base is # KB
    ");
}

#[test]
fn everything_learns_the_task() {
    let place = Place::new();
    let shown = place.run(&format!("train --base base --task topics {LEARN} --out t.cut"));
    assert_snapshot!(shown.to_string().lines().take(4).collect::<Vec<_>>().join("\n"), @"
    exit 0
    --- stdout
    accuracy 100.00 on 12 dev rows; the most frequent label for all: 33.33
    t.cut: 81.7 KB (81.5 KB without the head); the base is 135.8 KB
    ");
}

#[test]
fn results_as_json() {
    let place = Place::new();
    let shown = place.train("--method bias --epochs 1 --json", "t.cut");
    assert_snapshot!(rough(&format!("{:#}", shown.json())), @r#"
    {
     "cut": "t.cut",
     "task": "topics",
     "method": {
     "name": "bias"
     },
     "training": {
     "rows": #,
     "held_out_rows": #,
     "texts_cut": #,
     "epochs": #,
     "steps": #,
     "batch": #,
     "head_lr": #,
     "warmup": #,
     "decay": #,
     "clip": #,
     "seed": #,
     "trained_parameters": #,
     "lr": #,
     "dropout": #,
     "loss": #
     },
     "evaluation": {
     "rows": #,
     "primary": {
     "name": "accuracy",
     "value": #
     },
     "values": {
     "accuracy": #,
     "f1_macro": #,
     "f1_micro": #,
     "matthews": #
     },
     "classes": [
     {
     "precision": #,
     "recall": #,
     "f1": #,
     "support": #
     },
     {
     "precision": #,
     "recall": #,
     "f1": #,
     "support": #
     },
     {
     "precision": #,
     "recall": #,
     "f1": #,
     "support": #
     }
     ],
     "confusion": {
     "counts": [
     [
     #,
     #,
     #
     ],
     [
     #,
     #,
     #
     ],
     [
     #,
     #,
     #
     ]
     ]
     }
     },
     "dev_rows_held_out": false,
     "majority": {
     "name": "accuracy",
     "value": #
     },
     "folds": null,
     "decision": null,
     "trained_parameters": #,
     "zeros": #,
     "sparsity": null,
     "bytes": #,
     "head_bytes": #,
     "base_bytes": #,
     "training_texts_cut": #,
     "dev_texts_cut": #,
     "seconds": #,
     "tokens_per_second": #
    }
    "#);
}

#[test]
fn rows_are_held_out_without_a_dev_file() {
    let place = Place::new();
    let options = "--method head --epochs 1 --out t.cut";
    let shown = place.run(&format!("train --base base --train topics/train.tsv {options}"));
    assert_snapshot!(shown.rough(), @r#"
    exit 0
    --- stdout
    accuracy # on # held-out rows; the most frequent label for all: #
    t.cut: # KB (# KB without the head); the base is # KB
    --- stderr
    note: label column "label": # labels, one a row, since it holds texts; --problem says otherwise
    train: # rows, # dev rows held out, # labels; head on base, # epochs
    most frequent label: "food" (# rows), rarest: "travel" (# rows)
    texts of # tokens (median), # at most; none is cut
    "#);
}

#[test]
fn threads_do_not_change_the_cut() {
    let place = Place::new();
    for (method, options) in [
        ("mask", "--method mask --init-scale 0.2 --epochs 3"),
        ("full", "--method full --epochs 3"),
        ("lora", "--method lora --epochs 3 --rank 2 --only query,output"),
        ("layers", "--method layers --layers 2 --epochs 3 --class-weights balanced"),
    ] {
        let cuts: Vec<Vec<u8>> = [1, 2, 2]
            .iter()
            .enumerate()
            .map(|(i, threads)| {
                let out = format!("{method}{i}.cut");
                place.train(&format!("{options} --seed 5 --threads {threads}"), &out);
                place.read(&out)
            })
            .collect();
        assert!(cuts[0] == cuts[1] && cuts[1] == cuts[2], "{method}");
        let out = format!("{method}-other.cut");
        place.train(&format!("{options} --seed 6"), &out);
        assert!(place.read(&out) != cuts[0], "{method}: another seed, the same cut");
    }
}

#[test]
fn texts_beyond_the_limit_are_counted() {
    let place = Place::new();
    let long = "rain and snow ".repeat(30);
    place.edit(
        "topics/train.tsv",
        "sentence1\tlabel\n",
        &format!("sentence1\tlabel\n{long}\tweather\n"),
    );
    place.edit(
        "topics/dev.tsv",
        "sentence1\tlabel\n",
        &format!("sentence1\tlabel\n{long}\tweather\n{long}\tfood\n"),
    );
    let shown = place.train("--method head --epochs 1", "t.cut");
    assert_snapshot!(shown.stderr, @"
    warning: 2 of 14 dev rows have a text that stands among the training rows, too: the score is too good by what was learned by heart
    note: 1 training texts are longer than 40 tokens and were cut
    note: 2 dev texts are longer than 40 tokens and were cut
    ");
    let shown = place.run("eval t.cut --base base --task topics");
    assert_snapshot!(shown.stderr, @"note: 2 texts are longer than 40 tokens and were cut");
    assert_eq!(place.run("eval t.cut --base base --task topics --json").json()["texts_cut"], 2);
    let shown = place.run_with("predict t.cut --base base", &[&long], b"");
    assert_snapshot!(shown.stderr, @"note: 1 text is longer than 40 tokens and was cut");
}

#[test]
fn early_stop_holds_rows_out() {
    let place = Place::new();
    let options = "--method head --epochs 3 --early-stop 0.2 --batch 8";
    let shown = place.run(&format!("train --base base --task topics {options} --out t.cut"));
    assert_snapshot!(shown.rough(), @"
    exit 0
    --- stdout
    accuracy # on # dev rows; the most frequent label for all: #
    t.cut: # KB (# KB without the head); the base is # KB
    --- stderr
    topics: # rows, # dev rows, # labels; head on base, # epochs
    # rows of each label
    texts of # tokens (median), # at most; none is cut
    step #: # on held-out rows
    step #: # on held-out rows
    step #: # on held-out rows
    ");
}
