import type { Run } from "../run.ts";

const TEMPLATES = [
  { Service: "${name.full}" },
  { Service: "${name.suffix}" },
  { Service: "${name.prefix}x" },
  { Service: "geo-${match(1)}-${match(2)}", Tags: ["${match(2)}", "${match(9)}"] },
  { Service: "${agent.segment}web" },
  { Service: "${bogus}" },
  { Service: "${name.full" },
];
const NAMES = ["geo-db-east", "geo-", "GEO-DB-East", "geo-a.b", "geo-x y", "web"];
const REGEXP = "^geo-(.*?)-([^\\-]+?)$";

/** Templates of prepared queries: what each makes of names, executed and explained. */
export default async function query({ send }: Run): Promise<void> {
  await send("PUT", "/v1/catalog/register", {
    Node: "x3",
    Address: "10.0.0.3",
    Service: { ID: "geo", Service: "geo-db-east", Port: 97, Tags: ["east", "db"] },
  });
  for (const [i, Service] of TEMPLATES.entries()) {
    const made = await send("POST", "/v1/query", {
      Name: "geo-",
      Service,
      Template: { Type: "name_prefix_match", Regexp: i === 3 ? REGEXP : "" },
    });
    if (made.some(({ status }) => status !== 200)) continue;
    for (const name of NAMES)
      for (const what of ["execute", "explain"]) await send("GET", `/v1/query/${encodeURIComponent(name)}/${what}`);
    const [consul, heddle] = made.map(({ body }) => (JSON.parse(body) as { ID: string }).ID);
    await send("DELETE", ({ name }) => `/v1/query/${name === "consul" ? consul : heddle}`);
  }
}
