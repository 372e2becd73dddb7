/** /v1/agent/connect/proxies: POST is how this node's proxies tell which rules they hold, GET is what they told. Not Consul's. */
import { type ApiRequest, type ApiTable, decodeBody, describeError, readBody, refusal, reply } from "@heddle/daemon";
import { readRuleReport, RULE_REPORT_FIELDS, type RuleReport } from "@heddle/intentions";
import type { AgentDeps } from "../deps.ts";

const MAX_BODY = 512 * 1024;

export function proxyTable({ ruleHolders }: Pick<AgentDeps, "ruleHolders">): ApiTable {
  return {
    "/v1/agent/connect/proxies": {
      GET: (request) => reply(request, ruleHolders.list()),
      POST: async (request) => {
        ruleHolders.take(await reportOf(request));
        reply(request, true);
      },
    },
  };
}

async function reportOf({ req }: ApiRequest): Promise<RuleReport> {
  const bytes = await readBody(req, MAX_BODY);
  try {
    return readRuleReport(decodeBody(bytes, RULE_REPORT_FIELDS));
  } catch (error) {
    throw refusal(400, `Bad request: ${describeError(error)}`);
  }
}
