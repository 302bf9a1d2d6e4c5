//! What a run consists of, drawn from its seed: size, jobs, verdicts, worker behaviour, and which faults may happen.

use crate::random::Random;
use crate::world::{MILLI, SECOND};

/// What the kernel says about a job when asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    Deny,
    Human,
    Throttle,
    /// This item gets an error code instead of a decision.
    Fault,
}

/// What a worker does with a dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    Succeed,
    Fail,
    Retryable,
    Fatal,
    /// Takes the job and is never heard of again.
    Silent,
    /// Succeeds long after the running time-out.
    Slow,
    /// Reports success twice.
    Twice,
    /// Another worker reports a failure first, without having the job.
    Foreign,
    /// Reports the result of a dispatch that never was, then its own.
    Forged,
    /// Reports RUNNING and progress, then success.
    Talkative,
}

/// What a human does with a held job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Review {
    Approve,
    Reject,
}

/// One job.
#[derive(Clone, Debug)]
pub struct JobPlan {
    pub id: String,
    pub topic: &'static str,
    pub tenant: &'static str,
    /// Through the gateway; else published on the bus by a client.
    pub gateway: bool,
    pub at: i64,
    pub verdicts: Vec<Verdict>,
    pub max_retries: i32,
    pub max_concurrent: i32,
    pub deadline_ms: i64,
    pub runs: Vec<Run>,
    /// Workers echo the dispatch identity in results.
    pub echoes: bool,
    pub review: Review,
    pub review_at: i64,
    pub cancel_at: Option<i64>,
    /// Submitted again after this time, word for word.
    pub again_at: Option<i64>,
    /// Submitted again with another payload, under the same id.
    pub altered_at: Option<i64>,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub replicas: usize,
    pub workers: usize,
    /// Redis primaries; 1: standalone.
    pub nodes: usize,
    /// A primary may fail over and lose its last writes.
    pub failover: bool,
    /// The bus takes atomic batches.
    pub atomic: bool,
    /// The bus may crash between handing a message on and storing it.
    pub bus_dies: bool,
    pub storm_us: i64,
    pub jobs: Vec<JobPlan>,
    /// Clock of each replica against the servers', µs.
    pub skews: Vec<i64>,
    /// In 1000 steps, how often a replica is killed, and stands still.
    pub kill: u32,
    pub freeze: u32,
    /// Seconds between two faults of the servers or the network; 0: none.
    pub trouble_every: i64,
    pub policy_changes: bool,
}

const TENANTS: [&str; 2] = ["acme", "zeta"];

impl Plan {
    /// Draw a run.
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let random = &mut random;
        let replicas = 1 + random.index(3);
        let count = 1 + random.index(4);
        let nodes = if random.chance(500) { 3 } else { 1 };
        let skewed = random.chance(400);
        let theme = Theme::of(random);
        let skew = |random: &mut Random| {
            if skewed {
                random.range(-2 * SECOND, 2 * SECOND)
            } else {
                0
            }
        };
        Plan {
            seed,
            replicas,
            workers: 1 + random.index(3),
            nodes,
            failover: random.chance(60),
            atomic: random.chance(500),
            bus_dies: random.chance(150),
            storm_us: random.range(15, 45) * SECOND,
            skews: (0..replicas).map(|_| skew(random)).collect(),
            kill: [0, 5, 20, 60][random.index(4)],
            freeze: if theme == Theme::Slow {
                40
            } else {
                [0, 0, 4, 15][random.index(4)]
            },
            trouble_every: if theme == Theme::Retries {
                3
            } else {
                [0, 3, 8, 15][random.index(4)]
            },
            policy_changes: random.chance(200),
            jobs: (0..count).map(|number| job(random, number, theme)).collect(),
        }
    }
}

/// What a run has more of than others, so that rare meetings become likely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Theme {
    Any,
    /// Attempts fail and are repeated while connections break.
    Retries,
    /// Jobs of one tenant that may have one at a time, all at once.
    Crowd,
    /// Processes stand still.
    Slow,
}

impl Theme {
    fn of(random: &mut Random) -> Self {
        match random.index(8) {
            0 | 1 => Theme::Retries,
            2 => Theme::Crowd,
            3 => Theme::Slow,
            _ => Theme::Any,
        }
    }
}

fn job(random: &mut Random, number: usize, theme: Theme) -> JobPlan {
    let topic = [
        "job.a",
        "job.a",
        "job.a",
        "job.b",
        "job.b",
        "job.t",
        "job.t",
        "sys.approval.gate",
    ][random.index(8)];
    let mut verdicts = Vec::new();
    if random.chance(200) {
        verdicts.push(if random.chance(500) {
            Verdict::Throttle
        } else {
            Verdict::Fault
        });
    }
    verdicts.push(match random.index(10) {
        0 => Verdict::Deny,
        1 | 2 => Verdict::Human,
        _ => Verdict::Allow,
    });
    if random.chance(80) {
        verdicts.push(if random.chance(500) {
            Verdict::Deny
        } else {
            Verdict::Human
        });
    }
    let kinds = [
        Run::Succeed,
        Run::Succeed,
        Run::Succeed,
        Run::Fail,
        Run::Retryable,
        Run::Retryable,
        Run::Fatal,
        Run::Silent,
        Run::Slow,
        Run::Twice,
        Run::Foreign,
        Run::Forged,
        Run::Talkative,
    ];
    let crowd = theme == Theme::Crowd;
    let limited = crowd || random.chance(250);
    let mut time = |chance: u32, from: i64| random.chance(chance).then(|| random.range(from, 30_000) * MILLI);
    let (cancel_at, again_at, altered_at) = (time(120, 0), time(250, 0), time(80, 500));
    JobPlan {
        id: format!("job-{number}"),
        topic,
        tenant: TENANTS[usize::from(!crowd && random.chance(300))],
        gateway: random.chance(700),
        at: if crowd {
            random.range(0, 50)
        } else {
            random.range(0, 8_000)
        } * MILLI,
        verdicts,
        max_retries: if random.chance(300) {
            1 + random.index(2) as i32
        } else {
            0
        },
        max_concurrent: if limited { 1 } else { 0 },
        deadline_ms: if random.chance(100) {
            random.range(5_000, 40_000)
        } else {
            0
        },
        runs: match theme {
            Theme::Retries => vec![Run::Retryable, Run::Retryable, kinds[random.index(kinds.len())]],
            _ => (0..3).map(|_| kinds[random.index(kinds.len())]).collect(),
        },
        echoes: random.chance(600),
        review: if random.chance(650) {
            Review::Approve
        } else {
            Review::Reject
        },
        review_at: random.range(2_000, 25_000) * MILLI,
        cancel_at,
        again_at,
        altered_at,
    }
}
