/** A node's id: kept in the data directory, so that a node that comes back under another name is known again. */
import { randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { UnavailableError } from "@heddle/daemon";

export function nodeId(dataDir: string): string {
  if (dataDir === "") return randomUUID();
  const file = join(dataDir, "node-id");
  try {
    const known = readFileSync(file, "utf8").trim();
    if (known !== "") return known;
  } catch {
    // Not there yet: this is the first start.
  }
  const id = randomUUID();
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    writeFileSync(file, `${id}\n`, { mode: 0o600 });
  } catch (cause) {
    throw new UnavailableError(
      `cannot write the data directory ${dataDir}: check that it exists and that this user may write there`,
      { cause },
    );
  }
  return id;
}
