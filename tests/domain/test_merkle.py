"""The Merkle tree against a naive reading of RFC 6962: roots, proofs for every leaf and pair, and tampering."""

from collections.abc import Sequence
from hashlib import sha256

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import merkle

MANY = 70  # past 64, so that every shape of right edge up to seven levels occurs


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """MTH written as the RFC words it, over leaf data, sharing nothing with the code under test."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D[n]) of RFC 6962 section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if index < k:
        return [*naive_path(index, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(index - k, leaves[k:]), naive_root(leaves[:k])]


def naive_subproof(m: int, leaves: Sequence[bytes], known: bool) -> list[bytes]:
    """SUBPROOF(m, D[n], b) of RFC 6962 section 2.1.2."""
    if m == len(leaves):
        return [] if known else [naive_root(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m <= k:
        return [*naive_subproof(m, leaves[:k], known), naive_root(leaves[k:])]
    return [*naive_subproof(m - k, leaves[k:], False), naive_root(leaves[:k])]


DATA = [f"entry {n}".encode() for n in range(MANY)]
LEAVES = [merkle.leaf_hash(entry) for entry in DATA]
ROOTS = [merkle.root(LEAVES[:n]) for n in range(MANY + 1)]


def flipped(value: bytes, bit: int) -> bytes:
    return (int.from_bytes(value) ^ 1 << bit % (8 * len(value))).to_bytes(len(value))


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert merkle.root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert merkle.Frontier().root() == merkle.EMPTY_ROOT


def test_an_empty_leaf_is_not_an_empty_tree() -> None:
    assert merkle.leaf_hash(b"") == sha256(b"\x00").digest()
    assert merkle.root([merkle.leaf_hash(b"")]) != merkle.EMPTY_ROOT


def test_three_leaves_lean_left() -> None:
    a, b, c = (sha256(b"\x00" + x).digest() for x in (b"a", b"b", b"c"))
    ab = sha256(b"\x01" + a + b).digest()
    assert merkle.root([a, b, c]) == sha256(b"\x01" + ab + c).digest()


@pytest.mark.parametrize("size", range(MANY + 1))
def test_roots_are_those_of_the_definition(size: int) -> None:
    assert ROOTS[size] == naive_root(DATA[:size])


def test_a_frontier_grown_leaf_by_leaf_follows_every_root() -> None:
    frontier = merkle.Frontier()
    for n, leaf in enumerate(LEAVES):
        assert (frontier.size, frontier.root()) == (n, ROOTS[n])
        frontier = frontier.append(leaf)
    assert frontier == merkle.Frontier.of(LEAVES)
    assert frontier == merkle.Frontier.of(LEAVES[:33]).extend(LEAVES[33:])


def test_a_frontier_survives_storage() -> None:
    frontier = merkle.Frontier.of(LEAVES[:37])
    assert msgspec.json.decode(msgspec.json.encode(frontier), type=merkle.Frontier) == frontier
    assert merkle.Frontier(frontier.size, tuple(bytes.fromhex(peak.hex()) for peak in frontier.peaks)) == frontier


@pytest.mark.parametrize(("size", "peaks"), [(-1, ()), (0, (LEAVES[0],)), (3, (LEAVES[0],)), (1, (b"short",)), (2, ())])
def test_a_frontier_that_cannot_be_is_refused(size: int, peaks: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError):
        merkle.Frontier(size, peaks)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode({"size": size, "peaks": peaks}), type=merkle.Frontier)


def test_a_leaf_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError):
        merkle.Frontier().append(b"not a hash")


@pytest.mark.parametrize("size", range(1, MANY + 1))
def test_every_leaf_of_every_tree_is_proved(size: int) -> None:
    for index in range(size):
        proof = merkle.inclusion_proof(LEAVES[:size], index)
        assert list(proof) == naive_path(index, DATA[:size])
        assert merkle.verify_inclusion(LEAVES[index], index, size, proof, ROOTS[size])
        assert not merkle.verify_inclusion(LEAVES[index], index, size, (*proof, LEAVES[0]), ROOTS[size])
        assert not proof or not merkle.verify_inclusion(LEAVES[index], index, size, proof[:-1], ROOTS[size])


@pytest.mark.parametrize("new_size", range(MANY + 1))
def test_every_pair_of_trees_is_proved(new_size: int) -> None:
    for old_size in range(new_size + 1):
        proof = merkle.consistency_proof(LEAVES[:new_size], old_size)
        assert list(proof) == (naive_subproof(old_size, DATA[:new_size], True) if old_size else [])
        args = old_size, ROOTS[old_size], new_size, ROOTS[new_size]
        assert merkle.verify_consistency(*args, proof)
        assert not merkle.verify_consistency(*args, (*proof, LEAVES[0]))
        assert not proof or not merkle.verify_consistency(*args, proof[:-1])


@settings(max_examples=150, deadline=None)
@given(data=st.lists(st.binary(max_size=40), min_size=1, max_size=40), draw=st.data())
def test_any_leaf_of_any_tree_is_proved_and_no_other(data: list[bytes], draw: st.DataObject) -> None:
    leaves = [merkle.leaf_hash(entry) for entry in data]
    index = draw.draw(st.integers(0, len(leaves) - 1))
    head, proof = naive_root(data), merkle.inclusion_proof(leaves, index)
    assert merkle.verify_inclusion(leaves[index], index, len(leaves), proof, head)
    bit = draw.draw(st.integers(0, 255))
    assert not merkle.verify_inclusion(flipped(leaves[index], bit), index, len(leaves), proof, head)
    assert not merkle.verify_inclusion(leaves[index], index, len(leaves), proof, flipped(head, bit))
    for n in range(len(proof)):
        bad = (*proof[:n], flipped(proof[n], bit), *proof[n + 1 :])
        assert not merkle.verify_inclusion(leaves[index], index, len(leaves), bad, head)


@settings(max_examples=150, deadline=None)
@given(data=st.lists(st.binary(max_size=40), min_size=2, max_size=40), draw=st.data())
def test_a_rewritten_past_has_no_consistency_proof(data: list[bytes], draw: st.DataObject) -> None:
    old_size = draw.draw(st.integers(1, len(data) - 1))
    old_root = naive_root(data[:old_size])
    leaves = [merkle.leaf_hash(entry) for entry in data]
    new_root, proof = merkle.root(leaves), merkle.consistency_proof(leaves, old_size)
    assert merkle.verify_consistency(old_size, old_root, len(data), new_root, proof)

    edited = draw.draw(st.integers(0, old_size - 1))
    forged = [*leaves[:edited], merkle.leaf_hash(data[edited] + b"!"), *leaves[edited + 1 :]]
    forged_root, forged_proof = merkle.root(forged), merkle.consistency_proof(forged, old_size)
    for attempt in (proof, forged_proof):
        assert not merkle.verify_consistency(old_size, old_root, len(data), forged_root, attempt)
    bit = draw.draw(st.integers(0, 255))
    for n in range(len(proof)):
        bad = (*proof[:n], flipped(proof[n], bit), *proof[n + 1 :])
        assert not merkle.verify_consistency(old_size, old_root, len(data), new_root, bad)


def test_a_proof_belongs_to_one_place() -> None:
    # Not to one size: leaf 5 has a path of the same shape among 7 and 8. The checkpoint ties the size to the root.
    proof = merkle.inclusion_proof(LEAVES[:8], 5)
    assert [n for n in range(8) if merkle.verify_inclusion(LEAVES[5], n, 8, proof, ROOTS[8])] == [5]
    assert not merkle.verify_inclusion(LEAVES[5], 5, 9, proof, ROOTS[8])


def test_a_trimmed_tail_is_noticed() -> None:
    proof = merkle.consistency_proof(LEAVES[:50], 50)
    assert not merkle.verify_consistency(51, ROOTS[51], 50, ROOTS[50], proof)


def test_nonsense_is_false_and_not_an_exception() -> None:
    proof = merkle.inclusion_proof(LEAVES[:8], 3)
    assert not merkle.verify_inclusion(LEAVES[3], -1, 8, proof, ROOTS[8])
    assert not merkle.verify_inclusion(LEAVES[3], 8, 8, proof, ROOTS[8])
    assert not merkle.verify_inclusion(LEAVES[0], 0, 0, (), merkle.EMPTY_ROOT)
    assert not merkle.verify_inclusion(LEAVES[3], 3, 8, (b"", *proof[1:]), ROOTS[8])
    assert not merkle.verify_consistency(-1, ROOTS[1], 8, ROOTS[8], ())
    assert not merkle.verify_consistency(0, ROOTS[1], 8, ROOTS[8], ())
    assert not merkle.verify_consistency(3, ROOTS[3], 8, ROOTS[8], ())
    assert not merkle.verify_consistency(8, ROOTS[8], 8, ROOTS[7], ())


@pytest.mark.parametrize(("index", "size"), [(-1, 4), (4, 4), (0, 0)])
def test_no_proof_for_a_leaf_that_is_not_there(index: int, size: int) -> None:
    with pytest.raises(ValueError):
        merkle.inclusion_proof(LEAVES[:size], index)


@pytest.mark.parametrize("old_size", [-1, 5])
def test_no_proof_from_a_larger_tree(old_size: int) -> None:
    with pytest.raises(ValueError):
        merkle.consistency_proof(LEAVES[:4], old_size)


@pytest.mark.parametrize("size", range(1, MANY + 1))
def test_stored_perfect_subtrees_suffice_for_any_proof(size: int) -> None:
    def stored(start: int, end: int) -> bytes:
        width = end - start
        assert width & (width - 1) == 0
        assert start % width == 0
        return merkle.root(LEAVES[start:end])

    def rebuilt(spans: Sequence[merkle.Span]) -> tuple[bytes, ...]:
        return tuple(merkle.fold_peaks([stored(*part) for part in merkle.perfect_spans(*span)]) for span in spans)

    index = size * 2 // 3
    assert rebuilt(merkle.inclusion_spans(index, size)) == merkle.inclusion_proof(LEAVES[:size], index)
    assert rebuilt(merkle.consistency_spans(index, size)) == merkle.consistency_proof(LEAVES[:size], index)


def test_a_span_between_subtrees_is_refused() -> None:
    with pytest.raises(ValueError):
        merkle.perfect_spans(1, 3)
