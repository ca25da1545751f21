//! A browser without a screen, driven over its own protocol.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

const PATIENCE: Duration = Duration::from_secs(30);

pub struct Browser {
    _process: Process,
    socket: WebSocket<TcpStream>,
    last: u64,
    /// Its profile, which goes with it.
    _profile: TempDir,
}

/// Ends with whoever has it, also one that panics before it has a page.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Browser {
    /// One that shows `url`, in a window of this size.
    pub fn open(url: &str, (width, height): (u32, u32)) -> Browser {
        let profile = TempDir::new().unwrap();
        let program = std::env::var_os("CHROMIUM").unwrap_or_else(|| "chromium".into());
        let process = Command::new(program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"])
            .args(["--disable-dev-shm-usage", "--remote-debugging-port=0", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("--window-size={width},{height}"))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromium is Debian's package chromium; or name one: CHROMIUM");
        let process = Process(process);
        let port = port(profile.path().join("DevToolsActivePort"));
        let page = page(port);
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let address = page["webSocketDebuggerUrl"].as_str().unwrap().to_owned();
        let (socket, _) = tungstenite::client(address, stream).unwrap();
        let mut browser = Browser { _process: process, socket, last: 0, _profile: profile };
        browser.command("Page.enable", json!({}));
        browser.command("Page.navigate", json!({ "url": url }));
        browser
    }

    /// Sends a command of the protocol, and waits for its result.
    pub fn command(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let command = json!({ "id": self.last, "method": method, "params": parameters });
        self.socket.send(Message::text(command.to_string())).unwrap();
        loop {
            let Message::Text(text) = self.socket.read().unwrap() else { continue };
            let answer: Value = serde_json::from_str(&text).unwrap();
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// What an expression in the page is.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true });
        let result = self.command("Runtime.evaluate", parameters);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub fn until(&mut self, expression: &str) {
        let end = Instant::now() + PATIENCE;
        while self.evaluate(&format!("Boolean({expression})")) != true {
            if Instant::now() >= end {
                let page = self.evaluate("document.body.innerText");
                panic!("in vain: {expression}; the page says:\n{}", page.as_str().unwrap_or(""));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Clicks, with the mouse, into the middle of what a selector finds.
    pub fn click(&mut self, selector: &str) {
        self.until(&format!("document.querySelector({selector:?})"));
        let place = self.evaluate(&format!(
            "(() => {{ const it = document.querySelector({selector:?}); \
             it.scrollIntoView({{ block: 'center' }}); \
             const box = it.getBoundingClientRect(); \
             return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            let at = json!({ "type": kind, "x": place[0], "y": place[1], "button": "left",
                             "clickCount": 1 });
            self.command("Input.dispatchMouseEvent", at);
        }
    }
}

fn waited_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Where the browser listens, once it does.
fn port(file: PathBuf) -> u16 {
    waited_for("the browser does not start", || {
        fs::read_to_string(&file).ok()?.lines().next()?.parse().ok()
    })
}

/// The page that it shows.
fn page(port: u16) -> Value {
    use std::io::{Read, Write};
    waited_for("the browser shows no page", || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        let request = format!("GET /json/list HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        // It keeps the connection open: what counts is that all has come.
        let (mut answer, mut piece) = (String::new(), [0; 4096]);
        let pages: Value = loop {
            let count = stream.read(&mut piece).ok().filter(|count| *count > 0)?;
            answer.push_str(std::str::from_utf8(&piece[..count]).ok()?);
            let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
            if let Some(Ok(pages)) = body.map(serde_json::from_str) {
                break pages;
            }
        };
        pages.as_array()?.iter().find(|page| page["type"] == "page").cloned()
    })
}
