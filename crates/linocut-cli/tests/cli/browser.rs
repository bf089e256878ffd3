//! A browser, driven over WebDriver by chromedriver.

use super::place::Place;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process that ends with the test.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a command and waits for a line that holds `mark`; gives what follows it on that line.
pub(crate) fn started(
    command: &mut Command,
    mark: &str,
    on_stderr: bool,
) -> Option<(Running, String)> {
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
pub(crate) struct Browser {
    session: String,
    _driver: Running,
}

impl Browser {
    /// `None`, which it says, where there is no chromedriver.
    pub(crate) fn open(place: &Place) -> Option<Self> {
        let name = std::env::var("CHROMEDRIVER").unwrap_or_else(|_| "chromedriver".into());
        let mut command = Command::new(name);
        let found = started(command.arg("--port=0"), "successfully on port ", false);
        let Some((driver, port)) = found else {
            println!(
                "no chromedriver found; set CHROMEDRIVER to its path to open the page in a browser"
            );
            return None;
        };
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

    /// Opens the page of `linocut serve` with the cuts of `place`, and gives the server with its address.
    pub(crate) fn open_page(&self, place: &Place, more: &str) -> (Running, String) {
        self.open_page_of(place, &format!("--cuts cuts{more}"))
    }

    /// The same with other tasks.
    pub(crate) fn open_page_of(&self, place: &Place, tasks: &str) -> (Running, String) {
        let mut command = place.command();
        let line = format!("serve --base base {tasks} --listen 127.0.0.1:0 --quiet");
        let (server, said) =
            started(command.args(line.split(' ')), "listening on http://", true).unwrap();
        let address = format!("http://{}/", said.split_whitespace().next().unwrap());
        self.post("url", json!({"url": address}));
        (server, address)
    }

    /// Makes the window so many pixels wide; a real one has a least width, above that of a telephone.
    fn widen(&self, width: u32) {
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        let command = "Emulation.setDeviceMetricsOverride";
        self.post("goog/cdp/execute", json!({"cmd": command, "params": size}));
    }

    /// Has downloads end in this folder.
    pub(crate) fn download_to(&self, folder: &Path) {
        let wanted = json!({"behavior": "allow", "downloadPath": folder});
        let command = json!({"cmd": "Browser.setDownloadBehavior", "params": wanted});
        self.post("goog/cdp/execute", command);
    }

    fn darken(&self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": value}]});
        let command = "Emulation.setEmulatedMedia";
        self.post("goog/cdp/execute", json!({"cmd": command, "params": features}));
    }

    pub(crate) fn text(&self, selector: &str) -> String {
        let found = self.script(&format!("return document.querySelector({selector:?}).innerText"));
        found.as_str().unwrap().to_string()
    }

    /// How many elements that are seen match.
    pub(crate) fn count(&self, selector: &str) -> u64 {
        let seen = "filter(e => e.checkVisibility()).length";
        let all = format!("return [...document.querySelectorAll({selector:?})].{seen}");
        self.script(&all).as_u64().unwrap()
    }

    pub(crate) fn post(&self, path: &str, body: Value) -> Value {
        call(&format!("{}/{path}", self.session), &body)
    }

    pub(crate) fn script(&self, script: &str) -> Value {
        self.post("execute/sync", json!({"script": script, "args": []}))
    }

    /// Waits for an expression to hold.
    #[track_caller]
    pub(crate) fn until(&self, expression: &str) {
        let start = Instant::now();
        while self.script(&format!("return Boolean({expression})")) != true {
            let page = self.script("return document.body.innerText");
            assert!(start.elapsed() < Duration::from_secs(20), "{expression}\n{page}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Types into the element with this id, or chooses a file.
    pub(crate) fn write(&self, id: &str, text: &str) {
        self.write_to(&format!("#{id}"), text);
    }

    pub(crate) fn write_to(&self, selector: &str, text: &str) {
        let found = self.post("element", json!({"using": "css selector", "value": selector}));
        let element = found.as_object().unwrap().values().next().unwrap().as_str().unwrap();
        self.post(&format!("element/{element}/value"), json!({"text": text}));
    }

    pub(crate) fn click(&self, form: &str) {
        self.script(&format!("document.querySelector('#{form} button').click()"));
    }

    /// At three widths the page is nowhere wider than the window, and its words stand out from what is
    /// behind them by 4.5 to 1 or more, light and dark.
    #[track_caller]
    pub(crate) fn check_look(&self) {
        for width in [390, 800, 1280] {
            self.widen(width);
            // Beside the page there may be the bar that it is scrolled by.
            assert_eq!(self.script("return innerWidth"), width);
            assert_eq!(self.script(WIDEST), "", "at {width}");
            assert_eq!(self.script(SQUEEZED), json!([]), "at {width}");
            for dark in [false, true] {
                self.darken(dark);
                assert_eq!(self.script(FAINT), json!([]), "at {width}, dark: {dark}");
            }
        }
        self.darken(false);
    }

    /// What the page wrote to its console since the last look.
    pub(crate) fn console(&self) -> Vec<String> {
        let found = self.post("se/log", json!({"type": "browser"}));
        let message = |entry: &Value| entry["message"].as_str().unwrap().to_string();
        found.as_array().unwrap().iter().map(message).collect()
    }
}

/// What reaches beyond the window, where the page can be scrolled sideways.
const WIDEST: &str = "const {scrollWidth, clientWidth} = document.documentElement; \
    return scrollWidth <= clientWidth ? '' : [...document.querySelectorAll('body *')].filter(e => \
    e.getBoundingClientRect().right > clientWidth).map(e => e.outerHTML.slice(0, 100)).join('\\n')";

/// Bars too short to be read, and the list's rows where they are wider than it.
const SQUEEZED: &str = "const list = document.querySelector('#list'); \
    return [...[...document.querySelectorAll('.bar')].filter(bar => bar.checkVisibility() && \
    bar.offsetWidth < 60).map(bar => bar.offsetWidth), \
    ...(list.scrollWidth > list.clientWidth ? [list.scrollWidth] : [])]";

/// Words whose contrast (WCAG 2) with the colours behind them is less than 4.5.
const FAINT: &str = r"
    const parts = (colour) => {
        const found = colour.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
        const scale = colour.startsWith('color(') ? 255 : 1;
        return [...found.slice(0, 3).map(x => scale * x), found[3] ?? 1];
    };
    const light = (colour) => {
        const [r, g, b] = colour.map(x => x / 255).map(x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        const above = [];
        for (let one = element; one; one = one.parentElement) above.unshift(parts(getComputedStyle(one).backgroundColor));
        return above.reduce((under, over) => under.map((x, i) => x * (1 - over[3]) + over[i] * over[3]), [255, 255, 255]);
    };
    const words = (element) => [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    return [...document.querySelectorAll('body *:not(script):not(option)')].filter(element => {
        if (!words(element) || !element.checkVisibility()) return false;
        const both = [light(parts(getComputedStyle(element).color).slice(0, 3)), light(behind(element))];
        return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05) < 4.5;
    }).map(element => element.outerHTML.slice(0, 200))";

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
