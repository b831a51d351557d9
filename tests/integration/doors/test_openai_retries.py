"""Clients of OpenAI's API that repeat requests, and clients that leave."""

import httpx
import openai
import pytest
from openai import OpenAI

from golem_chain.broker.keys import Keys
from tests.support.door import serving


@pytest.fixture(scope="module")
def hasty(chain):
    """The URL of a door that cancels a job 2 s after its client has left."""
    with serving(chain.settings.model_copy(update={"serve_leave_s": 2.0})) as url:
        yield url


def clip(text):
    return ("clip.wav", text.encode(), "audio/wav")


def jobs(chain):
    """All jobs that there are."""
    prefix = Keys(chain.settings.prefix).job("")
    return {key.decode().removeprefix(prefix) for key in chain.client.scan_iter(f"{prefix}*")}


def asked(door, **options):
    return OpenAI(base_url=f"{door}/v1", api_key="none", **options)


def ended(chain, job):
    """The Outcome of a job, None if it has not ended after 10 s."""
    return next(iter(chain.pipeline.wait([job], 10)), None)


def test_a_retry_after_a_time_out_finds_its_job(door, chain):
    before = jobs(chain)
    with asked(door, timeout=0.8, max_retries=9) as client:
        assert client.audio.transcriptions.create(model="whisper-1", file=clip("sleep 2")).text == "sleep 2"
    assert len(jobs(chain) - before) == 1


def test_the_same_request_again_is_answered_by_the_same_job_and_another_one_is_not(door):
    def job(text, **fields):
        answer = httpx.post(f"{door}/v1/audio/transcriptions", files={"file": clip(text)}, data=fields, timeout=30)
        return answer.raise_for_status().headers["x-golem-job"]

    first = job("twice")
    assert job("twice") == first
    assert job("twice", response_format="srt") == first
    assert len({first, job("another"), job("twice", prompt="Hello."), job("twice", language="en")}) == 4


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_cancels_its_job(hasty, chain, stream):
    before = jobs(chain)
    with asked(hasty, timeout=0.6, max_retries=0) as client, pytest.raises(openai.APITimeoutError):
        list(client.audio.transcriptions.create(model="whisper-1", file=clip(f"sleep 5.{int(stream)}"), stream=stream))
    [job] = jobs(chain) - before
    assert ended(chain, job).state == "cancelled"


def test_a_client_that_returns_in_time_finds_its_job_running(hasty, chain):
    before = jobs(chain)
    with asked(hasty, timeout=0.6, max_retries=20) as client:  # it leaves for half a second and more each time
        assert client.audio.transcriptions.create(model="whisper-1", file=clip("sleep 3")).text == "sleep 3"
    assert len(jobs(chain) - before) == 1
