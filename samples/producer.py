"""A producer: submits audio files and prints their results. Needs no models: `pip install golem-chain`.

GOLEM_REDIS_URL=redis://:password@box:6379/0 python samples/producer.py samples/*.flac
"""

import sys

from golem_chain import Pipeline

with Pipeline() as pipeline:
    jobs = [pipeline.submit(path, labels='lights="turning on the lights",music,timer') for path in sys.argv[1:]]
    for outcome in pipeline.wait(jobs, timeout_s=600):
        if outcome.transcript and outcome.intent:
            reply = outcome.reply.text if outcome.reply else "(nothing to reply to)"
            print(f"{outcome.name}: {outcome.transcript.text!r} is {outcome.intent.label}: {reply}")
        if outcome.error:
            print(f"{outcome.name}: {outcome.state}: {outcome.error.message}")
