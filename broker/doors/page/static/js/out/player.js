// Plays a recording and draws its waveform, with wavesurfer once it is needed.
import { byId } from "../core/dom.js";

const DRAWN_S = 900; // longer recordings take too much memory as samples: they are played without a waveform
const HEIGHT = 56;
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

/** Return a player in `parent` of a file: `play(at_s)`, `toggle()`, `on(kind, fn)`, `close()`. */
export async function player(parent, file, durationS) {
  const audio = byId("audio").content.firstElementChild.cloneNode(true);
  parent.append(audio);
  const wave = durationS <= DRAWN_S ? await waveform(parent, audio, file).catch(() => null) : null;
  const url = wave ? null : URL.createObjectURL(file); // wavesurfer makes and revokes its own
  if (url) audio.src = url;
  return {
    audio,
    play(at) {
      audio.currentTime = at;
      return audio.play();
    },
    close() {
      audio.pause();
      wave?.destroy();
      if (url) URL.revokeObjectURL(url);
      parent.replaceChildren();
    },
  };
}

async function waveform(parent, audio, file) {
  const { default: WaveSurfer } = await import("../../vendor/wavesurfer.esm.js");
  const style = getComputedStyle(document.documentElement);
  const [wave, played] = ["--muted", "--scribe"].map((name) => style.getPropertyValue(name).trim());
  const drawn = document.createElement("div");
  drawn.className = "wave";
  drawn.setAttribute("aria-hidden", "true");
  parent.prepend(drawn);
  template = "";
  let made;
  try {
    made = WaveSurfer.create({ container: drawn, media: audio, height: HEIGHT, barWidth: 2, barGap: 1, barRadius: 1,
      waveColor: wave, progressColor: played, cursorColor: played, cursorWidth: 2 });
    if (policy && template) {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(template);
      drawn.firstElementChild.shadowRoot.adoptedStyleSheets = [sheet];
    }
  } finally {
    template = null;
  }
  await made.loadBlob(file);
  return made;
}
