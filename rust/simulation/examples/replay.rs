//! Run one schedule and print its trace: `cargo run -p cordum-simulation --example replay -- SEED`.
#![allow(clippy::print_stdout, reason = "a command")]

use std::rc::Rc;

use cordum_simulation::run::run;
use cordum_simulation::scripts::Scripts;

fn main() {
    let seed = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    let report = run(seed, &Rc::new(Scripts::load(None)), None, true);
    for line in &report.lines {
        println!("{line}");
    }
    println!("plan: {:#?}", cordum_simulation::plan::Plan::of(seed));
    println!(
        "seed {seed}: hash {:016x}, {} events, {} steps",
        report.hash, report.events, report.steps
    );
    for violation in &report.violations {
        println!("BROKEN {violation}");
    }
}
