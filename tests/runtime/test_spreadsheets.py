import io

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from transferscope.runtime.spreadsheets import guarded, unguarded

TEXTS = st.lists(
    st.one_of(
        st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=8),
        st.from_regex(r"'{0,3}[=+@\t-]\w{0,4}", fullmatch=True),
    ),
    min_size=1,
    max_size=6,
)


@given(TEXTS)
def test_no_text_is_a_formula_and_each_comes_back(texts):
    table = pd.DataFrame(
        {"name": texts, "value": -1.5, "same": pd.Categorical(["=x"] * len(texts))}
    )
    written = guarded(table)
    assert not written["name"].str.match(r"[=+\-@\t\r]").any()
    assert (written["value"] == -1.5).all()
    assert (written["same"] == "'=x").all()
    file = io.StringIO(written.to_csv(index=False))
    read = pd.read_csv(file, dtype={"name": str}, keep_default_na=False)
    assert unguarded(read)["name"].tolist() == texts


def test_usual_texts_stay_as_they_are():
    table = pd.DataFrame(
        {"name": ["vit / map", "O'Neil", "", "5-HT"], "other": [None, "x", 1, True]}
    )
    assert guarded(table) is table
    missing = guarded(pd.DataFrame({"name": ["=1+1", None]}))["name"]
    assert missing.isna().tolist() == [False, True]
