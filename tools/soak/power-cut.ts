/**
 * DUR-02 and DUR-10, by hand: a catalog writes its database under strace, one acknowledged write after the other. From the trace images are
 * made of what the disk would hold had the power gone at any moment: what was synced, and of what was written since any part, torn in
 * sectors. Each image has to open, to be whole, and to hold every write that was acknowledged by then; and no answer may have gone out
 * before its sync. About two minutes; the status is 1 where that is not so.
 *
 *     node tools/soak/power-cut.ts [writes] [images] [seed]      # 1000 50
 */
import { spawn } from "node:child_process";
import { createReadStream, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { DatabaseSync } from "node:sqlite";
import { createApiClient } from "@heddle/api-client";
import { silentLog } from "@heddle/daemon";
import { openStore } from "@heddle/store";
import { until } from "./support.ts";

const PORT = 18_750;
const SECTOR = 512;
const [writes = 1_000, images = 50, seed = Date.now() % 2 ** 31] = process.argv.slice(2).map(Number);
const ROOT = join(import.meta.dirname, "../..");

/** What happened to a file, or an answer that went out. */
type Event =
  | { what: "answer" | "sync folder" }
  | { what: "sync" | "unlink"; file: string }
  | { what: "truncate"; file: string; length: number }
  | { what: "write"; file: string; at: number; bytes: Buffer };

const dir = mkdtempSync(join(tmpdir(), "heddle-power-"));
const trace = join(dir, "trace");

async function record(): Promise<void> {
  const calls = "trace=openat,close,dup,pwrite64,write,writev,fdatasync,fsync,ftruncate,unlink,sendto,sendmsg";
  const strace = ["-f", "-y", "-xx", "-s", "70000", "-e", calls, "-e", "signal=none", "-o", trace];
  const node = join(ROOT, "node_modules/node/bin/node");
  const catalog = [
    join(ROOT, "apps/cli/src/main.ts"),
    "serve",
    "catalog",
    `-port=${PORT}`,
    `-data-dir=${join(dir, "data")}`,
  ];
  const own = [
    "setpriv",
    "--pdeathsig",
    "KILL",
    "--",
    node,
    ...catalog,
    "-ca-url=http://127.0.0.1:1",
    "-log-level=err",
  ];
  const child = spawn("strace", [...strace, ...own], { stdio: "ignore" });
  const api = createApiClient({ address: `127.0.0.1:${PORT}` });
  await until(() => api.get("/v1/status/leader"));
  for (let i = 0; i < writes; i++) await api.put(`/v1/kv/w${i}`, { body: `value ${i} ${"x".repeat(i % 700)}` });
  api.close();
  const gone = new Promise((resolve) => child.once("exit", resolve));
  // The catalog ends with strace, by its own wish.
  child.kill("SIGKILL");
  await gone;
}

const unhex = (text: string): Buffer => Buffer.from(text.replaceAll("\\x", ""), "hex");
const DATABASE = /catalog\.db(?:-wal|-journal)?$/;
/** `12 pwrite64(23</data/catalog.db-wal>, "\x37…", 4096, 32) = 4096`, with other calls' lines between its two halves. */
const CALL = /^\d+ +(\w+)\((.*)\) += (-?\d+)/s;

async function read(): Promise<Event[]> {
  const events: Event[] = [];
  const begun = new Map<string, string>();
  for await (const line of createInterface({ input: createReadStream(trace, "latin1") })) {
    const [, pid = ""] = /^(\d+) /.exec(line) ?? [];
    if (line.endsWith("<unfinished ...>")) {
      begun.set(pid, line.slice(0, -"<unfinished ...>".length).trimEnd());
      continue;
    }
    const resumed = /^\d+ +<\.\.\. \w+ resumed>(.*)$/s.exec(line);
    const whole = resumed ? `${begun.get(pid) ?? ""}${resumed[1]}` : line;
    const [, name = "", args = "", result = "-1"] = CALL.exec(whole) ?? [];
    const event = Number(result) < 0 ? undefined : toEvent(name, args);
    if (event) events.push(event);
  }
  return events;
}

function toEvent(name: string, args: string): Event | undefined {
  const [, hex = ""] = /^\d+<((?:\\x[0-9a-f]{2}|[^>])*)>/.exec(args) ?? [];
  const path = hex.includes("\\x") ? unhex(hex).toString() : hex;
  if (name === "unlink") {
    const file = unhex(/"([^"]*)"/.exec(args)?.[1] ?? "").toString();
    return DATABASE.test(file) ? { what: "unlink", file: basename(file) } : undefined;
  }
  const isSync = name === "fdatasync" || name === "fsync";
  if (isSync && path === join(dir, "data")) return { what: "sync folder" };
  if (!DATABASE.test(path)) {
    // The answer to a write, on its socket: HTTP's head, and "true".
    const said = /^(?:write|writev|sendto|sendmsg)$/.test(name) && path.startsWith("socket:") ? unhexAll(args) : "";
    return said.startsWith("HTTP/1.1 200") && said.trimEnd().endsWith("true") ? { what: "answer" } : undefined;
  }
  const file = basename(path);
  if (isSync) return { what: "sync", file };
  if (name === "ftruncate") return { what: "truncate", file, length: Number(/, (\d+)$/.exec(args)?.[1]) };
  const written = name === "pwrite64" && /, "((?:\\x[0-9a-f]{2})*)", \d+, (\d+)$/.exec(args);
  return written ? { what: "write", file, at: Number(written[2]), bytes: unhex(written[1] ?? "") } : undefined;
}

