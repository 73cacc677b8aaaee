//! Merkle tree hashing, proofs and their verification (RFC 6962 section 2.1; the same tree as RFC 9162).
//!
//! The tree is a function of its leaves; who keeps which hashes is the caller's business: [`Subtrees`] is how a proof
//! asks for the hash of a complete, aligned subtree. Verification needs nothing but hashes.

use aws_lc_rs::digest::{Context, SHA256, digest};

pub type Hash = [u8; 32];

/// Hash of a leaf: SHA-256(0x00 || bytes).
pub fn leaf_hash(bytes: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[0]);
    context.update(bytes);
    taken(context.finish().as_ref())
}

/// Hash of an inner node: SHA-256(0x01 || left || right).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[1]);
    context.update(left);
    context.update(right);
    taken(context.finish().as_ref())
}

/// Root of the tree without leaves.
pub fn empty_root() -> Hash {
    taken(digest(&SHA256, b"").as_ref())
}

fn taken(bytes: &[u8]) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(bytes);
    hash
}

/// Hashes of complete subtrees: `index * 2^level .. (index + 1) * 2^level`. Level 0 is a leaf.
pub trait Subtrees {
    type Error;
    fn subtree(&self, level: u8, index: u64) -> Result<Hash, Self::Error>;
}

/// Leaf hashes in memory, for small trees and for checks.
impl Subtrees for [Hash] {
    type Error = MissingSubtree;

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, MissingSubtree> {
        let missing = MissingSubtree { level, index };
        let width = 1_usize.checked_shl(level.into()).ok_or(missing)?;
        let start = usize::try_from(index).ok().and_then(|index| index.checked_mul(width)).ok_or(missing)?;
        let leaves = start.checked_add(width).and_then(|end| self.get(start..end)).ok_or(missing)?;
        perfect(leaves).ok_or(missing)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tree has no complete subtree {index} of level {level}")]
pub struct MissingSubtree {
    pub level: u8,
    pub index: u64,
}

/// Root over a power of two of leaf hashes.
pub fn perfect(leaves: &[Hash]) -> Option<Hash> {
    if !leaves.len().is_power_of_two() {
        return None;
    }
    let mut row = leaves.to_vec();
    while row.len() > 1 {
        row = row.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    row.first().copied()
}

/// Root of the first `size` leaves.
pub fn root<S: Subtrees + ?Sized>(tree: &S, size: u64) -> Result<Hash, S::Error> {
    if size == 0 { Ok(empty_root()) } else { range(tree, 0, size) }
}

/// Hash over `length` leaves from `start` on, which is aligned to the next power of two above `length`.
fn range<S: Subtrees + ?Sized>(tree: &S, start: u64, length: u64) -> Result<Hash, S::Error> {
    if length.is_power_of_two() {
        let level = length.trailing_zeros() as u8;
        return tree.subtree(level, start >> level);
    }
    let left = split(length);
    Ok(node_hash(&range(tree, start, left)?, &range(tree, start + left, length - left)?))
}

/// The largest power of two smaller than `length` (which is at least 2).
fn split(length: u64) -> u64 {
    1 << (63 - (length - 1).leading_zeros())
}

/// Audit path of leaf `index` in the tree of the first `size` leaves; empty if there is no such leaf.
pub fn inclusion_proof<S: Subtrees + ?Sized>(tree: &S, index: u64, size: u64) -> Result<Vec<Hash>, S::Error> {
    let mut path = Vec::new();
    if index >= size {
        return Ok(path);
    }
    let (mut start, mut length) = (0, size);
    while length > 1 {
        let left = split(length);
        if index - start < left {
            path.push(range(tree, start + left, length - left)?);
            length = left;
        } else {
            path.push(range(tree, start, left)?);
            start += left;
            length -= left;
        }
    }
    path.reverse();
    Ok(path)
}

/// Proof that the tree of `old` leaves is a prefix of that of `size`; empty where there is nothing to prove.
pub fn consistency_proof<S: Subtrees + ?Sized>(tree: &S, old: u64, size: u64) -> Result<Vec<Hash>, S::Error> {
    let mut path = Vec::new();
    if old == 0 || old >= size {
        return Ok(path);
    }
    let (mut start, mut length, mut rest, mut whole) = (0, size, old, true);
    while rest != length {
        let left = split(length);
        if rest <= left {
            path.push(range(tree, start + left, length - left)?);
            length = left;
        } else {
            path.push(range(tree, start, left)?);
            start += left;
            length -= left;
            rest -= left;
            whole = false;
        }
    }
    if !whole {
        path.push(range(tree, start, length)?);
    }
    path.reverse();
    Ok(path)
}

/// Whether `path` leads from leaf `index` to `root` in a tree of `size` leaves.
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut place, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if place % 2 == 1 || place == last {
            hash = node_hash(sibling, &hash);
            while place % 2 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether `path` proves that the tree of `old` leaves with `old_root` is a prefix of that of `size` with `root`.
pub fn verify_consistency(old: u64, old_root: &Hash, size: u64, root: &Hash, path: &[Hash]) -> bool {
    if old > size {
        return false;
    }
    if old == size {
        return path.is_empty() && old_root == root;
    }
    if old == 0 {
        return path.is_empty() && *old_root == empty_root();
    }
    let (mut place, mut last) = (old - 1, size - 1);
    while place % 2 == 1 {
        place >>= 1;
        last >>= 1;
    }
    let mut path = path.iter();
    let start = if old.is_power_of_two() { Some(old_root) } else { path.next() };
    let Some(start) = start else { return false };
    let (mut before, mut after) = (*start, *start);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if place % 2 == 1 || place == last {
            before = node_hash(sibling, &before);
            after = node_hash(sibling, &after);
            while place % 2 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            after = node_hash(&after, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && before == *old_root && after == *root
}

/// The right edge of a growing tree: the complete subtrees that its leaves fall into, largest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The edge of the first `size` leaves of a tree.
    pub fn of<S: Subtrees + ?Sized>(tree: &S, size: u64) -> Result<Self, S::Error> {
        let (mut start, mut peaks) = (0, Vec::new());
        for level in (0..64_u8).rev().filter(|level| size >> level & 1 == 1) {
            peaks.push(tree.subtree(level, start >> level)?);
            start += 1 << level;
        }
        Ok(Self { size, peaks })
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf hash and names every subtree that becomes complete by it, the leaf first.
    pub fn append(&mut self, leaf: Hash) -> Vec<(u8, u64, Hash)> {
        let mut completed = vec![(0, self.size, leaf)];
        let (mut level, mut hash) = (0_u8, leaf);
        while self.size >> level & 1 == 1
            && let Some(left) = self.peaks.pop()
        {
            hash = node_hash(&left, &hash);
            level += 1;
            completed.push((level, self.size >> level, hash));
        }
        self.peaks.push(hash);
        self.size += 1;
        completed
    }

    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => empty_root(),
            Some(last) => peaks.fold(*last, |right, left| node_hash(left, &right)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, word for word (RFC 6962 2.1), over the leaves' own bytes.
    fn naive_root(leaves: &[Vec<u8>]) -> Hash {
        let sha = |bytes: &[u8]| taken(digest(&SHA256, bytes).as_ref());
        match leaves.len() {
            0 => sha(b""),
            1 => sha(&[&[0], leaves[0].as_slice()].concat()),
            n => {
                let k = (0..).map(|bit| 1 << bit).take_while(|k| *k < n).last().expect("n is at least 2");
                sha(&[&[1], naive_root(&leaves[..k]).as_slice(), &naive_root(&leaves[k..])].concat())
            }
        }
    }

    fn naive_path(m: usize, leaves: &[Vec<u8>]) -> Vec<Hash> {
        if leaves.len() <= 1 {
            return Vec::new();
        }
        let k = (0..).map(|bit| 1 << bit).take_while(|k| *k < leaves.len()).last().expect("at least 2");
        let (mut path, other) = if m < k {
            (naive_path(m, &leaves[..k]), naive_root(&leaves[k..]))
        } else {
            (naive_path(m - k, &leaves[k..]), naive_root(&leaves[..k]))
        };
        path.push(other);
        path
    }

    fn naive_proof(m: usize, leaves: &[Vec<u8>], whole: bool) -> Vec<Hash> {
        if m == leaves.len() {
            return if whole { Vec::new() } else { vec![naive_root(leaves)] };
        }
        let k = (0..).map(|bit| 1 << bit).take_while(|k| *k < leaves.len()).last().expect("at least 2");
        let (mut path, other) = if m <= k {
            (naive_proof(m, &leaves[..k], whole), naive_root(&leaves[k..]))
        } else {
            (naive_proof(m - k, &leaves[k..], false), naive_root(&leaves[..k]))
        };
        path.push(other);
        path
    }

    fn leaves(count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|n| format!("leaf {n}").into_bytes()).collect()
    }

    fn hex(hash: &Hash) -> String {
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn hashes_of_nothing_and_of_one_empty_leaf_are_the_published_ones() {
        let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex(&empty_root()), nothing);
        let empty_leaf = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
        assert_eq!(hex(&leaf_hash(b"")), empty_leaf);
    }

    #[test]
    fn roots_and_proofs_follow_the_definition_for_every_small_tree() {
        for size in 0..=33_usize {
            let leaves = leaves(size);
            let hashes: Vec<Hash> = leaves.iter().map(|bytes| leaf_hash(bytes)).collect();
            let tree = hashes.as_slice();
            let whole = root(tree, size as u64).expect("all leaves are there");
            assert_eq!(whole, naive_root(&leaves), "root of {size}");
            for (m, leaf) in hashes.iter().enumerate() {
                let path = inclusion_proof(tree, m as u64, size as u64).expect("all leaves are there");
                assert_eq!(path, naive_path(m, &leaves), "path of {m} in {size}");
                assert!(verify_inclusion(leaf, m as u64, size as u64, &path, &whole), "{m} in {size}");
            }
            for old in 0..=size {
                let path = consistency_proof(tree, old as u64, size as u64).expect("all leaves are there");
                if old > 0 {
                    assert_eq!(path, naive_proof(old, &leaves, true), "proof from {old} to {size}");
                }
                let before = naive_root(&leaves[..old]);
                assert!(verify_consistency(old as u64, &before, size as u64, &whole, &path), "{old} {size}");
            }
        }
    }

    #[test]
    fn a_growing_edge_names_every_subtree_once() {
        let hashes: Vec<Hash> = leaves(200).iter().map(|bytes| leaf_hash(bytes)).collect();
        let mut edge = Frontier::default();
        let mut named = std::collections::BTreeMap::new();
        for (at, hash) in hashes.iter().enumerate() {
            assert_eq!(edge, Frontier::of(hashes.as_slice(), at as u64).expect("all leaves are there"));
            for (level, index, hash) in edge.append(*hash) {
                assert!(named.insert((level, index), hash).is_none(), "{level} {index}");
            }
            assert_eq!(edge.root(), root(hashes.as_slice(), at as u64 + 1).expect("all leaves are there"));
        }
        let complete: usize = (0..8).map(|level| 200 >> level).sum();
        assert_eq!(named.len(), complete);
        for ((level, index), hash) in named {
            assert_eq!(hashes.as_slice().subtree(level, index), Ok(hash));
        }
    }

    proptest! {
        #[test]
        fn a_wrong_proof_is_refused(size in 1..200_u64, pick: u64, old in 0..200_u64, bit in 0..256_usize, at: usize) {
            let hashes: Vec<Hash> = leaves(200).iter().map(|bytes| leaf_hash(bytes)).collect();
            let tree = hashes.as_slice();
            let (index, old) = (pick % size, old % (size + 1));
            let whole = root(tree, size).unwrap();
            let flip = |hash: &Hash| { let mut hash = *hash; hash[bit / 8] ^= 1 << (bit % 8); hash };
            let path = inclusion_proof(tree, index, size).unwrap();
            let leaf = hashes[index as usize];
            prop_assert!(verify_inclusion(&leaf, index, size, &path, &whole));
            prop_assert!(!verify_inclusion(&flip(&leaf), index, size, &path, &whole));
            prop_assert!(!verify_inclusion(&leaf, index, size, &path, &flip(&whole)));
            prop_assert!(!verify_inclusion(&leaf, size, size, &path, &whole));
            if !path.is_empty() {
                let mut wrong = path.clone();
                wrong[at % path.len()] = flip(&path[at % path.len()]);
                prop_assert!(!verify_inclusion(&leaf, index, size, &wrong, &whole));
                prop_assert!(!verify_inclusion(&leaf, index, size, &path[1..], &whole));
            }
            let before = root(tree, old).unwrap();
            let path = consistency_proof(tree, old, size).unwrap();
            prop_assert!(verify_consistency(old, &before, size, &whole, &path));
            prop_assert!(!verify_consistency(old, &flip(&before), size, &whole, &path));
            if old > 0 {
                prop_assert!(!verify_consistency(old, &before, size, &flip(&whole), &path));
            }
            if !path.is_empty() {
                let mut wrong = path.clone();
                wrong[at % path.len()] = flip(&path[at % path.len()]);
                prop_assert!(!verify_consistency(old, &before, size, &whole, &wrong));
                prop_assert!(!verify_consistency(old, &before, size, &whole, &path[1..]));
            }
        }
    }
}
