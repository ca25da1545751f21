//! One screen, from what is known. Works at 80 by 24; colours only say again what words say.

use std::env;
use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph};

use super::view::{Extent, Panel, View};
use crate::chaos::Fault;
use crate::cli::units::timestamp;
use crate::control::{NodeState, Role, State};
use crate::types::NodeId;

/// Width of the bar that shows how far a node is.
const BAR: usize = 14;

/// Entries that the bar shows at least: the newest ones.
const WINDOW: u64 = 64;

/// Rows that events get at least, if links are shown as well.
const FEWEST_EVENTS: u16 = 4;

const SHORT_KEYS: &str =
    "p pause  r resume  k kill  s stop  i isolate  d delay  h heal  ? keys  q quit";

const KEYS: &str = "\
arrows, 1-9   choose a node                 Tab           links, events, both
p  pause it (SIGSTOP)                       PgUp, PgDn    scroll the events
r  resume it                                Esc           back to the newest
k  kill it; it is started again             h             heal everything
s  stop it, or start it                     y             despite the guard
x  restart it                               ?             these keys
i  isolate it                               q, Ctrl-C     end
d  delay its links by 100 ms
l  lose 30 % on its links
t  hand the leadership to it                any key closes this";

fn style(color: Color) -> Style {
    match env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        true => Style::new(),
        false => Style::new().fg(color),
    }
}

/// Lines at the foot, however much there is to say.
const MOST_SAID: usize = 6;

const BOLD: Modifier = Modifier::BOLD;
const DIM: Modifier = Modifier::DIM;

/// Draws all of it.
pub fn screen(frame: &mut Frame<'_>, view: &View) {
    let nodes = view.nodes().len() as u16;
    let said = footer(view, frame.area().width);
    let heights = [2, nodes + 1, 1, 0, said.len() as u16];
    let [head, table, _, rest, foot] = Layout::vertical(heights.map(|height| match height {
        0 => Constraint::Fill(1),
        height => Constraint::Length(height),
    }))
    .areas(frame.area());
    header(frame, head, view);
    frame.render_widget(Paragraph::new(node_lines(view)), table);
    let links = nodes + 1;
    let both = view.panel == Panel::Both && rest.height >= links + 1 + FEWEST_EVENTS;
    let height = match view.panel {
        Panel::Links => rest.height,
        Panel::Both if both => links + 1,
        Panel::Both | Panel::Events => 0,
    };
    let [above, below] =
        Layout::vertical([Constraint::Length(height), Constraint::Fill(1)]).areas(rest);
    frame.render_widget(Paragraph::new(link_lines(view)), above);
    frame.render_widget(Paragraph::new(event_lines(view, below.height)), below);
    frame.render_widget(Paragraph::new(said), foot);
    if view.help {
        help(frame);
    }
}

fn header(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let Some(status) = &view.status else {
        frame.render_widget(Paragraph::new("asking the supervisor …"), area);
        return;
    };
    let leader = status.leader.map_or("nobody".to_owned(), |id| format!("node {id}"));
    let total = view.total();
    let mut first = vec![
        Span::styled(status.name.to_string(), BOLD),
        Span::raw(format!(" {leader} leads, term {}  ", status.term)),
    ];
    match (view.unheard_for(), status.ready) {
        (Some(since), _) => first.push(Span::styled(
            format!("UNKNOWN: no supervisor for {}", seconds(since)),
            style(Color::Red).add_modifier(BOLD),
        )),
        (None, true) => first.push(Span::styled("ready", style(Color::Green))),
        (None, false) => first.push(Span::styled("NOT READY", style(Color::Red))),
    }
    let commit = if total.commits > 0.0 { short(total.commit) } else { "-".to_owned() };
    first.push(Span::raw(format!(
        "  write {:.0}/s {commit}  read {:.0}/s  fail {:.0}/s",
        total.writes, total.reads, total.failed,
    )));
    frame.render_widget(Paragraph::new(vec![Line::from(first), fault_line(&view.faults)]), area);
}

fn fault_line(faults: &[Fault]) -> Line<'static> {
    if faults.is_empty() {
        return Line::styled("no fault is in force", DIM);
    }
    let words: Vec<_> = faults.iter().map(|it| format!("{} {it}", it.id)).collect();
    let text = format!("FAULTS {}", words.join("; "));
    Line::styled(text, style(Color::Magenta).add_modifier(BOLD))
}

