// Starts the page: let in by the server, then the jobs, the system and their streams.
import { call } from "./core/api.js";
import { byId } from "./core/dom.js";
import * as key from "./core/key.js";
import { now, set, setNow, state } from "./core/store.js";
import { follow } from "./core/stream.js";
import * as theme from "./core/theme.js";
import * as card from "./card/card.js";
import { KEPT_S, remember } from "./card/turns.js";
import * as drop from "./in/drop.js";
import * as options from "./in/options.js";
import * as record from "./in/record.js";
import * as submit from "./in/submit.js";
import * as dead from "./out/dead.js";
import * as outcome from "./out/outcome.js";
import * as queue from "./out/queue.js";
import * as system from "./out/system.js";

const AGAIN_MS = 2000;

/** Ask until the server lets us in. */
async function enter() {
  for (let why = "This server asks for a key. Whoever runs it has one for you."; ;) {
    try {
      set({ session: await call("GET", "/v1/session"), away: null, queueAway: null });
      return;
    } catch (error) {
      if (error.status === 401) {
        if (Object.keys(key.authorization()).length) why = error.message;
        key.forget();
        await key.ask(why);
      } else {
        set(error.status === 503 ? { queueAway: error.message, away: null } : { away: error.message });
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      }
    }
  }
}

/** What a break of a stream means. False: the key no longer counts. */
function broken(error) {
  if (!error) set({ away: null, queueAway: null });
  else if (error.status === 401) return false;
  else if (error.status === 503) set({ queueAway: error.message, away: null });
  else if (error.status === 0) set({ away: error.message });
  return true;
}

const ofSystem = (kind, data) => {
  if (kind === "status") {
    setNow(data.now_at);
    set({ system: data, queueAway: null });
  } else if (kind === "away") set({ queueAway: data.error.message });
  else set({ events: remember(state.events, data, now()) });
};

async function live() {
  await enter();
  set({ events: [], jobs: new Map() }); // of another key, perhaps
  options.offerLabels();
  const jobs = () => queue.load().catch((error) => broken(error));
  const leave = new AbortController();
  await Promise.race([
    follow("/v1/jobs/events", leave.signal, (kind, data) => kind === "job" && queue.heard(data), (error) => {
      if (!error) jobs(); // what happened before the stream was open
      return broken(error);
    }),
    follow(`/v1/system/events?last_s=${KEPT_S}`, leave.signal, ofSystem, broken),
  ]);
  leave.abort();
}

for (const part of [theme, key, card, drop, options, record, submit, dead, outcome, queue, system]) part.start();
byId("leave").addEventListener("click", () => {
  key.forget();
  location.reload();
});
for (;;) await live(); // again, with another key, when the streams were refused
