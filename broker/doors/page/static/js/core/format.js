// Numbers as people read them: ages, durations, bytes and times of day.

/** Seconds as `0.4 s`, `12 s`, `3 min` or `2 h`; milliseconds below a tenth. */
export function duration(seconds) {
  if (seconds < 0.0995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 99.5) return `${Math.round(seconds)} s`;
  if (seconds < 5970) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

/** An age in whole units, which does not flicker. */
export const age = (seconds) => (seconds < 1 ? "now" : duration(Math.max(1, Math.floor(seconds))).replace(".0", ""));

/** Bytes in the units of the command line: MB of a million. */
export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (count >= 999.5 && at < units.length - 1) [count, at] = [count / 1000, at + 1];
  return `${at && count < 9.95 ? count.toFixed(1) : Math.round(count)} ${units[at]}`;
}

/** A place in a recording: `0:07`, `12:30`, `1:02:05`. */
export function place(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** Unix seconds as the time of day, 24 hours. */
export const clock = (at) => new Date(at * 1000).toLocaleTimeString("en-GB");

/** Unix seconds as date and time. */
export const moment = (at) => new Date(at * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });

/** A share as a whole per cent. */
export const percent = (share) => `${Math.round(share * 100)} %`;

/** `1 job`, `2 jobs`. */
export const count = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;
