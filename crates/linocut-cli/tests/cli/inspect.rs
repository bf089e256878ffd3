//! inspect and verify.

use super::place::{Place, rough};
use insta::assert_snapshot;

#[test]
fn a_mask() {
    let place = Place::new();
    place.train("--init-scale 0.2 --init-sparsity 0.1 --epochs 3", "m.cut");
    let shown = place.run("inspect m.cut");
    // Columns stand under each other.
    let table = shown.stdout.lines().skip_while(|line| !line.starts_with("zeros by layer"));
    let widths: Vec<usize> = table.map(|line| line.chars().count()).collect();
    assert!(widths.len() == 7 && widths[..6].iter().all(|w| *w == widths[0]), "{shown}");
    // Which layers and kinds these are, rounding decides.
    let (table, last) = shown.stdout.trim_end().rsplit_once('\n').unwrap();
    assert!(last.contains("of the kinds") && last.contains("has most"), "{last}");
    assert_snapshot!(rough(table), @"
    task topics: one of # labels for a text
    input at most # tokens, cls pooling
    labels food, travel, weather
    base base, fingerprint #adcafe9486c…
    tokenizer fingerprint #ac6db34155…
    method mask, sampling stochastic, init scale #, init sparsity #, candidates #
    training rows #, texts cut #, epochs #, steps #, batch #, head lr #, warmup #, decay #, clip #, seed #, trained parameters #, mask lr #, dropout #, loss #
    metrics accuracy #, f1_macro #, f1_micro #, matthews #

    file # KB
     zeros # KB
     replaced tensors # B
     head # B
     probes # B
     card # KB
     container # KB

    zeros by layer query key value attention-output intermediate output pooler all zeros bytes
    # #% #% #% #% #% #% · #% # #
    # #% #% #% #% #% #% · #% # #
    # #% #% #% #% #% #% · #% # #
    none · · · · · · #% #% # #
    all #% #% #% #% #% #% #% #% # #
    ");
}

#[test]
fn replaced_tensors() {
    let place = Place::new();
    place.train("--method layers --layers 2 --only output,bias --epochs 1 --store f16", "l.cut");
    assert_snapshot!(place.run("inspect l.cut").rough(), @r#"
    exit 0
    --- stdout
    task topics: one of # labels for a text
    input at most # tokens, cls pooling
    labels food, travel, weather
    base base, fingerprint #adcafe9486c…
    tokenizer fingerprint #ac6db34155…
    method layers, layers [#], only [output, bias]
    training rows #, texts cut #, epochs #, steps #, batch #, head lr #, warmup #, decay #, clip #, seed #, trained parameters #, lr #, dropout #, loss #
    metrics accuracy #, f1_macro #, f1_micro #, matthews #

    file # KB
     zeros # B
     replaced tensors # KB
     head # B
     probes # B
     card # KB
     container # KB

    replaced tensor shape stored as bytes
    encoder.layer.#attention.output.dense.bias # f16 #
    encoder.layer.#attention.self.key.bias # f16 #
    encoder.layer.#attention.self.query.bias # f16 #
    encoder.layer.#attention.self.value.bias # f16 #
    encoder.layer.#intermediate.dense.bias # f16 #
    encoder.layer.#output.dense.bias # f16 #
    encoder.layer.#output.dense.weight # × # f16 #
    pooler.dense.bias # f16 #
    "#);
}

#[test]
fn as_json() {
    let place = Place::new();
    place.train("--only query --layers 0 --init-scale 0.2 --init-sparsity 0.1 --epochs 2", "m.cut");
    assert_snapshot!(rough(&format!("{:#}", place.run("inspect m.cut --json").json())), @r##"
    {
     "cut": "m.cut",
     "card": {
     "format": #,
     "task": "topics",
     "problem": "single-label",
     "labels": [
     "food",
     "travel",
     "weather"
     ],
     "outputs": #,
     "pooling": "cls",
     "max_length": #,
     "pairs": false,
     "base": {
     "name": "base",
     "fingerprint": "#adcafe9486c5bbdf712a8f711f67136bb9a6a905c1f6566bad56e88c718bce9"
     },
     "tokenizer": "#ac6db341554f785c71533296819cd4d7fd0befbdad0474425cc8b3f59490a5",
     "method": {
     "name": "mask",
     "sampling": "stochastic",
     "init_scale": #,
     "init_sparsity": #,
     "candidates": #,
     "layers": [
     #
     ],
     "only": [
     "query"
     ]
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
     "mask_lr": #,
     "dropout": #,
     "loss": #
     },
     "metric": "accuracy",
     "metrics": {
     "accuracy": #,
     "f1_macro": #,
     "f1_micro": #,
     "matthews": #
     },
     "tensors": {
     "encoder.layer.#attention.self.query.weight": {
     "shape": [
     #,
     #
     ],
     "edit": "zeros",
     "zeros": #,
     "sparsity": #,
     "bytes": #
     }
     }
     },
     "bytes": {
     "file": #,
     "zeros": #,
     "replaced": #,
     "differences": #,
     "others": #,
     "head": #,
     "probes": #,
     "card": #,
     "container": #
     }
    }
    "##);
}

#[test]
fn verify_goes_on_after_a_bad_cut() {
    let place = Place::trained();
    let mut bytes = place.read("topics.cut");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    place.write("damaged.cut", bytes);
    place.train("--init-scale 0.2 --init-sparsity 0.1 --epochs 1", "mask.cut");
    let shown = place.run("verify topics.cut damaged.cut none.cut mask.cut --base base");
    assert_snapshot!(shown, @"
    exit 1
    --- stdout
    ok      topics.cut: topics, 4 probes equal, base restored
    FAILED  damaged.cut: not a whole and unaltered cut: the last 32 of its 81738 bytes are not the digest of those before; the file was cut short, changed, or is something else; copy it again from where it was made
    FAILED  none.cut: cannot read none.cut: No such file or directory (os error 2)
    ok      mask.cut: topics, 4 probes equal, base restored
    --- stderr
    error: 2 of 4 cuts failed
    ");
    let shown = place.run("verify topics.cut damaged.cut --base base --json");
    assert_snapshot!(shown, @r#"
    exit 1
    --- stdout
    {"cut":"topics.cut","ok":true,"task":"topics","probes":4,"dtype":"f32","difference":0.0}
    {"cut":"damaged.cut","ok":false,"error":"not a whole and unaltered cut: the last 32 of its 81738 bytes are not the digest of those before; the file was cut short, changed, or is something else; copy it again from where it was made"}
    --- stderr
    error: 1 of 2 cuts failed
    "#);
    assert_snapshot!(place.run("verify topics.cut mask.cut --base base"), @"
    exit 0
    --- stdout
    ok      topics.cut: topics, 4 probes equal, base restored
    ok      mask.cut: topics, 4 probes equal, base restored
    ");
}
