// The recordings that this tab sent: kept in memory, so that words can be played without fetching them.

const MOST_BYTES = 256e6; // of all together; the oldest go first
const kept = new Map();

/** Keep the file of a job. */
export function keep(id, file) {
  kept.set(id, file);
  let total = [...kept.values()].reduce((sum, one) => sum + one.size, 0);
  for (const [old, one] of kept) {
    if (total <= MOST_BYTES || old === id) break;
    kept.delete(old);
    total -= one.size;
  }
}

/** The file of a job, if this tab has it. */
export const audioOf = (id) => kept.get(id) ?? null;
