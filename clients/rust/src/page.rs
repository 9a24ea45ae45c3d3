//! Lists that come in pages.

use serde::Deserialize;

/// One page of a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Where the next page begins; none on the last one. Opaque: hand it back as it came.
    pub next_cursor: Option<String>,
}
