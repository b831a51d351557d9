// Plays a recording and draws its waveform, with wavesurfer once it is needed.
import { byId, el } from "../core/dom.js";

const DRAWN_S = 900; // longer recordings take too much memory as samples: they are played without a waveform
const HEIGHT = 56;
const RATE = 8000; // Hz: enough to draw, and half of what the Scribe hears
let template = null; // the style of wavesurfer's shadow tree while it is being made

/**
 * The page's one policy for markup from strings. Wavesurfer clears elements, and writes its template once when a player
 * is made. Its style goes into a sheet of its own, because the content security policy allows none inline.
 */
const policy = window.trustedTypes?.createPolicy("default", {
  createHTML: (text) => {
    if (text === "") return "";
    if (template === null) throw new TypeError("No markup is made from strings here.");
    return text.replace(/<style>([^]*?)<\/style>/, (_, style) => {
      template = style;
      return "";
    });
  },
});

/** Return a player in `parent` of a file: `audio`, `play(at_s)`, `close()`. The waveform comes when it is drawn. */
export function player(parent, file, durationS) {
  const url = URL.createObjectURL(file);
  const audio = byId("audio").content.firstElementChild.cloneNode(true);
  audio.src = url;
  parent.append(audio);
  const stop = new AbortController();
  if (durationS <= DRAWN_S) draw(parent, audio, file, stop.signal).catch(() => {}); // some formats play but do not decode
  return {
    audio,
    play(at) {
      audio.currentTime = at;
      return audio.play();
    },
    close() {
      stop.abort();
      audio.pause();
      URL.revokeObjectURL(url);
      parent.replaceChildren();
    },
  };
}

async function draw(parent, audio, file, signal) {
  const context = new OfflineAudioContext(1, 1, RATE);
  const sound = await context.decodeAudioData(await file.arrayBuffer());
  const { default: WaveSurfer } = await import("../../vendor/wavesurfer.esm.js");
  if (signal.aborted) return;
  const style = getComputedStyle(document.documentElement);
  const [wave, played] = ["--muted", "--scribe"].map((name) => style.getPropertyValue(name).trim());
  const drawn = el("div", { class: "wave", "aria-hidden": "true" });
  parent.prepend(drawn);
  template = "";
  try {
    // with peaks it fetches nothing, which the policy would not allow
    const made = WaveSurfer.create({ container: drawn, media: audio, height: HEIGHT, peaks: [sound.getChannelData(0)],
      duration: sound.duration, barWidth: 2, barGap: 1, barRadius: 1, waveColor: wave, progressColor: played,
      cursorColor: played, cursorWidth: 2 });
    signal.addEventListener("abort", () => made.destroy());
    if (policy && template) {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(template);
      drawn.firstElementChild.shadowRoot.adoptedStyleSheets = [sheet];
    }
  } finally {
    template = null;
  }
}
