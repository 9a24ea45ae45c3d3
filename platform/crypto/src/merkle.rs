//! The hashes of an RFC 6962 Merkle tree (section 2.1), which RFC 9162 keeps. Proofs, tiles and checkpoints
//! belong to whoever stores a tree.

use crate::digest::{Sha256Digest, sha256, sha256_concat};

/// Domain separation, so that no leaf can pass for an inner node (RFC 6962, section 2.1).
const LEAF: &[u8] = &[0];
const NODE: &[u8] = &[1];

/// The hash of a leaf's data.
pub fn leaf_hash(data: &[u8]) -> Sha256Digest {
    sha256_concat(&[LEAF, data])
}

/// The hash of an inner node over its two children.
pub fn node_hash(left: &Sha256Digest, right: &Sha256Digest) -> Sha256Digest {
    sha256_concat(&[NODE, left, right])
}

/// The root over leaf hashes in order. An empty tree has the hash of the empty string.
pub fn root(leaf_hashes: &[Sha256Digest]) -> Sha256Digest {
    match leaf_hashes {
        [] => sha256(&[]),
        [leaf] => *leaf,
        leaves => {
            // The largest power of two smaller than n, so the left part is always a full tree.
            let (left, right) = leaves.split_at(1 << (leaves.len() - 1).ilog2());
            node_hash(&root(left), &root(right))
        }
    }
}

/// The root over leaves that come one at a time, in memory that grows with the logarithm of their number: the stack of
/// the full subtrees so far, as an append-only log keeps it.
#[derive(Debug, Clone, Default)]
pub struct RootHasher {
    subtrees: Vec<(u32, Sha256Digest)>,
    leaves: u64,
}

impl RootHasher {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the hash of the next leaf.
    pub fn push(&mut self, leaf_hash: Sha256Digest) {
        let mut top = (0, leaf_hash);
        while let Some((level, left)) = self.subtrees.pop_if(|(level, _)| *level == top.0) {
            top = (level + 1, node_hash(&left, &top.1));
        }
        self.subtrees.push(top);
        self.leaves += 1;
    }

    /// How many leaves there were.
    pub fn leaves(&self) -> u64 {
        self.leaves
    }

    /// The root over the leaves so far.
    pub fn root(&self) -> Sha256Digest {
        let right_to_left = self.subtrees.iter().rev().map(|(_, hash)| *hash);
        right_to_left.reduce(|right, left| node_hash(&left, &right)).unwrap_or_else(|| sha256(&[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The leaves and roots of the reference tests of google/certificate-transparency (`merkletree`): root n
    /// is over the first n leaves.
    const LEAVES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    #[test]
    fn reference_vectors() {
        let leaves: Vec<Sha256Digest> =
            LEAVES.iter().map(|data| leaf_hash(&hex::decode(data).unwrap())).collect();
        for (size, expected) in ROOTS.iter().enumerate() {
            assert_eq!(hex::encode(root(&leaves[..size])), *expected, "tree of {size} leaves");
        }
    }

    proptest! {
        #[test]
        fn both_ways_agree(leaves in proptest::collection::vec(any::<[u8; 32]>(), 0..70)) {
            let mut hasher = RootHasher::new();
            for (taken, leaf) in leaves.iter().enumerate() {
                prop_assert_eq!(root(&leaves[..taken]), hasher.root());
                hasher.push(*leaf);
            }
            prop_assert_eq!(root(&leaves), hasher.root());
            prop_assert_eq!(leaves.len() as u64, hasher.leaves());
        }
    }
}
