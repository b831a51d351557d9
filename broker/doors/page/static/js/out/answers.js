// The parts of an outcome in words: guards, intents with their scores, the reply, what each stage cost.
import { el, fill } from "../core/dom.js";
import { bytes, duration, percent } from "../core/format.js";
import { chip, stageOf } from "../core/stages.js";

const SHOWN = 8; // intents; the rest on demand

/** Why each guard rejects text: docs/glossary.md and workers/stages/scribe/guards.py. */
const GUARDS = {
  level: "the file is practically silent",
  vad: "no voice was found",
  no_speech: "the model believes that nobody speaks",
  annotation: "the text only described a sound, such as [Music]",
  loop: "the text repeated a phrase more often than there was time for",
  invention: "the text is one that the model is known to invent, with too little voice for it",
};
const METHODS = {
  entailment: "by entailment", cosine: "by similarity", vocabulary: "by the phrase that was said",
  silence: "because nothing was said", given: "as given with the job",
};

/** A section of the outcome under a stage's letter. */
export const section = (stage, title, ...parts) => el("section", { class: `part ${stage}` },
  el("h3", {}, stage ? chip(stage, false) : null, title), parts);

/** The guards that fired and why. */
export function guards(names) {
  if (!names?.length) return null;
  return el("ul", { class: "guards" }, names.map((name) =>
    el("li", {}, el("b", {}, name), ` rejected text: ${GUARDS[name] ?? "a guard of the Scribe"}.`)));
}

/** A vocabulary's choice, with the likeliest phrases. */
export function choice(made) {
  if (!made) return null;
  return el("div", {}, el("p", {}, "Chosen from the vocabulary: ", el("b", {}, made.phrase)),
    bars(made.candidates.map(({ phrase, posterior }) => [phrase, posterior]), made.phrase, "scribe"));
}

/** The intent and the scores of all labels. */
export function intent({ label, score, scores, method }) {
  const rows = Object.entries(scores ?? {}).sort((a, b) => b[1] - a[1]);
  return section("interpreter", "Understood",
    el("p", { class: "big" }, label, el("small", {}, ` ${percent(score)}, ${METHODS[method] ?? method}`)),
    rows.length ? bars(rows, label, "interpreter") : null);
}

function bars(rows, chosen, stage) {
  const shown = rows.slice(0, SHOWN).map((row) => bar(row, chosen));
  const list = el("ol", { class: `bars ${stage}` }, shown);
  const left = rows.slice(SHOWN);
  if (!left.length) return list;
  const more = el("button", { type: "button", class: "small", on: { click: () => {
    fill(list, rows.map((row) => bar(row, chosen)));
    more.remove();
  } } }, `${left.length} more`);
  return el("div", {}, list, more);
}

const bar = ([name, share], chosen) => el("li", { class: name === chosen ? "chosen" : null },
  el("span", { class: "name" }, name), el("span", { class: "track", "aria-hidden": "true" },
    el("span", { style: { width: `${Math.max(0, Math.min(1, share)) * 100}%` } })), el("span", {}, percent(share)));

/** The reply, and what the model was given. */
export const reply = ({ text, prompt, new_tokens: tokens }) => section("oracle", "Answered",
  el("p", { class: "big" }, text || "(an empty reply)"),
  el("details", {}, el("summary", {}, `${tokens} tokens: the prompt`), el("pre", {}, prompt)));

/** What each stage cost: a bar of its seconds, and the numbers. */
export function costs(stages) {
  const runs = Object.entries(stages ?? {});
  if (!runs.length) return null;
  const heads = ["Stage", "Waited", "Load", "Compute", "Batch", "Peak", "Where"];
  const rows = runs.map(([id, run]) => el("tr", {}, el("th", { scope: "row" }, chip(id, false), stageOf(id).name),
    [run.queued_s, run.load_s, run.compute_s].map((seconds) => el("td", {}, duration(seconds))),
    el("td", {}, `×${run.batch_size}`), el("td", {}, run.peak_bytes ? bytes(run.peak_bytes) : "–"),
    el("td", { class: "where" }, [run.worker, run.device].filter(Boolean).join(", "))));
  return section("", "What it cost", el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Costs" },
    el("table", {}, el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, rows))));
}
