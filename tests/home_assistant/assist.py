"""Drives a running Home Assistant as its front end does: adds a Wyoming server, makes an Assist pipeline, speaks to it.

Runs in Home Assistant's own Python: python assist.py URL WYOMING_PORT
Prints the config entry and the entities as a line of JSON. Each line that it then reads is JSON: the `paths` of
recordings (WAV, 16 kHz, 16 bits, mono), which it speaks at once, and `vad`, whether Home Assistant is to find the end
of speech. It prints a line with what each run of the pipeline gave.
"""

import asyncio
import json
import sys
import time
import wave

import aiohttp  # type: ignore[import-not-found] # Home Assistant's Python has it

USER, PASSWORD = "golem", "golem-golem"
CHUNK_FRAMES = 1600  # a tenth of a second, as a satellite sends
SILENCE = bytes(2 * 16000 * 2)  # two seconds


class Client:
    """A logged-in user."""

    def __init__(self, session, url):
        self._session, self._url = session, url
        self._headers = {}

    async def log_in(self):
        """Fetch a token with user name and password."""
        me = f"{self._url}/"
        flow = await self.post("/auth/login_flow", client_id=me, handler=["homeassistant", None], redirect_uri=me)
        done = await self.post(f"/auth/login_flow/{flow['flow_id']}", client_id=me, username=USER, password=PASSWORD)
        grant = {"client_id": me, "grant_type": "authorization_code", "code": done["result"]}
        async with self._session.post(f"{self._url}/auth/token", data=grant) as answer:
            self._token = (await answer.json())["access_token"]
        self._headers = {"Authorization": f"Bearer {self._token}"}

    async def post(self, path, **body):
        """Return the JSON that answers a POST."""
        async with self._session.post(self._url + path, json=body, headers=self._headers) as answer:
            return await answer.json()

    async def entities(self):
        """Return the ids of all entities."""
        async with self._session.get(f"{self._url}/api/states", headers=self._headers) as answer:
            return [one["entity_id"] for one in await answer.json()]

    async def socket(self):
        """Return an authenticated WebSocket."""
        socket = await self._session.ws_connect(f"{self._url}/api/websocket")
        await socket.receive_json()
        await socket.send_json({"type": "auth", "access_token": self._token})
        assert (await socket.receive_json())["type"] == "auth_ok"
        return socket


async def add_server(client, port):
    """Add the Wyoming server as an integration and return the config entry, and the entities once they are there."""
    flow = await client.post("/api/config/config_entries/flow", handler="wyoming")
    entry = await client.post(f"/api/config/config_entries/flow/{flow['flow_id']}", host="127.0.0.1", port=port)
    for _ in range(100):
        found = {one.split(".")[0]: one for one in await client.entities() if "golem" in one}
        if len(found) == 2:
            break
        await asyncio.sleep(0.1)
    return {"type": entry["type"], "title": entry.get("title")}, found


async def make_pipeline(client, found):
    """Create an Assist pipeline of the two entities and return its id."""
    socket = await client.socket()
    wanted = {"name": "golem", "language": "en", "prefer_local_intents": False}
    wanted |= {"stt_engine": found["stt"], "stt_language": "en"}
    wanted |= {"conversation_engine": found["conversation"], "conversation_language": "en"}
    nothing = dict.fromkeys(("tts_engine", "tts_language", "tts_voice", "wake_word_entity", "wake_word_id"))
    await socket.send_json({"id": 1, "type": "assist_pipeline/pipeline/create", **wanted, **nothing})
    made = await socket.receive_json()
    assert made["success"], made
    await socket.close()
    return made["result"]["id"]


async def speak(client, pipeline, path, vad):
    """Run the pipeline from speech to reply. `answer_s`: from the last chunk of audio to the reply; comparable without
    `vad`, where speech ends with the recording."""
    socket, handler, sent_at = await client.socket(), b"", 0.0
    told: dict[str, object] = {}
    run = {"type": "assist_pipeline/run", "start_stage": "stt", "end_stage": "intent", "pipeline": pipeline}
    await socket.send_json({"id": 1, **run, "input": {"sample_rate": 16000, "no_vad": not vad}})
    while True:
        message = await socket.receive_json()
        if message["type"] == "result":
            assert message["success"], message
            continue
        kind, data = message["event"]["type"], message["event"]["data"]
        if kind == "run-start":
            handler = bytes([data["runner_data"]["stt_binary_handler_id"]])
        elif kind == "stt-start":
            with wave.open(path) as file:
                while frames := file.readframes(CHUNK_FRAMES):
                    await socket.send_bytes(handler + frames)
            sent_at = time.perf_counter()
            if vad:
                await socket.send_bytes(handler + SILENCE)
            await socket.send_bytes(handler)
        elif kind == "stt-end":
            told |= {"text": data["stt_output"]["text"], "heard_s": time.perf_counter() - sent_at}
        elif kind == "intent-end":
            response = data["intent_output"]["response"]
            told |= {"answer_s": time.perf_counter() - sent_at, "type": response["response_type"]}
            told["reply"] = response["speech"]["plain"]["speech"]
        elif kind == "error":
            told["error"] = data["code"]
        elif kind == "run-end":
            await socket.close()
            return told


async def main(url, port):
    """Set up the pipeline, and speak what is asked for until the input ends."""
    async with aiohttp.ClientSession() as session:
        client = Client(session, url)
        await client.log_in()
        entry, found = await add_server(client, int(port))
        print(json.dumps({"entry": entry, "entities": found}), flush=True)
        pipeline = await make_pipeline(client, found)
        while line := await asyncio.to_thread(sys.stdin.readline):
            asked = json.loads(line)
            told = await asyncio.gather(*(speak(client, pipeline, path, asked["vad"]) for path in asked["paths"]))
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
