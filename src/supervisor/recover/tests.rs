//! What follows from what survivors hold, and that nothing is changed before somebody says so.

use super::*;
use crate::config::Durability;
use crate::consensus::raft::HardState;
use crate::storage::{FileDisk, SegmentLog};

/// A log as runs of entries: so many of each term.
fn held(runs: &[(u64, u64)], voters: &[u64], outgoing: &[u64]) -> Held {
    let mut term_runs = Vec::new();
    let mut last = 0;
    for (term, entries) in runs {
        term_runs.push((LogIndex(last + 1), Term(*term)));
        last += entries;
    }
    let last_term = term_runs.last().map_or(Term(0), |(_, term)| *term);
    let ids = |ids: &[u64]| ids.iter().map(|id| NodeId(*id)).collect();
    Held {
        hard_state: HardState { term: last_term, voted_for: None },
        last_index: LogIndex(last),
        last_term,
        configuration: Configuration {
            voters: ids(voters),
            outgoing: ids(outgoing),
            ..Configuration::default()
        },
        snapshot: LogIndex(0),
        term_runs,
        torn: false,
    }
}

fn cluster(nodes: u32) -> (tempfile::TempDir, ClusterDirectory, ClusterConfig, StateFile) {
    let temporary = tempfile::tempdir().unwrap();
    let directory = ClusterDirectory::at(temporary.path().join("c")).unwrap();
    directory.create().unwrap();
    let config = ClusterConfig::new("c".parse().unwrap(), nodes);
    fs::write(directory.cluster_toml(), config.to_commented_toml()).unwrap();
    let state = StateFile::new(&config, &directory).unwrap();
    state.write(&directory.supervisor_json()).unwrap();
    (temporary, directory, config, state)
}

fn judged(nodes: u32, logs: Vec<(u64, Held)>, keep: bool) -> Result<Plan, String> {
    let (_temporary, _, _, state) = cluster(nodes);
    let looked: Vec<_> = logs.into_iter().map(|(id, held)| (NodeId(id), Ok(held))).collect();
    judge(&looked, &state, keep).map(|(plan, _)| plan).map_err(|error| error.to_string())
}

#[test]
fn the_later_term_wins_over_the_longer_log_and_what_goes_is_named() {
    let all = [1, 2, 3, 4, 5];
    let long = held(&[(1, 10), (2, 20)], &all, &[]);
    let later = held(&[(1, 10), (3, 5)], &all, &[]);
    let plan = judged(5, vec![(1, long), (2, later)], false).unwrap();
    assert_eq!((plan.chosen, plan.term, plan.index), (NodeId(2), Term(4), LogIndex(16)));
    assert_eq!(plan.survivors[0].goes, Some((LogIndex(11), LogIndex(30))));
    assert_eq!(plan.survivors[1].goes, None);
    assert_eq!(plan.missing, [3, 4, 5].map(NodeId));
    assert_eq!(
        (plan.voters_after, plan.retired),
        (vec![NodeId(2)], [1, 3, 4, 5].map(NodeId).into())
    );
    assert!(plan.acknowledged_may_be_lost);
}

#[test]
fn a_shorter_log_of_the_same_term_has_nothing_of_its_own() {
    let all = [1, 2, 3, 4, 5];
    let logs =
        vec![(1, held(&[(1, 9), (2, 5)], &all, &[])), (2, held(&[(1, 9), (2, 4)], &all, &[]))];
    let plan = judged(5, logs, true).unwrap();
    assert_eq!((plan.chosen, plan.survivors[1].goes), (NodeId(1), None));
    assert_eq!(plan.voters_after, [1, 2].map(NodeId));
}

