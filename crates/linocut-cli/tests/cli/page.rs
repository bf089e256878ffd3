//! The server's page in a real browser.

use super::browser::Browser;
use super::place::Place;
use serde_json::{Value, json};
use std::process::Command;

#[test]
fn the_page_asks_uploads_and_shows_what_went_wrong() {
    let place = Place::trained();
    place.write("cuts/topics.cut", place.read("topics.cut"));
    place.write("broken.cut", "not a cut");
    place.write("cuts/old <b>.cut", "cut short");
    let Some(browser) = Browser::open(&place) else { return };
    let _server = browser.open_page(&place, "");
    browser.until("document.querySelectorAll('#tasks tr').length === 1");
    assert_eq!(browser.text("#tasks th").lines().next(), Some("topics"));
    let failed = browser.text("#failed");
    assert!(failed.contains("old <b>.cut: "), "{failed}");
    assert_eq!(browser.console(), Vec::<String>::new());

    browser.write("texts", "warm rain today\nthe final match");
    browser.click("ask");
    browser.until("document.querySelectorAll('#results article').length === 2");
    let alone =
        place.run_with("predict topics.cut --base base --json --quiet", &["warm rain today"], b"");
    let alone: Value = serde_json::from_str(&alone.stdout).unwrap();
    let shown = browser.text("#results article");
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!((lines[0], lines[1]), ("warm rain today", "topics"), "{shown}");
    assert_eq!(lines[2], alone["label"], "{shown}");
    // The bars are as wide as the scores say: the first is the widest.
    let widths = browser.script(
        "return [...document.querySelectorAll('#results article:first-child .bar i')].map(i => i.offsetWidth)",
    );
    let widths: Vec<f64> = widths.as_array().unwrap().iter().map(|w| w.as_f64().unwrap()).collect();
    assert!(
        widths.len() == 3 && widths[0] > 0.0 && widths.is_sorted_by(|a, b| a >= b),
        "{widths:?}"
    );

    browser.script("document.querySelector('#results .why').click()");
    browser.until("document.querySelectorAll('#results article:first-child mark').length === 3");
    let told = browser.text("#results article:first-child .told");
    assert!(told.contains("warm rain today\n"), "{told}");
    let marks = "document.querySelectorAll('#results mark')";
    let titles = browser.script(&format!("return [...{marks}].map(word => word.title)"));
    let explained = place.run_with(
        "predict topics.cut --base base --json --quiet --explain",
        &["warm rain today"],
        b"",
    );
    let explained: Value = serde_json::from_str(&explained.stdout).unwrap();
    let changes = explained["explanation"].as_array().unwrap().iter();
    let changes: Vec<String> =
        changes.map(|word| format!("{:.4}", word["change"].as_f64().unwrap())).collect();
    assert_eq!(titles, json!(changes));

    browser.write("name", "copy");
    browser.write("file", place.path("topics.cut").to_str().unwrap());
    browser.click("upload");
    browser.until("document.querySelector('#uploaded').innerText.startsWith('copy is served')");
    browser.until("document.querySelectorAll('#tasks tr').length === 2");
    assert!(place.path("cuts/copy.cut").exists());
    assert_eq!(browser.console(), Vec::<String>::new());

    // The form is empty again: the next file would have taken the place of this one.
    assert_eq!(browser.script("return document.querySelector('#name').value"), "");
    browser.write("name", "copy");
    browser.write("file", place.path("broken.cut").to_str().unwrap());
    browser.click("upload");
    browser.until("document.querySelector('#upload > [role=alert]').innerText.length > 0");
    let problem = browser.text("#upload > [role=alert]");
    assert!(problem.contains("not a whole and unaltered cut"), "{problem}");
    assert_eq!(place.read("cuts/copy.cut"), place.read("topics.cut"));
    // The browser itself notes the status, and nothing else.
    let notes = browser.console();
    assert!(notes.iter().all(|note| note.contains("status of 422")), "{notes:?}");

    // Under a task's row: another cut in its place, and its end.
    let panel = "#tasks .panel";
    browser.script("document.querySelector('#tasks [aria-label=\"More about copy\"]').click()");
    let file = format!("{panel} input[type=file]");
    browser.write_to(&file, place.path("broken.cut").to_str().unwrap());
    browser.script(&format!("document.querySelector('{panel} form button').click()"));
    browser.until(&format!("document.querySelector('{panel} [role=alert]').innerText.length > 0"));
    let problem = browser.text(&format!("{panel} [role=alert]"));
    assert!(problem.contains("not a whole and unaltered cut"), "{problem}");
    browser.script(&format!("document.querySelector('{panel} form').reset()"));
    browser.write_to(&file, place.path("topics.cut").to_str().unwrap());
    browser.script(&format!("document.querySelector('{panel} form button').click()"));
    browser.until(&format!(
        "document.querySelector('{panel} [role=status]').innerText.startsWith('copy is replaced')"
    ));
    assert_eq!(browser.count(&format!("{panel} [role=alert]:not(:empty)")), 0);
    browser.script(&format!("document.querySelector('{panel} [aria-label^=Remove]').click()"));
    let words = browser.text(panel);
    assert!(words.contains("Remove copy and its file?"), "{words}");
    assert!(place.path("cuts/copy.cut").exists());
    browser
        .script(&format!("document.querySelector('{panel} [aria-label=\"Remove copy\"]').click()"));
    browser.until("document.querySelectorAll('#tasks tr').length === 1");
    assert!(!place.path("cuts/copy.cut").exists());
    browser.script("document.querySelector('#failed button').click()");
    browser.script("document.querySelector('#failed [aria-label=\"Remove old <b>\"]').click()");
    browser.until("document.querySelector('#failed').hidden");
    assert!(!place.path("cuts/old <b>.cut").exists());
}

