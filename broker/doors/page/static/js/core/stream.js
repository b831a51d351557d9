// Server-sent events by fetch, so that the key travels in a header. A stream that breaks goes on where it was.
import { request } from "./api.js";

const FIRST_MS = 500; // the first wait after a break; doubled up to LAST_MS
const LAST_MS = 15_000;
const SILENT_MS = 35_000; // the server sends a comment every 10 s

/**
 * Follow a stream until the signal. `heard(kind, data, id)` gets each event, `told(error)` each break, and null when the
 * stream is open again. Ends when `told` returns false.
 */
export async function follow(path, signal, heard, told) {
  let last = null;
  for (let wait = FIRST_MS; ; wait = Math.min(LAST_MS, wait * 2)) {
    const stop = new AbortController();
    const left = () => stop.abort();
    signal.addEventListener("abort", left);
    let failed;
    try {
      const headers = { accept: "text/event-stream", ...(last === null ? {} : { "last-event-id": last }) };
      const answer = await request("GET", path, { headers, signal: stop.signal });
      told(null);
      await events(answer.body, stop, (kind, data, id) => {
        wait = FIRST_MS;
        last = id ?? last;
        heard(kind, JSON.parse(data), id);
      });
    } catch (error) {
      failed = error;
    }
    signal.removeEventListener("abort", left);
    if (signal.aborted) return;
    if (told(failed ?? new Error("The stream ended.")) === false) return;
    await new Promise((resolve) => setTimeout(resolve, wait * (0.75 + Math.random() / 2)));
  }
}

/** Read a body to its end. Aborts it if it says nothing for SILENT_MS. */
async function events(body, stop, heard) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  const parser = lines(heard);
  for (;;) {
    const timer = setTimeout(() => stop.abort(), SILENT_MS);
    const { done, value } = await reader.read().finally(() => clearTimeout(timer));
    if (done) return;
    parser(value);
  }
}

/** A parser of the event-stream format: call it with text as it comes. */
export function lines(heard) {
  let rest = "";
  let [kind, data, id] = ["message", [], null];
  return (text) => {
    const parts = (rest + text).split(/\r\n|\n/);
    rest = parts.pop();
    for (const line of parts) {
      if (line === "") {
        if (data.length) heard(kind, data.join("\n"), id);
        [kind, data, id] = ["message", [], null];
        continue;
      }
      const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
      if (field === "event") kind = value;
      else if (field === "data") data.push(value);
      else if (field === "id") id = value;
    }
  };
}
