/** The agent as a client of its own API: watches see what every other client sees. */
import { readFileSync } from "node:fs";
import { type ApiClient, createApiClient } from "@heddle/api-client";
import { type HttpServer, InvalidArgumentError } from "@heddle/daemon";
import type { AgentConfig } from "../config/index.ts";

const EVERY_ADDRESS = /\/\/(?:0\.0\.0\.0|\[::\])(?=[:/]|$)/;

/** The plain listener if there is one. Throws InvalidArgumentError where the agent has none at all. */
export function connectToSelf(config: AgentConfig, listeners: readonly HttpServer[], token: string): ApiClient {
  const found = listeners.find(({ url }) => url.startsWith("http:")) ?? listeners[0];
  if (!found) throw new InvalidArgumentError("watches read the agent's own API: want ports.http or ports.https");
  const { caFile, certFile, keyFile } = config.tls.https;
  const isTls = found.url.startsWith("https:");
  return createApiClient({
    address: found.url.replace(EVERY_ADDRESS, "//127.0.0.1"),
    token: token || config.acl.tokens.agent || config.acl.tokens.default || undefined,
    ...(isTls && {
      tls: {
        ca: [caFile || certFile].map((path) => readFileSync(path, "utf8")),
        cert: readFileSync(certFile, "utf8"),
        key: readFileSync(keyFile, "utf8"),
      },
    }),
  });
}
