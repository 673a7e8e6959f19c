import io
import sys

from transferscope.runtime.progress import progress_bar


def test_a_log_file_gets_readable_lines(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with progress_bar("embed demo", total=10, unit="tiles", initial=4) as bar:
        bar.update(6)
    lines = log.getvalue().splitlines()
    assert all("\r" not in line for line in lines)
    assert "embed demo" in lines[-1]
    assert "10/10" in lines[-1]
