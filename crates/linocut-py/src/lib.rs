//! The compiled part of the Python package `linocut`: what Python gives is turned into the library's types,
//! what comes back into bytes and JSON, and the interpreter is let go while the library computes.

mod bank;
mod base;
mod cut;
mod errors;
mod models;
mod rows;
mod study;

use pyo3::prelude::*;

#[pymodule]
mod _core {
    #[pymodule_export]
    use super::bank::Bank;
    #[pymodule_export]
    use super::base::Base;
    #[pymodule_export]
    use super::cut::Cut;
    #[pymodule_export]
    use super::models::{edited, measure, pack_model};
    #[pymodule_export]
    use super::set_threads;
    #[pymodule_export]
    use super::study::Study;

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

/// Sets how many threads compute, once and before anything is computed.
#[pyfunction]
fn set_threads(py: Python<'_>, threads: usize) -> PyResult<()> {
    errors::alive(py)?;
    // Far more threads than cores wait for one another without end.
    let most = 8 * std::thread::available_parallelism().map_or(1, usize::from);
    if !(1..=most).contains(&threads) {
        let message = format!("`threads` is {threads}, expected 1 to {most} on this machine");
        let error = linocut::Error::new(linocut::ErrorKind::Config, message);
        return Err(errors::raised(py, &error));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build_global().map_err(|e| {
        let message = format!("cannot start {threads} threads: {e}");
        let error = linocut::Error::new(linocut::ErrorKind::Config, message);
        errors::raised(
            py,
            &error.with_hint("set the threads before anything is computed, and once"),
        )
    })
}
