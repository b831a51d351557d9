"""A chain for one test module: a server, a real worker process with fake engines, a producer."""

import pytest

from tests.support.chain import Chain
from tests.support.fleet import Fleet


@pytest.fixture(scope="module")
def make_chain(start_server, tmp_path_factory):
    """Makes running chains with settings of their own; audio files under `chain.root` travel by reference."""
    made = []

    def make(**given):
        folder = tmp_path_factory.mktemp("chain")
        root = folder / "audio"
        root.mkdir()
        chain = Chain(start_server(folder), folder, audio_root=(root,), **given)
        chain.root = root
        made.append(chain)
        chain.start_worker()
        return chain

    yield make
    for chain in made:
        chain.stop()


@pytest.fixture(scope="module")
def chain(make_chain):
    """A running chain, shared by the tests of a module."""
    return make_chain(keep_s=120)


@pytest.fixture
def fleet(server, tmp_path):
    """A fleet with sleeping engines on the module's own `server`; its boxes are ended afterwards."""
    made = Fleet(server.url, tmp_path)
    yield made
    made.close()
