//! The mutation check: wrong edits of planner, scripts and orchestration are found by the simulation. See `docs/proof.md`.
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

use cordum_simulation::planner::STALE;
use cordum_simulation::planner_edits::EDITS;
use cordum_simulation::run::run;
use cordum_simulation::script_edits::SCRIPT_EDITS;
use cordum_simulation::scripts::{occurrences, Scripts};
use cordum_simulation::switch;
use cordum_simulation::wrong::{Wrong, WRONGS};

/// Schedules an edit may survive.
const SCHEDULES: u64 = 3_000;

#[derive(Clone, Copy, Debug)]
enum Mutant {
    Planner(usize),
    Script(usize),
    Orchestration(Wrong),
}

impl Mutant {
    fn name(self) -> String {
        match self {
            Mutant::Planner(number) => format!("planner: {}", EDITS[number].name),
            Mutant::Script(number) => format!("script: {}", SCRIPT_EDITS[number].0),
            Mutant::Orchestration(wrong) => format!("orchestration: {wrong:?}"),
        }
    }

    /// The first seed that finds it, and what it says.
    fn hunt(self, schedules: u64) -> Option<(u64, String)> {
        let (edit, wrong) = match self {
            Mutant::Planner(number) => {
                switch(Some(number));
                (None, None)
            }
            Mutant::Script(number) => (Some(SCRIPT_EDITS[number].1), None),
            Mutant::Orchestration(wrong) => (None, Some(wrong)),
        };
        let scripts = Rc::new(Scripts::load(edit));
        let found = (1..=schedules).find_map(|seed| {
            let report = run(seed, &scripts, wrong, false);
            report.violations.first().map(|first| (seed, first.clone()))
        });
        switch(None);
        found
    }
}

fn all() -> Vec<Mutant> {
    let planner = (0..EDITS.len())
        .filter(|number| !STALE.contains(&EDITS[*number].name))
        .map(Mutant::Planner);
    let scripts = (0..SCRIPT_EDITS.len())
        .filter(|number| occurrences(&SCRIPT_EDITS[*number].1) > 0)
        .map(Mutant::Script);
    planner
        .chain(scripts)
        .chain(WRONGS.iter().copied().map(Mutant::Orchestration))
        .collect()
}

#[test]
fn without_an_edit_the_copied_planner_is_the_planner() {
    let scripts = Rc::new(Scripts::load(None));
    for seed in 1..=300 {
        let report = run(seed, &scripts, None, false);
        assert_eq!(report.violations, Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
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
        "only {} edits still fit the sources; stale: {STALE:?}",
        mutants.len()
    );
    assert!(
        found * 100 >= mutants.len() * 95,
        "{found} of {} wrong edits found; not found: {survivors:?}",
        mutants.len()
    );
}
