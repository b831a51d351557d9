// What the events of one box mean: which model lay in memory when, what ran, and what each change cost. Pure.

/** Events kept: older ones fall off the chart, and of a flood the newest are enough to draw. */
export const KEPT_S = 900;
export const MOST = 4000;

/** Add an event to those that are there, in the order of their ends. */
export function remember(events, event, now) {
  let at = events.length;
  while (at > 0 && events[at - 1].at > event.at) at -= 1;
  events.splice(at, 0, event);
  const old = events.findIndex((one) => one.at > now - KEPT_S);
  events.splice(0, Math.max(old < 0 ? events.length : old, events.length - MOST));
  return events;
}

/** The names of all boxes that report or have reported, in alphabetical order. */
export function boxesOf(system, events) {
  return [...new Set([...Object.keys(system?.boxes ?? {}), ...events.map((event) => event.box)])].sort();
}

/**
 * When each model lay in memory: `{stage, from, to, bytes}`, `to` null while it still does. `held`: the stages that the
 * box holds now, whose load may be older than the events.
 */
export function stays(events, held = []) {
  const open = new Map();
  const found = [];
  for (const event of events) {
    const { kind, stage, at, seconds = 0, weights_bytes: bytes = 0 } = event;
    if (kind === "load") {
      open.set(stage, { stage, from: at, to: null, bytes });
      found.push(open.get(stage));
    } else if (kind === "unload") {
      const stay = open.get(stage) ?? { stage, from: -Infinity, to: null, bytes };
      if (!open.has(stage)) found.push(stay);
      stay.to = at - seconds;
      stay.bytes ||= bytes;
      open.delete(stage);
    }
  }
  for (const stage of held) if (!open.has(stage)) found.push({ stage, from: -Infinity, to: null, bytes: 0 });
  return found;
}

/** The batches: `{stage, from, computed, to, size, jobs, peak}`; the model computed from `computed` on. */
export const batches = (events) =>
  events.filter((event) => event.kind === "batch").map((event) => ({
    stage: event.stage,
    from: event.at - event.seconds,
    computed: event.at - (event.compute_s ?? event.seconds),
    to: event.at,
    size: event.size,
    jobs: event.jobs ?? [],
    peak: event.peak ?? event.allocated,
  }));

/** Memory over time as uPlot takes it: times and bytes. `held_bytes`: allocated now, drawn up to `now`. */
export function memory(events, now, heldBytes) {
  const points = events.flatMap((event) => [
    [event.at - (event.seconds ?? 0), event.allocated_before], [event.at, event.allocated],
  ]).filter(([, bytes]) => Number.isFinite(bytes)).sort((a, b) => a[0] - b[0]);
  if (Number.isFinite(heldBytes)) points.push([Math.max(now, points.at(-1)?.[0] ?? 0), heldBytes]);
  return [points.map(([at]) => at), points.map(([, bytes]) => bytes)];
}

/** Loads, unloads and out-of-memories, oldest first. */
export const changes = (events) => events.filter((event) => event.kind !== "batch");

/**
 * How often one model took the place of another, and what that took: an unload followed by the load of another stage.
 * Returns `{count, seconds}`.
 */
export function switches(events) {
  let left = null;
  const found = { count: 0, seconds: 0 };
  for (const event of changes(events)) {
    if (event.kind === "unload") left = event;
    else if (event.kind === "load") {
      if (left && left.stage !== event.stage) {
        found.count += 1;
        found.seconds += event.seconds + (left.seconds ?? 0);
      }
      left = null;
    }
  }
  return found;
}

/** Why a model came or went, in words. */
const WHY = {
  wanted: "a job needs it",
  evicted: "its room is needed",
  idle: "unused for a while",
  "after-use": "set to leave after each use",
  "out-of-memory": "memory ran out",
  changed: "its files changed",
  proof: "data types are compared while nothing waits",
  stop: "the worker stops",
  load: "while loading",
};
export const why = (reason) => WHY[reason] ?? reason;
