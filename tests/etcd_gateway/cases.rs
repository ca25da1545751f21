//! What both are asked: each request in its place, since each builds on those before it.
//!
//! Revisions count from where the store was: `@1` is that of the first put.

/// How much of two answers must be the same, beside status and type.
#[derive(Clone, Copy, PartialEq)]
pub enum Same {
    /// Every byte, but for names and numbers of the cluster.
    All,
    /// The error's code; of a syntax error, each parser speaks in its own words.
    Code,
}

use Same::{All, Code};

/// Method, path, body.
pub const CASES: &[(&str, &str, &str, Same)] = &[
    // Keys: foo is Zm9v, bar is YmFy, fop is Zm9w.
    ("POST", "/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#, All),
    ("POST", "/v3/kv/put", r#"{"key":"Zm9v","value":"YmF6","prev_kv":true}"#, All),
    ("POST", "/v3/kv/put", r#"{"key":"Zm9v","value":"","prevKv":true}"#, All),
    ("POST", "/v3/kv/put", r#"{"key":"Zm9vL2E=","value":"/+8="}"#, All),
    ("POST", "/v3/kv/put", r#"{"key":"Zm9v","ignore_value":true,"value":"YmFy"}"#, All),
    ("POST", "/v3/kv/put", r#"{"key":"bm9uZQ==","ignore_value":true}"#, All),
    ("POST", "/v3/kv/put", r#"{"key":"Zm9v","lease":"77"}"#, All),
    ("POST", "/v3/kv/put", r#"{"value":"YmFy"}"#, All),
    ("POST", "/v3/kv/put", "", All),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9v"}"#, All),
    ("POST", "/v3/kv/range", r#"{"key":"bm9uZQ=="}"#, All),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9v","range_end":"Zm9w"}"#, All),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9v","rangeEnd":"Zm9w","limit":"1"}"#, All),
    (
        "POST",
        "/v3/kv/range",
        r#"{"key":"Zm9v","range_end":"Zm9w","keys_only":true,"limit":5}"#,
        All,
    ),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9v","range_end":"Zm9w","count_only":true}"#, All),
    (
        "POST",
        "/v3/kv/range",
        r#"{"key":"Zm9v","range_end":"Zm9w","sort_order":"DESCEND","sort_target":"KEY"}"#,
        All,
    ),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9v","range_end":"Zm9w","sortOrder":2}"#, All),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9v","revision":"@1"}"#, All),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9v","revision":@1,"serializable":true}"#, All),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9v","revision":"99999999"}"#, All),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9v","limit":null,"nobody":{"knows":["this"]}}"#, All),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9v"} and what follows"#, All),
    ("POST", "/v3/kv/range", r#"{"key":"bm9uZQ==","key":"Zm9v"}"#, All),
    ("POST", "/v3/kv/range", r#"{"key":"Zm\n9v"}"#, All),
    ("POST", "/v3/kv/range", "null", All),
    ("POST", "/v3/kv/range", "  \n", All),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9"#, All),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9"}"#, All),
    ("POST", "/v3/kv/range", r#"{"key":"-_-_"}"#, All),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9v$mFy"}"#, All),
    ("POST", "/v3/kv/range", r#"{"key":5}"#, All),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9v","limit":1.5}"#, All),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9v","limit":"1.5"}"#, All),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9v","limit":9223372036854775808}"#, All),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9v","limit":{}}"#, All),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9v","sort_order":"NOPE"}"#, All),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9v","sort_order":true}"#, All),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9v","serializable":"true"}"#, All),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9v","serializable":1}"#, All),
    ("POST", "/v3/kv/range", "[]", All),
    ("POST", "/v3/kv/range", r#""x""#, All),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9v",}"#, Code),
    ("POST", "/v3/kv/range", r#"{"key" "Zm9v"}"#, Code),
    ("POST", "/v3/kv/range", "nonsense", Code),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9v","limit":"x"}"#, Code),
    (
        "POST",
        "/v3/kv/txn",
        concat!(
            r#"{"compare":[{"key":"Zm9v","target":"VERSION","version":"3","result":"EQUAL"}],"#,
            r#""success":[{"requestPut":{"key":"Zm9v","value":"YmFy"}},"#,
            r#"{"request_range":{"key":"Zm9v"}},{"request_txn":{}}]}"#
        ),
        All,
    ),
    (
        "POST",
        "/v3/kv/txn",
        concat!(
            r#"{"compare":[{"key":"Zm9v","target":"VALUE","value":"bm9uZQ=="}],"#,
            r#""failure":[{"request_range":{"key":"bm9uZQ=="}}]}"#
        ),
        All,
    ),
    ("POST", "/v3/kv/txn", "{}", All),
    ("POST", "/v3/kv/txn", r#"{"success":null}"#, All),
    ("POST", "/v3/kv/txn", r#"{"success":{}}"#, All),
    ("POST", "/v3/kv/txn", r#"{"success":[7]}"#, All),
    ("POST", "/v3/kv/txn", r#"{"success":[{}]}"#, All),
    (
        "POST",
        "/v3/kv/txn",
        r#"{"success":[{"request_put":{"key":"Zm9v"}},{"request_put":{"key":"Zm9v"}}]}"#,
        All,
    ),
    ("POST", "/v3/kv/deleterange", r#"{"key":"Zm9vL2E=","prev_kv":true}"#, All),
    ("POST", "/v3/kv/deleterange", r#"{"key":"Zm9vL2E="}"#, All),
    ("POST", "/v3/kv/compaction", r#"{"revision":"@2"}"#, All),
    ("POST", "/v3/kv/compaction", r#"{"revision":"@2","physical":true}"#, All),
    ("POST", "/v3/kv/compaction", r#"{"revision":"99999999"}"#, All),
    ("POST", "/v3/kv/range", r#"{"key":"Zm9v","revision":"@1"}"#, All),
    ("GET", "/v3/kv/put", "", All),
    ("PUT", "/v3/kv/put", "{}", All),
    ("DELETE", "/v3/kv/put", "", All),
    ("OPTIONS", "/v3/kv/put", "", All),
    ("POST", "/v3/kv/put/", "{}", All),
    ("POST", "/v3/kv/nope", "{}", All),
    ("GET", "/nope", "", All),
    ("POST", "/health", "", All),
    ("DELETE", "/version", "", All),
];
