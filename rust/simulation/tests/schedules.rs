//! Many schedules of the simulated scheduler; see `docs/proof.md`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

use std::rc::Rc;

use cordum_simulation::run::run;
use cordum_simulation::scripts::Scripts;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// `SIMULATION_SCHEDULES` of them, from `SIMULATION_SEED` on.
#[test]
fn no_schedule_breaks_a_promise() {
    let (count, first) = (
        number("SIMULATION_SCHEDULES", 10_000),
        number("SIMULATION_SEED", 1),
    );
    let threads = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    let failures: Vec<String> = std::thread::scope(|scope| {
        let worker = |thread: u64| {
            move || {
                let scripts = Rc::new(Scripts::load(None));
                let mut failures = Vec::new();
                let mut events = 0;
                for seed in (first..first + count).filter(|seed| seed % threads == thread) {
                    let report = run(seed, &scripts, None, false);
                    events += report.events;
                    if !report.violations.is_empty() {
                        failures.push(format!("seed {seed}: {}", report.violations.join("; ")));
                    }
                }
                println!("thread {thread}: {events} events");
                failures
            }
        };
        let handles: Vec<_> = (0..threads).map(|thread| scope.spawn(worker(thread))).collect();
        handles
            .into_iter()
            .flat_map(|handle| handle.join().unwrap())
            .collect()
    });
    let shown: Vec<&str> = failures.iter().take(20).map(String::as_str).collect();
    assert!(
        failures.is_empty(),
        "{} of {count} schedules failed:\n{}",
        failures.len(),
        shown.join("\n")
    );
}

#[test]
fn a_seed_gives_the_same_run_to_the_byte() {
    for seed in 1..40 {
        let first = run(seed, &Rc::new(Scripts::load(None)), None, true);
        let again = run(seed, &Rc::new(Scripts::load(None)), None, true);
        assert_eq!(first.lines, again.lines, "seed {seed}");
        assert_eq!(
            (first.hash, first.events),
            (again.hash, again.events),
            "seed {seed}"
        );
    }
}
