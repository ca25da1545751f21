//! `kvctl console`, where a person sits at a screen.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use crate::http::Console;
use crate::kvctl_home::{Home, wait_until};
use crate::terminal::Terminal;

/// Puts an `xdg-open` into `place` that keeps what it was given, and then does this.
fn opener(place: &Path, then: &str) -> String {
    let (file, at) = (place.join("xdg-open"), place.display());
    let script = format!("#!/bin/sh\necho \"$@\" >{at}/arguments\ncp \"$1\" {at}/page\n{then}\n");
    fs::write(&file, script).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    format!("PATH={at}:$PATH DISPLAY=:7")
}

#[test]
fn the_page_is_opened_and_no_argument_of_a_program_holds_its_token() {
    let home = Home::with(1);
    let console = Console::of(&home);
    let place = TempDir::new().unwrap();
    // A browser that goes on keeps nobody waiting.
    let terminal = Terminal::run(&home, "console", &opener(place.path(), "touch $0.done\nsleep 5"));
    let screen = terminal.until("it does not end", |it| it.contains("ended with 0"));
    assert!(screen.contains(&console.address) && !screen.contains("could"), "{screen}");
    let read = |name| fs::read_to_string(place.path().join(name)).unwrap();
    wait_until("nothing is opened", || place.path().join("xdg-open.done").exists());
    let page = read("page");
    let url = format!("url=http://{}/console#token={}", console.address, console.token);
    assert!(page.contains(&url), "{page}");
    let file = read("arguments");
    assert!(!file.contains(&console.token), "{file}");
    let mode = fs::metadata(file.trim()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{file}");
}

#[test]
fn where_no_browser_can_be_opened_it_says_why_and_what_to_do() {
    let home = Home::with(1);
    let place = TempDir::new().unwrap();
    let terminal = Terminal::run(&home, "console", &opener(place.path(), "exit 4"));
    let screen = terminal.until("it does not end", |it| it.contains("ended with 0"));
    let words = "xdg-open: exit status: 4): open the address yourself";
    assert!(screen.replace('\n', " ").contains(words), "{screen}");
}
