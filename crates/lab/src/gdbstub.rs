//! Asks QEMU's gdb server for the registers that its monitor does not print
//! (packets as in gdb's manual, "Remote Serial Protocol").

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

const LIMIT: Duration = Duration::from_secs(30);

/// A connection to the gdb server.
pub(crate) struct GdbStub {
    stream: BufReader<UnixStream>,
    names: Vec<String>,
}

impl GdbStub {
    /// Connects and learns how registers are numbered.
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("connecting to {}", socket.display()))?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        let mut stub = Self { stream: BufReader::new(stream), names: Vec::new() };
        stub.ask("qSupported:xmlRegisters=i386")?;
        stub.names = stub.register_names()?;
        Ok(stub)
    }

    /// A register of one processor (from 0), by the name in the description.
    /// `None` if this machine has none of that name.
    pub(crate) fn register(&mut self, cpu: usize, name: &str) -> Result<Option<u64>> {
        let Some(number) = self.names.iter().position(|have| have == name) else {
            return Ok(None);
        };
        let thread = format!("Hg{:x}", cpu + 1);
        ensure!(self.ask(&thread)? == "OK", "the gdb server has no processor {cpu}");
        let answer = self.ask(&format!("p{number:x}"))?;
        little_endian(&answer).with_context(|| format!("register {name}: {answer}")).map(Some)
    }

    /// Registers are numbered in the order of the description and what it includes.
    fn register_names(&mut self) -> Result<Vec<String>> {
        let target = self.annex("target.xml")?;
        let mut names = names_in(&target);
        for include in attributes(&target, "<xi:include", "href") {
            names.extend(names_in(&self.annex(&include)?));
        }
        Ok(names)
    }

    fn annex(&mut self, name: &str) -> Result<String> {
        let mut text = String::new();
        loop {
            let part = self.ask(&format!("qXfer:features:read:{name}:{:x},800", text.len()))?;
            match part.split_at_checked(1) {
                Some(("l", rest)) => return Ok(text + rest),
                Some(("m", rest)) => text += rest,
                _ => bail!("the gdb server has no {name}"),
            }
        }
    }

    fn ask(&mut self, packet: &str) -> Result<String> {
        let sum = packet.bytes().fold(0u8, u8::wrapping_add);
        write!(self.stream.get_mut(), "${packet}#{sum:02x}")?;
        loop {
            let answer = self.receive()?;
            // That the machine stopped is told whenever it happens.
            if !answer.starts_with('T') {
                return Ok(answer);
            }
        }
    }

    fn receive(&mut self) -> Result<String> {
        let mut before = Vec::new();
        self.stream.read_until(b'$', &mut before)?;
        let mut answer = Vec::new();
        self.stream.read_until(b'#', &mut answer)?;
        ensure!(answer.pop() == Some(b'#'), "the gdb server broke off");
        self.stream.read_exact(&mut [0; 2])?;
        self.stream.get_mut().write_all(b"+")?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

/// Registers in comments are not numbered: QEMU has left three out that way.
fn names_in(xml: &str) -> Vec<String> {
    let after_comment = |part: &str| part.split_once("-->").map(|(_, after)| after.to_owned());
    let mut parts = xml.split("<!--");
    let first = parts.next().unwrap_or_default().to_owned();
    let plain: String = [first].into_iter().chain(parts.filter_map(after_comment)).collect();
    attributes(&plain, "<reg ", "name")
}

/// The values of one attribute of all elements that start with `element`.
fn attributes(xml: &str, element: &str, attribute: &str) -> Vec<String> {
    let value = |rest: &str| {
        let tag = rest.split('>').next()?;
        let quoted = tag.split(&format!("{attribute}=\"")).nth(1)?;
        Some(quoted.split('"').next()?.to_owned())
    };
    xml.split(element).skip(1).filter_map(value).collect()
}

fn little_endian(hex: &str) -> Option<u64> {
    let mut value = 0;
    for index in (0..hex.len().min(16)).step_by(2).rev() {
        value = value << 8 | u64::from_str_radix(hex.get(index..index + 2)?, 16).ok()?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_named_in_order() {
        let xml = r#"<reg name="rax" bitsize="64"/><!--<reg name="ss_base"/>
            <reg name="ds_base"/>--><reg bitsize="32" name="eip"/>"#;
        assert_eq!(names_in(xml), ["rax", "eip"]);
    }

    #[test]
    fn values_are_little_endian_and_at_most_64_bits() {
        assert_eq!(little_endian("0102030405060708"), Some(0x0807_0605_0403_0201));
        assert_eq!(little_endian("35000000"), Some(0x35));
        assert_eq!(little_endian("E0x"), None);
    }
}
