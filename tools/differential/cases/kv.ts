import type { Run } from "../run.ts";

const KEYS = [
  "k",
  "d/",
  "d/a",
  "d/a/b",
  "%2Flead",
  "a%2Fb",
  "a%20b",
  "a+b",
  "%C3%BC",
  "%00",
  "%zz",
  "x".repeat(600),
  "a//b",
  "..",
  "a?b",
  "%25",
];

const WRITES =
  `cas=0 cas=1 cas= cas=-1 cas=x cas=18446744073709551615 flags=0 flags=7 flags=-1 flags=x flags= flags=18446744073709551615
  flags=18446744073709551616 acquire= acquire=x acquire=11111111-1111-1111-1111-111111111111 release= release=x
  release=11111111-1111-1111-1111-111111111111 cas=0&flags=3 cas=0&acquire=x acquire=x&release=x cas=0&cas=1 recurse dc=dc1 dc=dc2
  token=x raw keys`.split(/\s+/);

const DELETES = "cas=0 cas=1 cas= cas=x cas=-1 recurse recurse&cas=0 recurse&cas=1 acquire=x flags=1 dc=dc2".split(" ");

const READS =
  `recurse keys raw keys&separator=/ keys&separator= keys&separator=b recurse&separator=/ keys&recurse raw&recurse
  separator=/ index=0 index=x cached stale consistent`.split(/\s+/);

/** Keys of all shapes, each with every parameter; parts: keys, locks. */
export default async function kv({ send, want }: Run): Promise<void> {
  for (const key of want("keys") ? KEYS : []) {
    const path = `/v1/kv/${key}`;
    for (const query of WRITES) {
      await send("PUT", `${path}?${query}`, "v");
      await send("GET", path);
    }
    await send("PUT", path, "");
    for (const query of READS) await send("GET", `${path}?${query}`);
    for (const query of DELETES) {
      await send("PUT", path, "v");
      await send("DELETE", `${path}?${query}`);
      await send("GET", `${path}?recurse`);
    }
    await send("PUT", path, "v");
    for (const query of READS) await send("GET", `/v1/kv/?${query}`);
  }
  if (want("locks")) for (const behavior of ["release", "delete"]) await locks(send, behavior);
}

/** Two sessions and one key: who may write, who holds it, what is left when they end. */
async function locks(send: Run["send"], behavior: string): Promise<void> {
  const made = [await session(send, behavior), await session(send, behavior)] as const;
  const id = (nth: 0 | 1) => (agent: { name: string }) => made[nth][agent.name === "consul" ? 0 : 1];
  const key = `/v1/kv/lock/${behavior}`;
  const with_ = (query: string, nth: 0 | 1) => (agent: { name: string }) => `${key}?${query}=${id(nth)(agent)}`;
  for (const [query, nth] of [
    ["acquire", 0],
    ["acquire", 0],
    ["acquire", 1],
    ["release", 1],
    ["flags=3&acquire", 0],
    ["cas=0&acquire", 1],
    ["release", 0],
    ["release", 0],
    ["acquire", 1],
  ] as const) {
    await send("PUT", with_(query, nth), `${query}${nth}`);
    await send("GET", key);
  }
  await send("PUT", key, "plain");
  await send("PUT", `${key}?cas=1`, "old");
  await send("GET", key);
  for (const nth of [1, 0] as const) {
    await send("PUT", (agent) => `/v1/session/renew/${id(nth)(agent)}`);
    await send("PUT", (agent) => `/v1/session/destroy/${id(nth)(agent)}`);
    await send("GET", key);
    await send("PUT", (agent) => `/v1/session/renew/${id(nth)(agent)}`);
    await send("GET", (agent) => `/v1/session/info/${id(nth)(agent)}`);
  }
  const later = await session(send, behavior);
  // Within the lock delay nobody gets it.
  await send("PUT", (agent) => `${key}?acquire=${later[agent.name === "consul" ? 0 : 1]}`, "soon");
  await send("GET", key);
}

async function session(send: Run["send"], behavior: string): Promise<[string, string]> {
  const answers = await send("PUT", "/v1/session/create", { Behavior: behavior, TTL: "60s" });
  return answers.map(({ body }) => (JSON.parse(body) as { ID: string }).ID) as [string, string];
}
