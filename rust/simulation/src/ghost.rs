//! What really happened, as nobody inside the system can see it.

use std::collections::{BTreeMap, BTreeSet};

use cordum_wire::messages::JobStatus;

use crate::plan::Verdict;

/// A record when it was last looked at.
#[derive(Clone, Debug, Default)]
pub struct Last {
    pub state: String,
    pub rev: i64,
    pub attempts: i64,
}

/// The truth about one job.
#[derive(Debug, Default)]
pub struct Seen {
    /// The caller was told that the job is taken.
    pub submitted: bool,
    pub last: Last,
    /// Every state it was in, in order.
    pub states: Vec<String>,
    /// Committed dispatches by attempt.
    pub dispatches: BTreeMap<i64, String>,
    /// The kernel's words since the job's state changed. Of two schedulers that ask at the same time the first to commit counts.
    pub verdicts: Vec<Verdict>,
    /// Workers that ran a dispatch.
    pub runs: BTreeMap<String, Vec<usize>>,
    /// Genuine reports: dispatch, worker, status.
    pub reports: BTreeSet<(String, String, i32)>,
    /// Dispatches that were taken back.
    pub rolled_back: BTreeSet<String>,
    /// How often each dispatch was published.
    pub published: BTreeMap<String, u32>,
    /// Topic and principal of the request that was taken.
    pub taken: Option<(String, String)>,
    /// Somebody changed the stored request.
    pub tampered: bool,
    /// Somebody reported a result without having the job.
    pub forged: bool,
    /// The highest number a question to a human, or his answer, had.
    pub question: i64,
    /// Revisions of the open question a human looked at.
    pub looked_at: BTreeSet<i64>,
    /// Moves into RETRYING.
    pub retries: usize,
    /// Statuses told to everybody, and announced as dead letters.
    pub told: BTreeSet<(i32, bool)>,
    pub clocks: Clocks,
    /// Duties of the record when it was last looked at.
    pub after: String,
    /// The dispatch that was unconfirmed then.
    pub unconfirmed: Option<String>,
}

/// When what is due for a job.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clocks {
    /// Start of the time the job may take: its creation, then each dispatch.
    pub deadline_from: i64,
    /// Its dispatch or running time-out, where it has one.
    pub due: Option<f64>,
    /// Since when its tenant has a place for it in the sets of active and of open jobs that it does not fill.
    pub listed: [Option<i64>; 2],
}

/// The truth.
#[derive(Debug, Default)]
pub struct Ghost {
    pub steps: u64,
    pub jobs: BTreeMap<String, Seen>,
    /// When each worker last gave a sign of life.
    pub beats: BTreeMap<String, i64>,
    pub violations: Vec<String>,
}

impl Ghost {
    fn job(&mut self, id: &str) -> &mut Seen {
        self.jobs.entry(id.to_owned()).or_default()
    }

    /// Somebody changed the stored request of a job.
    pub fn tampered(&mut self, id: &str) {
        self.job(id).tampered = true;
    }

    /// Somebody reports a result of a job he does not have.
    pub fn forged(&mut self, id: &str) {
        self.job(id).forged = true;
    }

    /// A human looks at the open question of a job.
    pub fn looked_at(&mut self, id: &str, rev: i64) {
        self.job(id).looked_at.insert(rev);
    }

    /// The kernel decided about a job.
    pub fn judged(&mut self, id: &str, verdict: Verdict) {
        self.job(id).verdicts.push(verdict);
    }

    /// The caller was told that the job is taken.
    pub fn submitted(&mut self, id: &str) {
        self.job(id).submitted = true;
    }

    /// A worker got a dispatch; how many runs the job had before.
    pub fn ran(&mut self, id: &str, dispatch: &str, worker: usize) -> usize {
        let seen = self.job(id);
        let before = seen.runs.values().map(Vec::len).sum();
        seen.runs.entry(dispatch.to_owned()).or_default().push(worker);
        before
    }

    /// A worker is going to report.
    pub fn reported(&mut self, dispatch: &str, worker: usize, status: JobStatus) {
        let id = dispatch.split(':').next().unwrap_or_default().to_owned();
        let report = (dispatch.to_owned(), format!("w{worker}"), status as i32);
        self.job(&id).reports.insert(report);
    }

    /// Whether a job is over.
    pub fn ended(&self, id: &str) -> bool {
        self.jobs
            .get(id)
            .is_some_and(|seen| crate::invariants::is_final(&seen.last.state))
    }
}