#[test]
fn the_page_asks_for_a_key_where_there_are_keys() {
    let place = Place::trained();
    place.write("cuts/topics.cut", place.read("topics.cut"));
    let key = "a-key-of-twenty-letters";
    let keys = json!([{"name": "me", "key": key, "rights": ["predict"]}]);
    place.write("keys.json", keys.to_string());
    let Some(browser) = Browser::open(&place) else { return };
    let _server = browser.open_page(&place, " --keys keys.json");
    browser.until("!document.querySelector('#key').hidden");
    // A page that has not asked yet complains of nothing, and shows no form that could not work.
    assert_eq!(browser.count("[role=alert]:not(:empty), #ask, #upload"), 0);
    assert_eq!(browser.script("return document.activeElement.id"), "secret");
    browser.write("secret", "wrong");
    browser.click("key");
    browser
        .until("document.querySelector('#key [role=alert]').innerText.includes('not a known one')");
    browser.script("document.querySelector('#secret').value = ''");
    browser.write("secret", key);
    browser.click("key");
    browser.until("document.querySelectorAll('#tasks tr').length === 1");
    browser.until("document.querySelector('#key').hidden");
    browser.write("texts", "warm rain today");
    browser.click("ask");
    browser.until("document.querySelectorAll('#results article').length === 1");
    // The lines to copy name the key's variable, and the page nowhere the key.
    let whole = browser.script("return document.body.textContent");
    assert!(whole.as_str().unwrap().contains("Bearer $LINOCUT_KEY"));
    assert!(!whole.as_str().unwrap().contains(key));
    let said = run_line(&place, &browser, "curl", Some(key));
    assert!(said.is_none_or(|said| said["results"][0]["answers"][0]["task"] == "topics"));
}

