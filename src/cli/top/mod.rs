//! `kvctl top`: the live console in the terminal.
//!
//! ```text
//!   keys (a thread) ──┐
//!   ask (a task) ─────┼──► one loop: what is known (view) ──► one screen (draw)
//!   deeds under way ──┘
//! ```
//!
//! What is asked for goes the same way as any other command's, and the screen goes on meanwhile.

mod ask;
mod deed;
mod draw;
mod keys;
mod rates;
mod view;

use std::io::IsTerminal;

use ratatui::crossterm::event::{self, Event as Input};
use tokio::sync::mpsc;

use self::ask::Heard;
use self::deed::Deed;
use self::keys::Wish;
use self::view::View;
use super::failure::{Failure, Outcome};
use super::interrupt::Interrupt;
use super::{Global, cluster};
use crate::control::SupervisorClient;

/// Watch the cluster, and break it, in the terminal
///
/// Nodes with what they believe and how far they are, the links between them, what clients get, and
/// what happened: four times a second. The arrow keys choose a node; a letter does something to it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl top
  kvctl top --ascii                         where the terminal has no other characters

Keys: arrows choose a node; p pause, r resume, k kill, s stop or start, x restart, i isolate,
d delay its links by 100 ms, l lose 30 % on its links; t hand the leadership to it; h heal
everything; Tab links or events; ? all keys; q or Ctrl-C ends. What is refused for the quorum of
a protected cluster can be done all the same with y. Colours follow NO_COLOR.")]
pub struct Top {
    /// Draw with ASCII characters alone
    #[arg(long)]
    pub ascii: bool,
}

pub async fn run(global: &Global, command: Top) -> Outcome {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::usage("`kvctl top` wants a terminal").next("kvctl cluster status"));
    }
    let supervisor = cluster::supervisor(global).await?;
    let mut interrupt = Interrupt::new()?;
    let mut terminal = ratatui::try_init().map_err(no_screen)?;
    let watched = watch(global, &command, supervisor, &mut terminal, &mut interrupt).await;
    ratatui::restore();
    watched.map(|()| 0)
}

fn no_screen(error: std::io::Error) -> Failure {
    Failure::failed(format!("cannot draw on this terminal: {error}"))
}

/// Keys, read where reading may wait.
fn keyboard() -> mpsc::Receiver<Input> {
    let (sender, receiver) = mpsc::channel(64);
    // It ends with the process, or with the first key after nobody listens any more.
    std::thread::spawn(move || {
        while let Ok(input) = event::read() {
            if sender.blocking_send(input).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn watch(
    global: &Global,
    command: &Top,
    supervisor: SupervisorClient,
    terminal: &mut ratatui::DefaultTerminal,
    interrupt: &mut Interrupt,
) -> Result<(), Failure> {
    let mut keyboard = keyboard();
    let mut view = View::new(command.ascii);
    let mut heard = ask::begin(global.clone(), supervisor);
    let mut pace = tokio::time::interval(ask::PACE);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (done, mut deeds) = mpsc::channel(16);
    loop {
        tokio::select! {
            // Time goes on where nobody answers, too.
            _ = pace.tick() => {}
            Some(heard) = heard.recv() => match heard {
                Heard::All { status, faults, events } => view.heard(*status, faults, events),
                Heard::Nothing(why) => view.silent(why),
            },
            Some(input) = keyboard.recv() => match keys::wish(&view, &input) {
                Some(Wish::Quit) => return Ok(()),
                Some(Wish::Do(deed)) => begin(global, deed, &done, &mut view),
                Some(Wish::Show(change)) => change.apply(&mut view),
                None => {}
            },
            Some(said) = deeds.recv() => view.deed_done(said),
            () = interrupt.signalled() => return Ok(()),
        }
        terminal.draw(|frame| draw::screen(frame, &view)).map_err(no_screen)?;
    }
}

/// Does what was asked for beside the loop: it may take seconds.
fn begin(global: &Global, deed: Deed, done: &mpsc::Sender<deed::Said>, view: &mut View) {
    view.deed_begun(&deed);
    let (global, done) = (global.clone(), done.clone());
    tokio::task::spawn_local(async move {
        let said = deed::perform(&global, deed).await;
        // Nobody listens any more when the screen is closed.
        let _ = done.send(said).await;
    });
}
