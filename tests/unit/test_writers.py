"""CoNLL columns and BRAT standoff, read back."""

from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.corpus.formats.brat import annotation_lines, configuration
from mslm_cli.corpus.standoff import AnnotatedDocument, Annotation
from mslm_cli.corpus.writers import conll_block, file_stem


def brat_annotations(text: str, mentions: list[tuple[int, int, str]]) -> str:
    annotations = tuple(Annotation(((start, end),), kind) for start, end, kind in mentions)
    return annotation_lines(AnnotatedDocument("1", text, annotations))


def test_a_mention_over_a_line_end_has_a_fragment_for_each_line() -> None:
    text = "acute heart\n  failure, chronic"
    assert brat_annotations(text, [(6, 21, "A b"), (23, 30, "X")]) == (
        "T1\tA_b 6 11;14 21\theart failure\nT2\tX 23 30\tchronic\n"
    )


@given(st.text(alphabet=st.sampled_from("aβ \n\r\u2028\U0001f9ec.")), st.data())
def test_fragments_hold_the_text_that_they_name(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    annotations = brat_annotations(text, [(start, end, "X")])
    assert bool(annotations) == bool(text[start:end].strip())
    for line in annotations.split("\n")[:-1]:
        _, place, shown = line.split("\t")
        spans = [tuple(map(int, part.split())) for part in place.removeprefix("X ").split(";")]
        assert shown == " ".join(text[a:b] for a, b in spans)
        assert "".join(shown.split()) == "".join(text[start:end].split())


def test_file_names_are_plain_and_differ() -> None:
    taken: set[str] = set()
    assert [file_stem(doc, taken) for doc in ("a/b.txt:1", "a b.txt:1", "../..", "A/B.TXT:1")] == [
        "a_b_txt_1",
        "a_b_txt_1-2",
        "document",
        "A_B_TXT_1-3",
    ]


def test_columns_and_configuration() -> None:
    assert conll_block(["IL", ""], ["B-Gene", "O"]) == "IL\tB-Gene\n\ufffd\tO\n\n"
    assert configuration(["A b", "C"]).startswith("[entities]\nA_b\nC\n\n[relations]")
