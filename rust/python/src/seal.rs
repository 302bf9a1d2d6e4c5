//! Bindings of the packet sealer.

use std::sync::Arc;

use cordum_wire::Sealer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

/// Adds the token and the signature of a service to its packets.
#[pyclass(frozen, module = "cordum._core")]
pub struct PacketSealer(Arc<Sealer>);

#[pymethods]
impl PacketSealer {
    #[new]
    #[pyo3(signature = (private_key = None, sender = None))]
    fn new(private_key: Option<&[u8]>, sender: Option<(String, String)>) -> PyResult<Self> {
        match Sealer::new(private_key, sender) {
            Ok(sealer) => Ok(PacketSealer(Arc::new(sealer))),
            Err(error) => Err(PyValueError::new_err(error.to_string())),
        }
    }

    fn seal(&self, py: Python<'_>, packets: Vec<PyBackedBytes>, token: &str) -> PyResult<Vec<Py<PyBytes>>> {
        let sealed = py.detach(|| {
            let sealed = packets.iter().map(|packet| self.0.seal(packet, token));
            sealed.collect::<Result<Vec<_>, _>>()
        });
        match sealed {
            Ok(sealed) => Ok(sealed
                .iter()
                .map(|bytes| PyBytes::new(py, bytes).unbind())
                .collect()),
            Err(error) => Err(PyValueError::new_err(error.to_string())),
        }
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PacketSealer>()
}
