/** /v1/txn: several operations on keys, nodes, services and checks as one step (Consul's transactions). */
import {
  type ApiTable,
  type Decoded,
  decodeObject,
  HeddleError,
  parseExactBody,
  readBody,
  refusal,
  type Spec,
  TooLargeError,
} from "@heddle/daemon";
import { contactFields, mustCatchUp, prettify } from "../blocking.ts";
import { CHECK_FIELDS, SERVICE } from "../commands/registration-fields.ts";
import { type Operation, transact, transactRead, type TxnOutcome, type TxnResult } from "../commands/txn.ts";
import { checkOperation, nodeOperation, serviceOperation } from "../commands/txn-catalog.ts";
import { kvOperation } from "../commands/txn-kv.ts";
import type { CatalogDeps } from "../deps.ts";
import { requireOwnNode, type WrittenNode } from "../own-node.ts";
import { encodeKv, showCheck, showNode, showService } from "../views.ts";
import { MAX_KEY_BYTES } from "./kv.ts";

const MAX_OPERATIONS = 128; // 64 in Consul up to 1.13
const MAX_ENVELOPE_BYTES = 256 * 1024; // keys, verbs and JSON around the values

/** The fields of one operation. */
export const TXN_FIELDS: Record<string, Spec> = {
  KV: {
    object: {
      Verb: "string",
      Key: "string",
      Value: "string",
      Flags: "uint64",
      Index: "uint64",
      Session: "string",
      Namespace: "string",
    },
  },
  Node: {
    object: {
      Verb: "string",
      Node: {
        object: {
          ID: "string",
          Node: "string",
          Address: "string",
          Datacenter: "string",
          TaggedAddresses: { map: "string" },
          Meta: { map: "string" },
          CreateIndex: "index",
          ModifyIndex: "index",
        },
      },
    },
  },
  Service: { object: { Verb: "string", Node: "string", Service: SERVICE } },
  Check: { object: { Verb: "string", Check: { object: CHECK_FIELDS } } },
};

export function txnTable(deps: CatalogDeps): ApiTable {
  const { state, limits } = deps;
  // The limit is one of values as they are: what base64 and JSON add on the way does not count.
  const maxValues = Math.max(limits.txnMaxReqLen, limits.kvMaxValueSize);
  const maxBody = Math.ceil((maxValues * 4) / 3) + MAX_ENVELOPE_BYTES;
  return {
    "/v1/txn": {
      PUT: async (request) => {
        const { req, res, query } = request;
        const body = await readBody(req, maxBody, () => tooLarge(req.headers["content-length"], maxValues));
        const given = parseOperations(body);
        for (const node of writtenNodes(given)) requireOwnNode(req, node, { store: state.store, log: deps.log });
        const operations = toOperations(given, { ...deps, maxValues });
        const isRead = !operations.some((operation) => operation.isWrite);
        if (isRead && mustCatchUp(state.store, query)) await state.store.catchUp();
        const outcome = isRead
          ? transactRead(operations, state.store)
          : (await state.store.run(transact(operations))).result;
        const text = encodeOutcome(outcome, isRead);
        const bytes = query.has("pretty") ? prettify(Buffer.from(text)) : Buffer.from(text);
        res.writeHead("errors" in outcome ? 409 : 200, {
          "Content-Type": "application/json",
          "Content-Length": bytes.length,
          Vary: "Accept-Encoding",
          "X-Content-Type-Options": "nosniff",
          ...(isRead && contactFields(state.store)),
        });
        res.end(bytes);
      },
    },
  };
}

function tooLarge(size: string | undefined, limit: number): TooLargeError {
  return new TooLargeError(
    `Request body${size === undefined ? "" : `(${size} bytes)`} too large, max size: ${limit} bytes. See https://www.consul.io/docs/agent/options.html#txn_max_req_len.`,
  );
}

function parseOperations(body: Buffer): Decoded[] {
  try {
    const list = parseExactBody(body) ?? [];
    if (!Array.isArray(list))
      throw refusal(400, "Request decode failed: json: cannot use an object for body: want a list");
    if (list.length > MAX_OPERATIONS)
      throw new TooLargeError(`Transaction contains too many operations (${list.length} > ${MAX_OPERATIONS})`);
    return list.map((item: unknown) => (item === null ? {} : decodeObject(item, TXN_FIELDS)));
  } catch (error) {
    if (!(error instanceof HeddleError) || error.status !== 400) throw error;
    throw refusal(400, error.message.replace(/^Request decode failed/, "Failed to parse body"), error.cause);
  }
}

