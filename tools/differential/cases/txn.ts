import type { Run } from "../run.ts";

const KV_VERBS =
  `set cas lock unlock get get-or-empty get-tree check-index check-session check-not-exists delete delete-tree delete-cas Set bogus`.split(
    /\s+/,
  );
const VERBS = "set cas get delete delete-cas bogus".split(" ");
const INDEXES = [undefined, 0, 1, 999_999, -1];
const value = Buffer.from("v").toString("base64");

/** Each verb of each subject on what is there and what is not, alone and after a write; parts: kv, node, service, check, together. */
export default async function txn({ send, want }: Run): Promise<void> {
  const all = async (operations: unknown[]) => {
    await send("PUT", "/v1/txn", operations);
    for (const read of ["/v1/kv/tx?recurse", "/v1/catalog/node/t1", "/v1/health/node/t1", "/v1/catalog/node/t2"])
      await send("GET", read);
  };
  const fill = async () => {
    await send("PUT", "/v1/kv/tx/a", "1");
    await send("PUT", "/v1/catalog/register", {
      Node: "t1",
      ID: "77777777-2222-3333-4444-555555555555",
      Address: "10.6.6.6",
      Service: { ID: "ts", Service: "ts", Port: 1 },
      Check: { CheckID: "tc", Name: "tc", ServiceID: "ts", Status: "passing" },
    });
  };
  const clear = async () => {
    await send("DELETE", "/v1/kv/tx?recurse");
    for (const Node of ["t1", "t2"]) await send("PUT", "/v1/catalog/deregister", { Node });
  };
  const each = async (
    verbs: string[],
    bodies: object[],
    of: (Verb: string, body: object, Index: number | undefined) => object,
  ) => {
    for (const Verb of verbs)
      for (const body of bodies)
        for (const index of INDEXES) {
          await fill();
          await all([of(Verb, body, index)]);
          await clear();
        }
  };
  const indexed = (index: number | undefined) => (index === undefined ? {} : { ModifyIndex: index });
  if (want("kv"))
    await each(
      KV_VERBS,
      [
        { Key: "tx/a", Value: value },
        { Key: "tx/none", Value: value },
        { Key: "tx/" },
        { Key: "" },
        { Key: "tx/a", Session: "x" },
        { Key: "tx/a", Flags: 7 },
      ],
      (Verb, body, Index) => ({ KV: { Verb, ...body, ...(Index !== undefined && { Index }) } }),
    );
  if (want("node"))
    await each(
      VERBS,
      [
        { Node: "t1" },
        { Node: "t1", Address: "10.7.7.7" },
        { Node: "t2", Address: "10.7.7.8" },
        { Node: "", Address: "1.1.1.1" },
        { Node: "t2", ID: "77777777-2222-3333-4444-555555555555", Address: "1.1.1.1" },
        { Node: "t1", ID: "x" },
        { Node: "t1", Meta: { "a b": "c" } },
        { Node: "t1", Datacenter: "dc2", Address: "1.1.1.1" },
      ],
      (Verb, Node, index) => ({ Node: { Verb, Node: { ...Node, ...indexed(index) } } }),
    );
  if (want("service"))
    await each(
      VERBS,
      [
        { ID: "ts", Service: "ts" },
        { ID: "new", Service: "ts", Port: 2 },
        { ID: "ts", Service: "renamed" },
        { ID: "", Service: "ts" },
        { ID: "ts", Service: "" },
        { ID: "ts", Service: "ts", Meta: { "a b": "c" } },
        { ID: "p", Service: "p", Kind: "connect-proxy" },
        { ID: "p", Service: "p", Kind: "bogus" },
        { ID: "ts", Service: "ts", Connect: { Bogus: 1 } },
      ],
      (Verb, Service, index) => ({ Service: { Verb, Node: "t1", Service: { ...Service, ...indexed(index) } } }),
    );
  if (want("service"))
    for (const Node of ["none", "", "T1"])
      for (const Verb of VERBS) await all([{ Service: { Verb, Node, Service: { ID: "ts", Service: "ts" } } }]);
  if (want("check"))
    await each(
      VERBS,
      [
        { Node: "t1", CheckID: "tc", Name: "tc", Status: "warning" },
        { Node: "t1", CheckID: "new", Name: "n", ServiceID: "ts" },
        { Node: "none", CheckID: "c", Name: "n" },
        { Node: "t1", CheckID: "c", Name: "n", ServiceID: "none" },
        { Node: "", CheckID: "c" },
        { Node: "t1", CheckID: "", Name: "" },
        { Node: "t1", CheckID: "c", Status: "bogus" },
        { Node: "t1", CheckID: "c", Definition: { Interval: "10s", HTTP: "http://x", TLSSkipVerify: true } },
        { Node: "t1", CheckID: "c", Definition: { IntervalDuration: "x" } },
      ],
      (Verb, Check, index) => ({ Check: { Verb, Check: { ...Check, ...indexed(index) } } }),
    );
  if (want("together")) {
    const ok = { KV: { Verb: "set", Key: "tx/b", Value: value } };
    for (const operations of [
      [ok, ok],
      [ok, { KV: { Verb: "get", Key: "tx/b" } }],
      [ok, { KV: { Verb: "get", Key: "tx/none" } }],
      [{ KV: { Verb: "get", Key: "tx/none" } }, { KV: { Verb: "bogus", Key: "x" } }, { Node: { Verb: "bogus" } }],
      [{ KV: { Verb: "get-tree", Key: "tx" } }, { Node: { Verb: "get", Node: { Node: "t1" } } }],
      [{}],
      [{ KV: null }],
      [{ ...ok, Node: { Verb: "get", Node: { Node: "t1" } } }],
      [{ Intention: { Op: "create", Intention: { SourceName: "a", DestinationName: "b", Action: "allow" } } }],
      [{ Session: { Verb: "delete", Session: { ID: "x" } } }],
      Array.from({ length: 64 }, () => ok),
    ]) {
      await fill();
      await all(operations);
      for (const query of ["?stale", "?consistent", "?dc=dc2", "?index=1", "?pretty"])
        await send("PUT", `/v1/txn${query}`, operations);
      await clear();
    }
  }
}
