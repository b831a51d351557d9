// Elements from plain values: text becomes text nodes, never markup.

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/**
 * Return a new element. `props`: `class`, `on` (event → listener), `data`, `style` (custom properties and the like);
 * true and null set and leave out an attribute, anything else is its value. Children are nodes, text, or null.
 */
export function el(tag, props = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") made.className = value;
    else if (name === "on") for (const [kind, heard] of Object.entries(value)) made.addEventListener(kind, heard);
    else if (name === "data") Object.assign(made.dataset, value);
    else if (name === "style") for (const [key, one] of Object.entries(value)) made.style.setProperty(key, one);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** Replace what an element holds. */
export function fill(parent, ...children) {
  parent.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
}

/** Set an element's text, only if it changed: a screen reader would read it again. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Bring the children of `parent` in line with `items`, by `key`, so that rows keep their focus. `make` returns an
 * element with a function `update(item)`.
 */
export function keyed(parent, items, key, make) {
  const had = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let at = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let row = had.get(name);
    if (!row) {
      row = make(item);
      row.dataset.key = name;
    }
    had.delete(name);
    row.update?.(item);
    if (row === at) at = at.nextElementSibling;
    else parent.insertBefore(row, at);
  }
  for (const gone of had.values()) gone.remove();
}
