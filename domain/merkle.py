"""The Merkle tree over the log: hashes, a growing frontier, and proofs that an auditor can check offline.

The tree is the one of RFC 6962 section 2.1 (restated in RFC 9162 section 2.1): SHA-256, leaves and inner nodes told
apart by a first byte, an unbalanced right edge. Everything here is pure and works on *leaf hashes*; what a leaf
contains is decided elsewhere. A proof is described first as spans of leaves (`inclusion_spans`,
`consistency_spans`), so that a store which keeps inner nodes can answer without reading every leaf.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Self

import msgspec

HASH_SIZE = 32
"""Bytes in a SHA-256 hash."""

EMPTY_ROOT = sha256(b"").digest()
"""Root of the tree without leaves (RFC 6962 section 2.1)."""

Span = tuple[int, int]
"""Leaves `start` up to but excluding `end`."""


def leaf_hash(data: bytes) -> bytes:
    """Hash of one leaf: SHA-256 over 0x00 and the leaf's bytes (RFC 6962 section 2.1)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256 over 0x01 and both children (RFC 6962 section 2.1)."""
    return sha256(b"\x01" + left + right).digest()


def fold_peaks(peaks: Sequence[bytes]) -> bytes:
    """Root of a tree from the roots of its perfect subtrees, given left to right, that is largest first."""
    if not peaks:
        return EMPTY_ROOT
    right = peaks[-1]
    for left in reversed(peaks[:-1]):
        right = node_hash(left, right)
    return right


def _push(peaks: list[bytes], size: int, leaf: bytes) -> None:
    # As in a binary counter: every trailing one bit of the size is a perfect subtree that the new leaf completes.
    while size & 1:
        leaf = node_hash(peaks.pop(), leaf)
        size >>= 1
    peaks.append(leaf)


class Frontier(msgspec.Struct, frozen=True):
    """The right edge of a tree: all that is needed to append and to name the root, in O(log n) space.

    `size` counts leaves. `peaks` are the roots of the perfect subtrees, left to right, one for each bit set in
    `size`. It survives a round trip through msgspec; a value whose peaks do not fit its size raises `ValueError`
    (`msgspec.ValidationError` while decoding).
    """

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("a tree cannot have fewer than no leaves")
        if len(self.peaks) != self.size.bit_count():
            raise ValueError(f"{self.size} leaves need {self.size.bit_count()} peaks, not {len(self.peaks)}")
        if any(len(peak) != HASH_SIZE for peak in self.peaks):
            raise ValueError(f"a peak has {HASH_SIZE} bytes")

    @classmethod
    def of(cls, leaves: Iterable[bytes]) -> Self:
        """Frontier of the tree with these leaf hashes."""
        return cls().extend(leaves)

    def append(self, leaf: bytes) -> Self:
        """The frontier after one more leaf hash; O(log n)."""
        return self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> Self:
        """The frontier after more leaf hashes, in order. Raises `ValueError` for a hash of the wrong length."""
        peaks, size = list(self.peaks), self.size
        for leaf in leaves:
            if len(leaf) != HASH_SIZE:
                raise ValueError(f"a leaf hash has {HASH_SIZE} bytes, not {len(leaf)}")
            _push(peaks, size, leaf)
            size += 1
        return type(self)(size, tuple(peaks))

    def root(self) -> bytes:
        """Root hash of the tree as it is now."""
        return fold_peaks(self.peaks)


def root(leaves: Iterable[bytes]) -> bytes:
    """Root hash of the tree with these leaf hashes, MTH(D[n]) in RFC 6962 section 2.1."""
    return Frontier.of(leaves).root()


def _split(size: int) -> int:
    """Largest power of two smaller than `size`: where RFC 6962 divides a tree of two leaves or more."""
    return 1 << ((size - 1).bit_length() - 1)


def perfect_spans(start: int, end: int) -> tuple[Span, ...]:
    """The perfect subtrees that make up a span taken from a proof, left to right; `fold_peaks` puts them together.

    Every span of a proof begins on a boundary that fits its largest subtree; for any other span, `ValueError`.
    """
    spans: list[Span] = []
    while start < end:
        width = 1 << ((end - start).bit_length() - 1)
        if start % width:
            raise ValueError(f"leaf {start} does not begin a subtree of {width} leaves")
        spans.append((start, start + width))
        start += width
    return tuple(spans)


def inclusion_spans(index: int, size: int) -> tuple[Span, ...]:
    """Which subtrees prove that leaf `index` (from 0) is in a tree of `size` leaves, from the leaf upward.

    RFC 9162 section 2.1.3.1. Raises `ValueError` if there is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    spans: list[Span] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start = middle
    return tuple(reversed(spans))


def consistency_spans(old_size: int, new_size: int) -> tuple[Span, ...]:
    """Which subtrees prove that a tree of `new_size` leaves begins with one of `old_size`; empty for 0 and for equal.

    RFC 9162 section 2.1.4.1. Raises `ValueError` if the old tree is larger than the new one.
    """
    if not 0 <= old_size <= new_size:
        raise ValueError(f"a tree of {new_size} leaves cannot begin with {old_size}")
    if old_size == 0:
        return ()
    spans: list[Span] = []
    start, end = 0, new_size
    while end != old_size:
        middle = start + _split(end - start)
        if old_size <= middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start = middle
    if start:
        # Without a step to the right, the subtree reached is the old tree itself, whose root the verifier has.
        spans.append((start, end))
    return tuple(reversed(spans))


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Audit path for leaf `index` among these leaf hashes, from the leaf upward (RFC 6962 section 2.1.1); O(n)."""
    return tuple(root(leaves[start:end]) for start, end in inclusion_spans(index, len(leaves)))


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> tuple[bytes, ...]:
    """Proof that the tree of these leaf hashes only added to its first `old_size` (RFC 6962 section 2.1.2); O(n)."""
    return tuple(root(leaves[start:end]) for start, end in consistency_spans(old_size, len(leaves)))


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root_hash: bytes) -> bool:
    """Whether `proof` shows leaf hash `leaf` at `index` (from 0) of the tree with `size` leaves and that root.

    The algorithm of RFC 9162 section 2.1.3.2. Input that cannot be right is answered False, never an exception:
    proofs come from strangers. Size and root must come from one signed checkpoint: a path alone does not fix the size.
    """
    if not 0 <= index < size or not _hashes(leaf, root_hash, *proof):
        return False
    node, last, running = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            running = node_hash(sibling, running)
            while not node & 1 and node:
                # On the right edge a node without a sibling is carried up unchanged.
                node, last = node >> 1, last >> 1
        else:
            running = node_hash(running, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and running == root_hash


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the new tree holds the old tree's leaves, unchanged, as its first `old_size`.

    The algorithm of RFC 9162 section 2.1.4.2, extended to the empty tree, with which every tree agrees. Input that
    cannot be right is answered False.
    """
    if not 0 <= old_size <= new_size or not _hashes(old_root, new_root, *proof):
        return False
    if old_size == new_size:
        return not proof and old_root == new_root
    if old_size == 0:
        return not proof and old_root == EMPTY_ROOT
    # A perfect old tree is a subtree of the new one: its root starts the climb and is left out of the proof.
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if not path:
        return False
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old_running = new_running = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            old_running = node_hash(sibling, old_running)
            new_running = node_hash(sibling, new_running)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new_running = node_hash(new_running, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and old_running == old_root and new_running == new_root


def _hashes(*values: bytes) -> bool:
    return all(len(value) == HASH_SIZE for value in values)
