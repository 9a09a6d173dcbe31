"""Makes the probe beside this file one of effbench's, in every process whose PYTHONPATH names this folder."""

from pathlib import Path

import effbench.probes

effbench.probes.__path__.append(str(Path(__file__).parent))
