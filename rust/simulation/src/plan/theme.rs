//! What a run has more of than others, so that rare meetings become likely.

use crate::random::Random;
use crate::world::{MILLI, SECOND};

/// What a run has more of than others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Theme {
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
    /// A process stands still before a step, while others change what the step relies on.
    Race(&'static Race),
}

/// The steps of a race.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Race {
    /// Before these, processes stand still.
    pub(super) stands: &'static [&'static str],
    /// At these, they get into any trouble.
    pub(super) breaks: &'static [&'static str],
    pub(super) between: Between,
}

/// What happens to jobs while somebody stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Between {
    /// Attempts fail fast and are repeated.
    Retries,
    /// Attempts fail after a while and are repeated.
    LongRetries,
    /// Dispatches are refused; those that were taken back wait.
    Refusals,
    /// Dispatches are lost; those that were taken back wait.
    Losses,
    /// Jobs are held, judged again and approved, while policies change.
    Reviews,
    /// Jobs are held and approved, while there are no workers.
    Shortage,
    /// Nothing in particular.
    Anything,
}

static RACES: [Race; 8] = [
    Race {
        stands: &["duties.flush", "duties.clear"],
        breaks: &["events.publish"],
        between: Between::LongRetries,
    },
    Race {
        stands: &["submit.confirm", "side.flush", "settle.act"],
        breaks: &["submit.publish"],
        between: Between::Retries,
    },
    Race {
        stands: &["rollback.move"],
        breaks: &[],
        between: Between::Refusals,
    },
    Race {
        stands: &["tick.read", "tick.drop"],
        breaks: &[],
        between: Between::Losses,
    },
    Race {
        stands: &["settle.find", "settle.act"],
        breaks: &["submit.publish"],
        between: Between::Anything,
    },
    Race {
        stands: &["wheel.wake", "submit.read", "strays.drop"],
        breaks: &[],
        between: Between::Shortage,
    },
    Race {
        stands: &["submit.judge", "submit.commit"],
        breaks: &[],
        between: Between::Reviews,
    },
    Race {
        stands: &["approval.approve", "approvals.move"],
        breaks: &[],
        between: Between::Reviews,
    },
];

impl Theme {
    pub(super) fn of(random: &mut Random) -> Self {
        match random.index(15) {
            0 | 1 => Theme::Retries,
            2 => Theme::Crowd,
            3 => Theme::Slow,
            4 | 5 => Theme::Place,
            6 => Theme::Calm,
            7 => Theme::Lossy,
            8..=11 => Theme::Race(&RACES[random.index(RACES.len())]),
            _ => Theme::Any,
        }
    }

    pub(super) fn race(self) -> Option<&'static Race> {
        match self {
            Theme::Race(race) => Some(race),
            _ => None,
        }
    }

    fn between(self) -> Option<Between> {
        self.race().map(|race| race.between)
    }

    /// How much of a kind of fault there is, drawn from what is usual: what a theme is about happens more often when little else
    /// does.
    pub(super) fn faults<T: Copy + Default>(self, random: &mut Random, usual: [T; 4]) -> T {
        let drawn = random.index(usual.len());
        match self {
            _ if self.is_steady() => T::default(),
            Theme::Race(_) if drawn > 1 => T::default(),
            _ => usual[drawn],
        }
    }

    /// How long faults happen, µs. A race takes its time.
    pub(super) fn storm(self, random: &mut Random) -> i64 {
        let (least, most) = if self.race().is_some() { (30, 60) } else { (15, 45) };
        random.range(least, most) * SECOND
    }

    /// Jobs are submitted by then.
    pub(super) fn starts_within_ms(self) -> i64 {
        if self.race().is_some() {
            3_000
        } else {
            8_000
        }
    }

    /// Servers, processes and most connections are well.
    pub(super) fn is_steady(self) -> bool {
        matches!(self, Theme::Calm | Theme::Lossy)
    }

    /// All jobs are submitted at the same time.
    pub(super) fn is_at_once(self) -> bool {
        matches!(self, Theme::Crowd | Theme::Lossy)
    }

    pub(super) fn is_retried(self) -> bool {
        let between = matches!(self.between(), Some(Between::Retries | Between::LongRetries));
        between || self == Theme::Retries
    }

    pub(super) fn is_reviewed(self) -> bool {
        matches!(self.between(), Some(Between::Reviews | Between::Shortage))
    }

    /// Dispatches do not arrive.
    pub(super) fn is_undelivered(self) -> bool {
        matches!(self.between(), Some(Between::Refusals | Between::Losses))
    }

    /// Steps whose calls are answered in part.
    pub(super) fn parts(self) -> &'static [&'static str] {
        match self {
            Theme::Lossy => &["submit.create", "submit.commit", "result.commit", "side.flush"],
            _ => &[],
        }
    }

    /// How many schedulers and jobs there are. A race takes two; where there is one only, more comes to it at once.
    pub(super) fn size(self, random: &mut Random, replicas: usize, jobs: usize) -> (usize, usize) {
        match self {
            Theme::Race(_) => (replicas.max(2), jobs),
            Theme::Lossy if random.chance(600) => (1, 4),
            _ => (replicas, jobs),
        }
    }

    /// In 1000 dispatches, how many the bus refuses.
    pub(super) fn refused(self) -> u32 {
        if self.between() == Some(Between::Refusals) {
            500
        } else {
            5
        }
    }

    /// In 1000 publishes, how many are lost, and how many of their acknowledgements; then the same of dispatches.
    pub(super) fn losses(self) -> (u32, u32) {
        match self {
            Theme::Lossy => (100, 100),
            Theme::Race(race) if race.between == Between::Losses => (10, 400),
            _ => (10, 10),
        }
    }

    /// When a dispatch nobody is seen to run is given up.
    pub(super) fn dispatch_timeout_s(self) -> i64 {
        if self.is_undelivered() {
            4
        } else {
            15
        }
    }

    /// Seconds between two looks of a human at a job.
    pub(super) fn looks_every(self) -> i64 {
        if self.between() == Some(Between::Reviews) {
            2
        } else {
            7
        }
    }

    /// How long workers take.
    pub(super) fn work(self) -> (i64, i64) {
        match self.between() {
            Some(Between::Retries) => (MILLI, 500 * MILLI),
            Some(Between::LongRetries) => (SECOND, 20 * SECOND),
            _ if self == Theme::Lossy => (MILLI, 20 * MILLI),
            _ => (MILLI, 4 * SECOND),
        }
    }

    pub(super) fn has_absences(self, random: &mut Random) -> bool {
        match self.between() {
            Some(Between::Shortage) => true,
            Some(Between::Refusals | Between::Reviews) => random.chance(500),
            _ => self == Theme::Retries && random.chance(500),
        }
    }

    /// Seconds between two policies.
    pub(super) fn policy_every(self, random: &mut Random) -> i64 {
        if self.between() == Some(Between::Reviews) && random.chance(600) {
            random.range(2, 12)
        } else {
            0
        }
    }
}
