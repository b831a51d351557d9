// Dead letters: messages that were given up, for operators to retry or drop.
import { call } from "../core/api.js";
import { byId, el, keyed, say } from "../core/dom.js";
import { moment } from "../core/format.js";
import { chip } from "../core/stages.js";
import { on, state } from "../core/store.js";
import { watch } from "./queue.js";

let seen = null;

async function load() {
  const { letters } = await call("GET", "/v1/dead-letters");
  keyed(byId("dead-list"), letters, (one) => one.letter, row);
}

function row({ letter, job, queue, why, error, deliveries, at }) {
  const name = job ?? "an unreadable message";
  const button = (text, method, path) => el("button", { type: "button", class: "small", "aria-label": `${text} ${name}`,
    on: { click: () => act(method, `/v1/dead-letters/${letter}${path}`) } }, text);
  const facts = [deliveries ? `${deliveries} deliveries` : null, at ? moment(at) : null].filter(Boolean).join(", ");
  return el("li", { class: "row" }, chip(queue), el("span", { class: "name" }, name, " ",
    el("span", { class: "bad" }, [why, error].filter(Boolean).join(": "))), el("span", { class: "age" }, facts),
  el("span", { class: "acts" }, job ? button("Retry", "POST", "/retry") : null, button("Drop", "DELETE", "")));
}

async function act(method, path) {
  try {
    const told = await call(method, path);
    say(byId("dead-told"), "");
    if (told) watch(told.job);
    await load();
  } catch (error) {
    say(byId("dead-told"), error.message);
  }
}

export function start() {
  on(["system", "session"], () => {
    const dead = (state.session?.operator && state.system?.dead) || 0;
    byId("dead").hidden = !dead;
    if (dead && dead !== seen) load().catch((error) => say(byId("dead-told"), error.message));
    seen = dead;
  });
}
