//! The mutation check: wrong edits of scripts and orchestration are found by the simulation. See `docs/proof.md`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;

use cordum_simulation::run::run;
use cordum_simulation::script_edits::SCRIPT_EDITS;
use cordum_simulation::scripts::{occurrences, Scripts};
use cordum_simulation::wrong::{Wrong, WRONGS};

/// Schedules an edit may survive.
const SCHEDULES: u64 = 3_000;

#[derive(Clone, Copy, Debug)]
enum Mutant {
    Script(usize),
    Orchestration(Wrong),
}

impl Mutant {
    fn name(self) -> String {
        match self {
            Mutant::Script(number) => format!("script: {}", SCRIPT_EDITS[number].0),
            Mutant::Orchestration(wrong) => format!("orchestration: {wrong:?}"),
        }
    }

    /// The first seed that finds it, and what it says.
    fn hunt(self, schedules: u64) -> Option<(u64, String)> {
        let (edit, wrong) = match self {
            Mutant::Script(number) => (Some(SCRIPT_EDITS[number].1), None),
            Mutant::Orchestration(wrong) => (None, Some(wrong)),
        };
        let scripts = Rc::new(Scripts::load(edit));
        let found = (1..=schedules).find_map(|seed| {
            let report = run(seed, &scripts, wrong, false);
            report.violations.first().map(|first| (seed, first.clone()))
        });
        found
    }
}

fn all() -> Vec<Mutant> {
    let scripts = (0..SCRIPT_EDITS.len())
        .filter(|number| occurrences(&SCRIPT_EDITS[*number].1) > 0)
        .map(Mutant::Script);
    scripts
        .chain(WRONGS.iter().copied().map(Mutant::Orchestration))
        .collect()
}

#[test]
#[ignore = "minutes long: `make mutants`"]
fn wrong_edits_are_found() {
    let mutants = all();
    let (next, survivors) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
                    match mutant.hunt(SCHEDULES) {
                        Some((seed, fault)) => println!("{}: seed {seed}: {fault}", mutant.name()),
                        None => survivors.lock().unwrap().push(mutant.name()),
                    }
                }
            });
        }
    });
    let survivors = survivors.into_inner().unwrap();
    let found = mutants.len() - survivors.len();
    println!(
        "{found} of {} wrong edits found; not found: {survivors:?}",
        mutants.len()
    );
    assert!(
        mutants.len() >= 50,
        "only {} edits still fit the sources",
        mutants.len()
    );
    assert!(
        found * 100 >= mutants.len() * 95,
        "{found} of {} wrong edits found; not found: {survivors:?}",
        mutants.len()
    );
}
