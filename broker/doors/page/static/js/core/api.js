// Requests to the server: the key in a header, errors as one sentence each.
import { authorization } from "./key.js";

/** An answer other than 2xx, or none: `status` 0. */
export class ApiError extends Error {
  constructor(status, message, code) {
    super(message);
    Object.assign(this, { status, code });
  }
}

const LONGEST_MS = 20_000; // for an answer that is no stream
const AWAY = "The server does not answer. Is golem serve still running?";

/** Return the response to a request. Throws ApiError. */
export async function request(method, path, { body, headers, signal } = {}) {
  let answer;
  try {
    answer = await fetch(path, { method, body, signal, headers: { ...authorization(), ...headers }, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, AWAY, "away");
  }
  if (answer.ok) return answer;
  throw await failure(answer.status, await answer.text());
}

/** The error that an answer tells. */
export function failure(status, text) {
  try {
    const { message, code } = JSON.parse(text).error;
    return new ApiError(status, message, code);
  } catch {
    return new ApiError(status, status ? `The server answered ${status}.` : AWAY, "away");
  }
}

/** Return the JSON of an answer, null if it has none. */
export async function call(method, path, content) {
  const sent = content === undefined ? {} : json(content);
  const answer = await request(method, path, { ...sent, signal: AbortSignal.timeout(LONGEST_MS) });
  return answer.status === 204 ? null : answer.json();
}

const json = (content) => ({ body: JSON.stringify(content), headers: { "content-type": "application/json" } });

/** Save a file that needs the key: a link could not carry it. */
export async function save(path, name) {
  const answer = await request("GET", path);
  const told = answer.headers.get("content-disposition") ?? "";
  const named = /filename\*=UTF-8''([^;]+)/i.exec(told) ?? /filename="([^"]+)"/i.exec(told);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = named ? decodeURIComponent(named[1]) : name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/**
 * Send a form; `progress` is told the share that left. Returns the JSON of the answer. Throws ApiError.
 * XMLHttpRequest, because fetch does not tell how far an upload is.
 */
export function upload(path, form, { headers = {}, progress, signal } = {}) {
  return new Promise((resolve, reject) => {
    const sent = new XMLHttpRequest();
    sent.open("POST", path);
    for (const [name, value] of Object.entries({ ...authorization(), ...headers })) sent.setRequestHeader(name, value);
    sent.upload.addEventListener("progress", (event) => event.lengthComputable && progress?.(event.loaded / event.total));
    sent.addEventListener("load", () => {
      if (sent.status < 300) resolve(JSON.parse(sent.responseText));
      else reject(failure(sent.status, sent.responseText));
    });
    sent.addEventListener("error", () => reject(new ApiError(0, AWAY, "away")));
    sent.addEventListener("abort", () => reject(new DOMException("The upload was stopped.", "AbortError")));
    signal?.addEventListener("abort", () => sent.abort());
    sent.send(form);
  });
}
