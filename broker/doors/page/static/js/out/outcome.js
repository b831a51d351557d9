// One job in full: what was heard, understood and answered, or why it failed, and its files.
import { call, save } from "../core/api.js";
import { byId, el, fill, say } from "../core/dom.js";
import { duration, moment } from "../core/format.js";
import { choice, costs, guards, intent, reply, section } from "./answers.js";
import { audioOf, keep } from "./audio.js";
import { player } from "./player.js";
import { chipOf, isOpen } from "./rows.js";
import { transcript } from "./transcript.js";

const FORMATS = ["txt", "srt", "vtt", "json"];
let shown = null; // the job's id
let state = null; // its state as it is shown
let playing = null;

/** Open a job. */
export async function open(id) {
  shown = id;
  stopPlaying();
  fill(byId("outcome-body"), el("p", { class: "muted" }, "One moment…"));
  say(byId("outcome-name"), "");
  if (!byId("outcome").open) byId("outcome").showModal();
  await load();
}

/** Show the open job again if it is this one and has changed: what plays would stop. */
export const refresh = (job) => job.id === shown && (isOpen(job) || job.state !== state) && load();

async function load() {
  const id = shown;
  try {
    const job = await call("GET", `/v1/jobs/${encodeURIComponent(id)}`);
    if (id === shown) show(job);
  } catch (error) {
    if (id === shown) fill(byId("outcome-body"), el("p", { class: "alert", role: "alert" }, error.message));
  }
}

function show(job) {
  state = job.state;
  stopPlaying();
  const told = job.outcome ?? {};
  const heard = told.transcript ?? job.transcript;
  const meant = told.intent ?? job.intent_result;
  const error = told.error ?? job.error;
  say(byId("outcome-name"), job.name);
  fill(byId("outcome-body"),
    el("p", { class: "facts" }, chipOf(job), ` submitted ${moment(job.submitted_at)}`,
      job.ended_at ? `, ended after ${duration(job.ended_at - job.submitted_at)}` : ""),
    error ? el("p", { class: "alert", role: "alert" }, error.message, el("code", {}, error.code)) : null,
    heard ? hearing(job, heard) : null, meant ? intent(meant) : null, told.reply ? reply(told.reply) : null,
    job.outcome ? null : el("p", { class: "muted" }, "This job has not ended: what its stages answer appears here."),
    costs(told.stages), job.outcome ? downloads(job, heard) : null);
}

function hearing(job, heard) {
  const place = el("div", { class: "player" });
  const play = (at) => playing?.play(at);
  const words = transcript(heard, play);
  const facts = [heard.language, `${duration(heard.duration_s)} of audio`, `${duration(heard.speech_s)} of voice`];
  const empty = heard.text ? null : el("p", { class: "big" }, "No speech.");
  listen(job.id, heard, place, words);
  return section("scribe", "Heard", heard.duration_s ? el("p", { class: "facts" }, facts.filter(Boolean).join(" · ")) : null,
    guards(heard.guards), empty, place, heard.text ? words.element : null, choice(heard.choice));
}

/** Put a player into its place, or say where the audio is. */
function listen(id, heard, place, words) {
  const file = audioOf(id);
  if (!file) return heard.duration_s ? fill(place, ...elsewhere(id, heard, place, words)) : undefined;
  playing = player(place, file, heard.duration_s);
  words.follow(playing.audio);
  return undefined;
}

function elsewhere(id, heard, place, words) {
  const input = el("input", { type: "file", class: "unseen", tabindex: -1, "aria-label": "The recording of this job" });
  input.addEventListener("change", () => {
    if (!input.files.length) return;
    keep(id, input.files[0]);
    fill(place);
    listen(id, heard, place, words);
  });
  const choose = el("button", { type: "button", class: "small", on: { click: () => input.click() } }, "Choose the file");
  return [el("p", { class: "muted" }, "This tab does not hold the recording, so words cannot be played. "), choose, input];
}

function downloads(job, heard) {
  const formats = heard?.text ? FORMATS : ["json"];
  const told = el("p", { class: "alert", role: "alert", hidden: true });
  const stem = job.name.split("/").at(-1).replace(/\.[^.]*$/, "") || job.id;
  const button = (format) => el("button", { type: "button", on: { click: () => {
    save(`/v1/jobs/${encodeURIComponent(job.id)}/result?format=${format}`, `${stem}.${format}`).catch((error) => {
      told.hidden = false;
      say(told, error.message);
    });
  } } }, format.toUpperCase());
  return section("", "Download", el("div", { class: "buttons" }, formats.map(button)), told);
}

function stopPlaying() {
  playing?.close();
  playing = null;
}

export function start() {
  byId("outcome").addEventListener("close", () => {
    shown = null;
    stopPlaying();
  });
  byId("outcome-close").addEventListener("click", () => byId("outcome").close());
  byId("outcome").addEventListener("click", (event) => event.target === byId("outcome") && byId("outcome").close());
}
