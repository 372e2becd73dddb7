/** What the rows of the public API mean, whichever daemon answers them. */
import { AGENT_OPERATIONS } from "@heddle/agent/operations";
import { CA_OPERATIONS } from "@heddle/ca/operations";
import { CATALOG_OPERATIONS } from "@heddle/catalog/operations";
import type { Operations } from "@heddle/daemon";
import { ANSWERS } from "./answers/index.ts";

const TOLD: Operations = {
  ...CATALOG_OPERATIONS,
  ...CA_OPERATIONS,
  ...AGENT_OPERATIONS,
  "GET /v1/internal/dns/explain": { summary: "How DNS answers a question", query: ["name", "type"] },
};

export const OPERATIONS: Operations = Object.fromEntries(
  Object.entries(TOLD).map(([key, operation]) => {
    const of = ANSWERS[key];
    return [key, of === undefined || operation === "below" ? operation : { ...operation, answer: { of } }];
  }),
);
