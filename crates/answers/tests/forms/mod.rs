//! A report in its two forms, and whether the one for programs fits its schema.

use std::io::{self, Write};

use serde_json::Value;
use vmss2core_answers::write_json;

use crate::schema;

pub(crate) fn json<T: serde::Serialize>(report: &T) -> Value {
    let mut out = Vec::new();
    write_json(report, &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

pub(crate) fn text(write: impl Fn(&mut dyn Write) -> io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

pub(crate) fn fits(name: &str, value: &Value) {
    assert_eq!(schema::violations(&schema::load(name), value), [""; 0]);
}