/// What the line for curl or Python on the page prints, where that program is installed.
fn run_line(place: &Place, browser: &Browser, name: &str, key: Option<&str>) -> Option<Value> {
    let line = browser.script(&format!(
        "return [...document.querySelectorAll('#lines strong')].find(e => e.textContent === '{name}')\
         .parentElement.nextElementSibling.textContent"
    ));
    let line = line.as_str().unwrap();
    let (program, flag) = if name == "curl" { ("sh", "-c") } else { ("python3", "-c") };
    let installed = Command::new(name.to_lowercase().replace("python", "python3"))
        .arg("--version")
        .output()
        .is_ok();
    if !installed {
        return None;
    }
    let mut command = Command::new(program);
    place.prepare(&mut command);
    let run =
        command.args([flag, line]).envs(key.map(|key| ("LINOCUT_KEY", key))).output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    // Python prints its own form of the same.
    let said =
        if name == "curl" { said } else { said.replace('\'', "\"").replace("False", "false") };
    Some(serde_json::from_str(&said).unwrap_or_else(|_| panic!("{line}\n{run:?}")))
}

#[test]
fn the_page_without_a_task() {
    let place = Place::trained();
    std::fs::create_dir(place.path("cuts")).unwrap();
    let Some(browser) = Browser::open(&place) else { return };
    let _server = browser.open_page(&place, "");
    browser.until("document.querySelector('#count').innerText.startsWith('No task yet.')");
    browser.check_look();
    // What is asked of nobody is said beside its form.
    browser.write("texts", "rain");
    browser.click("ask");
    browser.until(
        "document.querySelector('#ask > [role=alert]').innerText.includes('no task is chosen')",
    );
    // The file's name is the task's, unless one is given.
    browser.write("file", place.path("topics.cut").to_str().unwrap());
    browser.click("upload");
    browser.until("document.querySelector('#uploaded').innerText.startsWith('topics is served')");
    browser.until("document.querySelector('#base').innerText === '1 task on base'");
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn the_page_with_pairs_and_numbers() {
    let place = Place::trained();
    place.write("cuts/topics.cut", place.read("topics.cut"));
    let mut pairs = String::from("sentence1\tsentence2\tlabel\n");
    let mut numbers = String::from("text\tlabel\n");
    for i in 0..24 {
        let (a, b) = (["rain", "soup", "map"][i % 3], ["snow", "bread"][i % 2]);
        pairs += &format!("the {a}\tthe {b}\t{}\n", ["no <b>", "yes"][i % 2]);
        numbers += &format!("the {a} {b}\t{}\n", 1.25 * (i % 3) as f64);
    }
    place.write("pairs.tsv", pairs);
    place.write("stars.tsv", numbers);
    for (name, more) in [("pairs", ""), ("stars", " --problem regression")] {
        let shown = place.run(&format!(
            "train --base base --train {name}.tsv --dev {name}.tsv --method head --epochs 2{more} \
             --out cuts/{name}.cut --quiet"
        ));
        assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    }
    let Some(browser) = Browser::open(&place) else { return };
    let (_server, address) = browser.open_page(&place, "");
    browser.until("document.querySelectorAll('#tasks tr').length === 3");
    // Single texts are what most tasks take; a task on pairs that is chosen brings its field.
    assert_eq!(browser.count("#tasks input:checked"), 2);
    assert_eq!(browser.count("#seconds"), 0);
    browser.script("document.querySelector('#every').click()");
    assert_eq!(browser.count("#seconds"), 1);
    browser.write("texts", "it's warm \"rain\"\nsoup");
    browser.write("seconds", "the <b>snow</b>");
    browser.click("ask");
    browser.until("document.querySelector('#ask > [role=alert]').innerText.includes('line 2 has no second text')");
    browser.write("seconds", "\nbread");
    browser.click("ask");
    browser.until("document.querySelectorAll('#results article').length === 2");
    assert_eq!(browser.text("#answered").split(" in ").next(), Some("2 texts, 6 answers"));
    assert_eq!(browser.text("#results h3"), "it's warm \"rain\" | the <b>snow</b>");
    assert_eq!(browser.count("#results b"), 0);
    let answer = |name: &str, selector: &str| {
        let rows = "[...document.querySelectorAll('#results article:first-child li')]";
        browser.script(&format!(
            "return {rows}.find(row => row.querySelector('.task').innerText === '{name}')\
             .querySelector('{selector}').innerText"
        ))
    };
    assert!(["no <b>", "yes"].contains(&answer("pairs", ".label").as_str().unwrap()));
    // Three digits for people; all of them when pointed at.
    let asked = json!({"inputs": "it's warm \"rain\"", "tasks": ["stars"]});
    let mut found = ureq::post(format!("{address}v1/predict")).send_json(asked).unwrap();
    let found: Value = serde_json::from_str(&found.body_mut().read_to_string().unwrap()).unwrap();
    let value = found["results"][0]["answers"][0]["value"].as_f64().unwrap();
    let shown = answer("stars", ".label");
    let shown: f64 = shown.as_str().unwrap().parse().unwrap();
    assert!((shown - value).abs() <= 0.005 * value.abs(), "{shown} {value}");
    browser.check_look();
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn the_page_with_two_hundred_tasks() {
    let place = Place::trained();
    let cut = place.read("topics.cut");
    for customer in 0..20 {
        for kind in 0..10 {
            place.write(&format!("cuts/customer{customer}-kind{kind}.cut"), &cut);
        }
    }
    let Some(browser) = Browser::open(&place) else { return };
    let _server = browser.open_page(&place, "");
    browser.until("document.querySelectorAll('#tasks tr').length === 200");
    browser.check_look();
    assert_eq!(browser.text("#count"), "200 of 200 tasks shown, 0 chosen");
    // Numbers in names go by their value.
    let last = browser.script("return document.querySelector('#tasks tr:last-child input').value");
    assert_eq!(last, "customer19-kind9");
    for (direction, first) in [("descending", "customer19-kind9"), ("ascending", "customer0-kind0")]
    {
        browser.script("document.querySelector('[data-by=name]').click()");
        assert_eq!(
            browser.script("return [document.querySelector('thead th').ariaSort, document.querySelector('#tasks input').value]"),
            json!([direction, first])
        );
    }

    // A filter and a group narrow what is shown, and what is chosen stays chosen.
    browser.write("filter", "KIND3 weather");
    assert_eq!(browser.count("#tasks tr"), 20);
    browser.script("document.querySelector('#filter').value = ''");
    let choose = "const group = document.querySelector('#group'); group.value = 'group:customer7'; \
                  group.dispatchEvent(new Event('change'))";
    browser.script(choose);
    assert_eq!(browser.count("#tasks tr"), 10);
    browser.script("document.querySelector('#every').click()");
    assert_eq!(browser.text("#count"), "10 of 200 tasks shown, 10 chosen");
    browser.script("document.querySelector('#tasks tr:not([hidden]) input').click()");
    assert_eq!(browser.script("return [every.checked, every.indeterminate]"), json!([false, true]));
    browser.script("group.value = 'all'; group.dispatchEvent(new Event('change'))");
    assert_eq!(browser.text("#count"), "200 of 200 tasks shown, 9 chosen");

    // Ctrl-Enter in the text asks, and so does it in the list of tasks.
    browser.write("texts", "it's warm\nrain");
    browser.write("texts", "\u{E009}\u{E007}\u{E009}");
    browser.until("document.querySelectorAll('#results article').length === 2");
    assert_eq!(browser.text("#answered").split(" in ").next(), Some("2 texts, 18 answers"));
    let shown = browser.text("#results article");
    assert!(shown.starts_with("it's warm\ncustomer7-kind1\n"), "{shown}");
    // Nine answers are nine lines, until more is asked for.
    assert_eq!(browser.count("#results article:first-child .bar"), 9);
    browser.script("document.querySelector('#results [aria-expanded]').click()");
    assert_eq!(browser.count("#results article:first-child .bar"), 11);
    browser.check_look();
    for name in ["curl", "Python"] {
        browser.script("document.querySelector('#lines').open = true");
        let Some(said) = run_line(&place, &browser, name, None) else { continue };
        let answers = said["results"].as_array().unwrap();
        let label = &answers[0]["answers"][0]["label"];
        assert_eq!((answers.len(), label.as_str()), (2, shown.lines().nth(2)), "{name}");
    }
    browser.script(
        "document.querySelector('#none').click(); document.querySelector('#every').click()",
    );
    browser.write("filter", "\u{E009}\u{E007}\u{E009}");
    browser.until("document.querySelectorAll('#results li').length === 400");
    assert!(browser.text("#lines").contains("\"tasks\": \"all\""), "{}", browser.text("#lines"));
    browser.check_look();

    // The error of an upload stands beside its form, and nowhere else.
    place.write("broken.cut", "not a cut");
    browser.write("file", place.path("broken.cut").to_str().unwrap());
    browser.click("upload");
    browser.until("document.querySelector('#upload > [role=alert]').innerText.length > 0");
    assert_eq!(browser.count("[role=alert]:not(:empty)"), 1);
    browser.check_look();
}

#[test]
fn the_page_of_a_store() {
    let place = Place::trained();
    place.train("--method head --epochs 1 --seed 5", "next.cut");
    for (cut, name) in [("topics.cut", "topics"), ("next.cut", "topics"), ("next.cut", "other")] {
        let pushed = place.run(&format!("push {cut} fleet --name {name}")).to_string();
        assert!(pushed.starts_with("exit 0"), "{pushed}");
    }
    let current = || {
        let record = place.run("history topics fleet --json").json();
        record["current"].as_u64().unwrap()
    };
    let Some(browser) = Browser::open(&place) else { return };
    let _server = browser.open_page_of(&place, "--store fleet --poll 1h");
    let more = "document.querySelector('#tasks [aria-label=\"More about topics\"]').click()";
    let versions = "#tasks .panel tbody tr";
    browser.until("document.querySelectorAll('#tasks tr').length === 2");
    browser.script(more);
    browser.until(&format!("document.querySelectorAll('{versions}').length === 2"));
    browser.check_look();
    let served = "return [...document.querySelectorAll('#tasks .panel tbody tr')].filter(row => \
                  row.lastChild.innerText === 'served').map(row => row.firstChild.innerText)";
    assert_eq!(browser.script(served), json!(["2"]));

    browser.script(
        "document.querySelector('#tasks .panel [aria-label=\"Roll back to version 1\"]').click()",
    );
    browser.until("document.querySelector('#tasks .panel [role=status]').innerText === 'topics is version 1 again'");
    browser.until(&format!("({}).toString() === '1'", served.replacen("return ", "", 1)));
    assert_eq!(current(), 1);

    browser.download_to(&place.path(""));
    browser.script("[...document.querySelectorAll('#tasks .panel button')].find(button => button.innerText.startsWith('Download')).click()");
    let start = std::time::Instant::now();
    let expected = place.read("topics.cut");
    std::fs::rename(place.path("topics.cut"), place.path("first.cut")).unwrap();
    while std::fs::read(place.path("topics.cut")).unwrap_or_default() != expected {
        assert!(start.elapsed().as_secs() < 20, "{:?}", place.names());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(browser.console(), Vec::<String>::new());

    // Nobody may change anything: the page offers nothing that would.
    let _server = browser.open_page_of(&place, "--store fleet --read-only");
    browser.until("document.querySelectorAll('#tasks tr').length === 2");
    browser.script(more);
    browser.until(&format!("document.querySelectorAll('{versions}').length === 2"));
    assert_eq!(browser.count("#upload"), 0);
    let buttons = "return [...document.querySelectorAll('#tasks .panel button')].filter(e => e.checkVisibility()).map(e => e.innerText)";
    assert_eq!(browser.script(buttons), json!(["Download"]));
    browser.check_look();
    assert_eq!(browser.console(), Vec::<String>::new());
}
