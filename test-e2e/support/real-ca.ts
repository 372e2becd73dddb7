/**
 * The mesh's own CA in the hands of a test: only with its key can certificates be forged that are wrong in one way alone.
 * The key is read from a copy of the data directory, as one who is root on the server could; no API gives it away.
 */
import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { createTestMesh, type TestMesh } from "@heddle/tls/testing";

/** `scratch` is a folder for the copy. */
export async function readRealCa(dataDir: string, scratch: string): Promise<TestMesh> {
  const copy = join(scratch, "ca-copy");
  mkdirSync(copy);
  for (const name of ["ca.db", "ca.db-wal"])
    if (existsSync(join(dataDir, name))) copyFileSync(join(dataDir, name), join(copy, name));
  using db = new DatabaseSync(join(copy, "ca.db"));
  const rows = db.prepare("SELECT value FROM records WHERE tbl IN ('ca-keys', 'ca-roots')").all() as {
    value: string;
  }[];
  const { certPem = "", keyPem = "" } = Object.assign({}, ...rows.map((row) => JSON.parse(row.value) as object)) as {
    certPem?: string;
    keyPem?: string;
  };
  return createTestMesh({ root: { certPem, keyPem } });
}
