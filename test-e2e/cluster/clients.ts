/** Clients of several catalogs that write down what they asked and what they were told, for the checker. */
import type { Operation } from "./linearizability.ts";
import type { Keys, KeysOutput, KeyStep, LockStep } from "./models.ts";

const ROUND_MS = 3_000; // then other keys: who never got an answer burdens the search only within a round
const GROUPS = 3;
const KEYS = ["a", "b"];

export interface History {
  /** By group of keys, and by lock: each is checked by itself. */
  keys: Map<string, Operation<readonly KeyStep[], KeysOutput>[]>;
  locks: Map<string, Operation<LockStep, boolean>[]>;
}

/** One request to any of the servers; rejects where there is no answer. */
export type Ask = (method: string, path: string, body?: string | object) => Promise<{ status: number; text: string }>;

export interface ClientOptions {
  name: string;
  ask: Ask;
  random: () => number;
  history: History;
  signal: AbortSignal;
}

/** Runs one client until the signal aborts. */
export async function runClient({ name, ask: http, random, history, signal }: ClientOptions): Promise<void> {
  let count = 0;
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  // What was read of a key, with its index, for the next compare-and-set.
  const known = new Map<string, { value: string | undefined; index: number }>();
  const record = async <I, O>(
    list: Operation<I, O>[],
    input: I,
    isRead: boolean,
    run: () => Promise<O | undefined>,
  ) => {
    const call = performance.now();
    const output = await run().catch(() => undefined);
    // A read without an answer says nothing.
    if (output === undefined && isRead) return;
    list.push({ input, output, call, return: output === undefined ? Infinity : performance.now() });
  };
  const listOf = <I, O>(map: Map<string, Operation<I, O>[]>, id: string): Operation<I, O>[] => {
    let list = map.get(id);
    if (!list) map.set(id, (list = []));
    return list;
  };

  const keysStep = async (round: number): Promise<void> => {
    const group = `r${round}/g${Math.floor(random() * GROUPS)}`;
    const list = listOf(history.keys, group);
    const key = pick(KEYS);
    const path = `/v1/kv/${group}/${key}`;
    const value = `${name}-${++count}`;
    const at = known.get(path) ?? { value: undefined, index: 0 };
    const kind = random();
    if (kind < 0.35)
      return record(list, [{ type: "get", key }], true, async () => {
        const { status, text } = await http("GET", `${path}?consistent`);
        if (status !== 200 && status !== 404) return undefined;
        const [row] = status === 200 ? (JSON.parse(text) as [{ Value: string; ModifyIndex: number }]) : [];
        const read = row && Buffer.from(row.Value, "base64").toString();
        known.set(path, { value: read, index: row?.ModifyIndex ?? 0 });
        return { isDone: true, read: { [key]: read } };
      });
    const isTrue = async (method: string, where: string, body?: string): Promise<KeysOutput | undefined> => {
      const { status, text } = await http(method, where, body);
      return status === 200 ? { isDone: text.trim() === "true", read: {} } : undefined;
    };
    if (kind < 0.55) return record(list, [{ type: "put", key, value }], false, () => isTrue("PUT", path, value));
    if (kind < 0.75)
      return record(list, [{ type: "cas", key, expected: at.value, value }], false, () =>
        isTrue("PUT", `${path}?cas=${at.index}`, value),
      );
    if (kind < 0.8) return record(list, [{ type: "delete", key }], false, () => isTrue("DELETE", path));
    const isRead = kind < 0.9;
    const steps = KEYS.map(
      (k): KeyStep => (isRead ? { type: "get", key: k } : { type: "put", key: k, value: `${value}${k}` }),
    );
    return record(list, steps, isRead, async () => {
      const { status, text } = await http(
        "PUT",
        `/v1/txn${isRead ? "?consistent" : ""}`,
        steps.map((step) => toTxn(group, step)),
      );
      if (status === 409 && isRead) return undefined; // one of the two is not there: Consul's transaction fails
      if (status !== 200) return undefined;
      const { Results } = JSON.parse(text) as { Results: { KV: { Key: string; Value: string } }[] };
      return { isDone: true, read: isRead ? readOf(Results) : {} };
    });
  };

  const lockStep = async (round: number, session: string): Promise<void> => {
    const lock = `r${round}/lock`;
    const type = pick(["acquire", "acquire", "release"] as const);
    await record(listOf(history.locks, lock), { type, session }, false, async () => {
      const { status, text } = await http("PUT", `/v1/kv/${lock}?${type}=${session}`, name);
      return status === 200 ? text.trim() === "true" : undefined;
    });
  };

  let session = "";
  const begun = performance.now();
  while (!signal.aborted) {
    const round = Math.floor((performance.now() - begun) / ROUND_MS);
    try {
      if (session === "") {
        const { status, text } = await http("PUT", "/v1/session/create", {
          Node: "n",
          NodeChecks: [],
          LockDelay: "0s",
        });
        if (status === 200) ({ ID: session } = JSON.parse(text) as { ID: string });
      } else if (random() < 0.2) await lockStep(round, session);
      else await keysStep(round);
    } catch {
      // The catalog that was asked is away: the next request goes to another.
    }
  }
}

const toTxn = (group: string, step: KeyStep): object => ({
  KV: {
    Verb: step.type === "get" ? "get" : "set",
    Key: `${group}/${step.key}`,
    ...(step.type === "put" && { Value: Buffer.from(step.value).toString("base64") }),
  },
});

function readOf(results: readonly { KV: { Key: string; Value: string } }[]): Keys {
  return Object.fromEntries(
    results.map(({ KV }) => [KV.Key.split("/").at(-1) as string, Buffer.from(KV.Value, "base64").toString()]),
  );
}
