// The key: asked for once, kept for this tab only, sent in a header and never in a URL.
import { byId, say } from "./dom.js";

const KEPT = "golem-key";
let entered = [];

/** The header that carries the key, if one was entered. */
export function authorization() {
  const key = sessionStorage.getItem(KEPT);
  return key ? { authorization: `Bearer ${key}` } : {};
}

/** Forget the key. */
export const forget = () => sessionStorage.removeItem(KEPT);

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
    if (!key) return;
    sessionStorage.setItem(KEPT, key);
    byId("key-value").value = "";
    dialog.close();
    for (const resolve of entered.splice(0)) resolve();
  });
}
