//! A validator for the part of JSON Schema that `docs/schema` uses. It panics on
//! a keyword that it does not know, so that nothing in a schema goes unchecked.

use serde_json::Value;

/// The schema of that file name.
pub(crate) fn load(name: &str) -> Value {
    let path = format!("{}/../../docs/schema/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// All the ways in which `value` does not fit `schema`.
pub(crate) fn violations(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    Validator { root: schema }.check(schema, value, "$", &mut found);
    found
}

struct Validator<'a> {
    root: &'a Value,
}

impl Validator<'_> {
    fn check(&self, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
        let schema = schema.as_object().unwrap();
        for (keyword, rule) in schema {
            let fits = match keyword.as_str() {
                "$schema" | "$id" | "$defs" | "title" | "description" => true,
                "$ref" => {
                    let path = rule.as_str().unwrap().strip_prefix('#').unwrap();
                    self.check(self.root.pointer(path).unwrap(), value, at, found);
                    true
                }
                "type" => is_type(rule.as_str().unwrap(), value),
                "const" => rule == value,
                "enum" => rule.as_array().unwrap().contains(value),
                "pattern" => value.as_str().is_none_or(|text| matches(rule, text)),
                "minimum" => value.as_u64() >= rule.as_u64(),
                "maximum" => value.as_u64() <= rule.as_u64(),
                "required" => has_all(rule, value),
                "additionalProperties" if rule.is_object() => {
                    for (name, member) in value.as_object().into_iter().flatten() {
                        let known = schema.get("properties").and_then(|known| known.get(name));
                        if known.is_none() {
                            self.check(rule, member, &format!("{at}.{name}"), found);
                        }
                    }
                    true
                }
                "properties" => {
                    // Readers may get more than they know. We may not write it.
                    if !schema.contains_key("additionalProperties") {
                        let known = only_known(rule, value);
                        found.extend((!known).then(|| format!("{at}: not described: {value}")));
                    }
                    for (name, schema) in rule.as_object().unwrap() {
                        if let Some(member) = value.get(name) {
                            self.check(schema, member, &format!("{at}.{name}"), found);
                        }
                    }
                    true
                }
                "items" => {
                    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(rule, item, &format!("{at}[{i}]"), found);
                    }
                    true
                }
                other => panic!("the validator does not know the keyword {other}"),
            };
            if !fits {
                found.push(format!("{at}: {keyword} {rule}: {value}"));
            }
        }
    }
}

fn is_type(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("the validator does not know the type {other}"),
    }
}

fn matches(pattern: &Value, text: &str) -> bool {
    let is_hex =
        |text: &str| !text.is_empty() && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    let hex = |text: &str| text.strip_prefix("0x").is_some_and(is_hex);
    match pattern.as_str().unwrap() {
        "^0x[0-9a-f]+$" => hex(text),
        "^-?0x[0-9a-f]+$" => hex(text.strip_prefix('-').unwrap_or(text)),
        "^([0-9a-f]{2})*$" => text.is_empty() || (is_hex(text) && text.len().is_multiple_of(2)),
        other => panic!("the validator does not know the pattern {other}"),
    }
}

fn has_all(required: &Value, value: &Value) -> bool {
    required.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some())
}

fn only_known(properties: &Value, value: &Value) -> bool {
    let Some(members) = value.as_object() else { return true };
    members.keys().all(|name| properties.get(name).is_some())
}
