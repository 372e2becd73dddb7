/** /v1/internal/dns/explain: why an instance is in the answer to a question, or is not. */
import { type ApiTable, refusal, reply } from "@heddle/daemon";
import { TYPE } from "../codec/constants.ts";
import type { Explain } from "../explain.ts";

export const DNS_EXPLAIN = "/v1/internal/dns/explain";

const MAX_NAME = 255; // of a DNS name; what is longer is none
const TYPES = ["A", "AAAA", "SRV", "ANY", "TXT", "CNAME", "PTR", "SOA", "NS"] as const;

/** The row, over whatever explains at the moment of a request. */
export function explainTable(explain: Explain): ApiTable {
  return {
    [DNS_EXPLAIN]: {
      GET: async (request) => {
        const name = request.query.get("name") ?? "";
        if (name === "" || name.length > MAX_NAME)
          throw refusal(400, `Invalid name: want ?name= with a DNS name of at most ${MAX_NAME} characters`);
        const asked = (request.query.get("type") || "A").toUpperCase();
        const type = TYPES.find((known) => known === asked);
        if (type === undefined)
          throw refusal(400, `Invalid type ${JSON.stringify(asked.slice(0, 32))}: want one of ${TYPES.join(", ")}`);
        reply(request, await explain(name, TYPE[type]));
      },
    },
  };
}
