// What a tab or a browser keeps; for the visit only, where the browser keeps nothing.

const fallback = new Map();

/** A name in `sessionStorage` or `localStorage`: `get()` (null if there is none), `set(value)`, `drop()`. */
export function stored(kind, name) {
  const safely = (act, otherwise) => {
    try {
      return act(window[kind]);
    } catch {
      return otherwise();
    }
  };
  return {
    get: () => safely((storage) => storage.getItem(name), () => fallback.get(name) ?? null),
    set: (value) => safely((storage) => storage.setItem(name, value), () => fallback.set(name, value)),
    drop: () => safely((storage) => storage.removeItem(name), () => fallback.delete(name)),
  };
}
