/** How often an agent syncs in full: as Consul's agents, less often the more of them there are. */

const BASE_MS = 60_000;
const SMALL_CLUSTER = 128; // up to here each agent syncs once a minute

/** One minute up to 128 nodes, one more for each doubling from there on. */
export function syncIntervalMs(nodes: number): number {
  return nodes <= SMALL_CLUSTER ? BASE_MS : BASE_MS * (Math.ceil(Math.log2(nodes) - Math.log2(SMALL_CLUSTER)) + 1);
}
