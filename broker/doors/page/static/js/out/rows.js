// A job as a row: where it is in the chain, its age, and what can be done with it.
import { el, fill, say } from "../core/dom.js";
import { age, duration } from "../core/format.js";
import { hidden, STAGES } from "../core/stages.js";
import { now } from "../core/store.js";

const WORDS = {
  waiting: "waiting", running: "running", done: "done", failed: "failed", cancelled: "cancelled", expired: "expired",
};

/** Whether a job has not ended. */
export const isOpen = (job) => job.state === "waiting" || job.state === "running";

/** A job's state as a small label. */
export const chipOf = (job) => el("span", { class: `state ${job.state}` }, WORDS[job.state] ?? job.state);

/** The way through the stages: passed, here, to come. */
function way(job) {
  const at = STAGES.findIndex((stage) => stage.id === job.stage);
  const letters = STAGES.map((stage, i) => {
    const where = i < at ? "passed" : i > at ? "ahead" : job.state === "running" ? "here" : "next";
    return el("span", { class: `step ${stage.id} ${where}`, "aria-hidden": "true" }, stage.letter);
  });
  const told = at < 0 ? "" : `${job.state === "running" ? "in" : "waits for"} the ${STAGES[at].name}`;
  return el("span", { class: "way", title: told }, letters, hidden(told));
}

/** A row of the queue; `act(kind, job)` for `open`, `cancel` and `next`. */
export function queued(act) {
  return (first) => {
    let job = first;
    const steps = el("span");
    const name = el("button", { type: "button", class: "link name", on: { click: () => act("open", job) } });
    const since = el("span", { class: "age" });
    const next = el("button", { type: "button", class: "small", on: { click: () => act("next", job) } }, "Run next");
    const cancel = el("button", { type: "button", class: "small", on: { click: () => act("cancel", job) } }, "Cancel");
    const row = el("li", { class: "row" }, steps, name, since, el("span", { class: "acts" }, next, cancel));
    row.update = (told) => {
      job = told;
      fill(steps, way(job));
      say(name, job.name);
      say(since, age(now() - job.submitted_at));
      next.hidden = job.state !== "waiting";
      next.setAttribute("aria-label", `Run ${job.name} next`);
      cancel.setAttribute("aria-label", `Cancel ${job.name}`);
      row.dataset.state = job.state;
    };
    row.tick = () => say(since, age(now() - job.submitted_at));
    return row;
  };
}

/** A row of what came out. */
export function ended(act) {
  return (first) => {
    let job = first;
    const mark = el("span");
    const name = el("span", { class: "name" });
    const text = el("span", { class: "text" });
    const meant = el("span", { class: "meant" });
    const took = el("span", { class: "age" });
    const button = el("button", { type: "button", class: "result", on: { click: () => act("open", job) } }, mark, name,
      meant, text, took);
    const row = el("li", {}, button);
    row.update = (told) => {
      job = told;
      fill(mark, chipOf(job));
      say(name, job.name);
      say(text, job.error?.message ?? job.text ?? "");
      text.classList.toggle("bad", Boolean(job.error));
      say(meant, job.intent ?? "");
      meant.hidden = !job.intent;
      say(took, job.ended_at ? duration(Math.max(0, job.ended_at - job.submitted_at)) : "");
    };
    return row;
  };
}
