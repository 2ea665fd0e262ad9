//! Configuration text (`.vmx`): lines of `key = "value"`.
//!
//! Source: the files themselves. Keys do not mind case; `|XX` in a value is the
//! byte of that hexadecimal number, which is how quotes get in.

use std::collections::BTreeMap;
use std::ops::Range;

/// The settings, by key in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vmx {
    settings: BTreeMap<String, String>,
}

impl Vmx {
    pub(crate) fn parse(text: &str) -> Self {
        Self { settings: text.lines().filter_map(setting).collect() }
    }

    /// The value of a key given in lower case; empty values count as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Where RAM makes room for devices: `pciHole.start` and `pciHole.end`, in
    /// MiB. A machine that sets only the start has a hole up to 4 GiB.
    pub(crate) fn pci_hole(&self) -> Option<Range<u64>> {
        let mib = |key: &str| self.get(key)?.parse::<u64>().ok()?.checked_mul(1 << 20);
        let end = "pcihole.end";
        let end = self.get(end).map_or(Some(4 << 30), |_| mib(end))?;
        let range = mib("pcihole.start")?..end;
        (!range.is_empty()).then_some(range)
    }

    /// All settings, keys in lower case.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

fn setting(line: &str) -> Option<(String, String)> {
    let (key, value) = line.split_once('=')?;
    let key = key.trim();
    if key.is_empty() || key.starts_with('#') {
        return None;
    }
    let value = value.trim();
    let value = value.strip_prefix('"').and_then(|v| v.split_once('"')).map_or(value, |(v, _)| v);
    Some((key.to_ascii_lowercase(), unescape(value)))
}

fn unescape(value: &str) -> String {
    let mut parts = value.split('|');
    let mut out = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let code = part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let rest = code.and(part.get(2..)).unwrap_or(part);
        out.push(code.unwrap_or(b'|'));
        out.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8_lossy(&out).into_owned()
}
