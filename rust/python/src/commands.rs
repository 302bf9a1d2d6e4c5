//! Redis commands as they go over the wire (RESP, arrays of bulk strings), many per call.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyList, PyString, PyTuple};

/// Commands of texts, bytes and numbers as one buffer for the socket.
#[pyfunction]
fn pack_commands<'py>(py: Python<'py>, commands: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyBytes>> {
    let mut buffer = Vec::with_capacity(commands.len() * 256);
    for command in commands.iter() {
        let command = command.cast::<PyTuple>()?;
        head(&mut buffer, b'*', command.len());
        for item in command.iter_borrowed() {
            put(&mut buffer, &item)?;
        }
    }
    Ok(PyBytes::new(py, &buffer))
}

fn put(buffer: &mut Vec<u8>, item: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Ok(text) = item.cast::<PyString>() {
        bulk(buffer, text.to_str()?.as_bytes());
    } else if let Ok(bytes) = item.cast::<PyBytes>() {
        bulk(buffer, bytes.as_bytes());
    } else if (item.is_instance_of::<PyInt>() && !item.is_instance_of::<PyBool>())
        || item.is_instance_of::<PyFloat>()
    {
        bulk(buffer, item.str()?.to_str()?.as_bytes());
    } else {
        let kind = item.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "a redis command is made of str, bytes, int and float, got {kind}"
        )));
    }
    Ok(())
}

fn bulk(buffer: &mut Vec<u8>, bytes: &[u8]) {
    head(buffer, b'$', bytes.len());
    buffer.extend_from_slice(bytes);
    buffer.extend_from_slice(b"\r\n");
}

/// Sign, number, line end. The standard formatting of the many lengths costs more than the rest.
fn head(buffer: &mut Vec<u8>, sign: u8, number: usize) {
    let mut digits = [0; 20];
    let (mut at, mut left) = (digits.len(), number);
    loop {
        at -= 1;
        if let Some(digit) = digits.get_mut(at) {
            *digit = b'0' + (left % 10) as u8;
        }
        left /= 10;
        if left == 0 {
            break;
        }
    }
    buffer.push(sign);
    buffer.extend_from_slice(digits.get(at..).unwrap_or_default());
    buffer.extend_from_slice(b"\r\n");
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(pack_commands, module)?)
}
