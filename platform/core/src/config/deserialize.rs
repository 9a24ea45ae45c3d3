//! Reads a section's type from the tree. The environment and `${VAR}` give text only, so a text is read as the
//! boolean or number that the type asks for, and keys and enum values match without regard to case.
//! No error shows a value: it may be a secret in the wrong place.

use std::fmt::{self, Display};

use serde::de::value::{MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, Expected, IntoDeserializer, Unexpected, VariantAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

use super::tree::{Kind, Node};

#[derive(Clone, Copy)]
pub(super) struct Reader<'de>(pub(super) &'de Node);

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct ValueError(String);

impl Error for ValueError {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(format!("expected {expected}"))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(format!("expected {expected}"))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self(format!("expected one of {}", expected.join(", ")))
    }
}

impl<'de> IntoDeserializer<'de, ValueError> for Reader<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Reads a text as the number asked for, and leaves everything else to the visitor's own type check.
macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
            match self.0.kind() {
                Kind::Text(text) => match text.trim().parse::<$type>() {
                    Ok(number) => visitor.$visit(number),
                    Err(_) => Err(ValueError::invalid_value(Unexpected::Other("text"), &visitor)),
                },
                _ => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0.kind() {
            Kind::Null | Kind::Unresolved(_) => visitor.visit_unit(),
            Kind::Bool(flag) => visitor.visit_bool(*flag),
            Kind::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (_, _, Some(number)) => visitor.visit_f64(number),
                (None, None, None) => Err(ValueError::custom("the number is out of range")),
            },
            Kind::Text(text) => visitor.visit_borrowed_str(text),
            Kind::List(items) => {
                let mut items = SeqDeserializer::new(items.iter().map(Reader));
                let value = visitor.visit_seq(&mut items)?;
                items.end()?;
                Ok(value)
            }
            Kind::Object(entries) => visitor.visit_map(MapDeserializer::new(
                entries.iter().map(|(key, node)| (key.as_str(), Reader(node))),
            )),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0.kind() {
            Kind::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" => visitor.visit_bool(true),
                "false" | "0" => visitor.visit_bool(false),
                _ => Err(ValueError::custom("expected a boolean, true or false")),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    numbers! {
        deserialize_i8 visit_i64 i64, deserialize_i16 visit_i64 i64, deserialize_i32 visit_i64 i64,
        deserialize_i64 visit_i64 i64, deserialize_u8 visit_u64 u64, deserialize_u16 visit_u64 u64,
        deserialize_u32 visit_u64 u64, deserialize_u64 visit_u64 u64,
        deserialize_f32 visit_f64 f64, deserialize_f64 visit_f64 f64,
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0.kind() {
            Kind::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let Kind::Object(entries) = self.0.kind() else { return self.deserialize_any(visitor) };
        let entries = entries.iter().map(|(key, node)| (canonical(fields, key), Reader(node)));
        visitor.visit_map(MapDeserializer::new(entries))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let (name, content) = match self.0.kind() {
            Kind::Text(text) => (text.as_str(), None),
            Kind::Object(entries) if entries.len() == 1 => match entries.iter().next() {
                Some((key, node)) => (key.as_str(), Some(Reader(node))),
                None => return self.deserialize_any(visitor),
            },
            _ => return Err(ValueError::custom(format_args!("expected one of {}", variants.join(", ")))),
        };
        visitor.visit_enum(Variant { name: canonical(variants, name), content })
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

/// The name that the type uses for a key, so that case does not matter.
fn canonical<'a>(names: &'static [&'static str], key: &'a str) -> &'a str {
    names.iter().find(|name| name.eq_ignore_ascii_case(key)).copied().unwrap_or(key)
}

struct Variant<'de> {
    name: &'de str,
    content: Option<Reader<'de>>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = ValueError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), ValueError> {
        let name: StrDeserializer<'de, ValueError> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> Variant<'de> {
    fn content(&self, expected: impl fmt::Display) -> Result<Reader<'de>, ValueError> {
        self.content.ok_or_else(|| ValueError::custom(format_args!("expected {expected} below this name")))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = ValueError;

    fn unit_variant(self) -> Result<(), ValueError> {
        match self.content {
            None => Ok(()),
            Some(_) => Err(ValueError::custom("expected a name only, with nothing below it")),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, ValueError> {
        seed.deserialize(self.content("a value")?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ValueError> {
        self.content("a list")?.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.content("an object")?.deserialize_struct("", fields, visitor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::tree::Origin;

    fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, String> {
        T::deserialize(Reader(&Node::from_value(value, &Origin::Default))).map_err(|error| error.to_string())
    }

    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(rename_all = "PascalCase")]
    enum Kinds {
        Plain,
        Wrapped(u16),
        Fields { low: i8 },
    }

    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(rename_all = "PascalCase", deny_unknown_fields)]
    struct Limits {
        per_transfer: u64,
        ids: Option<Vec<u8>>,
    }

    #[test]
    fn text_is_read_as_what_the_type_asks_for() {
        assert_eq!(read::<u16>(json!("80")), Ok(80));
        assert_eq!(read::<u16>(json!("70000")), Err("expected u16".into()));
        assert_eq!(read::<i8>(json!(" -5 ")), Ok(-5));
        assert_eq!(read::<Option<bool>>(json!("TRUE")), Ok(Some(true)));
        assert_eq!(read::<String>(json!("80")), Ok("80".into()));
        assert_eq!(read::<Vec<u8>>(json!(["1", 2])), Ok(vec![1, 2]));
        assert!(read::<bool>(json!("yes please")).unwrap_err().contains("boolean"));
        assert!(read::<bool>(json!(1)).is_err());
        assert!(read::<u16>(json!(-1)).is_err());
    }

    #[test]
    fn keys_and_names_match_without_case() {
        assert_eq!(
            read::<BTreeMap<String, Limits>>(json!({"GAS": {"PERTRANSFER": "10", "ids": null}})),
            Ok(BTreeMap::from([("GAS".into(), Limits { per_transfer: 10, ids: None })]))
        );
        assert!(read::<Limits>(json!({"PerTransfr": 1})).unwrap_err().contains("PerTransfr"));
        assert_eq!(read::<Kinds>(json!("plain")), Ok(Kinds::Plain));
        assert_eq!(read::<Kinds>(json!({"wrapped": "4"})), Ok(Kinds::Wrapped(4)));
        assert_eq!(read::<Kinds>(json!({"Fields": {"LOW": "-4"}})), Ok(Kinds::Fields { low: -4 }));
    }

    #[test]
    fn refusals_show_no_value() {
        for refusal in [
            read::<Kinds>(json!("hunter2")).unwrap_err(),
            read::<u16>(json!("hunter2")).unwrap_err(),
            read::<String>(json!(31337)).unwrap_err(),
            read::<Limits>(json!("hunter2")).unwrap_err(),
            read::<Kinds>(json!({"Plain": "hunter2"})).unwrap_err(),
        ] {
            assert!(!refusal.contains("hunter2") && !refusal.contains("31337"), "{refusal}");
        }
    }
}
