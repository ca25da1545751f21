//! Who is let in.

use crate::http::Console;
use crate::kvctl_home::Home;

/// What is answered, to whom, with which headers.
type Case<'c> = (u16, &'c str, &'c [(&'c str, &'c str)]);

#[test]
fn only_the_own_page_with_its_token_may_use_the_console() {
    let home = Home::with(1);
    let console = Console::of(&home);
    let own = console.address.as_str();
    let port = own.rsplit_once(':').unwrap().1;
    let right = format!("Bearer {}", console.token);
    let (origin, by_name) = (format!("http://{own}"), format!("localhost:{port}"));
    let (evil, neighbour) = (format!("evil.example:{port}"), "http://127.0.0.1:1".to_owned());
    let pause = r#"{"node":1,"action":"pause"}"#;
    let act = "POST /console/act";
    let cases: &[Case<'_>] = &[
        (401, "no token", &[("Host", own)]),
        (401, "another token", &[("Host", own), ("Authorization", "Bearer 00")]),
        (403, "another name of this machine", &[("Host", &evil), ("Authorization", &right)]),
        (403, "no name", &[("Authorization", &right)]),
        (
            403,
            "another site",
            &[("Host", own), ("Authorization", &right), ("Origin", "http://evil.example")],
        ),
        (
            403,
            "another port of this machine",
            &[("Host", own), ("Authorization", &right), ("Origin", &neighbour)],
        ),
        (
            403,
            "a page of another site, as the browser says",
            &[("Host", own), ("Authorization", &right), ("Sec-Fetch-Site", "cross-site")],
        ),
    ];
    for (status, who, headers) in cases {
        for line in [act, "GET /console/stream", "GET /console/history?before=9"] {
            let (got, body) = console.ask(line, headers, pause);
            // A request without a Host is none at all for HTTP/1.1.
            assert!(got == *status || (got == 400 && *who == "no name"), "{who}: {got} {body}");
        }
    }
    let status = home.json(&["cluster", "status"]);
    assert_eq!(status["nodes"][0]["state"], "running", "nothing was done");

    // The page itself holds nothing; it is for everybody who calls this machine by its name.
    for host in [own, &by_name] {
        let (status, page) = console.ask("GET /console", &[("Host", host)], "");
        assert_eq!(status, 200);
        assert!(page.contains("/console/console.js") && !page.contains(&console.token));
    }
    assert_eq!(console.ask("GET /console", &[("Host", &evil)], "").0, 403);
    assert_eq!(console.ask("POST /console", &[("Host", own)], "").0, 405);
    let right = [("Host", own), ("Authorization", right.as_str()), ("Origin", &origin)];
    assert_eq!(console.ask("GET /console/act", &right, "").0, 405);
    assert_eq!(console.ask("GET /console/nothing", &right, "").0, 404);
    for nonsense in ["", "{}", "[1]", r#"{"node":1,"action":"explode"}"#, &"x".repeat(20_000)] {
        assert_eq!(console.ask(act, &right, nonsense).0, 400, "{nonsense:.40}");
    }
    assert_eq!(console.ask("GET /console/history?before=x", &right, "").0, 400);
    // Metrics are served beside it all the while.
    assert_eq!(console.ask("GET /metrics", &[("Host", own)], "").0, 200);
}

#[test]
fn the_token_is_for_its_owner_and_outlives_the_supervisor() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::with(1);
    let before = Console::of(&home);
    let file = home.path().join("default/console.token");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    home.ok(&["cluster", "down"]);
    home.ok(&["cluster", "up"]);
    let after = Console::of(&home);
    assert_eq!((before.address, before.token), (after.address, after.token));
}
