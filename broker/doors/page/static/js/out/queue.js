// The queue, by lanes with ages, and what came out: both from the jobs of this key, as they change.
import { call } from "../core/api.js";
import { byId, keyed, say } from "../core/dom.js";
import { age, count } from "../core/format.js";
import { on, set, state, tell } from "../core/store.js";
import { follow } from "../core/stream.js";
import { open, refresh } from "./outcome.js";
import { ended, isOpen, queued } from "./rows.js";

const PAGE = 50; // jobs of one request
const LANES = ["interactive", "bulk"];
const SHOWN = 200; // rows of a list
const KEPT = 2000; // jobs that have ended
let cursor = null; // where the next page of older jobs begins

/** Read the newest jobs; `more`: the page after those that were read. */
export async function load(more = false) {
  const after = more && cursor ? `&after=${encodeURIComponent(cursor)}` : "";
  const told = await call("GET", `/v1/jobs?limit=${PAGE}${after}`);
  cursor = told.next;
  for (const job of told.jobs) state.jobs.set(job.id, job);
  byId("more").hidden = !cursor;
  tell(["jobs"]);
}

/** Take a job's new state from the stream. Of very many that have ended, the oldest are forgotten. */
export function heard(job) {
  const before = state.jobs.get(job.id);
  if (before && isOpen(before) && !isOpen(job)) say(byId("news"), `${job.name}: ${job.state}`); // for screen readers
  state.jobs.set(job.id, job);
  if (state.jobs.size > KEPT + PAGE) {
    for (const { id } of newest().filter((one) => !isOpen(one)).slice(KEPT)) state.jobs.delete(id);
  }
  tell(["jobs"]);
  refresh(job);
}

/** Follow one job until it ends: one that was retried is no news to the stream of all jobs. */
export function watch(id) {
  const stop = new AbortController();
  const path = `/v1/jobs/${encodeURIComponent(id)}/events`;
  return follow(path, stop.signal, (kind, job) => {
    heard(job);
    if (!isOpen(job)) stop.abort();
  }, (error) => error?.status !== 404); // of somebody else
}

const act = async (kind, job) => {
  const path = `/v1/jobs/${encodeURIComponent(job.id)}`;
  say(byId("queue-told"), "");
  try {
    if (kind === "open") await open(job.id);
    else heard(await (kind === "cancel" ? call("DELETE", path) : call("POST", `${path}/next`)));
    if (kind === "next") say(byId("queue-told"), `${job.name} runs next.`);
    if (kind === "cancel") say(byId("queue-told"), `${job.name} was cancelled.`);
  } catch (error) {
    say(byId("queue-told"), error.message);
  }
};

/** All jobs, newest first. */
const newest = () => [...state.jobs.values()].sort((a, b) => b.submitted_at - a.submitted_at);

function showQueue() {
  const jobs = newest().filter(isOpen).reverse();
  const running = (job) => (job.state === "running" ? 0 : 1);
  for (const lane of LANES) {
    const mine = jobs.filter((job) => (job.lane ?? "bulk") === lane).sort((a, b) => running(a) - running(b));
    keyed(byId(`lane-${lane}`), mine.slice(0, SHOWN), (job) => job.id, queued(act));
    say(byId(`facts-${lane}`), facts(lane, mine.length));
    byId(`empty-${lane}`).hidden = mine.length > 0;
  }
}

/** What waits in a lane of all stages, of everybody. */
function facts(lane, mine) {
  const lanes = Object.values(state.system?.queues ?? {}).map((queue) => queue.lanes?.[lane]).filter(Boolean);
  const waiting = lanes.reduce((sum, one) => sum + one.waiting, 0);
  const oldest = Math.max(...lanes.map((one) => one.oldest_s ?? 0), 0);
  const own = mine > SHOWN ? ` · the first ${SHOWN} of ${mine}` : "";
  const since = oldest >= 1 ? `, oldest ${age(oldest)}` : "";
  return waiting ? `${count(waiting, "message")} waiting${since}${own}` : own.slice(3);
}

function showResults() {
  const [wanted, kind] = [byId("find").value.trim().toLowerCase(), byId("find-state").value];
  const fits = (job) => !isOpen(job) && (!kind || job.state === kind) && (!wanted
    || [job.name, job.text, job.intent, job.group].some((part) => part?.toLowerCase().includes(wanted)));
  const jobs = newest().filter(fits);
  keyed(byId("results"), jobs.slice(0, SHOWN), (job) => job.id, ended(act));
  byId("no-results").hidden = jobs.length > 0;
  say(byId("no-results"), wanted || kind ? "No job that was read fits." : "Nothing yet. What you drop or record comes out here.");
}

export function start() {
  on(["jobs", "system"], showQueue);
  on(["jobs"], showResults);
  for (const id of ["find", "find-state"]) byId(id).addEventListener("input", showResults);
  byId("more").addEventListener("click", () => load(true).catch((error) => set({ away: error.message })));
  setInterval(() => {
    for (const lane of LANES) for (const row of byId(`lane-${lane}`).children) row.tick();
  }, 1000);
}
