//! measure, on the distances fixture and on cuts.

use super::place::Place;
use insta::assert_snapshot;
use std::path::Path;
use std::process::Command;

/// With `base.safetensors`, `near.safetensors` and `far.safetensors` of the distances fixture.
fn place() -> Place {
    let place = Place::new();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/closeness");
    for name in ["base", "near", "far"] {
        let file = format!("{name}.safetensors");
        place.write(&file, std::fs::read(from.join(&file)).unwrap());
    }
    place
}

#[test]
fn one_model() {
    let shown = place().run("measure base.safetensors near.safetensors --tensors 2");
    assert_snapshot!(shown, @"
    exit 0
    --- stdout
    near.safetensors from base.safetensors: 12 tensors

            angular  0 to 0.500    relative_l2  mean_abs      l1       l2  max_abs  changed  of random  entries
    all     2.03e-4                    6.39e-4   2.16e-5  0.0860  0.00323  3.15e-4    80.2%      0.10%     3984
    random    0.500  ████████████         1.41    0.0226    86.7     1.75    0.107     100%       100%     3840

    layer       angular  0 to 3.43e-4  relative_l2  mean_abs       l1       l2  max_abs  changed  of random  entries
    0           3.43e-4  ████████████      0.00108   4.12e-6  0.00494  7.48e-4  3.15e-4    99.8%      0.02%     1200
    1           3.09e-4  ██████████▉       9.70e-4   2.95e-6  0.00354  6.61e-4  2.84e-4    86.4%      0.01%     1200
    embeddings  1.98e-4  ██████▉           6.22e-4   7.69e-5   0.0775  0.00307  3.01e-4    95.2%      0.36%     1008
    pooler      2.53e-9                    7.95e-9  6.47e-12  3.73e-9  3.73e-9  3.73e-9    0.17%     <0.01%      576

    kind              angular  0 to 0.00162  relative_l2  mean_abs       l1       l2  max_abs  changed  of random  entries
    embeddings        0.00162  ████████████      0.00509   8.07e-5   0.0775  0.00307  3.01e-4     100%      0.36%      960
    query             2.27e-5  ▏                 7.14e-5   8.17e-7  9.41e-4  4.83e-5  6.70e-6    99.1%     <0.01%     1152
    attention-output  2.12e-6                    6.66e-6   7.84e-8  9.03e-5  4.65e-6  5.64e-7    86.5%     <0.01%     1152
    pooler            2.53e-9                    7.95e-9  6.47e-12  3.73e-9  3.73e-9  3.73e-9    0.17%     <0.01%      576
    layernorm               0                          0         0        0        0        0       0%          ·       48
    bias                    ·                          ·   7.76e-5  0.00745  9.97e-4  3.15e-4     100%          ·       96

    tensor                                       angular  0 to 0.00162  relative_l2  mean_abs       l1       l2  max_abs  changed  of random  entries
    embeddings.word_embeddings.weight            0.00162  ████████████      0.00509   8.07e-5   0.0775  0.00307  3.01e-4     100%      0.36%      960
    encoder.layer.0.attention.self.query.weight  3.17e-5  ▎                 9.96e-5   1.62e-6  9.32e-4  4.83e-5  6.70e-6    99.8%     <0.01%      576
    … 10 more with --tensors 12

    only in the model: classifier.weight
    ");
}

#[test]
fn several_models_and_a_wrong_base() {
    let shown = place().run("measure base.safetensors near.safetensors far.safetensors");
    assert_snapshot!(shown, @"
    exit 0
    --- stdout
    2 models from base.safetensors

    model             angular  0 to 0.500    relative_l2  mean_abs      l1       l2  max_abs  changed  of random  entries
    far.safetensors     0.498  ████████████         1.03    0.0282     112     5.20     1.04     100%       129%     3984
    near.safetensors  2.03e-4                    6.39e-4   2.16e-5  0.0860  0.00323  3.15e-4    80.2%      0.10%     3984
    random              0.500  ████████████         1.41    0.0226    86.7     1.75    0.107     100%       100%     3840

    angular by layer
    layer           [1]    [2]
    embeddings  1.98e-4  0.496
    0           3.43e-4  0.490
    1           3.09e-4  0.508
    pooler      2.53e-9  0.503

    angular distance of task vectors (0.5: unrelated)
                            [1]    [2]
    [1] near.safetensors      ·  0.498
    [2] far.safetensors   0.498      ·

    near.safetensors:
    only in the model: classifier.weight

    far.safetensors:
    only in the model: classifier.weight
    --- stderr
    warning: far.safetensors is as far from base.safetensors as a random initialisation (angular distance 0.498; two random ones: 0.5): probably not the base it was tuned from
    ");
}

/// All that a program may rely on.
#[test]
fn golden_json() {
    let shown = place().run("measure base.safetensors near.safetensors --json");
    let mut json = shown.json();
    let tensors = json["models"][0]["tensors"].as_array().unwrap().clone();
    assert_eq!(tensors.len(), 12);
    json["models"][0]["tensors"] = serde_json::json!([tensors[0], tensors[11]]);
    for list in ["cells", "kinds"] {
        let first = json["models"][0][list][0].clone();
        json["models"][0][list] = serde_json::json!([first]);
    }
    json["models"][0]["layers"] = json["models"][0]["layers"][1].clone();
    // Sums depend on the width of the vectors in their last digits.
    fn round(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Number(n) if n.is_f64() => {
                *value = format!("{:.6e}", n.as_f64().unwrap()).into();
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(round),
            serde_json::Value::Object(fields) => fields.values_mut().for_each(round),
            _ => {}
        }
    }
    round(&mut json);
    assert_snapshot!(format!("{json:#}"), @r#"
    {
      "base": "base.safetensors",
      "initializer_range": "2.000000e-2",
      "baseline_seed": null,
      "tolerance": "0.000000e0",
      "models": [
        {
          "name": "near.safetensors",
          "path": "near.safetensors",
          "format": "checkpoint",
          "unrelated": false,
          "far": [],
          "all": {
            "entries": 3984,
            "non_finite": 0,
            "changed": "8.022088e-1",
            "l1": "8.595913e-2",
            "mean_abs": "2.157609e-5",
            "l2": "3.228759e-3",
            "relative_l2": "6.390184e-4",
            "angular": "2.034037e-4",
            "cosine": "9.999998e-1",
            "max_abs": "3.145034e-4",
            "baseline": {
              "entries": 3840,
              "non_finite": 0,
              "changed": "1.000000e0",
              "l1": "8.665952e1",
              "mean_abs": "2.256758e-2",
              "l2": "1.752712e0",
              "relative_l2": "1.414214e0",
              "angular": "5.000000e-1",
              "cosine": "0.000000e0",
              "max_abs": "1.070901e-1"
            }
          },
          "layers": {
            "name": "0",
            "entries": 1200,
            "non_finite": 0,
            "changed": "9.983333e-1",
            "l1": "4.942422e-3",
            "mean_abs": "4.118685e-6",
            "l2": "7.478982e-4",
            "relative_l2": "1.076854e-3",
            "angular": "3.427723e-4",
            "cosine": "9.999994e-1",
            "max_abs": "3.145034e-4",
            "baseline": {
              "entries": 1152,
              "non_finite": 0,
              "changed": "1.000000e0",
              "l1": "2.599786e1",
              "mean_abs": "2.256758e-2",
              "l2": "9.600000e-1",
              "relative_l2": "1.414214e0",
              "angular": "5.000000e-1",
              "cosine": "0.000000e0",
              "max_abs": "9.825374e-2"
            }
          },
          "kinds": [
            {
              "name": "embeddings",
              "entries": 960,
              "non_finite": 0,
              "changed": "1.000000e0",
              "l1": "7.748106e-2",
              "mean_abs": "8.070943e-5",
              "l2": "3.070642e-3",
              "relative_l2": "5.089856e-3",
              "angular": "1.618734e-3",
              "cosine": "9.999871e-1",
              "max_abs": "3.013723e-4",
              "baseline": {
                "entries": 960,
                "non_finite": 0,
                "changed": "1.000000e0",
                "l1": "2.166488e1",
                "mean_abs": "2.256758e-2",
                "l2": "8.763561e-1",
                "relative_l2": "1.414214e0",
                "angular": "5.000000e-1",
                "cosine": "0.000000e0",
                "max_abs": "9.685285e-2"
              }
            }
          ],
          "cells": [
            {
              "layer": "embeddings",
              "kind": "embeddings",
              "entries": 960,
              "non_finite": 0,
              "changed": "1.000000e0",
              "l1": "7.748106e-2",
              "mean_abs": "8.070943e-5",
              "l2": "3.070642e-3",
              "relative_l2": "5.089856e-3",
              "angular": "1.618734e-3",
              "cosine": "9.999871e-1",
              "max_abs": "3.013723e-4",
              "baseline": {
                "entries": 960,
                "non_finite": 0,
                "changed": "1.000000e0",
                "l1": "2.166488e1",
                "mean_abs": "2.256758e-2",
                "l2": "8.763561e-1",
                "relative_l2": "1.414214e0",
                "angular": "5.000000e-1",
                "cosine": "0.000000e0",
                "max_abs": "9.685285e-2"
              }
            }
          ],
          "tensors": [
            {
              "name": "embeddings.LayerNorm.bias",
              "layer": "embeddings",
              "kind": "layernorm",
              "shape": [
                24
              ],
              "entries": 24,
              "non_finite": 0,
              "changed": "0.000000e0",
              "l1": "0.000000e0",
              "mean_abs": "0.000000e0",
              "l2": "0.000000e0",
              "relative_l2": null,
              "angular": null,
              "cosine": null,
              "max_abs": "0.000000e0",
              "baseline": null
            },
            {
              "name": "pooler.dense.weight",
              "layer": "pooler",
              "kind": "pooler",
              "shape": [
                24,
                24
              ],
              "entries": 576,
              "non_finite": 0,
              "changed": "1.736111e-3",
              "l1": "3.725290e-9",
              "mean_abs": "6.467518e-12",
              "l2": "3.725290e-9",
              "relative_l2": "7.951906e-9",
              "angular": "2.525250e-9",
              "cosine": "1.000000e0",
              "max_abs": "3.725290e-9",
              "baseline": {
                "entries": 576,
                "non_finite": 0,
                "changed": "1.000000e0",
                "l1": "1.299893e1",
                "mean_abs": "2.256758e-2",
                "l2": "6.788225e-1",
                "relative_l2": "1.414214e0",
                "angular": "5.000000e-1",
                "cosine": "0.000000e0",
                "max_abs": "9.282833e-2"
              }
            }
          ],
          "only_in_base": [],
          "only_in_tuned": [
            "classifier.weight"
          ],
          "not_weights": []
        }
      ],
      "pairs": []
    }
    "#);
}

#[test]
fn csv_has_a_line_a_tensor_layer_kind_and_model() {
    let shown = place().run("measure base.safetensors near.safetensors --csv");
    let lines: Vec<Vec<&str>> = shown.stdout.lines().map(|l| l.split(',').collect()).collect();
    assert_eq!(lines.len(), 1 + 1 + 4 + 6 + 12, "{shown}");
    assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{shown}");
    assert_eq!(lines[0][..7], ["model", "scope", "name", "layer", "kind", "zeros", "entries"]);
    let bias = lines.iter().find(|line| line[2] == "embeddings.LayerNorm.bias").unwrap();
    assert_eq!(bias[13], "", "a zero vector has no angle: {shown}");
}

#[test]
fn limits_name_the_tensors_that_break_them() {
    let place = place();
    let run = |limit: &str| {
        let line = "measure base.safetensors near.safetensors --tensors 0 --csv --fail-above";
        let mut shown = place.run(&format!("{line} {limit}"));
        shown.stdout.clear();
        shown.to_string()
    };
    assert_snapshot!(run("angular=0.001"), @"
    exit 1
    --- stderr
    error: 5 above --fail-above:
      near.safetensors: embeddings.word_embeddings.weight: angular 0.00162, allowed 0.001
      near.safetensors: encoder.layer.0.attention.output.dense.bias: angular undefined, allowed 0.001
      near.safetensors: encoder.layer.0.attention.self.query.bias: angular undefined, allowed 0.001
      near.safetensors: encoder.layer.1.attention.output.dense.bias: angular undefined, allowed 0.001
      near.safetensors: encoder.layer.1.attention.self.query.bias: angular undefined, allowed 0.001
    ");
    assert_snapshot!(run("max_abs=0.1"), @"
    exit 0
    ");
    assert_snapshot!(run("angular=x"), @r#"
    exit 2
    --- stderr
    error: invalid value 'angular=x' for '--fail-above <DISTANCE=X>': "x" is no number of 0 or more

    For more information, try '--help'.
    "#);
    assert_snapshot!(run("angle=0.1"), @"
    exit 2
    --- stderr
    error: invalid value 'angle=0.1' for '--fail-above <DISTANCE=X>': expected one of angular, relative_l2, mean_abs, l1, l2, max_abs, changed

    For more information, try '--help'.
    ");
}

#[test]
fn mistakes() {
    let place = place();
    assert_snapshot!(place.run("measure base.safetensors"), @"
    exit 2
    --- stderr
    error: the following required arguments were not provided:
      <TUNED>...

    Usage: linocut measure <BASE> <TUNED>...

    For more information, try '--help'.
    ");
    assert_snapshot!(place.run("measure base.safetensors none"), @"
    exit 1
    --- stderr
    error: none: no such file or folder
    hint: give a model folder, a safetensors file or a cut
    ");
    assert_snapshot!(place.run("measure base near.safetensors"), @"
    exit 1
    --- stderr
    error: near.safetensors is no fine-tuned base: 12 of 12 shapes differ: embeddings.LayerNorm.bias [36] and [24], embeddings.LayerNorm.weight [36] and [24], embeddings.word_embeddings.weight [99, 36] and [40, 24], …
    hint: both must be of one architecture and size; give the base it came from
    ");
    assert_snapshot!(place.run("measure base.safetensors near.safetensors --tolerance=-1"), @"
    exit 2
    --- stderr
    error: the tolerance is -1, expected 0 or more
    ");
    place.write("r.html", "mine");
    assert_snapshot!(place.run("measure base.safetensors near.safetensors --report r.html"), @"
    exit 1
    --- stderr
    error: r.html exists already
    hint: give another --report, or --force to replace it
    ");
    assert_eq!(place.text("r.html"), "mine");
    assert_snapshot!(place.run("measure base.safetensors near.safetensors --report no/r.html"), @"
    exit 1
    --- stderr
    error: no: no such folder
    hint: mkdir -p no
    ");
}

#[test]
fn definitions_are_those_of_the_documentation() {
    let place = Place::new();
    let shown = place.run("measure --explain");
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/measure.md");
    assert!(std::fs::read_to_string(docs).unwrap().contains(&shown.stdout), "{shown}");
}

/// Chromium under any of its names.
fn browser() -> Option<Command> {
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    let found = std::env::var("CHROME").ok().into_iter().chain(names.map(String::from));
    found
        .filter(|name| {
            Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success())
        })
        .map(Command::new)
        .next()
}

/// Opens a page in a browser, if there is one: it needs nothing else, shows every chart, and says
/// nothing on the console.
pub(crate) fn opens_quietly(place: &Place, file: &str) {
    let page = place.text(file);
    // Nothing is fetched: the only address is the name of SVG's namespace.
    let addresses = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!addresses.contains("http") && !addresses.contains("<script"));
    // What its contents lead to is there.
    for link in page.split("href=\"#").skip(1) {
        let id = link.split_once('"').unwrap().0;
        assert_eq!(page.matches(&format!("<h2 id=\"{id}\">")).count(), 1, "{id}");
    }
    let Some(mut browser) = browser() else {
        println!("no Chromium found; set CHROME to its path to open the report in it");
        return;
    };
    let profile = place.path("profile");
    let output = browser
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .args(["--enable-logging=stderr", "--log-level=0"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", place.path(file).display()))
        .output()
        .unwrap();
    let (dom, log) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(dom.matches("<svg").count(), page.matches("<svg").count(), "{log}");
    assert!(dom.trim_end().ends_with("</html>") && !log.contains("CONSOLE"), "{log}");
}

#[test]
fn the_report_opens_in_a_browser_without_a_word_on_its_console() {
    let place = place();
    place.train("--init-scale 0.2 --init-sparsity 0.1 --epochs 1", "mask.cut");
    for (name, line) in [
        ("checkpoints", "measure base.safetensors near.safetensors far.safetensors"),
        ("cut", "measure base mask.cut"),
    ] {
        let file = format!("{name}.html");
        let shown = place.run(&format!("{line} --report {file}"));
        assert!(shown.to_string().starts_with("exit 0"), "{shown}");
        let page = place.text(&file);
        assert!(page.len() < 2_000_000 && page.matches("<svg").count() >= 8);
        // Every model, and what each figure means.
        assert_eq!(page.matches("href=\"#").count(), line.split(' ').count() - 1);
        opens_quietly(&place, &file);
    }
}
