//! What a node is in its group.

/// What a node is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    Follower,
    /// It asks whether it could win an election.
    PreCandidate,
    Candidate,
    Leader,
    Learner,
}

impl Role {
    /// Whether it stands for election, or is about to.
    pub fn is_candidate(self) -> bool {
        matches!(self, Role::PreCandidate | Role::Candidate)
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Follower => "follower",
            Role::PreCandidate => "pre-candidate",
            Role::Candidate => "candidate",
            Role::Leader => "leader",
            Role::Learner => "learner",
        })
    }
}
