/** What the rows of prepared queries and transactions answer. */
import { QUERY_FIELDS } from "@heddle/catalog/operations";
import type { Spec } from "@heddle/daemon";
import { CHECK, ID, INDEXES, INSTANCE, KV, list, NODE, object, QUERY_META, SERVICE, texts, titled } from "./shared.ts";

const QUERY = titled("PreparedQuery", { ...QUERY_FIELDS, ...INDEXES });
const EXECUTED = titled("ExecutedQuery", {
  ...texts("Service", "Datacenter"),
  Nodes: list(INSTANCE),
  DNS: QUERY_FIELDS["DNS"] as Spec,
  Failovers: "integer",
  LeftOut: list(object(texts("Node", "ServiceID", "Reason"))),
  ...QUERY_META,
});
const TXN_RESULT = titled("TxnResult", { KV, Node: NODE, Service: SERVICE, Check: CHECK });

export const QUERY_ANSWERS: Record<string, Spec> = {
  "GET /v1/query": list(QUERY),
  "POST /v1/query": ID,
  "GET /v1/query/": list(QUERY),
  "GET /v1/query/{id}/execute": EXECUTED,
  "GET /v1/query/{id}/explain": object({ Query: QUERY, ...QUERY_META }),
  "PUT /v1/txn": titled("TxnAnswer", {
    Results: list(TXN_RESULT),
    Errors: list(object({ OpIndex: "integer", What: "string" })),
    ...QUERY_META,
  }),
};
