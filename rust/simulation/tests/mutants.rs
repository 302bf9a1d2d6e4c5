//! The mutation check: wrong edits of planner, scripts and orchestration are found by the simulation. See `docs/proof.md`.
//!
//! `MUTANTS` selects pieces of it, joined by commas: a list (`planner`, `script` or `step`) and, if need be, an edit or the first
//! and the last one (`planner:20-39,script:7,step`). `MUTANTS_SCHEDULES` changes how many schedules an edit may survive.
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
use std::time::Instant;

use cordum_simulation::planner::STALE;
use cordum_simulation::planner_edits::EDITS;
use cordum_simulation::run::run;
use cordum_simulation::script_edits::SCRIPT_EDITS;
use cordum_simulation::scripts::{occurrences, Scripts};
use cordum_simulation::switch;
use cordum_simulation::wrong::WRONGS;

/// Schedules an edit may survive.
const SCHEDULES: u64 = 3_000;
/// Edits looked for at the same time, at most.
const THREADS: usize = 2;

/// An edit: its place in its list.
#[derive(Clone, Copy, Debug)]
enum Mutant {
    Planner(usize),
    Script(usize),
    Step(usize),
}

impl Mutant {
    fn name(self) -> String {
        match self {
            Mutant::Planner(number) => format!("planner:{number} {}", EDITS[number].name),
            Mutant::Script(number) => format!("script:{number} {}", SCRIPT_EDITS[number].0),
            Mutant::Step(number) => format!("step:{number} {:?}", WRONGS[number]),
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
            Mutant::Step(number) => (None, Some(WRONGS[number])),
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

/// Every edit whose text is still in the sources.
fn all() -> Vec<Mutant> {
    let planner = (0..EDITS.len())
        .filter(|number| !STALE.contains(&EDITS[*number].name))
        .map(Mutant::Planner);
    let scripts = (0..SCRIPT_EDITS.len())
        .filter(|number| occurrences(&SCRIPT_EDITS[*number].1) > 0)
        .map(Mutant::Script);
    planner
        .chain(scripts)
        .chain((0..WRONGS.len()).map(Mutant::Step))
        .collect()
}

/// Those of a selection such as `script` or `script:3-9,step:2`.
fn selected(selection: &str) -> Vec<Mutant> {
    selection.split(',').flat_map(piece).collect()
}

fn piece(piece: &str) -> Vec<Mutant> {
    let (list, range) = piece.split_once(':').unwrap_or((piece, ""));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let bound = |text: &str, otherwise| match text {
        "" => otherwise,
        text => text.parse().unwrap(),
    };
    let numbers: std::ops::RangeInclusive<usize> = bound(first, 0)..=bound(last, usize::MAX);
    let chosen = |mutant: &Mutant| match mutant {
        Mutant::Planner(number) => list == "planner" && numbers.contains(number),
        Mutant::Script(number) => list == "script" && numbers.contains(number),
        Mutant::Step(number) => list == "step" && numbers.contains(number),
    };
    all().into_iter().filter(chosen).collect()
}

/// Look for each of them; the names of those that were not found.
fn hunt(mutants: &[Mutant], schedules: u64) -> Vec<String> {
    let (next, survivors) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let search = || {
        while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
            let (name, start) = (mutant.name(), Instant::now());
            let found = mutant.hunt(schedules);
            let seconds = start.elapsed().as_secs_f32();
            if let Some((seed, fault)) = found {
                println!("{name}: seed {seed}, {seconds:.1} s: {fault}");
            } else {
                println!("{name}: NOT FOUND, {seconds:.1} s");
                survivors.lock().unwrap().push(name);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.min(THREADS) {
            scope.spawn(search);
        }
    });
    survivors.into_inner().unwrap()
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
    let variable = |name| std::env::var(name).ok();
    let schedules = variable("MUTANTS_SCHEDULES").map_or(SCHEDULES, |text| text.parse().unwrap());
    let selection = variable("MUTANTS");
    let mutants = selection.as_deref().map_or_else(all, selected);
    let survivors = hunt(&mutants, schedules);
    let (found, of) = (mutants.len() - survivors.len(), mutants.len());
    println!("{found} of {of} wrong edits found; not found: {survivors:?}; stale: {STALE:?}");
    let enough = if selection.is_some() { 1 } else { 50 };
    assert!(of >= enough, "only {of} edits fit the sources; stale: {STALE:?}");
    assert!(
        found * 100 >= of * 95,
        "{found} of {of} wrong edits found; not found: {survivors:?}"
    );
}
