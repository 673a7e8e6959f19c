"""A claim is one process's, and one thread's, and ends with it."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from transferscope.runtime.claims import Claims

HOLDER = """
import sys
from pathlib import Path
from transferscope.runtime.claims import Claims
claims = Claims(Path(sys.argv[1]))
assert claims.take(3)
print("held", flush=True)
sys.stdin.read()
"""

TAKER = """
import sys
from pathlib import Path
from transferscope.runtime.claims import Claims
print(Claims(Path(sys.argv[1])).take(0))
"""


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    file = tmp_path / "made/.claims"
    words = [sys.executable, "-c", HOLDER, str(file)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        claims = Claims(file)
        assert claims.take(2)
        assert not claims.take(3)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(claims.take, 3, wait=True)
            assert not waiting.done()
            holder.kill()
            assert waiting.result(timeout=30)
    claims.close()


def test_other_claims_of_a_process_stay_where_one_is_closed(tmp_path: Path) -> None:
    file = tmp_path / ".claims"
    one, other = Claims(file), Claims(file)
    assert one.take(0)
    assert other.take(1)
    assert not other.take(0)
    other.close()
    words = [sys.executable, "-c", TAKER, str(file)]
    assert subprocess.run(words, capture_output=True, check=True).stdout == b"False\n"
    one.close()
    assert subprocess.run(words, capture_output=True, check=True).stdout == b"True\n"


def test_a_thread_that_waits_gets_the_claim_when_it_is_released(tmp_path: Path) -> None:
    one, other = Claims(tmp_path / ".claims"), Claims(tmp_path / ".claims")
    assert one.take(7)
    one.release(6)  # not held: nothing happens
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(other.take, 7, wait=True)
        one.release(7)
        assert waiting.result(timeout=30)
    assert not one.take(7)
    other.close()
    assert one.take(7)
    one.close()
