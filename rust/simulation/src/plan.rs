//! What a run consists of, drawn from its seed: size, jobs, verdicts, worker behaviour, and which faults may happen.

mod theme;

use crate::random::Random;
use crate::world::{MILLI, SECOND};

use theme::Theme;

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
    /// Submitted again, word for word, after each of these times.
    pub again: Vec<i64>,
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
    /// In 1000 publishes, how many are lost, and how many of their acknowledgements; then the same of dispatches.
    pub losses: (u32, u32),
    /// Nothing fails but workers, and everything arrives: then promises of time hold, too.
    pub calm: bool,
    /// Steps at which replicas get into trouble again and again.
    pub places: Vec<&'static str>,
    /// Steps before which processes stand still again and again.
    pub stands: &'static [&'static str],
    /// Steps before which the connection to one primary breaks again and again.
    pub parts: &'static [&'static str],
    /// Steps take longer, so that more waits for each process and is taken at once.
    pub busy: bool,
    /// In 1000 dispatches, how many the bus refuses.
    pub refused: u32,
    /// When a dispatch nobody is seen to run is given up.
    pub dispatch_timeout_s: i64,
    /// How long workers take, µs.
    pub work: (i64, i64),
    /// Workers come late, and go away for a while now and then.
    pub absences: bool,
    pub policy_changes: bool,
    /// Seconds between two policies; 0: they only change as a fault.
    pub policy_every: i64,
    /// Seconds between two looks of a human at a job.
    pub looks_every: i64,
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
            Theme::Race(race) => race.breaks.to_vec(),
            _ => Vec::new(),
        };
        let (replicas, count) = theme.size(random, replicas, count);
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
            failover: random.chance(60) && !theme.is_steady(),
            atomic: random.chance(500),
            bus_dies: random.chance(150) && !theme.is_steady(),
            storm_us: theme.storm(random),
            skews: (0..replicas).map(|_| skew(random)).collect(),
            kill: theme.faults(random, [0, 5, 20, 60]),
            freeze: match theme {
                Theme::Slow => 40,
                _ => theme.faults(random, [0, 0, 4, 15]),
            },
            trouble_every: match theme {
                Theme::Retries => 3,
                _ => theme.faults(random, [0, 15, 3, 8]),
            },
            calm: theme == Theme::Calm,
            loss: if theme == Theme::Lossy { 20 } else { 4 },
            losses: theme.losses(),
            stands: theme.race().map_or(&[], |race| race.stands),
            parts: theme.parts(),
            busy: theme == Theme::Lossy,
            refused: theme.refused(),
            dispatch_timeout_s: theme.dispatch_timeout_s(),
            work: theme.work(),
            absences: theme.has_absences(random),
            policy_changes: random.chance(200) || places.contains(&"approval.approve"),
            policy_every: theme.policy_every(random),
            looks_every: theme.looks_every(),
            places,
            jobs: (0..count).map(|number| job(random, number, theme)).collect(),
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
    let verdicts = verdicts(random, theme);
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
    let (cancel_at, again, altered_at) = (time(120, 0), time(250, 0), time(80, 500));
    let (forged_at, tampered_at) = (time(80, 0), time(60, 0));
    let again = if theme.is_reviewed() {
        (0..random.index(4))
            .map(|_| random.range(0, 3_000) * MILLI)
            .collect()
    } else {
        again.into_iter().collect()
    };
    JobPlan {
        id: IDS[number].into(),
        topic,
        tenant: TENANTS[usize::from(!crowd && random.chance(300))],
        gateway: random.chance(if theme == Theme::Lossy { 300 } else { 700 }),
        at: if theme.is_at_once() {
            random.range(0, 50)
        } else {
            random.range(0, theme.starts_within_ms())
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
        runs: if theme.is_retried() {
            vec![Run::Retryable, Run::Retryable, kinds[random.index(kinds.len())]]
        } else {
            (0..3).map(|_| kinds[random.index(kinds.len())]).collect()
        },
        echoes: random.chance(600),
        review: if random.chance(if theme.is_reviewed() { 900 } else { 650 }) {
            Review::Approve
        } else {
            Review::Reject
        },
        review_at: if theme.is_reviewed() {
            random.range(1_000, 6_000)
        } else {
            random.range(2_000, 25_000)
        } * MILLI,
        cancel_at,
        again,
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

/// What the kernel says of a job, in order.
fn verdicts(random: &mut Random, theme: Theme) -> Vec<Verdict> {
    if theme == Theme::Lossy && random.chance(700) {
        return vec![Verdict::Allow];
    }
    if theme.is_undelivered() {
        return vec![
            Verdict::Allow,
            Verdict::Throttle,
            Verdict::Throttle,
            Verdict::Allow,
        ];
    }
    if theme.is_reviewed() {
        let first = [Verdict::Fault, Verdict::Throttle, Verdict::Allow, Verdict::Human];
        return vec![first[random.index(first.len())], Verdict::Human];
    }
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
    verdicts
}
