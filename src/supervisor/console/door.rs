//! Who is let in.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};

use crate::config::create_file;

/// Random bytes in a token.
const TOKEN_BYTES: usize = 16;

/// Browsers say with it from where a page asks.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What whoever uses the console must know.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// The token can be neither read nor made.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} the console's token {}: {source}", path.display())]
pub struct TokenError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Token {
    /// The one in the file at `path`; made if there is none. It is the same for the cluster's whole
    /// life, so that a page survives the supervisor that served it.
    pub fn read_or_make(path: &Path) -> Result<Token, TokenError> {
        let new: [u8; TOKEN_BYTES] = rand::random();
        match create_file(path, hex::encode(new).as_bytes()) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                Err(TokenError { what: "make", path: path.to_owned(), source })
            }
            _ => Token::read(path),
        }
    }

    /// The one in the file at `path`.
    pub fn read(path: &Path) -> Result<Token, TokenError> {
        let failed = |source| TokenError { what: "read", path: path.to_owned(), source };
        let text = fs::read_to_string(path).map_err(failed)?;
        match hex::decode(text.trim()) {
            Ok(bytes) if bytes.len() == TOKEN_BYTES => Ok(Token(text.trim().to_owned())),
            _ => Err(failed(io::Error::new(io::ErrorKind::InvalidData, "it is damaged"))),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn is_shown_in(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        // As long for a wrong first character as for a wrong last one.
        shown.len() == self.0.len()
            && shown.bytes().zip(self.0.bytes()).fold(0, |wrong, (a, b)| wrong | (a ^ b)) == 0
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?").to_owned())
}

/// Whether a request was sent to this machine by a name that nobody else hands out.
pub(super) fn is_for_this_machine(headers: &HeaderMap) -> Result<(), &'static str> {
    match text(headers, &HOST) {
        Some(host) if is_this_machine(&host) => Ok(()),
        _ => Err("the console answers to 127.0.0.1 and localhost alone"),
    }
}

/// Whether a request is from the console's own page, or from no page at all.
pub(super) fn is_from_own_page(headers: &HeaderMap) -> Result<(), &'static str> {
    let own = text(headers, &HOST).map(|host| format!("http://{host}"));
    if text(headers, &ORIGIN).is_some_and(|origin| Some(origin) != own) {
        return Err("a page of another origin may not use the console");
    }
    match text(headers, &FETCH_SITE).as_deref() {
        None | Some("same-origin" | "none") => Ok(()),
        Some(_) => Err("a page of another site may not use the console"),
    }
}

/// Whether a `Host` names this machine itself, and not by a name that somebody else hands out.
fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(name.clone(), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_this_machines_own_pages_are_let_in() {
        let host = |host| is_for_this_machine(&headers(&[(HOST, host)])).is_ok();
        for own in ["127.0.0.1:4000", "localhost:4000", "localhost", "[::1]:4000", "127.0.0.1"] {
            assert!(host(own), "{own}");
        }
        for other in ["evil.example:4000", "127.0.0.1.evil.example", "10.0.0.1:4000", "", "0.0.0.0"]
        {
            assert!(!host(other), "{other}");
        }
        assert!(is_for_this_machine(&headers(&[])).is_err(), "no host at all");
        let with = |name, value| {
            is_from_own_page(&headers(&[(HOST, "127.0.0.1:4000"), (name, value)])).is_ok()
        };
        assert!(with(ORIGIN, "http://127.0.0.1:4000"));
        for origin in ["http://evil.example", "http://127.0.0.1:4001", "https://127.0.0.1:4000"] {
            assert!(!with(ORIGIN, origin), "{origin}");
        }
        assert!(!with(ORIGIN, "null"));
        assert!(with(FETCH_SITE, "same-origin"));
        assert!(!with(FETCH_SITE, "cross-site"));
        assert!(!with(FETCH_SITE, "same-site"));
    }

    #[test]
    fn a_token_is_made_once_and_known_by_all_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("console.token");
        assert!(Token::read(&path).is_err());
        let token = Token::read_or_make(&path).unwrap();
        assert!(Token::read_or_make(&path).unwrap() == token);
        let shows = |text: String| {
            let value = HeaderValue::from_str(&text).unwrap();
            token.is_shown_in(&[(AUTHORIZATION, value)].into_iter().collect())
        };
        let right = token.as_str();
        assert!(shows(format!("Bearer {right}")));
        assert!(!shows(format!("Bearer {}", &right[1..])));
        assert!(!shows(format!("Bearer {right}0")));
        assert!(!shows(format!("Basic {right}")));
        assert!(!shows("Bearer ".to_owned()));
        assert!(!token.is_shown_in(&HeaderMap::new()));
        fs::write(&path, "short").unwrap();
        assert!(Token::read_or_make(&path).is_err(), "a damaged one is not silently replaced");
    }
}
