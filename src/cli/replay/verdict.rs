//! What the files of a record come to, together.

use std::path::{Path, PathBuf};

use super::files::{self, Files};
use super::story::Story;
use crate::cli::failure::{Exit, Failure};
use crate::consensus::raft::Raft;
use crate::record::{
    Damage, Divergence, Ending, Header, Reader, Replayed, State, Unreadable, replay,
};

/// What became of a record.
pub struct Verdict {
    /// Of the newest file.
    pub header: Header,
    pub files: u64,
    pub lives: u64,
    pub steps: u64,
    /// How many states were compared, and the last that was reached.
    pub states: u64,
    pub state: Option<State>,
    /// When its first and its last step are, in nanoseconds of Unix time.
    pub span: Option<(u64, u64)>,
    /// It goes on, or its node was killed.
    pub is_open: bool,
    /// With which words a core ended its node, the last time that one did.
    pub died: Option<String>,
    pub missing: Vec<Missing>,
    pub damaged: Vec<(PathBuf, Damage)>,
    /// Of others' making.
    pub skipped: Vec<(PathBuf, Unreadable)>,
    pub differs: Option<Differs>,
    /// The step of its life that the newest file should go on with.
    next_step: u64,
}

/// Steps that were never recorded, or cannot be read.
pub struct Missing {
    /// Nanoseconds of Unix time.
    pub before: Option<u64>,
    pub steps: u64,
}

/// The first step that differs.
pub struct Differs {
    pub file: PathBuf,
    /// From 1, in that life.
    pub step: u64,
    /// When the last step was that did not, in nanoseconds of Unix time.
    pub after: Option<u64>,
    pub why: Divergence,
}

/// Lives all of it again, up to the first thing that differs.
pub fn live_again(files: &Files, story: &mut Story) -> Result<Verdict, Failure> {
    let mut verdict: Option<Verdict> = None;
    let mut skipped = Vec::new();
    for path in files.paths() {
        let Some(file) = files::read(path)? else { continue };
        let (header, reader) = match Reader::<Raft>::open(&file) {
            Ok(open) => open,
            Err(why) => {
                skipped.push((path.clone(), why));
                continue;
            }
        };
        let replayed = replay(reader, &mut |seen| story.see(seen));
        let verdict = verdict.get_or_insert_with(|| Verdict::new(header.clone()));
        verdict.add(path, header, replayed);
        if verdict.differs.is_some() {
            break;
        }
    }
    match verdict {
        Some(verdict) => Ok(Verdict { skipped, ..verdict }),
        None => Err(files.nothing(skipped.pop())),
    }
}

impl Verdict {
    /// Of a record that begins with the file of `header`.
    fn new(header: Header) -> Verdict {
        Verdict {
            next_step: header.first_step,
            header,
            files: 0,
            lives: 1,
            steps: 0,
            states: 0,
            state: None,
            span: None,
            is_open: true,
            died: None,
            missing: Vec::new(),
            damaged: Vec::new(),
            skipped: Vec::new(),
            differs: None,
        }
    }

    /// What became of the next file.
    fn add(&mut self, path: &Path, header: Header, replayed: Replayed) {
        let Replayed { steps, states, reached, span, ending } = replayed;
        if header.life != self.header.life {
            self.lives += 1;
            self.next_step = 0;
        }
        if header.first_step > self.next_step {
            let missing = header.first_step - self.next_step;
            self.missing.push(Missing { before: span.map(|span| span.0), steps: missing });
        }
        self.next_step = header.first_step + steps;
        self.header = header;
        self.files += 1;
        self.steps += steps;
        self.states += states;
        self.state = reached.or(self.state);
        if let Some((from, to)) = span {
            self.span = Some((self.span.map_or(from, |before| before.0), to));
        }
        self.is_open = matches!(ending, Ending::Open | Ending::Damaged(Damage::Torn { .. }));
        match ending {
            Ending::Whole | Ending::Open | Ending::Damaged(Damage::Torn { .. }) => {}
            Ending::Died { why } => self.died = Some(why),
            Ending::Damaged(damage) => self.damaged.push((path.to_owned(), damage)),
            Ending::Diverged(why) => {
                let (file, after) = (path.to_owned(), span.map(|span| span.1));
                self.differs = Some(Differs { file, step: self.next_step + 1, after, why });
            }
        }
    }

    pub fn exit(&self) -> u8 {
        match (&self.differs, self.damaged.is_empty()) {
            (Some(_), _) => Exit::Violated as u8,
            (None, false) => Exit::Failed as u8,
            (None, true) => 0,
        }
    }
}
