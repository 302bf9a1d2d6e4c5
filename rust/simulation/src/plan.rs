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
    /// Reports the same failure twice, one right after the other.
    Stutter,
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

/// A job's part in a saga.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saga {
    None,
    Member,
    Compensable,
}

/// One job.
#[derive(Clone, Debug)]
pub struct JobPlan {
    pub id: String,
    pub topic: &'static str,
    pub tenant: &'static str,
    /// Its part in a workflow's saga: none, member, one with a compensation.
    pub saga: Saga,
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
    /// Whoever does that signs as the gateway.
    pub poses: bool,
    /// Somebody reports a result of a job he does not have.
    pub forged_at: Option<i64>,
    /// Somebody who can write to the store changes the stored request.
    pub tampered_at: Option<i64>,
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
    /// In 1000 bursts to the store, how many are lost, and how many answers.
    pub loss: u32,
    /// In 1000 publishes, how many are lost, and how many of their acknowledgements.
    pub bus_loss: u32,
    /// Nothing fails but workers, and everything arrives: then promises of time hold, too.
    pub calm: bool,
    /// Steps at which replicas get into trouble again and again.
    pub places: Vec<&'static str>,
    pub policy_changes: bool,
}

/// Two jobs of one partition, two of the other.
const IDS: [&str; 4] = ["job-0", "job-4", "job-1", "job-5"];
const TENANTS: [&str; 2] = ["acme", "zeta"];
/// Steps between whose two sides something may be half done.
const PLACES: [&str; 31] = [
    "submit.read",
    "submit.create",
    "submit.judge",
    "submit.commit",
    "submit.publish",
    "submit.confirm",
    "submit.answer",
    "result.commit",
    "result.publish",
    "result.answer",
    "events.publish",
    "events.done",
    "duties.publish",
    "duties.flush",
    "duties.clear",
    "side.flush",
    "settle.read",
    "settle.act",
    "settle.take",
    "settle.publish",
    "rollback.move",
    "contested.read",
    "strays.drop",
    "wheel.lease",
    "tick.feed",
    "tick.read",
    "tick.drop",
    "saga.read",
    "approval.approve",
    "tick.timeout",
    "tick.repair",
];

impl Plan {
    /// Draw a run.
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let random = &mut random;
        let replicas = 1 + random.index(3);
        let count = 1 + random.index(4);
        let split = random.chance(500);
        let skewed = random.chance(400);
        let theme = Theme::of(random);
        let nodes = if split || theme == Theme::Lossy { 3 } else { 1 };
        let places: Vec<&str> = match theme {
            Theme::Place => (0..2).map(|_| PLACES[random.index(PLACES.len())]).collect(),
            _ => Vec::new(),
        };
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
            failover: random.chance(60) && theme != Theme::Calm,
            atomic: random.chance(500),
            bus_dies: random.chance(150) && theme != Theme::Calm,
            storm_us: random.range(15, 45) * SECOND,
            skews: (0..replicas).map(|_| skew(random)).collect(),
            kill: theme.unless_calm([0, 5, 20, 60][random.index(4)]),
            freeze: match theme {
                Theme::Slow => 40,
                _ => theme.unless_calm([0, 0, 4, 15][random.index(4)]),
            },
            trouble_every: match theme {
                Theme::Retries => 3,
                _ => theme.unless_calm([0, 3, 8, 15][random.index(4)]),
            },
            calm: theme == Theme::Calm,
            loss: if theme == Theme::Lossy { 100 } else { 4 },
            bus_loss: if theme == Theme::Lossy { 200 } else { 10 },
            policy_changes: random.chance(200) || places.contains(&"approval.approve"),
            places,
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
    /// Trouble begins at one of two steps.
    Place,
    /// Nothing fails but workers.
    Calm,
    /// Jobs of several primaries at once, whose calls are answered in part.
    Lossy,
}

impl Theme {
    fn of(random: &mut Random) -> Self {
        match random.index(11) {
            0 | 1 => Theme::Retries,
            2 => Theme::Crowd,
            3 => Theme::Slow,
            4 | 5 => Theme::Place,
            6 => Theme::Calm,
            7 => Theme::Lossy,
            _ => Theme::Any,
        }
    }

    fn unless_calm<T: Default>(self, value: T) -> T {
        if self == Theme::Calm {
            T::default()
        } else {
            value
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
        Run::Stutter,
        Run::Foreign,
        Run::Forged,
        Run::Talkative,
    ];
    let crowd = theme == Theme::Crowd;
    let limited = crowd || random.chance(250);
    let mut time = |chance: u32, from: i64| random.chance(chance).then(|| random.range(from, 30_000) * MILLI);
    let (cancel_at, again_at, altered_at) = (time(120, 0), time(250, 0), time(80, 500));
    let (forged_at, tampered_at) = (time(80, 0), time(60, 0));
    JobPlan {
        id: IDS[number].into(),
        topic,
        tenant: TENANTS[usize::from(!crowd && random.chance(300))],
        gateway: random.chance(700),
        at: if crowd || theme == Theme::Lossy {
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
        poses: random.chance(500),
        forged_at,
        tampered_at,
        saga: [
            Saga::None,
            Saga::None,
            Saga::None,
            Saga::Member,
            Saga::Compensable,
        ][random.index(5)],
    }
}
