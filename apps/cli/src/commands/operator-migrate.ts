/** `heddle operator migrate`: moves a mesh between a data directory and etcd, every record with its indexes. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { readEncryptionKeys, requireSealing, sealRecords } from "@heddle/ca";
import { silentLog } from "@heddle/daemon";
import { type EtcdSettings, openStore, readStoreOptions, type Store, type StoredRecord } from "@heddle/store";
import { attempt, command, CommandError, refuseExtra } from "../command.ts";
import { flag } from "../flags.ts";
import { columns } from "../output.ts";
import type { Terminal } from "../terminal.ts";

const STORES = ["catalog", "ca"];

const flags = {
  from: flag.text("sqlite:DIR, or etcd://HOST:PORT,…/PREFIX (etcds: with TLS)."),
  to: flag.text("The same for where everything goes."),
  force: flag.boolean("Replace what is there already."),
  "ca-encryption-key": flag.text(
    "Where the key is that encrypts the CA's keys: file:PATH or env:NAME; a must for etcd.",
  ),
  "store-ca-file": flag.text("CA certificates of etcd (PEM)."),
  "store-cert-file": flag.text("Certificate to show to etcd (PEM)."),
  "store-key-file": flag.text("Its key (PEM)."),
  "store-user": flag.text("User of etcd's own authentication."),
  "store-password-file": flag.text("File with that user's password."),
};

export const migrate = command({
  usage: "operator migrate -from=STORE -to=STORE [options]",
  about: `Copies everything that the servers keep, the catalog and the certificate
authority, from a data directory to etcd or back, and checks it by counting and
hashing. No server may run on either. Indexes go on from where they were: a
client of the old place that comes to the new one is not confused.

    $ heddle operator migrate -from=sqlite:/var/lib/heddle \\
        -to=etcds://etcd1,etcd2,etcd3/mesh -store-ca-file=etcd-ca.pem \\
        -ca-encryption-key=file:ca.key`,
  flags,
  async run({ args, flags: given, terminal }) {
    refuseExtra(args, 0);
    const [from, to] = [toPlace("from", given.from, given), toPlace("to", given.to, given)];
    const { env } = terminal;
    const readFile = (path: string) => readFileSync(path, "utf8");
    const keys = readEncryptionKeys(given["ca-encryption-key"], { env, readFile });
    requireSealing(to.etcd, keys);
    for (const name of STORES) {
      await using source = await open(from, name, "read");
      await using target = await open(to, name, "write");
      await attempt(`Error migrating ${name}`, copy({ name, source, target, keys, isForced: given.force, terminal }));
    }
    terminal.out(
      `Everything is in ${given.to}. Start the servers there; what is in ${given.from} was left as it is.\n`,
    );
  },
});

interface Place {
  text: string;
  dir: string;
  etcd: EtcdSettings | undefined;
}

function toPlace(name: string, text: string, given: Record<string, unknown>): Place {
  const [, dir] = /^sqlite:(?:\/\/)?(.+)$/.exec(text) ?? [];
  if (dir) return { text, dir, etcd: undefined };
  if (!/^etcds?:/.test(text))
    throw new CommandError(`-${name}: invalid value '${text}': want sqlite:DIR or etcd://HOST:PORT,…/PREFIX`);
  const option = (key: string) => (typeof given[key] === "string" ? given[key] : "");
  const etcd = readStoreOptions({
    ...{ store: text, storeCaFile: option("store-ca-file"), storeCertFile: option("store-cert-file") },
    ...{ storeKeyFile: option("store-key-file"), storeUser: option("store-user") },
    storePasswordFile: option("store-password-file"),
  });
  return { text, dir: "", etcd };
}

async function open({ text, dir, etcd }: Place, name: string, how: "read" | "write"): Promise<Store> {
  if (!etcd && how === "read" && !existsSync(join(dir, `${name}.db`)))
    throw new CommandError(`there is no ${name}.db in ${dir}: is it a server's data directory?`);
  const store = await openStore({ dataDir: dir, etcd, name, log: silentLog });
  const self = { id: "migrate", name: "heddle operator migrate", address: "", version: "", startedAt: Date.now() };
  const others = (await store.join(self)).servers().filter(({ id }) => id !== self.id);
  if (others.length === 0) return store;
  await store.close();
  throw new CommandError(
    `${others.map((server) => server.name).join(", ")} still runs on ${text}: stop every server first (or wait 5 s for one that was killed)`,
  );
}

interface Copy {
  name: string;
  source: Store;
  target: Store;
  keys: readonly Buffer[];
  isForced: boolean;
  terminal: Terminal;
}

async function copy({ name, source, target, keys, isForced, terminal }: Copy): Promise<void> {
  const there = target.snapshot().records.length;
  if (there > 0 && !isForced)
    throw new CommandError(`there are ${there} records of the ${name} already: -force replaces them`);
  const { revision, records } = source.snapshot();
  const moved = name === "ca" ? sealRecords(records, keys) : records;
  await target.restore(moved, revision);
  const [sent, arrived] = [moved, target.snapshot().records].map(summary);
  if (sent?.hash !== arrived?.hash)
    throw new CommandError(
      `what arrived is not what was sent: ${arrived?.count} records with hash ${arrived?.hash}, not ${sent?.count} with ${sent?.hash}`,
    );
  const rows = [...(arrived?.tables ?? [])].map(([table, count]) => [name, table, String(count)]);
  terminal.out(columns([["Store", "Table", "Records"], ...rows]));
  terminal.out(`${name}: ${arrived?.count} records to index ${revision}, sha256 ${arrived?.hash} on both sides\n\n`);
}

function summary(records: readonly StoredRecord[]) {
  const hash = createHash("sha256");
  const tables = new Map<string, number>();
  const lines = records.map(({ table, key, value, createIndex, modifyIndex }) => {
    tables.set(table, (tables.get(table) ?? 0) + 1);
    return JSON.stringify([table, key, createIndex, modifyIndex, value]);
  });
  for (const line of lines.toSorted((a, b) => (a < b ? -1 : 1))) hash.update(`${line}\n`);
  return {
    count: records.length,
    tables: [...tables].toSorted(([a], [b]) => (a < b ? -1 : 1)),
    hash: hash.digest("hex").slice(0, 32),
  };
}
