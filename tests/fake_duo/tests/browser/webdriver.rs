//! Just enough of a WebDriver client to sit before a headless Chromium.

use crate::terminal::PATIENCE;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// The key that WebDriver wraps an element's id in.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// The Enter key, as WebDriver has it.
pub const ENTER: &str = "\u{e007}";
/// The Tab key.
pub const TAB: &str = "\u{e004}";

/// A browser with one window, as wide as a phone.
pub struct Browser {
    driver: Child,
    /// Held, since chromedriver must not find it closed.
    _says: Lines<BufReader<ChildStdout>>,
    place: String,
    session: String,
    /// For its profile.
    folder: PathBuf,
}

/// Whether the page's script runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scripts {
    On,
    Off,
}

impl Browser {
    pub fn start(scripts: Scripts) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("fake-duo-browser-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .env("TMPDIR", &folder)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver, of Debian's chromium-driver");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.unwrap();
            let port = line.split_once("started successfully on port ")?.1;
            Some(port.trim_end_matches('.').to_owned())
        });
        let mut browser = Self {
            driver,
            _says: lines,
            place: format!("127.0.0.1:{}", port.unwrap()),
            session: String::new(),
            folder,
        };
        let javascript = if scripts == Scripts::On { 1 } else { 2 };
        let capabilities = json!({"capabilities": {"alwaysMatch": {
        "browserName": "chrome",
        "goog:chromeOptions": {
            // Chromium's sandbox cannot be made by root, nor in most containers.
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
            "mobileEmulation": {"deviceMetrics": {"width": 390, "height": 844, "pixelRatio": 2.0, "touch": false}},
            "prefs": {"profile.managed_default_content_settings.javascript": javascript},
        }}}});
        let session = browser.call("POST", "/session", &capabilities);
        browser.session = session["sessionId"].as_str().unwrap().to_owned();
        browser
    }

    /// One command of WebDriver; its value.
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut tcp = TcpStream::connect(&self.place).unwrap();
        let body = if method == "GET" {
            String::new()
        } else {
            body.to_string()
        };
        write!(
            tcp,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.place,
            body.len()
        )
        .unwrap();
        let mut answer = BufReader::new(tcp);
        let (mut line, mut length) = (String::new(), 0);
        while line != "\r\n" {
            line.clear();
            assert!(
                answer.read_line(&mut line).unwrap() > 0,
                "chromedriver is gone"
            );
            let lower = line.to_ascii_lowercase();
            if let Some(text) = lower.strip_prefix("content-length:") {
                length = text.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        answer.read_exact(&mut body).unwrap();
        let value: Value = serde_json::from_slice(&body).unwrap();
        value["value"].clone()
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, &format!("/session/{}{path}", self.session), body)
    }

    /// Chromium's own commands.
    fn devtools(&self, name: &str, parameters: &Value) {
        let body = json!({"cmd": name, "params": parameters});
        let value = self.command("POST", "/goog/cdp/execute", &body);
        assert!(value.get("error").is_none(), "{value}");
    }

    pub fn open(&self, address: &str) {
        let value = self.command("POST", "/url", &json!({"url": address}));
        assert!(value.is_null(), "{value}");
    }

    pub fn address(&self) -> String {
        self.command("GET", "/url", &Value::Null)
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// The elements that fit a selector.
    pub fn all(&self, selector: &str) -> Vec<String> {
        let body = json!({"using": "css selector", "value": selector});
        let found = self.command("POST", "/elements", &body);
        let found = found.as_array().cloned().unwrap_or_default();
        found
            .iter()
            .map(|it| it[ELEMENT].as_str().unwrap().to_owned())
            .collect()
    }

    /// Waits until the page is so.
    pub fn wait_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(
                Instant::now() < end,
                "never {what}; the page:\n{}",
                self.text()
            );
        }
    }

    /// Waits for an element, and until the page takes clicks.
    pub fn wait_for(&self, selector: &str) -> String {
        self.wait_until(selector, |it| {
            !it.all(selector).is_empty() && it.all("[data-moving]").is_empty()
        });
        self.all(selector).remove(0)
    }

    /// Waits until the page has this text.
    pub fn wait_for_text(&self, text: &str) {
        self.wait_until(text, |it| it.text().contains(text));
    }

    /// What a person reads.
    pub fn text(&self) -> String {
        let Some(body) = self.all("body").pop() else {
            return String::new();
        };
        let text = self.command("GET", &format!("/element/{body}/text"), &Value::Null);
        text.as_str().unwrap_or_default().to_owned()
    }

    pub fn click(&self, selector: &str) {
        let element = self.wait_for(selector);
        let value = self.command("POST", &format!("/element/{element}/click"), &json!({}));
        assert!(value.is_null(), "{value}");
    }

    /// Clicks twice, as fast as a hand can, at where the element was.
    pub fn double_click(&self, selector: &str) {
        let element = self.wait_for(selector);
        let move_there = json!({"type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": {ELEMENT: element}});
        let (down, up) = (
            json!({"type": "pointerDown", "button": 0}),
            json!({"type": "pointerUp", "button": 0}),
        );
        let pause = json!({"type": "pause", "duration": 150});
        let body = json!({"actions": [{"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"},
            "actions": [move_there, down, up, pause, down, up]}]});
        let value = self.command("POST", "/actions", &body);
        assert!(value.is_null(), "{value}");
    }

    /// Types into whatever has the focus.
    pub fn press(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                [
                    json!({"type": "keyDown", "value": key}),
                    json!({"type": "keyUp", "value": key}),
                ]
            })
            .collect();
        let body = json!({"actions": [{"type": "key", "id": "keys", "actions": actions}]});
        let value = self.command("POST", "/actions", &body);
        assert!(value.is_null(), "{value}");
    }

    /// The name and value of what has the focus: `answer approve`.
    pub fn focus(&self) -> String {
        let body = json!({"script": "const it = document.activeElement; return `${it.name} ${it.value}`", "args": []});
        self.command("POST", "/execute/sync", &body)
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Pixels by which the page is wider than its window.
    pub fn overhang(&self) -> i64 {
        let script = "return document.documentElement.scrollWidth - window.innerWidth";
        let body = json!({"script": script, "args": []});
        self.command("POST", "/execute/sync", &body)
            .as_i64()
            .unwrap()
    }

    pub fn set_width(&self, width: u32) {
        let metrics =
            json!({"width": width, "height": 844, "deviceScaleFactor": 2, "mobile": true});
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// `light` or `dark`.
    pub fn set_colours(&self, scheme: &str) {
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", &media);
    }

    pub fn screenshot(&self, path: &Path) {
        let value = self.command("GET", "/screenshot", &Value::Null);
        let picture = STANDARD.decode(value.as_str().unwrap()).unwrap();
        std::fs::write(path, picture).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.command("DELETE", "", &json!({}));
        }
        // Whatever is left of the browser is in its driver's process group.
        let group = Pid::from_raw(self.driver.id().try_into().unwrap());
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.driver.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
