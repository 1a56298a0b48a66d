"""Abbreviations that a sentence defines: what is found, how far it goes, and what is no definition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.terms.definitions import Abbreviation, find_abbreviations, is_short_form, other_number
from mslm_cli.text.tokens import visible


def found(sentence: str) -> list[tuple[str, str]]:
    return [tuple(pair) for pair in find_abbreviations(sentence)]


@pytest.mark.parametrize(
    ("sentence", "short", "long"),
    [
        ("patients with heart failure (HF) were", "HF", "heart failure"),
        ("HF (heart failure) is", "HF", "heart failure"),
        ("the APC (adenomatous polyposis coli) gene", "APC", "adenomatous polyposis coli"),
        ("glucose-6-phosphate dehydrogenase ( G6PD ) gene", "G6PD", "glucose-6-phosphate dehydrogenase"),
        ("serum alanine aminotransferase (AA) was", "AA", "alanine aminotransferase"),
        ("the mouse mammary tumor virus (MMTV) is", "MMTV", "mouse mammary tumor virus"),
        ("deficiency of adenosine deaminase (ADA) in", "ADA", "adenosine deaminase"),
        ("an analysis of variance (ANOVA) showed", "ANOVA", "analysis of variance"),
        ("two estrogen receptors (ERs) of", "ERs", "estrogen receptors"),
        ("the epidermal growth factor receptor (EGFRs)", "EGFRs", "epidermal growth factor receptor"),
        ("tumor necrosis factor-alpha (TNF-α) was", "TNF-α", "tumor necrosis factor-alpha"),
        ("5-hydroxytryptamine (5HT) uptake", "5HT", "5-hydroxytryptamine"),
        ("polymerase chain reaction (PCR)-based", "PCR", "polymerase chain reaction"),
        ("timed artificial insemination (TAI; n = 3)", "TAI", "timed artificial insemination"),
        ("acquired immunodeficiency syndrome (or AIDS) in", "AIDS", "acquired immunodeficiency syndrome"),
        ("[magnetic resonance imaging (MRI) was done]", "MRI", "magnetic resonance imaging"),
        ("magnetic resonance imaging [MRI]", "MRI", "magnetic resonance imaging"),
        ("the body weight (bw) of", "bw", "body weight"),
        ("the İstanbul protocol (İP) of", "İP", "İstanbul protocol"),
        (
            "got 1-methyl-4-phenyl-1,2,3,6-tetrahydropyridine (MPTP) daily",
            "MPTP",
            "1-methyl-4-phenyl-1,2,3,6-tetrahydropyridine",
        ),
        ("Cells got 2-deoxyglucose (DG) and", "DG", "2-deoxyglucose"),
        ("and 4-aminopyridine (AP).", "AP", "4-aminopyridine"),
        ("used 3,4-methylenedioxymethamphetamine (MDMA) here", "MDMA", "3,4-methylenedioxymethamphetamine"),
        ("Stained for α-smooth muscle actin (SMA)", "SMA", "α-smooth muscle actin"),
        ("and c-Jun N-terminal kinase (JNK).", "JNK", "c-Jun N-terminal kinase"),
        ("the N-methyl-N'-nitro-N-nitrosoguanidine (MNNG) dose", "MNNG", "N-methyl-N'-nitro-N-nitrosoguanidine"),
        ("of all-trans-retinoic acid (RA) in", "RA", "all-trans-retinoic acid"),
        ("5′-deoxy-5-fluorouridine (DFUR) was", "DFUR", "5′-deoxy-5-fluorouridine"),
        ("by Δ9-tetrahydrocannabinol (THC) in", "THC", "Δ9-tetrahydrocannabinol"),
        ("in heart failure (hereafter, HF) and", "HF", "heart failure"),
        ("in heart failure (hereinafter referred to as “HF”) and", "HF", "heart failure"),
        ("in heart failure (abbreviated as HF) and", "HF", "heart failure"),
        ("raised interleukin‑6 (IL‑6) in", "IL‑6", "interleukin‑6"),
        ("tumour necrosis factor‐α （TNF‐α） rose", "TNF‐α", "tumour necrosis factor‐α"),
        ("beta‒blocker ﹙“BB”﹚ use", "BB", "beta‒blocker"),
        ("kid\u200bney dis\u00adease (KD\u200b) was", "KD", "kid\u200bney dis\u00adease"),
        ("heart failure¹² (HF³) was", "HF", "heart failure"),
    ],
)
def test_a_definition_is_found_with_the_whole_long_form(sentence: str, short: str, long: str) -> None:
    assert found(sentence) == [(short, long)]


@pytest.mark.parametrize(
    "sentence",
    [
        "a difference (P < 0.05) in rats (n = 12)",
        "iron (III) chloride, a second (II) one",
        "removal at the (rat) liver",
        "results (see text) of (Fig. 1)",
        "the liver (and kidney) of mice",
        "nothing before it: (HF)",
        "heart; failure (HF)",
        "an open ( bracket and a closed ) one",
        "the HF (HF) of",
        "(heart failure)",
        "the anti-human immunodeficiency virus (HIV) antibody",
        "wild-type/knock-out (KO) mice",
        "the 2(R),6(S) (RS) form",
        "see http://www.genbank.org/GenBank (GB)",
        "",
    ],
)
def test_other_brackets_define_nothing(sentence: str) -> None:
    assert found(sentence) == []


def test_a_sentence_may_define_several() -> None:
    sentence = "In magnetic resonance imaging (MRI), left ventricular mass (LVM) and MRI (again) were"
    assert found(sentence) == [("MRI", "magnetic resonance imaging"), ("LVM", "left ventricular mass")]


@pytest.mark.parametrize("text", ["HF", "5HT", "IL-2R", "MMP 9", "bw", "IV"])
def test_short_forms(text: str) -> None:
    assert is_short_form(text)


@pytest.mark.parametrize("text", ["", "H", "12", "in the", "weight", "A B C", "ABCDEFGHIJK", "VII"])
def test_texts_that_are_not_short_forms(text: str) -> None:
    assert not is_short_form(text)


@given(st.text("aAbHF(5)[], -\u0130β;²\u200b（）‐", max_size=60) | st.text(max_size=60))
def test_both_forms_occur_in_the_sentence(sentence: str) -> None:
    for pair in find_abbreviations(sentence):
        assert isinstance(pair, Abbreviation)
        assert " ".join(pair.short.split()) in " ".join(sentence.split())
        assert " ".join(pair.long.split()) in " ".join(sentence.split())
        assert len(visible(pair.long)) > len(visible(pair.short))


@pytest.mark.parametrize(
    ("short", "long", "other"),
    [
        ("CKD", "chronic kidney disease", "CKDs"),
        ("CKDs", "chronic kidney diseases", "CKD"),
        ("EGFRs", "epidermal growth factor receptor", "EGFR"),
        ("iPSC", "induced pluripotent stem cell", "iPSCs"),
        ("GaAs", "gallium arsenide", None),
        ("IL-6", "interleukin-6", None),
        ("bw", "body weight", None),
    ],
)
def test_a_short_form_has_another_number(short: str, long: str, other: str | None) -> None:
    assert other_number(short, long) == other


def test_a_long_bracket_is_fast() -> None:
    assert found("a (" + "word " * 50_000 + ")") == []
    assert len(found("word " * 50_000 + "(WW)")) == 1
    assert found("(" * 50_000) == []
