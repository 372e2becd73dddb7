import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { flags, problemsOf } from "./load-testing.ts";

describe("files on a disk", () => {
  const made: string[] = [];
  afterEach(() => {
    for (const path of made.splice(0)) rmSync(path, { recursive: true, force: true });
  });

  it("are read in the order of their names, without what lies deeper", () => {
    const dir = mkdtempSync(join(tmpdir(), "heddle-config-"));
    made.push(dir);
    writeFileSync(join(dir, "b.hcl"), 'node_name = "b"');
    writeFileSync(join(dir, "a.json"), '{"node_name":"a","retry_join":["a"]}');
    writeFileSync(join(dir, "B.json"), '{"node_name":"B","retry_join":["B"]}');
    writeFileSync(join(dir, "notes.txt"), "not read");
    mkdirSync(join(dir, "deeper.hcl"));
    expect(flags(`-config-dir=${dir}`)).toMatchObject({ nodeName: "b", retryJoin: ["B", "a"] });
    expect(flags(`-config-file=${dir}/a.json`).nodeName).toBe("a");
    expect(flags("-config-format=json", `-config-file=${dir}/a.json`).nodeName).toBe("a");
    symlinkSync(join(dir, "gone"), join(dir, "z.json"));
    expect(problemsOf(() => flags(`-config-dir=${dir}`))).toEqual([
      expect.stringMatching(/z\.json: cannot be read: ENOENT/),
    ]);
  });

  it("that are missing are named", () => {
    expect(problemsOf(() => flags("-config-dir=/no/such"))).toEqual([
      expect.stringMatching(/^\/no\/such: cannot be read: ENOENT/),
    ]);
  });
});
