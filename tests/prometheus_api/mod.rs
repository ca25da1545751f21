//! What the Prometheus beside a cluster answers.

// Each test uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::kvctl_home::Home;

/// One that runs.
pub struct Prometheus {
    pub address: String,
}

impl Prometheus {
    pub fn beside(home: &Home) -> Prometheus {
        let status = home.json(&["ops", "status"]);
        let all = status["side_cars"].as_array().unwrap();
        let it = all.iter().find(|it| it["name"] == "prometheus").unwrap();
        Prometheus { address: it["address"].as_str().unwrap().to_owned() }
    }

    /// The field `data` of its answer.
    pub fn get(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{path}: {answer}"));
        assert_eq!(body["status"], "success", "{path}: {body}");
        body["data"].clone()
    }

    /// What an expression is now: `result`.
    pub fn query(&self, expression: &str) -> Value {
        let escaped: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.get(&format!("/api/v1/query?query={escaped}"))["result"].clone()
    }

    /// Whom it asks and has an answer from: nodes by their numbers, and `supervisor`.
    pub fn healthy(&self) -> BTreeSet<String> {
        let targets = self.get("/api/v1/targets?state=active");
        let active = targets["activeTargets"].as_array().unwrap().iter();
        let up = active.filter(|target| target["health"] == "up");
        up.map(|it| it["labels"]["node"].as_str().unwrap_or("supervisor").to_owned()).collect()
    }

    /// The names of the alerts that fire.
    pub fn firing(&self) -> BTreeSet<String> {
        let alerts = self.get("/api/v1/alerts");
        let firing = alerts["alerts"].as_array().unwrap().iter();
        let firing = firing.filter(|alert| alert["state"] == "firing");
        firing.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
    }
}
