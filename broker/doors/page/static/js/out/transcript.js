// What was heard: words at their times. A click plays the place, arrow keys walk from word to word.
import { el } from "../core/dom.js";
import { percent, place } from "../core/format.js";

const DOUBTED = 0.5; // words with less probability are marked

/** Return `{element, follow(audio)}` of a transcript; `play(seconds)` is called for the place of a word. */
export function transcript({ segments }, play) {
  const words = [];
  const lines = segments.map((segment) => {
    const parts = segment.words?.length ? segment.words : [{ word: segment.text, ...segment, prob: 1 }];
    return el("p", { class: "segment" }, el("time", {}, place(segment.start_s)),
      el("span", {}, parts.flatMap((part) => [" ", word(part)])));
  });

  function word({ word: text, start_s: from, end_s: to, prob }) {
    const doubted = prob < DOUBTED;
    const title = `${place(from)} · ${percent(prob)} sure`;
    const made = el("button", { type: "button", class: doubted ? "word doubted" : "word", title, data: { from },
      tabindex: words.length ? -1 : 0, on: { click: () => play(from), keydown: walk } }, text.trim());
    words.push({ made, from, to });
    return made;
  }

  function walk(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const at = words.findIndex(({ made }) => made === event.target);
    const next = event.key === "Home" ? words[0] : event.key === "End" ? words.at(-1) : words[at + step];
    if (!next) return;
    event.preventDefault();
    event.target.tabIndex = -1;
    next.made.tabIndex = 0;
    next.made.focus();
  }

  return {
    element: el("div", { class: "transcript", role: "group", "aria-label": "Words: Enter plays, arrow keys walk" }, lines),
    follow(audio) {
      audio.addEventListener("timeupdate", () => {
        const at = audio.currentTime;
        for (const { made, from, to } of words) made.classList.toggle("spoken", !audio.paused && from <= at && at < to);
      });
    },
  };
}