#[test]
fn it_is_said_whether_acknowledged_writes_may_be_lost() {
    let one = |voters: &[u64], outgoing: &[u64]| held(&[(1, 5)], voters, outgoing);
    let plan = |nodes, logs| judged(nodes, logs, false);
    // Any three of four have one of two survivors among them.
    let four = plan(4, vec![(1, one(&[1, 2, 3, 4], &[])), (2, one(&[1, 2, 3, 4], &[]))]).unwrap();
    assert!(!four.acknowledged_may_be_lost);
    let three = plan(3, vec![(1, one(&[1, 2, 3], &[]))]).unwrap();
    assert!(three.acknowledged_may_be_lost);
    // In the middle of a change, what was acknowledged is on a majority of both.
    let joint = one(&[3, 4, 5], &[1, 2, 3]);
    let joint = plan(5, vec![(1, joint.clone()), (2, joint)]).unwrap();
    assert!(!joint.acknowledged_may_be_lost, "the old majority is here");
    let majority = plan(3, vec![(1, one(&[1, 2, 3], &[])), (2, one(&[1, 2, 3], &[]))]);
    assert!(majority.unwrap_err().contains("a majority of the voters is among the survivors"));
    let nothing = plan(3, vec![(3, held(&[], &[], &[]))]).unwrap_err();
    assert!(nothing.contains("holds nothing"), "{nothing}");
}

/// Every file below `path` with its contents.
fn contents(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(contents(&path)),
            false => found.push((path.clone(), fs::read(&path).unwrap())),
        }
    }
    found.sort();
    found
}

#[test]
fn a_plan_changes_nothing_and_what_is_changed_was_copied_before() {
    let (_temporary, directory, config, mut state) = cluster(3);
    for id in config.node_ids() {
        let place = directory.node(id);
        place.create().unwrap();
        state.write_node_config(&config, &directory, id).unwrap();
        let log = place.log_directory();
        let mut disk = FileDisk::open(&log, Durability::Fsync, Box::new(|| {})).unwrap();
        let identity = Identity { cluster: config.id, node: id };
        SegmentLog::create(&mut disk, identity, &state.members().configuration()).unwrap();
        state.nodes.get_mut(&id).unwrap().initialised = true;
    }
    state.write(&directory.supervisor_json()).unwrap();
    fs::remove_dir_all(directory.node(NodeId(3)).log_directory()).unwrap();
    let before = contents(directory.path());

    let from = |ids: &[u64]| ids.iter().map(|id| NodeId(*id)).collect::<BTreeSet<_>>();
    let stranger = plan(&directory, &from(&[1, 9]), false).unwrap_err().to_string();
    assert_eq!(stranger, "there is no node 9: the nodes are 1 to 3");
    let recovery = plan(&directory, &from(&[2, 3]), false).unwrap();
    assert_eq!(recovery.plan.chosen, NodeId(2));
    assert!(recovery.plan.survivors[1].problem.as_ref().unwrap().contains("there is no log here"));
    let twice = plan(&directory, &from(&[2]), false).unwrap_err();
    assert!(matches!(twice, RecoverError::Running), "nobody else may begin meanwhile: {twice}");
    assert_eq!(contents(directory.path()), before);

    let Recovered { backup, index } = recovery.carry_out().unwrap();
    assert_eq!(index, LogIndex(2));
    let kept = backup.join("nodes/2/log");
    let original = |path: &Path| before.iter().find(|(it, _)| it == path).unwrap().1.clone();
    for (path, bytes) in contents(&kept) {
        let from = directory.node(NodeId(2)).log_directory().join(path.file_name().unwrap());
        assert_eq!(bytes, original(&from));
    }
    let state = StateFile::read(&directory).unwrap().unwrap();
    let live: Vec<NodeId> = state.live().map(|(id, _)| id).collect();
    assert_eq!(live, [NodeId(2)]);
    let identity = Identity { cluster: config.id, node: NodeId(2) };
    let held = offline::look(&directory.node(NodeId(2)).log_directory(), identity).unwrap();
    assert_eq!(held.configuration.voters, [NodeId(2)].into());
}
