"""The implementation is chosen by the work, the environment, and what can be loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

from grokpack.core.errors import GrokpackError
from grokpack.kernels import dispatch, statistics
from grokpack.kernels.dispatch import COMPILED_PAYS_BYTES, VARIABLE, choose_implementation, twin

needs_numba = pytest.mark.skipif(not dispatch.compiler_loads(), reason="numba cannot be loaded")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def test_little_work_is_not_worth_a_compiler() -> None:
    assert choose_implementation(COMPILED_PAYS_BYTES - 1) == "numpy"


@needs_numba
def test_much_work_is() -> None:
    assert choose_implementation(COMPILED_PAYS_BYTES) == "numba"


@needs_numba
@pytest.mark.parametrize("implementation", ["numpy", "numba"])
def test_the_environment_settles_it(monkeypatch: pytest.MonkeyPatch, implementation: str) -> None:
    monkeypatch.setenv(VARIABLE, implementation)
    assert {choose_implementation(1), choose_implementation(1 << 40)} == {implementation}


@pytest.mark.parametrize("value", ["auto", ""])
def test_auto_is_as_if_it_were_unset(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(VARIABLE, value)
    assert choose_implementation(1) == "numpy"


def test_without_numba_numpy_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "compiler_loads", lambda: False)
    assert choose_implementation(1 << 40) == "numpy"


def test_what_cannot_be_had_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "compiler_loads", lambda: False)
    for value in ("numba", "fast"):
        monkeypatch.setenv(VARIABLE, value)
        with pytest.raises(GrokpackError) as caught:
            choose_implementation(1)
        assert caught.value.code == "GP308"


@pytest.mark.parametrize(
    "prelude", ["sys.modules['numba'] = None", "os.environ['NUMBA_DISABLE_JIT'] = '1'"]
)
def test_a_numba_that_does_not_load_is_noticed(prelude: str) -> None:
    asking = "from grokpack.kernels import dispatch; print(dispatch.compiler_loads())"
    program = f"import os, sys; {prelude}; {asking}"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout == "False\n"


def test_the_specification_runs_without_numba() -> None:
    program = (
        "import sys; import grokpack.kernels.tally as t; import numpy as np\n"
        "t.FloatTally().add(np.ones(3, np.float32)); print('numba' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout == "False\n"


@needs_numba
def test_a_kernel_is_its_own_twin_in_numpy() -> None:
    assert twin(statistics.count_codes, "numpy") is statistics.count_codes
    compiled = twin(statistics.count_codes, "numba")
    assert compiled.__module__ == "grokpack.kernels.compiled.statistics"
