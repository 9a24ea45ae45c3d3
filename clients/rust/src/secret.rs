//! A text that is wiped when dropped.
//!
//! The HTTP library below keeps buffers of its own that nobody wipes; this keeps ours from adding to them.

use serde::{Deserialize, Deserializer};
use zeroize::ZeroizeOnDrop;

/// A token or password. It has no Debug, Clone, Display or Serialize: it leaves only by [`Secret::expose`].
#[derive(ZeroizeOnDrop)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}
