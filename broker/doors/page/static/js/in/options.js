// What is asked of a job: the fields of the form as those of the API.
import { call } from "../core/api.js";
import { byId, el, fill } from "../core/dom.js";

const FIELDS = ["labels", "vocabulary", "language", "hotwords", "lane"];

/** The chosen last stage. */
export const stop = () => document.querySelector("input[name=stop]:checked").value;

/** The fields of a job, those that were filled in. `audio`: whether it has audio, or a text. */
export function asked(audio) {
  const given = FIELDS.map((name) => [name, byId(`ask-${name}`).value.trim()]).filter(([, value]) => value);
  const fields = Object.fromEntries(given);
  fields.stop = audio || stop() !== "scribe" ? stop() : "interpreter";
  if (audio) fields.word_times = "true"; // what makes words clickable
  else for (const name of ["vocabulary", "language", "hotwords"]) delete fields[name];
  return fields;
}

/** Say in the summary which options differ from their defaults. */
function summarize() {
  const names = FIELDS.filter((name) => byId(`ask-${name}`).value.trim());
  byId("ask-summary").textContent = names.length ? `Options: ${names.join(", ")}` : "Options";
}

/** Offer the label sets that have names. */
export async function offerLabels() {
  try {
    const { stored, built_in: builtIn } = await call("GET", "/v1/labels");
    fill(byId("label-sets"), [...stored, ...builtIn].map((name) => el("option", { value: `@${name}` })));
  } catch {
    fill(byId("label-sets"));
  }
}

export function start() {
  byId("ask").addEventListener("input", summarize);
  summarize();
}
