"""Small contents of data files in several formats, sound and full of what the formats can hold."""

PUBTATOR = """\
1234|t|Zorblatitis and quuxamab
1234|a|Patients with zorblatitis took quuxamab daily.
1234\t0\t11\tZorblatitis\tDisease\tD0001
1234\t16\t24\tquuxamab\tChemical\tC0001
1234\t39\t50\tzorblatitis\tDisease\tD0001
1234\tCID\tC0001\tD0001

1235|t|Second paper
1235|a|Nothing here on quuxamab.
1235\t29\t37\tquuxamab\tChemical
"""
TEXT = "Patients with zorblatitis took quuxamab daily. Zorblatitis was seen."
ANN = """\
T1\tDisease 14 25\tzorblatitis
T2\tDrug 31 39\tquuxamab
T3\tDisease 47 58\tZorblatitis
R1\tTreats Arg1:T2 Arg2:T1
#1\tAnnotatorNotes T1\tMESH:D0001
N1\tReference T2 CHEBI:1\tquuxamab
A1\tNegated T1
"""
BIOC = {
    "documents": [
        {
            "id": "1",
            "passages": [
                {
                    "offset": 0,
                    "infons": {"type": "title"},
                    "text": "Zorblatitis and quuxamab",
                    "annotations": [
                        {
                            "id": "0",
                            "infons": {"type": "Disease", "identifier": "D0001"},
                            "text": "Zorblatitis",
                            "locations": [{"offset": 0, "length": 11}],
                        }
                    ],
                },
                {
                    "offset": 25,
                    "infons": {"type": "abstract"},
                    "text": "Nothing on quuxamab.",
                    "annotations": [
                        {
                            "id": "1",
                            "infons": {"type": "Chemical"},
                            "text": "quuxamab",
                            "locations": [{"offset": 36, "length": 8}],
                        }
                    ],
                },
            ],
            "relations": [
                {
                    "id": "R0",
                    "infons": {"type": "CID"},
                    "nodes": [{"refid": "1", "role": "a"}, {"refid": "0", "role": ""}],
                }
            ],
        }
    ]
}
BIOC_XML = """\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE collection SYSTEM "BioC.dtd">
<collection><source>own</source><document><id>1</id>
<passage><infon key="type">title</infon><offset>0</offset><text>Zorblatitis and quuxamab</text>
<annotation id="0"><infon key="type">Disease</infon>
<location offset="0" length="11"/><text>Zorblatitis</text></annotation></passage>
<passage><infon key="type">abstract</infon><offset>25</offset>
<sentence><offset>25</offset><text>Nothing on quuxamab.</text>
<annotation id="1"><infon key="type">Chemical</infon>
<location offset="36" length="8"/><text>quuxamab</text></annotation></sentence>
<sentence><offset>46</offset><text>Nor was quuxamab seen.</text></sentence>
</passage></document></collection>
"""
SENTENCE = "Patients with zorblatitis took quuxamab"
SPAN_RECORDS = {
    "doccano": {"id": 7, "text": SENTENCE, "label": [[14, 25, "Disease"], [31, 39, "Drug"]]},
    "doccano with relations": {
        "id": 7,
        "text": SENTENCE,
        "entities": [
            {"id": 1, "label": "Disease", "start_offset": 14, "end_offset": 25},
            {"id": 2, "label": "Drug", "start_offset": 31, "end_offset": 39},
        ],
        "relations": [{"id": 3, "from_id": 2, "to_id": 1, "type": "treats"}],
    },
    "Prodigy": {
        "text": SENTENCE,
        "tokens": [{"text": "Patients", "start": 0, "end": 8, "id": 0}],
        "spans": [{"start": 14, "end": 25, "label": "Disease"}, {"start": 31, "end": 39, "label": "Drug"}],
        "meta": {"id": 7},
        "answer": "accept",
    },
    "spaCy": {"id": "7", "text": SENTENCE, "entities": [[14, 25, "Disease"], [31, 39, "Drug"]]},
}
WORDS = ["Zorblatitis", "took", "quuxamab"]
WORD_RECORDS = {
    "names": {"tokens": WORDS, "ner_tags": ["B-Disease", "O", "B-Drug"]},
    "numbers": {"id": "0", "tokens": WORDS, "ner_tags": [1, 0, 3]},
    "ours": {"id": "1", "words": WORDS, "gold": [[0, 1, "Disease"], [2, 3, "Drug"]], "pred": []},
}
