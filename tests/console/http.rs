//! The console's port, as a page of its own and anybody else see it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::kvctl_home::Home;

const PATIENCE: Duration = Duration::from_secs(20);

pub struct Console {
    pub address: String,
    pub token: String,
}

/// Status and body.
pub type Answer = (u16, String);

impl Console {
    pub fn of(home: &Home) -> Console {
        let url = home.json(&["console"])["url"].as_str().unwrap().to_owned();
        let (rest, token) = url.split_once("/console#token=").unwrap();
        let address = rest.strip_prefix("http://").unwrap().to_owned();
        Console { address, token: token.to_owned() }
    }

    fn send(&self, line: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut head = format!("{line} HTTP/1.1\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        stream.write_all((head + body).as_bytes()).unwrap();
        stream
    }

    /// With exactly these headers.
    pub fn ask(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut text = String::new();
        self.send(line, headers, body).read_to_string(&mut text).unwrap();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        (status, body.to_owned())
    }

    fn authorization(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// As the page does.
    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let own = format!("http://{}", self.address);
        let authorization = self.authorization();
        let headers = [
            ("Host", self.address.as_str()),
            ("Origin", own.as_str()),
            ("Sec-Fetch-Site", "same-origin"),
            ("Authorization", authorization.as_str()),
        ];
        let (status, text) = self.ask(&format!("POST /console{path}"), &headers, &body.to_string());
        (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}")))
    }

    pub fn get(&self, path: &str) -> (u16, Value) {
        let authorization = self.authorization();
        let headers = [("Host", self.address.as_str()), ("Authorization", authorization.as_str())];
        let (status, text) = self.ask(&format!("GET /console{path}"), &headers, "");
        (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}")))
    }

    pub fn stream(&self) -> Stream {
        let authorization = self.authorization();
        let headers = [("Host", self.address.as_str()), ("Authorization", authorization.as_str())];
        let stream = self.send("GET /console/stream", &headers, "");
        Stream { lines: BufReader::new(stream), state: Value::Null, history: Vec::new() }
    }
}

/// What the stream has said so far.
pub struct Stream {
    lines: BufReader<TcpStream>,
    pub state: Value,
    pub history: Vec<Value>,
}

impl Stream {
    /// Reads on until what was said is as wanted.
    pub fn until(&mut self, what: &str, wanted: impl Fn(&Stream) -> bool) {
        let end = Instant::now() + PATIENCE;
        let mut event = String::new();
        while !wanted(self) {
            assert!(Instant::now() < end, "{what}; the last state: {}", self.state);
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the stream ended: {what}");
            if let Some(name) = line.strip_prefix("event: ") {
                event = name.trim().to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                let data: Value = serde_json::from_str(data).unwrap();
                match event.as_str() {
                    "state" => self.state = data,
                    "history" => self.history.extend(data.as_array().unwrap().iter().cloned()),
                    other => panic!("an event of the kind {other}"),
                }
            }
        }
    }

    pub fn node(&self, id: u64) -> &Value {
        let nodes = self.state["cluster"]["nodes"].as_array();
        let node = nodes.into_iter().flatten().find(|node| node["node"] == id);
        node.unwrap_or(&Value::Null)
    }
}
