//! Whose turn it is while workers are scarce: deficit round robin over tenants, inside a tenant by priority and arrival
//! (scheduler spec §32).

use std::collections::VecDeque;
use std::sync::Arc;

use ahash::AHashMap;

/// Time a job has to be parked before it moves up one priority class, and again for each further class.
pub const AGEING_US: i64 = 60_000_000;
/// Pools whose next turn is remembered; beyond that every turn starts anew.
const MAX_REMEMBERED: usize = 10_000;

/// Priority class of a request, 0 first: CRITICAL, INTERACTIVE, BATCH, unspecified. A class is gained per minute of parking.
pub fn class(priority: i32, parked_us: i64) -> u8 {
    let own = match priority {
        3 => 0,
        1 => 1,
        2 => 2,
        _ => 3_u8,
    };
    let gained = (parked_us / AGEING_US).clamp(0, 3) as u8;
    own.saturating_sub(gained)
}

/// One job that asks for a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Position of the job in its batch.
    pub item: usize,
    pub tenant: String,
    pub class: u8,
    pub arrived_us: i64,
}

/// Who was served last for a pool, and how many more jobs its turn allows.
#[derive(Clone, Debug, Default)]
pub struct Rotation(AHashMap<String, (String, u32)>);

#[derive(Debug)]
struct Tenant {
    name: String,
    weight: u32,
    jobs: VecDeque<usize>,
}

/// The turns of one batch among jobs that compete for the same pools.
#[derive(Debug)]
pub struct Turns {
    pool: String,
    ring: VecDeque<Tenant>,
    /// Jobs the tenant in front may still place in this turn; 0: its turn has not begun.
    left: u32,
    served: Option<(String, u32)>,
}

impl Turns {
    /// Turns over `claims` for what `pool` names; tenants go on where `rotation` says they stopped.
    pub fn new(
        pool: &str,
        mut claims: Vec<Claim>,
        weight_of: impl Fn(&str) -> u32,
        rotation: &Rotation,
    ) -> Self {
        claims.sort_by(|a, b| {
            (&a.tenant, a.class, a.arrived_us, a.item).cmp(&(&b.tenant, b.class, b.arrived_us, b.item))
        });
        let mut ring: VecDeque<Tenant> = VecDeque::new();
        for claim in claims {
            match ring.back_mut() {
                Some(tenant) if tenant.name == claim.tenant => tenant.jobs.push_back(claim.item),
                _ => ring.push_back(Tenant {
                    weight: weight_of(&claim.tenant).max(1),
                    name: claim.tenant,
                    jobs: VecDeque::from([claim.item]),
                }),
            }
        }
        let mut left = 0;
        if let Some((last, rest)) = rotation.0.get(pool) {
            let goes_on = *rest > 0;
            let first = ring
                .iter()
                .position(|tenant| tenant.name > *last || (goes_on && tenant.name == *last));
            ring.rotate_left(first.unwrap_or(0));
            if goes_on && ring.front().is_some_and(|tenant| tenant.name == *last) {
                left = *rest;
            }
        }
        Turns {
            pool: pool.to_owned(),
            ring,
            left,
            served: None,
        }
    }

    /// The next job; say with [`Turns::settle`] what became of it before asking again.
    pub fn take(&mut self) -> Option<usize> {
        while let Some(tenant) = self.ring.front_mut() {
            if let Some(item) = tenant.jobs.pop_front() {
                if self.left == 0 {
                    self.left = tenant.weight;
                }
                return Some(item);
            }
            self.ring.pop_front();
            self.left = 0;
        }
        None
    }

    /// Note whether the job taken last got a worker. One that got none costs its tenant nothing.
    pub fn settle(&mut self, placed: bool) {
        if !placed {
            return;
        }
        self.left = self.left.saturating_sub(1);
        if let Some(tenant) = self.ring.front() {
            self.served = Some((tenant.name.clone(), self.left));
        }
        if self.left == 0 {
            self.ring.rotate_left(1.min(self.ring.len()));
        }
    }

    /// Remember where the turns stopped.
    pub fn finish(self, rotation: &mut Rotation) {
        if let Some(served) = self.served {
            if rotation.0.len() >= MAX_REMEMBERED && !rotation.0.contains_key(&self.pool) {
                rotation.0.clear();
            }
            rotation.0.insert(self.pool, served);
        }
    }
}

/// Groups of claims whose pools overlap, each with the name of its first pool. A pool list names at least one pool.
pub fn contests(claims: Vec<(Claim, Arc<Vec<String>>)>) -> Vec<(String, Vec<Claim>)> {
    let mut group_of: AHashMap<&str, usize> = AHashMap::new();
    let mut parents: Vec<usize> = Vec::new();
    let mut first_pool: Vec<&str> = Vec::new();
    let (claims, pools): (Vec<Claim>, Vec<Arc<Vec<String>>>) = claims.into_iter().unzip();
    let mut own: Vec<usize> = Vec::with_capacity(claims.len());
    for pools in &pools {
        let mut joined: Option<usize> = None;
        for pool in pools.iter() {
            let group = *group_of.entry(pool.as_str()).or_insert_with(|| {
                parents.push(parents.len());
                first_pool.push(pool.as_str());
                parents.len() - 1
            });
            let root = root_of(&mut parents, group);
            match joined {
                None => joined = Some(root),
                Some(other) if other != root => {
                    let (low, high) = (other.min(root), other.max(root));
                    if let Some(slot) = parents.get_mut(high) {
                        *slot = low;
                    }
                    joined = Some(low);
                }
                Some(_) => {}
            }
        }
        own.push(joined.unwrap_or(usize::MAX));
    }
    let mut groups: AHashMap<usize, Vec<Claim>> = AHashMap::new();
    for (claim, group) in claims.into_iter().zip(own) {
        let root = root_of(&mut parents, group);
        groups.entry(root).or_default().push(claim);
    }
    let mut ordered: Vec<(usize, Vec<Claim>)> = groups.into_iter().collect();
    ordered.sort_unstable_by_key(|(root, _)| *root);
    ordered
        .into_iter()
        .map(|(root, claims)| (first_pool.get(root).copied().unwrap_or("").to_owned(), claims))
        .collect()
}

fn root_of(parents: &mut [usize], mut node: usize) -> usize {
    while let Some(parent) = parents.get(node).copied().filter(|parent| *parent != node) {
        let above = parents.get(parent).copied().unwrap_or(parent);
        if let Some(slot) = parents.get_mut(node) {
            *slot = above;
        }
        node = above;
    }
    node
}
