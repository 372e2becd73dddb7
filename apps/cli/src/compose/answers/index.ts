/** What the API answers, for the OpenAPI document. A test holds each against what a running agent says. */
import type { Spec } from "@heddle/daemon";
import { AGENT_ANSWERS } from "./agent.ts";
import { CATALOG_ANSWERS } from "./catalog.ts";
import { CONFIG_ANSWERS } from "./config.ts";
import { CONNECT_ANSWERS } from "./connect.ts";
import { OPERATOR_ANSWERS } from "./operator.ts";
import { QUERY_ANSWERS } from "./queries.ts";

export { CONFIG_ENTRY } from "./config.ts";

/** By method and row, as operations are. What is not here is refused (ACLs, keyring), or JSON that daemons tell each other. */
export const ANSWERS: Record<string, Spec> = {
  ...AGENT_ANSWERS,
  ...CATALOG_ANSWERS,
  ...CONFIG_ANSWERS,
  ...CONNECT_ANSWERS,
  ...OPERATOR_ANSWERS,
  ...QUERY_ANSWERS,
};
