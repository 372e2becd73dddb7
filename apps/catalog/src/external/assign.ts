/**
 * Which checker probes which node: each node goes to the checker with the highest hash of both names, so that one that comes or
 * goes moves its own share and no other's (rendezvous hashing, Thaler and Ravishankar 1998).
 */

/** The nodes of each checker. Without checkers nobody probes. */
export function assign(nodes: readonly string[], checkers: readonly string[]): Map<string, string[]> {
  const shares = new Map<string, string[]>(checkers.map((id) => [id, []]));
  for (const node of nodes) {
    let best: string | undefined;
    let highest = -1;
    for (const id of checkers) {
      const weight = hash(`${id}\0${node}`);
      if (weight > highest || (weight === highest && id > (best ?? ""))) [best, highest] = [id, weight];
    }
    if (best !== undefined) shares.get(best)?.push(node);
  }
  return shares;
}

/** FNV-1a, with MurmurHash3's finalizer: names that differ in their last letter are apart in all bits. */
function hash(text: string): number {
  let h = 0x81_1c_9d_c5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01_00_01_93);
  h = Math.imul(h ^ (h >>> 16), 0x85_eb_ca_6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2_b2_ae_35);
  return (h ^ (h >>> 16)) >>> 0;
}
