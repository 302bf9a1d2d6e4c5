//! Places of parked jobs in the line of a pool, so that freed room is offered to tenants by weight and not to whoever parked
//! most (scheduler spec §16.4, §32).
//!
//! A place is a start tag of weighted fair queueing on a scale of microseconds: a tenant's next job stands one step behind its
//! last one, but never before the front of the line. Who has nobody in line therefore starts at the front, and a thousand
//! parked jobs of one tenant stand behind the first job of every other.

use ahash::AHashMap;

/// Distance between two jobs of a tenant of weight 1.
const STEP_US: i64 = 1_000_000;
/// Furthest place behind the front: a longer line keeps the order of arrival from there on.
const HORIZON_US: i64 = 4_000_000_000_000;
const MAX_TENANTS: usize = 10_000;
const MAX_POOLS: usize = 10_000;

#[derive(Debug, Default)]
struct Line {
    /// Place of whoever was first in line when the line was looked at last; 0: nobody is known to wait.
    front: i64,
    /// Last place per priority class of every tenant in line; a class includes those above it.
    last: AHashMap<String, [i64; 4]>,
}

/// The lines of all pools, as far as this replica knows.
#[derive(Debug, Default)]
pub struct Lines(AHashMap<String, Line>);

impl Lines {
    /// Place of a job that starts to wait for a pool.
    pub fn place(&mut self, pool: &str, tenant: &str, class: u8, weight: u32, now_us: i64) -> i64 {
        if !self.0.contains_key(pool) && self.0.len() >= MAX_POOLS {
            self.0.clear();
        }
        let line = self.0.entry(pool.to_owned()).or_default();
        if line.front == 0 {
            line.front = now_us;
        }
        let front = line.front;
        if line.last.len() >= MAX_TENANTS && !line.last.contains_key(tenant) {
            line.last
                .retain(|_, places| places.iter().any(|place| *place > front));
            if line.last.len() >= MAX_TENANTS {
                line.last.clear();
            }
        }
        let places = line.last.entry(tenant.to_owned()).or_insert([front; 4]);
        let step = STEP_US / i64::from(weight.max(1));
        let mut place = front;
        for (of, last) in places.iter_mut().enumerate() {
            // Jobs of a lower class pay for those of a higher one: the tenant's share is one.
            if of < usize::from(class) {
                continue;
            }
            *last = (*last).max(front).min(front + HORIZON_US);
            if of == usize::from(class) {
                place = *last;
            }
            *last += step;
        }
        place
    }

    /// Note who is first in line: its place, `None` when nobody waits.
    pub fn looked(&mut self, pool: &str, front: Option<i64>) {
        match front {
            None => {
                self.0.remove(pool);
            }
            Some(front) if self.0.len() < MAX_POOLS || self.0.contains_key(pool) => {
                self.0.entry(pool.to_owned()).or_default().front = front;
            }
            Some(_) => {}
        }
    }
}
