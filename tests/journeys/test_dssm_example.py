"""The DSSM example runs, learns, and gives the vectors of both towers."""

import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "dssm" / "dssm.py"


def test_the_dssm_example_runs() -> None:
    run = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    (auc,) = re.findall(r"^dssm +(\d\.\d+) ±", run.stdout, re.MULTILINE)
    assert float(auc) > 0.7  # the data's own chances give 0.79
    (city, genre) = re.findall(r"user: (\d) - genre of the best item: (\d)", run.stdout)[0]
    assert city == genre
