// Light and dark: the system's choice until the reader makes one.
import { byId, say } from "./dom.js";
import { stored } from "./storage.js";

const chosen = stored("localStorage", "golem-theme");
const dark = matchMedia("(prefers-color-scheme: dark)");
const changed = [];

/** Call `fn` when the colours have changed. */
export const onTheme = (fn) => changed.push(fn);

export const isDark = () => (chosen.get() ?? (dark.matches ? "dark" : "light")) === "dark";

/** Whether the reader asked for less motion. */
export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

function show() {
  document.documentElement.dataset.theme = isDark() ? "dark" : "light";
  say(byId("theme"), isDark() ? "Light" : "Dark");
  for (const fn of changed) fn();
}

export function start() {
  dark.addEventListener("change", show);
  byId("theme").addEventListener("click", () => {
    chosen.set(isDark() ? "light" : "dark");
    show();
  });
  show();
}
