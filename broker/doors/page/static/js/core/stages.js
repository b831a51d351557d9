// The three stages in their order, and how each is drawn: a colour, and a letter and a pattern besides.
import { el } from "./dom.js";

export const STAGES = [
  { id: "scribe", letter: "S", name: "Scribe", from: "speech", to: "words", pattern: "plain" },
  { id: "interpreter", letter: "I", name: "Interpreter", from: "words", to: "intent",
    pattern: "hatched" },
  { id: "oracle", letter: "O", name: "Oracle", from: "intent", to: "reply", pattern: "dotted" },
];

/** The stage of this id; one that the page does not know keeps its own name. */
export const stageOf = (id) =>
  STAGES.find((stage) => stage.id === id) ??
  { id, letter: id.slice(0, 1).toUpperCase(), name: id, from: "", to: "", pattern: "plain" };

/** A stage's letter in its colour; `alone`: with its name for screen readers. */
export function chip(id, alone = true) {
  const stage = stageOf(id);
  const letter = el("span", { "aria-hidden": "true" }, stage.letter);
  return el("span", { class: `chip ${stage.id}`, title: stage.name }, letter, alone ? hidden(stage.name) : null);
}

/** Text for screen readers only. */
export const hidden = (text) => el("span", { class: "unseen" }, text);
