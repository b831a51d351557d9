"""Those who hold models: tasks, stages, residency and the model store."""

import os

# OpenMP reads it when torch is loaded, so it stands before every import of ours. Threads that spin while they wait for
# each other hold the core that the other needs as soon as anything else runs on the box: at a load of 9 on 2 cores the
# Oracle took 58 s for two clips instead of 3.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
