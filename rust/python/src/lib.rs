//! Python bindings: module `cordum._core`. A binding takes bytes, detaches, maps the error; it decides nothing.

use pyo3::prelude::*;

/// Engines allocate many short texts; the allocator of libc takes a third of the time of compiling a policy.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod analysis;
mod boundary;
mod commands;
mod dispatch;
mod output;
mod plans;
mod policy;
mod questions;
mod replay;
mod result_plan;
mod saga;
mod scanning;
mod seal;
mod submit;
mod wire;

/// Native engines of Cordum; the manual is `_core.pyi`.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add(
        "build_profile",
        if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        },
    )?;
    analysis::register(module)?;
    boundary::register(module)?;
    dispatch::register(module)?;
    output::register(module)?;
    policy::register(module)?;
    questions::register(module)?;
    replay::register(module)?;
    result_plan::register(module)?;
    scanning::register(module)?;
    seal::register(module)?;
    saga::register(module)?;
    submit::register(module)?;
    commands::register(module)?;
    wire::register(module)?;
    Ok(())
}
