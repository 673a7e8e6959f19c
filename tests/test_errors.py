from transferscope.errors import Problem, UserError, suggest


def test_all_problems_are_listed_with_their_fixes():
    error = UserError([Problem("a.tsv, row 3", "is bad", "Fix it."), Problem("b", "is worse")])
    text = str(error)
    assert text.splitlines()[0] == "2 problems found"
    assert "1. a.tsv, row 3: is bad" in text
    assert "-> Fix it." in text
    assert "2. b: is worse" in text


def test_one_problem_needs_no_list():
    assert str(UserError(Problem("a", "is bad"))).startswith("1 problem found")


def test_suggest_offers_the_nearest_word():
    assert suggest("nuclues", ["protein", "nucleus"]) == 'Did you mean "nucleus"?'


def test_suggest_lists_what_is_known_when_nothing_is_near():
    assert suggest("zzz", ["protein", "nucleus"]) == "Known: protein, nucleus."
    assert suggest("zzz", []) == "None is known."


def test_an_endless_name_does_not_fill_the_screen() -> None:
    name = "x" * 5000
    text = str(Problem(f"a.yaml, {name}", f"unknown dataset {name} (see below)", f"Not {name}."))
    assert len(text) < 1500
    assert text.startswith("a.yaml, xxx")
    assert "...xxx" in text
    assert "(see below)" in text
    assert text.endswith("xxx.")
