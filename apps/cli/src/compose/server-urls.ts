/** Where the servers of a node without servers are: what `-retry-join` and `-join` name, and what a node that has joined knows. */
import type { AgentConfig } from "@heddle/agent";
import { isJoinLine, type LiveIdentity } from "@heddle/daemon";

/** Of all servers that were named, with commas between them: one of them is asked, and the next where that one is gone. */
export function toServerUrls(joined: string[], config: AgentConfig, identity: LiveIdentity | undefined): string {
  if (joined.length === 0) {
    throw new Error(
      "this agent is no server and has none to join: give -join with a line of 'heddle token join', -retry-join=ADDRESS, or -server (or -dev) to run one here",
    );
  }
  return [...new Set(joined.map((address) => toServerUrl(address, config, identity)))].join(",");
}

function toServerUrl(joined: string, config: AgentConfig, identity: LiveIdentity | undefined): string {
  if (/^https?:\/\//.test(joined)) return joined;
  return `${identity ? "https" : "http"}://${toHostPort(joined, config)}`;
}

/** What `-retry-join` and `-join` name beside a line of `heddle token join`. */
export const namedServers = ({ retryJoin, startJoin }: AgentConfig): string[] =>
  [...retryJoin, ...startJoin].filter((text) => !isJoinLine(text));

/** "host:port", whether the port was named or not. */
export function toHostPort(text: string, config: AgentConfig): string {
  const joined = text.replace(/^https?:\/\//, "");
  const hasPort = /^\[.*\]:\d+$|^[^:]+:\d+$/.test(joined);
  const host = joined.includes(":") && !hasPort && !joined.startsWith("[") ? `[${joined}]` : joined;
  return `${host}${hasPort ? "" : `:${config.ports.server}`}`;
}
