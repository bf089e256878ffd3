//! The server's page in a real browser, driven over WebDriver by chromedriver.

use super::place::Place;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a command and waits for a line that holds `mark`; gives what follows it on that line.
fn started(command: &mut Command, mark: &str, on_stderr: bool) -> Option<(Running, String)> {
    let (out, err) = match on_stderr {
        true => (Stdio::null(), Stdio::piped()),
        false => (Stdio::piped(), Stdio::null()),
    };
    let mut child = command.stdout(out).stderr(err).spawn().ok()?;
    let mut lines: Box<dyn BufRead + Send> = match (child.stdout.take(), child.stderr.take()) {
        (Some(out), _) => Box::new(BufReader::new(out)),
        (_, err) => Box::new(BufReader::new(err?)),
    };
    let running = Running(child);
    loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended before it said {mark:?}");
        if let Some((_, after)) = line.split_once(mark) {
            let after = after.trim().to_string();
            // Reads on, so that the process never waits for a reader.
            std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
            return Some((running, after));
        }
    }
}

/// One window of a browser.
struct Browser {
    session: String,
    _driver: Running,
}

impl Browser {
    /// `None` where there is no chromedriver.
    fn open(place: &Place) -> Option<Self> {
        let name = std::env::var("CHROMEDRIVER").unwrap_or_else(|_| "chromedriver".into());
        let mut command = Command::new(name);
        let (driver, port) = started(command.arg("--port=0"), "successfully on port ", false)?;
        let driver_at = format!("http://127.0.0.1:{}", port.trim_end_matches('.'));
        let profile = format!("--user-data-dir={}", place.path("profile").display());
        let args = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1100,1000"];
        let args: Vec<&str> = args.into_iter().chain([profile.as_str()]).collect();
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": args},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let found = call(&format!("{driver_at}/session"), &wanted);
        let id = found["sessionId"].as_str().unwrap();
        Some(Self { session: format!("{driver_at}/session/{id}"), _driver: driver })
    }

    fn post(&self, path: &str, body: Value) -> Value {
        call(&format!("{}/{path}", self.session), &body)
    }

    fn script(&self, script: &str) -> Value {
        self.post("execute/sync", json!({"script": script, "args": []}))
    }

