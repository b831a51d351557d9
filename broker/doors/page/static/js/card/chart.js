// One box's chart: memory over time, the models that lie in it, and below that the batches of each stage.
import { bytes } from "../core/format.js";
import { STAGES, stageOf } from "../core/stages.js";
import { batches, changes, memory, stays } from "./turns.js";

const ROW = 18; // height of a stage's row of batches, CSS pixels
const ROWS = ROW * STAGES.length + 8;
const HEIGHT = 250;

/** Return a chart in `parent`: `draw(box)` with `{events, told, now, window_s}`, `resize()`, `destroy()`. */
export function chart(parent, readout) {
  let box = null;
  let ink = colours();
  const plot = new uPlot(options(parent.clientWidth), [[], []], parent); // of vendor/uPlot.iife.min.js

  function options(width) {
    const axis = { stroke: () => ink.muted, grid: { stroke: () => ink.line, width: 1 }, ticks: { show: false } };
    const font = "12px system-ui, sans-serif";
    return {
      width, height: HEIGHT, legend: { show: false }, padding: [8, 22, 0, 0],
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      scales: {
        x: { time: false, range: () => (box ? [box.now - box.window_s, box.now] : [0, 1]) },
        y: { range: () => [-top() * (ROWS / (HEIGHT - ROWS - 40)), top()] },
      },
      axes: [
        { ...axis, font, size: 26, splits: (u, _, from, to) => steps(from, to), values: (u, at) => at.map(ago) },
        { ...axis, font, size: 62, splits: () => [0, top() / 2, top()], values: (u, at) => at.map((n) => bytes(n)) },
      ],
      series: [{}, { stroke: () => ink.ink, width: 1.5, points: { show: false } }],
      hooks: { drawAxes: [under], draw: [over], setCursor: [point] },
    };
  }

  /** The top of the axis: the budget is in sight unless it is several times what was ever used. */
  const top = () => {
    const [budget, used] = [box?.told?.budget_bytes ?? 0, Math.max(1, ...(box?.peaks ?? []))];
    return 1.06 * (budget > 4 * used ? 1.25 * used : Math.max(budget, used));
  };
  const ago = (at) => (Math.abs(box.now - at) < 0.5 ? "now" : `−${Math.round(box.now - at)} s`);
  const steps = (from, to) => {
    const step = { 60: 15, 300: 60, 900: 180 }[Math.round(to - from)] ?? (to - from) / 5;
    return Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, i) => to - i * step).reverse();
  };

  // -- on the canvas, in its own pixels

  function under(u) {
    const { ctx, bbox } = u;
    ctx.save();
    clip(ctx, bbox);
    const zero = u.valToPos(0, "y", true);
    const own = Math.min(...box.memory[1], Infinity); // what the process takes without a model
    ctx.fillStyle = ink.line;
    if (own < Infinity) ctx.fillRect(bbox.left, u.valToPos(own, "y", true), bbox.width, zero - u.valToPos(own, "y", true));
    const below = new Map(); // what lies under a stay: stages that came before it in the order of the chain
    for (const stay of [...box.stays].sort((a, b) => order(a) - order(b))) {
      const [left, right] = span(u, stay.from, stay.to ?? box.now);
      const floor = [...below.values()].filter((one) => one.right > left && one.left < right)
        .reduce((sum, one) => sum + one.bytes, own < Infinity ? own : 0);
      const high = stay.bytes || Math.max(0, (box.told?.allocated_bytes ?? 0) - floor);
      below.set(stay, { left, right, bytes: high });
      const y = u.valToPos(floor + high, "y", true);
      paint(ctx, stay.stage, left, y, right - left, u.valToPos(floor, "y", true) - y, 0.3);
      if (right - left > 18 * ratio()) letter(ctx, stay.stage, left + 4 * ratio(), y + 13 * ratio());
    }
    if (box.told?.budget_bytes) {
      line(ctx, ink.muted, [5, 4], bbox.left, u.valToPos(box.told.budget_bytes, "y", true), bbox.left + bbox.width);
    }
    line(ctx, ink.muted, [], bbox.left, zero, bbox.left + bbox.width);
    ctx.restore();
  }

  function over(u) {
    const { ctx, bbox } = u;
    ctx.save();
    clip(ctx, bbox);
    const first = u.valToPos(0, "y", true) + 6 * ratio();
    for (const one of box.batches) {
      const row = first + order(one) * ROW * ratio();
      const [left, right] = span(u, one.computed, one.to);
      paint(ctx, one.stage, left, row, Math.max(3 * ratio(), right - left), (ROW - 3) * ratio(), 1);
      if (one.size > 1 && right - left > 16 * ratio()) number(ctx, one, left + 3 * ratio(), row + 11 * ratio());
    }
    for (const one of box.changes) mark(ctx, u, one);
    ctx.restore();
  }

  function mark(ctx, u, { kind, stage, at }) {
    const x = Math.round(u.valToPos(at, "x", true));
    const y = u.bbox.top + (kind === "unload" ? 19 : 7) * ratio();
    const size = 5 * ratio();
    if (kind === "load") line(ctx, ink[stage] ?? ink.muted, [2, 3], x, y, x, u.valToPos(0, "y", true));
    ctx.fillStyle = kind === "oom" ? ink.bad : ink[stage] ?? ink.ink;
    ctx.strokeStyle = ink.ink;
    ctx.lineWidth = ratio();
    ctx.beginPath(); // a load points up, an unload down, out of memory is a square
    if (kind === "oom") ctx.rect(x - size, y - size, 2 * size, 2 * size);
    else {
      const up = kind === "load" ? 1 : -1;
      ctx.moveTo(x - size, y + up * size);
      ctx.lineTo(x + size, y + up * size);
      ctx.lineTo(x, y - up * size);
      ctx.closePath();
    }
    ctx.fill();
    ctx.stroke();
  }

  function paint(ctx, stage, x, y, width, height, alpha) {
    ctx.globalAlpha = alpha;
    ctx.fillStyle = ink[stage] ?? ink.muted;
    ctx.fillRect(x, y, width, height);
    const pattern = alpha === 1 && patternOf(ctx, stageOf(stage).pattern);
    if (pattern) {
      ctx.fillStyle = pattern;
      ctx.fillRect(x, y, width, height);
    }
    ctx.globalAlpha = 1;
  }

  function patternOf(ctx, kind) {
    if (kind === "plain") return null;
    const tile = document.createElement("canvas");
    tile.width = tile.height = 6 * ratio();
    const pen = tile.getContext("2d");
    pen.fillStyle = pen.strokeStyle = ink.panel;
    pen.globalAlpha = 0.45;
    pen.lineWidth = 1.5 * ratio();
    if (kind === "hatched") {
      for (const shift of [-1, 0, 1]) {
        pen.moveTo(shift * tile.width, tile.height);
        pen.lineTo((shift + 1) * tile.width, 0);
      }
      pen.stroke();
    } else pen.fillRect(tile.width / 3, tile.width / 3, tile.width / 3, tile.width / 3);
    return ctx.createPattern(tile, "repeat");
  }

  function letter(ctx, stage, x, y) {
    ctx.fillStyle = ink.ink;
    ctx.textAlign = "left";
    ctx.font = `600 ${11 * ratio()}px system-ui, sans-serif`;
    ctx.fillText(stageOf(stage).letter, x, y);
  }

  function number(ctx, { size, stage }, x, y) {
    ctx.fillStyle = ink[`${stage}-ink`] ?? ink.panel;
    ctx.textAlign = "left";
    ctx.font = `600 ${10 * ratio()}px system-ui, sans-serif`;
    ctx.fillText(`×${size}`, x, y);
  }

  /** Tell what lies under the pointer. */
  function point(u) {
    if (!box || u.cursor.left < 0) return readout(null);
    const at = u.posToVal(u.cursor.left, "x");
    const near = (box.window_s / Math.max(1, u.width)) * 8;
    const found = box.events.filter((one) => at > one.at - (one.seconds ?? 0) - near && at < one.at + near).at(-1);
    return readout(found ?? null);
  }

  return {
    draw(next) {
      const { events, told, now } = next;
      box = { ...next, stays: stays(events, told?.resident), batches: batches(events), changes: changes(events),
        memory: memory(events, now, told?.allocated_bytes) };
      box.peaks = box.batches.map((one) => one.peak).concat(box.memory[1]);
      plot.setData(box.memory);
    },
    recolour() {
      ink = colours();
      plot.redraw();
    },
    resize: () => parent.clientWidth && plot.setSize({ width: parent.clientWidth, height: HEIGHT }),
    destroy: () => plot.destroy(),
  };
}

const ratio = () => uPlot.pxRatio;
const order = (one) => Math.max(0, STAGES.findIndex((stage) => stage.id === one.stage));
const span = (u, from, to) => [from, to].map((at) =>
  Math.min(u.bbox.left + u.bbox.width, Math.max(u.bbox.left - 9, u.valToPos(at, "x", true))));

function clip(ctx, { left, top, width, height }) {
  ctx.beginPath();
  ctx.rect(left, top, width, height);
  ctx.clip();
}

function line(ctx, stroke, dash, left, y, right, bottom = y) {
  ctx.strokeStyle = stroke;
  ctx.lineWidth = ratio();
  ctx.setLineDash(dash.map((n) => n * ratio()));
  ctx.beginPath();
  ctx.moveTo(left, y);
  ctx.lineTo(right, bottom);
  ctx.stroke();
  ctx.setLineDash([]);
}

/** The colours of the style sheet, which a canvas cannot read by itself. */
function colours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["ink", "muted", "line", "panel", "bad", ...STAGES.flatMap(({ id }) => [id, `${id}-ink`])];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}
