// Sends files and texts, a few at a time, and shows how far each is.
import { ApiError, upload } from "../core/api.js";
import { byId, el, say } from "../core/dom.js";
import { bytes, count, percent } from "../core/format.js";
import { now, state, tell } from "../core/store.js";
import { keep } from "../out/audio.js";
import { asked } from "./options.js";

const AT_ONCE = 3;
const AGAIN = new Set([0, 429, 503]); // the server is away, or asks to come back
const FIRST_MS = 1000; // the first wait; doubled up to LAST_MS
const LAST_MS = 15_000;
const queue = [];
let running = 0;

/** Send files, each as a job of its own; several are of one group. */
export function sendFiles(files, fields = {}) {
  const common = { ...asked(true), ...fields };
  if (files.length > 1) common.group = `page-${new Date(now() * 1000).toISOString().slice(0, 19).replace(/[:T]/g, "-")}`;
  common.lane ??= files.length > 1 ? "bulk" : "interactive";
  for (const file of files) add(file.webkitRelativePath || file.path || file.name, { ...common, file }, file);
}

/** Send a text; with an intent the Oracle answers at once. */
export function sendText(text, intent) {
  const fields = { lane: "interactive", ...asked(false), text };
  if (intent) Object.assign(fields, { intent, stop: "oracle" });
  add(text.length > 40 ? `${text.slice(0, 39)}…` : text, fields, null);
}

function add(name, fields, file) {
  const stop = new AbortController();
  const told = el("span", { class: "told" }, file ? bytes(file.size) : "");
  const bar = el("progress", { max: 1, value: 0, "aria-label": `Upload of ${name}` });
  const cancel = el("button", { type: "button", class: "small", on: { click: () => stop.abort() } }, "Stop");
  cancel.setAttribute("aria-label", `Stop the upload of ${name}`);
  const row = el("li", {}, el("span", { class: "name" }, name), bar, told, cancel);
  byId("uploads").append(row);
  queue.push({ name, fields, file, row, bar, told, cancel, signal: stop.signal });
  next();
}

function next() {
  say(byId("uploads-left"), queue.length > 3 ? `${count(queue.length, "file")} wait to be sent` : "");
  while (running < AT_ONCE && queue.length) {
    running += 1;
    send(queue.shift()).finally(() => {
      running -= 1;
      next();
    });
  }
}

async function send(one) {
  const { name, fields, file, row, bar, told, signal } = one;
  const most = state.session?.limits?.upload_bytes;
  if (file && most && file.size > most) {
    failed(one, { message: `${name} has ${bytes(file.size)}; this server takes files of up to ${bytes(most)}.` });
    return;
  }
  const key = [...crypto.getRandomValues(new Uint8Array(16))].map((n) => n.toString(16).padStart(2, "0")).join("");
  const progress = (share) => {
    bar.value = share;
    say(told, file ? percent(share) : "");
  };
  try {
    const { jobs: [job] } = await persistently(() => form(name, fields), key, progress, signal, told);
    if (job.error) throw new ApiError(400, job.error.message, job.error.code);
    if (file) keep(job.id, file);
    begin(job.id, job.name ?? name, fields);
    row.remove();
  } catch (error) {
    if (error.name === "AbortError") row.remove();
    else failed(one, error);
  }
}

/** Send until the server has answered: under one key, so that it is one job however often it arrives. */
async function persistently(make, key, progress, signal, told) {
  for (let wait = FIRST_MS; ; wait = Math.min(LAST_MS, 2 * wait)) {
    try {
      return await upload("/v1/jobs", make(), { headers: { "idempotency-key": key }, progress, signal });
    } catch (error) {
      if (!AGAIN.has(error.status)) throw error;
      say(told, `waits: ${error.message}`);
      await new Promise((resolve) => setTimeout(resolve, wait));
      if (signal.aborted) throw new DOMException("Stopped.", "AbortError");
    }
  }
}

function form(name, { file, ...fields }) {
  const made = new FormData();
  for (const [key, value] of Object.entries(fields)) made.append(key, value);
  made.append("name", name);
  if (file) made.append("file", file, file.name);
  return made;
}

/** Show the job at once; the stream of jobs brings the rest. */
function begin(id, name, { file, lane, intent, group = null }) {
  if (state.jobs.has(id)) return;
  const stage = file ? "scribe" : intent ? "oracle" : "interpreter";
  state.jobs.set(id, { id, name, state: "waiting", stage, lane, group, submitted_at: now(), ended_at: null });
  tell(["jobs"]);
}

function failed({ row, bar, told, cancel }, error) {
  bar.remove();
  row.classList.add("failed");
  told.setAttribute("role", "alert");
  say(told, error.message);
  cancel.textContent = "Dismiss";
  cancel.setAttribute("aria-label", "Dismiss this message");
  cancel.addEventListener("click", () => row.remove());
}

export function start() {
  window.addEventListener("beforeunload", (event) => running && event.preventDefault()); // an upload would be lost
  byId("text-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = byId("text").value.trim();
    if (!text) return byId("text").focus();
    sendText(text, byId("text-intent").value.trim());
    byId("text").value = "";
    return undefined;
  });
}
