//! The original's options among our formats: the one place that names them,
//! as the original's users had one program and not a list of formats.

use vmss2core_dump::Value;

use crate::commands::convert::{Format, Request};

/// No option, and `-U`: the virtual memory of a vCPU.
pub(crate) fn linear(vcpu: u32) -> Result<Request, String> {
    request("elf-linear", [("vcpu", Value::Number(vcpu.into()))])
}

/// `-M`: physical memory.
pub(crate) fn physical() -> Result<Request, String> {
    request("elf-physical", [])
}

/// `-N`, `-N4` and `-N6`: what crash opens.
pub(crate) fn crash() -> Result<Request, String> {
    request("elf", [])
}

/// `-W` in all its forms: what WinDbg opens.
pub(crate) fn windows(build: Option<u32>) -> Result<Request, String> {
    let build = build.map(|build| ("build", Value::Number(build.into())));
    request("windbg", build)
}

fn request(
    format: &str,
    values: impl IntoIterator<Item = (&'static str, Value)>,
) -> Result<Request, String> {
    Request::new(Format::named(format)?, values)
}
