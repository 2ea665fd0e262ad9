//! A report in its two forms, and whether the one for programs fits its schema.

use serde_json::Value;
use vmss2core_answers::{Answer, write_json, write_text};

use crate::schema;

pub(crate) fn json(report: &impl Answer) -> Value {
    let mut out = Vec::new();
    write_json(report, &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

pub(crate) fn text(report: &impl Answer) -> String {
    let mut out = Vec::new();
    write_text(report, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

pub(crate) fn fits(name: &str, value: &Value) {
    assert_eq!(schema::violations(&schema::load(name), value), [""; 0]);
}