/** The nodes that operations on the catalog write. */
function writtenNodes(list: Decoded[]): WrittenNode[] {
  return list.flatMap((given) => {
    const { Verb, ...operation } = (given["Node"] ?? given["Service"] ?? given["Check"] ?? { Verb: "get" }) as Decoded;
    if (given["KV"] || Verb === "get") return [];
    const { Node, ID } = (given["Service"] ? operation : (operation["Node"] ?? operation["Check"] ?? {})) as Decoded;
    return [{ Node: text(Node), ...(given["Node"] ? { ID: text(ID) } : {}) }];
  });
}

// An operation of no kind is left out, and not counted, as in Consul.
function toOperations(list: Decoded[], deps: CatalogDeps & { maxValues: number }): Operation[] {
  const { limits, lockDelays, datacenter, maxValues } = deps;
  let values = 0;
  return list.flatMap((given): Operation[] => {
    const kv = given["KV"] as Decoded | undefined;
    if (kv) {
      const key = text(kv["Key"]);
      const value = fromBase64(text(kv["Value"]));
      values += value.length;
      if (value.length > limits.kvMaxValueSize)
        throw new TooLargeError(
          `Value for key ${JSON.stringify(key)} is too large (${value.length} > ${limits.kvMaxValueSize} bytes): the limit is limits.kv_max_value_size`,
        );
      if (values > maxValues) throw tooLarge(undefined, maxValues);
      const op = {
        verb: text(kv["Verb"]),
        key,
        value,
        flags: text(kv["Flags"]) || "0",
        index: text(kv["Index"]) || "0",
        session: text(kv["Session"]),
      };
      return [kvOperation(op, { maxKeyBytes: MAX_KEY_BYTES, isDelayed: (k) => lockDelays.isDelayed(k) })];
    }
    const node = given["Node"] as Decoded | undefined;
    if (node) return [nodeOperation(text(node["Verb"]), (node["Node"] as Decoded | undefined) ?? {}, datacenter)];
    const service = given["Service"] as Decoded | undefined;
    if (service)
      return [
        serviceOperation(
          text(service["Verb"]),
          text(service["Node"]),
          (service["Service"] as Decoded | undefined) ?? {},
        ),
      ];
    const check = given["Check"] as Decoded | undefined;
    return check ? [checkOperation(text(check["Verb"]), (check["Check"] as Decoded | undefined) ?? {})] : [];
  });
}

const text = (value: unknown): string => (typeof value === "string" ? value : "");

function fromBase64(given: string): Buffer {
  const packed = given.replace(/[\r\n]/g, "");
  if (packed.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(packed)) return Buffer.from(packed, "base64");
  const at = packed.search(/[^A-Za-z0-9+/]/);
  throw refusal(400, `Failed to parse body: illegal base64 data at input byte ${at < 0 ? packed.length : at}`);
}

// Written by hand because flags up to 2^64-1 must stay exact.
function encodeOutcome(outcome: TxnOutcome, isRead: boolean): string {
  const isFailed = "errors" in outcome;
  const results = isFailed ? "null" : `[${outcome.results.map(encodeResult).join(",")}]`;
  const errors = isFailed ? JSON.stringify(outcome.errors) : "null";
  const meta = isRead ? `,"Index":0,"LastContact":0,"KnownLeader":true,"ConsistencyLevel":""` : "";
  return `{"Results":${results},"Errors":${errors}${meta}}`;
}

function encodeResult(result: TxnResult): string {
  switch (result.kind) {
    case "KV": {
      const { record } = result;
      return `{"KV":${encodeKv(result.withValue ? record : { ...record, value: { ...record.value, Value: null } })}}`;
    }
    case "Node":
      return JSON.stringify({ Node: showNode(result.record) });
    case "Service":
      return JSON.stringify({ Service: { ...showService(result.record), Tags: result.tags } });
    case "Check": {
      const { ServiceTags, ...check } = showCheck(result.record);
      return JSON.stringify({ Check: { ...check, ServiceTags: ServiceTags?.length ? ServiceTags : null } });
    }
  }
}
