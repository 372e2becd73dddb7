import { RAW_BODIES, mutations } from "./mutations.ts";
import type { Run } from "./run.ts";

/** A write, a body that is right, and the reads that show what became of it. */
export interface Write {
  readonly method: string;
  readonly path: string;
  readonly body: object;
  readonly reads: readonly string[];
}

/** Each write as it is, with bodies that are none, and with every field altered; read back where both took it. */
export async function everyMutation({ send, want }: Run, writes: Readonly<Record<string, Write>>): Promise<void> {
  for (const [name, { method, path, body, reads }] of Object.entries(writes)) {
    if (!want(name)) continue;
    await send(method, path, body);
    for (const raw of RAW_BODIES) await send(method, path, raw);
    for (const altered of variants(body)) {
      const [a, b] = await send(method, path, altered);
      if (a.status !== 200 || b.status !== 200) continue;
      for (const read of reads) await send("GET", read);
    }
  }
}

/** Of a list (a transaction), each operation is altered by itself. */
function variants(body: object): unknown[] {
  if (!Array.isArray(body)) return mutations(body);
  return body.flatMap((operation: object, index) => mutations(operation).map((altered) => body.with(index, altered)));
}
