//! Keyset paging: `?limit=&cursor=` → {items, nextCursor}. A cursor is the last key in URL-safe base64: opaque to the
//! caller, and worth nothing to a forger, since the query it goes into names the tenant itself.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::error::ApiError;

/// How many items a page holds: 1–1000, default 100; above is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub u16);

impl Limit {
    pub const DEFAULT: Self = Self(100);
    pub const MAX: u16 = 1000;
}

impl Default for Limit {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.parse() {
            Ok(number) if (1..=Self::MAX).contains(&number) => Ok(Self(number)),
            _ => Err(D::Error::custom("limit takes a number from 1 to 1000")),
        }
    }
}

/// Where the last page ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(String);

impl Cursor {
    pub fn new(key: &impl Serialize) -> Result<Self, ApiError> {
        serde_json::to_vec(key).map(|json| Self(URL_SAFE_NO_PAD.encode(json))).map_err(ApiError::internal)
    }

    pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, ApiError> {
        URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|json| serde_json::from_slice(&json).ok())
            .ok_or_else(Self::foreign)
    }

    /// The refusal of a cursor that no page of this list had.
    pub fn foreign() -> ApiError {
        ApiError::bad_request(
            "core.invalid_cursor",
            "The cursor is not one that this list answered; take nextCursor as it came, or start without one.",
        )
        .at("cursor", "not a cursor of this list")
    }
}

/// A page of a list.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page out of one row more than the limit: that row tells that there is a next page.
    pub fn cut<K: Serialize>(
        mut rows: Vec<T>,
        limit: Limit,
        key: impl Fn(&T) -> K,
    ) -> Result<Self, ApiError> {
        let more = rows.len() > usize::from(limit.0);
        rows.truncate(usize::from(limit.0));
        let next_cursor = match rows.last() {
            Some(last) if more => Some(Cursor::new(&key(last))?.0),
            _ => None,
        };
        Ok(Self { items: rows, next_cursor })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_with_a_cursor_only_when_there_is_more() {
        let page = Page::cut(vec![1, 2, 3], Limit(2), |n| *n).unwrap();
        assert_eq!(page.items, [1, 2]);
        assert_eq!(Cursor::read::<i32>(page.next_cursor.as_deref().unwrap()).unwrap(), 2);
        assert_eq!(Page::cut(vec![1, 2], Limit(2), |n| *n).unwrap().next_cursor, None);
        assert_eq!(Cursor::read::<i32>("!").unwrap_err().code, "core.invalid_cursor");
    }
}
