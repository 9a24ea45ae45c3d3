//! Metadata as a text that is bound to the value: the same before and after PostgreSQL kept it as `jsonb`.

use std::fmt::Write as _;

use serde_json::{Number, Value};

/// A text of JSON that survives a way through `jsonb`, which reorders keys and rewrites numbers.
pub(super) fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Number(number) => out.push_str(&canonical_number(number)),
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            out.push('{');
            for key in keys {
                // Writing to a String cannot fail.
                let _ = write!(out, "{}:", Value::String(key.clone()));
                write_canonical(&map[key], out);
                out.push(',');
            }
            out.push('}');
        }
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

/// As a double: `1`, `1.0` and `1e0` are one number, on both sides of `jsonb`.
fn canonical_number(number: &Number) -> String {
    match (number.as_u64(), number.as_i64(), number.as_f64()) {
        (Some(number), ..) => number.to_string(),
        (_, Some(number), _) => number.to_string(),
        (.., Some(0.0)) => "0".to_owned(),
        // Doubles print the same digits as the integers they are equal to.
        (.., Some(float)) => format!("{float}"),
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_is_the_same_after_jsonb() {
        for (sent, stored) in [
            (json!({"b": 1, "a": [true, null]}), json!({"a": [true, null], "b": 1})),
            (serde_json::from_str("{\"n\":1e3}").unwrap(), json!({"n": 1000})),
            (serde_json::from_str("{\"n\":1.50}").unwrap(), json!({"n": 1.5})),
            (serde_json::from_str("{\"n\":-0.0}").unwrap(), json!({"n": 0})),
        ] {
            assert_eq!(canonical(&sent), canonical(&stored));
        }
        assert_ne!(canonical(&json!({"a": "1"})), canonical(&json!({"a": 1})));
    }
}
