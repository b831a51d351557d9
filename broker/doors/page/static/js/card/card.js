// The card: a panel for each box with what lies in its memory, the chart, and the latest turns in words.
import { byId, el, fill, keyed, say } from "../core/dom.js";
import { age, bytes, clock, count, duration } from "../core/format.js";
import { chip, stageOf, STAGES } from "../core/stages.js";
import { now, on, state } from "../core/store.js";
import { onTheme, still } from "../core/theme.js";
import { chart } from "./chart.js";
import { boxesOf, switches, why } from "./turns.js";

const LISTED = 6; // turns in words
let windowS = 60;
const panels = new Map();

/** One event in words. */
export function sentence({ kind, stage, seconds = 0, size, reason, weights_bytes: weight, compute_s: compute }) {
  const { name } = stageOf(stage);
  if (kind === "batch") return `${name} ran ${count(size, "job")} in ${duration(compute ?? seconds)}`;
  if (kind === "load") return `${name} came in ${duration(seconds)}, ${bytes(weight)}: ${why(reason)}`;
  if (kind === "unload") return `${name} left in ${duration(seconds)}: ${why(reason)}`;
  return `${name} ran out of memory: ${why(reason)}`;
}

function panel(name) {
  const over = el("div", { class: "over-time" });
  const nothing = el("p", { class: "muted" }, "Nothing has run here yet. Send a recording, and watch the models take turns.");
  const title = el("h3", {}, name);
  const facts = el("p", { class: "facts" });
  const bar = el("div", { class: "residents" });
  const plot = el("div", { class: "plot", "aria-hidden": "true" });
  const readout = el("p", { class: "readout", "aria-hidden": "true" });
  const legend = [["▲", "load"], ["▼", "unload"], ["■", "out of memory"], ["╌", "budget"], ["▒", "the worker"], ["▬", "batches"]];
  const turns = el("ol", { class: "turns", "aria-label": `Latest turns on ${name}` });
  const made = el("article", { class: "box", data: { box: name } }, el("header", {}, title, facts), bar,
    nothing, over);
  over.append(el("div", {}, plot, readout), turns);
  let drawn = null;
  const tell = (event) => (event ? say(readout, `${clock(event.at)} ${sentence(event)}`)
    : fill(readout, legend.map(([sign, word]) => el("span", {}, el("i", {}, sign), word))));
  tell(null);

  made.update = () => {
    const told = state.system?.boxes[name];
    const events = state.events.filter((event) => event.box === name);
    say(facts, factsOf(told, events));
    fill(bar, ...residents(told, events));
    keyed(turns, [...events].reverse().slice(0, LISTED), (one) => `${one.at}${one.kind}${one.stage}`, turn);
    made.classList.toggle("gone", !told);
    nothing.hidden = events.length > 0;
    over.hidden = !events.length;
  };
  made.draw = () => {
    if (over.hidden) return;
    drawn ??= chart(plot, tell);
    const told = state.system?.boxes[name];
    drawn.draw({ events: state.events.filter((one) => one.box === name), told, now: now(), window_s: windowS });
  };
  made.recolour = () => drawn?.recolour();
  made.resize = () => drawn?.resize();
  made.close = () => drawn?.destroy();
  return made;
}

/** What a box is and has done, in a line. */
function factsOf(told, events) {
  if (!told) return "no longer reports";
  const { count: turns, seconds } = switches(events);
  const memory = told.budget_bytes ? `${bytes(told.allocated_bytes ?? 0)} of ${bytes(told.budget_bytes)}` : null;
  const switched = turns ? `${count(turns, "switch", "switches")} in 15 min, ${duration(seconds / turns)} each` : null;
  return [told.device, memory, switched].filter(Boolean).join(" · ");
}

/** The bar of what lies in memory now: its width is the budget. */
function residents(told, events) {
  const budget = told?.budget_bytes || 1;
  const held = told?.resident ?? [];
  const used = Math.min(1, (told?.allocated_bytes ?? 0) / budget);
  const weight = (stage) => events.findLast((one) => one.kind === "load" && one.stage === stage)?.weights_bytes ?? 0;
  const known = held.reduce((sum, stage) => sum + weight(stage), 0);
  const parts = held.map((stage) => {
    const share = known ? weight(stage) / budget : used / held.length;
    const [model, rest = ""] = (told.models?.[stage] ?? "").split("@");
    const form = rest.split(" ").slice(1).join(" "); // `bfloat16 8 bit`, `float32 with bfloat16 products`
    return el("div", { class: `resident ${stage}`, style: { "flex-basis": `${Math.max(6, share * 100)}%` } },
      chip(stage), el("span", {}, model || stageOf(stage).name), el("small", { title: form }, form.split(" with ")[0]));
  });
  const empty = el("div", { class: "room" }, held.length ? "free" : told ? "no model on the card" : "");
  return [...parts, empty];
}

function turn(event) {
  const jobs = event.kind === "batch" ? null : el("span", { class: `kind ${event.kind}`, "aria-hidden": "true" },
    { load: "▲", unload: "▼" }[event.kind] ?? "■");
  return el("li", {}, el("time", {}, clock(event.at)), chip(event.stage, false), jobs, el("span", {}, sentence(event)));
}

/** Whether a box holds this stage's model, and whether one of our own jobs is in it. */
const isHeld = (id) => Object.values(state.system?.boxes ?? {}).some((box) => box.resident?.includes(id));
const isBusy = (id) => [...state.jobs.values()].some((job) => job.state === "running" && job.stage === id);

/** One of the three models: where it is, and what waits for it. */
function actor({ id, name, from, to }) {
  const where = el("strong", { class: "where" });
  const queue = el("span", { class: "queue" });
  const made = el("li", { class: `actor ${id}`, data: { stage: id } }, chip(id, false),
    el("b", {}, name), el("small", {}, `${from} → ${to}`), where, queue);
  made.update = () => {
    const [held, busy] = [isHeld(id), isBusy(id)];
    made.classList.toggle("on", held);
    made.classList.toggle("busy", held && busy && !still());
    say(where, held ? (busy ? "at work" : "on the card") : busy ? "comes next" : "off the card");
    const waits = state.system?.queues?.[id];
    const oldest = waits?.oldest_s >= 1 ? ` · ${age(waits.oldest_s)}` : "";
    say(queue, `${waits?.waiting ?? 0} waiting${oldest}`);
  };
  return made;
}

function show() {
  const names = boxesOf(state.system, state.events);
  keyed(byId("boxes"), names, (name) => name, (name) => {
    panels.set(name, panel(name));
    return panels.get(name);
  });
  for (const name of panels.keys()) {
    if (names.includes(name)) continue;
    panels.get(name).close();
    panels.delete(name);
  }
  byId("no-box").hidden = names.length > 0;
  keyed(byId("actors"), STAGES, (stage) => stage.id, actor);
}

export function start() {
  on(["system", "events", "jobs"], show);
  show();
  onTheme(() => panels.forEach((one) => one.recolour()));
  new ResizeObserver(() => panels.forEach((one) => one.resize())).observe(byId("boxes"));
  for (const choice of document.querySelectorAll("input[name=window]")) {
    choice.addEventListener("change", () => {
      windowS = Number(choice.value);
      panels.forEach((one) => one.draw());
    });
  }
  const draw = () => document.visibilityState === "visible" && panels.forEach((one) => one.draw());
  setInterval(draw, still() ? 2000 : 500);
}
