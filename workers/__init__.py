"""The workers: parent and child process, stages, residency and the model store."""

import os

# OpenMP reads this when torch is loaded, so it must precede all our imports. Threads that spin while waiting occupy the
# cores that the others need as soon as anything else runs on the box: at a load of 9 on 2 cores the Oracle took 58 s
# for two clips instead of 3 s.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
