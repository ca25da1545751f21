//! Ctrl-C, and its polite sister SIGTERM.
//!
//! A command that has something to clean up waits for this beside its work; the others die of the
//! signal as usual. A second Ctrl-C ends the process at once: whoever presses it again means it.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::Failure;

/// Waits for the wish to end.
pub struct Interrupt {
    int: Signal,
    term: Signal,
    seen: bool,
}

impl Interrupt {
    /// From now on the signals do not kill the process.
    pub fn new() -> Result<Interrupt, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")))
        };
        let (int, term) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        Ok(Interrupt { int, term, seen: false })
    }

    /// Returns when a signal has come. What further ones mean is decided by who waits.
    pub async fn signalled(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
        }
    }

    /// Returns when the first signal has come; a second one ends the process.
    pub async fn wait(&mut self) {
        if self.seen {
            std::future::pending::<()>().await;
        }
        self.signalled().await;
        self.seen = true;
        let again = Interrupt::new();
        tokio::task::spawn_local(async move {
            if let Ok(Interrupt { mut int, .. }) = again {
                int.recv().await;
                std::process::exit(130);
            }
        });
    }
}
