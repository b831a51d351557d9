"""A real out-of-memory: the child's address space is limited, an allocation of torch fails, the batch is halved."""

import subprocess
import sys

from tests.support.paths import python_path

CHILD = '''
import gc, resource, sys
import torch
from golem_chain.shared.errors import OutOfMemory
from golem_chain.workers.devices.memory import CpuMemory
from golem_chain.workers.residency.manager import Residency
from golem_chain.workers.residency.runner import serve
from golem_chain.workers.stages.stub import StubEngine

MB = 1 << 20

class Hungry(StubEngine):
    """Takes 100 MB for each item at once, in one real tensor."""
    def run(self, batch):
        working = torch.ones(len(batch) * 100 * MB, dtype=torch.uint8)
        return [*super().run(batch), working][:-1]

class Long(Hungry):
    """One item of eight windows, each of which takes 100 MB while it runs; as many at once as it is told."""
    at_once = 8
    def size(self, batch):
        return 8
    def run(self, batch):
        for _ in range(0, 8, self.at_once):
            torch.ones(self.at_once * 100 * MB, dtype=torch.uint8)
        return StubEngine.run(self, [self.at_once])

size = [int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmSize")][0]
resource.setrlimit(resource.RLIMIT_AS, (size + int(sys.argv[1]) * MB,) * 2)
events = []
residency = Residency({"a": (Long if "long" in sys.argv else Hungry)("a")}, CpuMemory(), on_event=events.append)
served = serve(residency, "a", ["long"] if "long" in sys.argv else [1, 2, 3, 4])
print([type(a).__name__ for a in served.answers], residency.engines["a"].batches, [e.kind for e in events])
'''


def run_with(room_mb, *kind):
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(room_mb), *kind], capture_output=True, text=True, timeout=120,
        env={"OMP_NUM_THREADS": "1", "PYTHONPATH": python_path()},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_batch_that_torch_cannot_hold_is_halved_and_answered():
    assert run_with(330) == "['str', 'str', 'str', 'str'] [2, 2] ['load', 'unload', 'oom', 'load']"


def test_an_item_that_does_not_fit_alone_ends_in_an_error_and_the_process_lives():
    said = run_with(60)
    assert said.startswith("['OutOfMemory', 'OutOfMemory', 'OutOfMemory', 'OutOfMemory'] []")
    assert said.count("'oom'") == 6  # batches of 4, 2 and 1, then the other three alone


def test_a_long_recording_that_does_not_fit_runs_in_fewer_windows_at_once():
    loads = "'load', 'unload', 'oom', 'load', 'unload', 'oom', 'load'"
    assert run_with(330, "long") == f"['str'] [1] [{loads}]"
    assert run_with(60, "long").startswith("['OutOfMemory'] []")
