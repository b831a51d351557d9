"""Fixtures: a running chain (server, worker process with fake engines, producer) and a fleet of sleeping boxes."""

import pytest

from golem_chain.broker.app import make_app
from tests.support.chain import Chain
from tests.support.fleet import Fleet
from tests.support.takes import BOX


@pytest.fixture(scope="module")
def make_chain(start_server, tmp_path_factory):
    """Creates running chains with given settings; audio files under `chain.root` are submitted by reference."""
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
    """A running chain, shared by a module's tests."""
    return make_chain(keep_s=120)


@pytest.fixture
def fleet(server, tmp_path):
    """A fleet with sleeping engines on the module's `server`; its boxes are stopped afterwards."""
    made = Fleet(server.url, tmp_path)
    yield made
    made.close()


@pytest.fixture
def qos(settings):
    """What a worker, BOX, does with the messages that it has in hand."""
    app = make_app(settings)
    app.conf.broker_transport_options |= {"box": BOX}
    with app.connection_for_write() as connection:
        yield connection.default_channel.qos
    app.close()
