//! A terminal of 80 columns and 24 lines, for what behaves otherwise when a person sits there.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::kvctl_home::{self, Home};

/// A terminal in tmux, with a server of its own that ends with it.
pub struct Terminal {
    place: TempDir,
}

impl Terminal {
    /// In which `kvctl` runs with these `arguments` and settings of its `environment`.
    pub fn run(home: &Home, arguments: &str, environment: &str) -> Terminal {
        let terminal = Terminal { place: TempDir::new().unwrap() };
        let kvctl = env!("CARGO_BIN_EXE_kvctl");
        let path = home.path().display();
        let line = format!(
            "{environment} KVRAFT_HOME={path} {kvctl} {arguments}; echo ended with $?; sleep 60"
        );
        terminal.tmux(&["new-session", "-d", "-x", "80", "-y", "24", &line]);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .arg("-S")
            .arg(self.place.path().join("socket"))
            .args(["-f", "/dev/null"])
            .args(arguments)
            .env("LC_ALL", "C.UTF-8")
            .env_remove("TMUX")
            .stdin(Stdio::null())
            .output()
            .expect("tmux is Debian's package tmux");
        let ended = kvctl_home::ended(output);
        assert_eq!(ended.code, 0, "{arguments:?}: {}", ended.err);
        ended.out
    }

    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    #[allow(dead_code, reason = "not every test types")]
    pub fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// Waits until the screen is as wanted.
    pub fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let screen = self.screen();
            if wanted(&screen) {
                return screen;
            }
            assert!(Instant::now() < end, "{what}; the screen:\n{screen}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let socket = self.place.path().join("socket");
        let _ = Command::new("tmux").arg("-S").arg(socket).arg("kill-server").output();
    }
}
