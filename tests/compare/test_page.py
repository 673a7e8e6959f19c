from transferscope.compare.page import as_page


def test_sentences_lists_and_tables_become_a_page():
    page = as_page("# Title\n\n* **best**\n\n| a | b |\n|---|---|\n| 1 | 2 |\n", "Results")
    for part in ("<h1>Title</h1>", "<strong>best</strong>", "<td>2</td>", "<title>Results</title>"):
        assert part in page


def test_names_of_the_users_tables_are_text():
    page = as_page("a <script>alert(1)</script> and [x](javascript:alert(1)) ![y](z.png)", "T")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "<a " not in page
    assert "<img" not in page