    /// Waits for an expression to hold.
    #[track_caller]
    fn until(&self, expression: &str) {
        let start = Instant::now();
        while self.script(&format!("return Boolean({expression})")) != true {
            let page = self.script("return document.body.innerText");
            assert!(start.elapsed() < Duration::from_secs(20), "{expression}\n{page}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Types into the element with this id, or chooses a file.
    fn write(&self, id: &str, text: &str) {
        let found =
            self.post("element", json!({"using": "css selector", "value": format!("#{id}")}));
        let element = found.as_object().unwrap().values().next().unwrap().as_str().unwrap();
        self.post(&format!("element/{element}/value"), json!({"text": text}));
    }

    fn click(&self, form: &str) {
        self.script(&format!("document.querySelector('#{form} button').click()"));
    }

    /// What the page wrote to its console since the last look.
    fn console(&self) -> Vec<String> {
        let found = self.post("se/log", json!({"type": "browser"}));
        let message = |entry: &Value| entry["message"].as_str().unwrap().to_string();
        found.as_array().unwrap().iter().map(message).collect()
    }
}

impl Drop for Browser {
    /// The driver closes the browser; killed, it would leave it behind.
    fn drop(&mut self) {
        let _ = ureq::delete(&self.session).call();
    }
}

fn call(url: &str, body: &Value) -> Value {
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let request = agent.post(url).header("content-type", "application/json");
    let text = request.send(body.to_string()).unwrap().body_mut().read_to_string().unwrap();
    let found: Value = serde_json::from_str(&text).unwrap();
    assert!(found["value"]["error"].is_null(), "{url}: {text}");
    found["value"].clone()
}

#[test]
fn the_page_asks_uploads_and_shows_what_went_wrong() {
    let place = Place::trained();
    place.write("cuts/topics.cut", place.read("topics.cut"));
    place.write("broken.cut", "not a cut");
    place.write("cuts/old <b>.cut", "cut short");
    let Some(browser) = Browser::open(&place) else {
        println!(
            "no chromedriver found; set CHROMEDRIVER to its path to open the page in a browser"
        );
        return;
    };
    let mut command = place.command();
    command.args("serve --base base --cuts cuts --listen 127.0.0.1:0 --quiet".split(' '));
    let (_server, address) = started(&mut command, "listening on http://", true).unwrap();
    let address = address.split_whitespace().next().unwrap().to_string();

    browser.post("url", json!({"url": format!("http://{address}/")}));
    browser.until("document.querySelectorAll('#tasks tr').length === 1");
    assert_eq!(browser.script("return document.querySelector('#tasks th').innerText"), "topics");
    let failed = browser.script("return document.querySelector('#failed').innerText");
    assert!(failed.as_str().unwrap().contains("old <b>.cut: "), "{failed}");
    assert_eq!(browser.console(), Vec::<String>::new());

    browser.write("texts", "warm rain today\nthe final match");
    browser.click("ask");
    browser.until("document.querySelectorAll('#results article').length === 2");
    let shown = browser.script("return document.querySelector('#results article').innerText");
    let alone =
        place.run_with("predict topics.cut --base base --json --quiet", &["warm rain today"], b"");
    let alone: Value = serde_json::from_str(&alone.stdout).unwrap();
    let (label, shown) = (alone["label"].as_str().unwrap(), shown.as_str().unwrap().to_string());
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!((lines[0], lines[1]), ("warm rain today", "topics"), "{shown}");
    assert!(lines[2].contains(label), "{shown}");
    // The bars are as wide as the scores say: the first is the widest.
    let widths = browser.script(
        "return [...document.querySelectorAll('#results article:first-child .bar i')].map(i => i.offsetWidth)",
    );
    let widths: Vec<f64> = widths.as_array().unwrap().iter().map(|w| w.as_f64().unwrap()).collect();
    assert!(
        widths.len() == 3 && widths[0] > 0.0 && widths.is_sorted_by(|a, b| a >= b),
        "{widths:?}"
    );

    browser.script("document.querySelector('#results button').click()");
    browser.until("document.querySelectorAll('#results article:first-child mark').length === 3");
    let told = browser.script("return document.querySelector('#results article').innerText");
    assert!(told.as_str().unwrap().contains("warm rain today\n"), "{told}");
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

    browser.write("file", place.path("broken.cut").to_str().unwrap());
    browser.click("upload");
    browser.until("document.querySelector('#problem').innerText.length > 0");
    let problem = browser.script("return document.querySelector('#problem').innerText");
    assert!(problem.as_str().unwrap().contains("not a whole and unaltered cut"), "{problem}");
    assert_eq!(place.read("cuts/copy.cut"), place.read("topics.cut"));
    // The browser itself notes the status, and nothing else.
    let notes = browser.console();
    assert!(notes.iter().all(|note| note.contains("status of 422")), "{notes:?}");
}

#[test]
fn the_page_asks_for_a_key_where_there_are_keys() {
    let place = Place::trained();
    place.write("cuts/topics.cut", place.read("topics.cut"));
    let key = "a-key-of-twenty-letters";
    let keys = json!([{"name": "me", "key": key, "rights": ["predict"]}]);
    place.write("keys.json", keys.to_string());
    let Some(browser) = Browser::open(&place) else {
        println!(
            "no chromedriver found; set CHROMEDRIVER to its path to open the page in a browser"
        );
        return;
    };
    let mut command = place.command();
    let line = "serve --base base --cuts cuts --keys keys.json --listen 127.0.0.1:0 --quiet";
    let (_server, address) =
        started(command.args(line.split(' ')), "listening on http://", true).unwrap();
    let address = address.split_whitespace().next().unwrap().to_string();
    browser.post("url", json!({"url": format!("http://{address}/")}));
    browser.until("!document.querySelector('#key').hidden");
    browser.write("secret", "wrong");
    browser.click("key");
    browser.until("document.querySelector('#problem').innerText.includes('not a known one')");
    browser.script("document.querySelector('#secret').value = ''");
    browser.write("secret", key);
    browser.click("key");
    browser.until("document.querySelectorAll('#tasks tr').length === 1");
    browser.until("document.querySelector('#key').hidden");
    browser.write("texts", "warm rain today");
    browser.click("ask");
    browser.until("document.querySelectorAll('#results article').length === 1");
}