const unhexAll = (args: string): string =>
  [...args.matchAll(/"((?:\\x[0-9a-f]{2})*)"/g)].map(([, hex = ""]) => unhex(hex).toString("latin1")).join("");

/** The same numbers for the same seed (mulberry32). */
let state = seed >>> 0;
function random(): number {
  state = (state + 0x6d2b79f5) >>> 0;
  let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
}

class Disk {
  readonly files = new Map<string, Buffer>();
  #pending: Extract<Event, { file: string }>[] = [];

  take(event: Event): void {
    if (event.what === "answer") return;
    if (event.what === "sync folder") {
      // From now on what was removed is gone, with all that was written into it.
      const gone = new Set(this.#pending.flatMap(({ what, file }) => (what === "unlink" ? [file] : [])));
      for (const file of gone) this.files.delete(file);
      this.#pending = this.#pending.filter(({ file }) => !gone.has(file));
      return;
    }
    if (!("file" in event)) return;
    if (event.what !== "sync") return void this.#pending.push(event);
    for (const one of this.#pending) if (one.file === event.file) this.#apply(one);
    this.#pending = this.#pending.filter(({ file }) => file !== event.file);
  }

  /** The power goes: of what was not synced some sectors are there, and others not. */
  cut(): void {
    for (const one of this.#pending) {
      if (one.what !== "write") {
        if (random() < 0.5) this.#apply(one);
        continue;
      }
      for (let at = 0; at < one.bytes.length; at += SECTOR)
        if (random() < 0.5) this.#apply({ ...one, at: one.at + at, bytes: one.bytes.subarray(at, at + SECTOR) });
    }
  }

  #apply(event: Extract<Event, { file: string }>): void {
    const before = this.files.get(event.file) ?? Buffer.alloc(0);
    if (event.what === "unlink") this.files.delete(event.file);
    else if (event.what === "truncate") {
      const next = Buffer.alloc(event.length);
      before.copy(next);
      this.files.set(event.file, next);
    } else if (event.what === "write") {
      const end = event.at + event.bytes.length;
      const next = before.length >= end ? before : Buffer.concat([before, Buffer.alloc(end - before.length)]);
      event.bytes.copy(next, event.at);
      this.files.set(event.file, next);
    }
  }
}

/** How many acknowledged writes an image has lost; -1 where it does not open, or is not whole. */
async function lost(disk: Disk, acknowledged: number, number: number): Promise<number> {
  const place = join(dir, `image-${number}`);
  mkdirSync(place);
  for (const [file, bytes] of disk.files) writeFileSync(join(place, file), bytes);
  try {
    await using store = await openStore({ dataDir: place, etcd: undefined, name: "catalog", log: silentLog });
    let gone = 0;
    for (let i = 0; i < acknowledged; i++) if (!store.get("kv", `w${i}`)) gone++;
    await store.close();
    const database = new DatabaseSync(join(place, "catalog.db"));
    const [check] = database.prepare("PRAGMA integrity_check").all() as { integrity_check: string }[];
    database.close();
    return check?.integrity_check === "ok" ? gone : -1;
  } catch (error) {
    console.log(`image ${number}: ${(error as Error).message}`);
    return -1;
  } finally {
    rmSync(place, { recursive: true });
  }
}

let isMet = false;
try {
  await record();
  const events = await read();
  const answers = events.filter(({ what }) => what === "answer").length;
  // DUR-10: between two answers there is a sync of the log.
  let isSynced = false;
  let early = 0;
  for (const { what } of events) {
    if (what === "sync") isSynced = true;
    if (what !== "answer") continue;
    if (!isSynced) early++;
    isSynced = false;
  }
  console.log(
    `DUR-10 ${early === 0 && answers === writes ? "met" : "NOT MET"}: ${answers} answers to ${writes} writes, ${early} of them before their sync`,
  );
  // DUR-02: from the first answer on, for the file is made before.
  const first = events.findIndex(({ what }) => what === "answer");
  const cuts = Array.from({ length: images }, () => first + Math.floor(random() * (events.length - first)));
  let [broken, gone] = [0, 0];
  for (const [number, at] of cuts.entries()) {
    const disk = new Disk();
    let acknowledged = 0;
    for (const event of events.slice(0, at)) {
      disk.take(event);
      if (event.what === "answer") acknowledged++;
    }
    disk.cut();
    const missing = await lost(disk, acknowledged, number);
    if (missing < 0) broken++;
    else gone += missing;
  }
  isMet = early === 0 && answers === writes && broken === 0 && gone === 0;
  console.log(
    `DUR-02 ${broken === 0 && gone === 0 ? "met" : "NOT MET"}: ${images} images of ${events.length} events (seed ${seed}): ${broken} do not open or are not whole, ${gone} acknowledged writes lost`,
  );
} finally {
  rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
}
process.exit(isMet ? 0 : 1);
