// The microphone: record, see the level, send.
import { byId, el, fill, say } from "../core/dom.js";
import { place } from "../core/format.js";
import { sendFiles } from "./submit.js";

const KINDS = [["audio/webm;codecs=opus", "webm"], ["audio/ogg;codecs=opus", "ogg"], ["audio/mp4", "m4a"]];
let recorder = null;

/** Why the microphone cannot be used; null if it can. */
function hindrance() {
  if (!isSecureContext) {
    const local = `http://localhost:${location.port || 80}`;
    return "Browsers give the microphone to pages over HTTPS or from this machine only. Open this page as "
      + `https://${location.host}, or on the server itself as ${local}. Files can be dropped here all the same.`;
  }
  if (!navigator.mediaDevices || !window.MediaRecorder) return "This browser cannot record. Drop a file instead.";
  return null;
}

async function begin() {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false } });
  } catch (error) {
    const why = { NotAllowedError: "The browser was not allowed to use the microphone: allow it for this page.",
      NotFoundError: "There is no microphone." }[error.name];
    return say(byId("record-told"), why ?? `The microphone cannot be used: ${error.message}`);
  }
  const [type, ending] = KINDS.find(([kind]) => MediaRecorder.isTypeSupported(kind)) ?? ["", "webm"];
  const parts = [];
  recorder = new MediaRecorder(stream, type ? { mimeType: type } : {});
  recorder.addEventListener("dataavailable", (event) => event.data.size && parts.push(event.data));
  const shown = meter(stream);
  recorder.addEventListener("stop", () => {
    for (const track of stream.getTracks()) track.stop();
    shown();
    recorder = null;
    idle();
    const name = `recording ${new Date().toLocaleTimeString("en-GB").replaceAll(":", "-")}.${ending}`;
    sendFiles([new File(parts, name, { type: type || "audio/webm" })]);
  });
  recorder.start(1000);
  byId("record").setAttribute("aria-pressed", "true");
  fill(byId("record"), el("span", { class: "dot", "aria-hidden": "true" }), "Stop and send");
  return undefined;
}

/** Show time and level until the returned function is called. */
function meter(stream) {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  context.createMediaStreamSource(stream).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const began = performance.now();
  const timer = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    const rms = Math.sqrt(samples.reduce((sum, one) => sum + one * one, 0) / samples.length);
    byId("level").value = Math.max(0, 1 + Math.log10(Math.max(rms, 1e-3)) / 3); // -60 dB to 0 dB of full scale
    say(byId("record-told"), place((performance.now() - began) / 1000));
  }, 100);
  byId("level").hidden = false;
  return () => {
    clearInterval(timer);
    context.close();
    byId("level").hidden = true;
    say(byId("record-told"), "");
  };
}

function idle() {
  byId("record").setAttribute("aria-pressed", "false");
  fill(byId("record"), el("span", { class: "dot", "aria-hidden": "true" }), "Record");
}

export function start() {
  idle();
  const why = hindrance();
  if (why) {
    byId("record").disabled = true;
    say(byId("record-told"), why);
    return;
  }
  byId("record").addEventListener("click", () => (recorder ? recorder.stop() : begin()));
}
