/** Names of what can be dialled: "socat", or as DNS has it "socat.service.consul", "socat.service.dc2.consul", "find-db.query.consul". */
import { InvalidArgumentError } from "@heddle/daemon";

export interface Target {
  name: string;
  kind: "prepared_query" | "service";
  /** Empty for our own. */
  datacenter: string;
}

const LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?";
const DNS_NAME = new RegExp(`^(${LABEL})\\.(service|connect|query)(?:\\.(${LABEL}))?(?:\\.consul)?\\.?$`, "i");
const PLAIN_NAME = /^[^\s./:]{1,253}$/;

/** Throws InvalidArgumentError where the name is none of a service or query. */
export function parseTarget(text: string): Target {
  const [, name, kind, datacenter = ""] = DNS_NAME.exec(text) ?? [];
  if (name !== undefined && kind !== undefined)
    return {
      name,
      kind: kind.toLowerCase() === "query" ? "prepared_query" : "service",
      datacenter: datacenter.toLowerCase() === "consul" ? "" : datacenter,
    };
  if (PLAIN_NAME.test(text)) return { name: text, kind: "service", datacenter: "" };
  throw new InvalidArgumentError(
    `'${text}' is no service of the mesh: want a name such as 'socat', 'socat.service.consul' or 'find-db.query.consul'`,
  );
}