fn node_lines(view: &View) -> Vec<Line<'static>> {
    let head = format!(
        "  {:<4} {:<13} {:<9} {:>5} {:>8} {:>6}  {:<BAR$}  {}",
        "NODE", "STATE", "ROLE", "TERM", "COMMIT", "LAG", "LOG", "BELIEVES",
    );
    let mut lines = vec![Line::styled(head, BOLD)];
    let extents: Vec<_> = view.nodes().iter().map(|node| view.extent(node)).collect();
    let most = extents.iter().flatten().map(Extent::behind).max().unwrap_or(0);
    let window = WINDOW.max(most.saturating_mul(6) / 5);
    let nodes = view.nodes().iter().zip(extents);
    lines.extend(nodes.map(|(node, extent)| node_line(view, node, extent, window)));
    lines
}

fn node_line(view: &View, node: &NodeState, extent: Option<Extent>, window: u64) -> Line<'static> {
    let chosen = Some(node.node) == view.chosen;
    let mark = if chosen { ">" } else { " " };
    let unknown = view.unknown_for(node);
    let state = match (unknown, node.state) {
        (Some(since), State::Running) => format!("unknown {}", seconds(since)),
        (Some(since), state) => format!("{} {}", state.as_str(), seconds(since)),
        (None, state) => state.as_str().to_owned(),
    };
    let report = node.report.as_ref();
    let role = match report.map(|it| it.role) {
        Some(Role::PreCandidate) => "pre-cand.".to_owned(),
        Some(role) => role.to_string(),
        None => "-".to_owned(),
    };
    let number = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
    let commit = report.map(|it| it.commit_index.0);
    let lag = extent.as_ref().map(Extent::behind);
    let believes = match (report.and_then(|it| it.leader), &view.status) {
        (Some(leader), Some(status)) if Some(leader) == status.leader => format!("{leader}"),
        (Some(leader), _) => format!("{leader} (not so)"),
        (None, _) => "nobody".to_owned(),
    };
    let bar = extent.map_or(String::new(), |Extent { committed, durable, last }| {
        let at = |index: u64| (index + window).saturating_sub(last) * BAR as u64 / window.max(1);
        bar(view.ascii, at(committed.min(durable)), at(durable), at(last))
    });
    let of_state = match node.state {
        State::Running if unknown.is_none() => style(Color::Green),
        State::Running | State::Starting | State::Stopping => style(Color::Yellow),
        State::Paused => style(Color::Magenta),
        _ => style(Color::Red),
    };
    let of_role = match report.map(|it| it.role) {
        Some(Role::Leader) if unknown.is_none() => style(Color::Yellow).add_modifier(BOLD),
        _ => Style::new(),
    };
    let term = number(report.map(|it| it.term.0));
    let mut line = Line::from(vec![
        Span::raw(format!("{mark} {:<4} ", node.node)),
        Span::styled(format!("{state:<13} "), of_state),
        Span::styled(format!("{role:<9} "), of_role),
        Span::raw(format!("{term:>5} {:>8} {:>6}  ", number(commit), number(lag))),
        Span::raw(format!("{bar:<BAR$}  ")),
        Span::raw(believes),
    ]);
    if unknown.is_some() {
        line = line.patch_style(DIM);
    }
    if chosen {
        line = line.patch_style(Modifier::REVERSED);
    }
    line
}

/// Committed there, durable there, and what the leader has beyond.
fn bar(ascii: bool, committed: u64, durable: u64, last: u64) -> String {
    let [full, half, light] = if ascii { ['#', '=', '-'] } else { ['█', '▓', '░'] };
    (0..BAR as u64)
        .map(|at| match at {
            at if at < committed => full,
            at if at < durable => half,
            at if at < last => light,
            _ => ' ',
        })
        .collect()
}

