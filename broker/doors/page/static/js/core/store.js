// What the page knows, and who wants to hear of a change.

const heard = new Map();
const waiting = new Set();
let scheduled = false;

export const state = {
  session: null, // of GET /v1/session; null until the server let us in
  jobs: new Map(), // id → JobView
  system: null, // of GET /v1/system
  events: [], // of the boxes, oldest first
  ready: null, // of GET /ready, while no worker reports
  away: null, // a sentence while the server cannot be reached
  queueAway: null, // a sentence while the server cannot reach its queue
};

/** Call `fn` after each change of one of these parts: once for many changes. */
export function on(parts, fn) {
  for (const part of parts) heard.set(part, [...(heard.get(part) ?? []), fn]);
}

/** Change parts of the state. */
export function set(changes) {
  Object.assign(state, changes);
  tell(Object.keys(changes));
}

/** Say that these parts have changed. */
export function tell(parts) {
  for (const part of parts) for (const fn of heard.get(part) ?? []) waiting.add(fn);
  if (scheduled || !waiting.size) return;
  scheduled = true;
  setTimeout(() => {
    scheduled = false;
    const due = [...waiting];
    waiting.clear();
    for (const fn of due) fn(state);
  }, 50);
}

/** The server's time, Unix seconds: the browser's clock may be wrong. */
let offset = 0;
export const now = () => Date.now() / 1000 + offset;
export const setNow = (at) => {
  offset = at - Date.now() / 1000;
};
