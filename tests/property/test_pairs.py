"""Candidate pairs, and how a pair is shown to the encoder."""

from dataclasses import replace
from itertools import pairwise, product

from encoders import word_piece
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.corpus.pairs import MAX_PAIRS, Instance, Pair, PairRules, candidates, related_types, words_between
from mslm_cli.corpus.relations import Entity, RelationDocument
from mslm_cli.training.pair_data import MarkedText, Markers, fitted, mark

TYPES = ("A", "B", "C")
WORDS = list("abcdefghijklmnopqrstuvwx")
TOKENIZER = word_piece([*WORDS, *TYPES, *"@#*^"] * 3)


@st.composite
def documents(draw: st.DrawFn) -> RelationDocument:
    """A document of one-letter words, some sentences, and entities with one to three mentions."""
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    n = sum(lengths)
    edges = [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    spans = st.tuples(st.integers(0, n - 1), st.integers(1, 3)).map(lambda s: (s[0], min(n, s[0] + s[1])))
    entities = st.builds(
        lambda kind, mentions: Entity("", kind, tuple(sorted(set(mentions)))),
        st.sampled_from(TYPES),
        st.lists(spans, min_size=1, max_size=3),
    )
    found = draw(st.lists(entities, max_size=6))
    words = tuple((2 * i, 2 * i + 1) for i in range(n))
    return RelationDocument("d", " ".join(WORDS[:n]), words, tuple(pairwise(edges)), tuple(found))


rules = st.builds(
    PairRules,
    st.frozensets(st.tuples(st.sampled_from(TYPES), st.sampled_from(TYPES)), max_size=4),
    st.sampled_from(["sentence", "document"]),
    st.integers(0, 4),
    st.integers(1, 3),
)


def is_admissible(document: RelationDocument, pair: Pair, instance: Instance, by: PairRules) -> bool:
    heads, tails = document.entities[pair.head].mentions, document.entities[pair.tail].mentions
    is_near = not by.max_distance or instance.distance <= by.max_distance
    one, other = (document.sentence_of(place[0]) for place in (instance.head, instance.tail))
    return (
        (instance.head in heads and instance.tail in tails)
        and is_near
        and (by.scope == "document" or one == other)
        and instance.distance == words_between(instance.head, instance.tail)
    )


@given(documents(), rules)
def test_candidates_are_the_admissible_pairs_each_once(document: RelationDocument, by: PairRules) -> None:
    found, n_more = candidates(document, by)
    assert n_more == 0
    ends = [(pair.head, pair.tail) for pair in found]
    assert ends == sorted(set(ends))
    for pair in found:
        assert pair.head != pair.tail
        assert (document.entities[pair.head].type, document.entities[pair.tail].type) in by.types
        assert 1 <= len(pair.instances) <= by.n_instances
        assert all(is_admissible(document, pair, instance, by) for instance in pair.instances)
        distances = [instance.distance for instance in pair.instances]
        assert distances == sorted(distances)
    numbers = range(len(document.entities))
    for head, tail in product(numbers, numbers):
        if head == tail or (document.entities[head].type, document.entities[tail].type) not in by.types:
            continue
        possible = [
            Instance(words_between(one, other), one, other)
            for one in document.entities[head].mentions
            for other in document.entities[tail].mentions
        ]
        is_one = any(is_admissible(document, Pair(head, tail, ()), instance, by) for instance in possible)
        assert ((head, tail) in ends) == is_one


def test_a_document_with_a_thousand_mentions_has_a_bounded_number_of_pairs() -> None:
    n = 1000
    words = tuple((2 * i, 2 * i + 1) for i in range(n))
    entities = tuple(Entity(str(i), TYPES[i % 2], ((i, i + 1),)) for i in range(n))
    document = RelationDocument("d", "w " * n, words, ((0, n),), entities)
    found, n_more = candidates(document, PairRules(frozenset([("A", "B")])))
    assert len(found) == MAX_PAIRS
    assert n_more == 500 * 500 - MAX_PAIRS
    assert max(pair.instances[0].distance for pair in found) <= 4, "the nearest are kept"


def test_pairs_that_the_input_lists_are_the_candidates_whatever_the_rules() -> None:
    entities = (Entity("h", "A", ((0, 1),)), Entity("t", "B", ((9, 10),)))
    words = tuple((2 * i, 2 * i + 1) for i in range(10))
    document = RelationDocument("d", "w " * 10, words, ((0, 5), (5, 10)), entities, pairs=((1, 0),))
    found, _ = candidates(document, PairRules(frozenset(), "sentence", 1))
    assert [(pair.head, pair.tail) for pair in found] == [(1, 0)]
    assert related_types([document]) == {("B", "A")}
    assert related_types([replace(document, pairs=None)]) == frozenset()


HEAD, TAIL = Markers([-1, -2], [-3]), Markers([-4, -5, -6], [-7])


@st.composite
def marked_words(draw: st.DrawFn) -> tuple[list[list[int]], tuple[int, int], tuple[tuple[int, int], tuple[int, int]]]:
    """The pieces of words, numbered, the words shown, and two mentions among them."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=2, max_size=12))
    edges = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    pieces = [list(range(a, b)) for a, b in pairwise(edges)]
    first = draw(st.integers(0, len(pieces) - 1))
    last = draw(st.integers(first + 1, len(pieces)))

    def mention() -> tuple[int, int]:
        start = draw(st.integers(first, last - 1))
        return start, draw(st.integers(start + 1, last))

    return pieces, (first, last), (mention(), mention())


@given(marked_words())
def test_without_markers_the_words_are_left(
    given_words: tuple[list[list[int]], tuple[int, int], tuple[tuple[int, int], tuple[int, int]]],
) -> None:
    pieces, shown, mentions = given_words
    (ids, head, tail), (start, end) = mark(pieces, shown, mentions, (HEAD, TAIL))
    assert [i for i in ids if i >= 0] == [i for word in pieces[slice(*shown)] for i in word]
    assert (ids[head], ids[tail]) == (-1, -4)
    assert (start, end) == (min(head, tail), 1 + max(ids.index(-3), ids.index(-7)))
    for at, markers, (first, last) in zip((head, tail), (HEAD, TAIL), mentions, strict=True):
        close = ids.index(markers.after[0])
        inside = [i for i in ids[at:close] if i >= 0]
        assert inside == [i for word in pieces[first:last] for i in word]


@given(marked_words(), st.integers(8, 30))
def test_a_long_sequence_keeps_both_markers_and_the_order_of_its_tokens(
    given_words: tuple[list[list[int]], tuple[int, int], tuple[tuple[int, int], tuple[int, int]]], capacity: int
) -> None:
    marked = mark(*given_words, (HEAD, TAIL))
    ids, head, tail = fitted(marked, capacity)
    assert len(ids) == min(capacity, len(marked.sequence.ids))
    assert (ids[head], ids[tail]) == (-1, -4)
    remaining = iter(marked.sequence.ids)
    assert all(i in remaining for i in ids), "a subsequence of the whole"
    start, end = marked.core
    if end - start <= capacity:
        core = marked.sequence.ids[start:end]
        assert any(ids[i : i + len(core)] == core for i in range(len(ids)))


@given(documents(), rules, st.integers(8, 60), st.one_of(st.none(), st.integers(0, 2)))
def test_appended_markers_have_the_places_of_their_mentions(
    document: RelationDocument, by: PairRules, max_length: int, context: int | None
) -> None:
    instances = [
        (document.entities[pair.head].type, document.entities[pair.tail].type, instance)
        for pair in candidates(document, by)[0]
        for instance in pair.instances
    ]
    found = MarkedText(TOKENIZER, max_length, context, is_appended=True).sequences([document], [instances])
    assert sorted(found.order.tolist()) == list(range(len(instances)))
    assert found.layout is not None
    for i, (start, end) in enumerate(pairwise(found.offsets.tolist())):
        ids, groups = found.input_ids[start:end].tolist(), found.layout.groups[start:end].tolist()
        positions = found.layout.positions[start:end].tolist()
        n_text = groups.count(0)
        assert groups == sorted(groups)
        assert n_text <= max_length
        assert positions[:n_text] == list(range(n_text))
        text = TOKENIZER.convert_ids_to_tokens(ids[1 : n_text - 1])
        shown = slice(*found.instance_offsets[i : i + 2])
        for group, (head, tail, number) in enumerate(
            zip(found.heads[shown].tolist(), found.tails[shown].tolist(), found.order[shown].tolist(), strict=True), 1
        ):
            _, _, instance = instances[number]
            assert groups[head] == groups[tail] == group
            assert TOKENIZER.convert_ids_to_tokens([ids[head], ids[tail]]) == ["@", "#"]
            for at, last, mention in (
                (head, tail - 1, instance.head),
                (tail, n_text + groups[n_text:].index(group) + groups.count(group) - 1, instance.tail),
            ):
                # of mentions that are cut, what is nearest
                if mention[1] - mention[0] == positions[last] - positions[at] + 1:
                    assert text[positions[at] - 1 : positions[last]] == WORDS[mention[0] : mention[1]]
                else:
                    assert n_text == max_length
