//! The state machine: any sequence of commands from a log, and any sequence of parts that claims to
//! be a snapshot of one.

use bytes::Bytes;
use kvraft::kv::{Command, Machine};
use kvraft::types::LogIndex;

use super::script::Script;

/// Commands, each behind its length.
pub fn run_apply(data: &[u8]) {
    apply_to(Machine::new(), data);
    apply_to(machine_with(&super::kv::raises()), data);
}

fn apply_to(mut machine: Machine, data: &[u8]) {
    let mut script = Script(data);
    while !script.is_over() {
        let next = machine.applied_index().next();
        machine.apply(next, script.bytes(255));
    }
    assert_eq!(machine.state_hash(), machine.recompute_state_hash());
    let restored = restore(machine.snapshot());
    assert_eq!(restored.map(|machine| machine.state_hash()), Some(machine.state_hash()));
}

/// Parts, each behind its length.
pub fn run_restore(data: &[u8]) {
    let mut script = Script(data);
    let mut parts = Vec::new();
    while !script.is_over() {
        parts.push(script.bytes(255));
    }
    if let Some(machine) = restore(parts) {
        assert_eq!(machine.state_hash(), machine.recompute_state_hash());
    }
}

fn restore(parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Option<Machine> {
    let mut restore = Machine::new().restore();
    parts.into_iter().try_for_each(|part| restore.take(part.as_ref())).ok()?;
    restore.finish().ok()
}

/// A machine that has applied these.
pub fn machine_with(commands: &[Command]) -> Machine {
    let mut machine = Machine::new();
    for (command, index) in commands.iter().zip(1..) {
        machine.apply(LogIndex(index), &command.encode());
    }
    machine
}

fn with_lengths(parts: impl Iterator<Item = Bytes>) -> Vec<u8> {
    let short = parts.filter(|part| part.len() < 256);
    short.flat_map(|part| [&[part.len() as u8][..], &part].concat()).collect()
}

pub fn apply_samples() -> Vec<Vec<u8>> {
    let commands = super::kv::commands();
    let each = commands.iter().map(|command| with_lengths([command.encode()].into_iter()));
    let all = with_lengths(commands.iter().map(Command::encode));
    each.chain([all]).collect()
}

pub fn restore_samples() -> Vec<Vec<u8>> {
    // All that there is at the end, before there was a history, and in the midst of it.
    let commands = super::kv::commands();
    let machines = [&commands[..], &commands[..6], &commands[..10]].map(machine_with);
    let parts = machines.iter().flat_map(|machine| {
        [16, 64, 250].map(|bytes| with_lengths(machine.snapshot().in_parts_of(bytes)))
    });
    [with_lengths(Machine::new().snapshot())].into_iter().chain(parts).collect()
}
