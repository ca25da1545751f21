//! What a key means.

use std::time::Duration;

use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};

use super::deed::{Deed, What};
use super::view::{Panel, View};
use crate::control::{Action, State};
use crate::types::NodeId;

/// What somebody wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    Quit,
    Do(Deed),
    Show(Change),
}

/// Of what is on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The node so many places further.
    Choose(isize),
    Node(NodeId),
    NextPanel,
    /// So many events further back.
    Back(isize),
    Help(bool),
}

impl Change {
    pub fn apply(self, view: &mut View) {
        match self {
            Change::Choose(steps) => view.choose(steps),
            Change::Node(id) if view.node(id).is_some() => view.chosen = Some(id),
            Change::Node(_) => {}
            Change::NextPanel => {
                view.panel = match view.panel {
                    Panel::Both => Panel::Links,
                    Panel::Links => Panel::Events,
                    Panel::Events => Panel::Both,
                }
            }
            Change::Back(steps) => {
                view.back = view.back.saturating_add_signed(steps).min(view.events.len());
            }
            Change::Help(shown) => view.help = shown,
        }
    }
}

/// Delay and loss that a key brings.
const DELAY: Duration = Duration::from_millis(100);
const LOSS: f64 = 0.3;

/// Events that PageUp scrolls by.
const PAGE: isize = 10;

/// What `input` means, if it means anything.
pub fn wish(view: &View, input: &Event) -> Option<Wish> {
    let Event::Key(key) = input else { return None };
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let interrupts =
        key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
    if interrupts {
        return Some(Wish::Quit);
    }
    if view.help {
        return Some(Wish::Show(Change::Help(false)));
    }
    let show = |change| Some(Wish::Show(change));
    match key.code {
        KeyCode::Char('q') => Some(Wish::Quit),
        KeyCode::Esc if view.back > 0 => show(Change::Back(-(view.back as isize))),
        KeyCode::Char('?') => show(Change::Help(true)),
        KeyCode::Up | KeyCode::Left => show(Change::Choose(-1)),
        KeyCode::Down | KeyCode::Right => show(Change::Choose(1)),
        KeyCode::Char(digit @ '1'..='9') => {
            show(Change::Node(NodeId(u64::from(digit as u8 - b'0'))))
        }
        KeyCode::Tab => show(Change::NextPanel),
        KeyCode::PageUp => show(Change::Back(PAGE)),
        KeyCode::PageDown => show(Change::Back(-PAGE)),
        KeyCode::Char('y') => view.guarded.clone().map(Wish::Do),
        KeyCode::Char('h') => Some(Wish::Do(Deed { what: What::HealAll, yes: false })),
        KeyCode::Char(letter) => {
            let what = to_node(view, letter)?;
            Some(Wish::Do(Deed { what, yes: false }))
        }
        _ => None,
    }
}

/// What a letter does to the node that is chosen.
fn to_node(view: &View, letter: char) -> Option<What> {
    let node = view.chosen?;
    let state = view.node(node)?.state;
    let act = |action| Some(What::Act(node, action));
    match letter {
        'p' => act(Action::Pause),
        'r' => act(Action::Resume),
        'k' => act(Action::Kill),
        's' if matches!(state, State::Stopped | State::CrashLooping) => act(Action::Start),
        's' => act(Action::Stop),
        'x' => act(Action::Restart),
        'i' => Some(What::Isolate(node)),
        'd' => Some(What::Delay(node, DELAY)),
        'l' => Some(What::Lose(node, LOSS)),
        't' => Some(What::Transfer(node)),
        _ => None,
    }
}
