/** /v1/kv: configuration as keys and values. */
import { type ApiRequest, type ApiTable, readBody, refusal, reply, TooLargeError } from "@heddle/daemon";
import type { Question } from "../answers.ts";
import { read, type Ask } from "../blocking.ts";
import { deleteKey, deleteTree, putKey } from "../commands/kv.ts";
import type { CatalogDeps } from "../deps.ts";
import { KV, type KvRecord } from "../records.ts";
import { encodeKv } from "../views.ts";

/** The longest key there is. */
export const MAX_KEY_BYTES = 512; // longer keys are refused: their prefixes are what watches are kept by

export function kvQuestions({ state }: CatalogDeps): Record<string, Ask> {
  const { store, topics } = state;
  const underPrefix = (prefix: string) => store.list<KvRecord>(KV, prefix);
  const prefixTopic = (prefix: string) =>
    topics.prefixTopic(prefix, () => underPrefix(prefix).reduce((newest, r) => Math.max(newest, r.modifyIndex), 0));

  return {
    "/v1/kv/": ({ query, rest: key }): Question => {
      // Nothing of that name can come to be: nothing is kept to wait for it.
      if (Buffer.byteLength(key) > MAX_KEY_BYTES)
        return { key: "kv-too-long", topics: [], compute: () => undefined, keep: false };
      if (query.has("keys")) {
        const separator = query.get("separator") ?? "";
        return {
          key: `kv-keys ${separator} ${key}`,
          topics: [prefixTopic(key)],
          compute: () => {
            const keys = underPrefix(key).map((r) => r.key);
            // The root is always there, if only as an empty list.
            return keys.length === 0 && key !== "" ? undefined : listKeys(keys, key, separator);
          },
        };
      }
      if (query.has("recurse")) {
        return {
          key: `kv-tree ${key}`,
          topics: [prefixTopic(key)],
          compute: () => underPrefix(key),
          encode: (records) => encodeList(records as ReturnType<typeof underPrefix>),
        };
      }
      if (key === "") throw refusal(400, "Missing key name");
      const topic = topics.keyTopic(key, store.get(KV, key)?.modifyIndex ?? 0);
      const raw = query.has("raw");
      return {
        key: `${raw ? "kv-raw" : "kv"} ${key}`,
        topics: [topic],
        isBytes: raw,
        compute: () => store.get<KvRecord>(KV, key),
        encode: (record) =>
          raw
            ? encodeRaw(record as ReturnType<typeof store.get<KvRecord>>)
            : encodeList(record ? [record as never] : []),
      };
    },
  };
}

type KvRecords = ReturnType<CatalogDeps["state"]["store"]["list"]>;

function encodeList(records: KvRecords) {
  if (records.length === 0) return { status: 404, body: Buffer.alloc(0) };
  return { status: 200, body: Buffer.from(`[${(records as never[]).map(encodeKv).join(",")}]`) };
}

// Bytes that somebody stored must not run as a page of ours, whatever they hold (CVE-2020-25864).
const RAW_HEADERS = {
  "Content-Type": "text/plain",
  "Content-Security-Policy": "sandbox",
};

function encodeRaw(record: { value: KvRecord } | undefined) {
  if (!record) return { status: 404, body: Buffer.alloc(0) };
  return { status: 200, body: Buffer.from(record.value.Value ?? "", "base64"), headers: RAW_HEADERS };
}

/** Keys under a prefix; with a separator, folded at its first appearance after the prefix, as a folder listing. */
export function listKeys(keys: string[], prefix: string, separator: string): string[] {
  if (separator === "") return keys;
  const folded: string[] = [];
  for (const key of keys) {
    const at = key.indexOf(separator, prefix.length);
    const name = at < 0 ? key : key.slice(0, at + separator.length);
    if (folded.at(-1) !== name) folded.push(name);
  }
  return folded;
}

export function kvTable(deps: CatalogDeps): ApiTable {
  const { state, limits } = deps;
  const ask = kvQuestions(deps)["/v1/kv/"] as Ask;
  return {
    "/v1/kv/": {
      GET: read(state, ask, { consistency: false }),
      PUT: async (request) => {
        const { query } = request;
        const key = keyOf(request);
        refuseConflicts(query, ["acquire", "release"], ["cas", "acquire"], ["cas", "release"]);
        const flags = unsigned(query.get("flags") ?? "0");
        const cas = query.has("cas") ? unsigned(query.get("cas") ?? "") : undefined;
        const value = await readBody(request.req, limits.kvMaxValueSize, (limit) => tooLarge(request, limit));
        const acquire = query.get("acquire") ?? undefined;
        const release = query.get("release") ?? undefined;
        const put = putKey({
          key,
          value,
          flags,
          ...(cas !== undefined && { cas }),
          ...(acquire !== undefined && { acquire }),
          ...(release !== undefined && { release }),
        });
        const { result } = await state.store.run((view) => {
          // The key is read first: a server that has not heard of the delay has not heard of the key's release either.
          if (acquire === undefined || (view.get(KV, key), !deps.lockDelays.isDelayed(key))) return put(view);
          return { writes: [], result: false };
        });
        reply(request, result);
      },
      DELETE: async (request) => {
        const { query } = request;
        refuseConflicts(query, ["cas", "recurse"]);
        if (query.has("recurse")) return reply(request, (await state.store.run(deleteTree(request.rest))).result);
        const cas = query.has("cas") ? unsigned(query.get("cas") ?? "") : undefined;
        reply(request, (await state.store.run(deleteKey(keyOf(request), cas))).result);
      },
    },
  };
}

function keyOf({ rest }: ApiRequest): string {
  if (rest === "") throw refusal(400, "Missing key name");
  if (Buffer.byteLength(rest) > MAX_KEY_BYTES)
    throw refusal(400, `key is ${Buffer.byteLength(rest)} bytes long: the limit is ${MAX_KEY_BYTES}`);
  return rest;
}

function tooLarge({ req }: ApiRequest, limit: number): TooLargeError {
  const size = req.headers["content-length"];
  return new TooLargeError(
    `Request body${size === undefined ? "" : `(${size} bytes)`} too large, max size: ${limit} bytes. See https://www.consul.io/docs/agent/options.html#kv_max_value_size.`,
  );
}

function refuseConflicts(query: URLSearchParams, ...pairs: [string, string][]): void {
  for (const pair of pairs) {
    if (!pair.every((name) => query.has(name))) continue;
    const all = new URLSearchParams(query);
    all.sort();
    throw refusal(400, `Conflicting flags: ${all.toString()}`);
  }
}

const MAX_UINT64 = 2n ** 64n - 1n;

// The words of Go's strconv, which is what clients have seen.
function unsigned(text: string): string {
  if (!/^\d+$/.test(text)) throw refusal(500, `strconv.ParseUint: parsing ${JSON.stringify(text)}: invalid syntax`);
  if (text.length > 20 || BigInt(text) > MAX_UINT64)
    throw refusal(500, `strconv.ParseUint: parsing ${JSON.stringify(text.slice(0, 64))}: value out of range`);
  return BigInt(text).toString();
}
