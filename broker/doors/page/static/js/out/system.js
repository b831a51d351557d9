// The state of the system in a sentence, and what to do where it needs somebody.
import { byId, say } from "../core/dom.js";
import { count } from "../core/format.js";
import { on, set, state } from "../core/store.js";

const LOOK_MS = 2000;

/**
 * What to tell: `{kind, text, command}`; `kind` is `ok`, `wait` or `bad`. Of several, the first counts. `ready` is the
 * answer of /ready where no worker reports. Pure.
 */
export function told({ away, queueAway, system, ready }) {
  if (away) return { kind: "bad", text: `${away} This page tries again by itself.` };
  if (queueAway) return { kind: "bad", text: `${queueAway} Nothing that was sent is lost; this page goes on by itself.` };
  if (!system) return { kind: "wait", text: "Asking the server…" };
  const boxes = Object.values(system.boxes);
  if (!boxes.length) {
    const sentence = ready?.sentence ?? "";
    if (ready?.models === "pulling" || /is starting/.test(sentence)) return { kind: "wait", text: sentence };
    if (sentence && !sentence.startsWith("No worker")) return { kind: "bad", text: sentence };
    return { kind: "bad", text: "No worker is running, so jobs wait. On the machine with the card, with the same "
      + "GOLEM_REDIS_URL as this server, run", command: "golem worker" };
  }
  const waits = system.in_hand || Object.values(system.queues).some((queue) => queue.waiting);
  if (boxes.every((box) => !box.loads && !box.resident?.length)) {
    return waits
      ? { kind: "wait", text: "The models load for the first time. This takes some seconds; then the first job runs." }
      : { kind: "ok", text: `${count(boxes.length, "box", "boxes")} ready. Models load when the first job needs them.` };
  }
  return { kind: "ok", text: `${count(boxes.length, "box", "boxes")} ${waits ? "at work" : "ready"}` };
}

/** Where no worker reports, /ready knows more: a local system may still be starting. It needs no key. */
async function look() {
  if (!state.system || Object.keys(state.system.boxes).length) return;
  try {
    set({ ready: await (await fetch("/ready", { cache: "no-store" })).json() });
  } catch {
    set({ ready: null });
  }
}

export function start() {
  on(["away", "queueAway", "system", "session", "ready"], () => {
    const { kind, text, command } = told(state);
    const needs = kind === "bad" || (kind === "wait" && state.system);
    byId("status").className = `status ${kind}`;
    say(byId("status"), needs ? (kind === "bad" ? "Needs attention" : "Not ready yet") : text);
    byId("notice").hidden = !needs;
    byId("notice").className = `notice ${kind}`;
    say(byId("notice-text"), text);
    byId("notice-command").hidden = !command;
    say(byId("notice-command"), command ?? "");
    const { session } = state;
    say(byId("who"), session?.keys ? `key ${session.caller}` : "");
    byId("leave").hidden = !session?.keys;
    say(byId("version"), session?.version ? `Golem Chain ${session.version}` : "");
  });
  setInterval(look, LOOK_MS);
}
