// Dead letters: messages that were given up, for operators to retry or drop.
import { call } from "../core/api.js";
import { byId, el, fill, say } from "../core/dom.js";
import { moment } from "../core/format.js";
import { chip } from "../core/stages.js";
import { on, state } from "../core/store.js";

let seen = null;

async function load() {
  const told = await call("GET", "/v1/dead-letters");
  fill(byId("dead-list"), (told.dead_letters ?? told.letters ?? []).map(row));
}

function row(letter, at) {
  const number = letter.n ?? letter.number ?? at + 1;
  const act = (method, path) => async () => {
    try {
      await call(method, `/v1/dead-letters/${number}${path}`);
      say(byId("dead-told"), "");
      await load();
    } catch (error) {
      say(byId("dead-told"), error.message);
    }
  };
  return el("li", {}, letter.stage ? chip(letter.stage) : null, el("span", { class: "name" }, letter.job ?? "unreadable"),
    el("span", { class: "text bad" }, letter.reason ?? ""), letter.died_at ? el("time", {}, moment(letter.died_at)) : null,
    el("span", { class: "acts" },
      el("button", { type: "button", class: "small", on: { click: act("POST", "/retry") } }, "Retry"),
      el("button", { type: "button", class: "small", on: { click: act("DELETE", "") } }, "Drop")));
}

export function start() {
  on(["system", "session"], () => {
    const dead = state.session?.operator ? state.system?.dead ?? 0 : 0;
    byId("dead").hidden = !dead;
    if (dead && dead !== seen) load().catch((error) => say(byId("dead-told"), error.message));
    seen = dead;
  });
}
