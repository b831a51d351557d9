// Files and folders: dropped anywhere on the page, or chosen.
import { byId, say } from "../core/dom.js";
import { count } from "../core/format.js";
import { sendFiles } from "./submit.js";

const SOUND = /\.(aac|aif|aiff|amr|caf|flac|m4a|m4b|mka|mkv|mov|mp3|mp4|mpga|oga|ogg|opus|wav|weba|webm|wma)$/i;

/** Of a folder's files, those that may hold sound. */
const ofFolder = (files) => files.filter(({ name, type }) =>
  !name.startsWith(".") && (SOUND.test(name) || /^(audio|video)\//.test(type)));

function take(files, folder) {
  const sound = folder ? ofFolder(files) : files;
  const left = files.length - sound.length;
  say(byId("drop-told"), left ? `${count(left, "file")} left out: no sound or video by their names.` : "");
  if (sound.length) sendFiles(sound);
}

/** All files below a dropped entry. */
async function below(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    file.path = entry.fullPath.slice(1);
    return [file];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) { // a reader gives at most 100 entries at once
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found;
    for (const one of some) found.push(...(await below(one)));
  }
}

async function dropped(event) {
  event.preventDefault();
  document.body.classList.remove("dragging");
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = [...event.dataTransfer.files];
  if (!entries.some((entry) => entry.isDirectory)) return take(files, false);
  try {
    return take((await Promise.all(entries.map(below))).flat(), true);
  } catch (error) {
    return say(byId("drop-told"), `The folder cannot be read: ${error.message}`);
  }
}

export function start() {
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      document.body.classList.add("dragging");
    });
  }
  document.addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dragging"));
  document.addEventListener("drop", (event) => event.dataTransfer?.types.includes("Files") && dropped(event));
  for (const [button, input, folder] of [["choose", "files", false], ["choose-folder", "folder", true]]) {
    byId(button).addEventListener("click", () => byId(input).click());
    byId(input).addEventListener("change", (event) => {
      take([...event.target.files], folder);
      event.target.value = "";
    });
  }
}
