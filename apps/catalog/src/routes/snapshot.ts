/** /v1/snapshot: everything the catalog holds, as one file, and back. */
import { createGzip } from "node:zlib";
import { pipeline, Readable } from "node:stream";
import { type ApiRequest, type ApiTable, describeError, InvalidArgumentError } from "@heddle/daemon";
import { type Ask, contactFields, read } from "../blocking.ts";
import type { CatalogDeps } from "../deps.ts";
import { RESTORES } from "../records.ts";

/** What agents follow: after a restore each brings back what is registered with it. */
export const snapshotQuestions = ({ state }: CatalogDeps): Record<string, Ask> => ({
  "/v1/internal/restored": () => ({
    key: "restored",
    topics: [RESTORES],
    compute: () => ({ Index: state.store.get(RESTORES, "latest")?.modifyIndex ?? 0 }),
  }),
});

export function snapshotTable(deps: CatalogDeps): ApiTable {
  const restored = snapshotQuestions(deps)["/v1/internal/restored"] as Ask;
  return {
    "/v1/internal/restored": { GET: read(deps.state, restored) },
    "/v1/snapshot": {
      GET: (request) => take(request, deps),
      PUT: (request) => restore(request, deps),
    },
  };
}

async function take({ res, query }: ApiRequest, { state, datacenter, log }: CatalogDeps): Promise<void> {
  // Everything that was acknowledged before is in it, whichever server took it.
  if (!query.has("stale")) await state.store.catchUp();
  const { writeSnapshot } = await import("@heddle/store/snapshot");
  const { revision, records } = state.store.snapshot();
  const bytes = writeSnapshot({ index: revision, datacenter, records, now: Date.now() });
  res.writeHead(200, {
    "Content-Type": "application/x-gzip",
    "X-Consul-Index": revision,
    ...contactFields(state.store),
    Vary: "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
  });
  pipeline(Readable.from(bytes), createGzip(), res, (error) => {
    if (error) log.debug("a snapshot was not taken to its end", { error: describeError(error) });
    else log.info("snapshot taken", { index: revision, records: records.length });
  });
}

const MAX_DISCARD_MS = 1_000; // for what still comes after a refusal, so that its caller reads it

async function restore({ req, res }: ApiRequest, { state, datacenter, log }: CatalogDeps): Promise<void> {
  const { readSnapshot } = await import("@heddle/store/snapshot");
  // The request itself must live on for the answer: what reads it may end early.
  const body = Readable.from(req.iterator({ destroyOnReturn: false }));
  const snapshot = await readSnapshot(body).catch((error: unknown) => {
    res.setHeader("Connection", "close");
    req.resume();
    setTimeout(() => req.complete || req.socket.destroy(), MAX_DISCARD_MS).unref();
    throw error;
  });
  if (snapshot.datacenter !== datacenter)
    throw new InvalidArgumentError(
      `the snapshot is of datacenter ${JSON.stringify(snapshot.datacenter)}, this is ${JSON.stringify(datacenter)}`,
      { status: 500 },
    );
  const latest = { table: RESTORES, key: "latest", value: { ID: snapshot.meta.ID } };
  const records = snapshot.records.filter((record) => record.table !== RESTORES);
  const { revision } = await state.store.restore(records, snapshot.index, [latest]);
  log.info("snapshot restored", { id: snapshot.meta.ID, records: snapshot.records.length, index: revision });
  res.writeHead(200, { "Content-Length": 0, Vary: "Accept-Encoding" }).end();
}