/// Messages a second and how long they take, from each (rows) to each (columns).
fn link_lines(view: &View) -> Vec<Line<'static>> {
    const CELL: usize = 13;
    let ids: Vec<NodeId> = view.nodes().iter().map(|node| node.node).collect();
    let arrow = if view.ascii { ">" } else { "→" };
    let head = ids.iter().map(|id| format!("{:>CELL$}", format!("{arrow} {id}")));
    let mut lines = vec![Line::styled(format!("  LINKS {}", head.collect::<String>()), BOLD)];
    for from in &ids {
        let rates = view.meter.of(*from);
        let mut spans = vec![Span::raw(format!("  {from:<6}"))];
        for to in &ids {
            let faulty = fault_on(&view.faults, *from, *to);
            let rate = rates.links.get(to).copied().unwrap_or_default();
            let took = rate.delivery.map_or(String::new(), short);
            let text = match faulty {
                _ if from == to => String::new(),
                Some(word) => format!("{word} {:.0}/s", rate.messages),
                None => format!("{:.0}/s {took}", rate.messages),
            };
            let of = if faulty.is_some() { style(Color::Magenta) } else { Style::new() };
            spans.push(Span::styled(format!(" {:>width$}", text.trim_end(), width = CELL - 1), of));
        }
        lines.push(Line::from(spans));
    }
    lines
}

/// What is wrong with a link on purpose, in a word.
fn fault_on(faults: &[Fault], from: NodeId, to: NodeId) -> Option<&'static str> {
    let fault = faults.iter().find(|fault| fault.links.contains(&(from, to)))?;
    let policy = &fault.policy;
    Some(match policy {
        _ if policy.cut => "CUT",
        _ if policy.stall => "STALL",
        _ if policy.loss > 0.0 => "LOSS",
        _ if !policy.delay.is_zero() => "DELAY",
        _ => "FAULT",
    })
}

fn event_lines(view: &View, height: u16) -> Vec<Line<'static>> {
    let rows = usize::from(height).saturating_sub(1);
    let end = view.events.len().saturating_sub(view.back);
    let begin = end.saturating_sub(rows);
    let title = match view.back {
        0 => "  EVENTS".to_owned(),
        back => format!("  EVENTS, {back} newer ones below: Esc"),
    };
    let mut lines = vec![Line::styled(title, BOLD)];
    lines.extend(view.events.range(begin..end).map(|event| {
        let node = event.node.map_or("-".to_owned(), |id| format!("node {id}"));
        // The time of day is what matters here.
        let time = timestamp(event.time_millis);
        let time = time.split_once('T').or(time.split_once(' ')).map_or(&*time, |it| it.1);
        let of = match event.kind.as_str() {
            "leader-changed" => style(Color::Yellow),
            "leader-lost" | "node-crash-looping" | "trial-violation" | "alert-fires" => {
                style(Color::Red)
            }
            "fault-began" | "fault-ended" => style(Color::Magenta),
            _ => Style::new(),
        };
        let text = format!("  {time:<13} {node:<7} {:<19} {}", event.kind, event.detail);
        Line::styled(text, of)
    }));
    lines
}

/// What was said last, on as many lines as it takes.
fn footer(view: &View, width: u16) -> Vec<Line<'static>> {
    let (text, look) = match (view.trouble(), &view.message) {
        (Some(trouble), _) => (trouble, style(Color::Red).add_modifier(BOLD)),
        (None, Some(message)) => (message.as_str(), Style::new().add_modifier(BOLD)),
        (None, None) => (SHORT_KEYS, Style::new().add_modifier(DIM)),
    };
    let lines = textwrap::wrap(text, usize::from(width.max(1)));
    lines.into_iter().take(MOST_SAID).map(|line| Line::styled(line.into_owned(), look)).collect()
}

fn help(frame: &mut Frame<'_>) {
    let lines: Vec<Line<'_>> = KEYS.lines().map(Line::raw).collect();
    let (width, height) = (80.min(frame.area().width), lines.len() as u16 + 2);
    let area = frame.area();
    let place = Rect {
        x: (area.width - width) / 2,
        y: area.height.saturating_sub(height) / 2,
        width,
        height: height.min(area.height),
    };
    frame.render_widget(Clear, place);
    let block = ratatui::widgets::Block::bordered().title(" Keys ");
    frame.render_widget(Paragraph::new(lines).block(block), place);
}

fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..=99 => format!("{} s", time.as_secs()),
        100..=5999 => format!("{} min", time.as_secs() / 60),
        _ => format!("{} h", time.as_secs() / 3600),
    }
}

fn short(time: Duration) -> String {
    match time.as_micros() {
        0..=9_999 => format!("{:.1}ms", time.as_secs_f64() * 1e3),
        10_000..=999_999 => format!("{}ms", time.as_millis()),
        _ => format!("{:.1}s", time.as_secs_f64()),
    }
}
