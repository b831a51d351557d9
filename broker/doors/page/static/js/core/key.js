// The key: asked for once, kept for this tab only, sent in a header and never in a URL.
import { byId, say } from "./dom.js";
import { stored } from "./storage.js";

const kept = stored("sessionStorage", "golem-key");
const POSSIBLE = /^[!-~]+$/; // what a header can carry
let entered = [];

/** The header that carries the key, if one was entered. */
export function authorization() {
  const key = kept.get();
  return key ? { authorization: `Bearer ${key}` } : {};
}

/** Forget the key. */
export const forget = () => kept.drop();

/** Show why a key is needed, and return when one was entered. */
export function ask(why) {
  const dialog = byId("key");
  say(byId("key-why"), why);
  if (!dialog.open) dialog.showModal();
  byId("key-value").select();
  return new Promise((resolve) => entered.push(resolve));
}

export function start() {
  const dialog = byId("key");
  dialog.addEventListener("cancel", (event) => event.preventDefault()); // without a key there is nothing to see
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const key = byId("key-value").value.trim();
    if (!POSSIBLE.test(key)) {
      say(byId("key-why"), "That is no key: a key has letters, digits and signs only, and no spaces.");
      return;
    }
    kept.set(key);
    byId("key-value").value = "";
    dialog.close();
    for (const resolve of entered.splice(0)) resolve();
  });
}
