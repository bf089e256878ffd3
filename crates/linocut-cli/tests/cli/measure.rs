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
    assert_snapshot!(shown, @"");
}

#[test]
fn several_models_and_a_wrong_base() {
    let shown = place().run("measure base.safetensors near.safetensors far.safetensors");
    assert_snapshot!(shown, @"");
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
    assert_snapshot!(format!("{json:#}"), @"");
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
    assert_snapshot!(run("angular=0.001"), @"");
    assert_snapshot!(run("max_abs=0.1"), @"");
    assert_snapshot!(run("angular=x"), @"");
    assert_snapshot!(run("angle=0.1"), @"");
}

#[test]
fn mistakes() {
    let place = place();
    assert_snapshot!(place.run("measure base.safetensors"), @"");
    assert_snapshot!(place.run("measure base.safetensors none"), @"");
    assert_snapshot!(place.run("measure base near.safetensors"), @"");
    assert_snapshot!(place.run("measure base.safetensors near.safetensors --tolerance=-1"), @"");
    place.write("r.html", "mine");
    assert_snapshot!(place.run("measure base.safetensors near.safetensors --report r.html"), @"");
    assert_eq!(place.text("r.html"), "mine");
    assert_snapshot!(place.run("measure base.safetensors near.safetensors --report no/r.html"), @"");
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
        // Nothing is fetched: the only address is the name of SVG's namespace.
        let addresses = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!addresses.contains("http") && !addresses.contains("<script"));
        let Some(mut browser) = browser() else {
            println!("no Chromium found; set CHROME to its path to open the report in it");
            continue;
        };
        let profile = place.path("profile");
        let output = browser
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
            .args(["--enable-logging=stderr", "--log-level=0"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("file://{}", place.path(&file).display()))
            .output()
            .unwrap();
        let (dom, log) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(dom.matches("<svg").count(), page.matches("<svg").count(), "{log}");
        assert!(dom.trim_end().ends_with("</html>") && !log.contains("CONSOLE"), "{log}");
    }
}
